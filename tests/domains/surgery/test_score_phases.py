"""``score phases``: other people's files in, every protocol out, and what is wrong is one line."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from histoscope.core.errors import DataError, UsageError
from histoscope.domains.surgery.phases import CLASS_ORDERS, PHASES
from histoscope.domains.surgery.score.joining import Rate
from histoscope.domains.surgery.score.phases_command import command
from histoscope.domains.surgery.timeline import exact_rate, moments

FRAME_PROTOCOLS = (
    "phase_first",
    "video_first",
    "pooled",
    "relaxed_10s",
    "relaxed_10s_as_published",
)
SCORES = ("accuracy", "precision", "recall", "jaccard", "f1")
SEGMENTS = ("edit", "f1@10", "f1@25", "f1@50")
Labels = Sequence[str]


def score(truth: Path, *predicted: Path, more: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """What the command prints, and its JSON."""
    file = truth.parent / "scores.json"
    runs = [part for folder in predicted for part in ("--predicted", str(folder))]
    args = ["--truth", str(truth), *runs, "--json", str(file), *more]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output, json.loads(file.read_text())


def operation(seconds: int, seed: int) -> list[str]:
    """Phases of each second: all seven in order but one, lengths drawn."""
    rng = np.random.default_rng(seed)
    phases = [phase for place, phase in enumerate(PHASES) if place != 2 + seed % 5]
    cuts = np.sort(rng.choice(np.arange(5, seconds - 5), len(phases) - 1, replace=False))
    return [phases[np.searchsorted(cuts, second, side="right")] for second in range(seconds)]


def guess(labels: Labels, seed: int) -> list[str]:
    """The same with changes some seconds late and single wrong seconds."""
    rng = np.random.default_rng(seed + 1000)
    late = [*labels[:4], *labels[:-4]]
    return [str(rng.choice(PHASES)) if rng.random() < 0.1 else phase for phase in late]


def write(
    folder: Path,
    videos: Mapping[str, Labels],
    *,
    ending: str = "-phase.txt",
    step: int = 25,
    header: bool = True,
    order: str | None = None,
    separator: str = "\t",
    end: str = "\n",
    mark: str = "",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in videos.items():
        shown = [str(CLASS_ORDERS[order].index(x)) if order else x for x in labels]
        rows = [f"{step * row}{separator}{label}" for row, label in enumerate(shown)]
        whole = ["Frame\tPhase", *rows] if header else rows
        (folder / f"{name}{ending}").write_bytes((mark + end.join([*whole, ""])).encode())
    return folder


TRUTH = {f"video{number}": operation(240 + 10 * number, number) for number in (9, 10, 11)}
GUESS = {name: guess(labels, seed) for seed, (name, labels) in enumerate(TRUTH.items())}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "truth", TRUTH), write(tmp_path / "guess", GUESS)


def numbers(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in (*FRAME_PROTOCOLS, "segmental", "segmental_pooled")}


def test_the_head_says_what_was_compared_and_by_which_rules(folders: tuple[Path, Path]):
    output, _ = score(*folders)
    lines = output.splitlines()
    assert lines[0].startswith("protocols: phase_first, video_first, pooled, relaxed_10s, ")
    assert lines[1:5] == [
        "videos: 3 (video9 to video11)",
        "frames scored: 1020",
        "fps: 1 (frame numbers read as 25 a second)",
        "class order: none needed; phases are named in the files",
    ]
    rules = lines[lines.index("undefined cells:") + 1 :]
    assert [rule.split(":")[0].strip() for rule in rules[:7]] == [
        *FRAME_PROTOCOLS,
        "segmental",
        "segmental_pooled",
    ]
    assert "faulty" in rules[4]


def test_the_json_has_an_object_a_protocol_and_the_settings(folders: tuple[Path, Path]):
    _, body = score(*folders)
    assert (body["format"], body["version"]) == ("histoscope.phase-scores", 1)
    assert body["unit"] == "percent"
    for name in FRAME_PROTOCOLS:
        assert set(SCORES) <= set(body[name])
        assert all(set(pair) == {"value", "sd"} for pair in body[name].values())
    assert set(body["phase_first"]) - set(SCORES) == {"f1_of_mean_precision_and_recall"}
    for name in ("segmental", "segmental_pooled"):
        assert tuple(body[name]) == SEGMENTS
    assert all(pair["sd"] is None for pair in body["pooled"].values())
    assert body["relaxed_10s_as_published"]["f1"] == {"value": None, "sd": None}
    settings = body["settings"]
    assert settings["video_names"] == ["video9", "video10", "video11"]
    assert (settings["videos"], settings["frames"], settings["fps"]) == (3, 1020, 1.0)
    assert settings["absent"] == {
        "phase_first": "skip",
        "video_first": "zero",
        "pooled": "zero",
        "relaxed_10s": "skip",
    }
    assert tuple(body["per_phase"]) == PHASES


FORMS: dict[str, dict[str, Any]] = {
    "windows line ends": {"end": "\r\n"},
    "byte order mark": {"mark": "\ufeff"},
    "spaces, no header": {"separator": "  ", "header": False},
    "ids": {"order": "cholec80"},
    "ids, no header, byte order mark": {"order": "cholec80", "header": False, "mark": "\ufeff"},
    "plain names": {"ending": ".txt"},
    "names of m2cai16": {"ending": "_pred.txt"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_text_form_gives_the_same_scores(
    tmp_path: Path, folders: tuple[Path, Path], form: str
):
    expected = numbers(score(*folders)[1])
    other = write(tmp_path / "other", GUESS, **FORMS[form])
    ids = ["--class-order", "cholec80"] if "order" in FORMS[form] else []
    output, body = score(folders[0], other, more=ids)
    assert numbers(body) == expected
    assert ("class order: cholec80; ids read in the cholec80 order" in output) == bool(ids)
    assert body["settings"]["ids_read_in"] == ("cholec80" if ids else None)


def test_ids_in_the_wrong_order_give_other_scores(tmp_path: Path, folders: tuple[Path, Path]):
    other = write(tmp_path / "other", GUESS, order="tf-cholec80")
    right = score(folders[0], other, more=["--class-order", "tf-cholec80"])[1]
    wrong = score(folders[0], other, more=["--class-order", "cholec80"])[1]
    assert numbers(right) == numbers(score(*folders)[1])
    assert wrong["pooled"]["accuracy"]["value"] < right["pooled"]["accuracy"]["value"]


def test_truth_at_25_fps_and_predictions_at_1_fps_are_joined_on_common_frames(
    tmp_path: Path, folders: tuple[Path, Path]
):
    dense = {name: [x for x in labels for _ in range(25)] for name, labels in TRUTH.items()}
    output, body = score(write(tmp_path / "dense", dense, step=1), folders[1])
    assert numbers(body) == numbers(score(*folders)[1])
    assert "prediction (" not in output
    assert body["runs"][0]["notes"] == []


def test_clock_times_are_joined_as_frame_numbers(tmp_path: Path, folders: tuple[Path, Path]):
    clock = tmp_path / "clock"
    clock.mkdir()
    for name, labels in TRUTH.items():
        rows = [
            f"00:{row // 1500:02}:{row / 25 % 60:09.6f}\t{labels[row // 25]}"
            for row in range(25 * len(labels))
        ]
        (clock / f"{name}-timestamp.txt").write_text("\n".join(["Frame\tPhase", *rows]))
    assert numbers(score(clock, folders[1])[1]) == numbers(score(*folders)[1])


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_what_lasts_equally_long_scores_equally_at_every_rate(tmp_path: Path, fps: int):
    sides = []
    for which, videos in (("truth", TRUTH), ("guess", GUESS)):
        dense = {name: [x for x in labels for _ in range(25)] for name, labels in videos.items()}
        sides.append(write(tmp_path / which, dense, step=1))
    body = score(*sides, more=["--fps", str(fps)])[1]
    truth, coarse = write(tmp_path / "a", TRUTH), write(tmp_path / "b", GUESS)
    expected = score(truth, coarse)[1]
    for name in ("phase_first", "video_first", "pooled", "relaxed_10s", "segmental"):
        for value, wanted in zip(body[name].values(), expected[name].values(), strict=True):
            assert value["value"] == pytest.approx(wanted["value"])
    assert body["settings"]["frames"] == fps * 1020


def frame_times(rate: float | None, seconds: int = 60) -> NDArray[np.float64]:
    """Times of a video's frames; None: of a varying rate, 20 to 30 a second."""
    if rate is not None:
        return np.arange(int(seconds * exact_rate(rate))) / float(exact_rate(rate))
    steps = np.where(np.arange(seconds * 30) // 50 % 2, 0.05, 0.033)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    return times[times < seconds - 0.01]


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (23.976, "23.976"),
        (25, "25"),
        (29.97, "29.97"),
        (30, "30"),
        (59.94, "59.94"),
        (29.97, "25"),
        (23.976, "25"),
        (None, "25"),
        (None, "30"),
    ],
)
def test_what_predict_takes_for_a_second_is_scored_as_one(tmp_path: Path, rate, said: str):
    times, phase = frame_times(rate), operation(60, 3)
    taken = moments(times, 1.0)
    for which, frames in (("truth", range(len(times))), ("guess", taken.tolist())):
        (tmp_path / which).mkdir()
        rows = [f"{frame}\t{phase[int(times[frame] + 1e-6)]}" for frame in frames]
        file = tmp_path / which / "video01-phase.txt"
        file.write_text("\n".join(["Frame\tPhase", *rows]) + "\n")
    for truth, other in (("truth", "guess"), ("guess", "truth")):
        body = score(tmp_path / truth, tmp_path / other, more=["--source-fps", said])[1]
        assert body["settings"]["frames"] == len(taken) == 60
        assert body["runs"][0]["notes"] == []
        assert body["phase_first"]["accuracy"]["value"] == 100


