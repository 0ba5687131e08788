"""Planes go with their images through crop, mirror, turn and warp, and reach whoever wants them."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from histoscope.core.config import build
from histoscope.core.data.joined import joined
from histoscope.core.data.loader import Family, ViewDataset, collate
from histoscope.core.data.planes import (
    GREY,
    StorePlanes,
    open_planes,
    plane_folder,
    planes_of,
    shards_of,
    told_of,
    write_planes,
)
from histoscope.core.data.planes import write_masks as write_bits
from histoscope.core.data.relations import Donors
from histoscope.core.data.shard import Shard, write_shard
from histoscope.core.errors import ConfigError, DataError, UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.pretrain import pretrain, rehearse
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.views.plan import ViewPlan, plain_plan
from histoscope.core.views.spec import ViewsSpec
from tests.core.test_road import two_stores
from tests.made import write_masks

WARPS = {"distortion": {"p": 1, "steps": 4}, "shuffle": {"p": 1}}
MOVED = {"p": 1, "count": 3, "magnitude": 20}


def disc(side=64):
    """A disc away from the middle: the image is white where the plane says so."""
    rows, columns = np.mgrid[:side, :side]
    plane = 255 * ((rows - 20) ** 2 + (columns - 26) ** 2 < 15**2).astype(np.uint8)
    return np.repeat(plane[:, :, None], 3, 2), plane


@pytest.mark.parametrize(
    "views",
    [{}, {"warp": WARPS}, {"randaugment": MOVED}, {"warp": WARPS, "randaugment": MOVED}],
    ids=["cut", "warped", "moved", "all"],
)
def test_a_plane_goes_where_its_image_goes(views):
    """Inside the disc the image is white, outside it is black, but for the blended edge."""
    image, plane = disc()
    plan = plain_plan(build(ViewsSpec, {"geometry": {"scale": [0.5, 1]}, **views}, "a"), 64)
    for view in range(12):
        rows, _ = plan.draw(0, 0, 3, view)
        if views.get("randaugment"):  # shear, translate, rotate: colours stay
            rows[-1][1:4] = np.array([1, 4, 5])
        cut, mask = plan.apply_on_worker(image, rows), plan.apply_to_plane(plane, rows)
        assert set(np.unique(mask)) <= {0, 255}  # nothing is blended
        grey = cut[..., 0].astype(int)
        wrong = (np.where(grey == 127, 0, grey) > 127) != (mask > 0)
        assert wrong.mean() < 0.04, view
        assert 0.02 < (mask > 0).mean() < 0.6


@pytest.fixture
def masked(toy_store):
    write_masks(toy_store)
    return toy_store


def test_planes_are_those_of_the_row(masked):
    name, planes = open_planes(masked, "mask", None)
    assert name == "mask:left@1"
    assert planes_of(masked) == [name]
    rows = masked.index.column("row").to_pylist()
    for at in (0, 17, 39, 40, 41, 70):
        assert (planes.plane(at)[0] > 0).sum() == 8 + rows[at] % 3
    again = pickle.loads(pickle.dumps(planes))  # noqa: S301, as workers get them
    assert np.array_equal(again.plane(41), planes.plane(41))


def test_fill_is_grey_where_a_plane_does_not_say_and_goes_through_joined_stores(toy, tmp_path):
    stores = two_stores(toy, tmp_path)
    write_planes_of_bits(stores[0], fill=(9, 8, 7))
    write_masks(stores[1], "bits@1")
    _, planes = open_planes(joined(stores), "mask", None)
    for row, fill, values in ((0, (9, 8, 7), {0, 1}), (20, GREY, {0, 255})):
        assert planes.fill(row).tolist() == list(fill)
        assert planes.fill(row).dtype == np.uint8
        assert set(np.unique(planes.plane(row))) == values


def write_planes_of_bits(store, fill=(1, 2, 3), change=lambda masks: masks, **told):
    """Masks of noise, a bit a pixel; ``told`` stands in place of what they should say."""
    made = {}
    for source, name in shards_of(store).items():
        shard = Shard(store.path / name)
        noise = np.random.default_rng(len(made)).random((shard.rows, 16, 16)) > 0.5
        made[source] = noise
        file = plane_folder(store, "mask:bits@1") / f"{source}.arrow"
        write_bits(file, change(list(noise)), told_of(shard, fill) | told)
    return made


def test_masks_are_read_to_the_bit_and_take_less_than_their_pixels(toy_store):
    made = write_planes_of_bits(toy_store)
    _, planes = open_planes(toy_store, "mask", None)
    for row, one in enumerate(toy_store.index.to_pylist()):
        assert np.array_equal(planes.plane(row), made[one["source"]][one["row"]])
    source = toy_store.index.column("source")[0].as_py()
    png = Shard(plane_folder(toy_store, "mask:bits@1") / f"{source}.arrow").data(0)
    opened = Image.open(io.BytesIO(png))
    assert (opened.mode, opened.size, len(png) < 16 * 16 / 8 + 90) == ("1", (16, 16), True)
    assert np.array_equal(np.asarray(opened), made[source][0])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"of": "0" * 16}, "made of other images than its source has now"),
        ({"change": lambda masks: masks[:-1]}, r"of \d+ images, where its source has \d+"),
        ({"change": lambda masks: [m[:8, :8] for m in masks]}, "of 8 x 8 px, .* are of 16 px"),
    ],
)
def test_masks_of_other_images_are_refused_in_one_line(toy_store, more, says):
    write_planes_of_bits(toy_store, **more)
    with pytest.raises(DataError, match=rf"arrow: ({says}); run 'histoscope masks .*' again$"):
        open_planes(toy_store, "mask", None)
    with pytest.raises(DataError, match=says):
        StorePlanes(toy_store, "mask:bits@1").plane(0)


def test_a_source_without_a_plane_is_refused_where_it_is_read(masked):
    source = masked.index.column("source")[0].as_py()
    (plane_folder(masked, "mask:left@1") / f"{source}.arrow").unlink()
    with pytest.raises(DataError, match=rf"{source}.arrow: missing; run 'histoscope masks"):
        open_planes(masked, "mask", None, np.array([70, 0]))
    _, planes = open_planes(masked, "mask", None, np.array([50, 70]))
    assert planes.plane(70).shape == (16, 16)


def test_a_fingerprint_is_that_of_the_images(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.bytes(int(size)) for size in rng.integers(20, 60, 600)]

    def of(changed, name="a"):
        write_shard(tmp_path / name, changed)
        return Shard(tmp_path / name).fingerprint()

    first = of(images)
    assert of(images, "b") == first
    assert of(images[:-1]) != first
    assert of([*images[:100], images[100] + b"x", *images[101:]]) != first
    assert of([b"y" * len(images[0]), *images[1:]]) != first
    assert of([]) != of([b""])


def test_planes_of_several_stores_are_read_as_one(toy, tmp_path):
    stores = two_stores(toy, tmp_path)
    write_masks(stores[0])
    with pytest.raises(DataError, match="has no plane mask:left@1"):
        open_planes(joined(stores), "mask", None)
    write_masks(stores[1])
    _, planes = open_planes(joined(stores), "mask", "left@1")
    for row in (0, 19, 20, 39):
        _, own = open_planes(stores[row // 20], "mask", None)
        assert np.array_equal(planes.plane(row), own.plane(row % 20))


def test_a_choice_of_planes_is_the_users(masked):
    write_masks(masked, "other@2")
    with pytest.raises(UsageError, match=r"planes\.mask: .* has mask:left@1, mask:other@2; name"):
        open_planes(masked, "mask", None)
    assert open_planes(masked, "mask", "other@2")[0] == "mask:other@2"
    with pytest.raises(DataError, match=r"no plane mask:third@1 \(of that kind: mask:left@1"):
        open_planes(masked, "mask", "third@1")
    assert open_planes(masked, "mask", "other")[0] == "mask:other@2"
    with pytest.raises(DataError, match=r"no plane mask:third \(of that kind: mask:left@1, mask:o"):
        open_planes(masked, "mask", "third")
    with pytest.raises(UsageError, match="a name is KIND:PROVIDER@VERSION"):
        write_planes(masked, "mask", "s", [])


def test_donors_are_others_and_change_with_the_epoch():
    donors = Donors(5, 3, seed=0)
    drawn = {(sample, epoch): donors.of(sample, epoch) for sample in range(5) for epoch in range(9)}
    assert all(sample not in found for (sample, _), found in drawn.items())
    assert {at for (sample, _), found in drawn.items() if sample == 2 for at in found} == {
        *(0, 1, 3, 4)
    }
    assert any(not np.array_equal(drawn[1, 0], drawn[1, epoch]) for epoch in range(1, 9))
    assert np.array_equal(donors.of(4, 7), drawn[4, 7])
    with pytest.raises(DataError, match="one sample is all there is"):
        Donors(1, 1, 0)


class Swap:
    """Another image's background, everywhere."""

    name, width, planes, donors, matches = "swap", 1, {"mask": None}, 1, False

    def draw(self, rng):
        return np.array([1.0], np.float32)

    def fits(self, images, beside):
        return torch.ones(len(images), dtype=torch.bool)

    def compose(self, images, drawn, beside):
        inside = beside.planes["mask"][:, None] > 0
        assert drawn.shape == (len(images), 1)
        return torch.where(inside, images, beside.donors[0].images)


