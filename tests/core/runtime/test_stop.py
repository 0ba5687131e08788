"""Processes that were started end with the one that started them."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import os, signal, time
from histoscope.core.runtime.stop import start_process

def work(pipe):
    pipe.send(os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    process, pipe = start_process(work)
    print(pipe.recv(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_process_does_not_outlive_a_killed_parent(tmp_path):
    """It would go on writing beside the next call."""
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, text=True
    )
    with program:
        process, began = int(program.stdout.readline()), time.monotonic()
        assert program.wait() == -signal.SIGKILL
        while is_there(process) and time.monotonic() < began + 60:
            time.sleep(0.05)
        alone = is_there(process)
        if alone:
            os.kill(process, signal.SIGKILL)
    assert not alone
