"""What training taught: tries sorted and counted, by hand and against a slow reference, and as a study collects it."""

import json
import random
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import polars as pl
import pytest
from runs_by_hand import run_by_hand

from counterpoint.analysis.passes import Attempt
from counterpoint.analysis.taught import Base, Trained, lessons
from counterpoint.analysis.tries import BEFORE, SORTING, Tries, kind_of, still_possible, tried
from counterpoint.config import Config, ModelConfig
from counterpoint.errors import ConfigError
from counterpoint.experiments.bases import base_digest
from counterpoint.experiments.collect import collect, read, write
from counterpoint.experiments.measured import controls_of
from counterpoint.experiments.study import load_study
from counterpoint.experiments.taught import taught
from counterpoint.recipe import config_from
from counterpoint.reports.figures.controls import control_differences
from counterpoint.reports.figures.taught import taught_figure
from counterpoint.reports.gather import gather
from counterpoint.reports.story import facts, sentences


def counts(**right):
    """Tries of 8, of which so many are right."""
    return {problem: Tries(count, 8) for problem, count in right.items()}


def by_kind(methods, k=8):
    return {one.kind: one for one in lessons(methods, k)}


BASE = Base(
    sorting={"a": Tries(0, 64), "b": Tries(0, 64), "c": Tries(7, 64), "d": Tries(63, 64), "e": Tries(64, 64)},
    measured=counts(a=0, b=1, c=1, d=8, e=8),
)


def test_problems_are_sorted_by_how_often_the_base_solved_them():
    assert [kind_of(Tries(right, 64)) for right in (0, 1, 63, 64)] == ["never", "sometimes", "sometimes", "always"]
    for wrong in (Tries(0, 0), Tries(3, 2), Tries(-1, 2)):
        with pytest.raises(ValueError, match="tries cannot be right"):
            kind_of(wrong)


def test_the_rule_of_three_is_the_chance_that_all_tries_fail():
    assert (1 - still_possible(64)) ** 64 == pytest.approx(0.05)
    assert still_possible(64) == pytest.approx(3 / 64, rel=0.03)


def test_numbers_worked_by_hand():
    method = Trained(base=BASE, seeds={0: counts(a=4, b=0, c=8, d=8, e=8), 1: counts(a=2, b=0, c=6, d=8, e=7)})
    found = by_kind([method])
    never = found["never"]
    assert (never.problems, never.sorting, never.k, never.seeds) == (2, 64, 8, (0, 1))
    assert never.accuracy.before.value == pytest.approx((0 + 1 / 8) / 2)
    assert never.accuracy.after.shown[0] == pytest.approx((4 + 0 + 2 + 0) / 32)
    assert never.accuracy.gain.shown[0] == pytest.approx(6 / 32 - 1 / 16)
    assert never.any_right.before.value == 0.5  # b, in one of its 8 further tries
    assert never.any_right.after.shown[0] == 0.5  # a, with both seeds
    assert found["sometimes"].accuracy.gain.shown[0] == pytest.approx(30 / 32 - 9 / 16)
    assert found["always"].accuracy.gain.shown[0] == pytest.approx(15 / 16 - 1)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_pass_at_k_before_and_after_is_the_mean_over_all_draws(k):
    source = random.Random(k)
    attempts = {name: [Attempt("", source.random() < 0.3) for _ in range(8)] for name in "abcdef"}
    base = Base(sorting=dict.fromkeys(attempts, Tries(0, 64)), measured=tried(attempts))
    (never, *_) = lessons([Trained(base=base, seeds={0: tried(attempts)})], k)
    slow = fmean(fmean(any(one.right for one in draw) for draw in combinations(made, k)) for made in attempts.values())
    assert never.any_right.before.value == pytest.approx(slow)
    assert never.any_right.after.shown[0] == pytest.approx(slow)
    assert never.accuracy.before.value == pytest.approx(fmean(one.right for made in attempts.values() for one in made))


