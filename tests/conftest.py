"""Every test runs with shapes checked, and on one thread: sums are added in one order, so that bits can be compared."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the processes that tests start

import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Before the house is imported: every annotation such as Float[Tensor, "b n d"] is checked at every call.
install_import_hook(["modalities", "fusion", "mmmae"], "beartype.beartype")

torch.set_num_threads(1)

settings.register_profile(
    "house", deadline=None, derandomize=True, max_examples=8, suppress_health_check=list(HealthCheck)
)
settings.load_profile("house")
