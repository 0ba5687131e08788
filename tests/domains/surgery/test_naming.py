"""Which files are read, and which labels are theirs: what was given is used, or named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histoscope.core.contracts import Plan, Reader, Source, Unused
from histoscope.core.errors import UnreadableSource, UsageError
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.check_command import command as check_labels
from histoscope.domains.surgery.label_files import PHASE_FOLDER, TOOL_FOLDER
from histoscope.domains.surgery.labels import PHASE, TOOL
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.phases import PHASES
from histoscope.domains.surgery.readers.frame_folder import numbered_pictures
from tests.domains.surgery.clips import encode_some, number_in, numbered

CUT = FrameSampling(size_px=112, fps=1)
FAST = {"preset": "ultrafast", "g": "25"}


def open_all(place: Path, sampling: FrameSampling = CUT, **options: object) -> dict[str, Reader]:
    """Readers by path."""
    roots, chosen = {"input": place}, PrepareOptions.model_validate(options)
    found = [one for one in DOMAIN.find(roots, chosen) if isinstance(one, Source)]
    return {source.path: DOMAIN.open(source, roots, sampling) for source in found}


def plan_of(place: Path, **options: object) -> Plan:
    (reader,) = open_all(place, **options).values()
    return reader.plan()


def film(path: Path, start: int = 0, count: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "matroska" if path.suffix == ".mkv" else "mp4"
    frames = list(numbered(start + count))[start:]
    encode_some(path, frames, "libx264", FAST, container_format=suffix)
    return path


def pictures(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (64, 36), (number, 100, 50)).save(folder / name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mxf", "mxf"),
        ("a.MOD", "mpeg"),
        ("a.tod", "mpegts"),
        ("a.divx", "avi"),
        ("a.3gp", "3gp"),
        ("a.m2t", "mpegts"),
        ("a.mpe", "mpeg"),
        ("a.f4v", "f4v"),
    ],
)
def test_films_are_found_whatever_they_are_called(tmp_path: Path, name: str, kind: str):
    frames = list(numbered(50))
    codec = "mpeg2video" if kind in ("mxf", "mpeg") else "mpeg4"
    codec = "libx264" if kind in ("mpegts", "f4v") else codec
    encode_some(
        tmp_path / name,
        frames,
        codec,
        FAST if codec == "libx264" else {"b": "3M"},
        container_format=kind,
    )
    (reader,) = open_all(tmp_path).values()
    images = [sample.image for sample in reader.read(reader.plan().rows)]
    assert [number_in(image) for image in images] == [0, 25]


def test_what_only_has_a_films_suffix_is_no_film(tmp_path: Path):
    film(tmp_path / "a.mp4")
    (tmp_path / "go.mod").write_text("module surgery\n")
    (tmp_path / "main.ts").write_text("export {}\n")
    (tmp_path / "notes").write_text("no suffix\n")
    assert list(open_all(tmp_path)) == ["a.mp4"]


def test_a_transport_stream_whose_start_is_lost_is_a_film(tmp_path: Path):
    """It is no text, and nothing that was given is left out in silence."""
    frames = list(numbered(50))
    encode_some(tmp_path / "a.ts", frames, "libx264", FAST, container_format="mpegts")
    data = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(bytes(100) + data[100:])
    (tmp_path / "b.ts").write_bytes(data[60:])
    (tmp_path / "umlaut.ts").write_text("ä" * 1000)
    (tmp_path / "umlauts.ts").write_text("a" + "ä" * 1000)  # a letter lies across the 1024th byte
    assert list(open_all(tmp_path)) == ["a.ts", "b.ts"]


@pytest.mark.parametrize("left", range(8))
def test_a_transport_stream_of_a_few_bytes_is_a_film_that_cannot_be_read(tmp_path: Path, left: int):
    encode_some(tmp_path / "a.ts", [*numbered(5)], "libx264", FAST, container_format="mpegts")
    (tmp_path / "a.ts").write_bytes((tmp_path / "a.ts").read_bytes()[:left])
    (found,) = DOMAIN.find({"input": tmp_path}, PrepareOptions())
    assert found.path == "a.ts"


def write_dicom(path: Path, data: bytes, syntax: str, frames: int = 50, parts: int = 1) -> Path:
    """A DICOM file whose pixel data are ``data`` in fragments."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.77.1.1.1")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = UID(syntax)
    body = Dataset()
    body.file_meta = meta
    body.NumberOfFrames = frames
    step = -(-len(data) // parts)
    step += step % 2
    body.PixelData = encapsulate([data[at : at + step] for at in range(0, len(data), step)])
    body["PixelData"].VR = "OB"
    body["PixelData"].is_undefined_length = True
    body.save_as(path, enforce_file_format=True)
    return path


H264, MPEG2, JPEG = (f"1.2.840.10008.1.2.4.{word}" for word in ("102", "100", "50"))


@pytest.mark.parametrize("name", ["a.dcm", "a", "a.DICOM"])
@pytest.mark.parametrize(("kind", "syntax"), [("mp4", H264), ("mpegts", H264), ("mpeg", MPEG2)])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_film_in_dicom_is_read(tmp_path: Path, name: str, kind: str, syntax: str, parts: int):
    codec = "mpeg2video" if kind == "mpeg" else "libx264"
    options = FAST if codec == "libx264" else {"b": "3M", "g": "12"}
    encode_some(tmp_path / "film", list(numbered(50)), codec, options, container_format=kind)
    data = (tmp_path / "film").read_bytes()
    (tmp_path / "film").unlink()
    write_dicom(tmp_path / name, data, syntax, parts=parts)
    (reader,) = open_all(tmp_path).values()
    assert reader.facts["frames"] == 50
    images = [sample.image for sample in reader.read(reader.plan().rows)]
    assert [number_in(image) for image in images] == [0, 25]


def test_dicom_without_a_film_says_what_to_do(tmp_path: Path):
    write_dicom(tmp_path / "a.dcm", b"\xff\xd8" * 8, JPEG)
    with pytest.raises(UnreadableSource, match=r"DICOM whose pictures are no film .* as MP4"):
        open_all(tmp_path)
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + b"\1" * 50)
    with pytest.raises(UnreadableSource, match="damaged DICOM"):
        open_all(tmp_path)


