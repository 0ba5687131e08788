"""Networks that turn images into features: timm's, the colour baseline, and a plug-in's."""

from typing import Any

from histoscope.core.registry import Registry

ENCODERS: Registry[Any] = Registry(
    "encoder",
    {
        "colour": "histoscope.core.encoders.colour:ColourEncoder",
        "given": "histoscope.core.encoders.given:GivenEncoder",
        "layers": "histoscope.core.encoders.layers:LayersEncoder",
        "timm": "histoscope.core.encoders.timm:TimmEncoder",
    },
    group="histoscope.encoders",
)
