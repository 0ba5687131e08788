"""Weights from elsewhere: every number where it belongs, nothing run, nothing silently random."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import timm
import torch

from histoscope.core.encoders import checkpoint
from histoscope.core.encoders.folder import load_encoder
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.matching import PREFIXES
from histoscope.core.encoders.pixels import Normalisation
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import DataError, UsageError
from histoscope.core.stages.import_weights import Asked, import_weights
from tests.core.encoders.checkpoints import (
    RESNET,
    VIT,
    below,
    check,
    pickled,
    safe,
    trained,
    without_head,
)


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
