"""An objective and an encoder from outside train by name, resume, and predict."""

from __future__ import annotations

import importlib

import pytest
import torch
import yaml

from histoscope.core.config import build, dump, load_yaml
from histoscope.core.data.units import digest_units, read_seen
from histoscope.core.encoders.folder import load_encoder
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.pretrain import pretrain, rehearse
from histoscope.core.tensors import load_tensors
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from tests.core.training.test_resume import Killed, KilledAfter, outcome

CONFIG = """
encoder: {kind: noisy, dropout: 0.1}
objective: {base: follow, width: 12, rate: 0.8}
views:
  families:
    local: {geometry: {size_px: 8, scale: [0.1, 0.4]}}
training: {steps: 8, batch_size: 8, threads: 1, workers: 0, checkpoint_every: 2}
"""


@pytest.fixture
def spec():
    return build(PretrainSpec, yaml.safe_load(CONFIG), "config.yaml")


def test_it_trains_by_name_and_a_killed_run_ends_as_an_unbroken_one(toy, toy_store, tmp_path, spec):
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "whole", progress=Silent())
    with pytest.raises(Killed):
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "cut", progress=KilledAfter(5))
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "cut", progress=Silent())
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    again = build(PretrainSpec, load_yaml(tmp_path / "cut" / "config.yaml"), "again")
    assert again == spec
    assert "dropout: 0.1" in dump(again)


def test_the_network_that_is_published_is_saved_and_the_heads_stand_beside(
    toy, toy_store, tmp_path, spec
):
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    (last,) = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1:]
    state = load_tensors(last / "model.safetensors")
    saved = load_encoder(tmp_path / "run")
    for name, value in saved.module.state_dict().items():
        assert torch.equal(value, state[f"slow.0.{name}"])
        assert not torch.equal(value, state[f"encoder.{name}"])
    kept = load_tensors(tmp_path / "run" / "objective.safetensors")
    assert {"predictor.weight", "projector.weight", "slow.1.weight"} <= set(kept)
    assert not any(name.startswith("slow.0.") for name in kept)
    assert saved.info.architecture == "noisy:noisy"


def test_an_encoder_from_outside_learns_labels_and_predicts(
    toy, toy_store, toy_folder, tmp_path, spec
):
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    few = ProbeSpec(fraction=0.5, draws=1)
    package = finetune(toy_store, str(tmp_path / "run"), few, tmp_path / "p", progress=Silent())
    body = evaluate(package, toy_store, tmp_path / "e", progress=Silent())
    assert body["tasks"]["hue"]["samples"] == 24
    outcomes = predict(
        tmp_path / "p",
        {"input": toy_folder},
        toy.ToyOptions(),
        tmp_path / "out",
        engine=Local(0),
        progress=Silent(),
    )
    assert [one.status for one in outcomes] == ["done"] * 3


def test_what_a_teacher_has_seen_the_run_has_seen(toy, toy_store, tmp_path, spec, monkeypatch):
    """A teacher that saw the test part would leak it into the student."""
    units = {
        part: toy_store.index.filter(
            [word == part for word in toy_store.index.column("split").to_pylist()]
        )
        .column("unit")
        .to_pylist()
        for part in ("train", "test")
    }
    few = {"training": spec.training.model_copy(update={"steps": 1})}
    teacher = tmp_path / "teacher"
    pretrain(
        toy_store,
        toy.DOMAIN,
        spec.model_copy(update=few),
        teacher,
        split="test",
        progress=Silent(),
    )
    taught = spec.objective.model_copy(update={"teacher": str(teacher)})
    student = spec.model_copy(update={**few, "objective": taught})
    follow = importlib.import_module("toy_learning").Follow
    usual, modes = follow.after_step, []

    def after_step(self, *rest):
        modes.append((self.training, self.teacher.training))
        return usual(self, *rest)

    monkeypatch.setattr(follow, "after_step", after_step)
    pretrain(toy_store, toy.DOMAIN, student, tmp_path / "run", progress=Silent())
    assert modes == [(True, False)]  # a teacher stays as it is
    seen = read_seen(tmp_path / "run")
    assert digest_units(units["test"]) <= seen
    assert digest_units(units["train"]) <= seen


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"views": {}}, r"views\.families\.local: follow wants views of this family"),
        (
            {"objective": {"base": "simclr"}},
            r"views\.families\.local: simclr has no use for views of this family",
        ),
        ({"relations": {"rows": 2}}, "relations: follow has no use for near samples"),
        ({"relations": {"row": 2}}, "relations: row: unknown key, did you mean 'rows'"),
    ],
)
def test_families_of_views_must_be_those_of_the_objective(toy, toy_store, tmp_path, change, said):
    spec = build(PretrainSpec, {**yaml.safe_load(CONFIG), **change}, "a")
    with pytest.raises(UsageError, match=said):
        rehearse(toy_store, toy.DOMAIN, spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ({"base": "follow", "widht": 3}, "objective.widht: unknown key, did you mean 'width'"),
        ({"base": "folow"}, "unknown objective 'folow', did you mean 'follow'"),
        ({"base": "follow", "width": 1}, "objective.width: input should be greater"),
        ({"base": "simclr", "width": 8}, "objective.width: unknown key"),
        ({"base": "simclr", "momentum": 5}, "objective.momentum: unknown key"),
    ],
)
def test_each_method_has_its_own_settings(objective, said):
    with pytest.raises(ConfigError, match=said):
        build(PretrainSpec, {"objective": objective}, "a")


def test_resolved_settings_of_older_runs_are_translated():
    """They held MoCo's settings for SimCLR, too; a momentum that somebody gives is refused."""
    momentum = {"rate": 0.99, "rows": 1024, "groups": 4, "symmetric": True}
    older = {"base": "simclr", "negatives": None, "reduction": "infonce", "momentum": momentum}
    assert build(PretrainSpec, {"objective": older}, "a") == PretrainSpec()
    with pytest.raises(ConfigError, match=r"objective\.momentum: unknown key"):
        build(PretrainSpec, {"objective": {"base": "simclr", "momentum": {"rate": 0.9}}}, "a")


def test_what_init_cannot_give_is_refused(toy, toy_store, tmp_path, spec):
    few = {"training": spec.training.model_copy(update={"steps": 1})}
    pretrain(toy_store, toy.DOMAIN, spec.model_copy(update=few), tmp_path / "a", progress=Silent())
    asked = spec.encoder.model_copy(update={"pool": "max"})
    wrong = spec.model_copy(update={**few, "init": str(tmp_path / "a"), "encoder": asked})
    with pytest.raises(UsageError, match=r"encoder\.pool is None, max was asked for"):
        rehearse(toy_store, toy.DOMAIN, wrong, tmp_path / "b")
    colour = build(PretrainSpec, {"encoder": {"kind": "colour", "name": ""}}, "a")
    with pytest.raises(UsageError, match="encoder colour: has no weights to train"):
        rehearse(toy_store, toy.DOMAIN, colour, tmp_path / "c")
