"""The game: armed, entered somewhere, and recorded tic by tic."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from mmmae.corpora.doom.player import Player
from mmmae.native_logs import quiet
from modalities.errors import InputError
from modalities.noise import uniform_scalar

TICS, SOUND = 35, 22_050  # tics, each one picture, and samples of sound per second
BEFORE, AFTER = 50, 8  # tics played but not shown: drawing the weapon, and a border for the IMU's smoothing
READY = 12  # tics before the first picture at which the weapon is drawn and the player begins to act
BUTTONS = ["MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT", "ATTACK", "USE", "SPEED", "TURN_LEFT_RIGHT_DELTA"]
HEAD = ["CAMERA_POSITION_X", "CAMERA_POSITION_Y", "CAMERA_POSITION_Z", "ANGLE"]
UNSEEN = {"Self", "Explosive", "SFX", "Gibs", "Gore", "Unknown"}  # the weapon, shots, smoke, blood, the dead


@dataclass
class Played:
    """One episode, tic by tic: pictures (120, 160, 3), sound (630, 2), head (x, y, z, degrees), things in view."""

    pictures: list[np.ndarray] = field(default_factory=list)
    sound: list[np.ndarray] = field(default_factory=list)
    head: list[np.ndarray] = field(default_factory=list)  # from BEFORE tics ahead of the pictures to AFTER behind them
    seen: Counter[str] = field(default_factory=Counter)  # name -> pixels, summed
    fired: bool = False


class Game:
    """A running game without window; every episode depends on its take alone."""

    def __init__(self, package: Path):
        import vizdoom  # pyright: ignore[reportMissingImports]

        self.folder = tempfile.TemporaryDirectory()  # where the game litters, its working directory included
        self.game = game = vizdoom.DoomGame()
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
        game.add_game_args("+snd_efx 0")  # with effects on it stays silent
        game.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
        game.set_available_game_variables([getattr(vizdoom.GameVariable, name) for name in HEAD])
        with contextlib.chdir(self.folder.name), quiet():
            game.init()
        if not self.sounds():
            self.close()
            raise InputError("the game fires without a sound: it plays through OpenAL\n  apt-get install libopenal1")

    def sounds(self) -> bool:
        """Whether a second of firing can be heard."""
        for _ in range(TICS):
            self.game.make_action([0, 0, 0, 1, 0, 0, 0])
            if self.game.get_state().audio_buffer.any():
                return True
        return False

    def close(self) -> None:
        self.game.close()
        self.folder.cleanup()

    def play(self, key: int, level: str, weapon: str, tics: int) -> Played:
        """Record `tics` tics of an episode; one in which the player stumbles through the exit begins elsewhere."""
        attempts = (self.attempt(key, level, weapon, tics, number) for number in count())
        return next(played for played in attempts if played is not None)

    def attempt(self, key: int, level: str, weapon: str, tics: int, number: int) -> Played | None:
        """Play one episode: arm, go to a drawn thing of the level, look around, then act; None if it ends too early."""
        game, still = self.game, [0] * len(BUTTONS)
        game.set_doom_map(level)
        game.set_seed(key & 0x7FFFFFFF)
        game.new_episode()
        where, look = uniform_scalar(key, f"doom/start/{number}" if number else "doom/start", 2)
        things = sorted((thing.id, thing.position_x, thing.position_y) for thing in game.get_state().objects)
        _, x, y = things[int(where * len(things))]
        for command in ("god", "give all", f"use {weapon}", f"warp {x} {y}"):
            game.send_game_command(command)
            game.make_action(still)  # the game obeys one command per tic
        game.make_action([*still[:-1], 360 * look])
        player, played = Player(key), Played()
        for tic in range(-BEFORE, tics + AFTER):
            state = game.get_state()
            if state is None:
                return None
            played.head.append(state.game_variables.copy())
            action = player.act(state, tic) if tic >= -READY else still
            if 0 <= tic < tics:
                played.pictures.append(state.screen_buffer.copy())
                played.sound.append(state.audio_buffer.copy())
                played.fired |= bool(action[3])
                for label in state.labels:
                    if label.object_category not in UNSEEN:
                        played.seen[label.object_name] += label.width * label.height
            game.make_action(action)
        return played