@pytest.mark.parametrize("rate", [23.976, 25, 29.97, 30, 50, 59.94])
@pytest.mark.parametrize("fps", [1, 2, 5])
def test_a_rates_frames_are_those_that_predict_takes(rate: float, fps: float):
    times = frame_times(rate, 4000)
    kept = Rate(fps, rate).keeps(np.arange(len(times)))
    assert np.flatnonzero(kept).tolist() == moments(times, fps).tolist()


def test_a_file_one_row_short_is_one_line_and_that_is_all(
    tmp_path: Path, folders: tuple[Path, Path]
):
    short = write(tmp_path / "short", {**GUESS, "video10": GUESS["video10"][:-1]})
    whole = score(*folders)[0].splitlines()
    output, body = score(folders[0], short)
    line = "video10: 1 of 340 frames has no prediction (source frame 8475)"
    assert [x for x in output.splitlines() if "predict" in x and x not in whole] == [line]
    assert body["runs"][0]["notes"] == [line]
    assert body["settings"]["frames"] == 1019
    _, reverse = score(write(tmp_path / "less", {**TRUTH, "video9": TRUTH["video9"][:-2]}), short)
    assert reverse["runs"][0]["notes"] == [
        line,
        "video9: 2 of 330 predicted frames have no truth (source frame 8200, 8225)",
    ]


