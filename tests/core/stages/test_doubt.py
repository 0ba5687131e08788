"""Which heads may call something uncertain: those of sources only where they are calibrated."""

import pytest

from histoscope.core.contracts import Task
from histoscope.core.errors import UsageError
from histoscope.core.packages.info import HeadInfo, class_infos
from histoscope.core.stages.doubt import check_doubt

FEW = {"kind": "none", "reason": "12 cases are fewer than 20; scores only rank"}
MANY = {"kind": "temperature", "reason": "fitted inside each draw"}


def head(name="tissue", level="sample", classes=("fat", "gland"), calibration=FEW, exclusive=True):
    return HeadInfo(
        task=name,
        level=level,
        exclusive=exclusive,
        classes=class_infos(Task(name, classes)),
        method="probe",
        labels=[5],
        drawn=["a"],
        fraction=0.1,
        draw_by="sample",
        seed=0,
        calibration=calibration,
    )


def test_a_class_that_is_called_uncertain_could_not_be_told_from_doubt():
    heads = [head(classes=("fat", "uncertain"))]
    assert check_doubt(heads, 0.0) == []
    with pytest.raises(UsageError, match="tissue has a class 'uncertain' already"):
        check_doubt(heads, 0.8)


def test_a_score_is_a_share():
    with pytest.raises(UsageError, match=r"--uncertain-below 1\.5: not from 0 to 1"):
        check_doubt([head()], 1.5)


def test_scores_of_sources_that_only_rank_call_nothing_uncertain():
    ranks = head("grade", "source")
    said = (
        "--uncertain-below 0.8: scores of grade only rank: 12 cases are fewer than 20, so none "
        "can be called uncertain"
    )
    assert check_doubt([ranks], 0.0) == []
    with pytest.raises(UsageError) as refused:
        check_doubt([ranks], 0.8)
    assert str(refused.value) == said
    assert check_doubt([head(), ranks], 0.8) == [said]
    assert check_doubt([head("grade", "source", calibration=MANY)], 0.8) == []
    assert check_doubt([head("signs", "source", exclusive=False)], 0.8) == []
