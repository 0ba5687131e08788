"""One loop from images to features: padded, counted, kept; and nothing on the wrong device."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from histoscope.core.contracts import CorruptSample, Sample
from histoscope.core.data.store import ImageReader, Store
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.timm import TimmEncoder, TimmSpec
from histoscope.core.heads.linear import LinearHead
from histoscope.core.inference import features as of_store
from histoscope.core.inference.runner import BATCH, Runner
from histoscope.core.learning.full import Tuning
from histoscope.core.learning.spec import ProbeSpec, StepsSpec, SwavStepsSpec
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.suggest import suggest
from tests.made import truth

CPU = torch.device("cpu")


class Mean(torch.nn.Module):
    """Mean colours, and how large its batches were."""

    dim = 3

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return images.mean(dim=(2, 3))


def images(count):
    return np.random.default_rng(0).integers(0, 255, (count, 8, 8, 3), dtype=np.uint8)


def test_batches_are_full_and_corrupt_samples_have_no_features():
    module, some = Mean(), images(BATCH + 5)
    samples = [Sample(image) for image in some]
    samples[3] = CorruptSample("bad")
    runner = Runner(module, CPU)
    first, last = runner.run(samples)
    assert module.sizes == [BATCH, BATCH]
    assert first.good.sum() == len(first.features) == BATCH - 1
    assert not first.good[3]
    assert len(last.features) == 5
    assert runner.encoded == BATCH + 4
    expected = np.delete(some, 3, axis=0).mean(axis=(1, 2)) / 255
    assert np.concatenate([first.features, last.features]) == pytest.approx(expected, abs=1e-6)


def test_bf16_is_near_float32():
    network = random_encoder(TimmSpec(name="resnet10t"), 32, 0).eval()
    full, half = (Runner(network, CPU, p).features(images(4)) for p in ("float32", "bf16"))
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    assert half == pytest.approx(full, abs=float(0.05 * np.abs(full).max()))


@pytest.fixture
def counted(monkeypatch):
    """How many images were encoded, and how many readers of a store were made."""
    counts = {"encoded": 0, "readers": 0}
    encode, make = Runner._features, ImageReader.__init__

    def encoding(self, some):
        counts["encoded"] += len(some)
        return encode(self, some)

    def making(self, store):
        counts["readers"] += 1
        make(self, store)

    monkeypatch.setattr(Runner, "_features", encoding)
    monkeypatch.setattr(ImageReader, "__init__", making)
    return counts


def test_what_one_encoder_has_encoded_no_command_encodes_again(toy_store, tmp_path, counted):
    spec = ProbeSpec(fraction=0.5, draws=2)
    first = finetune(toy_store, "colour", spec, tmp_path / "a", progress=Silent())
    assert counted["encoded"] > 0
    assert counted["readers"] == 1
    evaluate(first, toy_store, tmp_path / "ea", progress=Silent())
    counted.update(encoded=0, readers=0)
    anew = Store(toy_store.path)
    again = finetune(anew, "colour", spec, tmp_path / "b", progress=Silent())
    evaluate(open_package(tmp_path / "b"), anew, tmp_path / "eb", progress=Silent())
    assert counted == {"encoded": 0, "readers": 1}
    assert again.digest == first.digest
    one, other = ((tmp_path / e / "metrics.json").read_bytes() for e in ("ea", "eb"))
    assert one == other


def rows_of(store):
    return np.flatnonzero(np.array([row is not None for row in store.index["row"].to_pylist()]))


def test_another_encoder_precision_or_image_is_encoded(toy_store, counted):
    rows = rows_of(toy_store)

    def encode(word="random:resnet10t", seed=0, precision="float32"):
        counted["encoded"] = 0
        loaded = open_encoder(word, toy_store, seed)
        runner = Runner.of(loaded, Compute("cpu", precision))
        found = of_store.features_of(runner, toy_store, rows, Silent())
        return found, counted["encoded"]

    first, count = encode()
    assert count == len(rows)
    again, count = encode()
    assert count == 0
    assert np.array_equal(first, again)
    assert encode(seed=1)[1] == len(rows)
    assert encode(precision="bf16")[1] == len(rows)
    some = rows[:7]
    runner = Runner.of(open_encoder("colour", toy_store, 0), AUTO)
    of_store.features_of(runner, toy_store, some, Silent())
    assert len(of_store.features_of(runner, toy_store, rows, Silent())) == len(rows)
    assert runner.encoded == len(rows)  # seven, then the rest


class Hearing(Silent):
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


def test_a_damaged_file_is_said_and_made_good(toy_store):
    rows, runner = rows_of(toy_store), Runner.of(open_encoder("colour", toy_store, 0), AUTO)
    first = of_store.features_of(runner, toy_store, rows, Silent())
    (file,) = (toy_store.path / "features" / runner.key).glob("*.arrow")
    file.write_bytes(file.read_bytes()[:100])
    hearing = Hearing()
    again = of_store.features_of(runner, toy_store, rows, hearing)
    assert np.array_equal(first, again)
    assert "kept features cannot be read" in hearing.said[0]
    runner.encoded = 0
    of_store.features_of(runner, toy_store, rows, Silent())
    assert runner.encoded == 0


def test_a_store_that_cannot_be_written_keeps_nothing_and_says_so(toy_store):
    (toy_store.path / "features").write_text("a file, where the folder is needed")
    rows, hearing = rows_of(toy_store), Hearing()
    runner = Runner.of(open_encoder("colour", toy_store, 0), AUTO)
    assert len(of_store.features_of(runner, toy_store, rows, hearing)) == len(rows)
    assert "features are not kept (Not a directory)" in hearing.said[-1]


def move(module, device):
    """What ``Module.to`` does, which stand-ins cannot."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            part.register_parameter(name, torch.nn.Parameter(weight.to(device)))
        for name, buffer in part.named_buffers(recurse=False):
            part.register_buffer(name, buffer.to(device))
    return module


