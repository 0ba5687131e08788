"""Questions with named answers, what a package says of a source, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from histoscope.core.contracts.source import Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Level = Literal["sample", "source"]
UNCERTAIN, UNCERTAIN_COLOUR = "uncertain", "#b8b8b8"


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

    @property
    def asks(self) -> str:
        """What kind of answer it wants, in words."""
        return f"{'one class' if self.exclusive else 'several classes'} a {self.level}"


@dataclass(frozen=True)
class Answer:
    """What one head says of one source's samples, or of the source.

    Attributes:
        task: the head's task; its level says of what.
        probabilities: float32, (rows, classes), NaN where a sample is corrupt; of the source
            (1, classes).
        colours: one ``#rrggbb`` a class.
        thresholds: float32, (classes,): from which probability on a class of a task that is not
            exclusive counts as present.
        least: of exclusive classes, the best probability from which on a class is given; below it
            the answer is ``uncertain``. 0: there is always a class.
        weights: of a source, how much each sample that could be read counted, (samples,), summing
            to 1; None where its head does not say.
        settled: of exclusive classes, the class that its domain gave each row from all of them,
            (rows,), -1 of a corrupt one; None: the one with the highest probability.
        untold: classes, of which several may hold, whose scores told nothing of held-out labels:
            about as often there as in the labels, when or where may be chance.
    """

    task: Task
    probabilities: NDArray[np.float32]
    colours: Sequence[str]
    thresholds: NDArray[np.float32]
    least: float = 0.0
    weights: NDArray[np.floating] | None = None
    settled: NDArray[np.intp] | None = None
    untold: Sequence[str] = ()

    @property
    def doubts(self) -> bool:
        """Whether it may be uncertain."""
        return self.task.exclusive and self.least > 0

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it can say of a row: the classes and, where it may be, ``uncertain``."""
        return (*self.task.classes, *([UNCERTAIN] if self.doubts else []))

    @property
    def kind_colours(self) -> tuple[str, ...]:
        """One ``#rrggbb`` a kind."""
        return (*self.colours, *([UNCERTAIN_COLOUR] if self.doubts else []))

    def best(self) -> NDArray[np.intp]:
        """The class of each row, however low its score, (rows,); -1 of corrupt ones."""
        return self.highest() if self.settled is None else self.settled

    def highest(self) -> NDArray[np.intp]:
        """The class with the highest probability, (rows,); -1 of corrupt ones."""
        import numpy as np

        best = np.nan_to_num(self.probabilities, nan=-1).argmax(axis=1)
        return np.where(np.isnan(self.probabilities).any(axis=1), -1, best)

    def chosen(self) -> NDArray[np.bool_]:
        """Which kinds hold, (rows, kinds): one of exclusive classes, or all above their threshold.

        None of a corrupt sample.
        """
        import numpy as np

        if not self.task.exclusive:
            readable = ~np.isnan(self.probabilities).any(axis=1, keepdims=True)
            return np.asarray(readable & (self.probabilities >= self.thresholds))
        best = self.best()
        if self.doubts:
            unsure = (best >= 0) & (self.probabilities.max(axis=1) < self.least)
            best = np.where(unsure, len(self.task.classes), best)
        return np.asarray(best[:, None] == np.arange(len(self.kinds)))


@dataclass(frozen=True)
class Results:
    """What a package says of one source.

    Attributes:
        source: which one.
        rows: the plan's rows with ``status`` (``ok`` or the reason of a corrupt sample) and
            ``mark``.
        answers: one a head of level sample.
        of_source: one a head of level source; none where no sample could be read.
    """

    source: Source
    rows: pa.Table
    answers: Sequence[Answer]
    of_source: Sequence[Answer] = ()

    def counted(self, answer: Answer) -> NDArray[np.float64]:
        """How much each row counted in an answer about the source, by the average row.

        NaN where it could not be read, and where the head does not say.
        """
        import numpy as np
        import pyarrow.compute as pc

        good = pc.equal(self.rows.column("status"), "ok").to_numpy(zero_copy_only=False)
        counted = np.full(len(good), np.nan)
        if answer.weights is not None:
            counted[good] = answer.weights * good.sum()
        return counted


@dataclass(frozen=True)
class Column:
    """A column of a table that a report shows.

    Attributes:
        name: as in the file.
        kind: ``text``, ``count`` (whole), ``number``, or ``share`` (a part, from 0 to 1).
        heading: for a person, with the unit; empty: the name.
    """

    name: str
    kind: Literal["text", "count", "number", "share"] = "text"
    heading: str = ""


@dataclass(frozen=True)
class Artefact:
    """One file that a result consists of.

    Attributes:
        file: name inside the source's result folder.
        kind: ``picture``, ``table`` or ``data``.
        title: heading for a person.
        caption: one sentence that explains what is seen; may be empty.
        columns: of a ``table``, in the order of the file, which is CSV.
        task: whose classes the first column of a ``table`` names; empty: of none.
    """

    file: str
    kind: Literal["picture", "table", "data"]
    title: str
    caption: str = ""
    columns: Sequence[Column] = ()
    task: str = ""


@dataclass(frozen=True)
class CloseUp:
    """A sample among what surrounds it, as finely as it was recorded.

    Attributes:
        image: uint8 RGB, (height, width, 3).
        box: left, top, width and height of the sample in it, px; fractions are allowed.
        where: its place, for a person.
        place: left, top, width and height on the finest level of its source's :class:`Zoom`, px;
            None where there is none.
    """

    image: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    where: str
    place: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Course:
    """A source in time.

    Attributes:
        starts_s: from when each sample counts, from 0, increasing, (samples,), s.
        end_s: when the source ends, s.
    """

    starts_s: NDArray[np.float64]
    end_s: float


@dataclass(frozen=True)
class Zoom:
    """A source as pictures of every scale, in the layout of Deep Zoom Images.

    Attributes:
        width, height: of the finest level, px.
        side_px: side of a picture; those at the right and lower end may be smaller.
        levels: of which the last is the finest; the first is one pixel.
        um_per_px: of the finest level along x, None where it has no such scale.
        missing: pictures that could not be read.
    """

    width: int
    height: int
    side_px: int
    levels: int
    um_per_px: float | None = None
    missing: int = 0


@dataclass(frozen=True)
class Rendering:
    """Drawings and tables of one source, and facts to print beside them (name to text)."""

    artefacts: Sequence[Artefact]
    facts: Mapping[str, str] = field(default_factory=dict)
