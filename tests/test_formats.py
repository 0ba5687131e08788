"""``docs/formats.md`` against files that the commands really wrote, in both directions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histoscope.core.contracts.installed import load_domain
from histoscope.core.errors import HistoscopeError
from tests.formats_comparison import Comparison
from tests.formats_files import (
    METHODS,
    write_by_commands,
    write_demo,
    write_inputs,
)
from tests.formats_operations import OF_OPERATIONS, write_operations
from tests.formats_page import DOMAINS, GIVEN, Page
from tests.formats_rows import TABLE, rewritten

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
KINDS = {  # what the road leaves: the chapter that speaks of it, and the domain that made it
    "store": ("Store", "pathology"),
    "store-of-lists": ("Store", "pathology"),
    "store-of-operations": ("Store", "surgery"),
    "store-of-frames": ("Store", "surgery"),
    "run-of-statistics": ("Run", "pathology"),
    "run-of-short-forms": ("Run", "pathology"),
    **{f"run-of-{name}": ("Run", "pathology") for name in METHODS},
    "run-of-distil": ("Run", "pathology"),
    **{f"run-of-{name}": ("Run", "surgery") for name in OF_OPERATIONS},
    "run-of-operations": ("Run", "surgery"),
    "imported": ("Imported weights", "pathology"),
    "package-of-imported": ("Package", "pathology"),
    "package": ("Package", "pathology"),
    "package-of-two": ("Package", "pathology"),
    "package-of-sources": ("Package", "pathology"),
    "package-by-attention": ("Package", "pathology"),
    "package-by-two-attentions": ("Package", "pathology"),
    "package-of-features": ("Package", "pathology"),
    "package-of-layers": ("Package", "pathology"),
    "package-by-topk": ("Package", "pathology"),
    "package-of-att-trans": ("Package", "pathology"),
    "package-by-mstcn": ("Package", "surgery"),
    "package-of-one-case": ("Package", "surgery"),
    "package-of-chance": ("Package", "surgery"),
    "package-of-operations": ("Package", "surgery"),
    "package-of-two-phases": ("Package", "surgery"),
    "tuned": ("Tuning", "pathology"),
    "evaluation": ("Evaluation", "pathology"),
    "evaluation-of-sources": ("Evaluation", "pathology"),
    "evaluation-by-folds": ("Evaluation", "pathology"),
    "evaluation-otherwise": ("Evaluation", "pathology"),
    "comparison": ("Comparison", "pathology"),
    "evaluation-of-operations": ("Evaluation", "surgery"),
    "predictions": ("Predictions", "pathology"),
    "predictions-of-two": ("Predictions", "pathology"),
    "predictions-of-sources": ("Predictions", "pathology"),
    "predictions-by-attention": ("Predictions", "pathology"),
    "predictions-by-topk": ("Predictions", "pathology"),
    "predictions-by-two-attentions": ("Predictions", "pathology"),
    "predictions-of-features": ("Predictions", "pathology"),
    "predictions-of-operations": ("Predictions", "surgery"),
    "predictions-of-two-phases": ("Predictions", "surgery"),
    "features": ("Features", "pathology"),
    "features-for-clam": ("Features", "pathology"),
    "features-for-trident": ("Features", "pathology"),
    "features-of-operations": ("Features", "surgery"),
    "suggestions": ("Suggestions", "pathology"),
    "annotations": ("Annotations", "pathology"),
    "tissue": ("Tissue", "pathology"),
    "suggestions-of-operations": ("Suggestions", "surgery"),
    "reviews": ("Reviews", "surgery"),
    "mask-sheet": ("Sheet of masks", "pathology"),
    "scores": ("Scores", "surgery"),
    "scores-of-two": ("Scores", "surgery"),
    "demo-of-operations": ("Demo", "surgery"),
    "demo": ("Demo", "pathology"),
}


@dataclass(frozen=True)
class Written:
    """What the road left: folders with their chapters and domains, and the user's files."""

    folders: list[tuple[Path, str, str]]
    given: list[tuple[Path, str]]

    def compare(self, text: str, only: str = "") -> Comparison:
        """All of it against a page, or one folder."""
        comparison = Comparison(text)
        for folder, chapter, domain in self.folders:
            if only in ("", folder.name):
                comparison.folder(folder, chapter, domain)
        for path, domain in self.given if not only else []:
            comparison.place(path, path.name, GIVEN, domain)
        return comparison


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The whole road, once."""
    given, out = tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("formats")
    given_of_operations = tmp_path_factory.mktemp("given-of-operations")
    write_inputs(given)
    write_by_commands(given, out)
    write_demo(given, out / "demo")
    write_operations(given_of_operations, out)
    folders = [(path, *KINDS[path.name]) for path in sorted(out.iterdir())]
    assert len(folders) == len(KINDS)
    files = [(path, "pathology") for path in given.iterdir() if path.is_file()]
    files += [(path, "surgery") for path in given_of_operations.iterdir() if path.is_file()]
    return Written(folders, files)


@pytest.fixture(scope="module")
def text() -> str:
    """The page."""
    return PAGE.read_text(encoding="utf-8")


def test_every_file_is_documented_as_it_is_written(written: Written, text: str):
    faults = written.compare(text).faults
    assert not faults, "\n".join(faults)


def said_in(path: Path) -> bytes:
    """All that can be read in a file: its bytes, and what tables hold compressed."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    table, plain = pq.read_table(path), pa.BufferOutputStream()
    with pa.ipc.new_stream(plain, table.schema) as stream:
        stream.write_table(table)
    return path.read_bytes() + bytes(plain.getvalue())


