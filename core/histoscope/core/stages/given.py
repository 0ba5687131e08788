"""Features that another program computed: their files, labels and encoder, and what must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.config import Spec
from histoscope.core.contracts import (
    Domain,
    GivenFeatures,
    Roots,
    Sample,
    Source,
    Split,
    TakesFeatures,
    Task,
)
from histoscope.core.contracts.installed import Found, working_domains
from histoscope.core.data.given import GivenRows, GivenStore, manifest_of
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.named import NamedSources
from histoscope.core.data.selection import PARTS
from histoscope.core.data.units import sample_keys, units
from histoscope.core.encoders.contract import Encoder
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder
from histoscope.core.encoders.given import GivenEncoder, GivenSpec
from histoscope.core.errors import DataError, UnreadableSource, UsageError
from histoscope.core.labelling.gather import LabelFile, gather, read_label_file
from histoscope.core.packages.package import Package
from histoscope.core.progress import Progress
from histoscope.core.tables.names import listed
from histoscope.core.tables.spreadsheet import Sheet, read_sheet
from histoscope.core.work.reading import Opening
from histoscope.core.work.said import say_found

KIND = "given"
TASK = "label"  # where neither file nor person names it


def domain_of_features(name: str | None = None) -> Domain:
    """The domain that reads features of other programs.

    Raises:
        UsageError: the one that is named does not, or none or several do.
    """
    able = [one for one in working_domains() if isinstance(one, TakesFeatures)]
    names = [one.name for one in able]
    if name is not None and name not in names:
        raise UsageError(f"--features: domain {name!r} reads none of other programs")
    found = [one for one in able if name in (None, one.name)]
    if len(found) != 1:
        raise UsageError(f"--features: give --domain with one of: {', '.join(names)}")
    return found[0]


def find_given(domain: Domain, roots: Roots, options: Spec) -> GivenFeatures:
    """Files of features; see :class:`TakesFeatures`."""
    if not isinstance(domain, TakesFeatures):
        raise UsageError(f"--features: domain {domain.name!r} reads none of other programs")
    return domain.find_features(roots, options)


def is_given(info: EncoderInfo) -> bool:
    """Whether an encoder is known by its features alone."""
    return info.network.kind == KIND


def open_given(
    domain: Domain,
    folder: Path,
    options: Spec,
    labels: Path,
    *,
    name: str | None = None,
    package: Package | None = None,
    progress: Progress,
) -> GivenStore:
    """Features of those sources that a file of labels names.

    Args:
        domain: that reads them.
        folder: of the files, or one of them.
        options: the domain's options of ``features``.
        labels: a label table, or a CSV as :func:`read_label_file` reads, of sources; its columns
            ``case`` and ``split`` count.
        name: of the task.
        package: of which they must be, with one task that the labels must answer.
        progress: who is told.

    Raises:
        DataError: as of the domain; features of another encoder than the package's; labels of
            samples, or of none of the files.
    """
    roots = {"input": folder}
    given = find_given(domain, roots, options)
    if package:
        theirs = encoder_info(domain.name, given)
        check_given(package.info.encoder, theirs, str(package.folder), str(folder))
    say_found(Found([*given.sources], [*given.unused]), progress)
    progress.say(f"features: {said(encoder_info(domain.name, given))}")
    told = read_label_file(labels, words=given.naming.words)
    known = NamedSources(manifest_of(given), given.naming)
    given = replace(given, sources=_of_sheet(given, known, labels))
    task = package.tasks[0] if package else None
    table = _labels_of(told, known, given, name, task, progress)
    rows = _rows_of(Opening(domain.name, roots, given.sampling), given, table, progress)
    return GivenStore(folder, domain.name, given, table, rows)


def encoder_of(store: GivenStore) -> LoadedEncoder:
    """What a package says of the encoder whose features they are."""
    info = encoder_info(store.domain, store.given)
    module = GivenEncoder(info.network)
    module.dim = info.dim
    return LoadedEncoder(cast(Encoder, module.eval()), info, frozenset())


def encoder_info(domain: str, given: GivenFeatures) -> EncoderInfo:
    """The encoder of features."""
    return EncoderInfo(
        network=GivenSpec(kind="given", name=given.encoder),
        dim=given.dim,
        domain=domain,
        sampling=given.sampling.model_dump(mode="json"),
        provenance={"kind": KIND, **({"weights": given.weights} if given.weights else {})},
    )


def said(info: EncoderInfo) -> str:
    """Encoder, width, size, scale and, where known, weights, in words."""
    cut = info.cut(info.architecture)
    scale = ", ".join(f"{name} {value:g}" for name, value in cut.scale().items())
    told = f"{info.network.name}, {info.dim} wide, of images of {cut.size_px} px at {scale}"
    weights = info.provenance.get("weights")
    return f"{told}, weights {str(weights)[:8]}" if weights else told


def check_given(ours: EncoderInfo, theirs: EncoderInfo, where: str, folder: str) -> None:
    """Refuse features of another encoder, width, size or scale, and a package of images.

    Raises:
        UsageError: the package was made from images.
        DataError: naming what both are.
    """
    if not is_given(ours):
        raise UsageError(
            f"{where}: made from images with {ours.architecture}; give these, not --features"
        )
    mine, other = ours.cut(where), theirs.cut(folder)
    near = all(
        abs(other.scale().get(name, float("nan")) - value) <= 0.01 * value
        for name, value in mine.scale().items()
    )
    alike = (ours.network.name, ours.dim, ours.domain, mine.size_px) == (
        theirs.network.name,
        theirs.dim,
        theirs.domain,
        other.size_px,
    )
    weights = [one.provenance.get("weights") for one in (ours, theirs)]
    if not (near and alike) or (all(weights) and weights[0] != weights[1]):
        raise DataError(
            f"{where}: made from features of {said(ours)}; {folder} has those of {said(theirs)}"
        )


def _of_sheet(given: GivenFeatures, known: NamedSources, labels: Path) -> Sequence[Source]:
    """Sources with the case and split that a CSV of labels has beside these."""
    if labels.suffix.lower() == ".parquet":
        return given.sources
    sheet = read_sheet(labels)
    words = ("source", *given.naming.words)
    key = sheet.column(*words)
    there = {name.lower() for name in sheet.names}
    told = {name: _column(sheet, key, name, known) for name in {"case", "split"} & there}
    sources = []
    for one in given.sources:
        case = told.get("case", {}).get(one.id)
        if case and one.case and case != one.case:
            raise DataError(f"{labels}: {one.path} is of case {case}, and of {one.case} elsewhere")
        split = cast(Split | None, told.get("split", {}).get(one.id, one.split))
        sources.append(replace(one, case=case or one.case, split=split))
    return sources


def _column(sheet: Sheet, key: str, column: str, known: NamedSources) -> dict[str, str]:
    """What a column says of each source."""
    found = dict[str, str]()
    for line, row in sheet.rows:
        where, word = f"{sheet.path}, line {line}", row[column]
        source = known.id_of(row[key], where) if row[key] else None
        if source is None:
            continue
        if column == "case" and not word:
            raise DataError(f"{where}: no case of {row[key]}; fill it in, or remove the column")
        if column == "split" and word not in (*PARTS, ""):
            raise DataError(f"{where}: split {word!r}; known: {', '.join(PARTS)}, or nothing")
        if word and found.setdefault(source, word) != word:
            raise DataError(f"{where}: {row[key]} stands twice, with two values of {column}")
    return found


def _labels_of(
    told: LabelFile,
    known: NamedSources,
    given: GivenFeatures,
    name: str | None,
    task: Task | None,
    progress: Progress,
) -> LabelTable:
    """What a file says of the sources that are here."""
    if told.level != "source":
        words = " or ".join(("source", *given.naming.words))
        raise DataError(f"{told.name}: features are of sources, so labels need a column {words}")
    values, lost = dict[tuple[str, str], Any](), dict[str, None]()
    for (one, kind), value in told.values.items():
        found = known.id_of(one, told.name)
        if found is None:
            lost[one] = None
        elif values.setdefault((found, kind), value) != value:
            raise DataError(f"{told.name}: source {one} stands twice, with two labels")
    if not values:
        first = f" (first: {next(iter(lost))})" if lost else ""
        raise DataError(f"{told.name}: no label of a file that is here{first}")
    if lost:
        progress.say(f"not used: labels of {len(lost)} without features here ({listed([*lost])})")
    used = [one for one in told.idle if one.lower() not in ("case", "split")]
    asked = task or Task(name or told.task or TASK, told.classes, told.exclusive, "source")
    file = replace(told, values=values, idle=used, task=None if task else told.task)
    ids = [one.id for one in given.sources]
    return gather([file], asked, ids, "the features", later_wins=False, progress=progress)


def _rows_of(
    opening: Opening, given: GivenFeatures, table: LabelTable, progress: Progress
) -> GivenRows:
    """Features of the sources that have a label; what cannot be read is said and left out."""
    labelled = [one for one in given.sources if one.id in table.known()]
    parts, features = list[pa.Table](), [np.zeros((0, given.dim), np.float32)]
    left_out = dict[str, list[str]]()
    progress.start("features", len(labelled), "files")
    for source in labelled:
        try:
            rows, vectors = _read(opening, source, given.dim)
            if not len(rows):
                raise UnreadableSource("no features in it")
            parts.append(rows)
            features.append(vectors)
        except UnreadableSource as fault:
            left_out.setdefault(str(fault), []).append(source.path)
        progress.advance()
    progress.finish()
    for reason, paths in left_out.items():
        progress.say(f"not used: {listed(paths)}: {reason}")
    if not parts:
        raise DataError("--features: no labelled file of them could be read")
    return GivenRows(pa.concat_tables(parts), np.concatenate(features))


def _read(opening: Opening, source: Source, dim: int) -> tuple[pa.Table, NDArray[np.float32]]:
    """Index rows of one source, and its features, 0 where a row cannot be used."""
    with opening.open(source) as reader:
        planned = reader.plan().rows
        features = np.zeros((len(planned), dim), np.float32)
        status = list[str]()
        for place, sample in enumerate(reader.read(planned)):
            if isinstance(sample, Sample):
                features[place] = sample.image
            status.append("ok" if isinstance(sample, Sample) else sample.reason)
    ids = sample_keys(source, planned)
    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "source": pa.array([source.id] * len(ids), pa.string()),
        "case": pa.array([source.case] * len(ids), pa.string()),
        "unit": pa.array(units(source, ids, [source.case] * len(ids)), pa.string()),
        "split": pa.array([source.split] * len(ids), pa.string()),
        **{name: planned.column(name) for name in planned.column_names if name != "key"},
        "status": pa.array(status, pa.string()),
        "mark": pa.nulls(len(ids), pa.string()),
    }
    return pa.table(columns), features
