"""Measure the stain statistics of a store's images, for the views of pretraining."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
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
_ALL_THE_SAME = 1e-9
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
    if not (np.median(stds, axis=0) > 0).all():
        raise DataError("the tissue has a channel without any contrast; is it stained?")
    columns = np.concatenate([means, stds], axis=1)
    start = 0.0
    circular = SPACES[space].circular
    if circular is not None:
        start, columns[:, circular] = from_mean_angle(columns[:, circular])
    fitted = [fit_law(column) for column in columns.T]
    ranges = [[centre, sd] for centre, sd, _ in fitted]
    if circular is not None:
        ranges[circular][0] = (ranges[circular][0] + start) % 1
    ranges = [[float(f"{number:.6g}") for number in pair] for pair in ranges]
    laws = [law for _, _, law in fitted]
    spec = {
        "kind": "statistics",
        "space": space,
        "mean": ranges[:3],
        "std": ranges[3:],
        "correlation": _correlation(columns, laws).round(4).tolist(),
        "mean_laws": laws[:3],
        "std_laws": laws[3:],
    }
    return StatisticsSpec.model_validate(spec), len(means)


def _measure(
    images: Iterable[NDArray[np.uint8]], space: str
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Means and standard deviations, (images with tissue, 3) both, batch by batch."""
    rest = iter(images)
    while batch := list(islice(rest, _BATCH)):
        rgb = to_unit(torch.from_numpy(np.stack(batch))).double().flatten(2)
        part = tissue_part(rgb.clamp_min(DARKEST).log())
        enough = part.mean(dim=(1, 2)) >= LEAST_TISSUE
        values = SPACES[space].forward(rgb)
        mean, std = tissue_statistics(values, part, SPACES[space].circular)
        yield mean[enough].numpy(), std[enough].numpy()


def fit_law(values: NDArray[np.float64]) -> tuple[float, float, Law]:
    """The likeliest of a normal, a Laplace and (all > 0) a lognormal distribution.

    Returns:
        Its mean, its standard deviation, and which it is.
    """
    mean, sd = float(values.mean()), float(values.std())
    if sd < _ALL_THE_SAME:
        return mean, sd, "normal"
    median = float(np.median(values))
    scale = float(np.abs(values - median).mean())
    # log likelihoods a value at their best, all less ln(1 / √(2πe))
    found: list[tuple[float, float, float, Law]] = [
        (-math.log(sd), mean, sd, "normal"),
        (math.log(math.sqrt(math.tau / math.e) / (2 * scale)), median, scale * 2**0.5, "laplace"),
    ]
    if values.min() > 0:
        logs = np.log(values)
        middle, square = float(logs.mean()), float(logs.var())
        whole = math.exp(middle + square / 2)
        likelihood = -middle - math.log(square) / 2
        found.append((likelihood, whole, whole * math.sqrt(math.expm1(square)), "lognormal"))
    return max(found)[1:]


def _correlation(columns: NDArray[np.float64], laws: Sequence[Law]) -> NDArray[np.float64]:
    """Of six numbers over images, (images, 6), by their logarithms where they are lognormal."""
    even = [law == "lognormal" for law in laws]
    scores = np.where(even, np.log(np.where(even, columns, 1)), columns)
    centred = scores - scores.mean(axis=0)
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
