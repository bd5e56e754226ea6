"""Teachers: no gradient reaches them, they equal their student at the start, and follow it exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from torch.testing import assert_close

from mmmae import MaskedAutoencoder, Recipe
from mmmae.recipes.lookup import RecipeError
from mmmae.training.assembly import begun
from mmmae.training.optim import adamw
from modalities.errors import InputError

TEACHER = "objectives.distillation.teacher"


def built(*changes: str, seed: int = 0) -> MaskedAutoencoder:
    return tiny.tiny("default", ["objectives.distillation.places=all", *changes], ["video", "imu"]).build(seed)


def both(model: MaskedAutoencoder) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The weights of the teacher beside those of its student."""
    teacher, own = model.objectives["distillation"].teacher.state_dict(), model.state_dict()
    return [(weight, own[name]) for name, weight in teacher.items()]


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def wander(model: MaskedAutoencoder) -> None:
    """Move every weight that learns, as an optimizer would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a model that was trained before, with one stream more than its students."""
    folder = tmp_path_factory.mktemp("run") / "teacher"
    tiny.tiny("default", ["size=tiny", "trunk.width=48", "trunk.heads=2"], ["video", "imu", "audio"]).build(
        7
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("use", ["ema", "frozen"])
def test_no_gradient_reaches_a_teacher(use, run):
    model = built(f"{TEACHER}.use={use}", *([f"{TEACHER}.run={run}"] if use == "frozen" else []))
    batch = tiny.tiny("default", modalities=["video", "imu"]).example(batch_size=2)
    teacher = model.objectives["distillation"].teacher
    model.train()(batch).total.backward()
    assert len(list(teacher.parameters())) > 20
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    held = {
        id(p) for group in adamw(model, tiny.tiny("default").sections.optimizer).param_groups for p in group["params"]
    }
    assert not held & {id(parameter) for parameter in teacher.parameters()}
    assert any(name.startswith("objectives.distillation.teacher.trunk") for name in model.state_dict())


def test_what_a_teacher_encodes_does_not_depend_on_what_is_hidden():
    model = built()
    batch = tiny.tiny("default", modalities=["video", "imu"]).example(batch_size=2)
    teacher = model.objectives["distillation"].teacher
    few = model.encode_masked(batch)
    other = model.encode_masked(batch, {name: plan.complete(few.patches[name]) for name, plan in few.plans.items()})
    clip = model.eval().encode(batch)
    for encoded in (few, other):
        for name, tokens in teacher.encode(encoded).items():
            assert torch.equal(tokens.x, clip[name].x)
    alone = teacher.encode(few, ["video"])
    assert list(alone) == ["video"] and torch.equal(alone["video"].x, model.encode(batch.only(["video"]))["video"].x)


def test_it_equals_its_student_at_the_start(tmp_path):
    model = built()
    assert len(both(model)) > 20 and all(torch.equal(*pair) for pair in both(model))
    contrast = tiny.system("momentum contrast")[0].objectives["contrastive"]
    assert same(contrast.teacher.heads.state_dict(), contrast.project.state_dict())
    built(seed=5).save_pretrained(tmp_path / "other")
    other = model.recipe.changed({"training": {"start": str(tmp_path / "other")}})
    model, _ = begun(other, torch.device("cpu"), fresh=True)
    assert all(torch.equal(*pair) for pair in both(model))
    assert same(model.trunk.state_dict(), built(seed=5).trunk.state_dict())


def test_a_teacher_draws_nothing_and_changes_nothing_else():
    plain = tiny.tiny("default", modalities=["video", "imu"]).build()
    taught = tiny.tiny("default", ["objectives.contrastive.teacher={use: ema}"], ["video", "imu"]).build()
    assert same(plain.state_dict(), {k: v for k, v in taught.state_dict().items() if ".teacher." not in k})


@pytest.mark.parametrize("flag", [lambda taken: taken, torch.tensor], ids=["bool", "tensor"])
def test_it_follows_exactly_and_not_after_a_skipped_step(flag):
    model = built(f"{TEACHER}={{use: ema, momentum: {{from: 0.9, to: 1.0, shape: cosine}}}}")
    expected = [weight.clone() for weight, _ in both(model)]
    for step, taken in enumerate([True, True, False, True]):
        wander(model)
        before = state(model.objectives["distillation"].teacher)
        model.advance(step / 4)
        model.after_step(step / 4, flag(taken))
        m = model.objectives["distillation"].teacher.momentum
        assert m == pytest.approx([0.9, 0.9146447, 0.95, 0.9853553][step])
        if not taken:
            assert same(before, state(model.objectives["distillation"].teacher))
            continue
        expected = [m * weight + (1 - m) * own for weight, (_, own) in zip(expected, both(model), strict=True)]
        assert all(torch.equal(weight, value) for value, (weight, _) in zip(expected, both(model), strict=True))
    assert not torch.equal(*both(model)[0])


def test_heads_follow_their_own():
    model = tiny.system("momentum contrast")[0]
    contrast = model.objectives["contrastive"]
    before = state(contrast.teacher.heads)
    wander(model)
    model.after_step(0.0, True)
    own = contrast.project.state_dict()
    for name, weight in contrast.teacher.heads.state_dict().items():
        assert_close(weight, 0.996 * before[name] + 0.004 * own[name], rtol=0, atol=1e-7)
        assert not torch.equal(weight, before[name])


def test_it_may_follow_once_an_epoch():
    model = built(f"{TEACHER}={{use: ema, momentum: 0.5, each: epoch}}")
    teacher = model.objectives["distillation"].teacher
    before = state(teacher)
    wander(model)
    model.after_step(0.1, True)
    assert same(before, state(teacher))
    model.after_step(0.2, True, epoch_ends=True)
    assert not same(before, state(teacher))


def test_buffers_become_the_students():
    model = built()
    model.trunk.register_buffer("seen", torch.tensor([1, 2]))
    model.attach()
    model.trunk.seen.add_(5)
    model.after_step(0.0, torch.tensor(False))
    assert model.objectives["distillation"].teacher.trunk.seen.tolist() == [1, 2]
    model.after_step(0.0, torch.tensor(True))
    assert model.objectives["distillation"].teacher.trunk.seen.tolist() == [6, 7]


def test_a_frozen_teacher_is_the_model_of_its_run(run):
    model = built(f"{TEACHER}={{use: frozen, run: {run}}}")
    batch = tiny.tiny("default", modalities=["video", "imu"]).example(batch_size=2)
    teacher, theirs = model.objectives["distillation"].teacher, MaskedAutoencoder.from_pretrained(run)
    tokens = teacher.encode(model.encode_masked(batch))
    for name, other in theirs.encode(batch).items():
        assert torch.equal(tokens[name].x, other.x) and tokens[name].x.shape[-1] == 48
    before = state(teacher)
    wander(model)
    model.after_step(0.5, True)
    assert same(before, state(teacher))


def test_a_checkpoint_holds_its_frozen_teacher(run, tmp_path):
    elsewhere = run.rename(run.with_name("moved"))
    try:
        with pytest.raises(InputError, match="teacher"):
            built(f"{TEACHER}={{use: frozen, run: {run}}}")
        model = built(f"{TEACHER}={{use: frozen, run: {elsewhere}}}")
        model.save_pretrained(tmp_path / "student")
    finally:
        elsewhere.rename(run)
    again = MaskedAutoencoder.from_pretrained(tmp_path / "student")  # `moved` is gone
    assert same(model.state_dict(), again.state_dict())
    batch = tiny.tiny("default", modalities=["video", "imu"]).example(batch_size=2)
    assert torch.equal(again(batch).total, model.eval()(batch).total)
    again.save_pretrained(tmp_path / "copy")
    assert same(model.state_dict(), MaskedAutoencoder.from_pretrained(tmp_path / "copy").state_dict())
    fresh = Recipe.of(again.recipe).build()  # nothing gives it the teacher's weights
    assert fresh(batch).total.isnan()
    with pytest.raises(ValueError, match="teacher has no weights"):
        fresh.after_step(0.0, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (f"{TEACHER}.momentum=1.5", "momentum is in"),
        (f"{TEACHER}.each=year", "input should be"),
        (f"{TEACHER}.use=frozen", "set run to its folder"),
        (f"{TEACHER}.use=stern", "there is no teacher 'stern'"),
        ("objectives.distillation.head.hide=[3]", "did you mean 'hidden'"),
        ("objectives.distillation={head: {hidden: []}}", "set pooled above 0"),
        ("objectives.distillation={tokens: 0}", "one of them above 0"),
        ("objectives.distillation={streams: [text]}", "nothing to distil"),
        ("objectives.contrastive={kind: ntxent, queue: 8}", "infonce"),
    ],
)
def test_wrong_settings_are_refused_with_their_key(change, told):
    with pytest.raises(RecipeError, match=told) as error:
        built(change)
    assert "objectives." in str(error.value)


