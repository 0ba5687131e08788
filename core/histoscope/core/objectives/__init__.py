"""Self-supervised objectives, one short file a method."""

from histoscope.core.registry import Registry

OBJECTIVES: Registry[type] = Registry(
    "objective",
    {"simclr": "histoscope.core.objectives.simclr:SimCLR"},
    group="histoscope.objectives",
)
