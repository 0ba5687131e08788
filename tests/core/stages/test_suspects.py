"""Showing samples: in time, in order, and never at the price of the answers."""

import pytest

from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages import suspects
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.suspects import Suspicion, ranked
from histoscope.core.work.local import Local

GREEN = Suspicion("hue", "green")


@pytest.fixture
def package(toy_store, tmp_path):
    spec = ProbeSpec(fraction=0.5, draws=1)
    finetune(toy_store, "colour", spec, tmp_path / "package", progress=Silent())
    return tmp_path / "package"


def predicted(toy, package, out, engine=None, corrupt=0):
    new = out.parent / "new"
    new.mkdir(exist_ok=True)
    toy.write_stack(new / "a-good.npy", 30, 7, corrupt)
    roots, options = {"input": new}, toy.ToyOptions()
    how = {"engine": engine or Local(0), "suspicious": GREEN, "progress": Silent()}
    (outcome,) = predict(package, roots, options, out, **how)
    return outcome


def test_the_highest_scores_are_shown_in_order_and_none_beside_another(toy, package, tmp_path):
    outcome = predicted(toy, package, tmp_path / "out", corrupt=3)
    told = outcome.more["suspicious"]
    assert [one["rank"] for one in told["shown"]] == list(range(1, 13))
    scores = [one["score"] for one in told["shown"]]
    assert scores == sorted(scores, reverse=True)
    places = [int(one["where"].removeprefix("no. ")) for one in told["shown"]]
    assert all(later != place - 1 for at, place in enumerate(places) for later in places[at:])
    assert ranked([outcome]) == [(outcome, told["score"])]
    files = {one["file"] for one in told["shown"]}
    assert all(
        (tmp_path / "out" / "results" / outcome.source.id / name).is_file() for name in files
    )


def test_a_domain_that_fails_at_pictures_loses_these_alone(toy, package, tmp_path, monkeypatch):
    close_ups = type(toy.DOMAIN).close_ups

    def failing(domain, reader, rows, places):
        yield close_ups(domain, reader, rows, places)[0]
        raise MemoryError("too much")

    monkeypatch.setattr(type(toy.DOMAIN), "close_ups", failing)
    outcome = predicted(toy, package, tmp_path / "out")
    assert (outcome.status, outcome.samples) == ("done", 30)
    first, *others = outcome.more["suspicious"]["shown"]
    assert first["file"] == "suspicious-01.jpg"
    assert {(one["file"], one["where"]) for one in others} == {(None, "MemoryError: too much")}


def test_each_picture_is_a_beat(toy, package, tmp_path, monkeypatch):
    """Twelve slow pictures are no source that hangs."""
    beats = []
    monkeypatch.setattr(suspects, "_outlined", lambda domain, results, place, one, *more: one.image)
    show = suspects.show

    def counted(wanted, domain, reader, results, out, beat):
        return show(wanted, domain, reader, results, out, lambda: beats.append(beat()))

    monkeypatch.setattr("histoscope.core.stages.predict.show", counted)
    assert predicted(toy, package, tmp_path / "out").status == "done"
    assert len(beats) == 12
