"""Which samples lie near each other, against loops over all pairs; which partners are read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.data.relations import Partners, near_pairs
from histoscope.core.errors import UsageError
from histoscope.core.training.journal import read_metrics
from tests.core.test_plugins import CONFIG


def by_loops(sources, places, within):
    found = set()
    for row, here in enumerate(places):
        for other, there in enumerate(places):
            if row == other or sources[row] != sources[other]:
                continue
            distance = max(abs(a - b) for a, b in zip(here, there, strict=True))
            found |= {(row, other, kind) for kind, most in within.items() if distance <= most > 0}
    return found


@pytest.mark.parametrize("within", [{"partner": 1.0, "same": 2.5}, {"partner": 0.0, "same": 1.0}])
def test_pairs_are_those_of_loops(within):
    rng = np.random.default_rng(0)
    sources = rng.choice(["a", "b", "c"], 120).tolist()
    places = rng.integers(0, 8, (120, 2)).astype(float)
    places[::7] = np.nan  # pictures of a set have no place
    table = near_pairs(sources, places, within)
    columns = (table.column(name).to_pylist() for name in ("row", "other", "kind"))
    found = list(zip(*columns, strict=True))
    assert len(found) == len(set(found))
    assert set(found) == by_loops(sources, places.tolist(), within)
    distances = table.column("distance").to_numpy()
    rows, others = (table.column(name).to_numpy() for name in ("row", "other"))
    assert np.array_equal(distances, np.abs(places[rows] - places[others]).max(axis=1))


def test_of_nothing_nothing_is_near():
    assert len(near_pairs(["a"], np.zeros((1, 2)), {"partner": 1.0})) == 0
    assert len(near_pairs(["a", "b"], np.zeros((2, 1)), {"partner": 1.0})) == 0
    assert len(near_pairs(["a", "a"], np.full((2, 1), np.nan), {"partner": 1.0})) == 0


def relations(pairs):
    rows, others = zip(*pairs, strict=True)
    kinds = ["partner"] * len(pairs)
    return pa.table({"row": rows, "other": others, "kind": kinds})


def test_partners_are_drawn_each_at_most_once_and_others_in_another_epoch():
    partners = Partners(relations([(1, 0), (1, 2), (1, 3), (3, 1)]), 5, 2, seed=0)
    assert partners.held == 2
    assert partners.of(0, 0).tolist() == [-1, -1]
    assert partners.of(3, 0).tolist() == [1, -1]
    drawn = [tuple(partners.of(1, epoch)) for epoch in range(50)]
    assert all(len(set(pair)) == 2 for pair in drawn)
    assert {one for pair in drawn for one in pair} == {0, 2, 3}
    assert drawn == [tuple(partners.of(1, epoch)) for epoch in range(50)]


def test_a_method_is_given_partners_or_refused_where_nothing_lies_near(toy, toy_store, tmp_path):
    import yaml

    from histoscope.core.config import build
    from histoscope.core.progress import Silent
    from histoscope.core.stages.pretrain import pretrain
    from histoscope.core.training.spec import PretrainSpec

    body = yaml.safe_load(CONFIG)
    body |= {"objective": {"base": "beside"}, "views": {}, "relations": {"rows": 1}}
    spec = build(PretrainSpec, body, "a")
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    # of 40 images in a row, the first and the last have one neighbour, all others two
    assert {float(row["partners"]) for row in rows} <= {1.0, 1 - 1 / 16, 1 - 2 / 16}
    assert "40 of 40 have a partner" in (tmp_path / "run" / "log.txt").read_text()
    none = build(PretrainSpec, {**body, "relations": {"rows": 0}}, "a")
    with pytest.raises(UsageError, match="of 40 images none is known to lie near another"):
        pretrain(toy_store, toy.DOMAIN, none, tmp_path / "none", progress=Silent())
    assert not (tmp_path / "none").exists()
