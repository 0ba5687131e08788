"""Files held against ``docs/formats.md``, by kind."""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
import yaml
from safetensors import safe_open

from tests.formats_page import BLOCKS, Page, Row, Section, alternatives, of_another, regex_of

NESTED = ("Demo", "Tuning")  # chapters of folders that hold those of others
SIGNATURES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "Events": rb".{12}\t.{8}\x1a\rbrain\.Event:2",
    "JPEG": rb"\xff\xd8",
    "TIFF": rb"II\*\0",
    "MP4": rb"....ftyp",
    "HTML": rb"<!DOCTYPE html>",
    "GeoJSON": rb'\{"type": "FeatureCollection", ',
    "XML": rb"<\?xml ",
    "Text": rb"",
    "WebVTT": rb"WEBVTT\n\n",
    "SubRip": rb"1\n00:00:00,000 --> \d\d:",
    "Markdown": rb"# ",
}
SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, dict),
}
NUMBER = r"-?\d+(\.\d+)?(e[-+]?\d+)?"
IN_CSV = {
    "string": r"(?s:.*)",
    "int64": r"-?\d+",
    "float64": NUMBER,
    "float32": NUMBER,
    "bool": "true|false",
}
TENSOR_TYPES = {"F32": "float32", "I64": "int64"}


class Comparison:
    """Collects what differs between the page and files, and which rows some file had."""

    def __init__(self, text: str) -> None:
        self.page = Page(text)
        self.faults: list[str] = []
        self._domain = ""
        self._seen: set[str | Row] = set()
        self._kinds: dict[str, Callable[[Section, Path], tuple[Any, Any]]] = {
            "Parquet": self._parquet,
            "Arrow": self._arrow,
            "CSV": functools.partial(self._csv, delimiter=","),
            "TSV": functools.partial(self._csv, delimiter="\t"),
            "JSON": self._json,
            "YAML": self._yaml,
            "HDF5": self._hdf5,
            "NPY": self._npy,
            "Torch": self._torch,
            "Safetensors": self._safetensors,
        }

    def folder(self, folder: Path, chapter: str, domain: str) -> None:
        """Every file below a folder that was made with this domain."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        assert files, folder
        for path in files:
            self.place(path, path.relative_to(folder).as_posix(), chapter, domain)

    def place(self, path: Path, name: str, chapter: str, domain: str) -> None:
        """A file by its name in a folder of the chapter."""
        self._domain = domain
        for pattern, inner in self.page.folders if chapter in NESTED else []:
            found = regex_of(pattern).match(name)
            if found and not of_another(domain, inner):
                return self.place(path, name[found.end() :], inner, domain)
        sections = self.page.chapters[chapter].values()
        fitting = [
            section
            for section in sections
            if regex_of(section.name).fullmatch(name) and section.head[3] in (None, domain)
        ]
        if len(fitting) == 1:
            return self.file(path, fitting[0])
        times = len(fitting)
        return self.faults.append(f"{chapter}: {name} is documented {times} times for {domain}")

    def file(self, path: Path, section: Section) -> None:
        """One file against its section."""
        self._seen.add(section.key)
        kind, format_name, version, _ = section.head
        if kind in SIGNATURES:
            data = path.read_bytes()
            good = bool(re.match(SIGNATURES[kind], data, re.DOTALL))
            if kind in {"HTML", "GeoJSON", "Text", "Markdown"}:
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
                for row in (part for part in section.parts if isinstance(part, Row)):
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
        rows = self.page.rows(section, table, self._domain)
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
        if table == "column":
            self._order(section, [row.name for row in rows if not row.optional], list(found))

    def _order(self, section: Section, documented: list[str], found: list[str]) -> None:
        """Columns that every such file has stand as on the page; others may come in between."""
        known = [name for name in documented if name in found]
        if (written := [name for name in found if name in known]) != known:
            self.faults.append(f"{section.key}: columns are in the order {', '.join(written)}")

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

    def _csv(self, section: Section, path: Path, delimiter: str) -> tuple[Any, Any]:
        quote = '"' if delimiter == "," else None
        quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
        with path.open(encoding="utf-8", newline="") as handle:
            names = next(csv.reader(handle, delimiter=delimiter, quoting=quoting))
        options = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        layout = pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=quote or False)
        table = pyarrow.csv.read_csv(path, parse_options=layout, convert_options=options)
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
        rows = self.page.rows(section, "key", self._domain)
        leaves = dict(_leaves(body, {row.name for row in rows}))
        self._match(
            section,
            "key",
            {name: functools.partial(self._fits, value) for name, value in leaves.items()},
        )

    def _fits(self, value: Any, row: Row) -> bool:
        kinds = [kind for kind in row.types if not of_another(self._domain, kind)]
        return any(self._is(kind, value) for kind in kinds)

    def _is(self, kind: str, value: Any) -> bool:
        if kind in SCALARS:
            return SCALARS[kind](value)
        if kind.startswith("("):
            return any(self._is(one, value) for one in alternatives(kind[1:-1]))
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

    def _npy(self, section: Section, path: Path) -> tuple[Any, Any]:
        array = np.load(path, allow_pickle=False)
        agrees = functools.partial(_shaped, str(array.dtype), array.shape)
        self._match(section, "array", {"(the whole)": agrees})
        return None, None

    def _torch(self, section: Section, path: Path) -> tuple[Any, Any]:
        array = torch.load(path, weights_only=True).numpy()
        agrees = functools.partial(_shaped, str(array.dtype), array.shape)
        self._match(section, "array", {"(the whole)": agrees})
        return None, None

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
        good = all(re.fullmatch(IN_CSV[row.types[0]], text) for text in texts)
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
