"""Laws of several corpora in one run: shares, passes, ranks, workers, resumes, labels and held-out rows of each."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import pytest
from clocks import Clock, Letters, assert_same, recordings
from hypothesis import given
from hypothesis import strategies as st

from mmmae.data.bad_samples import Fault
from mmmae.data.clips import Clips
from mmmae.data.loader import Loader, Schedule
from mmmae.data.manifest import Manifest
from mmmae.data.mixture import Mixture, shared
from mmmae.data.source import open_data
from mmmae.recipes.sections import Data
from modalities.errors import InputError


def mixture(sizes, weights, balanced=False):
    return Mixture(tuple("abcdef"[: len(sizes)]), tuple(sizes), tuple(map(float, weights)), balanced)


def corpus(index, sizes):
    """Which corpus a recording is of, and its place there."""
    for number, size in enumerate(sizes):
        if index < size:
            return number, index
        index -= size
    raise AssertionError(index)


def read(schedule, steps, ranks=1):
    return [
        [p for piece in range(schedule.pieces) for rank in range(ranks) for p in schedule.places(step, rank, piece)]
        for step in range(steps)
    ]


@given(
    st.lists(st.integers(4, 30), min_size=2, max_size=4), st.data(), st.booleans(), st.integers(1, 3), st.integers(0, 9)
)
def test_each_corpus_has_its_share_and_goes_through_its_recordings_pass_by_pass(sizes, data, balanced, world, seed):
    weights = [data.draw(st.integers(1, 3)) for _ in sizes]
    mixed = mixture(sizes, weights, balanced)
    part = mixed.period if balanced else data.draw(st.integers(1, 4))
    if part * world > sum(sizes) or any(n > s for n, s in zip(shared(part * world, weights), sizes, strict=True)):
        return
    schedule = Schedule(sum(sizes), part, world=world, seed=seed, mixture=mixed)
    assert schedule.steps_per_epoch == sum(sizes) // (part * world)
    steps = read(schedule, 3 * schedule.steps_per_epoch, world)
    assert read(Schedule(sum(sizes), part * world, seed=seed, mixture=mixed), len(steps)) == steps
    whole = Schedule(sum(sizes), part, pieces=world, seed=seed, mixture=mixed)
    assert read(whole, len(steps)) == steps
    places = [place for step in steps for place in step]
    assert len(set(places)) == len(places)  # nothing comes twice in a pass, so no two samples have one key
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        passes = [(turn, corpus(i, sizes)[1]) for turn, i in places if corpus(i, sizes)[0] == number]
        assert abs(len(passes) - len(places) * weight / sum(weights)) <= 3
        per_pass = Counter(turn for turn, _ in passes)
        assert sorted(per_pass) == list(range(len(per_pass)))
        assert all(per_pass[turn] == size for turn in range(len(per_pass) - 1))
    if balanced:
        for step in steps:
            for rank in range(world):
                held = Counter(corpus(i, sizes)[0] for _, i in step[rank * part : (rank + 1) * part])
                assert [held[number] * sum(mixed.parts) for number in range(len(sizes))] == [
                    part * share for share in mixed.parts
                ]


def test_shares_hold_on_average_in_every_step_and_orders_differ():
    sizes, mixed = (300, 100), mixture((300, 100), (1, 3))
    steps = read(Schedule(400, 8, mixture=mixed), 500)
    second = [sum(corpus(i, sizes)[0] for _, i in step) for step in steps]
    assert abs(sum(second) / len(second) - 6) < 0.05 and len(set(second)) > 3
    thirds = [sum(second[n : n + 10]) / 10 for n in range(0, 50, 10)]
    assert max(abs(mean - 6) for mean in thirds) < 1.6  # at the end of an epoch as at its beginning
    assert read(Schedule(400, 8, seed=1, mixture=mixed), 50) != steps[:50]
    first_pass, second_pass = ([i for s in steps for turn, i in s if turn == one and i >= 300] for one in (0, 1))
    assert sorted(first_pass) == sorted(second_pass) and first_pass != second_pass


@given(st.integers(0, 1000), st.lists(st.floats(0.01, 10), min_size=1, max_size=5))
def test_a_number_is_cut_in_proportion(count, weights):
    parts = shared(count, weights)
    assert sum(parts) == count
    assert all(abs(part - count * w / sum(weights)) <= 1 for part, w in zip(parts, weights, strict=True))


def test_weights_are_ratios():
    assert mixture((9, 9), (0.5, 0.5), True).parts == (1, 1) and mixture((9, 9), (3, 1.5), True).parts == (2, 1)


# -------------------------------------------------------------------------------------------------------- manifests


@pytest.fixture
def two(tmp_path):
    """Two corpora of recordings: 12 with labels and groups, 4 without, which have ids alike."""
    for name, count in (("far", 12), ("near", 4)):
        (tmp_path / name).mkdir()
        recordings(tmp_path / name, count, **({"label": ["dog", "cat", "cow"] * 4} if name == "far" else {}))
    return [tmp_path / "far", tmp_path / "near"]


def mixed_clips(manifest, **rules):
    readers = {"video": Clock(pads=False), "text": Letters()}
    return Clips(manifest, readers, window=2.0, mixture=Mixture.of(manifest, Data(**rules)))


def test_several_corpora_are_one_manifest_whose_rows_keep_files_labels_and_held_out_rows(two):
    both, alone = open_data(two), [Manifest.open(path) for path in two]
    assert len(both) == 16 and both.labels == ("cat", "cow", "dog") and both.modalities == alone[0].modalities
    assert [row.id for row in both][10:14] == ["far:r10", "far:r11", "near:r0", "near:r1"]
    for row, one in zip(both, [row for manifest in alone for row in manifest], strict=True):
        assert (row.sources, row.label) == (one.sources, one.label) and row.id.endswith(f":{one.id}")
    assert [row.label for row in both][12:] == [None] * 4
    for joint, sides in zip(both.split(0.25), zip(*(m.split(0.25) for m in alone), strict=True), strict=True):
        assert [r.sources["video"] for r in joint] == [r.sources["video"] for side in sides for r in side]
    assert {name: len(rows) for name, rows in both.split(0.25)[0].groups().items()} == {
        name: len(one.split(0.25)[0]) for name, one in zip(("far", "near"), alone, strict=True)
    }
    assert open_data([two[0]]).path == alone[0].path and "far, line 1" in both.place("dog")


def test_corpora_may_differ_in_columns_names_and_kind(two):
    rows = [{"video": str(two[1] / "0.mp4"), "label": "dog", "split": "test"}, {"video": str(two[1] / "1.mp4")}]
    both = open_data([two[0], rows, str(two[0] / "manifest.jsonl")])
    assert list(both.groups()) == ["far", "list of rows", "far-2"]
    train, test = both.split(0.0)
    assert [row.id.partition(":")[0] for row in test] == ["list of rows"] and len(train) == 25
    assert len(open_data(rows)) == 2  # a list of rows is one corpus


@pytest.mark.parametrize("rules", [{"weights": [1, 2]}, {"balanced": True}, {}])
def test_workers_ranks_and_resumes_change_nothing(two, rules):
    clips = mixed_clips(open_data(two), **rules)
    run = list(islice(Loader(clips, 4), 6))
    for workers in (1, 2):
        for one, other in zip(run, Loader(clips, 4, workers=workers), strict=False):
            assert_same(one, other)
    for one, other in zip(run[3:], Loader(clips, 4, start_step=3), strict=False):
        assert_same(one, other)
    ranks = zip(Loader(clips, 2, world=2), Loader(clips, 2, rank=1, world=2), strict=True)
    for one, parts in zip(run, ranks, strict=False):
        assert one.ids == [name for part in parts for name in part.ids]
        assert one.key.tolist() == [key for part in parts for key in part.key.tolist()]
    if rules.get("balanced"):
        assert all(sum(name.startswith("near:") for name in batch.ids) == 2 for batch in run)


def test_a_bad_recording_is_replaced_by_one_of_its_corpus(two):
    for number in (0, 1, 2):
        (two[1] / f"{number}.mp4").write_text("broken")
    clips, faults = mixed_clips(open_data(two), balanced=True), list[Fault]()
    for batch in islice(Loader(clips, 4, note=faults.extend), 8):
        assert sum(name == "near:r3" for name in batch.ids) == 2
    assert {fault.id for fault in faults} == {"near:r0", "near:r1", "near:r2"}


@pytest.mark.parametrize(
    ("rules", "batch", "named"),
    [
        ({"weights": [1, 2, 3]}, 4, "3 weights"),
        ({"weights": [1, 9]}, 8, "corpus near: its share of a batch of 8 is 7"),
        ({"balanced": True}, 3, "multiple of 2"),
    ],
)
def test_what_cannot_be_mixed_is_named(two, rules, batch, named):
    with pytest.raises(InputError, match=named):
        Loader(mixed_clips(open_data(two), **rules), batch)
    with pytest.raises(InputError, match="but the corpora are one"):
        Mixture.of(Manifest.open(two[0]), Data(weights=[1, 2]))


def test_check_names_the_corpus_of_what_it_finds(two, capsys):
    from mmmae.__main__ import main

    (two[1] / "1.mp4").write_bytes(b"broken")
    rows = [{"id": "r0", "text": "a dog"}, {"id": "r1", "text": "a dog"}, {"id": "r2", "text": "a dog"}]
    (two[0] / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = main(["check", str(two[0]), str(two[1]), "--workers", "0", "--modalities", "text,video", "window=0.5"])
    out = capsys.readouterr().out
    assert code == 1 and "row 'near:r1'" in out and "far: " in out and "7 samples" in out
