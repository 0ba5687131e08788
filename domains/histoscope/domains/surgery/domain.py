"""The surgery domain: its declaration is light, its work is imported where it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histoscope.core.contracts import LocationField, Phantom, Sampling, Split, locate
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.domains.surgery.options import (
    FrameSampling,
    PredictOptions,
    PrepareOptions,
    ReadOptions,
)
from histoscope.domains.surgery.splits import published_splits

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from histoscope.core.config import Spec
    from histoscope.core.contracts import (
        Artefact,
        Neighbour,
        Reader,
        Rendering,
        Results,
        Roots,
        Scalar,
        Source,
    )
    from histoscope.core.views.plan import ViewPlan
    from histoscope.core.views.spec import ViewsSpec
    from histoscope.domains.surgery.labels import FrameLabels
    from histoscope.domains.surgery.readers.movie import Movie

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
    }
    splits: Mapping[str, Mapping[str, Split]] = published_splits()

    def find(self, roots: Roots, options: Spec) -> Iterator[Source]:
        """Operations below the roots, root by root, in natural order.

        Raises:
            DataError: a root is absent or holds no operation.
        """
        from histoscope.core.tables.cases import Cases
        from histoscope.domains.surgery.discovery import VIDEO_WORDS, find_operations
        from histoscope.domains.surgery.given import with_given

        chosen = _options(options)
        cases = Cases(chosen.cases, chosen.case_regex, VIDEO_WORDS)
        sources: list[Source] = []
        for root, place in roots.items():
            if not place.exists():
                raise DataError(f"{place}: no such file or folder")
            sources += find_operations(root, place, chosen, cases)
        if not sources:
            places = ", ".join(map(str, roots.values()))
            raise DataError(f"{places}: no video and no folder of frames found")
        cases.check_used()
        if isinstance(chosen, PrepareOptions):
            yield from with_given(sources, roots, chosen)
        else:
            yield from sources

    def open(self, source: Source, roots: Roots, sampling: Sampling, options: Spec) -> Reader:
        """Open an operation.

        Raises:
            UnreadableSource: with the true reason; also where its labels are not what they should.
        """
        from histoscope.domains.surgery.discovery import operation_at
        from histoscope.domains.surgery.operation_reader import OperationReader

        if not isinstance(sampling, FrameSampling):
            raise DataError(f"surgery cuts by FrameSampling, not {type(sampling).__name__}")
        chosen = _options(options)
        one = operation_at(locate(source, roots), source.kind, chosen.part_regex)
        movie = _open_movie(one.kind, one.parts, sampling, chosen)
        labels = _labels_of(one.path, one.name, source.case, chosen)
        return OperationReader(one.name, movie, sampling, labels)

    def views(self, spec: ViewsSpec, size_px: int) -> ViewPlan:
        """The augmentations of one view of an image whose side is ``size_px``."""
        from histoscope.core.views.plan import plain_plan

        if spec.domain:
            raise DataError(f"views.domain: surgery adds none (given {', '.join(spec.domain)})")
        return plain_plan(spec, size_px)

    def render(self, reader: Reader, results: Results, options: Spec, out: Path) -> Rendering:
        """Write ``phases.csv``, a timeline and, where asked, Cholec80's text files."""
        from histoscope.domains.surgery.drawings import render
        from histoscope.domains.surgery.operation_reader import OperationReader

        if not isinstance(reader, OperationReader):
            raise DataError(f"surgery draws what it has opened, not {type(reader).__name__}")
        write = options.write if isinstance(options, PredictOptions) else "none"
        return render(reader, results, write, out)

    def export_features(
        self,
        reader: Reader,
        rows: pa.Table,
        features: NDArray[np.float32],
        attributes: Mapping[str, Scalar],
        out: Path,
    ) -> Sequence[Artefact]:
        """Write one operation's features as ``NAME.npy``, (frames, dim), with ``NAME.csv``."""
        from histoscope.domains.surgery.exports import export_features

        return export_features(rows, features, attributes, out)

    def point_out(
        self, source: Source, facts: Mapping[str, Scalar], rows: pa.Table, options: Spec, out: Path
    ) -> Sequence[Artefact]:
        """Nothing: ``suggested.csv`` gives the times, and no player reads marks of its own."""
        return ()

    def around(self, rows: pa.Table, place: int) -> Sequence[Neighbour]:
        """The frames before and after."""
        from histoscope.domains.surgery.surroundings import around

        return around(rows, place)

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


def _options(options: Spec) -> ReadOptions:
    if not isinstance(options, ReadOptions):
        raise DataError(f"surgery takes ReadOptions, not {type(options).__name__}")
    return options


def _open_movie(
    kind: str, parts: Sequence[Path], sampling: FrameSampling, options: ReadOptions
) -> Movie:
    from histoscope.domains.surgery.discovery import CLOSED
    from histoscope.domains.surgery.readers.frame_folder import FrameFolder
    from histoscope.domains.surgery.readers.movie import JoinedParts, VideoFile, check_parts

    if kind == CLOSED and not parts[0].is_dir():
        raise UnreadableSource("neither a file nor a folder")
    if kind == CLOSED:
        raise UnreadableSource("what lies in this folder cannot be listed; is it yours to read?")
    if kind == "frames":
        return FrameFolder(parts[0], options)
    movies = []
    for path in parts:
        try:
            movies.append(VideoFile(path, options.video_reader, 1 / sampling.fps))
        except UnreadableSource as fault:
            where = f"{path.name}: " * (len(parts) > 1)
            raise UnreadableSource(f"{where}{fault.reason}") from None
    if len(movies) == 1:
        return movies[0]
    check_parts(movies)
    return JoinedParts(movies)


def _labels_of(path: Path, name: str, case: str | None, options: ReadOptions) -> FrameLabels | None:
    """Labels of an operation by its name, or by its case where a table uses that."""
    from histoscope.domains.surgery.discovery import label_folder
    from histoscope.domains.surgery.labels import LabelFiles

    if not isinstance(options, PrepareOptions):
        return None
    place = options.labels or label_folder(path)
    if place is None and options.tools_csv is None:
        return None
    try:
        files = LabelFiles(place, options.tools_csv, options.class_order)
        found = files.of(name)
        return files.of(case) if found is None and case else found
    except DataError as fault:
        raise UnreadableSource(f"its labels cannot be used: {fault}") from None
