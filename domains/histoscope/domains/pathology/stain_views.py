"""Views of pathology: a change of the stain before the core's colour operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from histoscope.core.config import Spec, build
from histoscope.core.views.plan import ViewPlan, plain_plan
from histoscope.core.views.spec import ViewsSpec
from histoscope.domains.pathology.stain import StainJitter, StainSpec
from histoscope.domains.pathology.stain_statistics import StainStatistics, StatisticsSpec


def _kind(given: Any) -> str:
    """What a stain entry asks for; without a kind, HED jitter, as its short forms are."""
    if isinstance(given, Mapping):
        return str(given.get("kind", "hed"))
    return str(getattr(given, "kind", "hed"))


class PathologyViews(Spec):
    """What stands under ``views.domain``."""

    stain: Annotated[
        Annotated[StainSpec, Tag("hed")] | Annotated[StatisticsSpec, Tag("statistics")],
        Discriminator(
            _kind,
            custom_error_type="unknown_kind",
            custom_error_message="the kind is hed or statistics",
        ),
    ] = StainSpec()


def make_views(spec: ViewsSpec, size_px: int) -> ViewPlan:
    """The plan of one view of a tile whose side is ``size_px``."""
    own = build(PathologyViews, spec.domain, "views.domain")
    stain = own.stain
    change = StainJitter(stain) if isinstance(stain, StainSpec) else StainStatistics(stain)
    return plain_plan(spec, size_px, [change] if stain.p else [])
