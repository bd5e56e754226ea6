"""doom: walking and fighting in the first person (video with sound, IMU of the head, text), played and recorded here.

Package: `vizdoom` 1.3.2 (MIT licence; Wydmuch, Kempka, Jaskowski 2019, arXiv:1809.03470) with the levels and sounds of
Freedoom (BSD licence) that it ships. Each clip is an episode of its own: a scripted player, begun at a drawn place with
one of seven weapons, explores, turns where the way ends, aims at what moves and fires in bursts.

Picture, 630 samples of sound and the place of the head come from the same game tic, 35 a second. `label` is the weapon,
`group` the level: map01 trains, map02 tests.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from mmmae.corpora import installed
from mmmae.corpora.writing import write_credits, write_imu, write_manifest, write_video
from modalities.errors import InputError
from modalities.noise import draw, sample_key

INSTALL = "pip install --no-deps vizdoom==1.3.2"
TICS, RATE, SOUND = 35, 50, 22_050  # pictures, readings and samples of sound per second
METRES = 1 / 32  # per map unit: a marine is 56 units tall
GRAVITY, SATURATION = 9.80665, 16 * 9.80665  # the head's sensor measures up to 16 g, as most do
BEFORE, AFTER = 50, 8  # tics played but not shown: drawing the weapon, and a border for the IMU's smoothing
SMOOTH = 1.5  # tics, standard deviation of the smoothing of the head's path
TELEPORT = 64  # units within a tic, more than anybody runs
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
UNSEEN = {"Self", "Explosive", "SFX", "Gibs", "Gore", "Unknown"}  # the weapon, shots, smoke, blood, the dead


def write(out: Path, *, clips: int = 200, seconds: float = 4.0, seed: int = 0, workers: int = 2) -> Path:
    """Play `clips` episodes and write `seconds` of each; `workers` games run at once and change nothing in the files.

    Raises:
        InputError: vizdoom, or the library through which it makes sound, is not installed.
    """
    if clips < 1 or seconds <= 0 or workers < 1:
        raise ValueError(f"doom takes clips >= 1, seconds > 0 and workers >= 1; got {clips}, {seconds}, {workers}")
    package = installed("vizdoom", INSTALL)
    tics = math.ceil(seconds * TICS)
    games: SimpleQueue[Game] = SimpleQueue()

    def record(index: int) -> dict[str, object]:
        take = plan_take(sample_key(seed, 0, index), index)
        game = games.get()
        try:
            played = game.play(take, tics)
        finally:
            games.put(game)
        return write_clip(out, f"{index:05d}", take, played)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        for _ in range(min(workers, clips)):
            games.put(stack.enter_context(contextlib.closing(Game(package))))
        rows = list(pool.map(record, range(clips)))
    write_credits(
        out,
        "Recorded by mmmae in ViZDoom 1.3.2 (Marek Wydmuch, Michal Kempka, Wojciech Jaskowski, Farama Foundation and "
        "contributors; MIT licence), on levels, pictures and sounds of Freedoom (the Freedoom project; BSD licence).",
    )
    return write_manifest(out, rows)


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


@dataclass
class Played:
    """One episode, tic by tic: pictures (120, 160, 3), sound (630, 2), head (x, y, z, degrees), and what was in view."""

    pictures: list[np.ndarray] = field(default_factory=list)
    sound: list[np.ndarray] = field(default_factory=list)
    head: list[np.ndarray] = field(default_factory=list)  # from BEFORE tics ahead of the pictures to AFTER behind them
    seen: Counter[str] = field(default_factory=Counter)  # name -> pixels, summed
    fired: bool = False


def write_clip(out: Path, name: str, take: Take, played: Played) -> dict[str, object]:
    label, holding = WEAPONS[take.weapon]
    sound = np.concatenate(played.sound).mean(axis=1, dtype=np.float32) / 32768
    write_video(out / f"{name}.mp4", played.pictures, TICS, sound, SOUND)
    readings = measure(np.array(played.head))[: round(len(played.pictures) / TICS * RATE)]
    write_imu(out / f"{name}.csv", np.arange(len(readings)) / RATE, {"head": readings})
    holding = holding if played.fired else holding.partition(",")[0]
    view = " and ".join(article(thing) for thing, _ in played.seen.most_common(2))
    return {
        "id": name,
        "video": f"{name}.mp4",
        "imu": f"{name}.csv",
        "text": f"{gait(np.array(played.head)[BEFORE:-AFTER])} with {holding}" + (f"; {view} in view" if view else ""),
        "label": label,
        "group": take.level,
        "split": take.split,
    }


def measure(head: np.ndarray) -> np.ndarray:
    """What a sensor in the head feels: its path (t, 4) per tic -> (t', 6) at 50 Hz, less the border.

    Axes forward, left, up; specific force in m/s^2 (standing reads 9.81 upwards), angular velocity in rad/s.
    """
    steps = np.diff(head[:, :3], axis=0, prepend=head[:1, :3])
    steps[np.linalg.norm(steps, axis=1) > TELEPORT] = 0
    path, yaw = np.cumsum(steps, axis=0) * METRES, np.unwrap(np.radians(head[:, 3]))
    acceleration = gaussian_filter1d(path, SMOOTH, axis=0, order=2) * TICS**2
    turning = gaussian_filter1d(yaw, SMOOTH, order=1) * TICS
    ahead = np.cos(yaw) * acceleration[:, 0] + np.sin(yaw) * acceleration[:, 1]
    left = np.cos(yaw) * acceleration[:, 1] - np.sin(yaw) * acceleration[:, 0]
    readings = np.stack([ahead, left, acceleration[:, 2] + GRAVITY, 0 * yaw, 0 * yaw, turning], axis=1)
    tics = np.arange(len(head)) - BEFORE
    seconds = np.arange(math.floor((len(head) - BEFORE - AFTER) / TICS * RATE)) / RATE
    readings = CubicSpline(tics / TICS, readings)(seconds)
    return np.concatenate([readings[:, :3].clip(-SATURATION, SATURATION), readings[:, 3:]], axis=1)


def gait(head: np.ndarray) -> str:
    """How the head moved, in words."""
    pace = np.linalg.norm(np.diff(head[:, :2], axis=0), axis=1)
    turned = np.unwrap(np.radians(head[:, 3]))
    words = "standing" if np.median(pace) < 1 else "walking" if np.median(pace) < 10 else "running"
    if abs(turned[-1] - turned[0]) > math.pi / 3:
        words += " and turning left" if turned[-1] > turned[0] else " and turning right"
    return words


def article(name: str) -> str:
    """`DeadMarine` as `a dead marine`."""
    words = NAMES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


class Player:
    """Decides tic by tic what to do; what is random about it comes from the key of the clip.

    An action is (forward, left, right, attack, use, run, degrees to turn right).
    """

    def __init__(self, key: int):
        self.key = key
        hurry, self.phase, self.sway = draw(key, "doom/player", 3)
        self.runs = int(hurry < 0.4)
        self.places: list[np.ndarray] = []
        self.blocked, self.side = 0, 1

    def act(self, state: Any, tic: int) -> list[float]:
        rest, burst, strafe, side = draw(self.key, f"doom/second{tic // TICS}", 4)
        forward, attack = int(rest > 0.15), int(burst < 0.6)
        left, right = int(strafe < 0.15), int(strafe > 0.85)
        self.places.append(state.game_variables[:2])
        if forward and len(self.places) > 10 and math.dist(*self.places[-11::10]) < 12:
            self.blocked, self.side = 12, 1 if side < 0.5 else -1
        if self.blocked:  # open what may be a door, and turn away
            self.blocked -= 1
            self.places.clear()
            return [0, 0, 0, attack, int(self.blocked > 9), 0, 9 * self.side]
        turn = 2.5 * math.sin(2 * math.pi * (tic / (40 + 60 * self.sway) + self.phase))
        monsters = [label for label in state.labels if label.object_category == "Monster"]
        if monsters:
            nearest = max(monsters, key=lambda label: (label.width * label.height, label.object_id))
            off = math.degrees(math.atan2(nearest.x + nearest.width / 2 - 80, 80))  # 160 pixels see 90 degrees
            turn, attack = min(max(off, -6), 6), int(abs(off) < 8)
        return [forward, left, right, attack, 0, self.runs, turn]


class Game:
    """A running game without window; every episode depends on its take alone."""

    def __init__(self, package: Path):
        import vizdoom

        self.game = game = vizdoom.DoomGame()
        button, variable = vizdoom.Button, vizdoom.GameVariable
        self.folder = tempfile.TemporaryDirectory()
        game.set_doom_config_path(f"{self.folder.name}/vizdoom.ini")
        game.set_doom_game_path(str(package / "freedoom2.wad"))
        game.set_doom_map("map01")
        game.set_doom_skill(3)
        game.set_episode_timeout(0)
        game.set_window_visible(False)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_render_hud(False)
        game.set_render_screen_flashes(False)
        game.set_labels_buffer_enabled(True)
        game.set_objects_info_enabled(True)
        game.set_sound_enabled(True)
        game.set_audio_buffer_enabled(True)
        game.set_audio_buffer_size(1)
        game.set_audio_sampling_rate(vizdoom.SamplingRate.SR_22050)
        game.add_game_args("+snd_efx 0")  # with effects on, the loopback device stays silent
        names = ["MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT", "ATTACK", "USE", "SPEED", "TURN_LEFT_RIGHT_DELTA"]
        game.set_available_buttons([getattr(button, name) for name in names])
        names = ["CAMERA_POSITION_X", "CAMERA_POSITION_Y", "CAMERA_POSITION_Z", "ANGLE"]
        game.set_available_game_variables([getattr(variable, name) for name in names])
        with aside(self.folder.name):
            game.init()
        if not any(game.make_action([0, 0, 0, 1, 0, 0, 0]) or self.audible() for _ in range(TICS)):
            self.close()
            raise InputError("the game fires without a sound: OpenAL is missing\n  apt-get install libopenal1")

    def audible(self) -> bool:
        return bool(self.game.get_state().audio_buffer.any())

    def close(self) -> None:
        self.game.close()
        self.folder.cleanup()

    def play(self, take: Take, tics: int) -> Played:
        """Play one episode: arm, go somewhere, look around, then act and record `tics` tics."""
        game, still = self.game, [0] * 7
        game.set_doom_map(take.level)
        game.set_seed(take.key & 0x7FFFFFFF)
        game.new_episode()
        where, look = draw(take.key, "doom/start", 2)
        things = sorted((thing.id, thing.position_x, thing.position_y) for thing in game.get_state().objects)
        _, x, y = things[int(where * len(things))]
        for command in ("god", "give all", f"use {take.weapon}", f"warp {x} {y}"):
            game.send_game_command(command)
            game.make_action(still)  # the game obeys one command per tic
        game.make_action([*still[:-1], 360 * look])
        player, played = Player(take.key), Played()
        for tic in range(-BEFORE, tics + AFTER):
            state = game.get_state()
            played.head.append(state.game_variables.copy())
            action = player.act(state, tic) if tic >= -BEFORE // 4 else still
            if 0 <= tic < tics:
                played.pictures.append(state.screen_buffer.copy())
                played.sound.append(state.audio_buffer.copy())
                played.fired |= bool(action[3])
                for label in state.labels:
                    if label.object_category not in UNSEEN:
                        played.seen[label.object_name] += label.width * label.height
            game.make_action(action)
        return played


@contextlib.contextmanager
def aside(folder: str) -> Iterator[None]:
    """Start a program that litters its working directory and talks on standard output: in `folder`, and unheard."""
    with contextlib.chdir(folder), open(os.devnull, "w") as nowhere:
        heard = os.dup(1)
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(heard, 1)
            os.close(heard)
