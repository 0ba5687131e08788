"""What each way of learning without labels gains over its network's random weights.

    python -m tests.benchmarks.learn PCAM OUT [--places FOLDER] [--steps 150]
        [--precision float32] [--rows "NAME;NAME"] [--page PAGE]

PCAM is a folder of PatchCamelyon's tiles as ``train.zip``, ``valid.zip`` and ``test.zip``. Row by
row: ``pretrain`` on its training part, then probes on all labels and on 1 % of them (ten draws) and
nearest neighbours on all, scored on the ``valid`` part. A row that is finished is not made again; a
run that was cut off goes on. Each row is a process of its own, whose peak of memory is measured.

FOLDER holds whole mounts with cases and places: ``slides``, ``drawings`` and ``slides.csv``. On its
training slides are learnt the ways that need places or cases, scored on its test slides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from histoscope.core.stages.compare import compare
from histoscope.core.training.journal import read_metrics

NETWORK = "resnet18"
LOCAL = {"families": {"local": {"geometry": {"size_px": 32, "scale": [0.1, 0.4]}}}}
OVERLAPPING = {
    "families": {"local": {"geometry": {"size_px": 32, "scale": [0.05, 0.14], "overlap": 0.1}}}
}
WIDE = {"kind": "timm", "name": "vit_tiny_patch16_224", "patch_px": 8}
SIMCLR, MOCO = {"base": "simclr"}, {"base": "moco_v2"}
ROWS: dict[str, dict[str, Any]] = {
    "simclr": {"objective": SIMCLR},
    "simclr, decoupled": {"objective": {**SIMCLR, "reduction": "decoupled"}},
    "simclr, macl": {"objective": {**SIMCLR, "temperature": "macl"}},
    "simclr, co2": {"objective": {**SIMCLR, "consistency": "co2"}},
    "simclr, fnc": {"objective": {**SIMCLR, "negatives": "fnc"}},
    "simclr, unmix": {"objective": {**SIMCLR, "mixing": "unmix"}},
    "moco_v2": {"objective": MOCO},
    "moco_v2, ifnd": {"objective": {**MOCO, "negatives": "ifnd"}},
    "moco_v2, interclr": {"objective": {**MOCO, "positives": "interclr"}},
    "moco_v2, revisiting": {
        "objective": {**MOCO, "local": 4, "positives": "revisiting"},
        "views": OVERLAPPING,
    },
    "moco_v2, mochi": {"objective": {**MOCO, "synthetic": "mochi"}},
    "relicv2": {"objective": {"base": "relicv2", "local": 2}, "views": LOCAL},
    "byol": {"objective": {"base": "byol"}},
    "swav": {"objective": {"base": "swav", "local": 4, "codes": {"queue": 640}}, "views": LOCAL},
    "barlow_twins": {"objective": {"base": "barlow_twins"}},
    "dino": {"objective": {"base": "dino", "local": 4}, "views": LOCAL},
    "msf": {"objective": {"base": "msf"}},
    "cmsf": {"objective": {"base": "cmsf"}},
    "cmsf, second_bank": {"objective": {"base": "cmsf", "constraint": "second_bank"}},
    "simreg, colour": {"objective": {"base": "simreg", "teacher": "colour"}},
    "ibot": {  # as its preset
        "encoder": WIDE,
        "objective": {"base": "ibot", "local": 4, "spread": 0.1},
        "views": LOCAL,
        "training": {"optimiser": {"learning_rate": 0.0001, "warmup": 0.2, "clip": 3}},
    },
    "simclr, rate x 100": {
        "objective": SIMCLR,
        "training": {"optimiser": {"learning_rate": 0.1}},
    },
}
OF_PLACES = {  # need places, or cases
    "simclr": {"objective": SIMCLR},
    "simclr, decoupled": {"objective": {**SIMCLR, "reduction": "decoupled"}},
    "simclr, decoupled, near": {
        "objective": {
            **SIMCLR,
            "reduction": "decoupled",
            "positives": {"kind": "near", "within_sides": 1.5},
        }
    },
    "simclr, other_case": {"objective": {**SIMCLR, "positives": "other_case"}},
}
WAYS = {  # of learning from labels
    "all": {"method": "probe", "fraction": 1.0, "draws": 1},
    "few": {"method": "probe", "fraction": 0.01, "draws": 10},
    "near": {"method": "knn", "fraction": 1.0, "draws": 1},
}


def call(*words: object) -> float:
    """Run one command line in a process of its own; its peak of memory in GiB."""
    started = subprocess.Popen([sys.executable, "-m", "histoscope", *map(str, words)])
    _, status, usage = os.wait4(started.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {code}")
    return usage.ru_maxrss / 2**20


@dataclass(frozen=True)
class Ground:
    """What is learnt from and scored on.

    Attributes:
        store: its store.
        train, scored: what each stage reads.
        rows: the ways, by their name.
    """

    store: Path
    train: str
    scored: str
    rows: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of_tiles(cls, pcam: Path, out: Path) -> Ground:
        """Prepare PatchCamelyon's tiles."""
        names = ("--layout", "zip", "--class-names", "0=normal,1=tumour")
        prepare(pcam, out / "tiles", *names, "--mpp", 0.972, "--tile-mpp", 1.458, "--size-px", 64)
        return cls(out / "tiles", "train", "valid", ROWS)

    @classmethod
    def of_places(cls, folder: Path, out: Path) -> Ground:
        """Prepare whole mounts."""
        cases = folder / "slides.csv"
        told = ("--annotations", folder / "drawings", "--rest-is", "normal", "--cases", cases)
        scale = ("--default-mpp", 4, "--tile-mpp", 4, "--size-px", 50, "--coordinates", "level0")
        prepare(folder / "slides", out / "mounts", *told, *scale)
        return cls(out / "mounts", f"{cases}:train", f"{cases}:test", OF_PLACES)


