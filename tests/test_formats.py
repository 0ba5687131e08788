"""``docs/formats.md`` against files that the commands really wrote, in both directions.

The page is read as data: a chapter is a kind of folder, a section is a file, its first line says
kind, format and version, its tables say what stands in it.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tifffile
import yaml
from numpy.typing import NDArray
from safetensors import safe_open

from histoscope.core.errors import HistoscopeError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
GIVEN, BLOCKS, LEFT_OUT = "Files you give", "Shared blocks", "What the comparison leaves out"
PLACEHOLDERS = {"id": "[0-9a-f]{16}", "step": r"\d{6}", "draw": r"\d+", "place": r"\d+"}
MAY_BE_ABSENT = ", may be absent"
SIGNATURES = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8",
    "TIFF": b"II*\0",
    "HTML": b"<!DOCTYPE html>",
    "Text": b"",
    "Markdown": b"# ",
}
SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
IN_CSV = {"string": r"(?s:.*)", "int64": r"-?\d+", "float64": r"-?\d+(\.\d+)?(e[-+]?\d+)?"}
TENSOR_TYPES = {"F32": "float32", "I64": "int64"}


def regex_of(name: str) -> re.Pattern[str]:
    """``features/<id>/<id>.h5`` as a pattern."""
    parts = re.split(r"<(\w+)>", name)
    odd = [PLACEHOLDERS.get(part, "[^/]+") for part in parts[1::2]] + [""]
    even = (re.escape(part) for part in parts[::2])
    return re.compile("".join(a + b for a, b in zip(even, odd, strict=True)))


@dataclass(frozen=True)
class Row:
    """One row of a table of the page: ``table`` is the heading of its first column."""

    owner: str
    table: str
    name: str
    type: str
    null: str = ""
    shape: str = ""

    @property
    def optional(self) -> bool:
        return self.type.endswith(MAY_BE_ABSENT)

    @property
    def types(self) -> list[str]:
        return self.type.removesuffix(MAY_BE_ABSENT).split(" or ")

    def is_for(self, name: str) -> bool:
        return bool(regex_of(self.name).fullmatch(name))


@dataclass
class Section:
    """A file or a block of the page, with the names of sections whose rows it has as well."""

    chapter: str
    name: str
    prose: str = ""
    rows: list[Row] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.chapter}: {self.name}"

    @property
    def head(self) -> tuple[str, str | None, str | None]:
        """Kind, format and version."""
        found = re.match(r"(\w+)(?:, `([\w.-]+)` version (\d+))?\.", self.prose)
        assert found, f"{self.key}: begins with no kind of file"
        return found[1], found[2], found[3]

    @property
    def included(self) -> list[str]:
        return re.findall(r"(?:[Cc]olumns|keys) of `([^`]+)`", self.prose)


class Page:
    """The page as data."""

    def __init__(self, text: str) -> None:
        self.chapters: dict[str, dict[str, Section]] = {}
        self.folders: list[tuple[str, str]] = []
        self.exits: list[int] = []
        self.left_out: set[tuple[str, str]] = set()
        chapter, section, heading = "", Section("", ""), list[str]()
        for line in text.splitlines():
            if line.startswith("## "):
                chapter, section = line[3:], Section(line[3:], "")
                self.chapters[chapter] = {}
            elif line.startswith("### "):
                name = line.split("`")[1] if "`" in line else line[4:]
                section = Section(chapter, name)
                if "`" in line:
                    self.chapters[chapter][name] = section
            elif line.startswith("|"):
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                heading = heading or cells
                if cells is not heading and not line.startswith("| ---"):
                    self._add(section, dict(zip(heading, cells, strict=True)), heading[0])
            elif line:
                section.prose = f"{section.prose} {line}".strip()
                if chapter == LEFT_OUT and (left := re.match("- `(.+?)` of `(.+?)`", line)):
                    self.left_out.add((left[1], left[2]))
            heading = heading if line.startswith("|") else []

    def _add(self, section: Section, cells: Mapping[str, str], table: str) -> None:
        name = cells[table].strip("`")
        if table == "exit":
            self.exits.append(int(name))
        elif table == "folder":
            self.folders.append((name, cells["chapter"].split("]")[0].strip("[")))
        else:
            name = f"{cells['of']}.{name}" if table == "attribute" else name
            more = {key: cells[key] for key in ("null", "shape") if key in cells}
            section.rows.append(Row(section.key, table, name, cells["type"], **more))

    def section(self, chapter: str, name: str) -> Section:
        """A file of the chapter, else a block."""
        return self.chapters[chapter].get(name) or self.chapters[BLOCKS][name]

    def rows(self, section: Section, table: str) -> list[Row]:
        """Its own and those it includes."""
        out = [row for row in section.rows if row.table == table]
        for name in section.included:
            out += self.rows(self.section(section.chapter, name), table)
        return out


class Comparison:
    """Collects what differs between the page and files, and which rows some file had."""

    def __init__(self, text: str) -> None:
        self.page = Page(text)
        self.faults: list[str] = []
        self._seen: set[str | Row] = set()
        self._kinds: dict[str, Callable[[Section, Path], tuple[Any, Any]]] = {
            "Parquet": self._parquet,
            "Arrow": self._arrow,
            "CSV": self._csv,
            "JSON": self._json,
            "YAML": self._yaml,
            "HDF5": self._hdf5,
            "Safetensors": self._safetensors,
        }

    def folder(self, folder: Path, chapter: str) -> None:
        """Every file below a folder."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        assert files, folder
        for path in files:
            self.place(path, path.relative_to(folder).as_posix(), chapter)

    def place(self, path: Path, name: str, chapter: str) -> None:
        """A file by its name in a folder of the chapter."""
        for pattern, inner in self.page.folders if chapter == "Demo" else []:
            if found := regex_of(pattern).match(name):
                return self.place(path, name[found.end() :], inner)
        sections = self.page.chapters[chapter].values()
        fitting = [section for section in sections if regex_of(section.name).fullmatch(name)]
        if len(fitting) == 1:
            return self.file(path, fitting[0])
        return self.faults.append(f"{chapter}: {name} is documented {len(fitting)} times")

    def file(self, path: Path, section: Section) -> None:
        """One file against its section."""
        self._seen.add(section.key)
        kind, format_name, version = section.head
        if kind in SIGNATURES:
            data = path.read_bytes()
            good = data.startswith(SIGNATURES[kind])
            if kind in {"HTML", "Text", "Markdown"}:
                data.decode("utf-8")
            found = (None, None)
        else:
            good, found = True, self._kinds[kind](section, path)
        stated = (format_name, version and int(version))
        if not good or found != stated:
            self.faults.append(f"{section.key}: is {found}, documented as {kind} {stated}")

    def unwritten(self) -> Iterator[str]:
        """Sections and rows that no file had, and those left out that some file had."""
        left_out = set(self.page.left_out)
        for chapter, sections in self.page.chapters.items():
            for section in sections.values():
                if chapter != BLOCKS and section.key not in self._seen:
                    yield f"{section.key}: not written"
                for row in section.rows:
                    excused = (row.name, section.name) in left_out
                    left_out.discard((row.name, section.name))
                    if excused == (row in self._seen):
                        yield f"{section.key}: {row.table} {row.name} " + (
                            "is written, and said to be left out" if excused else "not written"
                        )
        yield from (f"{section}: no {name} to leave out" for name, section in left_out)

    def _match(
        self, section: Section, table: str, found: Mapping[str, Callable[[Row], bool]]
    ) -> None:
        rows = self.page.rows(section, table)
        for name, agrees in found.items():
            row = next((row for row in rows if row.is_for(name)), None)
            if row is None:
                self.faults.append(f"{section.key}: {table} {name} is not documented")
                continue
            self._seen.add(row)
            if not agrees(row):
                self.faults.append(f"{section.key}: {table} {name} is not {row.type}, {row.null}")
        for row in rows:
            if not row.optional and not any(row.is_for(name) for name in found):
                self.faults.append(f"{section.key}: {table} {row.name} is missing in a file")

    def _arrow(self, section: Section, path: Path) -> tuple[Any, Any]:
        return self._table(section, pa.ipc.open_file(path).read_all())

    def _parquet(self, section: Section, path: Path) -> tuple[Any, Any]:
        return self._table(section, pq.read_table(path))

    def _table(self, section: Section, table: pa.Table) -> tuple[Any, Any]:
        self._match(section, "column", {n: _agrees(table.column(n)) for n in table.column_names})
        metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        found = metadata.pop("format", None), int(metadata.pop("version", 0))
        self._match(section, "metadata", dict.fromkeys(metadata, lambda row: True))
        return found

    def _csv(self, section: Section, path: Path) -> tuple[Any, Any]:
        with path.open(encoding="utf-8", newline="") as handle:
            names = next(csv.reader(handle))
        options = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        table = pyarrow.csv.read_csv(path, convert_options=options)
        self._match(section, "column", {name: _reads(table.column(name)) for name in names})
        return None, None

    def _json(self, section: Section, path: Path) -> tuple[Any, Any]:
        body = json.loads(path.read_text(encoding="utf-8"))
        if list(body)[:2] != ["format", "version"]:
            self.faults.append(f"{section.key}: does not begin with format and version")
        found = body.pop("format", None), body.pop("version", None)
        self._object(section, body)
        return found

    def _yaml(self, section: Section, path: Path) -> tuple[Any, Any]:
        self._object(section, yaml.safe_load(path.read_text(encoding="utf-8")))
        return None, None

    def _object(self, section: Section, body: Mapping[str, Any]) -> None:
        rows = self.page.rows(section, "key")
        leaves = dict(_leaves(body, {row.name for row in rows}))
        self._match(
            section,
            "key",
            {name: functools.partial(self._fits, value) for name, value in leaves.items()},
        )

    def _fits(self, value: Any, row: Row) -> bool:
        return any(self._is(kind, value) for kind in row.types)

    def _is(self, kind: str, value: Any) -> bool:
        if kind in SCALARS:
            return SCALARS[kind](value)
        if kind.startswith("list of "):
            return isinstance(value, list) and all(self._is(kind[8:], one) for one in value)
        if kind.startswith("map of "):
            return isinstance(value, dict) and all(self._is(kind[7:], v) for v in value.values())
        found = re.fullmatch(r"\[(.+)\]\(#(.+)-block\)", kind)
        assert found, f"the page has no type {kind!r}"
        if isinstance(value, dict):
            self._object(self.page.chapters[BLOCKS][found[1]], value)
        return isinstance(value, dict)

    def _hdf5(self, section: Section, path: Path) -> tuple[Any, Any]:
        with h5py.File(path) as file:
            whole = dict(file.attrs)
            found = whole.pop("format", None), whole.pop("version", None)
            attributes = {f"file.{name}": value for name, value in whole.items()}
            for dataset in file.values():
                name = dataset.name.strip("/")
                attributes |= {f"{name}.{key}": value for key, value in dataset.attrs.items()}
            self._match(
                section,
                "dataset",
                {
                    name: functools.partial(_shaped, str(one.dtype), one.shape)
                    for name, one in file.items()
                },
            )
        types = {name: _attribute_type(value) for name, value in attributes.items()}
        self._match(
            section, "attribute", {n: functools.partial(_typed, kind) for n, kind in types.items()}
        )
        return found

    def _safetensors(self, section: Section, path: Path) -> tuple[Any, Any]:
        with safe_open(path, "numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {
                name: functools.partial(
                    _shaped, TENSOR_TYPES.get(part.get_dtype(), "?"), part.get_shape()
                )
                for name, part in parts.items()
            }
        self._match(section, "tensor", found)
        return None, None


