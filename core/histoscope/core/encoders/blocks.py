"""What the blocks of a timm network give on the way, one pooled row each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from histoscope.core.encoders.pixels import at_least_float32
from histoscope.core.errors import UsageError


def widths_of(network: Any) -> dict[str, int]:
    """Name and channels of each block, first to last, as timm's ``feature_info`` has them."""
    parts = {name for name, _ in network.named_modules() if name}
    told = getattr(network, "feature_info", None) or ()
    return {one["module"]: int(one["num_chs"]) for one in told if one["module"] in parts}


@contextmanager
def heard(network: Any, where: str) -> Iterator[dict[str, Tensor]]:
    """Blocks' pooled rows of the pass that is made inside, by name, (batch, channels).

    A map gives its mean over places; tokens give the class token where that is what the network
    itself pools, else the mean of those that stand for places.

    Args:
        network: of timm.
        where: what it is called in messages.

    Raises:
        UsageError: a block gives neither, or nothing.
    """
    widths, rows = widths_of(network), dict[str, Tensor]()

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: object, found: object) -> None:
            rows[name] = _pooled(network, found, widths[name], f"{where}: its block {name}")

        return hook

    hooks = [network.get_submodule(one).register_forward_hook(keep(one)) for one in widths]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()
    if silent := [name for name in widths if name not in rows]:
        raise UsageError(f"{where}: its block {silent[0]} gives no features by itself")


def _pooled(network: Any, found: object, width: int, where: str) -> Tensor:
    if isinstance(found, Tensor) and found.ndim > 2:
        rows = at_least_float32(found)  # before the mean, which half precision would round
        last = getattr(network, "output_fmt", None) == "NHWC" or found.shape[1] != width
        if found.ndim == 4 and found.shape[3 if last else 1] == width:
            return rows.mean(dim=(1, 2) if last else (2, 3))
        if found.ndim == 3 and found.shape[2] == width:
            before = int(getattr(network, "num_prefix_tokens", 0))
            if before and getattr(network, "global_pool", "") == "token":
                return rows[:, 0].clone()  # what comes next may write there
            return rows[:, before:].mean(dim=1)
    raise UsageError(f"{where} gives neither a map nor tokens")
