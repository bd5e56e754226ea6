"""Workers that die: a decoder that crashes costs one recording, a kill ends the run with a message."""

from __future__ import annotations

import faulthandler
import os
import signal
from itertools import islice
from pathlib import Path

import pytest
import torch
from clocks import Clock, assert_same, recordings

from mmmae.data import worker_status
from mmmae.data.bad_samples import Fault
from mmmae.data.clips import Clips
from mmmae.data.inspection import inspect_all
from mmmae.data.loader import Loader
from mmmae.data.manifest import Manifest
from modalities.errors import InputError, SampleError


class Deadly(Clock):
    """Kills the process that reads recording 3."""

    def __init__(self, how: signal.Signals | None):
        super().__init__(pads=False)
        self.how = how

    def read(self, source, start, duration):
        if source.endswith("/3.mp4"):
            while self.how == signal.SIGPROF:
                pass
            if self.how is None:
                raise SampleError(source, "cannot be read", "Mend it.")
            faulthandler.disable()
            os.kill(os.getpid(), self.how)
        return super().read(source, start, duration)


def deadly(folder: Path, how: signal.Signals | None) -> Clips:
    return Clips(Manifest.open(recordings(folder), modalities=["video"]), {"video": Deadly(how)}, window=2.0)


@pytest.fixture
def impatient(monkeypatch):
    waiting = torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(waiting, "__defaults__", (0.2,))  # seconds after which it looks whether workers live
    monkeypatch.setattr(worker_status, "LONGEST", 0.3)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGPROF])
def test_a_decoder_that_crashes_or_never_returns_costs_one_recording(tmp_path, impatient, how):
    notes: list[Fault] = []
    seen = list(islice(Loader(deadly(tmp_path, how), 2, workers=2, note=notes.extend), 14))
    expected = list(islice(Loader(deadly(tmp_path, None), 2, note=lambda faults: None), 14))
    for batch, same in zip(seen, expected, strict=True):
        assert_same(batch, same)
    assert {fault.id for fault in notes} == {"r3"} and how.name in notes[0].reason
    assert notes[0].path == str(tmp_path / "3.mp4")
    verdicts = list(inspect_all(deadly(tmp_path, how), 2))
    assert [v.fault.id for v in verdicts if v.fault is not None] == ["r3"] and len(verdicts) == 12


def test_a_worker_that_is_killed_ends_the_run_with_a_message(tmp_path, impatient):
    with pytest.raises(InputError, match=r"(?s)loader worker died.*row 'r3'.*SIGKILL.*memory"):
        list(islice(Loader(deadly(tmp_path, signal.SIGKILL), 2, workers=1, note=lambda faults: None), 14))