def _leaves(body: Mapping[str, Any], known: set[str], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys as the page names them: ``a.b`` where the page speaks of what is in ``a``."""
    for key, value in body.items():
        name = above + key
        inner = any(one.startswith(f"{name}.") for one in known)
        if inner and isinstance(value, dict):
            yield from _leaves(value, known, f"{name}.")
        else:
            yield name, value


def _agrees(column: pa.ChunkedArray) -> Callable[[Row], bool]:
    """A typed column against a row: the type, and no null where none may be."""
    kind = re.sub(r"\bfloat\b", "float32", str(column.type).replace("double", "float64"))
    kind = re.sub(r"<\w+: (\w+)>\[\d+\]", r"<\1>", kind)  # the length of a list is free
    return lambda row: kind in row.types and (row.null == "yes" or not column.null_count)


def _reads(column: pa.ChunkedArray) -> Callable[[Row], bool]:
    """A column of CSV against a row: every text reads as the type."""

    def agrees(row: Row) -> bool:
        texts = column.drop_null().to_pylist()
        good = all(re.fullmatch(IN_CSV.get(row.types[0], IN_CSV["float64"]), t) for t in texts)
        return good and (row.null == "yes" or not column.null_count)

    return agrees


def _shaped(kind: str, shape: tuple[int, ...], row: Row) -> bool:
    """An array against a row: the type, and as many axes as its shape names."""
    axes = [axis for axis in row.shape.strip("()").split(",") if axis]
    return kind in row.types and (not row.shape.startswith("(") or len(axes) == len(shape))


def _typed(kind: str, row: Row) -> bool:
    return kind in row.types


def _attribute_type(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "boolean" if value.dtype == bool else str(value.dtype)


@dataclass(frozen=True)
class Written:
    """What the road left: folders with their chapters, and the user's files."""

    folders: list[tuple[Path, str]]
    given: list[Path]

    def compare(self, text: str) -> Comparison:
        """All of it against a page."""
        comparison = Comparison(text)
        for folder, chapter in self.folders:
            comparison.folder(folder, chapter)
        for path in self.given:
            comparison.place(path, path.name, GIVEN)
        return comparison


def noise(side_px: int, dark: bool, seed: int) -> NDArray[np.uint8]:
    """Stained in one of two ways."""
    colour = (150, 60, 140) if dark else (220, 150, 190)
    grain = np.random.default_rng(seed).integers(-25, 25, (side_px, side_px, 3))
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)


