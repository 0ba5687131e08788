"""The whole road on a phantom, and what pretraining gained on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from histoscope.apps.report import write_evaluation_report, write_predict_report
from histoscope.core.config import build, merge
from histoscope.core.contracts import Domain, Phantom
from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.store import Store
from histoscope.core.evaluation.comparison import Compared
from histoscope.core.evaluation.intervals import Difference
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.packages.card import between
from histoscope.core.packages.package import open_package, record_evaluation
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import Compute
from histoscope.core.stages.compare import compare, write_comparison
from histoscope.core.stages.evaluate import evaluate, summaries
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.spec import PretrainSpec


def demonstrate(
    domain_name: str,
    out: Path,
    steps: int | None,
    draws: int,
    seed: int,
    compute: Compute,
    progress: Progress,
) -> tuple[Difference, Path]:
    """Prepare to report.

    Returns:
        Gain of the pretrained encoder over the better baseline, and the report's path.
    """
    domain = load_domain(domain_name)
    phantom = domain.phantom(out / "phantom", seed)
    store = _store(domain, phantom, out / "store", progress)
    spec = _pretrain_spec(phantom, steps, seed, compute)
    pretrain(store, domain, spec, out / "run", progress=progress)
    encoders = {
        "pretrained": str(out / "run"),
        f"random:{spec.encoder.name}": f"random:{spec.encoder.name}",
        "colour": "colour",
    }
    bodies = {
        name: _score(store, phantom, word, draws, seed, _place(out, name), compute, progress)
        for name, word in encoders.items()
    }
    found = _compare(bodies, phantom.tasks[0], out)
    for name, body in bodies.items():
        for task, measured in body.items():
            click.echo(_score_line(name, task, measured))
    gain, against = found.gap, found.other.partition("/")[0]
    click.echo(
        f"pretraining gained {gain.mean:+.3f} over {against} (95 % interval {gain.ends}, over "
        f"{gain.units} {found.over} and {gain.draws} draws): {found.verdict}"
    )
    roots = {"input": phantom.new}
    package = out / "pretrained" / "package"
    options, results = phantom.predict_options, out / "predicted"
    predict(package, roots, options, results, compute=compute, progress=progress)
    return gain, write_predict_report(out / "predicted")


def _place(out: Path, name: str) -> Path:
    """Where all of one encoder lies."""
    return out / name.replace(":", "-")


def _store(domain: Domain, phantom: Phantom, out: Path, progress: Progress) -> Store:
    if not (out / "store.json").is_file():
        roots = {"input": phantom.labelled}
        cut, options = phantom.sampling, phantom.prepare_options
        prepare(domain, roots, cut, options, out, progress=progress)
    return Store(out)


def _pretrain_spec(
    phantom: Phantom, steps: int | None, seed: int, compute: Compute
) -> PretrainSpec:
    where = {"device": compute.device, "precision": compute.precision}
    training = {"seed": seed, **where, **({"steps": steps} if steps else {})}
    asked: dict[str, Any] = {"training": training}
    return build(PretrainSpec, merge(phantom.pretrain, asked), "demo")


def _score(
    store: Store,
    phantom: Phantom,
    encoder: str,
    draws: int,
    seed: int,
    out: Path,
    compute: Compute,
    progress: Progress,
) -> dict[str, Any]:
    """Fine-tune by probe on 1 % of the labels and evaluate; a finished package is kept."""
    spec = ProbeSpec(fraction=0.01, draws=draws, seed=seed)
    if not (out / "package" / "SHA256SUMS").is_file():
        tasks = tuple(phantom.tasks)
        to = out / "package"
        finetune(store, encoder, spec, to, compute=compute, tasks=tasks, progress=progress)
    package = open_package(out / "package")
    body = evaluate(package, store, out / "evaluation", compute=compute, progress=progress)
    write_evaluation_report(out / "evaluation", package.info.model_dump(mode="json"))
    record_evaluation(package, summaries(body))
    measured: dict[str, Any] = body["tasks"]
    return measured


def _compare(bodies: Mapping[str, Mapping[str, Any]], task: str, out: Path) -> Compared:
    """The pretrained encoder against the better baseline; the other one beside it, too."""
    scores = {name: body[task]["balanced_accuracy"]["value"] for name, body in bodies.items()}
    ours = _place(out, "pretrained") / "evaluation"
    del scores["pretrained"]
    pairs = [
        (ours, _place(out, name) / "evaluation")
        for name in sorted(scores, key=lambda name: -scores[name])
    ]
    found = compare(pairs)
    write_comparison(out / "comparison", found, margin=None)
    return found[0]


def _score_line(name: str, task: str, body: Mapping[str, Any]) -> str:
    key = next(k for k in ("balanced_accuracy", "mean_average_precision") if k in body)
    metric, labels = body[key], body["labels"]
    spread = f"sd over {len(labels)} draws of {labels[0]} labels {metric['sd_over_draws']:.3f}"
    return (
        f"{name}: {task} {key.replace('_', ' ')} {metric['value']:.3f} "
        f"({between(metric['interval'])} over test {body['interval_over']}; {spread})"
    )
