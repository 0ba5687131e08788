"""Operations as a store sees them: labels by frame, marks, splits, and what a person gets."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from histoscope.core.batch.folder import read_outcomes
from histoscope.core.batch.predict import predict
from histoscope.core.data.prepare import prepare
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.labels.finetune import finetune
from histoscope.core.labels.spec import FinetuneSpec
from histoscope.core.progress import Silent
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.marks import marks_of
from histoscope.domains.surgery.options import FrameSampling, PredictOptions, PrepareOptions
from histoscope.domains.surgery.phantom import write_phantom
from histoscope.domains.surgery.phantom.script import write_script
from histoscope.domains.surgery.phase_text import read_phases
from histoscope.domains.surgery.phases import PHASES, TOOLS
from histoscope.domains.surgery.picture import find_field, to_square
from histoscope.domains.surgery.tool_text import read_tools

CUT = FrameSampling(size_px=32, fps=1.0)
# frames before encoding, and labels, of version 1, seed 0; a change needs a new version and figures
SMALL_HASH = "7434e01a6593611b7f02732b9e331d922a8fdbaece9c6b1afec693c4a1c468f3"
FULL_HASH = "1235d73b381dde90b7bf8156dfb8a2b16f6ddc3e8c052d8d5d2dab0aa0d03bd0"
SMALL = {"train": 2, "valid": 0, "test": 1, "new": 1, "seconds": 60}


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("operations")
    write_phantom(out, 0, **SMALL)
    return out


@pytest.fixture
def copied(phantom: Path, tmp_path: Path) -> Path:
    """The training part, which a test may change."""
    return Path(shutil.copytree(phantom / "labelled" / "train", tmp_path / "copied"))


@pytest.fixture(scope="session")
def store(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("operations-store") / "store"
    roots = {"input": phantom / "labelled"}
    prepare(DOMAIN, roots, CUT, PrepareOptions(), out, workers=0, progress=Silent())
    return Store(out)


def test_the_generator_is_frozen(phantom: Path):
    assert json.loads((phantom / "phantom.json").read_text())["sha256"] == SMALL_HASH


@pytest.mark.slow
def test_the_quoted_size_is_frozen(tmp_path: Path):
    write_phantom(tmp_path, 0)
    assert json.loads((tmp_path / "phantom.json").read_text())["sha256"] == FULL_HASH


def labels_of(folder: Path, sampling: FrameSampling = CUT, **options: object):
    """Plans of all operations in a folder, by path."""
    chosen = PrepareOptions.model_validate(options)
    roots, plans = {"input": folder}, {}
    for source in DOMAIN.find(roots, chosen):
        with DOMAIN.open(source, roots, sampling, chosen) as reader:
            plans[Path(source.path).stem] = reader.plan()
    return plans


def test_labels_and_frames_agree_to_the_exact_frame(phantom: Path, store: Store):
    index = store.index.to_pylist()
    task, phases = store.labels("phase")
    tools_task, tools = store.labels("tools")
    assert (task.classes, tools_task.classes) == (PHASES, TOOLS)
    cases = {row["id"]: row["case"] for row in index}
    frames = {row["id"]: row["frame"] for row in index}
    truth = {}
    for part in ("train", "test"):
        for file in (phantom / "labelled" / part / "phase_annotations").iterdir():
            read = read_phases(file)
            truth[file.name[:7]] = dict(zip(read.frames.tolist(), read.phases, strict=True))
    for sample, label in zip(
        *(phases.column(n).to_pylist() for n in ("sample", "label")), strict=True
    ):
        assert label == truth[cases[sample]][frames[sample]]
    for row in tools.to_pylist():
        file = next(phantom.glob(f"labelled/*/tool_annotations/{cases[row['sample']]}-tool.txt"))
        read = read_tools(file)
        place = read.frames.tolist().index(frames[row["sample"]])
        assert [row[name] for name in TOOLS] == [bool(v) for v in read.values[place]]


def test_cases_and_splits_come_from_the_layout(store: Store):
    rows = store.index.select(["case", "split"]).to_pylist()
    assert {(row["case"], row["split"]) for row in rows} == {
        ("video01", "train"),
        ("video02", "train"),
        ("video03", "test"),
    }


@pytest.mark.parametrize("operation", range(3))
def test_black_repeated_and_outside_frames_are_marked(store: Store, operation: int):
    script = write_script(0, operation, SMALL["seconds"] * 5, 5)
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


def test_a_phase_file_of_every_25th_row_and_one_of_clock_times_label_the_same(copied: Path):
    whole = labels_of(copied)["video01"].labels["phase"].values.to_pylist()
    file = copied / "phase_annotations" / "video01-phase.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *lines[1::5]]) + "\n")
    assert labels_of(copied)["video01"].labels["phase"].values.to_pylist() == whole
    file.unlink()
    rows = [line.split("\t") for line in lines[1:]]
    clock = [f"00:00:{int(n) / 5:09.6f}\t{name}" for n, name in rows if int(n) < 60 * 5]
    (copied / "phase_annotations" / "video01-timestamp.txt").write_text(
        "\n".join(["Frame\tPhase", *clock])
    )
    found = labels_of(copied, frame_rate=5.0)["video01"].labels["phase"].values.to_pylist()
    assert found == whole


def test_a_label_file_one_row_short_is_said_and_its_last_frame_unknown(copied: Path):
    file = copied / "phase_annotations" / "video01-phase.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-5]) + "\n")
    plan = labels_of(copied)["video01"]
    assert plan.labels["phase"].values.to_pylist()[-1] is None
    assert "phase labels end at frame 294, the last frame is 299" in plan.reason
    assert plan.labels["phase"].values.null_count == 1


def test_a_last_second_without_tools_stays_unknown(copied: Path):
    file = copied / "tool_annotations" / "video01-tool.txt"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    table = labels_of(copied)["video01"].labels["tools"].values
    assert all(table.column(name).null_count == 1 for name in TOOLS)
    assert table.to_pylist()[-1] == dict.fromkeys(TOOLS)


def test_an_unknown_phase_is_one_row_and_the_rest_goes_on(copied: Path, tmp_path: Path):
    file = copied / "phase_annotations" / "video01-phase.txt"
    file.write_text(file.read_text().replace("Preparation", "Preperation", 1))
    roots = {"input": copied}
    outcomes = prepare(
        DOMAIN, roots, CUT, PrepareOptions(), tmp_path / "s", workers=0, progress=Silent()
    )
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert "line 2: unknown phase 'Preperation', did you mean Preparation?" in outcomes[0].reason


def test_own_annotations_are_spans_and_seconds(copied: Path, tmp_path: Path):
    shutil.rmtree(copied / "phase_annotations")
    shutil.rmtree(copied / "tool_annotations")
    spans = tmp_path / "phases.csv"
    spans.write_text("case;start;end;phase\nvideo01;0;10;access\nvideo01;00:00:10;30.5;closure\n")
    tools = tmp_path / "tools.csv"
    tools.write_text("case,second,needle,camera\nvideo01,0,1,0\nvideo01,2,0,\n")
    plan = labels_of(copied, labels=spans, tools_csv=tools)["video01"]
    phases = plan.labels["phase"]
    assert phases.classes == ("access", "closure")
    assert phases.values.to_pylist() == ["access"] * 10 + ["closure"] * 21 + [None] * 29
    rows = plan.labels["tools"].values.to_pylist()
    assert rows[:3] == [
        {"needle": True, "camera": False},
        {"needle": None, "camera": None},
        {"needle": False, "camera": None},
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,start,phase\nvideo01,0,a\n", "lacks the columns end"),
        ("case,start,end,phase\nvideo01,0,x,a\n", "'x' is neither seconds nor HH:MM:SS"),
        ("case,start,end,phase\nvideo01,5,5,a\n", "an end after its start"),
        ("case,start,end,phase\nvideo01,0,9,a\nvideo01,8,12,b\n", "b begins at 8 s, before a ends"),
    ],
)
def test_wrong_annotations_are_one_clear_reason(
    copied: Path, tmp_path: Path, text: str, reason: str
):
    file = tmp_path / "phases.csv"
    file.write_text(text)
    with pytest.raises(UnreadableSource, match=reason):
        labels_of(copied, labels=file)


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
    with DOMAIN.open(source, roots, field, options) as reader:
        assert reader.facts["field_right_px"] - reader.facts["field_left_px"] < 192


def test_predict_writes_seconds_timeline_and_cholec80_text(
    phantom: Path, store: Store, tmp_path: Path
):
    spec = FinetuneSpec(fraction=0.3, draws=2)
    finetune(store, "colour", spec, tmp_path / "p", tasks=("phase", "tools"), progress=Silent())
    out = tmp_path / "out"
    options = PredictOptions(write="cholec80")
    roots = {"input": phantom / "new"}
    (outcome,) = predict(tmp_path / "p", roots, options, out, workers=0, progress=Silent())
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
    assert read_outcomes(out)[0].status == "done"


def test_bad_videos_are_rows_and_the_rest_is_predicted(phantom: Path, store: Store, tmp_path: Path):
    new = tmp_path / "new"
    shutil.copytree(phantom / "new" / "videos", new)
    (new / "a-empty.mp4").write_bytes(b"")
    (new / "b-text.mp4").write_text("no video")
    good = (new / "video04.mp4").read_bytes()
    (new / "c-cut.mp4").write_bytes(good[: len(good) // 2])
    spec = FinetuneSpec(fraction=0.3, draws=1)
    finetune(store, "colour", spec, tmp_path / "p", tasks=("phase",), progress=Silent())
    outcomes = predict(
        tmp_path / "p",
        {"input": new},
        PredictOptions(),
        tmp_path / "o",
        workers=0,
        progress=Silent(),
    )
    told = {outcome.source.path: (outcome.status, outcome.reason) for outcome in outcomes}
    assert told["video04.mp4"][0] == "done"
    assert told["a-empty.mp4"] == ("failed", "the file is empty")
    assert "not a video, or cut short" in told["b-text.mp4"][1]
    assert "cut short" in told["c-cut.mp4"][1]


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
        with DOMAIN.open(source, roots, CUT, options) as reader:
            assert reader.facts["frames"] == frames, name


@pytest.mark.data
def test_the_real_recording_in_parts_is_one_operation(real_data: Path):
    roots = {"input": real_data / "surgery" / "clips" / "cholec_v01_parts"}
    options = PrepareOptions(part_regex=r"(video\d+)_(\d+)")
    (source,) = DOMAIN.find(roots, options)
    with DOMAIN.open(source, roots, CUT, options) as reader:
        rows = reader.plan().rows
        assert (reader.facts["parts"], reader.facts["frames"]) == (4, 500)
    assert rows.column("frame").to_pylist() == list(range(0, 500, 25))


@pytest.mark.data
def test_the_real_mini_set_joins_phases_by_frame(real_data: Path):
    place = real_data / "surgery" / "cholec80_mini"
    plan = labels_of(place)["video01"]
    truth = read_phases(place / "phase_annotations" / "video01-phase.txt")
    known = dict(zip(truth.frames.tolist(), truth.phases.tolist(), strict=True))
    frames = plan.rows.column("frame").to_pylist()
    assert len(frames) == 120
    assert plan.labels["phase"].values.to_pylist() == [known[frame] for frame in frames]
