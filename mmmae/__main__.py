"""Pretrain and use masked autoencoders of video, audio, IMU and text."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from mmmae import __version__
from mmmae.launch import guarded, leave

# command: (module with add_arguments and run, what it does); modules are imported when their command is used
COMMANDS = {
    "inspect": ("mmmae.commands.inspect_", "pictures of what readers, tokenizers and a model make of files"),
    "check": ("mmmae.commands.check", "read a whole manifest as training would and report every bad sample"),
    "embed": ("mmmae.commands.embed", "write an embedding of every segment of recordings, to train on in turn"),
    "probe": ("mmmae.commands.probe", "classify recordings by the frozen features of a checkpoint"),
    "predict": ("mmmae.commands.predict", "the label of each recording by the classifier that a run was trained with"),
    "retrieve": ("mmmae.commands.retrieve", "find one stream of a recording by another among all recordings"),
    "convert": ("mmmae.commands.convert", "load VideoMAE's weights from others' layouts, and write them back"),
    "export": ("mmmae.commands.export", "write the encoder of a run as an ONNX file or a program of torch.export"),
    "doctor": ("mmmae.commands.doctor", "exercise every dependency and report what is broken and how to repair it"),
    "recipes": ("mmmae.commands.recipes", "a table of the recipes"),
    "corpus": ("mmmae.commands.corpus", "write a corpus from an installed package"),
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["train"]:  # its overrides mingle with flags, which subcommands of argparse cannot do
        from mmmae.train import main as train

        return train(argv[1:])
    lines = [f"  {name:9} {text}" for name, (_, text) in {"train": ("", "pretrain a model"), **COMMANDS}.items()]
    parser = argparse.ArgumentParser(
        prog="mmmae", description=__doc__, usage="mmmae COMMAND ...", epilog="commands:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("command", choices=["train", *COMMANDS], metavar="COMMAND", help="one of those below")
    command = parser.parse_args(argv[:1]).command
    module, text = COMMANDS[command]
    own = argparse.ArgumentParser(prog=f"mmmae {command}", description=text)
    home = import_module(module)
    home.add_arguments(own)
    return guarded(home.run, own.parse_intermixed_args(argv[1:]))


if __name__ == "__main__":
    leave(main())
