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

APART = 1e-5  # of a feature's largest value, or the median of these, by which a trial may differ
NOISE = 4  # images of it; beside them black, grey, white and a slope


def folded(module: nn.Module, size_px: int) -> nn.Module | None:
    """A copy of a network with batch norms folded, weights as they lie best; None where not.

    None where no batch norm was folded, where the network learns, or where a trial gives other
    features than :data:`APART` allows, or nothing to judge by.

    Args:
        module: RGB in 0..1, (batch, 3, size_px, size_px), to (batch, dim); on the CPU.
        size_px: side of an image.
    """
    if module.training or not any(isinstance(one, nn.BatchNorm2d) for one in module.modules()):
        return None
    try:
        lighter = copy.deepcopy(module)
        count = sum(_fold_children(parent) for parent in list(lighter.modules()))
        lighter = lighter.to(memory_format=torch.channels_last)
        images = _trial(size_px)
        with torch.inference_mode():
            same = count > 0 and _agree(module(images), lighter(images))
    except Exception as fault:  # networks from outside may be of any kind
        log.info("not folded: %s: %s", type(fault).__name__, fault)
        return None
    return lighter if same else None


def _trial(size_px: int) -> Tensor:
    """Images to compare on, (images, 3, size_px, size_px), channels last."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(NOISE, size_px, size_px, 3, generator=draw)
    plain = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(3, size_px, size_px, 3)
    slope = torch.linspace(0, 1, size_px)[None, :, None, None].expand(1, size_px, size_px, 3)
    return torch.cat([noise, plain, slope]).permute(0, 3, 1, 2)


def _agree(before: Tensor, after: Tensor) -> bool:
    """Whether each feature is the same, by its own size or the usual one; and there is any."""
    if before.shape != after.shape or not before.any():
        return False
    apart, size = (before - after).abs().amax(dim=0), before.abs().amax(dim=0)
    usual = size[size > 0].median()
    return bool((apart <= APART * size.clamp(min=usual)).all())


def _fold_children(parent: nn.Module) -> int:
    """Fold each batch norm of a module into the convolution registered before it; how many."""
    count = 0
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
            count += 1
        before, place = child, name
    return count


def _behind(norm: nn.Module) -> nn.Module:
    """What a batch norm does besides: timm's have a dropout and an activation."""
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*rest) if rest else nn.Identity()
