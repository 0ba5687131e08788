"""Draws of few labels: seeded, covering every class, nested, the same for every encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.truth import Truth
from histoscope.core.errors import DataError
from histoscope.core.randomness import generator

DrawBy = Literal["sample", "case"]


def draw_labels(
    truth: Truth,
    cases: Sequence[str | None],
    fraction: float,
    draw: int,
    seed: int,
    by: DrawBy,
) -> NDArray[np.int64]:
    """Positions of the labels that one draw sees.

    By sample, exclusive classes: of each class the first ``round(fraction · count)`` of a seeded
    order, at least one. By sample, other classes: the first ``round(fraction · count)`` of a
    seeded order, and of each class that is not among them the first that has it. Either way a
    smaller fraction of the same draw is a part of a larger one. By case: whole cases in a seeded
    order until ``fraction`` of the labels and every class are in.

    Args:
        truth: of the labelled samples or sources.
        cases: case of each.
        fraction: share of the labels, in (0, 1].
        draw: number of the draw, from 0.
        seed: of the run.
        by: what is drawn.

    Returns:
        Sorted positions into ``truth``.

    Raises:
        DataError: by case, but cases are unknown.
    """
    rng = generator(seed, f"draw/{by}", draw)
    holds = truth.holds
    if by == "case":
        return _by_case(holds, cases, fraction, rng)
    if not truth.task.exclusive:
        return _by_sample(holds, fraction, rng)
    chosen = []
    for kind in np.flatnonzero(holds.any(axis=0)):
        members = rng.permutation(np.flatnonzero(holds[:, kind]))
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(chosen))


def draw_cases(
    truth: Truth, cases: Sequence[str | None], count: int, draw: int, seed: int, said: str
) -> NDArray[np.int64]:
    """Positions of the labels of one draw that takes so many cases of every class.

    The first ``count`` cases of each class in one seeded order of all cases, with all their labels.
    So fewer cases of the same draw are a part of more, and a case counts for every class that it
    has, of which there may then be more. Of classes that may hold together as many cases are taken
    without each as with it. What no case has at all is not asked for.

    Args:
        truth, cases, draw, seed: see :func:`draw_labels`.
        count: cases of each class.
        said: where the labels are from, for the message.

    Returns:
        Sorted positions into ``truth``.

    Raises:
        DataError: a class has fewer cases, or cases are unknown.
    """
    names, number = _known(truth, cases, f"--cases-per-class {count}")
    answers, named = truth.holds, list(truth.task.classes)
    if not truth.task.exclusive:
        answers = np.hstack([answers, truth.denied])
        named += [f"a label without {name}" for name in named]
    held = np.zeros((len(names), len(named)), bool)
    np.logical_or.at(held, number, answers)
    for name, found in zip(named, held.sum(axis=0).tolist(), strict=True):
        if 0 < found < count:
            raise DataError(f"{name} is in {found} cases, {count} are asked for ({said})")
    order = generator(seed, "draw/cases", draw).permutation(len(names))
    among_first = held[order] & (held[order].cumsum(axis=0) <= count)
    return np.flatnonzero(np.isin(number, order[among_first.any(axis=1)]))


def draw_whole_cases(
    truth: Truth, cases: Sequence[str | None], count: int, draw: int, seed: int, said: str
) -> NDArray[np.int64]:
    """Positions of the labels of one draw that takes so many cases, whatever they show.

    Of one seeded order of all cases, the ``count`` that begin with the draw's own, in a ring. So
    every case begins one draw, draws of one case are all different, and fewer cases of a draw are a
    part of more.

    Args:
        truth, cases, draw, seed, said: see :func:`draw_cases`.
        count: cases of the draw.

    Returns:
        Sorted positions into ``truth``.

    Raises:
        DataError: there are fewer cases, or not more than the draw's number, or cases are unknown.
    """
    names, number = _known(truth, cases, f"--whole-cases {count}")
    if count > len(names):
        raise DataError(f"--whole-cases {count}: {said}, of {len(names)} cases")
    most = 1 if count == len(names) else len(names)
    if draw >= most:
        raise DataError(
            f"--draws: of {len(names)} cases there are {most} draws of {count} ({said}); give "
            f"--draws {most}"
        )
    order = generator(seed, "draw/whole").permutation(len(names))
    return np.flatnonzero(np.isin(number, np.roll(order, -draw)[:count]))


def named_cases(
    truth: Truth, cases: Sequence[str | None], subset: Sequence[str], said: str
) -> NDArray[np.int64]:
    """Positions of the labels of cases that are named.

    Args:
        truth, cases, said: see :func:`draw_cases`.
        subset: their names.

    Returns:
        Sorted positions into ``truth``.

    Raises:
        DataError: one has no label there, or cases are unknown.
    """
    names, number = _known(truth, cases, "--subsets")
    if absent := [name for name in subset if name not in names]:
        raise DataError(
            f"--subsets: no {truth.task.level} of {', '.join(absent)} has a label of "
            f"{truth.task.name!r} ({said})"
        )
    return np.flatnonzero(np.isin(names[number], subset))


def _known(
    truth: Truth, cases: Sequence[str | None], asked: str
) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """Names of all cases, and which is that of each label."""
    if any(case is None for case in cases):
        raise DataError(f"{asked}: some labelled {truth.task.level}s have no case; use --fraction")
    names, number = np.unique(np.array(cases, dtype=str), return_inverse=True)
    return names, number.reshape(-1)


def _by_sample(
    holds: NDArray[np.bool_], fraction: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    order = rng.permutation(len(holds))
    taken = max(1, round(fraction * len(order)))
    firsts = holds[order].argmax(axis=0)  # place of the first that has each class
    present = holds.any(axis=0)
    return np.unique(np.concatenate([order[:taken], order[firsts[present]]]))


def _by_case(
    holds: NDArray[np.bool_],
    cases: Sequence[str | None],
    fraction: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    if any(case is None for case in cases):
        raise DataError("--draw-by case: some labelled samples have no case; use --draw-by sample")
    names = np.array(cases, dtype=object)
    chosen = np.zeros(len(holds), dtype=bool)
    wanted = holds.any(axis=0)
    for case in rng.permutation(np.unique(names.astype(str))):
        enough = chosen.sum() >= max(1, round(fraction * len(holds)))
        if enough and (holds[chosen].any(axis=0) == wanted).all():
            break
        chosen |= names == case
    return np.flatnonzero(chosen)
