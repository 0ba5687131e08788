"""One call at a time in a folder; whatever ends it lets go."""

import multiprocessing
import os
import signal
import time

import pytest

from histoscope.core.errors import UsageError
from histoscope.core.runtime.alone import alone

FORK = multiprocessing.get_context("fork")


def test_a_second_call_is_refused_and_may_go_on_afterwards(tmp_path):
    folder = tmp_path / "new" / "run"
    said = "run: another call is writing here"
    with alone(folder), pytest.raises(UsageError, match=said), alone(folder):
        pass
    with alone(folder), alone(tmp_path / "other"):
        pass


def hold(folder, told):
    """Hold a folder beside a worker of our own that goes on for long."""
    with alone(folder):
        worker = FORK.Process(target=time.sleep, args=(60,))
        worker.start()
        told.send(worker.pid)
        time.sleep(60)


def test_a_killed_call_holds_nothing_though_its_worker_lives(tmp_path):
    here, there = FORK.Pipe()
    call = FORK.Process(target=hold, args=(tmp_path, there))
    call.start()
    worker = here.recv()
    try:
        with pytest.raises(UsageError), alone(tmp_path):
            pass
        call.kill()
        call.join()
        os.kill(worker, 0)  # it lives
        with alone(tmp_path):
            pass
    finally:
        call.kill()
        os.kill(worker, signal.SIGKILL)
