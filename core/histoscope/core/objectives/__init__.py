"""Self-supervised objectives, one short file a method."""

from typing import Any

from histoscope.core.registry import Registry

OBJECTIVES: Registry[Any] = Registry(
    "objective",
    {
        "moco_v2": "histoscope.core.objectives.moco_v2:MoCoV2",
        "simclr": "histoscope.core.objectives.simclr:SimCLR",
    },
    group="histoscope.objectives",
)
