"""Every command in the README and the page for researchers is one that the program understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from histoscope.apps.cli import main

HOUSE = Path(__file__).resolve().parents[1]


def commands(page: str = "README.md") -> list[list[str]]:
    """Words of each ``histoscope ...`` line inside the shell blocks."""
    text = (HOUSE / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        if words and words[0].endswith("histoscope"):
            found.append(words[1:])
        elif "docker" in words[:1]:
            place = next(n for n, word in enumerate(words) if "histoscope/histoscope:" in word)
            found.append(words[place + 1 :])
    return found


def test_the_readme_holds_the_whole_road():
    assert {words[0] for words in commands()} >= {
        "demo",
        "prepare",
        "pretrain",
        "finetune",
        "evaluate",
        "predict",
    }


@pytest.mark.parametrize("words", [*commands(), *commands("docs/cholec80.md")], ids=" ".join)
def test_a_command_of_the_pages_is_understood(words: list[str]):
    group: click.Group = main
    name, *rest = words
    context = group.make_context("histoscope", [name])
    command = group.get_command(context, name)
    while isinstance(command, click.Group):
        context = command.make_context(name, [rest[0]], parent=context)
        name, *rest = rest
        command = command.get_command(context, name)
    assert command is not None
    command.make_context(name, rest, parent=context)


def test_make_targets_of_the_readme_exist():
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_of_the_documents_lead_somewhere():
    documents = [*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md")]
    assert len(documents) > 5
    for document in documents:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
