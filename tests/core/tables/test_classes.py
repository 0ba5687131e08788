"""Two spellings of one class are found, and two classes never taken for one."""

import pytest

from histoscope.core.errors import DataError
from histoscope.core.tables.classes import ClassNames, alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Normal", "normal"),
        ("NORMAL", "normal "),
        ("1", "1.0"),
        ("01", "1"),
        ("+1", "1."),
        ("lymph node", "lymph_node"),
        ("lymph-node", "lymph  node"),
        ("Entzu\u0308ndung", "Entz\u00fcndung"),
        ("fat\u00a0tissue", "fat tissue"),
    ],
)
def test_two_spellings_of_one_class_are_refused(one, other):
    assert alike([one, "quite another", other]) == [sorted([one, other])]
    with pytest.raises(DataError, match=r"a.csv: .* differ in their spelling alone; .*--class-nam"):
        ClassNames().check([one, other], "a.csv")
    ClassNames({one: other}).check([one, other], "a.csv")
    ClassNames({one: one, other: other}).check([one, other], "a.csv")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HER2-", "HER2+"),
        ("HER2-", "HER2"),
        ("1", "-1"),
        ("T1", "T2"),
        ("1.5", "1"),
        ("a b", "ab"),
        ("1234567", "1234568"),
    ],
)
def test_two_classes_are_not_one(one, other):
    assert alike([one, other]) == []
    ClassNames().check([one, other], "a.csv")


@pytest.mark.parametrize("word", ["NA", "n/a", "None", "unknown", "NaN", "?", "-"])
def test_a_word_for_none_is_asked_about(word):
    with pytest.raises(DataError, match=r"is it unknown\? say .*--null-values"):
        ClassNames().check(["a", word], "a.csv")
    nothing = ClassNames.parse(None, f"other,{word}")
    nothing.check(["a", word], "a.csv")
    assert [nothing.of(one) for one in (word, "a")] == [None, "a"]
    ClassNames.parse(f"{word}={word}", None).check(["a", word], "a.csv")


@pytest.mark.parametrize("pairs", ["", "a", "a=", "=a", "a=b=c", "a=b,a=c", "a=b,"])
def test_what_is_no_pair_is_refused(pairs):
    with pytest.raises(ValueError, match=r"expected WRITTEN=NAME|two names"):
        ClassNames.parse(pairs, None)
