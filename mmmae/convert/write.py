"""From a model of ours to a checkpoint that others load."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file

from fusion.blocks import EPS
from fusion.decoders.joint import Joint
from fusion.trunks.separate import Separate
from mmmae.api import MaskedAutoencoder
from mmmae.convert.anatomy import DECODER
from mmmae.convert.files import CONFIG, WEIGHTS
from mmmae.convert.layouts import LAYOUTS, PRETEXT, TRANSFORMERS
from mmmae.native_logs import quiet
from mmmae.objectives.reconstruction import Reconstruction
from modalities.errors import InputError
from modalities.shapes import Tensor
from modalities.video.tokenizer import IMAGENET, VideoTokenizer

CHECKPOINT = "checkpoint.pth"


def write(model: MaskedAutoencoder, to: str, folder: Path, *, encoder: bool = False) -> None:
    """Write a model to a new folder that appears whole.

    Args:
        to: `mmmae` (weights and recipe), `videomae` (its authors' checkpoint) or `transformers` (what its
            from_pretrained loads; this is tried before the folder appears).
        encoder: leave out the decoder: VideoMAEModel, or the authors' fine-tuning layout.

    Raises:
        InputError: the folder is not empty; the model is no VideoMAE; the installed transformers does not read it back.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already\n  choose another --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as draft:
        inside = Path(draft) / "draft"
        writers: dict[str, Callable[[Path], None]] = {
            "mmmae": model.save_pretrained,
            "videomae": partial(write_videomae, model, encoder),
            "transformers": partial(write_transformers, model, encoder),
        }
        writers[to](inside)
        if folder.exists():
            folder.rmdir()
        shutil.move(inside, folder)


def write_videomae(model: MaskedAutoencoder, encoder: bool, folder: Path) -> None:
    """The authors' checkpoint."""
    weights = renamed(model, "videomae", encoder)
    folder.mkdir()
    torch.save({"model": weights}, folder / CHECKPOINT)


def write_transformers(model: MaskedAutoencoder, encoder: bool, folder: Path) -> None:
    """Weights and config.json, loaded once by the installed transformers to see that nothing is lost."""
    weights = renamed(model, "transformers", encoder)
    folder.mkdir()
    save_file(weights, folder / WEIGHTS[0], metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config(model, encoder), indent=2) + "\n", encoding="utf-8")
    if lost := misread(folder, weights):
        import transformers

        raise InputError(
            f"transformers {transformers.__version__} would not load this model as it is\n"
            f"  {lost}; install another release of it"
        )


def misread(folder: Path, weights: Mapping[str, Tensor]) -> str | None:
    """What the installed transformers makes of a folder that differs from what was written; None if nothing does.

    Some releases dropped the biases of queries and values without an error.
    """
    import transformers

    architecture = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["architectures"][0]
    with quiet():
        read, info = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    faults = [f"{kind} {sorted(map(str, names))}" for kind, names in info.items() if names]
    got = {TRANSFORMERS.bare(name): tensor for name, tensor in read.state_dict().items()}
    lost = [name for name, tensor in weights.items() if not same(got.get(TRANSFORMERS.bare(name)), tensor)]
    return "; ".join([*faults, *([f"changed {lost}"] if lost else [])]) or None


def same(one: Tensor | None, other: Tensor) -> bool:
    """Whether a tensor is there with the other's bits."""
    return one is not None and torch.equal(one, other)


def renamed(model: MaskedAutoencoder, to: str, encoder: bool) -> dict[str, Tensor]:
    """Weights by the names of another layout.

    Raises:
        InputError: the model computes something that VideoMAE does not.
    """
    stream, layout = stream_of(model), LAYOUTS[to]
    tokenizer = cast("VideoTokenizer", model.tokenizers[stream])
    tube = {"t": tokenizer.tube, "h": tokenizer.patch, "w": tokenizer.patch}
    weights, foreign = {}, []
    for ours, tensor in model.state_dict().items():
        equation = layout.equation(ours, stream)
        if equation is None:
            foreign.append(ours)
        elif not (encoder and equation.theirs[0].startswith(PRETEXT)):
            weights |= equation.back(tensor, tube)
    obstacles = encoder_obstacles(model, stream)
    if not encoder:
        obstacles += decoder_obstacles(model, stream)
        obstacles += [f"it has tensors that VideoMAE lacks: {', '.join(foreign)}"] if foreign else []
    if obstacles:
        raise InputError("this model is no VideoMAE\n  " + "; ".join(obstacles))
    return {layout.written(name, encoder): tensor for name, tensor in weights.items()}


