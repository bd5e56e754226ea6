"""The scene of a clip: bodies, their actions, and the English sentence that describes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

COLOURS = {
    "red": (0.90, 0.17, 0.16),
    "orange": (0.98, 0.53, 0.08),
    "yellow": (0.98, 0.85, 0.18),
    "green": (0.20, 0.72, 0.32),
    "blue": (0.18, 0.45, 0.95),
    "purple": (0.62, 0.28, 0.82),
}
SIZES = {"big": 0.33, "medium": 0.23, "small": 0.15}
"""Radius in metres; the room is two metres wide."""
SHAPES = ("ball", "box", "triangle")
ACTIONS = ("bounce", "slide", "roll", "circle", "swing", "shake", "spin", "hop", "collide", "rest")

PLACES = {"on the left": -0.6, "in the middle": 0.0, "on the right": 0.6}
TURNS = {1: "anticlockwise", -1: "clockwise"}
AXES = {1: "sideways", -1: "up and down"}
PACE = (("slowly",), ("", "steadily"), ("fast", "quickly"))
HEIGHT = (("low",), ("",), ("high",))
PHRASES = {
    "bounce": ("bounces {pace} {place}", "bounces {pace} on the floor {place}"),
    "slide": ("slides {pace} from wall to wall", "slides {pace} left and right"),
    "roll": ("rolls {pace} from wall to wall", "rolls {pace} back and forth"),
    "circle": ("circles {turn} {pace}", "circles {pace} {turn} in the air"),
    "swing": ("swings {pace} on a string", "swings {pace} like a pendulum"),
    "shake": ("shakes {axis} {pace} {place}", "shakes {pace} {axis} {place}"),
    "spin": ("spins {turn} {pace} {place}", "spins {pace} {turn} {place}"),
    "hop": ("hops {pace}", "hops {pace} about the floor"),
    "collide": ("collides {pace} with", "collides {pace}, again and again, with"),
    "rest": ("rests {place}", "rests on the floor {place}"),
}
SENTENCES = {
    1: ("{0}", "there is one body: {0}"),
    2: ("{0} and {1}", "{0} while {1}", "there are two bodies: {0} and {1}"),
    3: ("{0}, {1} and {2}", "{0} while {1} and {2}", "there are three bodies: {0}, {1} and {2}"),
}


@dataclass(frozen=True)
class Body:
    """One thing that moves; `pace` in [0, 1] runs from slow (or low) to fast, `turn` is 1 or -1, `x` in metres."""

    colour: str
    shape: str
    size: str
    action: str
    pace: float
    turn: int
    place: str
    phase: float

    @property
    def radius(self) -> float:
        """Metres from the centre to the floor it stands on."""
        return SIZES[self.size]

    @property
    def pitch(self) -> float:
        """What it sounds like, in Hz: a whole-tone scale of colours, an octave lower with every size."""
        step = list(COLOURS).index(self.colour) / len(COLOURS)
        return 330 * 2 ** (step + list(SIZES).index(self.size))

    @property
    def tremble(self) -> float:
        """What it feels like, in Hz: the same scale of colours, slow enough for a 50 Hz sensor."""
        return 5.0 + 3.0 * list(COLOURS).index(self.colour)

    @property
    def noun(self) -> str:
        """How the caption names it."""
        return f"a {self.size} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """One clip: its bodies (the first acts out the label), the room's colour (hue in turns) and the caption."""

    bodies: tuple[Body, ...]
    hue: float
    caption: str

    @property
    def label(self) -> str:
        """The main body's action."""
        return self.bodies[0].action


def draw_scene(index: int, seed: int) -> Scene:
    """Scene `index` of the world `seed`: actions take turns, everything else is drawn from (seed, index)."""
    rng = np.random.default_rng([seed, index])
    main = ACTIONS[index % len(ACTIONS)]
    count = 1 + int(np.searchsorted((0.65, 0.92), rng.random()))
    count = max(count, 2) if main == "collide" else count
    colours, places = _shuffled(rng, COLOURS), _shuffled(rng, PLACES)
    companions = [action for action in ACTIONS if action != "collide"]
    bodies = []
    for i in range(count):
        action = main if i == 0 or (main == "collide" and i == 1) else _one(rng, companions)
        bodies.append(
            Body(
                colour=colours[i],
                shape=_one(rng, SHAPES),
                size=_one(rng, list(SIZES)),
                action=action,
                pace=rng.random(),
                turn=-bodies[0].turn if main == "collide" and i == 1 else _one(rng, (1, -1)),
                place=places[i],
                phase=rng.random(),
            )
        )
    return Scene(tuple(bodies), hue=rng.random(), caption=_caption(rng, bodies))


def _caption(rng: np.random.Generator, bodies: list[Body]) -> str:
    clauses = []
    for body in bodies:
        words = HEIGHT if body.action in ("bounce", "hop") else PACE
        phrase = _one(rng, PHRASES[body.action]).format(
            pace=_one(rng, words[min(2, math.floor(3 * body.pace))]),
            place=body.place,
            turn=TURNS[body.turn],
            axis=AXES[body.turn],
        )
        clauses.append(" ".join(f"{body.noun} {phrase}".split()).replace(" ,", ","))
    if bodies[0].action == "collide":  # one clause says what both of them do
        clauses[:2] = [f"{clauses[0]} {bodies[1].noun}"]
        sentence = "{0}" if len(clauses) == 1 else _one(rng, SENTENCES[2][:2])
    else:
        sentence = _one(rng, SENTENCES[len(bodies)])
    return sentence.format(*clauses)


def _one(rng: np.random.Generator, choices):
    return choices[int(rng.random() * len(choices))]


def _shuffled(rng: np.random.Generator, choices) -> list:
    return [list(choices)[i] for i in np.argsort(rng.random(len(choices)), kind="stable")]
