"""The last features of every image of a data set, with a label that follows them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from histoscope.core.memory.clustering import kmeans, labels_of, sums_of
from histoscope.core.randomness import generator


class LabelledBank(nn.Module):
    """One row an image. All of it is state: it resumes.

    Args:
        samples: images of the data set.
        dim: width of a row.
        clusters: labels.

    Attributes:
        features: at unit length, (samples, dim).
        labels: group of each, int64, (samples,).
        centres: of groups, at unit length, (clusters, dim); labels are given by these.
        sums, counts: of the rows of each group now, (clusters, dim) and int64, (clusters,).
    """

    features: Tensor
    labels: Tensor
    centres: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, samples: int, dim: int, clusters: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(samples, dim))
        self.register_buffer("labels", torch.zeros(samples, dtype=torch.int64))
        for name in ("centres", "sums"):
            self.register_buffer(name, torch.zeros(clusters, dim))
        self.register_buffer("counts", torch.zeros(clusters, dtype=torch.int64))

    @torch.no_grad()
    def fill(self, features: Tensor) -> None:
        """Take all images' rows at once, (samples, dim)."""
        self.features.copy_(normalize(features, dim=1))

    @torch.no_grad()
    def cluster(self, seed: int, epoch: int) -> None:
        """Group all rows anew.

        Args:
            seed, epoch: of what is drawn.
        """
        rng = generator(seed, "bank/kmeans", epoch)
        self.centres.copy_(kmeans(self.features, len(self.centres), rng))
        self.labels.copy_(labels_of(self.features, self.centres))
        self.sums.copy_(sums_of(self.features, self.labels, len(self.sums)))
        self.counts.copy_(torch.bincount(self.labels, minlength=len(self.counts)))

    @torch.no_grad()
    def put(self, features: Tensor, index: Tensor) -> None:
        """Replace rows, which get the label of the nearest centre; of an image twice, the last.

        Args:
            features: at unit length, (batch, dim).
            index: dataset index of each, int64, (batch,).
        """
        last, once = last_of(index)
        new = features.to(self.features.dtype)[last]
        old, before = self.features[index], self.labels[index]
        after = (new @ self.centres.T).argmax(1)
        groups = torch.arange(len(self.centres), device=index.device)[:, None]
        came, left = ((groups == labels[None]) & once for labels in (after, before))
        self.sums += came.to(new.dtype) @ new - left.to(new.dtype) @ old
        self.counts += came.sum(1) - left.sum(1)
        self.features[index], self.labels[index] = new, after

    @torch.no_grad()
    def move_centres(self) -> None:
        """To the mean of their rows; that of a group that nobody is in stays."""
        held = (self.counts > 0)[:, None]
        self.centres.copy_(torch.where(held, normalize(self.sums, dim=1), self.centres))


class LastFeatures(nn.Module):
    """What was said last of every image, where anything was. All of it is state.

    Args:
        samples: images of the data set.
        dim: width of a row.

    Attributes:
        features: (samples, dim); of images not yet seen zero.
        visits: in how many steps each was put in, int64, (samples,).
    """

    features: Tensor
    visits: Tensor

    def __init__(self, samples: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(samples, dim))
        self.register_buffer("visits", torch.zeros(samples, dtype=torch.int64))

    @torch.no_grad()
    def put(self, features: Tensor, index: Tensor) -> None:
        """Replace rows, (batch, dim); of an image that comes twice the last stays."""
        last, _ = last_of(index)
        self.features[index] = features.to(self.features.dtype)[last]
        self.visits[index] = self.visits[index] + 1


def last_of(index: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the last one of its image, int64, and whether it is that itself, (rows,)."""
    places = torch.arange(len(index), device=index.device)
    last = ((index[:, None] == index[None]) * places).amax(1)
    return last, last == places
