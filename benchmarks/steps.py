"""One training step, or one pass of the encoder, of our recipes beside transformers' VideoMAE, interleaved.

    python benchmarks/steps.py [--sizes base] [--precisions no,bf16] [--recipes videomae,fast] [--what encode]

All stand in one process and take turns, so that a busy machine slows all of them; the figures are medians over the
rounds (timeit), and quartiles; a ratio is taken in each round. A step is forward, backward and fused
AdamW on 16 frames of 224 x 224 pixels that are there already: ours begins with uint8 and standardises what it needs,
transformers' with standardised float32. Recipes of other streams have nothing to stand beside and show their own times.
`--what encode` hides nothing and takes no gradient. `--what memory` starts a process for each model and tells the most
that it held above what it held before the model was built (weights, gradients and moments included).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from timeit import timeit

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from fusion.sizes import SIZES
from mmmae import Recipe
from mmmae.training.optim import adamw

THEIRS = "transformers"
Step = Callable[[], object]
Cast = Callable[[], AbstractContextManager]


def transformers(size: str, batch: int, encode: bool, cast: Cast) -> Step:
    """A step of VideoMAEForPreTraining (SDPA) in a size of the table."""
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    encoder, decoder = SIZES[size]
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    sizes = dict(zip(keys, encoder, strict=True)) | {f"decoder_{k}": n for k, n in zip(keys, decoder, strict=True)}
    sizes |= {"intermediate_size": 4 * encoder[0], "decoder_intermediate_size": 4 * decoder[0]}
    config = VideoMAEConfig(**sizes, use_mean_pooling=False, attn_implementation="sdpa")
    model = VideoMAEForPreTraining(config)
    pixels = torch.randn(batch, 16, 3, 224, 224)
    hidden = (torch.rand(196).argsort() < 176).repeat(8).expand(batch, -1)
    if encode:
        return lambda: looked(lambda: model.videomae(pixels).last_hidden_state, cast)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    return lambda: stepped(lambda: model(pixels, bool_masked_pos=hidden).loss, optimizer, cast)


def ours(name: str, size: str, batch: int, encode: bool, cast: Cast) -> Step:
    """A step of a recipe."""
    recipe = Recipe.load(name, [f"size={size}"], None)
    model = recipe.build(0)
    example = recipe.example(batch)
    if encode:
        return lambda: looked(lambda: model.encode(example), cast)
    optimizer = adamw(model, recipe.sections.optimizer)
    return lambda: stepped(lambda: model(example).total, optimizer, cast)


def stepped(loss: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer, cast: Cast) -> None:
    """Forward in the precision asked for, then what follows it."""
    with cast():
        value = loss()
    value.backward()
    optimizer.step()
    optimizer.zero_grad()


def looked(encode: Callable[[], object], cast: Cast) -> None:
    """One pass without gradients."""
    with torch.inference_mode(), cast():
        encode()


def built(name: str, size: str, precision: str, batch: int, encode: bool) -> Step:
    """What is timed."""
    torch.manual_seed(0)
    cast: Cast = partial(torch.autocast, "cpu", torch.bfloat16) if precision == "bf16" else nullcontext
    return transformers(size, batch, encode, cast) if name == THEIRS else ours(name, size, batch, encode, cast)


def timed(names: list[str], size: str, precision: str, batch: int, encode: bool, rounds: int) -> dict[str, list[float]]:
    """Seconds of each model in every round, after one that does not count."""
    steps = {name: built(name, size, precision, batch, encode) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name, step in steps.items():
            seconds = timeit(step, number=1)
            if number:
                found[name].append(seconds)
    return found


def peak(name: str, size: str, precision: str, batch: int) -> float:
    """Bytes held at most during two steps above those before the model was built; in a process of its own."""
    me, most, done = psutil.Process(), 0, threading.Event()
    before = me.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, me.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    timed([name], size, precision, batch, False, 1)
    done.set()
    watcher.join()
    return float(most - before)


def alone(name: str, size: str, precision: str, batch: int) -> float:
    """`peak`, asked of a new process."""
    options = ["--alone", name, "--sizes", size, "--precisions", precision, "--batch-size", str(batch)]
    said = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True).stdout
    return float(said.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="base")
    parser.add_argument("--precisions", default="no,bf16")
    parser.add_argument("--recipes", default="videomae,videomae_v2,fast")
    parser.add_argument("--what", choices=["train", "encode", "memory"], default="train")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="is added to where it exists")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="of all that the JSON file holds")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes, precisions = arguments.sizes.split(","), arguments.precisions.split(",")
    if arguments.alone:
        print(peak(arguments.alone, sizes[0], precisions[0], arguments.batch_size))
        return
    recipes = arguments.recipes.split(",")
    names = [THEIRS, *recipes] if any("video" in Recipe.load(name).streams for name in recipes) else recipes
    table = Table("size", "precision", "model", "GB" if arguments.what == "memory" else "seconds", "quartiles", "ratio")
    rows = []
    for size in sizes:
        for precision in precisions:
            if arguments.what == "memory":
                found = {name: [alone(name, size, precision, arguments.batch_size) / 1e9] for name in names}
            else:
                encode = arguments.what == "encode"
                found = timed(names, size, precision, arguments.batch_size, encode, arguments.rounds)
            for name, values in found.items():
                low, median, high = np.percentile(values, [25, 50, 75])
                ratio = [a / b for a, b in zip(found[THEIRS], values, strict=True)] if THEIRS in found else [np.nan]
                row = {"what": arguments.what, "size": size, "precision": precision, "batch": arguments.batch_size,
                       "model": name, "values": values, "median": median, "ratio": float(np.median(ratio)),
                       "ratio_quartiles": np.percentile(ratio, [25, 75]).tolist()}  # fmt: skip
                rows.append(row)
                spread = f"{row['ratio_quartiles'][0]:.2f}-{row['ratio_quartiles'][1]:.2f}"
                shown = "" if THEIRS not in found else f"{row['ratio']:.2f} ({spread})"
                table.add_row(size, precision, name, f"{median:.3g}", f"{low:.3g}-{high:.3g}", shown)
                print(json.dumps(row), flush=True)
    Console().print(table)
    if arguments.json:
        rows = [*(json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else []), *rows]
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    if arguments.plot:
        draw([row for row in rows if row["what"] == "train" and row["model"] != THEIRS], arguments.plot)


def draw(rows: list[dict], path: Path) -> None:
    """How many steps each recipe makes while transformers makes one, by size and precision."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    places = list(dict.fromkeys((row["size"], row["precision"]) for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    for number, model in enumerate(models):
        mine = {(row["size"], row["precision"]): row for row in rows if row["model"] == model}
        at = [
            n + (number - (len(models) - 1) / 2) * 0.8 / len(models) for n, place in enumerate(places) if place in mine
        ]
        ratios = [mine[place]["ratio"] for place in places if place in mine]
        ends = np.array([mine[place]["ratio_quartiles"] for place in places if place in mine]).T
        spread = np.abs(ends - ratios)
        axes.bar(at, ratios, 0.8 / len(models), yerr=spread, label=model, error_kw={"elinewidth": 0.8})
    axes.axhline(1, color="0.4", linewidth=0.8)
    names = [f"{size}, {'float32' if precision == 'no' else precision}" for size, precision in places]
    axes.set(xticks=range(len(places)), xticklabels=names, ylabel="steps per step of transformers")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
