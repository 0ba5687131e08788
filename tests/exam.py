"""What the finder of tissue makes of pictures whose truth is known: a table for docs/tissue.md.

    python -m tests.exam FOLDER

FOLDER holds pictures and ``truth.csv``: file, truth, why, source, keep (yes, no, either). A picture
is kept where a twentieth of it is tissue that is not blurred.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
from PIL import Image

from histoscope.domains.pathology.survey import BLURRED, sharpness
from histoscope.domains.pathology.tissue import tissue_mask

LEAST = 0.05


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    """Print the table."""
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    click.echo("| picture | what it is | keep? | tissue | sharpness | kept |")
    click.echo("| --- " * 6 + "|")
    right = {"yes": 0, "no": 0}
    for row in sorted(rows, key=lambda row: (row["keep"], row["file"])):
        image = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
        share, sharp = float(tissue_mask(image).mean()), sharpness(image)
        kept = share >= LEAST and sharp is not None and sharp >= BLURRED
        if row["keep"] in right:
            right[row["keep"]] += kept == (row["keep"] == "yes")
        cells = [row["file"], row["truth"].replace("_", " "), row["keep"], f"{share:.3f}"]
        cells += ["" if sharp is None else f"{sharp:.2f}", "yes" if kept else "no"]
        click.echo(f"| {' | '.join(cells)} |")
    for word, count in right.items():
        click.echo(f"right of those to keep ({word}): {count}")


if __name__ == "__main__":
    main()
