"""Features that another program computed, read where it wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from histoscope.core.config import Spec
from histoscope.core.contracts.source import Roots, Sampling, Source, Unused

if TYPE_CHECKING:
    from histoscope.core.tables.names import Naming


@dataclass(frozen=True)
class GivenFeatures:
    """Files of features that one encoder gave for samples that were all cut alike.

    Attributes:
        encoder: its name.
        dim: width of a row.
        sampling: how samples were cut.
        sources: one a file; a reader of them gives rows of features as the images of samples.
        unused: what was given and is not used.
        naming: what names of the files have in common with those of what was encoded.
        weights: digest of the encoder's weights, empty where it is not known.
    """

    encoder: str
    dim: int
    sampling: Sampling
    sources: Sequence[Source]
    unused: Sequence[Unused]
    naming: Naming
    weights: str = ""


@runtime_checkable
class TakesFeatures(Protocol):
    """What a domain has beside the rest that reads the features of other programs."""

    def find_features(self, roots: Roots, options: Spec) -> GivenFeatures:
        """Files of features below the roots, in a stable order.

        Args:
            roots: name to folder or file.
            options: the domain's options of ``features``.

        Raises:
            DataError: nothing found, features of several encoders or ways of cutting, or neither a
                file nor the options say what these were.
        """
