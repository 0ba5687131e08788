"""A class that was looked for: what the report ranks, shows, and says of how far that holds."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from histoscope.core.work.folder import read_outcomes
from tests.apps.conftest import evaluation, metric
from tests.apps.test_reports import Page, change, multiplied, page_of, record


def looked_for(folder: Path, scores: dict[str, float]) -> None:
    """As if a class had been looked for: each finished source has a score and one picture."""
    wanted = {"task": "hue", "kind": "blue <b>"}
    change(folder / "predict.json", lambda body: body.update(suspicious=wanted))
    for one in read_outcomes(folder / "results"):
        place = folder / "results" / one.source.id
        if one.status != "done":
            continue
        Image.new("RGB", (300, 300), (200, 90, 160)).save(place / "suspicious-01.jpg")
        shown = {"rank": 1, "id": "a", "score": 0.75, "file": "suspicious-01.jpg"}
        shown |= {"where": "no. <7>", "size": [300, 300], "box": [0, 0, 9, 9]}
        lost = {**shown, "rank": 2, "file": None, "where": "unreadable (lost)"}
        evil = {**shown, "rank": 3, "file": "../../outside.jpg"}
        told = {"task": "hue", "class": "blue <b>", "called": 1, "shown": [shown, lost, evil]}
        told["score"] = scores.get(one.source.path, 0.1)
        change(place / "done.json", lambda body, told=told: body.update(suspicious=told))


FOUND = {
    "with": 5,
    "without": 3,
    "auc": metric(0.91, 0.8, 0.99),
    "false_calls": metric(0.2, 0.15, 0.25),
    "of": "sources",
}


def test_what_was_looked_for_is_ranked_shown_and_told_how_far_it_holds(result_folder):
    looked_for(result_folder, {"damaged.npy": 0.9, "good.npy": 0.4})
    known = {**evaluation(), "finding": {"blue <b>": FOUND}}
    record(result_folder, known)
    page = page_of(result_folder)
    assert "Of samples that are blue <b>, 75.5 % (65.3 % to 85.7 %) were found." in page.text
    assert "About 20.0 % of a source without blue <b> would be called blue <b>" in page.text
    assert "area under the ROC curve of 0.91 (95 % interval 0.80 to 0.99, over cases)" in page.text
    assert "of sources among whose labels is no blue <b>" in page.text
    assert "expected without it" in page.text
    assert "20.0 % (15.0 % to 25.0 %)" in page.text
    table = page.source.partition("<tbody")[2]
    first = table.partition("Every source that was given")[2]
    assert first.index("damaged.npy") < first.index("good.npy") < first.index("bad-one.npy")
    links = [one["href"] for one in page.all("a") if one["href"].startswith("results/")]
    assert len(links) == sum(o.status == "done" for o in read_outcomes(result_folder / "results"))
    assert all((result_folder / link).is_file() for link in links)
    assert "no. <7>" in page.text
    assert "unreadable (lost)" in page.text
    assert "The picture is missing or damaged" in page.text


def test_what_was_never_tested_is_said(result_folder):
    looked_for(result_folder, {})
    record(result_folder, None)
    assert "Nothing is known of how well blue <b> is found" in page_of(result_folder).text
    few = {**FOUND, "without": 0, "auc": None, "of": "samples"}
    record(result_folder, {**evaluation(), "finding": {"blue <b>": few}})
    text = page_of(result_folder).text
    assert "Never tested on sources without blue <b>" in text
    assert "most of them from sources that have it" in text
    assert "20.0 % (15.0 % to 25.0 %) *" in text


def test_of_many_sources_the_gallery_is_on_the_page_of_each(result_folder):
    looked_for(result_folder, {})
    multiplied(result_folder, 40)
    index = page_of(result_folder)
    assert index.all("img") == []
    lines = re.findall(r"<tr role=.row.>.*?</tr>", index.source.partition("<tbody")[2], re.S)
    assert max(len(one.encode()) for one in lines) < 1250
    link = next(one["href"] for one in index.all("a") if one["href"].startswith("results/"))
    page = Page(result_folder / link)
    (picture,) = [one["href"] for one in page.all("a") if one["href"].endswith(".jpg")]
    assert (result_folder / link).with_name(picture).is_file()


def test_an_evaluation_that_knows_less_says_what_it_lacks(result_folder):
    looked_for(result_folder, {})
    record(result_folder, evaluation())  # of an older program
    text = page_of(result_folder).text
    assert "Of samples that are blue <b>, 75.5 %" in text
    assert "was not measured: evaluate the package again" in text
    assert "expected without it" not in text


def test_doubt_is_said_where_something_is_known_and_takes_away_nothing_else(result_folder):
    looked_for(result_folder, {})
    change(result_folder / "predict.json", lambda body: body.update(uncertain_below=0.7))
    record(result_folder, None)
    text = page_of(result_folder).text
    assert "Nothing is known of how well blue <b> is found" in text
    assert "All of this was measured" not in text
    record(result_folder, {**evaluation(), "finding": {"blue <b>": FOUND}})
    text = page_of(result_folder).text
    assert "All of this was measured with a class for each sample" in text
    assert "expected without it" not in text  # it would be less


def test_of_a_class_of_sources_the_samples_shown_are_those_that_counted(result_folder):
    def of_source(body):
        body["package"]["heads"][0]["level"] = "source"

    looked_for(result_folder, {})
    change(result_folder / "predict.json", of_source)
    record(result_folder, {**evaluation(), "sources": 40})
    for place in (result_folder / "results").glob("*/done.json"):
        change(place, lambda body: body.get("suspicious", {}).update(level="source"))
    page = page_of(result_folder)
    assert "the model's own number for a source as a whole" in page.text
    assert "Of sources that are blue <b>, 75.5 %" in page.text
    assert "is what the area under the ROC curve above tells" in page.text
    assert "What counted most in the answer about blue <b>" in page.text
    assert ", 0.75 times" in page.text
    assert "most probable" not in page.text
    for place in (result_folder / "results").glob("*/done.json"):
        change(place, lambda body: body.get("suspicious", {}).update(shown=[]))
    assert "This model does not say which samples counted" in page_of(result_folder).text


def test_a_rank_is_no_class_of_the_same_name(result_folder):
    """A swatch stands beside names of classes only."""
    for place in (result_folder / "results").glob("*/done.json"):

        def renamed(body):
            for one in body.get("answers", ()):
                one["classes"][0]["name"] = "1"
            for one in body.get("artefacts", ()):
                one["task"] = ""

        change(place, renamed)
    page = page_of(result_folder)
    assert "<td><svg" not in page.source


def test_a_folder_of_zooms_that_were_deleted_is_no_fault(result_folder):
    (result_folder / "zoom").mkdir()
    assert "hue: 7 sources" in page_of(result_folder).text
    (result_folder / "zoom" / "half").mkdir()
    assert "hue: 7 sources" in page_of(result_folder).text
