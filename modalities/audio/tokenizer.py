"""Audio: patches of a log-mel spectrogram, or of the waveform itself."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torchaudio
from einops import rearrange
from torch import nn
from torchaudio.compliance.kaldi import get_mel_banks

from modalities.accept import waveform
from modalities.positions import Kind
from modalities.records import Patches, Places, Signal, lattice
from modalities.shapes import Float, Shaped, Tensor
from modalities.tokenizer import Tokenizer, fractions

FLOOR = {"mel": 1e-6, "fbank": torch.finfo(torch.float32).eps, "wave": 1.0}  # power of silence, before the logarithm
STANDARD = {"mel": (-6.0, 4.0), "fbank": (-4.27, 4.57), "wave": (0.0, 0.1)}  # mean and std


class AudioTokenizer(Tokenizer):
    """Cut a log-mel spectrogram into patches of time by frequency (AudioMAE, arXiv:2207.06405).

    Takes a float32 waveform (b, s) at `rate`; a reader mixes to mono and resamples. Frame i of the spectrogram covers
    the samples from i * hop on, on the device of the waveform. Coordinates are (time, frequency), the values of a
    patch are (frame, mel), natural units are the natural logarithm of mel power.

    Args:
        dim: width of the tokens.
        rate: sampling rate in Hz.
        mels: mel bands.
        patch: frames and mel bands in a patch.
        spectrum: `mel` (torchaudio), `fbank` (Kaldi's, as AST, AudioMAE and CAV-MAE were trained on) or `wave` (VATT,
            arXiv:2104.11178): no spectrum at all, every sample is a frame of a single band.
        window, hop: length and spacing of the analysis frames in seconds; a sample for `wave`.
        mean, std: of the log-mel values, for standardising. The defaults for `fbank` are AudioSet's.

    >>> tokenizer = AudioTokenizer(64, rate=16000)
    >>> patches = tokenizer.patchify(Signal(torch.randn(2, 32000), length=torch.tensor([32000, 8000])))
    >>> patches.grid, patches.valid.sum(1).tolist()
    ((13, 8), [104, 32])
    """

    axes = ("time", "frequency")
    layout = ("b", "s")

    banks: Tensor
    taper: Tensor

    def __init__(
        self,
        dim: int,
        *,
        rate: int = 16000,
        mels: int = 128,
        patch: tuple[int, int] = (16, 16),
        spectrum: Literal["mel", "fbank", "wave"] = "mel",
        window: float = 0.025,
        hop: float = 0.01,
        mean: float | None = None,
        std: float | None = None,
        positions: Kind = "grid",
    ):
        super().__init__(dim, positions=positions)
        if spectrum not in FLOOR:
            raise ValueError(f"spectrum is one of {', '.join(FLOOR)}, got {spectrum!r}")
        if spectrum == "wave":
            mels, window, hop = 1, 1 / rate, 1 / rate
        if mels % patch[1]:
            raise ValueError(f"{mels} mel bands cannot be cut into patches of {patch[1]}; choose a divisor")
        if not 0 < hop <= window:
            raise ValueError(f"hop and window are seconds with 0 < hop <= window, got {hop} and {window}")
        self.rate, self.mels, self.patch, self.spectrum = rate, mels, tuple(patch), spectrum
        self.window, self.hop = round(window * rate), round(hop * rate)
        self.silence = math.log(FLOOR[spectrum])
        self.mean = STANDARD[spectrum][0] if mean is None else mean
        self.std = STANDARD[spectrum][1] if std is None else std
        self.outputs = self.patch[0] * self.patch[1]
        self.project = nn.Linear(self.outputs, dim)
        if spectrum == "wave":
            return
        fft = 2 ** (self.window - 1).bit_length()
        if spectrum == "fbank":
            banks, _ = get_mel_banks(mels, fft, rate, 20.0, 0.0, 100.0, -500.0, 1.0)
            self.register_buffer("banks", nn.functional.pad(banks, (0, 1)).T, persistent=False)
            self.register_buffer("taper", torch.hann_window(self.window, periodic=False), persistent=False)
        self.mel = torchaudio.transforms.MelSpectrogram(
            rate, n_fft=fft, win_length=self.window, hop_length=self.hop, n_mels=mels, center=False,
            norm="slaney", mel_scale="slaney",
        )  # fmt: skip
        self.fft = fft

    def spectrogram(self, signal: Signal) -> Float[Tensor, "b frames mels"]:
        """Log-mel power, as many frames as hops fit; zeros follow the last sample, and silence the last frame."""
        wave = signal.silenced().values
        spectrogram = self.analyse(wave, frames=wave.shape[1] // self.hop)
        if signal.length is None:
            return spectrogram
        inside = torch.arange(spectrogram.shape[1], device=wave.device) < (signal.length // self.hop)[:, None]
        return spectrogram.masked_fill(~inside[..., None], self.silence)

    def analyse(self, wave: Float[Tensor, "b s"], frames: int) -> Float[Tensor, "b frames mels"]:
        if self.spectrum == "wave":
            return wave[..., None]
        with torch.autocast(wave.device.type, enabled=False):  # a Fourier transform in half precision is noise
            if self.spectrum == "mel":
                # torch.stft centres a short window inside fft samples; the shift puts frame i at i * hop again.
                lead = (self.fft - self.window) // 2
                padded = nn.functional.pad(wave.float(), (lead, self.fft))
                taper: Any = self.mel.spectrogram.window
                power = torch.stft(
                    padded, self.fft, self.hop, self.window, taper, center=False,
                    return_complex=True,
                ).abs().pow(2.0)  # fmt: skip
                return (self.mel.mel_scale(power)[..., :frames] + FLOOR["mel"]).log().mT
            return self.fbank(nn.functional.pad(wave.float(), (0, self.window)))[:, :frames]

    def fbank(self, wave: Float[Tensor, "b s"]) -> Float[Tensor, "b frames mels"]:
        """Kaldi filter banks with the settings of AST (arXiv:2104.01778), bit for bit torchaudio's, all waves at once.

        torchaudio's own takes one wave, and sends its filters to the device each time.
        """
        frames = wave.unfold(1, self.window, self.hop)
        frames = frames - frames.mean(-1, keepdim=True)
        frames = frames - 0.97 * nn.functional.pad(frames, (1, 0), mode="replicate")[..., :-1]
        power = torch.fft.rfft(frames * self.taper, self.fft).abs().pow(2.0)
        return (power @ self.banks).clamp_min(FLOOR["fbank"]).log()

    @property
    def expected(self) -> str:
        return f"a mono waveform in float32 with full scale 1, or int16, (b, s) at {self.rate} Hz"

    def convert(self, signal: Signal) -> Signal:
        return waveform(signal, self.expected)

    def patchify(self, signal: Any) -> Patches:
        signal = self.accept(signal)
        spectrogram = self.spectrogram(signal)
        frames, (time, band) = spectrogram.shape[1], self.patch
        if not frames:
            raise ValueError(f"{signal.values.shape[1]} samples are less than a hop of {self.hop}; use a longer window")
        steps = -(-frames // time)
        spectrogram = nn.functional.pad(spectrogram, (0, 0, 0, steps * time - frames), value=self.silence)
        grid = (steps, self.mels // band)
        values = rearrange(spectrogram, "b (t p) (f q) -> b (t f) (p q)", p=time, q=band)
        coords = lattice(grid, values.device)
        duration = signal.seconds()
        covered = steps * time * self.hop / signal.values.shape[1]  # the last patch may reach past the window
        seconds = duration[:, None] * fractions(steps, values.device)[coords[:, 0]] * covered
        valid = None if signal.length is None else coords[:, 0] * time < (signal.length // self.hop)[:, None]
        return Patches(values, coords, seconds, grid, duration, valid)

    def standardise(self, values: Shaped[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        return (values - self.mean) / self.std

    def unstandardise(self, x: Float[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        return x * self.std + self.mean

    def embed_values(self, values: Shaped[Tensor, "b k p"], places: Places) -> Float[Tensor, "b k d"]:
        return self.project(self.standardise(values))

    def unpatchify(self, values: Shaped[Tensor, "b n p"], grid: tuple[int, ...]) -> Float[Tensor, "b frames mels"]:
        time, band = self.patch
        return rearrange(values, "b (t f) (p q) -> b (t p) (f q)", t=grid[0], f=grid[1], p=time, q=band)
