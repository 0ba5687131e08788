"""``review``: pages of operations used by keyboard, and their files read back to the second."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from histoscope.apps.cli import run
from histoscope.core.data.store import Store
from histoscope.domains.surgery.label_files import LabelFiles
from histoscope.domains.surgery.phantom.videos import encode
from tests.apps.browser import Tab, open_tab, until
from tests.apps.test_browser import chromium

__all__ = ["chromium"]

NASTY = '</script><b>"Calot\'s"</b>'
PHASES = (("Preparation", 0, 16), ("ClippingCutting", 16, 30), ("GallbladderDissection", 30, 41))
COLOURS = {"Preparation": (190, 60, 60), "ClippingCutting": (60, 170, 70)}
COLOURS |= {"GallbladderDissection": (70, 80, 200)}
FPS, HERE = 5, ("--workers", 0)
READ = ("--domain", "surgery", "--frame-base", 0, "--frame-step", 25, *HERE)


def command(code: int, *words: object) -> None:
    assert run([str(word) for word in words]) == code, words


def phase_at(second: float) -> str:
    return next(name for name, start, end in PHASES if start <= second < end)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-one seconds whose colour is their phase."""
    path = tmp_path_factory.mktemp("films") / "video07.mp4"
    random = np.random.default_rng(3)

    def frames():
        for number in range(41 * FPS):
            noise = random.integers(-25, 26, (48, 64, 3))
            yield (np.array(COLOURS[phase_at(number / FPS)]) + noise).astype(np.uint8)

    encode(path, frames(), Fraction(FPS), {"crf": "20", "preset": "veryfast", "g": "50"})
    return path


