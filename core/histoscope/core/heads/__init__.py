"""What answers from features: one file a kind, and those of plug-ins."""

from typing import Any

from histoscope.core.registry import Registry

HEADS: Registry[Any] = Registry(
    "head",
    {
        "attention": "histoscope.core.heads.attention:AttentionHead",
        "layer": "histoscope.core.heads.layer:LayerHead",
        "linear": "histoscope.core.heads.linear:LinearHead",
        "mean": "histoscope.core.heads.mean:MeanHead",
        "mstcn": "histoscope.core.heads.mstcn:StagesHead",
        "topk": "histoscope.core.heads.topk:TopKHead",
        "neighbours": "histoscope.core.heads.neighbours:NeighbourHead",
    },
    group="histoscope.heads",
)
