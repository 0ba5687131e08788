"""What layers of a network and of its projection head give, side by side."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.contract import USUAL, EncoderSpec
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder, load_encoder, save_encoder
from histoscope.core.encoders.layers import head_layers, layered, only, places_of, plain
from histoscope.core.encoders.making import random_encoder, rebuilt
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import UsageError
from histoscope.core.inference.runner import Runner
from histoscope.core.objectives.heads import layered as head_of
from histoscope.core.runtime.device import AUTO

VIT = "test_vit"


def images(count=3, side=64):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def loaded(name="resnet10t", side=64, **more):
    encoder = random_encoder(TimmSpec(name=name, **more), side, 0).eval()
    info = EncoderInfo(network=encoder.spec, dim=encoder.dim, sampling={"size_px": side})
    return LoadedEncoder(encoder, info, frozenset({"a"}))


def parts(encoder, rows):
    """Rows of each layer."""
    return {name: rows[:, place] for name, place in places_of(encoder.spec).items()}


@torch.no_grad()
def test_stages_of_a_resnet_are_the_means_of_its_maps():
    encoder = loaded().encoder
    network, seen = encoder.network, {}
    for name in ("layer1", "layer3"):
        getattr(network, name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out.mean(dim=(2, 3))})
        )
    rows = encoder.encode(images(), "blocks").split([*encoder.blocks.values()], dim=1)
    given = dict(zip(encoder.blocks, rows, strict=True))
    assert list(given) == ["act1", "layer1", "layer2", "layer3", "layer4", USUAL]
    for name, expected in seen.items():
        assert torch.equal(given[name], expected)
    assert torch.equal(given[USUAL], encoder(images()))


@torch.no_grad()
@pytest.mark.parametrize("pool", [None, "avg"])
def test_blocks_of_a_transformer_are_pooled_as_it_pools(pool):
    encoder, seen = loaded(VIT, pool=pool).encoder, []
    encoder.network.blocks[2].register_forward_hook(lambda _, __, out: seen.append(out.clone()))
    rows = encoder.encode(images(), "blocks").split([*encoder.blocks.values()], dim=1)
    given = dict(zip(encoder.blocks, rows, strict=True))
    assert list(given) == [*(f"blocks.{place}" for place in range(6)), USUAL]
    expected = seen[0][:, 0] if pool is None else seen[0][:, 1:].mean(dim=1)
    assert torch.equal(given["blocks.2"], expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("test_efficientnet", ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4"]),
        ("test_convnext", ["stages.0", "stages.1", "stages.2", "stages.3"]),
        ("test_mambaout", ["stages.0", "stages.1", "stages.2", "stages.3"]),
    ],
)
def test_other_networks_have_the_blocks_that_timm_names(name, blocks):
    encoder = loaded(name).encoder
    assert list(encoder.blocks) == [*blocks, USUAL]
    rows = encoder.encode(images(), "blocks")
    assert rows.shape == (3, sum(encoder.blocks.values()))
    assert rows.isfinite().all()
    assert not encoder.network._modules[blocks[0].split(".")[0]][0]._forward_hooks


@torch.no_grad()
def test_layers_are_blocks_the_usual_output_and_the_head_behind_it(tmp_path):
    before = loaded()
    head = head_of([512, 32, 16]).eval()
    head[1].running_mean.copy_(torch.rand(32))
    made = layered(before, head, 64)
    given = parts(made.encoder, made.encoder(images()))
    assert list(given) == ["act1", "layer1", "layer2", "layer3", USUAL, "head.1", "head.2"]
    assert torch.equal(given[USUAL], before.encoder(images()))
    hidden = head[:3](given[USUAL])
    assert (hidden == 0).any()  # behind the activation
    assert torch.equal(given["head.1"], hidden)
    assert torch.equal(given["head.2"], head(given[USUAL]))
    assert made.info.dim == made.encoder.dim == sum(row.shape[1] for row in given.values())
    assert made.seen == before.seen
    assert made.info.architecture == "timm:resnet10t"
    save_encoder(tmp_path, made.module, made.info, frozenset())
    again = load_encoder(tmp_path)
    assert again.info == made.info
    assert torch.equal(again.module(images()), made.module(images()))


def test_a_last_stage_that_is_the_usual_output_is_no_layer_of_its_own():
    assert "layer4" in loaded().encoder.blocks
    assert "layer4" not in places_of(layered(loaded(), None, 64).info.network)
    of_vit = places_of(layered(loaded(VIT), None, 64).info.network)
    assert "blocks.5" in of_vit  # a norm stands between


@torch.no_grad()
def test_some_layers_alone_are_the_same_numbers():
    made = layered(loaded(), head_of([512, 32, 16]), 64)
    whole = parts(made.encoder, made.encoder(images()))
    fewer = only(made, ["head.1", "layer2"])
    rows = parts(fewer.encoder, fewer.encoder(images()))
    assert list(rows) == ["layer2", "head.1"]
    assert all(torch.equal(row, whole[name]) for name, row in rows.items())
    assert fewer.digest != made.digest
    assert Runner(made.module, torch.device("cpu")).usual == places_of(made.info.network)[USUAL]


@torch.no_grad()
def test_the_network_alone_is_as_it_was():
    before = loaded()
    after = plain(layered(before, head_of([512, 8]), 64))
    assert after.info == before.info
    assert after.digest == before.digest
    assert torch.equal(after.module(images()), before.module(images()))
    assert plain(before) is before


def test_batch_norms_are_folded_under_layers_too():
    made = layered(loaded(), None, 64)
    runner = Runner.of(made, AUTO)
    assert runner.key.startswith(f"{made.digest}-folded")
    shots = (images().permute(0, 2, 3, 1) * 255).byte().numpy()
    with torch.no_grad():
        expected = Runner(copy.deepcopy(made.module), torch.device("cpu")).features(shots)
    assert torch.allclose(torch.tensor(runner.features(shots)), torch.tensor(expected), atol=1e-4)


@pytest.mark.parametrize("name", ["crossvit_tiny_240", "coat_tiny"])
def test_a_network_whose_blocks_give_no_features_is_refused_in_one_line(name):
    side = 240 if "240" in name else 64
    with pytest.raises(UsageError, match=f"encoder timm:{name}: its block .* gives n") as fault:
        layered(loaded(name, side), None, side)
    assert "\n" not in str(fault.value)


def test_encoders_without_blocks_are_refused():
    info = EncoderInfo(network=ColourEncoder().spec, dim=18)
    with pytest.raises(UsageError, match="encoder colour: has no blocks that can be probed"):
        layered(LoadedEncoder(ColourEncoder(), info, frozenset()), None, 64)
    with pytest.raises(UsageError, match="encoder colour: has no blocks, only pooled"):
        ColourEncoder().encode(images(), "blocks")
    encoder = loaded("test_resnet").encoder
    encoder.network.feature_info = []
    with pytest.raises(UsageError, match="encoder timm:test_resnet: has no blocks"):
        encoder.encode(images(), "blocks")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (nn.Sequential(nn.Linear(8, 4), nn.Dropout()), "a projection head with Dropout"),
        (nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.BatchNorm1d(4)), "with BatchNorm1d"),
        (nn.Sequential(nn.ReLU(), nn.Linear(8, 4)), "with ReLU"),
    ],
)
def test_a_head_of_other_layers_is_refused(head, said):
    with pytest.raises(UsageError, match=said):
        head_layers(head)


@pytest.mark.parametrize("wrong", [{"name": "layer9"}, {"width": 3}])
def test_settings_with_a_layer_that_is_not_there_are_refused(wrong):
    made = layered(loaded(), None, 64)
    first, *others = made.info.network.layers
    layers = (first.model_copy(update=wrong), *others)
    spec = made.info.network.model_copy(update={"layers": layers})
    with pytest.raises(UsageError, match="encoder timm:resnet10t: has no layer"):
        rebuilt(spec, made.info.normalisation, made.info.dim)


def test_settings_of_layers_are_read_as_they_were_written():
    spec = layered(loaded(), head_of([512, 8], norm=False), 64).info.network
    assert EncoderSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert spec.architecture == "timm:resnet10t"
