"""A run is a directory: locked while in use, whole whenever it is killed, and the same after it was resumed."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from facts import make_call, make_credit, make_episode, make_group

from counterpoint.algorithms.advantage import grpo
from counterpoint.episode import Answer, Group, without_logprobs
from counterpoint.errors import RunError
from counterpoint.files import RowReader, append_row, lock
from counterpoint.recipe import config_from
from counterpoint.run import FORMAT, Run

CONFIG = config_from({"run": {"steps": 6, "seed": 3}})
SAME_CALL = ["step", "task", "rollout", "solo", "role", "slot", "turn"]
FACTS = {"python": "3", "roles": ["a", "b"]}
DIGEST = sha256(CONFIG.toml().encode()).hexdigest()


class Part:
    """A part of training that is one number."""

    def __init__(self, value=0):
        self.value = value

    def save(self, folder):
        (folder / "value.txt").write_text(str(self.value))

    def load(self, folder):
        self.value = int((folder / "value.txt").read_text())


class Broken(Part):
    """A part that cannot be saved."""

    def save(self, folder):
        super().save(folder)
        raise OSError("no space left")


@pytest.fixture
def run(tmp_path):
    with Run.create(tmp_path / "run", CONFIG, FACTS) as made:
        yield made


def groups_of(step):
    return [make_group(make_episode(make_call(text=f"step {step}")))]


def play(run, steps, *, saved=(), parts=None):
    """What training leaves behind after these steps."""
    for step in steps:
        run.add_episodes(step, groups_of(step))
        run.add_samples(step, [sample.row() for sample in grpo([make_credit(1.0), make_credit(0.0, rollout=1)])])
        run.add_metrics(step, {"episode/score": step / 7})
        run.add_evaluation({"step": step, "split": "test", "accuracy": 0.5}, groups_of(step))
        if step in saved:
            run.checkpoint(step, parts or {"learner": Part(step), "interventions": Part(-step)}, {"stopped": None})


def tree(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != "run.lock"
    }


def steps_kept(run, folder):
    return sorted(int(file.stem) for file in (run.path / folder).iterdir())


def test_a_new_run_holds_its_recipe_and_what_is_known_about_it(run):
    assert Run.read(run.path).config == CONFIG
    assert run.facts == {"format": FORMAT, "config_sha256": DIGEST, **FACTS}
    assert run.metric_rows() == run.evaluation_rows() == []
    assert run.checkpoints() == []


def test_an_empty_directory_can_become_a_run(tmp_path):
    with Run.create(tmp_path, CONFIG, FACTS) as run:
        assert run.path == tmp_path


def test_a_directory_that_holds_a_run_is_refused_and_left_alone(run):
    run.add_metrics(1, {"a": 1.0})
    run.close()
    before = tree(run.path)
    with pytest.raises(RunError, match=r"already holds a run: resume it with `counterpoint resume .*run`"):
        Run.create(run.path, CONFIG, FACTS)
    assert tree(run.path) == before


def test_a_command_that_an_error_names_can_be_copied_though_the_path_has_a_space(tmp_path):
    path = tmp_path / "my run"
    with Run.create(path, CONFIG, FACTS), pytest.raises(RunError, match="in use"):
        Run.create(path, CONFIG, FACTS)
    with pytest.raises(RunError, match=r"resume it with `counterpoint resume '.*/my run'`"):
        Run.create(path, CONFIG, FACTS)
    (path / "config.toml").unlink()
    with pytest.raises(RunError, match=r"with `counterpoint train RECIPE --out '.*/my run'`"):
        Run.read(path)


def test_a_directory_that_holds_anything_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(RunError, match="exists and is not empty"):
        Run.create(tmp_path, CONFIG, FACTS)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="exists and is not empty"):
        Run.create(tmp_path / "run", CONFIG, FACTS)


def test_a_run_in_use_cannot_be_opened_twice(run):
    with pytest.raises(RunError, match="is in use: another process works on this run"):
        Run.open(run.path)
    run.close()
    with Run.open(run.path) as again, pytest.raises(RunError, match="in use"):
        Run.open(again.path)


def test_a_run_of_another_format_can_be_read_but_not_resumed(run):
    run.close()
    (run.path / "run.json").write_text(json.dumps({**run.facts, "format": 2}))
    assert Run.read(run.path).config == CONFIG
    with pytest.raises(RunError, match="is a run of format 2, which can be read but not resumed"):
        Run.open(run.path)


def test_a_run_in_use_cannot_be_opened_by_another_process(run):
    program = "import sys, pathlib; from counterpoint.run import Run; Run.open(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(run.path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "is in use" in refused.stderr


def test_a_run_in_use_can_be_read(run):
    assert Run.read(run.path).config.run.seed == 3


def test_closing_twice_is_harmless(run):
    run.close()
    run.close()
    Run.open(run.path).close()


@pytest.mark.parametrize("missing", ["config.toml", "run.json"])
def test_a_directory_that_is_not_a_run_is_named(run, missing):
    play(run, [1])
    (run.path / missing).unlink()
    run.close()
    for look in (Run.read, Run.open):
        with pytest.raises(RunError, match=r"run is not a run directory"):
            look(run.path)


def test_facts_can_be_added_and_repeated_but_not_changed(run):
    run.pin({"tasks": {"train": "abc"}})
    run.pin({"tasks": {"train": "abc"}, "routing": {"a": "shared"}})
    pinned = {"tasks": {"train": "abc"}, "routing": {"a": "shared"}}
    assert run.facts == {"format": FORMAT, "config_sha256": DIGEST, **FACTS, **pinned}
    with pytest.raises(RunError, match=r"tasks changed since the run began: .*abc.* then, .*abd.* now"):
        run.pin({"tasks": {"train": "abd"}, "more": 1})
    assert "more" not in run.facts


def test_numbers_come_back_bit_for_bit(run):
    numbers = {"a": 0.1, "b": 1 / 3, "c": 1e-300, "d": -0.0, "e": 12345678901234567.0}
    run.add_metrics(1, numbers)
    run.add_metrics(2, {"a": float("inf")})
    assert run.metric_rows() == [{"step": 1, **numbers}, {"step": 2, "a": float("inf")}]


def test_episodes_and_samples_of_a_step_come_back(run):
    play(run, [4])
    assert run.episodes(4) == groups_of(4)
    samples = run.samples(4)
    assert samples["advantage"].to_list() == pytest.approx([0.7071, -0.7071], abs=1e-4)
    assert samples["role"].to_list() == ["generator", "generator"]


def test_a_step_without_samples_is_written_down_too(run):
    run.add_samples(1, [])
    assert pl.read_parquet(run.path / "samples" / "000001.parquet").height == 0


def test_a_torn_last_line_is_not_a_line_yet(run):
    run.add_metrics(1, {"a": 1.0})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "a": 2')
    assert [line["step"] for line in run.metric_rows()] == [1]


def test_a_line_that_is_torn_just_before_its_end_is_not_a_line_yet(run):
    run.add_metrics(1, {"a": 1.0})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "a": 2}')
    assert [line["step"] for line in run.metric_rows()] == [1]


def test_a_damaged_line_is_named(run):
    for step in (1, 2, 3):
        run.add_metrics(step, {"a": 1.0})
    path = run.path / "metrics.jsonl"
    path.write_text(path.read_text().replace('{"step": 2', '{"step" 2'))
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 is damaged"):
        run.metric_rows()


def test_restoring_takes_the_last_checkpoint_and_removes_what_came_after_it(run):
    play(run, range(3), saved={0, 2})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "epis')
    before = tree(run.path)
    before["metrics.jsonl"] = before["metrics.jsonl"].removesuffix(b'{"step": 3, "epis')

    play(run, [4, 5])  # the torn line swallows step 4's, which is what a kill may leave
    path = run.path / "metrics.jsonl"
    path.write_bytes(before["metrics.jsonl"] + b'{"step": 3, "a": 1}\n{"step": 4, "epis')
    (run.path / "episodes" / ".000006.parquet.partial").write_text("half")
    (run.path / "samples" / ".000006.parquet.partial").write_text("half")
    (run.path / "evaluations" / "test" / ".000006.parquet.partial").write_text("half")
    (run.path / "checkpoints" / ".000004.partial").mkdir()
    (run.path / "checkpoints" / ".000004.partial" / "value.txt").write_text("4")
    run.write_summary({"peak": 1})
    run.close()

    with Run.open(run.path) as again:
        learner, interventions = Part(), Part()
        assert again.restore({"learner": learner, "interventions": interventions}) == 2
        assert (learner.value, interventions.value) == (2, -2)
        assert [line["step"] for line in again.metric_rows()] == [0, 1, 2]
        assert [line["step"] for line in again.evaluation_rows()] == [0, 1, 2]
        for folder in ("episodes", "samples", "evaluations/test"):
            assert steps_kept(again, folder) == [0, 1, 2]
        assert tree(again.path) == before


@pytest.mark.parametrize("text", ["", '{"step": 5, "spl', '{"step": 0, "split": "test"}\n{"step": 5, "spl'])
def test_a_final_evaluation_that_was_written_in_part_spoils_none_that_comes_after_it(run, text):
    play(run, range(7), saved={6})
    (run.path / "final.jsonl").write_text(text)
    run.restore({"learner": Part(), "interventions": Part()})
    run.add_final({"step": 5, "split": "test"})
    kept = [json.loads(line) for line in text.splitlines()[:-1]]
    assert run.final_rows() == [*kept, {"step": 5, "split": "test"}]


def test_a_run_goes_on_without_the_folders_that_may_be_deleted(run):
    play(run, range(3), saved={2})
    for folder in ("episodes", "samples", "evaluations"):
        shutil.rmtree(run.path / folder)
    run.restore({"learner": Part(), "interventions": Part()})
    play(run, [3])
    for folder in ("episodes", "samples", "evaluations/test"):
        assert steps_kept(run, folder) == [3]


def test_a_resumed_run_holds_what_an_unbroken_one_holds(tmp_path):
    whole, broken = (Run.create(tmp_path / name, CONFIG, FACTS) for name in ("whole", "broken"))
    play(whole, range(6), saved={0, 2, 4})
    play(broken, range(4), saved={0, 2})
    assert broken.restore({"learner": Part(), "interventions": Part()}) == 2
    play(broken, range(3, 6), saved={4})
    assert tree(broken.path) == tree(whole.path)
    whole.close()
    broken.close()


def test_restoring_without_a_checkpoint_starts_from_nothing(run):
    play(run, [0, 1])
    learner = Part(7)
    assert run.restore({"learner": learner}) is None
    assert learner.value == 7
    assert run.metric_rows() == run.evaluation_rows() == []
    for folder in ("episodes", "samples", "evaluations/test"):
        assert steps_kept(run, folder) == []


def test_restoring_twice_changes_nothing(run):
    play(run, range(3), saved={2})
    parts = {"learner": Part(), "interventions": Part()}
    run.restore(parts)
    before = tree(run.path)
    assert run.restore(parts) == 2
    assert tree(run.path) == before


def test_a_checkpoint_whose_part_cannot_be_saved_does_not_exist(run):
    run.checkpoint(1, {"learner": Part(1)}, {"stopped": None})
    with pytest.raises(OSError, match="no space left"):
        run.checkpoint(2, {"learner": Part(2), "interventions": Broken(2)}, {"stopped": None})
    assert run.checkpoints() == [1]
    learner = Part()
    assert run.restore({"learner": learner}) == 1
    assert learner.value == 1
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["000001"]


def test_a_checkpoint_that_failed_can_be_made_again(run):
    with pytest.raises(OSError, match="no space left"):
        run.checkpoint(2, {"interventions": Broken(2)}, {"stopped": None})
    run.checkpoint(2, {"learner": Part(2)}, {"stopped": None})
    assert [file.name for file in run.checkpoint_path(2).iterdir()].count("interventions") == 0
    assert run.checkpoints() == [2]


def test_checkpoints_are_counted_in_numbers_and_not_as_text(run):
    for step in (2, 10, 1_000_000):
        run.checkpoint(step, {"learner": Part(step)}, {"stopped": None})
    assert run.checkpoints() == [2, 10, 1_000_000]
    learner = Part()
    assert run.restore({"learner": learner}) == 1_000_000


def test_any_checkpoint_can_be_loaded_and_a_missing_one_is_named(run):
    play(run, range(5), saved={0, 2, 4})
    parts = {"learner": Part(), "interventions": Part()}
    run.load_checkpoint(2, parts)
    assert parts["learner"].value == 2
    assert run.checkpoints() == [0, 2, 4]
    with pytest.raises(RunError, match="no checkpoint of step 3; there are: 0, 2, 4"):
        run.load_checkpoint(3, parts)
    shutil.rmtree(run.path / "checkpoints")
    (run.path / "checkpoints").mkdir()
    with pytest.raises(RunError, match="no checkpoint of step 3; there are: none"):
        run.load_checkpoint(3, parts)


def test_the_state_of_a_checkpoint_says_its_step(run):
    run.checkpoint(2, {}, {"stopped": None, "digests": {"a": "b"}})
    assert run.checkpoint_state(2) == {"format": FORMAT, "step": 2, "stopped": None, "digests": {"a": "b"}}


def test_the_steps_left_follow_the_checkpoint(run):
    assert list(run.steps_left(0)) == [1, 2, 3, 4, 5, 6]
    run.checkpoint(4, {}, {"stopped": None})
    assert list(run.steps_left(4)) == [5, 6]
    assert list(run.steps_left(6)) == []


def test_a_run_that_was_stopped_has_no_steps_left(run):
    run.checkpoint(2, {}, {"stopped": None})
    run.checkpoint(4, {}, {"stopped": "accuracy fell"})
    assert list(run.steps_left(4)) == []
    assert list(run.steps_left(2)) == [3, 4, 5, 6]


@pytest.mark.parametrize("point", range(7))
def test_a_run_whose_creation_was_killed_can_be_created_again(tmp_path, point):
    """Every state that `create` goes through, up to the last before the recipe is there."""
    path = tmp_path / "run"
    steps = [
        lambda: path.mkdir(),
        lambda: (path / "run.lock").touch(),
        lambda: (path / "episodes").mkdir(),
        lambda: [(path / name).mkdir() for name in ("samples", "evaluations", "checkpoints")],
        lambda: (path / ".run.json.partial").write_text('{"for'),
        lambda: (path / ".run.json.partial").replace(path / "run.json"),
        lambda: (path / ".config.toml.partial").write_text("[mod"),
    ]
    for step in steps[: point + 1]:
        step()
    if point > 0:
        with pytest.raises(RunError, match=r"holds no run yet: .* start the run again with `counterpoint train RECIPE"):
            Run.open(path)
    with Run.create(path, CONFIG, FACTS) as run:
        assert run.restore({}) is None
    assert Run.read(path).facts == {"format": FORMAT, "config_sha256": DIGEST, **FACTS}
    assert not list(path.glob(".*"))


KILLER = """
import os, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from test_run import CONFIG, FACTS, Run