def test_many_short_files_are_a_few_lines(tmp_path: Path):
    many = {f"video{number}": operation(100, number) for number in range(1, 13)}
    truth = write(tmp_path / "truth", many)
    short = write(tmp_path / "guess", {name: labels[:-9] for name, labels in many.items()})
    notes = score(truth, short)[1]["runs"][0]["notes"]
    assert len(notes) == 6
    assert notes[0] == (
        "video1: 9 of 100 frames have no prediction "
        "(source frame 2275, 2300, 2325, 2350, 2375 and 4 more)"
    )
    assert notes[-1] == "and 7 more videos: 63 frames have no prediction"


def test_videos_of_one_side_only_are_said_and_not_scored(
    tmp_path: Path, folders: tuple[Path, Path]
):
    fewer = {name: GUESS[name] for name in ("video10", "video9")}
    other = write(tmp_path / "other", {**fewer, "video40": GUESS["video9"]}, ending="_pred.txt")
    output, body = score(folders[0], other)
    assert "not scored, no prediction: video11" in output
    assert "not scored, no truth: video40" in output
    assert body["settings"]["video_names"] == ["video9", "video10"]


def test_absent_overrides_the_rule_of_every_protocol_but_the_published(
    tmp_path: Path, folders: tuple[Path, Path]
):
    default = score(*folders)[1]
    skip = score(*folders, more=["--absent", "skip"])
    zero = score(*folders, more=["--absent", "zero"])[1]
    assert skip[1]["phase_first"] == default["phase_first"]
    assert zero["video_first"] == default["video_first"]
    assert skip[1]["video_first"]["f1"]["value"] > default["video_first"]["f1"]["value"]
    assert zero["phase_first"]["f1"]["value"] < default["phase_first"]["f1"]["value"]
    assert zero["relaxed_10s"]["f1"]["value"] < default["relaxed_10s"]["f1"]["value"]
    assert zero["relaxed_10s_as_published"] == default["relaxed_10s_as_published"]
    assert "video_first: a phase absent from the truth is left out" in skip[0]
    assert set(zero["settings"]["absent"].values()) == {"zero"}


