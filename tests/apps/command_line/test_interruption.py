"""Divergence, faults of ours, and signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from tests.apps.command_line.road import (
    COLOURS,
    HERE,
    commands_with_out,
    write_slide,
)

# Divergence, faults, interruption


@pytest.mark.parametrize(
    ("every", "steps_at_the_rate", "names"),
    [(1, 2, "step-000001"), (100, 1, None)],
    ids=["with a good checkpoint", "without"],
)
def test_a_run_that_diverges_names_the_last_good_checkpoint(
    road, call, tmp_path, monkeypatch, every, steps_at_the_rate, names
):
    def rate(spec: object, step: int, steps: int) -> float:
        return 1e30 if step + 1 == steps_at_the_rate else 1e-3

    monkeypatch.setattr("histoscope.core.optim.spec.OptimiserSpec.rate_at", rate)
    out = tmp_path / "run"
    more = ("--steps", "6", "--checkpoint-every", every, "--out", out)
    answer = call("pretrain", road.store, "--config", road.settings, *more)
    assert answer.code == 5
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"histoscope: step {steps_at_the_rate + 1}: the loss is not finite")
    if names:
        assert f"the last good checkpoint is {out / 'checkpoints' / names};" in last
        assert (out / "checkpoints" / names / "checkpoint.json").is_file()
    else:
        assert "there is no good checkpoint" in last
    assert "--set training.optimiser.learning_rate" in last
    assert not (out / "encoder.json").exists()


def test_a_rate_beyond_reason_diverges(road, call, tmp_path):
    more = ("--set", "training.optimiser.learning_rate=1e30", "--steps", "6")
    words = ("--config", road.settings, *more, "--out", tmp_path / "run")
    answer = call("pretrain", road.store, *words)
    assert answer.code == 5
    assert "the loss is not finite" in answer.err.splitlines()[-1]


def test_a_fault_of_ours_names_a_log(road, call, tmp_path, monkeypatch):
    def broken(*words: object, **more: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("histoscope.core.stages.prepare.prepare", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = call(*commands_with_out(road)["prepare"], "--out", tmp_path / "out")
    assert answer.code == 4
    (line,) = answer.err.splitlines()
    assert line.startswith("histoscope: a fault of ours (ZeroDivisionError: two lines)")
    log = Path(line.rpartition(" ")[2])
    assert log.parent == tmp_path
    assert "Traceback" in log.read_text()
    assert not (tmp_path / "out").exists()


def test_what_the_machine_refuses_is_no_fault_of_ours(road, call, tmp_path, monkeypatch):
    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device", "/there")

    monkeypatch.setattr("histoscope.core.stages.prepare.prepare", full)
    answer = call(*commands_with_out(road)["prepare"], "--out", tmp_path / "out")
    said = "/there: No space left on device; mend that, and the same command goes on"
    assert (answer.code, answer.err) == (2, f"histoscope: {said}\n")


def test_a_name_with_a_line_break_still_gives_one_line(refused, tmp_path):
    refused(
        "prepare", "--domain", "pathology", tmp_path / "a\nb", says=["a b: no such file or folder"]
    )


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def interrupt(words: tuple[object, ...], out: Path, sign: str) -> str:
    """Start a program, send what Ctrl-C sends once ``sign`` is there; its last line."""
    program = subprocess.Popen(
        [sys.executable, "-m", "histoscope", *map(str, words), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while program.poll() is None and not list(out.glob(sign)):
        time.sleep(0.005)
    os.killpg(program.pid, signal.SIGINT)
    said, talk = program.communicate(timeout=900)  # a program that hangs
    assert program.returncode == 3, talk
    assert said == ""
    assert parts(out) == []
    last = talk.splitlines()[-1]
    assert last.startswith("histoscope: interrupted; ")
    assert last.endswith("; the same command goes on")
    assert "Traceback" not in talk
    return last


def test_pretraining_goes_on_after_an_interruption(road, call, tmp_path):
    out = tmp_path / "run"
    words = ("pretrain", road.store, "--config", road.settings, "--steps", "24")
    words = (*words, "--checkpoint-every", "100")
    last = interrupt(words, out, "metrics.csv")
    done = int(re.search(r"step (\d+) of 24 is saved", last).group(1))
    assert (out / "checkpoints" / f"step-{done:06d}" / "checkpoint.json").is_file()
    answer = call(*words, "--out", out)
    assert answer.code == 0
    assert f"resumes after step {done}" in answer.err
    steps = (out / "metrics.csv").read_text().splitlines()[1:]
    assert [int(line.partition(",")[0]) for line in steps] == list(range(1, 25))


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["config.yaml", "metrics.csv"])
def test_pretraining_with_workers_goes_on_after_an_interruption(road, call, tmp_path, sign):
    out = tmp_path / "run"
    words = ("pretrain", road.store, "--config", road.settings, "--steps", "24", "--workers", "1")
    interrupt(words, out, sign)
    assert call(*words, "--out", out).code == 0


def test_prediction_goes_on_after_an_interruption(road, call, tmp_path):
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    for number in range(12):  # another name is another source
        shutil.copy(road.slides / "one.tif", slides / f"{number}.tif")
    words = ("predict", slides, "--package", road.package, *HERE)
    last = interrupt(words, out, "results/*/done.json")
    done = int(re.search(r"(\d+) of 12 sources are finished", last).group(1))
    assert not (out / "report.html").exists()
    answer = call(*words, "--out", out)
    assert answer.code == 0
    assert f"{done} of 12 sources are done already" in answer.err
    assert "192 samples of 12 sources predicted" in answer.out


def test_preparing_in_another_process_goes_on_after_an_interruption(road, call, tmp_path):
    slides, out = tmp_path / "slides", tmp_path / "store"
    slides.mkdir()
    write_slide(slides / "large.tif", np.full((2048, 2048, 3), COLOURS["tumour"], np.uint8))
    shutil.copy(road.slides / "one.tif", slides)
    words = (
        "prepare",
        "--domain",
        "pathology",
        slides,
        "--size-px",
        "16",
        "--min-tissue",
        "0",
        "--encoding",
        "lossless",
    )
    last = interrupt((*words, "--workers", "1"), out, "shards/*.part")  # 16384 tiles: a second
    assert re.search(r"[01] of 2 sources are finished", last)
    assert not (out / "store.json").exists()
    answer = call(*words, *HERE, "--out", out)
    assert answer.code == 0
    assert "from 2 sources; 0 empty, 0 failed" in answer.out
