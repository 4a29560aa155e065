"""Runs merged into a folder that is kept, and a study that goes on from such a folder; runs are made by hand."""

import fcntl
import json
import os
import shutil
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import command_line
from runs_by_hand import run_by_hand

from counterpoint.analysis.tries import BEFORE, SORTING
from counterpoint.cli import study as command
from counterpoint.cli.study import Asked, run_study
from counterpoint.controlled import Ask, Control, check_asked
from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments import front
from counterpoint.experiments.calibrated import calibrated
from counterpoint.experiments.collect import collect, read
from counterpoint.experiments.collected_files import is_collected
from counterpoint.experiments.comparing import compare_paths
from counterpoint.experiments.done import left_of
from counterpoint.experiments.evidence import calibrations
from counterpoint.experiments.folder import refuse_other_weights, write_cells
from counterpoint.experiments.publish import publish
from counterpoint.experiments.results import write_results
from counterpoint.experiments.runner import Outcome
from counterpoint.experiments.study import load_study
from counterpoint.experiments.study_file import find_study
from counterpoint.files import read_rows
from counterpoint.models import shipped_weights
from counterpoint.recipe import load_config
from counterpoint.run import Run

STUDY = """
recipe = "voting_arithmetic"
seeds = [0, 1]
least_evaluations = 2
set = { "run.steps" = 8, "run.threads" = 1, "evaluation.every" = 2, "run.save_every" = 2 }
[axes.sharing.shared]
"policies.sharing" = "shared"
[axes.sharing.isolated]
"policies.sharing" = "isolated"
[[controls]]
name = "swap"
kind = "evaluate"
"""
KEPT = Path("kept")
MODEL = "micro-medium"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The study in `mine.toml`, of which nothing is made yet."""
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(STUDY, encoding="utf-8")
    return load_study("mine.toml")


def make(study, folder, *names, **more):
    """The runs of these names are in the study's folder; of all cells if none is named."""
    for cell in study.cells:
        if not names or cell.name in names:
            table = load_config(cell.recipe, cell.overrides).model_dump(exclude_none=True)
            facts = {"weights": shipped_weights([table["model"]["path"]])}
            run_by_hand(Path(folder) / cell.name, seed=cell.seed, **{"facts": facts, **more}, **table)


def add_swap(folder, name, accuracy=1.0):
    path = Path(folder) / name / "controls" / "swap-generator-aggregator.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"swap": {"outcomes": {"t000": [accuracy]}, "roles": {}}}), encoding="utf-8")


def states(place=KEPT):
    return {run.run: run.state for run in read(place).runs}


def content(place=KEPT):
    return {path.name: path.read_bytes() for path in sorted(place.iterdir()) if path.is_file()}


def test_runs_of_two_machines_are_merged_into_the_same_bytes_as_all_at_once(study):
    make(study, "all")
    for place, cell in enumerate(sorted(study.cells, key=lambda one: one.name)):
        shutil.copytree(Path("all") / cell.name, Path(("one", "two")[place % 2]) / cell.name)
    for order in (("one", "two"), ("two", "one")):
        shutil.rmtree(KEPT, ignore_errors=True)
        told = [publish(study, Path(folder), KEPT) for folder in order]
        assert [(len(one.added), len(one.finished), len(one.absent)) for one in told] == [(2, 2, 2), (2, 4, 0)]
        publish(study, Path("all"), Path("at once"))
        assert content() == content(Path("at once"))
    assert [*states()] == [cell.name for cell in study.cells]
    assert {run.path for run in read(KEPT).runs} == {f"runs/mine/{cell.name}" for cell in study.cells}


def test_what_is_kept_gives_the_comparison_and_the_calibration_of_the_runs_themselves(study):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    runs = [Path("all") / cell.name for cell in study.cells]
    assert compare_paths([KEPT]).differences == compare_paths(runs).differences
    kept = read(KEPT)
    assert (KEPT / "calibration.json").read_text(encoding="utf-8") == calibrated(kept, "mine").model_dump_json(
        indent=1
    ) + "\n"
    assert kept.outcomes.equals(collect(runs_in_order(study)).outcomes)
    assert kept.recipes.keys() == {run.config_sha256 for run in kept.runs}


