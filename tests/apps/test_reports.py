"""The pages: complete, escaped, reproducible, and honest about what is not known."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoscope.apps.report import write_evaluation_report, write_predict_report
from histoscope.apps.report.page import safe_colour, share, visible
from histoscope.apps.report.pictures import embed
from histoscope.apps.report.sources import PICTURES_BYTES, bytes_for
from histoscope.core.errors import DataError
from histoscope.core.evaluation.pictures import draw_confusion
from histoscope.core.files import write_json
from histoscope.core.work.folder import read_outcomes


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())  # narrow spaces become plain ones

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder: Path) -> Page:
    return Page(write_predict_report(folder))


def change(file: Path, act) -> None:
    body = json.loads(file.read_text(encoding="utf-8"))
    act(body)
    file.write_text(json.dumps(body), encoding="utf-8")


def record(folder: Path, evaluation) -> None:
    """Put an evaluation (None: none) into the package that predict.json keeps."""
    change(
        folder / "predict.json",
        lambda body: body["package"]["heads"][0].update(evaluation=evaluation),
    )


def test_every_source_is_named_with_its_fate(result_folder):
    page = page_of(result_folder)
    outcomes = read_outcomes(result_folder / "results")
    assert {o.status for o in outcomes} == {"done", "empty", "failed"}
    for outcome in outcomes:
        assert outcome.source.id in page.text
        assert visible(outcome.source.path) in html.unescape(page.source)
        assert outcome.reason in page.text
    assert "it is bad" in page.text
    assert "3 of 9 samples could not be read" in page.text


def test_how_good_the_package_is_comes_before_every_result(result_folder):
    page = page_of(result_folder)
    places = [
        page.text.index(words)
        for words in (
            "For research only.",
            "Do not trust these numbers. SEEN BEFORE: 3 of 9 cases",
            "Caution: cases are unknown",
            "1 234 labelled samples",
            "0.871",
            "0.801 to 0.912",
            "0.951",
            "0.653 to 0.857",
            "Every source that was given",
            "What was found",
        )
    ]
    assert places == sorted(places)
    assert "5 to 6 labels, in 2 draws" in page.text


def test_a_package_without_evaluation_is_called_unproven(result_folder):
    record(result_folder, None)
    text = page_of(result_folder).text
    assert "No evaluation is recorded: treat everything below as unproven." in text
    assert "histoscope evaluate PACKAGE STORE --record" in text


def test_a_metric_that_could_not_be_computed_is_unknown(result_folder):
    unknown = {"value": None, "interval": [None, None], "sd_over_draws": None, "per_draw": [None]}

    def act(body):
        body["package"]["heads"][0]["evaluation"]["auc"] = unknown

    change(result_folder / "predict.json", act)
    assert "unknown" in page_of(result_folder).text


def test_names_are_text_and_never_marks(result_folder):
    page = page_of(result_folder)
    assert not page.all("script")
    assert not page.all("em")
    assert not page.all("b")
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert "<script>document.title='run'</script>" in page.text
    assert "good\\u202egnp.npy" in page.text
    assert "\u202e" not in page.source


def test_nothing_is_loaded_and_the_policy_holds_the_style(result_folder):
    page = page_of(result_folder)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv"))
    style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)


def test_links_lead_somewhere_and_ids_are_unique(result_folder):
    page = page_of(result_folder)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    assert len(page.all("a")) == len(read_outcomes(result_folder / "results"))


def test_tables_pictures_and_drawings_speak_to_those_who_do_not_see(result_folder):
    page = page_of(result_folder)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("caption")) == len(page.all("table"))
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") == "true"


def test_the_same_files_give_the_same_bytes_wherever_they_lie(result_folder, tmp_path):
    path = write_predict_report(result_folder)
    first, stamp = path.read_bytes(), path.stat().st_mtime_ns
    assert write_predict_report(result_folder).stat().st_mtime_ns == stamp
    result_folder.rename(tmp_path / "moved")
    (tmp_path / "moved" / "report.html").unlink()
    assert write_predict_report(tmp_path / "moved").read_bytes() == first


def test_a_file_outside_the_result_folder_is_never_opened(result_folder):
    Image.new("RGB", (50, 50)).save(result_folder.parent / "outside.png")
    page = page_of(result_folder)
    assert "Not ours" not in page.text
    assert "outside.png" not in page.source


def folders_of_done(folder):
    """Folders of sources that have predictions."""
    return sorted(file.parent for file in (folder / "results").glob("*/predictions.csv"))


def test_damaged_results_are_a_reason_and_not_an_end(result_folder):
    first, second, *_ = folders_of_done(result_folder)
    (first / "done.json").unlink()
    (second / "map.png").write_bytes(b"no picture")
    text = page_of(result_folder).text
    assert "its results are missing or damaged: run the same command again" in text
    assert "The picture map.png is missing or damaged." in text


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(DataError, match="no results here"):
        write_predict_report(tmp_path)


def test_a_colour_that_is_no_colour_becomes_grey(result_folder):
    change(
        folders_of_done(result_folder)[0] / "done.json",
        lambda body: body["answers"][0]["classes"][0].update(colour='red"/><script>'),
    )
    page = page_of(result_folder)
    assert not page.all("script")
    assert safe_colour("red") == "#777777"
    assert safe_colour("#00aaFF") == "#00aaFF"


def test_columns_of_a_table_are_told_as_their_kind_says(result_folder):
    page = page_of(result_folder)
    assert "class share pieces area, mm² part_read" in page.text
    assert "blue <b> 007 98 765 0.1235 25.0 % green & co 2 75.0 %" in page.text
    row = page.source.partition("98\u202f765")[0].rpartition("<tr>")[2]
    assert "<td>007</td><td class=number>" in row


@pytest.mark.parametrize("stale", [{}, {"columns": []}])
def test_a_table_whose_columns_are_not_told_is_text(result_folder, stale):
    def act(body):
        for table in body.get("artefacts", ()):  # an empty or failed source has none
            del table["columns"]
            table.update(stale)

    for file in (result_folder / "results").glob("*/done.json"):
        change(file, act)
    page = page_of(result_folder)
    assert "class share pieces area_mm2 part_read" in page.text
    assert "blue <b> 007 98765 0.123456 0.25 green & co 2 0.75" in page.text


def test_a_damaged_table_is_left_out(result_folder):
    for file in (result_folder / "results").glob("*/classes.csv"):
        file.write_text(file.read_text(encoding="utf-8") + "one,cell,too,many,of,them\n", "utf-8")
    assert "0.1235" not in page_of(result_folder).text


def test_a_cell_that_is_not_of_its_kind_is_shown_as_it_is(result_folder):
    for file in (result_folder / "results").glob("*/classes.csv"):
        file.write_text(file.read_text(encoding="utf-8").replace("98765", "many"), "utf-8")
    assert "blue <b> 007 many 0.1235" in page_of(result_folder).text


def test_pictures_of_many_sources_stay_small(tmp_path, result_folder):
    picture = next((result_folder / "results").glob("*/map.png"))
    for most in (150_000, 30_000):
        found = embed(picture, most)
        data = base64.b64decode(found.uri.partition(",")[2])
        assert most / 10 < len(data) <= most
    assert bytes_for(1) == PICTURES_BYTES
    assert 500 * bytes_for(500) <= 24_000_000


def multiplied(folder: Path, times: int) -> list[str]:
    """More sources like the first finished one; ids of all that are finished."""
    (first, *_) = (one for one in read_outcomes(folder / "results") if one.status == "done")
    for number in range(times):
        new = folder / "results" / f"{number:016x}"
        shutil.copytree(folder / "results" / first.source.id, new)

        def named(body, number=number, new=new):
            name = f"ward {number // 50}/a folder of slides/TCGA-{number:04d}-01A-01-TS1.svs"
            body["source"] |= {"id": new.name, "path": name, "case": f"case-{number}"}

        change(new / "done.json", named)
    return [one.source.id for one in read_outcomes(folder / "results") if one.status == "done"]


def test_of_many_sources_each_has_a_page_and_the_first_is_an_index(result_folder):
    write_predict_report(result_folder)
    assert not list(result_folder.glob("results/*/report.html"))
    done = multiplied(result_folder, 40)
    index = page_of(result_folder)
    lines = re.findall(r"<tr role=.row.>.*?</tr>", index.source.partition("<tbody")[2], re.S)
    assert len(lines) >= len(done)
    assert max(len(one.encode()) for one in lines) < 1200  # 4,000 stay below 5 MB
    assert index.all("img") == []
    links = [one["href"] for one in index.all("a") if one["href"].startswith("results/")]
    assert links == [f"results/{one}/report.html" for one in links_of(index, done)]
    assert sorted(links) == sorted(f"results/{one}/report.html" for one in done)
    for link in (links[0], links[-1]):
        page = Page(result_folder / link)
        assert len(page.all("img")) == 1
        assert "For research only" in page.text
        back = {one["href"] for one in page.all("a")}
        assert back == {"../../report.html", "../../report.html#quality"}
        assert all((result_folder / link).parent.joinpath(one).exists() for one in files_of(page))
    written = {path: path.read_bytes() for path in result_folder.rglob("report.html")}
    page = result_folder / links[0]
    page.write_text(page.read_text().replace("</main>", "<p>mine</p></main>"))
    write_predict_report(result_folder)  # of the same outcome nothing is made again
    assert "mine" in page.read_text()
    write_predict_report(result_folder, anew=True)
    assert written == {path: path.read_bytes() for path in result_folder.rglob("report.html")}


def links_of(index: Page, done: list[str]) -> list[str]:
    """Ids in the order of the table."""
    order = [one.get("href", "").split("/")[1] for one in index.all("a") if "/" in one["href"]]
    return [one for one in order if one in done]


def files_of(page: Page) -> list[str]:
    """What a page says lies beside it."""
    found = re.search(r"Files: (.*?)</p>", page.source, re.S)
    assert found
    return re.findall(r"<code>(.*?)</code>", found[1])


def test_a_share_is_never_rounded_to_nothing_or_all():
    assert [share(part) for part in (0, 0.0001, 0.5, 0.99999, 1)] == [
        "0.0\u202f%",
        "<\u202f0.1\u202f%",
        "50.0\u202f%",
        ">\u202f99.9\u202f%",
        "100.0\u202f%",
    ]


@pytest.fixture
def evaluated(result_folder, tmp_path):
    """A folder as ``evaluate`` writes it, and the package's info."""
    about = json.loads((result_folder / "predict.json").read_text(encoding="utf-8"))
    package = about["package"]
    recorded = package["heads"][0]["evaluation"]
    names = list(recorded["recall"])
    body = {
        "exclusive": True,
        "classes": names,
        **recorded,
        "accuracy": recorded["auc"],
        "confusion": [[70, 23], [4, 1137]],
    }
    folder = tmp_path / "evaluation"
    write_json(folder / "metrics.json", "histoscope.metrics", 1, {"tasks": {"hue": body}})
    draw_confusion(np.array(body["confusion"]), names, folder / "confusion-hue.png")
    return folder, package


def test_the_evaluation_page_holds_numbers_table_and_picture(evaluated):
    folder, package = evaluated
    page = Page(write_evaluation_report(folder, package))
    for words in ("SEEN BEFORE", "0.871", "0.801 to 0.912", "1 137", "histoscope", "colour"):
        assert words in page.text
    assert len(page.all("img")) == 1
    assert page.all("img")[0]["src"].startswith("data:image/png")
    assert len(page.all("caption")) == len(page.all("table"))
    assert not page.all("b")
    first = (folder / "report.html").read_bytes()
    assert write_evaluation_report(folder, package).read_bytes() == first


def test_the_evaluation_page_does_without_pictures(evaluated):
    folder, package = evaluated
    (folder / "confusion-hue.png").unlink()
    assert not Page(write_evaluation_report(folder, package)).all("img")
