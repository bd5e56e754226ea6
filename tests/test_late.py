"""Late fusion: streams side by side, and what is left where some are missing."""

from __future__ import annotations

import numpy as np
import pytest

from mmmae.features import Frozen
from mmmae.probe.late import Case, beside, lacking, streams_of

STREAMS = ["imu", "text"]


def made(name: str, indices: list[int], scale: float = 1.0) -> Frozen:
    """Features that tell which recording and stream they are of."""
    x = scale * (np.array(indices)[:, None] + [[0.0, 0.25]] + 100 * STREAMS.index(name))
    return Frozen(np.array(indices), {name: x}, {name: x[:, None, :]})


@pytest.fixture
def whole() -> Frozen:
    return beside({name: made(name, [3, 5, 8, 9]) for name in STREAMS})


def test_what_is_left_of_a_pair_is_what_the_other_is_alone(whole):
    assert all(streams_of(features) == STREAMS for features in ("imu+text", "imu|text"))
    left = lacking(whole, {}, STREAMS)
    assert set(left) == {Case("imu|text", "imu"), Case("imu|text", "text")}
    for name, part in ((case.withheld, part) for case, part in left.items()):
        (other,) = set(STREAMS) - {name}
        columns = np.repeat([stream == name for stream in STREAMS], 2)
        matrix = part.matrix(STREAMS)
        assert np.isnan(matrix[:, columns]).all()
        np.testing.assert_array_equal(matrix[:, ~columns], made(other, [3, 5, 8, 9]).matrix([other]))
        np.testing.assert_array_equal(part.sequence(STREAMS), made(other, [3, 5, 8, 9]).sequence([other]))


def test_a_stream_without_some_sensors_takes_its_place_in_the_same_recordings(whole):
    case = Case("imu", "imu", (1, 3), 2)
    less = {case: made("imu", [9, 5], -1.0), Case("imu+text", "imu", (1, 3), 2): made("imu", [3])}
    part = lacking(whole, less, STREAMS)[case._replace(features="imu|text")]
    assert part.indices.tolist() == [5, 9]
    expected = beside({"imu": made("imu", [5, 9], -1.0), "text": made("text", [5, 9])})
    np.testing.assert_array_equal(part.matrix(STREAMS), expected.matrix(STREAMS))
    np.testing.assert_array_equal(part.sequence(STREAMS), expected.sequence(STREAMS))