def write_set(folder: Path) -> list[str]:
    """Class folders of 64 px, one picture a case and one damaged; returns paths of the good."""
    names = []
    for split, count in (("train", 6), ("valid", 1), ("test", 3)):
        for dark in (True, False):
            place = folder / split / ("dark" if dark else "pale")
            place.mkdir(parents=True)
            for _ in range(count):
                path = place / f"case-{len(names)}_tile.png"
                assert cv2.imwrite(str(path), noise(64, dark, len(names)))
                names.append(path.relative_to(folder.parent).as_posix())
    (folder / "train" / "dark" / "case-99_tile.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return names


def write_slide(path: Path, **tags: Any) -> None:
    """A tiled slide: a square of tissue on glass."""
    path.parent.mkdir(exist_ok=True)
    pixels = np.full((256, 256, 3), 245, np.uint8)
    pixels[40:200, 40:200] = noise(160, True, 0)
    compression = "jpeg" if "description" in tags else "zlib"
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        photometric="rgb",
        compression=compression,
        metadata=None,
        **tags,
    )


def write_inputs(given: Path) -> None:
    """A labelled set, slides of every fate, and files for all that a user may give."""
    names = write_set(given / "set")
    aperio = "Aperio Image Library v1\r\n256x256 (64x64) |AppMag = 10|MPP = 1.0"
    write_slide(given / "slides" / "aperio.tif", description=aperio)
    per_cm = {"resolution": (10_000, 9_900), "resolutionunit": "CENTIMETER"}
    write_slide(given / "slides" / "oblong.tif", **per_cm)
    (given / "slides" / "broken.tif").write_bytes(b"II*\0")
    glass = np.full((64, 64, 3), 245, np.uint8)
    tifffile.imwrite(given / "slides" / "glass.tif", glass, photometric="rgb", **per_cm)
    write_slide(given / "bare" / "bare.tif")
    lines = ["path,label,case,split"]
    for name in names:
        _, split, label, file = name.split("/")
        lines.append(f"{name},{label},{file.partition('_')[0]},{split}")
    (given / "labels.csv").write_text("\n".join(lines) + "\n")
    (given / "mpp.csv").write_text("slide,mpp\nbare.tif,1.0\nother,\n")
    (given / "cases.csv").write_text("slide,case\nbare,case-bare\n")
    with h5py.File(given / "pcam_x.h5", "w") as file:
        file["x"] = np.stack([noise(64, dark, 7) for dark in (True, False)])
    with h5py.File(given / "pcam_y.h5", "w") as file:
        file["y"] = np.array([0, 1], np.uint8).reshape(2, 1, 1, 1)


