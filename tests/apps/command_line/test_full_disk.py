"""A machine that refuses a file: one line, exit 2, nothing half done, and going on works."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from histoscope.core.files import whole_name
from tests.apps.command_line.road import HERE, SET, TILE, commands_with_out, snapshot
from tests.full_disk import no_room, no_room_for

AFTER = "see that it can be, and the same command goes on"
WRITERS = {
    "prepare": [
        *("settings.json", "*.arrow", "rows.parquet", "done.json", "index.parquet"),
        *("tissue.parquet", "manifest.parquet", "manifest.csv", "store.json"),
    ],
    "pretrain": [
        *("config.yaml", "log.txt", "metrics.csv", "model.safetensors", "optimiser.safetensors"),
        *("checkpoint.json", "objective.safetensors", "encoder.safetensors", "seen.parquet"),
        *("encoder.json", "curves.png"),
    ],
    "finetune": [
        *("model.safetensors", "seen.parquet", "draws.parquet", "SHA256SUMS.next"),
        *("MODEL_CARD.md", "package.json"),
    ],
    "evaluate": ["metrics.json", "confusion-*.png", "report.html"],
    "predict": [
        *("predict.json", "predictions.parquet", "predictions.csv", "classes.csv", "overlay.png"),
        *("thumbnail.jpg", "done.json", "manifest.parquet", "manifest.csv", "report.html"),
    ],
    "embed": ["embed.json", "*.h5", "features.parquet", "done.json", "manifest.csv"],
    "suggest": ["suggest.json", "suggested.csv", "*.geojson", "label.html"],
    "import-weights": ["encoder.safetensors", "seen.parquet", "encoder.json"],
}


def halves(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if whole_name(file) != file.name]


def refused_for(answer, *places: Path) -> str:
    """The file that the last line names, of an answer that is as it should be."""
    assert answer.code == 2, answer
    assert answer.out == ""
    assert "Traceback" not in answer.err
    last = answer.err.splitlines()[-1]
    assert [line for line in answer.err.splitlines() if line.startswith("histoscope: ")] == [last]
    file, _, said = last.removeprefix("histoscope: ").partition(": ")
    assert said == f"cannot be written (File too large); {AFTER}"
    assert not [half for place in places for half in halves(place)]
    return Path(file).name


@pytest.fixture
def commands(road, tmp_path):
    commands = commands_with_out(road)
    commands["slides"] = ("prepare", "--domain", "pathology", road.slides, *TILE, *HERE)
    commands["suggest"] = (
        *("suggest", tmp_path / "slides", "--encoder", "colour", "--count", "3"),
        *("--task", "mine", "--classes", "a,b"),
    )
    weights = ("import-weights", road.run / "encoder.safetensors")
    commands["import-weights"] = (
        *weights,
        "--architecture",
        "timm:test_resnet",
        "--key",
        "network",
    )
    return commands


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same, but for clock times."""
    found = []
    for folder in (one, other):
        files = {path.relative_to(folder): data for path, data in snapshot(folder).items()}
        files.pop(Path("log.txt"), None)
        if Path("metrics.csv") in files:
            rows = list(csv.DictReader(files.pop(Path("metrics.csv")).decode().splitlines()))
            files[Path("rows")] = str([{**row, "seconds": ""} for row in rows]).encode()
            files.pop(Path("curves.png"))
        found.append(files)
    return found[0] == found[1]


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_ends_every_writer_in_one_line_and_the_command_goes_on(
    call, commands, tmp_path, name
):
    if name == "suggest":
        assert call(*commands["slides"], "--out", tmp_path / "slides").code == 0
    out = tmp_path / "full"
    for pattern in WRITERS[name]:
        with no_room_for(pattern):
            answer = call(*commands[name], "--out", out)
        assert Path(refused_for(answer, tmp_path)).match(pattern)
    assert call(*commands[name], "--out", out).code == 0
    assert call(*commands[name], "--out", tmp_path / "whole").code == 0
    assert same(out, tmp_path / "whole")


