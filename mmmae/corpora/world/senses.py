"""What a clip sounds like and what the bodies' sensors feel: one hum, one ring-down, heard in Hz and felt in tremble.

Every body hums at its own pitch, louder the faster it moves, and rings when it is struck; its form shapes the tone.
Its sensor feels the same hum and ring as a slow tremble, so that sound and motion both tell who it is and what it does.
"""

from __future__ import annotations

import numpy as np

from mmmae.corpora.world.physics import GRAVITY, STEPS, Trace
from mmmae.corpora.world.scene import Body

OVERTONES = {"ball": {1: 1.0}, "box": {1: 0.8, 3: 0.5}, "triangle": {1: 0.8, 2: 0.6}}
"""Harmonic -> amplitude: what a form does to the tone."""
MODES = {"ball": (1.0, 0.0, 0.0), "box": (0.7, 0.8, 0.0), "triangle": (0.7, 0.0, 0.8)}
"""How a form trembles: along z in units of `STRENGTH`, about x and about y in rad/s."""
STRENGTH = {"big": 0.8, "medium": 1.5, "small": 2.5}
"""Amplitude of the tremble in m/s^2: the lighter, the stronger."""
MICROPHONE = (-1.0, 0.4)  # at the left wall: what is near sounds louder
ARM = 0.06  # seconds on either side over which a sensor averages acceleration
RANGE_ACCELERATION, RANGE_SPIN = 2 * GRAVITY, 35.0


def hum(body: Body, trace: Trace) -> np.ndarray:
    """How strongly a body hums, `(steps,)` in about [0.1, 1]: at rest softly, and more with speed at centre and rim."""
    speed = np.sqrt((trace.velocity[:, 0] ** 2).sum(1)) + 0.6 * body.radius * np.abs(trace.spin[:, 0])
    beat = 1 + 0.5 * np.cos(trace.angle[:, 0]) * (trace.spin[:, 0] != 0)  # its voice points where its mark does
    return (0.12 + 0.88 * np.tanh(speed / 2.5)) * beat


def hear(bodies: tuple[Body, ...], trace: Trace, rate: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of a clip, float32 `(samples,)` at `rate`."""
    count = len(trace.position) * rate // STEPS
    time = np.arange(count) / rate
    steps = np.arange(len(trace.position)) / STEPS
    noise = rng.standard_normal(count)
    sound = 0.001 * noise
    for i, body in enumerate(bodies):
        own = trace.of(slice(i, i + 1))
        distance = np.sqrt(((own.position[:, 0] - MICROPHONE) ** 2).sum(1))
        near = 1 / (0.6 + distance)
        strength = near * (0.12 * hum(body, own) + 0.12 * own.ring[:, 0])
        knock = near * 0.03 * own.click[:, 0]
        tone = sum(a * np.sin(2 * np.pi * k * body.pitch * time) for k, a in OVERTONES[body.shape].items())
        sound += np.interp(time, steps, strength) * tone + np.interp(time, steps, knock) * noise
    return np.tanh(sound).astype(np.float32)


def feel(body: Body, trace: Trace, time: np.ndarray, lead: float, rng: np.random.Generator) -> np.ndarray:
    """One body's sensor at `time` seconds, `(t, 6)`: specific force in m/s^2, angular rate in rad/s, in its own frame.

    The trace begins `lead` seconds before the clip and ends as much after it.
    """
    at, arm = np.rint((time + lead) * STEPS).astype(int), round(ARM * STEPS)
    place = trace.position[:, 0]
    force = (place[at + arm] - 2 * place[at] + place[at - arm]) / ARM**2 + (0, GRAVITY)
    cos, sin = np.cos(trace.angle[at, 0]), np.sin(trace.angle[at, 0])
    strength = hum(body, trace)[at] + 0.3 * trace.ring[at, 0]
    wave = strength * np.sin(2 * np.pi * body.tremble * time)
    shake, roll, pitch = MODES[body.shape]
    force = np.stack(
        [
            cos * force[:, 0] + sin * force[:, 1],
            cos * force[:, 1] - sin * force[:, 0],
            STRENGTH[body.size] * shake * wave,
        ],
        axis=1,
    )
    turning = np.stack([roll * wave, pitch * wave, trace.spin[at, 0]], axis=1)
    force += 0.03 * rng.standard_normal(force.shape)
    turning += 0.005 * rng.standard_normal(turning.shape)
    limits = np.repeat((RANGE_ACCELERATION, RANGE_SPIN), 3)
    return np.concatenate([force, turning], axis=1).clip(-limits, limits)
