"""A domain: a field of medicine, found by entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from histoscope.core.config import Spec
from histoscope.core.contracts.export import Export
from histoscope.core.contracts.reader import CorruptSample, LocationField, Reader
from histoscope.core.contracts.results import (
    Artefact,
    CloseUp,
    Column,
    Course,
    Rendering,
    Results,
    Zoom,
)
from histoscope.core.contracts.source import Roots, Sampling, Scalar, Source, Split, Unused

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from histoscope.core.tables.names import Naming
    from histoscope.core.views.plan import ViewPlan
    from histoscope.core.views.spec import ViewsSpec
    from histoscope.core.work.outcome import Outcome


@dataclass(frozen=True)
class Neighbour:
    """A sample beside another of the same source.

    Attributes:
        place: its row.
        right, down: from the other's corner to its own, in sides of a sample.
    """

    place: int
    right: float
    down: float


@dataclass(frozen=True)
class Phantom:
    """What ``demo`` runs on.

    Attributes:
        labelled: folder for ``prepare``, with labels and splits.
        new: folder for ``predict``.
        sampling: how ``prepare`` cuts.
        prepare_options: the domain's options of ``prepare``.
        predict_options: the domain's options of ``predict``.
        pretrain: settings of pretraining that suit it, as in ``config.yaml``.
        tasks: label tables that are learnt; the first, exclusive, is what encoders are compared on.
    """

    labelled: Path
    new: Path
    sampling: Sampling
    prepare_options: Spec
    predict_options: Spec
    pretrain: Mapping[str, Any]
    tasks: Sequence[str]


@dataclass(frozen=True)
class OwnLabels:
    """What a file of a field's own form says of samples, of exclusive classes.

    Attributes:
        task: its name.
        classes: in order, also those that no sample has.
        values: id of a sample to its class; others are not labelled.
    """

    task: str
    classes: tuple[str, ...]
    values: Mapping[str, str]


@runtime_checkable
class Domain(Protocol):
    """A field of medicine. Found by entry point; declared without torch or a reader.

    Attributes:
        name: one word, as in ``--domain NAME``.
        location: columns of a sample's location.
        sampling: how samples are cut; fields become flags of ``prepare``.
        options: command to a Spec whose fields become flags of that command.
        splits: published splits: name to case to part.
        naming: what names of its files have in common, for tables that speak of them.
        checks: what ``doctor`` sees to: name to ``"module:attribute"`` of a text, as a version,
            or of a function that gives one, or raises with what to do.
    """

    name: str
    location: Sequence[LocationField]
    sampling: type[Sampling]
    options: Mapping[str, type[Spec]]
    splits: Mapping[str, Mapping[str, Split]]
    naming: Naming
    checks: Mapping[str, str]

    def find(self, roots: Roots, options: Spec) -> Iterator[Source | Unused]:
        """Sources below the roots, in a stable order, with all that was told of them.

        What was given and is not used comes between them, so that it can be said.

        Raises:
            DataError: wrong input.
        """

    def open(self, source: Source, roots: Roots, sampling: Sampling) -> Reader:
        """Open a source that was found; of what was told nothing is looked up anew.

        Raises:
            UnreadableSource: with a true reason.
        """

    def views(self, spec: ViewsSpec, size_px: int) -> ViewPlan:
        """The augmentations of one view of an image whose side is ``size_px``."""

    def render(self, reader: Reader, results: Results, options: Spec, out: Path) -> Rendering:
        """Write tables and drawings of one source into ``out``; options are those of predict."""

    def export(self, options: Spec, encoder: str, sampling: Sampling) -> Export:
        """How ``embed`` writes features for the tools of the field.

        Args:
            options: those of ``embed``.
            encoder: its architecture.
            sampling: how samples are cut for it.
        """

    def point_out(
        self, source: Source, facts: Mapping[str, Scalar], rows: pa.Table, options: Spec, out: Path
    ) -> Sequence[Artefact]:
        """Write where chosen samples of one source lie, for the viewers of the field.

        Args:
            source: which one.
            facts: what its reader said of it.
            rows: location columns, ``id`` and ``name``, one row a sample.
            options: those of ``suggest``.
            out: folder of the files.

        Returns:
            What was written; nothing where no viewer opens such a source.
        """

    def around(self, rows: pa.Table, place: int) -> Sequence[Neighbour]:
        """Samples that lie around one, to show it in its context.

        Args:
            rows: all samples of one source, location columns, in the order of the index.
            place: row of the sample.
        """

    def close_ups(
        self, reader: Reader, rows: pa.Table, places: Sequence[int]
    ) -> Iterable[CloseUp | CorruptSample]:
        """Samples and what surrounds them, as finely as recorded, for a person to judge.

        Args:
            reader: of their source, open.
            rows: all samples of the source, as its plan has them.
            places: rows of some, in any order; few.

        Returns:
            One a place, in the order of these, read when it is asked for.
        """

    def relations(self, index: pa.Table, spec: Spec) -> pa.Table:
        """Which samples lie near each other, as :mod:`histoscope.core.data.relations` has them.

        Args:
            index: rows of an index, location columns and ``source``.
            spec: the domain's options of ``relations``.
        """

    def phantom(self, out: Path, seed: int) -> Phantom:
        """Write a built-in phantom, or find it written already."""


@runtime_checkable
class Zoomable(Protocol):
    """What a domain has beside the rest whose sources are larger than a screen."""

    def zoom(self, reader: Reader, out: Path, beat: Callable[[], None]) -> Zoom:
        """Write ``slide.dzi`` and ``slide_files/LEVEL/COLUMN_ROW.jpg`` of one source into ``out``.

        Args:
            reader: of the source, open.
            out: an empty folder.
            beat: called at every picture.

        Raises:
            UnreadableSource: it has no pixels of a place.
        """


@runtime_checkable
class Movable(Protocol):
    """What a domain has beside the rest whose sources may be copied before they are read."""

    def files(self, source: Source, roots: Roots) -> Sequence[Path]:
        """All files that a source is read from, below its root; none: it is read where it lies."""


@runtime_checkable
class Ordered(Protocol):
    """What a domain has beside the rest whose samples of a source lie in an order."""

    def order(self, index: pa.Table) -> NDArray[np.float64]:
        """Where each sample lies in its source, any increasing numbers, (rows,).

        Args:
            index: rows of an index, location columns and ``source``.

        Returns:
            NaN where that is unknown.
        """


@runtime_checkable
class Sequential(Protocol):
    """What a domain has beside the rest whose samples of a source follow one another."""

    def breaks(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Before which samples the sequence is interrupted, (rows,); heads do not read across.

        Args:
            rows: readable samples of one source, in order, with the columns of their location; one
                or more. What it says of the first counts for nothing.
        """


