"""What the length of a sentence tells of which voice says it: the floor under retrieval between sound and text.

    python benchmarks/lengths.py --data data/prompts [--holdout 0.2] [--labels]

A parabola from the logarithm of the number of letters to that of the seconds, fitted to the training rows; answers are
ranked by how far their length is from what it says. With --labels only answers of the same label (a language) count.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console

from mmmae.commands.retrieve import table
from mmmae.data.manifest import Manifest
from mmmae.data.source import open_data
from mmmae.probe.metrics import ranking
from modalities.audio.reader import AudioReader

ELSEWHERE = 1e3  # further away than any length: an answer of another label


def lengths(manifest: Manifest) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Logarithms of seconds and of letters, the labels and the texts, of all rows that have sound and text."""
    reader, found = AudioReader(), []
    for row in manifest:
        if {"audio", "text"} <= set(row.sources) and (seconds := reader.seconds(row.sources["audio"])):
            text = str(row.sources["text"])
            found.append((np.log(seconds), np.log(len(text)), row.label, text))
    seconds, letters, labels, texts = zip(*found, strict=True)
    return np.array(seconds), np.array(letters), np.array(labels), list(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--holdout", type=float, default=0.2)
    parser.add_argument("--labels", action="store_true", help="the label is known too")
    arguments = parser.parse_args()
    train, test = open_data(arguments.data, bad=1.0).split(arguments.holdout)
    seconds, letters, *_ = lengths(train)
    curve = np.polyfit(letters, seconds, 2)
    seconds, letters, labels, texts = lengths(test)
    apart = np.abs(seconds[:, None] - np.polyval(curve, letters)[None])
    if arguments.labels:
        apart += ELSEWHERE * (labels[:, None] != labels[None])
    sounds = range(len(texts))  # each is one of its own, however equal two lengths are
    figures = {"audio -> text": ranking(-apart, sounds, texts), "text -> audio": ranking(-apart.T, texts, sounds)}
    said = {name: found | {"through": "length" + ", label" * arguments.labels} for name, found in figures.items()}
    Console().print(table(said, f"by length, {arguments.data}"))


if __name__ == "__main__":
    main()
