"""A package is one at every moment, and a folder holds the evaluation of one package."""

from __future__ import annotations

import json

import pytest

from histoscope.core.errors import UsageError
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.packages import package as packages
from histoscope.core.packages.card import evaluation_lines
from histoscope.core.packages.package import open_package, record_evaluation
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate, summaries
from histoscope.core.stages.finetune import finetune


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def made(toy_store, tmp_path):
    """Make a package of a name."""

    def act(name, **more):
        spec = ProbeSpec(**{"fraction": 0.5, "draws": 1, **more})
        return finetune(toy_store, "colour", spec, tmp_path / name, progress=Silent())

    return act


def killed_at(monkeypatch, act, name, count):
    """Do something that ends at the ``count``-th call of a function of the module, from 0."""
    whole, calls = getattr(packages, name), [0]

    def counted(*given):
        calls[0] += 1
        if calls[0] > count:
            raise Killed
        return whole(*given)

    with monkeypatch.context() as patched:
        patched.setattr(packages, name, counted)
        with pytest.raises(Killed):
            act()


@pytest.mark.parametrize(
    ("name", "count"), [("write_text", 0), *(("write_bytes", n) for n in (0, 1))]
)
def test_recording_that_is_cut_off_leaves_a_package(
    made, toy_store, tmp_path, monkeypatch, name, count
):
    package = made("p")
    body = summaries(evaluate(package, toy_store, tmp_path / "e", progress=Silent()))
    killed_at(monkeypatch, lambda: record_evaluation(package, body), name, count)
    again = open_package(tmp_path / "p")
    assert again.digest == package.digest
    record_evaluation(again, body)
    kept = open_package(tmp_path / "p").info.heads[0].evaluation
    assert kept["samples"] == body["hue"]["samples"]
    assert not list((tmp_path / "p").glob("*.next"))


def test_a_card_says_that_an_interval_is_unknown():
    metric = {"value": 0.5, "interval": [None, None]}
    body = {"balanced_accuracy": metric, "interval_over": "cases", "draws": 3, "cautions": []}
    (line,) = evaluation_lines(body)
    assert line == "- balanced accuracy: 0.500 (95 % interval unknown, over cases; 3 draws)"


@pytest.mark.parametrize(("name", "count"), [("write_table", 0), ("write_bytes", 1)])
def test_fine_tuning_that_is_cut_off_goes_on_by_the_same_call(
    made, tmp_path, monkeypatch, name, count
):
    killed_at(monkeypatch, lambda: made("p"), name, count)
    assert (tmp_path / "p" / "model.safetensors").is_file()
    assert made("p").info.heads
    with pytest.raises(UsageError, match="not empty"):
        made("p")


def test_a_folder_of_somebody_is_not_taken_for_an_unfinished_package(made, tmp_path):
    (tmp_path / "p").mkdir()
    for name in ("model.safetensors", "notes.txt"):
        (tmp_path / "p" / name).write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        made("p")
    assert (tmp_path / "p" / "notes.txt").read_text() == "mine"


def test_an_evaluation_of_another_package_is_not_written_over(made, toy_store, tmp_path):
    one, other, out = made("one"), made("other", seed=1), tmp_path / "e"
    evaluate(one, toy_store, out, progress=Silent())
    (out / "confusion-of-before.png").write_bytes(b"")
    before = (out / "metrics.json").read_bytes()
    with pytest.raises(UsageError, match="made with other settings"):
        evaluate(other, toy_store, out, progress=Silent())
    assert (out / "metrics.json").read_bytes() == before
    evaluate(one, toy_store, out, progress=Silent())
    assert [path.name for path in out.glob("*.png")] == ["confusion-hue.png"]
    assert json.loads(before)["model"] == one.digest
