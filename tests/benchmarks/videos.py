"""Preparing operations beside bare decoding, and memory over two hours of video."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from histoscope.core.progress import Silent
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.phantom.videos import encode
from tests.domains.surgery.clips import numbered

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "surgery" / "clips"
CUT = FrameSampling(size_px=224, fps=1.0)
OPTIONS = PrepareOptions(video_reader="sequential")


def clips(folder: Path) -> Path:
    """Real clips where they are beside the checkout, else made ones."""
    if REAL.is_dir():
        return REAL
    made = folder / "made-clips"
    made.mkdir()
    encode(made / "a.mp4", numbered(3000), Fraction(25), {"g": "250", "bf": "2"})
    return made


def prepare_all(place: Path, out: Path) -> None:
    """Our side: find, list, decode, sample, resize, measure, encode, index."""
    shutil.rmtree(out, ignore_errors=True)
    prepare(DOMAIN, {"input": place}, CUT, OPTIONS, out, engine=Local(0), progress=Silent())


def decode_all(place: Path) -> None:
    """The other side: decode every frame, convert and resize the first of every second."""
    for path in sorted(place.rglob("*.mp4")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            due = 0.0
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= due:
                    picture = frame.to_ndarray(format="rgb24")
                    cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA)
                    due = float(np.floor(frame.time)) + 1


def peak_memory(folder: Path) -> list[str]:
    """Lines on reading 2 minutes and 2 hours at 1 frame a second."""
    lines = []
    short = folder / "short.mp4"
    encode(short, numbered(3000), Fraction(25), {"g": "250", "bf": "2"})
    long = folder / "long.mp4"
    repeat(short, long, 60)
    for path in (short, long):
        words = ("-m", "tests.benchmarks.read_video", str(path))
        done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
        lines.append(f"reading {path.stem} video: {done.stdout.strip()}")
    return lines


def repeat(source: Path, target: Path, times: int) -> None:
    """Join a video with itself by copying packets."""
    with av.open(str(target), "w") as outside:
        copy, offset = None, 0
        for _ in range(times):
            with av.open(str(source)) as inside:
                stream = inside.streams.video[0]
                copy = copy or outside.add_stream_from_template(stream)
                length = stream.duration
                for packet in inside.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = copy
                    outside.mux(packet)
            offset += length
