"""Configuration of pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, SerializeAsAny

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.optim.spec import OptimiserSpec
from histoscope.core.views.spec import ViewsSpec


class MonitorSpec(Spec):
    """What is measured beside training, on the same images, in evaluation mode."""

    every: int = Field(50, ge=0, description="steps between measurements; 0: none")
    images: int = Field(256, ge=8, description="training images that are measured")
    task: str | None = Field(
        None, description="labels that watch by nearest neighbours, and teach nothing"
    )


class TrainingSpec(Spec):
    """How long, in what pieces, with what."""

    steps: int = Field(450, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=2, description="images a step")
    seed: int = Field(0, ge=0, description="of weights, order and views")
    workers: int | None = Field(
        None, ge=0, description="processes that read and cut; 0: this one; default: half the cores"
    )
    threads: int | None = Field(
        None, ge=1, description="of torch; default: up to 4 cores all of them, else those left"
    )
    positions: Literal["uniform", "per_source_cap", "per_case"] = Field(
        "uniform",
        description="what an epoch reads: each sample once; at most source_cap of a source; as "
        "many of each case",
    )
    source_cap: int = Field(1000, ge=1, description="of per_source_cap: samples a source an epoch")
    accumulate: int = Field(
        1, ge=1, description="parts of a process's batch that pass one after the other"
    )
    precision: Literal["float32", "bf16", "float64"] = Field(
        "float32", description="of the network's passes; weights are float32, with float64 float64"
    )
    memory_format: Literal["channels_last", "contiguous"] = Field(
        "channels_last", description="how images lie in memory"
    )
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")
    monitor: MonitorSpec = Field(MonitorSpec(), description="signs of collapse")
    tensorboard: bool = Field(False, description="write TensorBoard's event files as well")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    optimiser: OptimiserSpec = Field(OptimiserSpec(), description="kind, rate, warm-up")


class PretrainSpec(Spec):
    """Everything that ``config.yaml`` of a run holds."""

    encoder: SerializeAsAny[EncoderSpec] = Field(
        default_factory=lambda: EncoderSpec.model_validate({}),
        description="the network; a name alone is timm's",
    )
    init: str | None = Field(
        None, description="start from a run, a package, what import-weights made, or timm:NAME"
    )
    marked: bool = Field(False, description="read also samples that prepare marked as unfit")
    objective: SerializeAsAny[MethodSpec] = Field(
        default_factory=lambda: MethodSpec.model_validate({}), description="what is learnt"
    )
    views: ViewsSpec = Field(ViewsSpec(), description="augmentations")
    relations: Mapping[str, float] = Field(
        {}, description="what lies near enough to be a positive, by the domain's own names"
    )
    planes: Mapping[str, str] = Field(
        {},
        description="by its kind PROVIDER@VERSION of a plane; needed where there are several",
    )
    training: TrainingSpec = Field(TrainingSpec(), description="how")
