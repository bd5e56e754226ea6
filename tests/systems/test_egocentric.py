"""Body-worn IMUs and video: EVI-MAE's graph of sensors, and a transformer that reads each channel by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from torch.testing import assert_close

from mmmae.objectives import contrastive
from mmmae.objectives.graph import nodes
from modalities.imu import IMUReader
from modalities.records import Patches

EXACT = {"rtol": 0, "atol": 0}


def worn(name: str, batch: int = 4, overrides: tuple[str, ...] = (), modalities=None):
    recipe = tiny.tiny(name, overrides, modalities)
    return recipe.build(), recipe.example(batch, seed=1)


def changed(patches: Patches, where: torch.Tensor) -> Patches:
    """Patches with other contents at the nodes `where` (b, nodes)."""
    return tiny.poisoned(patches, ~where[:, patches.coords[:, -1]])


# evi_mae


def test_four_losses_reach_what_they_are_about():
    model, batch = worn("evi_mae")
    losses = model(batch)
    reach = {}
    for part, loss in losses.parts.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        modules = {
            "video": model.tokenizers["video"], "imu": model.tokenizers["imu"],
            "branch": model.trunk.branches["imu"], "joint": model.trunk.blocks, "graph": model.objectives["graph"],
        }  # fmt: skip
        learns = {name: [p.grad for p in module.parameters() if p.grad is not None] for name, module in modules.items()}
        reach[part] = {name for name, gradients in learns.items() if any(gradient.any() for gradient in gradients)}
    both = {"video", "imu", "branch", "joint"}
    assert reach == {
        "reconstruction/video": both, "reconstruction/imu": both, "contrastive/video-imu": both,
        "graph/imu": {"imu", "branch", "joint", "graph"},
    }  # fmt: skip
    weights = {"reconstruction": 1, "contrastive": 0.01, "graph": 10}
    assert_close(losses.total, sum(weights[part.split("/")[0]] * loss for part, loss in losses.parts.items()))


def test_either_modality_trains_alone():
    for modality, asked in {"imu": {"reconstruction", "graph"}, "video": {"reconstruction"}}.items():
        model, batch = worn("evi_mae", modalities=[modality])
        assert set(model.objectives) == asked and model(batch).total.isfinite()


@torch.no_grad()
@pytest.mark.parametrize("graph", ["null", "gin"])
def test_a_hidden_node_is_nowhere_in_what_predicts_it(graph):
    model, batch = worn("evi_mae", overrides=("modalities.imu.sensors=4", f"modalities.imu.graph={graph}"))
    objective, encoded = model.objectives["graph"], model.encode_masked(batch)
    patches = encoded.patches["imu"]
    hide = objective.hide(patches, encoded.noise, "imu")
    assert hide.sum(1).tolist() == [2] * 4
    seen, says = look(objective, encoded, patches, hide)
    assert set(seen.coords[..., -1][seen.valid].tolist()) == {0, 1, 2, 3}  # each in some sample
    poisoned, unmoved = look(objective, encoded, changed(patches, hide), hide)
    assert_close(seen.x[seen.valid], poisoned.x[seen.valid], **EXACT)
    assert_close(says[hide], unmoved[hide], **EXACT)
    _, moved = look(objective, encoded, changed(patches, ~hide), hide)
    assert (moved[hide] - says[hide]).abs().amax(-1).gt(1e-5).all()  # the others tell of it


def look(objective, encoded, patches: Patches, hide: torch.Tensor):
    """What the graph objective sees of the visible nodes, and what it says of all."""
    encoded = replace(encoded, patches={**encoded.patches, "imu": patches})
    seen = objective.visible(encoded, "imu", ~hide)
    return seen, objective.predict("imu", seen, patches, hide)


def test_a_node_is_learned_from_its_neighbours():
    """Sensors of one body feel the same gravity: a hidden one is told by its own body's, not by another's."""
    sizes = ("trunk.depth=2", "trunk.width=32", "trunk.heads=2", "objectives.graph.width=32")
    model, batch = worn("evi_mae", 16, (*sizes, "modalities.imu.sensors=4", "modalities.imu.kind=raw"), ["imu"])
    down = 6 * torch.randn(16, 1, 1, 3, generator=torch.Generator().manual_seed(0))  # each body lies in its own way
    batch = replace(batch, signals={"imu": replace(batch["imu"], values=down.expand(-1, 40, 4, -1))})
    optimizer, objective = torch.optim.AdamW(model.parameters(), lr=5e-3), model.objectives["graph"]
    for epoch in range(16):
        optimizer.zero_grad()
        objective(model.encode_masked(replace(batch, key=tiny.keys(16, epoch))))["imu"].backward()
        optimizer.step()
    with torch.no_grad():
        encoded = model.encode_masked(batch)
        hide = objective.hide(encoded.patches["imu"], encoded.noise, "imu")[:1].expand(16, -1)
        own = objective.predict("imu", objective.visible(encoded, "imu", ~hide), encoded.patches["imu"], hide)
        wanted = encoded.tokenizers["imu"].target(encoded.patches["imu"], torch.arange(20).expand(16, -1))
        wanted = wanted.unflatten(1, (5, 4)).mean(1)
        errors = [1 - torch.cosine_similarity(x, wanted, dim=-1)[hide].mean() for x in (own, own.roll(1, 0))]
    assert errors[0] < 0.5 < errors[1]


@torch.no_grad()
def test_a_missing_sensor_is_as_if_it_had_never_been_worn():
    model, batch = worn("evi_mae")
    observed = torch.ones(batch["imu"].values.shape, dtype=torch.bool)
    observed[:, :, 2] = False
    values = torch.where(observed, batch["imu"].values, torch.nan)
    gaps = replace(batch["imu"], values=values, observed=observed)
    lacking = model.encode({"imu": gaps})
    fewer = model.encode({"imu": replace(batch["imu"], values=batch["imu"].values[:, :, :2])})
    valid = lacking["imu"].valid
    assert_close(lacking["imu"].x[valid].reshape(fewer["imu"].x.shape), fewer["imu"].x, rtol=1e-4, atol=1e-5)
    assert nodes(model.tokenizers["imu"].patchify(gaps)).tolist() == [[True, True, False]] * 4


def test_the_first_channels_of_a_sensor_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("time,a.ax,a.ay,a.gx\n" + "".join(f"{i / 10},1,2,3\n" for i in range(10)))
    values = IMUReader(rate=10.0, channels=2, sensors=["a"]).read(str(tmp_path / "a.csv"), 0.0, 1.0).values
    assert torch.equal(values, torch.tensor([1.0, 2.0]).expand(10, 1, 2))
    reading = IMUReader(rate=10.0, channels=4, sensors=["a"]).read(str(tmp_path / "a.csv"), 0.0, 1.0)
    assert torch.equal(reading.values[..., 3], torch.full((10, 1), 3.0))
    assert reading.observed[0, 0].tolist() == [True, True, False, True]


# imu_video


@torch.no_grad()
def test_a_channel_is_a_sequence_of_its_own():
    model, batch = worn("imu_video")
    signal = batch["imu"]
    before = model.encode({"imu": signal})["imu"]
    values = signal.values.clone()
    values[..., 2] = 5 - values[..., 2]
    after = model.encode({"imu": replace(signal, values=values)})["imu"]
    channel = before.coords[..., 1]
    assert torch.equal(before.x[channel != 2], after.x[channel != 2])
    assert (before.x[channel == 2] != after.x[channel == 2]).any(-1).all()
    swapped = model.encode({"imu": replace(signal, values=signal.values[..., [1, 0, 2, 3, 4, 5]])})["imu"]
    assert_close(swapped.x[channel == 0], before.x[channel == 1])  # the same weights, wherever a channel stands
    pooled = model.objectives["contrastive"].pool("imu", before)
    assert pooled.shape == (4, 6 * before.x.shape[-1])
    assert_close(pooled[:, : before.x.shape[-1]], before.x[channel == 0].reshape(4, -1, before.x.shape[-1]).mean(1))


def test_masked_channels_do_not_mix_either():
    model, batch = worn("imu_video", overrides=("masking.imu.ratio=0.5", "trunk.depth=1"))
    tokens = model.encode_masked(batch).embedded["imu"]
    x = tokens.x.detach().requires_grad_()
    model.trunk({"imu": replace(tokens, x=x)})["imu"].x[0, 0].sum().backward()
    heard = x.grad[0].abs().amax(-1) > 0
    assert torch.equal(heard, tokens.coords[0, :, 1] == tokens.coords[0, 0, 1])


def test_a_shuffled_pairing_costs_more_once_the_pairs_are_learned():
    model, batch = worn("imu_video", 6, ("trunk.depth=1", "trunk.width=32", "trunk.heads=2"))
    angle = torch.arange(6.0)  # how bright a film is and where the sensor points to
    clips = (40 * angle).byte().reshape(6, 1, 1, 1, 1).expand_as(batch["video"].values)
    readings = 9 * torch.stack([angle.sin(), angle.cos()] * 3, -1)[:, None, None].expand_as(batch["imu"].values)
    pairs = {"video": replace(batch["video"], values=clips), "imu": replace(batch["imu"], values=readings)}
    batch = replace(batch, signals=pairs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    assert_close(model.objectives["contrastive"].scale.exp(), torch.tensor(10.0))
    assert model.objectives["contrastive"].bias == -10
    for _ in range(30):
        optimizer.zero_grad()
        model(batch).total.backward()
        optimizer.step()
    shuffled = replace(batch, signals=pairs | {"imu": pairs["imu"].map(lambda x: x.roll(1, 0))})
    with torch.no_grad():
        assert model(shuffled).total > 2 * model(batch).total


@torch.no_grad()
def test_negatives_come_from_all_processes(monkeypatch):
    """Two halves that gather each other's rows, as processes do (test_world.py runs them), cost what the whole does."""
    model, batch = worn("imu_video", 6)
    objective, vectors = (
        model.objectives["contrastive"],
        model.objectives["contrastive"].vectors(model.encode_masked(batch)),
    )
    a, b, there = vectors["imu"], vectors["video"], torch.ones(6, dtype=torch.bool)
    whole = objective.contrast(a, b, there, 10.0)
    halves = []
    for first in (0, 3):
        mine = (a[first : first + 3], b[first : first + 3], there[:3])
        everyone = dict(zip(map(id, mine), (a, b, there), strict=True))
        monkeypatch.setattr(contrastive, "gather", lambda x, every=everyone: every[id(x)])
        monkeypatch.setattr(contrastive, "first_row", lambda count, first=first: first)
        halves.append(objective.contrast(*mine, 10.0))
    assert_close(sum(halves) / 2, whole)