def drawn(source, chances, count):
    return {name: Tries(sum(source.random() < chance for _ in range(count)), count) for name, chance in chances.items()}


def test_training_that_changes_nothing_gains_nothing_on_what_the_base_never_solved():
    """With the tries that sorted the problems it would: what they missed by bad luck would count as learned."""
    source, fair, naive = random.Random(0), [], []
    chances = {f"p{place}": source.random() ** 4 / 5 for place in range(100)}
    for _ in range(25):
        sorting, measured = drawn(source, chances, 16), drawn(source, chances, 8)
        seeds = {seed: drawn(source, chances, 8) for seed in range(2)}
        for other, gains in ((measured, fair), (sorting, naive)):
            (never, *_) = lessons([Trained(base=Base(sorting=sorting, measured=other), seeds=seeds)])
            gains.append(never.accuracy.gain.shown)
    assert abs(fmean(value for value, *_ in fair)) < 0.004
    assert fmean(value for value, *_ in naive) > 0.007
    assert sum(low > 0 or high < 0 for _, low, high in fair) <= 3
    assert sum(low > 0 for _, low, _ in naive) > 12


def test_of_several_bases_a_problem_is_new_only_if_none_solved_it():
    """Each problem is of one kind, and has the mean over the methods."""
    changed = {"b": Tries(5, 64), "d": Tries(64, 64), "e": Tries(1, 64)}
    other = Base(sorting={**BASE.sorting, **changed}, measured=counts(a=2, b=4, c=1, d=8, e=8))
    methods = [
        Trained(base=BASE, seeds={0: counts(a=4, b=2, c=8, d=8, e=8), 3: counts(a=0, b=0, c=0, d=0, e=0)}),
        Trained(base=other, seeds={0: counts(a=8, b=8, c=8, d=8, e=8), 1: counts(a=0, b=0, c=0, d=0, e=0)}),
    ]
    found = by_kind(methods)
    assert {kind: one.problems for kind, one in found.items()} == {"never": 1, "sometimes": 4, "always": 0}
    never = found["never"]
    assert (never.bases, never.seeds, never.methods) == (2, (0,), 2)
    assert never.accuracy.before.value == pytest.approx((0 + 2 / 8) / 2)
    assert never.accuracy.after.shown[0] == pytest.approx((4 + 8) / 16)
    assert not never.accuracy.after.over_seeds
    assert never.sentence.startswith("of 1 problem that none of 2 bases solved in 64 tries each, 12.5 % of their ")
    some = "of 4 problems that some, and not always all, of 2 bases solved in 64 tries each"
    assert found["sometimes"].sentence.startswith(some)
    assert found["always"].sentence == "there is no problem that all of 2 bases solved always in 64 tries each"


def test_methods_with_other_problems_are_pooled_with_their_own():
    other = Base(sorting={"x": Tries(0, 64), "y": Tries(2, 64)}, measured=counts(x=0, y=0))
    methods = [
        Trained(base=BASE, seeds={0: counts(a=4, b=2, c=8, d=8, e=8)}),
        Trained(base=other, seeds={0: counts(x=8, y=8)}),
    ]
    found = by_kind(methods)
    assert {kind: one.problems for kind, one in found.items()} == {"never": 3, "sometimes": 3, "always": 1}
    assert found["never"].accuracy.after.shown[0] == pytest.approx(fmean([4 / 8, 2 / 8, 1.0]))
    assert all(one.unsorted == 0 for one in found.values())


def test_problems_with_too_few_tries_are_left_out_and_counted():
    seeds = {0: {**counts(a=4, c=8, d=8, e=8), "b": Tries(2, 7)}}
    never = by_kind([Trained(base=BASE, seeds=seeds)])["never"]
    assert (never.problems, never.left_out, never.k) == (1, 1, 8)
    assert never.sentence.endswith("; 1 problem left out for lack of tries")
    few = Base(sorting={**BASE.sorting, "a": Tries(0, 63)}, measured=BASE.measured)  # a failed episode sorts nothing
    assert by_kind([Trained(base=few, seeds={0: counts(a=1, b=1)})])["never"].problems == 1


