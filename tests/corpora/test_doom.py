"""The corpus doom: a head feels its way, what it sees is named in English, and both splits play every weapon."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import av
import numpy as np
import pytest
from packages import UP, needs

from mmmae import corpora
from mmmae.corpora import doom
from mmmae.corpora.doom import head as doom_head
from mmmae.corpora.doom.game import Game, Played
from mmmae.corpora.doom.player import Player
from modalities.noise import sample_key

TICS, BEFORE, AFTER = doom.TICS, doom.BEFORE, doom.AFTER


def path(tics: int, *, speed: float = 0.0, turning: float = 0.0) -> np.ndarray:
    """A head that goes `speed` units a tic along x, 1000 units out, and turns by `turning` degrees a tic."""
    tic = np.arange(BEFORE + tics + AFTER, dtype=float)
    return np.stack([1000 + speed * tic, 0 * tic, 41 + 0 * tic, (turning * tic) % 360], axis=1)


@pytest.mark.parametrize("speed", [0.0, 8.0])
def test_doom_feels_gravity_alone_at_rest_and_at_constant_speed(speed):
    readings = doom_head.measure(path(70, speed=speed), 1)
    assert readings.shape == (100, 6)
    np.testing.assert_allclose(readings.mean(axis=0), [*UP, 0, 0, 0], atol=0.03)
    np.testing.assert_allclose(readings.std(axis=0), np.repeat([0.05, 0.01], 3), rtol=0.5)


def test_doom_feels_turns_and_starts_in_the_axes_of_the_head():
    readings = doom_head.measure(path(70, turning=6.0), 1)
    assert readings[:, 5].mean() == pytest.approx(math.radians(6) * TICS, rel=0.01)  # also where 359 becomes 0
    start = path(70)
    start[:, 3] = 90
    start[:, 1] = np.maximum(np.arange(len(start)) - BEFORE - 35, 0) * 8.0  # along y, which lies ahead
    readings = doom_head.measure(start, 1)
    assert abs(readings[:, 0].argmax() - 50) <= 1 and readings[:, 0].max() > 10 and abs(readings[:, 1]).max() < 1
    assert readings[:, 0].sum() / doom_head.RATE == pytest.approx(8 * TICS * doom_head.METRES, rel=0.05)


def test_doom_feels_no_teleport():
    jumped = path(70)
    jumped[BEFORE + 30 :, :2] += 900
    np.testing.assert_allclose(doom_head.measure(jumped, 1), doom_head.measure(path(70), 1), atol=1e-9)


@pytest.mark.parametrize(
    ("speed", "turning", "words"),
    [(0.0, 0.0, "standing"), (8.0, 3.0, "walking and turning left"), (16.0, -3.0, "running and turning right")],
)
def test_doom_says_how_the_head_moves(speed, turning, words):
    assert doom_head.gait(path(70, speed=speed, turning=turning)) == words


def test_doom_names_things_in_english():
    assert [doom.article(name) for name in ("DoomImp", "GreenArmor", "ArmorBonus")] == [
        "an imp",
        "a green armor",
        "an armor bonus",
    ]


def test_doom_plays_every_weapon_alike_in_both_splits():
    takes = [doom.plan_take(sample_key(0, 0, i), i) for i in range(5 * 7 * 4)]
    for split, level in (("train", "map01"), ("test", "map02")):
        weapons = [take.weapon for take in takes if take.split == split]
        assert {take.level for take in takes if take.split == split} == {level}
        assert {weapons.count(weapon) for weapon in doom.WEAPONS} == {len(weapons) // 7}


def test_doom_player_aims_at_what_moves_and_turns_where_the_way_ends():
    monster = SimpleNamespace(object_category="Monster", object_id=3, x=120, width=20, height=40)
    where = np.zeros(4)
    assert Player(1).act(SimpleNamespace(game_variables=where, labels=[monster]), 0)[-1] == 6  # it is on the right
    player = Player(1)
    actions = np.array([player.act(SimpleNamespace(game_variables=where, labels=[]), tic) for tic in range(200)])
    assert (abs(actions[:, -1]) == 9).sum() >= 24 and actions[:, 4].any()  # turns away and tries the door


@needs("vizdoom", doom.INSTALL)
def test_doom_for_real(tmp_path):
    folder = corpora.prepare("doom", tmp_path / "doom", clips=2, seconds=1.0, workers=1).parent
    row = json.loads((folder / "manifest.jsonl").read_text().splitlines()[1])
    assert row["label"] == "pistol" and " with a pistol" in row["text"]
    with av.open(str(folder / row["video"])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(folder / row["video"])) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert len(frames) == 35 and frames[0].shape == (120, 160, 3) and abs(sound).max() > 0.01
    assert sound.shape[1] == pytest.approx(doom.SOUND, abs=2048)


def test_doom_begins_elsewhere_when_an_episode_ends_too_early(monkeypatch):
    tried = []
    monkeypatch.setattr(
        Game, "attempt", lambda self, *given: tried.append(given) or (Played() if given[-1] == 2 else None)
    )
    assert isinstance(object.__new__(Game).play(7, "map01", "2", 35), Played)
    assert tried == [(7, "map01", "2", 35, number) for number in range(3)]
