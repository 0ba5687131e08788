"""Which device, how many threads and processes; what is chosen is said."""

from __future__ import annotations

import torch

from histoscope.core.errors import UsageError


def choose_device(word: str) -> torch.device:
    """``auto`` takes a CUDA device where torch can use one, else the CPU.

    Raises:
        UsageError: neither a CPU nor a CUDA device, or one that cannot be used; nothing falls to
            the CPU.
    """
    if word == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if word.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {word}: torch finds no usable GPU; see 'histoscope doctor'")
    try:
        device = torch.device(word)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise UsageError(f"--device {word}: unknown; give auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {word}: torch finds {torch.cuda.device_count()} GPU, counted from cuda:0"
        )
    return device
