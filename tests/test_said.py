"""What the page of messages shows is what the program says today."""

from __future__ import annotations

import re

import pytest

from tests.said.page import CHAPTERS, HEAD, PAGE, section

CASES = [(chapter.title, case) for chapter in CHAPTERS for case in chapter.cases]


def shown() -> dict[tuple[str, str], str]:
    """Sections of the page by chapter and title."""
    text = PAGE.read_text(encoding="utf-8").removeprefix(HEAD)
    found = {}
    for chapter in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, _, body = chapter.partition("\n")
        for part in re.split(r"^(?=### )", body, flags=re.MULTILINE)[1:]:
            title = part.partition("\n")[0].removeprefix("### ")
            found[name, title] = part.strip()
    return found


@pytest.mark.parametrize(("chapter", "case"), CASES, ids=[case.title for _, case in CASES])
def test_a_section_shows_what_is_printed(chapter, case, monkeypatch):
    assert shown()[chapter, case.title] == "\n".join(section(case)).strip(), (
        "make the page anew with: python -m tests.said"
    )


def test_the_page_has_no_other_section():
    assert PAGE.read_text(encoding="utf-8").startswith(HEAD)
    assert list(shown()) == [(chapter, case.title) for chapter, case in CASES]
