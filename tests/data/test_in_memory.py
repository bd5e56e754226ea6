"""Rows in memory: datasets, DataFrames, arrays and bytes stand wherever a manifest's path may."""

from __future__ import annotations

import io
import json
from pathlib import Path

import datasets
import media
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from places import CASES
from scipy.io import wavfile

from mmmae.__main__ import main
from mmmae.data.clips import Clips
from mmmae.data.manifest import Manifest
from mmmae.data.sample import collate
from mmmae.data.source import open_data
from mmmae.data.stored import cache
from modalities.audio import AudioReader
from modalities.errors import InputError
from modalities.imu import IMUReader
from modalities.video import VideoReader

SAVED = CASES / "hf-dataset-with-audio-feature/saved"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache()


def sounds(manifest: Manifest, rate: int = 8000) -> list[np.ndarray]:
    found = [AudioReader(rate=rate).read(row.sources["audio"], 0.0, 0.5) for row in manifest]
    return [reading.values[: reading.length].numpy() for reading in found]


def wav(hertz: float, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, rate, (media.tone(1.0, hertz, rate)[0] * 32767).astype(np.int16))
    return file.getvalue()


def labels(manifest: Manifest) -> list[str]:
    return [row["label"] for row in manifest.columns("label")]


# Media inside tables


def test_sound_inside_a_saved_dataset_is_read(home, capsys):
    """The case hf-dataset-with-audio-feature."""
    assert main(["check", str(SAVED), "--modalities", "audio", "--workers", "0", "window=0.5"]) == 0
    assert "3 of 3" in capsys.readouterr().out
    manifest = Manifest.open(SAVED)
    assert all(Path(row.sources["audio"]).is_relative_to(home) for row in manifest)
    table = datasets.load_from_disk(str(SAVED)).with_format("arrow")[:].to_pylist()
    for row, samples in zip(table, sounds(manifest), strict=True):
        rate, wanted = wavfile.read(io.BytesIO(row["audio"]["bytes"]))
        assert rate == 8000 and np.allclose(samples, wanted[:4000] / 32768, atol=1e-6)


@pytest.mark.parametrize("feature", ["audio", "video", "image"])
@pytest.mark.parametrize("form", ["saved", "parquet", "embedded", "memory", "splits", "frame"])
def test_media_columns_of_hugging_face_are_read(tmp_path, feature, form):
    """The case hf-media-columns."""
    folder = tmp_path / "media"
    folder.mkdir()
    if feature == "audio":
        files = [media.write_sound(folder / f"{i}.wav", media.tone(1.0, 300 + i)) for i in range(3)]
    elif feature == "video":
        files = [media.write_film(folder / f"{i}.mp4", [media.coded(i)] * 10, rate=10) for i in range(3)]
    else:
        files = [folder / f"{i}.png" for i in range(3)]
        for i, file in enumerate(files):
            import PIL.Image

            PIL.Image.fromarray(media.coded(i)).save(file)
    column = "audio" if feature == "audio" else "video"
    kind = {"audio": datasets.Audio, "video": datasets.Video, "image": datasets.Image}[feature]()
    table = datasets.Dataset.from_dict({column: list(map(str, files)), "label": ["a", "b", "a"]})
    table = table.cast_column(column, kind)
    data = table
    if form == "saved":
        table.save_to_disk(tmp_path / "saved")
        data = tmp_path / "saved"
    elif form == "parquet":
        table.to_parquet(tmp_path / "rows.parquet")
        data = tmp_path / "rows.parquet"
    elif form == "embedded":  # as push_to_hub writes it
        from datasets.table import embed_table_storage

        table.with_format("arrow").map(embed_table_storage, batched=True).with_format(None).to_parquet(
            tmp_path / "e.parquet"
        )
        data = tmp_path / "e.parquet"
    elif form == "splits":
        data = datasets.DatasetDict(train=table, test=table)
    elif form == "frame":
        data = table.with_format("arrow")[:].to_pandas()
    if form in ("saved", "embedded"):  # they hold the bytes
        for file in files:
            file.unlink()
    manifest = Manifest.open(data)
    assert len(manifest) == (6 if form == "splits" else 3) and labels(manifest) == ["a", "b", "a"] * (
        len(manifest) // 3
    )
    if feature == "audio":
        assert all(len(samples) == 4000 and samples.std() > 0.1 for samples in sounds(manifest))
        return
    reader = VideoReader(frames=1, size=64)
    shown = [media.number(reader.read(row.sources["video"], 0.0, 0.1).values[0].numpy()) for row in manifest]
    assert shown == [0, 1, 2] * (len(manifest) // 3)


def test_bytes_are_written_once_and_the_line_says_where(home):
    rows = [{"audio": wav(300), "id": "a"}, {"audio": {"bytes": wav(300), "path": None}}, {"audio": wav(500)}]
    manifest = Manifest.open(rows)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) == 2 and {path.suffix for path in files} == {".wav"}
    size = sum(path.stat().st_size for path in files)
    assert manifest.notes == (
        f"recordings inside the table are 2 files in {home}: 2 of them, {size} bytes, written now",
    )
    times = [path.stat().st_mtime_ns for path in files]
    assert "all there already" in Manifest.open(rows).notes[0]
    assert [path.stat().st_mtime_ns for path in files] == times
    assert not [path for path in home.rglob(".*")]


