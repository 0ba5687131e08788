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
    """A linear head of a mean of samples that attention weighs.

    Ilse et al. 2018 ("Attention-based deep multiple instance learning"), eq. 7 and 8, with biases:
    what MONAI's ``MILModel`` computes in its mode ``att``. Features are standardised before. With
    blocks the samples pass through a transformer first, as in its mode ``att_trans`` (Myronenko et
    al. 2021, "Accounting for dependencies in deep learning based multiple instance learning for
    whole slide imaging"), and attention weighs what comes out.

    Attributes:
        linear: of the weighted mean, (dim,).
        hidden: float32, (units, dim), and ``hidden_bias``, (units,).
        score: float32, (units,): of the hidden units; a bias would change no weight.
        centre, spread: float32, (dim,): mean and deviation of features in training.
        blocks: of the transformer, see :func:`~histoscope.core.heads.transformer.shapes_of`.
    """

    linear: LinearHead
    hidden: Rows
    hidden_bias: Rows
    score: Rows
    centre: Rows
    spread: Rows
    blocks: Mapping[str, Rows] = field(default_factory=dict)
    kind: ClassVar[str] = "attention"
    level: ClassVar[Level] = "source"

    @classmethod
    def of(cls, tensors: Tensors, task: Task, dim: int, thresholds: Rows | None) -> Self:
        """See :class:`Head`."""
        units = tensors["score"].shape[0] if "score" in tensors and tensors["score"].ndim else 0
        own = {"hidden": (units, dim), "hidden_bias": (units,), "score": (units,)}
        own |= {"centre": (dim,), "spread": (dim,)}
        classes, blocks = len(task.classes), shapes_of(tensors, dim)
        check_tensors(tensors, {"weight": (classes, dim), "bias": (classes,), **own, **blocks})
        if any(values.dtype != np.float32 for values in tensors.values()):
            raise ValueError("an attention head has floats only")
        if not units or (tensors["spread"] <= 0).any():
            raise ValueError("spread is no deviation, or there are no hidden units")
        linear = {name: tensors[name] for name in ("weight", "bias")}
        rest = {name: tensors[name] for name in own}
        through = {name: tensors[name] for name in blocks}
        return cls(LinearHead.of(linear, task, dim, thresholds), **rest, blocks=through)

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
        """The weighted mean of each bag as attention sees it, (bags, dim)."""
        means = np.zeros((len(bags), bags.features.shape[1]), np.float32)
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
        return {**self.linear.tensors(), **parts, **self.blocks}

    def _weighed(self, features: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """The weighted mean of one source, (dim,), and the weights."""
        seen = self._passes(features)
        scores = [np.tanh(part @ self.hidden.T + self.hidden_bias) @ self.score for part in seen()]
        told = np.concatenate(scores).astype(np.float64)
        powers = np.exp(told - told.max())
        weights = np.asarray(powers / powers.sum())
        mean, at = np.zeros(features.shape[1]), 0
        for part in seen():
            mean += weights[at : at + len(part)] @ part
            at += len(part)
        return mean.astype(np.float32), weights

    def _passes(self, features: Rows) -> Callable[[], Iterator[Rows]]:
        """Passes over the samples as attention sees them, few at a time."""
        whole = encoded(self._scaled(features), self.blocks) if self.blocks else None

        def parts() -> Iterator[Rows]:
            for at in range(0, len(features), AT_ONCE):
                some = slice(at, at + AT_ONCE)
                yield self._scaled(features[some]) if whole is None else whole[some]

        return parts

    def _scaled(self, features: Rows) -> Rows:
        return ((features - self.centre) / self.spread).astype(np.float32)
