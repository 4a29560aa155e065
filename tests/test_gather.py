"""Runs are gathered for reports: from studies, collected files and run directories, in every state."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from runs_by_hand import run_by_hand, six_by_hand, study_by_hand
from synthetic_study import HOSTILE, Shape, write_study

from counterpoint.errors import RunError
from counterpoint.experiments import collect as collecting
from counterpoint.experiments.collect import collect, write
from counterpoint.experiments.collected_files import RUNS, read
from counterpoint.experiments.compare import compare_runs
from counterpoint.experiments.folder import read_cells
from counterpoint.experiments.fresh import fresh
from counterpoint.files import lock
from counterpoint.reports import gather as gathering
from counterpoint.reports.gather import gather, seen_of
from counterpoint.reports.report import write as writing
from counterpoint.reports.report.chosen import ChosenExamples
from counterpoint.reports.story import cannot_show
from counterpoint.run import Run

SMALL = Shape(steps=40, every=5, tasks=64)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A collected study with runs of every state."""
    folder = tmp_path_factory.mktemp("gather") / "planned"
    planted = write_study(folder, cells=6, seeds=2, lost=6, shape=SMALL, controls=True, collected=True)
    return folder, planted


def aged(folder):
    """Every file but the collected ones is older than these."""
    for path in folder.rglob("*"):
        if path.parent.name != "collected":
            os.utime(path, ns=(10**18, 10**18))


def copied(study, tmp_path):
    folder = Path(shutil.copytree(study[0], tmp_path / "study"))
    aged(folder)
    return folder


def states_of(found):
    return {run.record.run: run.record.state for cell in found.cells for run in cell.runs}


def test_every_run_of_a_study_is_there_with_its_state(study):
    folder, planted = study
    found = gather([folder])
    assert states_of(found) == {name: plan.state for name, plan in planted.items()}
    assert set(states_of(found).values()) == {"finished", "absent", "failed", "interrupted", "debris"}
    teams = [cell for cell in found.cells if not cell.control]
    assert len(teams) == 6
    assert found.cells[: len(teams)] == teams, "the controls come last"
    assert [run.record.seed for run in teams[0].runs] == [0, 1]
    assert found.title == "planned"
    assert found.about
    assert found.excluded == {"workflow = debate, scale = large": "it takes too long"}
    assert found.compared is not None
    assert found.reasons == []


def test_collected_files_that_are_fresh_are_read_and_nothing_else(study, tmp_path, monkeypatch):
    folder = copied(study, tmp_path)
    monkeypatch.setattr(gathering, "collect", lambda paths: pytest.fail("it collects again"))
    found = gather([folder])
    monkeypatch.undo()
    write(read(folder / "collected"), tmp_path / "elsewhere")
    shutil.rmtree(folder / "collected")
    again = gather([folder])
    assert states_of(found) == states_of(again)
    assert found.compared.sentences == again.compared.sentences
    for one, other in zip(found.cells, again.cells, strict=True):
        assert (one.name, dict(one.labels), one.control) == (other.name, dict(other.labels), other.control)
        for run, same in zip(one.runs, other.runs, strict=True):
            assert run.outcomes.equals(same.outcomes)
            assert run.metrics.equals(same.metrics)
            assert run.findings == same.findings
            assert run.folder == same.folder


@pytest.mark.parametrize("name", ["summary.json", "evaluations.jsonl", "metrics.jsonl", "run.json"])
def test_a_run_that_changed_makes_collected_files_stale(study, tmp_path, name):
    folder = copied(study, tmp_path)
    plan = read_cells(folder)
    assert fresh(folder, plan) is not None
    path = next(folder.glob(f"*/{name}"))
    path.touch()
    assert fresh(folder, plan) is None


def test_a_run_that_began_or_is_gone_makes_collected_files_stale(study, tmp_path):
    folder, planted = copied(study, tmp_path), study[1]
    plan = read_cells(folder)
    absent = next(name for name, one in planted.items() if one.state == "absent")
    (folder / absent).mkdir()
    assert fresh(folder, plan) is None
    (folder / absent).rmdir()
    assert fresh(folder, plan) is not None
    failed = next(name for name, one in planted.items() if one.state == "failed")
    (folder / failed / "failure.json").unlink()
    assert fresh(folder, plan) is None, "it can go on: it is interrupted"


def test_other_cells_and_a_new_control_make_collected_files_stale(study, tmp_path):
    folder = copied(study, tmp_path)
    plan = read_cells(folder)
    assert fresh(folder, replace(plan, cells=plan.cells[:-1])) is None
    controls = next(folder.glob("*/controls"))
    (controls / "solo.json").write_text(json.dumps({"outcomes": {"t0000": [1.0]}}), encoding="utf-8")
    assert fresh(folder, plan) is None


