"""From few labels to heads: one file a method, and those of plug-ins."""

from typing import Any

from histoscope.core.registry import Registry

FITTERS: Registry[Any] = Registry(
    "method",
    {
        "attention": "histoscope.core.learning.attention:AttentionFitter",
        "topk": "histoscope.core.learning.topk:TopKFitter",
        "mstcn": "histoscope.core.learning.mstcn:StagesFitter",
        "probe": "histoscope.core.learning.probe:ProbeFitter",
        "knn": "histoscope.core.learning.knn:NeighbourFitter",
        "uni": "histoscope.core.learning.uni:UniFitter",
        "full": "histoscope.core.learning.trained:FullFitter",
        "probe_full": "histoscope.core.learning.trained:ProbeFullFitter",
        "swav": "histoscope.core.learning.trained:SwavFitter",
    },
    group="histoscope.fitters",
)
