"""Phases and tools of a cholecystectomy: canonical names, orders of ids, other spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from histoscope.core.errors import DataError

PHASES: tuple[str, ...] = (
    "Preparation",
    "CalotTriangleDissection",
    "ClippingCutting",
    "GallbladderDissection",
    "GallbladderPackaging",
    "CleaningCoagulation",
    "GallbladderRetraction",
)
M2CAI16_PHASES: tuple[str, ...] = ("TrocarPlacement", *PHASES)
TOOLS: tuple[str, ...] = (
    "Grasper",
    "Bipolar",
    "Hook",
    "Scissors",
    "Clipper",
    "Irrigator",
    "SpecimenBag",
)

# The same seven phases under other ids: an id means nothing until somebody says whose it is.
CLASS_ORDERS: Mapping[str, tuple[str, ...]] = {
    "cholec80": PHASES,
    "tf-cholec80": (*PHASES[:4], PHASES[6], PHASES[5], PHASES[4]),
    "alphabetical": tuple(sorted(PHASES)),
    "m2cai16": M2CAI16_PHASES,
}

_OTHER_SPELLINGS = {
    "clippingandcutting": "ClippingCutting",
    "cleaningandcoagulation": "CleaningCoagulation",
    "carlottriangledissection": "CalotTriangleDissection",
    "gallbladderextraction": "GallbladderRetraction",
}


def _folded(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).casefold()


_PHASE_SPELLINGS = {**{_folded(name): name for name in M2CAI16_PHASES}, **_OTHER_SPELLINGS}
_TOOL_SPELLINGS = {_folded(name): name for name in TOOLS}


def phase_name(text: str) -> str:
    """The canonical name of a phase; case, spaces, underscores and hyphens do not count.

    Raises:
        DataError: no phase is called so; the message offers the near word.
    """
    return _canonical(text, "phase", _PHASE_SPELLINGS, M2CAI16_PHASES)


def tool_name(text: str) -> str:
    """The canonical name of a tool, as :func:`phase_name`."""
    return _canonical(text, "tool", _TOOL_SPELLINGS, TOOLS)


def phase_of_id(number: int, order: str) -> str:
    """The phase that has this id, counted from 0, in a named order.

    Raises:
        DataError: the order has no such id.
    """
    names = CLASS_ORDERS[order]
    if not 0 <= number < len(names):
        raise DataError(f"phase id {number} is not in the {order} order (0 to {len(names) - 1})")
    return names[number]


def _canonical(text: str, kind: str, spellings: Mapping[str, str], names: Sequence[str]) -> str:
    folded = _folded(text)
    if folded in spellings:
        return spellings[folded]
    near = get_close_matches(folded, list(spellings), n=1, cutoff=0.6)
    offer = f"did you mean {spellings[near[0]]}?" if near else f"known: {', '.join(names)}"
    raise DataError(f"unknown {kind} {text!r}, {offer}")