def test_several_runs_give_mean_and_sd_over_runs(tmp_path: Path, folders: tuple[Path, Path]):
    runs = [
        write(
            tmp_path / f"run{run}",
            {n: guess(x, 50 * run + at) for at, (n, x) in enumerate(TRUTH.items())},
        )
        for run in range(3)
    ]
    output, body = score(folders[0], *runs)
    assert "runs: 3; values are means over runs, +- is the sd over runs (n - 1)" in output
    single = [score(folders[0], run)[1] for run in runs]
    for protocol, scores in numbers(body).items():
        assert body["settings"]["sd"][protocol] == "sd over runs"
        for name, pair in scores.items():
            values = [one[protocol][name]["value"] for one in single]
            if None in values:
                assert pair == {"value": None, "sd": None}
                continue
            assert pair["value"] == pytest.approx(statistics.fmean(values))
            assert pair["sd"] == pytest.approx(statistics.stdev(values))
    assert [run["phase_first"] for run in body["runs"]] == [one["phase_first"] for one in single]


def test_eight_phases_are_scored_where_the_first_of_m2cai16_occurs(tmp_path: Path):
    videos = {"workflow_video_01": ["TrocarPlacement"] * 30 + operation(200, 1)}
    truth = write(tmp_path / "truth", videos)
    body = score(truth, write(tmp_path / "guess", videos, ending="_pred.txt"))[1]
    assert body["settings"]["phases"] == ["TrocarPlacement", *PHASES]
    assert body["phase_first"]["accuracy"] == {"value": 100.0, "sd": None}
    assert body["video_first"]["f1"]["value"] == 100.0


def refusal(truth: Path, *predicted: Path, more: Iterable[str] = ()) -> str:
    """The one line of a refused call, which ends with exit code 2."""
    runs = [part for folder in predicted for part in ("--predicted", str(folder))]
    with pytest.raises((UsageError, DataError)) as caught:
        command.main(["--truth", str(truth), *runs, *more], standalone_mode=False)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_files_is_refused(tmp_path: Path, folders: tuple[Path, Path]):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("nothing")
    expected = f"{tmp_path / 'empty'}: no phase files in it; expected videoNN-phase.txt"
    assert refusal(tmp_path / "empty", folders[1]) == expected
    assert refusal(folders[0], tmp_path / "empty") == expected
    assert refusal(tmp_path / "nowhere", folders[1]).endswith("nowhere: no such folder")


def test_no_video_in_common_is_refused(tmp_path: Path, folders: tuple[Path, Path]):
    other = write(tmp_path / "other", {"video41": GUESS["video9"]})
    line = refusal(folders[0], other)
    assert (
        "no video in common (truth has video9, video10, video11; predictions are of video41)"
        in line
    )


def test_ids_without_a_named_order_are_read_in_that_of_cholec80_and_it_is_said(
    tmp_path: Path, folders: tuple[Path, Path]
):
    other = write(tmp_path / "other", GUESS, order="cholec80", header=False)
    said, body = score(folders[0], other)
    assert "ids read in the cholec80 order" in said
    assert body["settings"]["ids_read_in"] == "cholec80"


def test_no_frame_in_common_is_refused(tmp_path: Path, folders: tuple[Path, Path]):
    other = tmp_path / "other"
    other.mkdir()
    rows = "\n".join(f"{25 * row + 1}\t{x}" for row, x in enumerate(GUESS["video9"]))
    (other / "video9.txt").write_text(rows)
    line = refusal(folders[0], other)
    assert line.startswith("video9: truth and prediction have no frame in common at 1 fps")
    assert "truth 0, 25, 50, ...; prediction 1, 26, 51, ..." in line


def test_predictions_numbered_by_row_are_not_taken_for_source_frames(
    tmp_path: Path, folders: tuple[Path, Path]
):
    other = write(tmp_path / "other", GUESS, step=1)
    line = refusal(folders[0], other)
    assert line.startswith("video9: 330 rows of the predictions end at frame 329, 330 of the truth")
    assert line.endswith("(multiply the first column of the predictions by 25)")
    assert refusal(other, folders[1]).endswith("(multiply the first column of the truth by 25)")
    truth = write(tmp_path / "by second", TRUTH, step=1)
    body = score(truth, other, more=["--source-fps", "1"])[1]
    assert numbers(body) == numbers(score(*folders)[1])


