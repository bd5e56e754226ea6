"""Training steps on one NVIDIA GPU, ours beside transformers' VideoMAE, interleaved in one process; at most 8 minutes.

    python benchmarks/gpu.py [--sizes base,small,large] [--json FILE] [--minutes 8]
    python benchmarks/gpu.py --device cpu --sizes tiny          whether it runs; no measurement

A step is forward, backward and fused AdamW under bfloat16 autocast, 16 frames of 224 x 224. Ours begins with uint8 on
the device and draws its mask in the step; transformers' (SDPA) begins with float pixels and a mask made beforehand.
MFU: three times the FLOPs of a recipe's own forward (torch.utils.flop_counter), over time, over the bf16 matrix rate
that is measured first. Peaks are those of a step with its model and optimizer.

Imports torch, transformers (with the YAML reader that it brings), einops, torchaudio and torch_geometric, nothing else:
recipes are read from configs/ without being checked.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that nothing need be installed
# ruff: noqa: E402

from fusion.masking.independent import Independent
from fusion.sizes import SIZES
from mmmae.model import MaskedAutoencoder
from mmmae.recipes.lookup import KINDS, defined, signature
from mmmae.training.efficiency import compile_model
from modalities.records import Batch, Signal

FRAMES = 16
ROOM = 0.35  # of the card's memory that a step may take
LARGEST = 256  # clips of a batch


def part(kind: str, use: str) -> type:
    """The class that `use` names, without a look at its neighbours."""
    package, inner, _ = KINDS[kind]
    return defined(kind, f"{package}.{use}{inner}")[0]


def recipe(name: str) -> dict[str, Any]:
    """A recipe of configs/ as it is written, over its base."""
    tree = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    return overlay(recipe(tree.pop("base")), tree) if "base" in tree else tree


def overlay(base: Any, top: Any) -> Any:
    """A recipe over its base: another `use` replaces a section whole."""
    if not (isinstance(base, dict) and isinstance(top, dict)) or top.get("use", base.get("use")) != base.get("use"):
        return top
    return base | {key: overlay(base.get(key), value) for key, value in top.items()}


def known(cls: type, settings: dict[str, Any] | None, *leave: str) -> dict[str, Any]:
    """The settings that a constructor knows."""
    given = {k: v for k, v in (settings or {}).items() if k in signature(cls) and k not in leave}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


def build(tree: dict[str, Any], size: str) -> MaskedAutoencoder:
    """What `Recipe.build` makes of a recipe at a size."""
    torch.manual_seed(0)
    numbers = [dict(zip(("width", "depth", "heads"), row, strict=True)) for row in SIZES[size]]
    kind = part("trunk", tree["trunk"]["use"])
    trunk = kind(list(tree["modalities"]), **known(kind, {**numbers[0], **tree["trunk"]}))
    tokenizers = {}
    for name, settings in tree["modalities"].items():
        cls = part("tokenizer", name)
        tokenizers[name] = cls(trunk.width, **known(cls, settings))
    maskings = {}
    for name, settings in tree["masking"].items():
        cls = part("masking", settings["use"])
        maskings[name] = cls(**known(cls, settings))
    objectives = {}
    for name, settings in tree["objectives"].items():
        cls, made = part("objective", name), {}
        if "decoder" in signature(cls):
            nested = settings.get("decoder", {"use": "joint"})
            decoder = part("decoder", nested["use"])
            made["decoder"] = partial(decoder, **known(decoder, {**numbers[1], **nested}))
        objectives[name] = cls(tokenizers, trunk.width, **known(cls, settings, "decoder"), **made)
    return MaskedAutoencoder(tokenizers, Independent(maskings=maskings), trunk, objectives)


def theirs(size: str, pixels: int) -> nn.Module:
    """VideoMAE of transformers, with its weights drawn by itself."""
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    torch.manual_seed(0)
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    encoder, decoder = SIZES[size]
    sizes = dict(zip(keys, encoder, strict=True)) | {f"decoder_{k}": n for k, n in zip(keys, decoder, strict=True)}
    sizes |= {"intermediate_size": 4 * encoder[0], "decoder_intermediate_size": 4 * decoder[0], "image_size": pixels}
    return VideoMAEForPreTraining(VideoMAEConfig(**sizes, use_mean_pooling=False, attn_implementation="sdpa"))


class Card:
    """The device that is measured, and how long there is left to do so."""

    def __init__(self, device: str, minutes: float):
        self.device, self.end = torch.device(device), time.monotonic() + 60 * minutes
        self.real = self.device.type == "cuda"
        self.pixels = 224 if self.real else 64

    def left(self) -> float:
        return self.end - time.monotonic()

    def seconds(self, work: Callable[[], Any], times: int) -> float:
        """What one call takes, by the device's own clock."""
        if not self.real:
            begin = time.perf_counter()
            for _ in range(times):
                work()
            return (time.perf_counter() - begin) / times
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(times):
            work()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000 / times

    def used(self) -> int:
        """Bytes in use; 0 where nobody counts."""
        return torch.cuda.memory_allocated() if self.real else 0

    def peak(self, work: Callable[[], Any]) -> int:
        """Bytes in use at most while it runs."""
        if not self.real:
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()

    def memory(self) -> int:
        return torch.cuda.get_device_properties(self.device).total_memory if self.real else 0

    def matrix_rate(self) -> float:
        """FLOP per second of a bfloat16 matrix product of random numbers."""
        n = 8192 if self.real else 256
        a, b = (torch.randn(n, n, device=self.device).bfloat16() for _ in range(2))
        for _ in range(3):
            a @ b
        return 2 * n**3 / statistics.median(self.seconds(lambda: a @ b, 10) for _ in range(5))


