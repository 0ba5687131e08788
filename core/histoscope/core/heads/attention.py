"""Heads of a source that learn which of its samples count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Task
from histoscope.core.heads.contract import Bags, Rows, Tensors, check_tensors, cut_of
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.transformer import encoded, shapes_of

AT_ONCE = 4096  # samples whose hidden units are in memory together


@dataclass(frozen=True)
class AttentionHead:
    """A linear head of means of samples that attentions weigh.

    Ilse et al. 2018 ("Attention-based deep multiple instance learning"), eq. 7 and 8, with biases:
    what MONAI's ``MILModel`` computes in its mode ``att``. Of several attentions the means stand
    side by side, and the weight of a sample is the mean of theirs. Features are standardised
    before, and may be turned into few components. With blocks the samples pass through a
    transformer first, as in its mode ``att_trans`` (Myronenko et al. 2021, "Accounting for
    dependencies in deep learning based multiple instance learning for whole slide imaging"), and
    attention weighs what comes out.

    Attributes:
        linear: of the weighted means side by side, (heads * width,).
        hidden: float32, (heads * units, width), and ``hidden_bias``, (heads * units,).
        score: float32, (heads, units): of the hidden units; a bias would change no weight.
        centre, spread: float32, (dim,): mean and deviation of features in training.
        basis: float32, (dim, width): what standardised features are multiplied by; None: nothing,
            and the width is dim.
        blocks: of the transformer, see :func:`~histoscope.core.heads.transformer.shapes_of`.
    """

    linear: LinearHead
    hidden: Rows
    hidden_bias: Rows
    score: Rows
    centre: Rows
    spread: Rows
    basis: Rows | None = None
    blocks: Mapping[str, Rows] = field(default_factory=dict)
    kind: ClassVar[str] = "attention"
    level: ClassVar[Level] = "source"

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        score = np.atleast_2d(tensors.get("score", np.zeros(0, np.float32)))
        tensors = {**tensors, "score": score}  # one head of older packages has (units,)
        heads, units = score.shape[:2]
        width = tensors["basis"].shape[-1] if "basis" in tensors else dim
        own = {"hidden": (heads * units, width), "hidden_bias": (heads * units,)}
        own |= {"score": (heads, units), "centre": (dim,), "spread": (dim,)}
        own |= {"basis": (dim, width)} if "basis" in tensors else {}
        shapes = {"weight": (len(task.classes), heads * width), "bias": (len(task.classes),)}
        blocks = shapes_of(tensors, width)
        check_tensors(tensors, {**shapes, **own, **blocks})
        if any(values.dtype != np.float32 for values in tensors.values()):
            raise ValueError("an attention head has floats only")
        if not units or not width or (tensors["spread"] <= 0).any():
            raise ValueError("spread is no deviation, or there are no hidden units")
        linear = {name: tensors[name] for name in shapes}
        rest = {name: tensors[name] for name in own}
        through = {name: tensors[name] for name in blocks}
        of_means = LinearHead.of(linear, task, heads * width, thresholds)
        return cls(of_means, **rest, blocks=through)

    @property
    def exclusive(self) -> bool:
        """Whether exactly one class holds."""
        return self.linear.exclusive

    @property
    def cut(self) -> Rows:
        """The thresholds, 0.5 where none were fitted."""
        return cut_of(self.linear.thresholds, len(self.linear.bias))

    def attention(self, features: Rows) -> NDArray[np.float64]:
        """Weight of each sample of one source; they sum to 1, (rows,)."""
        return self._weighed(features)[1]

    def means(self, bags: Bags) -> Rows:
        """The weighted means of each bag as attention sees it, (bags, heads * width)."""
        means = np.zeros((len(bags), self.linear.weight.shape[1]), np.float32)
        for place, (start, end) in enumerate(pairwise(bags.starts)):
            means[place] = self._weighed(bags.features[start:end])[0]
        return means

    def logits(self, bags: Bags) -> NDArray[np.float64]:
        """(bags, classes), before softmax or sigmoid."""
        return self.linear.logits(self.means(bags))

    def probabilities(self, bags: Bags) -> Rows:
        """(bags, classes); exclusive: rows sum to 1."""
        return self.linear.probabilities(Bags.of_samples(self.means(bags)))

    def answered(self, features: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Probabilities of one source, (1, classes), and the weight of each sample."""
        mean, weights = self._weighed(features)
        return self.linear.probabilities(Bags.of_samples(mean[None])), weights

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Those of the linear head, of the attention, and of the scaling."""
        own = ("hidden", "hidden_bias", "score", "centre", "spread")
        parts = {name: getattr(self, name) for name in own}
        if self.basis is not None:
            parts["basis"] = self.basis
        return {**self.linear.tensors(), **parts, **self.blocks}

    def _weighed(self, features: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """The weighted means of one source, (heads * width,), and the weights of its samples."""
        seen = self._passes(features)
        told = np.concatenate([self._scores(part) for part in seen()]).astype(np.float64)
        powers = np.exp(told - told.max(axis=0))
        weights = np.asarray(powers / powers.sum(axis=0))  # (rows, heads)
        means, at = np.zeros((weights.shape[1], self.hidden.shape[1])), 0
        for part in seen():
            means += weights[at : at + len(part)].T @ part
            at += len(part)
        return means.reshape(-1).astype(np.float32), np.asarray(weights.mean(axis=1))

    def _scores(self, rows: Rows) -> Rows:
        """Of each sample by each attention, before softmax, (rows, heads)."""
        units = np.tanh(rows @ self.hidden.T + self.hidden_bias).reshape(-1, *self.score.shape)
        return np.asarray((units * self.score).sum(axis=2))

    def _passes(self, features: Rows) -> Callable[[], Iterator[Rows]]:
        """Passes over the samples as attention sees them, few at a time."""
        whole = encoded(self._scaled(features), self.blocks) if self.blocks else None

        def parts() -> Iterator[Rows]:
            for at in range(0, len(features), AT_ONCE):
                some = slice(at, at + AT_ONCE)
                yield self._scaled(features[some]) if whole is None else whole[some]

        return parts

    def _scaled(self, features: Rows) -> Rows:
        scaled = ((features - self.centre) / self.spread).astype(np.float32)
        return scaled if self.basis is None else scaled @ self.basis
