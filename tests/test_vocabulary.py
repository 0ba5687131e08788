"""The core and the apps speak no domain's language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1]
WORDS = {"video", "frame", "slide", "tile", "stain", "phase", "tissue", "surgery", "pathology"}
FILES = sorted([*HOUSE.glob("core/**/*.py"), *HOUSE.glob("apps/**/*.py")])


def identifiers(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every name that code gives or uses, file names included by the caller."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "name", "arg", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield line, value


def words_of(identifier: str) -> set[str]:
    """``readVideo_frames`` to read, video, frame: split at case and underscores, plural removed."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)
    return {part.lower().removesuffix("s") for part in parts}


def offences(source: str) -> list[str]:
    return [f"{line}: {name}" for line, name in identifiers(source) if words_of(name) & WORDS]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_no_identifier_holds_a_domains_word(file: Path):
    assert offences(file.read_text(encoding="utf-8")) == []
    assert not words_of(file.stem) & WORDS


@pytest.mark.parametrize(
    "planted",
    [
        "def read_video(): pass",
        "tileSize = 1",
        "x.frames",
        "f(slide_id=1)",
        "class TileReader: ...",
    ],
)
def test_a_planted_word_is_found(planted: str):
    assert offences(planted)