def stepper(card: Card, model: nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """One training step, as the trainer takes it."""
    decays = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decays, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), fused=True)

    def step() -> None:
        with torch.autocast(card.device.type, torch.bfloat16):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def ours_step(card: Card, name: str, size: str, batch: int, compiled: bool = False) -> Callable[[], None]:
    model = build(recipe(name), size).to(card.device)
    clips = clip(card, batch)
    if compiled:
        compile_model(model, whole=True)
    return stepper(card, model, lambda: model(clips).total)


def theirs_step(card: Card, size: str, batch: int) -> Callable[[], None]:
    model = theirs(size, card.pixels).to(card.device).train()
    pixels = torch.randn(batch, FRAMES, 3, card.pixels, card.pixels, device=card.device)
    places = (card.pixels // 16) ** 2
    masked = torch.rand(batch, places, device=card.device).argsort(1) < int(0.9 * places)
    masked = masked.repeat(1, FRAMES // 2)
    return stepper(card, model, lambda: model(pixels, bool_masked_pos=masked).loss)


def clip(card: Card, batch: int) -> Batch:
    values = torch.randint(0, 256, (batch, FRAMES, 3, card.pixels, card.pixels), dtype=torch.uint8, device=card.device)
    return Batch({"video": Signal(values)}, torch.arange(batch, device=card.device))


def flops(card: Card, name: str, size: str) -> float:
    """Of one clip's step: three times those of a forward."""
    model = build(recipe(name), size).to(card.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(clip(card, 1))
    return 3.0 * counter.get_total_flops()


def batch_size(card: Card, size: str) -> int:
    """A power of two of which both models' steps take a good part of the card."""
    if not card.real:
        return 2
    most = 1
    for make in (partial(ours_step, card, "videomae"), partial(theirs_step, card)):
        peaks = []
        for count in (4, 12):
            step = make(size, count)
            step()
            peaks.append(card.peak(step))
            del step
        most = max(most, (peaks[1] - peaks[0]) // 8)
    return max(1, min(LARGEST, 2 ** int(math.log2(ROOM * card.memory() / most))))


def measure(card: Card, size: str, rate: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Every contender of one size in turn, several rounds."""
    batch = batch_size(card, size)
    makes: dict[str, Callable[[], Callable[[], None]]] = {
        "transformers": partial(theirs_step, card, size, batch),
        "videomae": partial(ours_step, card, "videomae", size, batch),
        "videomae_v2": partial(ours_step, card, "videomae_v2", size, batch),
    }
    if (ROOT / "configs/fast.yaml").exists():
        makes["fast"] = partial(ours_step, card, "fast", size, batch)
    if card.real:
        makes["videomae compiled"] = partial(ours_step, card, "videomae", size, batch, True)
    steps, peaks, notes = {}, {}, {}
    for name, make in makes.items():
        if "compiled" in name and card.left() < 150:
            notes[name] = "not measured: no time was left to compile"
            continue
        begin, before = time.monotonic(), card.used()
        steps[name] = make()
        steps[name]()
        peaks[name] = card.peak(steps[name]) - before
        say(f"{size} {name}: first steps {time.monotonic() - begin:.1f} s")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(7 if card.real else 1):
        for name, step in steps.items():
            times[name].append(card.seconds(step, 3 if card.real else 1))
    found = {}
    for name, values in times.items():
        seconds, own = statistics.median(values), name.partition(" ")[0]
        row = {
            "seconds": seconds,
            "low": min(values),
            "high": max(values),
            "clips_per_second": batch / seconds,
            "times_transformers": statistics.median(times["transformers"]) / seconds,
            "peak_bytes": peaks[name],
        }
        if own != "transformers":
            done = flops(card, own, size) * batch / seconds
            row |= {"flops_per_second": done, "share_of_matrix_rate": done / rate}
        found[name] = row
    return {"batch": batch, "systems": found, "notes": notes}


def streams(card: Card, tree: dict[str, Any], times: int) -> Batch:
    """One sample of all four streams, `times` as long as the recipe's window."""
    made, window = {}, tree["window"] * times
    seconds = torch.full((1,), window, device=card.device)
    for name, s in tree["modalities"].items():
        if name == "video":
            shape = (1, s["frames"] * times, 3, card.pixels, card.pixels)
            values = torch.randint(0, 256, shape, dtype=torch.uint8, device=card.device)
        elif name == "audio":
            values = torch.randn(1, round(window * s["rate"]), device=card.device)
        elif name == "imu":
            steps = round(window * s["rate"]) // s["patch"] * s["patch"]
            values = torch.randn(1, steps, 3, s["channels"], device=card.device)
        else:
            values = torch.randint(0, s["words"], (1, s["length"] * times), device=card.device)
        made[name] = Signal(values, duration=seconds)
    return Batch(made, torch.arange(1, device=card.device))


def longest(card: Card, size: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The longest window of all four streams of which a step fits, by doubling and one step between."""
    tree = recipe("everything")
    model = build(tree, size).to(card.device)
    best: dict[str, Any] = {}

    def fits(times: int) -> bool:
        try:
            batch = streams(card, tree, times)
            step = stepper(card, model, lambda: model(batch).total)
            step()
            seconds = card.seconds(step, 1)
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            model.zero_grad()
            if card.real:
                torch.cuda.empty_cache()
        with torch.no_grad():
            patches = {name: model.tokenizers[name].cut(signal) for name, signal in batch.items()}
        tokens = {name: p.time.shape[1] for name, p in patches.items()}
        best.update(window=tree["window"] * times, tokens=sum(tokens.values()), by_stream=tokens, seconds=seconds)
        say(f"{size} joint: {sum(tokens.values())} patches ({best['window']:.1f} s): {seconds:.2f} s a step")
        return True

    times = 1
    while card.left() > 60 and times < (4096 if card.real else 2) and fits(times):
        times *= 2
    if card.real and card.left() > 60 and times > 2:
        fits(times * 3 // 4)
    return best


def table(found: dict[str, Any]) -> list[list[str]]:
    """What was found, in rows."""
    rows = [["size", "batch", "system", "ms a step", "clips/s", "TFLOP/s", "MFU", "x transformers", "peak GiB"]]
    for size, told in found["sizes"].items():
        for name, row in told["systems"].items():
            done, share = row.get("flops_per_second"), row.get("share_of_matrix_rate")
            rows.append([
                size, str(told["batch"]), name, f"{1000 * row['seconds']:.1f}", f"{row['clips_per_second']:.1f}",
                "" if done is None else f"{done / 1e12:.1f}", "" if share is None else f"{share:.1%}",
                f"{row['times_transformers']:.2f}", f"{row['peak_bytes'] / 2**30:.1f}",
            ])  # fmt: skip
        rows += [[size, str(told["batch"]), name, note, "", "", "", "", ""] for name, note in told["notes"].items()]
    return rows


def show(rows: list[list[str]]) -> None:
    """The rows as a table; in plain columns where rich is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
        return
    pretty = Table(*rows[0])
    for row in rows[1:]:
        pretty.add_row(*row)
    Console().print(pretty)


def main() -> None:
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--sizes", default="base,small,large", metavar="A,B")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.exit(
            2, "benchmarks/gpu.py: there is no NVIDIA GPU here; --device cpu --sizes tiny tells whether it runs\n"
        )
    if unknown := set(arguments.sizes.split(",")) - set(SIZES):
        parser.exit(2, f"benchmarks/gpu.py: --sizes {','.join(unknown)}: known are {', '.join(SIZES)}\n")
    card = Card(arguments.device, arguments.minutes - 0.3)
    torch.set_float32_matmul_precision("high")
    say = partial(print, file=sys.stderr, flush=True)
    name = torch.cuda.get_device_name() if card.real else platform.processor() or platform.machine()
    rate = card.matrix_rate()
    found: dict[str, Any] = {
        "device": name, "torch": torch.__version__, "measurement": card.real,
        "bf16_matrix_flops_per_second": rate, "sizes": {}, "longest": {},
    }  # fmt: skip
    print(f"{name}, torch {torch.__version__}: bf16 matrix products at {rate / 1e12:.3g} TFLOP/s")
    sizes = arguments.sizes.split(",")
    for number, size in enumerate(sizes):
        if card.real and card.left() < 60:
            say(f"{size}: not measured, no time is left")
            continue
        found["sizes"][size] = measure(card, size, rate, say)
        if number == 0:
            found["longest"] = {"size": size, **longest(card, size, say)}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    show(table(found))
    if found["longest"]:
        print("longest joint step of video, audio, IMU and text:", json.dumps(found["longest"]))
    if not card.real:
        print("this is no measurement: it only shows that the benchmark runs")


if __name__ == "__main__":
    main()
