"""`mmmae export`: the encoder of a run as one file, for torch without mmmae (`.pt2`) or for ONNX Runtime."""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from modalities.errors import InputError
from modalities.records import Signal
from modalities.shapes import Tensor

if TYPE_CHECKING:
    from mmmae.api import MaskedAutoencoder

OPSET = 18  # of the ONNX files: the first in which its exporter writes by itself
KINDS = ("onnx", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", type=Path, metavar="CHECKPOINT", help="a run, one of its checkpoints, or a saved model")
    add("--to", required=True, choices=KINDS, help=f"ONNX (opset {OPSET}), or a program of torch.export")
    add(
        "--out", type=Path, required=True, metavar="FILE", help="the file to write, such as encoder.onnx or encoder.pt2"
    )
    add("--modalities", metavar="A,B", help="streams that the encoder takes (default: all of the run)")


def run(arguments: argparse.Namespace) -> int:
    """Write the encoder and print its inputs and outputs.

    Raises:
        InputError: there is no such run or stream, or the package that writes ONNX is missing.
    """
    from mmmae.launch import listed

    about = export(arguments.run, arguments.out, to=arguments.to, modalities=listed(arguments.modalities))
    for way in ("inputs", "outputs"):
        print(f"{way}:")
        for name, what in about[way].items():
            print(f"  {name:20} {what['dtype']:8} ({', '.join(map(str, what['shape']))})  {what['holds']}")
    print(f"wrote {arguments.out}")
    return 0


class Encoder(nn.Module):
    """The exported module: maps the values of each stream to tokens and their mean, every step valid, nothing hidden.

    seconds, lags: of the window of each stream, as the recipe has them.
    """

    def __init__(self, model: MaskedAutoencoder, seconds: Mapping[str, float], lags: Mapping[str, float]):
        super().__init__()
        self.model, self.seconds, self.lags = model, dict(seconds), dict(lags)

    def forward(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        signals = {}
        for name, x in values.items():
            seconds = torch.full((x.shape[0],), self.seconds[name], device=x.device)
            lag = torch.full_like(seconds, self.lags[name]) if name in self.lags else None
            signals[name] = Signal(x, duration=seconds, lag=lag)
        made = {}
        for name, tokens in self.model.encode(signals).items():
            made[f"{name}_tokens"], made[f"{name}_features"] = tokens.x, tokens.mean()
        return made


def export(
    source: MaskedAutoencoder | str | Path, path: str | Path, *, to: str = "onnx", modalities: Any = None
) -> dict[str, Any]:
    """Write the encoder of a model to a file and return what goes in and comes out of it.

    source: a model, or the folder of a run. to: `onnx` or `torch`. modalities: names of the streams that the encoder
    takes; all of the model by default. The batch size is free, other sizes are those of the recipe.

    Raises:
        InputError: there is no such run or stream, or the package that writes ONNX is missing.
    """
    if to not in KINDS:
        raise InputError(f"to={to!r}: expected one of {', '.join(KINDS)}")
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}\n  make it first")
    model = opened(source)
    encoder, example = encoding(model, modalities)
    program = traced(encoder, example)
    with torch.no_grad():
        made = encoder(example)
    about = described(model, example, made)
    write_onnx(program, path, about) if to == "onnx" else write_torch(program, path, about)
    return about


def opened(source: MaskedAutoencoder | str | Path) -> MaskedAutoencoder:
    """The model, in the mode and on the device in which it is exported; one that is given stays as it is."""
    from copy import deepcopy

    from mmmae.api import MaskedAutoencoder

    model = MaskedAutoencoder.from_pretrained(source) if isinstance(source, (str, Path)) else deepcopy(source)
    return model.cpu().float().eval()


def encoding(model: MaskedAutoencoder, modalities: Any) -> tuple[Encoder, dict[str, Tensor]]:
    """The encoder of some streams and an example of its inputs.

    Raises:
        InputError: the model has no such stream.
    """
    batch = model.recipe.example(batch_size=2)
    names = list(modalities or batch)
    if unknown := [name for name in names if name not in batch]:
        raise InputError(f"{unknown[0]}: the model has no such stream\n  it has {', '.join(batch)}")
    signals = {name: batch[name] for name in batch if name in names}
    seconds = {name: float(signal.seconds()[0]) for name, signal in signals.items()}
    lags = {name: float(signal.lag[0]) for name, signal in signals.items() if signal.lag is not None}
    return Encoder(model, seconds, lags), {name: signal.values for name, signal in signals.items()}


def traced(encoder: Encoder, example: Mapping[str, Tensor]) -> Any:
    """The program that the encoder runs, for any batch size."""
    batch = torch.export.Dim("batch", min=1)
    shapes = {"values": {name: {0: batch} for name in example}}
    with torch.no_grad():
        return torch.export.export(encoder, (dict(example),), dynamic_shapes=shapes)


def described(model: MaskedAutoencoder, given: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> dict[str, Any]:
    """Names, types and shapes of inputs and outputs, and what they hold."""

    def entry(x: Tensor, holds: str) -> dict[str, Any]:
        return {"dtype": str(x.dtype).removeprefix("torch."), "shape": ["batch", *x.shape[1:]], "holds": holds}

    holds = {"tokens": "one vector for each patch", "features": "their mean"}
    return {
        "inputs": {name: entry(x, model.tokenizers[name].expected) for name, x in given.items()},
        "outputs": {name: entry(x, holds[name.rpartition("_")[2]]) for name, x in made.items()},
    }


def write_torch(program: Any, path: Path, about: Mapping[str, Any]) -> None:
    """A program that `torch.export.load` reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of weights on a device: these are in main memory
        torch.export.save(program, path, extra_files={"mmmae.json": json.dumps(about)})


def promoted(program: Any) -> Any:
    """The program with whole numbers that meet floats written as floats, which ONNX's exporter fails to do for some."""
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target) in ("aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor"):
            x, y = node.args[:2]
            if node.meta["val"].is_floating_point() and type(y) is int:
                node.args = (x, float(y), *node.args[2:])
    return program


def write_onnx(program: Any, path: Path, about: Mapping[str, Any]) -> None:
    """An ONNX file with its weights inside.

    Raises:
        InputError: the package that writes it is missing.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{path}: writing ONNX needs onnxscript\n  pip install 'mmmae[export]'") from error
    shapes = {"values": {name: {0: "batch"} for name in about["inputs"]}}
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)  # it warns of packages that no part of the program needs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = torch.onnx.export(
                promoted(program), dynamo=True, opset_version=OPSET, verbose=False, dynamic_shapes=shapes,
                input_names=list(about["inputs"]), output_names=list(about["outputs"]),
            )  # fmt: skip
    finally:
        noisy.setLevel(level)
    assert written is not None
    written.model.metadata_props["mmmae"] = json.dumps(about)
    written.save(path, external_data=False)