def test_a_frozen_teacher_has_no_heads_and_cuts_streams_as_its_student(run):
    with pytest.raises(RecipeError, match="use: ema"):
        tiny.tiny("default", [f"objectives.contrastive.teacher={{use: frozen, run: {run}}}"], ["video", "imu"]).build()
    changes = ["modalities.video.patch=16", f"{TEACHER}={{use: frozen, run: {run}}}"]
    recipe = tiny.tiny("default", changes, ["video", "imu"])
    with pytest.raises(ValueError, match="give both the same patches"):
        recipe.build()(recipe.example(batch_size=2))
    pooled = tiny.tiny("default", [*changes, "objectives.distillation={tokens: 0, pooled: 1}"], ["video", "imu"])
    assert pooled.build()(pooled.example(batch_size=2))["distillation/video-pooled"] > 0


def test_adapters_are_the_teachers_as_well_and_none_of_them_learns(tmp_path):
    pytest.importorskip("peft")
    lora = "training.lora={rank: 2, alpha: 4, names: [trunk], train: [objectives]}"
    recipe = tiny.tiny("default", [lora, "objectives.distillation.places=all"], ["video", "imu"])
    model, _ = begun(recipe, torch.device("cpu"), fresh=True)
    teacher = model.objectives["distillation"].teacher
    assert any(".lora_" in name for name, _ in teacher.named_parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(*pair) for pair in both(model))
    wander(model)
    before = [weight.clone() for weight, _ in both(model)]
    model.after_step(0.0, True)
    for old, (weight, own) in zip(before, both(model), strict=True):
        assert torch.equal(weight, 0.996 * old + (1 - 0.996) * own)


def test_streams_that_share_a_tokenizer_share_a_projector(tmp_path):
    heads = "objectives.contrastive={between: [video, other], head: {hidden: [8], out: 4}, teacher: {use: ema}}"
    other = {"modalities": {"other": {"share": "video", "source": "video"}}}
    other["masking"] = {"other": {"use": "random", "ratio": 0.5}}
    recipe = tiny.tiny("default", [heads]).changed(other).narrow(["video", "other"])
    model, batch = recipe.build().eval(), recipe.example(batch_size=3)
    assert list(model.objectives["contrastive"].project) == ["video"]
    model.save_pretrained(tmp_path / "run")
    again = MaskedAutoencoder.from_pretrained(tmp_path / "run")
    assert torch.equal(again(batch)["contrastive/video-other"], model(batch)["contrastive/video-other"])
