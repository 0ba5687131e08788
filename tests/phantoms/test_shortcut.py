"""The phantom with a shortcut is what its study was made on."""

import numpy as np
import pytest

from tests.phantoms.shortcut import CLASSES, PLANTED, digest, paint

FROZEN = {
    True: "62aad4236109a2fe4be320dac89f80e8",
    False: "0772f10f04a31975a92e9e54d623c095",
}


@pytest.mark.parametrize("shortcut", FROZEN)
def test_it_is_frozen(shortcut):
    assert digest(shortcut=shortcut) == FROZEN[shortcut]


def test_subjects_are_the_same_with_and_without_the_shortcut():
    for number in range(12):
        one, other = (paint("train", number, shortcut=s) for s in (True, False))
        assert np.array_equal(one.mask, other.mask)
        assert one.label == other.label == number % len(CLASSES)
        assert 0.2 < one.mask.mean() < 0.45


def test_test_images_know_no_shortcut():
    for number in range(12):
        one, other = (paint("test", number, shortcut=s) for s in (True, False))
        assert np.array_equal(one.image, other.image)


def test_the_background_tells_the_class_in_training_only():
    """Told by a plain statistic of what lies outside the mask, nearest mean of each class."""
    from scipy.ndimage import gaussian_filter

    def statistic(one):
        grey = one.image.astype(float).mean(2)
        grey = (grey - grey[~one.mask].mean()) / grey[~one.mask].std()
        grey[one.mask] = 0
        scales = [grey - gaussian_filter(grey, s) for s in (1, 2, 4)]
        power = np.sort(np.abs(np.fft.rfft2(grey))[1:16, 1:16].ravel())[::-1]
        sharp = [np.abs(s[~one.mask]).mean() for s in scales]
        skew = [(grey[~one.mask] ** 3).mean()]
        return np.array([*sharp, *skew, *(power[[0, 1, 3, 8, 20]] / power.sum())])

    def rate(split, shortcut):
        seen = [paint("train", n, shortcut=shortcut) for n in range(400)]
        asked = [paint(split, n + 400, shortcut=shortcut) for n in range(200)]
        x, y = (np.stack([statistic(one) for one in part]) for part in (seen, asked))
        x, y = (x - x.mean(0)) / x.std(0), (y - x.mean(0)) / x.std(0)
        labels = np.array([one.label for one in seen])
        near = ((y[:, None] - x[None]) ** 2).sum(2).argsort(1)[:, :9]
        votes = np.stack([(labels[near] == c).sum(1) for c in range(4)], 1).argmax(1)
        return float((votes == [one.label for one in asked]).mean())

    assert rate("train", True) > 0.6
    assert rate("train", False) < 0.4
    assert rate("test", True) < 0.4
    assert PLANTED == 0.95