def test_nothing_is_published_if_its_rates_cannot_be_counted(study, monkeypatch):
    def refused(*_):
        raise RunError("a run fell, and its record does not say when")

    make(study, "one", study.cells[0].name)
    publish(study, Path("one"), KEPT)
    before = content()
    make(study, "all")
    monkeypatch.setattr("counterpoint.experiments.publish.calibrated", refused)
    with pytest.raises(RunError, match="does not say when"):
        publish(study, Path("all"), KEPT)
    assert content() == before


def runs_in_order(study):
    return [Path("all") / cell.name for cell in study.cells]


def test_publishing_again_changes_no_byte_and_no_file(study):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    before, times = content(), {path: path.stat().st_mtime_ns for path in KEPT.iterdir() if path.suffix != ".json"}
    told = publish(study, Path("all"), KEPT)
    assert (told.added, told.changed, content()) == ((), (), before)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert "0 runs added: 4 of 4 runs are there, 0 failed, 0 are missing" in told.line()


def test_runs_that_are_gone_stay_and_a_line_of_a_run_changes_only_when_it_is_made(study):
    make(study, "all", "shared-s0")
    publish(study, Path("all"), KEPT)
    before = (KEPT / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    shutil.rmtree("all")
    make(study, "all", "isolated-s0")
    publish(study, Path("all"), KEPT)
    after = (KEPT / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    assert [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [1]
    assert states() == {
        "shared-s0": "finished",
        "isolated-s0": "finished",
        "shared-s1": "absent",
        "isolated-s1": "absent",
    }


@pytest.mark.parametrize("first", ["failed", "finished"])
def test_a_run_that_failed_on_one_machine_and_finished_on_another_is_finished(study, first):
    make(study, "bad", "shared-s0", finished=False, error="out of memory")
    make(study, "good", "shared-s0")
    order = ("bad", "good") if first == "failed" else ("good", "bad")
    told = [publish(study, Path(folder), KEPT) for folder in order]
    assert states()["shared-s0"] == "finished"
    assert len(told[0].failed) == (first == "failed")
    assert read(KEPT).outcomes.height > 0


def test_a_failed_run_stays_failed_and_an_interrupted_one_is_absent(study):
    make(study, "all", "shared-s0", finished=False, error="out of memory")
    make(study, "all", "isolated-s0", finished=False)
    publish(study, Path("all"), KEPT)
    shutil.rmtree("all")
    publish(study, Path("all"), KEPT)
    assert states()["shared-s0"] == "failed"
    assert states()["isolated-s0"] == "absent"


def test_controls_made_later_are_added_and_kept_when_the_run_has_fewer(study):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    add_swap("all", "isolated-s0")
    told = publish(study, Path("all"), KEPT)
    assert (told.added, told.changed) == ((), ("isolated-s0",))
    shutil.rmtree("all/isolated-s0/controls")
    assert publish(study, Path("all"), KEPT).changed == ()
    assert [*read(KEPT).runs[1].controls] == ["swap-generator-aggregator"]
    shutil.rmtree("all/isolated-s0")
    publish(study, Path("all"), KEPT)
    assert read(KEPT).runs[1].controls["swap-generator-aggregator"]["team"]["outcomes"] == {"t000": 1.0}


def test_a_control_with_another_result_is_refused(study):
    make(study, "all", "isolated-s0")
    add_swap("all", "isolated-s0")
    publish(study, Path("all"), KEPT)
    shutil.rmtree("all/isolated-s0/controls")
    add_swap("all", "isolated-s0", 0.0)
    with pytest.raises(RunError, match="kept has isolated-s0 with another result of the control swap"):
        publish(study, Path("all"), KEPT)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"luck": 3}, "kept has shared-s0 with other outcomes, so that it was trained twice"),
        ({"fingerprint": "other"}, "kept has shared-s0 with other test tasks"),
        ({"facts": {"weights": {MODEL: "other"}}}, f"shared-s0 and isolated-s0 .* models of the name {MODEL}"),
    ],
)  # fmt: skip
def test_the_same_run_with_another_content_is_refused_and_nothing_changes(study, more, message):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    before = content()
    make(study, "again", "shared-s0", **more)
    with pytest.raises(RunError, match=message):
        publish(study, Path("again"), KEPT)
    assert content() == before


