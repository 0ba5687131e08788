"""Configuration of fine-tuning; each method has settings of its own. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import USUAL
from histoscope.core.learning import FITTERS
from histoscope.core.learning.draws import DrawBy

CHOOSE = "choose"  # a cut
BY_CASES = ("cases_per_class", "whole_cases", "subsets")  # instead of a share


class FinetuneSpec(Spec):
    """From few labels to a model package; further settings are those of the method.

    Attributes:
        method: name of the method.
    """

    method: str = Field(
        "probe",
        description="probe: linear; attention: over the samples of a source; topk: its samples "
        "that show a class most; mstcn: samples by those before and around them in their source; "
        "knn: nearest neighbours; uni: UNI's probe; full: all weights, from new heads; "
        "probe_full: all weights, from the probe; swav: all weights as SwAV; or one of a plug-in",
    )
    fraction: float | None = Field(
        0.01, gt=0, le=1, description="share of the labels that a draw sees"
    )
    cases_per_class: int | None = Field(
        None,
        ge=1,
        description="instead of a share: so many cases of every class, with all their labels",
        exclude_if=lambda count: count is None,  # what is made without it is as it was
    )
    whole_cases: int | None = Field(
        None,
        ge=1,
        description="instead of a share: so many cases with all their labels, whatever classes "
        "they show; each case begins one draw",
        exclude_if=lambda count: count is None,
    )
    subsets: str | tuple[tuple[str, ...], ...] | None = Field(
        None,
        min_length=1,
        description="instead of a share: the cases of each draw, as a CSV with draw and case, as "
        "lists, or as published subsets of the domain by their name",
        exclude_if=lambda given: given is None,
    )
    draws: int = Field(5, ge=1, description="how many draws; predict uses the first")
    draw_by: DrawBy = Field("sample", description="what is drawn")
    seed: int = Field(0, ge=0, description="of the draws, and of random:NAME")
    cut: str = Field(
        USUAL,
        min_length=1,
        description="of probe: what it reads: usual, the network's pooled output; choose, inside "
        "each draw, among that, every block and the layers of a run's head; or one of these by its "
        "name. Of full and probe_full: usual, or a layer of a run's head, as head.1, up to which "
        "all weights are trained",
        exclude_if=lambda cut: cut == USUAL,  # what is made without it is as it was
    )

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """Cases by their number or name stand for a draw by case without a share."""
        if not isinstance(given, Mapping):
            return given
        named = [way for way in ("fraction", *BY_CASES) if given.get(way) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)}: give only one")
        if not named and "fraction" in given:
            raise ValueError(f"fraction: give a number, or {', '.join(BY_CASES)}")
        if not named or named == ["fraction"]:
            return given
        if given.get("draw_by", "case") != "case":
            raise ValueError(f"draw_by: with {named[0]} cases are drawn, not samples")
        return {**given, "fraction": None, "draw_by": "case"}

    @classmethod
    def chosen(cls, given: Any) -> type[Spec]:
        """The settings of the method that is named."""
        if cls is not FinetuneSpec or not isinstance(given, Mapping):
            return cls
        settings: type[Spec] = FITTERS.load(str(given.get("method", "probe"))).settings
        return settings


class ProbeSpec(FinetuneSpec):
    """A linear probe; of a source, one of the mean of its samples."""

    scaling: Literal["unit", "standard"] = Field(
        "unit",
        description="of the probe's features: unit length about the mean of unlabelled samples, or "
        "standardised by the draw",
    )
    strength: float | Literal["cv"] = Field(
        "cv", description="C of the probe's logistic regression; cv: chosen inside each draw"
    )

    @field_validator("strength")
    @classmethod
    def _positive(cls, given: float | str) -> float | str:
        if not isinstance(given, str) and not 0 < given < math.inf:
            raise ValueError("must be a number above 0, or cv")
        return given


class NeighbourSpec(FinetuneSpec):
    """Nearest labelled samples."""

    method: str = Field("knn", description="this one")
    neighbours: tuple[int, ...] = Field(
        (1, 5, 20), min_length=1, description="of knn: numbers to choose from inside each draw"
    )

    @field_validator("neighbours")
    @classmethod
    def _at_least_one(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if min(given) < 1:
            raise ValueError("every number must be 1 or more")
        return given


class UniSpec(FinetuneSpec):
    """UNI's probe, which has nothing to set."""

    method: str = Field("uni", description="this one")


class BagStepsSpec(Spec):
    """Heads of sources: a constant number of steps, whatever the number of labels.

    Steps and rate were chosen on made features with a rare class (``tests.benchmarks.attention``):
    published slide heads take a tenth of the rate, with which so few steps are not enough.
    """

    steps: int = Field(1000, ge=1, description="optimiser steps")
    sources: int = Field(1, ge=1, description="sources a step")
    samples: int = Field(
        512, ge=1, le=1024, description="of a source in a step, at most, drawn anew"
    )
    part: float = Field(1.0, gt=0, le=1, description="of a source's samples in a step, drawn anew")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW, cosine to 0")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")


_TRANS = {
    "heads": 1,
    "components": None,
    "sources": 1,
    "part": 1.0,
    "learning_rate": 3e-4,
    "weight_decay": 1e-2,
}


