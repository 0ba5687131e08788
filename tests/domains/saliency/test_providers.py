"""What every provider owes, on pictures that show nothing as well."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tomllib
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from histoscope.core.config import build
from histoscope.core.contracts.masks import MASKS, MaskMaker, MaskProvider
from histoscope.domains import saliency
from histoscope.domains.saliency import FIELD, INSTRUMENTS, LEARNED, NUCLEI, RANDOM, TISSUE
from tests.domains.saliency.painted import frames, tissue_tiles

PROVIDERS = (TISSUE, NUCLEI, INSTRUMENTS, FIELD, LEARNED, RANDOM)
NEEDS: dict[str, dict[str, Any]] = {
    "learned": {"like": "tissue", "encoder": "cells", "size_px": 64},
    "random": {"like": "tissue"},
}
HOUSE = Path(__file__).resolve().parents[3]
Image = NDArray[np.uint8]


def cells(word: str, size_px: int) -> Callable[[Sequence[Image]], NDArray[np.float32]]:
    """A map of 16 x 16: mean colour and its square in each cell."""
    assert word == "cells"
    return _cells


def _cells(images: Sequence[Image]) -> NDArray[np.float32]:
    small = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA) for image in images]
    mean = np.stack(small).astype(np.float32) / 255
    return np.concatenate([mean, mean**2], axis=3).transpose(0, 3, 1, 2)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers by name, whatever of the distribution is installed."""
    monkeypatch.setattr(MASKS, "load", {one.name: one for one in PROVIDERS}.__getitem__)


def maker(provider: MaskProvider, **settings: Any) -> MaskMaker:
    given = NEEDS.get(provider.name, {}) | settings
    return provider.make(build(provider.settings, given, provider.name), cells)


def even(*colour: int, shape: tuple[int, int] = (24, 40)) -> Image:
    return np.full((*shape, 3), colour, np.uint8)


def noise(shape: tuple[int, int] = (24, 40)) -> Image:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


DULL = {
    "black": [even(0, 0, 0)] * 3,
    "white": [even(255, 255, 255)],
    "grey": [even(128, 128, 128)] * 2,
    "red": [even(180, 60, 50)],
    "noise": [noise(), even(0, 0, 0)],
    "8 px": [noise((8, 8)), even(200, 90, 160, shape=(8, 8)), even(0, 0, 0, shape=(8, 8))],
    "narrow": [noise((3, 70)), noise((70, 1))],
    "of many sizes": [noise((8, 8)), noise((64, 30)), even(240, 240, 240)],
}


@pytest.mark.parametrize("pictures", DULL.values(), ids=DULL)
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_pictures_that_show_nothing_have_masks_too(provider: MaskProvider, pictures: list[Image]):
    subjects = maker(provider).of_source(pictures)
    masks = list(subjects.masks)
    assert [mask.shape for mask in masks] == [picture.shape[:2] for picture in pictures]
    assert all(mask.dtype == np.bool_ and mask.flags["C_CONTIGUOUS"] for mask in masks)
    assert all(type(value) is int and 0 <= value <= 255 for value in subjects.fill)
    assert max(subjects.fill) > 0


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_a_source_without_images_has_no_masks(provider: MaskProvider):
    subjects = maker(provider).of_source([])
    assert list(subjects.masks) == []
    assert max(subjects.fill) > 0


@pytest.mark.parametrize("provider", [TISSUE, NUCLEI, INSTRUMENTS, LEARNED], ids=lambda p: p.name)
@pytest.mark.parametrize("picture", ["black", "white", "grey"])
def test_an_even_picture_has_no_subject(provider: MaskProvider, picture: str):
    masks = maker(provider).of_source(DULL[picture]).masks
    assert not any(mask.any() for mask in masks)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_masks_are_the_same_whatever_was_masked_before(provider: MaskProvider):
    surgical = "surgery" in provider.domains
    some = [image for image, _ in (frames(0, (64, 64), 100) if surgical else tissue_tiles(0))][:20]
    fresh = maker(provider).of_source(some)
    used = maker(provider)
    list(used.of_source([noise(), *some[::-1]]).masks)
    subjects = used.of_source(some)
    first = [mask.copy() for mask in fresh.masks]
    assert fresh.fill == subjects.fill
    for again in (subjects.masks, fresh.masks):
        assert all((one == two).all() for one, two in zip(first, again, strict=True))


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_a_maker_pickles(provider: MaskProvider):
    made = maker(provider)
    again = pickle.loads(pickle.dumps(made))  # noqa: S301  # our own bytes
    picture = noise((32, 32))
    one, two = (next(iter(m.of_source([picture]).masks)) for m in (made, again))
    assert (one == two).all()


def test_images_are_never_held():
    given: list[weakref.ref[Image]] = []

    class Images(Sequence[Image]):
        def __len__(self) -> int:
            return 60

        def __getitem__(self, place: Any) -> Any:
            if place >= len(self):
                raise IndexError(place)
            assert sum(one() is not None for one in given) < 3
            picture = noise((16, 16))
            given.append(weakref.ref(picture))
            return picture

    for provider in (TISSUE, NUCLEI, INSTRUMENTS, FIELD):
        for _ in maker(provider).of_source(Images()).masks:
            pass


def test_declaring_loads_no_library():
    code = (
        "import sys, histoscope.domains.saliency\n"
        "print(sorted({'torch', 'cv2', 'scipy', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_providers_are_declared_by_their_names():
    text = (HOUSE / "pyproject.toml").read_text(encoding="utf-8")
    points = tomllib.loads(text)["project"]["entry-points"]["histoscope.masks"]
    declared = {name: getattr(saliency, value.partition(":")[2]) for name, value in points.items()}
    assert declared == {one.name: one for one in PROVIDERS}
    assert all(isinstance(one, MaskProvider) for one in PROVIDERS)
    for provider in PROVIDERS:
        assert all(field.description for field in provider.settings.model_fields.values())
