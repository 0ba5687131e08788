"""What would run code, is damaged or is no checkpoint: refused, and nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from histoscope.core.encoders import checkpoint, unpickling
from histoscope.core.encoders.checkpoint import read_checkpoint
from histoscope.core.errors import DataError, UsageError
from histoscope.core.stages.import_weights import Asked, import_weights
from tests.core.encoders.checkpoints import (
    RESNET,
    below,
    check,
    pickled,
    trained,
    without_head,
)


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
