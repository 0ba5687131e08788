"""An encoder of which only the features are here: those that another program computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NoReturn

from pydantic import Field
from torch import Tensor, nn

from histoscope.core.encoders.contract import EncoderSpec, Masked, Want
from histoscope.core.encoders.pixels import IDENTITY
from histoscope.core.errors import UsageError


class GivenSpec(EncoderSpec):
    """A network by its name alone."""

    kind: Literal["given"] = Field("given", description="features of another program")
    name: str = Field(description="what the other program calls the network")
    input_px: None = Field(None, description="not known")
    pool: None = Field(None, description="not known")


class GivenEncoder(nn.Module):
    """Stands for a network that is elsewhere; it takes no image."""

    settings: ClassVar[type[EncoderSpec]] = GivenSpec
    blocks: ClassVar[Mapping[str, int]] = {}

    def __init__(self, spec: EncoderSpec, normalisation: object = None) -> None:
        super().__init__()
        self.spec, self.normalisation, self.dim = spec, IDENTITY, 0

    def forward(self, images: Tensor) -> NoReturn:
        """Refused: there is no network."""
        raise UsageError(f"encoder {self.spec.architecture}: only features of it are here")

    def encode(self, images: Tensor, want: Want, masked: Masked | None = None) -> NoReturn:
        """Refused: there is no network."""
        self.forward(images)
