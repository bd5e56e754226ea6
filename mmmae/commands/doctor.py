"""`mmmae doctor`: exercise every dependency and report what is broken and how to repair it."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version


def torch_works() -> str:
    import torch

    assert torch.linspace(0, 1, 3).sum().item() == 1.5
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(devices) or f"CPU, {torch.get_num_threads()} threads"


def torchaudio_works() -> str:
    import torch
    import torchaudio

    spectrum = torchaudio.transforms.MelSpectrogram(16000, n_mels=8)(torch.randn(1600))
    return f"mel spectrogram {tuple(spectrum.shape)}"


def transformers_works() -> str:
    import torch
    from transformers import VideoMAEConfig, VideoMAEModel

    config = VideoMAEConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=16, num_frames=2
    )
    return f"VideoMAE {tuple(VideoMAEModel(config)(torch.zeros(1, 2, 3, 16, 16)).last_hidden_state.shape)}"


def tokenizers_works() -> str:
    from modalities.text import Vocabulary

    return f"a vocabulary of {len(Vocabulary.learn(['a red ball bounces', 'a blue box falls'], words=64))} pieces"


def geometric_works() -> str:
    import torch
    from torch_geometric.nn import DenseGINConv

    return f"GIN {tuple(DenseGINConv(torch.nn.Linear(4, 4))(torch.randn(1, 3, 4), torch.ones(1, 3, 3)).shape)}"


def accelerate_works() -> str:
    from accelerate import Accelerator

    return f"device {Accelerator().device}"


def av_works() -> str:
    import io

    import av
    import numpy

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=4)
        stream.width = stream.height = 32
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(numpy.zeros((32, 32, 3), numpy.uint8))
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, "r") as recorded:
        return f"{sum(1 for _ in recorded.decode(video=0))} frames of H.264 there and back"


def librosa_works() -> str:
    import librosa
    import numpy

    return f"{librosa.amplitude_to_db(numpy.ones(1), ref=1.0)[0]:.0f} dB"


def datasets_works() -> str:
    from datasets import Dataset

    return f"{len(Dataset.from_dict({'video': ['a', 'b']}))} rows"


def matplotlib_works() -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((1, 1), dpi=50)
    FigureCanvasAgg(figure).draw()
    return "a picture of 50 x 50"


def sklearn_works() -> str:
    from sklearn.linear_model import LogisticRegression

    return f"accuracy {LogisticRegression().fit([[0.0], [1.0]], [0, 1]).score([[0.0], [1.0]], [0, 1]):.0f}"


def tensorboard_works() -> str:
    import tempfile

    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        writer.add_scalar("loss", 1.0, 1)
    return "a scalar written"


TORCH_PAIR = 'pip install "torch>=2.11,<2.13" "torchaudio>=2.11,<2.12"  (other pairs are built for different CUDAs)'

# package: (a use of it, how to correct it)
CHECKS: dict[str, tuple[Callable[[], str], str]] = {
    "torch": (torch_works, TORCH_PAIR),
    "torchaudio": (torchaudio_works, TORCH_PAIR),
    "transformers": (transformers_works, 'mend torchaudio first if it is broken; then pip install "transformers>=5.5"'),
    "tokenizers": (tokenizers_works, "pip install tokenizers"),
    "torch_geometric": (geometric_works, "pip install torch_geometric"),
    "accelerate": (accelerate_works, "pip install accelerate"),
    "av": (av_works, "pip install --force-reinstall av  (its wheel carries FFmpeg)"),
    "librosa": (librosa_works, "pip install librosa"),
    "datasets": (datasets_works, "pip install datasets"),
    "matplotlib": (matplotlib_works, "pip install matplotlib"),
    "scikit-learn": (sklearn_works, "pip install scikit-learn"),
    "tensorboard": (tensorboard_works, "pip install tensorboard"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It needs none."""


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when everything works, 1 when something is broken."""
    from rich.console import Console
    from rich.table import Table

    table = Table("package", "version", "works", "seconds", "what was tried, or how to correct it")
    broken = 0
    for name, (use, remedy) in CHECKS.items():
        begin = time.perf_counter()
        try:
            outcome, good = use(), True
        except Exception as error:  # whatever a broken package raises is what is to be reported
            outcome, good = (
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\n{remedy}",
                False,
            )
        broken += not good
        try:
            number = version(name)
        except PackageNotFoundError:
            number = "-"
        table.add_row(name, number, "yes" if good else "[red]no", f"{time.perf_counter() - begin:.1f}", outcome)
    console = Console()
    console.print(f"Python {sys.version.split()[0]} on {platform.platform()}", highlight=False)
    console.print(table)
    console.print("everything works" if not broken else f"{broken} broken: see the last column")
    return 1 if broken else 0
