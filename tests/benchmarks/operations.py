"""How much of what decoding and network allow ``predict`` reaches on a long operation.

    python -m tests.benchmarks.operations [--minutes 40] [--cores 2] [--rounds 3] [--size-px 224]
        [--encoder random:resnet18] [--precision float32] [--no-memory]

A minute of a real clip beside the checkout, else of a made one, of 512 x 288 px at 25 frames a
second in H.264 with a key frame every 250, is joined with itself without coding it again. Three
sides take turns, each in a process of its own that is bound to the same cores and loads what it
needs before its time begins; the best of the rounds counts. On one core its time is what is
measured, so that it does not matter what else the machine does.

* decoding: PyAV alone, every frame in one pass, one a second to RGB and to the size;
* network: the runner alone, on as many images, which lie in memory;
* predict: the whole stage in this process, with tables, segments and pictures.

Then peak memory of the command on the same operation and on one three times as long. Nothing here
passes or fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click

WIDTH_PX, HEIGHT_PX, RATE, MINUTE_S = 512, 288, 25, 60
HELD = 64  # images in memory, given again and again
SIDES = ("decoding", "network", "predict")
Told = Mapping[str, Any]


def write_minute(clip: Path, path: Path) -> None:
    """A minute of a clip, from its start again where it is shorter."""
    from histoscope.domains.surgery.phantom.videos import encode

    frames = islice(_over_and_over(clip), MINUTE_S * RATE)
    encode(path, frames, Fraction(RATE), {"g": "250", "bf": "2", "preset": "veryfast"})


def _over_and_over(clip: Path) -> Iterator[Any]:
    """Frames of a clip as RGB of the wanted size."""
    import av

    while True:
        with av.open(str(clip)) as container:
            for frame in container.decode(container.streams.video[0]):
                yield frame.to_ndarray(format="rgb24", width=WIDTH_PX, height=HEIGHT_PX)


def pictures(video: str, size_px: int) -> Iterator[Any]:
    """The first frame of every second, every frame decoded."""
    import av
    import cv2

    with av.open(video) as container:
        stream, due = container.streams.video[0], 0
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= due:
                picture = frame.to_ndarray(format="rgb24")
                yield cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA)
                due += 1


def decoding(told: Told) -> Callable[[], int]:
    """All frames of the operation; how many images."""
    return lambda: sum(1 for _ in pictures(told["video"], told["size_px"]))


def network(told: Told) -> Callable[[], int]:
    """As many images, read before."""
    from histoscope.core.contracts import Sample
    from histoscope.core.inference.runner import Runner
    from histoscope.core.packages.package import open_package
    from histoscope.core.runtime.device import Compute

    encoder, _ = open_package(Path(told["package"])).first_draw()
    runner = Runner.of(encoder, Compute("cpu", told["precision"], told["cores"]).start())
    held = [Sample(one, {}) for one in islice(pictures(told["video"], told["size_px"]), HELD)]
    count = told["minutes"] * MINUTE_S
    list(runner.run(held))
    return lambda: sum(len(one.features) for one in runner.run(islice(cycle(held), count)))


def predict(told: Told) -> Callable[[], int]:
    """The stage, in a folder that is thrown away."""
    from histoscope.core.progress import Silent
    from histoscope.core.runtime.device import Compute
    from histoscope.core.stages.predict import predict as whole
    from histoscope.core.work.local import Local
    from histoscope.domains.surgery import DOMAIN  # noqa: F401 - it is imported before the time
    from histoscope.domains.surgery.options import PredictOptions

    compute = Compute("cpu", told["precision"], told["cores"])
    package, roots, out = Path(told["package"]), {"input": Path(told["video"])}, Path(told["out"])
    said = {"engine": Local(0), "progress": Silent(), "compute": compute}

    def act() -> int:
        (outcome,) = whole(package, roots, PredictOptions(), out, **said)
        return outcome.samples

    return act


ACTS = {"decoding": decoding, "network": network, "predict": predict}


def work(told: Told) -> None:
    """A side of the comparison, in its own process: images and seconds on stdout."""
    os.sched_setaffinity(0, range(told["cores"]))
    from histoscope.core.runtime.allocator import keep_freed_memory

    keep_freed_memory()  # as the program does
    act = ACTS[told["side"]](told)
    clock = time.process_time if told["cores"] == 1 else time.perf_counter
    began = clock()
    count = act()
    print(count, clock() - began)  # noqa: T201


def seconds(told: Told, side: str) -> float:
    """What a side takes.

    Raises:
        RuntimeError: it saw other images than one a second.
    """
    words = {**told, "side": side, "out": str(Path(tempfile.mkdtemp(dir=told["out"])) / "out")}
    call = [sys.executable, "-m", "tests.benchmarks.operations", "--told", json.dumps(words)]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    count, taken = done.stdout.split()[-2:]
    if int(count) != told["minutes"] * MINUTE_S:
        raise RuntimeError(f"{side}: {count} images of {told['minutes']} minutes")
    return float(taken)


def peak(told: Told, video: Path) -> str:
    """Peak memory of the command on a video, in words."""
    from tests.benchmarks.memory import watch

    scratch = Path(tempfile.mkdtemp(dir=told["out"]))
    words = [sys.executable, "-m", "histoscope", "predict", str(video), "--workers", "0"]
    words += ["--package", told["package"], "--out", str(scratch / "out")]
    watched = watch(words, scratch / "log")
    return f"{watched.tree_mib:.0f} MiB"


@click.command(help=__doc__)
@click.option("--minutes", default=40)
@click.option("--cores", default=2)
@click.option("--rounds", default=3)
@click.option("--size-px", default=224)
@click.option("--encoder", default="random:resnet18")
@click.option("--precision", default="float32")
@click.option("--memory/--no-memory", default=True)
@click.option("--told", hidden=True)
def main(
    minutes: int,
    cores: int,
    rounds: int,
    size_px: int,
    encoder: str,
    precision: str,
    *,
    memory: bool,
    told: str | None,
) -> None:
    """Print what each side takes, the ratio, and peak memory."""
    if told:
        work(json.loads(told))
        return
    from histoscope.domains.surgery.options import FrameSampling
    from tests.benchmarks.packages import make_operation_package
    from tests.benchmarks.videos import clips, repeat

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        minute, video = place / "minute.mp4", place / "operation.mp4"
        write_minute(min(clips(place).rglob("*.mp4")), minute)
        repeat(minute, video, minutes)
        cut = FrameSampling(size_px=size_px, fps=1.0)
        package = make_operation_package(place / "made", encoder, minute, cut)
        about = {"video": str(video), "package": str(package), "out": scratch, "cores": cores}
        about |= {"minutes": minutes, "size_px": size_px, "precision": precision}
        best = dict.fromkeys(SIDES, float("inf"))
        for _ in range(rounds):
            for side in SIDES:
                best[side] = min(best[side], seconds(about, side))
        click.echo(f"{minutes} minutes, {cores} cores, {encoder}, {size_px} px, {precision}")
        for side in SIDES:
            click.echo(f"  {side}: {best[side]:.1f} s")
        allowed = best["decoding"] + best["network"]
        click.echo(f"  predict / (decoding + network): {best['predict'] / allowed:.2f}")
        if memory:
            click.echo(f"  peak memory of {minutes} minutes: {peak(about, video)}")
            repeat(minute, video, 3 * minutes)
            click.echo(f"  peak memory of {3 * minutes} minutes: {peak(about, video)}")


if __name__ == "__main__":
    main()
