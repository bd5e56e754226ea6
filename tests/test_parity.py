"""What others have written before gives the same numbers: spectrograms, positions, graph layers, losses.

All of VideoMAE is compared in test_convert.py.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import tiny
import torch
from torch.testing import assert_close

from mmmae.objectives.contrastive import Contrastive
from mmmae.objectives.normalise import denormalise, target
from modalities.audio import AudioTokenizer
from modalities.graph import GraphLayer, adjacency
from modalities.imu import IMUTokenizer
from modalities.positions import sincos, table
from modalities.records import Signal
from modalities.video import VideoTokenizer

RATE = 16_000


def waves() -> torch.Tensor:
    """A second of a sine, and of noise, in float32."""
    time = torch.arange(RATE, dtype=torch.float64) / RATE
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    return torch.stack([0.3 * (2 * torch.pi * 440 * time).sin().float() + 0.01 * noise, 0.1 * noise])


def periodogram(frames: int, mels: int, kaldi: bool) -> np.ndarray:
    """Log-mel power of `waves` by the numpy code of transformers, whose frame i begins at sample i * hop."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    mel: dict = {"norm": "slaney", "mel_scale": "slaney"}
    settings: dict = {"mel_floor": 1e-20}
    if kaldi:
        mel = {"norm": None, "mel_scale": "kaldi", "triangularize_in_mel_space": True}
        settings = {"preemphasis": 0.97, "remove_dc_offset": True, "mel_floor": 1.192092955078125e-07}
    filters = mel_filter_bank(257, mels, 20 if kaldi else 0, RATE / 2, RATE, **mel)
    found = [
        spectrogram(
            np.pad(wave.double().numpy(), (0, 1000)), window_function(400, "hann", periodic=not kaldi),
            frame_length=400, hop_length=160, fft_length=512, power=2.0, center=False, mel_filters=filters, **settings,
        )
        for wave in waves()
    ]  # fmt: skip
    power = np.stack(found)[..., :frames].swapaxes(1, 2)
    return np.log(power if kaldi else power + 1e-6)


@pytest.mark.parametrize("spectrum", ["mel", "fbank"])
def test_a_spectrogram_is_that_of_transformers(spectrum):
    tokenizer = AudioTokenizer(8, rate=RATE, mels=128, spectrum=spectrum)
    found = tokenizer.spectrogram(Signal(waves()))
    assert found.shape == (2, 100, 128)
    wanted = torch.from_numpy(periodogram(100, 128, kaldi=spectrum == "fbank")).float()
    assert_close(found, wanted, rtol=0, atol=0.02 if spectrum == "fbank" else 2e-3)


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_filter_banks_are_torchaudio_s_bit_for_bit(rate):
    from torchaudio.compliance.kaldi import fbank

    tokenizer = AudioTokenizer(8, rate=rate, mels=128, spectrum="fbank")
    found = tokenizer.spectrogram(Signal(waves()))
    for wave, ours in zip(waves(), found, strict=True):
        wanted = fbank(
            wave[None], htk_compat=True, sample_frequency=rate, use_energy=False, window_type="hanning",
            num_mel_bins=128, dither=0.0, frame_length=1000 * tokenizer.window / rate,
            frame_shift=1000 * tokenizer.hop / rate,
        )  # fmt: skip
        assert torch.equal(ours[: len(wanted)], wanted)


@pytest.mark.parametrize("spectrum", ["mel", "fbank"])
def test_frame_i_hears_the_samples_from_i_hops_on(spectrum):
    tokenizer = AudioTokenizer(8, rate=RATE, spectrum=spectrum)
    wave = torch.zeros(1, RATE)
    wave[0, 50 * 160 : 50 * 160 + 160] = torch.randn(160, generator=torch.Generator().manual_seed(0))
    loud = (tokenizer.spectrogram(Signal(wave))[0] > tokenizer.silence + 1).any(1).nonzero()[:, 0].tolist()
    assert loud == [48, 49, 50]  # windows of 400 samples that begin at 7680, 7840 and 8000


def test_positions_are_videomae_s():
    from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

    wanted = get_sinusoid_encoding_table(1568, 64)[0]
    assert_close(sincos(torch.arange(1568), 64), wanted)
    assert_close(table("flat", (8, 14, 14), 64, torch.device("cpu")), wanted)


@pytest.mark.parametrize("kind", ["gin", "gat"])
def test_dense_messages_are_the_sparse_ones_on_the_visible_nodes(kind):
    from torch_geometric.nn import GATConv, GINConv

    torch.manual_seed(0)
    tokenizer = IMUTokenizer(16, patch=10)
    edges = (torch.rand(2, 5, 5) < 0.5).float()
    patches = tokenizer.patchify(Signal(torch.randn(2, 40, 5, 6), edges=edges))
    keep = torch.rand(2, 20).argsort(1)[:, :11]
    tokens = tokenizer.embed(patches, keep)
    layer = GraphLayer(16, kind)
    dense = layer(tokens.x, adjacency(tokens, patches.edges))
    for b in range(2):
        pairs = [
            (j, i)
            for i in range(11)
            for j in range(11)
            if i != j and keep[b, i] // 5 == keep[b, j] // 5 and edges[b, keep[b, i] % 5, keep[b, j] % 5]
        ]
        assert pairs
        if kind == "gin":
            sparse = GINConv(copy.deepcopy(layer.conv.nn), train_eps=True)
        else:
            sparse = GATConv(16, 16, heads=4, concat=False)
        sparse.load_state_dict({k: w[0] if "att" in k else w for k, w in layer.conv.state_dict().items()})
        said = tokens.x[b] + sparse(layer.norm(tokens.x[b]), torch.tensor(pairs).T)
        assert_close(dense[b], said, rtol=1e-5, atol=1e-5)


