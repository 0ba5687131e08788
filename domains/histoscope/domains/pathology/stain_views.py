"""Views of pathology: stain jitter before the core's colour operations."""

from __future__ import annotations

from histoscope.core.config import Spec, build
from histoscope.core.views.plan import ViewPlan, ViewsSpec, plain_plan
from histoscope.domains.pathology.stain import StainJitter, StainSpec


class PathologyViews(Spec):
    """What stands under ``views.domain``."""

    stain: StainSpec = StainSpec()


def make_views(spec: ViewsSpec, size_px: int) -> ViewPlan:
    """The plan of one view of a tile whose side is ``size_px``."""
    own = build(PathologyViews, spec.domain, "views.domain")
    first = [StainJitter(own.stain)] if own.stain.p else []
    return plain_plan(spec, size_px, first)
