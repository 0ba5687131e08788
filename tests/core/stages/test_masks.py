"""Masks are those of the provider, to the bit; a stop, a fault, new images cost what they must."""

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from histoscope.core.config import build
from histoscope.core.contracts.masks import load_provider, providers_of
from histoscope.core.data.planes import open_planes, plane_folder, planes_of
from histoscope.core.data.shard import Shard, encode, write_shard
from histoscope.core.data.store import Store
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.errors import CannotWrite, DataError, Interrupted, UsageError
from histoscope.core.progress import Silent
from histoscope.core.runtime.alone import alone
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.maps import Encoders, resized
from histoscope.core.stages.masks import make_masks, plane_name
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.stages.tally import tally_of
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local
from tests.core.conftest import PLUGIN
from tests.full_disk import no_room_for


class Told(Silent):
    """Keeps what is said; may do something at a source's end."""

    def __init__(self, act=lambda done: None):
        self.lines, self.done, self.act = [], 0, act

    def say(self, line):
        self.lines.append(line)

    def advance(self, count=1):
        self.done += 1
        self.act(self.done)


@pytest.fixture
def left(toy):
    return load_provider("left", "toy")


def make(store, provider, told=None, engine=None, **settings):
    """Masks with settings that differ from the defaults."""
    spec = provider.settings(**settings)
    return make_masks(store, provider, spec, engine=engine or Local(0), progress=told or Told())


def files(store, name):
    return {one.stem: one.read_bytes() for one in plane_folder(store, name).iterdir()}


def at_place(store, count):
    """Id of the source with so many samples."""
    return next(key for key, row in store.manifest.items() if row["samples"] == count)


def test_masks_come_back_to_the_bit_with_the_fill_of_their_source(toy_store, left):
    from toy_masks import left_of

    before = (toy_store.path / "store.json").stat(), (toy_store.path / "index.parquet").stat()
    made = make(toy_store, left)
    assert (made.name, made.failed, made.sources, made.made) == ("mask:left@1", False, 3, 76)
    name, planes = open_planes(toy_store, "mask", None)
    again = pickle.loads(pickle.dumps(planes))  # noqa: S301, as workers get them
    shares = []
    sources = toy_store.index.column("source").to_pylist()
    for row in range(76):
        mask, wanted = planes.plane(row), left_of(toy_store.reader.image(row))
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, wanted)
        assert np.array_equal(again.plane(row), mask)
        assert again.fill(row).tolist() == [10, 20, sources.count(sources[row])]
        shares.append(wanted.mean())
    assert made.tally.mean == pytest.approx(np.mean(shares))
    assert made.tally.empty == shares.count(0)
    assert made.tally.full == shares.count(1)
    written = files(toy_store, name)
    assert made.plane_bytes == sum(map(len, written.values()))
    after = (toy_store.path / "store.json").stat(), (toy_store.path / "index.parquet").stat()
    assert after == before


def test_workers_make_the_same_bytes_and_a_second_call_nothing(toy_store, left):
    make(toy_store, left)
    whole = files(toy_store, "mask:left@1")
    for file in plane_folder(toy_store, "mask:left@1").iterdir():
        file.unlink()
    make(toy_store, left, engine=Local(2))
    assert files(toy_store, "mask:left@1") == whole
    told = Told()
    made = make(toy_store, left, told)
    assert (made.made, made.tally.masks, told.done) == (0, 76, 0)
    assert "3 of 3 sources have them already" in told.lines


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("raises", "KeyError: 'two\\nlines'"),
        ("refuses", "nothing to see"),
        ("late", "FileNotFoundError: [Errno 2] No such file or directory: 'weights'"),
        ("few", "the provider gave 5 masks of 12 images"),
        ("many", "the provider gave more masks than 12 images"),
        ("shape", "the provider's mask 0 has 15 x 16 px, its image 16 x 16"),
        ("kind", "the provider's mask 0 is uint8, not bool"),
        ("list", "the provider's mask 0 is list, not bool"),
        ("fill", "the provider's fill (300, 0, 0) is no RGB of 0 to 255"),
    ],
)
def test_a_source_whose_masks_fail_is_a_line_and_the_rest_goes_on(toy_store, left, fault, says):
    told = Told()
    made = make(toy_store, left, told, fault=fault)
    assert made.failed
    assert (made.sources, made.tally.masks) == (2, 64)
    assert f"a1-valid.npy: failed: {says}" in told.lines
    bad = at_place(toy_store, 12)
    assert bad not in files(toy_store, made.name)
    assert len(files(toy_store, made.name)) == 2
    asked = made.name.partition(":")[2]
    with pytest.raises(UsageError, match=f"{bad}.arrow: missing; run 'histoscope masks"):
        open_planes(toy_store, "mask", asked)
    good = np.flatnonzero(np.array(toy_store.index.column("source").to_pylist()) != bad)
    _, planes = open_planes(toy_store, "mask", asked, good)
    assert planes.plane(int(good[-1])).shape == (16, 16)


