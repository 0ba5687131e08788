"""Damaged operations: each a row, no crash, no hang, no half result. The rest: ``make faults``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from histoscope.core.contracts import Source
from histoscope.core.errors import UnreadableSource
from histoscope.core.work.outcome import Outcome
from histoscope.domains.surgery.readers.decoding import (
    LATE,
    MISSING,
    before,
    read_in_one_pass,
    upright,
)
from histoscope.domains.surgery.readers.decord_path import read_by_decord
from histoscope.domains.surgery.readers.listing import list_frames
from histoscope.domains.surgery.readers.opening import Film, open_film
from tests.domains.surgery.clips import cut_short, write_clip
from tests.faults.damaged import Found, lines
from tests.faults.mutations import Mutant
from tests.faults.operation_files import WholeOperation, as_video
from tests.faults.operations import broken, check

FILE = Path("folder") / "mutant.mp4"
ANSWERS = {"class:phase": "Preparation", "p:phase:Preparation": 1.0}


@pytest.mark.filterwarnings("ignore")  # what libraries say of damaged files
def test_twenty_damaged_operations_keep_every_promise():
    said = list[str]()
    tally, faults = check(20, 7, said.append)
    assert faults == 0, "\n".join([*said, *lines(tally)])
    assert sum(tally.values()) == 2 * 20  # by format and by damage


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 100 frames of one group, of which the packet of the 95th shown is zeros."""
    return spoil(write_clip(tmp_path_factory.mktemp("spoiled"), "25", 4)[0], 94)


def spoil(path: Path, number: int) -> Path:
    """The video with zeros in place of the packet of a frame by its number as shown."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [one for one in container.demux(stream) if one.size]
        wanted = sorted(one.pts for one in packets)[number]
        (packet,) = (one for one in packets if one.pts == wanted)
        data[packet.pos + 4 : packet.pos + packet.size] = bytes(packet.size - 4)
    path.write_bytes(data)
    return path


def test_where_decord_fails_only_the_frame_that_is_damaged_is_missing(spoiled: Path):
    listing, wanted = list_frames(spoiled), list(range(60, 100, 2))
    found = list(read_by_decord(spoiled, listing, wanted))
    truth = list(read_in_one_pass(spoiled, listing, wanted))
    assert [number for number, _ in found] == wanted
    assert [number for number, one in found if isinstance(one, str)] == [94]
    for (_, one), (_, other) in zip(found, truth, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("step", [1, 2, 47])
def test_behind_a_damage_frames_are_as_if_all_had_been_wanted(spoiled: Path, step: int):
    listing, truth = list_frames(spoiled), every_frame(spoiled)
    wanted = range(0, len(listing.pts), step)
    for number, one in read_in_one_pass(spoiled, listing, wanted):
        if number == 94:
            assert isinstance(one, str)
        else:
            assert np.array_equal(one, truth[listing.pts[number]])


@pytest.mark.parametrize("name", ["short-gop", "open-gop"])
def test_what_lies_far_before_a_damage_is_not_decoded_again(tmp_path: Path, monkeypatch, name: str):
    path = spoil(write_clip(tmp_path, name, 10)[0], 194)
    listing, truth = list_frames(path), every_frame(path)
    decoded, frames = list[int](), Film.frames

    def noted(film: Film, *told: Any) -> Iterator[Any]:
        for frame in frames(film, *told):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(Film, "frames", noted)
    answers = dict(read_in_one_pass(path, listing, range(0, 250, 2)))
    assert list(answers) == [*range(0, 250, 2)]
    assert [number for number, one in answers.items() if isinstance(one, str)] == [194]
    for number, one in answers.items():
        assert number == 194 or np.array_equal(one, truth[listing.pts[number]])
    again = set(np.searchsorted(listing.pts, decoded).tolist())
    assert again > {*range(196, 249)}
    assert len([number for number in again if number < 90]) <= 4  # key frames


def test_damage_in_what_is_not_wanted_ends_the_first_pass(tmp_path: Path, monkeypatch):
    path, _ = write_clip(tmp_path, "no-b-frames", 4)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(container.streams.video[0]) if one.size]
        start, size = packets[30].pos, packets[30].size
        data[start + size // 3 : start + size] = bytes(size - size // 3)
    path.write_bytes(data)
    listing, truth, passes = list_frames(path), every_frame(path), list[int | None]()
    frames = Film.frames

    def noted(film: Film, restarts: Any, since: int | None) -> Iterator[Any]:
        passes.append(since)
        return frames(film, restarts, since)

    monkeypatch.setattr(Film, "frames", noted)
    answers = dict(read_in_one_pass(path, listing, range(0, 100, 20)))
    assert [*answers] == [*range(0, 100, 20)]
    for number, one in answers.items():  # those behind it need it, and vary from run to run
        assert isinstance(one, np.ndarray)
        assert number > 30 or np.array_equal(one, truth[listing.pts[number]])
    assert passes == [None]


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Where each packet of pictures lies, first byte and behind the last, in the file's order."""
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(container.streams.video[0]) if one.size]
    return [(one.pos, one.pos + one.size) for one in packets]


