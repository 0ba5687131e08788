"""What a transformer makes of the samples of a source, from its tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from histoscope.core.heads.contract import Rows, Tensors

if TYPE_CHECKING:
    from torch import Tensor

HEADS = 8  # of attention, as MONAI has it
AT_ONCE = 512  # samples that ask together: of 20,000 their weights would be 330 MB, if kept at all
_FIRST = "blocks.0.linear1.bias"
_LAST = ".norm2.bias"


def shapes_of(tensors: Tensors, dim: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the blocks' tensors, ``blocks.<block>.<parameter>`` as torch has them.

    Args:
        tensors: of a head; how many blocks and hidden units it has is read from them.
        dim: width of a feature row.

    Raises:
        ValueError: the width cannot be shared out among the heads.
    """
    count = sum(name.startswith("blocks.") and name.endswith(_LAST) for name in tensors)
    if not count:
        return {}
    if dim % HEADS:
        raise ValueError(f"{dim} features are not divisible by {HEADS}")
    units = tensors[_FIRST].shape[0] if _FIRST in tensors and tensors[_FIRST].ndim else 0
    one: dict[str, tuple[int, ...]] = {
        "self_attn.in_proj_weight": (3 * dim, dim),
        "self_attn.in_proj_bias": (3 * dim,),
        "self_attn.out_proj.weight": (dim, dim),
        "self_attn.out_proj.bias": (dim,),
        "linear1.weight": (units, dim),
        "linear1.bias": (units,),
        "linear2.weight": (dim, units),
        "linear2.bias": (dim,),
        **{f"norm{place}.{name}": (dim,) for place in (1, 2) for name in ("weight", "bias")},
    }
    return {
        f"blocks.{block}.{name}": shape for block in range(count) for name, shape in one.items()
    }


def encoded(rows: Rows, tensors: Mapping[str, Rows]) -> Rows:
    """Rows after all blocks: every sample has looked at every other.

    torch's ``TransformerEncoder`` as MONAI's ``MILModel`` makes it: each block normalises after it
    adds (Vaswani et al. 2017). Some rows at a time ask all others, so that memory grows with the
    rows, not with their square; time grows with their square.

    Args:
        rows: of one source, standardised, (rows, dim).
        tensors: see :func:`shapes_of`.
    """
    import torch

    names = [name.split(".", 2) for name in tensors]
    kept: list[dict[str, Tensor]] = [{} for _ in {block for _, block, _ in names}]
    for (_, place, name), values in zip(names, tensors.values(), strict=True):
        kept[int(place)][name] = torch.from_numpy(values)
    with torch.inference_mode():
        seen = torch.from_numpy(rows)
        for block in kept:
            seen = _block(seen, block)
        return np.asarray(seen.numpy(), np.float32)


def _block(rows: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
    from torch.nn.functional import layer_norm, linear, relu, scaled_dot_product_attention

    def several(part: Tensor) -> Tensor:  # (some, dim) to (1, heads, some, dim / heads)
        return part.reshape(len(part), HEADS, -1).transpose(0, 1)[None]

    dim, out = rows.shape[1], rows.new_empty(rows.shape)
    weight, bias = kept["self_attn.in_proj_weight"], kept["self_attn.in_proj_bias"]
    keys, values = (
        several(linear(rows, weight[at : at + dim], bias[at : at + dim])) for at in (dim, 2 * dim)
    )
    for at in range(0, len(rows), AT_ONCE):
        part = rows[at : at + AT_ONCE]
        asks = several(linear(part, weight[:dim], bias[:dim]))
        found = scaled_dot_product_attention(asks, keys, values)[0].transpose(0, 1).flatten(1)
        added = part + linear(
            found, kept["self_attn.out_proj.weight"], kept["self_attn.out_proj.bias"]
        )
        once = layer_norm(added, (dim,), kept["norm1.weight"], kept["norm1.bias"])
        hidden = relu(linear(once, kept["linear1.weight"], kept["linear1.bias"]))
        added = once + linear(hidden, kept["linear2.weight"], kept["linear2.bias"])
        out[at : at + AT_ONCE] = layer_norm(added, (dim,), kept["norm2.weight"], kept["norm2.bias"])
    return out
