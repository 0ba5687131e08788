"""Images a second of networks as they are and with batch norms folded, on one core.

    python -m tests.benchmarks.folding [NETWORK ...] [--size-px 64] [--rounds 10]

Both take 64 images as a slide's tiles lie in memory, turn by turn; the best of the rounds counts.
Nothing passes or fails.
"""

from __future__ import annotations

import time

import click
import timm
import torch

from histoscope.core.inference.folding import folded

USUAL = ("resnet18", "efficientnet_lite0", "regnety_002", "resnet50", "densenet121")
IMAGES = 64


@click.command(help=__doc__)
@click.argument("networks", nargs=-1)
@click.option("--size-px", default=64)
@click.option("--rounds", default=10)
def main(networks: tuple[str, ...], size_px: int, rounds: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    images = torch.rand(IMAGES, size_px, size_px, 3).permute(0, 3, 1, 2)
    click.echo("| network | as it is, 1/s | folded, 1/s | ratio | apart, of the largest feature |")
    click.echo("| --- " * 5 + "|")
    for name in networks or USUAL:
        plain = timm.create_model(name, num_classes=0).eval()
        lighter = folded(plain, size_px)
        if lighter is None:
            click.echo(f"| {name} | nothing is folded | | | |")
            continue
        with torch.inference_mode():
            before, after = plain(images), lighter(images)
            best = [float("inf")] * 2
            for _ in range(rounds):
                for place, network in enumerate((plain, lighter)):
                    began = time.perf_counter()
                    network(images)
                    best[place] = min(best[place], time.perf_counter() - began)
        rates = [IMAGES / one for one in best]
        apart = ((before - after).abs().max() / before.abs().max()).item()
        told = f"{rates[0]:.0f} | {rates[1]:.0f} | {rates[1] / rates[0]:.2f} | {apart:.0e}"
        click.echo(f"| {name} | {told} |")


if __name__ == "__main__":
    main()
