"""Fixtures: a small road made once, and one command line run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoscope.apps.cli import run
from tests.apps.command_line.road import (
    COLOURS,
    FEW,
    PLUGIN,
    SET,
    SMALL,
    Answer,
    Road,
    paint,
    write_slide,
)


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    base = tmp_path_factory.mktemp("road")
    made = Road(*(base / name for name in ("tiles", "slides", "small.yaml", "store", "run", "p")))
    for place, (part, count) in enumerate([("train", 8), ("test", 5)]):
        for kind in COLOURS:
            folder = made.tiles / part / kind
            folder.mkdir(parents=True)
            for seed in range(count):
                tile = paint(kind, 32, 100 * place + seed)
                Image.fromarray(tile).save(folder / f"{kind}{seed}.png")
    made.slides.mkdir()
    pixels = np.full((192, 192, 3), 245, np.uint8)
    pixels[32:160, 32:160] = paint("tumour", 128, 7)
    write_slide(made.slides / "one.tif", pixels)
    made.settings.write_text(SMALL)
    for words in (
        ("prepare", "--domain", "pathology", made.tiles, "--out", made.store, *SET),
        ("pretrain", made.store, "--out", made.run, "--config", made.settings),
        ("finetune", made.store, "--encoder", "colour", "--out", made.package, *FEW),
    ):
        assert run([str(word) for word in words]) == 0
    return made


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run one command line in this process."""

    def act(*words: object) -> Answer:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return act


@pytest.fixture
def refused(call: Callable[..., Answer], tmp_path: Path) -> Callable[..., str]:
    """Run a command line into a folder that must not appear; it must end in one line."""

    def act(*words: object, says: tuple[object, ...]) -> str:
        out = tmp_path / "refused"
        answer = call(*words, *(() if "--out" in words else ("--out", out)))
        assert answer.code == 2, answer
        assert answer.out == ""
        assert answer.err.endswith("\n")
        (line,) = answer.err.splitlines()
        assert line.startswith("histoscope: ")
        for word in says:
            assert str(word) in line
        assert not out.exists()
        return line

    return act


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two domains from outside, ``toy`` and one that does not load; flags are made anew."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.invalidate_caches()
    commands = [name for name in sys.modules if name.startswith("histoscope.apps.commands.")]
    for name in commands:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.startswith("histoscope.apps.commands.")]:
        del sys.modules[name]
    sys.modules.pop("toy_domain", None)


@pytest.fixture
def prepared(call: Callable[..., Answer], tmp_path: Path) -> Callable[..., Path]:
    """Prepare a store."""

    def act(tiles: Path, *words: str) -> Path:
        store = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
        assert (
            call("prepare", "--domain", "pathology", tiles, "--out", store, *SET, *words).code == 0
        )
        return store

    return act
