"""The order of pretraining, and draws that depend on nothing but what they are for."""

import numpy as np
import pytest
import torch

from histoscope.core.config import build
from histoscope.core.data.loader import Family, ViewDataset, collate, view_loader
from histoscope.core.data.order import Positions, StepOrder
from histoscope.core.data.store import ImageReader
from histoscope.core.errors import ConfigError, DataError, UsageError
from histoscope.core.views.plan import plain_plan
from histoscope.core.views.spec import ViewsSpec


def test_every_epoch_is_a_permutation_whose_remainder_is_dropped():
    steps = list(StepOrder(Positions("uniform", 23, 1), 5, 0, 8))
    for epoch in range(2):
        mine = [position for batch in steps[4 * epoch : 4 * epoch + 4] for position, *_ in batch]
        assert len(mine) == len(set(mine)) == 20
    assert steps[0] != steps[4]
    assert {epoch for batch in steps[4:] for _, epoch, _ in batch} == {1}


GROUPS = {
    "uniform": [None] * 23,
    "per_source_cap": ["large"] * 15 + ["middle"] * 6 + ["small"] * 2,
    "per_case": ["large"] * 15 + ["middle"] * 6 + ["small"] * 2,
}


def positions_of(kind):
    return Positions(kind, 23, 1, GROUPS[kind], cap=4)


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("first", [0, 1, 3, 4, 5, 7])
def test_a_step_number_is_all_that_resuming_needs(kind, first):
    whole = list(StepOrder(positions_of(kind), 5, 0, 8))
    assert list(StepOrder(positions_of(kind), 5, first, 8)) == whole[first:]


def counted(positions, epochs=40):
    """How often each group comes in so many epochs, and how often each sample."""
    places = np.concatenate([positions.of_epoch(epoch)[0] for epoch in range(epochs)])
    names = np.array(GROUPS["per_case"])[places]
    return dict(zip(*np.unique(names, return_counts=True), strict=True)), np.bincount(places)


def test_a_capped_source_gives_others_in_another_epoch():
    positions = positions_of("per_source_cap")
    assert positions.count == 4 + 4 + 2
    for epoch in range(3):
        assert len(set(positions.of_epoch(epoch)[0])) == 10
    groups, samples = counted(positions)
    assert groups == {"large": 160, "middle": 160, "small": 80}
    assert samples.min() > 0
    assert "at most 4 samples a source an epoch: 10 of 23" in positions.said


def test_cases_come_alike_and_a_small_ones_samples_again():
    positions = positions_of("per_case")
    assert positions.count == 21  # 7 of each
    groups, samples = counted(positions)
    assert set(groups.values()) == {280}
    assert all(120 <= count <= 160 for count in samples[-2:])  # three or four times an epoch
    assert samples[:15].min() > 0
    first, turns = positions.of_epoch(0)
    for sample in range(23):
        times = (first == sample).sum()
        assert sorted(turns[first == sample]) == list(range(times))
    assert sorted(np.bincount(first, minlength=23)[-2:]) == [3, 4]
    assert not np.array_equal(first, np.sort(first))


def test_unknown_cases_cannot_come_alike():
    with pytest.raises(DataError, match="some samples have no case; give per_source_cap"):
        Positions("per_case", 3, 0, ["a", None, "b"])


def test_fewer_samples_than_a_batch_are_refused():
    with pytest.raises(UsageError, match="3 samples are fewer than one batch of 4"):
        StepOrder(Positions("uniform", 3, 0), 4, 0, 1)


WARPS = {"distortion": {"p": 0.5, "steps": 4}, "shuffle": {"p": 0.5}}


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(toy_store, workers):
    plan, small = plain_plan(ViewsSpec(warp=WARPS), 16), plain_plan(ViewsSpec(), 8)
    families = {"global": Family(plan, 2), "local": Family(small, 3)}
    rows = np.arange(40, dtype=np.int64)

    def batches(count):
        dataset = ViewDataset(ImageReader(toy_store), rows, families, seed=4)
        return list(view_loader(dataset, StepOrder(Positions("uniform", 40, 4), 8, 3, 6), count))

    for ours, theirs in zip(batches(0), batches(workers), strict=True):
        assert torch.equal(ours.index, theirs.index)
        for name, shape in (("global", (2, 8, 16, 16, 3)), ("local", (3, 8, 8, 8, 3))):
            assert ours.families[name].images.shape == shape
            assert torch.equal(ours.families[name].images, theirs.families[name].images)
            assert torch.equal(ours.families[name].drawn, theirs.families[name].drawn)


