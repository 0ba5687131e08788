"""``predict --zoom``: a slide at every scale, and a page that shows it by keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
from openslide.deepzoom import DeepZoomGenerator
from PIL import Image

from histoscope.core.contracts import CorruptSample
from histoscope.domains.pathology.slide_reader import SlideReader
from tests.apps.browser import open_tab, until
from tests.apps.command_line.road import HERE, Answer, Road, snapshot, write_slide
from tests.apps.test_browser import chromium

__all__ = ["chromium"]

SIZE = (1300, 900)  # width, height


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Tissue that goes from one colour to another evenly, which scales and JPEG hardly change."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    pixels = np.stack([120 + 90 * x, 70 + 50 * y, 120 + 80 * (x + y) / 2], axis=2)
    (tmp_path / "slides" / "ward").mkdir(parents=True)
    path = tmp_path / "slides" / "ward" / "a.tif"
    write_slide(path, pixels.astype(np.uint8))
    return path


@pytest.fixture
def zoomed(road: Road, call: Callable[..., Answer], slide: Path, tmp_path: Path) -> Path:
    """What ``predict`` wrote of it."""
    by = ("--package", road.package, "--out", tmp_path / "out", *HERE)
    asked = ("--zoom", "a", "--suspicious", "tumour")
    answer = call("predict", slide.parents[1], *by, *asked)
    assert answer.code == 0, answer
    return tmp_path / "out"


def test_every_picture_is_the_slide_at_its_scale(zoomed, slide):
    (folder,) = (zoomed / "zoom").iterdir()
    pixels = np.asarray(openslide.OpenSlide(slide).read_region((0, 0), 0, SIZE).convert("RGB"))
    theirs = DeepZoomGenerator(openslide.OpenSlide(slide), tile_size=512, overlap=0)
    assert f'Width="{SIZE[0]}" Height="{SIZE[1]}"' in (folder / "slide.dzi").read_text()
    levels = sorted(int(one.name) for one in (folder / "slide_files").iterdir())
    assert levels == list(range(theirs.level_count))
    told = json.loads((folder / "done.json").read_text(encoding="utf-8"))["zoom"]
    assert (told["width"], told["height"], told["levels"]) == (*SIZE, len(levels))
    assert told["um_per_px"] == pytest.approx(0.5)
    for level in levels:
        files = {one.stem for one in (folder / "slide_files" / str(level)).iterdir()}
        columns, rows = theirs.level_tiles[level]
        assert files == {f"{column}_{row}" for column in range(columns) for row in range(rows)}
        wide, tall = theirs.level_dimensions[level]
        small = cv2.resize(pixels, (wide, tall), interpolation=cv2.INTER_AREA).astype(int)
        for column in range(columns):
            for row in range(rows):
                path = folder / "slide_files" / str(level) / f"{column}_{row}.jpg"
                shown = np.asarray(Image.open(path)).astype(int)
                part = small[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
                assert shown.shape == part.shape
                few = 3 if min(wide, tall) > 16 else 12  # where halves of odd sizes tell
                assert np.abs(shown - part).mean() < few


def test_a_second_call_writes_nothing_and_another_slide_may_follow(
    zoomed, road, call, slide, tmp_path
):
    before = snapshot(zoomed)
    by = ("--package", road.package, "--out", zoomed, *HERE, "--suspicious", "tumour")
    assert call("predict", slide.parents[1], *by, "--zoom", "ward/a.tif").code == 0
    assert snapshot(zoomed) == before
    assert call("report", zoomed).code == 0
    assert snapshot(zoomed) == before


def test_a_name_that_is_none_is_refused_before_the_work(road, call, slide, tmp_path):
    by = ("--package", road.package, "--out", tmp_path / "out", *HERE)
    answer = call("predict", slide.parents[1], *by, "--zoom", "b.tif")
    assert answer.code == 2
    assert "--zoom b.tif: no such source" in answer.err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_read_is_grey_and_counted(road, call, slide, tmp_path, monkeypatch):
    window = SlideReader.window

    def failing(reader, box):
        return CorruptSample("lost") if (box.x, box.y) == (512, 0) else window(reader, box)

    monkeypatch.setattr(SlideReader, "window", failing)
    by = ("--package", road.package, "--out", tmp_path / "out", *HERE)
    answer = call("predict", slide.parents[1], *by, "--zoom", "a.tif")
    assert answer.code == 0
    assert "1 pictures could not be read" in answer.err
    (folder,) = (tmp_path / "out" / "zoom").iterdir()
    assert np.ptp(np.asarray(Image.open(folder / "slide_files" / "11" / "1_0.jpg"))) < 4


@pytest.mark.browser
def test_the_page_shows_it_from_a_folder_and_by_keyboard(chromium, zoomed, tmp_path):
    (page,) = zoomed.glob("zoom/*/zoom.html")
    report = (zoomed / "report.html").read_text(encoding="utf-8")
    assert f'href="zoom/{page.parent.name}/zoom.html"' in report
    assert f'href="zoom/{page.parent.name}/zoom.html#1"' in report
    shown = "[...pictures.values()].filter(one => one.naturalWidth).length"
    with open_tab(chromium, tmp_path / "profile") as tab:
        tab.load(page)
        until(lambda: tab.evaluate(f"pictures.size && {shown} == pictures.size"))
        whole = tab.evaluate("scale")
        tab.press("1")
        until(lambda: tab.evaluate("pictures.has('slide_files/11/1_0.jpg')"))
        until(lambda: tab.evaluate(f"{shown} == pictures.size"))
        assert tab.evaluate("scale") == 1
        middle = tab.evaluate("x")
        tab.press("ArrowRight")
        assert tab.evaluate("x") > middle
        tab.press("0")
        assert tab.evaluate("scale") == pytest.approx(whole, rel=0.2)
        tab.evaluate("location.hash = '#1'")
        until(lambda: tab.evaluate("scale") == 1)
        one = tab.evaluate("data.marks[0]")
        assert tab.evaluate("[x, y]") == [one["x"] + 16, one["y"] + 16]
