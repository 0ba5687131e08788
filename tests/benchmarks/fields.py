"""Is there carcinoma in this field? Heads of sources on pieces of whole mounts, cases kept apart.

    python -m tests.benchmarks.fields PLACES OUT --encoder RUN [--cases 2]... [--draws 5]

PLACES holds ``slides``, ``drawings`` and ``slides.csv``. Each slide is cut into fields of 2 mm, a
picture and a source each: ``IDC`` where a hundredth of it or more is drawn, ``free`` where nothing
is, without a label between. Then the commands that are printed: features once, and heads by each
method from so many cases of either class, scored on the test cases. What is done is not made again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import shapely
from PIL import Image

from histoscope.apps.cli import run
from histoscope.core.stages.compare import compare
from histoscope.domains.pathology.annotations.reading import read_drawings

FIELD_PX, LEAST, MPP = 500, 0.01, 4
METHODS = ("probe", "topk", "attention")
CUT = ("--size-px", 50, "--tile-mpp", MPP)


def call(*words: object) -> None:
    """Run one command line in this process, and print it."""
    told = [str(word) for word in words]
    click.echo(f"histoscope {' '.join(told)}")
    if code := run(told):
        raise SystemExit(code)


def fields(slide: Path, drawings: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Write a slide's fields; name and label of each."""
    pixels = np.asarray(Image.open(slide).convert("RGB"))
    drawn = shapely.union_all(
        [one.outline for one in read_drawings(drawings, (0, 0)) if one.outline]
    )
    for top in range(0, pixels.shape[0] - FIELD_PX + 1, FIELD_PX):
        for left in range(0, pixels.shape[1] - FIELD_PX + 1, FIELD_PX):
            box = shapely.box(left, top, left + FIELD_PX, top + FIELD_PX)
            part = drawn.intersection(box).area / FIELD_PX**2
            name = f"{slide.stem}_{top // FIELD_PX}_{left // FIELD_PX}.png"
            piece = pixels[top : top + FIELD_PX, left : left + FIELD_PX]
            Image.fromarray(piece).save(out / name)
            yield name, "IDC" if part >= LEAST else "" if part else "free"


def cut_fields(places: Path, out: Path) -> None:
    """All fields, and ``fields.csv``: slide, label, case and split."""
    (out / "fields").mkdir(parents=True)
    lines = ["slide,label,case,split"]
    with (places / "slides.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            slide = places / "slides" / row["slide"]
            drawings = next((places / "drawings").glob(f"{slide.stem}.*"))
            for name, label in fields(slide, drawings, out / "fields"):
                lines.append(f"{name},{label},{row['case']},{row['split']}")
    (out / "fields.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@click.command(help=__doc__)
@click.argument("places", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--encoder", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--cases", "sizes", multiple=True, default=(2, 4), type=int)
@click.option("--draws", default=5)
def main(places: Path, out: Path, encoder: Path, sizes: Sequence[int], draws: int) -> None:
    """Run what is missing, and print how the methods compare."""
    labels = out / "fields.csv"
    if not labels.is_file():
        cut_fields(places, out)
    features = out / "features"
    read = ("--default-mpp", MPP, "--cases", labels, "--layout", "trident", "--workers", 0)
    call("embed", out / "fields", "--encoder", encoder, *read, "--out", features)
    asked = ("--features", features, "--labels", labels)
    for size in sizes:
        for method in METHODS:
            package, scored = (out / f"{method}-{size}{end}" for end in ("", "-test"))
            if not (package / "SHA256SUMS").is_file():
                few = ("--cases-per-class", size, "--draws", draws, "--task", "field")
                call("finetune", *asked, *few, "--method", method, "--out", package)
            call("evaluate", package, *asked, "--out", scored)
        for method in METHODS[1:]:
            pair = out / f"{method}-{size}-test", out / f"{METHODS[0]}-{size}-test"
            (found,) = compare([pair])
            _, _, gap = found.beside["auc"]
            told = f"{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
            click.echo(f"{size} cases, AUC of {method} - {METHODS[0]}: {told}")


if __name__ == "__main__":
    main()
