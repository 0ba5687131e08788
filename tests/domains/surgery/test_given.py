"""Label files that have changed: their operations are read again, and no others."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from histoscope.core.data.store import Store
from histoscope.core.errors import DataError
from histoscope.core.progress import Silent
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.phantom import write_phantom

CUT = FrameSampling(size_px=32, fps=1.0)


class Hearing(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines = list[str]()

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("operations")
    write_phantom(out, 0, train=2, valid=0, test=0, new=0, seconds=20, spread_s=0)
    return out / "labelled" / "train"


@pytest.fixture
def copied(operations: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(operations, tmp_path / "copied"))


def call(place: Path, out: Path, **options: object) -> list[str]:
    """Prepare, and what was said."""
    said = Hearing()
    chosen = PrepareOptions.model_validate(options)
    prepare(DOMAIN, {"input": place}, CUT, chosen, out, engine=Local(0), progress=said)
    return said.lines


def phases(out: Path) -> dict[str, str | None]:
    table = Store(out).labels("phase").rows
    return dict(zip(table["sample"].to_pylist(), table["label"].to_pylist(), strict=True))


def test_a_changed_phase_file_is_joined_anew(copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    call(copied, out)
    before = phases(out)
    file, _ = sorted((copied / "phase_annotations").iterdir())
    rows = file.read_text().splitlines()
    words = [row.split("\t") for row in rows]
    changed = [words[0], *([number, "CleaningCoagulation"] for number, _ in words[1:])]
    file.write_text("\n".join("\t".join(row) for row in changed) + "\n")
    said = call(copied, out)
    assert "1 of 2 sources are done already" in said
    assert any(line.startswith("1 are done again") for line in said)
    after = phases(out)
    differing = {key.partition(":")[0] for key in before if before[key] != after[key]}
    assert len(differing) == 1
    (operation,) = differing
    ours = [label for key, label in after.items() if key.startswith(operation)]
    assert set(ours) <= {"CleaningCoagulation", None}
    assert call(copied, out) == ["2 of 2 sources are done already"]


@pytest.mark.parametrize("name", ["spans.csv", "tools.csv"])
def test_tables_speak_of_operations_one_by_one(copied: Path, tmp_path: Path, name: str) -> None:
    """A row of one operation does not have the others read again."""
    names = sorted(file.stem for file in (copied / "videos").iterdir())
    spans = [["case", "start", "end", "phase"], *([one, "0", "5", "Preparation"] for one in names)]
    tools = [["case", "second", "Hook"], *([one, "0", "1"] for one in names)]
    shutil.rmtree(copied / "phase_annotations")
    shutil.rmtree(copied / "tool_annotations")
    tables = {"spans.csv": spans, "tools.csv": tools}
    options = {"labels": tmp_path / "spans.csv", "tools_csv": tmp_path / "tools.csv"}

    def write() -> None:
        for file, rows in tables.items():
            with (tmp_path / file).open("w", newline="") as handle:
                csv.writer(handle).writerows(rows)

    write()
    call(copied, tmp_path / "store", **options)
    tables[name][-1][1] = "1"
    write()
    said = call(copied, tmp_path / "store", **options)
    assert "1 of 2 sources are done already" in said
    assert any(line.startswith("1 are done again") for line in said)


def test_tables_that_speak_of_no_operation_are_refused(copied: Path, tmp_path: Path) -> None:
    spans, cases = tmp_path / "spans.csv", tmp_path / "cases.csv"
    spans.write_text("case,start,end,phase\nfilm01,0,5,Preparation\n")
    cases.write_text("video,case\nfilm01,p1\n")
    with pytest.raises(DataError, match=r"spans.csv: speaks of no operation here"):
        call(copied, tmp_path / "store", labels=spans)
    with pytest.raises(DataError, match=r"none of its 1 rows \(film01\) is one of .*video01.mp4"):
        call(copied, tmp_path / "store", cases=cases)
    assert not (tmp_path / "store").exists()
