"""The surgery domain: its declaration is light, its work is imported where it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoscope.core.contracts import (
    LocationField,
    Neighbour,
    OwnLabels,
    Phantom,
    Sampling,
    Split,
    locate,
)
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.domains.surgery.options import (
    FrameSampling,
    PredictOptions,
    PrepareOptions,
    ReadOptions,
    RelationOptions,
    ReviewOptions,
)
from histoscope.domains.surgery.splits import published_splits
from histoscope.domains.surgery.video_files import NAMING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from histoscope.core.config import Spec
    from histoscope.core.contracts import (
        Artefact,
        Beside,
        CloseUp,
        CorruptSample,
        Course,
        Export,
        Reader,
        Rendering,
        Results,
        Roots,
        Scalar,
        Source,
        Unused,
    )
    from histoscope.core.tables.names import Naming
    from histoscope.core.views.plan import ViewPlan
    from histoscope.core.views.spec import ViewsSpec
    from histoscope.core.work.outcome import Outcome
    from histoscope.domains.surgery.operation_reader import OperationReader

LONGEST_S = 10.0  # a moment later than this is no context any more
LOCATION = (
    LocationField("at_s", "float64", False, "presentation time from the first frame, s"),
    LocationField(
        "frame", "int64", False, "frame number of the source, from 0; joined parts count on"
    ),
    LocationField("pts", "int64", False, "time stamp in the file; number in the name of a picture"),
    LocationField("part", "int64", False, "part of the recording, from 0"),
)


class SurgeryDomain:
    """Videos and frames of operations. See :class:`histoscope.core.contracts.Domain`."""

    name: str = "surgery"
    location: Sequence[LocationField] = LOCATION
    sampling: type[Sampling] = FrameSampling
    options: Mapping[str, type[Spec]] = {
        "prepare": PrepareOptions,
        "predict": PredictOptions,
        "embed": ReadOptions,
        "relations": RelationOptions,
        "review": ReviewOptions,
    }
    reviewed: str = "phase"
    splits: Mapping[str, Mapping[str, Split]] = published_splits()
    naming: Naming = NAMING
    amount_unit: str = "min"
    checks: Mapping[str, str] = {"av": "av:__version__", "decord2": "decord:__version__"}

    def find(self, roots: Roots, options: Spec) -> Iterator[Source | Unused]:
        """Operations below the roots, root by root, in natural order.

        Raises:
            DataError: a root is absent or holds no operation.
        """
        from histoscope.core.tables.files import Cases
        from histoscope.domains.surgery.discovery import VIDEO_WORDS, Operation, find_operations
        from histoscope.domains.surgery.told import with_told

        if not isinstance(options, ReadOptions):
            raise DataError(f"surgery takes ReadOptions, not {type(options).__name__}")
        words, missing = VIDEO_WORDS, options.missing_cases
        cases = Cases(options.cases, options.case_regex, words, NAMING, missing)
        found: list[tuple[Source, Operation]] = []
        for root, place in roots.items():
            if not place.exists():
                raise DataError(f"{place}: no such file or folder")
            found += find_operations(root, place, options)
        if not found:
            places = ", ".join(map(str, roots.values()))
            raise DataError(f"{places}: no video and no folder of frames found")
        stated = {source.path for source, _ in found if source.case is not None}
        known, unused = cases.of([source.path for source, _ in found], stated)
        yield from unused
        taken = [
            (replace(source, case=known[source.path] or source.case), one)
            for source, one in found
            if source.path in known
        ]
        yield from with_told(taken, options)

    def open(self, source: Source, roots: Roots, sampling: Sampling) -> Reader:
        """Open an operation.

        Raises:
            UnreadableSource: with the true reason; also where its labels are not what they should.
        """
        from histoscope.domains.surgery.operation_reader import OperationReader
        from histoscope.domains.surgery.readers.movie import open_movie

        if not isinstance(sampling, FrameSampling):
            raise DataError(f"surgery cuts by FrameSampling, not {type(sampling).__name__}")
        told, path = source.told, locate(source, roots)
        movie = open_movie(source.kind, path, told.parts, sampling, told.options)
        try:
            if told.labels is not None:
                told.labels.check(movie)
        except DataError as fault:
            raise UnreadableSource(f"its labels cannot be used: {fault}") from None
        if told.fault:
            raise UnreadableSource(f"its labels cannot be used: {told.fault}")
        return OperationReader(told.name, movie, sampling, told.labels)

    def views(self, spec: ViewsSpec, size_px: int) -> ViewPlan:
        """The augmentations of one view of an image whose side is ``size_px``."""
        from histoscope.domains.surgery.views import make_views

        return make_views(spec, size_px)

    def render(self, reader: Reader, results: Results, options: Spec, out: Path) -> Rendering:
        """Write tables, segments, chapters and pictures and, where asked, Cholec80's texts."""
        from histoscope.domains.surgery.drawings import render
        from histoscope.domains.surgery.operation_reader import OperationReader

        if not isinstance(reader, OperationReader):
            raise DataError(f"surgery draws what it has opened, not {type(reader).__name__}")
        chosen = options if isinstance(options, PredictOptions) else PredictOptions()
        return render(reader, results, chosen, out)

    def export(self, options: Spec, encoder: str, sampling: Sampling) -> Export:
        """One array an operation, under its id, with the moment of each row."""
        from histoscope.domains.surgery.exports import FrameExport

        return FrameExport()

    def point_out(
        self, source: Source, facts: Mapping[str, Scalar], rows: pa.Table, options: Spec, out: Path
    ) -> Sequence[Artefact]:
        """Nothing: ``suggested.csv`` gives the times, and no player reads marks of its own."""
        return ()

    def around(self, rows: pa.Table, place: int) -> Sequence[Neighbour]:
        """The sampled frame before and the one after, where they are near enough in time."""
        at_s, found = rows.column("at_s"), []
        for other, right in ((place - 1, -1.0), (place + 1, 1.0)):
            if 0 <= other < len(rows):
                apart = abs(at_s[other].as_py() - at_s[place].as_py())
                if apart <= LONGEST_S:
                    found.append(Neighbour(other, right, 0.0))
        return found

    def close_ups(
        self, reader: Reader, rows: pa.Table, places: Sequence[int]
    ) -> Iterable[CloseUp | CorruptSample]:
        """Frames at the recording's own size."""
        from histoscope.domains.surgery.closeup import close_ups

        return close_ups(_opened(reader), rows, places)

    def files(self, source: Source, roots: Roots) -> Sequence[Path]:
        """A recording's parts; none of a folder of frames."""
        from histoscope.domains.surgery.told import ToldOfOperation

        path = locate(source, roots)
        if not isinstance(source.told, ToldOfOperation) or not path.is_file():
            return ()
        return [path.with_name(name) for name in source.told.parts]

    def relations(self, index: pa.Table, spec: Spec) -> pa.Table:
        """Frames of one operation; distances in seconds."""
        from histoscope.core.data.relations import near_pairs

        if not isinstance(spec, RelationOptions):
            raise DataError(f"surgery takes RelationOptions, not {type(spec).__name__}")
        at_s = index.column("at_s").to_numpy(zero_copy_only=False)[:, None]
        within = {"partner": spec.partner_s, "same": spec.same_s}
        return near_pairs(index.column("source").to_pylist(), at_s, within)

    def own_labels(
        self, path: Path, index: pa.Table, sources: Mapping[str, Mapping[str, Any]]
    ) -> OwnLabels | None:
        """Classes of the frames of one operation, from ``segments.json``."""
        from histoscope.domains.surgery.segments import labels_of_samples

        if path.suffix.lower() != ".json":
            return None
        return labels_of_samples(path, index, sources)

    def order(self, index: pa.Table) -> NDArray[np.float64]:
        """By presentation time."""
        at_s: NDArray[np.float64] = index.column("at_s").to_numpy(zero_copy_only=False)
        return at_s

    def breaks(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Gaps between frames; see :func:`~histoscope.domains.surgery.timeline.gaps`."""
        from histoscope.domains.surgery.timeline import gaps

        return gaps(rows.column("at_s").to_numpy())

    def called(self, source: Source) -> str:
        """What label files call an operation."""
        return str(source.told.name)

    def course(self, reader: Reader, rows: pa.Table) -> Course:
        """See :func:`~histoscope.domains.surgery.closeup.course`."""
        from histoscope.domains.surgery.closeup import course

        return course(_opened(reader), rows)

    def stills(
        self, reader: Reader, rows: pa.Table, places: Sequence[int]
    ) -> Iterator[NDArray[np.uint8] | CorruptSample]:
        """Frames at the recording's own size."""
        from histoscope.domains.surgery.closeup import stills

        return stills(_opened(reader), rows, places)

    def amount(self, rows: pa.Table) -> float:
        """Minutes that a sampled frame stands for."""
        from histoscope.domains.surgery.durations import minutes_a_frame

        return minutes_a_frame(rows)

    def set_beside(
        self, directory: Path, about: Mapping[str, Any], outcomes: Sequence[Outcome]
    ) -> Sequence[Beside]:
        """Minutes of each phase beside those of the other operations: ``durations.csv``."""
        from histoscope.domains.surgery.durations import set_beside

        return set_beside(directory, about, outcomes)

    def phantom(self, out: Path, seed: int) -> Phantom:
        """Operations of seven phases with tools, as short H.264 videos."""
        from histoscope.domains.surgery.phantom import FPS, SIZE_PX, write_phantom

        write_phantom(out, seed)
        return Phantom(
            labelled=out / "labelled",
            new=out / "new",
            sampling=FrameSampling(size_px=SIZE_PX, fps=FPS),
            prepare_options=PrepareOptions(),
            predict_options=PredictOptions(),
            pretrain={
                "encoder": "resnet18",
                "views": {"geometry": {"quarter_turns": False}},
                "training": {"steps": 160, "batch_size": 128},
            },
            tasks=["phase", "tools"],
        )


def _opened(reader: Reader) -> OperationReader:
    """A reader of ours. Raises DataError: another domain's."""
    from histoscope.domains.surgery.operation_reader import OperationReader

    if not isinstance(reader, OperationReader):
        raise DataError(f"surgery shows what it has opened, not {type(reader).__name__}")
    return reader
