"""How bodies move: gravity, springs, rods, walls and collisions in two dimensions, all clips integrated side by side.

Leapfrog steps of a millisecond: exact in free fall, and a spring keeps its energy. Metres, seconds, radians; y is up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmmae.corpora.world.scene import PLACES, Body

STEPS = 1000  # per second
GRAVITY = 9.81
WALL = 1.0  # the room reaches from -WALL to WALL
CEILING = 1.65  # strings hang from here
RING, CLICK = 0.2, 0.006  # seconds in which a struck body rings out, and the knock itself


@dataclass
class Start:
    """A body's state at the first step and what acts upon it."""

    position: tuple[float, float]
    velocity: tuple[float, float] = (0.0, 0.0)
    spin: float = 0.0
    weight: float = 1.0  # 0 for bodies held in the air by a spring
    stiffness: float = 0.0  # of a spring, 1/s^2
    anchor: tuple[float, float] = (0.0, 0.0)  # of the spring or of the rod
    rod: float = math.inf  # length of the string
    restitution: float = 0.0  # of the floor; walls return everything
    rolls: bool = False
    leap: tuple[float, float] = (0.0, 0.0)
    phase: float = 0.0


@dataclass
class Trace:
    """What n bodies did: `(steps, n, 2)` position and velocity, `(steps, n)` angle, spin, ring and click.

    `ring` is how strongly a body still sounds from its hits (m/s, decaying within RING seconds), `click` the knock
    itself, `hits` `(steps, n)` the change of velocity by each hit in m/s. `anchor` `(n, 2)` is NaN without a string.
    """

    position: np.ndarray
    velocity: np.ndarray
    angle: np.ndarray
    spin: np.ndarray
    ring: np.ndarray
    click: np.ndarray
    hits: np.ndarray
    anchor: np.ndarray

    @classmethod
    def empty(cls, steps: int, anchor: np.ndarray) -> Trace:
        """Room for so many steps of n bodies."""
        plane, line = (steps, len(anchor), 2), (steps, len(anchor))
        return cls(np.empty(plane), np.empty(plane), *(np.empty(line) for _ in range(5)), anchor=anchor)

    def record(self, step: int, *state: np.ndarray) -> None:
        """Keep the state at one step, in the order of the fields."""
        for kept, now in zip(vars(self).values(), state, strict=False):
            kept[step] = now

    def of(self, bodies: slice, steps: slice = slice(None)) -> Trace:
        """The trace of some of the bodies over some of the steps."""
        moving = {name: values[steps, bodies] for name, values in vars(self).items() if name != "anchor"}
        return Trace(**moving, anchor=self.anchor[bodies])


def begin(body: Body) -> Start:
    """Where a body starts, how fast, and which forces make its action."""
    r, pace, turn, phase = body.radius, body.pace, body.turn, body.phase
    floor, x = (PLACES[body.place], r), PLACES[body.place]
    across = ((2 * phase - 1) * (WALL - r), r)

    def between(low: float, high: float) -> float:
        return low + pace * (high - low)

    match body.action:
        case "bounce":
            height = between(0.25, 1.0)
            fallen = height * phase
            return Start((x, r + height - fallen), (0.0, turn * math.sqrt(2 * GRAVITY * fallen)), restitution=1.0)
        case "slide":
            return Start(across, (turn * between(0.7, 3.2), 0.0))
        case "roll":
            return Start(across, (turn * between(0.6, 2.4), 0.0), rolls=True)
        case "collide":
            return Start((turn * (0.1 * phase - 0.6), r), (turn * between(0.8, 2.4), 0.0))
        case "circle":
            rate, radius, centre = turn * between(2.0, 7.0), 0.45, (x / 4, 0.85)
            c, s = math.cos(math.tau * phase), math.sin(math.tau * phase)
            position, velocity = (
                (centre[0] + radius * c, centre[1] + radius * s),
                (-rate * radius * s, rate * radius * c),
            )
            return Start(position, velocity, weight=0.0, stiffness=rate**2, anchor=centre)
        case "shake":
            rate, reach, (cx, cy) = math.tau * between(1.5, 5.0), between(0.2, 0.06), (x, 0.6)
            c, s = reach * math.cos(math.tau * phase), -reach * rate * math.sin(math.tau * phase)
            position, velocity = ((cx + c, cy), (s, 0.0)) if turn > 0 else ((cx, cy + c), (0.0, s))
            return Start(position, velocity, weight=0.0, stiffness=rate**2, anchor=(cx, cy))
        case "swing":
            length, pivot = between(1.15, 0.4), (x / 6, CEILING)
            widest = min(1.1, math.asin(min(1.0, 0.5 / length)))
            angle = turn * widest * (0.2 + 0.8 * phase)
            rate = math.sqrt(2 * GRAVITY / length * (math.cos(angle) - math.cos(widest)))
            position = (pivot[0] + length * math.sin(angle), pivot[1] - length * math.cos(angle))
            velocity = (length * rate * math.cos(angle), length * rate * math.sin(angle))
            return Start(position, velocity, anchor=pivot, rod=length)
        case "spin":
            return Start(floor, spin=turn * between(2.5, 14.0))
        case "hop":
            return Start(floor, leap=(0.7 * turn, between(1.6, 3.4)), phase=phase)
        case "rest":
            return Start(floor)
    raise AssertionError(body.action)


