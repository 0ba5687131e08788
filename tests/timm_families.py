"""One network of each family of timm, the smallest, on a tile of 64 px.

``python -m tests.timm_families`` writes ``docs/networks.md``. A family is a module of timm; its
smallest network has the fewest parameters, counted without memory where that can be done.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch

from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import UsageError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "networks.md"
SIDE_PX = 64
INTRODUCTION = f"""# Networks of timm

`timm:NAME` and `random:NAME` take any network of timm that can be made for the tiles at hand and
gives finite features. Of each family (a module of timm {timm.__version__}) the smallest, with
random weights, on tiles of {SIDE_PX} px. `python -m tests.timm_families` makes this table, and
`make test-slow` checks it. Blocks are what `finetune --cut choose` chooses among beside the usual
output: those that timm names in a network's `feature_info`, where each gives a map or tokens.

| family | smallest | features, or why it is refused | blocks |
| --- | --- | --- | --- |
"""


def smallest() -> Iterator[tuple[str, str]]:
    """Each family and its network with the fewest parameters."""
    for family in timm.list_modules():
        names = timm.list_models(module=family)
        if names:
            yield family, min(names, key=parameters)


def parameters(name: str) -> int:
    """How many a network has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                network = timm.create_model(name)
        except Exception:  # some look at their numbers while they are made
            network = timm.create_model(name)
    return sum(one.numel() for one in network.parameters())


def outcome(name: str) -> tuple[str, str]:
    """The width of its features of a tile, or the line that refuses it; how many blocks it has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = random_encoder(TimmSpec(name=name), SIDE_PX, 0).eval()
    except UsageError as fault:
        line = str(fault)
        assert "\n" not in line
        return f"refused: {line}", "none"
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, SIDE_PX, SIDE_PX, generator=rng)
    with torch.inference_mode():
        features = made(images)
    assert features.shape == (2, made.dim), (name, features.shape, made.dim)
    assert torch.isfinite(features).all(), name
    return str(made.dim), blocks_of(made, images)


@torch.inference_mode()
def blocks_of(encoder: Any, images: torch.Tensor) -> str:
    """How many blocks it has; ``none`` where they cannot be told."""
    try:
        rows = encoder.encode(images, "blocks")
    except UsageError as fault:
        line = str(fault)
        assert "\n" not in line
        return "none"
    assert rows.shape == (2, sum(encoder.blocks.values())), (encoder.blocks, rows.shape)
    assert torch.isfinite(rows).all(), encoder.spec
    return str(len(encoder.blocks) - 1)


def listed() -> dict[str, tuple[str, tuple[str, str]]]:
    """Family to network and outcome, as the page has them."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines()]
    found = [row for row in rows if len(row) == 4 and row[0].startswith("`")]
    return {row[0].strip("`"): (row[1].strip("`"), (row[2], row[3])) for row in found}


def main() -> None:
    lines = [
        f"| `{family}` | `{name}` | {' | '.join(outcome(name))} |" for family, name in smallest()
    ]
    PAGE.write_text(INTRODUCTION + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
