"""``score tools``: probabilities against 0/1 files, joined by video and frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from histoscope.core.errors import DataError
from histoscope.domains.surgery.phases import TOOLS
from histoscope.domains.surgery.score.tools_command import command

Tables = Mapping[str, NDArray[np.float64]]


def write(folder: Path, tables: Tables, step: int = 25, ending: str = "-tool.txt") -> Path:
    folder.mkdir()
    for name, table in tables.items():
        rows = [
            "\t".join([str(step * at), *(f"{x:g}" for x in row)]) for at, row in enumerate(table)
        ]
        (folder / f"{name}{ending}").write_text("\n".join(["\t".join(["Frame", *TOOLS]), *rows]))
    return folder


def drawn(seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Truth and probabilities of three videos; scissors stay away from the last."""
    rng = np.random.default_rng(seed)
    truth, guess = {}, {}
    for number, rows in ((41, 80), (42, 50), (43, 60)):
        table = (rng.random((rows, 7)) < 0.3).astype(float)
        if number == 43:
            table[:, TOOLS.index("Scissors")] = 0
        truth[f"video{number}"] = table
        noisy = np.clip(0.4 * table + 0.6 * rng.random(table.shape), 0, 1)
        guess[f"video{number}"] = np.round(noisy, 2)
    return truth, guess


def score(truth: Path, predicted: Path) -> tuple[str, dict[str, Any]]:
    file = truth.parent / "tools.json"
    args = ["--truth", str(truth), "--predicted", str(predicted), "--json", str(file)]
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output, json.loads(file.read_text())


def test_both_means_equal_scikit_learns_average_precision(tmp_path: Path):
    truth, guess = drawn()
    output, body = score(write(tmp_path / "t", truth), write(tmp_path / "p", guess, ending=".txt"))
    together = [np.concatenate(list(side.values())) for side in (truth, guess)]
    per_tool = [
        100 * average_precision_score(*(side[:, at] for side in together)) for at in range(7)
    ]
    assert [body["pooled"][tool]["value"] for tool in TOOLS] == pytest.approx(per_tool)
    mean = body["pooled"]["mean_average_precision"]
    assert mean == {"value": pytest.approx(np.mean(per_tool)), "sd": None}
    videos = [
        np.mean(
            [
                100 * average_precision_score(truth[name][:, at], guess[name][:, at])
                for at in range(7)
                if truth[name][:, at].any()
            ]
        )
        for name in truth
    ]
    mean = body["video_first"]["mean_average_precision"]
    assert mean == {
        "value": pytest.approx(np.mean(videos)),
        "sd": pytest.approx(np.std(videos, ddof=1)),
    }
    assert (body["format"], body["version"]) == ("histoscope.tool-scores", 1)
    assert output.splitlines()[:3] == [
        "protocols: pooled, video_first",
        "videos: 3 (video41 to video43)",
        "frames scored: 190",
    ]


def test_unknown_truth_is_masked_and_counted(tmp_path: Path):
    truth, guess = drawn()
    truth["video41"][:70, 0] = np.nan
    output, body = score(write(tmp_path / "t", truth), write(tmp_path / "p", guess))
    assert "values not known in the truth, left out: 70" in output
    both = [np.concatenate(list(side.values()))[70:, 0] for side in (truth, guess)]
    assert body["pooled"]["Grasper"]["value"] == pytest.approx(100 * average_precision_score(*both))


def test_rows_and_tools_of_one_side_only_are_said(tmp_path: Path):
    truth, guess = drawn()
    guess["video42"] = guess["video42"][:-1]
    for table in guess.values():
        table[:, TOOLS.index("SpecimenBag")] = np.nan
    _, body = score(write(tmp_path / "t", truth), write(tmp_path / "p", guess))
    assert body["notes"] == [
        "video42: 1 of 50 frames has no prediction (source frame 1225)",
        "SpecimenBag: no predictions",
    ]
    assert body["pooled"]["SpecimenBag"] == {"value": None, "sd": None}


def refusal(truth: Path, predicted: Path) -> str:
    with pytest.raises(DataError) as caught:
        command.main(["--truth", str(truth), "--predicted", str(predicted)], standalone_mode=False)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_compared_is_one_line(tmp_path: Path):
    truth, guess = drawn()
    folder, good = write(tmp_path / "t", truth), write(tmp_path / "p", guess)
    (tmp_path / "empty").mkdir()
    assert refusal(folder, tmp_path / "empty").endswith(
        "no tool files in it; expected videoNN-tool.txt"
    )
    other = write(tmp_path / "other", {"video1": guess["video41"]})
    assert "no video in common (truth has video41" in refusal(folder, other)
    by_row = write(tmp_path / "by row", guess, step=1)
    assert refusal(folder, by_row).endswith("(multiply the first column of the predictions by 25)")
    assert "is neither 0 nor 1; is this a prediction?" in refusal(good, good)
    wrong = {name: 10 * table for name, table in guess.items()}
    assert "is not between 0 and 1" in refusal(folder, write(tmp_path / "wrong", wrong))