class AttentionStepsSpec(BagStepsSpec):
    """Attention over the samples as they are, or after a transformer in which they meet.

    One attention over all features learns few labels of sources by heart: most of it ends on one
    sample. Several that share their loss, on few components, half of the samples a step and a
    strong decay find what is rare (``docs/decisions/0020``).

    The transformer wants a lower rate, and more labels: of made features as above it tells sources
    apart from 100 on (area under the curve 0.99; from 20 on 0.67, att 0.99), and what it weighs is
    not where the class is. A step on 512 samples of 512 features takes a core 0.8 s in place of
    0.05 s, each draw 55 MB of a package, an answer from 20,000 samples 70 s and 0.1 GB.
    """

    mode: Literal["att", "att_trans"] = Field(
        "att",
        description="MONAI's: att: each sample by itself; att_trans: after a transformer over all, "
        "whose time grows with the square of their number",
    )
    heads: int = Field(
        8, ge=1, description="attentions side by side, whose logits are averaged; of att_trans 1"
    )
    units: int = Field(128, ge=1, description="hidden units of each; 2048 in MONAI")
    components: int | None = Field(
        64,
        ge=1,
        description="principal components of standardised features that are read; null: the "
        "features themselves, as of att_trans where nothing is given",
    )
    sources: int = Field(4, ge=1, description="sources a step; of att_trans 1")
    part: float = Field(
        0.5, gt=0, le=1, description="of a source's samples in a step, drawn anew; of att_trans 1"
    )
    learning_rate: float = Field(2e-3, gt=0, description="AdamW, cosine to 0; of att_trans 0.0003")
    weight_decay: float = Field(10.0, ge=0, description="of AdamW; of att_trans 0.01")

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """What att_trans is by itself."""
        if isinstance(given, Mapping) and given.get("mode") == "att_trans":
            return {**_TRANS, **given}
        return given

    @model_validator(mode="after")
    def _one_transformer(self) -> Self:
        if self.mode == "att_trans" and self.heads > 1:
            raise ValueError("heads: att_trans has one; leave it out, or give 1")
        return self


class AttentionSpec(FinetuneSpec):
    """Attention over the samples of a source; of tasks of sources only."""

    method: str = Field("attention", description="this one")
    attention: AttentionStepsSpec = Field(AttentionStepsSpec(), description="how it is trained")


class TopKStepsSpec(BagStepsSpec):
    """A head of the samples that show a class most; its share was chosen as steps and rate."""

    share: float = Field(
        0.02, gt=0, le=1, description="of a source's samples that count, at least one"
    )


class TopKSpec(FinetuneSpec):
    """The samples of a source that show a class most; of tasks of sources only."""

    method: str = Field("topk", description="this one")
    topk: TopKStepsSpec = Field(TopKStepsSpec(), description="how it is trained")


class StagesStepsSpec(Spec):
    """MS-TCN: two stages as TeCNO has them, dropout of MS-TCN's code, fifty passes of 20.

    A constant number of steps, whatever the number of labels. Causal by default, so that what it
    scores is what it can say while a source still grows. Rate and stretch were chosen on made
    sources (``docs/decisions/0008``).
    """

    causal: bool = Field(
        True,
        description="whether an answer reads only its sample and those before it; false: as many "
        "before as after",
    )
    stages: int = Field(2, ge=1, le=8, description="each refines what the one before it said")
    layers: int = Field(
        9, ge=1, le=14, description="of a stage, each reads twice as far as the one before it"
    )
    maps: int = Field(64, ge=1, description="width of the layers")
    dropout: float = Field(0.5, ge=0, lt=1, description="in each layer, in training")
    balanced: bool = Field(
        False,
        description="whether rare classes weigh more in the loss, by median frequency; where "
        "several may hold, of each the rarer of present and absent",
    )
    smoothing: float = Field(
        0.15, ge=0, description="weight of the loss on changes from sample to sample"
    )
    limit: float = Field(
        4.0, gt=0, description="change of a log probability above which it counts no more"
    )
    steps: int = Field(1000, ge=1, description="optimiser steps, a whole source each")
    stretch: float = Field(
        1.6,
        ge=1,
        le=4,
        description="each step sees its source as if it had lasted up to so many times longer or "
        "shorter; 1: as it is",
    )
    learning_rate: float = Field(2e-3, gt=0, description="Adam, cosine to 0")


class StagesSpec(FinetuneSpec):
    """Samples among the others of their source in order; of tasks of samples only."""

    method: str = Field("mstcn", description="this one")
    mstcn: StagesStepsSpec = Field(StagesStepsSpec(), description="how it is trained")


class StepsSpec(Spec):
    """Full fine-tuning: a constant number of steps, whatever the number of labels."""

    steps: int = Field(60, ge=1, description="optimiser steps of full and probe_full")
    batch_size: int = Field(64, ge=2, description="images a step, at most the labels of the draw")
    learning_rate: float = Field(1e-4, gt=0, description="AdamW, cosine to 0")
    weight_decay: float = Field(1e-4, ge=0, description="on matrices")


class SwavStepsSpec(Spec):
    """SwAV's recipe for 1 % of labels (Caron et al. 2020, in code), counted in steps."""

    steps: int = Field(60, ge=5, description="optimiser steps; 20 epochs there")
    batch_size: int = Field(256, ge=2, description="images a step, at most the labels of the draw")
    learning_rate: float = Field(0.02, gt=0, description="of the encoder; x 0.2 at 60 and 80 %")
    head_rate: float = Field(5.0, gt=0, description="of the new last layer")


TuneSpec = StepsSpec | SwavStepsSpec


class FullSpec(FinetuneSpec):
    """All weights, from new heads."""

    method: str = Field("full", description="this one")
    full: StepsSpec = Field(StepsSpec(), description="how it is trained")


class ProbeFullSpec(ProbeSpec):
    """All weights, from the probe."""

    method: str = Field("probe_full", description="this one")
    full: StepsSpec = Field(StepsSpec(), description="how it is trained")


class SwavSpec(FinetuneSpec):
    """All weights, as SwAV."""

    method: str = Field("swav", description="this one")
    swav: SwavStepsSpec = Field(SwavStepsSpec(), description="how it is trained")
