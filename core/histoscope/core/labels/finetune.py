"""From few labels to a model package: several draws, one of which predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histoscope.core.data.store import Store
from histoscope.core.encoders.choose import open_encoder
from histoscope.core.encoders.folder import LoadedEncoder, digest_units
from histoscope.core.errors import UsageError
from histoscope.core.labels.draws import draw_labels
from histoscope.core.labels.features import features_of
from histoscope.core.labels.full import fine_tune
from histoscope.core.labels.labelled import Labelled, labelled_rows, task_of
from histoscope.core.labels.probe import LinearHead, fit_probe
from histoscope.core.labels.spec import FinetuneSpec
from histoscope.core.packages.package import (
    HeadInfo,
    Package,
    PackageInfo,
    class_infos,
    open_package,
    tuned,
    write_package,
)
from histoscope.core.progress import Progress


def finetune(
    store: Store,
    encoder: str,
    spec: FinetuneSpec,
    out: Path,
    *,
    task_name: str | None = None,
    labels: Path | None = None,
    split: str | None = None,
    progress: Progress,
) -> Package:
    """Fit one head a draw (and, with ``full``, one encoder a draw) and write the package.

    Args:
        store: whose ``train`` split is read.
        encoder: a run, a package, ``timm:NAME``, ``random:NAME`` or ``colour``.
        spec: method, fraction, draws.
        out: the package's folder, absent or empty.
        task_name: which label table of the store.
        labels: a label table's file instead.
        split: ``FILE:PART`` instead of the store's split.
        progress: who is told.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: not empty; give another --out")
    task, table = task_of(store, task_name, labels)
    train = labelled_rows(store, "train", task, table, split)
    loaded = open_encoder(encoder, store, spec.seed)
    cases = store.index.column("case").take(train.rows).to_pylist()
    draws = [
        draw_labels(train.truth, cases, spec.fraction, draw, spec.seed, spec.draw_by)
        for draw in range(spec.draws)
    ]
    sizes = sorted({len(draw) for draw in draws})
    progress.say(
        f"finetune reads {train.said}, {len(train.rows)} with labels; {spec.draws} draws of "
        f"{' to '.join(map(str, {sizes[0], sizes[-1]}))} labels"
    )
    encoders, heads = _fit(store, loaded, train, draws, len(task.classes), spec, progress)
    used = np.unique(np.concatenate(draws))
    seen = loaded.seen | digest_units(train.units[place] for place in used)
    head = HeadInfo(
        task=task.name,
        level=task.level,
        classes=class_infos(task),
        method=spec.method,
        labels=[len(draw) for draw in draws],
        fraction=spec.fraction,
        draw_by=spec.draw_by,
        seed=spec.seed,
        calibration={"kind": "none", "reason": "none is fitted; scores only rank"},
    )
    write_package(out, PackageInfo(encoder=loaded.info, heads=[head]), encoders, heads, seen)
    return open_package(out)


def _fit(
    store: Store,
    loaded: LoadedEncoder,
    train: Labelled,
    draws: list[np.ndarray],
    classes: int,
    spec: FinetuneSpec,
    progress: Progress,
) -> tuple[list[LoadedEncoder], list[LinearHead]]:
    """Encoders (one, shared, for a probe) and heads."""
    used = np.unique(np.concatenate(draws))
    features = features_of(loaded, store, train.rows[used], progress)
    encoders, heads = [loaded], list[LinearHead]()
    progress.start("finetune", len(draws), "draws")
    for number, draw in enumerate(draws):
        place, truth = np.searchsorted(used, draw), train.truth[draw]
        head = fit_probe(features[place], truth, classes, spec.strength)
        if spec.method == "full":
            images = np.stack(list(store.images(train.rows[draw])))
            module, head = fine_tune(loaded, images, truth, head, spec.full, spec.seed, number)
            encoders = [*(encoders if number else []), tuned(loaded, module)]
        heads.append(head)
        progress.advance()
    progress.finish()
    return encoders, heads
