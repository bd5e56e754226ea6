"""The synthetic world: coloured bodies that move, hum and collide, in video, sound, IMU and text. Needs no package.

Rendered by mmmae itself. A body's colour is its pitch and its tremble, its size the octave and the strength, its form
the overtones; what it does shows in the picture, in the loudness, in its sensor's specific force and in the caption.
The recordings are in the public domain (CC0).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import numpy as np

from mmmae.corpora.world.physics import STEPS, Trace, simulate
from mmmae.corpora.world.picture import look, regions
from mmmae.corpora.world.scene import Scene, draw_scene
from mmmae.corpora.world.senses import feel, hear
from mmmae.corpora.writing import write_credits, write_imu, write_manifest, write_regions, write_video
from modalities.errors import InputError

AUDIO_RATE, IMU_RATE = 16_000, 50  # Hz
LEAD = 0.1  # seconds simulated before and after a clip, for sensors that average over time
TEST = 0.2  # the share of clips, the last ones, held out

CREDITS = """
# The synthetic world

Simulated and rendered by mmmae (`mmmae/corpora/world`). No rights reserved (CC0 1.0).
"""


def write(
    out: Path,
    *,
    clips: int = 600,
    seconds: float = 4.0,
    size: int = 64,
    fps: int = 16,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Render the world as MP4 (H.264 with AAC sound), CSV (a sensor on every body) and captions; return the manifest.

    Clip i is a function of (seed, i) alone. Sensors are called body0, body1, body2 in the order of the caption and
    give specific force and angular rate at 50 Hz; a clip with fewer bodies lacks the others. Regions (FFV1) tell
    whether a pixel shows the wall (0), the floor (1) or one of the bodies (2, 3, 4). Rows carry `id, video, regions,
    imu, text, label, group, split`; the last fifth is the test split.

    Args:
        seconds: length of a clip.
        size: height and width of the picture in pixels, even.
        fps: pictures per second.
        workers: threads; None takes one per core, at most eight.
    """
    for name, value, least in (("clips", clips, 1), ("seconds", seconds, 0.5), ("size", size, 16), ("fps", fps, 1)):
        if value < least:
            raise InputError(f"world: {name}={value} is too small\n  take {least} or more")
    if size % 2:
        raise InputError(f"world: size={size} is odd\n  H.264 halves the colour planes, take {size + 1}")
    scenes = [draw_scene(index, seed) for index in range(clips)]
    for folder in ("video", "regions", "imu"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    def render(index: int, trace: Trace) -> None:
        _render(out, index, scenes[index], trace, np.random.default_rng([seed, index, 1]), seconds, size, fps)

    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:  # NumPy and FFmpeg let go of the lock
        for first in range(0, clips, 100):
            traces = simulate_scenes(scenes[first : first + 100], seconds)
            for _ in pool.map(render, range(first, first + len(traces)), traces):
                pass
    write_credits(out, CREDITS)
    return write_manifest(out, (_row(index, scene, clips) for index, scene in enumerate(scenes)))


def simulate_scenes(scenes: list[Scene], seconds: float) -> list[Trace]:
    """What the bodies of every scene do, from `LEAD` seconds before the clip until as long after it."""
    ends = list(accumulate(len(scene.bodies) for scene in scenes))
    spans = [slice(end - len(scene.bodies), end) for end, scene in zip(ends, scenes, strict=True)]
    pairs = [
        (span.start, span.start + 1) for span, scene in zip(spans, scenes, strict=True) if scene.label == "collide"
    ]
    trace = simulate([body for scene in scenes for body in scene.bodies], pairs, seconds + 2 * LEAD)
    return [trace.of(span) for span in spans]


def _render(
    out: Path, index: int, scene: Scene, trace: Trace, rng: np.random.Generator, seconds: float, size: int, fps: int
) -> None:
    lead, every = round(LEAD * STEPS), slice(None)
    clip = trace.of(every, slice(lead, lead + round(seconds * STEPS)))
    at = np.rint(np.arange(round(seconds * fps)) * STEPS / fps).astype(int)
    frames = look(scene, clip, at, size)
    sound = hear(scene.bodies, clip, AUDIO_RATE, rng)
    write_video(out / f"video/{index:05d}.mp4", frames, fps, sound, AUDIO_RATE)
    write_regions(out / f"regions/{index:05d}.mkv", regions(scene, clip, at, size), fps)
    time = np.arange(round(seconds * IMU_RATE)) / IMU_RATE
    sensors = {
        f"body{i}": feel(body, trace.of(slice(i, i + 1)), time, LEAD, rng) for i, body in enumerate(scene.bodies)
    }
    write_imu(out / f"imu/{index:05d}.csv", time, sensors)


def _row(index: int, scene: Scene, clips: int) -> dict[str, object]:
    name, count = f"{index:05d}", len(scene.bodies)
    return {
        "id": name,
        "video": f"video/{name}.mp4",
        "regions": f"regions/{name}.mkv",
        "imu": f"imu/{name}.csv",
        "text": scene.caption,
        "label": scene.label,
        "group": f"{count} {'body' if count == 1 else 'bodies'}",
        "split": "train" if index < round(clips * (1 - TEST)) else "test",
    }
