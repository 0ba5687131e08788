"""The pages as a browser lays them out: nothing cut off, nothing fetched, every picture there."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from histoscope.apps.report import write_evaluation_report, write_predict_report
from histoscope.apps.report.page import visible
from histoscope.core.data.store import Store
from histoscope.core.evaluation.pictures import draw_confusion
from histoscope.core.files import write_json
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.packages.package import record_evaluation
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate, summaries
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.folder import read_outcomes
from histoscope.core.work.local import Local

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (1280, 920, 768, 390)
# Runs in a copy of the page whose policy allows it, before anything else; tells the page around.
CHECK = """
const refused = [];
document.addEventListener('securitypolicyviolation', e => refused.push(e.blockedURI));
addEventListener('load', () => setTimeout(() => {
  const width = document.documentElement.clientWidth;
  const styles = new Map();
  const style = e => styles.get(e) || (styles.set(e, getComputedStyle(e)), styles.get(e));
  const held = e => { for (e = e.parentElement; e && e !== document.body; e = e.parentElement)
    if (style(e).overflowX !== 'visible' || e.tagName === 'svg') return true; return false; };
  const name = e => e.tagName + '.' + (e.getAttribute('class') || '') + ' ' +
    e.textContent.trim().slice(0, 40);
  const out = [], cut = [];
  for (const e of document.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect(), overflow = style(e).overflowX;
    if (!box.width || !box.height || held(e)) continue;
    if (box.right > width + 0.5 || box.left < -0.5) out.push(name(e));
    const closed = overflow === 'hidden' || overflow === 'clip' || /^T[HD]$/.test(e.tagName);
    if (closed && e.tagName !== 'svg' && box.width > 2 && e.scrollWidth > e.clientWidth + 1)
      cut.push(name(e));
  }
  const images = [...document.images];
  parent.postMessage({width, out, cut, refused, scroll: document.documentElement.scrollWidth,
    images: images.length, broken: images.filter(i => !i.complete || !i.naturalWidth).length,
    fetched: performance.getEntriesByType('resource').map(r => r.name)
      .filter(n => !n.startsWith('data:')),
    scripts: document.scripts.length, title: document.title, style: style(document.body).margin,
    text: document.body.textContent}, '*');
}, 50));
"""
FRAME = """<!DOCTYPE html><meta charset="utf-8"><body><pre id="answers"></pre>
<script>const answers = [];
addEventListener('message', e => { answers.push(e.data);
  document.getElementById('answers').textContent = JSON.stringify(answers); });</script>
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path")
    return found


def look(chromium: str, page: Path, folder: Path) -> dict[int, dict]:
    """Open a page at each width; what its check found, by width."""
    folder.mkdir()
    text = page.read_text(encoding="utf-8")
    head, policy, rest = re.split(r'(<meta http-equiv="Content-Security-Policy"[^>]*>)', text)
    allowed = policy.replace("default-src", "script-src 'unsafe-inline'; default-src")
    (folder / "copy.html").write_text(
        f"{head}{allowed}<script>{CHECK}</script>{rest}", encoding="utf-8"
    )
    frames = "".join(
        f'<iframe src="copy.html" width="{width}" height="2000" frameborder="0"></iframe>'
        for width in WIDTHS
    )
    (folder / "frame.html").write_text(FRAME + frames, encoding="utf-8")
    options = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000"),
        *("--window-size=1400,2000", "--dump-dom", (folder / "frame.html").as_uri()),
    )
    done = subprocess.run([chromium, *options], capture_output=True, timeout=900, check=True)
    found = re.search(r'<pre id="answers">(.*?)</pre>', done.stdout.decode(), re.DOTALL)
    answers = json.loads(html.unescape(found.group(1)))
    assert len(answers) == len(WIDTHS)
    return {answer["width"]: answer for answer in answers}


def check(answer: dict) -> None:
    """What must hold of every page at every width."""
    assert answer["out"] == []
    assert answer["cut"] == []
    assert answer["scroll"] <= answer["width"]
    assert answer["broken"] == 0
    assert answer["refused"] == []
    assert answer["fetched"] == []
    assert answer["scripts"] == 1  # the check itself
    assert answer["style"] == "0px"  # the style sheet was not refused


