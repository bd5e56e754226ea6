"""What a batch has nothing of is left out of the means that are reported; the total and its gradient stay."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from accelerate import Accelerator
from torch.testing import assert_close
from walks import QUIET, SMALL, walks

from mmmae.objectives import Losses
from mmmae.train import main
from mmmae.training.means import Means
from modalities.records import Batch

WORLD = 2


def without(batch: Batch, name: str, samples: slice = slice(None)) -> Batch:
    """The batch with a stream absent from some samples."""
    length = batch[name].length
    length = torch.full((len(batch.key),), batch[name].values.shape[1]) if length is None else length.clone()
    length[samples] = 0
    return replace(batch, signals=batch.signals | {name: replace(batch[name], length=length)})


def rows(batch: Batch, first: int, last: int) -> Batch:
    return replace(batch.map(lambda x: x[first:last]), ids=batch.ids[first:last])


@pytest.fixture(scope="module")
def default():
    recipe = tiny.tiny("default")
    return recipe.build().eval(), recipe.example(batch_size=6, seed=0)


def reported(*found: Losses) -> dict[str, float]:
    means = Means()
    for losses in found:
        means.add(losses)
    return means.over(Accelerator(cpu=True))


@torch.no_grad()
def test_an_absent_stream_leaves_no_figure(default):
    model, batch = default
    losses = model(without(batch, "imu"))
    figures = reported(losses)
    assert losses["reconstruction/imu"] == 0 and losses["contrastive/audio-imu"] == 0
    assert not [name for name in figures if "imu" in name]
    assert {"reconstruction/video", "masked_language/text", "contrastive/video-text"} < figures.keys()
    assert figures["total"] == losses.total.item()


def test_the_total_counts_the_absent_as_nothing(default):
    model, batch = default
    model.zero_grad()
    losses = model(without(batch, "imu"))
    weighed = sum(
        objective.weight * part
        for name, objective in model.objectives.items()
        for key, part in losses.parts.items() if key.startswith(f"{name}/")
    )  # fmt: skip
    assert_close(losses.total, weighed)
    losses.total.backward()
    assert all(not p.grad.any() for p in model.tokenizers["imu"].parameters())


@torch.no_grad()
@pytest.mark.parametrize("stream", ["imu", "text", "audio"])
def test_a_piece_without_a_stream_takes_no_part_in_its_mean(default, stream):
    model, batch = default
    there, gone = model(rows(batch, 0, 3)), model(without(rows(batch, 3, 6), stream))
    figures = reported(there, gone)
    of_it = [name for name in there.parts if stream in name]
    assert len(of_it) == 4
    for name in of_it:
        assert figures[name] == pytest.approx(there[name].item(), rel=1e-6)
    both = (there["reconstruction/video"] + gone["reconstruction/video"]).item() / 2
    assert figures["reconstruction/video"] == pytest.approx(both, rel=1e-6)
    assert figures["total"] == pytest.approx((there.total + gone.total).item() / 2, rel=1e-6)


@torch.no_grad()
def test_pieces_give_the_figure_of_the_whole_batch(default):
    model, batch = default
    batch = without(batch, "imu", slice(1, 4))  # one sample of three has it in the first piece, two in the second
    figures, whole = reported(model(rows(batch, 0, 3)), model(rows(batch, 3, 6))), model(batch)
    assert figures["reconstruction/imu"] == pytest.approx(whole["reconstruction/imu"].item(), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["infonce", "ntxent", "sigmoid"])
def test_a_pair_without_another_compares_nothing(kind):
    recipe = tiny.tiny("default", [f"objectives.contrastive={{kind: {kind}}}", "objectives.mil_nce.weight=1.0"])
    batch = recipe.example(batch_size=3, seed=0)
    figures = reported(recipe.build()(without(batch, "audio", slice(1, 3))))
    assert ("contrastive/video-audio" in figures) == (kind == "sigmoid")  # which is also asked of the pair itself
    assert "mil_nce/video-audio" not in figures and figures["mil_nce/video-text"] > 0


def test_objectives_of_others_need_no_counts():
    losses = Losses(torch.tensor(3.0), {"mine/part": torch.tensor(2.0)}, {"mine/part": torch.tensor(1.0)})
    assert reported(losses) == {"total": 3.0, "mine/part": 2.0}
    assert dict(losses) == {"mine/part": 2.0, "total": 3.0} and "total" in losses and len(losses) == 2


def process(rank: int, folder: str) -> None:
    """One of two processes, of which the second has no recordings of the sensor."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": (Path(folder) / "port").read_text(), "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    model, batch = divided()
    means = Means()
    with torch.no_grad():
        means.add(model(rows(batch, 3 * rank, 3 * rank + 3)))
    figures = means.over(accelerator)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(figures))
    accelerator.wait_for_everyone()
    os._exit(0)


def divided():
    recipe = tiny.tiny("default")
    batch = without(recipe.example(batch_size=6, seed=0), "imu", slice(3, 6))
    return recipe.build().eval(), batch


def test_a_process_without_a_stream_takes_no_part_in_its_mean():
    import socket

    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            (Path(folder) / "port").write_text(str(free.getsockname()[1]))
        torch.multiprocessing.spawn(process, (folder,), nprocs=WORLD)
        first, second = (json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(WORLD))
    model, batch = divided()
    with torch.no_grad():
        whole = reported(model(batch))
    assert first == second and first.keys() == whole.keys()
    for name, figure in whole.items():
        assert first[name] == pytest.approx(figure, rel=1e-5), name


def test_a_log_has_no_zeros_of_what_is_not_there(tmp_path):
    data, output = walks(tmp_path / "data", felt=lambda number: number % 6 == 0), tmp_path / "run"
    command = ["--data", str(data), "--output", str(output), "--modalities", "imu,text", *QUIET, *SMALL]
    assert main([*command, "--steps", "8", "--batch-size", "2", "training.evaluate_every=4"]) == 0
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    felt = [line["reconstruction/imu"] for line in log if "reconstruction/imu" in line]
    assert 0 < len(felt) < len(log) == 8 and all(felt)
    assert all(figure > 0 for line in log for name, figure in line.items() if "/" in name)


def test_held_out_means_pass_over_batches_without_a_stream(tmp_path):
    data = walks(tmp_path / "data", felt=lambda number: number < 17)
    lines = [json.loads(line) for line in (data / "manifest.jsonl").read_text().splitlines()]
    split = [{**row, "split": "test" if int(row["id"]) > 13 else "train"} for row in lines]
    figures = []
    for size, share in ((1, split), (2, [row for row in split if row["split"] == "train" or "imu" in row])):
        (data / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in share))
        run = tmp_path / f"run-{size}"
        command = ["--data", str(data), "--output", str(run), "--modalities", "imu,text", *QUIET, *SMALL]
        command += ["objectives.contrastive=null", "--steps", "1", "--batch-size", "2", "data.holdout=0"]
        assert main(command) == 0
        figures.append(json.loads((run / "log.jsonl").read_text().splitlines()[-1]))
    with_absent, all_there = (line["evaluation/reconstruction/imu"] for line in figures)
    assert with_absent == pytest.approx(all_there, rel=1e-5)
