"""The Python front door: what it takes and what it refuses. `docs/python.md` runs the rest in a notebook."""

import asyncio
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

import counterpoint as cp
from counterpoint import family
from counterpoint.api import _give_again, config_of
from counterpoint.event_loop import run_to_end

SMALL = [
    "task.train=64",
    "task.validation=4",
    "task.test=6",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "rollout.max_tokens=32",
    "run.steps=1",
    "run.threads=1",
]


@pytest.fixture(scope="module", autouse=True)
def _nothing_given_before():
    """The names of objects do not depend on the tests of other files."""
    before = dict(family._given)
    family._given.clear()
    yield
    family._given.update(before)


def test_every_public_name_is_there():
    assert sorted(cp.__all__) == list(cp.__all__)
    assert [name for name in cp.__all__ if not hasattr(cp, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        cp.trian  # noqa: B018


def test_importing_it_loads_no_engine_and_shows_its_names():
    code = (
        "import sys, counterpoint; print('torch' in sys.modules, 'polars' in sys.modules, 'train' in dir(counterpoint))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


@cp.workflow
async def solo(problem: cp.Problem, *, solver: cp.Role) -> str | None:
    """One role solves the problem."""
    reply = await solver(f"{problem.text}\n\nSolve the problem step by step. {problem.answer_format}")
    return reply.answers(problem.extract(reply.text))


def half(answer, key):
    return 0.5


class Quiet(cp.Intervention):
    """Changes nothing."""

    name = "quiet"


def test_objects_stand_where_a_recipe_has_names():
    def counted(step):
        return {"mine/groups": float(len(step.groups))}

    config = config_of(
        "voting_arithmetic", workflow=solo, judge=half, diagnostics=[counted], interventions=[Quiet()], credit=half
    )
    assert config.workflow.name == "test_api:solo"
    assert config.judge.name == "test_api:half"
    assert config.algorithm.credit.name == "test_api:half"
    assert [spec.name for spec in config.diagnostics][-1] == "given:counted"
    assert len(config.diagnostics) == 5
    assert [spec.name for spec in config.interventions] == ["given:interventions-1"]
    with pytest.raises(cp.CounterpointError, match="unknown argument 'worklfow'"):
        config_of("voting_arithmetic", worklfow=solo)
    with pytest.raises(cp.CounterpointError, match=r"diagnostics: \{'nam': 'x'\} has no name; a table has a name"):
        config_of("voting_arithmetic", diagnostics=[{"nam": "x"}])


@pytest.mark.parametrize(("override", "kind"), [(SMALL, r"list; write \* before it"), ({"run.steps": 2}, "dict$")])
def test_an_override_that_is_no_text_is_refused(override, kind):
    with pytest.raises(cp.CounterpointError, match=f"an override must be text, section.key=value, not a {kind}"):
        config_of("voting_arithmetic", override)


def weighted(weight):
    def rule(*given):
        return weight

    return rule


def test_an_object_of_the_same_name_does_not_take_the_place_of_another():
    first = config_of("voting_arithmetic", judge=weighted(1.0))
    other = config_of("voting_arithmetic", judge=weighted(0.5), credit=weighted(1), diagnostics=[weighted(2)])
    names = [first.judge.name, other.judge.name, other.algorithm.credit.name, other.diagnostics[-1].name]
    found = family.given(names)
    assert [found[name]() for name in names] == [1.0, 0.5, 1, 2]
    assert config_of("voting_arithmetic", judge=weighted(1.0)) == first


def test_a_run_gets_its_objects_again_under_the_names_that_it_was_trained_with(monkeypatch):
    config_of("voting_arithmetic", judge=weighted(0.25))
    config = config_of("voting_arithmetic", judge=weighted(0.75), diagnostics=[weighted(3), weighted(4)])
    names = [config.judge.name, *(spec.name for spec in config.diagnostics[-2:])]
    assert config.judge.name != "given:rule"
    monkeypatch.setattr(family, "_given", {})  # as in another process
    _give_again(config, {"judge": weighted(0.75), "diagnostics": [weighted(3), weighted(4)]})
    assert {name: one() for name, one in family.given(names).items()} == dict(zip(names, (0.75, 3, 4), strict=True))
    assert [*family._given] == [name.partition(":")[2] for name in names]
    mixed = config_of("voting_arithmetic", diagnostics=["distance", weighted(5), half])
    _give_again(mixed, {"diagnostics": ["distance", weighted(6), half]})
    assert family.given([mixed.diagnostics[-2].name])[mixed.diagnostics[-2].name]() == 6
    with pytest.raises(cp.CounterpointError, match=r"^credit: the run was started with '.*', which no object"):
        _give_again(config, {"credit": weighted(1)})


def test_a_recipe_can_be_a_config_and_is_changed_by_overrides():
    config = cp.load_config("voting_arithmetic", ["run.seed=3"])
    assert config_of(config) is config
    assert config_of(config, "run.seed=4").run.seed == 4


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A run with a workflow, a judge, tasks and a diagnostic that were given as objects, trained in a running loop."""

    def counted(step):
        return {"mine/groups": float(len(step.groups))}

    tasks = [(f"What is {a} + {b}?", a + b) for a in range(1, 9) for b in range(1, 9)]
    told = []

    async def main():
        return cp.train(
            "voting_arithmetic",
            *SMALL[3:],
            "rollout.tasks_per_step=2",
            workflow=solo,
            tasks=tasks,
            judge=lambda answer, key: 0.5,
            diagnostics=[counted],
            out=tmp_path_factory.mktemp("api") / "mine",
            progress=False,
            watch=lambda step, numbers: told.append(step),
        )

    return asyncio.run(main()), told


def test_a_run_is_trained_within_a_running_event_loop(mine):
    run, told = mine
    assert told == [0, 1, 1]
    assert run.metrics()["mine/groups"].to_list() == [2.0]
    assert set(run.calls(1)["role"]) == {"solver"}
    assert run.facts["sources"]["given:judge"]["file"] == ""
    assert (run.path / "sources" / "test_api.py").read_bytes() == Path(__file__).read_bytes()
    assert run.facts["sources"]["test_api"]["sha256"] == sha256(Path(__file__).read_bytes()).hexdigest()
    assert (run.path / "sources" / "given-objects" / "judge.py").read_text() == "lambda answer, key: 0.5"


def test_a_judge_of_ones_own_scores_every_answer(mine):
    run, _ = mine
    assert set(run.samples(1)["reward"]) == {0.5}
    assert set(run.outcomes()["mean"]) <= {0.0, 0.5}


def test_a_finished_run_is_resumed_to_itself_once_it_has_its_objects(mine):
    run, _ = mine
    before = run.metrics()
    again = cp.resume(run, progress=False)
    assert again.metrics().equals(before)
    with pytest.raises(cp.CounterpointError, match="diagnostics: the run was started with 1 objects, 2 are given"):
        cp.resume(run, diagnostics=[half, half])
    with pytest.raises(cp.CounterpointError, match="diagnostics must be a list of objects or names, not a function"):
        cp.resume(run, diagnostics=half)
    with pytest.raises(cp.CounterpointError, match="sampler: the run was started with 'in_process', which no object"):
        cp.resume(run, sampler=half)


def test_runs_are_listed_as_a_frame(mine):
    run, _ = mine
    frame = cp.list_runs(run.path.parent)
    assert frame.select("path", "state", "workflow", "steps").row(0) == (str(run.path), "finished", "test_api:solo", 1)
    kinds = {name: str(kind) for name, kind in frame.schema.items()}
    numbers = {"steps": "Int64", "seed": "Int64", "planned": "Int64", "base": "Float64", "last": "Float64"}
    assert {name: kinds[name] for name in numbers} == numbers
    assert {kind for name, kind in kinds.items() if name not in numbers} == {"String"}


def test_a_stage_plays_tasks_and_gives_the_same_episodes_again(tiny_run):
    async def main():
        async with cp.open_stage(tiny_run) as stage:
            first = await cp.rollout(stage, stage.tasks.test[:2], size=2, seed=5)
            return first, await cp.rollout(stage, stage.tasks.test[:2], size=2, seed=5)

    one, other = asyncio.run(main())
    assert one == other
    assert [len(group.episodes) for group in one] == [2, 2]


def test_an_evaluation_and_its_control_are_a_frame(tiny_run):
    found = cp.evaluate(tiny_run, ablate="aggregator")
    frame = found.frame()
    assert frame["evaluation"].unique(maintain_order=True).to_list() == ["run", "with the base as aggregator"]
    assert frame.filter(evaluation="run", part="team")["accuracy"].item() == found.accuracy.value
    assert frame.filter(evaluation="run")["difference"].null_count() == 3  # the team and both roles
    assert frame.filter(evaluation="with the base as aggregator")["difference_low"].null_count() == 0
    with pytest.raises(cp.CounterpointError, match="at most one control is allowed"):
        cp.evaluate(tiny_run, ablate="aggregator", solo=True)


def test_a_base_model_is_evaluated_and_has_no_controls():
    few = ["workflow.name=single", *SMALL[:3], "run.threads=1"]
    assert 0.0 <= cp.evaluate("micro-small", *few).accuracy.value <= 1.0
    with pytest.raises(cp.CounterpointError, match="controls need a run directory; 'micro-small' is a model"):
        cp.evaluate("micro-small", *few, solo=True)


def test_a_plan_is_made_without_a_run():
    plan = cp.dry_run("voting_arithmetic", "policies.sharing=shared", *SMALL)
    assert plan.roles == ("generator", "aggregator")
    assert plan.calls_per_step == 2 * 2 * 4


def test_overrides_set_the_options_of_objects_and_a_list_may_mix_names_and_objects():
    def close(answer, key, *, tolerance=1.0):
        return 1.0

    config = config_of("voting_arithmetic", "judge.tolerance=3", "judge.seconds=2", judge=close)
    assert config.judge.model_dump() == {"name": "given:close", "tolerance": 3, "seconds": 2}
    with pytest.raises(cp.CounterpointError, match="'tolerence'; did you mean 'tolerance'"):
        cp.dry_run("voting_arithmetic", "judge.tolerence=3", *SMALL, judge=close)
    mixed = config_of("voting_arithmetic", "diagnostics=['behaviour']", diagnostics=["distance", half])
    assert [spec.name for spec in mixed.diagnostics] == ["behaviour", "distance", "test_api:half"]
    with pytest.raises(cp.CounterpointError, match="diagnostics must be a list of objects or names, not a function"):
        config_of("voting_arithmetic", diagnostics=half)
    loss = config_of("voting_arithmetic", "algorithm.updates=2", loss=half).algorithm
    assert (loss.loss.name, loss.updates) == ("test_api:half", 2)


def test_a_run_is_named_by_a_path_or_by_text_and_a_mistyped_one_is_not_looked_for_on_a_hub(mine, tmp_path):
    run, _ = mine
    assert cp.Run.read(str(run.path)).path == run.path
    with pytest.raises(cp.CounterpointError, match="is neither a run nor a model: there is no such folder"):
        cp.evaluate(tmp_path / "nothing")


def test_an_error_of_the_work_has_no_context_of_ours():
    async def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as raised:
        run_to_end(fail())
    assert raised.value.__context__ is None
