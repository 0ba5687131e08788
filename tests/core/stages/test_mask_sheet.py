"""The sheet shows what the masks say: on a phantom whose pixels say where they are from."""

import io

import numpy as np
import pytest
from PIL import Image

from histoscope.core.config import Spec
from histoscope.core.contracts.masks import Subjects, load_provider
from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.mask_sheet import (
    EDGE_PX,
    GAP_PX,
    OUTLINE,
    chosen_rows,
    pictures,
    plane_to_show,
    write_sheet,
)
from histoscope.core.stages.masks import make_masks
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local

SIDE, SHOWN = 32, 160  # of an image, and as it stands on the sheet
FILL = (1, 2, 250)


def coded(number):
    """Red says the row, green the column, blue the sample."""
    at = 4 + 6 * np.arange(SIDE, dtype=np.uint8)
    rows, columns = np.meshgrid(at, at, indexing="ij")
    return np.stack([rows, columns, np.full_like(rows, 10 * number)], axis=2)


class Corner:
    """Subjects are the first rows and columns, fewer in each further sample."""

    name, version, domains, about, settings = "corner", "3", (), "", Spec

    def make(self, settings, maps):
        return self

    def of_source(self, images):
        masks = []
        for image in images:
            edge = SIDE - 2 - int(image[0, 0, 2]) // 10
            masks.append(np.zeros((SIDE, SIDE), np.bool_))
            masks[-1][:edge, :edge] = True
        return Subjects(masks, FILL)


@pytest.fixture
def coded_store(toy, tmp_path):
    folder = tmp_path / "coded"
    folder.mkdir()
    for source in range(2):
        np.save(folder / f"{source}.npy", np.stack([coded(3 * source + n) for n in range(3)]))
    sampling, more = toy.ToySampling(size_px=SIDE), {"engine": Local(0), "progress": Silent()}
    out = tmp_path / "store"
    options = toy.ToyOptions()
    more["encoding"] = "lossless"
    prepare(toy.DOMAIN, {"input": folder}, sampling, options, out, **more)
    return Store(out)


def made(store, provider, **settings):
    spec = provider.settings(**settings)
    return make_masks(store, provider, spec, engine=Local(0), progress=Silent()).name


def test_pixels_of_the_sheet_are_those_of_image_mask_and_fill(coded_store, tmp_path):
    name = made(coded_store, Corner())
    assert name == "mask:corner@3"
    path = tmp_path / "sheet.png"
    assert write_sheet(coded_store, name, path) == 6
    sheet = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
    scale = SHOWN // SIDE
    filled = (sheet == np.array(FILL)).all(axis=2).any(axis=1)
    top = int(np.flatnonzero(filled)[0])  # a corner lacks the last columns of the first row
    for cell, row in enumerate(chosen_rows(coded_store, sources_of(coded_store), 24)[:2]):
        left = EDGE_PX + cell * (3 * SHOWN + 2 * GAP_PX + EDGE_PX)
        number = int(coded_store.reader.image(row)[0, 0, 2]) // 10
        edge = (SIDE - 2 - number) * scale
        for at in ((20, 20), (100, 60), (edge - 8, edge - 8), (edge + 3, 20), (SHOWN - 3, 5)):
            inside = max(at) < edge
            image, outlined, alone = (
                sheet[top + at[0], left + place * (SHOWN + GAP_PX) + at[1]].astype(int)
                for place in range(3)
            )
            wanted = np.array([4 + 6 * at[0] / scale, 4 + 6 * at[1] / scale, 10 * number])
            assert abs(image - wanted).max() <= 8, at
            assert np.array_equal(alone, image if inside else FILL), at
            assert np.array_equal(outlined, image), at
        border = sheet[top + edge - 1, left + SHOWN + GAP_PX + 20]
        assert tuple(border) == OUTLINE
        corner = sheet[top + edge + 1, left + SHOWN + GAP_PX + edge + 1]
        assert tuple(corner) != OUTLINE
    again = tmp_path / "again.png"
    write_sheet(coded_store, name, again)
    assert again.read_bytes() == path.read_bytes()


def sources_of(store):
    return set(store.index.column("source").to_pylist())


def test_a_full_and_an_empty_mask_have_no_outline():
    image = coded(2)
    for mask in (np.ones((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)):
        plain, outlined, alone = pictures(image, mask, np.array(FILL, np.uint8), SHOWN)
        assert np.array_equal(plain, outlined)
        assert np.array_equal(alone, plain if mask.any() else np.full_like(plain, FILL))


def test_samples_are_chosen_evenly(toy_store):
    sources = toy_store.index.column("source").to_pylist()
    rows = chosen_rows(toy_store, set(sources), 24)
    counts = {source: sum(sources[row] == source for row in rows) for source in sources}
    assert list(counts.values()) == [8, 8, 8]
    assert rows == sorted(set(rows))
    few = chosen_rows(toy_store, set(sources), 2)
    assert len({sources[row] for row in few}) == 2
    assert chosen_rows(toy_store, {sources[0]}, 100) == list(range(40))
    assert chosen_rows(toy_store, set(), 5) == []


def test_the_plane_to_show_is_the_only_one_or_the_one_named(toy_store):
    left = load_provider("left", "toy")
    with pytest.raises(UsageError, match="has no masks; make some with --provider NAME"):
        plane_to_show(toy_store, None)
    name = made(toy_store, left)
    assert plane_to_show(toy_store, None) == name
    other = made(toy_store, left, shift=1)
    with pytest.raises(UsageError, match=r"has masks of left@1, left@1-.*; name one with --prov"):
        plane_to_show(toy_store, None)
    assert plane_to_show(toy_store, other.partition(":")[2]) == other
    with pytest.raises(UsageError, match="has no such masks, did you mean 'left@1'"):
        plane_to_show(toy_store, "left@2")


def test_the_sheet_is_a_picture_of_some_width(toy_store, tmp_path):
    path = tmp_path / "sheet.png"
    write_sheet(toy_store, made(toy_store, load_provider("left", "toy")), path)
    opened = Image.open(io.BytesIO(path.read_bytes()))
    assert opened.format == "PNG"
    assert 900 < opened.width < 1600
