"""Names of any script in a picture: the letters of a font that has them, else a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from histoscope.core.contracts import Answer, Rendering, Results, Source, Task
from histoscope.domains.pathology import lettering
from histoscope.domains.pathology.drawings import render
from histoscope.domains.pathology.thumbnail import Thumbnail


class PaintedReader:
    """A slide of one grey value."""

    divisible = True
    facts = {  # noqa: RUF012 - a stand-in
        **{"reader": "painted", "vendor": "nobody", "mpp_source": "file"},
        **{"width_level0_px": 400, "height_level0_px": 200, "mpp_x": 0.5, "mpp_y": 0.5},
    }

    def overview(self, longest_px: int) -> Thumbnail:
        seen = np.ones((200, 400), np.bool_)
        return Thumbnail(np.full((200, 400, 3), 200, np.uint8), seen, seen, (1.0, 1.0))


def overlay(out: Path, names: tuple[str, ...]) -> Rendering:
    """A prediction in which each class has one tile."""
    count = len(names)
    rows = pa.table(
        {
            "x_level0_px": pa.array(range(0, 100 * count, 100), pa.int64()),
            "y_level0_px": pa.array([0] * count, pa.int64()),
            "width_level0_px": pa.array([100.0] * count, pa.float64()),
            "height_level0_px": pa.array([100.0] * count, pa.float64()),
            "status": pa.array(["ok"] * count, pa.string()),
        }
    )
    colours = ["#ff0000", "#00ff00", "#0000ff"][:count]
    scores = np.eye(count, dtype=np.float32)
    answer = Answer(Task("tissue", names), scores, colours, np.full(count, 0.5, np.float32))
    return render(
        PaintedReader(), Results(Source("0" * 16, "a.tif"), rows, [answer]), "qupath", out
    )  # type: ignore[arg-type]


def make_font(path: Path, letters: str) -> Path:
    """A font whose letters are squares."""
    names = {ord(letter): f"letter{ord(letter)}" for letter in letters}
    pen = TTGlyphPen(None)
    for step, point in enumerate([(0, 0), (0, 800), (800, 800), (800, 0)]):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    square = pen.glyph()
    every = [".notdef", *names.values()]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(every)
    font.setupCharacterMap(names)
    font.setupGlyf(dict.fromkeys(every, square))
    font.setupHorizontalMetrics(dict.fromkeys(every, (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


@pytest.fixture
def fonts(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The fonts that a machine has beside the usual one; none until a test adds some."""
    found = list[Path]()
    monkeypatch.setattr(lettering, "installed_fonts", lambda: found)
    lettering._face_for.cache_clear()
    return found


@pytest.mark.usefixtures("fonts")
def test_names_that_no_font_has_are_numbers_in_the_legend_and_stand_in_the_caption(
    tmp_path: Path,
) -> None:
    picture = overlay(tmp_path, ("fat", "肿瘤", "正常组织")).artefacts[0]
    assert "In the legend no. 2 is 肿瘤, no. 3 is 正常组织 (no font" in picture.caption
    assert "肿瘤" in (tmp_path / "classes.csv").read_text(encoding="utf-8")


@pytest.mark.usefixtures("fonts")
def test_the_legend_with_numbers_is_that_of_the_numbers(tmp_path: Path) -> None:
    overlay(tmp_path / "a", ("fat", "肿瘤"))
    overlay(tmp_path / "b", ("fat", "no. 2"))
    pictures = [(tmp_path / name / "overlay.png").read_bytes() for name in "ab"]
    assert pictures[0] == pictures[1]


@pytest.mark.usefixtures("fonts")
def test_letters_of_the_usual_font_are_drawn_in_it_however_they_are_composed(
    tmp_path: Path,
) -> None:
    names = ("Entzündung_größer", "β-Zellen", "Entzu\u0308ndung")
    picture = overlay(tmp_path, names).artefacts[0]
    assert "In the legend" not in picture.caption
    assert lettering.font_for(names[2], 20).path == lettering.font_for("fat", 20).path


def test_a_font_of_the_machine_that_has_the_letters_is_used(
    tmp_path: Path, fonts: list[Path]
) -> None:
    fonts += [make_font(tmp_path / "latin.ttf", "abc…"), make_font(tmp_path / "han.ttf", "肿瘤…")]
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts.insert(0, tmp_path / "broken.ttf")
    picture = overlay(tmp_path, ("fat", "肿瘤")).artefacts[0]
    assert "In the legend" not in picture.caption
    used = lettering.font_for("肿瘤", 20).path
    assert Path(str(used)).name == "han.ttf"


@pytest.mark.usefixtures("fonts")
@pytest.mark.parametrize("laid_out", [True, False])
def test_scripts_that_want_to_be_shaped_are_numbers_where_nothing_shapes_them(
    monkeypatch: pytest.MonkeyPatch, laid_out: bool
) -> None:
    monkeypatch.setattr(lettering.features, "check", lambda name: laid_out)
    assert lettering.can_be_drawn("ورم") == laid_out  # DejaVu Sans has the letters