def test_problems_that_the_base_tried_too_seldom_to_sort_are_counted():
    after = counts(a=4, b=0, c=8, d=8, e=8, f=8, g=1)
    base = replace(BASE, sorting={**BASE.sorting, "f": Tries(0, 63)}, measured={**BASE.measured, **counts(f=0, g=0)})
    never = by_kind([Trained(base=base, seeds={0: after})])["never"]
    assert (never.problems, never.left_out, never.unsorted) == (2, 0, 2)
    assert never.sentence.endswith("; 2 problems of no kind, as the base has less than 64 tries")


def test_k_is_as_large_as_the_tries_allow():
    seeds = {0: {name: Tries(1, 4) for name in "abcde"}}
    assert {one.k for one in lessons([Trained(base=BASE, seeds=seeds)])} == {4}


def test_what_has_no_number_says_so():
    found = by_kind([Trained(base=BASE, seeds={0: counts(a=0)}), Trained(base=BASE, seeds={1: counts(a=0)})])
    assert found["never"].accuracy is None
    assert found["never"].sentence == "no seed is common to all methods"
    solved = Base(sorting={"a": Tries(3, 64)}, measured=counts(a=1))
    never = by_kind([Trained(base=solved, seeds={0: counts(a=2)})])["never"]
    assert never.sentence == "there is no problem that the base never solved in 64 tries"
    for none in ([], [Trained(base=BASE, seeds={})]):
        with pytest.raises(ValueError, match="at least one method"):
            lessons(none)


def test_the_sentence_has_the_further_tries_of_the_base_and_a_verdict():
    base = Base(
        sorting={f"p{n}": Tries(0, 64) for n in range(20)}, measured={f"p{n}": Tries(n % 2, 8) for n in range(20)}
    )
    same = {seed: dict(base.measured) for seed in range(3)}
    better = {seed: {f"p{n}": Tries(5 + (n + seed) % 2, 8) for n in range(20)} for seed in range(3)}
    worse = {seed: {f"p{n}": Tries(0, 8) for n in range(20)} for seed in range(3)}
    told = [by_kind([Trained(base=base, seeds=seeds)])["never"].sentence for seeds in (better, same, worse)]
    assert told[0].startswith(
        "of 20 problems that the base never solved in 64 tries, 6.2 % of its further tries are right, and 68.8 % ["
    )
    assert " after training: 62.5 points more [" in told[0]
    assert "; at least one of 8 is right for 50.0 % of them before and for 100.0 % [" in told[0]
    assert "cannot tell whether more, +0.0 points [" in told[1]
    assert "6.2 points less [" in told[2]


# A study


def recipe(**tables):
    return config_from({"workflow": "voting", "policies": {"sharing": "shared"}, **tables})


SHARED = {"generator": "shared", "aggregator": "shared"}
ISOLATED = {"generator": ["generator-0", "generator-1"], "aggregator": "aggregator"}


def test_the_base_is_the_same_whatever_is_trained_on_it():
    own = base_digest(recipe(), SHARED, {})
    trained = recipe(
        policies={"sharing": "slots", "learning_rate": 0.1, "rank": 4},
        run={"seed": 7, "steps": 3},
        rollout={"temperature": 0.5, "group_size": 4},
        algorithm={"name": "rloo"},
        model={"device": "cuda"},
    )
    assert base_digest(trained, ISOLATED, {}) == own