def test_another_recipe_is_refused_with_the_key_that_differs(study):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    changed = changed_study('"run.save_every" = 2', '"run.save_every" = 2, "policies.learning_rate" = 0.5')
    make(changed, "again", "shared-s0")
    message = "kept has shared-s0 with another recipe: policies.learning_rate is 0.0.* there, 0.5 here"
    with pytest.raises(RunError, match=message):
        publish(changed, Path("again"), KEPT)
    with pytest.raises(
        RunError, match=r"shared-s0 with another recipe: policies.learning_rate is 0.5 in the study, 0.0"
    ):
        left_of(changed, Path("again"), KEPT)


def changed_study(before, after):
    Path("changed.toml").write_text(f'name = "mine"\n{STUDY.replace(before, after)}', encoding="utf-8")
    return load_study("changed.toml")


def test_a_run_that_is_none_of_the_study_any_more_is_refused(study):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    with pytest.raises(RunError, match="kept has isolated-s0, which is no run of the study mine"):
        publish(changed_study("axes.sharing.isolated", "axes.sharing.apart"), Path("all"), KEPT)


def test_a_label_of_which_no_run_is_there_can_be_dropped(study):
    make(study, "all", "shared-s0")
    publish(study, Path("all"), KEPT)
    changed = changed_study("axes.sharing.isolated", "axes.sharing.apart")
    told = publish(changed, Path("all"), KEPT)
    assert (told.changed, told.absent) == ((), ("apart-s0", "shared-s1", "apart-s1"))
    assert states() == dict.fromkeys(told.absent, "absent") | {"shared-s0": "finished"}
    publish(changed, Path("all"), Path("at once"))
    assert content() == content(Path("at once"))


def test_a_failed_run_that_is_none_of_the_study_any_more_is_refused(study):
    make(study, "all", "isolated-s0", finished=False, error="out of memory")
    publish(study, Path("all"), KEPT)
    with pytest.raises(RunError, match="kept has isolated-s0, which is no run of the study mine"):
        publish(changed_study("axes.sharing.isolated", "axes.sharing.apart"), Path("all"), KEPT)


def test_seeds_that_were_added_are_merged_and_those_kept_earlier_stay(study):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    shutil.rmtree("all")
    longer = load_study("mine.toml", seeds=(0, 1, 2))
    make(longer, "all", "shared-s2")
    run_study("mine.toml", Asked(publish=KEPT, seeds=(2,), out=Path("all")))
    run_study("mine.toml", Asked(publish=KEPT, out=Path("all")))
    assert [*states()] == [cell.name for cell in longer.cells]
    assert [name for name, state in states().items() if state == "absent"] == ["isolated-s2"]


class Killed(BaseException):
    """The process ends here, as by a kill: nothing that a handler of errors does happens."""


@pytest.fixture
def killed(monkeypatch):
    """A function that publishes and is killed before its change of a file with this number; False if it is not."""

    def publish_until(moment, study):
        left = [moment]

        def watched(name):
            original = getattr(Path, name)

            def change(self, *words, **options):
                if "kept" in self.parts:
                    left[0] -= 1
                    if not left[0]:
                        raise Killed
                return original(self, *words, **options)

            return change

        with monkeypatch.context() as patch:
            for name in ("unlink", "replace", "write_text"):
                patch.setattr(Path, name, watched(name))
            try:
                publish(study, Path("all"), KEPT)
            except Killed:
                return True
        return False

    return publish_until


def finished_or_between():
    """The number of finished runs that are kept, if they can be read."""
    try:
        return sum(state == "finished" for state in states().values())
    except RunError as error:
        return "between" if "its last write was killed" in str(error) else str(error)


def test_a_merge_that_is_killed_at_any_moment_is_undone_or_finished_by_the_next(study, killed):
    make(study, "first", "shared-s0")
    make(study, "all")
    publish(study, Path("all"), Path("whole"))
    publish(study, Path("first"), Path("start"))
    seen = set()
    for moment in range(1, 100):
        shutil.rmtree(KEPT, ignore_errors=True)
        shutil.copytree("start", KEPT)
        if not killed(moment, study):
            break
        seen.add(finished_or_between())
        publish(study, Path("all"), KEPT)
        assert content() == content(Path("whole"))
    assert moment > 6
    assert seen == {1, 4, "between"}


