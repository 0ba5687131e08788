"""One launch of two processes that train together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "toy_plugin"
HOUSE = Path(__file__).parents[3]


def in_two_processes(act: str, store: Path, out: Path) -> None:
    """Call ``module:function`` with a store, a folder and one part a process, in both.

    Fails where either ends with a fault, or hangs.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = os.pathsep.join([str(PLUGIN), str(HOUSE), *sys.path])
    usual = {**os.environ, "PYTHONPATH": path, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    usual |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0"}
    usual |= {"TORCHELASTIC_RUN_ID": "test"}
    module, function = act.split(":")
    code = (
        f"import sys; from pathlib import Path; from {module} import {function}; "
        f"{function}(Path(sys.argv[1]), Path(sys.argv[2]), 1)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store), str(out)],
            env={**usual, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    assert [process.wait(timeout=3000) for process in started] == [0, 0]