def test_a_rate_that_the_rows_do_not_have_is_refused(folders: tuple[Path, Path]):
    line = refusal(*folders, more=["--fps", "25"])
    assert line.startswith("video9: the rows that both have come every 25 frames")
    assert line.endswith("give --fps 1")
    assert "--fps 50 is more than the video has" in refusal(*folders, more=["--fps", "50"])


def test_runs_of_other_videos_are_refused(tmp_path: Path, folders: tuple[Path, Path]):
    other = write(tmp_path / "other", {"video9": GUESS["video9"]})
    assert "are not of the same videos (video10 is in one" in refusal(*folders, other)


@pytest.mark.data
def test_every_measured_figure_is_met_to_a_hundredth(real_data: Path, tmp_path: Path):
    folder = real_data / "surgery/annotations/tmrnet_41_60"
    (tmp_path / "truth").mkdir()
    shutil.copytree(folder / "gt-phase", tmp_path / "truth", dirs_exist_ok=True)
    _, body = score(tmp_path / "truth", folder / "phase", more=["--class-order", "cholec80"])
    skipping = score(
        tmp_path / "truth", folder / "phase", more=["--class-order", "cholec80", "--absent", "skip"]
    )[1]
    counting = score(
        tmp_path / "truth", folder / "phase", more=["--class-order", "cholec80", "--absent", "zero"]
    )[1]
    wanted = json.loads((folder / "expected.json").read_text())["videos_41_60"]
    assert body["settings"]["videos"] == wanted["n_videos"]
    assert body["settings"]["frames"] == wanted["n_frames"]

    def met(pair: Mapping[str, float], value: float, sd: float = math.nan) -> None:
        assert pair["value"] == pytest.approx(value, abs=0.01)
        if not math.isnan(sd):
            assert pair["sd"] == pytest.approx(sd, abs=0.01)

    for protocol in ("phase_first", "video_first"):
        met(
            body[protocol]["accuracy"],
            wanted["accuracy_per_video_mean"],
            wanted["accuracy_std_over_videos_ddof1"],
        )
    met(body["pooled"]["accuracy"], wanted["accuracy_pooled"])
    blocks = {
        "per_phase_over_videos__absent_phase_excluded": skipping["phase_first"],
        "per_phase_over_videos__absent_but_predicted_counts_0": counting["phase_first"],
        "per_video_then_mean__absent_phase_excluded": skipping["video_first"],
        "per_video_then_mean__absent_but_predicted_counts_0_(sklearn_macro)": counting[
            "video_first"
        ],
        "relaxed10_published_script": body["relaxed_10s_as_published"],
    }
    for key, found in blocks.items():
        for name in SCORES:
            if name in wanted[key]:
                met(found[name], wanted[key][name]["mean"], wanted[key][name]["std"])
        if "f1_of_mean_p_and_r" in wanted[key]:
            p, r = found["precision"]["value"], found["recall"]["value"]
            assert 2 * p * r / (p + r) == pytest.approx(wanted[key]["f1_of_mean_p_and_r"], abs=0.01)
    met(
        body["phase_first"]["f1_of_mean_precision_and_recall"],
        wanted["per_phase_over_videos__absent_phase_excluded"]["f1_of_mean_p_and_r"],
    )
    for name, value in wanted["pooled_macro"].items():
        met(body["pooled"][name], value)
    met(body["segmental"]["edit"], wanted["edit_score_video_mean"])
    for name in SEGMENTS[1:]:
        met(body["segmental"][name], wanted["segF1" + name.removeprefix("f1")]["video_mean"])
        met(body["segmental_pooled"][name], wanted["segF1" + name.removeprefix("f1")]["pooled"])
    for number, accuracy in wanted["accuracy_by_video"].items():
        (tmp_path / number).mkdir()
        shutil.copy(folder / "phase" / f"video{number}-phase.txt", tmp_path / number)
        one = score(tmp_path / "truth", tmp_path / number, more=["--class-order", "cholec80"])[1]
        met(one["pooled"]["accuracy"], accuracy)