def test_a_compositor_gets_planes_and_donors_of_its_view(masked):
    plain = plain_plan(ViewsSpec(), 16)
    plan = ViewPlan(plain.geometry, plain.warps, (Swap(),))
    families = {"global": Family(plan, 2), "donor": Family(plain, 1)}
    _, planes = open_planes(masked, "mask", None)
    made = (None, Donors(40, 1, 4), {"mask": planes})
    dataset = ViewDataset(masked.reader, np.arange(40), families, 4, *made)
    batch = collate([dataset[at, 0, 0] for at in (3, 8)])
    views, donor = batch.families["global"], batch.families["donor"]
    assert views.planes["mask"].shape == (2, 2, 16, 16)
    assert batch.donors.shape == (2, 1)
    for row, at in enumerate(batch.donors[:, 0].tolist()):
        rows, _ = plain.draw(4, 0, (3, 8)[row], 0, family="donor")
        expected = plain.apply_on_worker(masked.reader.image(at), rows)
        assert np.array_equal(donor.images[0, row].numpy(), expected)
        its = plain.apply_to_plane(planes.plane(at), rows)
        assert np.array_equal(donor.planes["mask"][0, row].numpy(), its)


CONFIG = {
    "encoder": "test_resnet",
    "training": {"steps": 3, "batch_size": 8, "threads": 1, "workers": 0, "checkpoint_every": 2},
}


