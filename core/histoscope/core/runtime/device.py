"""Where networks run, and in what precision; what is chosen is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from histoscope.core.errors import UsageError
from histoscope.core.progress import Progress

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bf16"]


def choose_device(word: str) -> torch.device:
    """``auto`` takes a CUDA device where torch can use one, else the CPU.

    Raises:
        UsageError: neither a CPU nor a CUDA device, or one that cannot be used; nothing falls to
            the CPU.
    """
    import torch

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


@dataclass(frozen=True)
class Compute:
    """Where a network runs without learning; goes to the processes that run it.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of its passes; features are float32 in any case.
        threads: of torch, None: as it is.
    """

    device: str = "auto"
    precision: Precision = "float32"
    threads: int | None = None

    def chosen(self) -> torch.device:
        """The device, as :func:`choose_device`."""
        return choose_device(self.device)

    def start(self) -> Compute:
        """Set this process's threads."""
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        return self

    def say(self, progress: Progress) -> None:
        """Say what was chosen."""
        progress.say(f"the network runs on {self.chosen()} in {self.precision}")


AUTO = Compute()
