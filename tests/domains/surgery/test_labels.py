"""Labels of operations: which frame each is of, and what is wrong in their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from histoscope.core.contracts import Unused
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError
from histoscope.core.progress import Silent
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.check_command import command as check_labels
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.phase_text import read_phases
from histoscope.domains.surgery.phases import PHASES, TOOLS
from histoscope.domains.surgery.tool_text import read_tools

CUT = FrameSampling(size_px=32, fps=1.0)


def labels_of(folder: Path, sampling: FrameSampling = CUT, **options: object):
    """Plans of all operations in a folder, by path."""
    chosen = PrepareOptions.model_validate(options)
    roots, plans = {"input": folder}, {}
    for source in DOMAIN.find(roots, chosen):
        if isinstance(source, Unused):
            continue
        with DOMAIN.open(source, roots, sampling) as reader:
            plans[Path(source.path).stem] = reader.plan()
    return plans


def test_labels_and_frames_agree_to_the_exact_frame(phantom: Path, store: Store):
    index = store.index.to_pylist()
    labels = store.labels("phase"), store.labels("tools")
    assert [one.task.classes for one in labels] == [PHASES, TOOLS]
    phases, tools = (one.rows for one in labels)
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
    head, _, *rest = file.read_text().splitlines()
    file.write_text("\n".join([head, "0\tPreperation", *rest]) + "\n")
    roots = {"input": copied}
    outcomes = prepare(
        DOMAIN, roots, CUT, PrepareOptions(), tmp_path / "s", engine=Local(0), progress=Silent()
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
        ("case,start,phase\nvideo01,0,a\n", "no column end"),
        ("case,start,end,phase\nvideo01,0,9,a,b\n", "line 2: 5 cells under 4 names"),
        ("case,start,end,phase\n\nvideo01,0,x,a\n", "line 3: 'x' is neither seconds nor HH:MM:SS"),
        ("case,start,end,phase\nvideo01,5,5,a\n", "an end after its start"),
        ("case,start,end,phase\nvideo01,0,9,a\nvideo01,8,12,b\n", "b begins at 8 s, before a ends"),
    ],
)
def test_wrong_annotations_are_one_clear_reason(
    copied: Path, tmp_path: Path, text: str, reason: str
):
    file = tmp_path / "phases.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=reason):
        labels_of(copied, labels=file)


def test_clock_times_are_joined_by_the_times_of_the_video_itself(copied: Path):
    """At 5 frames a second, whatever rate extracted frames are said to have."""
    whole = labels_of(copied)["video01"].labels["phase"].values.to_pylist()
    file = copied / "phase_annotations" / "video01-phase.txt"
    rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
    clock = [f"00:00:{int(n) / 5:09.6f}\t{name}" for n, name in rows[: 50 * 5]]
    file.with_name("video01-timestamp.txt").write_text("\n".join(["Frame\tPhase", *clock]))
    file.unlink()
    plan = labels_of(copied)["video01"]
    assert plan.labels["phase"].values.to_pylist() == [*whole[:50], *[None] * 10]
    assert "phase labels end at 49.80 s, the last frame is 59.8" in plan.reason


def test_a_table_of_tools_stands_instead_of_tool_files(copied: Path, tmp_path: Path):
    tools = tmp_path / "tools.csv"
    names = [*reversed(TOOLS), ""]  # an empty last column is what spreadsheets leave behind
    tools.write_text(f"case,second,{','.join(names)}\nvideo01,0,1,0,0,0,0,0,0,\n")
    plans = labels_of(copied, tools_csv=tools)
    table = plans["video01"].labels["tools"].values
    assert tuple(table.column_names) == tuple(reversed(TOOLS))
    assert table.to_pylist()[0] == dict.fromkeys(TOOLS, False) | {"SpecimenBag": True}
    assert "tools" not in plans["video02"].labels


def test_labels_are_found_from_inside_the_folder_and_in_any_case(copied: Path, monkeypatch):
    (copied / "videos" / "video01.mp4").rename(copied / "videos" / "VIDEO1.MP4")
    monkeypatch.chdir(copied / "videos")
    plans = labels_of(Path())
    assert set(plans) == {"VIDEO1", "video02"}
    assert all(set(plan.labels) == {"phase", "tools"} for plan in plans.values())


def test_labels_that_speak_of_no_operation_are_said(copied: Path):
    phases = copied / "phase_annotations"
    shutil.copy(phases / "video01-phase.txt", phases / "video99-phase.txt")
    told = CliRunner().invoke(check_labels, [str(copied)], standalone_mode=False)
    assert "not used: labels: video99-phase.txt: fits no operation here" in told.output.splitlines()
    assert told.output.count("no operation here") == 1


@pytest.mark.data
def test_labels_are_held_against_folders_of_frames(real_data: Path):
    place = real_data / "surgery" / "operations"
    asked = [str(place / "frames"), "--labels", str(place), "--frame-base", "0"]
    told = CliRunner().invoke(check_labels, [*asked, "--frame-step", "1"], standalone_mode=False)
    assert told.return_value == 0
    assert told.output.endswith("8 operations, 0 that cannot be used\n")
    assert "ClippingCutting: 716 labelled moments" in told.output
    unsaid = CliRunner().invoke(check_labels, asked[:3], standalone_mode=False)
    assert unsaid.return_value == 1


@pytest.mark.data
def test_the_real_mini_set_joins_phases_by_frame(real_data: Path):
    place = real_data / "surgery" / "cholec80_mini"
    plan = labels_of(place)["video01"]
    truth = read_phases(place / "phase_annotations" / "video01-phase.txt")
    known = dict(zip(truth.frames.tolist(), truth.phases.tolist(), strict=True))
    frames = plan.rows.column("frame").to_pylist()
    assert len(frames) == 120
    assert plan.labels["phase"].values.to_pylist() == [known[frame] for frame in frames]