def test_a_provider_that_ends_its_process_fails_its_source(toy_store, left):
    told = Told()
    made = make(toy_store, left, told, Local(1), fault="exits")
    assert (made.failed, made.sources) == (True, 2)
    assert any("a1-valid.npy: failed: its reader crashed the process" in one for one in told.lines)


def test_a_damaged_shard_fails_its_source(toy_store, left):
    (toy_store.path / "shards" / f"{at_place(toy_store, 12)}.arrow").write_bytes(b"ARROW1")
    told = Told()
    made = make(toy_store, left, told)
    assert (made.failed, made.sources) == (True, 2)
    assert any("a1-valid.npy: failed: " in one and "damaged" in one for one in told.lines)


def test_sources_without_samples_are_skipped_and_said(toy, toy_folder, tmp_path, left):
    np.save(toy_folder / "nothing.npy", np.zeros((0, 16, 16, 3), np.uint8))
    toy.write_stack(toy_folder / "bad-one.npy", 4, 9)
    store = stored(toy, toy_folder, tmp_path / "more")
    told = Told()
    made = make(store, left, told)
    assert (made.failed, made.sources) == (False, 3)
    assert "skipped: 2 sources without samples (bad-one.npy, nothing.npy)" in told.lines


def stored(toy, folder, out, **sampling):
    more = {"encoding": "lossless", "engine": Local(0), "progress": Silent()}
    options = toy.ToyOptions()
    prepare(toy.DOMAIN, {"input": folder}, toy.ToySampling(**sampling), options, out, **more)
    return Store(out)


def test_an_interruption_leaves_what_is_finished(toy_store, left):
    def stop(done):
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="1 of 3 sources are finished; the same command goes on"):
        make(toy_store, left, Told(stop))
    first = files(toy_store, "mask:left@1")
    assert len(first) == 1
    told = Told()
    made = make(toy_store, left, told)
    assert (made.sources, told.done) == (3, 2)
    assert files(toy_store, "mask:left@1").items() >= first.items()


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toy_masks
from histoscope.core.data.store import Store
from histoscope.core.progress import Silent
from histoscope.core.stages.masks import make_masks
from histoscope.core.work.local import Local
slow = toy_masks.Left._given
def given(self, masks, fault):
    for place, mask in enumerate(slow(self, masks, fault)):
        if len(masks) == 24 and place == 20:
            print("here", flush=True)
            time.sleep(600)
        yield mask
