"""The sources of a folder beside each other, and each against the others, for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from histoscope.core.contracts import Beside

MOST = 60  # sources of a table; its file has all
ALARMS = 20  # lines on what stands out


def overview(
    beside: Sequence[Beside],
    sources: Sequence[Mapping[str, Any]],
    heads: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One table a task: a row a source, a column a class; and what stands out, in lines.

    Args:
        beside: what the domain says.
        sources: as the page shows them, in its order.
        heads: of the package.
    """
    kinds = {head["task"]: head["classes"] for head in heads}
    out = []
    for one in beside:
        names = [kind["name"] for kind in kinds[one.task]]
        there = [source for source in sources if source["id"] in one.rows]
        rows = [
            {
                "source": source,
                "cells": [
                    {"text": amounts.get(name, ""), "mark": marks.get(name, "")} for name in names
                ],
            }
            for source in there[:MOST]
            for amounts in [{row[0]: row[1] for row in one.rows[source["id"]]}]
            for marks in [one.marks.get(source["id"], {})]
        ]
        alarms = [
            {"source": source, "kind": name, "how": how, "row": _row(one, source["id"], name)}
            for source in there
            for name, how in one.marks.get(source["id"], {}).items()
        ]
        out.append(
            {
                **vars(one),
                "kinds": kinds[one.task],
                "table": rows,
                "usual": [one.usual.get(name, "") for name in names],
                "alarms": alarms[:ALARMS],
                "more_alarms": len(alarms[ALARMS:]),
                "more": len(there) - len(rows),
            }
        )
    return out


def of_source(beside: Sequence[Beside], source: str) -> list[dict[str, Any]]:
    """The rows of one source, with what stands out: one table a task."""
    return [
        {
            "task": one.task,
            "title": one.title,
            "columns": one.columns,
            "rows": [
                {"cells": row, "mark": one.marks.get(source, {}).get(row[0], "")}
                for row in one.rows[source]
            ],
        }
        for one in beside
        if source in one.rows
    ]


def _row(one: Beside, source: str, name: str) -> Mapping[str, str]:
    """Cells of a class by their columns' names."""
    (cells,) = (row for row in one.rows[source] if row[0] == name)
    return dict(zip([column.name for column in one.columns], cells, strict=True))
