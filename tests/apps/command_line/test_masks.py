"""``masks`` and ``prepare --masks`` as a person meets them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.apps.command_line.road import SET, snapshot, write_slide
from tests.full_disk import no_room_for

LEFT = ("--provider", "left", "--workers", "0")


@pytest.fixture
def store(road, tmp_path, plugin) -> Path:
    """A copy that may be changed; providers from outside are installed."""
    return Path(shutil.copytree(road.store, tmp_path / "copy"))


def one_line(answer, code: int = 2) -> str:
    """The last line of an answer that ends as it should."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert "Traceback" not in answer.err
    last = answer.err.splitlines()[-1]
    assert last.startswith("histoscope: ")
    return last


def test_masks_are_made_and_told(store, call, tmp_path):
    before = snapshot(store)
    sheet = tmp_path / "sheet.png"
    answer = call("masks", store, *LEFT, "--sheet", sheet)
    assert answer.code == 0
    assert answer.err.splitlines()[0] == "masks: mask:left@1"
    first, second, third = answer.out.splitlines()
    assert first.startswith(f"{store}: mask:left@1: 26 masks of 1 sources, 0 failed; ")
    assert "% of their pixels are subject, " in first
    assert second.endswith(" images/s")
    assert "% of the 0.0" in second
    assert third == f"{sheet}: 24 samples with mask:left@1"
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    after = snapshot(store)
    assert {path: after[path] for path in before} == before
    (plane,) = after.keys() - before.keys()
    assert plane.parent == store / "planes" / "mask-left@1"
    answer = call("masks", store, *LEFT)
    assert "1 of 1 sources have them already" in answer.err
    assert answer.out.splitlines()[1].endswith("; none had to be made")
    assert snapshot(store) == after


def test_settings_are_in_the_name_and_said(store, call):
    answer = call("masks", store, *LEFT, "--set", "shift=2")
    assert answer.code == 0
    (folder,) = (store / "planes").iterdir()
    assert folder.name.startswith("mask-left@1-")
    assert answer.err.splitlines()[0] == f"masks: mask:{folder.name[5:]} (shift 2)"
    by = ("--provider", "bright", "--workers", "0", "--device", "cpu")
    answer = call("masks", store, *by, "--encoder", "random:test_resnet")
    assert answer.code == 0
    assert "the network runs on cpu in float32" in answer.err
    assert call("masks", store, *by, "--set", "encoder=random:test_resnet").out.endswith(
        "none had to be made\n"
    )


def test_the_list_says_who_can_and_what_there_is(store, call):
    assert call("masks", store, *LEFT).code == 0
    answer = call("masks", store, "--list")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert "provider\tleft\twhat a test wants" in lines
    assert not any(line.startswith("provider\telsewhere") for line in lines)
    assert any(line.startswith("there\tmask:left@1\t1 sources, ") for line in lines)
    assert any(
        line.startswith("broken\tabsent\tprovider of masks 'absent' of toy") for line in lines
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--provider", "lft"), ["unknown provider of masks 'lft', did you mean 'left'?"]),
        (("--provider", "elsewhere"), ["knows images of sea, land, not of pathology", "left"]),
        (("--provider", "absent"), ["'absent' of toy-domain does not load"]),
        ((*LEFT, "--set", "shft=1"), ["provider left: shft: unknown key, did you mean 'shift'?"]),
        ((*LEFT, "--set", "shift=-1"), ["provider left: shift: ", "greater than or equal to 0"]),
        ((*LEFT, "--set", "shift"), ["--set shift: expected KEY=VALUE"]),
        ((*LEFT, "--encoder", "colour"), ["--encoder colour: provider left wants none"]),
        (("--provider", "bright", "--encoder", "colour"), ["colour: ", "has no map"]),
        (("--provider", "bright", "--device", "gpu"), ["--device gpu: unknown"]),
        ((), ["give --provider NAME, or --sheet FILE of masks that are there, or --list"]),
        (("--provider", "left@1"), ["give --provider NAME, or --sheet FILE"]),
        (("--sheet", "x.png"), ["has no masks; make some with --provider NAME (see --list)"]),
        ((*LEFT, "--sheet", "x.jpg"), ["--sheet x.jpg: a PNG is written"]),
        (("--sheet", "x.png", "--set", "shift=1"), ["--set: nothing is made without --provider"]),
    ],
)
def test_what_cannot_be_is_one_line(store, call, words, says):
    last = one_line(call("masks", store, *words))
    for word in says:
        assert word in last
    assert not (store / "planes").exists()
    assert not Path("x.png").exists()


