"""VideoMAE at full size, ours beside transformers': the largest differences for random weights, one mask and one clip.

    python benchmarks/parity.py [--sizes small,base,large] [--json FILE]

The model of transformers is written to a folder and read back by `MaskedAutoencoder.from_pretrained`; gradients are
relative, |ours - theirs| / |theirs|, the worst of all parameters. `back`: whether writing it again returns every bit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from fusion.sizes import SIZES
from mmmae import MaskedAutoencoder
from mmmae.convert.layouts import TRANSFORMERS
from mmmae.convert.write import write
from modalities.records import Signal
from modalities.video.tokenizer import IMAGENET


def reference(size: str, seed: int = 0) -> VideoMAEForPreTraining:
    """A model of transformers in a size of the table; no bias or scale stays where it started."""
    torch.manual_seed(seed)
    encoder, decoder = SIZES[size]
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    sizes = dict(zip(keys, encoder, strict=True)) | {
        f"decoder_{key}": number for key, number in zip(keys, decoder, strict=True)
    }
    sizes |= {"intermediate_size": 4 * encoder[0], "decoder_intermediate_size": 4 * decoder[0]}
    model = VideoMAEForPreTraining(VideoMAEConfig(**sizes, use_mean_pooling=False))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def compare(size: str) -> dict[str, float | bool]:
    """The largest differences of one size at 16 frames of 224 x 224."""
    theirs = reference(size)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(Path(folder) / "theirs")
        ours = MaskedAutoencoder.from_pretrained(Path(folder) / "theirs")
        write(ours, "transformers", Path(folder) / "back")
        back = VideoMAEForPreTraining.from_pretrained(Path(folder) / "back").state_dict()
    same = all(torch.equal(tensor, back[name]) for name, tensor in theirs.state_dict().items())
    del back
    clip = torch.randint(0, 256, (1, 16, 3, 224, 224), dtype=torch.uint8)
    mean, std = (torch.tensor(row)[:, None, None] for row in IMAGENET)
    pixels = (clip.float() / 255 - mean) / std
    encoded = ours.encode_masked({"video": Signal(clip)})
    hidden = encoded.plans["video"].hidden
    masked = torch.zeros(1, 1568, dtype=torch.bool).scatter(1, hidden, True)
    with torch.no_grad():
        wanted = theirs.videomae(pixels, bool_masked_pos=masked).last_hidden_state
    features = float((encoded.tokens["video"].x.detach() - wanted).abs().max())
    said, loss = theirs(pixels, bool_masked_pos=masked).loss, ours({"video": Signal(clip)}).total
    said.backward()
    loss.backward()
    grads = {TRANSFORMERS.bare(name): p.grad for name, p in theirs.named_parameters()}
    relative = {}
    for name, parameter in ours.named_parameters():
        wanted = TRANSFORMERS.equation(name, "video").forth(grads)
        relative[name] = float((parameter.grad - wanted).norm() / wanted.norm())
    difference = (loss - said).abs().item()
    return {"loss": said.item(), "loss -": difference, "features -": features,
            "gradients -": max(relative.values()), "back": same}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="small,base,large")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found = {}
    for size in arguments.sizes.split(","):
        found[size] = compare(size)
        print(size, found[size], flush=True)
    table = Table("size", *next(iter(found.values())))
    for size, row in found.items():
        table.add_row(size, *(str(x) if isinstance(x, bool) else f"{x:.3g}" for x in row.values()))
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
