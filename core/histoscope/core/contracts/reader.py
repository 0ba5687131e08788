"""An open source: what it plans, and what reading one of its samples gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from histoscope.core.contracts.source import Scalar

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LocationField:
    """One column of a sample's location.

    Attributes:
        name: column name, with its unit and its coordinate frame in it.
        type: Arrow type by name: ``int64``, ``float64`` or ``string``.
        nullable: whether null is allowed.
        meaning: one line for the documentation.
    """

    name: str
    type: str
    nullable: bool
    meaning: str


@dataclass(frozen=True)
class PlanLabels:
    """What a plan's rows are labelled with, for one task; null is unknown, never a class.

    Attributes:
        values: exclusive classes: one class name a row, string. Classes that may be present
            together: a table with one bool column a class, in the order of their ids.
        classes: exclusive classes in the order of their ids; empty: those found, sorted.
    """

    values: pa.Array | pa.Table
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a source holds.

    Attributes:
        rows: one row a sample: the domain's location columns, and optionally ``key`` (string,
            unique within the source; made from the row's position where absent), ``case`` and
            ``split`` where they differ inside the source.
        labels: task name to the labels of the rows.
        reason: why there are no rows, or what was left out; empty when all is plain.
    """

    rows: pa.Table
    labels: Mapping[str, PlanLabels] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """One image: uint8, (height, width, 3), RGB; ``quality`` holds numbers measured on it.

    Where a source holds features that another program computed, its image is the row of these,
    float32, (dim,).
    """

    image: NDArray[Any]
    quality: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CorruptSample:
    """A sample that could not be read; ``reason`` is one line."""

    reason: str


class Reader(Protocol):
    """An open source, a context manager. Not picklable: opened where it is used.

    Attributes:
        divisible: whether several workers may read parts of it at once.
    """

    divisible: bool

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """Whitelisted facts (vendor, scale, size, which path reads); no name, no date.

        Asked when all was read: some are known only then.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def plan(self) -> Plan:
        """Sample rows in reading order, possibly none, then with a reason."""

    def read(self, rows: pa.Table) -> Iterator[Sample | CorruptSample]:
        """One answer a row, in row order; every image has the sampling's size."""

    def marks(self, rows: pa.Table) -> Sequence[str | None]:
        """Why a sample should be left out of pretraining, None where it should not.

        Asked once, when all rows were read: what only the whole source tells.

        Args:
            rows: the plan's rows with ``status`` and one column for each quality measured.
        """
