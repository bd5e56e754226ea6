"""Everything in a size that a test can afford: recipes, batches, tokenizers, and what can be done to them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mmmae import Recipe
from mmmae.api import MaskedAutoencoder
from mmmae.example import contents
from mmmae.objectives import Encoded
from mmmae.recipes import files as recipes
from mmmae.recipes.lookup import check, find, names, signature
from modalities.noise import sample_key
from modalities.records import Batch, Patches, Signal
from modalities.tokenizer import Tokenizer

WINDOW = 0.8
SHAPES: dict[str, dict[str, Any]] = {
    "video": {"frames": 4, "size": 32, "patch": 8},
    "audio": {},
    "imu": {"sensors": 3},
    "text": {"length": 8, "words": 50},
    "embedding": {"length": 6, "width": 8},
}
KINDS: dict[str, list[dict[str, Any]]] = {
    "video": [{}, {"tube": 1, "channels": 1}, {"predict": 1, "positions": "learned"}],
    "audio": [
        {"spectrum": "mel", "mels": 64, "patch": (8, 16)},
        {"spectrum": "fbank"},
        {"spectrum": "wave", "patch": (128, 1)},
    ],
    "imu": [
        *({"kind": kind, "patch": 8, "graph": graph} for kind in ("raw", "stft") for graph in (None, "gin", "gat")),
        {"apart": True, "graph": "gin"},
        {"apart": True, "kind": "stft", "patch": 8, "fft": 6, "hop": 1, "positions": "time"},
    ],
    "embedding": [{}, {"unit": True}],
}
FITTING: dict[str, list[str]] = {  # what else a recipe must change to fit the window of the tests
    "evi_mae": ["modalities.imu.patch=8"],
    "imu_video": ["modalities.imu.patch=8"],
}
JOINT = {"budget": ", tokens: 20"}
ASKING = ("reconstruction", "masked_language")
STREAMS = ("video", "audio", "imu", "text")

# Recipes, and the default one with each trunk, decoder, masking and objective of the house in turn.
SYSTEMS: dict[str, tuple[str, list[str]]] = {name: (name, []) for name in recipes.names()}
for use in names("trunk"):
    SYSTEMS[f"trunk {use}"] = ("default", [f"trunk.use={use}"])
for use in names("decoder"):
    SYSTEMS[f"decoder {use}"] = ("default", [f"objectives.{name}.decoder.use={use}" for name in ASKING])
for use in names("codes"):
    SYSTEMS[f"codes {use}"] = ("default", [f"objectives.{name}.codes.use={use}" for name in ASKING])
for use in names("masking"):
    hides = [f"masking.{name}={{use: {use}, ratio: 0.5}}" for name in STREAMS]
    if use == "target":
        continue
    if hint := find("masking", use, use).follows:  # which only a film comes with
        hides = [hides[0], f"modalities.video.hint={hint}"]
    SYSTEMS[f"masking {use}"] = ("default", hides)
for use in sorted(set(names("joint masking")) - {"independent"}):  # which recipes write as one masking for each stream
    SYSTEMS[f"masking {use}"] = ("default", [f"masking={{use: {use}{JOINT.get(use, '')}}}"])
for use in names("objective"):
    if use not in Recipe.load("default").tree["objectives"]:
        SYSTEMS[f"objective {use}"] = ("default", [f"objectives.{use}.weight=1.0"])
SYSTEMS |= {
    "codes by gradient": (
        "default",
        [
            "objectives.reconstruction.codes={use: vector_quantised, update: gradient, entries: 16, width: 8}",
            "objectives.masked_language=null",
            "masking.imu.use=target",
        ],
    ),
    "codes of a diffusion": ("diff_mae", ["objectives.diffusion.codes={use: resampled, tokens: 5}"]),
    "masking target": ("default", ["masking.imu={use: target}", "objectives.matching.weight=1.0"]),
    "masking ratio 1": ("default", ["masking.video.ratio=1.0", "masking.text.ratio=[0.2, 1]", "trunk.use=separate"]),
    "masking complement": ("default", ["masking={use: synchronous, mode: complement}"]),
    "objective ntxent": ("default", ["objectives.contrastive.kind=ntxent"]),
    "objective sigmoid": ("default", ["objectives.contrastive={kind: sigmoid, learnable: true}"]),
    "objective predict": ("default", [f"objectives.{name}.predict=0.4" for name in ASKING]),
    "objective n1": ("default", ["objectives.reconstruction.normalise=patch_channel"]),
    "objective n2": ("default", ["objectives.reconstruction.normalise=patch"]),
    "masked matching": ("default", ["objectives.matching={masked: true, swap: text}"]),
    "masking adaptive": (
        "default",
        [*(f"masking.{name}={{use: adaptive, ratio: 0.5}}" for name in STREAMS), "objectives.mask_policy.weight=1.0"],
    ),
    "objective mask_policy": ("default", ["masking.video.use=adaptive", "objectives.mask_policy.weight=1.0"]),
    "masking text_guided": (
        "default",
        ["masking={use: text_guided, hide: imu, guide: audio, others: 0.3}", "objectives.mask_guidance.weight=1.0"],
    ),
    "objective mask_guidance": (
        "default",
        ["masking={use: text_guided, others: 0.5}", "objectives.mask_guidance.weight=1.0"],
    ),
    "sparse tokens": ("default", ["trunk={use: branches, keep: 0.6, drops: 2}"]),
    "inpainting": ("default", ["objectives.reconstruction={inpaint: true, decoder: {use: cross, together: true}}"]),
    "ancestral sampling": (
        "default",
        ["objectives.diffusion={schedule: cosine, eta: 1.0, strides: 3, predict: 0.5, decoder: {use: separate}}"],
    ),
    "momentum contrast": (
        "default",
        ["objectives.contrastive={queue: 8, teacher: {use: ema}, head: {hidden: [24], norm: batch, out: 16}}"],
    ),
    "frozen teacher": (
        "default",
        ["objectives.distillation={teacher: {use: frozen, run: TEACHER}, pooled: 0.5}"],
    ),
    "distillation of all": (
        "default",
        ["objectives.distillation={places: all, distance: mse, pooled: 0.5, head: {hidden: [16], norm: layer}}"],
    ),
    "norms per modality": ("default", ["trunk.use=branches", "trunk.norms=per_modality"]),
    "graph attention": ("default", ["modalities.imu.graph=gat", "modalities.imu.kind=stft", "modalities.imu.patch=8"]),
}


def tiny(name: str, overrides: Sequence[str] = (), modalities: Sequence[str] | None = None) -> Recipe:
    """A recipe of the house shrunk to shapes of a test; TEACHER in an override is the folder of a finished run."""
    overrides = [change.replace("TEACHER", teacher()) if "TEACHER" in change else change for change in overrides]
    recipe = Recipe.load(name, overrides=[], modalities=modalities)
    streams = {name: stream.use for name in recipe.streams if not (stream := recipe.stream(name)).share}
    shapes = [f"modalities.{name}.{k}={v}" for name, use in streams.items() for k, v in SHAPES.get(use, {}).items()]
    shapes += [change for change in FITTING.get(name, []) if change.split(".")[1] in streams]
    return Recipe.load(name, ["size=tiny", f"window={WINDOW}", *shapes, *overrides], modalities)


def system(name: str) -> tuple[MaskedAutoencoder, Batch]:
    """The model of one of SYSTEMS and a ragged batch for it; tests leave both as they are."""
    recipe = tiny(*SYSTEMS[name])
    return recipe.build(), recipe.example(batch_size=3, seed=1, ragged=True)


def keys(count: int, seed: int = 0) -> torch.Tensor:
    """The keys of the first samples of an epoch."""
    return torch.tensor([sample_key(seed, 0, index) for index in range(count)])


def tokenizers() -> list[tuple[str, dict[str, Any]]]:
    """Every tokenizer of the house, in each of its kinds, with settings of reader and tokenizer."""
    return [(name, SHAPES.get(name, {}) | kind) for name in names("tokenizer") for kind in KINDS.get(name, [{}])]


def make_tokenizer(name: str, settings: Mapping[str, Any], dim: int = 32) -> Tokenizer:
    cls = find("tokenizer", name, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return cls(dim, **check(cls, {k: v for k, v in settings.items() if k in signature(cls)}, name))


def record(name: str, settings: Mapping[str, Any], tokenizer: Tokenizer, batch: int, seed: int, ragged: bool) -> Signal:
    """A signal of the shape that the modality's reader gives; ragged ones are short, have gaps, and one is absent."""
    cls = find("reader", name, name)
    reader = cls(**check(cls, {k: v for k, v in settings.items() if k in signature(cls)}, name))
    blank = reader.blank(WINDOW)
    generator = torch.Generator().manual_seed(seed)
    values = torch.stack([contents(blank.values, tokenizer, generator) for _ in range(batch)])
    signal = Signal(values, duration=torch.full((batch,), WINDOW))
    if not ragged:
        return signal
    length = torch.randint(1, values.shape[1] + 1, (batch,), generator=generator)
    length[-1] = 0
    if blank.observed is None:
        return replace(signal, length=length)
    gaps = torch.rand(batch, *blank.observed.shape, generator=generator) < 0.02
    parts = blank.observed.shape[1]
    edges = (torch.rand(batch, parts, parts, generator=generator) < 0.7).float()
    return replace(signal, length=length, observed=~gaps, edges=edges.maximum(edges.mT))