def test_another_family_changes_no_draw_of_the_first(toy_store):
    plan = plain_plan(ViewsSpec(), 16)
    alone, both = {"global": Family(plan, 2)}, {"local": Family(plan, 2), "global": Family(plan, 2)}
    one, two = (
        ViewDataset(toy_store.reader, np.arange(3), f, 4)[1, 0, 0].families for f in (alone, both)
    )
    assert np.array_equal(one["global"].images, two["global"].images)
    assert not np.array_equal(two["local"].images, two["global"].images)


def test_a_family_changes_what_it_names():
    body = {"grey": 0.3, "families": {"local": {"geometry": {"size_px": 8, "scale": [0.1, 0.2]}}}}
    views = build(ViewsSpec, body, "views").of_families("global")
    assert views["local"].geometry.size_px == 8
    assert views["local"].grey == 0.3
    assert views["global"].geometry.size_px is None
    wrong = build(ViewsSpec, {"families": {"local": {"gray": 1}}}, "views")
    with pytest.raises(ConfigError, match=r"views.families.local: gray: unknown key, did you mean"):
        wrong.of_families("global")


def draws_by_name(views):
    """The numbers of one view under the name of what drew them."""
    plan = plain_plan(ViewsSpec(**{"jitter": {"p": 0}, "grey": 0, **views}), 16)
    rows, numbers = plan.draw(1, 2, 3, 0)
    drawn = {maker.name: row.tolist() for maker, row in zip(plan.on_worker, rows, strict=True)}
    for operation in plan.operations:
        drawn[operation.name] = numbers[: operation.width].tolist()
        numbers = numbers[operation.width :]
    return drawn


AUGMENTATIONS = {
    "jitter": {"jitter": {"p": 0.8}},
    "grey": {"grey": 0.5},
    "blur": {"blur": {"p": 0.5}},
    "distortion": {"warp": {"distortion": WARPS["distortion"]}},
    "shuffle": {"warp": {"shuffle": WARPS["shuffle"]}},
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_adding_an_augmentation_changes_no_other_draw(name):
    others = {"warp": {}}
    for other, body in AUGMENTATIONS.items():
        if other != name:
            others["warp"] |= body.get("warp", {})
            others |= {key: value for key, value in body.items() if key != "warp"}
    more = {**others, **AUGMENTATIONS[name]}
    more["warp"] = {**others["warp"], **AUGMENTATIONS[name].get("warp", {})}
    without, with_it = draws_by_name(others), draws_by_name(more)
    assert set(with_it) - set(without) == {name}
    assert {other: with_it[other] for other in without} == without
    assert draws_by_name({})["geometry"] == with_it["geometry"]


def test_a_sample_that_comes_again_in_an_epoch_has_other_views(toy_store):
    families = {"global": Family(plain_plan(ViewsSpec(), 16), 2)}
    dataset = ViewDataset(toy_store.reader, np.arange(3), families, 4)
    (first, again), same = (
        (dataset[1, 0, turn].families["global"].images for turn in (0, 1)),
        dataset[1, 0, 1],
    )
    assert np.array_equal(again, same.families["global"].images)
    views = [*first, *again]
    assert all(not np.array_equal(one, other) for n, one in enumerate(views) for other in views[:n])


def plain_dataset(store):
    plan = plain_plan(ViewsSpec(), store.sampling.size_px)
    return ViewDataset(ImageReader(store), np.arange(8), {"global": Family(plan, 2)}, seed=1)


def test_too_little_shared_memory_is_met_where_it_can_be_said(toy_store, monkeypatch):
    """And not in a thread of the worker's, of which the program would hear nothing."""
    dataset = plain_dataset(toy_store)
    items = [dataset[place, 0, 0] for place in range(2)]
    assert not collate(items).families["global"].images.is_shared()
    monkeypatch.setattr("histoscope.core.data.loader.get_worker_info", lambda: "a worker")
    drawn = collate(items)
    of_views = drawn.families["global"]
    assert all(one.is_shared() for one in (drawn.index, of_views.images, of_views.drawn))

    def refuse(tensor):
        said = (
            "unable to allocate shared memory(shm) for file </torch_1_2>: No space left on device"
        )
        raise RuntimeError(said)

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    order = StepOrder(Positions("uniform", 8, 1), 4, 0, 2)
    with pytest.raises(UsageError, match=r"too little shared memory .* or --workers 0; the same"):
        list(view_loader(dataset, order, workers=0))
