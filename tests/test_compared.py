"""Runs compared by `counterpoint compare`: what is said, and that the numbers are those of the runs."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from command_line import command_line
from runs_by_hand import run_by_hand, six_by_hand, study_by_hand
from scipy.stats import t as student

from counterpoint.analysis.comparison import MethodComparison, verdict_of
from counterpoint.analysis.contrast import Estimate
from counterpoint.analysis.intervals import Interval
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments.collect import collect, write
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import frame_of
from counterpoint.experiments.compare import compare_runs, corrected
from counterpoint.experiments.compared import Difference
from counterpoint.experiments.comparing import compare_paths
from counterpoint.files import read_rows
from counterpoint.reports.compared_table import comma_separated, markdown
from counterpoint.reports.comparison import comparison, save_comparison
from counterpoint.reports.drawing import themed
from counterpoint.reports.figures.groups import ordered, shapes
from counterpoint.reports.looks import PALETTES


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    return six_by_hand(tmp_path_factory.mktemp("six"), gap=0.3, tasks=200)


@pytest.fixture(scope="module")
def found(six):
    return compare_paths(six)


def means(path, step):
    """The mean outcome of every task of a run in the test evaluation after a step."""
    row = next(row for row in read_rows(path / "evaluations.jsonl") if (row["split"], row["step"]) == ("test", step))
    return np.array([np.mean(row["outcomes"][task]) for task in sorted(row["outcomes"])])


def crossed(values):
    """Value, low and high of a paired array [seeds, tasks], worked out from sums of squares alone."""
    seeds, tasks = values.shape
    mean, by_seed, by_task = values.mean(), values.mean(axis=1), values.mean(axis=0)
    of_seeds = tasks * sum((by_seed - mean) ** 2) / (seeds - 1)
    rest = sum((values[k, j] - by_seed[k] - by_task[j] + mean) ** 2 for k in range(seeds) for j in range(tasks))
    rest /= (seeds - 1) * (tasks - 1)
    of_tasks = sum((by_task - mean) ** 2) / (tasks - 1) / tasks
    seed_part = of_seeds / (seeds * tasks)
    variance = max(seed_part + of_tasks - rest / (seeds * tasks), seed_part, of_tasks)
    freedom = variance**2 / (seed_part**2 / (seeds - 1) + of_tasks**2 / (tasks - 1))
    reach = student.ppf(0.975, freedom) * sqrt(variance)
    return mean, mean - reach, mean + reach


def test_six_runs_by_hand_give_the_difference_of_their_sharings(six, found):
    records = {run.run: run for run in collect(six).runs}
    peaks = {path.name: means(path, records[path.name].peak_step) for path in six}
    ends = {
        path.name: np.mean([means(path, step) for step in records[path.name].terminal_steps], axis=0) - means(path, 0)
        for path in six
    }
    for difference, amounts in zip(found.team, (peaks, ends), strict=True):
        array = np.array([amounts[f"isolated-s{seed}"] - amounts[f"shared-s{seed}"] for seed in range(3)])
        assert difference.found.shown == pytest.approx(crossed(array))
        assert (difference.found.one, difference.found.other) == ("isolated", "shared")
    assert [one.amount for one in found.team] == ["peak", "kept"]


def test_the_verdict_is_the_first_sentence(six):
    done = command_line("compare", *six)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].startswith("at the peak: isolated is ahead by ")
    assert lines[0].endswith("(3 paired seeds, 200 tasks)")
    assert lines[1].startswith("at the end, over the base: ")
    assert lines[2].startswith("fell: shared 0 of 3 (at most 63 %")
    assert all(len(line) <= 80 for line in lines[4:] if not line.endswith(("tasks", "points")))
    assert lines[3] == "compared: voting on arithmetic with micro-medium, 8 steps, 1 episode per test task"
    assert len(lines) <= 19


def test_differences_are_corrected_for_their_number(found):
    raw = sorted(one.found.estimate.p_value for one in found.team)
    expected = [min(1.0, 2 * raw[0]), max(min(1.0, 2 * raw[0]), raw[1])]
    assert sorted(one.p_value for one in found.team) == pytest.approx(expected)


def test_a_difference_that_the_correction_takes_away_cannot_be_told(tmp_path):
    one, other = six_by_hand(tmp_path, gap=0.3, tasks=200)[:3], six_by_hand(tmp_path / "b", gap=0.3, tasks=200)[3:]
    from counterpoint.experiments import compare as module

    kept, module.holm = module.holm, lambda values: [0.07 for _ in values]
    try:
        found = compare_paths([*one, *other])
    finally:
        module.holm = kept
    assert {one.found.verdict for one in found.team} == {"cannot tell"}
    assert "p is 0.07 after Holm over 2 comparisons" in found.sentences[0]


def of_points(value, low, high, p_value, tasks=(0.5, 1.5)):
    """A difference with this interval, and that over tasks alone, with the verdict that it has by itself."""
    parts = {"freedom": 4.0, "seeds": 5, "tasks": 64, "error": 0.004, "p_value": p_value}
    estimate = Estimate(value=value / 100, low=low / 100, high=high / 100, **parts)
    alone = Interval(value / 100, tasks[0] / 100, tasks[1] / 100, 64)
    found = MethodComparison(
        one="isolated",
        other="shared",
        estimate=estimate,
        tasks_alone=alone,
        paired=True,
        seeds=(5, 5),
        tasks=64,
        margin=0.03,
        verdict=verdict_of(estimate, alone, 0.03),
        reasons=(),
        warnings=(),
    )
    return Difference(block="", who="team", amount="peak", found=found, p_value=None)


def test_a_lead_that_the_correction_takes_away_is_alike_where_both_intervals_lie_within_the_margin():
    family = [
        of_points(1.0, 0.05, 1.95, 0.04),
        of_points(-1.0, -1.95, -0.05, 0.04, (-1.5, -0.5)),
        of_points(1.0, 0.05, 1.95, 0.04, (0.5, 3.5)),
        of_points(3.0, 0.05, 5.95, 0.04),
        of_points(1.0, 0.5, 1.5, 0.001),
    ]
    assert {one.found.verdict for one in family} == {"ahead"}
    found = [one.found for one in corrected(family, holm, "Holm")]
    assert [one.verdict for one in found] == ["alike", "alike", "cannot tell", "cannot tell", "ahead"]
    assert [len(one.reasons) for one in found] == [0, 0, 1, 1, 0]
    assert (found[0].sentence, found[0].leader, found[0].small) == (
        "isolated and shared are alike within 3 points: isolated minus shared is 1.0 points [0.1, 1.9] (5 paired seeds,"
        " 64 tasks)",
        "",
        False,
    )
    assert found[2].sentence.startswith("cannot tell, because p is 0.16 after Holm over 5 comparisons: isolated minus")


def test_accuracies_are_over_seeds_and_tasks(six, found):
    row = found.accuracies().filter(group="shared", who="team", amount="base").row(0, named=True)
    assert (row["value"], row["low"], row["high"]) == pytest.approx(crossed(np.array([means(p, 0) for p in six[3:]])))
    assert (row["over_seeds"], row["seeds"], row["tasks"]) == (True, 3, 200)


def test_every_form_has_the_same_numbers(six, found, tmp_path):
    done = command_line("compare", *six, "--json", "x.json", "--out", "x.svg", folder=tmp_path)
    assert done.stdout.splitlines()[-2:] == ["wrote x.svg", "wrote x.json"]
    told = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader(io.StringIO(comma_separated(found))))
    first = found.team[0].found.shown
    csv_row = next(row for row in rows if row["who"] == "team" and row["other"] == "shared" and row["amount"] == "peak")
    assert [float(csv_row[name]) for name in ("value", "low", "high")] == pytest.approx(first)
    assert [told["differences"][0][name] for name in ("value", "low", "high")] == pytest.approx(first)
    assert told["sentences"] == found.sentences
    value, low, high = (100 * part for part in first)
    assert f"{value:+.1f} [{low:.1f}, {high:.1f}] ahead" in markdown(found)
    drawn = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert found.sentences[0] in drawn
    assert "3 seeds, 200 test tasks, 95 % intervals over seeds and tasks" in drawn


def test_one_seed_each_is_said_and_decides_nothing(six):
    found = compare_paths([six[0], six[3]])
    assert {one.found.verdict for one in found.differences} == {"cannot tell"}
    assert "1 seed, an interval over 200 tasks alone" in found.sentences[0]
    assert "says nothing about the next" in found.sentences[0]
    assert found.frame()["over_seeds"].to_list() == [False] * 6
    assert "95 % intervals over tasks alone" in markdown(found)


def test_seeds_that_only_one_side_has_are_told(six):
    found = compare_paths(six[:5])
    assert "3 and 2 seeds, not paired" in found.sentences[0]


def test_an_unfinished_run_is_named_and_takes_the_verdict_away(six, tmp_path):
    begun = run_by_hand(tmp_path / "begun", seed=2, finished=False, policies={"sharing": "shared"}, tasks=200)
    found = compare_paths([*six[:5], begun])
    assert "begun is interrupted, and left out of shared" in found.warnings
    assert {one.found.verdict for one in found.team} == {"cannot tell"}
    assert "1 of 3 runs of shared are missing" in found.sentences[0]
    again = compare_paths([*six, begun])
    assert again.team[0].found.verdict == "ahead"  # the same seed was run again
    assert again.warnings == ()


def test_runs_whose_time_has_not_come_do_not_take_the_verdict_away(six, tmp_path):
    cells = {
        path.name: {"labels": {"sharing": path.name.rpartition("-")[0]}, "seed": int(path.name[-1]), "absent": True}
        for path in six
    }
    cells |= {f"{one}-s3": {"labels": {"sharing": one}, "seed": 3, "absent": True} for one in ("isolated", "shared")}
    study = study_by_hand(tmp_path / "mine", cells, margin=0.05)
    for path in six:
        shutil.copytree(path, study / path.name)
    found = compare_paths([study])
    assert (found.by, found.margin, found.team[0].found.verdict) == ("sharing", 0.05, "ahead")
    assert "isolated-s3 is absent, and left out of isolated" in found.warnings


def test_a_run_that_was_stopped_has_no_end_to_be_compared(six, tmp_path):
    stopped = run_by_hand(
        tmp_path / "stopped", seed=2, policies={"sharing": "shared"}, tasks=200, stopped="cliff at step 6"
    )
    found = compare_paths([*six[:5], stopped])
    assert [one.amount for one in found.team] == ["peak"]
    assert "1 of 3 runs of shared stopped early: cliff at step 6; its terminal accuracy is that of the others" in (
        found.warnings
    )
    assert any("kept is not compared" in warning for warning in found.warnings)
    ends = found.accuracies().filter(group="shared", who="team", amount="terminal")
    assert ends["seeds"].to_list() == [2]


def test_a_role_that_one_side_lacks_is_shown_and_not_compared(tmp_path):
    paths = [
        run_by_hand(tmp_path / f"{sharing}-{seed}", seed=seed, roles=roles, policies={"sharing": sharing})
        for sharing, roles in (("shared", ("generator",)), ("isolated", ("generator", "aggregator")))
        for seed in (0, 1)
    ]
    found = compare_paths(paths)
    assert [one.who for one in found.differences] == ["team", "team", "generator", "generator"]
    assert set(found.accuracies().filter(who="aggregator")["group"]) == {"isolated"}


def test_a_role_that_was_never_judged_on_the_same_task_is_named(six, tmp_path):
    paths = [shutil.copytree(path, tmp_path / path.name) for path in six[:2]]
    rows = read_rows(paths[1] / "evaluations.jsonl")
    for row in rows:
        row["roles"] = {role: found for role, found in row["roles"].items() if role != "aggregator"}
    (paths[1] / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = compare_paths(paths)
    assert found.warnings == ("aggregator of the method is not shown: on no task was it judged in all of its runs",)
    assert set(found.accuracies()["who"]) == {"team", "generator"}


def test_other_workflows_on_the_same_tasks_are_compared_as_teams(tmp_path):
    paths = [
        run_by_hand(tmp_path / f"{workflow}-{seed}", seed=seed, workflow=workflow)
        for workflow in ("voting", "debate")
        for seed in (0, 1)
    ]
    found = compare_paths(paths)
    assert {one.who for one in found.differences} == {"team"}
    assert found.warnings == ("debate and voting have different workflows: their roles are not compared",)


def test_other_tasks_are_refused(six, tmp_path):
    other = run_by_hand(tmp_path / "other", fingerprint="else", policies={"sharing": "shared"})
    with pytest.raises(RunError, match="were tested on different tasks"):
        compare_paths([six[0], other])


def test_the_same_run_twice_is_refused(six, tmp_path):
    with pytest.raises(RunError, match="is there twice: a run counts once"):
        compare_paths([six[0], six[0]])
    with pytest.raises(RunError, match="is there twice"):
        compare_paths([six[0]], against=[six[0]])
    shutil.copytree(six[0], tmp_path / "copy")
    with pytest.raises(RunError, match="have the same seed and the same recipe"):
        compare_paths([*six, tmp_path / "copy"])


def test_more_than_two_groups_are_compared_in_pairs(six, tmp_path):
    slots = [
        run_by_hand(tmp_path / f"slots-s{seed}", seed=seed, luck=2, tasks=200, policies={"sharing": "slots"})
        for seed in range(3)
    ]
    found = compare_paths([*six, *slots])
    assert [(one.found.one, one.found.other) for one in found.team if one.amount == "peak"] == [
        ("isolated", "shared"),
        ("slots", "shared"),
        ("slots", "isolated"),
    ]
    assert found.sentences[0].startswith("at the peak: of 3 comparisons isolated is ahead in 2, 1 ")


def factorial(folder, effect=0.0):
    """Two rates by two sharings, three seeds each."""
    return [
        run_by_hand(
            folder / f"{sharing}-{rate}-s{seed}",
            seed=seed,
            luck=own * 2 + fast,
            tasks=100,
            course=(0.3, 0.4, 0.5 + effect * own, 0.6 + effect * own, 0.6 + effect * own),
            policies={"sharing": sharing, "learning_rate": rate},
        )
        for own, sharing in enumerate(("shared", "isolated"))
        for fast, rate in enumerate((1e-3, 3e-3))
        for seed in range(3)
    ]


def test_runs_that_differ_in_two_things_are_grouped_by_both_and_warned_about(tmp_path):
    paths = factorial(tmp_path, effect=0.3)
    found = compare_paths(paths)
    assert (found.by, len(found.blocks), len(found.team)) == ("", 1, 12)
    told = [warning for warning in found.warnings if "differ in 2 things at once: rate, sharing" in warning]
    assert len(told) == 2
    by = compare_paths(paths, by="sharing")
    assert [block.name for block in by.blocks] == ["0.001", "0.003"]
    assert [(one.block, one.amount, one.found.leader) for one in by.team if one.amount == "peak"] == [
        ("0.001", "peak", "isolated"),
        ("0.003", "peak", "isolated"),
    ]
    assert not any("at once" in warning for warning in by.warnings)


def test_a_study_is_summed_up_over_its_cells(tmp_path):
    paths = factorial(tmp_path / "runs", effect=0.3)
    records = collect(paths).runs
    cells = {
        run.run: {"labels": {"rate": run.labels["rate"], "sharing": run.labels["sharing"]}, "seed": run.seed}
        | {"absent": True}
        for run in sorted(records, key=lambda run: run.seed)
    }
    cells["single-s0"] = {"labels": {"rate": "0.001"}, "seed": 0, "control": "single", "tasks": 100}
    study = study_by_hand(tmp_path / "mine", cells)
    for path in paths:
        shutil.copytree(path, study / path.name)
    found = compare_paths([study])
    assert (found.by, [block.name for block in found.blocks]) == ("sharing", ["0.001", "0.003"])
    assert found.sentences[0] == "at the peak: of 2 comparisons isolated is ahead in 2"
    effect = found.effects["peak"][0]
    assert str(effect) == "sharing: isolated - shared"
    values = [one.found.estimate.value for one in found.team if one.amount == "peak"]
    assert effect.estimate.value == pytest.approx(np.mean(values))
    assert found.sentences[2].startswith("at the peak, over 2 cells: sharing: isolated - shared is +")
    assert "exact McNemar test" in found.sentences[-1]
    assert [(one.group, one.peak.seeds) for one in found.controls] == [("single", 1)]
    done = command_line("compare", study, folder=tmp_path)
    assert "control  single" in done.stdout
    write(collect([study]), tmp_path / "kept")
    assert compare_paths([tmp_path / "kept"]).sentences == found.sentences


def test_against_takes_all_that_follows_and_is_subtracted(six, found):
    each = [word for path in six[3:] for word in ("--against", path)]
    joined = [f"--against={six[3]}", *six[4:]]
    for words in (["--against", *six[3:], "--margin", "3"], each, joined):
        done = command_line("compare", *six[:3], *words, "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        row = next(row for row in rows if row["other"])
        assert (row["group"], row["other"]) == ("isolated", "shared")
        assert float(row["value"]) == pytest.approx(found.team[0].found.shown[0])
    turned = compare_paths(six[3:], against=six[:3])
    assert (turned.team[0].found.one, turned.team[0].found.other) == ("shared", "isolated")
    assert turned.team[0].found.shown[0] == pytest.approx(-found.team[0].found.shown[0])


def test_one_method_alone_is_summed_up_over_its_seeds(six):
    found = compare_paths(six[:3])
    gains = [means(path, next(run.peak_step for run in collect([path]).runs)) - means(path, 0) for path in six[:3]]
    value, low, high = (100 * part for part in crossed(np.array(gains)))
    told = f"the method gained {value:+.1f} [{low:.1f}, {high:.1f}] points at the peak and kept "
    assert found.sentences[0].startswith(told)
    assert found.sentences[1] == "fell: the method 0 of 3 (at most 63 %)"
    assert found.accuracies()["seeds"].to_list() == [3] * 18
    assert len(comparison(found).spec["vconcat"]) == 1


def test_runs_that_all_failed_are_named(tmp_path):
    paths = [run_by_hand(tmp_path / str(seed), seed=seed, finished=False, error="ProofError: no") for seed in (0, 1)]
    with pytest.raises(RunError, match=r"no run is finished and evaluated after its base: 0 \(failed\), 1 \(failed\)"):
        compare_paths(paths)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "shering"], "unknown axis of --by 'shering'; did you mean 'sharing'?"),
        (["--margin", "-1"], "a margin of -1 points cannot be"),
        (["--by", "sharing", "--against", "X"], "--by and --against exclude each other"),
        (["--format", "html"], "unknown format 'html'"),
        (["--against", "nowhere"], "nowhere is not a run, a study or a folder of collected files"),
        (["--out", "x.gif"], "the extension must be one of"),
        (["--json", "."], "cannot be written: it is a folder"),
    ],
)
def test_an_option_that_is_wrong_is_one_line(six, tmp_path, words, message):
    done = command_line("compare", *six, *words, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_axis_in_which_runs_do_not_differ_is_told_apart(tmp_path):
    cell = {"labels": {"sharing": "shared", "rate": "x1"}, "seed": 0}
    study = study_by_hand(
        tmp_path / "mine", {"a-s0": cell, "b-s0": {"labels": {"sharing": "shared", "rate": "x3"}, "seed": 0}}
    )
    with pytest.raises(ConfigError, match="all runs have sharing = shared; they differ in: rate"):
        compare_paths([study], by="sharing")
    assert compare_paths([study]).by == "rate"


def test_a_group_has_the_same_mark_in_every_picture(found):
    groups = ["isolated", "x", "shared", "y"]
    assert dict(zip(ordered(groups), shapes(groups), strict=True))["shared"] == "circle"
    assert len(set(shapes(groups))) == 4
    drawn = json.dumps(themed(comparison(found), "light"))
    for colour, shape in zip(PALETTES["light"].sharing.values(), ("circle", "square"), strict=True):
        assert colour in drawn
        assert shape in drawn


@pytest.mark.parametrize("words", [["--against"], ["--against", "--by", "sharing"]])
def test_against_without_a_run_is_an_error(six, words):
    done = command_line("compare", *six, *words)
    assert done.returncode == 2
    assert "--against" in done.stderr
    assert "requires an argument" in done.stderr


def test_a_peak_that_is_the_base_is_told(tmp_path):
    better = run_by_hand(tmp_path / "a-s0", seed=0, course=(0.3, 0.4, 0.5, 0.6, 0.6), policies={"sharing": "shared"})
    worse = run_by_hand(tmp_path / "b-s0", seed=0, course=(0.6, 0.5, 0.4, 0.3, 0.3), policies={"sharing": "isolated"})
    notes = [text for text in compare_paths([better, worse]).warnings if "is the base" in text]
    assert notes == [
        "the peak of 1 of 1 run of isolated is the base: no later evaluation was better on the validation split"
    ]


def made(groups, *, tasks=64, seeds=range(5), **more):
    """Collected runs without files: `groups` has, for each name, the accuracies at base, peak and end."""
    runs, rows = [], []
    for place, (name, course) in enumerate(groups.items()):
        for seed in seeds:
            chance = np.random.default_rng([place, seed])
            own = {"labels": {"arm": name}, "state": "finished", "peak_step": 2, "fell": "held", **more}
            runs.append(RunRecord(run=f"{name}-s{seed}", path=f"{name}-s{seed}", seed=seed, **own))
            for milestone, accuracy in zip(("base", "peak", "terminal"), course, strict=True):
                right = (chance.random(tasks) < accuracy).astype(float)
                rows += [(runs[-1].run, milestone, None, f"t{one}", float(value), 1) for one, value in enumerate(right)]
    return Collected(runs=tuple(runs), outcomes=frame_of("outcomes.parquet", rows), metrics=frame_of("x", []))


def test_arms_without_any_spread_say_that_their_interval_is_over_tasks_alone():
    found = compare_runs(made({"shared": (0, 1, 1), "isolated": (0, 1, 1)}))
    assert (
        "0.0 points [-4.2, 4.2] (5 paired seeds without any spread, an interval over 64 tasks alone)"
        in (found.sentences[0])
    )
    assert found.frame()["over_seeds"].to_list() == [False, False]
    assert "95 % intervals over tasks alone; alike within 3 points" in markdown(found)


def test_no_interval_has_an_end_that_no_difference_can_have():
    found = compare_runs(made({"shared": (0.3, 0.5, 0.4), "isolated": (0.5, 0.5, 0.5)}, tasks=2, seeds=(0, 1)))
    for one, bound in zip(found.team, (1.0, 2.0), strict=True):
        assert max(map(abs, one.found.shown)) <= bound
    assert found.team[0].found.estimate.high > 1.0
    assert "no difference that there can be would be found in 80 % of such studies" in found.sentences[0]


def test_a_group_in_which_some_runs_fell_is_said_to_be_one():
    plain = made({"shared": (0.3, 0.6, 0.6), "isolated": (0.3, 0.6, 0.6)})
    runs = tuple(replace(run, fell="fell") if run.run == "shared-s2" else run for run in plain.runs)
    warnings = compare_runs(replace(plain, runs=runs)).warnings
    assert "1 of 5 runs of shared fell: what it kept is a mean of two kinds of runs" in warnings
    assert not any("two kinds" in warning for warning in compare_runs(plain).warnings)


def test_names_made_to_hurt_are_text_in_every_form(tmp_path):
    hostile = "a|b <script>x</script>\n\x1b[31m\u202e"
    found = compare_runs(made({"shared": (0.3, 0.6, 0.6), hostile: (0.3, 0.6, 0.6)}))
    assert all(text.isprintable() for text in (*found.sentences, *found.warnings))
    told = markdown(found)
    assert "<script>" not in told
    table = [line.replace("\\|", "") for line in told.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {4, 6}
    names = {row["group"] for row in csv.DictReader(io.StringIO(comma_separated(found)))}
    assert names == {"shared", "a|b <script>x</script> [31m"}
    save_comparison(found, tmp_path / "x.svg")
    assert "<script" not in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_the_axis_of_the_picture_goes_beyond_every_interval(found):
    drawn = json.dumps(comparison(found).spec)
    (low, high) = json.loads(re.search(r'"domain": (\[-?[0-9.]+, [0-9.]+\])', drawn)[1])
    ends = [100 * end for one in found.differences for end in one.found.shown[1:]]
    assert low < min(ends) < max(ends) < high


def test_many_groups_have_different_marks_and_are_warned_about_by_pair():
    groups = {f"g{place}": (0.3, 0.6, 0.6) for place in range(12)}
    told = compare_runs(made({**groups, "g1": (0.3, 0.9, 0.1)}, tasks=40))
    assert all(" - " in warning for warning in told.warnings if "unlike the rest" in warning)
    assert re.fullmatch(
        r"at the peak: of 66 comparisons .*; 3 points would be found with about \d+ to \d+ seeds", told.sentences[0]
    )


def test_a_difference_that_depends_on_another_axis_is_said():
    groups = {
        (flow, own): (0.3, 0.6 + 0.3 * own * (flow == "debate"), 0.6) for flow in ("voting", "debate") for own in (0, 1)
    }
    plain = made({f"{flow}-{own}": course for (flow, own), course in groups.items()}, tasks=256)
    runs = tuple(
        replace(run, labels=dict(zip(("workflow", "sharing"), run.labels["arm"].split("-"), strict=True)))
        for run in plain.runs
    )
    found = compare_runs(replace(plain, runs=runs), by="sharing")
    assert [one for one in found.sentences if "depends on workflow: +" in one and one.endswith("from voting to debate")]
    assert found.as_dict()["paired_falls"]["neither"] == 10
    assert found.as_dict()["falls"][0]["at_most"] == pytest.approx(1 - 0.05**0.2)
