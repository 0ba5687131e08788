"""What an encoder owes, and the settings that name one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field

from histoscope.core.config import Spec
from histoscope.core.encoders import ENCODERS

if TYPE_CHECKING:
    import torch

    from histoscope.core.encoders.pixels import Normalisation

Want = Literal["pooled", "tokens", "map", "blocks"]
USUAL = "usual"  # the pooled output of a whole network, among its blocks


class EncoderSpec(Spec):
    """Which network; ``resnet18`` alone stands for ``{kind: timm, name: resnet18}``.

    A kind may have settings of its own: those of the class that its ``settings`` name.
    """

    kind: str = Field("timm", description="whose network: timm, colour, or a plug-in's")
    name: str = Field("resnet18", description="of the network, as its kind knows it")
    input_px: int | None = Field(
        None,
        ge=8,
        description="side of the images it is made for; default: any, or the views' where it asks",
    )
    pool: str | None = Field(
        None, description="how a map becomes a row, as avg or token; default: the network's own way"
    )

    @property
    def architecture(self) -> str:
        """``timm:resnet18``, ``colour``."""
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """A name alone is one of timm's."""
        return {"name": given} if isinstance(given, str) else given

    @classmethod
    def chosen(cls, given: Any) -> type[Spec]:
        """The settings of the kind that is named."""
        if cls is not EncoderSpec or not isinstance(given, Mapping):
            return cls
        settings: type[Spec] = ENCODERS.load(str(given.get("kind", "timm"))).settings
        return settings


class Masked(NamedTuple):
    """Patches that are hidden: another token stands for each.

    Attributes:
        places: which patches, bool, (batch, patches), row by row.
        token: what stands for them, (channels,).
    """

    places: torch.Tensor
    token: torch.Tensor


class Encoder(Protocol):
    """Images to features; a ``torch.nn.Module`` that normalises for itself.

    A kind of encoder is such a class, called with its settings and the normalisation of its images
    (None: what suits new weights); weights are drawn from torch's generator.

    Attributes:
        settings: class of the settings that it is made of.
        spec: its settings.
        dim: width of a row of pooled features; whoever makes one measures it.
        normalisation: of its images, where RGB lies in 0..1.
        blocks: name and width of each block's pooled output, first to last, and behind them of the
            usual one; empty where it has none.
    """

    settings: ClassVar[type[EncoderSpec]]
    spec: EncoderSpec
    dim: int
    normalisation: Normalisation

    @property
    def blocks(self) -> Mapping[str, int]:
        """See above."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """RGB in 0..1, (batch, 3, height, width), to pooled features, (batch, dim), float32."""

    def encode(
        self, images: torch.Tensor, want: Want, masked: Masked | None = None
    ) -> torch.Tensor:
        """As the call, but what is wanted.

        Args:
            images: RGB in 0..1, (batch, 3, height, width).
            masked: patches that are hidden from the network.
            want: ``pooled`` (batch, dim); ``map`` (batch, channels, rows, columns); ``tokens``
                (batch, tokens, channels), the rows of the map one after the other, behind those
                that stand for no place (a class token) where the network has any; ``blocks``
                (batch, widths of ``blocks`` together), side by side.

        Raises:
            UsageError: the network has no such features.
        """