def beyond(signal: Signal) -> torch.Tensor:
    """Which entries of a signal's values are padding or gaps."""
    steps = torch.arange(signal.values.shape[1])
    length = torch.full((len(signal.values),), len(steps)) if signal.length is None else signal.length
    outside = (steps >= length[:, None]).reshape(len(length), len(steps), *[1] * (signal.values.ndim - 2))
    if signal.observed is not None:
        outside = outside | ~signal.observed
    return outside.expand_as(signal.values)


def with_garbage(signal: Signal) -> Signal:
    """The same signal with garbage wherever nothing is meant to be."""
    garbage = torch.full_like(signal.values, torch.nan if signal.values.is_floating_point() else 7)
    return replace(signal, values=torch.where(beyond(signal), garbage, signal.values))


def sample(signal: Signal, index: int, steps: int | None = None, keeps_time: bool = False) -> Signal:
    """One sample of a signal as a batch of its own, its first `steps` steps only and then no padding."""
    one = signal.map(lambda x: x[index : index + 1])
    if steps is None:
        return one
    share = 1.0 if keeps_time else steps / signal.values.shape[1]
    per_step = {name: None if (x := getattr(one, name)) is None else x[:, :steps] for name in ("observed", "hint")}
    return replace(one, values=one.values[:, :steps], length=None, duration=one.seconds() * share, **per_step)


