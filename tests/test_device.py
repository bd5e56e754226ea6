"""What keeps an accelerator busy: one graph, nothing that waits for the host, no mask where all is valid, less memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from fusion import blocks
from mmmae import recipe as recipes
from mmmae.layers import layers, recompute
from mmmae.model import MaskedAutoencoder
from modalities.positions import remembered
from modalities.records import Batch

ROOT = Path(__file__).resolve().parent.parent

# One graph, whatever the keys, the names of the samples and the progress of training are

COMPILED = """
import sys
sys.path.insert(0, "tests")
from dataclasses import replace
import torch, tiny
from torch._dynamo.utils import counters
from mmmae.layers import recompute

torch._dynamo.config.error_on_recompile = True
for name, changes in (("videomae", []), ("audio_mae", []), ("imu_mae", []), ("default", []), ("videomae", ["again"])):
    small = ["trunk.depth=1", "objectives.reconstruction.decoder={use: joint, depth: 1}"]
    recipe = tiny.tiny(name, [*small, *(["objectives.masked_language.decoder.depth=1"] if name == "default" else [])])
    model, batch = recipe.build(), recipe.example(batch_size=2, ragged=name == "default")
    if changes:
        recompute(model)
    torch._dynamo.reset()
    counters.clear()
    forward = torch.compile(model.forward, backend="eager", fullgraph=True, dynamic=False)
    for step in range(3):
        model.advance(step / 3)
        again = replace(batch, key=batch.key + step, ids=[f"{step}-{number}" for number in range(2)])
        assert torch.equal(forward(again).total, model(again).total), name
    assert counters["stats"]["unique_graphs"] == 1, (name, counters["stats"])
    assert not counters["graph_break"] and not counters["recompiles"], (name, counters)
    print(name, *changes)
"""


@pytest.mark.timeout(300)
def test_a_whole_step_is_one_graph_that_is_compiled_once():
    """Without the checks of shapes that tests put into every function, which no compiler sees through."""
    run = subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split("\n")[:-1] == ["videomae", "audio_mae", "imu_mae", "default", "videomae again"]
    assert "Dynamo detected" not in run.stderr


# Nothing between host and device


class Apart(TorchDispatchMode):
    """Fails where a number crosses between the host and the device, each of which waits for the other then."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        before, after = ({x.device.type for x in tree_flatten(of)[0] if isinstance(x, torch.Tensor) and x.ndim}
                         for of in ((args, kwargs), result))  # fmt: skip
        assert not (before | after) >= {"cpu", "cuda"}, f"{function.name()} crosses between host and device"
        return result


def accelerated(model: MaskedAutoencoder, batch: Batch) -> tuple[MaskedAutoencoder, Batch]:
    """Both as they would be on an accelerator; tensors without numbers, which this machine need not have."""
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                if value is not None:
                    empty = torch.empty(value.shape, dtype=value.dtype, device="cuda")
                    held[name] = torch.nn.Parameter(empty, value.requires_grad) if name in module._parameters else empty
    return model, batch.map(lambda x: torch.empty(x.shape, dtype=x.dtype, device="cuda"))


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", tiny.SYSTEMS)
def test_nothing_crosses_between_host_and_device(name, ragged):
    """Values that the host would have to know do not exist here, and what it would have to send is seen."""
    recipe = tiny.tiny(*tiny.SYSTEMS[name])
    model, batch = recipe.build(), recipe.example(batch_size=3, ragged=ragged)
    remembered.cache_clear()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), Apart():
            model, batch = accelerated(model, batch)
            model(batch)  # the way back is PyTorch's own and needs a device: test_house.py, and the test below
    finally:
        remembered.cache_clear()
