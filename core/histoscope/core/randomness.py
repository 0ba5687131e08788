"""Counter-based random numbers: every draw is a function of what it is for.

No generator lives longer than one draw, so none is ever saved, and a drawn number depends
neither on the number of workers nor on the order in which they work. Philox4x64 (Salmon et al.
2011, "Parallel random numbers: as easy as 1, 2, 3") takes a 128-bit key and a 256-bit counter:
the key is (seed, purpose), the counter (running, a, b, c).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def purpose_key(purpose: str) -> int:
    """A 64-bit number for a purpose's name; other purposes never share its draws."""
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")


def generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """A generator for one purpose at one place.

    Args:
        seed: the run's seed, >= 0.
        purpose: what is drawn, for example ``"views/crop"``.
        place: up to three whole numbers >= 0, for example epoch, sample and view.
    """
    if len(place) > 3:
        raise ValueError("at most three numbers name a place")
    counter = [0, *place, *[0] * (3 - len(place))]
    key = np.array([seed, purpose_key(purpose)], dtype=np.uint64)
    bits = np.random.Philox(key=key, counter=np.array(counter, dtype=np.uint64))
    return np.random.Generator(bits)


def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of ``count`` positions in one epoch."""
    return generator(seed, "order", epoch).permutation(count)
