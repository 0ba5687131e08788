"""Copies of what comes next: whole or absent, bounded, and gone in the end."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from histoscope.core.contracts import Source
from histoscope.core.progress import Silent
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.stages.prepare import prepare
from histoscope.core.work import staging
from histoscope.core.work.local import Local
from histoscope.core.work.outcome import Outcome
from histoscope.core.work.reading import Opening
from histoscope.core.work.staging import Copier, Staging, own_folder


class Told(Silent):
    """What was said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def sources(tmp_path):
    """Four sources of a thousand bytes, in folders, with their files and roots."""
    base = tmp_path / "slow"
    given = []
    for number in range(4):
        path = base / "ward" / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 1000)
        source = Source(f"{number:016x}", f"ward/{number}.npy")
        given.append(source)
    return given


class Files:
    """Sources of one file each."""

    def files(self, source, roots):
        return [roots["input"] / source.path]


@pytest.fixture
def begin(sources, tmp_path):
    """Let a copier begin with all of them."""
    return lambda copier: copier.begin(Files(), {"input": tmp_path / "slow"}, sources)


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def there(folder):
    return sorted(one.name for one in folder.iterdir())


def test_copies_are_made_in_order_within_the_bound_and_removed_when_finished(
    sources, begin, tmp_path
):
    ids = [source.id for source in sources]
    folder = tmp_path / "fast"
    folder.mkdir()
    with Copier(folder, 2500) as copier:
        begin(copier)
        until(lambda: there(folder) == ids[:2])
        assert (folder / ids[1] / "ward" / "1.npy").read_bytes() == b"\1" * 1000
        time.sleep(0.05)
        assert there(folder) == ids[:2]  # a third would be too much
        copier.release(ids[0])
        until(lambda: there(folder) == ids[1:3])
        copier.release(ids[3])  # was read where it lies: never copied
        copier.release(ids[1])
        copier.release(ids[2])
        until(lambda: not copier._thread.is_alive())
        assert there(folder) == []
    assert (copier.copied, copier.fault) == (3, "")


def test_what_is_too_large_or_cannot_be_copied_is_left(sources, begin, tmp_path):
    (tmp_path / "slow" / sources[0].path).write_bytes(b"x" * 5000)
    (tmp_path / "slow" / sources[2].path).unlink()
    folder = tmp_path / "fast"
    folder.mkdir()
    with Copier(folder, 3000) as copier:
        begin(copier)
        until(lambda: not copier._thread.is_alive())
        assert there(folder) == [sources[1].id, sources[3].id]
    assert copier.fault == "not all could be (No such file or directory)"


def test_a_full_disk_leaves_no_part_behind_and_is_left_alone(begin, tmp_path, monkeypatch):
    tried = []

    def full(copier, source, path, target):
        tried.append(path.name)
        target.write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Copier, "_copy_file", full)
    folder = tmp_path / "fast"
    folder.mkdir()
    with Copier(folder, 3000) as copier:
        begin(copier)
        until(lambda: not copier._thread.is_alive())
    assert there(folder) == []
    assert tried == ["0.npy"]
    assert "No space left on device" in copier.fault


def test_the_last_of_a_disk_is_not_used_up(begin, tmp_path, monkeypatch):
    little = shutil.disk_usage(tmp_path)._replace(free=staging.RESERVE_BYTES + 500)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda place: little)
    folder = tmp_path / "fast"
    folder.mkdir()
    with Copier(folder, 3000) as copier:
        begin(copier)
        until(lambda: not copier._thread.is_alive())
    assert there(folder) == []
    assert copier.fault == "not all could be (less than 2 GiB would be left on that disk)"


def test_a_domain_that_cannot_list_files_ends_nothing(sources, tmp_path):
    class Failing:
        def files(self, source, roots):
            if source.id.endswith("0"):
                raise PermissionError(13, "Permission denied")
            return Files().files(source, roots)

    folder = tmp_path / "fast"
    folder.mkdir()
    with Copier(folder, 9000) as copier:
        copier.begin(Failing(), {"input": tmp_path / "slow"}, sources)
        until(lambda: not copier._thread.is_alive())
        assert len(there(folder)) == 3
    assert copier.fault == "not all could be (Permission denied)"


def test_a_copy_is_what_is_opened_and_the_rest_where_it_lies(toy, tmp_path):
    (tmp_path / "slow").mkdir()
    for seed, name in enumerate(("a-good", "b-good")):
        toy.write_stack(tmp_path / "slow" / f"{name}.npy", 4, seed)
    roots = {"input": tmp_path / "slow"}
    found = list(toy.DOMAIN.find(roots, toy.ToyOptions()))
    opening = Opening("toy", roots, toy.ToySampling(), staged=tmp_path / "fast")
    (tmp_path / "fast").mkdir()
    with Copier(tmp_path / "fast", 10**9) as copier:
        copier.begin(toy.DOMAIN, roots, found[:1])
        until(lambda: (tmp_path / "fast" / found[0].id).is_dir())
        (tmp_path / "slow" / found[0].path).unlink()
        for source in found:
            with opening.open(source) as reader:
                assert len(reader.plan().rows) == 4


def test_results_are_those_without_and_nothing_stays(toy, tmp_path):
    (tmp_path / "slow").mkdir()
    for name in ("a-good", "b-good", "bad-one"):
        toy.write_stack(tmp_path / "slow" / f"{name}.npy", 9, 3)
    roots, told, stores = {"input": tmp_path / "slow"}, Told(), []
    for name, engine in (
        ("plain", Local(1)),
        ("staged", Staging(Local(2), tmp_path / "fast", 10**9, 0, told)),
    ):
        options, cut = toy.ToyOptions(), toy.ToySampling()
        place = tmp_path / name
        prepare(toy.DOMAIN, roots, cut, options, place, engine=engine, progress=Silent())
        stores.append(
            {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        )
    assert stores[0] == stores[1]
    assert there(tmp_path / "fast") == []
    assert told.lines[-1].endswith(f"of 3 sources were copied to {tmp_path / 'fast'} first")


def test_what_ended_processes_left_is_removed_and_what_others_have_stays(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    mine = f"histoscope-stage-{socket.gethostname()}-"
    names = {
        "left": f"{mine}{int(ended.stdout)}-x",
        "other": f"{mine}{os.getppid()}-x",
        "elsewhere": "histoscope-stage-another-machine-1-x",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
    with own_folder(tmp_path) as folder:
        assert folder.name.startswith(f"{mine}{os.getpid()}-")
        assert not (tmp_path / names["left"]).exists()
    assert there(tmp_path) == sorted([names["other"], names["elsewhere"]])


def test_a_job_that_opens_no_sources_is_run_as_it_is(tmp_path):
    class Plain:
        out = None

        def run(self, job, sources, stop):
            yield from (Outcome(source, "done") for source in sources)

    sources = [Source("0" * 16, "a")]
    with StopFlag() as stop:
        engine = Staging(Plain(), tmp_path / "fast", 10, 1, Silent())
        assert [one.status for one in engine.run(object(), sources, stop)] == ["done"]
    assert not (tmp_path / "fast").exists()
