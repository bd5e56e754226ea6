"""Who plays: a few rules that look purposeful."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from modalities.noise import uniform_scalar


class Player:
    """Explores and fights. What is random about it comes from the key of the clip, afresh every second."""

    def __init__(self, key: int):
        self.key = key
        hurry, self.phase, self.sway = uniform_scalar(key, "doom/player", 3)
        self.runs = int(hurry < 0.4)
        self.places: list[np.ndarray] = []
        self.blocked, self.side = 0, 1

    def act(self, state: Any, tic: int) -> list[int | float]:
        """What to do in this tic: (forward, left, right, attack, use, run, degrees to turn right)."""
        rest, burst, strafe, side = uniform_scalar(self.key, f"doom/second{tic // 35}", 4)
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
            off = math.degrees(math.atan2(nearest.x + nearest.width / 2 - 80, 80))  # 160 pixels span 90 degrees
            turn, attack = min(max(off, -6), 6), int(abs(off) < 8)
        return [forward, left, right, attack, 0, self.runs, turn]