def test_a_single_dicom_picture_is_no_operation(tmp_path: Path):
    film(tmp_path / "a.mp4")
    write_dicom(tmp_path / "b.dcm", b"\xff\xd8" * 8, JPEG, frames=1)
    assert list(open_all(tmp_path)) == ["a.mp4"]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (("video01", "video01_2", "video01_3"), r"(video\d+)(?:_(\d+))?"),
        (("GOPR0042", "GP010042", "GP020042"), r"^G(?:OPR|P)(?=\d*(\d{4})$)(\d\d)?"),
        (("GX010042", "GX020042", "GX030042"), r"^GX(?=\d\d(\d{4}))(\d\d)"),
    ],
)
def test_a_part_without_a_number_is_the_first(tmp_path: Path, names, pattern: str):
    for number, name in enumerate(names):
        film(tmp_path / f"{name}.MP4", 50 * number)
    (reader,) = open_all(tmp_path, part_regex=pattern).values()
    images = [sample.image for sample in reader.read(reader.plan().rows)]
    assert [number_in(image) for image in images] == list(range(0, 150, 25))


def test_a_pattern_that_names_no_operation_is_refused(tmp_path: Path):
    film(tmp_path / "video01.mp4")
    with pytest.raises(UsageError, match=r"fits video01.mp4, but its first group"):
        open_all(tmp_path, part_regex=r"(film)?(\d+)")


def test_two_files_of_one_part_are_refused(tmp_path: Path):
    film(tmp_path / "video01_1.mp4")
    film(tmp_path / "video01_1.mkv")
    with pytest.raises(UsageError, match=r"video01_1.mkv and video01_1.mp4 are the same part"):
        open_all(tmp_path, part_regex=r"(video\d+)_(\d+)")


@pytest.mark.parametrize(
    "form", ["{:06d}_1fps.png", "video01_{:06d}_v2.png", "{}.png", "op7-{:04d}.jpg"]
)
def test_pictures_are_told_apart_by_the_number_that_differs(tmp_path: Path, form: str):
    pictures(tmp_path, [form.format(number) for number in range(20)])
    (reader,) = open_all(tmp_path, frame_base=0, frame_step=25).values()
    plan = reader.plan()
    assert plan.rows.column("frame").to_pylist() == list(range(0, 500, 25))
    reds = [int(sample.image[0, 0, 0]) for sample in reader.read(plan.rows)]
    assert reds == pytest.approx(range(20), abs=2)


def test_pictures_of_one_number_are_named(tmp_path: Path):
    pictures(tmp_path / "a", ["cam1_1_5.png", "cam1_2_5.png", "cam2_1_5.png", "cam2_2_5.png"])
    with pytest.raises(UnreadableSource, match=r"cam1_1_5.png and cam1_2_5.png are both of number"):
        open_all(tmp_path / "a", frame_base=0, frame_step=1)
    pictures(tmp_path / "b", ["1.png", "1.jpg", "2.png"])
    with pytest.raises(UnreadableSource, match=r"1.jpg and 1.png are both of number 1"):
        open_all(tmp_path / "b", frame_base=0, frame_step=1)


