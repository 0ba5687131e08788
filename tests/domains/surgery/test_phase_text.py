"""The same phases in every form that people write them; what is wrong is one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histoscope.core.errors import DataError
from histoscope.domains.surgery.phase_text import read_phases
from histoscope.domains.surgery.phases import (
    CLASS_ORDERS,
    M2CAI16_PHASES,
    PHASES,
    TOOLS,
    phase_name,
    phase_of_id,
    tool_name,
)
from histoscope.domains.surgery.tool_text import read_tools
from histoscope.domains.surgery.video_files import natural_key, video_files, video_name

ROWS = [(frame, PHASES[frame // 50]) for frame in range(0, 350, 25)]


def text(
    separator: str = "\t", header: str = "Frame\tPhase\n", end: str = "\n", ids: str = ""
) -> str:
    shown = [(f, str(CLASS_ORDERS[ids].index(p)) if ids else p) for f, p in ROWS]
    return (header + "".join(f"{f}{separator}{p}\n" for f, p in shown)).replace("\n", end)


FORMS = {
    "as published": text(),
    "no header": text(header=""),
    "spaces": text(separator="   ", header="Frame   Phase\n"),
    "windows line ends": text(end="\r\n"),
    "byte order mark": "\ufeff" + text(),
    "byte order mark, no header": "\ufeff" + text(header=""),
    "no last line end": text().rstrip("\n"),
    "blank lines": text() + "\n  \n",
    "trailing blanks": text().replace("\n", " \t\n"),
    "lower case": text().lower(),
    "words": text().replace("ClippingCutting", "clipping and cutting"),
    "underscores": text().replace("CalotTriangleDissection", "calot_triangle_dissection"),
    "cholect50 names": text()
    .replace("CalotTriangleDissection", "carlot-triangle-dissection")
    .replace("CleaningCoagulation", "cleaning-and-coagulation")
    .replace("GallbladderRetraction", "gallbladder-extraction"),
    "ids": text(ids="cholec80"),
    "ids, no header, spaces": text(ids="cholec80", header="", separator=" "),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_text_form_reads_to_the_same_rows(tmp_path: Path, form: str):
    file = tmp_path / "video01-phase.txt"
    file.write_bytes(FORMS[form].encode("utf-8"))
    rows = read_phases(file, "cholec80")
    assert rows.frames is not None
    assert rows.frames.dtype == np.int64
    assert rows.seconds is None
    assert list(zip(rows.frames.tolist(), rows.phases.tolist(), strict=True)) == ROWS
    assert rows.note == ("ids read in the cholec80 order" if "ids" in form else "")


@pytest.mark.parametrize("order", CLASS_ORDERS)
def test_ids_mean_what_the_stated_order_says(tmp_path: Path, order: str):
    file = tmp_path / "video01.txt"
    file.write_text(text(ids=order))
    rows = read_phases(file, order)
    assert rows.phases.tolist() == [phase for _, phase in ROWS]
    assert rows.note == f"ids read in the {order} order"


def test_ids_without_a_stated_order_are_refused(tmp_path: Path):
    file = tmp_path / "video01.txt"
    file.write_text(text(ids="tf-cholec80"))
    with pytest.raises(DataError, match=r"video01\.txt, line 2: .*give --class-order \(cholec80"):
        read_phases(file)


def test_the_orders_differ_where_the_field_differs():
    assert [phase_of_id(i, "tf-cholec80") for i in (4, 5, 6)] == [
        "GallbladderRetraction",
        "CleaningCoagulation",
        "GallbladderPackaging",
    ]
    assert [phase_of_id(i, "alphabetical") for i in (0, 6)] == [
        "CalotTriangleDissection",
        "Preparation",
    ]
    assert [phase_of_id(i, "m2cai16") for i in (0, 1)] == ["TrocarPlacement", "Preparation"]
    with pytest.raises(DataError, match=r"id 7 is not in the cholec80 order \(0 to 6\)"):
        phase_of_id(7, "cholec80")


@given(
    name=st.sampled_from([*M2CAI16_PHASES, *TOOLS]),
    joints=st.lists(st.sampled_from(["", " ", "_", "-", "  "]), min_size=6, max_size=6),
    change=st.sampled_from([str.upper, str.lower, str.title, str]),
)
def test_case_and_joints_of_a_name_do_not_count(
    name: str, joints: list[str], change: Callable[[str], str]
):
    words = re.findall(r"[A-Z][a-z]+", name)
    spelt = change("".join(word + joint for word, joint in zip(words, joints, strict=False)))
    assert (tool_name if name in TOOLS else phase_name)(spelt) == name


@pytest.mark.parametrize(
    ("word", "offer"),
    [
        ("GallbladerDisection", "did you mean GallbladderDissection?"),
        ("clipping & cutting", "did you mean ClippingCutting?"),
        ("xyz", "known: TrocarPlacement, Preparation"),
    ],
)
def test_an_unknown_phase_is_refused_with_the_near_word(word: str, offer: str):
    with pytest.raises(DataError, match=re.escape(offer)):
        phase_name(word)


@pytest.mark.parametrize("step_s", [0.04, 1.0], ids=["25 fps", "1 fps"])
def test_clock_times_are_seconds_and_frames_of_the_stated_rate(tmp_path: Path, step_s: float):
    file = tmp_path / "video01-timestamp.txt"
    at = [3590 + step_s * row for row in range(600)]
    lines = [f"{int(s // 3600):02}:{int(s // 60 % 60):02}:{s % 60:09.6f}\tPreparation" for s in at]
    file.write_text("Frame\tPhase\n" + "\n".join(lines))
    rows = read_phases(file)
    assert rows.frames is None
    assert rows.seconds is not None
    assert rows.seconds == pytest.approx(at)
    assert rows.frames_at(25).tolist() == [89750 + round(25 * step_s) * row for row in range(600)]


WRONG = {
    "one column": ("Frame\tPhase\n0\tPreparation\n25\n", "line 3: 1 column where"),
    "three columns": ("0\tPreparation\t0.9\n", "line 1: 3 columns where"),
    "unknown phase": ("0\tPreparation\n25\tPrepration\n", "line 2: .*did you mean Preparation"),
    "frame twice": ("0\tPreparation\n0\tPreparation\n", "line 2: frame 0 comes twice"),
    "frame falls": ("50\tPreparation\n25\tPreparation\n", "line 2: frame 25 comes after a later"),
    "time falls": (
        "00:00:02.0\tPreparation\n00:00:01.5\tPreparation\n",
        "line 2: frame 1.5 comes after a later",
    ),
    "negative frame": ("-25\tPreparation\n", "line 1: '-25' where"),
    "broken number": ("0\tPreparation\n2.5\tPreparation\n", "line 2: '2.5' where"),
    "time among frames": ("0\tPreparation\n00:00:01\tPreparation\n", "line 2: '00:00:01' where"),
    "frame among times": ("00:00:01\tPreparation\n50\tPreparation\n", "line 2: '50' where"),
    "impossible time": ("00:61:00\tPreparation\n", "line 1: '00:61:00' where"),
    "huge frame": ("9" * 30 + "\tPreparation\n", "line 1: '9{30}' where"),
    "id out of range": ("0\t7\n", r"line 1: phase id 7 is not in the cholec80 order \(0 to 6\)"),
    "negative id": ("0\t-1\n", "line 1: phase id -1 is not in"),
    "comma separated": ("0,Preparation\n", "line 1: 1 column where"),
    "empty": ("", "empty; give a file"),
    "header only": ("Frame\tPhase\n", "a header and no rows"),
    "tool file": ("Frame\tGrasper\tHook\n0\t1\t0\n", "a tool file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_phase_file_is_one_line_that_says_where(tmp_path: Path, case: str):
    content, expected = WRONG[case]
    file = tmp_path / "video07-phase.txt"
    file.write_text(content)
    with pytest.raises(DataError, match=expected) as caught:
        read_phases(file, "cholec80")
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"video01\.txt: No such file"):
        read_phases(tmp_path / "video01.txt")
    (tmp_path / "video01.txt").write_bytes(b"0\tPr\xe4paration\n")
    with pytest.raises(DataError, match="not UTF-8 text; save it as UTF-8"):
        read_phases(tmp_path / "video01.txt")


TOOL_HEADER = "Frame\t" + "\t".join(TOOLS) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        TOOL_HEADER + "0\t1\t0\t1\t0\t0\t0\t0\n25\t0\t0\t0\t0\t0\t0\t1\n",
        (TOOL_HEADER + "0 1 0 1 0 0 0 0\n25 0 0 0 0 0 0 1\n").replace("\t", " "),
        "\ufeff"
        + (TOOL_HEADER + "0\t1\t0\t1\t0\t0\t0\t0\n25\t0\t0\t0\t0\t0\t0\t1\n\n").replace(
            "\n", "\r\n"
        ),
        "frame specimen_bag irrigator clipper scissors hook bipolar grasper\n"
        "0 0 0 0 0 1 0 1\n25 1 0 0 0 0 0 0\n",
    ],
    ids=["as published", "spaces", "windows and byte order mark", "other columns"],
)
def test_tool_files_read_to_the_same_rows(tmp_path: Path, content: str):
    file = tmp_path / "video01-tool.txt"
    file.write_bytes(content.encode())
    rows = read_tools(file)
    assert rows.frames.tolist() == [0, 25]
    assert rows.values.tolist() == [[1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]]


def test_unknown_tool_values_stay_unknown(tmp_path: Path):
    file = tmp_path / "video01-tool.txt"
    file.write_text("Frame\tGrasper\tHook\n0\tNone\t1\n25\t\t0\n50\tNaN\t0\n")
    values = read_tools(file).values
    assert np.isnan(values[:, 0]).all()
    assert values[:, 2].tolist() == [1, 0, 0]
    assert np.isnan(values[:, [1, 3, 4, 5, 6]]).all()


TOOLS_WRONG = {
    "no header": ("0\t1\t0\n", "no header, so nobody knows"),
    "unknown tool": ("Frame\tGraspr\n0\t1\n", "line 1: .*did you mean Grasper"),
    "tool twice": ("Frame\tHook\thook\n0\t1\t0\n", "line 1: each tool needs one column"),
    "short row": ("Frame\tHook\tGrasper\n0\t1\n", "line 2: a frame number and 2 values"),
    "a word": ("Frame\tHook\n0\tyes\n", "line 2: 'yes' is no number"),
    "a probability": ("Frame\tHook\n0\t0.5\n", "line 2: 0.5 is neither 0 nor 1"),
    "too large": ("Frame\tHook\n0\t2\n", "line 2: 2 is not between 0 and 1"),
    "frame twice": ("Frame\tHook\n0\t1\n0\t1\n", "line 3: frame 0 comes twice"),
    "no rows": ("Frame\tHook\n", "a header and no rows"),
}


@pytest.mark.parametrize("case", TOOLS_WRONG)
def test_a_wrong_tool_file_is_one_line_that_says_where(tmp_path: Path, case: str):
    content, expected = TOOLS_WRONG[case]
    file = tmp_path / "video07-tool.txt"
    file.write_text(content)
    with pytest.raises(DataError, match=expected) as caught:
        read_tools(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "video"),
    [
        ("video41-phase.txt", "video41"),
        ("video41.txt", "video41"),
        ("video41_pred.txt", "video41"),
        ("video41-phase_pred.txt", "video41"),
        ("video41-timestamp.txt", "video41"),
        ("video34.mp4", "video34"),
        ("test_workflow_video_05_pred.txt", "test_workflow_video_05"),
    ],
)
def test_a_file_name_says_which_video_it_is_of(file: str, video: str):
    assert video_name(Path(file)) == video


def test_videos_sort_as_people_count_and_leading_zeros_do_not_matter():
    names = ["video10", "video9", "video09-b", "Video2"]
    assert sorted(names, key=natural_key) == ["Video2", "video9", "video09-b", "video10"]
    assert natural_key("video07") == natural_key("Video7")


def test_a_flat_folder_gives_each_kind_its_files(tmp_path: Path):
    for name in (
        "video10.txt",
        "video9-phase.txt",
        "video9-timestamp.txt",
        "video8-timestamp.txt",
        "video10-timestamp.txt",
        "video9-tool.txt",
        "video9.mp4",
        "readme.txt",
        "._video9-phase.txt",
    ):
        (tmp_path / name).touch()
    phases = video_files(tmp_path, "phase")
    assert list(phases) == ["video8", "video9", "video10"]
    assert phases["video9"].name == "video9-phase.txt"
    assert phases["video10"].name == "video10.txt"
    assert [path.name for path in video_files(tmp_path, "tool").values()] == ["video9-tool.txt"]


def test_files_below_are_found_where_the_folder_itself_has_none(tmp_path: Path):
    (tmp_path / "phase_annotations").mkdir()
    (tmp_path / "phase_annotations" / "video01-phase.txt").touch()
    assert list(video_files(tmp_path, "phase")) == ["video01"]


def test_two_files_of_one_video_are_refused(tmp_path: Path):
    for name in ("video1-phase.txt", "video01_pred.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="are of the same video; keep one"):
        video_files(tmp_path, "phase")
