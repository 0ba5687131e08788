"""How features leave for the tools of a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from histoscope.core.contracts.reader import Reader
from histoscope.core.contracts.source import Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from histoscope.core.work.outcome import Outcome


@dataclass(frozen=True)
class Features:
    """What an encoder gave for one source.

    Attributes:
        source: which one.
        rows: location columns, one row a sample that could be read, in reading order.
        vectors: float32, (rows, dim), one a row.
        weights: digest of the encoder's weights.
    """

    source: Source
    rows: pa.Table
    vectors: NDArray[np.float32]
    weights: str = ""


class Export(Protocol):
    """Writes features of sources as the tools of a field read them. Picklable."""

    def write(self, reader: Reader, features: Features, out: Path) -> None:
        """Write those of one source.

        Args:
            reader: of the source, open.
            features: of it, perhaps of no sample.
            out: the source's own folder, whose name is opaque; where names are given, the folder
                of all.
        """


@runtime_checkable
class NamedExport(Export, Protocol):
    """An export into folders that sources share, under names by which tools look them up."""

    @property
    def said(self) -> str:
        """What is written and where, one line for people."""

    def name(self, source: Source) -> str:
        """What the files of a source are called, without a suffix.

        Raises:
            UnreadableSource: no file can have its name on every machine.
        """

    def close(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """Write what speaks of all; remove what an earlier call left of those that are not done.

        Args:
            outcomes: of all sources in the folder, those of earlier calls included.
            out: the folder of all.
        """