@pytest.fixture
def loaded(monkeypatch):
    """A network whose tensors are stand-ins, which go to a GPU that is not there."""
    monkeypatch.setattr(torch.nn.Module, "to", move)
    monkeypatch.setattr("copy.deepcopy", lambda module: module)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = TimmEncoder(TimmSpec(name="resnet10t")).eval()
        network.dim = 512
        info = EncoderInfo(network=network.spec, dim=network.dim)
        yield LoadedEncoder(network, info, frozenset())


def test_images_and_features_are_on_the_networks_device(loaded):
    runner = Runner(loaded.module, torch.device("cuda"))
    found = runner.forward(torch.zeros(4, 16, 16, 3, dtype=torch.uint8))
    assert found.device.type == "cuda"
    assert found.shape == (4, loaded.info.dim)


@pytest.mark.parametrize("spec", [StepsSpec(steps=5), SwavStepsSpec(steps=5)], ids=["full", "swav"])
def test_what_trains_all_weights_is_on_one_device(loaded, spec):
    dim, device = loaded.info.dim, torch.device("cuda")
    centre = np.zeros(dim, np.float32)
    heads = [
        LinearHead(np.ones((3, dim), np.float32), np.zeros(3, np.float32), centre=centre),
        LinearHead(np.ones((2, dim), np.float32), np.zeros(2, np.float32), exclusive=False),
    ]
    truths = [truth([0, 1, 2, -1]), truth([[0, 1], [1, -1], [-1, -1], [0, 0]])]
    tuning = Tuning(loaded, device, truths, heads, spec)
    loss = tuning.loss(torch.zeros(4, 16, 16, 3, dtype=torch.uint8), np.arange(4))
    assert loss.device.type == "cuda"
    assert {weight.device.type for weight in tuning.encoder.parameters()} == {"cuda"}


def test_a_tensor_left_on_the_cpu_is_found(loaded):
    """The check above can fail."""
    module = loaded.module
    with pytest.raises(RuntimeError, match="device"):
        module.to("cuda")(torch.zeros(1, 3, 16, 16))


def test_suggest_goes_the_same_way(toy_store, counted):
    from histoscope.core.contracts import Task

    runner = Runner.of(open_encoder("colour", toy_store, 0), AUTO)
    task = Task("mine", ("a", "b"))
    for _ in range(2):
        before = counted["encoded"]
        suggest(toy_store, runner, task, (), 3, progress=Silent())
    assert counted["encoded"] == before > 0
