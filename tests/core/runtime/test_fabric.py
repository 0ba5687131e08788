"""One process under Lightning Fabric."""

import subprocess
import sys

MAKE = """
import torch
from histoscope.core.runtime.fabric import make_fabric
with make_fabric(torch.device("cpu"), "bf16").autocast():
    print(torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype)
"""


def test_it_says_nothing_of_its_own():
    told = subprocess.run([sys.executable, "-c", MAKE], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("torch.bfloat16\n", "")
