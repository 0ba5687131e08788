"""The gradient of a step does not depend on processes or parts."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from histoscope.core.config import build
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.objectives import OBJECTIVES
from histoscope.core.objectives.contract import Projected, Views
from histoscope.core.progress import Silent
from histoscope.core.runtime.fabric import make_fabric
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.tensors import load_tensors
from histoscope.core.testing.objectives import BATCH, Rehearsal
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.training.step import Batch, Stepper
from tests.core.training.processes import in_two_processes
from tests.made import write_masks, write_model

TEACHER = "teacher"
NARROW = {"projector": {"hidden": 16, "out": 8}}
SETTINGS = {
    "simclr": NARROW,
    "moco_v2": {**NARROW, "momentum": {"rows": 16, "rate": 0.5, "groups": 1}},
    "relicv2": {**NARROW, "large": 3, "local": 1, "negatives": {"kind": "sampled", "count": 9}},
    "byol": NARROW,
    "barlow_twins": NARROW,
    "swav": {**NARROW, "local": 2, "codes": {"prototypes": 6, "queue": 16, "queue_from": 0.3}},
    "dino": {**NARROW, "local": 2, "prototypes": 12},
    "ibot": {**NARROW, "local": 2, "prototypes": 12, "spread": 0.1},
    "msf": {**NARROW, "neighbours": {"rows": 16, "count": 3}},
    "simreg": {"teacher": "colour", "hidden": 16},
    "distil": {"temperature": 0.5},  # and a teacher, which lies beside the store
    "cmsf": {
        **NARROW,
        "neighbours": {"rows": 16, "count": 3},
        "constraint": {"kind": "kmeans", "clusters": 4},
    },
}
REVISITED = {
    "local": 2,
    "positives": {"kind": "revisiting", "count": 3, "begins": 0},
}
MINED = {  # what knows the whole data set, of which each process sees its part, or a queue of it
    "moco_v2, revisiting": {**SETTINGS["moco_v2"], **REVISITED},
    "moco_v2, ifnd": {
        **SETTINGS["moco_v2"],
        "negatives": {"kind": "ifnd", "clusters": [2, 5]},
    },
    "cmsf, second_bank": {
        **SETTINGS["msf"],
        "constraint": {"kind": "second_bank", "nearest": 4},
    },
    "moco_v2, sampled, relic": {
        **SETTINGS["moco_v2"],
        "negatives": {"kind": "sampled", "count": 4},
        "consistency": "relic",
    },
    "simclr, interclr": {
        **NARROW,
        "positives": {"kind": "interclr", "clusters": 4, "pool": 10, "negatives": 4, "begins": 0},
    },
    "simclr, order, unmix": {**NARROW, "mixing": "unmix", "order": "plackett_luce"},
}
CONTINUED = {  # go on from a network that is there
    f"{base}, cassle": {**SETTINGS[base], "continual": {"kind": "cassle", "hidden": 16}}
    for base in ("simclr", "moco_v2", "relicv2", "byol", "msf", "barlow_twins")
}


def ready_of(base, network="small"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        wide = random_encoder(TimmSpec(name="test_resnet"), 16, 0) if network != "small" else None
        return Rehearsal(base, SETTINGS.get(base), wide)


def parts_of(views, count):
    """A batch in parts; orders of keys are straight, as batch norm sees one group."""
    size = BATCH // count
    straight = {name: torch.arange(size) for name in views.draws}
    return [
        Views(
            {name: [v[a : a + size] for v in family] for name, family in views.families.items()},
            straight,
            {
                name: {kind: [p[a : a + size] for p in planes] for kind, planes in every.items()}
                for name, every in views.planes.items()
            },
            {name: [k[a : a + size] for k in every] for name, every in views.known.items()},
        )
        for a in range(0, BATCH, size)
    ]


def descend(objective):
    """A step down the gradient; returns it."""
    gradients = {n: p.grad.clone() for n, p in objective.named_parameters() if p.grad is not None}
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if name in gradients:
                parameter -= 0.1 * gradients[name]
    return gradients


def trained(base, network, parts):
    """Two steps of plain gradient descent: loss, gradients and buffers of the last."""
    ready = ready_of(base, network)
    stepper = Stepper(make_fabric(torch.device("cpu"), "float64"), ready.objective, 0)
    for step in range(2):
        views, rows, clock = ready.batch(step)
        ready.objective.zero_grad(set_to_none=True)
        report = stepper.gradient(Batch(rows, parts_of(views, parts), views.draws), clock)
        gradients = descend(ready.objective)
        stepper.after(clock)
    buffers = {name: buffer.clone() for name, buffer in ready.objective.named_buffers()}
    return {"loss": report.loss.detach(), "gradients": gradients, "buffers": buffers}


def assert_same(found, expected):
    assert found["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-9)
    assert found["gradients"].keys() == expected["gradients"].keys()
    for name, gradient in expected["gradients"].items():
        size = gradient.abs().max().item()
        assert (found["gradients"][name] - gradient).abs().max().item() <= 1e-9 * max(size, 1e-3)


@pytest.mark.parametrize("base", ["moco_v2", "follow"])  # SimCLR's head has batch norm
def test_parts_make_no_difference_without_batch_norm(base):
    expected = trained(base, "small", 1)
    for parts in (2, 4):
        assert_same(trained(base, "small", parts), expected)


def test_batch_norm_sees_the_parts_and_keeps_their_statistics_once():
    """Parts equal a network that is called on each half and differentiated by hand."""
    found = trained("simclr", "test_resnet", 2)
    ready = ready_of("simclr", "test_resnet")
    objective = ready.objective
    for step in range(2):
        views, rows, clock = ready.batch(step)
        objective.zero_grad(set_to_none=True)
        halves = [objective.project(part).asks for part in parts_of(views, 2)]
        whole = Projected({name: torch.cat([one[name] for one in halves]) for name in halves[0]})
        loss = objective.loss(whole, rows, views.draws, clock).loss
        loss.backward()
        gradients = descend(objective)
    assert_same(found, {"loss": loss.detach(), "gradients": gradients})
    for name, buffer in objective.named_buffers():
        assert torch.allclose(found["buffers"][name].double(), buffer.double(), rtol=1e-12), name


def test_a_batch_in_halves_is_another_batch_to_batch_norm():
    """The comparisons can fail: without the same halves gradients differ."""
    halves, whole = (trained("simclr", "test_resnet", parts) for parts in (2, 1))
    with pytest.raises(AssertionError):
        assert_same(whole, halves)


def spec_of(
    base: str, encoder: str, accumulate: int, background: str = "", teacher: Path = Path()
) -> PretrainSpec:
    """Three steps in float64, plain gradient descent."""
    patches = encoder == "test_vit"  # of 16 px
    small = {"size_px": 16 if patches else 8, "scale": [0.2, 0.5]}
    settings = {**SETTINGS, **MINED, **CONTINUED}.get(base, {})
    settings = {**settings, "teacher": str(teacher)} if base == "distil" else settings
    cropped = base == "follow" or "local" in settings
    families = {"local": {"geometry": small}} if cropped else {}
    optimiser = {"kind": "sgd", "momentum": 0, "learning_rate": 0.05, "warmup": 0}
    changed = {"background": {"kind": background, "p": 0.7, "area": [0.01, 0.99]}}
    body = {
        "encoder": {"kind": "noisy"} if encoder == "noisy" else encoder,
        "objective": {"base": base.partition(",")[0], **settings},
        "init": f"random:{encoder}" if base in CONTINUED else None,
        "views": {
            "families": families,
            **({"geometry": {"size_px": 32}} if patches else {}),
            **(changed if background else {}),
        },
        "training": {
            "steps": 3,
            "batch_size": 16,
            "precision": "float64",
            "threads": 1,
            "workers": 0,
            "accumulate": accumulate,
            "optimiser": optimiser,
            "monitor": {"every": 0},
        },
    }
    return build(PretrainSpec, body, "test")


BACKGROUNDS = {"simclr": "swap", "moco_v2": "swap", "dino": "random", "byol": "remove"}
BACKGROUNDS["relicv2"] = "remove"


def cases() -> list[tuple[str, str, str]]:
    """Every objective that is registered, without and with batch norm; some with backgrounds."""
    names = sorted(OBJECTIVES.names())
    normed = {"ibot": "test_vit"}  # which wants patches
    usual = [
        (base, encoder, "")
        for base in names
        for encoder in ("noisy", normed.get(base, "test_resnet"))
    ]
    usual += [(name, "noisy", "") for name in MINED]
    usual += [("moco_v2, revisiting", "test_resnet", "")]
    usual += [(name, "test_resnet", "") for name in CONTINUED]
    return usual + [(base, "noisy", kind) for base, kind in BACKGROUNDS.items()]


def run_all(store: Path, out: Path, accumulate: int) -> None:
    """Train every case through the real command's stage."""
    import toy_domain

    from histoscope.core.data.store import Store

    with patch("histoscope.core.stages.pretrain.draw_journal"):  # slower than the steps
        for base, encoder, background in cases():
            spec = spec_of(base, encoder, accumulate, background, store.parent / TEACHER)
            folder = out / f"{base}-{encoder}-{background}"
            pretrain(Store(store), toy_domain.DOMAIN, spec, folder, progress=Silent())


