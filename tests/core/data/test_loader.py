"""The order of pretraining, and draws that depend on nothing but what they are for."""

import numpy as np
import pytest
import torch

from histoscope.core.data.loader import StepOrder, ViewDataset, view_loader
from histoscope.core.data.store import ImageReader
from histoscope.core.errors import UsageError
from histoscope.core.views.plan import ViewsSpec, plain_plan


def test_every_epoch_is_a_permutation_whose_remainder_is_dropped():
    steps = list(StepOrder(23, 5, 1, 0, 8))
    for epoch in range(2):
        mine = [position for batch in steps[4 * epoch : 4 * epoch + 4] for position, _ in batch]
        assert len(mine) == len(set(mine)) == 20
    assert steps[0] != steps[4]
    assert {epoch for batch in steps[4:] for _, epoch in batch} == {1}


@pytest.mark.parametrize("first", [0, 1, 3, 4, 5, 7])
def test_a_step_number_is_all_that_resuming_needs(first):
    assert list(StepOrder(23, 5, 1, first, 8)) == list(StepOrder(23, 5, 1, 0, 8))[first:]


def test_fewer_samples_than_a_batch_are_refused():
    with pytest.raises(UsageError, match="3 samples are fewer than one batch of 4"):
        StepOrder(3, 4, 0, 0, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(toy_store, workers):
    plan = plain_plan(ViewsSpec(), 16)
    rows = np.arange(40, dtype=np.int64)

    def batches(count):
        dataset = ViewDataset(ImageReader(toy_store), rows, plan, 2, seed=4)
        return list(view_loader(dataset, StepOrder(40, 8, 4, 3, 6), count))

    for ours, theirs in zip(batches(0), batches(workers), strict=True):
        assert torch.equal(ours.index, theirs.index)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.drawn, theirs.drawn)


def test_adding_an_operation_changes_no_other_draw():
    few = plain_plan(ViewsSpec(grey=0), 16)
    more = plain_plan(ViewsSpec(grey=0.5, blur={"p": 0.5}), 16)
    geometry, drawn = few.draw(1, 2, 3, 0)
    geometry_more, drawn_more = more.draw(1, 2, 3, 0)
    assert (geometry == geometry_more).all()
    assert (drawn == drawn_more[: len(drawn)]).all()