def poisoned(patches: Patches, keep: torch.Tensor) -> Patches:
    """The patches with other contents, of the same kind, wherever `keep` (b, n) is false."""
    other = patches.values.flip(0, 1).roll(1, 2)
    other = (other + 1) % 50 if other.shape[-1] == 1 else 255 - other if other.dtype == torch.uint8 else 3 - 2 * other
    return replace(patches, values=torch.where(keep[..., None], patches.values, other))


def chosen(index: torch.Tensor, filled: torch.Tensor | None, n: int) -> torch.Tensor:
    """The patches that a plan's slots name, as a mask (b, n); every patch at most once."""
    filled = torch.ones_like(index, dtype=torch.bool) if filled is None else filled
    count = torch.zeros(len(index), n, dtype=torch.long).scatter_add(1, index, filled.long())
    assert count.max() <= 1, "a patch stands in two slots"
    return count.bool()


def poison(encoded: Encoded, model: MaskedAutoencoder) -> Encoded:
    """The batch as it would be encoded if every patch that is not visible held something else."""
    patches = {
        name: poisoned(p, chosen(encoded.plans[name].visible, encoded.plans[name].visible_valid, p.time.shape[1]))
        for name, p in encoded.patches.items()
    }
    embedded = {
        name: model.tokenizers[name].embed(patches[name], plan.visible, plan.visible_valid)
        for name, plan in encoded.plans.items()
    }
    return replace(encoded, patches=patches, embedded=embedded, tokens=model.trunk(embedded))


@lru_cache(maxsize=1)
def teacher() -> str:
    """The folder of a tiny model that was trained before, narrower than its students and with fewer streams."""
    folder = Path(tempfile.mkdtemp(prefix="mmmae-teacher-")) / "run"
    tiny("default", ["trunk.width=32", "trunk.depth=1", "trunk.heads=2"], STREAMS[:3]).build(7).save_pretrained(folder)
    return str(folder)


@lru_cache(maxsize=1)
def bert() -> str:
    """The folder of a tiny text encoder with random weights."""
    from transformers import BertConfig, BertModel

    folder = Path(tempfile.mkdtemp(prefix="mmmae-bert-"))
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return str(folder)