def die_at(path, change):
    left = [change]

    def watch(event, arguments):
        writes = event in ("os.mkdir", "os.rename") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes and str(path) in str(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)

    sys.addaudithook(watch)


for change in range(1, 20):
    path = Path(sys.argv[2]) / str(change)
    child = os.fork()
    if child == 0:
        die_at(path, change)
        Run.create(path, CONFIG, FACTS)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))
"""


def test_a_creation_killed_before_any_of_its_writes_leaves_what_can_be_created_or_opened(tmp_path):
    command = [sys.executable, "-c", KILLER, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    codes = list(map(int, done.stdout.split()))
    assert codes == [9] * 10 + [0] * 9, f"a folder, a lock, four folders, two files written and renamed; {done.stderr}"
    for change in range(1, 20):
        path = tmp_path / str(change)
        assert (path / "config.toml").exists() == (change > 10)
        (Run.open(path) if change > 10 else Run.create(path, CONFIG, FACTS)).close()
        assert Run.read(path).config == CONFIG


@pytest.mark.parametrize("extra", ["thesis.txt", "episodes/000001.parquet", "checkpoints/000000"])
def test_a_directory_that_holds_more_than_a_killed_creation_leaves_is_left_alone(tmp_path, extra):
    path = tmp_path / "run"
    for folder in ("episodes", "samples", "evaluations", "checkpoints"):
        (path / folder).mkdir(parents=True)
    (path / "run.lock").touch()
    (path / extra).write_text("mine")
    before = tree(path)
    with pytest.raises(RunError, match="exists and is not empty"):
        Run.create(path, CONFIG, FACTS)
    assert tree(path) == before


def test_a_run_that_is_being_created_is_not_taken_over(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    descriptor = lock(path / "run.lock")
    with pytest.raises(RunError, match="is in use"):
        Run.create(path, CONFIG, FACTS)
    with pytest.raises(RunError, match="another process is creating it at this moment"):
        Run.read(path)
    os.close(descriptor)
    Run.create(path, CONFIG, FACTS).close()


def test_looking_at_the_lock_for_an_instant_does_not_keep_a_run_from_being_opened(run):
    run.close()
    descriptor = os.open(run.path / "run.lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.1, os.close, [descriptor])
    timer.start()
    Run.open(run.path).close()
    timer.join()


def test_metrics_are_a_frame_with_nulls_where_a_number_is_missing(run):
    run.add_metrics(1, {"a": 0.5, "b": 1})
    run.add_metrics(2, {"c": 2.5, "a": float("inf")})
    wanted = {"step": [1, 2], "a": [0.5, float("inf")], "b": [1.0, None], "c": [None, 2.5]}
    schema = {"step": pl.Int64, "a": pl.Float64, "b": pl.Float64, "c": pl.Float64}
    assert run.metrics().equals(pl.DataFrame(wanted, schema=schema))
    assert run.metrics().schema == schema


def test_a_new_run_gives_frames_without_rows(run):
    assert run.metrics().schema == {"step": pl.Int64}
    assert run.profile().schema == {"step": pl.Int64}
    assert run.evaluations().columns == ["step", "split", "accuracy", "rolled_back", "tasks"]
    assert run.outcomes().columns == ["step", "split", "role", "task", "outcomes", "mean"]
    assert sum(len(frame) for frame in (run.metrics(), run.profile(), run.evaluations(), run.outcomes())) == 0
    assert run.summary is None
    assert run.steps_with_episodes() == []


def test_evaluations_and_their_outcomes_are_frames(run):
    first = {"step": 0, "split": "validation", "accuracy": 0.5, "numbers": {"episode/oracle": 1.0}}
    run.add_evaluation({**first, "outcomes": {"t": [1.0, 0.0]}, "roles": {"judge": {"t": [1.0]}}, "rolled_back": False})
    second = {"step": 4, "split": "test", "accuracy": 1.0, "numbers": {"role/judge/calls": 2.0}}
    run.add_evaluation({**second, "outcomes": {"u": [1.0], "v": [1.0]}, "roles": {}, "rolled_back": True})
    assert run.evaluations().rows(named=True) == [
        {"step": 0, "split": "validation", "accuracy": 0.5, "rolled_back": False, "tasks": 1}
        | {"episode/oracle": 1.0, "role/judge/calls": None},
        {"step": 4, "split": "test", "accuracy": 1.0, "rolled_back": True, "tasks": 2}
        | {"episode/oracle": None, "role/judge/calls": 2.0},
    ]
    assert run.outcomes().rows() == [
        (0, "validation", None, "t", [1.0, 0.0], 0.5),
        (0, "validation", "judge", "t", [1.0], 1.0),
        (4, "test", None, "u", [1.0], 1.0),
        (4, "test", None, "v", [1.0], 1.0),
    ]


def test_calls_are_a_frame_that_joins_with_samples(run):
    group = make_group(
        make_episode(make_call(claim=Answer("2")), make_call("judge"), task="t"),
        make_episode(task="t", rollout=1, error="gone"),
    )
    run.add_episodes(2, [group])
    run.add_samples(2, [sample.row() for sample in grpo([make_credit(1.0), make_credit(0.0, rollout=1)])])
    calls = run.calls(2)
    assert calls.select("step", "split", "task", "rollout", "solo", "role").rows() == [
        (2, "train", "t", 0, False, "generator"),
        (2, "train", "t", 0, False, "judge"),
    ]
    assert calls["completion_ids"][0].to_list() == list(group.episodes[0].calls[0].completion_ids)
    joined = calls.join(run.samples(2), on=SAME_CALL, how="inner")
    assert joined["reward"].to_list() == [1.0]


def test_calls_and_samples_join_over_all_steps_though_a_task_comes_again_and_one_role_also_plays_alone(run):
    """The solo's call has the role, slot and turn of the team's, and no credit."""
    episode = make_episode(make_call(claim=Answer("2")))
    for step, reward in ((1, 0.25), (2, 0.75)):
        run.add_episodes(step, [Group(task="t", episodes=(episode,), solos=(episode,))])
        run.add_samples(step, [make_credit(reward).sample(0.0).row()])
    folder = {name: str(run.path / name / "*.parquet") for name in ("episodes", "samples")}
    calls = pl.read_parquet(folder["episodes"]).explode("calls").unnest("calls")
    joined = calls.join(pl.read_parquet(folder["samples"]), on=SAME_CALL, how="left")
    found = joined.select("step", "solo", "reward_right").rows()
    assert sorted(found) == [(1, False, 0.25), (1, True, None), (2, False, 0.75), (2, True, None)]


def test_the_episodes_of_an_evaluation_come_back_without_log_probabilities(run):
    run.add_evaluation({"step": 0, "split": "validation", "accuracy": 0.5})
    run.add_evaluation({"step": 3, "split": "test", "accuracy": 0.5}, groups_of(3))
    assert run.evaluation_episodes(3) == run.evaluation_episodes(3, "test") == without_logprobs(groups_of(3))
    assert (run.steps_with_episodes("test"), run.steps_with_episodes("validation")) == ([3], [])
    assert run.steps_with_episodes() == []
    calls = run.calls(3, "test")
    assert calls.select("step", "split", "task", "text").rows() == [(3, "test", "t", "step 3")]
    with pytest.raises(RunError, match="has no episodes of the test evaluation at step 4; there are: 3"):
        run.evaluation_episodes(4)
    with pytest.raises(RunError, match="no episodes of the validation evaluation at step 0; there are none yet"):
        run.calls(0, "validation")


def test_a_step_that_is_not_recorded_is_named(run):
    for read in (run.episodes, run.calls, run.samples):
        with pytest.raises(RunError, match="has no episodes of step 3; there are none yet"):
            read(3)
    play(run, [1, 2])
    for read in (run.episodes, run.calls, run.samples):
        with pytest.raises(RunError, match="has no episodes of step 3; there are: 1 to 2"):
            read(3)
    (run.path / "samples" / "000002.parquet").unlink()
    assert len(run.samples(2)) == 0
    assert run.samples(2).schema == run.samples(1).schema


def test_a_run_that_is_not_where_it_was_has_no_empty_tables(run, monkeypatch):
    play(run, [1])
    (run.path.parent / "elsewhere").mkdir()
    monkeypatch.chdir(run.path.parent)
    found = Run.read("run")
    assert len(found.metrics()) == 1
    monkeypatch.chdir("elsewhere")
    for read in (found.metrics, found.evaluations, found.finals, found.profile, lambda: found.summary):
        with pytest.raises(RunError, match="run is not a run directory: there is nothing of that name"):
            read()


def test_a_tilde_is_the_home_folder_and_no_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    with Run.create("~/run", CONFIG, FACTS) as made:
        assert made.path == tmp_path / "me" / "run"
    assert Run.read("~/run").path == made.path
    assert not (tmp_path / "~").exists()


def test_the_profile_is_a_frame(run):
    run.start_profile()
    run.add_profile(0, {"act": 0.5})
    run.add_profile(1, {"act": 0.25, "act/evaluation": 1.0})
    assert run.profile().rows() == [(0, 0.5, None), (1, 0.25, 1.0)]


def test_rows_that_are_appended_are_read_once(tmp_path):
    reader = RowReader(tmp_path / "rows.jsonl")
    assert reader.new_rows() == []
    append_row(tmp_path / "rows.jsonl", {"a": 1})
    append_row(tmp_path / "rows.jsonl", {"a": 2})
    assert reader.new_rows() == [{"a": 1}, {"a": 2}]
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"a": ')
    assert reader.new_rows() == []
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write("3}\n[\n")
    with pytest.raises(RunError, match="line 4 is damaged"):
        reader.new_rows()


def test_the_summary_is_written_whole(run):
    run.write_summary({"peak": {"value": 0.5}})
    run.write_summary({"peak": {"value": 0.75}})
    assert json.loads((run.path / "summary.json").read_text()) == {"peak": {"value": 0.75}}
    assert not list(run.path.glob(".*"))