def test_a_method_that_wants_planes_and_donors_trains(toy, masked, tmp_path):
    spec = build(PretrainSpec, {**CONFIG, "objective": {"base": "masked"}}, "a")
    pretrain(masked, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert "mask: left@1" in (tmp_path / "run" / "config.yaml").read_text()
    assert "with mask:left@1" in (tmp_path / "run" / "log.txt").read_text()
    pretrain(masked, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    write_masks(masked, "other@2")
    pretrain(masked, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())  # the one it took
    other = spec.model_copy(update={"planes": {"mask": "other@2"}})
    with pytest.raises(UsageError, match="holds a run of another configuration"):
        rehearse(masked, toy.DOMAIN, other, tmp_path / "run")


def test_an_operation_of_the_domain_may_want_them(toy, masked, tmp_path, monkeypatch):
    calls, compose = [], Swap.compose

    def seen(self, images, drawn, beside):
        calls.append((len(beside.donors), tuple(beside.planes["mask"].shape)))
        return compose(self, images, drawn, beside)

    monkeypatch.setattr(Swap, "compose", seen)
    monkeypatch.setattr(
        type(toy.DOMAIN), "views", lambda self, spec, size: plain_plan(spec, size, [Swap()])
    )
    spec = build(PretrainSpec, CONFIG, "a")
    pretrain(masked, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert set(calls) == {(1, (8, 16, 16))}


BEHIND = {"background": {"kind": "random", "p": 1, "area": [0.01, 0.99]}}
FLAT = {"jitter": {"p": 0}, "grey": 0, "geometry": {"scale": [1, 1]}}


def test_each_view_of_an_image_has_another_background(toy, masked, tmp_path, monkeypatch):
    """Else the new one would be what both share."""
    seen = []

    def keep(self, images, drawn, beside):
        seen.append(beside.donors[0].images)
        return images

    monkeypatch.setattr("histoscope.core.views.background.Background.compose", keep)
    for kind, views in (("random", 2), ("swap", 2)):
        changed = {"background": {**BEHIND["background"], "kind": kind}, **FLAT}
        spec = build(PretrainSpec, {**CONFIG, "views": changed}, "a")
        pretrain(masked, toy.DOMAIN, spec, tmp_path / kind, progress=Silent())
        assert len(seen) == views * CONFIG["training"]["steps"]
        for one, other in zip(seen[::2], seen[1::2], strict=True):
            assert (one != other).flatten(1).any(1).float().mean() > 0.9
        seen.clear()


def test_a_run_says_how_many_images_have_a_background_to_change(toy, masked, tmp_path):
    for area, said in (([0.01, 0.99], "40 have"), ([0.9, 0.99], "0 have")):
        views = {"background": {"kind": "random", "p": 1, "area": area}}
        spec = build(PretrainSpec, {**CONFIG, "views": views}, "a")
        _, read = rehearse(masked, toy.DOMAIN, spec, tmp_path / "run")
        assert f"of 40 images looked at {said} a subject of" in read
        assert ("nothing is changed" in read) == (said == "0 have")


def test_a_run_does_not_go_on_with_other_masks_of_the_same_name(toy, masked, tmp_path):
    spec = build(PretrainSpec, {**CONFIG, "views": BEHIND}, "a")
    pretrain(masked, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    pretrain(masked, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    source = masked.index.column("source")[0].as_py()
    write_planes(masked, "mask:left@1", source, [np.ones((16, 16), np.uint8)] * 40)
    with pytest.raises(UsageError, match="was trained with other masks of the same name"):
        pretrain(masked, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())


@pytest.mark.parametrize(
    ("family", "asked", "said"),
    [
        ("local", {"kind": "swap", "p": 0.5}, "opposes the usual views"),
        ("local", {"kind": "remove"}, "p is not given"),
        ("donor", {"kind": "remove", "p": 0.5}, "donors are shown as they are"),
    ],
)
def test_a_background_that_would_do_nothing_is_refused(family, asked, said):
    spec = build(ViewsSpec, {"families": {family: {"background": asked}}}, "views")
    with pytest.raises(ConfigError, match=rf"views\.families\.{family}\.background: .*{said}"):
        spec.of_families("global")


def test_planes_that_nobody_wants_are_refused(toy, masked, tmp_path):
    spec = build(PretrainSpec, {**CONFIG, "planes": {"mask": "left@1"}}, "a")
    with pytest.raises(UsageError, match=r"planes\.mask: simclr and its views want none"):
        rehearse(masked, toy.DOMAIN, spec, tmp_path / "run")
