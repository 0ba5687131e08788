"""What of lightly is not used, and why: each test shows the fault that ours does not have.

They fail when lightly mends it: then the reason is gone.
"""

from __future__ import annotations

import copy

import pytest
import torch
from lightly.loss import DINOLoss
from lightly.loss.regularizer import CO2Regularizer
from lightly.loss.swav_loss import sinkhorn as its_sinkhorn
from lightly.models.modules.heads import DINOProjectionHead, SwaVPrototypes
from lightly.models.modules.memory_bank import MemoryBankModule
from torch.nn.functional import normalize

from histoscope.core.losses.choices import inconsistency
from histoscope.core.losses.clusters import sinkhorn
from histoscope.core.losses.contrast import in_batch
from histoscope.core.memory.queue import FeatureQueue
from histoscope.core.objectives.dino import Prototypes
from histoscope.core.testing.objectives import Rehearsal


def rows(count: int, seed: int, dim: int = 8) -> torch.Tensor:
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")
def test_its_co2_has_no_gradient():
    one, other = rows(6, 0).requires_grad_(), rows(6, 1)
    assert not CO2Regularizer()(one, other).requires_grad
    inconsistency(in_batch(one, other), 0.1).mean().backward()
    assert one.grad.abs().max() > 0


def test_its_codes_overflow_where_they_are_sharp():
    scores = torch.tensor([[0.95, -0.2], [0.9, 0.1], [-0.3, 0.8]])
    assert its_sinkhorn(scores, epsilon=0.01).isnan().any()
    assert sinkhorn(scores, 0.01).sum(1) == pytest.approx(torch.ones(3))


def test_its_centre_moves_while_it_is_only_asked():
    loss = DINOLoss(4, 0.04, 0.04, 0).eval()
    with torch.no_grad():
        values = [loss([rows(6, 0, 4)], [rows(6, 1, 4), rows(6, 2, 4)]).item() for _ in range(2)]
    assert values[0] != values[1]
    ready = Rehearsal("dino", {"prototypes": 4})
    asked = ready.begin(0)
    assert ready.objective.loss(*asked).loss == ready.objective.loss(*asked).loss


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_its_head_of_dino_cannot_be_copied_once_it_was_used():
    head = DINOProjectionHead(8, 8, 4, 6)
    head(rows(4, 0))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(head)
    ours = Prototypes(4, 6)
    ours(rows(4, 0, 4))
    copy.deepcopy(ours)


def test_its_memory_is_not_saved():
    bank = MemoryBankModule((8, 4))
    bank(rows(4, 0, 4), update=True)
    assert not bank.state_dict()
    assert {"features", "index", "pointer"} <= FeatureQueue(8, 4).state_dict().keys()


def test_its_prototypes_have_a_bias():
    assert any("bias" in name for name in SwaVPrototypes(4, 6).state_dict())
