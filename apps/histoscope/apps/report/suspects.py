"""What a report says of a class that was looked for, and how far that can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histoscope.apps.report.page import share
from histoscope.apps.report.pictures import embed
from histoscope.core.evaluation.finding import DRAWN

Found = Mapping[str, Any]
DOUBTED = (
    "All of this was measured with a class for each sample; here what scores low is uncertain, so "
    "less is found, and less is called falsely."
)


def known_false_calls(heads: Sequence[Found]) -> dict[str, dict[str, float]]:
    """By task and class: the part of samples without the class that were called it, where known."""
    told = dict[str, dict[str, float]]()
    for head in heads:
        finding = (head["evaluation"] or {}).get("finding", {})
        known = {name: one["false_calls"] for name, one in finding.items() if one["false_calls"]}
        told[head["task"]] = {name: one["value"] for name, one in known.items()}
    return told


def suspicion(about: Found, heads: Sequence[Found]) -> dict[str, Any] | None:
    """The class that was looked for and what is known of finding it; None where none was.

    Args:
        about: what ``predict.json`` says.
        heads: of the package.
    """
    wanted = about.get("suspicious")
    if not wanted:
        return None
    kind = wanted["kind"]
    (evaluation,) = [head["evaluation"] or {} for head in heads if head["task"] == wanted["task"]]
    found = evaluation.get("finding", {}).get(kind)
    recall = evaluation.get("recall", {}).get(kind)
    return {
        **wanted,
        "drawn": DRAWN,
        "known": [
            *([f"Of samples that are {kind}, {_in_words(recall)} were found."] if recall else []),
            *(_of_finding(kind, found, evaluation["interval_over"]) if found else []),
            *([DOUBTED] if about.get("uncertain_below") else []),
        ],
    }


def _of_finding(kind: str, found: Found, units: str) -> list[str]:
    lines, wrong, auc = list[str](), found["false_calls"], found["auc"]
    if wrong and wrong["value"] is not None:
        where = (
            f"of sources without {kind}"
            if found["of"] == "sources"
            else f"that are not {kind}, of sources that have it: too few without it were there"
        )
        lines.append(
            f"About {share(wrong['value'])} of a source without {kind} would be called {kind}: so "
            f"were {_in_words(wrong)} of the samples {where}."
        )
    if auc is None or auc["value"] is None:
        missing = "without" if found["with"] else "with"
        lines.append(
            f"Never tested on sources {missing} {kind}: nothing shows that sources which have it "
            "rank above those which have not."
        )
    else:
        low, high = auc["interval"]
        ends = "interval unknown" if low is None else f"95\u202f% interval {low:.2f} to {high:.2f}"
        lines.append(
            f"Of {found['with']} sources with {kind} and {found['without']} without it, the "
            f"ranking had an area under the ROC curve of {auc['value']:.2f} ({ends}, over "
            f"{units}); 0.5 is guessing."
        )
    return lines


def _in_words(metric: Found) -> str:
    """``18.3 % (6.3 % to 31.5 %)``."""
    low, high = metric["interval"]
    if metric["value"] is None:
        return "an unknown part"
    ends = "interval unknown" if low is None else f"{share(low)} to {share(high)}"
    return f"{share(metric['value'])} ({ends})"


def gallery(folder: Path, base: str, told: Found, most_bytes: int) -> dict[str, Any]:
    """What is shown of a source, each with a small picture inside the page.

    Args:
        folder: of the source.
        base: what leads there from the page, empty or with a slash at its end.
        told: what ``done.json`` says of it.
        most_bytes: of one picture, before base64.
    """
    shown = []
    for one in told["shown"]:
        file = one["file"] if one["file"] == Path(one["file"] or "").name else None
        small = embed(folder / file, most_bytes) if file else None
        shown.append({**one, "embedded": small, "link": f"{base}{file}" if file else ""})
    return {**told, "shown": shown}