def test_no_folder_of_this_machine_is_in_what_is_written(written: Written):
    """Every option that takes a file was given one below these folders."""
    places = {str(path.parent) for path, _ in written.given}
    places |= {str(folder.parent) for folder, _, _ in written.folders}
    aside = {"log.txt", "config.yaml"}  # of runs
    found = [
        path
        for folder, _, _ in written.folders
        for path in folder.rglob("*")
        if path.is_file() and path.name not in aside
        for said in [said_in(path)]
        if any(place.encode() in said for place in places)
    ]
    assert found == []


def test_everything_documented_is_written(written: Written, text: str):
    assert list(written.compare(text).unwritten()) == []


@pytest.mark.parametrize(
    ("folder", "beginning", "fault"),
    [
        ("store", "| `shard` | string ", "Store: index.parquet: column shard is not documented"),
        ("store", "| `mark` | string ", "Store: index.parquet: column mark is not documented"),
        ("store", "| [pathology location]", "index.parquet: column item is not documented"),
        ("store", "| `origin` ", "labels/<task>.parquet: metadata origin is not documented"),
        ("store", "| `image` | large", "Store: shards/<id>.arrow: column image is not documented"),
        ("store", "| `roots` ", "Store: store.json: key roots is not documented"),
        ("store", "| `mpp_source` ", "pathology facts: key mpp_source is not documented"),
        ("store", "| `tasks` | map of [source", "<id>/done.json: key tasks is not documented"),
        ("store-of-operations", "| `label:<task>:<class>` ", "label:tools:Hook is not documented"),
        (
            "store-of-operations",
            "| `difference` | float64, may be absent ",
            "column difference is not documented",
        ),
        (
            "store-of-frames",
            "| `frame_base` | integer, ",
            "facts: key frame_base is not documented",
        ),
        ("predictions", "| `area_mm2` ", "classes.csv: column area_mm2 is not documented"),
        ("predictions-of-operations", "| `answers` ", "done.json: key answers is not documented"),
        (
            "predictions-of-operations",
            "### `results/<id>/timeline",
            "timeline.png is documented 0 times for surgery",
        ),
        ("features", "| `coords` ", "<id>/<id>.h5: dataset coords is not documented"),
        ("features", "| `complete` ", "<id>/<id>.h5: attribute file.complete is not documented"),
        ("features-of-operations", "| `(the whole)` ", "array (the whole) is not documented"),
        ("demo", "| `views.blur.p` ", "Run: config.yaml: key views.blur.p is not documented"),
        ("demo", "| `projector.<parameter>` ", "tensor projector.0.weight is not documented"),
        ("run-of-operations", "| `queue.index` ", "tensor queue.index is not documented"),
        (
            "evaluation",
            "### `confusion",
            "confusion-tissue.png is documented 0 times for pathology",
        ),
        ("evaluation-of-operations", "| `present` ", "metrics: key present is not documented"),
        ("scores", "| `relaxed_10s` ", "phase-scores.json: key relaxed_10s is not documented"),
        ("demo-of-operations", "| `source_fps` ", "json: key source_fps is not documented"),
    ],
)
def test_what_is_taken_from_the_page_is_reported(
    written: Written, text: str, folder: str, beginning: str, fault: str
):
    page, count = re.subn(rf"(?m)^{re.escape(beginning)}.*\n", "", text, count=1)
    assert count == 1
    assert any(one.endswith(fault) for one in written.compare(page, folder).faults)