@pytest.mark.parametrize("step", [1, 5])
def test_a_frame_that_comes_behind_a_later_one_is_not_missing(tmp_path: Path, step: int):
    path, _ = write_clip(tmp_path, "25", 4)
    whole, data, packets = every_frame(path), bytearray(path.read_bytes()), packets_of(path)
    start, stop = packets[60][0], packets[85][0]
    data[start:stop] = bytes(stop - start)
    path.write_bytes(data)
    listing = list_frames(path)
    with open_film(path) as film:
        order = [int(np.searchsorted(listing.pts, frame.pts)) for frame in film.frames()]
    assert order[order.index(60) - 1] > 60
    answers = list(read_in_one_pass(path, listing, range(0, 100, step)))
    assert [number for number, _ in answers] == [*range(0, 100, step)]
    for number, one in answers:
        if number < 59 or number == 60:
            assert np.array_equal(one, whole[listing.pts[number]])
    assert {one for number, one in answers if 60 < number < 85} == {MISSING}


@pytest.mark.parametrize(("late", "found"), [(LATE - 1, True), (LATE, False)])
def test_a_late_frame_is_waited_for_as_long_as_decoders_hold_frames_back(
    tmp_path: Path, monkeypatch, late: int, found: bool
):
    path, _ = write_clip(tmp_path, "avi", 2)
    listing, truth = list_frames(path), every_frame(path)
    taken, frames = list[int](), Film.frames

    def moved(film: Film, *told: Any) -> Iterator[Any]:
        given = list(frames(film, *told))
        given.insert(10 + late, given.pop(10))
        for frame in given:
            taken.append(int(np.searchsorted(listing.pts, frame.pts)))
            yield frame

    monkeypatch.setattr(Film, "frames", moved)
    wanted = range(0, 50, 5)
    answers = read_in_one_pass(path, listing, wanted)
    assert next(answers)[0] == 0
    assert next(answers)[0] == 5
    assert taken == [*range(6)]  # nothing is held while nothing is late
    number, answer = next(answers)
    assert number == 10
    assert len(taken) == 10 + LATE
    assert np.array_equal(answer, truth[listing.pts[10]]) if found else answer == MISSING
    for number, one in answers:
        assert np.array_equal(one, truth[listing.pts[number]])
    assert number == 45


@pytest.mark.parametrize("back", [1, 2])
def test_of_a_damage_in_the_last_packets_only_their_frames_are_missing(tmp_path: Path, back: int):
    path, _ = write_clip(tmp_path, "25", 4)
    whole = every_frame(path)
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(container.streams.video[0]) if one.size]
        damaged = sorted(one.pts for one in packets).index(packets[-back].pts)
    spoil(path, damaged)
    listing = list_frames(path)
    answers = dict(read_in_one_pass(path, listing, range(90, 100)))
    assert [number for number, one in answers.items() if isinstance(one, str)] == [damaged]
    for number, one in answers.items():
        assert number >= 98 or np.array_equal(one, whole[listing.pts[number]])  # those need it


@pytest.mark.parametrize(("name", "stop"), [("25", 1), ("transport", 2), ("avi", 4)])
def test_a_frame_needs_its_own_packet_and_what_tells_of_it(tmp_path: Path, name: str, stop: int):
    """In files of which the fourth packet is shown behind the second and third, as the first is."""
    operation = as_video(write_clip(tmp_path, name, 4)[0])
    path = tmp_path / operation.name
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(container.streams.video[0]) if one.size]
    first = next(
        place
        for place in range(20, 40)
        if max(one.pts for one in packets[place + 1 : place + 3]) < packets[place].pts
    )
    assert packets[first + 3].pts > packets[first].pts
    assert operation.needs[packets[first].pts][1] == packets[first + stop].pos


