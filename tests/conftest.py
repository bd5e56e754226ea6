"""Every test runs with shapes checked, and on one thread: sums are added in one order, so that bits can be compared.

Fixtures that tests of several files share stand here; they import the house when they are made, not before.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the processes that tests start

import pytest
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


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """The folder of people with sensors, with the run of a small model in it."""
    from people import recorded

    return recorded(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="session")
def model(people):
    """The model of the people."""
    from mmmae.api import MaskedAutoencoder

    return MaskedAutoencoder.from_pretrained(people / "run")
