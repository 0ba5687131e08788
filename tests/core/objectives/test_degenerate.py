"""A choice that is set to do nothing leaves the base as it is, bit for bit."""

from __future__ import annotations

import pytest
import torch

from histoscope.core.testing.objectives import Rehearsal

NOTHING = {
    "macl": {"temperature": {"kind": "macl", "value": 0.2, "slope": 0, "reweight": False}},
    "co2": {"consistency": {"kind": "co2", "weight": 0, "ramp": 0}},
    "fnc, none": {"negatives": {"kind": "fnc", "count": 0, "begins": 0}},
    "fnc, never": {"negatives": {"kind": "fnc", "threshold": 1.5, "begins": 0}},
    "fnc, none attracts": {
        "negatives": {"kind": "fnc", "way": "attract", "threshold": 1.5, "begins": 0}
    },
    "ifnd": {"negatives": {"kind": "ifnd", "acceptance": 0}},
    "sampled": {"negatives": {"kind": "sampled", "count": 200}},
    "relic": {"consistency": {"kind": "relic", "weight": 0}},
    "mochi": {"synthetic": {"kind": "mochi", "hardest": 8, "pairs": 0, "with_query": 0}},
    "interclr": {"positives": {"kind": "interclr", "weight": 0, "begins": 0}},
    "interclr, never": {"positives": {"kind": "interclr", "begins": 1}},
    "other case": {"positives": {"kind": "other_case", "begins": 1}},
}


OF_QUEUES = {  # over what remembers keys
    "revisiting": {"positives": {"kind": "revisiting", "weight": 0, "begins": 0}, "local": 0},
    "revisiting, never": {"positives": {"kind": "revisiting", "begins": 1}},
}


def trained(base, more):
    """Losses of four steps, and the network they leave."""
    momentum = {"momentum": {"rows": 32, "groups": 1}} if base == "moco_v2" else {}
    ready = Rehearsal(base, {"temperature": 0.2, **momentum, **more})
    losses = [ready.step(number) for number in range(4)]
    return losses, dict(ready.objective.named_parameters())


@pytest.mark.parametrize(
    ("base", "choice"),
    [*((base, choice) for base in ("simclr", "moco_v2") for choice in NOTHING)]
    + [("moco_v2", choice) for choice in OF_QUEUES],
)
def test_it_is_the_base(base, choice):
    losses, network = trained(base, {**NOTHING, **OF_QUEUES}[choice])
    expected, its = trained(base, {})
    assert losses == expected
    assert network.keys() == its.keys()
    assert all(torch.equal(network[name], its[name]) for name in its)


@pytest.mark.parametrize(
    "more",
    [
        {"positives": {"kind": "other_case", "begins": 0.3}},
        {"positives": {"kind": "interclr", "begins": 0.3}},
        {"negatives": "ifnd"},
        {"negatives": {"kind": "sampled", "count": 29}},
        {"consistency": "relic"},
    ],
)
def test_the_comparison_can_fail(more):
    assert trained("simclr", more)[0] != trained("simclr", {})[0]


@pytest.mark.parametrize("base", ["simclr", "moco_v2"])
def test_weighted_rows_have_the_decoupled_gradient_also_of_what_is_left(base):
    """Where false negatives are left out they weigh nothing."""
    left_out = {"negatives": {"kind": "fnc", "count": 3, "threshold": -1, "begins": 0}}
    weighed = {"temperature": {"kind": "macl", "value": 0.2, "slope": 0}}
    _, network = trained(base, {**left_out, **weighed})
    _, its = trained(base, {**left_out, "reduction": "decoupled"})
    assert all(torch.allclose(network[name], its[name], rtol=1e-9, atol=1e-12) for name in its)


def test_two_directions_have_one_temperature():
    momentum = {"rows": 32, "groups": 1}
    ready = Rehearsal("moco_v2", {"momentum": momentum, "temperature": "macl"})
    projected, rows, draws, clock = ready.begin(0)
    report = ready.objective.loss(projected, rows, draws, clock)
    cosines = report.shown["positive_cosine"].mean().item()
    assert report.shown["temperature"].item() == pytest.approx(0.1 * (1 + 0.5 * cosines))
