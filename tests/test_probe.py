"""Evaluation: frozen features, splits, probes and retrieval."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from mmmae.__main__ import main
from mmmae.corpora.writing import write_imu
from mmmae.data.fit import fit
from mmmae.data.manifest import Manifest
from mmmae.features import Frozen, Given, frozen, reading, withhold
from mmmae.metrics import NAMES, ranking, scores, spread
from mmmae.model import MaskedAutoencoder
from mmmae.probe.attentive import attentive
from mmmae.probe.classifiers import Examples, knn, linear, log_loss, prepared, strongest
from mmmae.probe.fitting import CLASSIFIERS, Case, Probe, cases, majority
from mmmae.probe.results import Result
from mmmae.probe.results import table as told
from mmmae.recipe import Recipe
from mmmae.splits import MEDIA, Split, divided, split
from modalities.errors import InputError
from modalities.records import Signal

MOTIONS = ("rest", "shake", "turn")
SENSORS = ("hand", "hip", "foot")


def motion(kind: str, person: int, take: int, seconds: float) -> np.ndarray:
    """What a sensor measures, (t, 6) at 50 Hz."""
    noise = np.random.default_rng([person, take, len(kind)])
    time = np.arange(round(50 * seconds)) / 50
    values = 0.3 * noise.normal(size=(len(time), 6)) + [0, 0, 9.8, 0, 0, 0]
    if kind == "shake":
        values[:, 0] += 8 * np.sin(2 * np.pi * (3 + 0.1 * person) * time)
    if kind == "turn":
        values[:, 5] += 3
    return values


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Six people with three sensors each, captions for some; a file that is no table; and the run of a small model."""
    folder = tmp_path_factory.mktemp("people")
    rows = []
    for person in range(6):
        for take, kind in enumerate(MOTIONS * 2):
            name = f"{person}-{take}"
            seconds = (0.5, 0.8, 2.4)[(person + take) % 3]
            readings = {sensor: motion(kind, person, take, seconds) for sensor in SENSORS}
            write_imu(folder / f"{name}.csv", np.arange(round(50 * seconds)) / 50, readings)
            text = f"they {kind} " + "and go on " * (take % 3) if take % 4 else None
            rows.append({"id": name, "imu": f"{name}.csv", "text": text, "label": kind, "group": f"person {person}"})
    (folder / "bad.csv").write_text("no table")
    rows.insert(5, {"id": "bad", "imu": "bad.csv", "label": "rest", "group": "person 0"})
    rows.insert(9, {"id": "unlabelled", "imu": "1-0.csv", "group": "person 1"})
    write(folder, rows)
    recipe = Recipe.load("default", ["size=tiny", "window=0.8", "modalities.text.length=12"], ["imu", "text"])
    fit(recipe, Manifest.open(folder, bad=1.0), folder / "learned").build().save_pretrained(folder / "run")
    return folder


def write(folder: Path, rows: list[dict]) -> Path:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def model(people) -> MaskedAutoencoder:
    return MaskedAutoencoder.from_pretrained(people / "run")


# Features


def test_features_depend_on_neither_batch_nor_padding(people, model):
    manifest = Manifest.open(people, bad=1.0)
    asked = {"joint": (model, Given(("imu", "text"))), "imu": (model, Given(("imu",)))}
    clips = reading(model, manifest)
    every = range(len(manifest))
    one, _ = frozen(clips, every, asked, batch_size=1)
    many, _ = frozen(clips, every, asked, batch_size=7)
    for key in asked:
        assert one[key].indices.tolist() == many[key].indices.tolist()
        np.testing.assert_allclose(one[key].matrix(["imu"]), many[key].matrix(["imu"]), atol=2e-5)
    silent = [index for index in one["joint"].indices.tolist() if manifest[index].sources.get("text") is None]
    rows = one["joint"].rows(silent)
    assert len(rows) and np.isnan(one["joint"].pooled["text"][rows]).all()
    assert not np.isnan(np.delete(one["joint"].pooled["text"], rows, 0)).any()
    np.testing.assert_allclose(one["joint"].pooled["imu"][rows], one["imu"].pooled["imu"][rows], atol=2e-5)


