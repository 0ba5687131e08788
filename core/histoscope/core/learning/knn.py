"""Nearest labelled samples as a method."""

from __future__ import annotations

from histoscope.core.heads.neighbours import fit_neighbours
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.spec import NeighbourSpec


class NeighbourFitter(Fitter):
    """See :func:`histoscope.core.heads.neighbours.fit_neighbours`."""

    settings = NeighbourSpec

    @property
    def centred(self) -> bool:
        """It looks from there."""
        return True

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw."""
        assert draw.bags is not None
        assert draw.centre is not None
        truth, counts = draw.truth, self.spec.neighbours
        head = fit_neighbours(
            draw.bags.features,
            truth.values,
            len(truth.task.classes),
            draw.centre,
            counts,
            draw.units,
        )
        reason = "not fitted for --method knn; scores are votes"
        return Fitted(head, {"neighbours": head.neighbours}, reason)
