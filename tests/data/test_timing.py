"""Laws of lags and spans: the density that is stated, room for what is drawn, and the same clip for the same key."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clocks import RATE, Clock, write
from PIL import Image
from scipy import stats

from mmmae.data.clips import Clips
from mmmae.data.inspection import inspect_all
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from mmmae.recipes.streams import Stream
from mmmae.recipes.timing import Lag, Span
from modalities.noise import uniform_scalar
from modalities.video.reader import VideoReader

END = {"to": "end", "density": "falling"}


class Frames(Clock):
    """A clock that is read at four moments of a window, however long it is; a photo has no time of its own."""

    pads = False

    def __init__(self, count=4):
        super().__init__(pads=False)
        self.count = count

    def seconds(self, source):
        return None if self.still(source) else super().seconds(source)

    def still(self, source):
        return source.endswith(".jpg")

    def read(self, source, start, duration):
        if self.still(source):
            return self.blank(duration).__class__(self.blank(duration).values, self.count)
        reading = super().read(source, start, duration)
        return reading.__class__(reading.values[:: len(reading.values) // self.count][: self.count], self.count)

    def blank(self, duration):
        reading = super().blank(duration)
        return reading.__class__(reading.values[: self.count], 0)


def pairs(folder, seconds=10.0, window=2.0, first=None, reader=None, row=(), **second):
    """Clips of a recording that two streams read."""
    (folder / "film.mp4").write_text(str(seconds))
    path = write(folder, [{"id": "film", "video": "film.mp4", **dict(row)}])
    streams = {
        name: Stream(use="video", source="video", **given)
        for name, given in {"one": first or {}, "two": second}.items()
    }
    reader = reader or Frames()
    return lambda **settings: Clips(
        Manifest.open(path), dict.fromkeys(streams, reader), window=window, streams=streams, **settings
    )


def drawn(clips, count):
    return collate([clips[epoch, 0] for epoch in range(count)])


@pytest.mark.parametrize(
    ("density", "mean", "law"),
    [("uniform", 1 / 2, lambda x: x), ("falling", 1 / 3, lambda x: 2 * x - x**2)],
)
def test_lags_have_the_stated_density(density, mean, law):
    lag, room = Lag.of({"to": "end", "density": density}), 6.0
    shares = (uniform_scalar(key, "lag/two", 2) for key in range(200_000))
    lags = np.array([lag.at(*share, later=room, earlier=room) for share in shares])
    assert abs(abs(lags).mean() / (mean * room) - 1) < 0.005
    assert stats.kstest(abs(lags) / room, lambda x: law(np.clip(x, 0, 1))).pvalue > 0.01
    assert abs((lags < 0).mean() - 0.5) < 0.005
    assert (
        min(Lag.of({"to": "end", "order": "later"}).at(*uniform_scalar(key, "lag", 2), later=room) for key in range(99))
        >= 0
    )


def test_the_lag_is_drawn_from_the_recordings_room_and_the_window_lies_in_what_is_left(tmp_path):
    batch = drawn(pairs(tmp_path, lag=END)(), 3000)
    one, two = batch["one"].start.double().numpy(), batch["two"].start.double().numpy()
    gap, early = abs(two - one), np.minimum(one, two)
    assert stats.kstest(gap / 8, lambda x: 2 * np.clip(x, 0, 1) - np.clip(x, 0, 1) ** 2).pvalue > 0.01
    assert stats.kstest(early / (8 - gap), "uniform").pvalue > 0.01
    assert early.min() >= 0 and np.maximum(one, two).max() <= 8 and 0.45 < (two < one).mean() < 0.55
    np.testing.assert_allclose(batch["two"].values[:, 0].numpy(), two, atol=1e-5)  # it is read where it says
    np.testing.assert_allclose(batch["two"].lag.numpy(), two - one, atol=1e-5)


def test_lags_end_where_they_are_told_to_and_stay_inside_the_row(tmp_path):
    lag = {"from": 0.5, "to": 1.5, "order": "later"}
    batch = drawn(pairs(tmp_path, row={"start": 3.0, "end": 7.0}, lag=lag)(), 400)
    assert 0.5 <= batch["two"].lag.min() < 0.55 and 1.45 < batch["two"].lag.max() <= 1.5
    assert batch["one"].start.min() >= 3.0 and batch["two"].start.max() <= 5.0
    short = drawn(pairs(tmp_path, seconds=3.0, lag=lag)(), 400)
    assert 0.95 < short["two"].lag.max() <= 1.0 and short["two"].start.max() <= 1.0 + 1e-6


def test_every_window_of_a_recording_draws_a_lag_of_its_own_and_evaluation_takes_the_middle(tmp_path):
    clips = pairs(tmp_path, lag=END)
    batch = collate([clips(repeats=3, repeat="windows")[0, 0]])
    assert len(set(batch["two"].lag.tolist())) == 3 and len(set(batch["one"].start.tolist())) == 3
    middle = drawn(clips(centre=True), 2)
    assert middle["two"].lag.tolist() == pytest.approx([8 * (1 - 0.5**0.5)] * 2)
    assert (middle["one"].start + middle["two"].start).tolist() == pytest.approx([8, 8])


def test_a_drawn_span_is_a_speed_that_the_batch_tells(tmp_path):
    of = drawn(pairs(tmp_path, span={"of": [1.0, 2.0]})(), 400)
    durations = of["two"].duration
    assert set(durations.tolist()) == {1.0, 2.0} and 150 < (durations == 1).sum() < 250
    steps = of["two"].values.diff(dim=1)
    assert steps.allclose((durations / 4)[:, None].expand_as(steps))
    assert of["one"].duration.tolist() == [2.0] * 400 and of["two"].values.shape == of["one"].values.shape
    spread = drawn(pairs(tmp_path, span=[1.0, 2.0], reader=Frames(8))(), 400)["two"].duration.numpy()
    assert stats.kstest(spread - 1, "uniform").pvalue > 0.01
    assert drawn(pairs(tmp_path, span={"of": [1.0, 2.0]})(centre=True), 2)["two"].duration.tolist() == [1.0, 1.0]


def test_what_takes_more_steps_of_a_longer_span_is_filled_up_to_the_longest(tmp_path):
    batch = drawn(pairs(tmp_path, span={"of": [1.0, 2.0]}, reader=Clock())(), 40)["two"]
    assert batch.values.shape == (40, 2 * RATE) and set(batch.duration.tolist()) == {2.0}
    assert set(batch.length.tolist()) == {RATE, 2 * RATE}


def test_there_is_room_for_the_longest_span(tmp_path):
    wide = pairs(tmp_path, span={"of": [1.0, 4.0]})
    assert drawn(wide(), 400)["two"].start.max() <= 6.0
    assert next(inspect_all(wide(), 0)).fault is None
    short = pairs(tmp_path, seconds=3.0, span={"of": [1.0, 4.0]})()
    results = [short[epoch, 0] for epoch in range(20)]
    assert all(isinstance(result, Exception) for result in results)  # too short at every speed alike
    assert "too short" in next(inspect_all(short, 0)).fault.reason


def test_check_looks_at_all_that_a_lagged_stream_can_meet(tmp_path):
    seen = []

    class Watched(Frames):
        def read(self, source, start, duration):
            seen.append((start, start + duration))
            return super().read(source, start, duration)

    clips = pairs(tmp_path, seconds=9.0, first={}, lag={"from": 1.0, "to": "end"}, reader=Watched())()
    assert next(inspect_all(clips, 0)).fault is None
    assert min(seen)[0] == 0 and max(end for _, end in seen) == pytest.approx(9.0)


@pytest.mark.parametrize("lag", [0.5, -0.5, [0.2, 1.0], END])
def test_an_image_ignores_the_lag_and_is_there(tmp_path, lag):
    Image.new("RGB", (8, 8), (200, 30, 60)).save(tmp_path / "photo.png")
    rows = [{"id": "photo", "video": "photo.png"}, {"id": "part", "video": "photo.png", "start": 0.0, "end": 0.1}]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = VideoReader(frames=1, size=8)
    streams = {"first": Stream(use="video", source="video"), "second": Stream(use="video", source="video", lag=lag)}
    clips = Clips(Manifest.open(tmp_path), dict.fromkeys(streams, reader), window=0.04, streams=streams)
    for index in (0, 1):
        batch = collate([clips[0, index]])
        assert batch["second"].length is None and batch["second"].lag is None and batch.ids == [rows[index]["id"]]
        assert (batch["first"].values == batch["second"].values).all()


def test_plain_lags_and_spans_are_as_they_were():
    assert Lag.of(0.4) == Lag(0.4, 0.4) and Lag.of([0.1, 0.3]).reach == (0.1, 0.3)
    assert Lag.of([0.1, 0.3]).at(0.5, 0.1, later=0.0) == pytest.approx(0.2)
    assert Span.of(2).at(0.9) == 2.0 == Span.of(2).longest


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"lag": {"to": "end", "densty": "falling"}}, "'density'"),
        ({"lag": {"to": "end", "density": "rising"}}, "uniform or falling"),
        ({"lag": {"to": "start"}}, "to: end"),
        ({"lag": {"from": -1, "to": 2}}, "0 or above"),
        ({"lag": {"density": "falling"}}, "to: end"),
        ({"lag": [1, 2, 3]}, "range"),
        ({"lag": "later"}, "seconds"),
        ({"span": {"of": []}}, "of"),
        ({"span": [0, 1]}, "above 0"),
        ({"span": True}, "seconds"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(setting, named):
    with pytest.raises(ValueError, match=named):
        Stream(use="video", source="video", **setting)
