"""Operations as a store sees them: marks, splits, damage, and what a person gets."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.contracts import Answer, Results, Source, Task
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.subsets import published_subsets
from histoscope.core.work.folder import read_outcomes
from histoscope.core.work.local import Local
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.drawings import by_second
from histoscope.domains.surgery.marks import marks_of
from histoscope.domains.surgery.options import FrameSampling, PredictOptions, PrepareOptions
from histoscope.domains.surgery.phantom import write_phantom
from histoscope.domains.surgery.phantom.script import write_script
from histoscope.domains.surgery.phase_text import read_phases
from histoscope.domains.surgery.phases import PHASES, TOOLS
from histoscope.domains.surgery.picture import find_field, to_square
from histoscope.domains.surgery.tool_text import read_tools

CUT = FrameSampling(size_px=32, fps=1.0)
# frames before encoding, and labels, of version 2, seed 0; a change needs a new version and figures
SMALL_HASH = "01bf7811489d959258a1e547b194d188d7e648c92a025b79469788820bc51487"
FULL_HASH = "722c48807e1cc94a90f8c7991d5d9918f1714377b1db3921ad00e606f341defb"


def test_the_generator_is_frozen(phantom: Path):
    assert json.loads((phantom / "phantom.json").read_text())["sha256"] == SMALL_HASH


@pytest.mark.slow
def test_the_quoted_size_is_frozen(tmp_path: Path):
    write_phantom(tmp_path, 0)
    assert json.loads((tmp_path / "phantom.json").read_text())["sha256"] == FULL_HASH


def test_cases_and_splits_come_from_the_layout(store: Store):
    rows = store.index.select(["case", "split"]).to_pylist()
    assert {(row["case"], row["split"]) for row in rows} == {
        ("video01", "train"),
        ("video02", "train"),
        ("video03", "test"),
    }


@pytest.mark.parametrize("operation", range(3))
def test_black_repeated_and_outside_frames_are_marked(phantom: Path, store: Store, operation: int):
    seconds = json.loads((phantom / "phantom.json").read_text())["size"]["seconds"]
    script = write_script(0, operation, seconds * 5, 5)
    rows = [r for r in store.index.to_pylist() if r["case"] == f"video{operation + 1:02d}"]
    for row in rows:
        frame = row["frame"]
        if script.black[frame]:
            assert row["mark"] == "black"
        elif script.frozen[frame] and script.frozen[max(0, frame - 5)]:
            assert row["mark"] == "repeated"
        elif row["mark"] == "outside?":
            assert script.outside[max(0, frame - 5) : frame + 6].any()
    outside = [row for row in rows if script.outside[row["frame"]]]
    found = sum(row["mark"] in ("outside?", "repeated") for row in outside)
    assert found >= 0.8 * len(outside)


def test_one_grey_frame_is_not_outside_and_one_red_one_does_not_end_a_stretch():
    times = np.arange(10.0)
    plain = np.full(10, 60.0), np.full(10, 9.0)
    inside = np.where(np.arange(10) == 4, 0.3, 0.45)
    assert marks_of(times, *plain, inside) == [None] * 10
    outside = np.where(np.isin(np.arange(10), [2, 3, 4, 6, 7]), 0.3, 0.45)
    assert [m is not None for m in marks_of(times, *plain, outside)] == [
        2 <= n <= 7 for n in range(10)
    ]


def test_an_empty_folder_and_an_absent_one_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no video and no folder of frames"):
        list(DOMAIN.find({"input": tmp_path}, PrepareOptions()))
    with pytest.raises(DataError, match="no such file or folder"):
        list(DOMAIN.find({"input": tmp_path / "x"}, PrepareOptions()))


def test_the_published_splits_are_those_of_the_papers():
    splits = DOMAIN.splits
    assert sum(part == "test" for part in splits["cholec80-40-40"].values()) == 40
    eight = splits["cholec80-40-8-32"]
    assert [part for _, part in sorted(eight.items())].count("valid") == 8
    assert (eight["video40"], eight["video41"], eight["video49"]) == ("train", "valid", "test")
    assert splits["cholec80-32-8-40"]["video33"] == "valid"
    few = splits["endovit-4-1"]
    assert sorted(case for case, part in few.items() if part == "train") == [
        "video05",
        "video17",
        "video25",
        "video31",
    ]


def test_published_subsets_are_the_training_parts_of_the_runs_of_one_name():
    subsets = published_subsets("surgery")
    assert {name: len(runs) for name, runs in subsets.items()} == dict.fromkeys(
        ("endovit-2", "endovit-4", "endovit-8"), 3
    )
    assert subsets["endovit-2"] == (
        ("video25", "video01"),
        ("video33", "video11"),
        ("video22", "video40"),
    )
    assert [len(run) for run in subsets["endovit-8"]] == [8, 8, 8]


def test_the_field_of_view_is_one_box_and_cut_off_on_demand(phantom: Path):
    picture = np.zeros((108, 192, 3), np.uint8)
    cv2.circle(picture, (100, 54), 40, (180, 90, 80), -1)
    box = find_field([picture])
    assert box is not None
    assert abs(box.left - 60) <= 4
    assert abs(box.right - 141) <= 4
    assert find_field([np.zeros((108, 192, 3), np.uint8)]) is None
    assert to_square(box.cut(picture), 32).shape == (32, 32, 3)
    field = FrameSampling(size_px=32, fps=1.0, crop="field")
    assert field.scale() != CUT.scale()
    options, roots = PrepareOptions(), {"input": phantom / "labelled"}
    source = next(DOMAIN.find(roots, options))
    with DOMAIN.open(source, roots, field) as reader:
        assert reader.facts["field_right_px"] - reader.facts["field_left_px"] < 192


def test_a_package_takes_its_circle_along_and_is_refused_without(
    phantom: Path, store: Store, tmp_path: Path
):
    cut, out = FrameSampling(size_px=32, fps=1.0, crop="circle"), tmp_path / "store"
    roots = {"input": phantom / "labelled"}
    prepare(DOMAIN, roots, cut, PrepareOptions(), out, engine=Local(0), progress=Silent())
    spec = ProbeSpec(fraction=0.3, draws=2)
    package = tmp_path / "package"
    finetune(Store(out), "colour", spec, package, tasks=("phase",), progress=Silent())
    new = {"input": phantom / "new"}
    results = tmp_path / "out"
    (outcome,) = predict(
        package, new, PredictOptions(), results, engine=Local(0), progress=Silent()
    )
    assert outcome.status == "done"
    (source,) = DOMAIN.find(new, PredictOptions())
    with DOMAIN.open(source, new, cut) as reader:
        assert outcome.facts == reader.facts
        assert reader.facts["circle_across_px"] > 40
    with pytest.raises(DataError, match=r"made at circle_of_view 1, but .* prepare the data"):
        finetune(store, str(package), spec, tmp_path / "no", tasks=("phase",), progress=Silent())


def test_predict_writes_seconds_timeline_and_cholec80_text(
    phantom: Path, store: Store, tmp_path: Path
):
    spec = ProbeSpec(fraction=0.3, draws=2)
    finetune(store, "colour", spec, tmp_path / "p", tasks=("phase", "tools"), progress=Silent())
    out = tmp_path / "out"
    options = PredictOptions(write="cholec80")
    roots = {"input": phantom / "new"}
    (outcome,) = predict(tmp_path / "p", roots, options, out, engine=Local(0), progress=Silent())
    assert (outcome.status, outcome.samples) == ("done", 60)
    folder = out / "results" / outcome.source.id
    with (folder / "phases.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["second"]) for row in rows] == list(range(60))
    assert rows[59]["time"] == "0:00:59"
    assert rows[3]["frame"] == "15"
    assert set(TOOLS) <= set(rows[0])
    shares = [float(rows[9][f"p_{name}"]) for name in PHASES]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert rows[9]["phase"] == PHASES[int(np.argmax(shares))]
    phases = read_phases(folder / "video04-phase.txt")
    assert phases.frames.tolist() == [5 * second for second in range(60)]
    assert phases.phases.tolist() == [row["phase"] for row in rows]
    tools = read_tools(folder / "video04-tool.txt", probabilities=True)
    assert tools.values.shape == (60, 7)
    height, width = cv2.imread(str(folder / "timeline.png")).shape[:2]
    assert width > height > 200
    assert read_outcomes(out / "results")[0].status == "done"


def test_bad_videos_are_rows_and_the_rest_is_predicted(phantom: Path, store: Store, tmp_path: Path):
    new = tmp_path / "new"
    shutil.copytree(phantom / "new" / "videos", new)
    (new / "a-empty.mp4").write_bytes(b"")
    (new / "b-text.mp4").write_text("no video")
    good = (new / "video04.mp4").read_bytes()
    (new / "c-cut.mp4").write_bytes(good[: len(good) // 2])
    spec = ProbeSpec(fraction=0.3, draws=1)
    finetune(store, "colour", spec, tmp_path / "p", tasks=("phase",), progress=Silent())
    outcomes = predict(
        tmp_path / "p",
        {"input": new},
        PredictOptions(),
        tmp_path / "o",
        engine=Local(0),
        progress=Silent(),
    )
    told = {outcome.source.path: (outcome.status, outcome.reason) for outcome in outcomes}
    assert told["video04.mp4"][0] == "done"
    assert told["a-empty.mp4"] == ("failed", "the file is empty")
    assert "not a video, or cut short" in told["b-text.mp4"][1]
    assert "cut short" in told["c-cut.mp4"][1]


def prepared(folder: Path, out: Path, **options: object) -> dict[str, tuple[str, int, str]]:
    """Status, samples and reason of what lies in a folder, by path."""
    chosen = PrepareOptions.model_validate(options)
    outcomes = prepare(
        DOMAIN, {"input": folder}, CUT, chosen, out, engine=Local(0), progress=Silent()
    )
    return {o.source.path: (o.status, o.samples, o.reason) for o in outcomes}


def write_frames(folder: Path, names: list[str]) -> None:
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), np.full((24, 32, 3), 90, np.uint8))


def test_an_operation_of_one_sample_is_read(tmp_path: Path):
    write_frames(tmp_path / "short", ["0.png", "1.png"])
    told = prepared(tmp_path / "short", tmp_path / "s", frame_base=0, frame_step=1)
    assert told == {".": ("done", 1, "")}
    assert Store(tmp_path / "s").index.column("mark").to_pylist() == [None]


def test_a_folder_whose_first_picture_is_damaged_is_read(tmp_path: Path):
    write_frames(tmp_path / "op", ["0.png", "1.png", "2.png"])
    (tmp_path / "op" / "0.png").write_bytes(b"no picture")
    told = prepared(tmp_path / "op", tmp_path / "s", frame_base=0, frame_step=25)
    assert told == {".": ("done", 2, "1 samples unreadable (its picture is damaged)")}


def test_what_cannot_be_opened_or_listed_is_a_row(phantom: Path, tmp_path: Path, monkeypatch):
    new = Path(shutil.copytree(phantom / "new" / "videos", tmp_path / "new"))
    (new / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (new / "shut").mkdir()
    os.mkfifo(new / "pipe.ts")
    listed = Path.iterdir

    def iterdir(folder: Path):
        if folder.name == "shut":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    told = prepared(new, tmp_path / "s")
    assert told["gone.mp4"] == ("failed", 0, "no such file")
    assert told["shut"][0] == "failed"
    assert "cannot be listed" in told["shut"][2]
    assert told["pipe.ts"] == ("failed", 0, "neither a file nor a folder")
    assert told["video04.mp4"][0] == "done"


def test_copies_are_one_source_that_says_where_they_lie(phantom: Path, tmp_path: Path):
    roots = {}
    for name in ("input", "input2"):
        roots[name] = Path(shutil.copytree(phantom / "new" / "videos", tmp_path / name / "x"))
    (outcome,) = prepare(
        DOMAIN, roots, CUT, PrepareOptions(), tmp_path / "s", engine=Local(0), progress=Silent()
    )
    assert (outcome.source.root, outcome.samples) == ("input", 60)
    assert outcome.source.note == "the same content lies in video04.mp4"
    assert len(Store(tmp_path / "s").index) == 60


def test_a_broken_part_is_named_and_a_part_alone_is_read_alone(phantom: Path, tmp_path: Path):
    (video,) = (phantom / "new" / "videos").iterdir()
    for number in (1, 2):
        shutil.copy(video, tmp_path / f"case7_{number}.mp4")
    regex = r"(case\d+)_(\d+)$"
    assert prepared(tmp_path, tmp_path / "s", part_regex=regex)["case7_1.mp4"][1] == 120
    one = tmp_path / "case7_2.mp4"
    assert prepared(one, tmp_path / "t", part_regex=regex) == {one.name: ("done", 60, "")}
    one.write_bytes(b"no video")
    options = PrepareOptions(part_regex=regex)
    (source,) = DOMAIN.find({"input": tmp_path}, options)
    with pytest.raises(UnreadableSource, match=r"^case7_2.mp4: not a video"):
        DOMAIN.open(source, {"input": tmp_path}, CUT)


def test_text_files_carry_the_operations_name_and_no_column_is_lost(
    phantom: Path, store: Store, tmp_path: Path
):
    spec = ProbeSpec(fraction=1, draws=1)
    finetune(store, "colour", spec, tmp_path / "p", tasks=("phase", "tools"), progress=Silent())
    (video,) = (phantom / "new" / "videos").iterdir()
    (tmp_path / "new").mkdir()
    for number in (1, 2):
        shutil.copy(video, tmp_path / "new" / f"video04_{number}.mp4")
    options = PredictOptions(write="cholec80", part_regex=r"(video\d+)_(\d+)$")
    roots = {"input": tmp_path / "new"}
    (done,) = predict(
        tmp_path / "p", roots, options, tmp_path / "o", engine=Local(0), progress=Silent()
    )
    folder = tmp_path / "o" / "results" / done.source.id
    assert len(read_phases(folder / "video04-phase.txt").phases) == 120
    assert (folder / "video04-tool.txt").is_file()


def test_a_column_whose_name_is_taken_has_its_task_before_it():
    source = Source("0" * 16, "a.mp4")
    rows = pa.table(
        {"at_s": [0.0], "frame": [0], "status": ["ok"], "mark": pa.nulls(1, pa.string())}
    )
    half = np.full((1, 2), 0.5, np.float32)
    tasks = [Task("frame", ("a", "b")), Task("seen", ("a", "time"), exclusive=False)]
    answers = [Answer(task, half, ["#000000"] * 2, half[0]) for task in tasks]
    assert by_second(Results(source, rows, answers)).to_pylist() == [
        {"second": 0, "time": "0:00:00", "at_s": 0.0, "frame": 0, "status": "ok", "mark": None}
        | {"frame:frame": "a", "p_a": 0.5, "p_b": 0.5}
        | {"a": 1, "seen:time": 1, "seen:p_a": 0.5, "p_time": 0.5}
    ]


def test_a_name_that_is_not_utf8_is_refused_in_one_line(tmp_path: Path):
    try:
        (tmp_path / "b\udcff.mp4").write_bytes(b"no video")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DataError, match=r"its name is not UTF-8; rename it"):
        prepared(tmp_path, tmp_path / "s")


@pytest.mark.data
def test_the_real_clips_open_with_their_shown_frames(real_data: Path):
    clips = real_data / "surgery" / "clips"
    shown = {
        "lapchole_circular_720p25.mp4": 250,
        "davinci_slide_vfr29_1080p.mp4": 316,
        "davinci_slide2_vfr26_1080p.mp4": 260,
        "davinci_ref3_crop.mp4": 344,
        "cholec_v01_1fps_gaps.mp4": 1470,
    }
    options = PrepareOptions(video_reader="sequential")
    for name, frames in shown.items():
        roots = {"input": clips / name}
        (source,) = DOMAIN.find(roots, options)
        with DOMAIN.open(source, roots, CUT) as reader:
            assert reader.facts["frames"] == frames, name


@pytest.mark.data
def test_the_real_recording_in_parts_is_one_operation(real_data: Path):
    roots = {"input": real_data / "surgery" / "clips" / "cholec_v01_parts"}
    options = PrepareOptions(part_regex=r"(video\d+)_(\d+)")
    (source,) = DOMAIN.find(roots, options)
    with DOMAIN.open(source, roots, CUT) as reader:
        rows = reader.plan().rows
        assert (reader.facts["parts"], reader.facts["frames"]) == (4, 500)
    assert rows.column("frame").to_pylist() == list(range(0, 500, 25))