def test_signatures_without_evidence_are_collected_again(study, tmp_path):
    folder = copied(study, tmp_path)
    found = read(folder / "collected")
    assert any(run.findings for run in found.runs)
    write(replace(found, runs=tuple(replace(run, findings=()) for run in found.runs)), folder / "collected")
    assert fresh(folder, read_cells(folder)) is None


def test_a_published_study_without_its_runs_is_read_from_its_collected_files(study, tmp_path):
    folder = copied(study, tmp_path)
    whole = gather([folder])
    for path in folder.iterdir():
        if path.is_dir() and path.name != "collected":
            shutil.rmtree(path)
    found = gather([folder])
    assert found.compared.sentences == whole.compared.sentences
    assert all(run.folder is None for cell in found.cells for run in cell.runs)
    assert [run.findings for cell in found.cells for run in cell.finished] == [
        run.findings for cell in whole.cells for run in cell.finished
    ]


def test_damaged_collected_files_are_not_used(study, tmp_path):
    folder = copied(study, tmp_path)
    (folder / "collected" / RUNS).write_text("{", encoding="utf-8")
    assert len(gather([folder]).collected.runs) == len(study[1])


def test_gathering_writes_nothing(study, tmp_path):
    folder = copied(study, tmp_path)
    shutil.rmtree(folder / "collected")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    gather([folder])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_one_run_is_a_cell_of_one_and_is_compared_with_nothing(tmp_path):
    found = gather([run_by_hand(tmp_path / "mine")])
    (cell,) = found.cells
    assert (found.title, cell.name, found.compared) == ("mine", "mine", None)
    assert found.reasons == ["nothing is compared: there is one run"]
    (run,) = cell.runs
    assert run.roles == ["generator", "aggregator"]
    assert run.policies == ["generator", "aggregator"]
    assert not run.is_shared
    assert set(run.outcomes["milestone"]) == {"base", "peak", "terminal"}


def test_runs_by_hand_are_cells_by_what_they_differ_in(tmp_path):
    found = gather(six_by_hand(tmp_path))
    assert [(cell.name, len(cell.runs)) for cell in found.cells] == [("isolated", 3), ("shared", 3)]
    assert found.compared.by == "sharing"
    assert found.title == "6 runs"


def test_runs_with_other_test_tasks_are_shown_and_not_compared(tmp_path):
    one = run_by_hand(tmp_path / "one")
    other = run_by_hand(tmp_path / "other", fingerprint="different", policies={"sharing": "shared"})
    found = gather([one, other])
    assert found.compared is None
    assert "different tasks" in found.reasons[0]
    assert len(found.cells) == 2


def test_no_finished_run_is_no_error(tmp_path):
    cells = {
        "a-s0": {"labels": {"sharing": "shared"}, "seed": 0, "absent": True},
        "b-s0": {"labels": {"sharing": "isolated"}, "seed": 0, "finished": False},
    }
    found = gather([study_by_hand(tmp_path / "study", cells)])
    assert found.compared is None
    assert found.reasons == [
        "nothing is compared: no run is finished and evaluated after its base (1 absent, 1 interrupted)"
    ]
    begun = found.cells[1].runs[0]
    assert begun.record.steps == 8
    assert begun.metrics.filter(name="eval/test/accuracy").height == 5, "its curves are there"
    assert begun.outcomes.is_empty()
    assert found.cells[0].runs[0].metrics.is_empty()


def test_two_runs_with_one_seed_are_cells_of_their_own(tmp_path):
    found = gather([run_by_hand(tmp_path / "one"), run_by_hand(tmp_path / "two")])
    assert [cell.name for cell in found.cells] == ["one", "two"]
    assert found.compared is None
    assert "same seed" in found.reasons[0]


def test_too_many_methods_are_not_compared_pair_by_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "_MOST", 1)
    found = gather(six_by_hand(tmp_path, seeds=(0,)))
    assert found.compared is None
    assert "2 methods would be 1 pairs" in found.reasons[0]


def test_a_run_counts_once(tmp_path):
    path = run_by_hand(tmp_path / "one")
    with pytest.raises(RunError, match="there twice"):
        gather([path, path])
    folder = tmp_path / "study"
    write_study(folder, cells=2, seeds=1, shape=SMALL)
    with pytest.raises(RunError, match=r"twice|two runs are named"):
        gather([folder, folder])


def test_what_is_no_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(RunError, match="is not a run, a study or a folder") as error:
        gather([tmp_path / "nothing"])
    assert "\n" not in str(error.value)


def test_labels_that_no_page_may_trust_stay_text(tmp_path):
    folder = tmp_path / "study"
    write_study(folder, cells=8, seeds=1, shape=SMALL, hostile=True)
    found = gather([folder])
    assert {cell.labels["rate"] for cell in found.cells} <= set(HOSTILE)
    assert found.compared is not None


