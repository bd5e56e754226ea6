"""IMU: short time windows of each body-worn sensor, joined by a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from einops import rearrange
from torch import nn

from modalities.graph import GraphLayer, adjacency, edge_matrix
from modalities.imu.names import channel_names
from modalities.imu.words import CHANNELS
from modalities.positions import Kind
from modalities.records import Patches, Places, Signal, Tokens, by_value, lattice
from modalities.shapes import Bool, Float, Int, Shaped, Tensor
from modalities.tokenizer import Tokenizer, fractions

USUAL = {"a": 9.81, "g": 3.14, "m": 50.0}  # gravity in m/s^2, half a turn in rad/s, the Earth's field in uT


class IMUTokenizer(Tokenizer):
    """Cut inertial recordings into (time window, sensor) patches and pass messages among the visible ones.

    Takes float32 (b, t, sensors, channels): acceleration in m/s^2, then angular velocity in rad/s. A channel of which a
    reading in the patch is missing (`Signal.observed`) is missing from that patch: it enters as its mean and is not
    predicted. A patch without any channel is invalid: missing sensors and gaps are nothing. Coordinates are (time,
    sensor), or (time, channel, sensor). Sensors are the nodes of a graph whose edges come with the signal (from the
    manifest), or from the recipe, or join all sensors; the idea is EVI-MAE's (arXiv:2408.00538), but only visible nodes
    speak, so nothing leaks.

    Args:
        dim: width of the tokens.
        channels: readings of one sensor, as a count or by name; six means accelerometer then gyroscope.
        patch: time steps in a patch.
        kind: `raw` readings, laid out (step, channel); or `stft`: log magnitudes laid out (frame, frequency, channel).
        fft: samples in an STFT frame. hop: samples from one frame to the next; half a frame by default.
        apart: patchify every channel separately, with shared weights (PatchTST, arXiv:2211.14730).
        graph: message passing, `gin`, `gat` or None. `layers` rounds of it.
        edges: pairs of adjacent sensors, when the manifest has none; None connects all.
        mean, std: of each channel, in its units; by default 0, and gravity for accelerations, half a turn a second for
            rotations, 50 uT for the magnetic field. In a recipe `data` means those of the training recordings.

    >>> tokenizer = IMUTokenizer(64, patch=10)
    >>> patches = tokenizer.patchify(Signal(torch.randn(2, 100, 3, 6)))
    >>> patches.grid, tuple(tokenizer.embed(patches).x.shape)
    ((10, 3), (2, 30, 64))
    """

    nodes = True
    layout = ("b", "t", "s", "c")

    mean: Tensor
    std: Tensor
    edges: Tensor | None

    def __init__(
        self,
        dim: int,
        *,
        channels: int | list[str] = 6,
        patch: int = 10,
        kind: Literal["raw", "stft"] = "raw",
        fft: int = 16,
        hop: int | None = None,
        apart: bool = False,
        graph: Literal["gin", "gat"] | None = None,
        layers: int = 1,
        edges: list[tuple[int, int]] | None = None,
        mean: Sequence[float] | Literal["data"] | None = None,
        std: Sequence[float] | Literal["data"] | None = None,
        positions: Kind = "grid",
    ):
        super().__init__(dim, positions=positions)
        if kind not in ("raw", "stft"):
            raise ValueError(f"kind is 'raw' or 'stft', got {kind!r}")
        if graph not in (None, "gin", "gat"):
            raise ValueError(f"graph is 'gin', 'gat' or null, got {graph!r}")
        hop = hop or max(1, fft // 2)
        if kind == "stft" and not (0 < hop <= fft and patch % hop == 0):
            raise ValueError(f"a patch of {patch} steps must hold a whole number of hops of {hop}, each at most {fft}")
        names = channel_names(channels)
        channels = len(names)
        self.axes = ("time", "channel", "sensor") if apart else ("time", "sensor")
        self.readings, self.channels = channels, 1 if apart else channels  # of a sensor, and of a patch
        self.patch, self.kind, self.fft, self.hop, self.apart = patch, kind, fft, hop, apart
        if kind == "stft" and "data" in (mean, std):
            raise ValueError("mean and std of the data are those of readings; with kind: stft give those of magnitudes")
        mean = [0.0] * channels if mean in (None, "data") else mean  # "data": not measured yet
        if std in (None, "data"):
            usual = [USUAL.get(name[:1], 1.0) if name in CHANNELS else 1.0 for name in names]
            std = usual if kind == "raw" else [1.0] * channels
        if not len(mean) == len(std) == channels:
            raise ValueError(f"mean and std need a value for each of {channels} channels, got {mean} and {std}")
        rows = patch if kind == "raw" else patch // hop * (fft // 2 + 1)
        self.outputs = rows * self.channels
        self.project = nn.Linear(self.outputs, dim)
        self.graph = nn.ModuleList(GraphLayer(dim, graph) for _ in range(layers)) if graph else nn.ModuleList()
        self.register_buffer("mean", torch.tensor(mean).repeat(1 if apart else rows), persistent=False)
        self.register_buffer("std", torch.tensor(std).repeat(1 if apart else rows), persistent=False)
        self.register_buffer("edges", edge_matrix(edges) if edges else None, persistent=False)

    @property
    def sizes(self) -> tuple[int | None, ...]:
        return (None, self.readings, None) if self.apart else (None, None)

    @property
    def fixed(self) -> dict[str, int]:
        return {"c": self.readings}

    @property
    def expected(self) -> str:
        return f"sensor readings in float32, SI units (m/s^2, rad/s), (b, t, sensors, channels={self.readings})"

    def patchify(self, signal: Any) -> Patches:
        signal = self.accept(signal)
        _, t, sensors, channels = signal.values.shape
        if channels != self.readings or t % self.patch:
            raise ValueError(
                f"a recording of {t} steps and {channels} channels cannot be cut into patches of {self.patch} steps "
                f"and {self.readings} channels; choose a window and rate that give a multiple"
            )
        if signal.length is not None:  # a patch that is not whole is nothing
            signal = replace(signal, length=signal.length // self.patch * self.patch)
        values = signal.silenced().values
        if signal.observed is not None:
            values = torch.where(signal.observed, values, torch.zeros_like(values))
        grid = (t // self.patch, channels, sensors) if self.apart else (t // self.patch, sensors)
        features = values[..., None, :] if self.kind == "raw" else self.spectra(values)  # (b, frames, sensors, f, c)
        cut = "b (t c s) (p f)" if self.apart else "b (t s) (p f c)"
        values = rearrange(features, f"b (t p) s f c -> {cut}", t=grid[0])
        coords = lattice(grid, values.device)
        duration = signal.seconds()
        time = duration[:, None] * fractions(grid[0], values.device)[coords[:, 0]]
        exists, observed = self.exists(signal), None
        if exists is not None and not self.apart:
            observed = rearrange(exists, "b t s c -> b (t s) c")
            values = torch.where(by_value(observed, values.shape[-1]), values, self.mean.to(values.dtype))
        valid = self.valid(signal, coords, exists)
        return Patches(values, coords, time, grid, duration, valid, edges=self.links(signal), observed=observed)

    def spectra(self, values: Float[Tensor, "b t s c"]) -> Float[Tensor, "b frames s f c"]:
        """Log magnitudes of each sensor and channel; a frame is centred on its hop."""
        flat = rearrange(values, "b t s c -> (b s c) t")
        window = torch.hann_window(self.fft, device=values.device)
        over = self.fft - self.hop
        padded = nn.functional.pad(flat, (over // 2, over - over // 2))
        with torch.autocast(values.device.type, enabled=False):
            spectrum = torch.stft(padded.float(), self.fft, self.hop, window=window, center=False, return_complex=True)
        magnitude = (spectrum.abs() + 1e-3).log()
        return rearrange(magnitude, "(b s c) f n -> b n s f c", b=values.shape[0], s=values.shape[2])

    def exists(self, signal: Signal) -> Bool[Tensor, "b t s c"] | None:
        """Which channels have all their readings in each time window; None when all have."""
        if signal.observed is None:
            return None
        return rearrange(signal.observed, "b (t p) s c -> b t s c p", p=self.patch).all(-1)

    def valid(
        self, signal: Signal, coords: Int[Tensor, "n axes"], exists: Bool[Tensor, "b t s c"] | None
    ) -> Bool[Tensor, "b n"] | None:
        valid = None
        if exists is not None:
            at = coords[:, 0], coords[:, -1]
            valid = exists[:, *at, coords[:, 1]] if self.apart else exists.any(-1)[:, *at]
        if signal.length is not None:
            inside = coords[:, 0] < (signal.length // self.patch)[:, None]
            valid = inside if valid is None else valid & inside
        return valid

    def links(self, signal: Signal) -> Float[Tensor, "b parts parts"] | None:
        if signal.edges is not None or self.edges is None:
            return signal.edges
        b, _, sensors, _ = signal.values.shape
        if self.edges.shape[0] > sensors:
            raise ValueError(f"edges name sensor {self.edges.shape[0] - 1}, the recording has {sensors} sensors")
        spare = sensors - self.edges.shape[0]
        return nn.functional.pad(self.edges, (0, spare, 0, spare)).expand(b, -1, -1)

    def embed(self, patches: Patches, keep: Int[Tensor, "b k"] | None = None, valid: Tensor | None = None) -> Tokens:
        tokens = super().embed(patches, keep, valid)
        if not len(self.graph):
            return tokens
        linked = adjacency(tokens, patches.edges)
        for layer in self.graph:
            tokens = replace(tokens, x=layer(tokens.x, linked))
        return tokens

    def standardise(self, values: Shaped[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        return values if self.apart else (values - self.mean) / self.std  # contents do not tell a channel, places do

    def unstandardise(self, x: Float[Tensor, "b k p"]) -> Float[Tensor, "b k p"]:
        return x if self.apart else x * self.std + self.mean

    def scaled(self, values: Shaped[Tensor, "b k p"], coords: Int[Tensor, "b k axes"]) -> Float[Tensor, "b k p"]:
        """Patches at their places in the units that the network works in."""
        return self.placed(values, coords) if self.apart else self.standardise(values)

    def placed(self, values: Shaped[Tensor, "b k p"], coords: Int[Tensor, "b k axes"]) -> Float[Tensor, "b k p"]:
        """Patches of one channel each, standardised as the channel at their place is."""
        return (values - self.mean[coords[..., 1:2]]) / self.std[coords[..., 1:2]]

    def embed_values(self, values: Shaped[Tensor, "b k p"], places: Places) -> Float[Tensor, "b k d"]:
        return self.project(self.scaled(values, places.coords))

    def contents(self, patches: Patches, pick: Int[Tensor, "b m"]) -> Float[Tensor, "b m p"]:
        values = super().contents(patches, pick)
        return self.placed(values, patches.coords[pick]) if self.apart else values

    def restore(self, patches: Patches, predicted: Float[Tensor, "b m p"], pick: Int[Tensor, "b m"]) -> Tensor:
        if self.apart:
            channel = patches.coords[pick][..., 1:2]
            predicted = predicted * self.std[channel] + self.mean[channel]
        return super().restore(patches, predicted, pick)

    def unpatchify(self, values: Shaped[Tensor, "b n p"], grid: tuple[int, ...]) -> Float[Tensor, "b t s c"]:
        """Readings (b, t, sensors, channels); for `stft`, log magnitudes (b, frames, sensors, frequency * channels)."""
        cut = "b (t c s) (p f)" if self.apart else "b (t s) (p f c)"
        frames = self.patch if self.kind == "raw" else self.patch // self.hop
        sizes = {"t": grid[0], "s": grid[-1], "p": frames, "c": self.readings}
        return rearrange(values, f"{cut} -> b (t p) s (f c)", **sizes)