def test_a_folder_of_the_callers_own_takes_the_files(tmp_path, home):
    manifest = open_data([{"audio": wav(300)}], cache=tmp_path / "own")
    assert Path(manifest[0].sources["audio"]).is_relative_to(tmp_path / "own") and not home.exists()


def test_a_cache_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "own").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        Manifest.open([{"audio": wav(300)}], cache=tmp_path / "own")


def test_paths_in_a_saved_dataset_still_stay_inside(tmp_path):
    (tmp_path / "secret.wav").write_bytes(wav(300))
    rows = [
        {"audio": {"bytes": wav(300), "path": "a.wav"}},
        {"audio": {"bytes": None, "path": str(tmp_path / "secret.wav")}},
    ]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"secret\.wav lies outside"):
        Manifest.open(tmp_path / "saved")


def test_names_of_classes_survive_every_form(tmp_path):
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["walk", "run"]),
        group=datasets.ClassLabel(names=["ann", "bob"]),
    )  # fmt: skip
    table = datasets.Dataset.from_list([{"text": f"t{i}", "label": i % 2, "group": i // 2} for i in range(4)], features)
    table.to_parquet(tmp_path / "rows.parquet")
    table.save_to_disk(tmp_path / "saved")
    for data in (table, tmp_path / "rows.parquet", tmp_path / "saved"):
        manifest = Manifest.open(data)
        assert labels(manifest) == ["walk", "run"] * 2
        assert [row["group"] for row in manifest.columns("group")] == ["ann", "ann", "bob", "bob"]


# Arrays

WINDOWS = np.random.default_rng(0).normal(size=(24, 128, 6)).astype(np.float32)
LABELS = ["walk", "sit"] * 12


def cells() -> pd.Series:
    return pd.Series(list(WINDOWS))


FORMS = {
    "columns": lambda: {"imu": WINDOWS, "label": LABELS, "imu_rate": 50},
    "tensor": lambda: {"imu": torch.from_numpy(WINDOWS), "label": np.array(LABELS), "imu_rate": np.float64(50)},
    "nested lists": lambda: {"imu": WINDOWS.tolist(), "label": LABELS, "imu_rate": [50] * 24},
    "frame of arrays": lambda: pd.DataFrame({"imu": cells(), "label": LABELS, "imu_rate": 50}),
}


@pytest.mark.parametrize("form", FORMS)
def test_windows_of_sensors_become_one_file(home, form):
    manifest = open_data(FORMS[form](), ["imu"])
    assert len(manifest) == 24 and labels(manifest) == LABELS
    sources = [row.sources["imu"] for row in manifest]
    assert {source["path"] for source in sources} == {sources[0]["path"]}
    assert [source["window"] for source in sources] == list(range(24)) and sources[0]["rate"] == 50
    assert np.allclose(np.load(sources[0]["path"]), WINDOWS) and len(list(home.rglob("*.npy"))) == 1


def test_a_list_of_rows_with_arrays_is_read():
    rows = [{"imu": window, "imu_rate": 50, "label": label} for window, label in zip(WINDOWS, LABELS, strict=True)]
    manifest = Manifest.open(rows)
    for window, row in zip(WINDOWS, manifest, strict=True):
        reading = IMUReader(rate=50.0, sensors=1).read(row.sources["imu"], 0.0, 2.56)
        assert np.allclose(reading.values[:, 0].numpy(), window, atol=1e-6)


def test_a_manifest_names_a_window_of_an_array(tmp_path):
    np.save(tmp_path / "X.npy", WINDOWS)
    rows = [{"imu": "X.npy", "imu_window": window, "imu_rate": 50} for window in (3, "3", 3.0)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    wanted = {"path": str(tmp_path / "X.npy"), "rate": 50, "edges": None, "window": 3}
    assert [row.sources["imu"] for row in Manifest.open(tmp_path / "rows.jsonl")] == [wanted] * 3
    with pytest.raises(InputError, match="'imu_window' takes a"):
        Manifest.open([{"imu": "X.npy", "imu_window": -1}])


def test_a_long_table_is_cut_into_its_windows():
    names = ["ax", "ay", "az", "gx", "gy", "gz"]
    long = pd.concat([pd.DataFrame(window, columns=names).assign(window=i, label=LABELS[i], time=np.arange(128) / 50)
                      for i, window in enumerate(WINDOWS[:3])])  # fmt: skip
    indexed = long.set_index(["window", long.groupby("window").cumcount()])
    for table in (long.reset_index(drop=True), indexed):
        manifest = Manifest.open(table)
        assert [row.id for row in manifest] == ["0", "1", "2"] and labels(manifest) == LABELS[:3]
        for window, row in zip(WINDOWS[:3], manifest, strict=True):
            assert list(pd.read_parquet(row.sources["imu"]["path"]).columns) == [*names, "time"]
            reading = IMUReader(rate=50.0, sensors=1).read(row.sources["imu"], 0.0, 2.56)
            assert np.allclose(reading.values[:, 0].numpy(), window, atol=1e-5)
    with pytest.raises(InputError, match="window 0: column 'label' has 2 values"):
        Manifest.open(long.assign(label=np.arange(len(long)) % 2))


def test_arrays_of_sound_are_read_with_their_rate():
    tones = np.concatenate([media.tone(1.0, hertz, 8000) for hertz in (300, 500)])  # (2, samples)
    forms = [
        {"audio": tones, "audio_rate": 8000},
        {"audio": torch.from_numpy(tones).float(), "audio_rate": 8000},
        [{"audio": {"array": list(tone), "sampling_rate": 8000, "path": None}} for tone in tones],
        {"audio": (tones * 32767).round().astype(np.int16), "audio_rate": [8000, 8000]},
        [{"audio": np.stack([tone, tone]), "audio_rate": 8000} for tone in tones],
        [{"audio": np.stack([tone, tone], axis=1), "audio_rate": 8000} for tone in tones],
    ]
    for form in forms:
        found = sounds(Manifest.open(form))
        assert len(found) == 2
        for samples, tone in zip(found, tones, strict=True):
            assert np.allclose(samples, tone[:4000], atol=1e-4)


def test_arrays_of_frames_are_read_pixel_by_pixel():
    frames = np.random.default_rng(1).integers(0, 256, (2, 8, 32, 48, 3), dtype=np.uint8)
    forms = [
        {"video": frames, "video_rate": 8},
        {"video": torch.from_numpy(frames).permute(0, 1, 4, 2, 3), "video_rate": 8.0},
        pd.DataFrame({"video": list(frames), "video_rate": 8}),
    ]
    for form in forms:
        reader = VideoReader(frames=8, size=(32, 48))
        for clip, row in zip(frames, Manifest.open(form), strict=True):
            assert reader.seconds(row.sources["video"]) == pytest.approx(1.0)
            read = reader.read(row.sources["video"], 0.0, 1.0).values.permute(0, 2, 3, 1).numpy()
            assert (read == clip).all()
    image = VideoReader(frames=1, size=(32, 48))
    for row, clip in zip(Manifest.open({"video": list(frames[:, 0])}), frames, strict=True):
        assert (image.read(row.sources["video"], 0.0, 1.0).values[0].permute(1, 2, 0).numpy() == clip[0]).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"audio": np.zeros((2, 800))}, "column 'audio' takes samples with a rate"),
        ({"audio": np.full((2, 800), 2000.0), "audio_rate": 8000}, "largest here is 2000"),
        ({"audio": np.zeros((2, 800), int), "audio_rate": 8000}, "not int64"),
        ({"video": np.zeros((2, 4, 8, 8, 3)), "video_rate": 8}, "(255 * x)"),
        ({"video": np.zeros((2, 4, 8, 8, 3), np.uint8)}, "video_rate"),
        ({"imu": WINDOWS, "label": LABELS[:3]}, "differ in length: 'imu' 24, 'label' 3"),
        ({"imu_rate": 50}, "no column has a value for each row"),
        ({"imu": [np.array(["a"])]}, "an array of numbers"),
        ({"imu": WINDOWS.swapaxes(1, 2)}, "not 128 channels at 6 steps"),
        ([{"imu": WINDOWS[0].T}], "column 'imu' takes readings of shape (steps, channels), not 128 channels"),
        (pd.DataFrame(WINDOWS[0], columns=list("abcdef")), "no column holds recordings (a, b, c, d, e, f)"),
        (WINDOWS, "got ndarray of shape (24, 128, 6)"),
        (42, "expected a path, a datasets.Dataset"),
        ([{"video": "a.mp4"}, {"vidoe": "b.mp4"}], "the list of rows, row 1: unknown column 'vidoe'"),
        (pd.DataFrame({"text": ["a"] * 4, "start": [0, 0, 0, -1]}), "the DataFrame, row 3: column 'start' takes"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "the DataFrame: column 'text' stands twice"),
        (datasets.Dataset.from_dict({"video": ["none.mp4"]}), "the Dataset, row 0: column 'video': no such file"),
        (datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset(), "the dataset is streamed"),
    ],
)
def test_what_is_wrong_in_memory_is_said_with_its_row(data, words):
    with pytest.raises(InputError) as caught:
        open_data(data)
    assert words in str(caught.value), caught.value


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "datasets", "list", "mapping"])
def test_paths_in_memory_start_from_the_working_directory(tmp_path, monkeypatch, library):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(wav(300))
    columns = {"audio": ["a.wav", str(tmp_path / "a.wav")], "text": ["x", "y"]}
    data = {
        "pandas": pd.DataFrame(columns), "pyarrow": pa.table(columns), "datasets": datasets.Dataset.from_dict(columns),
        "list": pd.DataFrame(columns).to_dict("records"), "mapping": columns,
    }[library]  # fmt: skip
    manifest = open_data(data, ["audio", "text"])
    assert [row.sources["audio"] for row in manifest] == [str(tmp_path / "a.wav")] * 2
    clips = Clips(manifest, {"audio": AudioReader(rate=8000)}, window=0.5)
    assert collate([clips[0, 0], clips[0, 1]])["audio"].values.shape == (2, 4000)


