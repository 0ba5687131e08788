"""iBOT: which patches are hidden, and what they lose, as loops."""

from __future__ import annotations

import math

import pytest
import torch

from histoscope.core.encoders.contract import Masked
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import UsageError
from histoscope.core.objectives.dino import TeacherSpec
from histoscope.core.testing.objectives import BATCH, SIDES, STEPS, Rehearsal
from tests.core.objectives.test_bases import by_loops_dino, softmax

HEAD = {"projector": {"hidden": 16, "out": 8}, "prototypes": 24}


def ready_of(steps=2, **more):
    ready = Rehearsal("ibot", {**HEAD, **more})
    for number in range(steps):
        ready.step(number)
    return ready


def masks_of(ready, step):
    views, _, _ = ready.batch(step)
    return [ready.objective._mask(views.draws, view) for view in range(2)]


def test_the_loss_is_its_formula():
    """Zhou et al. 2022, eq. 2 and 3: class tokens as DINO, then hidden patches."""
    ready = ready_of(local=2, masking={"weight": 0.7})
    projected, rows, draws, clock = ready.begin(3)
    loss = ready.objective.loss(projected, rows, draws, clock).loss.item()
    objective, sharp = ready.objective, TeacherSpec().temperature_at(3 / STEPS)
    asks, answers = projected.asks["asks"].detach(), projected.answers["answers"]
    whole = by_loops_dino(asks, answers, objective.centre, sharp, 0.1)
    patches, targets = projected.asks["patches"], projected.answers["targets"]
    hidden = projected.answers["hidden"][..., 0]
    slots, views = hidden.shape[1] // 2, []
    for image in range(BATCH):
        for view in range(2):
            losses = []
            for slot in range(view * slots, (view + 1) * slots):
                if not hidden[image, slot]:
                    continue
                told = zip(
                    targets[image, slot].tolist(), objective.patch_centre.tolist(), strict=True
                )
                target = softmax([(x - c) / sharp for x, c in told])
                shares = softmax([x / 0.1 for x in patches[image, slot].tolist()])
                losses.append(-sum(t * math.log(p) for t, p in zip(target, shares, strict=True)))
            if losses:
                views.append(sum(losses) / len(losses))
    assert 0 < len(views) < 2 * BATCH
    assert loss == pytest.approx(whole + 0.7 * sum(views) / len(views), rel=1e-12)


def test_without_hidden_patches_it_is_dino():
    ready = ready_of(masking={"images": 0.0})
    projected, rows, draws, clock = ready.begin(3)
    report = ready.objective.loss(projected, rows, draws, clock)
    asks, answers = projected.asks["asks"].detach(), projected.answers["answers"]
    sharp = TeacherSpec().temperature_at(3 / STEPS)
    expected = by_loops_dino(asks, answers, ready.objective.centre, sharp, 0.1)
    assert report.loss.item() == pytest.approx(expected, rel=1e-12)
    assert report.shown["hidden_patches"].item() == 0


def test_a_view_hides_one_box_of_the_share_that_is_asked_for():
    ready = ready_of(steps=0, masking={"images": 1.0, "least": 0.2, "most": 0.4})
    side = ready.objective.side
    seen = set()
    for step in range(4):
        for mask in masks_of(ready, step):
            for one in mask.reshape(-1, side, side):
                rows, columns = one.any(1), one.any(0)
                assert one.sum() == rows.sum() * columns.sum()  # a box
                assert 0 < one.sum() <= 0.4 * side**2
                seen.add((int(rows.sum()), int(columns.sum())))
    assert len(seen) > 3


def test_about_the_share_of_images_hides_any():
    ready = ready_of(steps=0, masking={"images": 0.5})
    hides = torch.cat([mask.any(1) for step in range(40) for mask in masks_of(ready, step)])
    assert 0.4 < hides.double().mean() < 0.6


def test_all_hidden_patches_have_a_slot():
    ready = ready_of(steps=0, masking={"images": 1.0, "least": 0.3, "most": 0.5})
    for step in range(3):
        projected, _, _, _ = ready.begin(step)
        told = projected.answers["hidden"].sum()
        assert told == sum(mask.sum() for mask in masks_of(ready, step))


def test_what_lies_under_a_mask_is_not_seen():
    encoder = random_encoder(TimmSpec(name="test_vit"), 64, 0).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    changed[:, :, 16:32, :16] = 0  # the fifth patch of four by four
    places = torch.zeros(2, 16, dtype=torch.bool)
    places[:, 4] = True
    channels = encoder.encode(images, "tokens").shape[2]
    masked = Masked(places, torch.zeros(channels))
    one, other = (encoder.encode(these, "tokens", masked) for these in (images, changed))
    assert torch.equal(one, other)
    assert not torch.equal(encoder.encode(images, "tokens"), encoder.encode(changed, "tokens"))
    again = encoder.encode(images, "tokens")
    assert not torch.equal(again, one)  # the mask is gone
    nothing = Masked(torch.zeros_like(places), torch.zeros(channels))
    assert torch.equal(encoder.encode(images, "tokens", nothing), again)


def test_a_network_without_patches_is_refused():
    encoder = random_encoder(TimmSpec(name="test_resnet"), 16, 0)
    with pytest.raises(UsageError, match="test_resnet: has no patches that can be masked"):
        Rehearsal("ibot", HEAD, encoder)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TimmSpec(name="test_vit", pool="avg"), "pools otherwise than ibot"),
        (TimmSpec(name="pvt_v2_b0"), "has no single grid of patches"),
    ],
    ids=["pool", "stages"],
)
def test_a_network_that_trains_other_features_than_it_gives_is_refused(monkeypatch, spec, said):
    monkeypatch.setitem(SIDES, "global", 64)
    with pytest.raises(UsageError, match=said):
        Rehearsal("ibot", HEAD, random_encoder(spec, 64, 0))


def test_one_with_its_class_token_is_taken(monkeypatch):
    monkeypatch.setitem(SIDES, "global", 64)
    encoder = random_encoder(TimmSpec(name="test_vit", pool="token"), 64, 0)
    assert Rehearsal("ibot", HEAD, encoder).objective.before == 1
