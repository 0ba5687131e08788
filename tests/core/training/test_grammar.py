"""Every pair of choices, over each base, trains the same in two processes, or is refused."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from histoscope.core.config import build
from histoscope.core.data.store import Store
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.folder import save_encoder
from histoscope.core.encoders.making import random_encoder
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.objectives import OBJECTIVES, choices
from histoscope.core.objectives.choices import ChoiceSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.encoders import info_of
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.tensors import load_tensors
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from tests.core.training.processes import in_two_processes
from tests.core.training.test_step import SETTINGS

KEYS = {  # of the objective, and the class whose kinds it takes
    "temperature": choices.TemperatureSpec,
    "negatives": choices.NegativesSpec,
    "synthetic": choices.SyntheticSpec,
    "consistency": choices.ConsistencySpec,
    "positives": choices.PositivesSpec,
    "mixing": choices.MixingSpec,
    "continual": choices.ContinualSpec,
    "order": choices.OrderSpec,
}
SMALL = {
    "mochi": {"hardest": 8, "pairs": 4, "with_query": 2},
    "ifnd": {"clusters": (2, 5)},
    "interclr": {"clusters": 4, "pool": 10, "negatives": 4, "every": 2},
    "revisiting": {"count": 3},
}
CODED = {"swav", "dino", "ibot", "simreg", "distil"}  # have no loss between two features
EARLY = {"begins": 0.0, "ramp": 0.0}


def forms(spec: type[ChoiceSpec]) -> list[dict[str, Any]]:
    """Each kind, so set that three steps see it."""
    return [
        {
            "kind": kind,
            **SMALL.get(kind, {}),
            **{name: value for name, value in EARLY.items() if name in its.model_fields},
        }
        for kind, its in spec.known.items()
        if kind != "fixed"
    ]


def pairs() -> list[dict[str, Any]]:
    """Settings of every base with every pair of choices."""
    known = [(key, one) for key, spec in KEYS.items() for one in forms(spec)]
    known += [("reduction", "decoupled")]
    bases = [n for n, place in OBJECTIVES.targets().items() if place.startswith("histoscope.")]
    return [
        {"base": base, **SETTINGS.get(base, {}), one[0]: one[1], other[0]: other[1]}
        for base in bases
        for one, other in combinations(known, 2)
        if one[0] != other[0]
    ]


def write_first(store: Store, folder: Path) -> None:
    """A network to go on from; without batch norm, as the others."""
    made = random_encoder(EncoderSpec.model_validate({"kind": "noisy"}), 16, 1)
    save_encoder(folder, made, info_of(made, store, {"kind": "random"}), frozenset())


def spec_of(settings: dict[str, Any], accumulate: int, first: Path) -> PretrainSpec:
    """Three steps in float64; ``first`` is gone on from where something is to be kept."""
    small = {"size_px": 8, "scale": [0.2, 0.5]}
    families = {"local": {"geometry": small}} if "local" in settings else {}
    body = {
        "encoder": {"kind": "noisy"},
        "init": str(first) if "continual" in settings else None,
        "objective": settings,
        "views": {"families": families},
        "training": {
            "steps": 3,
            "batch_size": 16,
            "precision": "float64",
            "threads": 1,
            "workers": 0,
            "accumulate": accumulate,
            "optimiser": {"kind": "sgd", "momentum": 0, "learning_rate": 0.05, "warmup": 0},
            "monitor": {"every": 0},
        },
    }
    return build(PretrainSpec, body, "test")


def train_all(store: Path, out: Path, accumulate: int) -> None:
    """Train every pair that is not refused; of the others keep what was said."""
    import toy_domain

    with patch("histoscope.core.stages.pretrain.draw_journal"):
        for number, settings in enumerate(pairs()):
            folder = out / str(number)
            try:
                spec = spec_of(settings, accumulate, out.parent / "first")
                pretrain(Store(store), toy_domain.DOMAIN, spec, folder, progress=Silent())
            except (ConfigError, UsageError) as fault:
                file = refusal_of(out, number, os.environ.get("RANK", "0"))
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(str(fault), encoding="utf-8")


def refusal_of(out: Path, number: int, rank: str) -> Path:
    """Where a process keeps what was said of a pair."""
    return out / f"refused-{rank}" / f"{number}.txt"


@pytest.fixture
def two_cases(toy, tmp_path):
    """A store whose training images are of two cases."""
    folder = tmp_path / "two-cases"
    folder.mkdir()
    for seed, name in enumerate(("a0-train", "a1-train", "a2-test")):
        toy.write_stack(folder / f"{name}.npy", 20, seed)
    roots, out = {"input": folder}, tmp_path / "two-cases-store"
    options, engine = toy.ToyOptions(with_cases=True), Local(0)
    sampling = toy.ToySampling()
    prepare(toy.DOMAIN, roots, sampling, options, out, engine=engine, progress=Silent())
    return Store(out)


@pytest.mark.slow
def test_every_pair_trains_alike_in_two_processes_or_is_refused(two_cases, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    write_first(two_cases, tmp_path / "first")
    in_two_processes("tests.core.training.test_grammar:train_all", two_cases.path, two)
    train_all(two_cases.path, one, 2)
    refused = {}
    for number, settings in enumerate(pairs()):
        folders = [out / str(number) for out in (two, one)]
        places = ((one, "0"), (two, "0"), (two, "1"))
        said = [refusal_of(out, number, rank) for out, rank in places]
        if said[0].is_file():
            (text,) = {file.read_text(encoding="utf-8") for file in said}
            assert len(text.splitlines()) == 1
            refused[number] = text
            continue
        found, expected = (
            load_tensors(folder / "checkpoints" / "step-000003" / "model.safetensors")
            for folder in folders
        )
        for name, value in expected.items():
            if "running" in name or "num_batches" in name:
                continue  # two parts are two steps of the running statistics
            apart = (found[name] - value).abs().max().item() if value.numel() else 0.0
            assert apart <= 1e-9, (settings, name, apart)
    contrast = {"simclr", "moco_v2", "relicv2"}
    for number, settings in enumerate(pairs()):
        own = {"mixing", "order"} | ({"continual"} if settings["base"] not in CODED else set())
        own |= KEYS.keys() | {"reduction"} if settings["base"] in contrast else set()
        foreign = (KEYS.keys() | {"reduction"}) & settings.keys() - own
        twice = {"reduction", "temperature"} <= settings.keys()  # MACL weighs as decoupling does
        kind = settings["positives"]["kind"] if "positives" in settings else ""
        wants = kind == "revisiting" and settings["base"] != "moco_v2"  # its queue
        assert (number in refused) == bool(foreign or twice or wants), (
            settings,
            refused.get(number),
        )