def test_a_first_merge_that_is_killed_is_finished_by_the_next(study, killed):
    make(study, "all")
    publish(study, Path("all"), Path("whole"))
    for moment in range(1, 100):
        shutil.rmtree(KEPT, ignore_errors=True)
        if not killed(moment, study):
            break
        assert not is_collected(KEPT) or finished_or_between() in (4, "between")
        publish(study, Path("all"), KEPT)
        assert content() == content(Path("whole"))
    assert moment > 5


def test_the_command_finishes_a_merge_that_was_killed(study):
    make(study, "all", "shared-s0")
    publish(study, Path("all"), KEPT)
    (KEPT / "runs.jsonl").rename(KEPT / ".runs.jsonl.complete")
    run_study("mine.toml", Asked(publish=KEPT, out=Path("all")))
    assert states()["shared-s0"] == "finished"


def test_a_folder_that_another_process_writes_is_left(study):
    KEPT.mkdir()
    held = os.open(KEPT, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(RunError, match="kept is being written by another process"):
        publish(study, Path("all"), KEPT)
    os.close(held)
    publish(study, Path("all"), KEPT)


# A study that goes on from what is kept


def test_what_is_kept_is_not_run_again_and_what_is_missing_is_left_in_the_order_of_seeds(study):
    make(study, "all", "isolated-s0")
    add_swap("all", "isolated-s0")
    publish(study, Path("all"), KEPT)
    left = left_of(study, Path("elsewhere"), KEPT)
    assert [cell.name for cell in left.study.cells] == ["shared-s0", "shared-s1", "isolated-s1"]
    assert [one.cell for one in left.study.measures] == ["isolated-s1"]
    assert left.done == ("isolated-s0", "isolated-s0/swap-generator-aggregator")
    assert left.lost == ()
    assert left.lines() == ["kept has 1 run and 1 evaluation of this study, which are not made again"]


def test_a_control_that_was_not_made_before_its_run_went_is_named(study):
    make(study, "all", "isolated-s0")
    publish(study, Path("all"), KEPT)
    left = left_of(study, Path("elsewhere"), KEPT)
    assert left.lost == ("isolated-s0/swap-generator-aggregator",)
    assert left.lines()[1] == ("isolated-s0/swap-generator-aggregator cannot be made: their runs are in kept alone")
    here = left_of(study, Path("all"), KEPT)
    assert (here.lost, here.done, len(here.study.measures)) == ((), (), 2)


def add_taught(folder, name, *bases):
    path = Path(folder) / name / "controls" / "taught.json"
    path.parent.mkdir()
    found = {"right": {"team": {"t000": [1, 4]}, "roles": {}}}
    path.write_text(json.dumps(dict.fromkeys(("run", *bases), found)), encoding="utf-8")


def players(left):
    """The runs with which a base is still to be played, with the tries that sort the problems."""
    told = {one.cell: one.arguments[one.arguments.index("--tries") + 1] for one in left.study.measures}
    return {name: tries for name, tries in told.items() if tries != "0"}


def test_a_base_whose_run_went_before_it_was_played_is_played_with_the_next_that_has_it(study):
    study = changed_study('name = "swap"', 'name = "taught"')
    assert players(left_of(study, Path("all"), None)) == {"shared-s0": "64"}
    make(study, "all", "shared-s0", "isolated-s0")
    add_taught("all", "isolated-s0")
    publish(study, Path("all"), KEPT)
    assert players(left_of(study, Path("all"), KEPT)) == {"shared-s0": "64"}
    left = left_of(study, Path("elsewhere"), KEPT)
    assert left.lost == ("shared-s0/taught",)
    assert players(left) == {"shared-s1": "64"}
    make(study, "elsewhere", "shared-s1")
    assert players(left_of(study, Path("elsewhere"), KEPT)) == {"shared-s1": "64"}
    add_taught("elsewhere", "shared-s1", SORTING, BEFORE)
    assert players(left_of(study, Path("elsewhere"), KEPT)) == {}
    publish(study, Path("elsewhere"), KEPT)
    assert players(left_of(study, Path("gone"), KEPT)) == {}


def test_a_base_that_was_played_with_another_seed_is_not_played_again(study):
    study = changed_study('name = "swap"', 'name = "taught"')
    make(study, "all", "shared-s0")
    add_taught("all", "shared-s0", SORTING, BEFORE)
    publish(study, Path("all"), KEPT)
    later = load_study("changed.toml", seeds=[1])
    assert players(left_of(later, Path("elsewhere"), None)) == {"shared-s1": "64"}
    assert players(left_of(later, Path("elsewhere"), KEPT)) == {}


def test_a_task_of_an_array_leaves_out_what_is_kept_and_plays_a_base_whose_run_is_gone(study, monkeypatch, capsys):
    study = changed_study('name = "swap"', 'name = "taught"')
    make(study, "all", "shared-s0")
    publish(study, Path("all"), KEPT)
    Path("site.toml").write_text("", encoding="utf-8")
    run_study("changed.toml", Asked(slurm=Path("site.toml"), done=KEPT))
    said = capsys.readouterr()
    assert "shared-s0/taught cannot be made" in said.err
    assert all(line.split()[0].endswith("sbatch") or "=$(sbatch" in line for line in said.out.splitlines())
    assert f" --done {KEPT.resolve()} --cell " in Path("runs/mine/slurm/default.sbatch").read_text(encoding="utf-8")
    asked = []
    monkeypatch.setattr(
        command,
        "launch_one",
        lambda study, *words, **more: asked.append(study) or Outcome(finished=(), failed={}, left={}),
    )
    run_study("changed.toml", Asked(cell="isolated-s0/taught", done=KEPT))
    told = {one.cell: one.arguments[one.arguments.index("--tries") + 1] for one in asked[0].measures}
    assert told == {"isolated-s0": "64", "shared-s1": "0", "isolated-s1": "0"}
    run_study("changed.toml", Asked(cell="shared-s0", done=KEPT))
    assert capsys.readouterr().out == "shared-s0 is in kept, and is not made again\n"
    with pytest.raises(RunError, match="shared-s0/taught cannot be made: its run is in kept alone"):
        run_study("changed.toml", Asked(cell="shared-s0/taught", done=KEPT))


def test_a_task_of_an_array_does_not_train_beside_a_run_whose_base_had_other_weights(study):
    make(study, "runs/mine", "shared-s0", facts={"weights": {MODEL: "0" * 64}})
    with pytest.raises(RunError, match=f"shared-s0 was trained on another {MODEL} than this version ships"):
        run_study("mine.toml", Asked(cell="isolated-s0"))
    assert not Path("runs/mine/isolated-s0").exists()


def test_the_state_shows_what_is_kept_in_the_order_of_the_study(study, capsys):
    make(study, "all", "isolated-s0")
    add_swap("all", "isolated-s0")
    publish(study, Path("all"), KEPT)
    shutil.rmtree("all")
    run_study("mine.toml", Asked(status=True, done=KEPT))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[2:-1]] == [
        ["shared-s0", "absent"],
        ["isolated-s0", "finished"],
        ["shared-s1", "absent"],
        ["isolated-s1", "absent"],
        ["isolated-s0/swap-generator-aggregator", "finished"],
        ["isolated-s1/swap-generator-aggregator", "absent"],
    ]
    assert "in kept" in lines[3]
    assert lines[-1] == "2 finished, 4 absent"


