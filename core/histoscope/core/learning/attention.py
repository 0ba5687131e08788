"""Attention over the samples of a source, from few labels of sources."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import torch
from torch import nn

from histoscope.core.contracts import Task
from histoscope.core.errors import UsageError
from histoscope.core.heads.attention import AttentionHead
from histoscope.core.heads.contract import Bags, Labels
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.transformer import HEADS
from histoscope.core.learning.bags import BagFitter, standardised, train
from histoscope.core.learning.spec import AttentionSpec, FinetuneSpec

_LAYERS = "transformer.layers."  # how MONAI's names of the blocks begin


class AttentionFitter(BagFitter):
    """MONAI's ``MILModel`` with attention, on features as they are.

    One source a step, those of each class as often; AdamW, its rate on a cosine to 0, as
    published slide heads on pathology encoders (Chen et al. 2024, "UNI", methods); differs: rate,
    steps and decay, see :class:`~histoscope.core.learning.spec.BagStepsSpec`.
    """

    settings: ClassVar[type[FinetuneSpec]] = AttentionSpec

    def check_width(self, dim: int) -> None:
        """See :meth:`Fitter.check_width`."""
        if self.spec.attention.mode == "att_trans" and dim % HEADS:
            raise UsageError(
                f"attention.mode: att_trans shares features out among {HEADS} heads, and the "
                f"encoder's {dim} are not divisible by {HEADS}; use att"
            )

    def learn(self, bags: Bags, labels: Labels, task: Task) -> AttentionHead:
        """See :meth:`BagFitter.learn`."""
        scaled, centre, spread = standardised(bags)
        told = self.spec.attention
        model = new_model(scaled.features.shape[1], len(task.classes), self.spec.seed, told.mode)
        train(model, lambda rows: model.calc_head(rows[None]), scaled, labels, told, self.spec.seed)
        weights = {name: one.detach().numpy() for name, one in model.named_parameters()}
        return AttentionHead(
            LinearHead(weights["myfc.weight"], weights["myfc.bias"], task.exclusive),
            weights["attention.0.weight"],
            weights["attention.0.bias"],
            weights["attention.2.weight"][0],
            centre,
            spread,
            {
                f"blocks.{name.removeprefix(_LAYERS)}": one
                for name, one in weights.items()
                if name.startswith(_LAYERS)
            },
        )


def new_model(dim: int, classes: int, seed: int, mode: str = "att") -> Any:
    """MONAI's model on features: without a network before it."""
    from monai.networks.nets.milmodel import MILModel

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of nested tensors, which no bag is
        torch.manual_seed(seed)
        return MILModel(
            num_classes=classes,
            mil_mode=mode,
            pretrained=False,
            backbone=nn.Identity(),
            backbone_num_features=dim,
        )