@pytest.mark.parametrize(
    "tables",
    [
        {"workflow": {"name": "voting", "votes": 5}},
        {"task": {"name": "arithmetic", "high": 17}},
        {"model": {"path": "micro-small"}},
        {"rollout": {"max_tokens": 9}},
        {"evaluation": {"temperature": 0.5}},
        {"policies": {"sharing": "shared", "adapter": "some/folder"}},
        {"policy": {"shared": {"model": {"path": "micro-small"}}}},
        {"judge": "number"},
    ],
)
def test_another_base_is_another(tables):
    assert base_digest(recipe(**tables), SHARED, {}) != base_digest(recipe(), SHARED, {})
    assert base_digest(recipe(), SHARED, {"mine": "1"}) != base_digest(recipe(), SHARED, {"mine": "2"})


class LaterModel(ModelConfig):
    """The settings of a model in a later version, with one key more."""

    added: int = 3


def test_a_key_that_a_later_version_adds_makes_no_other_base(monkeypatch):
    now, settings = base_digest(recipe(), SHARED, {}), Config.policy_settings

    def later(self, name):
        own = settings(self, name)
        return own.model_copy(update={"model": LaterModel(**own.model.model_dump())})

    monkeypatch.setattr(Config, "policy_settings", later)
    assert base_digest(recipe(), SHARED, {}) == now


STUDY = """
recipe = "voting_arithmetic"
seeds = [0, 1]
[set]
run = { threads = 1, steps = 30, save_every = 5 }
evaluation = { every = 5, final_samples = 4 }
[axes.sharing.shared]
policies.sharing = "shared"
[axes.sharing.isolated]
policies.sharing = "isolated"
[axes.scale.small]
model.path = "micro-small"
[axes.scale.medium]
model.path = "micro-medium"
[[controls]]
name = "taught"
kind = "evaluate"
"""


def study(folder, more=""):
    file = folder / "mine.toml"
    file.write_text(STUDY + more, encoding="utf-8")
    return load_study(str(file))


def test_the_base_is_played_once_for_all_runs_that_have_it(tmp_path):
    measures = {one.cell: one for one in study(tmp_path).measures}
    assert len(measures) == 8
    tries = {cell: one.arguments[one.arguments.index("--tries") + 1] for cell, one in measures.items()}
    assert {cell for cell, count in tries.items() if count != "0"} == {"shared-small-s0", "shared-medium-s0"}
    assert measures["isolated-small-s1"].arguments == (
        *("evaluate", "{isolated-small-s1}", "--taught", "--tries", "0"),
        *("--step", "peak", "--samples", "8"),
    )


def test_the_tries_of_a_study_can_be_chosen(tmp_path):
    first = study(tmp_path, "tries = 16\nsamples = 4\nof = 'last'\n").measures[0]
    assert first.arguments[2:] == ("--taught", "--tries", "16", "--step", "last", "--samples", "4")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("roles = ['generator']\n", "roles means nothing for it"),
        ("[[controls]]\nname = 'solo'\nkind = 'evaluate'\ntries = 3\n", "tries means nothing for it"),
        ("[[controls]]\nname = 'alone'\nkind = 'train'\ntries = 3\n", "tries means nothing for it"),
        ("tries = 0\n", "greater than or equal to 1"),
    ],
)
def test_keys_that_mean_nothing_are_refused(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, more)


def written(right, tries):
    """An evaluation of 40 tasks as `evaluate --taught --out` writes it; the team is right in so many of the tries."""
    team = {f"t{place:03d}": [right if place < 20 else tries, tries] for place in range(40)}
    outcomes = {task: [1.0] * won + [0.0] * (count - won) for task, (won, count) in team.items()}
    return {"accuracy": 0.5, "outcomes": outcomes, "roles": {}, "right": {"team": team, "roles": {"generator": team}}}


def add(path, **evaluations):
    (path / "controls").mkdir()
    names = {"run": "run", "before": BEFORE, "sorting": SORTING}
    told = {names[name]: found for name, found in evaluations.items()}
    (path / "controls" / "taught.json").write_text(json.dumps(told), encoding="utf-8")


