"""What each way of learning without labels gains over its network's random weights.

    python -m tests.benchmarks.learn PCAM OUT [--steps 150] [--rows "NAME;NAME"] [--page PAGE]

PCAM is a folder of PatchCamelyon's h5 files. Row by row: ``pretrain`` on its training part, then
probes on all labels and on 1 % of them (ten draws) and nearest neighbours on all, scored on the
``valid`` part. A row that is finished is not made again; a run that was cut off goes on. Each row
is a process of its own, whose peak of memory is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from histoscope.core.evaluation.comparison import Compared
from histoscope.core.stages.compare import compare
from histoscope.core.training.journal import read_metrics

SMALL_CROPS = {"families": {"local": {"geometry": {"size_px": 32, "scale": [0.1, 0.4]}}}}
WIDE = {"kind": "timm", "name": "vit_tiny_patch16_224", "patch_px": 8}
ROWS: dict[str, dict[str, Any]] = {
    "simclr": {"objective": {"base": "simclr"}},
    "simclr, decoupled": {"objective": {"base": "simclr", "reduction": "decoupled"}},
    "simclr, macl": {"objective": {"base": "simclr", "temperature": "macl"}},
    "simclr, co2": {"objective": {"base": "simclr", "consistency": "co2"}},
    "simclr, fnc": {"objective": {"base": "simclr", "negatives": "fnc"}},
    "simclr, unmix": {"objective": {"base": "simclr", "mixing": "unmix"}},
    "moco_v2": {"objective": {"base": "moco_v2", "momentum": {"rate": 0.93}}},
    "moco_v2, mochi": {
        "objective": {"base": "moco_v2", "momentum": {"rate": 0.93}, "synthetic": "mochi"}
    },
    "byol": {"objective": {"base": "byol"}},
    "swav": {
        "objective": {"base": "swav", "local": 4, "codes": {"queue": 640}},
        "views": SMALL_CROPS,
    },
    "barlow_twins": {"objective": {"base": "barlow_twins"}},
    "dino": {"objective": {"base": "dino", "local": 4}, "views": SMALL_CROPS},
    "msf": {"objective": {"base": "msf"}},
    "ibot": {
        "encoder": WIDE,
        "objective": {"base": "ibot", "local": 4},
        "views": SMALL_CROPS,
    },
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


def scored(store: Path, encoder: object, out: Path) -> dict[str, Path]:
    """Evaluations of an encoder by each way, on ``valid``."""
    found = {}
    for way, settings in WAYS.items():
        folder = out / way
        if not (folder / "evaluation" / "report.html").is_file():
            sets = [w for k, v in settings.items() for w in ("--set", f"{k}={v}")]
            if not (folder / "package" / "SHA256SUMS").is_file():
                asked = ("--encoder", encoder, *sets, "--out", folder / "package")
                call("finetune", store, *asked)
            more = ("--split", "valid", "--out", folder / "evaluation")
            call("evaluate", folder / "package", store, *more)
        found[way] = folder / "evaluation"
    return found


def trained(store: Path, row: Mapping[str, Any], steps: int, out: Path) -> dict[str, float]:
    """Train a row; its speed and the process's peak of memory."""
    told = out / "trained.json"
    if told.is_file():
        return dict(json.loads(told.read_text(encoding="utf-8")))
    out.mkdir(parents=True, exist_ok=True)
    body = {"encoder": "resnet18", **row}
    body["training"] = {"steps": steps, "batch_size": 128, "checkpoint_every": 25}
    (out / "settings.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    peak = call("pretrain", store, "--config", out / "settings.yaml", "--out", out / "run")
    rows = read_metrics(out / "run" / "metrics.csv")
    monitors = read_metrics(out / "run" / "monitors.csv")
    seconds = sorted(float(one["seconds"]) for one in rows)
    last = monitors[-1]
    found = {
        "loss": float(rows[-1]["loss"]),
        "std": float(last["embedding_std"]),
        "rank": float(last["effective_rank"]),
        "speed": 128 / seconds[len(seconds) // 2],
        "peak": peak,
    }
    told.write_text(json.dumps(found), encoding="utf-8")
    return found


def line(
    name: str, ours: Mapping[str, Path], theirs: Mapping[str, Path], about: Mapping[str, float]
) -> str:
    """A row of the table."""
    cells = [name]
    for way in WAYS:
        (found,) = [one for one in compare([(ours[way], theirs[way])]) if one.task]
        cells.append(difference(found))
    numbers = [f"{about[k]:.3g}" for k in ("loss", "std", "rank", "speed", "peak")]
    return f"| {' | '.join([*cells, *numbers])} |"


def difference(found: Compared) -> str:
    """Value and gain, with its interval."""
    return f"{found.values[0]:.3f}, {found.gap.mean:+.3f} ({found.gap.ends})"


@click.command(help=__doc__)
@click.argument("pcam", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--steps", default=150)
@click.option("--rows", help="names, between semicolons; default: all")
@click.option("--page", type=click.Path(path_type=Path), help="append the table there")
def main(pcam: Path, out: Path, steps: int, rows: str | None, page: Path | None) -> None:
    """Train, score, print."""
    store = out / "store"
    if not (store / "store.json").is_file():
        call("prepare", pcam, "--domain", "pathology", "--size-px", 64, "--out", store)
    head = ("way", "all labels", "1 %", "neighbours", "loss", "std", "rank", "images/s", "GiB")
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for name in rows.split(";") if rows else ROWS:
        row = ROWS[name]
        folder = out / f"{name.replace(', ', '-')}-{steps}"
        about = trained(store, row, steps, folder)
        kind = "wide" if "encoder" in row else "usual"
        base = scored(store, f"random:{folder / 'run'}", out / f"random-{kind}")
        lines.append(line(name, scored(store, folder / "run", folder), base, about))
        click.echo(lines[-1])
    if page:
        with page.open("a", encoding="utf-8") as file:
            file.write("\n".join(["", *lines, ""]))


if __name__ == "__main__":
    main()
