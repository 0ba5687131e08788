"""The page on which a source is labelled by time: its size, its words, and nothing that escapes."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest

from histoscope.apps.report.review_page import KEYS, clock, file_stem, write_review_page
from histoscope.core.contracts import Source
from histoscope.core.errors import UsageError
from histoscope.core.labelling.course import Doubt, Stretch
from histoscope.core.labelling.stills import Stills, chosen_places, fitting_step, take_stills
from histoscope.core.stages.review import Answers, Asked, Review

NASTY = '</script><b>"Calot\'s" <!-- triangle</b>'


def review_of(classes, stills, end_s, answers=None, begun=None, name="operation"):
    asked = Asked("phase", "phase", classes)
    begun = begun or [Stretch(0.0, end_s, None)]
    kinds = asked.kinds([])
    return Review(
        name, Source("a" * 16, name), asked, kinds, end_s, stills, begun, "nothing", answers
    )


def data_of(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1])


@pytest.fixture
def still():
    return take_stills([np.full((9, 16, 3), 120, np.uint8)], [0.0], 1.0)


def test_a_page_of_forty_minutes_of_pure_noise_is_below_20_mb(tmp_path):
    """Noise is the worst that JPEG meets; a few pictures of it stand for all."""
    random = np.random.default_rng(1)
    noise = [random.integers(0, 256, (360, 640, 3), np.uint8) for _ in range(2)]
    starts = np.arange(2400.0)
    every_s = fitting_step(2400.0, 1.0)
    places = chosen_places(starts, every_s)
    assert (every_s, len(places)) == (5.0, 480)
    most = take_stills(noise, [0.0, 1.0], 1.0)
    assert len(most.shown[0].data) > 13_500_000 / 480  # so a picture has to shrink
    answers = (noise[place % 2] for place in range(12))
    few = take_stills_as_of(answers, starts[places][:12].tolist(), len(places))
    whole = Stills(every_s, [few.shown[place % 12] for place in range(480)])
    scores = Answers(
        starts,
        starts.astype(np.int64) % 7,
        starts % 1,
        starts.astype(np.int64) % 7,
        [Doubt(3.0, 33.0, 0.5, ("a",))],
    )
    review = review_of(tuple("abcdefg"), whole, 2400.0, scores)
    write_review_page(tmp_path / "page.html", review, "x.csv", "then")
    size = (tmp_path / "page.html").stat().st_size
    assert 5_000_000 < size < 20_000_000


def take_stills_as_of(answers, at_s, count):
    """Some of many stills, each as small as it must be among all."""
    from histoscope.core.labelling import stills

    most = stills.BUDGET // count
    shown = [
        stills.Still(when, *stills.small_jpeg(one, most))
        for one, when in zip(answers, at_s, strict=True)
    ]
    return Stills(5.0, shown)


def test_no_name_leaves_its_place(tmp_path, still):
    review = review_of((NASTY, "b"), still, 1.0, name=NASTY)
    write_review_page(tmp_path / "page.html", review, "x.csv", f"prepare {NASTY}")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert page.count("</script>") == 2
    data = data_of(page)
    assert data["name"] == data["classes"][0]["name"] == NASTY


def test_the_page_names_nothing_outside(tmp_path, still):
    write_review_page(tmp_path / "page.html", review_of(("a",), still, 1.0), "x.csv", "then")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'; img-src data:;" in html.unescape(page)
    assert set(re.findall(r"https?://[^'\"\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "fetch(" not in page
    assert "XMLHttpRequest" not in page


def test_stretches_are_in_whole_milliseconds_that_hold_their_samples(tmp_path, still):
    begun = [Stretch(0.0, 1 / 3, "a"), Stretch(1 / 3, 2.0000004, "b")]
    review = review_of(("a", "b"), still, 2.0000004, begun=begun)
    write_review_page(tmp_path / "page.html", review, "x.csv", "then")
    data = data_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert data["begun"] == [{"t": 0, "c": 0}, {"t": 333, "c": 1}]
    assert data["end"] == 2000


def test_a_class_without_a_key_is_refused(tmp_path, still):
    review = review_of(tuple(f"c{n}" for n in range(len(KEYS) + 1)), still, 1.0)
    with pytest.raises(UsageError, match="give fewer with --classes"):
        write_review_page(tmp_path / "page.html", review, "x.csv", "then")


def test_keys_of_classes_do_nothing_else():
    assert not set(KEYS) & set("nsuy0,.")
    assert len(set(KEYS)) == len(KEYS)


def test_times_and_names_of_files():
    assert [clock(one) for one in (0, 754, 3600, 90.5, 0.333)] == [
        *("0:00:00", "0:12:34", "1:00:00", "0:01:30.5", "0:00:00.333"),
    ]
    assert file_stem("video 01/<x>") == "video_01_x"
    assert file_stem("...") == "source"