def prepare(source: Path, store: Path, *words: object) -> None:
    """Prepare a store that is not there."""
    if not (store / "store.json").is_file():
        call("prepare", source, "--domain", "pathology", *words, "--out", store)


def scored(ground: Ground, encoder: object, out: Path) -> dict[str, Path]:
    """Evaluations of an encoder by each way of learning from labels."""
    found = {}
    for way, settings in WAYS.items():
        folder = out / way
        if not (folder / "evaluation" / "report.html").is_file():
            sets = [w for k, v in settings.items() for w in ("--set", f"{k}={v}")]
            if not (folder / "package" / "SHA256SUMS").is_file():
                asked = ("--encoder", encoder, "--split", ground.train, *sets)
                call("finetune", ground.store, *asked, "--out", folder / "package")
            more = ("--split", ground.scored, "--out", folder / "evaluation")
            call("evaluate", folder / "package", ground.store, *more)
        found[way] = folder / "evaluation"
    return found


def trained(
    ground: Ground, row: Mapping[str, Any], steps: int, precision: str, out: Path
) -> dict[str, float]:
    """Train a row; its speed and the process's peak of memory."""
    told = out / "trained.json"
    if told.is_file():
        return dict(json.loads(told.read_text(encoding="utf-8")))
    out.mkdir(parents=True, exist_ok=True)
    body = {"encoder": NETWORK, **row}
    sizes = {"steps": steps, "batch_size": 128, "checkpoint_every": 25}
    body["training"] = {**sizes, "precision": precision, **row.get("training", {})}
    (out / "settings.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    asked = ("--config", out / "settings.yaml", "--split", ground.train, "--out", out / "run")
    peak = call("pretrain", ground.store, *asked)
    rows = read_metrics(out / "run" / "metrics.csv")
    last = read_metrics(out / "run" / "monitors.csv")[-1]
    seconds = sorted(float(one["seconds"]) for one in rows)
    said = (out / "run" / "log.txt").read_text(encoding="utf-8")
    found = {
        "loss": float(rows[-1]["loss"]),
        "std": float(last["embedding_std"]),
        "projections": float(last["projection_std"]),
        "rank": float(last["effective_rank"]),
        "alarms": float(said.count("may have collapsed")),
        "speed": 128 / seconds[len(seconds) // 2],
        "peak": peak,
    }
    told.write_text(json.dumps(found), encoding="utf-8")
    return found


SHOWN = ("loss", "std", "projections", "rank", "alarms", "speed", "peak")
HEAD = ("way", "all labels", "1 %", "neighbours", "loss", "std", "of projections", "RankMe")
HEAD += ("alarms", "images/s", "GiB")


def line(
    name: str, ours: Mapping[str, Path], theirs: Mapping[str, Path], about: Mapping[str, float]
) -> str:
    """A row of the table: value, and gain over random weights with its interval."""
    cells = [name]
    for way in WAYS:
        (found,) = compare([(ours[way], theirs[way])])
        cells.append(f"{found.values[0]:.3f}, {found.gap.mean:+.3f} ({found.gap.ends})")
    return f"| {' | '.join([*cells, *(f'{about[k]:.3g}' for k in SHOWN)])} |"


def table(
    ground: Ground, names: Sequence[str], steps: int, precision: str, out: Path
) -> Iterator[str]:
    """The table of a ground, line by line."""
    yield f"| {' | '.join(HEAD)} |"
    yield "| --- " * len(HEAD) + "|"
    for name in names:
        row = ground.rows[name]
        words = [ground.store.name, name.replace(", ", "-").replace(" ", "-"), str(steps)]
        folder = out / "-".join([*words, *({precision} - {"float32"})])
        about = trained(ground, row, steps, precision, folder)
        network = "wide" if "encoder" in row else "usual"
        random = scored(
            ground, f"random:{folder / 'run'}", out / f"{ground.store.name}-random-{network}"
        )
        yield line(name, scored(ground, folder / "run", folder), random, about)


@click.command(help=__doc__)
@click.argument("pcam", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--places", type=click.Path(path_type=Path, exists=True))
@click.option("--steps", default=150)
@click.option("--precision", default="float32", help="bf16: half the time on newer CPUs")
@click.option("--rows", help="names, between semicolons; default: all")
@click.option("--page", type=click.Path(path_type=Path), help="append the tables there")
def main(
    pcam: Path,
    out: Path,
    places: Path | None,
    steps: int,
    precision: str,
    rows: str | None,
    page: Path | None,
) -> None:
    """Train, score, print."""
    grounds = [Ground.of_tiles(pcam, out)] + ([Ground.of_places(places, out)] if places else [])
    for ground in grounds:
        names = [n for n in (rows.split(";") if rows else ground.rows) if n in ground.rows]
        lines = []
        for one in table(ground, names, steps, precision, out):
            lines.append(one)
            click.echo(one)
        if page:
            with page.open("a", encoding="utf-8") as file:
                file.write(
                    "\n".join(
                        ["", f"{ground.store.name}, {steps} steps, {precision}:", "", *lines, ""]
                    )
                )


if __name__ == "__main__":
    main()
