"""What every domain owes: ``check_domain(domain, roots, options, sampling)``."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from histoscope.core.config import Spec
from histoscope.core.contracts import (
    CorruptSample,
    Domain,
    Reader,
    Roots,
    Sample,
    Sampling,
    Source,
)
from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.units import sample_keys
from histoscope.core.views.spec import ViewsSpec

ROWS = 24  # of each source that are read, at most
TYPES = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def check_domain(name: str, roots: Roots, options: Spec, sampling: Sampling) -> int:
    """See that a domain keeps its contract on some sources of it.

    Args:
        name: of the domain, as its entry point has it.
        roots: name to folder or file.
        options: of its ``prepare`` or ``predict``.
        sampling: how samples are cut.

    Returns:
        How many samples were read.

    Raises:
        AssertionError: saying what it owes.
    """
    domain = load_domain(name)
    assert domain.name == name, f"name: {domain.name}, but its entry point says {name}"
    found, again = (list(_sources(domain, roots, options)) for _ in range(2))
    assert found, "find: nothing"
    assert found == again, "find: other sources, or in another order, the second time"
    assert len({source.id for source in found}) == len(found), "find: an id stands twice"
    read = 0
    for source in found:
        assert re.fullmatch(r"[0-9a-f]{16}", source.id), f"find: {source.id!r} is no opaque id"
        travelled = pickle.loads(pickle.dumps(source))  # noqa: S301  as to a worker
        with domain.open(travelled, roots, sampling) as reader:
            read += _check_reader(domain, source, reader, sampling)
        if getattr(reader, "divisible", False):
            _check_divisible(domain, source, roots, sampling)
    _check_views(domain, sampling)
    _check_export(domain, sampling)
    return read


def _sources(domain: Domain, roots: Roots, options: Spec) -> Iterator[Source]:
    for one in domain.find(roots, options):
        if isinstance(one, Source):
            yield one


def _check_reader(domain: Domain, source: Source, reader: Reader, sampling: Sampling) -> int:
    plan = reader.plan()
    rows = plan.rows
    assert len(rows) or plan.reason, "plan: no rows and no reason"
    for field in domain.location:
        column = rows.column(field.name)
        assert column.type == TYPES[field.type], f"plan: {field.name} is {column.type}"
        assert field.nullable or not column.null_count, f"plan: {field.name} is null"
    keys = sample_keys(source, rows)
    assert len(set(keys)) == len(keys), "plan: two samples have one key"
    some = rows.slice(0, ROWS)
    samples = list(reader.read(some)) if len(some) else []
    assert len(samples) == len(some), f"read: {len(samples)} answers to {len(some)} rows"
    for sample in samples:
        if isinstance(sample, CorruptSample):
            assert sample.reason.count("\n") == 0 < len(sample.reason), "read: a reason is one line"
            continue
        side = sampling.size_px
        assert sample.image.shape == (side, side, 3), f"read: an image of {sample.image.shape}"
        assert sample.image.dtype == np.uint8, f"read: {sample.image.dtype}, not uint8"
    for fact, value in reader.facts.items():
        assert value is None or isinstance(value, str | int | float | bool), f"facts: {fact}"
    _check_relations(domain, some, source)
    if len(rows):
        _check_close_ups(domain, reader, rows)
    return len(samples)


def _check_close_ups(domain: Domain, reader: Reader, rows: pa.Table) -> None:
    """As many as asked for, in that order, with the sample inside."""
    places = [len(rows) - 1, 0]
    found = list(domain.close_ups(reader, rows, places))
    assert len(found) == len(places), f"close_ups: {len(found)} of {len(places)}"
    for one in found:
        if isinstance(one, CorruptSample):
            continue
        assert one.image.dtype == np.uint8, f"close_ups: {one.image.dtype}, not uint8"
        assert one.image.ndim == 3 == one.image.shape[2], f"close_ups: {one.image.shape}"
        left, top, width, height = one.box
        right, low = one.image.shape[1] - left - width, one.image.shape[0] - top - height
        assert min(left, top, right, low) > -1, f"close_ups: {one.box} reaches over the picture"
        assert one.where, "close_ups: nothing says where it is"


def _check_relations(domain: Domain, rows: pa.Table, source: Source) -> None:
    if "relations" not in domain.options:
        return
    ids = pa.array(sample_keys(source, rows), pa.string())
    index = rows.append_column("source", pa.array([source.id] * len(rows), pa.string()))
    spec = domain.options["relations"]()
    near = domain.relations(index.append_column("id", ids), spec)
    pairs = list(zip(*(near.column(n).to_pylist() for n in ("row", "other", "kind")), strict=True))
    assert len(set(pairs)) == len(pairs), "relations: a pair stands twice"
    assert {kind for *_, kind in pairs} <= {"partner", "same"}, "relations: an unknown kind"
    for row, other, kind in pairs:
        assert 0 <= row < len(rows), f"relations: row {row} of {len(rows)}"
        assert row != other, "relations: a sample is its own neighbour"
        assert (other, row, kind) in pairs, "relations: near in one direction only"


def _check_divisible(domain: Domain, source: Source, roots: Roots, sampling: Sampling) -> None:
    """Rows that are read apart are those that are read together."""
    with domain.open(source, roots, sampling) as reader:
        rows = reader.plan().rows.slice(0, ROWS)
        whole = list(reader.read(rows)) if len(rows) else []
    with domain.open(source, roots, sampling) as reader:
        reader.plan()
        apart: Sequence[Sample | CorruptSample] = [
            next(iter(reader.read(rows.slice(place, 1)))) for place in reversed(range(len(rows)))
        ]
    for one, other in zip(whole, reversed(apart), strict=True):
        assert type(one) is type(other), "divisible: a row is corrupt only sometimes"
        if isinstance(one, Sample) and isinstance(other, Sample):
            assert np.array_equal(one.image, other.image), "divisible: other pixels by itself"


def _check_export(domain: Domain, sampling: Sampling) -> None:
    export = domain.export(domain.options.get("embed", Spec)(), "colour", sampling)
    travelled = pickle.loads(pickle.dumps(export))  # noqa: S301  as to a worker
    assert callable(travelled.write), "export: nothing that writes"


def _check_views(domain: Domain, sampling: Sampling) -> None:
    plan = domain.views(ViewsSpec(), sampling.size_px)
    image = np.full((sampling.size_px, sampling.size_px, 3), 128, np.uint8)
    drawn = [plan.draw(0, 1, 2, 0) for _ in range(2)]
    assert np.array_equal(drawn[0][1], drawn[1][1]), "views: other draws the second time"
    view = plan.apply_on_worker(image, drawn[0][0])
    side = plan.geometry.size_px
    assert view.shape == (side, side, 3), f"views: a view of {view.shape}"
