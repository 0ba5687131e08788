"""What stages of dilated convolutions make of the samples of a source, from their tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from histoscope.core.heads.contract import Tensors

if TYPE_CHECKING:
    from torch import Tensor

_LAYERS, _LAST = "stages.0.wide.bias", ".out.bias"


def shapes_of(tensors: Tensors, dim: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stages' tensors, ``stages.<stage>.<parameter>``.

    Args:
        tensors: of a head; how many stages, layers and maps it has is read from them.
        dim: width of a feature row, which the first stage reads.
        classes: how many there are; the other stages read their probabilities.
    """
    count = sum(name.startswith("stages.") and name.endswith(_LAST) for name in tensors)
    told = tensors[_LAYERS].shape if _LAYERS in tensors else ()
    layers, maps = told if len(told) == 2 else (0, 0)
    found = dict[str, tuple[int, ...]]()
    for stage in range(count):
        one = shapes_of_stage(classes if stage else dim, layers, maps, classes)
        found |= {f"stages.{stage}.{name}": shape for name, shape in one.items()}
    return found


def shapes_of_stage(
    inputs: int, layers: int, maps: int, classes: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one stage's tensors.

    Args:
        inputs: width of the rows that it reads.
        layers: how many there are.
        maps: width of the rows inside.
        classes: how many logits it gives.
    """
    return {
        "in.weight": (maps, inputs),
        "in.bias": (maps,),
        "wide.weight": (layers, maps, 3 * maps),  # of the three samples of a kernel, in order
        "wide.bias": (layers, maps),
        "narrow.weight": (layers, maps, maps),
        "narrow.bias": (layers, maps),
        "out.weight": (classes, maps),
        "out.bias": (classes,),
    }


def logits_of(
    rows: Tensor,
    tensors: Mapping[str, Tensor],
    causal: bool,
    dropout: float = 0.0,
    exclusive: bool = True,
) -> list[Tensor]:
    """Logits of each sample by each stage, the last of which is the answer, (rows, classes) each.

    Farha and Gall 2019 ("MS-TCN: Multi-Stage Temporal Convolutional Network for Action
    Segmentation"), section 3: the first stage reads features, each other one the softmax of what
    the one before it said. Layer l of a stage, from 0, has kernels of three samples that are 2^l
    apart. Around the sample that is answered as there; or, causal, up to it, as Czempiel et al.
    2020 ("TeCNO: Surgical Phase Recognition with Multi-Stage Temporal Convolutional Networks") have
    it. Outside of the source there are zeros. So an answer reads 2 · (2^layers - 1) samples for
    each stage, all before its own or half of them on either side. Differs: nothing where one class
    holds; where several may, of which both papers know nothing, each stage reads a sigmoid of each
    logit in place of the softmax.

    Args:
        rows: of one source, in order, (rows, dim).
        tensors: see :func:`shapes_of`.
        causal: whether nothing is read that comes after.
        dropout: part of each layer's output that is dropped in training.
        exclusive: whether exactly one class holds.
    """
    from torch import sigmoid, softmax

    def said(logits: Tensor) -> Tensor:
        return softmax(logits, dim=1) if exclusive else sigmoid(logits)

    told, stage = list[Any](), 0
    while f"stages.{stage}.out.bias" in tensors:
        start = f"stages.{stage}."
        own = {n.removeprefix(start): one for n, one in tensors.items() if n.startswith(start)}
        seen = said(told[-1]) if told else rows
        told.append(_stage(seen, own, causal, dropout))
        stage += 1
    return told


def _stage(rows: Tensor, own: Mapping[str, Tensor], causal: bool, dropout: float) -> Tensor:
    """Logits by one stage, (rows, classes)."""
    from torch.nn.functional import dropout as dropped
    from torch.nn.functional import linear, relu

    seen = linear(rows, own["in.weight"], own["in.bias"])
    for layer, (weight, bias) in enumerate(zip(own["wide.weight"], own["wide.bias"], strict=True)):
        wide = relu(linear(_three(seen, 2**layer, causal), weight, bias))
        added = linear(wide, own["narrow.weight"][layer], own["narrow.bias"][layer])
        seen = seen + dropped(added, dropout, training=dropout > 0)
    return linear(seen, own["out.weight"], own["out.bias"])


def _three(rows: Tensor, step: int, causal: bool) -> Tensor:
    """The three samples that each kernel reads, side by side, (rows, 3 · maps)."""
    import torch
    from torch.nn.functional import pad

    before, count = (2 * step if causal else step), len(rows)
    padded = pad(rows, (0, 0, before, 2 * step - before))
    return torch.cat([padded[at : at + count] for at in (0, step, 2 * step)], dim=1)
