"""The linear probe of UNI's published evaluation."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from histoscope.core.heads.contract import Labels, Rows
from histoscope.core.heads.linear import LinearHead
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.spec import UniSpec

MOST_ITERATIONS = 1000


class UniFitter(Fitter):
    """See :func:`fit_uni`."""

    settings = UniSpec
    several = False

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw."""
        assert draw.bags is not None
        truth = draw.truth
        head, strength = fit_uni(draw.bags.features, truth.values, len(truth.task.classes))
        return Fitted(head, {"strength": strength}, "not fitted for --method uni; scores only rank")


def fit_uni(features: Rows, labels: Labels, classes: int) -> tuple[LinearHead, float]:
    """Mean cross-entropy + 0.5 · ||W||₂ / C with C = dim · classes / 100, by L-BFGS from zero.

    The norm is not squared, as in the code of Chen et al. 2024 ("Towards a general-purpose
    foundation model for computational pathology", UNI), which follows Caron et al.'s probe; the
    bias is not penalised; features are taken as they are. So C is not scikit-learn's.

    Args:
        features: (labels, dim).
        labels: class ids, (labels,).
        classes: how many classes the task has.

    Returns:
        The head, and C.
    """
    strength = features.shape[1] * classes / 100
    rows, kinds = torch.from_numpy(features).double(), torch.from_numpy(labels)
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=MOST_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = uni_loss(weight, bias, rows, kinds, strength)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    kept = [one.detach().numpy().astype(np.float32) for one in (weight, bias)]
    return LinearHead(kept[0], kept[1]), strength


def uni_loss(
    weight: torch.Tensor,
    bias: torch.Tensor,
    rows: torch.Tensor,
    kinds: torch.Tensor,
    strength: float,
) -> torch.Tensor:
    """What :func:`fit_uni` makes small."""
    squares = (weight**2).sum()
    # at zero the norm has no slope; the first step is that of the cross-entropy
    norm = squares.sqrt() if squares > 0 else 0 * squares
    return cross_entropy(rows @ weight.T + bias, kinds) + 0.5 * norm / strength
