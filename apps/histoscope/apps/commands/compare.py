"""``histoscope compare``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from histoscope.core.errors import UsageError

if TYPE_CHECKING:
    from histoscope.core.evaluation.comparison import Compared


@click.command("compare")
@click.argument("evaluations", nargs=-1, required=False)
@click.option("--primary", help="ONE:OTHER, the pair that is judged by itself; of several pairs")
@click.option("--margin", type=click.FloatRange(0, min_open=True), help="a difference that matters")
@click.option("--out", type=click.Path(path_type=Path), help="a folder for tables and pictures")
@click.option("--json", "as_json", is_flag=True, help="for scripts")
def command(
    evaluations: tuple[str, ...],
    primary: str | None,
    margin: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Is one evaluation better than another? EVALUATIONS: two folders, or pairs ONE:OTHER.

    Both of a pair must have been learnt from the same draws of labels and scored on the same
    samples. Of several pairs one is named beforehand, --primary ONE:OTHER, and is judged by itself;
    the rest with Holm's correction for their number. The first task is the primary one.
    """
    from histoscope.core.stages.compare import compare, write_comparison

    found = compare(_pairs(evaluations, primary), margin)
    if out:
        write_comparison(out, found, margin)
    if as_json:
        click.echo(json.dumps([one.told() for one in found], indent=2))
        return
    rest = len(found) - 1
    for is_primary, group in groupby(found, lambda one: one.corrected is None):
        if not is_primary:
            click.echo(f"the rest, p corrected for {rest} by Holm:")
        for one in group:
            for line in _lines(one, margin):
                click.echo(line)
    if out:
        click.echo(
            f"{out}: comparison.json, cases.csv, difference-0.png" + " and more" * bool(rest)
        )


def _pairs(words: Sequence[str], primary: str | None) -> list[tuple[Path, Path]]:
    """The primary pair, then the others."""
    if primary is None and len(words) == 2 and not all(map(_pairs_of, words)):
        return [(Path(words[0]), Path(words[1]))]
    if primary is None and len(words) > 1:
        raise UsageError(
            "several pairs: name the one that is judged by itself, --primary ONE:OTHER"
        )
    given = [*([primary] if primary else []), *words]
    if not given:
        raise UsageError("give two evaluations, or a pair ONE:OTHER")
    pairs = [_pair(word) for word in given]
    unlike = [{folder.resolve() for folder in pair} for pair in pairs]
    twice = [word for place, word in enumerate(given) if unlike[place] in unlike[:place]]
    if twice:
        raise UsageError(f"{twice[0]}: this pair is given twice")
    return pairs


def _pair(word: str) -> tuple[Path, Path]:
    """Two folders; a colon may stand in a folder's name, too.

    Raises:
        UsageError: it names none, or can be read in several ways.
    """
    found = _pairs_of(word)
    if len(found) != 1:
        raise UsageError(
            f"{word}: expected ONE:OTHER, two folders that evaluate or finetune --folds wrote"
            + (f"; it can be read in {len(found)} ways" if found else "")
        )
    return found[0]


def _pairs_of(word: str) -> list[tuple[Path, Path]]:
    """Each way in which it names two folders."""
    parts = word.split(":")
    ways = [(Path(":".join(parts[:at])), Path(":".join(parts[at:]))) for at in range(1, len(parts))]
    return [way for way in ways if way[0].is_dir() and way[1].is_dir()]


def _lines(one: Compared, margin: float | None) -> list[str]:
    """Of a task and pair: what is judged, and below it what is not."""
    p, gap = one.p if one.corrected is None else one.corrected, one.gap
    over = f"{gap.units} {one.over}" + (f" and {gap.draws} draws" if gap.draws > 1 else "")
    over += f", {one.folds} folds, approximate" if one.folds else ""
    lines = [
        f"{one.task}, {one.one} against {one.other}: {one.metric.replace('_', ' ')} "
        f"{one.values[0]:.3f} and {one.values[1]:.3f}, difference {gap.mean:+.3f} "
        f"(95 % interval {gap.ends} over {over}; p {_p(p)}): {_verdict(one, margin)}"
    ]
    if one.flip:
        lines.append(
            f"  p is the larger of sign flips of {gap.units} {one.over}, {_p(one.flip[0])} (at "
            f"least {one.flip[1]:.2g}), and Student's t, {_p(gap.p)}"
        )
    if one.draws_alone:
        lines.append(f"  over draws alone 95 % interval {one.draws_alone.ends}")
    if (heaviest := one.cases.heaviest(gap.mean)) is not None:
        name, left = one.cases.names[heaviest], one.cases.without[heaviest]
        lines.append(
            f"  without {name} a class is gone: all rests on it"
            if isnan(left)
            else f"  without {name} {left:+.3f}, the least that leaving one out leaves of it"
        )
    lines += [
        f"  beside it, not judged: {name.replace('_', ' ')} {left:.3f} and {right:.3f}, "
        f"difference {its.mean:+.3f} (95 % interval {its.ends})"
        for name, (left, right, its) in one.beside.items()
    ]
    return [*lines, *(f"  caution: {caution}" for caution in one.cautions)]


def _verdict(one: Compared, margin: float | None) -> str:
    if one.verdict == "no larger difference":
        return f"no difference larger than {margin:g} either way"
    if one.verdict == "not told apart":
        return f"not told apart ({one.gap.ends})"
    return one.verdict


def _p(value: float) -> str:
    return "unknown" if isnan(value) else f"{value:.2g}"
