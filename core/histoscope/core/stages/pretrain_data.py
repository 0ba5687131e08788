"""What a run of pretraining reads: which samples, in what order, with which planes beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.config import Spec, build
from histoscope.core.contracts import Domain, Ordered
from histoscope.core.data.companions import ORDERED, Companions
from histoscope.core.data.loader import DONOR, PARTNER, Family, ViewDataset
from histoscope.core.data.order import Positions
from histoscope.core.data.planes import Planes, open_planes
from histoscope.core.data.relations import Donors, Partners
from histoscope.core.data.selection import Selection
from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError
from histoscope.core.training.run import Data, Run
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.views.background import MASK, Background
from histoscope.core.views.plan import GLOBAL

LOOKED_AT = 1000  # images, evenly spaced, whose masks are looked at before a run
FEW = 0.2  # of them


def data_of(store: Store, domain: Domain, chosen: Selection, spec: PretrainSpec) -> Data:
    """Which samples, how their images were cut and kept, and in what order they come."""
    training = spec.training
    near, known = spec.objective.relations, domain.options.get("relations", Spec)
    for name, value in near.items():
        asked_for = f"objective.positives: {name.replace('partner_', 'within_')} {value:g}"
        if name not in known.model_fields:
            raise UsageError(f"{asked_for}: {domain.name} measures nearness otherwise")
        if spec.relations.get(name, value) != value:
            raise UsageError(f"{asked_for}: relations.{name} is {spec.relations[name]:g}; give one")
    asked = build(known, {**spec.relations, **near}, "relations")
    table = store.index.select(["id", "source", "case"]).take(chosen.rows)
    about, scale = store.about, dict(store.sampling.scale())
    how = [about["domain"], _cut(store), scale, about["encoding"]]
    told = "\n".join([json.dumps(how), *table.column("id").to_pylist()])
    digest = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
    of = "case" if training.positions == "per_case" else "source"
    groups = table.column(of).to_pylist()
    kind, cap = training.positions, training.source_cap
    positions = Positions(kind, len(table), training.seed, groups, cap)

    @cache  # the method and the loader may both ask
    def relations() -> pa.Table:
        return domain.relations(store.index.take(chosen.rows), asked)

    def order() -> NDArray[np.float64]:
        if not isinstance(domain, Ordered):
            raise UsageError(
                f"objective.order: samples of {domain.name} lie in no order within their source; "
                "leave it out"
            )
        return domain.order(store.index.take(chosen.rows))

    return Data(digest, table.drop_columns(["id"]), relations, order, positions)


def _cut(store: Store) -> dict[str, Any]:
    """How images were cut, as a program said it that did not know later fields."""
    usual = {name: type(store.sampling).model_fields[name].default for name in store.sampling.added}
    told = store.about["sampling"].items()
    return {name: value for name, value in told if name not in usual or value != usual[name]}


def planes_of(store: Store, run: Run, chosen: Selection) -> dict[str, tuple[str, Planes]]:
    """By kind the planes that the method or an operation wants; the settings say which they are.

    Raises:
        UsageError: nobody wants one that is named, or two different ones are asked for.
        DataError: a store has none such.
    """
    wanted = dict[str, str | None].fromkeys(run.objective.needs.planes)
    for one in compositors(run):
        for kind, provider in one.planes.items():
            wanted[kind] = _agreed(kind, provider, wanted.get(kind))
    for kind, name in run.spec.planes.items():
        if kind not in wanted:
            raise UsageError(f"planes.{kind}: {run.spec.objective.base} and its views want none")
        wanted[kind] = _agreed(kind, name, wanted[kind])
    opened = {kind: open_planes(store, kind, asked, chosen.rows) for kind, asked in wanted.items()}
    named = {kind: name.partition(":")[2] for kind, (name, _) in opened.items()}
    run.spec = run.spec.model_copy(update={"planes": named})
    return opened


def _agreed(kind: str, one: str | None, other: str | None) -> str | None:
    """Of two names of a plane, of which a provider alone is one, the longer."""
    if one is None or other is None:
        return one or other
    shorter, longer = sorted((one, other), key=len)
    if longer != shorter and longer.partition("@")[0] != shorter:
        raise UsageError(f"planes.{kind}: {one} and {other} are asked for; a run reads one")
    return longer


def compositors(run: Run) -> list[Any]:
    """Operations of all families that put parts of images together."""
    return [one for plan in run.plans.values() for one in plan.compositors]


def donors_of(run: Run) -> int:
    """How many donors of each image the method or an operation wants."""
    each = max([0, *(one.donors for one in compositors(run))])
    return max(run.objective.needs.donors, each * run.objective.needs.families[GLOBAL])


def dataset_of(
    store: Store, chosen: Selection, run: Run, data: Data, planes: Mapping[str, Planes]
) -> ViewDataset:
    """What the workers cut: families of views, also of second images."""
    needs, plans, seed = run.objective.needs, run.plans, run.spec.training.seed
    counts, samples = dict(needs.families), len(chosen.rows)
    partners = donors = companions = None
    if needs.partners:
        partners = Partners(data.relations(), samples, needs.partners, seed)
        counts[PARTNER] = needs.partners
    if wanted := donors_of(run):
        donors = Donors(samples, wanted, seed)
        counts[DONOR] = wanted
    if needs.ordered:
        sources = data.table.column("source").to_pylist()
        companions = Companions(data.order(), sources, needs.ordered, seed)
        counts[ORDERED] = needs.ordered
    families = {name: Family(plans[name], count) for name, count in counts.items()}
    return ViewDataset(
        store.reader, chosen.rows, families, seed, partners, donors, planes, companions
    )


def said_of_backgrounds(run: Run, dataset: ViewDataset) -> str:
    """How many images have a subject whose background can be changed; empty if none is."""
    specs = [one.spec for one in compositors(run) if isinstance(one, Background)]
    if not specs:
        return ""
    planes, (low, high) = dataset.planes[MASK], specs[0].area
    places = np.unique(np.linspace(0, len(dataset.rows) - 1, LOOKED_AT).astype(int))
    shares = [(planes.plane(int(dataset.rows[at])) > 0).mean() for at in places]
    fitting = sum(low <= share <= high for share in shares)
    said = (
        f"views.background: of {len(places)} images looked at {fitting} have a subject of "
        f"{low:.0%} to {high:.0%} of their area"
    )
    if not fitting:
        return f"{said}: nothing is changed; try another provider"
    few = fitting < FEW * len(places)
    return f"{said}; in so few it changes little: try another provider" if few else said