def test_two_studies_with_cells_of_one_name_are_told_apart(tmp_path):
    cells = {"labels": {"sharing": "shared"}, "seed": 0}
    first = study_by_hand(tmp_path / "first", {"shared-s0": dict(cells)}, margin=0.02)
    second = study_by_hand(tmp_path / "second", {"shared-s1": {**cells, "seed": 1}}, margin=0.03)
    found = gather([first, second])
    assert [cell.name for cell in found.cells] == ["first: shared", "second: shared"]
    assert found.title == "first and second"
    assert (
        "the studies have margins of 2 points and 3 points: here, differences within 2 points count as alike"
        in found.compared.warnings
    )


def test_a_margin_that_is_asked_for_needs_no_warning(tmp_path):
    cells = {"shared-s0": {"labels": {"sharing": "shared"}, "seed": 0}}
    found = collect([study_by_hand(tmp_path / "first", cells, margin=0.02)])
    other = replace(found.runs[0], run="other", seed=1, margin=0.05)
    both = replace(found, runs=(*found.runs, replace(other, state="absent", peak_step=None)))
    assert any("margins of" in one for one in compare_runs(both).warnings)
    assert not any("margins of" in one for one in compare_runs(both, margin=0.01).warnings)


def test_a_comparison_says_what_was_compared(tmp_path):
    found = gather(six_by_hand(tmp_path))
    assert found.compared.what == "voting on arithmetic with micro-medium, 8 steps, 1 episode per test task"
    assert found.compared.as_dict()["what"] == found.compared.what


# A run as it is now


def test_a_run_that_trains_is_seen_without_the_line_that_is_being_written(tmp_path):
    path = run_by_hand(tmp_path / "one", finished=False)
    held = lock(path / "run.lock")
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 9, "episode/sco')
    seen = seen_of(Run.read(path))
    os.close(held)
    assert seen.record.state == "running"
    assert seen.record.steps == 8
    assert seen.metrics["step"].max() == 8
    assert seen.outcomes.is_empty()
    assert seen.record.peak_step is None


