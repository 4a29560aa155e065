"""What a workflow may look like, and what a reply may claim."""

import asyncio
import sys
from typing import Annotated, Any

import pytest
from facts import make_limits, make_problem, make_stage, make_task
from pydantic import Field

from counterpoint.config import Spec
from counterpoint.episode import Answer, CallKey, Choice, Unreadable, Verdict
from counterpoint.errors import ConfigError, WorkflowError
from counterpoint.rollout import rollout
from counterpoint.task import Problem
from counterpoint.workflow import Reply, Role, workflow
from counterpoint.workflows import load_workflow


def make_reply(role: str = "generator", slot: int = 0) -> Reply:
    return Reply(CallKey(role, slot, 0), "some text", [])


def test_the_signature_says_which_roles_and_options_there_are():
    @workflow
    async def debate(problem: Problem, *, pro: Role, rounds: int = 2, con: Role, style: str = "calm") -> str | None:
        return None

    assert debate.name == "debate"
    assert debate.roles == ("pro", "con")
    assert debate.options == {"rounds": 2, "style": "calm"}


def test_a_workflow_is_played_with_its_roles_and_options():
    @workflow
    async def shout(problem: Problem, *, voice: Role, loud: bool = False, word: str = "hey") -> str | None:
        return f"{problem.text} {voice} {loud} {word}"

    played = shout.with_options({"loud": True})(make_problem("Hm."), {"voice": "VOICE"})
    assert asyncio.run(played) == "Hm. VOICE True hey"


def test_a_workflow_that_is_not_async_is_refused():
    def plain(problem: Problem, *, solver: Role) -> Any: ...

    with pytest.raises(WorkflowError, match="'plain' must be declared with `async def`"):
        workflow(plain)


def test_a_workflow_without_a_role_is_refused():
    async def alone(problem: Problem, *, votes: int = 3) -> str | None: ...

    with pytest.raises(WorkflowError, match="'alone' has no role"):
        workflow(alone)


def test_a_positional_role_is_refused():
    async def loose(problem: Problem, solver: Role) -> str | None: ...

    with pytest.raises(WorkflowError, match=r"'loose': roles and options must stand after a `\*`"):
        workflow(loose)


def test_a_catch_all_option_is_refused():
    async def vague(problem: Problem, *, solver: Role, **options: Any) -> str | None: ...

    with pytest.raises(WorkflowError, match="'vague': roles and options"):
        workflow(vague)


def test_an_option_without_a_default_is_refused():
    async def picky(problem: Problem, *, solver: Role, votes: int) -> str | None: ...

    with pytest.raises(WorkflowError, match="option 'votes' needs a default, or is a role without `: Role`"):
        workflow(picky)


def test_a_workflow_that_does_not_take_the_problem_is_refused():
    async def blind(*, solver: Role) -> str | None: ...

    async def empty() -> str | None: ...

    for play in (blind, empty):
        with pytest.raises(WorkflowError, match="must take the problem as its first"):
            workflow(play)


