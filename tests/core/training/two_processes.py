"""One of two gloo processes: ``python two_processes.py RANK PORT OUT``."""

from __future__ import annotations

import os
import sys

import torch
from networks import CASES, trained

from histoscope.core.runtime.fabric import make_fabric

if __name__ == "__main__":
    rank, port, out = sys.argv[1:]
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test"}
    torch.set_num_threads(1)
    fabric = make_fabric(torch.device("cpu"), "float32")
    for base, network in CASES:
        torch.save(trained(fabric, base, network, 1), f"{out}/{base}-{network}-{rank}.pt")
