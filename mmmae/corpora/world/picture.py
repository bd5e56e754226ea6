"""How a clip looks: shaded bodies with soft edges and shadows in a lit room, drawn from distance functions.

The distance to an outline, in pixels, is its antialiasing: no supersampling, and only the pixels near a body are drawn.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from mmmae.corpora.world.physics import WALL, Trace
from mmmae.corpora.world.scene import COLOURS, Body, Scene

TOP = 1.7  # metres at the upper edge; the picture is as high as the room is wide
HORIZON = 0.10  # where the floor meets the wall
LIGHT = np.array((-0.5, 0.65, 0.58), dtype=np.float32)  # from the upper left, unit length

Paint = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def look(scene: Scene, trace: Trace, at: np.ndarray, size: int) -> np.ndarray:
    """Frames of a clip, uint8 `(t, size, size, 3)`, at the steps `at` `(t,)` of its trace."""
    scale = size / (2 * WALL)
    frames = np.repeat(_room(scene.hue, size)[None], len(at), axis=0)
    for i, body in enumerate(scene.bodies):
        place, angle, r = trace.position[at, i].astype(np.float32), trace.angle[at, i].astype(np.float32), body.radius
        ground = np.stack([place[:, 0], np.full(len(at), 0.02, dtype=np.float32)], axis=1)
        _stamp(frames, ground, 1.6 * r, scale, _shadow(r, height=place[:, 1] - r))
        if np.isfinite(trace.anchor[i]).all():
            _stamp(frames, place, 1.3, scale, _string(trace.anchor[i] - place, scale))
        _stamp(frames, place, 1.25 * r + 1 / scale, scale, _body(body, angle, scale))
    return (frames * 255 + 0.5).clip(0, 255).astype(np.uint8)


def regions(scene: Scene, trace: Trace, at: np.ndarray, size: int) -> np.ndarray:
    """What every pixel of `look` shows, uint8 `(t, size, size)`: 0 the wall, 1 the floor, 2 + i body i."""
    scale = size / (2 * WALL)
    floor = TOP - (np.arange(size) + 0.5) / scale < HORIZON
    frames = np.repeat(np.repeat(floor.astype(np.float32)[None, :, None, None], size, axis=2), len(at), axis=0)
    for i, body in enumerate(scene.bodies):
        place, angle = trace.position[at, i].astype(np.float32), trace.angle[at, i].astype(np.float32)
        _stamp(frames, place, 1.25 * body.radius + 1 / scale, scale, _label(_body(body, angle, scale), 2 + i))
    return frames[..., 0].astype(np.uint8)


def _room(hue: float, size: int) -> np.ndarray:
    """A wall lit from the upper left above a darker floor, `(size, size, 3)`."""
    x, y = np.meshgrid((np.arange(size) + 0.5) / size, TOP - (np.arange(size) + 0.5) / size * 2 * WALL)
    wall, floor = np.array(colorsys.hsv_to_rgb(hue, 0.28, 0.50)), np.array(colorsys.hsv_to_rgb(hue, 0.30, 0.34))
    glow = 1.15 - 0.35 * np.hypot(x - 0.25, (y - 1.3) / 2)
    on_floor = ((HORIZON - y) * size / 2 + 0.5).clip(0, 1)[..., None]
    depth = (1 - 0.6 * (HORIZON - y))[..., None]
    return (wall * glow[..., None] * (1 - on_floor) + floor / depth.clip(0.5) * on_floor).astype(np.float32)


def _stamp(frames: np.ndarray, centre: np.ndarray, reach: float, scale: float, paint: Paint) -> None:
    """Blend what `paint` says about the offsets (dx, dy), in metres, within `reach` of `centre` `(t, 2)`.

    `paint` takes two arrays `(t, k, k)` and answers colour `(t, k, k, 3)` or `(3,)` and opacity `(t, k, k)`.
    """
    size, half = frames.shape[1], int(np.ceil(reach * scale))
    column, row = (centre[:, 0] + WALL) * scale, (TOP - centre[:, 1]) * scale
    window = np.arange(-half, half + 1)
    columns = np.floor(column).astype(int)[:, None] + window
    rows = np.floor(row).astype(int)[:, None] + window
    dx = (columns + 0.5 - column[:, None]) / scale
    dy = (row[:, None] - rows - 0.5) / scale
    dx, dy = np.broadcast_arrays(dx[:, None, :].astype(np.float32), dy[:, :, None].astype(np.float32))
    colour, opacity = paint(dx, dy)
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None, :]
    t, i, j = np.nonzero(inside & (opacity > 0))
    where = t, rows[t, i], columns[t, j]
    colour = colour if colour.ndim == 1 else colour[t, i, j]
    frames[where] += opacity[t, i, j][:, None] * (colour - frames[where])


def _shadow(r: float, height: np.ndarray) -> Paint:
    black = np.zeros(3, dtype=np.float32)
    strength = (0.55 * np.exp(-1.5 * height))[:, None, None]
    return lambda dx, dy: (black, strength * (1 - (dx / (1.3 * r)) ** 2 - (dy / (0.4 * r)) ** 2).clip(0))


def _string(towards: np.ndarray, scale: float) -> Paint:
    pale = np.array((0.92, 0.90, 0.85), dtype=np.float32)
    ax, ay = (towards[:, None, None, k].astype(np.float32) for k in range(2))

    def paint(dx: np.ndarray, dy: np.ndarray):
        along = ((dx * ax + dy * ay) / (ax**2 + ay**2)).clip(0, 1)
        return pale, 0.8 * (1 - np.hypot(dx - along * ax, dy - along * ay) * scale).clip(0)

    return paint


def _body(body: Body, angle: np.ndarray, scale: float) -> Paint:
    base, r = np.array(COLOURS[body.colour], dtype=np.float32), np.float32(body.radius)
    cos, sin = (f(angle)[:, None, None] for f in (np.cos, np.sin))

    def paint(dx: np.ndarray, dy: np.ndarray):
        u, w = (cos * dx + sin * dy) / r, (cos * dy - sin * dx) / r  # in the body's own frame, in radii
        distance = OUTLINES[body.shape](u, w)
        opacity = (0.5 - distance * r * scale).clip(0, 1)
        dome = (1 + distance).clip(0, 1) if body.shape == "ball" else (1 + 2.5 * distance).clip(0, 1)
        slope = dome / np.hypot(dx, dy).clip(0.05 * r)  # bulging like a cushion, the normal leans outwards at the rim
        nx, ny = slope * dx, slope * dy
        nz = np.sqrt((1 - dome**2).clip(0))
        lit = (nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2]).clip(0)
        colour = base * (0.5 + 0.65 * lit)[..., None]
        colour += (0.7 * lit**24)[..., None]  # a highlight
        mark = (0.5 - (np.hypot(u - 0.1, w - 0.55) - 0.22) * r * scale).clip(0, 1)[..., None]
        return colour + 0.75 * mark * (1 - colour), opacity  # the mark makes turning visible

    return paint


def _label(paint: Paint, number: int) -> Paint:
    """Where something is painted for the better half, its number."""
    return lambda dx, dy: (np.full(1, number, dtype=np.float32), (paint(dx, dy)[1] >= 0.5).astype(np.float32))


def _ball(u: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.hypot(u, w) - 1


def _box(u: np.ndarray, w: np.ndarray) -> np.ndarray:
    corner, side = np.float32(0.2), np.float32(0.92)
    qx, qy = np.abs(u) - (side - corner), np.abs(w) - (side - corner)
    return np.hypot(qx.clip(0), qy.clip(0)) + np.maximum(qx, qy).clip(max=0) - corner


def _triangle(u: np.ndarray, w: np.ndarray) -> np.ndarray:
    flank = (1.9 * np.abs(u) + w - 1) / np.float32(np.hypot(1.9, 1))  # from the apex (0, 1) down to the base
    return np.maximum(flank, -w - np.float32(0.95))


OUTLINES = {"ball": _ball, "box": _box, "triangle": _triangle}
"""Form -> signed distance to the outline in radii, negative inside."""
