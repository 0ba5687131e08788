"""Encoders measure what they give, normalise for themselves, and are made for their images."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from histoscope.core.config import build
from histoscope.core.encoders import ENCODERS
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.folder import EncoderInfo, load_encoder, save_encoder
from histoscope.core.encoders.making import pretrained_encoder, random_encoder
from histoscope.core.encoders.pixels import Normalise, to_unit
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import ConfigError, DataError, UsageError
from histoscope.core.testing.encoders import check_encoder
from histoscope.core.training.spec import PretrainSpec

VIT = "vit_tiny_patch16_224"
SMALL = ["resnet10t", "mobilenetv3_small_050", VIT, "swin_tiny_patch4_window7_224"]


def images(side: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
def test_width_is_measured_and_a_fixed_network_is_made_for_its_images(name, tmp_path):
    encoder = random_encoder(TimmSpec(name=name), 64, 0).eval()
    rows = encoder(images(64))
    assert rows.shape == (2, encoder.dim)
    assert rows.dtype == torch.float32
    assert encoder.spec.input_px == (64 if "_224" in name else None)
    save_encoder(tmp_path, encoder, EncoderInfo(network=encoder.spec, dim=encoder.dim), frozenset())
    again = load_encoder(tmp_path)
    assert torch.equal(again.module(images(64)), rows)
    assert again.info.dim == again.encoder.dim == encoder.dim


@pytest.mark.parametrize("name", SMALL)
def test_a_map_is_its_tokens_on_a_grid(name):
    encoder = random_encoder(TimmSpec(name=name), 64, 0).eval()
    place, tokens = encoder.encode(images(64), "map"), encoder.encode(images(64), "tokens")
    first = 1 if name.startswith("vit") else 0  # its class token
    assert place.ndim == 4
    assert place.shape[2] == place.shape[3]
    assert torch.equal(place.flatten(2).transpose(1, 2), tokens[:, first:])
    assert torch.equal(encoder.encode(images(64), "pooled"), encoder(images(64)))


def test_a_transformer_has_patches_of_the_side_that_is_asked_for(tmp_path):
    encoder = random_encoder(TimmSpec(name=VIT, patch_px=8), 64, 0).eval()
    assert encoder.encode(images(64), "map").shape == (2, 192, 8, 8)
    save_encoder(tmp_path, encoder, EncoderInfo(network=encoder.spec, dim=encoder.dim), frozenset())
    again = load_encoder(tmp_path)
    assert again.info.network.patch_px == 8
    assert torch.equal(again.module(images(64)), encoder(images(64)))
    with pytest.raises(UsageError, match="cannot be made like that"):
        random_encoder(TimmSpec(name="resnet10t", patch_px=8), 64, 0)


def test_where_a_network_has_a_map_its_mean_is_what_it_pools():
    encoder = random_encoder(TimmSpec(name="resnet10t"), 64, 0).eval()
    pooled = encoder.encode(images(64), "map").mean(dim=(2, 3))
    assert torch.allclose(pooled, encoder(images(64)), atol=1e-6)


def test_a_transformer_made_for_one_size_takes_crops_of_another():
    encoder = random_encoder(TimmSpec(name=VIT), 64, 0).eval()
    assert encoder(images(32)).shape == (2, 192)


def test_weights_are_those_of_the_seed_and_no_generator_moves():
    state = torch.get_rng_state()
    one, same, other = (random_encoder(TimmSpec(name="resnet10t"), 64, s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(iter(one.parameters())), next(iter(other.parameters())))


def test_weights_of_timm_keep_their_own_normalisation(monkeypatch):
    """vit_tiny's weights want mean and deviation 0.5; new weights keep ImageNet's."""
    usual = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **more: usual(name, **more))
    assert pretrained_encoder(VIT, 64).normalisation.mean == (0.5, 0.5, 0.5)
    assert random_encoder(TimmSpec(name=VIT), 64, 0).normalisation.mean[0] == 0.485


def test_an_encoder_normalises_for_itself_and_keeps_the_layout():
    encoder = random_encoder(TimmSpec(name="resnet10t"), 32, 0).eval()
    raw = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    unit = to_unit(torch.from_numpy(raw))
    mean, std = encoder.normalisation.mean, encoder.normalisation.std
    by_hand = torch.tensor((raw / 255 - mean) / std).permute(0, 3, 1, 2).float()
    assert torch.allclose(encoder(unit), encoder.network(by_hand), atol=1e-5)
    ready = Normalise(encoder.normalisation)(unit)
    assert ready.is_contiguous(memory_format=torch.channels_last)
    assert not [name for name in encoder.state_dict() if not name.startswith("network.")]


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        (VIT, 50, "timm:vit_tiny_patch16_224: for images of 50 px"),
        ("resnet18x", 64, "timm knows no 'resnet18x', did you mean"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(name, side, said):
    with pytest.raises(UsageError, match=said) as fault:
        random_encoder(TimmSpec(name=name), side, 0)
    assert "\n" not in str(fault.value)


def test_weights_that_cannot_be_had_are_said(monkeypatch):
    def refuse(*args: object, **more: object) -> None:
        raise OSError("no route to the hub. Try again")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(DataError, match=r"cannot be loaded here \(no route to the hub\)"):
        pretrained_encoder("resnet18", 64)


def test_a_name_alone_is_one_of_timms_and_kinds_have_their_own_settings():
    short = build(PretrainSpec, {"encoder": "resnet10t"}, "a").encoder
    long = build(PretrainSpec, {"encoder": {"kind": "timm", "name": "resnet10t"}}, "a").encoder
    assert short == long == TimmSpec(name="resnet10t")
    assert isinstance(EncoderSpec.model_validate({"kind": "colour", "name": ""}), EncoderSpec)
    for body, said in [
        ({"kind": "tim"}, "encoder: unknown encoder 'tim', did you mean 'timm'"),
        ({"kind": "timm", "nam": "x"}, "encoder.nam: unknown key, did you mean 'name'"),
        ({"kind": "timm", "input_px": 2}, "encoder.input_px: input should be greater"),
        ({"kind": "colour", "name": "", "pool": "avg"}, "encoder.pool: input should be None"),
    ]:
        with pytest.raises(ConfigError, match=said):
            build(PretrainSpec, {"encoder": body}, "a")


def test_colour_has_pooled_features_only():
    with pytest.raises(UsageError, match="encoder colour: has no map"):
        ColourEncoder().encode(images(8), "map")


def test_a_file_that_names_its_network_in_a_word_opens():
    older = {"architecture": "timm:resnet10t", "dim": 512, "domain": "toy", "sampling": {}}
    assert build(EncoderInfo, older, "a").network == TimmSpec(name="resnet10t")
    assert build(EncoderInfo, {**older, "architecture": "colour"}, "a").architecture == "colour"


CHECKED = [
    {"kind": "colour", "name": ""},
    {"kind": "noisy"},
    {"kind": "timm", "name": "resnet10t"},
    {"kind": "timm", "name": VIT},
    {
        "kind": "layers",
        "network": "resnet10t",
        "usual": 512,
        "head": [
            {"width": 16, "bias": False, "norm": True, "act": "relu"},
            {"width": 8, "bias": True, "norm": False, "act": "gelu"},
        ],
        "layers": [{"name": "layer2", "width": 128}, {"name": "head.2", "width": 8}],
    },
]


@pytest.mark.parametrize("network", CHECKED, ids=lambda one: one.get("name") or one["kind"])
def test_it_keeps_its_contract(network):
    check_encoder(network)


def test_every_kind_is_checked():
    takes_images = set(ENCODERS.names()) - {"given"}
    assert {network["kind"] for network in CHECKED} == takes_images


def test_an_encoder_of_given_features_takes_no_image():
    spec = EncoderSpec.model_validate({"kind": "given", "name": "uni"})
    made = ENCODERS.load("given")(spec)
    for ask in (made, lambda images: made.encode(images, "pooled")):
        with pytest.raises(UsageError, match="encoder given:uni: only features of it are here"):
            ask(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"dim": 5}, "but dim 5"),
        ({"forward": lambda _, x: x.mean((2, 3)) + x.mean()}, "depend on its batch"),
        ({"forward": lambda _, x: x.mean((2, 3)).bfloat16()}, "not float32"),
    ],
)
def test_planted_faults_are_found(monkeypatch, fault, said):
    """Of an encoder that is right but for one thing."""
    made = random_encoder(EncoderSpec.model_validate({"kind": "noisy"}), 64, 0)
    for name, value in fault.items():
        if name == "forward":
            monkeypatch.setattr(type(made), "forward", value)
            monkeypatch.setattr(type(made), "encode", lambda self, images, want: self(images))
        else:
            monkeypatch.setattr(f"{random_encoder.__module__}._measure", lambda *_: "")
            wrong = property(lambda _, value=value: value, lambda *_: None)
            monkeypatch.setattr(type(made), name, wrong, raising=False)
    with pytest.raises(AssertionError, match=said):
        check_encoder({"kind": "noisy"})


def test_an_encoder_takes_every_size_that_a_run_shows_it():
    """One made for its own size alone would fail at the first monitor, or at the small crops."""
    encoder = random_encoder(TimmSpec(name=VIT), [224, 96, 256], 0).eval()
    assert encoder.spec.input_px == 224
    assert all(encoder(images(side, 1)).shape == (1, 192) for side in (224, 96, 256))
    with pytest.raises(UsageError, match="for images of 50 px"):
        random_encoder(TimmSpec(name=VIT), [224, 50], 0)
