"""Labels that a data set is given by its features' groups, fine and coarse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from histoscope.core.memory.clustering import kmeans, nearest
from histoscope.core.randomness import generator

NOBODY = -1


class PseudoLabels(nn.Module):
    """Groups of several sizes of all images, and how sure each is of its own. All is state.

    Args:
        samples: images of the data set.
        clusters: groups of each size.

    Attributes:
        labels: group of each image, int64, (sizes, samples); -1 before there are any.
        confidence: its share of a softmax over all groups of that size, (sizes, samples).
        places: of each image in the order of confidence, surest first, int64, (sizes, samples).
    """

    labels: Tensor
    confidence: Tensor
    places: Tensor

    def __init__(self, samples: int, clusters: Sequence[int]) -> None:
        super().__init__()
        self._clusters = tuple(clusters)
        shape = len(self._clusters), samples
        self.register_buffer("labels", torch.full(shape, NOBODY))
        self.register_buffer("confidence", torch.zeros(shape))
        self.register_buffer("places", torch.arange(samples).repeat(len(self._clusters), 1))

    @torch.no_grad()
    def cluster(self, features: Tensor, temperature: float, seed: int, epoch: int) -> None:
        """Group all images anew, by the directions in which they leave their mean.

        Args:
            features: (samples, dim).
            temperature: of the softmax that confidence is.
            seed, epoch: of what is drawn.
        """
        rows = normalize(features - features.mean(0), dim=1)
        for size, count in enumerate(self._clusters):
            centres = kmeans(rows, count, generator(seed, "labels/kmeans", epoch, size))
            labels, confidence = nearest(rows, centres, temperature)
            self.labels[size], self.confidence[size] = labels, confidence
            order = confidence.argsort(descending=True, stable=True)
            self.places[size, order] = torch.arange(len(order), device=order.device)

    def of(self, index: Tensor, accepted: int) -> Tensor:
        """Labels of images, (sizes, images); -1 of those that are not among the surest.

        Args:
            index: dataset index of each, int64, (images,); that of nobody has any label.
            accepted: how many of all images are, of each size.
        """
        index = index.clamp(min=0)
        return self.labels[:, index].masked_fill(self.places[:, index] >= accepted, NOBODY)