def command(code: int, *words: object) -> None:
    """Run one command line."""
    from histoscope.apps.cli import run

    assert run([str(word) for word in words]) == code, words


def write_by_commands(given: Path, out: Path) -> None:
    """Each command on inputs that reach all of its files; 1: a slide is broken."""
    from histoscope.core.config import dump
    from histoscope.core.data.store import Store
    from histoscope.core.labels.spec import FinetuneSpec

    cut = ("--mpp", 0.5, "--tile-mpp", 1, "--size-px", 32, "--workers", 0)
    first = (given / "set", given / "slides", "--case-regex", r"(case-\d+)_")
    command(1, "prepare", *first, "--out", out / "store", *cut)
    lists = ("--mpp-csv", given / "mpp.csv", "--cases", given / "cases.csv")
    second = (given / "labels.csv", given / "pcam_x.h5", given / "bare", *lists)
    command(0, "prepare", *second, "--out", out / "store-of-lists", *cut)
    rows = Store(out / "store").index.select(["id", "source", "case", "split"]).to_pylist()
    lines = [",".join(row.values()) for row in rows if row["split"]]
    (given / "split.csv").write_text("\n".join(["id,source,case,split", *lines]) + "\n")
    (given / "finetune.yaml").write_text(dump(FinetuneSpec(fraction=0.5, draws=1)))
    few = ("--split", f"{given / 'split.csv'}:train", "--config", given / "finetune.yaml")
    command(0, "finetune", out / "store", "--encoder", "colour", "--out", out / "package", *few)
    command(0, "evaluate", out / "package", out / "store", "--out", out / "evaluation")
    by = ("--package", out / "package", "--workers", 0)
    command(1, "predict", given / "slides", "--out", out / "predictions", *by)
    command(1, "embed", given / "slides", "--out", out / "features", *by)


