"""Reading ahead changes nothing but the time."""

import threading

import pytest

from histoscope.core.runtime.ahead import read_ahead


def test_items_come_in_order_whatever_the_depth():
    for depth in (1, 3, 100):
        assert list(read_ahead(iter(range(50)), depth)) == list(range(50))
    assert list(read_ahead(iter(()))) == []


def test_an_exception_comes_in_its_place():
    def items():
        yield 1
        yield 2
        raise ValueError("three")

    ahead = read_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(ahead)


def test_no_more_than_the_depth_is_made_beforehand():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    ahead = read_ahead(items(), 4)
    next(ahead)
    for _ in range(200):
        threading.Event().wait(0.001)
    assert len(made) <= 1 + 4 + 1
    ahead.close()


def test_stopping_early_ends_the_thread():
    ahead = read_ahead(iter(range(10_000)), 2)
    assert next(ahead) == 0
    ahead.close()
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())
