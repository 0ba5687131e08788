"""Checkpoints as others write them, for the tests of importing weights."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from histoscope.core.encoders.folder import load_encoder

RESNET, VIT = "timm:test_resnet", "timm:test_vit"  # 0.5 and 0.4 million parameters


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
