"""``docs/formats.md`` as data: a chapter is a kind of folder, a section is a file or a block.

A section's first line says kind, format and version, and whose it is where one domain alone has
it; its tables say what stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

DOMAINS = {"pathology", "surgery"}
GIVEN, BLOCKS, LEFT_OUT = "Files you give", "Shared blocks", "What the comparison leaves out"
PLACEHOLDERS = {
    "id": "[0-9a-f]{16}",
    "step": r"\d{6}",
    "draw": r"\d+",
    "place": r"\d+",
    "task": "[^/:]+",  # it ends where its class begins: class:TASK:CLASS
    "tool": "(?!Frame$)[A-Z][A-Za-z]+",  # so that none stands for a column with a name of its own
}
MAY_BE_ABSENT = ", may be absent"


def regex_of(name: str) -> re.Pattern[str]:
    """``features/<id>/<id>.h5`` as a pattern."""
    parts = re.split(r"<(\w+)>", name)
    odd = [PLACEHOLDERS.get(part, "[^/]+") for part in parts[1::2]] + [""]
    even = (re.escape(part) for part in parts[::2])
    return re.compile("".join(a + b for a, b in zip(even, odd, strict=True)))


def alternatives(kind: str) -> list[str]:
    """``a or b`` outside parentheses."""
    return re.split(r" or (?![^()]*\))", kind)


def numbers(text: str) -> set[int]:
    """``1 to 40`` or ``25, 1``."""
    low, to, high = text.partition(" to ")
    if to:
        return set(range(int(low), int(high) + 1))
    return {int(word) for word in text.split(", ") if word}


@dataclass(frozen=True)
class Row:
    """One row of a table of the page: ``table`` is the heading of its first column."""

    owner: str
    table: str
    name: str
    type: str
    null: str = ""
    shape: str = ""

    @property
    def optional(self) -> bool:
        return self.type.endswith(MAY_BE_ABSENT)

    @property
    def types(self) -> list[str]:
        return alternatives(self.type.removesuffix(MAY_BE_ABSENT))

    def is_for(self, name: str) -> bool:
        return bool(regex_of(self.name).fullmatch(name))


@dataclass
class Section:
    """A file or a block of the page: rows, and names of sections whose rows stand between them."""

    chapter: str
    name: str
    prose: str = ""
    parts: list[Row | str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.chapter}: {self.name}"

    @property
    def head(self) -> tuple[str, str | None, str | None, str | None]:
        """Kind, format, version, and the only domain that has it."""
        found = re.match(r"(\w+)(?:, `([\w.-]+)` version (\d+))?(?:, (\w+) only)?\.", self.prose)
        assert found, f"{self.key}: begins with no kind of file"
        return found[1], found[2], found[3], found[4]

    @property
    def included(self) -> list[str]:
        """Sections that the prose names; their rows stand first."""
        return re.findall(r"(?:[Cc]olumns|keys) of `([^`]+)`", self.prose)


class Page:
    """The page as data."""

    def __init__(self, text: str) -> None:
        self.chapters: dict[str, dict[str, Section]] = {}
        self.folders: list[tuple[str, str]] = []
        self.exits: list[int] = []
        self.splits: dict[str, dict[str, set[int]]] = {}
        self.left_out: set[tuple[str, str]] = set()
        chapter, section, heading = "", Section("", ""), list[str]()
        for line in text.splitlines():
            if line.startswith("## "):
                chapter, section = line[3:], Section(line[3:], "")
                self.chapters[chapter] = {}
            elif line.startswith("### "):
                name = line.split("`")[1] if "`" in line else line[4:]
                section = Section(chapter, name)
                if "`" in line:
                    assert name not in self.chapters[chapter], f"{section.key} stands twice"
                    self.chapters[chapter][name] = section
            elif line.startswith("|"):
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                heading = heading or cells
                if cells is not heading and not line.startswith("| ---"):
                    self._add(section, dict(zip(heading, cells, strict=True)), heading[0])
            elif line:
                section.prose = f"{section.prose} {line}".strip()
                if chapter == LEFT_OUT and (left := re.match("- `(.+?)` of `(.+?)`", line)):
                    self.left_out.add((left[1], left[2]))
            heading = heading if line.startswith("|") else []

    def _add(self, section: Section, cells: Mapping[str, str], table: str) -> None:
        name = cells[table].strip("`")
        if table == "exit":
            self.exits.append(int(name))
        elif table == "folder":
            self.folders.append((name, cells["chapter"].split("]")[0].strip("[")))
        elif table == "published split":
            self.splits[name] = {part: numbers(cells[part]) for part in ("train", "valid", "test")}
        elif blocks := re.findall(r"\[(.+?)\]\(#", name):
            section.parts += blocks
        else:
            name = f"{cells['of']}.{name}" if table == "attribute" else name
            more = {key: cells[key] for key in ("null", "shape") if key in cells}
            section.parts.append(Row(section.key, table, name, cells["type"], **more))

    def section(self, chapter: str, name: str) -> Section:
        """A file of the chapter, else a block."""
        return self.chapters[chapter].get(name) or self.chapters[BLOCKS][name]

    def rows(self, section: Section, table: str, domain: str) -> list[Row]:
        """Its own and those it includes, in order, without what another domain puts there."""
        out = list[Row]()
        for part in [*section.included, *section.parts]:
            if isinstance(part, Row):
                out += [part] if part.table == table else []
            elif not of_another(domain, part):
                out += self.rows(self.section(section.chapter, part), table, domain)
        return out


def of_another(domain: str, text: str) -> bool:
    """Whether a text names a domain other than this one."""
    return bool(set(re.findall(r"\w+", text)) & (DOMAINS - {domain}))