def test_a_feature_is_the_mean_over_evenly_spaced_windows(people, model):
    manifest = Manifest.open(people, bad=1.0)
    (index,) = [i for i, row in enumerate(manifest) if row.id == "0-2"]  # of 2.4 s
    found, _ = frozen(reading(model, manifest, ["imu"], windows=2), [index], {0: (model, Given(("imu",)))})
    reader = model.recipe.readers()["imu"]
    windows = [reader.read(manifest[index].sources["imu"], start, 0.8).values for start in (0.4, 1.2)]
    signal = Signal(torch.stack(windows), duration=torch.full((2,), 0.8))
    with torch.no_grad():
        expected = model.encode({"imu": signal})["imu"].mean().mean(0)
    np.testing.assert_allclose(found[0].pooled["imu"][0], expected, atol=2e-5)


def test_statistics_are_mean_and_deviation_of_the_tokens_that_are_there(people, model):
    manifest = Manifest.open(people, bad=1.0)
    asked = {0: (model, Given(("imu", "text")))}
    found, _ = frozen(reading(model, manifest), range(12), asked, pool="statistics", tokens=True)
    for name, tokens in found[0].tokens.items():
        there = ~np.isnan(tokens[:, 0, 0])
        tokens, pooled = tokens[there].astype(float), found[0].pooled[name][there]
        assert 0 < np.isnan(tokens[..., 0]).sum() < tokens[..., 0].size  # some are shorter than the longest
        expected = np.concatenate([np.nanmean(tokens, 1), np.nanstd(tokens, 1)], 1)
        np.testing.assert_allclose(pooled, expected, atol=2e-3)  # tokens are kept in half precision


def test_a_bad_recording_is_left_out_and_nothing_stands_in_for_it(people, model):
    manifest = Manifest.open(people, bad=1.0)
    found, faults = frozen(reading(model, manifest), range(len(manifest)), {0: (model, Given(("imu",)))}, batch_size=4)
    assert [fault.id for fault in faults] == ["bad"]
    names = [row["id"] for row in manifest.columns("id")]
    assert [names[index] for index in found[0].indices] == [name for name in names if name != "bad"]


def test_a_withheld_sensor_is_never_seen(model):
    signal = Signal(torch.randn(4, 40, 3, 6), torch.tensor([40, 40, 30, 0]))
    key = tiny.keys(4)
    before = None
    for count in range(4):
        left = withhold(signal, key, count)
        assert (left.observed.sum(2) == 3 - count).all() and (left.observed == left.observed[:, :1]).all()
        assert before is None or not (left.observed & ~before).any()
        before = left.observed
        litter = replace(signal, values=torch.where(left.observed[..., None], signal.values, torch.nan))
        with torch.no_grad():
            mean, same = (model.encode({"imu": withhold(x, key, count)})["imu"].mean() for x in (signal, litter))
        assert mean.equal(same) and mean.isfinite().all()


# Splits


@st.composite
def manifests(draw) -> list[dict]:
    size = draw(st.integers(8, 30))
    some = lambda values: draw(st.lists(values, min_size=size, max_size=size))  # noqa: E731
    names = st.sampled_from(["a", "b", "c", "d", "e", None, None])
    files = [f"{name}.csv" for name in some(st.integers(0, 20))]
    rows = [
        {"id": f"row {n}", "imu": file, "group": group, "label": label}
        for n, (file, group, label) in enumerate(
            zip(files, some(names), some(st.sampled_from(["x", "y", -1, None])), strict=True)
        )
    ]
    if draw(st.booleans()):
        sides = {name: draw(st.sampled_from(["train", "test"])) for name in "abcde"}
        rows = [{**row, "imu": f"{row['id']}.csv", "split": sides[row["group"] or "a"]} for row in rows]
    return rows


