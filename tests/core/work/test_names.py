"""Names of sources as names of files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from histoscope.core.contracts import Source
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.work.names import LONGEST_BYTES, fault_of_name, with_names

ROOTS = {"input": Path("here"), "input2": Path("there")}


class ByStem:
    """An export that names files after the stem of a path."""

    said = ""

    def write(self, reader, features, out):
        raise AssertionError

    def name(self, source):
        if fault := fault_of_name(stem := PurePosixPath(source.path).stem):
            raise UnreadableSource(fault)
        return stem

    def close(self, outcomes, out):
        raise AssertionError


def sources(*paths: str, root: str = "input", first: int = 0) -> list[Source]:
    return [Source(f"{first + place:016x}", path, root) for place, path in enumerate(paths)]


@pytest.mark.parametrize("name", ["a", "a b", "Fall-Ä", "日本", "a.ome#2", ".a", "a.", "console"])
def test_names_that_files_have_everywhere(name: str):
    assert fault_of_name(name) == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a:b", "':' cannot stand"),
        ("a\\b", r"'\\' cannot stand"),
        ("a\nb", r"'\n' cannot stand"),
        ("what?", "'?' cannot stand"),
        ("con", "no file can be called 'con'"),
        ("COM1.ome", "no file can be called 'COM1.ome'"),
        ("..", "no file can be called '..'"),
        ("ä" * LONGEST_BYTES, f"too long for a file ({2 * LONGEST_BYTES} bytes"),
    ],
)
def test_names_that_some_machine_refuses(name: str, says: str):
    assert says in fault_of_name(name)


def test_a_source_without_a_good_name_is_refused_and_the_others_stay():
    given = sources("a:b.x", "c.x")
    bad, good = with_names(given, ByStem(), [], ROOTS)
    assert "':' cannot stand" in bad.refused
    assert good == given[1]


def test_a_source_that_is_refused_anyway_takes_no_name():
    refused = Source("f" * 16, "b/a.x", refused="it is bad")
    assert with_names([*sources("a.x"), refused], ByStem(), [], ROOTS)[1] == refused


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            sources("p/a.x", "q/a.y"),
            "files of here/p/a.x, here/q/a.y would have one name, a; rename, or give each an --out",
        ),
        (
            [*sources("a.x"), *sources("a.x", root="input2", first=1)],
            "files of here/a.x, there/a.x would have one name, a;",
        ),
        (sources("A.x", "a.y"), "one name, A, a, one name on many machines; rename"),
        (sources("\u00e4.x", "a\u0308.x"), "one name, \u00e4, a\u0308, one name on many machines"),
        (sources("a.x", "a.y", "b.x", "b.y", "c.x"), "one name, a (and 1 more such names); rename"),
    ],
)
def test_two_of_one_name_are_refused_with_both_places(given: list[Source], says: str):
    with pytest.raises(DataError) as fault:
        with_names(given, ByStem(), [], ROOTS)
    assert says in str(fault.value)


def test_another_source_of_an_earlier_call_keeps_its_name():
    old, new = sources("p/a.x", "q/a.x")
    with pytest.raises(DataError, match=r"here/q/a\.x, p/a\.x of an earlier call would have"):
        with_names([new], ByStem(), [old], ROOTS)
    assert with_names([old], ByStem(), [old], ROOTS) == [old]
