"""Folded batch norms: the same features, and no folding where that is not so."""

import pytest
import timm
import torch
from torch import nn

from histoscope.core.inference.folding import folded


def lively(module: nn.Module) -> nn.Module:
    """Batch norms as training leaves them, ready to predict."""
    draw = torch.Generator().manual_seed(1)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            for values, low, high in (
                *((one.running_mean, -0.3, 0.3), (one.running_var, 0.5, 2)),
                *((one.weight.data, 0.5, 1.5), (one.bias.data, -0.3, 0.3)),
            ):
                values.uniform_(low, high, generator=draw)
    return module.eval()


def norms(module: nn.Module) -> int:
    return sum(isinstance(one, nn.BatchNorm2d) for one in module.modules())


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "efficientnet_lite0", "regnety_002"])
def test_features_are_the_same_and_nothing_normalises_any_more(name):
    module = lively(timm.create_model(name, num_classes=0))
    lighter = folded(module, 64)
    assert lighter is not None
    left = [norms(one) for one in (module, lighter)]
    assert left[1] < left[0] / 2
    assert left[1] == 0 or name == "test_resnet"  # its first norm follows a sequence
    images = torch.rand(8, 3, 64, 64)
    with torch.inference_mode():
        before, after = module(images), lighter(images)
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


class Twisted(nn.Module):
    """A batch norm that is registered behind another convolution than the one it follows."""

    def __init__(self):
        super().__init__()
        self.second = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.first = nn.Conv2d(3, 8, 3)

    def forward(self, images):
        return (self.norm(self.first(images)) + self.second(images)).mean((2, 3))


def test_a_network_that_would_give_other_features_stays_as_it_is():
    assert folded(lively(Twisted()), 16) is None


def test_what_has_no_batch_norm_or_learns_stays_as_it_is():
    assert folded(nn.Conv2d(3, 4, 3).eval(), 16) is None
    assert folded(lively(timm.create_model("test_resnet", num_classes=0)).train(), 64) is None


def test_what_cannot_be_copied_stays_as_it_is():
    class Stubborn(Twisted):
        def __deepcopy__(self, memo):
            raise RuntimeError("once only")

    assert folded(lively(Stubborn()), 16) is None


class Gated(Twisted):
    """As :class:`Twisted`, and silent on dark images and on noise."""

    def forward(self, images):
        return super().forward(images) * (images.amin((1, 2, 3)) > 0.9).float()[:, None]


class Loud(Twisted):
    """As :class:`Twisted`, beside a feature that is a million times larger."""

    def forward(self, images):
        return torch.cat([super().forward(images), torch.full((len(images), 1), 3e6)], dim=1)


@pytest.mark.parametrize("kind", [Gated, Loud])
def test_a_trial_is_not_passed_by_silence_or_by_one_loud_feature(kind):
    assert folded(lively(kind()), 16) is None


def test_where_nothing_was_folded_nothing_is_changed():
    module = lively(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()))
    assert folded(module, 16) is None
