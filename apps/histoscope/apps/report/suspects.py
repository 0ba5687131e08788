"""What a report says of a class that was looked for, and how far that can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histoscope.apps.report.page import share
from histoscope.apps.report.pictures import embed
from histoscope.core.evaluation.finding import DRAWN
from histoscope.core.packages.info import only_ranks

Found = Mapping[str, Any]
DOUBTED = (
    "All of this was measured with a class for each {}; here what scores low is uncertain, so "
    "less is found, and less is called falsely."
)
WHOLE = "How well the score ranks sources is what the area under the ROC curve above tells."
UNMEASURED = (
    "How much is called so falsely, and how sources rank, was not measured: evaluate the package "
    "again with this version, and record it."
)


def known_false_calls(about: Found, heads: Sequence[Found]) -> dict[str, dict[str, str]]:
    """By task and class: what part of samples without the class was called it, for a person.

    With a star where it was measured on sources that have the class, too. Nothing of tasks that
    here may be uncertain, as they were not when that was measured.
    """
    told = dict[str, dict[str, str]]()
    for head in heads:
        finding = (head["evaluation"] or {}).get("finding", {})
        known = {name: one for name, one in finding.items() if one["false_calls"]}
        if not doubts(about, head):
            told[head["task"]] = {
                name: _in_words(one["false_calls"]) + ("" if one["of"] == "sources" else " *")
                for name, one in known.items()
            }
    return told


def doubts(about: Found, head: Found) -> bool:
    """Whether a head's answers may be uncertain in these results."""
    ranks = only_ranks(head["level"], head["calibration"])
    return bool(head["exclusive"] and about.get("uncertain_below") and not ranks)


def suspicion(about: Found, heads: Sequence[Found]) -> dict[str, Any] | None:
    """The class that was looked for and what is known of finding it; None where none was.

    Args:
        about: what ``predict.json`` says.
        heads: of the package.
    """
    wanted = about.get("suspicious")
    if not wanted:
        return None
    (head,) = (head for head in heads if head["task"] == wanted["task"])
    known = _known(wanted["kind"], head["level"], head["evaluation"]) if head["evaluation"] else []
    if known and doubts(about, head):
        known.append(DOUBTED.format(head["level"]))
    return {**wanted, "level": head["level"], "drawn": DRAWN, "known": known}


def _known(kind: str, level: str, evaluation: Found) -> list[str]:
    """What an evaluation says of a class, a line each."""
    recall, found = evaluation.get("recall", {}).get(kind), evaluation.get("finding", {}).get(kind)
    lines = [f"Of {level}s that are {kind}, {_in_words(recall)} were found."] if recall else []
    if level == "source":
        return [*lines, WHOLE]
    if not found:
        return [*lines, UNMEASURED]
    wrong = found["false_calls"]
    if wrong and wrong["value"] is not None:
        where = (
            f"of sources among whose labels is no {kind}"
            if found["of"] == "sources"
            else f"that are not {kind}, most of them from sources that have it"
        )
        lines.append(
            f"About {share(wrong['value'])} of a source without {kind} would be called {kind}: so "
            f"were {_in_words(wrong)} of the samples {where}."
        )
    return [*lines, _ranking(kind, found, evaluation["interval_over"])]


def _ranking(kind: str, found: Found, units: str) -> str:
    auc = found["auc"]
    if auc is None or auc["value"] is None:
        missing = "without" if found["with"] else "with"
        return (
            f"Never tested on sources {missing} {kind}: nothing shows that sources which have it "
            "rank above those which have not."
        )
    low, high = auc["interval"]
    ends = "interval unknown" if low is None else f"95\u202f% interval {low:.2f} to {high:.2f}"
    return (
        f"Of {found['with']} sources with {kind} among their labelled samples and "
        f"{found['without']} without, these samples ranked the first before the second with an "
        f"area under the ROC curve of {auc['value']:.2f} ({ends}, over {units}); 0.5 is guessing."
    )


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
    parts = [one["box"][2:] != one["size"] for one in told["shown"] if one["box"]]
    return {"level": "sample", **told, "shown": shown, "framed": any(parts)}
