"""Every objective keeps its contract, one from outside as well; planted faults are found."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.objectives import OBJECTIVES
from histoscope.core.objectives.moco_v2 import MoCoV2, MoCoV2Spec
from histoscope.core.objectives.simclr import SimCLR
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.testing.objectives import SAMPLES, Rehearsal, check_objective

CONTRAST = ["moco_v2", "relicv2", "simclr"]
BUILT_IN = ["barlow_twins", "byol", "cmsf", "dino", "distil", "ibot", "moco_v2", "msf"]
BUILT_IN += ["relicv2", "simclr", "simreg", "swav"]
MORE = {
    "swav": {"codes": {"prototypes": 12, "queue": 32, "queue_from": 0.2}},
    "simreg": {"teacher": "colour"},
    "distil": {"teacher": "package"},
}


def test_the_list_below_is_the_whole_registry():
    names = [n for n, place in OBJECTIVES.targets().items() if place.startswith("histoscope.")]
    assert sorted(names) == BUILT_IN


@pytest.mark.parametrize("base", [*BUILT_IN, "follow", "beside"])
def test_it_keeps_its_contract(base):
    check_objective(base, MORE.get(base))


@pytest.mark.parametrize("base", ["dino", "ibot", "moco_v2", "relicv2", "swav"])
def test_it_keeps_its_contract_with_small_crops(base):
    check_objective(base, {**MORE.get(base, {}), "local": 2})


@pytest.mark.parametrize("base", CONTRAST)
def test_it_keeps_its_contract_decoupled(base):
    check_objective(base, {"reduction": "decoupled"})


CHOICES = {
    "temperature": ["macl", {"kind": "macl", "reweight": False}],
    "negatives": ["fnc", {"kind": "fnc", "way": "attract", "threshold": 0.2}, "ifnd", "sampled"],
    "positives": ["near", {"kind": "near", "count": 2, "spare": False}, "other_case", "interclr"],
    "consistency": ["co2", "relic"],
    "synthetic": [{"kind": "mochi", "hardest": 8, "pairs": 4, "with_query": 2}],
    "reduction": ["decoupled"],
}


@pytest.mark.parametrize("base", CONTRAST)
def test_every_choice_keeps_the_contract_and_all_together_do(base):
    for key, values in CHOICES.items():
        for value in values:
            check_objective(base, {key: value})
    if base == "moco_v2":
        check_objective(base, {"positives": "revisiting"})
    every = {key: values[0] for key, values in CHOICES.items()}
    check_objective(base, {**every, "temperature": {"kind": "macl", "reweight": False}})


def planted(monkeypatch, kind: type, base: str, said: str) -> None:
    """A method of that class is refused in these words."""
    monkeypatch.setattr(OBJECTIVES, "load", lambda name: kind)
    with pytest.raises(AssertionError, match=said):
        check_objective(base)


def test_a_predictor_in_the_loss_is_found(monkeypatch):
    class Wrong(SimCLR):
        def __init__(self, encoder, spec, setting):
            super().__init__(encoder, spec, setting)
            self.predictor = nn.Linear(spec.projector.out, spec.projector.out)

        def project(self, views):
            projected = super().project(views)
            self.predictor(projected.asks["view 0"])  # so that it seems to be used
            return projected

        def loss(self, projected, rows, draws, clock):
            predicted = {name: self.predictor(ask) for name, ask in projected.asks.items()}
            return super().loss(type(projected)(predicted), rows, draws, clock)

    planted(monkeypatch, Wrong, "simclr", "does not use predictor")


def test_a_parameter_that_both_use_is_found(monkeypatch):
    class Wrong(SimCLR):
        def __init__(self, encoder, spec, setting):
            super().__init__(encoder, spec, setting)
            self.scale = nn.Parameter(torch.ones(spec.projector.out))

        def project(self, views):
            projected = super().project(views)
            return type(projected)({name: a * self.scale for name, a in projected.asks.items()})

        def loss(self, projected, rows, draws, clock):
            scaled = {name: ask * self.scale for name, ask in projected.asks.items()}
            return super().loss(type(projected)(scaled), rows, draws, clock)

    planted(monkeypatch, Wrong, "simclr", "uses a trained parameter, which belongs into project")


def test_a_queue_that_is_not_saved_is_found(monkeypatch):
    class Wrong(MoCoV2):
        settings: ClassVar = MoCoV2Spec

        def __init__(self, encoder, spec, setting):
            super().__init__(encoder, spec, setting)
            for name, value in dict(self.queue.named_buffers()).items():
                self.queue.register_buffer(name, value, persistent=False)

    planted(monkeypatch, Wrong, "moco_v2", "a run that is resumed has another loss")


def test_a_loss_that_waits_for_the_device_is_found(monkeypatch):
    class Wrong(MoCoV2):
        def loss(self, projected, rows, draws, clock):
            if self.queue.filled.any():
                return super().loss(projected, rows, draws, clock)
            return super().loss(projected, rows, draws, clock)

    planted(monkeypatch, Wrong, "moco_v2", "reads values of the device")


def test_a_loss_that_moves_the_queue_is_found(monkeypatch):
    class Wrong(MoCoV2):
        def loss(self, projected, rows, draws, clock):
            report = super().loss(projected, rows, draws, clock)
            super().after_step(projected, rows, clock)
            return report

    planted(monkeypatch, Wrong, "moco_v2", "loss: (another value|changes)")


def test_a_network_that_no_checkpoint_holds_is_found(monkeypatch):
    class Wrong(SimCLR):
        @property
        def published(self):
            return Rehearsal("moco_v2").objective.encoder

    planted_wrong = Wrong
    usual = OBJECTIVES.load
    monkeypatch.setattr(
        OBJECTIVES, "load", lambda name: planted_wrong if name == "simclr" else usual(name)
    )
    with pytest.raises(AssertionError, match="is no part of the objective"):
        check_objective("simclr")


@pytest.mark.parametrize("base", [*BUILT_IN, "follow"])
def test_every_base_can_be_mixed(base):
    check_objective(base, {**MORE.get(base, {}), "mixing": "unmix"})


def test_what_has_no_answers_is_not_mixed():
    with pytest.raises(UsageError, match="beside has no answers to what is asked"):
        check_objective("beside", {"mixing": "unmix"})


@pytest.mark.parametrize(
    ("base", "more", "said"),
    [
        (
            "simclr",
            {"reduction": "decoupled", "temperature": "macl"},
            "set one of them: temperature.reweight=false",
        ),
        ("simclr", {"temperature": {"kind": "macl", "slope": 1}}, "less than 1"),
        ("simclr", {"negatives": {"kind": "fnc", "support": 0}}, "greater than or equal to 1"),
        ("byol", {"temperature": "macl"}, "temperature"),
        ("barlow_twins", {"negatives": "fnc"}, "negatives"),
        ("dino", {"consistency": "co2"}, "consistency"),
        ("simclr", {"negatives": "fnx"}, "did you mean 'fnc'"),
        ("simclr", {"negatives": ["fnc", "fnc"]}, "negatives"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_key(base, more, said):
    with pytest.raises(ConfigError) as fault:
        build(MethodSpec, {"base": base, **more}, "objective")
    assert said in str(fault.value)
    assert len(str(fault.value).splitlines()) == 1


def test_choices_that_want_more_negatives_are_refused(monkeypatch):
    with pytest.raises(UsageError, match=r"--set objective.synthetic.hardest=30$"):
        Rehearsal("simclr", {"synthetic": "mochi"})  # of 16 images
    monkeypatch.setattr("histoscope.core.testing.objectives.BATCH", 1)
    with pytest.raises(UsageError, match="of 0 negatives nothing can be consistent"):
        Rehearsal("simclr", {"consistency": "co2"})


@pytest.mark.parametrize(
    ("base", "key"), [("moco_v2", "momentum"), ("msf", "neighbours"), ("cmsf", "neighbours")]
)
def test_a_memory_holds_a_batch_and_at_most_half_of_the_samples(base, key):
    with pytest.raises(UsageError, match=f"{key}.rows: 15 hold no batch of 16"):
        Rehearsal(base, {key: {"rows": 15}})
    with pytest.raises(UsageError, match=f"--set objective.{key}.rows={SAMPLES // 2}$"):
        Rehearsal(base, {key: {"rows": SAMPLES}})
