"""What is killed: commands over a small folder, in a process that has loaded all they need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from histoscope.apps.cli import run
from histoscope.apps.report import predict_report
from histoscope.core import files, registry
from histoscope.core.runtime import threads
from tests.faults.made import (
    TILE_PX,
    write_colour_package,
    write_operation_package,
    write_operations,
    write_slides,
)

OUT = "OUT"
_atomic_path = files.atomic_path


@dataclass(frozen=True)
class Subject:
    """A command that writes a folder.

    Attributes:
        name: for people.
        words: of the command line; the folder is put where ``OUT`` stands.
        begun: what the folder holds before, None: it is not there.
        code: how the command ends: 1 where a source is bad.
        one_page: most sources of which the report is one page.
        careless: it writes its files in their places, which must be found out.
    """

    name: str
    words: Sequence[str]
    begun: Path | None = None
    code: int = 1
    one_page: int = predict_report.ONE_PAGE
    careless: bool = False

    def line(self, out: Path) -> list[str]:
        """The words of the command line for a folder."""
        return [str(out) if word == OUT else word for word in self.words]

    def run(self, out: Path) -> None:
        """Run it in this process, without its talk.

        Raises:
            RuntimeError: it ends otherwise than it should.
        """
        predict_report.ONE_PAGE = self.one_page
        files.atomic_path = _in_its_place if self.careless else _atomic_path
        with silent():
            code = run(self.line(out))
        if code != self.code:
            raise RuntimeError(f"{self.name}: exit code {code}, not {self.code}")

    def anew(self, out: Path) -> None:
        """Let a folder be as it is before the command."""
        shutil.rmtree(out, ignore_errors=True)
        if self.begun is not None:
            shutil.copytree(self.begun, out)


@contextmanager
def _in_its_place(path: Path) -> Iterator[Path]:
    """Yield a path itself, as a writer does that thinks of nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path


@contextmanager
def silent() -> Iterator[None]:
    """Send what this process says nowhere."""
    kept = [os.dup(one) for one in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for one in (1, 2):
            os.dup2(nowhere, one)
        yield
    finally:
        for one, before in zip((1, 2), kept, strict=True):
            os.dup2(before, one)
        for handle in (nowhere, *kept):
            os.close(handle)


def preload() -> None:
    """Have this process and its forks compute in one thread, and look once for what is installed.

    A fork of a process that computes in several threads may hang.
    """
    import cv2
    import pyarrow as pa
    import torch

    threads.cores = lambda: 1
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    registry.entry_points = cache(registry.entry_points)


def subjects(base: Path) -> list[Subject]:
    """Commands over one folder of slides and one of operations, made below ``base``.

    ``report`` makes anew the pages of a report that has one for each source.
    """
    slides, package = write_slides(base / "slides"), write_colour_package(base / "package")
    here = ("--workers", "0", "--out", OUT)
    predict = Subject("predict", ("predict", str(slides), "--package", str(package), *here))
    cut = ("--size-px", str(TILE_PX), "--min-tissue", "0", "--encoding", "lossless")
    clam = ("--package", str(package), "--layout", "clam")
    predict.run(base / "predicted")
    films, phases = write_operations(base / "films"), write_operation_package(base / "phases")
    more = ("--write", "cholec80")
    of_films = ("predict", str(films), "--package", str(phases), *more, *here)
    return [
        predict,
        Subject("prepare", ("prepare", "--domain", "pathology", str(slides), *cut, *here)),
        Subject("embed", ("embed", str(slides), *clam, *here)),
        Subject("report", ("report", OUT), base / "predicted", code=0, one_page=0),
        Subject("operations", of_films),
    ]


def tree(folder: Path) -> dict[str, bytes]:
    """All that lies below a folder, nothing left out; a folder's name ends in a slash."""
    return {
        path.relative_to(folder).as_posix() + "/" * path.is_dir(): b""
        if path.is_dir()
        else path.read_bytes()
        for path in folder.rglob("*")
    }


def differences(found: dict[str, bytes], wanted: dict[str, bytes]) -> list[str]:
    """One line a file that is missing, too much or of other bytes."""
    return [
        *(f"{name}: missing" for name in sorted(wanted.keys() - found.keys())),
        *(f"{name}: left behind" for name in sorted(found.keys() - wanted.keys())),
        *(
            f"{name}: other bytes"
            for name in sorted(wanted.keys() & found.keys())
            if wanted[name] != found[name]
        ),
    ]
