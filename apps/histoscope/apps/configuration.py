"""Settings of a command: defaults < preset < ``--config`` < ``--set`` < flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from histoscope.core.config import Spec, apply_sets, build, load_yaml, merge
from histoscope.core.errors import ConfigError, UsageError, near_word

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
    parts = {
        f"preset {preset}": load_preset(kind, preset) if preset else {},
        str(config): load_yaml(config) if config else {},
    }
    whole: dict[str, Any] = {}
    for part in parts.values():
        whole = merge(whole, part)
    asked = _chosen(spec, merge(apply_sets(whole, sets), flags))
    body: dict[str, Any] = {}
    for where, part in parts.items():
        body = merge(body, part)
        build(asked, body, where)
    body = apply_sets(body, sets)
    build(asked, body, "--set")
    return build(asked, merge(body, flags), "command line")


def _chosen(spec: type[S], body: Mapping[str, Any]) -> type[S]:
    """The kind of settings that all sources together ask for; of an unknown kind ``spec``."""
    try:
        kind = spec.chosen(body)
    except UsageError:
        return spec
    return kind if issubclass(kind, spec) else spec