def test_the_prediction_page_fits_a_screen_and_a_telephone(chromium, result_folder, tmp_path):
    answers = look(chromium, write_predict_report(result_folder), tmp_path / "look")
    assert set(answers) == set(WIDTHS)
    outcomes = read_outcomes(result_folder / "results")
    for answer in answers.values():
        check(answer)
        assert answer["images"] == sum(outcome.status == "done" for outcome in outcomes)
        assert answer["title"] == f"hue: {len(outcomes)} sources"
        for outcome in outcomes:
            assert outcome.source.id in answer["text"]
            assert visible(outcome.source.path) in answer["text"]


def test_the_evaluation_page_fits_a_screen_and_a_telephone(chromium, result_folder, tmp_path):
    package = json.loads((result_folder / "predict.json").read_text(encoding="utf-8"))["package"]
    recorded = package["heads"][0]["evaluation"]
    names = [f"a rather long class name, number {place}" for place in range(9)]
    counts = np.eye(9, dtype=np.int64) * 1234
    recall = dict.fromkeys(names, recorded["auc"])
    extra = {"exclusive": True, "classes": names, "accuracy": recorded["auc"], "recall": recall}
    body = {**recorded, **extra, "confusion": counts.tolist()}
    folder = tmp_path / "evaluation"
    write_json(folder / "metrics.json", "histoscope.metrics", 1, {"tasks": {"hue": body}})
    draw_confusion(counts, names, folder / "confusion-hue.png")
    page = write_evaluation_report(folder, package)
    for answer in look(chromium, page, tmp_path / "look").values():
        check(answer)
        assert answer["images"] == 1


def test_pages_of_two_heads_fit_too(chromium, toy, tmp_path):
    """One head of exclusive classes, one of classes that may be present together."""
    folder = tmp_path / "toy"
    folder.mkdir()
    for seed, (part, count) in enumerate([("train", 60), ("test", 30)]):
        toy.write_stack(folder / f"a{seed}-{part}.npy", count, seed)
    roots, options = {"input": folder}, toy.ToyOptions(with_signs=True)
    prepare(
        toy.DOMAIN,
        roots,
        toy.ToySampling(),
        options,
        tmp_path / "store",
        engine=Local(0),
        progress=Silent(),
    )
    store, spec = Store(tmp_path / "store"), ProbeSpec(fraction=0.5, draws=2)
    package = finetune(
        store, "colour", spec, tmp_path / "p", tasks=("hue", "signs"), progress=Silent()
    )
    body = evaluate(package, store, tmp_path / "e", progress=Silent())
    assert set(body["tasks"]) == {"hue", "signs"}
    record_evaluation(package, summaries(body))
    pages = [write_evaluation_report(tmp_path / "e", package.info.model_dump(mode="json"))]
    out = tmp_path / "out"
    predict(tmp_path / "p", roots, options, out, engine=Local(0), progress=Silent())
    pages.append(write_predict_report(out))
    for number, page in enumerate(pages):
        for answer in look(chromium, page, tmp_path / f"look{number}").values():
            check(answer)
            for word in ("hue", "signs", "warm", "bright", "blue"):
                assert word in answer["text"]


@pytest.mark.parametrize(
    ("planted", "finding"),
    [
        ("<pre>" + "x" * 400 + "</pre>", lambda answer: answer["scroll"] > answer["width"]),
        (
            '<table class="summary"><thead><tr><th>a</th><th>b</th><th class="number">'
            + "word" * 40
            + "</th></tr></thead></table>",
            lambda answer: answer["cut"] or answer["width"] <= 900,
        ),
        ('<svg width="1300" height="9" aria-hidden="true"></svg>', lambda answer: answer["out"]),
        ('<img src="http://planted.invalid/a.png" alt="">', lambda answer: answer["refused"]),
        ('<img src="data:image/png;base64,AAAA" alt="">', lambda answer: answer["broken"]),
        ('<h2 style="margin:0">styled</h2>', lambda answer: answer["refused"]),
    ],
    ids=[
        "long word",
        "overfull cell",
        "wide drawing",
        "picture from elsewhere",
        "broken picture",
        "inline style",
    ],
)
def test_the_check_sees_what_is_planted(chromium, result_folder, tmp_path, planted, finding):
    page = write_predict_report(result_folder)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</main>", f"{planted}</main>"), encoding="utf-8")
    for answer in look(chromium, page, tmp_path / "look").values():
        assert finding(answer)
