"""What flows between the parts, and what each part owes the others.

find -> Source -> open -> Reader -> plan -> rows -> read -> Sample -> store -> loader -> views
-> objective -> encoder -> few labels -> package -> batch -> results -> report

A *source* is what is opened; a *sample* is one image of it at a *location* whose columns the
domain defines; a *case* is the unit of splits and intervals. Importing this module is cheap: no
torch, no pyarrow, no reader.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from histoscope.core.config import Spec

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from numpy.typing import NDArray

    from histoscope.core.views.plan import ViewPlan, ViewsSpec

Scalar = str | int | float | bool | None
Split = Literal["train", "valid", "test"]
Level = Literal["sample", "source"]


@dataclass(frozen=True)
class Source:
    """One thing to open.

    Attributes:
        id: opaque and stable, 16 hex digits; never a file name.
        path: POSIX path relative to the root; ``"."`` when the root itself is the source.
        root: name of the root; ``--root NAME=PATH`` says where it lies on this machine.
        kind: how to open it, a word of the domain's.
        case: patient or operation, None when unknown. Where cases differ inside the source,
            the plan's rows carry them.
        split: published or given split of the whole source, None when there is none.
        note: what the user should know about how it was found, empty when nothing.
        independent: its samples are images cut by somebody else, not parts of one thing: where
            cases are unknown, the sample and not the source is the unit.
        given: digest of what the user told of it in other files (labels, scale, drawings), empty
            where nothing was: when it changes, the source is read again.
    """

    id: str
    path: str
    root: str = "input"
    kind: str = ""
    case: str | None = None
    split: Split | None = None
    note: str = ""
    independent: bool = False
    given: str = ""

    def as_before(self, before: Source) -> bool:
        """Whether work that was done on ``before`` stands for this source, too."""
        return all(
            getattr(self, name) == getattr(before, name)
            for name in ("id", "kind", "case", "split", "given")
        )


Roots = Mapping[str, Path]


def locate(source: Source, roots: Roots) -> Path:
    """Where a source lies on this machine. A root that is a file stands for its folder."""
    base = roots[source.root]
    folder = base.parent if base.is_file() else base
    return folder if source.path == "." else folder / source.path


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
    """One image: uint8, (height, width, 3), RGB; ``quality`` holds numbers measured on it."""

    image: NDArray[np.uint8]
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


@dataclass(frozen=True)
class Task:
    """A question with named answers about a sample or a source.

    Attributes:
        name: for example ``"tissue"``.
        classes: class names; the position is the id.
        exclusive: whether exactly one class holds, or any number of them (multi-label).
        level: what one label speaks of.
    """

    name: str
    classes: tuple[str, ...]
    exclusive: bool = True
    level: Level = "sample"


class Encoder(Protocol):
    """Images to pooled features.

    Attributes:
        architecture: for example ``"timm:resnet18"``, ``"colour"``.
        dim: width of a feature row.
    """

    architecture: str
    dim: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 3, height, width), normalised, to (batch, dim), float32."""


@dataclass(frozen=True)
class Answer:
    """What one head says of one source's samples.

    Attributes:
        task: the head's task.
        probabilities: float32, (rows, classes); NaN where a sample is corrupt.
        colours: one ``#rrggbb`` a class.
        thresholds: float32, (classes,): from which probability on a class of a task that is not
            exclusive counts as present.
    """

    task: Task
    probabilities: NDArray[np.float32]
    colours: Sequence[str]
    thresholds: NDArray[np.float32]

    def chosen(self) -> NDArray[np.bool_]:
        """Which classes hold, (rows, classes): the best one, or all above their threshold."""
        import numpy as np

        readable = ~np.isnan(self.probabilities).any(axis=1, keepdims=True)
        if not self.task.exclusive:
            return np.asarray(readable & (self.probabilities >= self.thresholds))
        best = np.nan_to_num(self.probabilities, nan=-1).argmax(axis=1)
        return np.asarray(readable & (best[:, None] == np.arange(len(self.task.classes))))


@dataclass(frozen=True)
class Results:
    """What a package says of one source.

    Attributes:
        source: which one.
        rows: the plan's rows with ``status`` (``ok`` or the reason of a corrupt sample) and
            ``mark``.
        answers: one a head of the package.
    """

    source: Source
    rows: pa.Table
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Artefact:
    """One file that a result consists of.

    Attributes:
        file: name inside the source's result folder.
        kind: ``picture``, ``table`` or ``data``.
        title: heading for a person.
        caption: one sentence that explains what is seen; may be empty.
    """

    file: str
    kind: Literal["picture", "table", "data"]
    title: str
    caption: str = ""


@dataclass(frozen=True)
class Rendering:
    """Drawings and tables of one source, and facts to print beside them (name to text)."""

    artefacts: Sequence[Artefact]
    facts: Mapping[str, str] = field(default_factory=dict)


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
class Command:
    """A command that a domain adds.

    Attributes:
        target: ``"module:attribute"`` of a click command, loaded when it is called.
        summary: one line for the help.
    """

    target: str
    summary: str


@runtime_checkable
class Domain(Protocol):
    """A field of medicine. Found by entry point; declared without torch or a reader.

    Attributes:
        name: one word, as in ``--domain NAME``.
        location: columns of a sample's location.
        sampling: how samples are cut; fields become flags of ``prepare``.
        options: command to a Spec whose fields become flags of that command.
        commands: further commands by name, one word or two (``"score stages"``).
        splits: published splits: name to case to part.
    """

    name: str
    location: Sequence[LocationField]
    sampling: type[Sampling]
    options: Mapping[str, type[Spec]]
    commands: Mapping[str, Command]
    splits: Mapping[str, Mapping[str, Split]]

    def find(self, roots: Roots, options: Spec) -> Iterator[Source]:
        """Sources below the roots, in a stable order. Raises DataError on wrong input."""

    def open(self, source: Source, roots: Roots, sampling: Sampling, options: Spec) -> Reader:
        """Open a source. Raises UnreadableSource with a true reason."""

    def views(self, spec: ViewsSpec, size_px: int) -> ViewPlan:
        """The augmentations of one view of an image whose side is ``size_px``."""

    def render(self, reader: Reader, results: Results, options: Spec, out: Path) -> Rendering:
        """Write tables and drawings of one source into ``out``; options are those of predict."""

    def export_features(
        self,
        reader: Reader,
        rows: pa.Table,
        features: NDArray[np.float32],
        attributes: Mapping[str, Scalar],
        out: Path,
    ) -> Sequence[Artefact]:
        """Write one source's features in the layouts that the field reads."""

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

    def phantom(self, out: Path, seed: int) -> Phantom:
        """Write a built-in phantom, or find it written already."""
