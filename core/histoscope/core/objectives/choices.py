"""Settings of the choices of a contrastive base; each is a name, or its long form.

``temperature: 0.2`` is ``{kind: fixed, value: 0.2}``, ``negatives: fnc`` is ``{kind: fnc}``.
Importing it loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from histoscope.core.config import Spec
from histoscope.core.errors import UsageError, near_word


class ChoiceSpec(Spec):
    """A choice; further settings are those of its kind.

    Attributes:
        kind: its name.
    """

    kind: str = Field("", description="its name, which may stand for the whole")
    known: ClassVar[dict[str, type[Spec]]]

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """A name alone is its kind."""
        return {"kind": given} if isinstance(given, str) else given

    @classmethod
    def chosen(cls, given: Any) -> type[Spec]:
        """The settings of the kind that is named."""
        if not isinstance(given, Mapping):
            return cls
        own = cls.model_fields["kind"].default or next(iter(cls.known))
        kind = str(given.get("kind", own))
        if kind not in cls.known:
            known = ", ".join(cls.known)
            raise UsageError(f"unknown kind {kind!r}{near_word(kind, cls.known)}; known: {known}")
        return cls.known[kind]


class TemperatureSpec(ChoiceSpec):
    """What divides cosines."""

    @classmethod
    def long_form(cls, given: Any) -> Any:
        """A number alone is a constant temperature."""
        number = isinstance(given, int | float) and not isinstance(given, bool)
        return {"kind": "fixed", "value": given} if number else super().long_form(given)


class FixedTemperature(TemperatureSpec):
    """A constant temperature."""

    kind: Literal["fixed"] = Field("fixed", description="a number alone may stand for the whole")
    value: float = Field(0.2, gt=0, le=2, description="divides cosines; no unit")


class AlignmentTemperature(TemperatureSpec):
    """MACL: warmer the better views agree, and rows weighted as decoupling would."""

    kind: Literal["macl"] = Field("macl", description="Huang et al. 2022")
    value: float = Field(0.1, gt=0, le=2, description="at the threshold of agreement")
    slope: float = Field(0.5, ge=0, lt=1, description="alpha of the paper")
    threshold: float = Field(0.0, ge=-1, le=1, description="agreement at which it is value")
    reweight: bool = Field(True, description="rows weigh 1 / (1 - share of the positive)")


class NegativesSpec(ChoiceSpec):
    """What is changed about negatives."""


class FalseNegatives(NegativesSpec):
    """FNC: what looks like the image itself is no negative."""

    kind: Literal["fnc"] = Field("fnc", description="Huynh et al. 2022")
    way: Literal["eliminate", "attract"] = Field(
        "eliminate", description="left out, or positives beside the own view"
    )
    support: int = Field(
        2, ge=1, le=16, description="further views of an image that candidates are compared with"
    )
    count: int = Field(5, ge=0, description="candidates of a row, at most")
    threshold: float = Field(0.7, ge=-1, le=2, description="least cosine to a view of the image")
    begins: float = Field(0.1, ge=0, le=1, description="share of the run before anything is found")


class SameLabel(NegativesSpec):
    """IFND: what is in the same group of the data set's features is no negative."""

    kind: Literal["ifnd"] = Field("ifnd", description="Chen et al. 2022")
    clusters: tuple[int, ...] = Field(
        (8, 32, 128), min_length=1, description="groups of each size, coarse and fine"
    )
    acceptance: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the images, the surest, that count at the end",
    )
    every: int = Field(1, ge=1, description="epochs from one grouping to the next")
    temperature: float = Field(
        0.1,
        gt=0,
        description="of the softmax over groups that says how sure one is",
    )

    @field_validator("clusters")
    @classmethod
    def _none_empty(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if min(counts) < 1:
            raise ValueError("a size has at least 1 group")
        return counts

    def accepted(self, share: float, samples: int) -> int:
        """Images whose group counts when a share of the run is done (the paper's linear rise)."""
        return int(self.acceptance * share * samples)


class Sampled(NegativesSpec):
    """ReLICv2: a few negatives of a row, drawn, are all that repel it."""

    kind: Literal["sampled"] = Field("sampled", description="as Tomasev et al. 2022")
    count: int = Field(10, ge=1, description="negatives of a row, drawn each step")


class ConsistencySpec(ChoiceSpec):
    """What both views must agree on beside."""


class Consistency(ConsistencySpec):
    """CO2: both views see the same negatives alike."""

    kind: Literal["co2"] = Field("co2", description="Wei et al. 2021")
    weight: float = Field(0.3, ge=0, description="of the divergence")
    temperature: float = Field(0.1, gt=0, description="of its softmaxes")
    ramp: float = Field(0.1, ge=0, le=1, description="share of the run in which the weight rises")


class Invariance(ConsistencySpec):
    """ReLIC: both views see the own image and the same negatives alike, as in the contrast."""

    kind: Literal["relic"] = Field("relic", description="Mitrovic et al. 2021, Tomasev et al. 2022")
    weight: float = Field(1.0, ge=0, description="of the divergence")


class MixingSpec(ChoiceSpec):
    """What is mixed, images and what is asked of them alike."""


class UnMix(MixingSpec):
    """Un-Mix: two images in one view, pulled to both in their shares."""

    kind: Literal["unmix"] = Field("unmix", description="Shen et al. 2022")
    weight: float = Field(1.0, ge=0, description="of the mixed term beside the plain one")
    alpha: float = Field(1.0, gt=0, description="of the Beta distribution of shares")
    boxes: float = Field(
        0.5, ge=0, le=1, description="probability that a box is pasted (CutMix) instead of a blend"
    )


class ContinualSpec(ChoiceSpec):
    """What is kept of what training starts from."""


class Cassle(ContinualSpec):
    """CaSSLe: what a frozen copy of the first network says stays predictable."""

    kind: Literal["cassle"] = Field("cassle", description="Fini et al. 2022")
    weight: float = Field(1.0, ge=0, description="of this term beside the base's")
    hidden: int = Field(2048, ge=8, description="width of the hidden layer of its predictor")


class OrderSpec(ChoiceSpec):
    """What is learnt of the order of a source's samples."""


class PlackettLuce(OrderSpec):
    """Scores of a small head make the true order of samples of one source likely."""

    kind: Literal["plackett_luce"] = Field(
        "plackett_luce", description="Plackett 1975, Luce 1959; as PL-Stitch, 2026"
    )
    weight: float = Field(1.0, ge=0, description="of this term beside the base's")
    samples: int = Field(
        4, ge=1, le=16, description="of a group, the image itself among them; each passes once more"
    )
    hidden: int = Field(128, ge=8, description="width of the hidden layer of its head")


class SyntheticSpec(ChoiceSpec):
    """Negatives that are made."""


class Mixtures(SyntheticSpec):
    """MoCHi: mixtures of the hardest negatives, and of these and the row itself."""

    kind: Literal["mochi"] = Field("mochi", description="Kalantidis et al. 2020")
    hardest: int = Field(128, ge=2, description="negatives of a row that are mixed")
    pairs: int = Field(64, ge=0, description="mixtures of two of them")
    with_query: int = Field(16, ge=0, description="mixtures of one of them and the row itself")
    begins: float = Field(0.1, ge=0, le=1, description="share of the run before there are any")


class PositivesSpec(ChoiceSpec):
    """What attracts beside the own view."""


class Near(PositivesSpec):
    """Images that lie near: neighbouring tiles, frames a moment away."""

    kind: Literal["near"] = Field("near", description="as Le Bao Tran et al. 2023")
    count: int = Field(4, ge=1, le=16, description="drawn of each image an epoch")
    within_sides: float | None = Field(
        None, gt=0, description="sides of a tile; relations.partner_sides"
    )
    within_s: float | None = Field(None, gt=0, description="seconds; relations.partner_s")
    spare: bool = Field(True, description="what shows nearly the same is no negative")


class OtherCase(PositivesSpec):
    """The nearest in feature space of another case."""

    kind: Literal["other_case"] = Field("other_case", description="of another case (or source)")
    count: int = Field(1, ge=1, description="of each image")
    begins: float = Field(0.1, ge=0, le=1, description="share of the run before there are any")


class InterImage(PositivesSpec):
    """InterCLR: another image of the own group attracts, semi-hard ones of others repel."""

    kind: Literal["interclr"] = Field("interclr", description="Xie et al. 2022")
    weight: float = Field(0.25, ge=0, le=1, description="of this term; the base's is what is left")
    ease: float = Field(
        0.5, ge=0, le=2, description="added to the positive's cosine (a margin of -0.5)"
    )
    clusters: int | None = Field(
        None, ge=2, description="groups of all samples; default: a 128th of them, at most 10,000"
    )
    pool: int | None = Field(
        None, ge=1, description="nearest of other groups; default: a tenth, at most 128,000"
    )
    negatives: int | None = Field(
        None, ge=1, description="drawn of these; default: an eightieth, at most 16,384"
    )
    every: int = Field(10, ge=1, description="steps after which groups' centres move")
    begins: float = Field(0.1, ge=0, le=1, description="share of the run before it counts")

    def sizes(self, samples: int) -> tuple[int, int, int]:
        """Clusters, pool and negatives of so many samples: the paper's shares of ImageNet.

        Raises:
            UsageError: they do not fit into each other.
        """
        clusters = self.clusters or max(2, min(10_000, samples // 128))
        pool = self.pool or max(1, min(128_000, samples // 10))
        negatives = self.negatives or max(1, min(16_384, samples // 80, pool))
        for name, value, most, of in (
            ("clusters", clusters, samples, "samples"),
            ("pool", pool, samples, "samples"),
            ("negatives", negatives, pool, "of the pool"),
        ):
            if value > most:
                raise UsageError(
                    f"objective.positives.{name}: {value} are more than the {most} {of}; "
                    f"--set objective.positives.{name}={most}"
                )
        return clusters, pool, negatives


class NearestFeatures(PositivesSpec):
    """Revisiting: the keys attract whose images the encoder itself finds nearest."""

    kind: Literal["revisiting"] = Field("revisiting", description="Van Gansbeke et al. 2021")
    weight: float = Field(0.4, ge=0, description="of this term beside the base's")
    count: int = Field(20, ge=1, description="keys of the queue that attract a view, at most")
    begins: float = Field(0.1, ge=0, le=1, description="share of the run before there are any")


PositivesSpec.known = {
    "near": Near,
    "other_case": OtherCase,
    "interclr": InterImage,
    "revisiting": NearestFeatures,
}
MixingSpec.known = {"unmix": UnMix}
ContinualSpec.known = {"cassle": Cassle}
OrderSpec.known = {"plackett_luce": PlackettLuce}
SyntheticSpec.known = {"mochi": Mixtures}
TemperatureSpec.known = {"fixed": FixedTemperature, "macl": AlignmentTemperature}
NegativesSpec.known = {"fnc": FalseNegatives, "ifnd": SameLabel, "sampled": Sampled}
ConsistencySpec.known = {"co2": Consistency, "relic": Invariance}