def stream_of(model: MaskedAutoencoder) -> str:
    """The stream that is cut into tubes."""
    found = [name for name, tokenizer in model.tokenizers.items() if isinstance(tokenizer, VideoTokenizer)]
    if len(found) != 1:
        raise InputError(f"VideoMAE sees one stream of video, this model has {found or list(model.tokenizers)}")
    return found[0]


def encoder_obstacles(model: MaskedAutoencoder, stream: str) -> list[str]:
    """Differences of an encoder from VideoMAE's."""
    tokenizer = cast("VideoTokenizer", model.tokenizers[stream])
    checks = [
        (isinstance(model.trunk, Separate) and stream not in model.trunk.within, "its trunk is not `separate`"),
        (tokenizer.positions.kind == "flat", f"modalities.{stream}.positions is not `flat`"),
        (tokenizer.range is None, f"modalities.{stream}.range makes it a stream of measurements"),
        (standard(tokenizer), f"modalities.{stream} has a mean and std of its own"),
    ]
    return [text for holds, text in checks if not holds]


def decoder_obstacles(model: MaskedAutoencoder, stream: str) -> list[str]:
    """Differences of the objective from VideoMAE's."""
    tokenizer = cast("VideoTokenizer", model.tokenizers[stream])
    asks = dict(model.objectives.items()).get("reconstruction")
    if not isinstance(asks, Reconstruction) or not isinstance(asks.decoder, Joint):
        return ["it has no reconstruction with a `joint` decoder"]
    checks = [
        (len(model.tokenizers) == 1, "it has other streams"),
        (tokenizer.predict == tokenizer.tube, f"modalities.{stream}.predict leaves out frames"),
        (asks.norms[stream] == "patch_channel", "objectives.reconstruction.normalise is not `patch_channel`"),
        (asks.decoder.ends.positions.kind == "flat", "the decoder's positions are not `flat`"),
    ]
    return [text for holds, text in checks if not holds]


def standard(tokenizer: VideoTokenizer) -> bool:
    """Whether pixels are standardised as transformers and the authors do."""
    if tokenizer.channels != 3:
        return True
    mean, std = (torch.tensor(row, device=tokenizer.mean.device) for row in IMAGENET)
    return tokenizer.mean[:3].equal(mean) and tokenizer.std[:3].equal(std)


def config(model: MaskedAutoencoder, encoder: bool) -> dict[str, Any]:
    """transformers' config.json."""
    stream = stream_of(model)
    tokenizer: Any = model.tokenizers[stream]
    reader: Any = model.recipe.readers()[stream]
    stack: Any = model.get_submodule(f"trunk.stacks.{stream}")
    found = {
        "architectures": ["VideoMAEModel" if encoder else "VideoMAEForPreTraining"],
        "model_type": "videomae",
        "num_frames": reader.frames,
        "image_size": reader.height if reader.height == reader.width else [reader.height, reader.width],
        "num_channels": tokenizer.channels,
        "patch_size": tokenizer.patch,
        "tubelet_size": tokenizer.tube,
        **sizes(stack, ""),
        "hidden_act": "gelu",
        "layer_norm_eps": EPS,
        "qkv_bias": True,
        "use_mean_pooling": not list(stack.norm.parameters()),
        "norm_pix_loss": True,
        "dtype": "float32",
    }
    return found if encoder else found | sizes(model.get_submodule(f"{DECODER}.stack"), "decoder_")


def sizes(stack: Any, prefix: str) -> dict[str, int]:
    """The entries of config.json for a stack of blocks."""
    width = len(stack.blocks[0].norm1.weight)
    return {
        f"{prefix}hidden_size": width,
        f"{prefix}num_hidden_layers": len(stack.blocks),
        f"{prefix}num_attention_heads": stack.blocks[0].attention.heads,
        f"{prefix}intermediate_size": len(stack.blocks[0].mlp[0].bias),
    }
