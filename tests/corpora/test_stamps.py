"""The corpus stamps: pictures on white with what they are."""

from __future__ import annotations

import numpy as np
import pytest
from packages import needs_shipped, rows, stamp

from mmmae import corpora
from mmmae.corpora import stamps
from modalities.audio import AudioReader
from modalities.errors import InputError
from modalities.video import VideoReader


def test_stamps_are_pictures_on_white_with_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "STAMPS", tmp_path / "stamps")
    wide = np.zeros((10, 30, 4), np.uint8)
    wide[:, 10:] = [0, 0, 200, 255]  # blue, but for a third of it: black that is not there
    wide[:, 20:, 3] = 51  # a fifth of the rest
    stamp(
        tmp_path / "stamps/animals/fish/a.png", wide, "A fish.\nde.utf8=Ein Fisch.\nfr.utf8=Un poisson.\n", voice=True
    )
    stamp(tmp_path / "stamps/food/b.png", np.full((8, 8, 4), 255, np.uint8), "Salt.\nes.utf8=Sal.\nfr.utf8=\n")
    stamp(tmp_path / "stamps/food/b_mirror.png", np.full((8, 8, 4), 255, np.uint8), None)
    folder = corpora.prepare("stamps", tmp_path / "out").parent
    fish, salt = rows(folder)
    assert fish == {
        "id": "animals/fish/a",
        "video": "animals/fish/a.png",
        "audio": "animals/fish/a.ogg",
        "text": "A fish.",
        "label": "animals",
        "group": "A fish.",
    }
    assert "audio" not in salt and salt["label"] == "food"
    values = VideoReader(frames=1, size=30).read(str(folder / fish["video"]), 0.0, 2.0).values[0].numpy()
    assert values.shape == (3, 30, 30)
    np.testing.assert_array_equal(values[:, 15, [5, 15, 25]].T, [[255, 255, 255], [0, 0, 200], [204, 204, 244]])
    assert (values[:, [0, 9, 20, 29]] == 255).all() and AudioReader().read(str(folder / fish["audio"]), 0.0, 0.4)

    french = rows(corpora.prepare("stamps", tmp_path / "french", language="fr").parent)
    assert [row.get("text") for row in french] == ["Un poisson.", None]
    assert [row["group"] for row in french] == ["A fish.", "Salt."]
    with pytest.raises(InputError, match="take one of en, es, fr"):
        corpora.prepare("stamps", tmp_path / "more", language="de")


@needs_shipped(stamps.STAMPS, stamps.INSTALL)
def test_stamps_for_real(tmp_path):
    folder = corpora.prepare("stamps", tmp_path / "out", language="fr").parent
    table = rows(folder)
    assert len(table) == 785 and all("text" in row for row in table)
    assert sum("audio" in row for row in table) == 767
    assert len({row["label"] for row in table}) == 16 and len({row["group"] for row in table}) == 674
    corners = [
        VideoReader(frames=1, size=32).read(str(folder / r["video"]), 0.0, 1.0).values[0, :, 0, 0] for r in table[::9]
    ]
    assert np.mean([(corner > 250).all() for corner in corners]) > 0.8
