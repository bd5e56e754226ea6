"""Schedules against their formulas, on what they move, and what they refuse."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion.masking.masking import STAGES
from fusion.schedule import SHAPES, Schedule, advance, follow
from mmmae import Recipe
from mmmae.objectives import Objective
from mmmae.recipes.lookup import RecipeError, find, names

ENDS = st.floats(-10, 10, allow_nan=False)
SPANS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(ENDS, ENDS, st.sampled_from(SHAPES), SPANS, st.lists(st.floats(0, 1), min_size=2))
def test_a_schedule_goes_one_way_from_its_start_to_its_stop_and_rests_outside(start, stop, shape, span, places):
    begin, end = span
    schedule = Schedule(start, stop, shape, begin, end)
    values = [schedule.value(progress) for progress in sorted(places)]
    low, high = min(start, stop), max(start, stop)
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert all((other - one) * (stop - start) >= -1e-9 for one, other in pairwise(values))
    assert schedule.value(math.nextafter(begin, -1)) == start
    assert schedule.value(math.nextafter(end, 2)) == pytest.approx(stop, abs=1e-12)


@given(st.floats(0, 1))
def test_shapes_follow_their_formulas(progress):
    assert Schedule(1.0, 3.0).value(progress) == pytest.approx(1 + 2 * progress)
    assert Schedule(1.0, 3.0, "cosine").value(progress) == pytest.approx(2 - math.cos(math.pi * progress))
    assert Schedule(1.0, 3.0, "step").value(progress) == (1 if progress < 0.5 else 3)
    late = Schedule(1.0, 3.0, begin=0.2, end=0.6)
    for place in (progress, 0.2 + 0.4 * progress, 0.3, 0.5):
        assert late.value(place) == pytest.approx(1 + 2 * min(1, max(0, (place - 0.2) / 0.4)))


@given(st.floats(0, 1))
def test_the_curriculum_of_cdfsl_v_is_one_of_them(progress):
    """Its weight of the target domain, and the learning rate of its classifier."""
    for level, slope in ((0.05, 10), (-0.005, 100)):
        curve = lambda r: abs(level) + level * math.atan(slope * (r - 0.05)) * 2 / math.pi  # noqa: B023, E731
        schedule = Schedule(curve(0), curve(1), "arctan", middle=0.05, slope=float(slope))
        assert schedule.value(progress) == pytest.approx(curve(progress), abs=1e-9)


@given(st.floats(0, 0.99), st.floats(0, 0.99), st.integers(1, 500), st.integers(0, 500))
def test_a_pair_of_ratios_moves_in_twenty_stages_to_the_bit(a, b, steps, step):
    step = min(step, steps)
    schedule = Schedule.of([a, b])
    assert schedule is not None
    assert schedule.value(step / steps, STAGES) == a + (b - a) * int(step / steps * STAGES) / STAGES


@pytest.mark.parametrize("shape", SHAPES)
def test_what_decides_shapes_has_no_more_values_than_stages(shape):
    schedule = Schedule(0.1, 0.9, shape)
    found = {schedule.value(step / 1000, STAGES) for step in range(1001)}
    assert len(found) <= STAGES + 1 and {0.1, 0.9} == {round(min(found), 9), round(max(found), 9)}


# In a recipe


def every() -> list[tuple[str, str, str]]:
    """Every setting of the house that may follow a schedule."""
    kinds = ("masking", "joint masking", "decoder", "trunk", "objective")
    return [
        (kind, name, key)
        for kind in kinds for name in names(kind) for key in getattr(find(kind, name, name), "schedulable", ())
    ]  # fmt: skip


def test_weights_ratios_and_temperatures_may_follow_one():
    found = every()
    assert {name for kind, name, key in found if key == "weight"} == set(names("objective"))
    assert {name for kind, name, key in found if kind == "masking" and key == "ratio"} == set(names("masking"))
    assert {name for kind, name, key in found if key == "temperature"} >= {"contrastive", "mil_nce", "mask_guidance"}


def scheduled(*changes: str) -> Recipe:
    return tiny.tiny("default", changes, ["video", "text"])


def test_a_model_moves_what_a_recipe_schedules_and_nothing_else():
    recipe = scheduled(
        "masking.video.ratio={from: 0.5, to: 0.9, shape: step}",
        "objectives.contrastive={weight: {from: 0, to: 0.5, begin: 0.5}, temperature: [0.1, 0.2]}",
    )
    model, batch = recipe.build(), recipe.example(batch_size=2)
    for progress, ratio, weight, temperature in ((0.0, 0.5, 0, 0.1), (0.5, 0.9, 0, 0.15), (1.0, 0.9, 0.5, 0.2)):
        model.advance(progress)
        numbers = f"{{weight: {weight}, temperature: {temperature}}}"
        fixed = scheduled(f"masking.video.ratio={ratio}", f"objectives.contrastive={numbers}").build()
        for name, loss in model(batch).items():
            assert loss.dtype == torch.float32
            torch.testing.assert_close(loss, fixed(batch)[name], rtol=1e-5, atol=1e-6)


def test_a_schedule_draws_no_other_weights_and_is_no_state():
    plain, moved = scheduled().build(), scheduled("objectives.contrastive.weight=[0.1, 1.0]").build()
    assert plain.state_dict().keys() == moved.state_dict().keys()
    assert all(torch.equal(x, moved.state_dict()[name]) for name, x in plain.state_dict().items())


def test_a_schedule_is_saved_with_its_recipe(tmp_path):
    model = scheduled("objectives.contrastive.weight={from: 0, to: 1, shape: cosine}").build()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    again.advance(0.25)
    assert float(again.objectives["contrastive"].weight) == pytest.approx(0.5 - 0.5 * math.cos(math.pi / 4))


def test_a_weight_that_begins_at_zero_still_ties_streams():
    apart = [f"objectives.{name}.decoder.use=separate" for name in ("reconstruction", "masked_language")]
    scheduled(*apart, "trunk.use=separate", "objectives.contrastive.weight=[0, 1]").build()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("masking.video.ratio=[0.5, 1.5]", "1.5"),
        ("masking.video.ratio={from: 0.5, to: -0.5, shape: cosine}", "-0.5"),
        ("objectives.contrastive.temperature=[0.1, 0.0]", "above 0"),
        ("objectives.contrastive.weight=[1, -1]", "at least 0"),
        ("objectives.contrastive.weight={from: 1}", "contrastive.weight: a schedule needs `from` and `to`; 'to'"),
        ("objectives.contrastive.weight={from: 1, to: 2, form: step}", "'form'"),
        ("objectives.contrastive.weight={from: 1, to: 2, shape: spline}", "'spline'"),
        ("objectives.contrastive.weight={from: 1, to: two}", "'two'"),
        ("objectives.contrastive.weight={from: 1, to: .inf}", "inf"),
        ("objectives.contrastive.weight={from: 1, to: 2, begin: 0.6, end: 0.4}", "begin=0.6"),
        ("objectives.contrastive.weight={from: 1, to: 2, slope: 3}", "'slope'"),
        ("objectives.contrastive.weight={from: 1, to: 2, shape: arctan, slope: 0}", "slope"),
        ("objectives.contrastive.weight=[1, 2, 3]", "[1, 2, 3]"),
        ("objectives.contrastive={learnable: true, temperature: [0.1, 0.2]}", "training learns it"),
        ("objectives.contrastive.width=[128, 256]", "contrastive.width"),
        ("masking.video.span=[1, 2]", "masking.video.span"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_key(change, says):
    with pytest.raises(RecipeError, match="default") as refused:
        scheduled("masking.video.use=time", change).build()
    assert says in str(refused.value)


class Follower(torch.nn.Module):
    stages: int | None = None

    def __init__(self, plain: bool):
        super().__init__()
        self.rate, self.plain = 0.5, plain


def test_a_number_that_compiled_code_reads_is_one_tensor_and_others_are_exact():
    traced, plain = Follower(False), Follower(True)
    for module in (traced, plain):
        follow(module, {"rate": Schedule(0.5, 0.999)})
    held = traced.rate
    for module in (traced, plain):
        advance(module, 1.0)
    assert traced.rate is held and isinstance(held, torch.Tensor)
    assert plain.rate == 0.5 + (0.999 - 0.5)


def test_every_objective_lists_its_weight():
    assert all(issubclass(find("objective", name, name), Objective) for name in names("objective"))
