"""The page ``docs/what-is-said.md``, made by running what it shows."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from histoscope.apps.cli import run
from tests.said import films, sets, slides, tables
from tests.said.case import Case

PAGE = Path(__file__).parents[2] / "docs" / "what-is-said.md"
CHAPTERS = (slides.CHAPTER, tables.CHAPTER, sets.CHAPTER, films.CHAPTER)
HEAD = """\
# What is said

For each kind of input: what is used, what the program says, and what it refuses. Each command below
was run on a small input of its kind, and what stands under it is what it printed; `python -m
tests.said` makes this page anew, and a test compares it.

Exit codes: 0 all is well, 1 some sources could not be used, 2 the input or the command line must be
changed first. What is not used also stands in `unused.csv` beside the manifest, and what is noted
or refused of a source in its row of `manifest.csv`.
"""


def answers(case: Case) -> list[tuple[str, int, str]]:
    """Command lines of a case, with exit code and what was printed."""
    found = []
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        case.lay(Path("in").absolute())
        lines = [case.words]
        if case.way:
            lines.append([*case.words, *case.way.split()])
        for number, words in enumerate(lines):
            if number and Path("store/store.json").exists():
                words = [f"{word}-{number + 1}" if word == "store" else word for word in words]
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = run(words)
            here = os.path.realpath(name)
            text = said.getvalue().replace(f"{here}/", "").replace(f"{name}/", "")
            found.append((shlex.join(["histoscope", *words]), code, text))
    return found


def section(case: Case) -> Iterator[str]:
    """Lines of one case."""
    yield from (f"### {case.title}", "", case.used, "")
    for words, code, said in answers(case):
        yield from ("```console", f"$ {words}", *said.rstrip().splitlines(), "```", "")
        yield from (f"Exit code {code}.", "")


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for chapter in CHAPTERS:
        lines += [f"## {chapter.title}", ""]
        for case in chapter.cases:
            lines += section(case)
    return "\n".join(lines).rstrip() + "\n"