toy_masks.Left._given = given
settings = toy_masks.LeftSpec()
make_masks(Store(Path(sys.argv[2])), toy_masks.LEFT, settings, engine=Local(0), progress=Silent())
"""


def test_a_killed_call_goes_on_to_the_same_bytes(toy, toy_folder, toy_store, tmp_path, left):
    words = [sys.executable, "-c", KILLED, str(PLUGIN), str(toy_store.path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as call:
        assert call.stdout.readline() == "here\n"
        with pytest.raises(UsageError, match=r"mask-left@1: another call is writing here; wait"):
            make(toy_store, left)
        call.kill()
    folder = plane_folder(toy_store, "mask:left@1")
    assert len(list(folder.glob("*.part"))) == 1
    assert len(list(folder.glob("*.arrow"))) == 2
    told = Told()
    make(toy_store, left, told)
    assert told.done == 1
    whole = stored(toy, toy_folder, tmp_path / "whole")
    make(whole, left)
    assert files(toy_store, "mask:left@1") == files(whole, "mask:left@1")


def test_a_second_call_is_refused_and_an_empty_plane_is_none(toy_store, left):
    folder = plane_folder(toy_store, "mask:left@1")
    with alone(folder), pytest.raises(UsageError, match=r"wait until it has ended$"):
        make(toy_store, left)
    assert planes_of(toy_store) == []
    with no_room_for("*.arrow"), pytest.raises(CannotWrite, match="File too large"):
        make(toy_store, left)
    assert not folder.parent.exists()
    make(toy_store, left)
    assert planes_of(toy_store) == ["mask:left@1"]


def test_masks_of_other_images_are_refused_and_made_anew(toy_store, left):
    make(toy_store, left)
    old = files(toy_store, "mask:left@1")
    source = at_place(toy_store, 12)
    shard = toy_store.path / "shards" / f"{source}.arrow"
    images = [Shard(shard).image(row) for row in range(12)]
    for change, says in ((lambda a: a[:-1], "of other images|12 images"), (_brighter, "of other")):
        write_shard(shard, (encode(one, "lossless") for one in change(images)))
        with pytest.raises(UsageError, match=rf"{source}\.arrow: (made )?{says}.*--provider left'"):
            open_planes(Store(toy_store.path), "mask", None)
    told = Told()
    make(toy_store, left, told)
    assert (told.done, "2 of 3 sources have them already" in told.lines) == (1, True)
    new = files(toy_store, "mask:left@1")
    assert new.pop(source) != old.pop(source)
    assert new == old
    assert open_planes(Store(toy_store.path), "mask", None)


def _brighter(images):
    return [np.minimum(images[0], 200) // 2, *images[1:]]


def test_a_damaged_plane_is_refused_and_made_anew(toy_store, left):
    make(toy_store, left)
    whole = files(toy_store, "mask:left@1")
    source = at_place(toy_store, 12)
    file = plane_folder(toy_store, "mask:left@1") / f"{source}.arrow"
    file.write_bytes(whole[source][:300])
    with pytest.raises(UsageError, match=r"arrow: damaged; run 'histoscope masks .*/store --prov"):
        open_planes(toy_store, "mask", None)
    make(toy_store, left)
    assert files(toy_store, "mask:left@1") == whole


def test_a_mask_that_is_damaged_inside_is_made_anew(toy_store, left):
    make(toy_store, left)
    whole = files(toy_store, "mask:left@1")
    source = at_place(toy_store, 12)
    file = plane_folder(toy_store, "mask:left@1") / f"{source}.arrow"
    place = whole[source].index(b"IDAT") + 4
    file.write_bytes(whole[source][:place] + b"\0" * 8 + whole[source][place + 8 :])
    with pytest.raises(DataError, match="damaged"):
        tally_of(file)
    make(toy_store, left)
    assert files(toy_store, "mask:left@1") == whole


def test_names_tell_settings_and_encoders_apart(toy_store, left):
    assert plane_name(left, left.settings()) == "mask:left@1"
    assert plane_name(left, left.settings(shift=0)) == "mask:left@1"
    one, two = (plane_name(left, left.settings(shift=shift)) for shift in (1, 2))
    assert one.startswith("mask:left@1-")
    assert one != two
    bright = load_provider("bright", "toy")
    told = Told()
    by_word = make(toy_store, bright, told).name
    assert by_word.startswith("mask:bright@1-")
    assert "the network runs on cpu in float32" in told.lines
    assert any(line.startswith(f"masks: {by_word}") for line in told.lines)
    assert make(toy_store, bright, size_px=24).name != by_word
    assert make(toy_store, bright, encoder="random:test_resnet").name == by_word
    assert make(toy_store, bright, encoder="random:test_vit").name != by_word
    assert make(toy_store, left, shift=2).name == two


def learn(toy, store, encoder, out):
    """A run of one step."""
    training = {"steps": 1, "batch_size": 8, "workers": 0, "threads": 1}
    spec = build(PretrainSpec, {"encoder": encoder, "training": training}, "a")
    pretrain(store, toy.DOMAIN, spec, out, progress=Silent())


def test_an_encoder_counts_by_its_weights_wherever_it_lies(toy, toy_store, tmp_path):
    learn(toy, toy_store, "test_resnet", tmp_path / "run")
    bright = load_provider("bright", "toy")
    made = make(toy_store, bright, encoder=str(tmp_path / "run"))
    (tmp_path / "run").rename(tmp_path / "moved")
    again = make(toy_store, bright, encoder=str(tmp_path / "moved"))
    assert (again.name, again.made) == (made.name, 0)
    file = next(plane_folder(toy_store, made.name).iterdir())
    assert str(tmp_path).encode() not in file.read_bytes()
    other = make(toy_store, bright, encoder=str(tmp_path / "moved"), engine=Local(1), size_px=48)
    assert (other.name != made.name, other.sources) == (True, 3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"encoder": "colour"}, "colour: .* has no map"),
        ({"encoder": "random:vit_tiny_patch16_224", "size_px": 100}, "for images of 100 px"),
        ({"encoder": "nowhere"}, "nowhere: no encoder here"),
    ],
)
def test_encoders_that_cannot_serve_are_refused(toy_store, settings, says):
    bright = load_provider("bright", "toy")
    with pytest.raises(UsageError, match=says):
        make(toy_store, bright, **settings)
    assert planes_of(toy_store) == []


def test_an_encoder_of_fixed_size_is_refused_by_name(toy, toy_store, tmp_path):
    learn(toy, toy_store, {"name": "test_vit", "patch_px": 8}, tmp_path / "run")
    bright = load_provider("bright", "toy")
    with pytest.raises(UsageError, match=r"run: takes no images of 27 px \(.*\); give the side"):
        make(toy_store, bright, encoder=str(tmp_path / "run"), size_px=27)


def test_encoders_are_opened_in_make_alone(toy_store):
    opening = Encoders(toy_store, AUTO, Silent())
    opening.close()
    for one in (opening, pickle.loads(pickle.dumps(opening))):  # noqa: S301
        with pytest.raises(UsageError, match="opens encoders in 'make' alone"):
            one("colour", 16)
    told = Told()
    made = make(toy_store, load_provider("bright", "toy"), told, late=True)
    assert (made.failed, made.sources) == (True, 0)


def test_maps_are_those_of_the_encoder(toy_store):
    maps = Encoders(toy_store, AUTO, Silent())("random:test_resnet", 40)
    maps = pickle.loads(pickle.dumps(maps))  # noqa: S301, as workers get it
    images = [toy_store.reader.image(row) for row in range(40)]  # more than pass at once
    found = maps(images)
    encoder = open_encoder("random:test_resnet", toy_store, 0, size_px=40).encoder
    large = torch.from_numpy(np.stack([resized(one, 40) for one in images]))
    with torch.no_grad():
        wanted = encoder.encode(to_unit(large), "map").numpy()
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, atol=1e-5)
    assert maps([]).shape == (0, *wanted.shape[1:])


def test_images_shrink_by_area_and_grow_linearly():
    image = np.zeros((4, 4, 3), np.uint8)
    image[::2] = 200
    assert (resized(image, 2) == 100).all()
    assert resized(image, 8)[:, 0, 0].tolist() == [200, 150, 50, 50, 150, 150, 50, 0]
    assert resized(image, 4) is image


def test_providers_are_of_domains(toy):
    ours = {"bright", "elsewhere", "left"}  # others may be installed
    assert [one.name for one in providers_of("toy") if one.name in ours] == ["bright", "left"]
    assert [one.name for one in providers_of("sea") if one.name in ours] == ["elsewhere", "left"]
    with pytest.raises(UsageError, match=r"knows images of sea, land, not of toy; .*: bright, "):
        load_provider("elsewhere", "toy")
    with pytest.raises(UsageError, match="unknown provider of masks 'lft', did you mean 'left'"):
        load_provider("lft", "toy")