def test_labels_stay_as_they_were_on_a_full_disk(road, call, tmp_path):
    store = Path(shutil.copytree(road.store, tmp_path / "store"))
    table = store / "labels" / "tissue.parquet"
    before = table.read_bytes()
    with no_room_for("*.parquet"):
        answer = call("labels", store, table, "--task", "tissue", "--out", tmp_path / "l.parquet")
    assert refused_for(answer, tmp_path) == "l.parquet"
    assert table.read_bytes() == before
    assert not (tmp_path / "l.parquet").exists()


def test_a_checkpoint_from_elsewhere_needs_room_for_temporary_files(road, call, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1000)}, file)
    words = ("import-weights", file, "--architecture", "timm:test_resnet")
    with no_room(1000):
        answer = call(*words, "--out", tmp_path / "out")
    assert "TMPDIR" in refused_for(answer, tmp_path)


def test_a_full_disk_is_no_fault_of_the_sources_behind_it(road, call, tmp_path):
    """Nor of the one at which it is found, in whatever process."""
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    for number in range(3):
        shutil.copy(road.slides / "one.tif", slides / f"{number}.tif")
    words = ("predict", slides, "--package", road.package, "--out", out)
    assert call(*words, "--shard", "1/3", *HERE).code == 0
    kept = snapshot(out / "results")
    with no_room(4000):
        answer = call(*words, "--workers", "1")
    refused_for(answer, out)
    assert "failed" not in answer.err
    assert all(path.read_bytes() == data for path, data in kept.items())
    answer = call(*words, *HERE)
    assert answer.code == 0
    assert "1 of 3 sources are done already" in answer.err
    assert "of 3 sources predicted; 0 empty, 0 failed" in answer.out


@pytest.mark.parametrize("name", ["prepare", "pretrain", "finetune", "evaluate", "predict"])
def test_a_folder_that_cannot_be_made_is_named(road, call, tmp_path, name):
    above = tmp_path / "file"
    above.write_text("where a folder is needed")
    answer = call(*commands_with_out(road)[name], "--out", above / "out")
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert str(above) in last
    assert "Not a directory" in last or "a file" in last
    assert above.read_text() == "where a folder is needed"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind root")
@pytest.mark.parametrize("name", ["prepare", "pretrain", "finetune", "evaluate", "predict"])
def test_a_folder_that_may_not_be_written_is_named(road, call, tmp_path, name):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    answer = call(*commands_with_out(road)[name], "--out", closed / "out")
    assert answer.code == 2
    assert "cannot be written (Permission denied)" in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    "name", ["prepare", "pretrain", "finetune", "evaluate", "predict", "embed"]
)
def test_what_a_kill_left_at_the_first_file_is_no_ones_folder(road, call, tmp_path, name):
    """No one's, so the same command goes on."""
    first = {
        **{"prepare": "settings.json", "pretrain": "config.yaml", "finetune": "model.safetensors"},
        **{"evaluate": "metrics.json", "predict": "predict.json", "embed": "embed.json"},
    }
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{first[name]}.77.part").write_text("half")
    assert call(*commands_with_out(road)[name], "--out", out).code == 0


def test_what_a_kill_left_of_a_store_goes_with_the_next_call(road, call, tmp_path):
    words = ("prepare", "--domain", "pathology", road.tiles, *SET, "--out", tmp_path / "store")
    assert call(*words).code == 0
    whole = snapshot(tmp_path / "store")
    (shard,) = (tmp_path / "store" / "shards").iterdir()
    (tmp_path / "store" / "store.json").unlink()
    shutil.rmtree(tmp_path / "store" / "sources")
    shard.rename(shard.with_name(f"{shard.name}.77.part"))
    (tmp_path / "store" / "labels" / "tissue.parquet.78.part").write_text("half")
    assert call(*words).code == 0
    assert snapshot(tmp_path / "store") == whole


