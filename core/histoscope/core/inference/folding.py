"""Convolutions that do the work of the batch norms behind them: the same numbers, less to do.

A batch norm that does not learn any more is a factor and a sum for each channel, which fit into
the weights of the convolution before it (Jacob et al. 2018, section 3.2). Which convolution that
is a network does not say: it is taken to be the one registered just before, and a trial decides.
"""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

APART = 1e-5  # of the largest feature, by which a trial may differ
IMAGES = 4


def folded(module: nn.Module, size_px: int) -> nn.Module | None:
    """A copy of a network with batch norms folded, weights as they lie best; None where not.

    None where there is no batch norm to fold, where the network learns, or where it would give
    other features of random images than :data:`APART` allows.

    Args:
        module: RGB in 0..1, (batch, 3, size_px, size_px), to (batch, dim); on the CPU.
        size_px: side of an image.
    """
    if module.training or not any(isinstance(one, nn.BatchNorm2d) for one in module.modules()):
        return None
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, size_px, size_px, 3, generator=draw).permute(0, 3, 1, 2)
    try:
        lighter = copy.deepcopy(module)
        for parent in list(lighter.modules()):
            _fold_children(parent)
        lighter = lighter.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            same = _agree(module(images), lighter(images))
    except Exception as fault:  # networks from outside may be of any kind
        log.info("not folded: %s: %s", type(fault).__name__, fault)
        return None
    return lighter if same else None


def _agree(before: Tensor, after: Tensor) -> bool:
    if before.shape != after.shape:
        return False
    return bool((before - after).abs().max() <= APART * before.abs().max())


def _fold_children(parent: nn.Module) -> None:
    """Fold each batch norm of a module into the convolution registered before it."""
    before: nn.Module | None = None
    place = ""
    for name, child in list(parent.named_children()):
        if (
            isinstance(before, nn.Conv2d)
            and isinstance(child, nn.BatchNorm2d)
            and child.running_mean is not None
            and before.out_channels == child.num_features
        ):
            setattr(parent, place, fuse_conv_bn_eval(before, child))
            setattr(parent, name, _behind(child))
        before, place = child, name


def _behind(norm: nn.Module) -> nn.Module:
    """What a batch norm does besides: timm's have a dropout and an activation."""
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*rest) if rest else nn.Identity()
