"""Frames before and after one."""

import pyarrow as pa

from histoscope.core.contracts import Neighbour, Source
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import FrameSampling, ReadOptions, RelationOptions
from tests.domains.surgery.clips import number_in, write_clip


def test_the_frames_before_and_after_are_shown_unless_they_are_far_in_time(tmp_path):
    rows = pa.table({"at_s": [0.0, 1.0, 2.0, 60.0]})
    assert DOMAIN.around(rows, 1) == [Neighbour(0, -1, 0), Neighbour(2, 1, 0)]
    assert DOMAIN.around(rows, 0) == [Neighbour(1, 1, 0)]
    assert DOMAIN.around(rows, 3) == []


def test_frames_near_in_time_are_those_of_their_operation():
    rows = pa.table({"at_s": [0.0, 1.0, 4.0, 1.5, 60.0], "source": ["a", "a", "a", "b", "a"]})
    found = DOMAIN.relations(rows, RelationOptions(partner_s=1, same_s=4)).to_pydict()
    pairs = set(zip(found["row"], found["other"], found["kind"], strict=True))
    both = {(0, 1, "partner"), (0, 1, "same"), (0, 2, "same"), (1, 2, "same")}
    assert pairs == both | {(other, row, kind) for row, other, kind in both}


def test_nothing_is_written_for_players(tmp_path):
    source = Source("0123456789abcdef", "a.mp4")
    assert DOMAIN.point_out(source, {}, pa.table({}), ReadOptions(), tmp_path) == ()


def test_a_moment_is_shown_as_it_was_recorded_in_the_order_asked_for(tmp_path):
    path, _ = write_clip(tmp_path, "open-gop", seconds=5)
    roots, options = {"input": tmp_path}, ReadOptions()
    (source,) = DOMAIN.find(roots, options)
    with DOMAIN.open(source, roots, FrameSampling(size_px=32, fps=5)) as reader:
        rows = reader.plan().rows
        frames = rows.column("frame").to_pylist()
        found = list(DOMAIN.close_ups(reader, rows, [7, 2, 9]))
    for place, one in zip((7, 2, 9), found, strict=True):
        assert number_in(one.image) == frames[place]
        assert one.where.endswith(f"(frame {frames[place]})")
        assert one.box == (0, 0, one.image.shape[1], one.image.shape[0])
        assert one.image.shape[0] > 32  # of the recording, not of the sample
    assert DOMAIN.files(source, roots) == [path]
