"""``histoscope check labels``: annotations held against the videos they speak of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

COLUMNS = (
    "operation",
    "frames",
    "rate",
    "phase rows",
    "tool rows",
    "unlabelled",
    "phases",
    "notes",
)


@click.command("labels")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), help="folder or CSV of annotations")
@click.option("--tools-csv", type=click.Path(path_type=Path), help="CSV case,second and tools")
@click.option(
    "--class-order",
    default="cholec80",
    show_default=True,
    help="which phase an id stands for, in files that have ids",
)
@click.option(
    "--fps", default=1.0, show_default=True, help="moments a second that are held against"
)
@click.option("--label-rate", type=float, help="numbers a second in label files  [default: frames]")
@click.option("--frame-base", type=int, help="of folders of frames, as in prepare")
@click.option("--frame-step", type=int, help="of folders of frames, as in prepare")
@click.option("--frame-rate", type=float, default=25.0, show_default=True, help="as in prepare")
@click.option("--part-regex", help="joins parts of a recording, as in prepare")
def command(folder: Path, fps: float, **told: Any) -> int:
    """Hold the annotations of FOLDER against its videos, before anything is prepared.

    One row an operation: how many frames there are and how many are labelled, which phases occur,
    and what does not fit. Exit code 1 when an operation or its labels cannot be used.
    """
    from histoscope.core.config import build
    from histoscope.core.contracts import Unused
    from histoscope.core.errors import UnreadableSource
    from histoscope.domains.surgery import DOMAIN
    from histoscope.domains.surgery.options import FrameSampling, PrepareOptions

    options = build(PrepareOptions, told, "command line")
    sampling = build(FrameSampling, {"fps": fps}, "command line")
    roots = {"input": folder}
    rows: list[tuple[str, ...]] = [COLUMNS]
    failed, totals, unused = 0, Counter[str](), list[Unused]()
    for source in DOMAIN.find(roots, options):
        if isinstance(source, Unused):
            unused.append(source)
            continue
        try:
            with DOMAIN.open(source, roots, sampling) as reader:
                row, found = _row(reader)
        except UnreadableSource as fault:
            failed += 1
            rows.append((source.path, "", "", "", "", "", "", fault.reason))
        else:
            totals.update(found)
            rows.append((source.path, *row))
    click.echo(_aligned(rows))
    for one in unused:
        click.echo(f"not used: {one.kind}: {one.name}: {one.reason}")
    for name, count in totals.most_common():
        click.echo(f"{name}: {count} labelled moments")
    click.echo(f"{len(rows) - 1} operations, {failed} that cannot be used")
    return 1 if failed else 0


def _row(reader: Any) -> tuple[tuple[str, ...], Counter[str]]:
    plan, facts = reader.plan(), reader.facts
    phases = plan.labels["phase"].values.to_pylist() if "phase" in plan.labels else []
    found = Counter(phase for phase in phases if phase is not None)
    tools = plan.labels["tools"].values.to_pylist() if "tools" in plan.labels else []
    tool_rows = sum(any(v is not None for v in row.values()) for row in tools)
    unlabelled = sum(phase is None for phase in phases)
    said = (
        str(facts["frames"]),
        f"{facts['rate_hz']:g}",
        str(sum(found.values())),
        str(tool_rows),
        str(unlabelled) if phases else "all",
        str(len(found)),
        plan.reason,
    )
    return said, found


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
