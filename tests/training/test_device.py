"""What keeps an accelerator busy: one graph, nothing that waits for the host, no needless mask, less memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tiny
import torch
from places import ROOT
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from fusion import blocks
from mmmae.api import MaskedAutoencoder
from mmmae.recipes import files as recipes
from mmmae.training.efficiency import layers, recompute
from modalities.positions import remembered
from modalities.records import Batch

# One graph, whatever the keys, the names of the samples and the progress of training are

COMPILED = """
import sys
sys.path.insert(0, "tests")
from dataclasses import replace
import torch, tiny
from torch._dynamo.utils import counters
from mmmae.training.efficiency import recompute

torch._dynamo.config.error_on_recompile = True
for name, changes in (("videomae", []), ("audio_mae", []), ("imu_mae", []), ("default", []), ("videomae", ["again"]),
                      ("audio_mae", ["objectives.reconstruction.weight=[1, 0.1]"])):
    small = ["trunk.depth=1", "objectives.reconstruction.decoder={use: joint, depth: 1}"]
    again = changes == ["again"]
    small += [] if again else changes
    recipe = tiny.tiny(name, [*small, *(["objectives.masked_language.decoder.depth=1"] if name == "default" else [])])
    model, batch = recipe.build(), recipe.example(batch_size=2, ragged=name == "default")
    if again:
        recompute(model)
    torch._dynamo.reset()
    counters.clear()
    forward = torch.compile(model.forward, backend="eager", fullgraph=True, dynamic=False)
    for step in range(3):
        model.advance(step / 3)
        other = replace(batch, key=batch.key + step, ids=[f"{step}-{number}" for number in range(2)])
        assert torch.equal(forward(other).total, model(other).total), name
    assert counters["stats"]["unique_graphs"] == 1, (name, counters["stats"])
    assert not counters["graph_break"] and not counters["recompiles"], (name, counters)
    print(name, *changes)
"""


@pytest.mark.timeout(300)
def test_a_whole_step_is_one_graph_that_is_compiled_once():
    """Without the checks of shapes that tests put into every function, which no compiler sees through."""
    run = subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr[-3000:]
    moved = "audio_mae objectives.reconstruction.weight=[1, 0.1]"
    assert run.stdout.split("\n")[:-1] == ["videomae", "audio_mae", "imu_mae", "default", "videomae again", moved]
    assert "Dynamo detected" not in run.stderr


# Nothing between host and device


class Apart(TorchDispatchMode):
    """Fails where numbers cross between the host and the device, each of which waits for the other then.

    Only one that the host has already may take part in an operation of the device: it is handed over with the call.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        copies = "copy" in function.name()
        places = {
            x.device.type
            for x in tree_flatten((args, kwargs, result))[0]
            if isinstance(x, torch.Tensor) and (x.ndim or copies)
        }
        assert not places >= {"cpu", "cuda"}, f"{function.name()} crosses between host and device"
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


HIDING = [
    name
    for name, (_, changes) in tiny.SYSTEMS.items()
    if name.startswith("masking ") and "masking={" not in changes[0] and name != "masking ratio 1"  # of video alone
]


@pytest.mark.parametrize(
    ("name", "ragged"), [*((name, True) for name in recipes.names()), *((name, False) for name in HIDING)]
)
def test_nothing_crosses_between_host_and_device(name, ragged):
    """Values that the host would have to know do not exist here, and what it would have to send is seen."""
    base, changes = tiny.SYSTEMS[name]
    if name in HIDING:  # a film is enough, and everything follows from its shape
        recipe = tiny.tiny(base, [c for c in changes if ".video" in c or not c.startswith("masking.")], ["video"])
    else:
        recipe = tiny.tiny(base, changes)
    model, batch = recipe.build(), recipe.example(batch_size=2, ragged=ragged)
    augment = recipe.augment().train()
    remembered.cache_clear()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), Apart():
            model, batch = accelerated(model, batch)
            model(augment(batch))  # the way back is PyTorch's own and needs a device: test_house.py, and the test below
    finally:
        remembered.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", ["videomae", "audio_mae", "imu_mae", "default"])
def test_a_step_on_a_gpu_never_waits_for_it(name):
    from mmmae.training.optim import adamw, clip

    recipe = tiny.tiny(name)
    model, batch = recipe.build().cuda(), recipe.example(batch_size=3, ragged=True).to("cuda")
    optimizer = adamw(model, recipe.sections.optimizer)
    for number in range(3):
        torch.cuda.set_sync_debug_mode("default" if number == 0 else "error")  # tables are made in the first step
        try:
            with torch.autocast("cuda", torch.bfloat16):
                loss = model(batch).total
            loss.backward()
            clip(optimizer, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


# No mask where all is valid: only then is attention's fastest kernel taken

MASKED = {"imu_video", "evi_mae"}  # reads every channel by itself; hides sensors from those who have all others


@pytest.mark.parametrize("name", recipes.names())
def test_attention_gets_no_mask_where_all_is_valid(name, monkeypatch):
    masks, attend = [], blocks.scaled_dot_product_attention
    monkeypatch.setattr(
        blocks, "scaled_dot_product_attention",
        lambda q, k, v, attn_mask=None: masks.append(attn_mask) or attend(q, k, v, attn_mask=attn_mask),
    )  # fmt: skip
    recipe = tiny.tiny(name, ["modalities.video.frames=8"] if name.startswith("videomae_v2") else [])  # whole cells
    with torch.no_grad():
        recipe.build()(recipe.example(batch_size=2))
    assert masks
    assert all(mask is None for mask in masks) == (name not in MASKED)


# Less memory


def saved_bytes(model: MaskedAutoencoder, batch: Batch) -> tuple[int, dict[str, torch.Tensor]]:
    """What is kept for the way back, and all losses and gradients."""
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model(batch)
    losses.total.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return sum(kept.values()), {**{name: loss.detach() for name, loss in losses.items()}, **grads}


@pytest.mark.parametrize("ragged", [False, True])
def test_recomputed_layers_give_the_same_bits_and_keep_less(ragged):
    recipe = tiny.tiny("default", ["trunk={use: branches, keep: 0.6, drops: 2}"])
    batch = recipe.example(batch_size=3, ragged=ragged)
    plain, other = recipe.build(), recipe.build()
    recompute(other)
    assert len(layers(other)) > 8
    (most, wanted), (least, found) = saved_bytes(plain, batch), saved_bytes(other, batch)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert least < 0.5 * most, (least, most)


# The benchmark of GPUs runs where little is installed

BARE = ("av", "datasets", "librosa", "omegaconf", "pydantic", "rich", "jaxtyping", "beartype", "sklearn", "matplotlib",
        "tensorboard", "cv2")  # fmt: skip


def test_the_benchmark_of_gpus_runs_without_what_it_does_not_need(tmp_path):
    """On a CPU it measures nothing; what it imports is what a GPU's machine need have."""
    code = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({BARE!r}))\n"
        f"sys.argv = ['gpu.py', '--device', 'cpu', '--sizes', 'tiny', '--json', {str(tmp_path / 'gpu.json')!r}]\n"
        "runpy.run_path('benchmarks/gpu.py', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "this is no measurement" in run.stdout
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {"transformers", "videomae", "videomae_v2"} <= found["sizes"]["tiny"]["systems"].keys()
    assert found["longest"]["by_stream"].keys() == {"video", "audio", "imu", "text"}
