"""What the domains write, on a full disk; what the commands write is in tests/apps."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.contracts import Features, Source
from histoscope.core.errors import CannotWrite
from histoscope.domains.pathology.phantom.slides import write_phantom as write_slides
from histoscope.domains.surgery.exports import FrameExport
from histoscope.domains.surgery.phantom.videos import write_phantom as write_operations
from tests.full_disk import no_room, no_room_for

SLIDES = {"train": 1, "valid": 0, "test": 0, "new": 1, "side_px": 256}
OPERATIONS = {"train": 1, "valid": 0, "test": 0, "new": 0, "seconds": 8, "spread_s": 0}


@pytest.mark.parametrize(
    ("write", "size", "room"),
    [
        (write_slides, SLIDES, 2000),
        (write_slides, SLIDES, 9000),
        (write_operations, OPERATIONS, 999),
    ],
    ids=["tiles", "slides", "videos"],
)
def test_a_phantom_is_whole_or_made_anew(tmp_path, write, size, room):
    with no_room(room), pytest.raises(CannotWrite, match="cannot be written"):
        write(tmp_path / "full", 0, **size)
    files = [path for path in (tmp_path / "full").rglob("*") if path.is_file()]
    assert all(path.stat().st_size < room for path in files)
    for name in ("full", "whole"):
        write(tmp_path / name, 0, **size)
    one, other = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in found(tmp_path / name)}
        for name in ("full", "whole")
    )
    assert one == other


def found(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("pattern", ["a.npy", "a.csv"])
def test_features_of_an_operation_are_whole_or_absent(tmp_path, pattern):
    names = ("at_s", "frame", "pts", "part")
    rows = pa.table({name: np.arange(50.0) for name in names})
    vectors = np.arange(100, dtype=np.float32).reshape(50, 2)
    features = Features(Source("a", "a.mp4"), rows, vectors)
    with no_room_for(pattern), pytest.raises(CannotWrite, match="cannot be written") as fault:
        FrameExport().write(None, features, tmp_path)
    assert str(tmp_path / pattern) in str(fault.value)
    assert pattern not in {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob("*.part"))
    FrameExport().write(None, features, tmp_path)
    assert np.array_equal(np.load(io.BytesIO((tmp_path / "a.npy").read_bytes())), vectors)
