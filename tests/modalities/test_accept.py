"""What a caller may hand to a model or a tokenizer: converted where that is certain, else refused with words."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from places import CASES

from modalities.accept import scaled
from modalities.audio import AudioTokenizer
from modalities.embedding import EmbeddingTokenizer
from modalities.imu import IMUTokenizer
from modalities.records import Batch, Signal
from modalities.text import TextTokenizer
from modalities.video import VideoTokenizer

CLIP = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
WAVE = torch.rand(2, 3200, generator=torch.Generator().manual_seed(1)) - 0.5
READINGS = torch.randn(2, 20, 3, 6, generator=torch.Generator().manual_seed(2))
IDS = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(3))
ROWS = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(4))


def tokenizer(name: str):
    torch.manual_seed(0)
    return {
        "video": lambda: VideoTokenizer(32, patch=8),
        "flow": lambda: VideoTokenizer(32, patch=8, channels=2),
        "audio": lambda: AudioTokenizer(32),
        "imu": lambda: IMUTokenizer(32),
        "text": lambda: TextTokenizer(32, words=50),
        "embedding": lambda: EmbeddingTokenizer(32, width=8),
    }[name]()


@pytest.fixture(scope="module")
def model():
    return tiny.tiny("default").build().eval()


@pytest.fixture(scope="module")
def batch(model):
    return model.recipe.example(batch_size=2)


def unchecked(values, **fields) -> Signal:
    """A signal as a caller makes it, without the checks of types that tests put into every record."""
    signal = Signal(CLIP)
    for name, x in {"values": values, **fields}.items():
        object.__setattr__(signal, name, x)
    return signal


def features(cutter, signal) -> torch.Tensor:
    return cutter.embed(cutter.cut(signal)).x


# The case


def test_floats_in_zero_to_one_give_the_uint8_clips_features():
    cosine = runpy.run_path(str(CASES / "video-float-in-0-1" / "check.py"))
    assert torch.allclose(cosine["whole"], cosine["scaled"], atol=1e-4)


# What is certain is converted


@pytest.mark.parametrize(
    ("name", "given", "plain", "near"),
    [
        ("video", CLIP.float() / 255, CLIP, 1e-4),
        ("video", CLIP.double() / 255, CLIP, 1e-4),
        ("video", (CLIP.float() / 255).half(), CLIP, 2e-2),
        ("video", (CLIP.float() / 255).bfloat16(), CLIP, 2e-1),
        ("video", CLIP.float(), CLIP, 1e-4),
        ("video", CLIP.long(), CLIP, 0),
        ("video", CLIP.short(), CLIP, 0),
        ("video", (CLIP > 127), (CLIP > 127).to(torch.uint8) * 255, 0),
        ("video", CLIP.numpy(), CLIP, 0),
        ("audio", WAVE.double(), WAVE, 1e-5),
        ("audio", WAVE.numpy(), WAVE, 0),
        ("audio", (WAVE * 32768).round().short(), (WAVE * 32768).round() / 32768, 0),
        ("audio", (WAVE.double() * 2**31).round().int(), WAVE, 1e-3),
        ("audio", WAVE.half(), WAVE.half().float(), 0),
        ("imu", READINGS.double(), READINGS, 0),
        ("imu", READINGS.half(), READINGS.half().float(), 0),
        ("imu", READINGS.numpy().astype(np.float64), READINGS, 0),
        ("text", IDS.int(), IDS, 0),
        ("text", IDS.to(torch.uint8), IDS, 0),
        ("text", IDS.numpy(), IDS, 0),
        ("embedding", ROWS.double(), ROWS, 0),
        ("embedding", ROWS.bfloat16(), ROWS.bfloat16().float(), 0),
    ],
)
def test_certain_types_give_the_same_features(name, given, plain, near):
    cutter = tokenizer(name)
    expected = features(cutter, Signal(plain))
    for made in (given, unchecked(given)):
        assert torch.allclose(features(cutter, made), expected, rtol=0, atol=near)


def test_a_dark_float_clip_keeps_its_levels():
    dark = CLIP // 40
    cutter = tokenizer("video")
    assert torch.allclose(features(cutter, dark.float()), features(cutter, dark), atol=1e-5)


def test_black_and_still_images_are_taken():
    cutter = tokenizer("video")
    assert features(cutter, torch.zeros(1, 1, 3, 16, 16)).isfinite().all()


# What is not is refused


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("video", (CLIP.float() / 255 - 0.45) / 0.22, "before any normalisation"),
        ("video", CLIP.float() / 127.5 - 1, "before any normalisation"),
        ("video", CLIP.float() * 257, "0..255"),
        ("video", CLIP.long() * 257, "0..255"),
        ("video", CLIP.long() - 1, "0..255"),
        ("video", CLIP.float() / 255 * 1.05, "clamp it to [0, 1]"),
        ("video", torch.full((1, 2, 3, 16, 16), torch.nan), "NaN"),
        ("video", CLIP[0], "add the batch axis: values[None]"),
        ("video", CLIP[:, 0], "add the time axis: values[:, None]"),
        ("video", CLIP[:, :, 0], "expected video"),
        ("video", CLIP.permute(0, 2, 1, 3, 4), "(b, c, t, h, w): values.permute(0, 2, 1, 3, 4)"),
        ("video", CLIP.permute(0, 1, 3, 4, 2), "(b, t, h, w, c): values.permute(0, 1, 4, 2, 3)"),
        ("video", CLIP[:, :, :1], "c=3"),
        ("flow", CLIP, "c=2"),
        ("video", CLIP[:0], "empty"),
        ("audio", WAVE[0], "batch and time"),
        ("audio", torch.stack([WAVE, WAVE], 1), "values.mean(1)"),
        ("audio", WAVE * 32768, "divide them by the full scale"),
        ("audio", (WAVE * 100).to(torch.int8), "full scale 1"),
        ("audio", torch.full((2, 3200), torch.inf), "NaN or infinity"),
        ("imu", READINGS[0], "values[None]"),
        ("imu", READINGS[:, :, 0], "values[:, :, None]"),
        ("imu", READINGS[..., :3], "channels=6"),
        ("imu", READINGS.permute(0, 3, 1, 2), "values.permute(0, 2, 3, 1)"),
        ("imu", (READINGS * 1000).int(), "SI units"),
        ("imu", READINGS.masked_fill(READINGS > 1, torch.nan), "NaN"),
        ("text", IDS.float(), "ids"),
        ("text", IDS + 50, "got ids from"),
        ("text", IDS - 60, "0"),
        ("text", IDS[0], "batch"),
        ("embedding", ROWS[0], "values[None]"),
        ("embedding", torch.zeros(2, 6, 9), "d=8"),
        ("embedding", ROWS.mT, "values.permute(0, 2, 1)"),
        ("embedding", ROWS.int(), "float32"),
        ("text", "a red ball", "got str"),
        ("video", None, "got NoneType"),
        ("video", [1, 2], "got list"),
    ],
)
def test_what_is_not_certain_is_refused_with_words(name, given, words):
    cutter = tokenizer(name)
    for call in (cutter.cut, cutter.patchify, cutter.accept):
        with pytest.raises(ValueError, match=re.escape(words)):
            call(given)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"length": torch.tensor([5, 3])}, "from 0 to 4, got [5, 3]"),
        ({"length": torch.tensor([-1, 3])}, "from 0 to 4"),
        ({"length": torch.tensor([1, 2, 3])}, "(2,), got int64 (3,)"),
        ({"length": torch.tensor([1.5, 2])}, "whole numbers"),
        ({"length": 4}, "got int"),
        ({"duration": torch.tensor([0.0, 1.0])}, "above 0"),
        ({"duration": torch.tensor(1.0)}, "got float32 ()"),
        ({"start": torch.tensor([torch.nan, 1.0])}, "finite"),
        ({"lag": torch.zeros(3)}, "(2,)"),
    ],
)
def test_lengths_and_times_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        tokenizer("video").cut(unchecked(CLIP, **fields))


def test_validity_and_edges_of_another_shape_are_refused():
    cutter = tokenizer("imu")
    for wrong in (torch.ones(2, 20, 2, dtype=torch.bool), torch.ones(2, 20, 3)):
        with pytest.raises(ValueError, match="observed"):
            cutter.cut(unchecked(READINGS, observed=wrong))
    with pytest.raises(ValueError, match="edges"):
        cutter.cut(unchecked(READINGS, edges=torch.ones(2, 4, 4)))


def test_validity_of_whole_sensors_holds_for_their_channels():
    observed = torch.ones(2, 20, 3, dtype=torch.bool)
    observed[0, 3, 1] = False
    whole = unchecked(READINGS, observed=observed)
    each = Signal(READINGS, observed=observed[..., None].expand(READINGS.shape))
    assert torch.equal(features(tokenizer("imu"), whole), features(tokenizer("imu"), each))


def test_nan_in_padding_and_gaps_is_no_matter():
    observed = torch.ones(READINGS.shape, dtype=torch.bool)
    observed[0, 3, 1] = False
    values = READINGS.clone()
    values[0, 3, 1] = values[1, 10:] = torch.nan
    signal = Signal(values, length=torch.tensor([20, 10]), observed=observed)
    assert features(tokenizer("imu"), signal).isfinite().all()


# The model names the stream


def calls(model):
    return [model, model.encode, model.reconstruct]


@pytest.mark.parametrize(
    ("stream", "change", "words"),
    [
        ("video", lambda x: x[0], "video: expected video"),
        ("video", lambda x: x.float() - 128, "video: expected video"),
        ("audio", lambda x: x * torch.nan, "audio: values hold NaN"),
        ("imu", lambda x: x[..., :5], "imu: expected sensor readings"),
        ("text", lambda x: x + 50, "text: expected text"),
        ("audio", lambda x: x[:1], "same number of samples"),
        ("audio", lambda x: x.to("meta"), "audio: the model is on cpu"),
    ],
)
def test_a_model_names_the_stream_it_refuses(model, batch, stream, change, words):
    plain = {name: signal.values for name, signal in batch.items()}
    for call in calls(model):
        with pytest.raises(ValueError, match=words):
            call(plain | {stream: change(plain[stream])})


def test_an_unknown_stream_names_the_nearest(model, batch):
    for given in ({"vidoe": CLIP}, replace(batch, signals={"vidoe": batch["video"]})):
        for call in calls(model):
            with pytest.raises(ValueError, match=r"no stream 'vidoe'.*did you mean 'video'"):
                call(given)


def test_values_on_another_device_than_the_model_are_refused(model):
    with pytest.raises(ValueError, match="video: the model is on cpu, the values are on meta"):
        model.encode({"video": CLIP.to("meta")})


def test_something_else_than_a_mapping_is_refused():
    for given, words in ((CLIP, "maps names"), ({}, "at least one"), ([CLIP], "maps names")):
        with pytest.raises(ValueError, match=words):
            Batch.of(given)


def test_plain_arrays_give_what_a_readers_batch_gives(model, batch):
    plain = {name: signal.values.numpy() for name, signal in batch.items()}
    timed = {name: unchecked(plain[name], start=s.start, duration=s.duration, lag=s.lag) for name, s in batch.items()}
    with torch.no_grad():
        expected = model.encode(batch)
        for name, tokens in model.encode(timed).items():
            assert torch.equal(tokens.x, expected[name].x)
        assert model(plain).total.isfinite()


def test_a_batch_made_of_signals_is_checked(model, batch):
    scaled = {"video": Signal(batch["video"].values.double() / 255, duration=batch["video"].duration)}
    with torch.no_grad():
        expected = model.encode(batch.only(["video"]))["video"].x
        for given in (scaled, Batch.of(scaled)):
            assert torch.allclose(model.encode(given)["video"].x, expected, atol=1e-4)


@pytest.mark.parametrize("scale", [1, 255])
def test_a_float_clip_is_scaled_within_a_graph(scale):
    assert torch.equal(scaled(CLIP / 255 * scale), CLIP / 255 * scale * (255 if scale == 1 else 1))


def test_streams_on_two_devices_make_no_batch():
    with pytest.raises(ValueError, match="on one device, got"):
        Batch.of({"video": CLIP, "audio": WAVE.to("meta")})
