"""Frames before and after one."""

import pyarrow as pa

from histoscope.core.contracts import Neighbour, Source
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import ReadOptions


def test_the_frames_before_and_after_are_shown_unless_they_are_far_in_time(tmp_path):
    rows = pa.table({"at_s": [0.0, 1.0, 2.0, 60.0]})
    assert DOMAIN.around(rows, 1) == [Neighbour(0, -1, 0), Neighbour(2, 1, 0)]
    assert DOMAIN.around(rows, 0) == [Neighbour(1, 1, 0)]
    assert DOMAIN.around(rows, 3) == []


def test_nothing_is_written_for_players(tmp_path):
    source = Source("0123456789abcdef", "a.mp4")
    assert DOMAIN.point_out(source, {}, pa.table({}), ReadOptions(), tmp_path) == ()