def test_a_study_that_is_kept_whole_starts_nothing(study, capsys):
    make(study, "all")
    for name in ("isolated-s0", "isolated-s1"):
        add_swap("all", name)
    publish(study, Path("all"), KEPT)
    run_study("mine.toml", Asked(done=KEPT, out=Path("elsewhere")))
    assert capsys.readouterr().out.splitlines() == [
        "kept has 4 runs and 2 evaluations of this study, which are not made again"
    ]
    assert not Path("elsewhere").exists()


def test_what_is_kept_is_neither_run_again_nor_left_out_of_the_comparison_from_python(study, monkeypatch):
    study = changed_study('[[controls]]\nname = "swap"\nkind = "evaluate"', "")
    make(study, "all", "shared-s0", "isolated-s0")
    publish(study, Path("all"), KEPT)
    shutil.rmtree("all")
    launched = []

    def launch(left, folder, whole, **options):
        launched.append([cell.name for cell in left.cells])
        make(left, folder)
        write_cells(whole, folder)
        return Outcome(finished=(), failed={}, left={})

    monkeypatch.setattr(front, "launch", launch)
    monkeypatch.setattr(front, "check", lambda study: SimpleNamespace(study=study, refuse_if_missing=lambda: None))
    monkeypatch.setattr(front, "cost_of", lambda *_: SimpleNamespace(refuse_if_too_large=lambda: None, by_run={}))
    found = front.study("changed.toml", done=KEPT)
    assert launched == [["shared-s1", "isolated-s1"]]
    assert "2 paired seeds" in found.sentences[0]
    publish(study, Path("runs/mine"), KEPT)
    shutil.rmtree("runs")
    assert front.study("changed.toml", done=KEPT).sentences == found.sentences
    assert len(launched) == 1


