"""Who says which part of an image is its subject: providers of masks, found by entry point.

A mask is true where the subject is: what shall be recognised whatever lies behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from histoscope.core.config import Spec
from histoscope.core.errors import UsageError
from histoscope.core.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image: TypeAlias = NDArray[np.uint8]
    Mask: TypeAlias = NDArray[np.bool_]
    Maps: TypeAlias = Callable[[Sequence[Image]], NDArray[np.float32]]
    OpenMaps: TypeAlias = Callable[[str, int], Maps]

MASKS: Registry[MaskProvider] = Registry("provider of masks", {}, group="histoscope.masks")


@dataclass(frozen=True)
class Subjects:
    """What a provider finds in the images of one source.

    Attributes:
        masks: bool, (height, width), one an image, in their order.
        fill: RGB, 0..255, of what lies behind subjects in this source where nothing is, as the
            slide's glass or the dark around a field of view.
    """

    masks: Iterable[Mask]
    fill: tuple[int, int, int]


class MaskMaker(Protocol):
    """A provider with its settings. Pickles, so that workers may have it."""

    def of_source(self, images: Sequence[Image]) -> Subjects:
        """Masks of the images of one source.

        Args:
            images: in order, uint8, (height, width, 3), RGB; each is read whenever it is asked for.
        """


@runtime_checkable
class MaskProvider(Protocol):
    """A way of making masks. Declared without torch or a picture library.

    Attributes:
        name: one word, as in ``--provider NAME``.
        version: changes whenever its masks do.
        domains: names of the domains whose images it knows; empty: any.
        settings: class of its settings.
        about: what it takes for the subject, in a line.
    """

    name: str
    version: str
    domains: Sequence[str]
    settings: type[Spec]
    about: str

    def make(self, settings: Spec, maps: OpenMaps) -> MaskMaker:
        """What makes masks.

        Args:
            settings: of the class that it names.
            maps: opens an encoder by the word of the command line, for images that are resized to
                a side in px: a function of images, each (height, width, 3), that gives their
                feature maps, (images, channels, rows, columns). To be called here, not later:
                the masks are named after the encoders' weights. What it gives pickles.

        Raises:
            UsageError: settings that do not go together.
        """


def load_provider(name: str, domain: str) -> MaskProvider:
    """The provider of that name, for images of a domain.

    Raises:
        UsageError: unknown, claimed twice, broken, not a provider, or of another domain.
    """
    provider = MASKS.load(name)
    if not isinstance(provider, MaskProvider):
        raise UsageError(f"provider {name!r}: its entry point does not give a MaskProvider")
    if provider.domains and domain not in provider.domains:
        others = [one for one in MASKS.names() if _suits(one, domain)]
        raise UsageError(
            f"provider {name}: knows images of {', '.join(provider.domains)}, not of {domain}; "
            f"for these there are: {', '.join(others) or 'none'}"
        )
    return provider


def providers_of(domain: str) -> list[MaskProvider]:
    """Providers for images of a domain, by name; what does not load is left out."""
    return [MASKS.load(one) for one in MASKS.names() if _suits(one, domain)]


def _suits(name: str, domain: str) -> bool:
    try:
        provider = MASKS.load(name)
    except UsageError:
        return False
    return isinstance(provider, MaskProvider) and domain in (provider.domains or [domain])
