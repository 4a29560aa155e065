"""Runs whose sampler and learner are actors of a local Ray: the same as others, whatever dies, and nothing is left."""

import json
import os
import signal

import pytest
from ray_runs import RAY, ended, family, gone, resume, steps, told, train, until
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


def weights(folder, step=4):
    """Policy -> its adapter in a checkpoint of the run."""
    files = sorted((folder / "checkpoints" / f"{step:06d}").rglob("adapter_model.safetensors"))
    assert files
    return {path.parent.name: load_file(path) for path in files}


def apart(one, other):
    """The largest difference between two numbers of the same policies."""
    assert one.keys() == other.keys()
    return max((one[name][key] - other[name][key]).abs().max().item() for name in one for key in one[name])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(Sharing, runtime) -> the folder of a run that was not disturbed; each is made when it is first asked for."""
    place, made = tmp_path_factory.mktemp("runs"), {}

    def run(sharing, *runtime):
        key = (sharing, *runtime)
        if key not in made:
            folder = place / str(len(made))
            status = ended(train(folder, f"policies.sharing={sharing}", *runtime), folder)
            assert status == 0, told(folder)
            made[key] = folder
        return made[key]

    return run


@pytest.mark.parametrize("sharing", ["shared", "isolated"])
def test_a_run_on_ray_with_two_ranks_learns_what_a_run_in_one_process_learns(runs, sharing):
    here, there = runs(sharing), runs(sharing, *RAY)
    assert apart(weights(here), weights(there)) < 1e-5


def test_two_samplers_say_what_one_says(runs):
    assert apart(weights(runs("isolated")), weights(runs("isolated", "runtime.name=ray", "runtime.samplers=2"))) < 1e-5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_leaves_nothing_behind_and_goes_on_as_if_unbroken(runs, tmp_path, number):
    folder = tmp_path / "run"
    process = train(folder, "policies.sharing=isolated", *RAY)
    until(lambda: steps(folder) >= 3, process)
    there = family(process.pid)
    assert any("RankBody" in line for line in there.values()), there
    os.kill(process.pid, number)
    assert ended(process, folder) == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    gone(there)
    assert ended(resume(folder), folder) == 0, told(folder)
    assert apart(weights(folder), weights(runs("isolated", *RAY))) == 0.0


def test_a_run_that_is_told_to_end_while_its_actors_start_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "run"
    process = train(folder, *RAY)
    until(lambda: any("Body" in line for line in family(process.pid).values()), process)
    there = family(process.pid)
    process.terminate()
    assert ended(process, folder) == 143, told(folder)
    gone(there)


@pytest.mark.parametrize(
    ("body", "says"),
    [("RankBody", "a rank of the learner is gone"), ("ReplicaBody", "replica 0 of the sampler is gone")],
)
def test_a_process_that_dies_ends_the_run_which_goes_on_from_its_checkpoint(runs, tmp_path, body, says):
    folder = tmp_path / "run"
    process = train(folder, "policies.sharing=isolated", *RAY)
    until(lambda: steps(folder) >= 3, process)
    there = family(process.pid)
    os.kill(next(pid for (pid, _), line in there.items() if body in line), signal.SIGKILL)
    assert ended(process, folder) == 2
    assert says in told(folder)
    assert "Traceback" not in told(folder)
    gone(there)
    assert ended(resume(folder), folder) == 0, told(folder)
    assert apart(weights(folder), weights(runs("isolated", *RAY))) == 0.0


def test_a_run_goes_on_with_another_number_of_ranks_and_without_ray(runs, tmp_path):
    folder = tmp_path / "run"
    assert ended(train(folder, "policies.sharing=isolated", *RAY, "run.steps=2"), folder) == 0, told(folder)
    assert ended(resume(folder, "run.steps=4", "runtime={name='local'}"), folder) == 0, told(folder)
    assert apart(weights(folder), weights(runs("isolated"))) < 1e-5


def test_the_next_step_is_played_while_actors_learn(tmp_path):
    folder = tmp_path / "run"
    assert (
        ended(train(folder, *RAY, "run.overlap=1", "algorithm.old_logprobs=sampler", "run.save_every=10"), folder) == 0
    ), told(folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lags = [value for row in rows for name, value in row.items() if name.endswith("/lag")]
    assert max(lags) == 1.0
    assert min(lags) == 0.0
