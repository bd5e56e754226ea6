"""A queue of keys: order, age, absent samples, skipped steps."""

from __future__ import annotations

import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from no_sync import NoSync
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from mmmae.objectives.contrastive import infonce
from mmmae.objectives.queue import Queue, filled, newest

MOMENTUM = tiny.SYSTEMS["momentum contrast"]


def rows(numbers: list[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 2)


@given(st.lists(st.lists(st.integers(-9, 9), max_size=6), min_size=1, max_size=5), st.integers(1, 7))
def test_the_newest_keys_stay_in_the_order_in_which_they_came(steps, size):
    """A plain list is the reference; 0 is a sample that is not there."""
    queue, held = Queue(size, 2), []
    for numbers in steps:
        for piece in (numbers[:2], numbers[2:]):
            queue.offer(rows(piece).reshape(-1, 2), torch.tensor([n != 0 for n in piece], dtype=torch.bool))
        queue.after_step(torch.tensor(True))
        held = [*held, *(n for n in numbers if n)][-size:]
        assert queue.keys[:, 0].tolist() == [0] * (size - len(held)) + held


def test_a_skipped_step_leaves_no_trace():
    for skipped in (False, torch.tensor(False)):
        queue = Queue(3, 2)
        queue.offer(rows([1, -2]), torch.tensor([True, True]))
        queue.after_step(True)
        queue.offer(rows([7, 8, 9]), torch.tensor([True, True, True]))
        queue.after_step(skipped)
        assert queue.keys[:, 0].tolist() == [0, 1, -2]
        queue.after_step(True)  # what was offered is forgotten, too
        assert queue.keys[:, 0].tolist() == [0, 1, -2]


def test_older_keys_are_further_negatives():
    torch.manual_seed(0)
    a, b, old = (torch.nn.functional.normalize(torch.randn(n, 4), dim=-1) for n in (3, 3, 5))
    both = torch.ones(3, dtype=torch.bool)
    older = newest(torch.zeros(8, 4), old)
    assert filled(older).sum() == 5
    found = infonce(a, b, both, 10.0, older=(older, older))
    sides = ((a, b), (b, a))
    expected = [cross_entropy(10 * x @ torch.cat([y, old]).T, torch.arange(3)) for x, y in sides]
    assert_close(found, torch.stack(expected).mean())
    assert torch.equal(infonce(a, b, both, 10.0, older=(torch.zeros(8, 4),) * 2), infonce(a, b, both, 10.0))


def test_a_forward_pass_changes_no_loss_and_no_state():
    model, batch = tiny.system("momentum contrast")
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = model(batch), model(batch)
    assert all(torch.equal(loss, second[part]) for part, loss in first.items())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_step_takes_in_the_teachers_keys_of_its_pieces_and_no_others():
    recipe = tiny.tiny(*MOMENTUM)
    model, pieces = recipe.build(), [recipe.example(batch_size=2, seed=seed) for seed in range(3)]
    contrast = model.objectives["contrastive"]
    model.eval()(pieces[2])  # held-out samples are offered to nobody
    model.train()
    for piece in pieces[:2]:
        model(piece)
    model.after_step(0.0, True)
    keys = [contrast.candidates(model.encode_masked(piece))["video"] for piece in pieces[:2]]
    assert_close(contrast.queues["video"].keys[-4:], torch.cat(keys))
    assert not contrast.queues["video"].filled()[:-4].any()
    one, other = (model(pieces[2])["contrastive/video-audio"] for _ in range(2))
    assert torch.equal(one, other) and one > tiny.tiny(*MOMENTUM).build()(pieces[2])["contrastive/video-audio"]


def test_a_step_and_what_follows_it_never_wait_for_the_device():
    model, batch = tiny.system("momentum contrast")
    with NoSync():
        model.train()(batch).total.backward()
        model.after_step(0.5, torch.tensor(True))
