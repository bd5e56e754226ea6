"""Law 2 of the house, of every masking there is: what is visible and hidden is disjoint, exact in count and valid.

And a sample's plan is its own: neither the rest of the batch nor padding has a part in it.
"""

from __future__ import annotations

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from patches import cut, sets

from fusion.masking import Noise
from fusion.masking.independent import Independent
from fusion.masking.random import Random
from mmmae.recipes.lookup import find, in_context, names
from modalities.records import Patches

STEPWISE = ("motion", "flow")  # which hide an exact share of every time step
SLICED = {
    "tube": slice(1, None), "running_cell": slice(1, None), "time": slice(0, 1), "frequency": slice(-1, None),
    "sensor": slice(-1, None),
}  # fmt: skip
EVERYTHING = {"running_cell": {"decoder_ratio": 0.0}}  # settings with which all that is hidden is asked for
seeds = st.integers(0, 10_000)
grids = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 9), st.integers(1, 6)),
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)),
)


def alone(patches: Patches, index: int, crop: bool = False) -> Patches:
    """One sample; cropped, without the steps at the end in which nothing is valid."""
    valid = None if patches.valid is None else patches.valid[index : index + 1]
    keep, grid, share = slice(None), patches.grid, 1.0
    if crop and valid is not None:
        steps = int(valid.sum()) // (valid.shape[1] // grid[0])
        keep, grid, share = slice(0, int(valid.sum())), (steps, *grid[1:]), steps / grid[0]
        valid = None
    time, values = patches.time[index : index + 1, keep], patches.values[index : index + 1, keep]
    hint = None if patches.hint is None else patches.hint[index : index + 1, keep]
    duration = patches.duration[index : index + 1] * share
    return Patches(values, patches.coords[keep], time, grid, duration, valid, hint)


def own_masking(use: str, **settings):
    """A masking of one stream; one that learns is given who cuts patches of one number."""
    cls = find("masking", use, use)
    context = [tiny.make_tokenizer("embedding", {"width": 1}, dim=16)] if in_context(cls) else []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cls(*context, **settings)


@pytest.mark.parametrize("use", sorted({*names("masking")} - {"target"}))  # which has no ratio
@given(
    grid=grids, ratio=st.one_of(st.floats(0, 0.95), st.just(1.0)), seed=seeds, ragged=st.booleans(), wide=st.booleans()
)
def test_a_masking_hides_the_exact_share_of_what_is_there(use, grid, ratio, seed, ragged, wide):
    settings = {"span": 2} if use in ("time", "frequency") and wide else EVERYTHING.get(use, {})
    masking = own_masking(use, ratio=ratio, **settings)
    if masking.follows:  # which a film is read with
        grid = (*grid, 1, 1)[:3]
    patches, key = cut(grid, seed, ragged=ragged, hint=masking.follows), tiny.keys(4, seed)
    n = patches.time.shape[1]
    plan = masking.plan(patches, Noise(key)("mask", n))
    again = masking.plan(patches, Noise(key)("mask", n))
    assert torch.equal(plan.visible, again.visible) and torch.equal(plan.hidden, again.hidden)
    for index in range(4):
        visible, hidden = sets(plan, patches, index)
        valid = range(n) if patches.valid is None else patches.valid[index].nonzero()[:, 0].tolist()
        assert sorted(visible + hidden) == list(valid)
        if use in SLICED:
            slices = patches.coords[:, SLICED[use]].tolist()
            hides, shows = {str(slices[i]) for i in hidden}, {str(slices[i]) for i in visible}
            assert not hides & shows
            assert len(hides) == int(ratio * len(hides | shows))
        elif use in STEPWISE:
            each = n // grid[0]
            counts = torch.bincount(patches.coords[hidden, 0], minlength=len(valid) // each)
            assert counts.tolist() == [int(ratio * each)] * (len(valid) // each)
        else:
            assert len(hidden) == int(ratio * len(valid))
        for crop in (False, True) if len(valid) else (False,):  # the rest of the batch and padding change nothing
            one = alone(patches, index, crop)
            single = masking.plan(one, Noise(key[index : index + 1])("mask", one.time.shape[1]))
            assert sets(single, one, 0) == (visible, hidden)


def joint_masking(use: str, **settings):
    if use == "independent":
        return Independent(maskings={"a": Random(ratio=0.5), "b": Random(ratio=0.9), "c": Random(ratio=0.1)})
    cls = find("joint masking", use, use)
    context = (
        [{name: tiny.make_tokenizer("embedding", {"width": 1}, dim=16) for name in "abc"}] if in_context(cls) else []
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cls(*context, **settings)


@pytest.mark.parametrize(
    ("use", "settings"),
    [
        *((use, {}) for use in names("joint masking")),
        ("budget", {"tokens": 7, "alpha": 0.3}),
        ("synchronous", {"mode": "complement", "segments": 3}),
        ("synchronous", {"segments": 5, "ratio": 0.7}),
    ],
    ids=str,
)
@given(sizes=st.tuples(grids, grids, grids), seed=seeds, ragged=st.booleans())
def test_a_joint_masking_covers_every_stream(use, settings, sizes, seed, ragged):
    masking, key = joint_masking(use, **settings), tiny.keys(4, seed)
    streams = {
        name: cut(grid, seed + i, ragged=ragged) for i, (name, grid) in enumerate(zip("abc", sizes, strict=True))
    }
    plans = masking.plan(streams, Noise(key))
    again = masking.plan(streams, Noise(key))
    for name, plan in plans.items():
        assert torch.equal(plan.visible, again[name].visible) and torch.equal(plan.hidden, again[name].hidden)
    for index in range(4):
        single = masking.plan({name: alone(p, index) for name, p in streams.items()}, Noise(key[index : index + 1]))
        shown = total = 0
        for name, patches in streams.items():
            visible, hidden = sets(plans[name], patches, index)
            assert sets(single[name], alone(patches, index), 0) == (visible, hidden)
            n = patches.time.shape[1]
            valid = list(range(n)) if patches.valid is None else patches.valid[index].nonzero()[:, 0].tolist()
            assert sorted(visible + hidden) == valid
            shown, total = shown + len(visible), total + len(valid)
        if use == "budget":
            assert shown == min(masking.tokens, total)
        if use == "synchronous":
            check_seconds(masking, streams, plans, index)


def check_seconds(masking, streams, plans, index: int) -> None:
    """The stretches of time that streams hide are the same, or one shows what the others hide."""
    hides, shows = set(), set()
    for number, (name, patches) in enumerate(streams.items()):
        segment = (patches.time[index] * masking.segments).long().clamp(max=masking.segments - 1).tolist()
        visible, hidden = ({segment[i] for i in part} for part in sets(plans[name], patches, index))
        if number and masking.mode == "complement":
            visible, hidden = hidden, visible
        hides, shows = hides | hidden, shows | visible
    assert not hides & shows
    assert len(hides) <= int(masking.ratio * masking.segments)


def test_a_block_may_lie_anywhere():
    patches = cut((5, 5), 0, batch=400, ragged=False)
    plan = find("masking", "block", "")(ratio=0.05).plan(patches, Noise(tiny.keys(400))("mask", 25))
    assert plan.hidden.unique().numel() == 25


@pytest.mark.parametrize("ratio", [[0.5, 1.2], [-0.1, 0.5], 1.2, -0.1], ids=str)
def test_a_ratio_lies_in_its_range_at_both_ends(ratio):
    with pytest.raises(ValueError, match="ratio"):
        tiny.tiny("default", [f"masking.video.ratio={ratio}"]).build()
