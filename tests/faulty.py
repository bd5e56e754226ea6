"""`mmmae train` with a fault built in, for tests that look at what a run makes of it.

    FAULTS='[["nan", 1, 3]]' torchrun --nproc_per_node 2 tests/faulty.py ARGUMENTS OF TRAIN

Faults are (kind, rank, step), steps counted from 1: "nan" makes the loss not a number and leaves the gradient
as it is, "infinite" makes the gradient infinite,
"left out" takes the step without the optimizer, "slow" lasts a minute.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import torch
from torch.optim import AdamW

from mmmae.api import MaskedAutoencoder
from mmmae.launch import leave
from mmmae.parallel import reduce as world
from mmmae.train import main

FAULTS = [tuple(fault) for fault in json.loads(os.environ["FAULTS"])]


def faulty(kind: str, step: int) -> bool:
    return (kind, int(os.environ.get("RANK", 0)), step) in FAULTS


def install() -> None:
    forward, take = MaskedAutoencoder.forward, AdamW.step
    steps = {"forward": 0, "optimizer": 0}

    def poisoned(self, batch):
        losses = forward(self, batch)
        if self.training and not world.isolated:  # a trial of memory is no step
            steps["forward"] += 1
            if faulty("nan", steps["forward"]):
                losses = replace(losses, total=losses.total + torch.nan)
            if faulty("slow", steps["forward"]):
                time.sleep(60)
            if faulty("infinite", steps["forward"]):
                losses.total.register_hook(lambda gradient: gradient * torch.inf)
        return losses

    def left_out(self, *args, **kwargs):
        steps["optimizer"] += 1
        return None if faulty("left out", steps["optimizer"]) else take(self, *args, **kwargs)

    MaskedAutoencoder.forward, AdamW.step = poisoned, left_out


if __name__ == "__main__":
    install()
    leave(main())
