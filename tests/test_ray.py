"""Runs whose sampler and learner are actors of a local Ray: the same as others, whatever dies, and nothing is left."""

import json
import os
import signal

import pytest
import torch
from ray_runs import RAY, ended, family, gone, resume, steps, told, train, until
from safetensors.torch import load_file

pytestmark = pytest.mark.slow
OVERLAP = (*RAY, "run.overlap=1", "algorithm.old_logprobs=sampler", "run.save_every=2")


def weights(folder, step=8):
    """Policy -> its adapter in a checkpoint of the run."""
    files = sorted((folder / "checkpoints" / f"{step:06d}").rglob("adapter_model.safetensors"))
    assert files
    return {path.parent.name: load_file(path) for path in files}


def apart(one, other, *, typical=False):
    """The largest difference between two numbers of the same policies, or the typical one: their mean."""
    assert one.keys() == other.keys()
    found = torch.cat([(one[name][key] - other[name][key]).abs().flatten() for name in one for key in one[name]])
    return (found.mean() if typical else found.max()).item()


ENDS = (
    ("", signal.SIGTERM, 143, "to continue: counterpoint resume"),
    ("", signal.SIGINT, 130, "to continue: counterpoint resume"),
    ("RankBody", signal.SIGKILL, 2, "a rank of the learner is gone"),
    ("ReplicaBody", signal.SIGKILL, 2, "replica 0 of the sampler is gone"),
    ("", signal.SIGKILL, -signal.SIGKILL, ""),
)
"""The process that a signal is sent to, the run's own or an actor, the run's exit status, and what it says."""


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


def test_two_samplers_say_what_one_says_and_two_ranks_with_half_a_base_each_learn_what_one_learns(runs):
    both = runs("isolated", *RAY, "runtime.samplers=2", "runtime.shard_base=true")
    # A sharded base adds up in another order, and Adam's first step makes as much of a tiny gradient as of a large one.
    assert apart(weights(runs("isolated")), weights(both)) < 1e-4
    assert apart(weights(runs("isolated"), step=1), weights(both, step=1), typical=True) < 1e-7


def test_whatever_ends_a_run_leaves_nothing_behind_and_it_goes_on_as_if_unbroken(runs, tmp_path):
    folder, seen = tmp_path / "run", {}
    process = train(folder, "policies.sharing=isolated", *OVERLAP)
    for of, number, status, says in ENDS:
        before = steps(folder)
        until(lambda before=before: steps(folder) > before, process)
        there = family(process.pid)
        ids = [process.pid] if not of else [pid for (pid, _), line in there.items() if of in line]
        assert ids, (of, there)
        os.kill(ids[0], number)
        assert ended(process, folder) == status, told(folder)
        assert says in told(folder)
        assert "Traceback" not in told(folder)
        seen |= there
        process = resume(folder)
    assert ended(process, folder) == 0, told(folder)
    gone(seen)
    assert apart(weights(folder), weights(runs("isolated", *OVERLAP))) == 0.0


def test_a_run_that_is_told_to_end_while_its_actors_start_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "run"
    process = train(folder, *RAY)
    until(lambda: any("Body" in line for line in family(process.pid).values()), process)
    there = family(process.pid)
    process.terminate()
    assert ended(process, folder) == 143, told(folder)
    gone(there)


def test_a_run_goes_on_with_another_number_of_ranks_and_without_ray(runs, tmp_path):
    folder = tmp_path / "run"
    assert ended(train(folder, "policies.sharing=isolated", *RAY, "run.steps=2"), folder) == 0, told(folder)
    assert ended(resume(folder, "run.steps=8", "runtime={name='local'}"), folder) == 0, told(folder)
    assert apart(weights(folder), weights(runs("isolated"))) < 1e-5


def test_the_next_step_is_played_while_actors_learn(runs):
    text = (runs("isolated", *OVERLAP) / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    lags = [value for row in rows for name, value in row.items() if name.endswith("/lag")]
    assert max(lags) == 1.0
    assert min(lags) == 0.0
