"""A model that FSDP has spread over processes: one step and its checkpoint equal those of the whole model."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import tiny
import torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from safetensors.torch import load_file
from torch import nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from mmmae import Recipe
from mmmae.storage import checkpoint
from mmmae.training.efficiency import layers, recompute, spread
from mmmae.training.optim import adamw, clip, set_learning_rate

WORLD = 2


def whole(value: torch.Tensor) -> torch.Tensor:
    """A copy of all of a tensor."""
    return value.full_tensor() if isinstance(value, DTensor) else value.clone()


def shard(model: nn.Module) -> None:
    """As the trainer does it, by as much of Accelerate as works without a GPU; layers are recomputed, too."""
    recompute(model)
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=False)
    spread(plugin, model)
    state = SimpleNamespace(fsdp_plugin=plugin)
    fsdp2_prepare_model(SimpleNamespace(state=state, mixed_precision="no", is_main_process=True), model)
    register_fsdp_forward_method(model, "reconstruct")
    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    assert set(sharded) == {model, *layers(model)}


def taught() -> Recipe:
    """A recipe with a teacher and a queue."""
    changes = ["masking.video={use: block, ratio: 0.5}", "objectives.contrastive={queue: 8, teacher: {momentum: 0.5}}"]
    return tiny.tiny("default", changes).narrow(["video", "audio"])


def one_step(folder: Path, rank: int = 0, world: int = 1) -> None:
    """A step on this process's part of a batch, then a checkpoint; then that checkpoint put back."""
    recipe = taught()
    model, batch = recipe.build(), recipe.example(batch_size=4)
    if world > 1:
        shard(model)
    optimizer = adamw(model, recipe.sections.optimizer)
    set_learning_rate(optimizer, 1e-3)
    own = batch.map(lambda x: x[rank * 4 // world : (rank + 1) * 4 // world])
    model(own).total.backward()
    (norm,) = clip(optimizer, None)  # what training tells its guard is a plain number, also of gradients in pieces
    assert not isinstance(norm, DTensor) and norm.isfinite()
    before = {name: whole(value) for name, value in model.state_dict().items()}
    optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(1.0)  # pyright: ignore
    optimizer.step()
    assert all(torch.equal(before[name], whole(value)) for name, value in model.state_dict().items())
    optimizer.found_inf = torch.tensor(0.0)  # pyright: ignore
    optimizer.step()
    model.after_step(0.0, torch.tensor(True))
    model.reconstruct(own)
    state = checkpoint.State(1, {})
    saved = checkpoint.save(folder, model, optimizer, recipe, state, keep=1)
    assert checkpoint.load(saved, model, optimizer) == state
    again = checkpoint.save(folder / "again", model, optimizer, recipe, state, keep=1)
    if rank == 0:
        for name in (checkpoint.MODEL, checkpoint.OPTIMIZER):
            assert (again / name).read_bytes() == (saved / name).read_bytes(), name


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    one_step(Path(folder) / "sharded", rank, WORLD)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a thread of gloo that is at work while Python ends would abort the process


def test_a_sharded_step_and_its_checkpoint_equal_the_whole_models(tmp_path):
    torch.multiprocessing.spawn(process, (str(tmp_path),), WORLD)
    one_step(tmp_path / "whole")
    folders = [checkpoint.find(tmp_path / kind) for kind in ("sharded", "whole")]
    sharded, whole = (load_file(folder / checkpoint.OPTIMIZER) for folder in folders)
    assert sharded.keys() == whole.keys()
    for folder in folders:  # the teacher has gone half the way from where both began to its student
        state, start = load_file(folder / checkpoint.MODEL), taught().build().state_dict()
        for name in [name for name in state if name.startswith(("trunk.", "tokenizers."))]:
            followed = state[f"objectives.contrastive.teacher.{name}"]
            assert_close(followed, 0.5 * start[name] + 0.5 * state[name], rtol=0, atol=1e-7)
            assert torch.equal(followed, start[name]) == torch.equal(state[name], start[name])
        assert (state["objectives.contrastive.queue.video.keys"] != 0).any(1).sum() == 4
    for name in whole:
        assert_close(sharded[name], whole[name], rtol=1e-3, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")
