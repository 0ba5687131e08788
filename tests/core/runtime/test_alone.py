"""One call at a time in a folder; whatever ends it lets go."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from histoscope.core.errors import UsageError
from histoscope.core.runtime.alone import alone


def test_a_second_call_is_refused_and_may_go_on_afterwards(tmp_path):
    folder = tmp_path / "new" / "run"
    said = "run: another call is writing here"
    with alone(folder), pytest.raises(UsageError, match=said), alone(folder):
        pass
    with alone(folder), alone(tmp_path / "other"):
        pass


HOLD = """
import os, sys, time
from pathlib import Path
from histoscope.core.runtime.alone import alone
with alone(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)  # said by the worker itself: it is there
    time.sleep(600)
"""


def test_a_killed_call_holds_nothing_though_its_worker_lives(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as call:
        worker = int(call.stdout.readline())
        try:
            with pytest.raises(UsageError), alone(tmp_path):
                pass
            call.kill()
            call.wait()
            os.kill(worker, 0)  # it lives
            with alone(tmp_path) as held:
                assert held
        finally:
            call.kill()
            os.kill(worker, signal.SIGKILL)


def test_where_there_are_no_locks_nothing_is_held(tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    with alone(tmp_path) as held:
        assert not held
