"""What of each slide is tissue, before anything is learned from it: pictures, outlines, a table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Reader, Sample, Source
from histoscope.core.errors import UnreadableSource
from histoscope.core.files import write_bytes, write_csv
from histoscope.core.work.folder import OutFolder
from histoscope.core.work.job import Turn
from histoscope.core.work.outcome import Outcome, Status
from histoscope.core.work.reading import Opening
from histoscope.domains.pathology.annotations.qupath import bounds_offset
from histoscope.domains.pathology.canvas import Entry, with_strip
from histoscope.domains.pathology.geojson import write_features
from histoscope.domains.pathology.options import Coordinates
from histoscope.domains.pathology.stain_normalisation import spread
from histoscope.domains.pathology.tiling import places_of
from histoscope.domains.pathology.tissue import tissue_mask
from histoscope.domains.pathology.tissue_outline import COLOUR, outline_features, outline_of

if TYPE_CHECKING:
    from histoscope.domains.pathology.slide_reader import SlideReader

SURVEY = ("histoscope.tissue", 1)
OUTLINES, PREVIEWS, PARTS = "outlines", "previews", "slides"  # folders; the last has one a slide
LONGEST = 240  # bytes of a file's name, with room for what is being written
GRID = (40, 70, 200)  # colour of kept tiles
BLURRED = 0.2  # of sharpness; real fields have 0.3 to 1.2, blurred by 6 px and more below 0.1
ALIKE = 6.0  # deviation of grey levels, 0 to 255, below which rounding is most of what is fine
SHOWN_PX = 1600


@dataclass
class SurveyJob:
    """Look for tissue on one slide."""

    opening: Opening
    coordinates: Coordinates
    out: OutFolder

    def load(self) -> None:
        """Nothing is needed."""

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Write its picture and its outlines, unless a person has drawn some or they are there."""
        with self.opening.read(source, turn) as reading:
            if len(f"{source.path}.geojson".rpartition("/")[2].encode()) > LONGEST:
                raise UnreadableSource("its name is too long for files that are named after it")
            reader, rows = cast("SlideReader", reading.reader), reading.plan.rows
            mask, picture = reader.tissue, reader.search_picture
            _draw(reader, rows, self.out.path / PREVIEWS / f"{source.path}.jpg")
            turn.beat()
            outlines = self.out.path / OUTLINES / f"{source.path}.geojson"
            if not outlines.exists() and reader.facts["tissue"] == "found":
                offset = bounds_offset(reader.facts, self.coordinates)
                found = outline_of(mask, picture.ratio)
                write_features(outlines, outline_features(found, source.id, offset))
            turn.beat()
            told = _told(reader, mask, rows)
            reason = "; ".join(filter(None, [reading.plan.reason, *told.pop("warnings")]))
            status: Status = "done" if len(rows) else "empty"
            return Outcome(source, status, len(rows), 0, reason, reader.facts, told)


def _told(reader: SlideReader, mask: NDArray[np.bool_], rows: pa.Table) -> dict[str, Any]:
    """Area and share of tissue, its sharpness, and what to look at."""
    picture, facts = reader.search_picture, reader.facts
    mpp = float(cast(Any, facts["mpp_x"])), float(cast(Any, facts["mpp_y"]))
    um2 = picture.ratio[0] * picture.ratio[1] * mpp[0] * mpp[1]
    sharp = _sharpness(reader, rows)
    warnings = []
    if sharp is not None and sharp < BLURRED:
        warnings.append(f"may be blurred: sharpness {sharp:.2f}, usual is above {BLURRED:g}")
    return {
        "tissue_mm2": round(float(mask.sum()) * um2 / 1e6, 4),
        "share": round(reader.tissue_share, 6),
        "sharpness": None if sharp is None else round(sharp, 4),
        "warnings": warnings,
    }


def _sharpness(reader: Reader, rows: pa.Table) -> float | None:
    """Median over evenly spread tiles; None where none has tissue."""
    some = rows.take(spread(len(rows)))
    found = [sharpness(one.image) for one in reader.read(some) if isinstance(one, Sample)]
    known = [one for one in found if one is not None]
    return float(np.median(known)) if known else None


def sharpness(image: NDArray[np.uint8]) -> float | None:
    """How much of an image's contrast is fine: deviation of the Laplacian by that of the grey.

    Of stained pixels alone; both grow with contrast, their ratio does not. None where nothing is
    stained, or all of it is alike. The Laplacian's spread as a measure of focus: Pech-Pacheco et
    al. 2000.
    """
    mask = tissue_mask(image)
    if not mask.any():
        return None
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    fine, contrast = cv2.Laplacian(grey, cv2.CV_64F), float(grey[mask].std())
    return float(fine[mask].std()) / contrast if contrast >= ALIKE else None


def _draw(reader: SlideReader, rows: pa.Table, path: Path) -> None:
    """The slide, its tissue outlined, the tiles that would be read, a scale bar."""
    ground, facts = reader.overview(SHOWN_PX), reader.facts
    image = np.ascontiguousarray(ground.image)
    height, width = image.shape[:2]
    mask = cv2.resize(reader.tissue.astype(np.uint8), (width, height), interpolation=0)
    x, y, across, down = places_of(rows)
    corners = zip(
        *(np.rint(one).astype(int).tolist() for one in (x / ground.ratio[0], y / ground.ratio[1])),
        *(
            np.rint(one).astype(int).tolist()
            for one in ((x + across) / ground.ratio[0], (y + down) / ground.ratio[1])
        ),
        strict=True,
    )
    for left, top, right, lower in corners:
        cv2.rectangle(image, (left, top), (right, lower), GRID, 1)
    lines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, lines, -1, COLOUR, max(2, SHOWN_PX // 600))
    legend = [Entry("tissue", COLOUR), Entry(f"tiles, {len(rows)}", GRID)]
    data = io.BytesIO()
    um = ground.ratio[0] * float(cast(Any, facts["mpp_x"]))
    with_strip(image, um, legend).save(data, format="jpeg", quality=88)
    write_bytes(path, data.getbuffer())


def write_survey(out: Path, outcomes: Sequence[Outcome]) -> None:
    """``tissue.csv``: one row a slide, whatever became of it."""
    rows = [_row(one) for one in outcomes]
    write_csv(out / "tissue.csv", pa.Table.from_pylist(rows, SCHEMA))


SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("path", pa.string()),
        pa.field("status", pa.string()),
        pa.field("tissue_mm2", pa.float64()),
        pa.field("share", pa.float64()),
        pa.field("tiles", pa.int64()),
        pa.field("sharpness", pa.float64()),
        pa.field("reason", pa.string()),
    ]
)


def _row(one: Outcome) -> Mapping[str, Any]:
    told = {name: one.more.get(name) for name in ("tissue_mm2", "share", "sharpness")}
    return {
        "id": one.source.id,
        "path": one.source.path,
        "status": one.status,
        "tiles": one.samples,
        "reason": one.reason,
        **told,
    }