def contrast(kind: str, temperature: float) -> tuple[Contrastive, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    tokenizers = {name: VideoTokenizer(8, patch=8) for name in ("a", "b")}
    objective = Contrastive(tokenizers, 8, kind=kind, temperature=temperature)
    a, b = (torch.nn.functional.normalize(torch.randn(6, 16), dim=-1) for _ in range(2))
    return objective, a, b


@pytest.mark.parametrize("there", [[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1]])
def test_infonce_is_clip_s(there):
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    objective, a, b = contrast("infonce", 0.07)
    both = torch.tensor(there).bool()
    wanted = image_text_contrastive_loss(a[both] @ b[both].T / 0.07)
    assert_close(objective.contrast(a, b, both, objective.fixed), wanted)


@pytest.mark.parametrize("there", [[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1]])
def test_ntxent_is_simclr_s(there):
    objective, a, b = contrast("ntxent", 0.5)
    both = torch.tensor(there).bool()
    z = torch.stack([a[both], b[both]], 1).flatten(0, 1).double()  # views 2k and 2k + 1 are of one sample
    n, wanted = len(z), 0.0
    for i in range(n):  # arXiv:2002.05709, equation 1
        j = i + 1 - 2 * (i % 2)
        others = sum(math.exp(float(z[i] @ z[k]) / 0.5) for k in range(n) if k != i)
        wanted -= math.log(math.exp(float(z[i] @ z[j]) / 0.5) / others) / n
    assert objective.contrast(a, b, both, objective.fixed).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("there", [[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1]])
def test_the_sigmoid_loss_is_siglip_s(there):
    objective, a, b = contrast("sigmoid", 0.1)
    both = torch.tensor(there).bool()
    x, y = a[both].double(), b[both].double()
    n, wanted = len(x), 0.0
    for i in range(n):  # arXiv:2303.15343, equation 1: scale e^t' = 10, bias -10
        for j in range(n):
            wanted += math.log1p(math.exp(-(1 if i == j else -1) * (10 * float(x[i] @ y[j]) - 10))) / n
    assert objective.contrast(a, b, both, objective.fixed).item() == pytest.approx(wanted, rel=1e-5)


def test_masked_language_is_that_of_transformers():
    from transformers.loss.loss_utils import ForMaskedLMLoss

    recipe = tiny.tiny("default", modalities=["text"])
    model, batch = recipe.build(), recipe.example(batch_size=4, seed=3, ragged=True)
    objective, encoded = model.objectives["masked_language"], model.encode_masked(batch)
    answer = objective.answer(encoded)["text"]
    labels, scores = torch.full(batch["text"].values.shape, -100), torch.zeros(*batch["text"].values.shape, 50)
    for b, (pick, asked) in enumerate(zip(answer.index, answer.valid, strict=True)):
        for slot in range(len(pick)):
            if asked[slot]:
                labels[b, pick[slot]] = batch["text"].values[b, pick[slot]]
                scores[b, pick[slot]] = answer.values[b, slot].detach()
    assert (labels >= 0).sum() > 4
    assert_close(objective(encoded)["text"], ForMaskedLMLoss(scores, labels, vocab_size=50))


@pytest.mark.parametrize("norm", ["none", "patch_channel", "patch"])
def test_normalised_targets_are_those_of_the_papers(norm):
    tokenizer = VideoTokenizer(8, patch=4, tube=2)
    clip = torch.randint(0, 256, (2, 4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    patches = tokenizer.patchify(Signal(clip))
    found = target(tokenizer, patches, torch.arange(8).expand(2, 8), norm)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = clip.permute(0, 1, 3, 4, 2).double().numpy() / 255
    for b in range(2):
        for number in range(8):
            t, h, w = number // 4 * 2, number // 2 % 2 * 4, number % 2 * 4
            tube = pixels[b, t : t + 2, h : h + 4, w : w + 4]
            if norm == "patch_channel":  # VideoMAE: each channel of the unnormalised pixels
                channels = [(c - c.mean()) / (c.std(ddof=1) + 1e-6) for c in np.moveaxis(tube, -1, 0)]
                wanted = np.stack(channels, -1)
            else:
                wanted = (tube - mean) / std
                if norm == "patch":  # MAE: all values of the normalised pixels
                    wanted = (wanted - wanted.mean()) / np.sqrt(wanted.var(ddof=1) + 1e-6)
            assert_close(found[b, number].double(), torch.from_numpy(wanted.reshape(-1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["patch_channel", "patch"])
def test_denormalising_a_uniform_clip_gives_it_back(norm):
    """Where every patch has the same mean and variance, those borrowed from the neighbours are right."""
    tokenizer = VideoTokenizer(8, patch=4, tube=1)
    tile = torch.randint(0, 256, (1, 1, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    patches = tokenizer.patchify(Signal(tile.repeat(1, 2, 1, 2, 2)))
    hidden, visible = torch.tensor([[1, 4, 6]]), torch.tensor([[0, 2, 3, 5, 7]])
    guess = denormalise(tokenizer, patches, target(tokenizer, patches, hidden, norm), hidden, visible, None, norm)
    assert_close(guess, tokenizer.target(patches, hidden), rtol=1e-4, atol=1e-4)
