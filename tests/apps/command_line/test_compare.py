"""``compare`` as a person calls it."""

from __future__ import annotations

import json

import pytest

from tests.apps.command_line.road import FEW


@pytest.fixture(scope="module")
def evaluations(road, tmp_path_factory):
    """Three ways on the same draws; colons may stand in a folder's name."""
    from histoscope.apps.cli import run

    base = tmp_path_factory.mktemp("compared")
    folders = {}
    for name, scaling in (("unit", "unit"), ("standard", "standard"), ("a:b", "unit")):
        package, out = base / f"{name}-package", base / name
        way = ("--set", f"scaling={scaling}")
        learn = ("finetune", road.store, "--encoder", "colour", *FEW, *way, "--out", package)
        for words in (learn, ("evaluate", package, road.store, "--out", out)):
            assert run([str(word) for word in words]) == 0
        folders[name] = out
    return folders


def test_two_folders_are_compared(evaluations, call):
    answer = call("compare", evaluations["unit"], evaluations["standard"])
    assert answer.code == 0
    first, *more = answer.out.splitlines()
    assert first.startswith("tissue, unit against standard: balanced accuracy ")
    assert "95 % interval " in first
    assert " over 10 samples and 2 draws; p " in first
    assert first.partition("): ")[2].startswith(("better", "worse", "not told apart ("))
    assert more[0].startswith("  over draws alone 95 % interval ")
    assert sum(line.startswith("  beside it, not judged: ") for line in more) == 2


def test_a_pair_that_is_given_twice_is_refused(evaluations, call):
    unit, standard, _ = evaluations.values()
    answer = call("compare", "--primary", f"{unit}:{standard}", f"{standard}:{unit}")
    assert answer.code == 2
    assert f"{standard}:{unit}: this pair is given twice" in answer.err


def test_of_several_pairs_one_is_primary(evaluations, call, tmp_path):
    unit, standard, colon = evaluations.values()
    pairs = (f"{unit}:{standard}", f"{colon}:{standard}", f"{unit}:{colon}")
    answer = call("compare", *pairs)
    assert answer.code == 2
    assert "name the one that is judged by itself, --primary ONE:OTHER" in answer.err
    out = tmp_path / "out"
    words = ("compare", "--primary", *pairs, "--margin", "0.5", "--out", out)
    answer = call(*words)
    assert answer.code == 0
    assert "the rest, p corrected for 2 by Holm:" in answer.out.splitlines()
    assert answer.out.splitlines()[-1].startswith(f"{out}: comparison.json, cases.csv")
    assert "unit against a:b: " in answer.out
    assert answer.out.count("not told apart (unknown)") == 3  # all of them are right everywhere
    assert "  caution: cases are unknown" in answer.out
    assert sorted(path.name for path in out.iterdir()) == [
        "cases.csv",
        "comparison.json",
        *(f"difference-{number}.png" for number in range(3)),
    ]
    told = json.loads(call(*words, "--json").out)
    assert [one["primary"] for one in told] == [True, False, False]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give two evaluations, or a pair ONE:OTHER"),
        (("nowhere:there",), "nowhere:there: expected ONE:OTHER, two folders"),
        (("nowhere",), "nowhere: expected ONE:OTHER, two folders"),
        (("nowhere", "there"), "nowhere/metrics.json: no such file"),
    ],
)
def test_what_is_no_pair_is_refused(call, words, said):
    answer = call("compare", *words)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith(f"histoscope: {said}")


def test_folds_want_cases(road, refused, call, tmp_path):
    words = ("finetune", road.store, "--encoder", "colour", *FEW)
    refused(*words, "--folds", "2", says=["--folds keeps cases apart", "--cases or --case-regex"])
    refused(*words, "--allow-seen", says=["--allow-seen is of --folds"])
    assert call(*words, "--folds", "1", "--out", tmp_path / "out").code == 2