@pytest.mark.parametrize("name", ["predict", "embed"])
def test_what_a_kill_left_of_results_goes_with_the_next_call(road, call, tmp_path, name):
    words, out = (*commands_with_out(road)[name], "--out", tmp_path / "out"), tmp_path / "out"
    assert call(*words).code == 0
    whole = snapshot(out)
    (out / "manifest.csv.77.part").write_text("half")
    assert call(*words).code == 0
    assert snapshot(out) == whole


def test_what_a_kill_left_of_pages_goes_with_the_next_report(road, call, tmp_path):
    """And stays where other shards may be writing."""
    out = tmp_path / "out"
    words = (*commands_with_out(road)["predict"], "--out", out)
    assert call(*words).code == 0
    whole = snapshot(out)
    (source,) = (out / "results").iterdir()
    left = [out / "report.html.77.part", source / "report.html.78.part"]
    others = source / "predictions.csv.79.part"
    for file in (*left, others):
        file.write_text("half")
    assert call(*words, "--shard", "1/2").code == 0
    assert all(file.exists() for file in left)
    assert call("report", out).code == 0
    assert snapshot(out) == {**whole, others: b"half"}
    assert call(*words).code == 0
    assert snapshot(out) == whole


def test_a_source_that_is_gone_when_its_turn_comes_is_one_row(road, call, tmp_path, monkeypatch):
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    for number in range(2):
        shutil.copy(road.slides / "one.tif", slides / f"{number}.tif")
    from histoscope.core.contracts import installed
    from histoscope.core.stages import predict

    def found(*words):
        sources = installed.find_sources(*words)
        (slides / "0.tif").unlink()
        return sources

    monkeypatch.setattr(predict, "find_sources", found)
    answer = call("predict", slides, "--package", road.package, *HERE, "--out", out)
    assert answer.code == 1
    assert "1 sources predicted; 0 empty, 1 failed" in answer.out
    assert "0.tif: failed: " in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("damage", ["gone", "cut", "scrambled"])
@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_a_store_that_is_damaged_under_a_command_is_named(road, call, tmp_path, name, damage):
    store = Path(shutil.copytree(road.store, tmp_path / "store"))
    (shard,) = (store / "shards").iterdir()
    data = shard.read_bytes()
    shard.unlink()
    if damage == "cut":
        shard.write_bytes(data[: len(data) // 2])
    if damage == "scrambled":
        shard.write_bytes(data.replace(b"\xff\xd8\xff", b"\0\0\0"))
    _, _, *more = commands_with_out(road)[name]
    answer = call(name, store, *more, "--out", tmp_path / "out")
    assert answer.code == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith(f"histoscope: {shard}: ")
    assert last.endswith("; copy the store again, or prepare it anew")


def test_what_a_worker_meets_is_one_line_and_ends_the_program(road, tmp_path):
    """Torch puts a traceback before it, and its workers hear no signal."""
    store = Path(shutil.copytree(road.store, tmp_path / "store"))
    (shard,) = (store / "shards").iterdir()
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8\xff", b"\0\0\0"))
    words = ("pretrain", store, "--config", road.settings, "--out", tmp_path / "out")
    more = ("--workers", "1", "--set", "training.monitor.every=0")
    program = [sys.executable, "-m", "histoscope", *map(str, (*words, *more))]
    ended = subprocess.run(
        program, capture_output=True, text=True, check=False, timeout=900
    )  # one that hangs
    assert (ended.returncode, ended.stdout) == (2, "")
    said = f"histoscope: {shard}: damaged; copy the store again, or prepare it anew"
    assert ended.stderr.splitlines()[-1] == said
    assert "Traceback" not in ended.stderr


def test_a_fault_of_ours_is_said_also_where_no_log_can_be_kept(road, call, tmp_path, monkeypatch):
    def broken(*words: object, **more: object) -> None:
        raise ZeroDivisionError("by zero")

    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("histoscope.core.stages.prepare.prepare", broken)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    answer = call(*commands_with_out(road)["prepare"], "--out", tmp_path / "out")
    assert answer.code == 4
    assert answer.err == (
        "histoscope: a fault of ours (ZeroDivisionError: by zero); please report it "
        "(no log of it can be written: No space left on device)\n"
    )