def test_what_is_no_store_is_refused(call, tmp_path, plugin):
    assert "no finished store" in one_line(call("masks", tmp_path, *LEFT))


def test_a_sheet_of_several_planes_asks_which(store, call, tmp_path):
    for shift in (0, 1):
        assert call("masks", store, *LEFT, "--set", f"shift={shift}").code == 0
    sheet = ("--sheet", tmp_path / "s.png")
    last = one_line(call("masks", store, *sheet))
    assert "has masks of left@1, left@1-" in last
    assert "name one with --provider" in last
    assert call("masks", store, *sheet, "--provider", "left@1").code == 0
    assert "did you mean 'left@1'?" in one_line(
        call("masks", store, *sheet, "--provider", "left@2")
    )


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(store, call, tmp_path):
    before = snapshot(store)
    with no_room_for("*.arrow"):
        last = one_line(call("masks", store, *LEFT))
    assert "arrow: cannot be written (File too large); see that it can be, and the same" in last
    assert snapshot(store) == before
    assert not (store / "planes").exists()
    with no_room_for("*.png"):
        answer = call("masks", store, *LEFT, "--sheet", tmp_path / "s.png")
    assert answer.code == 2
    assert "s.png: cannot be written" in answer.err.splitlines()[-1]
    assert not list(tmp_path.glob("s.png*"))
    assert call("masks", store, *LEFT).code == 0


def test_a_source_that_fails_is_exit_1(store, call, road, tmp_path):
    tiles, two = tmp_path / "tiles", tmp_path / "two"
    for kind in ("a", "b"):
        (tiles / kind).mkdir(parents=True)
        for number in range(6):
            picture = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(picture).save(tiles / kind / f"{kind}{number}.png")
    words = ("prepare", "--domain", "pathology", tiles, road.tiles, "--out", two, *SET)
    answer = call(*words, "--masks", "left", "--masks-set", "fault=raises")
    assert answer.code == 1
    assert [line for line in answer.err.splitlines() if "failed: KeyError: 'two\\nlines'" in line]
    assert "38 samples of 32 px" in answer.out
    assert "26 masks of 1 sources, 1 failed" in answer.out
    answer = call("masks", two, *LEFT, "--set", "fault=few")
    assert answer.code == 1
    assert "the provider gave 5 masks of 12 images" in answer.err


def test_masks_of_prepare_are_those_of_the_command(road, call, tmp_path, plugin):
    slides = tmp_path / "slides"
    slides.mkdir()
    shutil.copy(road.slides / "one.tif", slides)
    pixels = np.full((192, 192, 3), 245, np.uint8)
    pixels[20:90, 20:150] = np.random.default_rng(5).integers(60, 200, (70, 130, 3))
    write_slide(slides / "two.tif", pixels)
    write_slide(slides / "glass.tif", np.full((192, 192, 3), 245, np.uint8))
    words = ("prepare", "--domain", "pathology", slides, *SET[2:], "--out")
    answer = call(*words, tmp_path / "a", "--masks", "left", "--masks-set", "shift=3")
    assert answer.code == 0, answer
    assert "skipped: 1 sources without samples (glass.tif)" in answer.err
    assert call(*words, tmp_path / "b").code == 0
    assert call("masks", tmp_path / "b", "--provider", "left", "--set", "shift=3").code == 0
    one, two = (snapshot(tmp_path / name) for name in "ab")
    assert {path.relative_to(tmp_path / "a"): data for path, data in one.items()} == {
        path.relative_to(tmp_path / "b"): data for path, data in two.items()
    }
    assert len(list((tmp_path / "a" / "planes").glob("*/*.arrow"))) == 2
    again = call(*words, tmp_path / "a", "--masks", "left", "--masks-set", "shift=3")
    assert again.code == 0
    assert "2 of 2 sources have them already" in again.err


def test_masks_of_prepare_are_refused_before_anything_is_read(road, refused, plugin):
    words = ("prepare", "--domain", "pathology", road.tiles, *SET)
    refused(*words, "--masks", "lft", says=["did you mean 'left'?"])
    refused(*words, "--masks", "elsewhere", says=["not of pathology"])
    refused(*words, "--masks", "left", "--masks-set", "shft=1", says=["did you mean 'shift'?"])
    refused(*words, "--masks-set", "shift=1", says=["--masks-set: nothing is marked without"])
