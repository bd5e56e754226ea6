"""A step whose loss or gradient is not finite on any process leaves the weights of all of them as they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmmae.launch import Halted
from mmmae.parallel.reduce import many
from mmmae.parallel.signals import Interrupt
from modalities.shapes import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator

IN_A_ROW = 10  # steps without a finite one between them after which a run gives up

REMEDY = "lower optimizer.lr, set optimizer.clip, or train with training.precision=no; then launch again to resume"


@dataclass(frozen=True)
class Taken:
    """A step that was handed to the device and whose flags the host has not looked at yet."""

    step: int
    flags: Tensor  # (2,) over all processes: something was not finite; somebody was asked to stop
    arrived: torch.cuda.Event | None  # when the flags are on the host; None where they have never been elsewhere
    loss: Tensor
    norms: Sequence[Tensor]
    ids: Sequence[str]


class Guard:
    """Decides on the device whether a step counts, and informs the host a step later, so that it never waits.

    All processes decide as one, unless each trains by itself (`mmmae.parallel.reduce.alone`).

    The optimizer is given the decision as `found_inf`, as a gradient scaler gives it: parameters, moments and step
    counts stay bit for bit. What was left out stands in `skipped_steps.jsonl`.

    Args:
        output: the folder of the list. say: for lines to the user. interrupt: whether the run is to stop.
        policy: "skip" goes on, up to ten skipped steps in a row; "halt" ends the run at the first.
        row: steps skipped in a row before. remedy: what else helps, besides looking at the samples.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        optimizer: torch.optim.Optimizer,
        output: Path,
        say: Callable[[str], object],
        interrupt: Interrupt,
        *,
        policy: str,
        row: int = 0,
        remedy: str = REMEDY,
    ):
        self.accelerator, self.optimizer, self.say, self.interrupt = accelerator, optimizer, say, interrupt
        self.path, self.policy, self.row, self.remedy = output / "skipped_steps.jsonl", policy, row, remedy
        self.stop = False  # the same on all processes at the same step
        self.pending: list[Taken] = []

    def weigh(self, step: int, loss: Tensor, norms: Sequence[Tensor], ids: Sequence[str]) -> Tensor:
        """Before the optimizer's step: leave it out if the loss or a side's gradient norm is not finite anywhere.

        Returns whether the step counts, as a flag that stays on the device.
        Under float16 the scaler looks at the gradients: those that its own scale made infinite are no fault.
        """
        scaled = self.accelerator.scaler is not None
        finite = torch.stack([value.detach().float().isfinite() for value in (loss, *(() if scaled else norms))]).all()
        asked = torch.full_like(finite, self.interrupt.signal is not None)
        flags = self.over_all(torch.stack([~finite, asked]))
        if not scaled:
            self.optimizer.grad_scale, self.optimizer.found_inf = None, flags[0].clamp(max=1)  # pyright: ignore
        self.pending.append(Taken(step, *sent(flags), loss.detach(), norms, ids))
        if self.policy == "halt":
            self.settle()
        return flags[0] == 0

    def over_all(self, flags: Tensor) -> Tensor:
        """On how many processes each flag is raised, as float32."""
        total: Any = self.accelerator.reduce(flags.float(), "sum") if many() else flags.float()
        return total

    def from_all(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        """What each process says."""
        if not many():
            return [own]
        everybody = [own] * self.accelerator.num_processes
        torch.distributed.all_gather_object(everybody, own)
        return everybody

    def asked_to_stop(self) -> bool:
        """Whether any process was, where no step is taken: all processes have to ask at the same place."""
        asked = torch.tensor([self.interrupt.signal is not None], device=self.accelerator.device)
        self.stop = self.stop or bool(self.over_all(asked).item())
        return self.stop

    def settle(self, but: int = 0) -> None:
        """Look at the flags of all steps but the newest `but`.

        Raises:
            Halted: too many steps in a row were left out, or one was and the policy is to halt.
        """
        while len(self.pending) > but:
            taken = self.pending.pop(0)
            if taken.arrived is not None:
                taken.arrived.synchronize()
            bad, asked = taken.flags.tolist()
            self.stop = self.stop or asked > 0
            self.row = self.row + 1 if bad else 0
            if bad:
                self.tell(taken)

    def tell(self, taken: Taken) -> None:
        """Name the samples of the processes where it went wrong (of all, where gradients met before anybody looked)."""
        figures = {"loss": float(taken.loss), "gradient_norm": max(float(norm) for norm in taken.norms)}
        own = {"rank": self.accelerator.process_index, **figures, "samples": list(taken.ids)}
        everybody = self.from_all(own)
        guilty = [one for one in everybody if not abs(one["loss"]) < float("inf")] or everybody
        samples = [name for one in guilty for name in one["samples"]]
        what = "loss" if guilty is not everybody or not abs(figures["loss"]) < float("inf") else "gradient"
        ranks = [one["rank"] for one in guilty]
        if self.accelerator.is_main_process or not many():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = {"step": taken.step, "what": what, "ranks": ranks, "samples": samples}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        where = f" on rank {', '.join(map(str, ranks))}" if len(everybody) > 1 else ""
        self.say(
            f"step {taken.step}: the {what} is not finite{where}; no weight was changed; "
            f"samples {', '.join(samples[:8])}{'...' if len(samples) > 8 else ''} ({self.path})"
        )
        if self.policy == "halt" or self.row >= IN_A_ROW:
            raise Halted(
                f"step {taken.step}: the {what} is not finite" + (f" for {self.row} steps in a row" * (self.row > 1))
                + f"; the weights are those before\n  look at the samples in {self.path}; {self.remedy}"
            )  # fmt: skip


def sent(flags: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Flags on their way to the host, and when they are there.

    To read them off the device later would wait for everything that it has been given to do until then.
    """
    if not flags.is_cuda:
        return flags, None
    arrived = torch.cuda.Event()
    flags = torch.empty_like(flags, device="cpu", pin_memory=True).copy_(flags, non_blocking=True)
    arrived.record()
    return flags, arrived
