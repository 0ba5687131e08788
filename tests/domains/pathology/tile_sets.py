"""Small labelled sets on disk, and how tests find and open them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histoscope.core.contracts import Reader, Source
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling

CUT = TileSampling(size_px=16, tile_mpp=1.0)


def picture(seed: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(seed: int, side: int = 16) -> bytes:
    out = BytesIO()
    Image.fromarray(picture(seed, side)).save(out, "PNG")
    return out.getvalue()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def sources(place: Path, **options: object) -> list[Source]:
    return of_kind(Source, place, **options)


def of_kind(kind: type, place: Path, **options: object) -> list[Any]:
    """Sources, or what is not used."""
    found = DOMAIN.find({"input": place}, PrepareOptions.model_validate(options))
    return [one for one in found if isinstance(one, kind)]


def reader(source: Source, place: Path, cut: TileSampling = CUT, **options: object) -> Reader:
    (again,) = (one for one in sources(place, **options) if one.id == source.id)
    return DOMAIN.open(again, {"input": place}, cut)
