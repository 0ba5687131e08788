"""How samples are cut."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from histoscope.core.config import Spec


class Sampling(Spec):
    """How samples are cut: what a store, an encoder and a package must agree on.

    Attributes:
        size_px: side of an image.
        alike: fields that a store must share with an encoder beside scale and size.
    """

    size_px: int

    alike: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def scale(self) -> Mapping[str, float]:
        """Physical scale, for example ``{"mpp": 0.5}``; compared with 1 % tolerance."""
