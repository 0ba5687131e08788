"""Measure the stain statistics of a store's images, for the views of pretraining."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from histoscope.core.encoders.pixels import to_unit
from histoscope.core.errors import DataError
from histoscope.domains.pathology.colour_spaces import DARKEST, SPACES
from histoscope.domains.pathology.stain import tissue_part
from histoscope.domains.pathology.stain_statistics import (
    LEAST_TISSUE,
    Law,
    StatisticsSpec,
    tissue_statistics,
)

_BATCH = 32
_FEWEST = 10  # images with tissue: a standard deviation over fewer says little


def fit_statistics(images: Iterable[NDArray[np.uint8]], space: str) -> tuple[StatisticsSpec, int]:
    """How the tissue's mean and standard deviation are distributed over images.

    Args:
        images: (height, width, 3), RGB, all of one size.
        space: ``lab``, ``hsv`` or ``hed``.

    Returns:
        The settings of the augmentation, to six significant digits, and how many images had at
        least 1 % of tissue: the others do not count.

    Raises:
        DataError: fewer than ten did, or they are flat.
    """
    measured = list(_measure(images, space))
    means, stds = (np.concatenate(parts) for parts in zip(*measured, strict=True))
    if len(means) < _FEWEST:
        raise DataError(f"{len(means)} images with tissue; at least {_FEWEST} are needed")
    if not (stds.max(axis=0) > 0).all():
        raise DataError("the tissue has a channel without any contrast; is it stained?")
    circular = SPACES[space].circular
    of_means = [fit_law(means[:, channel], turns=channel == circular) for channel in range(3)]
    of_stds = [fit_law(stds[:, channel]) for channel in range(3)]
    spec = {
        "kind": "statistics",
        "space": space,
        "mean": [centre_and_sd for centre_and_sd, _ in of_means],
        "std": [centre_and_sd for centre_and_sd, _ in of_stds],
        "correlation": _correlation(means, stds, circular).round(4).tolist(),
        "mean_laws": [law for _, law in of_means],
        "std_laws": [law for _, law in of_stds],
    }
    return StatisticsSpec.model_validate(spec), len(means)


def _measure(
    images: Iterable[NDArray[np.uint8]], space: str
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Means and standard deviations, (images with tissue, 3) both, batch by batch."""
    rest = iter(images)
    while batch := list(islice(rest, _BATCH)):
        rgb = to_unit(torch.from_numpy(np.stack(batch))).double().flatten(2)
        part = tissue_part(rgb.clamp_min(DARKEST).log().neg_())
        enough = part.mean(dim=(1, 2)) >= LEAST_TISSUE
        values = SPACES[space].forward(rgb)
        mean, std = tissue_statistics(values, part, SPACES[space].circular)
        yield mean[enough].numpy(), std[enough].numpy()


def fit_law(values: NDArray[np.float64], *, turns: bool = False) -> tuple[tuple[float, float], Law]:
    """The likelier of a normal and a Laplace distribution, by its mean and standard deviation.

    Args:
        values: one an image.
        turns: they are angles in turns, and so is the mean, in [0, 1).
    """
    start, values = from_mean_angle(values) if turns else (0.0, values)
    centre, sd = float(values.mean()), float(values.std())
    law: Law = "normal"
    median = float(np.median(values))
    scale = float(np.abs(values - median).mean())
    # log likelihoods at their best, a value: -ln(sd √(2πe)) and -ln(2e · scale)
    if 2 * math.e * scale < sd * math.sqrt(math.tau * math.e):
        centre, sd, law = median, scale * math.sqrt(2), "laplace"
    centre = (centre + start) % 1 if turns else centre
    return (float(f"{centre:.6g}"), float(f"{sd:.6g}")), law


def _correlation(
    means: NDArray[np.float64], stds: NDArray[np.float64], circular: int | None
) -> NDArray[np.float64]:
    """Of the six numbers over images, (6, 6); an angle counts by its way from the mean angle."""
    columns = np.concatenate([means, stds], axis=1)
    if circular is not None:
        columns[:, circular] = from_mean_angle(columns[:, circular])[1]
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(length > 0, length, 1)
    table = unit.T @ unit
    np.fill_diagonal(table, 1)
    return np.asarray((table + table.T) / 2)


def from_mean_angle(turns: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The mean of directions, in turns, and how far each is from it, in [-0.5, 0.5)."""
    angles = turns * math.tau
    middle = math.atan2(np.sin(angles).mean(), np.cos(angles).mean()) / math.tau
    return middle, np.remainder(turns - middle + 0.5, 1) - 0.5


def as_configuration(spec: StatisticsSpec, said: str) -> str:
    """YAML that ``pretrain --config`` takes as it is.

    Args:
        spec: what was fitted.
        said: one line on what it was fitted to, written above as a comment.
    """
    body = {"views": {"domain": {"stain": spec.model_dump(mode="json")}}}
    text = yaml.safe_dump(body, sort_keys=False, default_flow_style=None)
    return f"# {said}\n# histoscope pretrain STORE --out RUN --config THIS_FILE\n{text}"
