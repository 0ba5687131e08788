"""Peak memory of this process."""

import re
from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory of this process alone (getrusage begins with the parent's)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else float("nan")