@pytest.fixture
def two_processes(toy_store, tmp_path):
    """All cases in two processes that see different halves of each batch."""
    write_masks(toy_store)
    write_model(toy_store, toy_store.path.parent / TEACHER)
    in_two_processes("tests.core.training.test_step:run_all", toy_store.path, tmp_path / "two")
    return tmp_path / "two"


def test_two_processes_are_one_in_two_parts(toy_store, two_processes, tmp_path):
    """Of everything that is registered, plug-ins included; dropout draws alike, too."""
    run_all(toy_store.path, tmp_path / "one", 2)
    assert {("follow", "noisy", ""), ("moco_v2, ifnd", "noisy", "")} <= set(cases())
    for base, encoder, background in cases():
        files = [
            folder
            / f"{base}-{encoder}-{background}"
            / "checkpoints"
            / "step-000003"
            / "model.safetensors"
            for folder in (two_processes, tmp_path / "one")
        ]
        found, expected = (load_tensors(file) for file in files)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if "running" in name or "num_batches" in name:
                continue  # two parts are two steps of the running statistics, two processes one
            apart = (found[name] - value).abs().max().item() if value.numel() else 0.0
            assert apart <= 1e-9, (base, encoder, background, name, apart)


def test_the_comparison_of_processes_can_fail(toy_store, tmp_path):
    """Another seed of what the network draws is another run."""
    import toy_domain

    spec = spec_of("moco_v2", "noisy", 2)
    other = spec.model_copy(update={"training": spec.training.model_copy(update={"accumulate": 4})})
    for name, one in (("two", spec), ("four", other)):
        pretrain(toy_store, toy_domain.DOMAIN, one, tmp_path / name, progress=Silent())
    found, expected = (
        load_tensors(tmp_path / name / "checkpoints" / "step-000003" / "model.safetensors")
        for name in ("two", "four")
    )
    assert any((found[n].double() - v.double()).abs().max() > 1e-9 for n, v in expected.items())
