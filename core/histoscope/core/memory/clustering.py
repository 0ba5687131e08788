"""Groups of unit rows by k-means on the sphere, the same on every process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

ROUNDS = 20
FITTED = 256  # rows a group that its centre is fitted to, at most
AT_ONCE = 2**24  # cosines


def kmeans(rows: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Centres of groups, at unit length, (count, dim).

    Dhillon and Modha 2001, "Concept Decompositions for Large Sparse Text Data". The first centres
    are drawn rows; a group that has lost its rows keeps its centre. Of many rows so
    many are drawn that each group is fitted to 256.

    Args:
        rows: at unit length, (rows, dim).
        count: groups, at most as many as rows.
        rng: what draws.
    """
    drawn = torch.from_numpy(rng.permutation(len(rows))[: FITTED * count]).to(rows.device)
    fitted = rows[drawn]
    centres = fitted[:count].clone()
    for _ in range(ROUNDS):
        sums = sums_of(fitted, labels_of(fitted, centres), count)
        held = sums.square().sum(1, keepdim=True) > 0
        centres = torch.where(held, normalize(sums, dim=1), centres)
    return centres


def labels_of(rows: Tensor, centres: Tensor) -> Tensor:
    """The group of each row: of the nearest centre, int64, (rows,)."""
    return torch.cat([(part @ centres.T).argmax(1) for part in _parts(rows, len(centres))])


def nearest(rows: Tensor, centres: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The group of each row, and its share of a softmax over the cosines to all, (rows,) both.

    Args:
        rows, centres: at unit length.
        temperature: divides cosines.
    """
    labels, shares = [], []
    for part in _parts(rows, len(centres)):
        share, label = (part @ centres.T / temperature).softmax(1).max(1)
        labels.append(label)
        shares.append(share)
    return torch.cat(labels), torch.cat(shares)


def sums_of(rows: Tensor, labels: Tensor, count: int) -> Tensor:
    """The sum of the rows of each group, (count, dim).

    By products, as what is added in any order has other last bits each time.
    """
    groups = torch.arange(count, device=rows.device)[:, None]
    sums = rows.new_zeros(count, rows.shape[1])
    for part, mine in zip(_parts(rows, count), _parts(labels, count), strict=True):
        sums += (groups == mine).to(part.dtype) @ part
    return sums


def _parts(rows: Tensor, count: int) -> Iterator[Tensor]:
    yield from torch.split(rows, max(1, AT_ONCE // count))