def test_a_run_is_seen_as_it_is_after_it_was_cut_back(tmp_path):
    path = run_by_hand(tmp_path / "one", finished=False)
    run = Run.read(path)
    assert seen_of(run).record.steps == 8
    rows = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(rows[:4]), encoding="utf-8")
    rows = (path / "evaluations.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (path / "evaluations.jsonl").write_text("".join(rows[:4]), encoding="utf-8")
    seen = seen_of(run)
    assert seen.record.steps == 4
    assert seen.metrics["step"].max() == 4


def test_a_run_that_has_not_begun_is_seen(tmp_path):
    path = run_by_hand(tmp_path / "one", finished=False)
    facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
    del facts["routing"]
    (path / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        (path / name).unlink()
    seen = seen_of(Run.read(path))
    assert (seen.roles, seen.findings, seen.policies) == ([], (), [])
    assert seen.metrics.is_empty()


def test_a_run_that_fails_early_shows_its_signatures(tmp_path):
    path = run_by_hand(tmp_path / "one", finished=False)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row |= {"episode/played": 16.0, "role/generator/unreadable": 1.0}
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    seen = seen_of(Run.read(path))
    assert "unreadable replies: generator" in seen.record.signatures
    assert seen.findings[0].evidence


def test_numbers_that_are_not_finite_do_not_break_a_run(tmp_path):
    path = run_by_hand(tmp_path / "one", finished=False)
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 9, "policy/a/mismatch": NaN, "policy/b/mismatch": Infinity}\n')
    seen = seen_of(Run.read(path))
    assert seen.metrics.filter(step=9).height == 2


def test_a_run_of_a_study_has_the_labels_of_its_cell(study):
    folder, planted = study
    name = next(name for name, plan in planted.items() if plan.state == "finished" and name.startswith("single"))
    seen = seen_of(Run.read(folder / name))
    assert seen.record.control == "single"
    assert seen.record.labels["workflow"] == "voting"


def test_a_run_that_is_deleted_meanwhile_is_an_error_of_one_line(tmp_path):
    path = run_by_hand(tmp_path / "one")
    run = Run.read(path)
    shutil.rmtree(path)
    with pytest.raises(RunError) as error:
        seen_of(run)
    assert "\n" not in str(error.value)


def test_slots_with_policies_of_their_own_are_all_routed(tmp_path):
    path = run_by_hand(tmp_path / "one")
    facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
    facts["routing"] = {"generator": ["g0", "g1", "g2"], "aggregator": ["a", "a"]}
    (path / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    seen = seen_of(Run.read(path))
    assert seen.routing == {"generator": ("g0", "g1", "g2"), "aggregator": ("a",)}
    assert seen.policies == ["g0", "g1", "g2", "a"]


def test_a_control_that_is_still_played_is_no_damage(tmp_path):
    path = run_by_hand(tmp_path / "one")
    (path / "controls").mkdir()
    (path / "controls" / "swap.json").write_text(json.dumps({"run": {"outcomes": {"t": [1.0]}}}), encoding="utf-8")
    (run,) = collect([path]).runs
    assert run.controls == {}


def test_each_file_of_a_run_is_read_once(tmp_path, monkeypatch):
    path = run_by_hand(tmp_path / "one")
    counts = {"metric_rows": 0, "evaluation_rows": 0, "final_rows": 0}
    for name in counts:
        original = getattr(Run, name)

        def counted(self, name=name, original=original):
            counts[name] += 1
            return original(self)

        monkeypatch.setattr(Run, name, counted)
    collecting.collect([path])
    assert set(counts.values()) == {1}


def test_a_finished_run_that_was_never_evaluated_again_is_shown_without_milestones(tmp_path):
    path = run_by_hand(tmp_path / "one", finished=False)
    rows = (path / "evaluations.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (path / "evaluations.jsonl").write_text("".join(rows[:2]), encoding="utf-8")
    (path / "summary.json").write_text("{}\n", encoding="utf-8")
    found = gather([path])
    (run,) = found.cells[0].runs
    assert (run.record.state, run.record.peak_step) == ("finished", None)
    assert found.cells[0].finished == []
    assert found.reasons[0].endswith("(1 finished, not evaluated)")
    assert run.metrics.filter(name="eval/test/accuracy")["step"].to_list() == [0]


def test_a_role_that_was_never_called_and_a_role_of_many_keep_their_places(tmp_path):
    roles = tuple(f"role{place}" for place in range(12))
    path = run_by_hand(tmp_path / "one", roles=roles)
    found = gather([path])
    assert found.roles == list(roles)
    file = path / "evaluations.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["roles"].pop("role7", None)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    again = gather([path])
    assert again.roles == list(roles)
    assert "role7" not in set(again.cells[0].runs[0].outcomes["role"].drop_nulls())


def test_a_folder_of_runs_and_studies_stands_for_what_is_in_it(study, tmp_path):
    run_by_hand(one := tmp_path / "runs" / "mine")
    shutil.copytree(study[0], tmp_path / "runs" / "planned")
    (tmp_path / "runs" / "notes").mkdir()
    found = states_of(gather([tmp_path / "runs"]))
    assert found == states_of(gather([one, tmp_path / "runs" / "planned"]))
    assert "mine" in found
    with pytest.raises(RunError, match="notes is not a run, a study or a folder of collected files"):
        gather([tmp_path / "runs" / "notes"])


def test_the_episodes_that_were_chosen_for_a_cell_are_given_to_its_page(study, tmp_path, monkeypatch):
    found = gather([study[0]])
    name, pages = found.cells[0].name, []
    monkeypatch.setattr(writing, "chosen_examples", lambda cells: ChosenExamples(by_cell={name: ["chosen"]}))
    monkeypatch.setattr(writing, "figures_of", lambda gathered: {})
    monkeypatch.setattr(writing, "downloads", lambda gathered: [])
    monkeypatch.setattr(writing, "write_page", lambda gathered, content, *rest, **more: pages.append(content))
    writing.write_report(found, tmp_path / "report.html")
    assert [pages[0].examples(cell) for cell in found.cells[:2]] == [["chosen"], []]


def test_a_damaged_run_is_named_and_the_rest_is_compared(tmp_path):
    runs = six_by_hand(tmp_path)
    (runs[0] / "config.toml").write_text("x = [", encoding="utf-8")
    (runs[1] / "evaluations.jsonl").write_text('{"step": 1', encoding="utf-8")
    found = gather(runs)
    assert set(found.collected.unreadable) == {runs[0].name, runs[1].name}
    assert [name for name, state in states_of(found).items() if state == "unreadable"]
    assert found.compared is not None
    told = [one for one in cannot_show(found) if "cannot be read" in one]
    assert len(told) == 2
    assert "config.toml is not TOML" in told[0]
    with pytest.raises(RunError, match=r"config\.toml is not TOML"):
        collect(runs)
    with pytest.raises(RunError, match=r"config\.toml is not TOML"):
        gather(runs[:1])
    seeds = {run.record.run: run.record.seed for cell in found.cells for run in cell.runs}
    assert seeds[runs[1].name] == Run.read(runs[1]).config.run.seed


def test_an_unfinished_run_that_is_damaged_is_named(tmp_path):
    whole, broken = (run_by_hand(tmp_path / name, finished=name == "whole") for name in ("whole", "broken"))
    (broken / "evaluations.jsonl").write_text("junk\n", encoding="utf-8")
    found = gather([whole, broken])
    assert list(found.collected.unreadable) == ["broken"]
    assert states_of(found)["broken"] == "unreadable"