def test_a_run_that_failed_there_is_left_to_do(study):
    make(study, "all", "shared-s0", finished=False, error="out of memory")
    publish(study, Path("all"), KEPT)
    assert "shared-s0" in [cell.name for cell in left_of(study, Path("elsewhere"), KEPT).study.cells]


def test_a_shipped_model_with_other_weights_is_refused(study):
    make(study, "all", "shared-s0", facts={"weights": {MODEL: "0" * 64}})
    publish(study, Path("all"), KEPT)
    with pytest.raises(RunError, match=f"kept has shared-s0 trained on another {MODEL} than this version ships"):
        left_of(study, Path("elsewhere"), KEPT)


def test_a_run_whose_base_has_other_weights_now_is_not_evaluated(study):
    make(study, "all", "shared-s0", facts={"weights": {MODEL: "0" * 64}})
    run = Run.read(Path("all/shared-s0"))
    with pytest.raises(RunError, match=f"trained on another {MODEL} than this version ships"):
        check_asked(run, run.config, Ask(), Control())


def test_a_study_does_not_go_on_beside_a_run_whose_base_had_other_weights(study):
    make(study, "all", "shared-s0", facts={"weights": {MODEL: "0" * 64}})
    with pytest.raises(RunError, match=f"shared-s0 was trained on another {MODEL} than this version ships"):
        refuse_other_weights(study, Path("all"))
    make(study, "all", "isolated-s0", "shared-s1", "isolated-s1")
    refuse_other_weights(study, Path("all"))  # nothing is left to be trained


def test_recipes_that_are_not_there_are_compared_by_their_digests(study):
    make(study, "all", "shared-s0")
    publish(study, Path("all"), KEPT)
    (KEPT / "recipes.jsonl").unlink()
    assert left_of(study, Path("elsewhere"), KEPT).done == ("shared-s0",)
    changed = changed_study('"run.save_every" = 2', '"run.save_every" = 1')
    with pytest.raises(RunError, match="kept has shared-s0 with another recipe: its digest differs"):
        left_of(changed, Path("elsewhere"), KEPT)


