"""The gradient of a step does not depend on processes or parts."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from histoscope.core.runtime.fabric import make_fabric

sys.path.insert(0, str(Path(__file__).parent))
import networks

sys.path.pop(0)


def alone(base, network, accumulate):
    """Two steps in this process."""
    fabric = make_fabric(torch.device("cpu"), "float32")
    return networks.trained(fabric, base, network, accumulate)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same in two processes that see different halves, by case."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("two_processes.py")
    started = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(port), str(folder)])
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    return {
        case: [
            torch.load(folder / f"{'-'.join(case)}-{rank}.pt", weights_only=True)
            for rank in range(2)
        ]
        for case in networks.CASES
    }


def assert_same(found, expected):
    assert found["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-9)
    assert found["gradients"].keys() == expected["gradients"].keys()
    for name, gradient in expected["gradients"].items():
        size = gradient.abs().max().item()
        assert (found["gradients"][name] - gradient).abs().max().item() <= 1e-9 * max(size, 1e-3)


@pytest.mark.parametrize(("base", "network"), networks.CASES)
def test_two_processes_are_one(two, base, network):
    """With batch norm: one process whose batch norm sees the same halves."""
    expected = alone(base, network, 2 if network == "resnet18" else 1)
    found = two[base, network]
    for one in found:
        assert_same(one, expected)
    for name, buffer in found[0]["buffers"].items():
        assert torch.equal(buffer, found[1]["buffers"][name]), name


@pytest.mark.parametrize("base", ["simclr", "moco_v2"])
def test_parts_make_no_difference_without_batch_norm(base):
    expected = alone(base, "plain", 1)
    for accumulate in (2, 4):
        assert_same(alone(base, "plain", accumulate), expected)


def test_batch_norm_sees_the_parts_and_keeps_their_statistics_once():
    """Parts equal a network that is called on each half and differentiated by hand."""
    found = alone("simclr", "resnet18", 2)
    method = networks.objective("simclr", "resnet18")
    for step in range(2):
        method.zero_grad(set_to_none=True)
        halves = [method(p.global_views, {}) for p in networks.parts(step, 0, 1, 2)]
        whole = [torch.cat(rows) for rows in zip(*halves, strict=True)]
        loss = method.loss(whole, networks.images(step, 0, 1)[0], step).loss
        loss.backward()
        gradients = networks.descend(method)
    assert_same(found, {"loss": loss.detach(), "gradients": gradients})
    for name, buffer in method.named_buffers():
        assert torch.allclose(found["buffers"][name].double(), buffer.double(), rtol=1e-12), name


def test_a_batch_in_halves_is_another_batch_to_batch_norm():
    """The comparison above can fail: without the same halves gradients differ."""
    halves = alone("simclr", "resnet18", 2)
    whole = alone("simclr", "resnet18", 1)
    with pytest.raises(AssertionError):
        assert_same(whole, halves)
