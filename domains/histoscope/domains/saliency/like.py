"""A provider that works from another one's masks: the other, by the name and settings given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histoscope.core.config import build
from histoscope.core.contracts.masks import MASKS
from histoscope.core.errors import UsageError

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import MaskMaker, OpenMaps
    from histoscope.domains.saliency.settings import LikeSpec


def other_maker(asking: str, settings: LikeSpec, maps: OpenMaps) -> MaskMaker:
    """What makes the masks that a provider works from.

    Args:
        asking: that provider's own name.
        settings: name the other provider and give its settings.
        maps: for the other one.

    Raises:
        UsageError: the other provider is unknown, is the asking one, or refuses its settings.
    """
    if settings.like == asking:
        raise UsageError(f"provider {asking}: 'like' must name another provider")
    provider = MASKS.load(settings.like)
    where = f"provider {asking}, like {settings.like}"
    return provider.make(build(provider.settings, settings.settings, where), maps)