@pytest.fixture(scope="module")
def labels(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "known.csv"
    rows = [f"video07,{start},{end},{name}" for name, start, end in PHASES]
    path.write_text("\n".join(["case,start,end,phase", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def package(film: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("model")
    given = ("--labels", labels, "--size-px", 16, "--out", base / "store")
    command(0, "prepare", film, "--domain", "surgery", *given, *HERE)
    some = ("--classes", ",".join(name for name, _, _ in PHASES))
    few = ("--task", "phase", *some, "--fraction", 1, "--draws", 1, "--out", base / "package")
    command(0, "finetune", base / "store", "--encoder", "colour", *few)
    return base / "package"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Extracted frames, one a second, of which one is torn."""
    folder = tmp_path / "frames" / "op 1"
    folder.mkdir(parents=True)
    for number in range(12):
        file = folder / f"{number:03d}.png"
        Image.new("RGB", (64, 48), (20 * number, 90, 60)).save(file)
        if number == 4:
            file.write_bytes(file.read_bytes()[:60])
    return folder


def data_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found[1])


def record(out: Path) -> dict:
    (file,) = out.glob("pages/*/done.json")
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_folder_of_frames_with_a_torn_one_has_a_page_all_the_same(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    command(0, "review", pictures, "--classes", "a,b", "--out", out, *READ)
    said = capsys.readouterr()
    assert "1 stills could not be read" in said.err
    assert "op_1.html: 11 stills, one in 1 s; begins without labels" in said.out
    data = data_of(out / "op_1.html")
    assert [one["t"] for one in data["stills"]] == [1000 * n for n in range(12) if n != 4]
    assert (data["name"], data["file"], data["end"]) == ("op 1", "op_1.csv", 12_000)
    assert data["begun"] == [{"t": 0, "c": -1}]
    assert data["model"] is None
    told = record(out)
    assert (told["review"]["every_s"], told["review"]["stills_missing"]) == (1.0, 1)


def test_a_second_call_changes_nothing_and_a_lost_page_is_written_again(pictures, tmp_path, capsys):
    words = ("review", pictures, "--classes", "a,b", "--every", 3, "--out", tmp_path / "out", *READ)
    command(0, *words)
    page = tmp_path / "out" / "op_1.html"
    before, when = page.read_bytes(), page.stat().st_mtime_ns
    command(0, *words)
    assert "1 of 1 sources are done already" in capsys.readouterr().err
    assert page.stat().st_mtime_ns == when
    page.unlink()
    command(0, *words)
    assert page.read_bytes() == before
    command(2, *[{3: 4}.get(one, one) for one in words])
    assert "every_s: 3.0 there, 4.0 now" in capsys.readouterr().err


def test_known_labels_are_what_a_page_begins_with(film, labels, tmp_path, capsys):
    given = ("--labels", labels, "--domain", "surgery", "--out", tmp_path / "out", *HERE)
    command(0, "review", film, *given)
    assert "begins with the known labels" in capsys.readouterr().out
    data = data_of(tmp_path / "out" / "video07.html")
    names = [one["name"] for one in data["classes"]]
    begun = [(names[one["c"]], one["t"]) for one in data["begun"]]
    assert begun == [(name, 1000 * start) for name, start, _ in PHASES]


def test_a_package_says_where_it_was_least_certain(film, package, tmp_path, capsys):
    out = tmp_path / "out"
    command(0, "review", film, "--package", package, "--least-segment-s", 3, "--out", out, *HERE)
    said = capsys.readouterr()
    assert "confidence only ranks: not calibrated (" in said.err
    assert "least certain (mean confidence " in said.out
    data = data_of(out / "video07.html")
    (file,) = out.glob("predicted/results/*/predictions.parquet")
    table = pq.read_table(file)
    scores = np.array([table[f"p:phase:{name}"].to_pylist() for name, _, _ in PHASES])
    assert data["model"]["best"] == scores.argmax(axis=0).tolist()
    wanted = np.round(100 * scores.max(axis=0).astype(np.float64))
    assert np.abs(wanted - data["model"]["confidence"]).max() <= 1
    starts = range(41 - 30 + 1)
    means = [float(scores.max(axis=0)[start : start + 30].mean()) for start in starts]
    assert data["model"]["doubts"][0]["start"] == 1000 * int(np.argmin(means))
    text = (out / "video07.html").read_text(encoding="utf-8")
    assert "Confidence only ranks: it was not calibrated" in text
    again = tmp_path / "again"
    command(0, "review", film, "--results", out / "predicted", "--out", again, *HERE)
    assert data_of(again / "video07.html")["model"] == data["model"]


def test_wrong_use_is_refused_in_one_line(film, package, pictures, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    for words, said in [
        (("--domain", "surgery"), "no class is known: give --classes A,B,C, --package"),
        (("--domain", "pathology", "--classes", "a"), "sources of pathology have no time"),
        (("--domain", "pathology", "--package", package), "the package is of surgery"),
        (("--package", package, "--results", tmp_path), "give either --package or --results"),
        (("--results", tmp_path / "none"), "no results here"),
        (("--domain", "surgery", "--classes", "a", "--start", "answers"), "give --package or"),
        (("--domain", "surgery", "--classes", "a", "--device", "cpu"), "without --package"),
        (("--domain", "surgery", "--classes", "a", "--least-segment-s", 2), "speaks of answers"),
        (("--package", package, "--task", "steps"), "give --task with one of: phase"),
        (("--domain", "surgery", "--classes", ",".join(map(str, range(40)))), "40 classes"),
    ]:
        command(2, "review", film, *words, *out)
        err = capsys.readouterr().err
        assert said in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_results_of_other_films_are_a_reason_and_no_page(film, package, pictures, tmp_path, capsys):
    command(0, "predict", film, "--package", package, "--out", tmp_path / "results", *HERE)
    by = ("--results", tmp_path / "results", "--out", tmp_path / "out")
    command(1, "review", pictures, *by, *READ)
    assert "says nothing of it: it failed, or was not predicted" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.html"))


def test_a_folder_of_saved_files_is_read_and_may_not_contradict_itself(tmp_path):
    (tmp_path / "a.csv").write_text("case,start,end,phase\nvideo07,0:00:00,0:01:30.5,cut\n")
    (tmp_path / "b.csv").write_text('case,start,end,phase\n"video08",1:00:00,1:00:01,"a,b"\n')
    files = LabelFiles(tmp_path, None, "cholec80")
    for name, span in (("video07", (0.0, 90.5, "cut")), ("video08", (3600.0, 3601.0, "a,b"))):
        (one,) = files.read(files.find(name, None, ())).spans
        assert (one.start_s, one.end_s, one.phase) == span
    (tmp_path / "c.csv").write_text("case,start,end,phase\nvideo07,60,100,sew\n")
    with pytest.raises(Exception, match=r"video07: sew begins at 60 s, before cut ends at 90\.5 s"):
        LabelFiles(tmp_path, None, "cholec80")


# In the browser.


def now(tab: Tab) -> dict:
    return tab.evaluate(
        "({cursor, edges: edges.map(e => [e.t, e.c]), said: at('said').textContent, "
        "here: at('here').textContent, image: at('image').naturalWidth})"
    )


def saved(tab: Tab, file: Path) -> list[dict]:
    tab.press("s")
    until(file.exists)
    until(lambda: file.read_text(encoding="utf-8").endswith("\n"))
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))


@pytest.fixture
def blank(film: Path, tmp_path: Path) -> Path:
    """A page of three classes that begins without labels, in a folder that is only read."""
    classes = 'Preparation,"{}",third'.format(NASTY.replace('"', '""'))
    out = tmp_path / "out"
    command(0, "review", film, "--domain", "surgery", "--classes", classes, "--out", out, *HERE)
    out.chmod(0o555)
    (tmp_path / "down").mkdir()
    return out / "video07.html"


WATCH = (
    "window.refused = []; addEventListener('securitypolicyviolation', "
    "e => refused.push(e.blockedURI))"
)
FETCHED = (
    "performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:'))"
)


@pytest.mark.browser
def test_an_operation_is_labelled_by_keyboard_and_read_back_to_the_second(
    chromium, blank, film, tmp_path
):
    down = tmp_path / "down"
    with open_tab(chromium, down) as tab:
        tab._send("Page.enable")
        tab._send("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        tab.load(blank)
        until(lambda: now(tab)["image"])
        tab.press("s")
        assert now(tab)["said"] == "nothing is labelled yet"
        tab.press("1", "Shift+ArrowRight", "2", *["ArrowRight"] * 12, "3")
        assert now(tab)["edges"] == [[0, 0], [10_000, 1], [22_000, 2]]
        tab.press("Alt+ArrowRight", "Alt+ArrowRight", "Alt+Shift+ArrowLeft")
        assert now(tab)["edges"][2] == [14_000, 2]
        tab.press("u", "Control+z")
        assert now(tab)["edges"][2] == [23_000, 2]
        tab.press("y")
        assert now(tab)["edges"][2] == [24_000, 2]
        tab.press(",")
        assert now(tab)["cursor"] == 10_000
        assert now(tab)["here"] == f"Edge: Preparation ends, {NASTY} begins"
        tab.press("Delete")
        assert now(tab)["edges"] == [[0, 0], [24_000, 2]]
        tab.press("Delete")
        assert now(tab)["said"].startswith("no edge at the cursor")
        tab.press("Control+z", "End", "0", "ArrowLeft", "Alt+ArrowLeft")
        assert now(tab)["edges"] == [[0, 0], [10_000, 1], [24_000, 2], [40_000, -1]]
        assert tab.evaluate("location.href") == blank.as_uri()  # Alt and an arrow left no page
        rows = saved(tab, down / "video07.csv")
        assert now(tab)["said"] == (
            "3 stretches saved as video07.csv; what has no label is not in it"
        )
        assert tab.evaluate("refused") == []
        assert tab.evaluate(FETCHED) == []
    wanted = [("Preparation", 0, 10), (NASTY, 10, 24), ("third", 24, 40)]
    assert [tuple(row) for row in rows] == [("case", "start", "end", "phase")] * 3
    files = LabelFiles(down / "video07.csv", None, "cholec80")
    spans = files.read(files.find("video07", None, ())).spans
    assert [(one.phase, one.start_s, one.end_s) for one in spans] == wanted
    given = ("--labels", down / "video07.csv", "--size-px", 16, "--out", tmp_path / "store")
    command(0, "prepare", film, "--domain", "surgery", *given, *HERE)
    store = Store(tmp_path / "store")
    known = store.labels("phase").rows
    found = dict(zip(known["sample"].to_pylist(), known["label"].to_pylist(), strict=True))
    times = dict(zip(store.index["id"].to_pylist(), store.index["at_s"].to_pylist(), strict=True))
    for sample, at_s in times.items():
        spoken = [name for name, start, end in wanted if start <= at_s < end]
        assert [found.get(sample)] == (spoken or [None])


@pytest.mark.browser
def test_work_is_kept_edges_are_dragged_and_the_page_fits(chromium, film, package, tmp_path):
    out, down = tmp_path / "out", tmp_path / "down"
    down.mkdir()
    command(0, "review", film, "--package", package, "--least-segment-s", 3, "--out", out, *HERE)
    page = out / "video07.html"
    doubt = data_of(page)["model"]["doubts"][0]
    with open_tab(chromium, down) as tab:
        for width, height in ((390, 800), (900, 1200), (1280, 1000)):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            tab._send("Emulation.setDeviceMetricsOverride", **size)
            tab.load(page)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert now(tab)["cursor"] == doubt["start"]
        assert "least certain: 0:00:" in tab.evaluate("at('doubt').textContent")
        before = now(tab)["edges"]
        assert [one[0] for one in before] == [0, 16_000, 30_000]
        box = tab.evaluate(
            "(() => { const e = at('near').querySelector('[data-edge=\"1\"]'), "
            "b = e.getBoundingClientRect(), s = at('near').getBoundingClientRect(); "
            "return {x: b.x + b.width / 2, y: b.y + b.height / 2, "
            "second: (s.width - LEFT - 8) / (data.end / 1000)}; })()"
        )
        y, second = box["y"], box["second"]
        tab.drag((box["x"], y), (box["x"] + second, y), (box["x"] + 4 * second, y))
        assert [one[0] for one in now(tab)["edges"]] == [0, 20_000, 30_000]
        until(lambda: kept_after_reload(tab, page, 20_000))
        assert now(tab)["said"].startswith("your earlier work on this page is here again")
        tab.press("u")
        assert now(tab)["edges"] == before
        rows = saved(tab, down / "video07.csv")
    assert [(row["phase"], row["start"]) for row in rows] == [
        ("Preparation", "0:00:00"),
        ("ClippingCutting", "0:00:16"),
        ("GallbladderDissection", "0:00:30"),
    ]


def kept_after_reload(tab: Tab, page: Path, edge: int) -> bool:
    tab.load(page)
    return now(tab)["edges"][1][0] == edge


@pytest.mark.browser
def test_a_browser_that_keeps_nothing_says_so_and_works(chromium, blank, tmp_path):
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw 1; }})"
    with open_tab(chromium, tmp_path / "down") as tab:
        tab._send("Page.enable")
        tab._send("Page.addScriptToEvaluateOnNewDocument", source=forbid)
        tab.load(blank)
        tab.press("2")
        assert "this browser keeps nothing" in now(tab)["said"]
        assert now(tab)["edges"] == [[0, 1]]
        (row,) = saved(tab, tmp_path / "down" / "video07.csv")
    assert row == {"case": "video07", "start": "0:00:00", "end": "0:00:41", "phase": NASTY}
