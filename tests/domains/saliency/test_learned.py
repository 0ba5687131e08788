"""What is learned from another provider's faulty masks, on scenes whose truth is known."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from histoscope.core.config import Spec, build
from histoscope.core.contracts.masks import MASKS, Subjects
from histoscope.core.errors import ConfigError, UsageError
from histoscope.domains.saliency import INSTRUMENTS, LEARNED
from histoscope.domains.saliency.settings import LearnedSpec
from tests.domains.saliency.painted import Painted, agreement, pictures_of

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
RED, GREY = (170, 60, 50), (150, 150, 155)


@dataclass(frozen=True)
class Careless:
    """A teacher that finds grey, but shifts it, bites a piece off, and sees things in corners."""

    fault: str = ""

    def of_source(self, images: Sequence[Image]) -> Subjects:
        return Subjects([self.mask(n, image) for n, image in enumerate(images)], (9, 8, 7))

    def mask(self, number: int, image: Image) -> Mask:
        if self.fault:
            return np.full(image.shape[:2], self.fault == "everything")
        rng = np.random.default_rng(number)
        grey = (np.ptp(image.astype(int), axis=2) < 50) & (image.mean(axis=2) > 30)
        out = np.roll(grey, tuple(rng.integers(-9, 10, 2)), axis=(0, 1))
        y, x = (int(rng.integers(0, max(1, side - 24))) for side in image.shape[:2])
        out[y : y + 24, x : x + 24] ^= True
        return out


@dataclass(frozen=True)
class Teacher:
    maker: Careless
    name: str = "careless"
    version: str = "1"
    domains: Sequence[str] = ()
    settings: type[Spec] = Spec
    about: str = "grey things, carelessly"

    def make(self, settings: Spec, maps: Any) -> Careless:
        return self.maker


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = ("", "nothing", "everything")
    providers: dict[str, Any] = {fault or "careless": Teacher(Careless(fault)) for fault in faults}
    providers |= {"instruments": INSTRUMENTS, "learned": LEARNED}
    monkeypatch.setattr(MASKS, "load", providers.__getitem__)


def colours(word: str, size_px: int):
    """Mean colour of each cell of 1/16 of the side, of images that are resized here."""
    assert (word, size_px) == ("colours", 128)
    return _colours


def _colours(images: Sequence[Image]) -> NDArray[np.float32]:
    small = [cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(small).astype(np.float32).transpose(0, 3, 1, 2) / 255


def made(like: str = "careless", encoder: str | None = "colours", **settings: Any):
    return LEARNED.make(LearnedSpec(like=like, encoder=encoder, size_px=128, **settings), colours)


def scenes(count: int, shape: tuple[int, int] = (96, 128)) -> Painted:
    """A grey disc in another place of a red ground each time."""
    rng = np.random.default_rng(0)
    out = []
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(count):
        centre = rng.uniform(0.3, 0.7, 2) * shape
        truth = np.hypot(y - centre[0], x - centre[1]) < 0.21 * min(shape)
        image = np.where(truth[..., None], GREY, RED)
        out.append(((image + rng.integers(-9, 10, image.shape)).astype(np.uint8), truth))
    return out


@pytest.mark.parametrize("encoder", [None, "colours"])
@pytest.mark.parametrize("count", [3, 12])
def test_what_is_learned_is_closer_to_the_truth_than_its_teacher(encoder: str | None, count: int):
    shot = scenes(count)
    taught, learned = (agreement(one, shot)[0] for one in (Careless(), made(encoder=encoder)))
    assert taught < 0.65
    assert learned > taught + 0.2


def test_an_encoder_tells_apart_what_colours_cannot(monkeypatch: pytest.MonkeyPatch):
    """Subject and ground look alike; the map alone says where the subject is."""
    rng = np.random.default_rng(1)
    shot = scenes(8)
    hidden = [(rng.integers(90, 110, image.shape).astype(np.uint8), truth) for image, truth in shot]
    seen = {image.tobytes(): truth for image, truth in hidden}

    def telling(word: str, size_px: int):
        def maps(images: Sequence[Image]) -> NDArray[np.float32]:
            planes = [seen.get(one.tobytes(), np.zeros((16, 16))) for one in images]
            sized = [
                cv2.resize(one.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
                for one in planes
            ]
            return np.stack([np.stack((one, 1 - one)) for one in sized])

        return maps

    class Late:
        def of_source(self, images: Sequence[Image]) -> Subjects:
            shifted = [np.roll(truth, 9, axis=1) for _, truth in hidden]
            return Subjects(shifted, (9, 8, 7))

    monkeypatch.setattr(MASKS, "load", {"late": Teacher(Late())}.__getitem__)
    spec = LearnedSpec(like="late", encoder="telling")
    assert agreement(LEARNED.make(spec, telling), hidden)[0] > 0.05 + max(
        agreement(LEARNED.make(LearnedSpec(like="late", encoder=None), telling), hidden)[0],
        agreement(Late(), hidden)[0],
    )


def test_the_same_images_get_the_same_masks():
    shot = scenes(5)
    subjects = made().of_source(pictures_of(shot))
    first, second, third = (
        list(one)
        for one in (subjects.masks, subjects.masks, made().of_source(pictures_of(shot)).masks)
    )
    for one, two, three in zip(first, second, third, strict=True):
        assert (one == two).all()
        assert (one == three).all()


@pytest.mark.parametrize("like", ["nothing", "everything"])
def test_a_teacher_who_tells_nothing_apart_is_followed(like: str):
    subjects = made(like).of_source(pictures_of(scenes(4)))
    assert subjects.fill == (9, 8, 7)
    assert all(mask.all() if like == "everything" else not mask.any() for mask in subjects.masks)


def test_an_even_picture_among_others_keeps_its_teachers_mask():
    even = [np.full((96, 128, 3), level, np.uint8) for level in (0, 128, 255)]
    shot = [image for image, _ in scenes(6)] + even
    masks = list(made(encoder=None).of_source(shot).masks)
    taught = list(Careless().of_source(shot).masks)
    assert all((masks[n] == taught[n]).all() for n in (6, 7, 8))


@pytest.mark.parametrize("encoder", [None, "colours"])
@pytest.mark.parametrize("shape", [(8, 8), (3, 70), (70, 1), (500, 40)], ids=str)
def test_odd_pictures_are_masked_beside_others(encoder: str | None, shape: tuple[int, int]):
    even = [np.full((*shape, 3), level, np.uint8) for level in (0, 128, 255)]
    some = [*even, scenes(1)[0][0]]
    for pictures in (some, *([one] for one in some)):
        masks = list(made(encoder=encoder).of_source(pictures).masks)
        assert [mask.shape for mask in masks] == [one.shape[:2] for one in pictures]
        assert all(mask.dtype == np.bool_ for mask in masks)


def test_a_maker_pickles_with_what_it_opened():
    shot = scenes(3)
    maker = pickle.loads(pickle.dumps(made()))  # noqa: S301  # our own bytes
    assert agreement(maker, shot) == agreement(made(), shot)


def test_the_encoder_is_opened_once_when_the_maker_is_made():
    opened = []

    def opening(word: str, size_px: int):
        opened.append(word)
        return _colours

    maker = LEARNED.make(LearnedSpec(like="careless", encoder="colours"), opening)
    assert opened == ["colours"]
    list(maker.of_source(pictures_of(scenes(2))).masks)
    assert opened == ["colours"]


def test_settings_that_cannot_be_are_refused_in_a_line():
    with pytest.raises(UsageError, match="'like' must name another provider"):
        made("learned")
    with pytest.raises(ConfigError, match="encoder"):
        build(LearnedSpec, {"like": "instruments"}, "provider learned")
    with pytest.raises(ConfigError, match=r"learned, like instruments.*did you mean 'margin'"):
        made("instruments", settings={"margins": 0.1})


def test_a_coarse_map_is_refused_and_the_side_that_suits_is_named():
    def coarse(word: str, size_px: int):
        return lambda images: np.zeros((len(images), 3, size_px // 32, size_px // 32), np.float32)

    with pytest.raises(UsageError, match=r"2 x 2 at size_px 64.*size_px 128 gives 4 x 4"):
        LEARNED.make(LearnedSpec(like="careless", encoder="coarse", size_px=64), coarse)


@pytest.mark.data
def test_real_instruments_are_learned_from_handmade_masks(real_data: Path):
    """Operations of the valid part; every second frame of each."""
    folder = real_data / "surgery" / "masks"
    with (folder / "frames.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "valid"]
    maker = made("instruments", encoder=None)
    overlaps = []
    for operation in sorted({row["operation"] for row in rows}):
        shot: Painted = []
        for name in [row["frame"] for row in rows if row["operation"] == operation][::2]:
            image = cv2.cvtColor(cv2.imread(str(folder / f"frames/{name}.jpg")), cv2.COLOR_BGR2RGB)
            label = cv2.imread(str(folder / f"labels/{name}.png"), cv2.IMREAD_GRAYSCALE)
            shot.append((np.asarray(image, np.uint8), np.asarray(label == 6)))
        overlaps.append(agreement(maker, shot)[0])
    assert np.mean(overlaps) >= 0.35
