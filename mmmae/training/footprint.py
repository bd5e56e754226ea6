"""Memory and time of a forward and backward pass, measured on a few synthetic samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

from mmmae.data.augment import prepared
from mmmae.example import example
from mmmae.launch import out_of_memory
from mmmae.parallel.reduce import alone
from mmmae.training.machine import free_memory
from modalities.records import Batch

if TYPE_CHECKING:
    from mmmae.data.augment import Augment
    from mmmae.model import MaskedAutoencoder
    from mmmae.recipes.recipe import RecipeSpec

TRIAL = 4  # samples of the trial, where the passes of one process hold as many
BEAT = 0.002  # seconds between looks at the memory of the process
USABLE = 0.8  # share of the free memory that a run plans with: what allocators cannot use again is lost
ROOM = 1.25  # on what a trial took: larger passes keep more temporaries alive at once


@dataclass(frozen=True)
class Footprint:
    """What a forward and backward pass takes on the device of one process.

    fixed: bytes of the gradients and AdamW's two moments. sample: bytes of each sample. record: bytes of each sample as
    loader workers hand it over, in main memory. free: bytes there are.
    seconds: of each sample; 0 on a GPU, whose first pass tells nothing of others.
    """

    fixed: int
    sample: int
    record: int
    seconds: float
    free: int

    def need(self, samples: int, ahead: int = 0) -> int:
        """Bytes that passes of so many samples take, with `ahead` batches of as many waiting in main memory."""
        return self.fixed + int(samples * (ROOM * self.sample + ahead * self.record))

    def fits(self, samples: int, ahead: int = 0) -> bool:
        return self.need(samples, ahead) <= USABLE * self.free


class Trial:
    """Forward and backward passes of a model that leave nothing behind.

    Each process tries by itself: nothing is gathered from the others.

    Args:
        model: on its device, neither compiled nor wrapped yet.
        autocast: gives the context of mixed precision.
        processes: that share the memory of this machine.
    """

    def __init__(
        self,
        model: MaskedAutoencoder,
        recipe: RecipeSpec,
        augment: Augment,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager],
        processes: int = 1,
    ):
        self.model, self.recipe, self.augment, self.device = model, recipe, augment, device
        self.autocast, self.processes = autocast, processes

    def batch(self, samples: int) -> Batch:
        """Synthetic recordings that make so many samples, as the loader hands them over."""
        data = self.recipe.sections.data
        decoded = samples // data.repeats if data.repeat == "crops" else samples
        return example(self.recipe, max(1, decoded), seed=0, tokenizers=self.model.tokenizers)

    def run(self, batch: Batch) -> None:
        self.model.train()
        with alone(), torch.random.fork_rng(devices=[]), self.autocast():
            losses = self.model(prepared(batch, self.device, self.augment, self.recipe.sections.data))
        losses.total.backward()

    def measure(self, most: int) -> Footprint:
        """What passes take, from one of at most `most` samples."""
        repeats = self.recipe.sections.data.repeats
        samples = max(repeats, min(TRIAL, most) // repeats * repeats)
        batch = self.batch(samples)
        record = sum(signal.values.nbytes for signal in batch.signals.values()) // len(batch.key)
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters() if p.requires_grad)
        free, begin = self.free(), time.perf_counter()
        taken = self.on_device(batch) if self.device.type == "cuda" else self.in_memory(batch)
        seconds = 0.0 if self.device.type == "cuda" else (time.perf_counter() - begin) / samples
        self.clear()
        return Footprint(3 * weights, max(0, taken - weights) // samples, record, seconds, free)

    def comparing(self) -> list[str]:
        """The objectives to which the samples of a batch are each other's negatives."""
        return [name for name, objective in self.model.objectives.items() if objective.compares]

    def free(self) -> int:
        """Bytes that this process may still take on its device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            return torch.cuda.mem_get_info(self.device)[0]
        return free_memory() // self.processes

    def on_device(self, batch: Batch) -> int:
        """Bytes that a pass takes on the GPU at most."""
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self.run(batch)
        return torch.cuda.max_memory_allocated(self.device) - before

    def in_memory(self, batch: Batch) -> int:
        """Bytes by which the process grows in a pass; at least those that the forward pass keeps for the backward."""
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with Growth() as growth, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.run(batch)
        return max(growth.bytes, sum(kept.values()))

    def survives(self, samples: int) -> bool:
        """Whether a pass of so many samples ends without an error of memory."""
        try:
            self.run(self.batch(samples))
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            return False
        finally:
            self.clear()
        return True

    def clear(self) -> None:
        self.model.zero_grad(set_to_none=True)
        self.model.after_step(0.0, taken=False)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class Growth(threading.Thread):
    """Inside `with`, watches by how many bytes this process grows at most."""

    def __init__(self):
        super().__init__(name="growth", daemon=True)
        self.process, self.done, self.bytes = psutil.Process(), threading.Event(), 0
        self.before = self.process.memory_info().rss

    def look(self) -> None:
        self.bytes = max(self.bytes, self.process.memory_info().rss - self.before)

    def run(self) -> None:
        while not self.done.wait(BEAT):
            self.look()

    def __enter__(self) -> Growth:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self.done.set()
        self.join()
