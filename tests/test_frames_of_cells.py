"""Tables of a cell's numbers, and the statistics behind them, against values worked out by hand."""

import json

import polars as pl
import pytest
from runs_by_hand import evaluation, outcomes, run_by_hand

from counterpoint.analysis.changes import changes
from counterpoint.analysis.votes import majority_line, votes_of
from counterpoint.reports import frames
from counterpoint.reports.gather import gather
from counterpoint.run import Run

EVERY = (
    "accuracies",
    "role_accuracies",
    "lengths",
    "gradients",
    "cosines",
    "policies",
    "warnings",
    "transitions",
    "first_to_team",
)


def cell_of(path):
    return gather([path]).cells[0]


def with_numbers(path, **numbers):
    """The run, whose training steps have these numbers too."""
    file = path / "metrics.jsonl"
    rows = [json.loads(line) | numbers for line in file.read_text(encoding="utf-8").splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_tasks_that_are_right_or_wrong_have_one_change_each():
    before = {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0, "only here": 1.0}
    after = {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}
    assert changes(before, after) == ((0.25, 0.25, 0.25, 0.25), 4)


def test_of_means_the_least_that_must_have_changed_counts():
    assert changes({"a": 0.25, "b": 1.0}, {"a": 0.5, "b": 0.5}).shares == (0.375, 0.125, 0.25, 0.25)
    assert changes({}, {"a": 1.0}) == ((0.0, 0.0, 0.0, 0.0), 0)


def test_votes_are_counted_by_the_number_of_right_claims():
    episodes = [([1.0, 1.0, 0.0], 1.0), ([1.0, 0.0, 1.0], 0.0), ([0.0, 0.0, 0.0], 0.0), ([1.0, 0.9, 0.0], 1.0)]
    assert votes_of(episodes) == [(0, 3, 1, 0.0), (1, 3, 1, 1.0), (2, 3, 2, 0.5)]
    assert votes_of([*episodes, ([1.0], 1.0)]) == [], "an episode with another number of claims"
    assert votes_of([([1.0], 1.0)]) == [], "one claim is no vote"
    assert [majority_line(right, 4) for right in range(5)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert [majority_line(right, 3) for right in range(4)] == [0.0, 0.0, 1.0, 1.0]


def test_what_is_recorded_is_in_the_tables(tmp_path):
    numbers = {
        "gradient/p+q/generator/share": 0.7,
        "gradient/p+q/generator/amplification": 2.5,
        "gradient/p+q/aggregator+generator/cosine": -0.2,
        "gradient/p+q/dominance": 0.7,
        "role/generator/tokens_p95": 9.0,
        "warning/capture/p+q": 1.0,
        "warning/cliff": 0.0,
    }
    cell = cell_of(with_numbers(run_by_hand(tmp_path / "one", seed=3), **numbers))
    assert frames.accuracies(cell).height == 10
    gradients = frames.gradients(cell)
    assert gradients.height == 8, "one row per step, and none for the policy's own numbers"
    first = gradients.row(0, named=True)
    assert (first["seed"], first["step"], first["policy"], first["role"]) == (3, 1, "p+q", "generator")
    assert (first["share"], first["amplification"], first["norm"]) == (
        pytest.approx(0.7, rel=1e-4),
        pytest.approx(2.5),
        None,
    )
    cosine = frames.cosines(cell).row(0, named=True)
    assert (cosine["one"], cosine["other"], cosine["value"]) == (
        "aggregator",
        "generator",
        pytest.approx(-0.2, rel=1e-4),
    )
    assert set(frames.policies(cell)["number"]) == {"dominance"}
    length = frames.lengths(cell).row(0, named=True)
    assert (length["role"], length["tokens"], length["tokens_p95"]) == ("generator", 5.0, 9.0)
    assert length["tokens_median"] is None
    warned = frames.warnings(cell)
    assert set(warned["warning"]) == {"capture/p+q"}


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    cell = cell_of(with_numbers(run_by_hand(tmp_path / "one"), **{"gradient/p/generator/norm": float("nan")}))
    assert frames.gradients(cell).is_empty()


@pytest.mark.parametrize("name", EVERY)
def test_a_run_without_numbers_has_tables_without_rows(tmp_path, name):
    path = run_by_hand(tmp_path / "one", finished=False)
    (path / "metrics.jsonl").unlink()
    (path / "evaluations.jsonl").unlink()
    found = getattr(frames, name)(cell_of(path))
    assert found.is_empty()
    assert "seed" in found.columns


def test_transitions_agree_with_the_accuracies(tmp_path):
    cell = cell_of(run_by_hand(tmp_path / "one"))
    summary = Run.read(tmp_path / "one").summary
    found = frames.transitions(cell).filter(before="base", after="peak")
    share = dict(zip(found["change"], found["share"], strict=True))
    assert sum(share.values()) == pytest.approx(1.0)
    assert share["kept right"] + share["spoiled"] == pytest.approx(summary.team.base.value)
    assert share["kept right"] + share["recovered"] == pytest.approx(summary.team.peak.value)
    assert share["recovered"] - share["spoiled"] == pytest.approx(summary.team.gain.value)
    assert set(found["tasks"]) == {40}
    assert frames.transitions(cell, "generator").height == 12
    assert frames.transitions(cell, "nobody").is_empty()


def test_what_the_team_makes_of_first_answers_adds_up(tmp_path):
    path = run_by_hand(tmp_path / "one")
    file = path / "evaluations.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["numbers"] |= {"episode/helped": 0.1, "episode/hurt": 0.05}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = frames.first_to_team(cell_of(path))
    assert found.group_by("milestone").agg(pl.col("share").sum())["share"].to_list() == pytest.approx([1.0] * 3)
    summary = Run.read(path).summary
    base = dict(found.filter(milestone="base").select("change", "share").iter_rows())
    assert base["recovered"] == pytest.approx(0.1)
    assert base["kept right"] == pytest.approx(summary.team.base.value - 0.1)


def voting_run(path, samples):
    """A run in which the team is right where at least two of three voters are, except for one task."""
    run_by_hand(path)
    rows = []
    for step in (0, 2, 4, 6, 8):
        for split in ("validation", "test"):
            claims = outcomes(0.6, [step, 7], samples=3 * samples)
            team = {
                task: [float(sum(own[place * 3 : place * 3 + 3]) >= 2) for place in range(samples)]
                for task, own in claims.items()
            }
            rows.append(evaluation(step, split, team, {"generator": claims, "aggregator": team}))
    (path / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("samples", [1, 2])
def test_a_team_that_follows_the_majority_lies_on_its_line(tmp_path, samples):
    found = frames.votes(cell_of(voting_run(tmp_path / "one", samples)), "generator")
    assert set(found["milestone"]) == {"base", "peak", "terminal"}
    assert found["team"].to_list() == found["majority"].to_list()
    assert found.filter(milestone="base")["episodes"].sum() == 40 * samples
    assert frames.votes(cell_of(tmp_path / "one"), "aggregator").is_empty()


def test_votes_are_told_from_collected_files_where_these_suffice(tmp_path):
    cell = cell_of(voting_run(tmp_path / "one", 1))
    whole = frames.votes(cell, "generator").filter(pl.col("milestone") != "terminal")
    (run,) = cell.runs
    object.__setattr__(run, "folder", None)
    assert frames.votes(cell, "generator").equals(whole)
    several = cell_of(voting_run(tmp_path / "two", 2))
    object.__setattr__(several.runs[0], "folder", None)
    assert frames.votes(several, "generator").is_empty()
