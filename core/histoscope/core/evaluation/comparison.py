"""What is known of the difference of two evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.evaluation.intervals import Difference
from histoscope.core.evaluation.verdicts import Verdict


@dataclass(frozen=True)
class Cases:
    """What each case says by itself, the values means over draws; NaN is unknown.

    Attributes:
        names: of the cases (else sources or samples).
        samples: that are scored of each.
        one, other: the metric of each by itself, over the classes it has.
        without: the difference of all the others.
    """

    names: Sequence[str]
    samples: NDArray[np.int64]
    one: NDArray[np.float64]
    other: NDArray[np.float64]
    without: NDArray[np.float64]

    def heaviest(self, mean: float) -> int | None:
        """Without which least of the difference is left, or it turns; None where that is unknown.

        Where the difference is undefined without a case, which alone has a class, it is that one.
        """
        unknown = np.isnan(self.without)
        if unknown.all():
            return None
        return int(unknown.argmax() if unknown.any() else (np.sign(mean) * self.without).argmin())


@dataclass(frozen=True)
class Compared:
    """One task of one pair.

    Attributes:
        pair: number of the pair, the primary is 0.
        one, other: names of the evaluations.
        task: that both answer.
        metric: by which they are judged.
        values: of both.
        gap: their difference, with an interval over cases and draws.
        over: what was resampled beside draws: ``cases``, ``sources`` or ``samples``.
        draws_alone: the difference with an interval over draws alone; None of one draw.
        flip: of folds, p of the sign-flip test and the least that it can be.
        folds: of both; 0: other samples were held out.
        cases: what each says.
        beside: other metrics, of which none is judged: values of both and the difference.
        cautions: of both evaluations.
        corrected: p corrected for the number of all that is not primary; None of the primary.
        verdict: what may be said.
    """

    pair: int
    one: str
    other: str
    task: str
    metric: str
    values: tuple[float, float]
    gap: Difference
    over: str
    draws_alone: Difference | None
    flip: tuple[float, float] | None
    folds: int
    cases: Cases
    beside: Mapping[str, tuple[float, float, Difference]]
    cautions: Sequence[str] = ()
    corrected: float | None = None
    verdict: Verdict = "not told apart"

    @property
    def p(self) -> float:
        """Of no difference, before any correction; of folds the larger of both tests.

        Sign flips know nothing of draws, Student's t takes cases for normal.
        """
        return float(np.maximum(self.flip[0], self.gap.p)) if self.flip else self.gap.p

    def told(self) -> dict[str, Any]:
        """All but what each case says, for JSON; what is undefined is null."""
        heaviest = self.cases.heaviest(self.gap.mean)
        return {
            "primary": self.corrected is None,
            "one": self.one,
            "other": self.other,
            "task": self.task,
            "metric": self.metric,
            "unit": "fraction",
            "values": list(self.values),
            **_body(self.gap),
            "interval_over": self.over,
            "units": self.gap.units,
            "draws": self.gap.draws,
            "folds": self.folds,
            "sign_flip": None if self.flip is None else [_number(one) for one in self.flip],
            "corrected": None if self.corrected is None else _number(self.corrected),
            "verdict": self.verdict,
            "over_draws": None if self.draws_alone is None else _body(self.draws_alone),
            "heaviest": None
            if heaviest is None
            else {
                "name": self.cases.names[heaviest],
                "without": _number(self.cases.without[heaviest]),
            },
            "beside": {
                name: {"values": [one, other], **_body(gap)}
                for name, (one, other, gap) in self.beside.items()
            },
            "cautions": list(self.cautions),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One a case, for a table."""
        its = self.cases
        return [
            {
                "one": self.one,
                "other": self.other,
                "task": self.task,
                "unit": name,
                "samples": int(its.samples[place]),
                "metric": self.metric,
                "of_one": _number(its.one[place]),
                "of_other": _number(its.other[place]),
                "difference": _number(its.one[place] - its.other[place]),
                "difference_without": _number(its.without[place]),
            }
            for place, name in enumerate(its.names)
        ]


def _body(gap: Difference) -> dict[str, Any]:
    return {
        "difference": gap.mean,
        "interval": [_number(gap.low), _number(gap.high)],
        "p": _number(gap.p),
    }


def _number(value: float) -> float | None:
    return None if isnan(value) else float(value)
