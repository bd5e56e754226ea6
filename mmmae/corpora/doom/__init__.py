"""Walking and fighting in the first person (video with sound, IMU of the head, text), played and recorded here.

Package: `vizdoom` 1.3.2 (MIT licence; Wydmuch, Kempka, Jaskowski 2019, arXiv:1809.03470) with the levels and sounds of
Freedoom (BSD licence) that it ships. Each clip is an episode of its own: a scripted player, begun at a drawn place with
one of seven weapons, explores, turns where the way ends, aims at what moves and fires in bursts.

Picture, 630 samples of sound and the place of the head come from the same game tic, 35 a second. `label` is the weapon,
`group` the level: map01 trains, map02 tests.
"""

from __future__ import annotations

import contextlib
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from mmmae.corpora import installed
from mmmae.corpora.doom.game import AFTER, BEFORE, SOUND, TICS, Game, Played
from mmmae.corpora.doom.head import RATE, gait, measure
from mmmae.corpora.writing import write_credits, write_imu, write_manifest, write_video
from modalities.noise import sample_key

INSTALL = "pip install --no-deps vizdoom==1.3.2"
TEST_EVERY = 5  # of the clips, every fifth is played on the test level

WEAPONS = {
    "Fist": ("fist", "bare fists, punching"),
    "Pistol": ("pistol", "a pistol, firing"),
    "Shotgun": ("shotgun", "a shotgun, firing"),
    "Chaingun": ("chaingun", "a chaingun, firing"),
    "RocketLauncher": ("rocket launcher", "a rocket launcher, firing"),
    "PlasmaRifle": ("plasma rifle", "a plasma rifle, firing"),
    "BFG9000": ("bfg", "a big energy gun, firing"),
}
NAMES = {  # where the engine's name is not what one sees
    "Zombieman": "zombie",
    "ShotgunGuy": "shotgun zombie",
    "DoomImp": "imp",
    "ExplosiveBarrel": "barrel",
    "Stalagtite": "stalagmite",
}


def write(out: Path, *, clips: int = 200, seconds: float = 4.0, seed: int = 0, workers: int = 2) -> Path:
    """Play `clips` episodes and write `seconds` of each, in `workers` games at once.

    What happens is the same for any number of workers; sparks and the choice between two sounds of one explosion come
    from the engine's own dice, which only a new game resets, and so may differ.

    Raises:
        InputError: vizdoom, or the library through which it makes sound, is not installed.
    """
    if clips < 1 or seconds <= 0 or workers < 1:
        raise ValueError(f"doom takes clips >= 1, seconds > 0 and workers >= 1; got {clips}, {seconds}, {workers}")
    package = installed("vizdoom", INSTALL)
    tics = math.ceil(seconds * TICS)

    def record(game: Game, first: int) -> list[dict[str, object]]:
        takes = {index: plan_take(sample_key(seed, 0, index), index) for index in range(first, clips, workers)}
        return [
            write_clip(out, f"{index:05d}", take, game.play(take.key, take.level, take.weapon, tics))
            for index, take in takes.items()
        ]

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        games = [stack.enter_context(contextlib.closing(Game(package))) for _ in range(workers)]
        rows = list(chain.from_iterable(pool.map(record, games, range(workers))))
    write_credits(
        out,
        "Recorded by mmmae in ViZDoom 1.3.2 (Marek Wydmuch, Michal Kempka, Wojciech Jaskowski, Farama Foundation and "
        "contributors; MIT licence), on levels, pictures and sounds of Freedoom (the Freedoom project; BSD licence).",
    )
    return write_manifest(out, sorted(rows, key=lambda row: str(row["id"])))


@dataclass(frozen=True)
class Take:
    """What is chosen for one clip."""

    key: int
    level: str
    weapon: str
    split: str


def plan_take(key: int, index: int) -> Take:
    """Levels and weapons take turns, so that both splits hold all weapons alike."""
    turn, place = divmod(index, TEST_EVERY)
    weapons = list(WEAPONS)
    if place == TEST_EVERY - 1:
        return Take(key, "map02", weapons[turn % len(weapons)], "test")
    return Take(key, "map01", weapons[(turn * (TEST_EVERY - 1) + place) % len(weapons)], "train")


def write_clip(out: Path, name: str, take: Take, played: Played) -> dict[str, object]:
    """Write the files of one clip and return its row."""
    label, holding = WEAPONS[take.weapon]
    sound = np.concatenate(played.sound).mean(axis=1, dtype=np.float32) / 32768
    write_video(out / f"{name}.mp4", played.pictures, TICS, sound, SOUND)
    head = np.array(played.head)
    readings = measure(head, take.key)
    write_imu(out / f"{name}.csv", np.arange(len(readings)) / RATE, {"head": readings})
    text = f"{gait(head[BEFORE:-AFTER])} with {holding if played.fired else holding.partition(',')[0]}"
    if played.seen:
        text += f"; {' and '.join(article(thing) for thing, _ in played.seen.most_common(2))} in view"
    return {
        "id": name,
        "video": f"{name}.mp4",
        "imu": f"{name}.csv",
        "text": text,
        "label": label,
        "group": take.level,
        "split": take.split,
    }


def article(name: str) -> str:
    """`DeadMarine` as `a dead marine`."""
    words = NAMES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
