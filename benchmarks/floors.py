"""What simple features tell of the labels of a corpus: the floor that a pretrained model's features have to beat.

    python benchmarks/floors.py --recipe imu_mae --data data/hapt window=2.56

Features are made of the same windows of the same rows that `mmmae probe` reads, and classified as it does: logistic
regression, C by the validation part, mean and standard deviation over seeds.

- imu: of every channel and of the length of each vector: mean, deviation, extremes, quartiles, mean step, log energy in
  five bands; correlations of channels.
- audio: of every mel band of the log spectrogram: mean, deviation, extremes.
- video: mean and deviation of the picture on a grid of 8 x 8, and the same of the difference from frame to frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from mmmae import Recipe
from mmmae.data.eval_windows import views
from mmmae.data.open_settings import fit
from mmmae.data.source import open_data
from mmmae.launch import listed
from mmmae.probe.features import FrozenFeatures, reading
from mmmae.probe.fitting import Probe, majority
from mmmae.probe.results import table
from mmmae.probe.splits import split
from modalities.records import Signal

BANDS = ((1, 3), (3, 6), (6, 11), (11, 21), (21, None))
GRID = 8


def of_imu(signal: Signal) -> np.ndarray:
    """(b, t, sensors, channels) to (b, features)."""
    x = signal.values.double().numpy()
    lengths = [np.linalg.norm(x[..., i : i + 3], axis=-1, keepdims=True) for i in range(0, x.shape[-1] - 2, 3)]
    x = np.concatenate([x, *lengths], axis=-1)
    x = x.reshape(*x.shape[:2], -1)
    quartiles = np.percentile(x, [0, 25, 50, 75, 100], axis=1)
    spectrum = np.abs(np.fft.rfft(x - x.mean(1, keepdims=True), axis=1))
    bands = [np.log1p(spectrum[:, first:last]).mean(1) for first, last in BANDS if first < spectrum.shape[1]]
    centred = (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-6)
    alike = np.einsum("bti,btj->bij", centred, centred)[(slice(None), *np.triu_indices(min(x.shape[-1], 64), 1))]
    steps = np.abs(np.diff(x, axis=1)).mean(1)
    return np.concatenate([x.mean(1), x.std(1), *quartiles, steps, *bands, alike / x.shape[1]], axis=1)


def of_audio(signal: Signal, recipe: Recipe, name: str) -> np.ndarray:
    """Waveforms to (b, features): statistics of each mel band over what was heard."""
    import torchaudio

    rate = recipe.readers()[name].rate  # pyright: ignore[reportAttributeAccessIssue]
    mel = torchaudio.transforms.MelSpectrogram(rate, n_fft=512, hop_length=rate // 100, n_mels=40)
    found = []
    lengths = [signal.values.shape[1]] * len(signal.values) if signal.length is None else signal.length.tolist()
    for wave, length in zip(signal.values, lengths, strict=True):
        bands = mel(wave[: max(length, 512)].flatten().float()).clamp_min(1e-8).log().numpy()
        found.append(np.concatenate([bands.mean(1), bands.std(1), bands.min(1), bands.max(1)]))
    return np.stack(found)


def of_video(signal: Signal) -> np.ndarray:
    """uint8 (b, t, c, h, w) to (b, features)."""
    import torch

    x = signal.values.float() / 255
    coarse = torch.nn.functional.adaptive_avg_pool2d(x.flatten(0, 1), GRID).unflatten(0, x.shape[:2])
    parts = [coarse.mean(1), coarse.std(1, correction=0)]
    if x.shape[1] > 1:
        change = x.diff(dim=1).abs()
        moved = torch.nn.functional.adaptive_avg_pool2d(change.flatten(0, 1), GRID).unflatten(0, change.shape[:2])
        parts += [moved.mean(1), moved.std(1, correction=0)]
    return torch.cat([part.flatten(1) for part in parts], 1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--modalities", type=listed, default=None)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=None)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    recipe = Recipe.load(arguments.recipe, arguments.overrides, arguments.modalities)
    manifest = open_data(arguments.data, list(recipe.columns), bad=1.0)
    rows = split(manifest, recipe.sections.data.holdout, tested=arguments.folds is None)
    recipe = fit(recipe, manifest.split(recipe.sections.data.holdout)[0], Path("."))
    clips = reading(recipe.build(), manifest, recipe.streams)
    features = {"imu": of_imu, "video": of_video, "audio": lambda signal: of_audio(signal, recipe, "audio")}
    names = [name for name in clips.readers if name in features]
    wanted = sorted({*rows.train.tolist(), *rows.test.tolist()})
    indices, found = [], {name: [] for name in names}
    for part in track(views(clips, wanted, 32, 1), "reading", total=-(-len(wanted) // 32), transient=True):
        if part.batch is not None:
            indices += part.indices
            for name in names:
                there = part.batch[name].present().numpy()
                values = features[name](part.batch[name]).astype(np.float32)
                found[name].append(np.where(there[:, None], values, np.nan))
    width = max(parts[0].shape[1] for parts in found.values())
    means = {name: padded(np.concatenate(parts), width) for name, parts in found.items()}
    frozen = FrozenFeatures(np.array(indices), means)
    folds = [rows] if arguments.folds is None else rows.folds(arguments.folds)
    probe = Probe({"simple": recipe.build()}, names, folds, "linear", arguments.seeds)
    results = probe.results({(kind, "simple"): frozen for kind in probe.kinds}, [])
    Console(width=150).print(table([majority(folds), *results], f"simple features, {arguments.data}"))


def padded(x: np.ndarray, width: int) -> np.ndarray:
    """The same features with columns of zeros, which say nothing, so that all streams are as wide."""
    return np.pad(x, [(0, 0), (0, width - x.shape[1])])


if __name__ == "__main__":
    main()