@given(manifests(), st.integers(0, 3))
@settings(max_examples=20)
def test_no_group_and_no_recording_crosses_a_split(rows, seed):
    labels = np.array([{"x": 0, "y": 1}.get(row["label"], -1) for row in rows])
    empty = dict.fromkeys(["split", "start", "end", "place", *MEDIA])
    try:
        found = divided([empty | row for row in rows], labels, ["x", "y"], 0.3, "rows")
    except InputError as error:  # too few groups, or nothing to learn
        assert "class" in str(error) or "no row to" in str(error)
        return
    train, validation = found.parts(seed)
    parts = {int(index): n for n, part in enumerate((train, validation, found.test)) for index in part}
    assert len(parts) == len(train) + len(validation) + len(found.test) and len(validation)
    assert set(parts) == {n for n, row in enumerate(rows) if row["label"] not in (None, -1)}
    single = any("one training group" in note for note in found.notes)
    for column in ("imu", "group"):
        sides: dict[str, set[int]] = {}
        for index, part in parts.items():
            if (name := rows[index][column]) is not None:
                sides.setdefault(name, set()).add(part if column == "imu" or not single else part // 2)
        assert all(len(found) == 1 for found in sides.values()), column


def test_the_column_split_decides_and_is_doubted_where_it_divides(tmp_path):
    sides, groups = ["train"] * 8 + ["test"] * 4, "aaaabbbbaaaa"
    rows = [
        {"id": f"{n}", "imu": f"{n}.csv", "label": "xy"[n % 2], "split": sides[n], "group": groups[n]}
        for n in range(12)
    ]
    found = split(Manifest.open(write(tmp_path, rows), bad=1.0), 0.3)
    assert found.test.tolist() == [8, 9, 10, 11] and "divides groups (a)" in found.notes[0]
    rows[9] |= {"imu": "3.csv", "start": 1.0, "end": 2.0}
    rows[3] |= {"start": 1.5, "end": 3.0}
    with pytest.raises(InputError, match=r"line 4 and line 10.*3\.csv"):
        split(Manifest.open(write(tmp_path, rows), bad=1.0), 0.3)
    rows[3] |= {"start": 2.0}
    split(Manifest.open(write(tmp_path, rows), bad=1.0), 0.3)


def invented(classes: int = 3, size: int = 240, groups: int = 24) -> Split:
    """A split of rows whose labels are drawn."""
    labels = np.random.default_rng(0).integers(0, classes, size)
    rows, units = np.arange(size), [f"group {n % groups}" for n in range(size)]
    test = rows % groups < groups // 4
    return Split(labels, [str(n) for n in range(classes)], rows[~test], rows[test], units, [])


@given(st.integers(0, 50), st.lists(st.integers(1, 60), min_size=2, max_size=5, unique=True))
def test_shots_are_nested(seed, shots):
    rows = invented()
    before: set[int] = set()
    for k in sorted(shots):
        found = rows.shots(rows.train, k, seed)
        counts, whole = Counter(rows.labels[found]), Counter(rows.labels[rows.train])
        assert all(counts[label] == min(k, whole[label]) for label in whole)
        assert before <= set(found.tolist()) <= set(rows.train.tolist())
        before = set(found.tolist())
    few = {tuple(rows.shots(rows.train, 5, other)) for other in range(5)}
    assert len(few) == 5


# Classifiers


def features(rows: Split, hint: float, width: int = 8, tokens: int = 3) -> Frozen:
    """Noise of two streams; the first tells the label as loudly as `hint` says."""
    noise = np.random.default_rng(1)
    size = len(rows.labels)
    told = np.eye(width)[rows.labels % width] * hint
    made = {name: noise.normal(size=(size, tokens, width)).astype(np.float32) for name in ("imu", "text")}
    made["imu"] += told[:, None].astype(np.float32)
    means = {name: x.mean(1) for name, x in made.items()}
    return Frozen(np.arange(size), means, {name: x.astype(np.float16) for name, x in made.items()})


def probed(model: MaskedAutoencoder, rows: Split, found: Frozen, kind: str, seeds: int = 2, shots: tuple = ()) -> list:
    probe = Probe({"pretrained": model}, ["imu", "text"], [rows], kind, seeds)
    return probe.results({("imu+text", "pretrained"): found}, shots)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_what_is_in_the_features_is_found_and_what_is_not_is_not(model, kind):
    rows = invented()
    for hint, low, high in ((20.0, 0.95 if kind == "attentive" else 1.0, 1.0), (0.0, 0.15, 0.5)):
        (result,) = probed(model, rows, features(rows, hint), kind)
        assert low <= np.mean([seed["accuracy"] for seed in result.seeds]) <= high
    (few,) = [r for r in probed(model, rows, features(rows, 20.0), kind, 1, (5,)) if r.shots]
    assert few.train == 15 and few.seeds[0]["accuracy"] > 0.8


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_labels_of_the_test_select_nothing(model, kind):
    rows = invented()
    poisoned = rows.labels.copy()
    poisoned[rows.test] = np.roll(poisoned[rows.test], 1)
    found = features(rows, 1.0)
    seeds, shots = (1, ()) if kind == "attentive" else (3, (5,))  # the slow one
    before, after = (probed(model, one, found, kind, seeds, shots) for one in (rows, replace(rows, labels=poisoned)))
    assert [result.chosen for result in before] == [result.chosen for result in after]
    assert before[0].seeds != after[0].seeds


@given(st.integers(2, 12))
def test_folds_test_every_row_once_and_divide_no_group(count):
    rows = invented()
    folds = rows.folds(count)
    assert len(folds) == min(count, len({rows.units[index] for index in [*rows.train, *rows.test]}))
    assert sorted(index for fold in folds for index in fold.test) == sorted([*rows.train, *rows.test])
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == sorted([*rows.train, *rows.test])
        assert not {rows.units[index] for index in fold.train} & {rows.units[index] for index in fold.test}


def test_folds_need_no_row_that_training_held_out(people):
    manifest = Manifest.open(people, bad=1.0)
    with pytest.raises(InputError, match="no row to test on"):
        split(manifest, 0.0)
    rows, usual = split(manifest, 0.0, tested=False), split(manifest, 0.3)
    assert [fold.test.tolist() for fold in rows.folds(9)] == [fold.test.tolist() for fold in usual.folds(9)]


def test_figures_of_folds_are_those_of_all_their_tests(model):
    rows = invented()
    probe = Probe({"pretrained": model}, ["imu", "text"], rows.folds(4), "knn", 2)
    (result,) = probe.results({("imu+text", "pretrained"): features(rows, 20.0)}, [])
    everyone = len(rows.train) + len(rows.test)
    assert result.test == everyone and result.confusion.sum() == 2 * everyone and len(result.chosen) == 8
    assert majority(rows.folds(4)).test == everyone and result.seeds[0]["accuracy"] == 1.0


def test_a_narrow_table_says_which_features_lack_what():
    rows = [Result("video+imu+text", "pretrained", withheld="imu", sensors=(n, 13)) for n in (1, 12)]
    for row in rows:
        row.seeds = [dict.fromkeys(NAMES, 0.5)] * 3
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(told(rows, "withheld", wide=False))
    lines = [line for line in console.export_text().splitlines() if "pretrained" in line]
    assert len(lines) == 2
    for n, line in zip((1, 12), lines, strict=True):
        assert "video+imu+text" in line and f"imu: {n} of 13" in line and "0.500 ±0.000" in line


def test_the_validation_part_selects():
    """Of many features one tells the label: a part with other rows asks for a strong penalty."""
    noise = np.random.default_rng(0)
    x = noise.normal(size=(60, 40)).astype(np.float32)
    labels = noise.integers(0, 2, 60)
    x[:, 0] += 1.5 * labels
    validation, test = (noise.normal(size=(500, 40)).astype(np.float32) for _ in range(2))
    truth = noise.integers(0, 2, 500)
    validation[:, 0] += 1.5 * truth
    chosen = linear([(Examples(x, labels), Examples(validation, truth))], classes=2, seed=0, few=True)
    assert chosen.chosen["C"] <= 0.03 and chosen.predict(test).shape == (500, 2)
    assert linear([(Examples(x, labels),) * 2], classes=2, seed=0, few=True).chosen["C"] >= 0.1


def test_the_strongest_penalty_within_one_standard_error_of_the_best_is_chosen():
    rounds = np.array([[2.0, 2.0, 2.0], [1.2, 1.0, 1.4], [1.0, 0.8, 1.5], [1.0, 0.7, 1.3]])  # the last: 1.0 +- 0.17
    assert strongest(rounds) == 2
    assert strongest(rounds[:, :1]) == 2  # of one round the best, and of equal ones the strongest
    assert strongest(rounds - 0.5 * (np.arange(4) == 0)[:, None]) == 2 and strongest(rounds[:1]) == 0


def test_labels_that_a_part_never_showed_do_not_choose():
    noise = np.random.default_rng(0)
    x, labels = noise.normal(size=(60, 4)).astype(np.float32), noise.integers(0, 2, 60)
    model = prepared(LogisticRegression()).fit(x, labels)
    more = Examples(np.concatenate([x, x[:5]]), np.concatenate([labels, np.full(5, 7)]))
    assert log_loss(model, more) == log_loss(model, Examples(x, labels)) > 0


def test_every_unit_is_in_the_validation_part_of_one_round():
    rows = invented()
    for seed in range(3):
        rounds = rows.rounds(seed)
        assert len(rounds) == min(5, len({rows.units[index] for index in rows.train}))
        assert all(np.array_equal(a, b) for a, b in zip(rounds[0], rows.parts(seed), strict=True))
        assert sorted(np.concatenate([held for _, held in rounds]).tolist()) == sorted(rows.train.tolist())
        for train, held in rounds:
            assert {rows.units[i] for i in train}.isdisjoint({rows.units[i] for i in held}) and len(train) and len(held)


def test_a_missing_stream_is_its_training_mean_and_an_absent_token_is_nothing():
    rows, classes = invented(), 3
    part = features(rows, 3.0)
    examples = Examples(part.matrix(["imu", "text"]), rows.labels)
    for classify in (linear, knn):
        fitted = classify([(examples, examples)], classes=classes, seed=0, few=True)
        gone, filled = examples.x.copy(), examples.x.copy()
        gone[:, 8:], filled[:, 8:] = np.nan, examples.x[:, 8:].mean(0)
        np.testing.assert_allclose(fitted.predict(gone), fitted.predict(filled), atol=1e-5)
    tokens = Examples(part.sequence(["imu", "text"]), rows.labels)
    fitted = attentive([(tokens, tokens)], classes=classes, seed=0, few=True)
    padded = np.concatenate([tokens.x, np.full_like(tokens.x, np.nan)], 1)
    np.testing.assert_allclose(fitted.predict(tokens.x), fitted.predict(padded), atol=1e-5)
    assert np.isfinite(fitted.predict(np.full_like(tokens.x, np.nan))).all()


def test_everything_that_may_be_missing_is_tried_once(people, model):
    clips = reading(model, Manifest.open(people, bad=1.0))
    found = cases(clips, ["imu", "text", "imu+text"], draws=2)
    sensors = {(c.features, c.sensors, c.draw) for c in found if c.sensors}
    assert sensors == {(f, (n, 3), d) for f in ("imu", "imu+text") for n in (1, 2) for d in range(2)}
    rest = {case: given for case, given in found.items() if case.sensors is None}
    assert rest == {Case("imu+text", "imu"): Given(("text",)), Case("imu+text", "text"): Given(("imu",))}


# Figures


@given(st.integers(0, 1000))
def test_figures_are_those_of_scikit_learn(seed):
    noise = np.random.default_rng(seed)
    labels = noise.choice([0, 1, 3], 60)
    given = noise.dirichlet(np.ones(4), 60) + 0.3 * np.eye(4)[labels]
    found, predicted, known = scores(labels, given), given.argmax(1), [0, 1, 3]
    recall = [(predicted[labels == c] == c).mean() for c in known]
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["balanced"] == pytest.approx(np.mean(recall))
    assert found["f1"] == pytest.approx(np.mean([reference.f1_score(labels == c, predicted == c) for c in known]))
    area = np.mean([reference.roc_auc_score(labels == c, given[:, c]) for c in known])
    assert found["auroc"] == pytest.approx(area)
    assert found["map"] == pytest.approx(
        np.mean([reference.average_precision_score(labels == c, given[:, c]) for c in known])
    )


def test_dprime_is_the_distance_of_two_bells():
    noise = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50_000)
    heard = noise.normal(size=100_000) + 1.7 * labels
    assert scores(labels, np.stack([-heard, heard], 1))["dprime"] == pytest.approx(1.7, abs=0.03)
    assert math.isinf(scores(labels[::5000], np.eye(2)[labels[::5000]])["dprime"])
    values = spread([{"a": 1.0}, {"a": 3.0}])["a"]
    assert values["mean"] == 2 and values["std"] == pytest.approx(math.sqrt(2))