@pytest.mark.parametrize(
    ("folder", "old", "new", "fault"),
    [
        ("store", "| `row` | int64 |", "| `row` | int32 |", "column row is not int32"),
        (
            "store",
            "| `row` | int64 | | yes |",
            "| `row` | int64 | | no |",
            "column row is not int64, no",
        ),
        ("store", "| `row` |", "| `rows` |", "index.parquet: column rows is missing in a file"),
        ("store", "`histoscope.index` version 1", "`histoscope.index` version 2", "parquet: is ("),
        (
            "store-of-operations",
            "| `<class>` | bool,",
            "| `<class>` | string,",
            "Hook is not string",
        ),
        (
            "store-of-operations",
            "| [surgery quality]",
            "| [surgery facts]",
            "column redness is not documented",
        ),
        (
            "predictions",
            "| `share` | float64 |",
            "| `share` | int64 |",
            "column share is not int64",
        ),
        (
            "predictions-of-operations",
            "CSV, surgery only. One row a second",
            "CSV, pathology only. One row a second",
            "phases.csv is documented 0 times for surgery",
        ),
        (
            "predictions-of-operations",
            "| `Phase` | string",
            "| `Phase` | int64",
            "Phase is not int64",
        ),
        ("package", "| `dim` | integer |", "| `dim` | string |", "encoder: key dim is not string"),
        ("package", "(classes, dim)", "(classes)", "tensor head.0.0.weight is not float32"),
        (
            "evaluation-of-operations",
            "(number or null) | ends of the 95 % bootstrap",
            "number | ends of the 95 % bootstrap",
            "key interval is not list of number",
        ),
        ("features", "`histoscope.embed` v", "`histoscope.bed` v", "is ('histoscope.embed'"),
        ("features-of-operations", "| (frames, dim)", "| (frames)", "(the whole) is not float32"),
        (
            "scores",
            "`histoscope.phase-scores` version 1",
            "`scores` version 1",
            "phase-scores', 1)",
        ),
    ],
)
def test_what_is_changed_on_the_page_is_reported(
    written: Written, text: str, folder: str, old: str, new: str, fault: str
):
    assert old in text
    page = text.replace(old, new, 1)
    assert any(fault in one for one in written.compare(page, folder).faults)


def test_a_block_of_another_domain_is_none_of_its_own(written: Written, text: str):
    one, other = (f"[{name} sampling](#{name}-sampling-block)" for name in sorted(DOMAINS))
    assert f"{one} or {other}" in text
    page = text.replace(f"{one} or {other}", one, 1)
    assert written.compare(page, "store").faults == []
    faults = written.compare(page, "store-of-operations").faults
    assert any("settings.json: key sampling is not" in one for one in faults)


def test_columns_in_another_order_are_reported(written: Written, text: str):
    lines = text.splitlines()
    place = next(
        number for number, line in enumerate(lines) if line.startswith("| `unit` | string")
    )
    lines[place - 1], lines[place] = lines[place], lines[place - 1]
    faults = written.compare("\n".join(lines), "store").faults
    order = "columns are in the order id, source, case, unit, split"
    assert any(order in one for one in faults)


@pytest.mark.parametrize(
    ("after", "added", "fault"),
    [
        ("### `curves.png`", "\n\nPNG.\n\n### `more.png`", "Run: more.png: not written"),
        (
            "| `mpp_x` | number |",
            " |\n| `mpp_z` | number, may be absent |",
            "key mpp_z not written",
        ),
        (
            "| `parts` | integer |",
            " |\n| `whole` | integer, may be absent |",
            "surgery facts: key whole not written",
        ),
    ],
)
def test_what_no_file_has_is_reported(
    written: Written, text: str, after: str, added: str, fault: str
):
    assert after in text
    found = list(written.compare(text.replace(after, after + added, 1)).unwritten())
    assert any(one.endswith(fault) for one in found)


def test_tables_of_settings_are_those_of_the_models(text: str):
    assert len(TABLE.findall(text)) == 13
    assert rewritten(text) == text, "run 'make formats'"


@pytest.mark.parametrize(
    "old",
    [
        "> 0, <= 2 | 0.2",
        "`drop` | tiles that",
        "`size_px` | integer | >= 8, <= 4096 | 224 | side of a tile",
    ],
)
def test_a_table_of_settings_that_differs_is_made_anew(text: str, old: str):
    assert old in text
    assert rewritten(text.replace(old, "x")) == text


def test_exit_codes_of_the_page_are_those_of_the_errors(text: str):
    kinds = [HistoscopeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert set(Page(text).exits) == {0, 1} | {kind.exit_code for kind in kinds}


def test_links_of_the_page_lead_to_its_headings(text: str):
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    anchors = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}
    assert set(re.findall(r"\]\(#(.+?)\)", text)) <= anchors


def test_published_splits_of_the_page_are_those_of_the_domains(text: str):
    published = {
        name: {
            part: {int(case.removeprefix("video")) for case, its in split.items() if its == part}
            for part in ("train", "valid", "test")
        }
        for domain in DOMAINS
        for name, split in load_domain(domain).splits.items()
    }
    assert Page(text).splits == published