@pytest.fixture
def runs(tmp_path):
    """Two seeds of two learning rates on one base, which was played with the first run; the last is not evaluated."""
    paths = [
        run_by_hand(tmp_path / f"{rate}-s{seed}", seed=seed, policies={"learning_rate": rate})
        for rate in (1e-3, 3e-3)
        for seed in (0, 1)
    ]
    add(paths[0], run=written(3, 8), before=written(1, 8), sorting=written(0, 64))
    add(paths[1], run=written(5, 8))
    add(paths[2], run=written(2, 8))
    return paths


def test_runs_find_the_tries_of_their_base_and_say_what_is_missing(runs):
    first, second = taught(collect(runs))
    assert [first.labels["rate"], second.labels["rate"]] == ["0.001", "0.003"]
    never, sometimes, always = first.lessons
    assert (never.problems, sometimes.problems, always.problems) == (20, 0, 20)
    assert (never.accuracy.before.value, never.accuracy.after.shown[0]) == (pytest.approx(1 / 8), pytest.approx(1 / 2))
    assert (first.runs, first.missing) == (2, ())
    assert (second.runs, second.missing) == (1, ("1 finished run not evaluated for it yet",))
    assert second.sentences[-1] == "0.003: 1 finished run not evaluated for it yet"
    (pooled,) = taught(collect(runs), ())
    assert (pooled.name, pooled.lessons[0].seeds, pooled.lessons[0].methods) == ("all runs", (0,), 2)
    assert (pooled.runs, pooled.missing[-1]) == (2, "1 run with a seed that not all cells have")
    assert pooled.lessons[0].accuracy.after.shown[0] == pytest.approx((3 / 8 + 2 / 8) / 2)
    assert taught(collect(runs), role="generator")[0].lessons[0].accuracy == never.accuracy
    assert taught(collect(runs), role="critic")[0].missing == ("2 runs without an answer of critic",)


def test_collected_files_keep_the_tries(runs, tmp_path):
    collected = collect(runs)
    write(collected, tmp_path / "kept")
    assert taught(read(tmp_path / "kept")) == taught(collected)
    table = pl.read_parquet(tmp_path / "kept" / "outcomes.parquet")
    rows = table.filter(pl.col("milestone") == f"control/taught: {SORTING}", pl.col("role").is_null())
    assert set(rows["samples"]) == {64}
    rewritten = read(tmp_path / "kept")
    write(rewritten, tmp_path / "again")
    assert (tmp_path / "again" / "runs.jsonl").read_bytes() == (tmp_path / "kept" / "runs.jsonl").read_bytes()


def test_without_tries_of_the_base_or_without_any_there_is_nothing_to_tell(runs):
    assert taught(collect(runs[3:])) == []
    (found,) = taught(collect(runs[1:2]))
    assert (found.lessons, found.missing) == ((), ("1 run without tries of the base",))
    assert taught_figure([found]) is None


def test_files_that_do_not_name_the_base_share_none(runs):
    collected = collect(runs)
    older = replace(collected, runs=tuple(replace(run, base_sha256="") for run in collected.runs))
    assert [one.runs for one in taught(older)] == [1, 0]


def test_the_report_shows_what_training_taught(runs):
    gathered = gather(runs)
    told = [one for one in sentences(gathered) if "never solved" in one]
    assert len(told) == 1
    assert told[0].startswith("of 20 problems that the base never solved in 64 tries, 12.5 %")
    figure = taught_figure(taught(gathered.collected))
    assert figure.data["rows"].height == 8  # two cells, two kinds, before and after
    assert set(figure.table["the base solves"]) == {"never", "always"}
    assert "up to 4.6 % of tries" in figure.says
    assert "taught (3 runs)" in facts(gathered)["controls"]
    assert control_differences(gathered.collected) == []  # the base has a figure of its own


def test_a_file_of_the_control_is_no_other_control(runs):
    found = controls_of(runs[0])
    assert list(found) == ["taught: run", f"taught: {BEFORE}", f"taught: {SORTING}"]
    assert found["taught: run"]["team"]["samples"]["t000"] == 8
    assert list(controls_of(runs[1])) == ["taught: run"]
