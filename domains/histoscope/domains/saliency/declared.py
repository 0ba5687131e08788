"""A provider as it is declared: its maker is imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from histoscope.core.config import Spec

if TYPE_CHECKING:
    from histoscope.core.contracts.masks import MaskMaker, OpenMaps


@dataclass(frozen=True)
class Declared:
    """A :class:`~histoscope.core.contracts.masks.MaskProvider`.

    Attributes:
        name, version, domains, settings, about: as the contract says.
        maker: ``"module:class"``, called with the settings and what opens feature maps.
    """

    name: str
    version: str
    domains: tuple[str, ...]
    settings: type[Spec]
    about: str
    maker: str

    def make(self, settings: Spec, maps: OpenMaps) -> MaskMaker:
        """What makes masks.

        Raises:
            UsageError: settings that do not go together.
        """
        module, _, attribute = self.maker.partition(":")
        made: Any = getattr(import_module(module), attribute)
        maker: MaskMaker = made(settings, maps)
        return maker
