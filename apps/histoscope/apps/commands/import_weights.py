"""``histoscope import-weights``."""

from __future__ import annotations

from pathlib import Path

import click

from histoscope.core.errors import UsageError


class Channels(click.ParamType[tuple[float, float, float]]):
    """One number for all channels, or one each."""

    name = "N or N,N,N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        """Three numbers."""
        try:
            numbers = [float(word) for word in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3) or not all(abs(number) < 1e6 for number in numbers):
            self.fail(f"{value!r} is neither a number nor three of them with commas", param, ctx)
        first, *rest = numbers
        second, third = rest or (first, first)
        return first, second, third


@click.command("import-weights")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--architecture", required=True, help="timm:NAME, the network that the weights are of"
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="the encoder's folder")
@click.option(
    "--key", help="dotted name in the file below which the network lies  [default: found]"
)
@click.option("--partial", is_flag=True, help="leave what the file lacks at random weights, seed 0")
@click.option("--mean", type=Channels(), help="of RGB in 0..1, N or N,N,N  [default: timm's]")
@click.option("--std", type=Channels(), help="deviation, N or N,N,N  [default: timm's]")
@click.option(
    "--input-px",
    type=click.IntRange(min=8),
    help="side of the images that the weights' positions are for  [default: the architecture's]",
)
@click.option("--note", default="", help="to keep with the weights, for example their licence")
def command(
    file: Path,
    architecture: str,
    out: Path,
    key: str | None,
    partial: bool,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    input_px: int | None,
    note: str,
) -> None:
    """Convert a checkpoint FILE (.pth, .pt, .bin, .ckpt, .safetensors) into an encoder, once.

    It says what matched, what was left over and what is missing. No code of the file is run. What
    comes out is for finetune and suggest --encoder, and for pretrain --init; as it knows no scale,
    it takes that of the store.
    """
    from histoscope.core.encoders.pixels import Normalisation
    from histoscope.core.stages.import_weights import Asked, import_weights

    if (mean is None) != (std is None):
        raise UsageError("import-weights: give both --mean and --std, or neither")
    if std is not None and min(std) <= 0:
        raise UsageError("--std: must be greater than 0")
    given = Normalisation(mean=mean, std=std) if mean and std else None
    asked = Asked(architecture, key, partial, given, input_px, note)
    info, lines = import_weights(file, asked, out)
    for line in lines:
        click.echo(line)
    click.echo(f"{out}: {info.architecture}, {info.dim} features; for --encoder and --init")
