"""Projector heads: their norm equals the library's on one process, ignores absent samples and keeps no state."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fusion.projector import BatchNorm, Projector

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_batch_norm_is_that_of_the_library():
    ours, theirs = BatchNorm(5), nn.BatchNorm1d(5, eps=1e-6, track_running_stats=False)
    with torch.no_grad():
        for module in (ours, theirs):
            module.weight.copy_(torch.arange(5.0))
            module.bias.fill_(0.3)
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    (ours(x) * weight).sum().backward()
    (theirs(y) * weight).sum().backward()
    assert_close(ours(x), theirs(y))
    assert_close(x.grad, y.grad)
    assert_close(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_samples_that_are_not_there_change_nothing(norm):
    torch.manual_seed(0)
    head = Projector(5, 4, hidden=(7, 6), norm=norm)
    there = torch.tensor([True, True, False, True, True, False])
    litter = torch.where(there[:, None], X, 1e3)
    assert_close(head(litter, there)[there], head(X[there]))
    assert head(X[:1], there[:1]).isfinite().all()
    assert head(X, ~there | there).shape == (6, 4)


def test_a_forward_pass_changes_no_state_and_evaluation_computes_what_training_does():
    head = Projector(5, 4, out=3)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    trained = head.train()(X)
    assert torch.equal(head.eval()(X), trained) and trained.shape == (6, 3)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_wrong_settings_are_refused():
    for settings in ({"hidden": (0,)}, {"out": 0}):
        with pytest.raises(ValueError):
            Projector(5, 4, **settings)
