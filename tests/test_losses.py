"""Losses: PyTorch's own cross-entropy is the oracle, and hand values for the region-biased loss."""

import pytest
import torch
from torch.nn import functional as F

from ranfer.losses import cross_entropy, region_biased

WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 1.0, 3.0, 1.0, 0.1, 1.0])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_hard_labels_give_what_pytorch_gives(weights):
    logits, index = torch.randn(6, 8), torch.tensor([0, 3, 4, 4, 7, 6])
    ours = cross_entropy(logits, F.one_hot(index, 8).float(), weights)
    torch.testing.assert_close(ours, F.cross_entropy(logits, index, weights))


def test_smoothing_gives_what_pytorch_gives():
    logits, targets = torch.randn(5, 8), torch.rand(5, 8).softmax(1)
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy(logits, targets, label_smoothing=0.1), expected)


def test_a_soft_target_is_least_costly_when_met():
    targets = torch.rand(4, 8).softmax(1)
    met = cross_entropy(targets.log(), targets)
    torch.testing.assert_close(met, -(targets * targets.log()).sum(1).mean())
    assert met < cross_entropy(torch.randn(4, 8), targets)


def test_the_region_biased_loss_by_hand():
    # Best crop .7 against face .6: short of the margin .3 by .2. Best crop .9 against .2: nothing.
    mu = torch.tensor([[0.6, 0.7, 0.1], [0.2, 0.3, 0.9]])
    torch.testing.assert_close(region_biased(mu, 0.3), torch.tensor((0.2 + 0.0) / 2))


def test_a_face_without_crops_has_no_region_biased_loss():
    mu = torch.tensor([[0.6, 0.0, 0.0], [0.6, 0.5, 0.9]])
    mask = torch.tensor([[True, False, False], [True, True, False]])
    torch.testing.assert_close(region_biased(mu, 0.2, mask), torch.tensor((0.0 + 0.3) / 2))
    assert region_biased(torch.tensor([[0.6]]), 0.2) == 0


def test_the_gradient_raises_the_best_crop_and_lowers_the_face():
    mu = torch.tensor([[0.6, 0.5, 0.1]], requires_grad=True)
    region_biased(mu, 0.1).backward()
    assert mu.grad.tolist() == [[1.0, -1.0, 0.0]]