def test_a_key_that_a_later_version_added_is_no_difference(study):
    make(study, "all", "shared-s0")
    publish(study, Path("all"), KEPT)
    rows = read_rows(KEPT / "recipes.jsonl")
    del rows[0]["recipe"]["evaluation"]["samples"]
    (KEPT / "recipes.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    assert left_of(study, Path("elsewhere"), KEPT).done == ("shared-s0",)


def test_a_folder_that_is_not_there_is_refused_and_one_without_results_says_nothing(study):
    with pytest.raises(RunError, match="--done kept: there is no such folder"):
        left_of(study, Path("all"), KEPT)
    KEPT.mkdir()
    assert left_of(study, Path("all"), KEPT).study == study


@pytest.mark.parametrize("option", ["publish", "done"])
def test_the_folder_of_a_study_and_a_run_are_no_folders_of_collected_files(study, option):
    make(study, "runs/mine", "shared-s0")
    write_cells(study, Path("runs/mine"))
    before = content(Path("runs/mine/shared-s0")), content(Path("runs/mine"))
    for place, what in (("runs/mine", "the folder of a study"), ("runs/mine/shared-s0", "a run directory")):
        with pytest.raises(RunError, match=f"--{option} {place}: this is {what}; name a folder of its own"):
            run_study("mine.toml", Asked(**{option: Path(place)}))
    assert (content(Path("runs/mine/shared-s0")), content(Path("runs/mine"))) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"publish": KEPT, "status": True}, "--status and --publish: give one of them"),
        ({"publish": KEPT, "only": ("a",)}, "--only means nothing with --publish"),
        ({"publish": KEPT, "done": KEPT}, "--done means nothing with --publish"),
        ({"publish": KEPT, "jobs": 2}, "--jobs means nothing with --publish"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(study, options, message):
    with pytest.raises(ConfigError, match=message):
        run_study("mine.toml", Asked(**options))


def test_the_commands(study):
    make(study, "runs/mine", "shared-s0")
    done = command_line("study", "mine.toml", "--publish", "kept")
    assert done.stdout == "kept: 1 run added: 1 of 4 runs are there, 0 failed, 3 are missing\n"
    shutil.rmtree("runs")
    assert "1 finished, 5 absent" not in command_line("study", "mine.toml", "--status").stdout
    assert "1 finished, 5 absent" in command_line("study", "mine.toml", "--status", "--done", "kept").stdout


def test_evaluations_that_are_not_made_yet_are_counted(study):
    make(study, "all", "shared-s0", "isolated-s0")
    told = publish(study, Path("all"), KEPT)
    assert told.unmade == ("isolated-s0/swap-generator-aggregator",)
    assert told.line().endswith("2 are missing; 1 evaluation of those there not made yet")
    add_swap("all", "isolated-s0")
    assert publish(study, Path("all"), KEPT).line().endswith("2 are missing")


def test_the_calibration_is_beside_the_study_too_if_that_is_here(study, tmp_path):
    make(study, "all")
    publish(study, Path("all"), KEPT)
    beside = Path("mine.calibration.json").read_bytes()
    assert beside == (KEPT / "calibration.json").read_bytes()
    Path("mine.calibration.json").unlink()
    Path("below").mkdir()
    with chdir("below"):
        publish(load_study("../mine.toml"), tmp_path / "all", tmp_path / KEPT)
    assert not Path("mine.calibration.json").exists()


def test_published_calibrations_are_found_once_for_each_study(study, monkeypatch):
    make(study, "runs/mine")
    (Path("studies")).mkdir()
    Path("mine.toml").rename("studies/mine.toml")
    write_results_of("mine")
    assert [one.runs for one in calibrations() if one.study == "mine"] == [4]
    publish(load_study("mine"), Path("runs/mine"), KEPT)
    assert Path("studies/mine.calibration.json").is_file()
    assert [one.runs for one in calibrations() if one.study == "mine"] == [4]


def write_results_of(name):
    folder = Path("runs") / name
    write_cells(load_study(name), folder)
    write_results(folder, name)


PAGES = Path(__file__).parents[1] / "docs" / "studies"
COMMITTED = sorted(one.parent for one in PAGES.glob("*/runs.jsonl"))


@pytest.mark.parametrize("place", COMMITTED, ids=[one.name for one in COMMITTED])
def test_a_committed_study_has_the_calibration_of_its_runs_and_ships_it(place):
    text = (place / "calibration.json").read_text(encoding="utf-8")
    beside = find_study(place.name).with_name(f"{place.name}.calibration.json")
    assert text == beside.read_text(encoding="utf-8")
    assert text == calibrated(read(place), place.name).model_dump_json(indent=1) + "\n"


@pytest.mark.parametrize("place", COMMITTED, ids=[one.name for one in COMMITTED])
def test_a_committed_study_has_no_path_of_a_machine_and_the_order_of_its_study(place):
    runs = read(place).runs
    study = load_study(place.name, seeds=tuple(dict.fromkeys(run.seed for run in runs)))
    assert [run.run for run in runs] == [cell.name for cell in study.cells]
    assert {run.path for run in runs} == {f"runs/{place.name}/{run.run}" for run in runs}
