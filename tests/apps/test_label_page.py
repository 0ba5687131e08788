"""The page of ``suggest`` used by keyboard, and its file taken into the store."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from histoscope.apps.cli import run
from histoscope.apps.report.label_page import KEYS, context_uri, write_label_page
from histoscope.core.contracts import Neighbour, Task
from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError
from tests.apps.browser import Tab, open_tab, until
from tests.apps.test_browser import NAMES

NASTY = "</script><b>tumour</b>"


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    return found


def command(code: int, *words: object) -> None:
    assert run([str(word) for word in words]) == code, words


def suggested(store: Path, out: Path, *words: object) -> list[str]:
    """Write a folder of suggestions; the ids on its page."""
    command(0, "suggest", store, "--encoder", "colour", "--out", out, *words)
    text = (out / "label.html").read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return [item["id"] for item in json.loads(data[1])["items"]]


def state(tab: Tab) -> dict:
    return tab.evaluate(
        "({rank: at('rank').textContent, status: at('status').textContent, "
        "done: at('done').textContent, said: at('said').textContent, "
        "pressed: [...document.querySelectorAll('#classes [aria-pressed=true] .name')]"
        ".map(e => e.textContent), image: at('image').naturalWidth, "
        "strip: [...at('strip').children].map(e => e.textContent)})"
    )


def saved(tab: Tab, file: Path) -> str:
    tab.press("w")
    until(file.exists)
    text = file.read_text(encoding="utf-8")
    file.unlink()
    return text


def kept_after_reload(tab: Tab, page: Path, done: str) -> bool:
    """What was done is still there; the browser writes a moment after the key."""
    tab.load(page)
    return state(tab)["done"] == done


@pytest.mark.browser
def test_a_page_is_labelled_by_keyboard_and_a_model_learns_from_its_file(chromium, store, tmp_path):
    ids = suggested(
        store, tmp_path / "out", "--task", "mine", "--classes", "blue,green", "--count", 6
    )
    hue = Store(store).labels("hue").rows
    truth = dict(zip(hue["sample"].to_pylist(), hue["label"].to_pylist(), strict=True))
    keys = {"blue": "1", "green": "2"}
    file = tmp_path / "down" / "labels-mine.csv"
    file.parent.mkdir()
    with open_tab(chromium, file.parent) as tab:
        tab.load(tmp_path / "out" / "label.html")
        assert state(tab)["rank"] == "Sample 1 of 6"
        assert state(tab)["image"] == 16
        tab.press("w")
        assert state(tab)["said"] == "nothing is labelled yet"
        tab.press("s", "1", "u", "Backspace", "u")  # skip, class, and back to the beginning
        assert state(tab)["said"] == "nothing to undo"
        assert state(tab)["done"] == "0"
        wrong = "2" if truth[ids[0]] == "blue" else "1"
        tab.press(wrong, "ArrowLeft")
        assert state(tab)["pressed"] == [{"1": "blue", "2": "green"}[wrong]]
        tab.press(keys[truth[ids[0]]], "s")
        for sample in ids[2:]:
            tab.press(keys[truth[sample]])
        now = state(tab)
        assert now["done"] == "5"
        assert now["strip"][:2] == [keys[truth[ids[0]]], "?"]
        assert now["said"] == "every sample has an answer: save the labels (w)"
        until(lambda: kept_after_reload(tab, tmp_path / "out" / "label.html", "5"))
        text = saved(tab, file)
        assert state(tab)["said"] == "5 labels saved as labels-mine.csv"
    lines = [f'"{sample}","mine","{truth[sample]}"' for sample in ids if sample != ids[1]]
    assert text == "\n".join(['"sample","task","label"', *lines]) + "\n"
    file.write_text(text, encoding="utf-8")
    command(0, "labels", store, file, "--classes", "blue,green")
    learn = ("--encoder", "colour", "--task", "mine", "--fraction", 1, "--draws", 1)
    command(0, "finetune", store, *learn, "--out", tmp_path / "package")
    by = ("--package", tmp_path / "package", "--task", "mine", "--count", 3)
    command(0, "suggest", store, *by, "--out", tmp_path / "again")
    again = (tmp_path / "again" / "suggested.csv").read_text()
    assert len(again.splitlines()) == 4
    assert not any(f'"{sample}"' in again for sample in truth if f'"{sample}"' in text)


@pytest.mark.browser
def test_classes_that_hold_together_are_switched_and_confirmed(chromium, store, tmp_path):
    classes = f"hook,{NASTY}"
    words = ("--task", "signs", "--several", "--classes", classes, "--count", 4)
    ids = suggested(store, tmp_path / "out", *words)
    file = tmp_path / "labels-signs.csv"
    with open_tab(chromium, tmp_path) as tab:
        tab.load(tmp_path / "out" / "label.html")
        tab.press("1", "2", "1")
        assert state(tab)["pressed"] == [NASTY]
        assert state(tab)["status"] == "not confirmed: press Enter"
        tab.press("Enter", "Enter", "2", "1", "u", "w")
        assert "1 begun without Enter are not in it" in state(tab)["said"]
        until(file.exists)
        assert state(tab)["strip"] == ["2", "none", "2", ""]
    rows = [f'"{ids[0]}","signs",false,true', f'"{ids[1]}","signs",false,false']
    head = f'"sample","task","hook","{NASTY}"'
    assert file.read_text(encoding="utf-8") == "\n".join([head, *rows]) + "\n"
    command(0, "labels", store, file)
    labels = Store(store).labels("signs")
    task, table = labels.task, labels.rows
    assert task == Task("signs", ("hook", NASTY), exclusive=False)
    assert table["hook"].to_pylist() == [False, False]


@pytest.mark.browser
def test_the_page_fetches_nothing_breaks_no_rule_and_fits(chromium, store, tmp_path):
    suggested(store, tmp_path / "out", "--task", "mine", "--classes", "a,b", "--count", 30)
    watch = (
        "window.refused = []; addEventListener('securitypolicyviolation', "
        "e => refused.push(e.blockedURI))"
    )
    with open_tab(chromium, tmp_path) as tab:
        tab._send("Page.enable")
        tab._send("Page.addScriptToEvaluateOnNewDocument", source=watch)
        for width, height in ((1280, 900), (900, 1200), (390, 800)):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            tab._send("Emulation.setDeviceMetricsOverride", **size)
            tab.load(tmp_path / "out" / "label.html")
            tab.press("1", "s", "u")
            assert tab.evaluate("refused") == []
            assert (
                tab.evaluate(
                    "performance.getEntriesByType('resource').filter(r => "
                    "!r.name.startsWith('data:')).length"
                )
                == 0
            )
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.evaluate("[...document.images].every(i => !i.src || i.naturalWidth)")
            assert tab.evaluate("scrollY") == 0


def test_wrong_use_is_refused_in_one_line(store, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    asked = ("--task", "mine", "--classes", "a,b", *out)
    for words, said in [
        (("suggest", store, *asked), "give either --encoder or --package"),
        (("suggest", store, "--encoder", "colour", "--task", "mine", *out), "give --classes A,B,C"),
        (("suggest", store, "--encoder", "colour", "--task", "hue", *out), "has a label of 'hue'"),
        (("suggest", store, "--encoder", "colour", *asked, "--coordinates", "level0"), "toy"),
        (("labels", store, tmp_path / "none.csv"), "No such file"),
    ]:
        command(2, *words)
        err = capsys.readouterr().err
        assert said in err.splitlines()[-1]
    file = tmp_path / "labels.csv"
    file.write_text("sample,label\n" + Store(store).index["id"][0].as_py() + ",a\n")
    command(2, "labels", store, file, "--task", "mine", "--out", tmp_path / "labels.csv")
    assert "a label table is a .parquet file" in capsys.readouterr().err
    assert "sample,label" in file.read_text()


def test_a_class_without_a_key_is_refused(tmp_path):
    task = Task("many", tuple(f"class {n}" for n in range(len(KEYS) + 1)))
    with pytest.raises(UsageError, match="give fewer with --classes"):
        write_label_page(tmp_path / "label.html", task, [], "")


def test_keys_of_classes_do_nothing_else():
    assert not set(KEYS) & set("suw")
    assert len(set(KEYS)) == len(KEYS)


def test_a_sample_is_framed_among_its_neighbours():
    image = np.zeros((8, 8, 3), np.uint8)
    assert context_uri(image, []) is None
    beside = [(Neighbour(0, -1, 0), image)]
    assert context_uri(image, beside).startswith("data:image/jpeg;base64,")
