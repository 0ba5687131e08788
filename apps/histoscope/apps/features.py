"""``--features`` in place of a store: what another program computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from histoscope.apps.flags import FEATURES, Command, flag_of, given_flags, split_options
from histoscope.core.errors import UsageError


def features_options(target: Command) -> Command:
    """``features`` and ``domain``, which :func:`store_of` takes."""
    features = click.option(
        "--features",
        type=click.Path(path_type=Path),
        help="in place of STORE: a folder of features that CLAM, TRIDENT or embed computed",
    )
    domain = click.option(
        "--domain", help="of --features  [default: the only one that reads features]"
    )
    return features(domain(target))


def store_of(
    store: Path | None,
    features: Path | None,
    domain: str | None,
    values: Mapping[str, Any],
    labels: Path | None,
    names: Sequence[str],
    progress: Any,
    package: Any = None,
) -> tuple[Any, Path | None]:
    """The store, or one of features with their labels, and the label table that is to be read.

    Args:
        store, features, domain, labels: as on the command line.
        values: flags of a domain for features.
        names: of tasks.
        progress: who is told.
        package: which the features must be of.

    Raises:
        UsageError: both or neither, no labels, or flags of features without these.
    """
    from histoscope.core.data.store import Store

    if (store is None) == (features is None):
        raise UsageError("give STORE, or --features in its place")
    if features is None:
        for flag in (*given_flags(values), *(["domain"] if domain else [])):
            raise UsageError(f"{flag_of(flag)} is of --features")
        assert store is not None
        return Store(store), labels
    if labels is None:
        raise UsageError("--features: give --labels, a CSV of sources with a column label")
    if len(names) > 1 or (package and len(package.tasks) > 1):
        raise UsageError("--features: one task at a time")
    from histoscope.core.stages.given import domain_of_features, open_given

    reads = domain_of_features(domain or (package.info.encoder.domain if package else None))
    _, options = split_options(reads, FEATURES, values)
    name = next(iter(names), None)
    told = {"name": name, "package": package, "progress": progress}
    return open_given(reads, features, options, labels, **told), None
