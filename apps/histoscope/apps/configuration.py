"""Settings of a command: defaults < preset < ``--config`` < ``--set`` < flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from histoscope.core.config import Spec, apply_sets, build, load_yaml, merge
from histoscope.core.errors import ConfigError, near_word

S = TypeVar("S", bound=Spec)


def presets_folder() -> Path:
    """``configs/`` of the checkout if this is one (a copy goes stale), else the wheel's."""
    checkout = Path(__file__).resolve().parents[3] / "configs"
    if (checkout / "recipe").is_dir():
        return checkout
    return Path(str(files("histoscope").joinpath("configs")))


def load_preset(kind: str, name: str) -> dict[str, Any]:
    """A preset of ``configs/KIND/NAME.yaml``.

    Raises:
        ConfigError: no such preset; the near word is offered.
    """
    folder = presets_folder() / kind
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        hint = near_word(name, known)
        raise ConfigError(f"--preset {name}: unknown{hint}; known: {', '.join(known)}")
    return load_yaml(folder / f"{name}.yaml")


def resolve_settings(
    spec: type[S],
    kind: str,
    preset: str | None,
    config: Path | None,
    sets: Sequence[str],
    flags: Mapping[str, Any],
) -> S:
    """Build a configuration from all its sources; faults name the file or flag they are in."""
    body: dict[str, Any] = {}
    for where, part in (
        (f"preset {preset}", load_preset(kind, preset) if preset else {}),
        (str(config), load_yaml(config) if config else {}),
    ):
        build(spec, merge(body, part), where)
        body = merge(body, part)
    body = apply_sets(body, sets)
    build(spec, body, "--set")
    return build(spec, merge(body, flags), "command line")