def test_retrieval_of_the_same_is_perfect_of_noise_chance_and_of_nothing_chance():
    noise = np.random.default_rng(0)
    a, b = noise.normal(size=(2, 400, 32))
    same, chance, alike = ranking(a @ a.T), ranking(a @ b.T), ranking(np.zeros((400, 400)))
    assert same["R@1"] == same["R@10"] == same["median rank"] == 1 and same["N"] == 400
    for found in (chance, alike):
        assert abs(found["R@10"] - found["chance R@10"]) < 0.02
        assert abs(found["median rank"] - found["chance median rank"]) < 40
    similarity = np.array([[3, 1, 2], [1, 2, 3], [3, 3, 3]])  # ranks 1, 2 and any
    assert ranking(similarity)["R@1"] == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert ranking(similarity)["median rank"] == 2


# The commands


def command(people: Path, out: Path, name: str, *more: str) -> int:
    return main([name, str(people / "run"), "--data", str(people), "--output", str(out), "--workers", "0", *more])


def test_a_probe_from_files_to_pictures(people, tmp_path, capsys):
    options = ["--shots", "1,2", "--seeds", "2", "--baseline", "random", "--drop", "--views", "2"]
    assert command(people, tmp_path, "probe", *options) == 1  # of the bad recording
    said = " ".join(capsys.readouterr().out.split())
    assert "bad: row 'bad'" in said and "note: 1 of 38 rows have no label" in said
    found = json.loads((tmp_path / "results.json").read_text())
    results = found["results"]
    kinds = {(r["features"], r["model"], r["shots"]) for r in results if r["withheld"] is None}
    assert kinds == {("none", "majority", None)} | {
        (f, m, k) for f in ("imu", "text", "imu+text") for m in ("pretrained", "random") for k in (None, 1, 2)
    }
    assert found["classes"] == sorted(MOTIONS) and found["bad"] == ["bad"]
    withheld = {(r["features"], r["withheld"], tuple(r["sensors"] or ())) for r in results if r["withheld"]}
    assert withheld == {("imu+text", "imu", ()), ("imu+text", "text", ())} | {
        (f, "imu", (n, 3)) for f in ("imu", "imu+text") for n in (1, 2)
    }
    imu = next(r for r in results if (r["features"], r["model"], r["shots"]) == ("imu", "pretrained", None))
    assert len(imu["scores"]["accuracy"]["values"]) == 2 and sum(map(sum, imu["confusion"])) == 2 * imu["test"]
    assert imu["scores"]["accuracy"]["mean"] > 0.8
    for name in ("confusion", "shots", "drop"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("kind", ["knn", "attentive"])
def test_other_probes_from_files(people, tmp_path, kind):
    assert command(people, tmp_path, "probe", "--kind", kind, "--seeds", "1", "--drop") == 1
    found = json.loads((tmp_path / "results.json").read_text())
    imu = next(r for r in found["results"] if (r["features"], r["withheld"]) == ("imu", None))
    assert found["kind"] == kind and imu["scores"]["accuracy"]["mean"] > 0.5  # of 6 rows; chance is 1/3
    assert len(found["results"]) == 1 + 3 + 2 + 4


def test_retrieval_from_files_to_pictures(people, tmp_path, capsys):
    assert command(people, tmp_path, "retrieve") in (0, 1)
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found["results"]) == {"imu -> text", "text -> imu"} and found["held out"]
    figures = found["results"]["imu -> text"]
    assert figures["through"] == "projections" and figures["chance R@1"] == 1 / figures["N"]
    assert "chance" in capsys.readouterr().out and (tmp_path / "retrieval.png").is_file()


def test_wishes_that_make_no_sense_are_refused(people, tmp_path, capsys):
    wishes = {
        ("--shots", "1,many"): "--shots", ("--seeds", "0"): "--seeds 0", ("--modalities", "video"): "the run has imu",
    }  # fmt: skip
    for wish, says in wishes.items():
        assert command(people, tmp_path, "probe", *wish) == 2 and says in capsys.readouterr().err
    assert command(people, tmp_path, "retrieve", "--modalities", "imu") == 2
    assert "between streams" in capsys.readouterr().err
    rows = [{"id": str(n), "text": "a", "label": "x"} for n in range(4)]
    main(["probe", str(people / "run"), "--data", str(write(tmp_path, rows)), "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "manifest.jsonl" in said and "one class" in said and "Traceback" not in said