def write_demo(given: Path, out: Path) -> None:
    """``demo`` with a tiny phantom, a small network and two steps, in this process."""
    from histoscope.apps import demonstration
    from histoscope.core.contracts import Phantom
    from histoscope.core.domains import load_domain
    from histoscope.domains.pathology.phantom import write_phantom

    domain = load_domain("pathology")
    training = {"steps": 2, "batch_size": 8, "workers": 0, "threads": 1, "checkpoint_every": 1}
    views = {"domain": {"stain": {"p": 0.5, "sigma": 0.1}}}

    def phantom(folder: Path, seed: int) -> Phantom:
        write_phantom(folder, seed, train=1, valid=0, test=0, new=1, side_px=256)
        return Phantom(
            labelled=given / "set",
            new=given / "slides",
            sampling=domain.sampling(size_px=32, tile_mpp=1),
            prepare_options=domain.options["prepare"](mpp=0.5),
            predict_options=domain.options["predict"](),
            pretrain={"encoder": "resnet10t", "training": training, "views": views},
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain, "phantom", phantom)
        for name in ("prepare", "predict"):
            here = functools.partial(getattr(demonstration, name), workers=0)
            patch.setattr(demonstration, name, here)
        command(0, "demo", "--draws", 2, "--out", out)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The whole road, once."""
    given, out = tmp_path_factory.mktemp("given"), tmp_path_factory.mktemp("formats")
    write_inputs(given)
    write_by_commands(given, out)
    write_demo(given, out / "demo")
    chapters = {
        "store": "Store",
        "store-of-lists": "Store",
        "package": "Package",
        "evaluation": "Evaluation",
        "predictions": "Predictions",
        "features": "Features",
        "demo": "Demo",
    }
    assert {path.name for path in out.iterdir()} == set(chapters)
    files = [path for path in given.iterdir() if path.is_file()]
    return Written([(out / name, chapter) for name, chapter in chapters.items()], files)


@pytest.fixture(scope="module")
def text() -> str:
    """The page."""
    return PAGE.read_text(encoding="utf-8")


def test_every_file_is_documented_as_it_is_written(written: Written, text: str):
    assert written.compare(text).faults == []


def test_everything_documented_is_written(written: Written, text: str):
    assert list(written.compare(text).unwritten()) == []


@pytest.mark.parametrize(
    ("beginning", "fault"),
    [
        ("| `shard` | string ", "Store: index.parquet: column shard is not documented"),
        ("| `origin` ", "Store: labels/<task>.parquet: metadata origin is not documented"),
        ("| `image` | large", "Store: shards/<id>.arrow: column image is not documented"),
        ("| `roots` ", "Store: store.json: key roots is not documented"),
        ("| `area_mm2` ", "results/<id>/classes.csv: column area_mm2 is not documented"),
        ("| `views.blur.p` ", "Run: config.yaml: key views.blur.p is not documented"),
        ("| `coords` ", "<id>/<id>.h5: dataset coords is not documented"),
        ("| `complete` ", "<id>/<id>.h5: attribute file.complete is not documented"),
        ("| `projector.<parameter>` ", "tensor projector.0.weight is not documented"),
        ("| `mpp_source` ", "pathology facts: key mpp_source is not documented"),
        ("### `confusion.png`", "Evaluation: confusion.png is documented 0 times"),
    ],
)
def test_what_is_taken_from_the_page_is_reported(
    written: Written, text: str, beginning: str, fault: str
):
    page, count = re.subn(rf"(?m)^{re.escape(beginning)}.*\n", "", text, count=1)
    assert count == 1
    assert any(one.endswith(fault) for one in written.compare(page).faults)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("| `row` | int64 |", "| `row` | int32 |", "column row is not int32"),
        ("| `row` | int64 | | yes |", "| `row` | int64 | | no |", "column row is not int64, no"),
        ("| `share` | float64 |", "| `share` | int64 |", "column share is not int64"),
        ("| `dim` | integer |", "| `dim` | string |", "encoder: key dim is not string"),
        ("(classes, dim)", "(classes)", "tensor head.0.weight is not float32"),
        ("`histoscope.index` version 1", "`histoscope.index` version 2", "index.parquet: is ("),
        ("`histoscope.embed` v", "`histoscope.embedding` v", "embed.json: is ('histoscope.embed'"),
        ("| `row` |", "| `rows` |", "index.parquet: column rows is missing in a file"),
    ],
)
def test_what_is_changed_on_the_page_is_reported(
    written: Written, text: str, old: str, new: str, fault: str
):
    assert old in text
    assert any(fault in one for one in written.compare(text.replace(old, new, 1)).faults)


@pytest.mark.parametrize(
    ("after", "added", "fault"),
    [
        ("### `curves.png`", "\n\nPNG.\n\n### `more.png`", "Run: more.png: not written"),
        (
            "| `mpp_x` | number |",
            " |\n| `mpp_z` | number, may be absent |",
            "key mpp_z not written",
        ),
    ],
)
def test_what_no_file_has_is_reported(
    written: Written, text: str, after: str, added: str, fault: str
):
    assert after in text
    found = list(written.compare(text.replace(after, after + added, 1)).unwritten())
    assert any(one.endswith(fault) for one in found)


def test_exit_codes_of_the_page_are_those_of_the_errors(text: str):
    kinds = [HistoscopeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert set(Page(text).exits) == {0, 1} | {kind.exit_code for kind in kinds}


def test_links_of_the_page_lead_to_its_headings(text: str):
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    anchors = {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}
    assert set(re.findall(r"\]\(#(.+?)\)", text)) <= anchors
