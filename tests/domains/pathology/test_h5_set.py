"""HDF5 pairs as people write them anew give the same pictures and labels, or are refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from histoscope.core.contracts import CorruptSample, Sample, Source
from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling

COUNT, SIDE = 12, 16
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
CLASSES = np.arange(COUNT, dtype=np.uint8) % 2


def read(folder: Path, x: np.ndarray, y: np.ndarray) -> tuple[list, list, str]:
    """Samples, classes, and what is noted of the set."""
    for name, values in (("x", x), ("y", y)):
        with h5py.File(folder / f"tiles_{name}.h5", "w") as handle:
            handle[name] = values
    found = DOMAIN.find({"input": folder}, PrepareOptions(mpp=1.0))
    (source,) = (one for one in found if isinstance(one, Source))
    cut = TileSampling(size_px=SIDE, tile_mpp=1.0)
    with DOMAIN.open(source, {"input": folder}, cut) as reader:
        plan = reader.plan()
        labels = plan.labels["tissue"].values.to_pylist()
        return list(reader.read(plan.rows)), labels, source.note


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (PIXELS, ""),
        ((PIXELS / 255).astype(np.float32), "float32 of 0 to 1, times 255"),
        ((PIXELS / 255).astype(np.float64), "float64 of 0 to 1, times 255"),
        (PIXELS.astype(np.float32), "float32 of 0 to 255"),
        (PIXELS.astype(np.uint16), "uint16 of 0 to 255"),
        (PIXELS.astype(np.int64), "int64 of 0 to 255"),
        (PIXELS.transpose(0, 3, 1, 2), "channels first"),
        ((PIXELS / 255).astype(np.float32).transpose(0, 3, 1, 2), "times 255, channels first"),
    ],
)
def test_values_are_converted_where_their_meaning_is_certain(tmp_path, x, said):
    samples, _, note = read(tmp_path, x, CLASSES)
    assert said in note
    assert bool(said) == bool(note)
    for sample, truth in zip(samples, PIXELS, strict=True):
        assert (sample.image == truth).all()


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (PIXELS.astype(np.float32) / 128 - 1, "float32 from -1 to 0.9.*save it as uint8"),
        (PIXELS.astype(np.uint16) * 16, "uint16 from 0 to 4080"),
        ((PIXELS > 99).astype(np.uint8), "nothing but 0 and 1"),
        (PIXELS[..., 0], "x has shape"),
        (PIXELS[:5], "x has shape .* and y 12 rows"),
        (np.full(PIXELS.shape, np.nan), "holds float64 from nan"),
    ],
)
def test_what_may_mean_two_things_is_refused(tmp_path, x, reason):
    with pytest.raises(UnreadableSource, match=reason):
        read(tmp_path, x, CLASSES)


def test_a_picture_outside_of_the_range_is_unreadable_and_the_rest_is_read(tmp_path):
    x = np.concatenate([(PIXELS / 255).astype(np.float32)] * 6)
    x[1] += 1  # none of those that are looked at
    samples, _, _ = read(tmp_path, x, np.tile(CLASSES, 6))
    assert isinstance(samples[1], CorruptSample)
    assert "outside of 0 to 1" in samples[1].reason
    assert sum(isinstance(one, Sample) for one in samples) == len(x) - 1


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (CLASSES.reshape(-1, 1, 1, 1), ""),
        (CLASSES.astype(np.float32), ""),
        (CLASSES.astype(bool), ""),
        (np.eye(2, dtype=np.uint8)[CLASSES], "one-hot of 2"),
        (np.eye(2, dtype=np.float32)[CLASSES], "one-hot of 2"),
    ],
)
def test_labels_are_the_same_however_they_are_written(tmp_path, y, said):
    _, labels, note = read(tmp_path, PIXELS, y)
    assert labels == [str(one) for one in CLASSES]
    assert said in note


def test_names_and_unknown_labels(tmp_path):
    names = np.array([b"normal", b"tumour"], object)[CLASSES]
    assert read(tmp_path, PIXELS, names)[1] == [one.decode() for one in names]
    unknown = np.where(CLASSES == 1, np.nan, 0)
    _, labels, note = read(tmp_path, PIXELS, unknown)
    assert labels == ["0", None] * (COUNT // 2)
    assert "6 are NaN, unknown" in note


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (np.full((COUNT, 2), 0.5), "holds 0.5, where a class's number"),
        (np.stack([CLASSES, CLASSES], axis=1), "2 numbers a picture that are not one-hot"),
        (np.zeros((COUNT, 40, 40), np.uint8), "1600 numbers a picture: masks"),
        (np.full(COUNT, np.inf), "holds inf"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, y, reason):
    with pytest.raises(UnreadableSource, match=reason):
        read(tmp_path, PIXELS, y)
