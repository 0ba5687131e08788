"""Where an operation is interrupted, so that heads do not read on."""

import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.contracts import Ordered, Sequential
from histoscope.core.data.stretches import stretches
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.timeline import gaps


@pytest.mark.parametrize(
    ("times", "starts"),
    [
        (range(100), [0, 100]),
        ([0, 1, 2, 32, 33], [0, 5]),
        ([0, 1, 2, 32.1, 33, 34, 70, 71], [0, 3, 6, 8]),
        ([0, 60, 120, 180], [0, 4]),  # a frame a minute
        ([0, 60, 120, 301, 361, 421], [0, 3, 6]),
        ([7.0], [0, 1]),
        ([0, 500], [0, 2]),  # of two nothing is usual
        ([], [0]),
    ],
)
def test_more_than_half_a_minute_and_three_usual_steps_is_a_gap(times, starts):
    rows = pa.table({"at_s": pa.array(list(times), pa.float64())})
    assert isinstance(DOMAIN, Sequential)
    assert stretches(DOMAIN, rows).tolist() == starts


def test_the_first_frame_follows_no_gap():
    assert gaps(np.array([100.0, 101, 102])).tolist() == [False] * 3


def test_frames_lie_in_the_order_of_their_times():
    assert isinstance(DOMAIN, Ordered)
    index = pa.table({"source": ["a", "b", "a"], "at_s": [3.5, 0.0, 1.25]})
    assert DOMAIN.order(index).tolist() == [3.5, 0.0, 1.25]