def simulate(bodies: list[Body], pairs: list[tuple[int, int]], seconds: float) -> Trace:
    """Integrate all bodies; those named in `pairs` strike each other, the rest pass at different depths."""
    starts = [begin(body) for body in bodies]

    def column(name: str) -> np.ndarray:
        return np.array([getattr(start, name) for start in starts], dtype=np.float64)

    x, v, spin, anchor, leap = (column(name) for name in ("position", "velocity", "spin", "anchor", "leap"))
    stiffness, rod, bounce, phase = (column(name) for name in ("stiffness", "rod", "restitution", "phase"))
    rolls, hops, swings = column("rolls") > 0, leap[:, 1] > 0, np.flatnonzero(np.isfinite(rod))
    down = np.stack([np.zeros(len(bodies)), -GRAVITY * column("weight")], axis=1)
    r = np.array([body.radius for body in bodies])
    a, b = np.array(pairs, dtype=int).reshape(-1, 2).T
    reach, share = 2 * np.sqrt(r[a] * r[b]), 2 / (r[a] ** 2 + r[b] ** 2)  # balls on one floor touch at this distance
    angle, ring, click = np.zeros_like(r), np.zeros_like(r), np.zeros_like(r)
    wait, hop = _pause(phase, np.zeros_like(r)), np.zeros_like(r)

    def pull() -> np.ndarray:
        force = down - stiffness[:, None] * (x - anchor)
        if len(swings):
            along = (x[swings] - anchor[swings]) / rod[swings, None]
            tension = (down[swings] * along).sum(1) + (v[swings] ** 2).sum(1) / rod[swings]
            force[swings] = down[swings] - tension[:, None] * along
        return force

    dt, count = 1 / STEPS, round(seconds * STEPS)
    trace = Trace.empty(count, anchor=np.where(np.isfinite(rod)[:, None], anchor, np.nan))
    force = pull()
    for step in range(count):
        v += 0.5 * dt * force
        x += dt * v
        force = pull()
        v += 0.5 * dt * force
        if len(swings):  # the string neither stretches nor slackens
            along = x[swings] - anchor[swings]
            along /= np.sqrt((along**2).sum(1, keepdims=True))
            x[swings] = anchor[swings] + rod[swings, None] * along
            v[swings] -= (v[swings] * along).sum(1, keepdims=True) * along
        moved = v.copy()

        low = (x[:, 1] < r) & (v[:, 1] < 0)
        depth = (r - x[:, 1]) * low
        returned = np.sqrt((v[:, 1] ** 2 - 4 * GRAVITY * depth).clip(0))  # mirrored above the floor, at equal energy
        x[:, 1] += (1 + bounce) * depth
        v[:, 1] = np.where(low, bounce * returned, v[:, 1])
        v[:, 0] = np.where(low & hops, 0, v[:, 0])
        out = (np.abs(x[:, 0]) > WALL - r) & (x[:, 0] * v[:, 0] > 0)
        v[:, 0] = np.where(out, -v[:, 0], v[:, 0])
        apart, closing = x[b, 0] - x[a, 0], v[b, 0] - v[a, 0]
        push = np.where((np.abs(apart) < reach) & (apart * closing < 0), share * closing, 0)
        v[a, 0] += push * r[b] ** 2
        v[b, 0] -= push * r[a] ** 2
        hit = np.sqrt(((v - moved) ** 2).sum(1))
        hit *= hit > 0.1  # lying on the floor is no hit

        wait -= dt * low
        leaps = hops & (wait <= 0) & low
        if leaps.any():
            hop += leaps
            wait = np.where(leaps, _pause(phase, hop), wait)
            inwards = np.where(np.abs(x[:, 0]) > 0.5, -np.sign(x[:, 0]) * np.abs(leap[:, 0]), leap[:, 0])
            v = np.where(leaps[:, None], np.stack([inwards, leap[:, 1]], axis=1), v)
        spin = np.where(rolls, -v[:, 0] / r, spin)
        angle += dt * spin
        ring, click = ring * (1 - dt / RING) + hit, click * (1 - dt / CLICK) + hit
        trace.record(step, x, v, angle, spin, ring, click, hit)
    if len(swings):  # a body on a string turns with it
        along = trace.position[:, swings] - anchor[swings]
        trace.angle[:, swings] = np.arctan2(along[..., 0], -along[..., 1])
        trace.spin[:, swings] = np.gradient(trace.angle[:, swings], dt, axis=0)
    return trace


def _pause(phase: np.ndarray, hop: np.ndarray) -> np.ndarray:
    """Seconds before a leap: irregular, so that it must be seen or heard."""
    return 0.1 + 0.35 * ((phase + hop / ((1 + math.sqrt(5)) / 2)) % 1)
