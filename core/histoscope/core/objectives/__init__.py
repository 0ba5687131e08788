"""Self-supervised objectives, one short file a method."""

from typing import Any

from histoscope.core.registry import Registry

OBJECTIVES: Registry[Any] = Registry(
    "objective",
    {
        "barlow_twins": "histoscope.core.objectives.barlow_twins:BarlowTwins",
        "byol": "histoscope.core.objectives.byol:BYOL",
        "cmsf": "histoscope.core.objectives.cmsf:CMSF",
        "dino": "histoscope.core.objectives.dino:DINO",
        "distil": "histoscope.core.objectives.distil:Distil",
        "ibot": "histoscope.core.objectives.ibot:IBOT",
        "moco_v2": "histoscope.core.objectives.moco_v2:MoCoV2",
        "msf": "histoscope.core.objectives.msf:MSF",
        "relicv2": "histoscope.core.objectives.relicv2:ReLICv2",
        "simclr": "histoscope.core.objectives.simclr:SimCLR",
        "simreg": "histoscope.core.objectives.simreg:SimReg",
        "swav": "histoscope.core.objectives.swav:SwAV",
    },
    group="histoscope.objectives",
)