@pytest.mark.parametrize(("number", "key"), [(0, None), (59, None), (60, 0), (89, 0), (90, 30)])
def test_another_pass_begins_at_the_third_key_frame_before(tmp_path: Path, number: int, key: Any):
    listing = list_frames(write_clip(tmp_path, "open-gop", 10)[0])
    assert listing.keys.tolist()[:4] == [0, 30, 60, 90]
    assert before(listing, number) == (None if key is None else listing.pts[key])


def every_frame(path: Path) -> dict[int, Any]:
    """All frames by their time, of one pass that decodes all."""
    with open_film(path) as film:
        return {frame.pts: upright(frame, VideoReformatter()) for frame in film.frames()}


def test_a_video_that_ends_in_its_head_says_so(tmp_path: Path):
    whole, _ = write_clip(tmp_path, "mkv", 1)
    cut = cut_short(whole, tmp_path / "cut.mkv", 45 / whole.stat().st_size)
    with pytest.raises(UnreadableSource, match=r"not a video, or cut short"):
        list_frames(cut)


def outcome(samples: int, corrupt: int = 0, reason: str = "", status: str = "done") -> Outcome:
    source = Source("0" * 16, FILE.name)
    facts = {"duration_s": 1.0}
    return Outcome(source, status, samples, corrupt, reason, facts)  # type: ignore[arg-type]


def rows_of(*answers: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a table, a fifth of a second from each to the next."""
    return [
        {"pts": place, "at_s": place / 5, "status": "ok", **one}
        for place, one in enumerate(answers)
    ]


FILES = {"done.json": b"{}", "predictions.csv": b"a,b\n1,2\n", "predictions.parquet": b""}
GOOD = rows_of(*[ANSWERS] * 4)
NONE = dict.fromkeys(ANSWERS)


def promises(rows: list[dict[str, Any]], *outcomes: Outcome, **files: bytes) -> list[str]:
    """What is found of results that are made up, where bytes of the third of four are others."""
    needs = {place: (10 * place, 10 * place + 10) for place in range(4)}
    whole = WholeOperation("25.mp4", bytes(40), [(0, 40)], needs=needs)
    mutant = Mutant(whole, "zeroed", bytes(40), [(25, 28)])
    held = FILES | {name.replace("_", "."): data for name, data in files.items()}
    return list(broken(mutant, FILE, Found(outcomes, rows, held), Found([], GOOD, FILES)))


def test_a_promise_that_is_not_kept_is_found():
    """Of each kind, by results that are made up."""
    marked = {**NONE, "status": "unreadable (x)"}
    assert promises(GOOD, outcome(4)) == []
    third = [*GOOD[:2], GOOD[2] | marked, GOOD[3]]
    assert promises(third, outcome(3, 1, "1 sample unreadable (x)")) == []
    assert promises([*GOOD[:3], GOOD[3] | marked], outcome(3, 1, "1 unreadable (x)")) == []
    before = promises([GOOD[0], GOOD[1] | marked, *GOOD[2:]], outcome(3, 1, "1 unreadable (x)"))
    assert "at 0.2 s it is unreadable (x), and all to there is as it was" in before[0]
    (missing,) = promises([GOOD[0], *GOOD[2:]], outcome(3))
    assert "at 0.2 s it is missing" in missing
    other = GOOD[3] | {"p:phase:Preparation": 0.5}
    (said,) = promises([*GOOD[:3], other], outcome(4))
    assert "at 0.6 s it has another answer" in said
    assert promises([]) == ["it has not one row"]
    assert promises([], outcome(0, status="failed"))[0] == "failed without a reason"
    hung = "its reader hung: no sample for 60 s (--deadline)"
    assert promises([], outcome(0, reason=hung, status="failed"))[0] == "its reader hung"


def test_half_a_result_is_found():
    assert promises(GOOD[::-1], outcome(4))[0].startswith("its times do not increase from 0")
    late = rows_of(*[ANSWERS] * 7)
    assert "a frame at 1.2 s of 1.0 s" in promises(late, outcome(7))
    assert promises(GOOD, outcome(4), left_csv=b"a\n") == ["left.csv: there, and not named"]
    half = promises(GOOD, outcome(4), predictions_csv=b"a,b\n1\n")
    assert half == ["predictions.csv: cannot be read (rows of [1, 2] cells)"]
    (said,) = promises(GOOD, outcome(4), done_json=b"{")
    assert said.startswith("done.json: cannot be read")
    failed = promises([], outcome(0, reason="no header", status="failed"))
    assert failed == ["it is failed, and there is predictions.csv, predictions.parquet"]