def test_a_bad_recording_in_memory_is_named(tmp_path):
    manifest = Manifest.open([{"id": "x", "audio": b"RIFF    WAVEnothing"}])
    error = Clips(manifest, {"audio": AudioReader(rate=8000)}, window=0.5)[0, 0]
    assert str(error).startswith("the list of rows, row 'x': ") and ".wav" in str(error)


def test_recordings_that_are_not_asked_for_are_not_written(home):
    rows = [{"audio": wav(300), "imu": WINDOWS[0], "imu_rate": 50, "text": "x"}]
    assert open_data(rows, ["text"]).modalities == ("text",) and not home.exists()
    open_data({name: [value] for name, value in rows[0].items()}, ["imu"])
    assert {path.suffix for path in home.rglob("*") if path.is_file()} == {".npy"}


def test_a_decoder_of_sound_is_read():
    class Decoder:
        def get_all_samples(self):
            return type("Samples", (), {"data": torch.from_numpy(media.tone(1.0, 300, 8000)), "sample_rate": 8000})

    (samples,) = sounds(Manifest.open([{"audio": Decoder()}]))
    assert np.allclose(samples, media.tone(1.0, 300, 8000)[0, :4000], atol=1e-4)


def test_one_recording_of_sensors_may_be_a_frame():
    names = ["time", "ax", "ay", "az", "gx", "gy", "gz"]
    table = pd.DataFrame(np.c_[np.arange(128) / 50, WINDOWS[0]], columns=names)
    reading = IMUReader(rate=50.0, sensors=1).read(Manifest.open([{"imu": table}])[0].sources["imu"], 0.0, 2.56)
    assert np.allclose(reading.values[:, 0].numpy(), WINDOWS[0], atol=1e-5)


def test_decoded_sound_in_a_saved_dataset_is_read(tmp_path):
    tones = [media.tone(1.0, hertz, 8000)[0] for hertz in (300, 500)]
    rows = [{"audio": {"array": tone.tolist(), "sampling_rate": 8000, "path": None}} for tone in tones]
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(tmp_path / "rows.parquet")
    for data in (table, tmp_path / "rows.parquet"):
        assert np.allclose(sounds(Manifest.open(data)), [tone[:4000] for tone in tones], atol=1e-4)


def test_windows_in_columns_of_a_dataset_are_read(tmp_path):
    shape = datasets.Array2D((128, 6), "float32")
    columns = {"imu": list(WINDOWS[:3]), "imu_rate": [50] * 3}
    nested = datasets.Dataset.from_dict({**columns, "imu": WINDOWS[:3].tolist()})
    fixed = datasets.Dataset.from_dict(columns, datasets.Features(imu=shape, imu_rate=datasets.Value("int64")))
    for number, table in enumerate((nested, fixed)):
        table.save_to_disk(tmp_path / str(number))
        for data in (table, tmp_path / str(number)):
            for window, row in zip(WINDOWS, Manifest.open(data), strict=False):
                assert np.allclose(np.load(row.sources["imu"]["path"]), window)
