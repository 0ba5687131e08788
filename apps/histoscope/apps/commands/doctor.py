"""``histoscope doctor``."""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from histoscope.core import __version__
from histoscope.core.contracts import Domain
from histoscope.core.contracts.installed import DOMAINS, load_domain
from histoscope.core.errors import UsageError

LIBRARIES = ("torch", "torchvision", "timm", "imagecodecs", "pyarrow")
MORE = ("scikit-learn", "pytorch-lightning")


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="for scripts")
def command(as_json: bool) -> int:
    """Say what this machine has, and what is missing. Exit code 2 when something must be mended."""
    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            if isinstance(value, dict):
                click.echo(f"{name}:")
                for key, inner in value.items():
                    click.echo(f"  {key}: {inner}")
            else:
                click.echo(f"{name}: {value}")
    return 2 if found["problems"] else 0


def examine() -> dict[str, Any]:
    """All that ``doctor`` says."""
    problems: list[str] = []
    domains = _domains(problems)
    return {
        "histoscope": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: _version(name, problems) for name in (*LIBRARIES, *MORE)},
        "gpu": _gpu(problems),
        "readers": _readers(domains, problems),
        "domains": ", ".join(domain.name for domain in domains),
        "memory": _memory(),
        "disk": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB free here",
        "problems": "; ".join(problems),
    }


def _version(name: str, problems: list[str]) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        problems.append(f"{name} is not installed: run 'make setup'")
        return "missing"


def _gpu(problems: list[str]) -> dict[str, str]:
    try:
        import torch
        import torchvision  # noqa: F401 - fails beside a torch that does not belong to it
    except (ImportError, RuntimeError) as fault:
        problems.append(f"torch and torchvision do not fit together ({fault})")
        return {"found": "unknown"}
    built = torch.version.cuda or "none (a CPU build)"
    driver = _driver()
    out = {"torch built for CUDA": built, "driver found": driver}
    if torch.cuda.is_available():
        out["found"] = torch.cuda.get_device_name(0)
    elif driver != "none":
        major = int(built.split(".")[0]) if built[0].isdigit() else 0
        needed = {13: "580", 12: "525", 11: "450"}.get(major, "a newer one")
        out["found"] = "a driver, but torch cannot use the GPU"
        problems.append(f"driver {driver} is too old for CUDA {built}: needs {needed} or newer")
    else:
        out["found"] = "none; work goes to the CPU"
    return out


def _driver() -> str:
    file = Path("/proc/driver/nvidia/version")
    if not file.is_file():
        return "none"
    words = file.read_text(encoding="utf-8").split()
    return next((word for word in words if word[:1].isdigit() and "." in word), "unknown")


def _readers(domains: list[Domain], problems: list[str]) -> dict[str, str]:
    """What the domains' own checks find; one that fails in whatever way ends no other."""
    found = {}
    for domain in domains:
        for name, target in domain.checks.items():
            module, _, attribute = target.partition(":")
            try:
                check = getattr(importlib.import_module(module), attribute)
                found[name] = str(check() if callable(check) else check)
            except Exception as fault:
                found[name] = "missing"
                problems.append(f"{domain.name} needs {name} ({fault}): run 'make setup'")
    return found


def _domains(problems: list[str]) -> list[Domain]:
    """The domains that load."""
    working = []
    for name in DOMAINS.names():
        try:
            working.append(load_domain(name))
        except UsageError as fault:
            problems.append(str(fault))
    return working


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total / 2**30:.0f} GiB"