@runtime_checkable
class Labelling(Protocol):
    """What a domain has beside the rest whose labels come in a form of its own."""

    def own_labels(
        self, path: Path, index: pa.Table, sources: Mapping[str, Mapping[str, Any]]
    ) -> OwnLabels | None:
        """What such a file says of samples; None where it is none of these.

        Args:
            path: the file.
            index: of a store: ``id``, ``source`` and the columns of the location.
            sources: rows of the store's manifest by id, each with a ``path``.

        Raises:
            DataError: it is not what it should be, or speaks of no source of these.
        """


@dataclass(frozen=True)
class Beside:
    """What each class takes of the sources of a folder, beside the others there; of one task.

    Attributes:
        task: whose classes.
        title: heading for a person, as "Minutes of each phase".
        unit: of amounts, as ``min``.
        file: name of the CSV in the folder that has all of it.
        columns: of ``rows``: the class first, then its amount.
        rows: by id of a source one a class, as text; empty where nothing is.
        marks: by id of a source, class to how it differs, in a word; only what stands out.
        usual: by class the median over sources, as text.
        said: what must be known to read it, a sentence each.
    """

    task: str
    title: str
    unit: str
    file: str
    columns: Sequence[Column]
    rows: Mapping[str, Sequence[Sequence[str]]]
    marks: Mapping[str, Mapping[str, str]]
    usual: Mapping[str, str]
    said: Sequence[str]


@runtime_checkable
class Comparing(Protocol):
    """What a domain has beside the rest that asks how much of a source a class takes.

    Attributes:
        amount_unit: in what that is said, as ``min``.
    """

    amount_unit: str

    def amount(self, rows: pa.Table) -> float:
        """How much one sample of a source stands for.

        Args:
            rows: all samples of the source, in reading order, with the columns of their location.
        """

    def set_beside(
        self, directory: Path, about: Mapping[str, Any], outcomes: Sequence[Outcome]
    ) -> Sequence[Beside]:
        """Write tables of a folder of results, and say what the report shows of them.

        Args:
            directory: what ``predict`` wrote, complete or not.
            about: what ``predict.json`` says.
            outcomes: of its sources.

        Returns:
            One a task of which it can be said; the same files give the same.
        """


@runtime_checkable
class Reviewable(Protocol):
    """What a domain has beside the rest whose sources are labelled by stretches of time.

    Its options of the command ``review`` say how sources are found, and which labels are known.

    Attributes:
        reviewed: the task that stretches are labels of, and the last column of their file.
    """

    reviewed: str

    def called(self, source: Source) -> str:
        """What files of labels call a source."""

    def course(self, reader: Reader, rows: pa.Table) -> Course:
        """From when the samples of an open source count, and when it ends.

        Args:
            reader: of the source.
            rows: all of its plan.
        """

    def stills(
        self, reader: Reader, rows: pa.Table, places: Sequence[int]
    ) -> Iterator[NDArray[np.uint8] | CorruptSample]:
        """Samples as they were recorded, RGB, one a place, each read when it is asked for.

        Args:
            reader: of their source, open.
            rows: all of its plan.
            places: rows of some, increasing; any number.
        """
