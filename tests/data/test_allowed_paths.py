"""Only what is the data's is read: paths and links that lead out of its folder are refused."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from clocks import write

from mmmae.data.manifest import Manifest
from modalities.errors import InputError


@pytest.fixture
def house(tmp_path) -> Path:
    """A folder of data beside one of secrets."""
    for name in ("data", "secret"):
        (tmp_path / name).mkdir()
        for file in ("a.mp4", "a.wav", "a.csv", "a.txt"):
            (tmp_path / name / file).write_text("9")
    (tmp_path / "data" / "link.mp4").symlink_to(tmp_path / "secret" / "a.mp4")
    (tmp_path / "data" / "away").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "near.mp4").symlink_to("a.mp4")
    return tmp_path


@pytest.mark.parametrize("path", ["../secret/a.mp4", "{}/secret/a.mp4", "link.mp4", "away/a.mp4", "away/../a.mp4",
                                  "{}/data/../secret/a.mp4", "/etc/hostname", "../secret/none.mp4", ".."])  # fmt: skip
def test_a_path_that_leads_out_is_refused(house, path):
    path = path.format(house)
    for row in ({"id": "a", "video": path}, {"video": "a.mp4", "regions": path}, {"audio": path}, {"imu": path}):
        manifest = write(house / "data", [{"text": "first"}, row])
        with pytest.raises(InputError) as caught:
            Manifest.open(manifest, bad=1.0)
        message, column = str(caught.value), next(key for key in row if row[key] == path)
        assert f"{manifest}, line 2: column {column!r}: {path}" in message and "data.outside=true" in message
        Manifest.open(manifest, bad=1.0, outside=True)


@pytest.mark.parametrize(
    "path", ["a.mp4", "./a.mp4", "../data/a.mp4", "{}/data/a.mp4", "near.mp4", "away/../data/a.mp4"]
)
def test_a_path_that_stays_inside_is_read(house, path):
    (house / "data" / "deep").mkdir()
    (house / "door").symlink_to("data")
    write(house / "data", [{"video": path.format(house)}])
    for way in ("data", "door"):
        assert len(Manifest.open(house / way)) == 1, way


def test_a_folder_is_not_left_by_links(house):
    data = house / "data"
    with pytest.raises(InputError, match=r"away \(a link to .*secret\) lies outside"):
        Manifest.open(data)
    assert len(Manifest.open(data, outside=True)) == 4  # the link leads to what is in the linked folder, too
    (data / "away").unlink()
    with pytest.raises(InputError, match=r"link\.mp4.*lies outside"):
        Manifest.open(data)
    assert len(Manifest.open(data, outside=True)) == 3
    (data / "link.mp4").unlink()
    assert len(Manifest.open(data)) == 2
    (data / "near.txt").symlink_to(house / "secret" / "a.txt")
    with pytest.raises(InputError, match=r"near\.txt.*secret/a\.txt.*lies outside"):
        Manifest.open(data)
    (data / "near.txt").unlink()
    write(house / "secret", [{"text": "private"}], "rows.jsonl")
    (data / "manifest.jsonl").symlink_to(house / "secret" / "rows.jsonl")
    with pytest.raises(InputError, match=r"manifest\.jsonl.*lies outside"):
        Manifest.open(data)
    assert len(Manifest.open(data / "manifest.jsonl")) == 1  # named by the user


@pytest.mark.parametrize("how", ["named", "linked", "split", "linked split"])
def test_a_saved_dataset_is_not_left_either(tmp_path, how):
    part = datasets.Dataset.from_list([{"text": "hello"}])
    part.save_to_disk(tmp_path / "secret")
    datasets.DatasetDict(train=part).save_to_disk(tmp_path / "data")
    Manifest.open(tmp_path / "data")
    state, arrow = tmp_path / "data/train/state.json", next((tmp_path / "data/train").glob("*.arrow"))
    if how == "named":
        state.write_text(state.read_text().replace(arrow.name, f"../../secret/{arrow.name}"))
    elif how == "linked":
        arrow.unlink()
        arrow.symlink_to(next((tmp_path / "secret").glob("*.arrow")))
    elif how == "split":
        (tmp_path / "data/dataset_dict.json").write_text('{"splits": ["../secret"]}')
    else:
        (tmp_path / "data/train").rename(tmp_path / "old")
        (tmp_path / "data/train").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"(?s)lies outside.*data\.outside=true"):
        Manifest.open(tmp_path / "data")
    if how != "split":  # there, its name would stand in the column `split`
        assert len(Manifest.open(tmp_path / "data", outside=True)) == 1