@given(
    st.sets(st.integers(0, 9999), min_size=2, max_size=30), st.sampled_from(["", "_1fps", "-v2"])
)
def test_no_picture_gets_another_ones_number(tmp_path_factory, numbers: set[int], end: str):
    folder = tmp_path_factory.mktemp("names")
    for number in numbers:
        (folder / f"video01_{number:05d}{end}.png").touch()
    assert [number for number, _ in numbered_pictures(folder)] == sorted(numbers)


LENGTH_S = 60


@pytest.fixture(scope="session")
def minute(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A minute at 25 frames a second."""
    path = tmp_path_factory.mktemp("minute") / "a.mp4"
    small = [np.full((32, 32, 3), number % 200, np.uint8) for number in range(25 * LENGTH_S)]
    encode_some(path, small, "libx264", {"preset": "ultrafast", "g": "25"})
    return path.read_bytes()


def phase_at(second: float) -> str:
    return PHASES[min(6, int(second * 7 / LENGTH_S))]


def lay(
    folder: Path, minute: bytes, rows: Sequence[tuple[int, str]], name: str = "video01"
) -> None:
    """An operation in Cholec80's layout."""
    for part in ("videos", PHASE_FOLDER):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "videos" / f"{name}.mp4").write_bytes(minute)
    lines = ["Frame\tPhase", *(f"{at}\t{phase}" for at, phase in rows)]
    (folder / PHASE_FOLDER / f"{name}-phase.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("rate", [1, 5, 30, 50])
def test_rows_of_another_numbering_are_refused_with_both_readings(tmp_path, minute, rate: int):
    lay(tmp_path, minute, [(at, phase_at(at / rate)) for at in range(LENGTH_S * rate)])
    message = (
        rf"as frames .* as {rate} a second with it; .* --label-rate {rate}, or --label-rate 25"
    )
    with pytest.raises(UnreadableSource, match=message):
        open_all(tmp_path)
    said = plan_of(tmp_path, label_rate=rate).labels[PHASE].values.to_pylist()
    assert said == [phase_at(second) for second in range(LENGTH_S)]
    told = CliRunner().invoke(check_labels, [str(tmp_path)], standalone_mode=False)
    assert told.return_value == 1
    assert f"--label-rate {rate}" in told.output


def test_rows_read_as_frames_may_end_early_if_one_says_so(tmp_path: Path, minute: bytes):
    lay(tmp_path, minute, [(at, "Preparation") for at in range(LENGTH_S)])
    plan = plan_of(tmp_path, label_rate=25)
    assert plan.labels[PHASE].values.to_pylist() == ["Preparation"] * 3 + [None] * 57
    assert "phase labels end at 59" in plan.reason


@pytest.mark.parametrize("end", [700, 1100, 1460, 1500, 1510])
def test_rows_that_end_elsewhere_are_joined_and_said(tmp_path: Path, minute: bytes, end: int):
    lay(tmp_path, minute, [(at, phase_at(at / 25)) for at in range(end)])
    plan = plan_of(tmp_path)
    known = [one for one in plan.labels[PHASE].values.to_pylist() if one]
    assert known == [phase_at(second) for second in range(min(LENGTH_S, -(-end // 25)))]
    assert ("phase labels" in plan.reason) == (end != 1500)


def test_tool_rows_of_another_numbering_are_refused(tmp_path: Path, minute: bytes):
    lay(tmp_path, minute, [(at, phase_at(at / 25)) for at in range(1500)])
    (tmp_path / TOOL_FOLDER).mkdir()
    rows = [f"{second}\t{second % 2}" for second in range(LENGTH_S)]
    (tmp_path / TOOL_FOLDER / "video01-tool.txt").write_text("\n".join(["Frame\tHook", *rows]))
    with pytest.raises(UnreadableSource, match="tool rows are numbered up to 59"):
        open_all(tmp_path)


def test_an_option_that_is_not_given_leaves_a_store_as_it_was():
    assert "label_rate" not in PrepareOptions().model_dump(mode="json")
    assert PrepareOptions(label_rate=1).model_dump(mode="json")["label_rate"] == 1


@pytest.mark.parametrize("end", ["-phase", "", "_gt"])
def test_a_name_without_a_number_has_labels(tmp_path: Path, minute: bytes, end: str):
    lay(tmp_path, minute, [(at, phase_at(at / 25)) for at in range(1500)], "lap-chole-a")
    folder = tmp_path / PHASE_FOLDER
    (folder / "lap-chole-a-phase.txt").rename(folder / f"lap-chole-a{end}.txt")
    (folder / "readme.txt").write_text("Frames of two hospitals.\n\nAsk before use.\n")
    said = plan_of(tmp_path).labels[PHASE].values.to_pylist()
    assert said == [phase_at(second) for second in range(LENGTH_S)]


HEAD = "case,start,end,phase\n"


def test_a_csv_may_leave_zeros_out_of_a_videos_name(tmp_path: Path, minute: bytes):
    for name in ("video01", "video02"):
        lay(tmp_path / name, minute, [], name)
        (tmp_path / name / PHASE_FOLDER / f"{name}-phase.txt").unlink()
    spans = tmp_path / "spans.csv"
    spans.write_text(HEAD + "video1,0,60,Preparation\nvideo02,0,60,ClippingCutting\n")
    readers = open_all(tmp_path, labels=spans)
    found = {path[-6:-4]: set(one.plan().labels[PHASE].values) for path, one in readers.items()}
    words = {key: {value.as_py() for value in values} for key, values in found.items()}
    assert words == {"01": {"Preparation"}, "02": {"ClippingCutting"}}


def test_two_operations_do_not_share_rows(tmp_path: Path, minute: bytes):
    for name in ("video1", "video01"):
        (tmp_path / f"{name}.mp4").write_bytes(minute)
    spans = tmp_path / "spans.csv"
    spans.write_text(HEAD + "video01,0,60,Preparation\n")
    readers = open_all(tmp_path, labels=spans)
    assert PHASE in readers["video01.mp4"].plan().labels
    assert PHASE not in readers["video1.mp4"].plan().labels


def test_a_patients_number_is_taken_as_it_stands(tmp_path: Path, minute: bytes):
    for name, case in (("a1", "p1"), ("a2", "p2")):
        (tmp_path / case).mkdir()
        (tmp_path / case / f"{name}.mp4").write_bytes(minute)
    spans = tmp_path / "spans.csv"
    spans.write_text(HEAD + "p01,0,60,Preparation\np2,0,60,Preparation\n")
    told = {"labels": spans, "case_regex": "(p[0-9]+)/"}
    readers = open_all(tmp_path, **told)
    assert PHASE not in readers["p1/a1.mp4"].plan().labels
    assert PHASE in readers["p2/a2.mp4"].plan().labels
    found = DOMAIN.find({"input": tmp_path}, PrepareOptions(**told))
    (unused,) = (one for one in found if isinstance(one, Unused))
    assert (unused.kind, unused.name) == ("labels", "p01")
    assert unused.reason == "fits no operation here; without labels: a1"
    spans.write_text(HEAD + "p01,0,60,Preparation\na2,0,60,Preparation\n")
    asked = [str(tmp_path), "--labels", str(spans)]
    assert "labels: p01: fits no operation here" in CliRunner().invoke(check_labels, asked).output


@pytest.mark.parametrize(
    ("end", "said"), [("60", ""), ("90", "phases go on to 90 s, the recording ends at 60.0 s")]
)
def test_spans_behind_the_end_are_said(tmp_path: Path, minute: bytes, end: str, said: str):
    (tmp_path / "video01.mp4").write_bytes(minute)
    (tmp_path / "spans.csv").write_text(f"{HEAD}video01,0,{end},Preparation\n")
    assert plan_of(tmp_path, labels=tmp_path / "spans.csv").reason == said


def test_spans_in_milliseconds_are_refused(tmp_path: Path, minute: bytes):
    (tmp_path / "video01.mp4").write_bytes(minute)
    (tmp_path / "spans.csv").write_text(f"{HEAD}video01,0,60000,Preparation\n")
    with pytest.raises(UnreadableSource, match=r"60000 s, .* ends at 60.0 s: perhaps milliseconds"):
        open_all(tmp_path, labels=tmp_path / "spans.csv")


def test_tools_behind_the_end_are_said(tmp_path: Path, minute: bytes):
    (tmp_path / "video01.mp4").write_bytes(minute)
    (tmp_path / "tools.csv").write_text("case,second,Hook\nvideo1,0,1\nvideo1,75,1\n")
    plan = plan_of(tmp_path, tools_csv=tmp_path / "tools.csv")
    assert plan.labels[TOOL].values.column("Hook").to_pylist()[:2] == [True, None]
    assert plan.reason == "tools go on to second 75, the recording ends at 60.0 s"
