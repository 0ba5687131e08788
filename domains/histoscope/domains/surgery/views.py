"""Views of surgery: smoke and reflections before the core's colour operations; both are off."""

from __future__ import annotations

from pydantic import Field

from histoscope.core.config import Spec, build
from histoscope.core.views.plan import DeviceOperation, ViewPlan, plain_plan
from histoscope.core.views.spec import ViewsSpec
from histoscope.domains.surgery.overlays import Smoke, SmokeSpec, Specular, SpecularSpec


class SurgeryViews(Spec):
    """What stands under ``views.domain``."""

    specular: SpecularSpec = Field(SpecularSpec(), description="reflections of the scope's light")
    smoke: SmokeSpec = Field(SmokeSpec(), description="smoke of the cautery")


def make_views(spec: ViewsSpec, size_px: int) -> ViewPlan:
    """The plan of one view of a frame whose side is ``size_px``."""
    own = build(SurgeryViews, spec.domain, "views.domain")
    first: list[DeviceOperation] = []
    if own.specular.p:
        first.append(Specular(own.specular))
    if own.smoke.p:  # it lies before what reflects
        first.append(Smoke(own.smoke))
    return plain_plan(spec, size_px, first)
