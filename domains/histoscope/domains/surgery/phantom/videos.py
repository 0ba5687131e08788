"""The phantom on disk: operations as H.264 videos in Cholec80's layout, and their truth."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.core.files import plain_path, read_json, write_json, write_text
from histoscope.domains.surgery.label_files import PHASE_FOLDER, TOOL_FOLDER
from histoscope.domains.surgery.phantom.camera import film
from histoscope.domains.surgery.phantom.script import Script, length_s, write_script
from histoscope.domains.surgery.phases import PHASES, TOOLS

PHANTOM = ("histoscope.surgery-phantom", 2)
PARTS = ("train", "valid", "test", "new")
SOURCE_FPS = 5
FPS = 1.0
SIZE_PX = 64
THREADS = 2


@dataclass(frozen=True)
class PhantomSize:
    """How large the phantom is. The defaults are frozen: results are quoted on them.

    Attributes:
        train, valid, test, new: operations; those of ``new`` are for ``predict``.
        seconds, spread_s: an operation lasts ``seconds``, or up to ``spread_s``, at most half of
            that, more or less.
        width_px, height_px: of a frame.
    """

    train: int = 12
    valid: int = 2
    test: int = 7
    new: int = 3
    seconds: int = 240
    spread_s: int = 90
    width_px: int = 192
    height_px: int = 108


def write_phantom(out: Path, seed: int = 0, **size: int) -> Mapping[str, Path]:
    """Write the phantom into ``out``, or find it written already.

    - ``labelled/<split>/videos/videoNN.mp4`` with ``phase_annotations/videoNN-phase.txt`` (a row a
      frame) and ``tool_annotations/videoNN-tool.txt`` (a row a second), as Cholec80 has them.
    - ``new/videos/videoNN.mp4``, and ``new-truth/`` with the annotation folders of those.
    - ``phantom.json``, written last: SHA-256 over the frames before encoding, and the labels.

    Args:
        out: folder.
        seed: of everything.
        size: fields of :class:`PhantomSize` that differ from the defaults.

    Returns:
        The folders ``labelled``, ``new`` and ``new-truth``, and ``facts``.

    Raises:
        DataError: ``out`` holds another phantom.
    """
    asked = PhantomSize(**size)
    paths = {name: out / name for name in ("labelled", "new", "new-truth")}
    facts = paths["facts"] = out / "phantom.json"
    body = {"seed": seed, "size": asdict(asked), "source_fps": SOURCE_FPS, "phases": list(PHASES)}
    if facts.is_file():
        found = read_json(facts, *PHANTOM)
        if any(found.get(key) != value for key, value in body.items()):
            raise DataError(f"{facts}: another phantom; give another folder")
        return paths
    for leftover in ("labelled", "new", "new-truth"):
        shutil.rmtree(out / leftover, ignore_errors=True)
    parts = [part for part in PARTS for _ in range(getattr(asked, part))]

    def write(operation: int) -> str:
        part = parts[operation]
        folder = paths["new"] if part == "new" else paths["labelled"] / part
        truth = paths["new-truth"] if part == "new" else folder
        return _write_operation(folder, truth, seed, operation, asked)

    with ThreadPoolExecutor(THREADS) as pool:
        digests = list(pool.map(write, range(len(parts))))
    whole = hashlib.sha256("".join(digests).encode()).hexdigest()
    write_json(facts, *PHANTOM, body | {"sha256": whole})
    return paths


def _write_operation(
    folder: Path, truth: Path, seed: int, operation: int, size: PhantomSize
) -> str:
    """Write one operation and its labels; returns the digest of frames and labels."""
    lasts_s = length_s(seed, operation, size.seconds, size.spread_s)
    script = write_script(seed, operation, lasts_s * SOURCE_FPS, SOURCE_FPS)
    frames = film(seed, operation, script, (size.width_px, size.height_px), SOURCE_FPS)
    digest = hashlib.sha256(script.phases.tobytes() + script.tools.tobytes())
    name = f"video{operation + 1:02d}"

    def hashed() -> Iterable[NDArray[np.uint8]]:
        for frame in frames:
            digest.update(frame.tobytes())
            yield frame

    how = {"crf": "23", "preset": "veryfast", "g": "50"}
    with plain_path(folder / "videos" / f"{name}.mp4") as path:
        encode(path, hashed(), Fraction(SOURCE_FPS), how)
    _write_labels(truth, name, script)
    return digest.hexdigest()


def _write_labels(folder: Path, name: str, script: Script) -> None:
    phases = [f"{n}\t{PHASES[phase]}" for n, phase in enumerate(script.phases.tolist())]
    write_text(
        folder / PHASE_FOLDER / f"{name}-phase.txt", "\n".join(["Frame\tPhase", *phases]) + "\n"
    )
    rows = [
        "\t".join([str(n), *(str(int(on)) for on in script.tools[n])])
        for n in range(0, len(script.tools), SOURCE_FPS)
    ]
    head = "\t".join(["Frame", *TOOLS])
    write_text(folder / TOOL_FOLDER / f"{name}-tool.txt", "\n".join([head, *rows]) + "\n")


def encode(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    rate: Fraction,
    options: Mapping[str, str],
    *,
    codec: str = "libx264",
    ticks: Iterable[int] | None = None,
) -> None:
    """Write frames as a video.

    Args:
        path: its suffix decides the container.
        frames: uint8 (height, width, 3), sides even.
        rate: frames a second.
        options: of the encoder.
        codec: encoder's name.
        ticks: presentation time of each frame in units of 1/1000 s, for a variable rate.
    """
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=dict(options))
        stream.thread_count = 1  # the same bytes on any machine
        stream.pix_fmt = "yuv420p"
        times = None if ticks is None else iter(ticks)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = next(times), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