@workflow
async def ranged(
    problem: Problem, *, solver: Role, votes: Annotated[int, Field(ge=1, le=5)] = 3, hot: float = 1.0
) -> str | None:
    return None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"votes": 0}, r"workflow\.ranged\.votes = 0: input should be greater than or equal to 1"),
        ({"votes": 6}, r"workflow\.ranged\.votes = 6: .* less than or equal to 5"),
        ({"votes": "3"}, r"workflow\.ranged\.votes = '3': input should be a valid integer"),
        ({"votes": True}, r"workflow\.ranged\.votes = True"),
        ({"vots": 3}, r"unknown key in \[workflow\.ranged\] 'vots'; did you mean 'votes'\? allowed: hot, votes$"),
        ({"solver": "me"}, r"unknown key in \[workflow\.ranged\] 'solver'"),
        ({"problem": "p"}, r"unknown key in \[workflow\.ranged\] 'problem'"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(options, message):
    with pytest.raises(ConfigError, match=message):
        ranged.with_options(options)


def test_options_that_fit_are_taken_and_the_workflow_itself_stays_as_it_was():
    assert ranged.with_options({"votes": 5, "hot": 2}).options == {"votes": 5, "hot": 2.0}
    assert ranged.options == {"votes": 3, "hot": 1.0}


def test_a_reply_that_answers_says_so():
    reply = make_reply()
    assert reply.claim is None
    assert reply.answer is None
    assert reply.answers("42") == "42"
    assert reply.claim == Answer("42")
    assert reply.answer == "42"


def test_no_answer_is_unreadable():
    reply = make_reply()
    assert reply.answers(None) is None
    assert isinstance(reply.claim, Unreadable)
    assert reply.answer is None


def test_an_empty_answer_is_an_answer():
    reply = make_reply()
    assert reply.answers("") == ""
    assert reply.claim == Answer("")


@pytest.mark.parametrize("correct", [True, False])
def test_a_verdict_names_the_call_it_is_about(correct):
    draft, reply = make_reply(), make_reply("evaluator")
    assert reply.judges(draft, correct) is correct
    assert reply.claim == Verdict(CallKey("generator", 0, 0), correct)


def test_no_verdict_is_unreadable_and_not_a_rejection():
    reply = make_reply("evaluator")
    assert reply.judges(make_reply(), None) is None
    assert isinstance(reply.claim, Unreadable)


def make_drafts() -> list[Reply]:
    drafts = [make_reply(slot=slot) for slot in range(3)]
    for draft, answer in zip(drafts, ("7", None, "9"), strict=True):
        draft.answers(answer)
    return drafts


@pytest.mark.parametrize(("index", "answer"), [(0, "7"), (1, None), (2, "9")])
def test_a_choice_returns_the_answer_of_the_chosen_candidate(index, answer):
    drafts, reply = make_drafts(), make_reply("aggregator")
    assert reply.chooses(drafts, index) == answer
    assert reply.claim == Choice(tuple(draft.key for draft in drafts), index)


@pytest.mark.parametrize(
    ("index", "reason"), [(None, "no choice"), (3, "no candidate 4"), (38, "no candidate 39"), (-1, "no candidate 0")]
)
def test_a_choice_out_of_range_is_no_choice(index, reason):
    reply = make_reply("aggregator")
    assert reply.chooses(make_drafts(), index) is None
    assert reply.claim == Unreadable(reason)


@pytest.mark.parametrize(
    "again",
    [
        lambda reply: reply.answers("43"),
        lambda reply: reply.answers(None),
        lambda reply: reply.judges(make_reply(), True),
        lambda reply: reply.chooses(make_drafts(), 0),
        lambda reply: reply.unreadable("no"),
    ],
)
def test_a_reply_makes_one_claim_only(again):
    reply = make_reply()
    reply.answers("42")
    with pytest.raises(WorkflowError, match=r"one claim; this one already has .*42"):
        again(reply)
    assert reply.claim == Answer("42")


OWN = """
from counterpoint.task import Problem
from counterpoint.workflow import Role, workflow

@workflow
async def echo(problem: Problem, *, parrot: Role, times: int = 1) -> str | None:
    reply = await parrot(problem.text * times)
    return reply.answers(reply.text)

async def bare(problem: Problem, *, parrot: Role) -> str | None: ...
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module `own_birds` in the current directory, forgotten afterwards."""
    (tmp_path / "own_birds.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.modules.pop("own_birds", None)


@pytest.mark.usefixtures("own_module")
def test_a_workflow_of_ones_own_is_found_in_the_current_directory_and_played():
    echo = load_workflow(Spec(name="own_birds:echo", times=2))
    assert echo.roles == ("parrot",)
    stage, sampler = make_stage(echo, lambda policy, prompt: "polly")
    groups = asyncio.run(rollout(stage, [make_task("hi", key="polly")], make_limits(), size=1, seed="s"))
    assert groups[0].episodes[0].score.reward == 1.0
    assert groups[0].episodes[0].calls[0].messages[0]["content"] == "hihi"
    assert len(sampler.requests) == 1


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own_birds:ecko", WorkflowError, r"unknown workflow in own_birds: 'ecko'; did you mean 'echo'\?"),
        ("own_birds:bare", WorkflowError, r"'bare'; .*allowed: echo \(declare it with @workflow\)"),
        ("own_bird:echo", ConfigError, r"module 'own_bird' cannot be imported: No module named 'own_bird'"),
    ],
)
def test_a_workflow_of_ones_own_that_cannot_be_found_is_named(name, error, message):
    with pytest.raises(error, match=message):
        load_workflow(Spec(name=name))


@pytest.mark.usefixtures("own_module")
def test_an_option_of_ones_own_workflow_is_checked_too():
    with pytest.raises(ConfigError, match=r"'time'; did you mean 'times'\?"):
        load_workflow(Spec(name="own_birds:echo", time=2))


def test_a_workflow_that_does_not_exist_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown workflow 'votin'; did you mean 'voting'\? .*, or my_module:my_wo"):
        load_workflow(Spec(name="votin"))


@pytest.mark.parametrize(("name", "roles"), [("single", ("generator",)), ("voting", ("generator", "aggregator"))])
def test_the_roles_of_the_workflows_that_ship(name, roles):
    assert load_workflow(Spec(name=name)).roles == roles


def test_the_number_of_votes_has_a_range():
    assert load_workflow(Spec(name="voting", votes=5)).options["votes"] == 5
    with pytest.raises(ConfigError, match=r"workflow\.voting\.votes = 65"):
        load_workflow(Spec(name="voting", votes=65))
