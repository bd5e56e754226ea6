"""Frozen features: of each recording alone, whatever the batch, the padding and what is withheld."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tiny
import torch

from mmmae.data.manifest import Manifest
from mmmae.probe.features import VisibleStreams, frozen, reading, withhold
from modalities.records import Signal


def test_features_depend_on_neither_batch_nor_padding(people, model):
    manifest = Manifest.open(people, bad=1.0)
    asked = {"joint": (model, VisibleStreams(("imu", "text"))), "imu": (model, VisibleStreams(("imu",)))}
    clips = reading(model, manifest)
    every = range(len(manifest))
    one, _ = frozen(clips, every, asked, batch_size=1)
    many, _ = frozen(clips, every, asked, batch_size=7)
    for key in asked:
        assert one[key].indices.tolist() == many[key].indices.tolist()
        np.testing.assert_allclose(one[key].matrix(["imu"]), many[key].matrix(["imu"]), atol=2e-5)
    silent = [index for index in one["joint"].indices.tolist() if manifest[index].sources.get("text") is None]
    rows = one["joint"].rows(silent)
    assert len(rows) and np.isnan(one["joint"].pooled["text"][rows]).all()
    assert not np.isnan(np.delete(one["joint"].pooled["text"], rows, 0)).any()
    np.testing.assert_allclose(one["joint"].pooled["imu"][rows], one["imu"].pooled["imu"][rows], atol=2e-5)


def test_a_feature_is_the_mean_over_evenly_spaced_windows(people, model):
    manifest = Manifest.open(people, bad=1.0)
    (index,) = [i for i, row in enumerate(manifest) if row.id == "0-2"]  # of 2.4 s
    found, _ = frozen(reading(model, manifest, ["imu"], windows=2), [index], {0: (model, VisibleStreams(("imu",)))})
    reader = model.recipe.readers()["imu"]
    windows = [reader.read(manifest[index].sources["imu"], start, 0.8).values for start in (0.4, 1.2)]
    signal = Signal(torch.stack(windows), duration=torch.full((2,), 0.8))
    with torch.no_grad():
        expected = model.encode({"imu": signal})["imu"].mean().mean(0)
    np.testing.assert_allclose(found[0].pooled["imu"][0], expected, atol=2e-5)


def test_statistics_are_mean_and_deviation_of_the_tokens_that_are_there(people, model):
    manifest = Manifest.open(people, bad=1.0)
    asked = {0: (model, VisibleStreams(("imu", "text")))}
    found, _ = frozen(reading(model, manifest), range(12), asked, pool="statistics", tokens=True)
    for name, tokens in found[0].tokens.items():
        there = ~np.isnan(tokens[:, 0, 0])
        tokens, pooled = tokens[there].astype(float), found[0].pooled[name][there]
        assert 0 < np.isnan(tokens[..., 0]).sum() < tokens[..., 0].size  # some are shorter than the longest
        expected = np.concatenate([np.nanmean(tokens, 1), np.nanstd(tokens, 1)], 1)
        np.testing.assert_allclose(pooled, expected, atol=2e-3)  # tokens are kept in half precision


def test_a_bad_recording_is_left_out_and_nothing_stands_in_for_it(people, model):
    manifest = Manifest.open(people, bad=1.0)
    found, faults = frozen(
        reading(model, manifest), range(len(manifest)), {0: (model, VisibleStreams(("imu",)))}, batch_size=4
    )
    assert [fault.id for fault in faults] == ["bad"]
    names = [row["id"] for row in manifest.columns("id")]
    assert [names[index] for index in found[0].indices] == [name for name in names if name != "bad"]


def test_a_withheld_sensor_is_never_seen(model):
    signal = Signal(torch.randn(4, 40, 3, 6), torch.tensor([40, 40, 30, 0]))
    key = tiny.keys(4)
    before = None
    for count in range(4):
        left = withhold(signal, key, count)
        assert (left.observed.sum(2) == 3 - count).all() and (left.observed == left.observed[:, :1]).all()
        assert before is None or not (left.observed & ~before).any()
        before = left.observed
        litter = replace(signal, values=torch.where(left.observed, signal.values, torch.nan))
        with torch.no_grad():
            mean, same = (model.encode({"imu": withhold(x, key, count)})["imu"].mean() for x in (signal, litter))
        assert mean.equal(same) and mean.isfinite().all()
