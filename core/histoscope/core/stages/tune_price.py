"""What comparing recipes costs, told from a few steps of each."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import numpy as np

from histoscope.core.contracts import Domain
from histoscope.core.data.store import Store
from histoscope.core.errors import ConfigError, DataError, UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.pretrain import pretrain, rehearse
from histoscope.core.stages.tune import Asked, Ways, with_steps

WARM, TIMED = 4, 8  # steps of a trial that are not counted, and that are


def price(
    store: Store, domain: Domain, ways: Ways, steps: int, rounds: int, asked: Asked
) -> tuple[float, dict[str, float]]:
    """Seconds that training will take on this machine, about, and those of a step of each recipe.

    Each is tried for a few steps in a folder that is thrown away.

    Raises:
        UsageError: a recipe that cannot be learnt here; it is named.
    """
    each = {}
    for name, way in ways.items():
        if isinstance(way, str):
            continue
        with tempfile.TemporaryDirectory(prefix="histoscope-") as scratch:
            clock, run = _Clock(), Path(scratch) / "run"
            some = with_steps(way, WARM + TIMED, checkpoint_every=WARM + TIMED)
            try:
                rehearse(store, domain, some, run, asked.part("train"))
            except (UsageError, ConfigError, DataError) as fault:
                raise type(fault)(f"arm {name}: {fault}") from None
            pretrain(store, domain, some, run, split=asked.part("train"), progress=clock)
            each[name] = float(np.median(np.diff(clock.times[WARM - 1 :])))
    left, whole = sorted(each.values(), reverse=True), 0.0  # the dearest stay, at worst
    for _ in range(rounds):
        whole += steps * sum(left)
        if len(left) == 1:
            break
        left, steps = left[: math.ceil(len(left) / 2)], steps * 2
    return whole, each


class _Clock(Silent):
    """When each step was made."""

    def __init__(self) -> None:
        self.times = list[float]()

    def advance(self, count: int = 1) -> None:
        """A step was made."""
        self.times.append(time.perf_counter())
