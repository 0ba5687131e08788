"""What ``masks`` and ``prepare --masks`` share: which provider, and what is said at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from histoscope.core.config import Spec, apply_sets, build
from histoscope.core.contracts.masks import MaskProvider, load_provider
from histoscope.core.errors import UsageError

if TYPE_CHECKING:
    from histoscope.core.stages.masks import MadeMasks

ENCODER = "encoder"  # setting of providers that want one


def asked_provider(
    name: str, domain: str, sets: Sequence[str], encoder: str | None = None
) -> tuple[MaskProvider, Spec]:
    """A provider and its settings.

    Args:
        name: its name.
        domain: whose images.
        sets: ``name=value``.
        encoder: word of ``--encoder``, a short form of ``--set encoder=WORD``.

    Raises:
        UsageError: no such provider for the domain, or it has no encoder.
        ConfigError: no such settings.
    """
    provider = load_provider(name, domain)
    body: dict[str, Any] = apply_sets({}, sets)
    if encoder is not None:
        if ENCODER not in provider.settings.model_fields:
            raise UsageError(f"--encoder {encoder}: provider {name} wants none")
        body[ENCODER] = encoder
    return provider, build(provider.settings, body, f"provider {name}")


def say_masks(store: Path, made: MadeMasks) -> int:
    """Say what was made; the exit code."""
    tally, failed = made.tally, sum(one.status == "failed" for one in made.outcomes)
    click.echo(
        f"{store}: {made.name}: {tally.masks} masks of {made.sources} sources, {failed} failed; "
        f"{tally.mean:.1%} of their pixels are subject, {tally.empty} are empty, {tally.full} full"
    )
    share = made.plane_bytes / max(1, made.shard_bytes)
    rate = f"; {made.made / made.seconds:.3g} images/s" if made.made else "; none had to be made"
    click.echo(
        f"{made.plane_bytes / 1e6:.3g} MB, {share:.1%} of the {made.shard_bytes / 1e6:.3g} MB of "
        f"their images{rate}"
    )
    return 1 if made.failed else 0
