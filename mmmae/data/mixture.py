"""How the samples of a run are shared out among several corpora."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from mmmae.data.manifest import Manifest
from mmmae.recipes.sections import Data
from modalities.errors import InputError
from modalities.noise import permutation, sample_key
from modalities.shapes import Int, Tensor


@dataclass(frozen=True)
class Mixture:
    """The shares of corpora in a run, and the order in which their recordings come.

    An epoch has as many samples as there are recordings in all, in full batches, and every corpus has the same number
    of them in each: its share, to one sample. Each corpus goes through its own recordings again and again, each of them
    once per pass, in an order of its own for every pass; so a small corpus with a large share comes several times in an
    epoch. All is a function of the seed and of the number of samples in an epoch.

    names, sizes: of the corpora, whose recordings stand one corpus after the other.
    weights: of which a corpus has its share of the samples.
    balanced: whether every `period` samples in a row hold the shares exactly, and so every batch; otherwise a step
        holds them on average.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    balanced: bool = False

    @classmethod
    def of(cls, manifest: Manifest, rules: Data) -> Mixture | None:
        """The mixture of the recordings to train on; None where each simply comes once in an epoch.

        Raises:
            InputError: there is not one weight for each corpus.
        """
        groups = manifest.groups()
        if rules.weights is not None and len(rules.weights) != len(groups):
            listed = ", ".join(groups) if len(groups) > 1 else "one"
            raise InputError(
                f"data.weights={list(rules.weights)}: {len(rules.weights)} weights, but the corpora are {listed}\n"
                "  Give one weight for each, in the order of --data."
            )
        if len(groups) < 2 or (rules.weights is None and not rules.balanced):
            return None
        sizes = tuple(len(group) for group in groups.values())
        if not all(sizes):
            empty = list(groups)[sizes.index(0)]
            raise InputError(f"corpus {empty}: has no recording to train on\n  Leave it out, or mend its `split`.")
        return cls(tuple(groups), sizes, rules.weights or (1.0,) * len(sizes), rules.balanced)

    @property
    def parts(self) -> tuple[int, ...]:
        """The weights as the smallest whole numbers."""
        weights = [Fraction(weight).limit_denominator(1000) for weight in self.weights]
        common = math.lcm(*(weight.denominator for weight in weights))
        whole = [max(1, int(weight * common)) for weight in weights]
        return tuple(weight // math.gcd(*whole) for weight in whole)

    @property
    def period(self) -> int:
        """Of which number of recordings the batch of every rank and piece is a multiple."""
        return sum(self.parts) if self.balanced else 1

    def require(self, batch: int, part: int) -> None:
        """Refuse batches that cannot hold the shares.

        batch: recordings of a step; part: of them in each rank and piece.

        Raises:
            InputError: a part cannot be divided by the shares, or a batch would hold a recording twice.
        """
        if part % self.period:
            shares, names = " : ".join(map(str, self.parts)), ", ".join(self.names)
            raise InputError(
                f"data.balanced: a part of {part} recordings cannot hold {names} as {shares}\n"
                f"  Choose --batch-size so that each process and piece has a multiple of {self.period}."
            )
        for name, size, count in zip(self.names, self.sizes, shared(batch, self.weights), strict=True):
            if count > size:
                raise InputError(
                    f"corpus {name}: its share of a batch of {batch} is {count} recordings, more than the {size} that "
                    "there are to train on\n  Use a smaller --batch-size, or a smaller weight in data.weights."
                )

    def order(self, seed: int, epoch: int, slots: int) -> Int[Tensor, "slots 2"]:
        """The pass and the index of the recording at each place of an epoch of `slots` samples."""
        counts = shared(slots, self.weights)
        if self.balanced:
            rounds, parts = slots // self.period, torch.tensor(self.parts)
            counts = [rounds * part for part in self.parts]
            block = torch.arange(len(counts)).repeat_interleave(parts)
            turns = permutation(sample_key(seed, epoch, -3), epoch, slots).view(rounds, self.period).argsort(dim=1)
            corpus = block[turns].flatten()
        else:
            corpus = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
            corpus = corpus[permutation(sample_key(seed, 0, -3), epoch, slots)]
        found, first = torch.empty(slots, 2, dtype=torch.int64), 0
        for number, (size, count) in enumerate(zip(self.sizes, counts, strict=True)):
            place = torch.arange(epoch * count, (epoch + 1) * count)  # among all samples of this corpus in the run
            passes, within = place // size, place % size
            index = torch.empty_like(place)
            for one in range(epoch * count // size, ((epoch + 1) * count - 1) // size + 1 if count else 0):
                chosen = passes == one
                index[chosen] = permutation(sample_key(seed, number, -4), one, size)[within[chosen]]
            found[corpus == number] = torch.stack([passes, first + index], 1)
            first += size
        return found


def shared(count: int, weights: Sequence[float | int]) -> list[int]:
    """A number cut into whole parts in proportion to weights; what is left over goes to the largest remainders."""
    total = sum(map(Fraction, weights))
    exact = [count * Fraction(weight) / total for weight in weights]
    parts = [int(part) for part in exact]
    left = sorted(range(len(parts)), key=lambda number: (parts[number] - exact[number], number))
    for number in left[: count - sum(parts)]:
        parts[number] += 1
    return parts
