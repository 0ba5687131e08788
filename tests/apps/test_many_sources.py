"""4,000 finished sources: an index that opens at once, and pages that keyboards reach.

From a folder that may only be read, as a share in a hospital is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoscope.apps.report import write_predict_report
from histoscope.core.work.folder import read_outcomes
from tests.apps.browser import open_tab, until
from tests.apps.conftest import evaluation
from tests.apps.test_browser import check, chromium, look
from tests.apps.test_reports import record
from tests.apps.test_suspicious_report import FOUND, looked_for

__all__ = ["chromium"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SOURCES, MOST_BYTES = 4000, 5_000_000


@pytest.fixture
def many(result_folder: Path) -> Iterator[Path]:
    """A folder of so many sources with pictures and a gallery, whose files cannot be written."""
    looked_for(result_folder, {})
    record(result_folder, {**evaluation(), "finding": {"blue <b>": FOUND}})
    results = result_folder / "results"
    (first, *_) = (one for one in read_outcomes(results) if one.status == "done")
    map_ = np.kron(
        np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8), np.ones((9, 9, 1))
    )
    Image.fromarray(map_.astype(np.uint8)).save(results / first.source.id / "map.png")
    body = json.loads((results / first.source.id / "done.json").read_text(encoding="utf-8"))
    for number in range(SOURCES):
        place = results / f"{number:016x}"
        shutil.copytree(results / first.source.id, place, copy_function=os.link)
        (place / "done.json").unlink()
        name = f"ward {number // 50}/a folder of slides/TCGA-{number:04d}-01A-01-TS1.svs"
        told = {**body["source"], "id": place.name, "path": name, "case": f"case-{number}"}
        score = {**body["suspicious"], "score": number / SOURCES}
        text = json.dumps({**body, "source": told, "suspicious": score})
        (place / "done.json").write_text(text, encoding="utf-8")
    write_predict_report(result_folder)
    mode(result_folder, 0o444, 0o555)
    yield result_folder
    mode(result_folder, 0o644, 0o755)


def mode(folder: Path, of_files: int, of_folders: int) -> None:
    """Let files and folders be written, or not."""
    folder.chmod(0o755)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(of_folders if path.is_dir() else of_files)


def test_the_index_is_small_and_every_source_is_one_key_away(chromium, many, tmp_path):
    page = many / "report.html"
    assert page.stat().st_size < MOST_BYTES
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'<a class="path" href="(results/[^"]+)"', text)
    assert len(links) > SOURCES
    assert links[0] == f"results/{SOURCES - 1:016x}/report.html"  # the highest score
    assert all((many / link).is_file() for link in links)
    with open_tab(chromium, tmp_path) as tab:
        tab.load(page)
        assert tab.evaluate("document.images.length") == 0
        tab.evaluate("document.querySelector('a.path').focus()")
        tab.press("Enter")
        until(
            lambda: (
                tab.evaluate("document.readyState == 'complete' && location.href") != page.as_uri()
            )
        )
        assert tab.evaluate("location.pathname").endswith(links[0])
        gallery = "document.querySelector('.gallery a')"
        tab.evaluate(f"{gallery}.focus()")
        tab.press("Enter")
        until(lambda: str(tab.evaluate("location.pathname")).endswith("suspicious-01.jpg"))
    answers = look(chromium, many / links[0], tmp_path / "look")
    for answer in answers.values():
        check(answer)
