"""What a workflow may look like, and what a reply may claim."""

import asyncio
import re
import sys
from typing import Annotated, Any

import numpy as np
import pytest
from facts import make_limits, make_problem, make_stage, make_task
from pydantic import Field

from counterpoint.episode import (
    Answer,
    CallKey,
    Choice,
    Proposal,
    Unreadable,
    Verdict,
    claim_from_json,
    claim_to_json,
)
from counterpoint.errors import ConfigError, WorkflowError
from counterpoint.options import Spec
from counterpoint.play import rollout
from counterpoint.task import Problem
from counterpoint.workflows import load_workflow
from counterpoint.workflows.base import Part, Reply, Role, Roles, assistant, user, workflow


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


@pytest.mark.parametrize("correct", ["correct", 1, re.match("a", "a")])
def test_a_verdict_that_is_neither_true_nor_false_is_refused(correct):
    reply = make_reply("evaluator")
    with pytest.raises(WorkflowError, match=f"a verdict must be True, False or None, not {type(correct).__name__}"):
        reply.judges(make_reply(), correct)
    assert reply.claim is None


@pytest.mark.parametrize("reason", [ValueError("no plan"), None, "\ud800"])
def test_a_reason_that_is_not_text_is_refused(reason):
    with pytest.raises(WorkflowError, match=r"a reason (must be text, not \w+$|cannot be written as UTF-8)"):
        make_reply().unreadable(reason)


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


@pytest.mark.parametrize("index", ["0", 0.0, np.float64(0.0)])
def test_an_index_that_is_no_whole_number_is_refused_and_no_claim_is_made(index):
    reply = make_reply()
    with pytest.raises(WorkflowError, match="the index of a choice must be a whole number or None, not "):
        reply.chooses([make_reply(slot=1)], index)
    assert reply.claim is None


def test_an_index_and_a_verdict_of_numpy_are_plain_in_the_claim():
    chosen, judged = make_reply(), make_reply("critic")
    chosen.chooses([make_reply(slot=1)], np.argmax([0.5]))
    judged.judges(chosen, np.float64(0.7) > 0.5)
    assert claim_from_json(claim_to_json(chosen.claim)) == chosen.claim
    assert claim_from_json(claim_to_json(judged.claim)) == judged.claim


def test_a_proposal_names_the_calls_that_followed_it():
    reply, drafts = make_reply("planner"), make_drafts()
    assert reply.proposes(drafts) is None
    assert reply.claim == Proposal(tuple(draft.key for draft in drafts))
    assert reply.answer is None


def test_a_proposal_that_nobody_followed_is_refused_and_can_still_be_unreadable():
    reply = make_reply("planner")
    with pytest.raises(
        WorkflowError,
        match=r"role 'planner', slot 0, turn 0: a proposal without followers must be claimed as unreadable",
    ):
        reply.proposes([])
    assert reply.claim is None
    reply.unreadable("no plan")
    assert reply.claim == Unreadable("no plan")


def test_what_a_role_is_told_and_what_it_has_said_are_messages():
    assert user("Hm?") == {"role": "user", "content": "Hm?"}
    assert assistant("Hm.") == {"role": "assistant", "content": "Hm."}


@pytest.mark.parametrize("answer", [4711, 1.5, True, b"4711", ["4711"], "\ud800"])
def test_an_answer_that_is_not_text_is_refused(answer):
    with pytest.raises(WorkflowError, match=r"an answer (must be text or None, not|cannot be written as UTF-8)"):
        make_reply().answers(answer)


@pytest.mark.parametrize(
    "again",
    [
        lambda reply: reply.answers("43"),
        lambda reply: reply.answers(None),
        lambda reply: reply.judges(make_reply(), True),
        lambda reply: reply.chooses(make_drafts(), 0),
        lambda reply: reply.proposes(make_drafts()),
        lambda reply: reply.unreadable("no"),
    ],
)
def test_a_reply_makes_one_claim_only(again):
    reply = make_reply()
    reply.answers("42")
    with pytest.raises(WorkflowError, match=r"one claim; this one already has .*42"):
        again(reply)
    assert reply.claim == Answer("42")


# Casts


def crowd(options):
    """Several solvers or several slots of one, a critic on demand."""
    several = Part(roles=options["solvers"], slots=options["samples"])
    return {"solver": several, "critic": Part(roles=1 if options["critical"] else 0)}


@workflow(cast=crowd)
async def crowded(
    problem: Problem,
    *,
    solver: Roles,
    critic: Role | None,
    judge: Role,
    solvers: int = 2,
    samples: int = 1,
    critical: bool = False,
) -> str | None:
    """Says who it was given."""
    return f"{problem.text} {'+'.join(one.name for one in solver)} {critic and critic.name} {judge.name}"


@pytest.mark.parametrize(
    ("options", "roles", "slots", "said"),
    [
        ({}, ("solver_1", "solver_2", "judge"), (1, 1, 1), "solver_1+solver_2 None judge"),
        ({"solvers": 1}, ("solver", "judge"), (1, 1), "solver None judge"),
        ({"solvers": 1, "samples": 4}, ("solver", "judge"), (4, 1), "solver None judge"),
        (
            {"solvers": 3, "samples": 2, "critical": True},
            ("solver_1", "solver_2", "solver_3", "critic", "judge"),
            (2, 2, 2, 1, 1),
            "solver_1+solver_2+solver_3 critic judge",
        ),
    ],
)
def test_options_say_which_roles_there_are_with_how_many_slots(options, roles, slots, said):
    found = crowded.with_options(options)
    assert found.name == "crowded"
    assert found.roles == roles
    assert found.slots == dict(zip(roles, slots, strict=True))
    assert [role for members in found.cast.values() for role in members] == list(roles)
    named = {role: Named(role) for role in roles}
    assert asyncio.run(found(make_problem("Who?"), named)) == f"Who? {said}"


class Named:
    def __init__(self, name):
        self.name = name


def test_a_cast_leaves_the_parameters_and_options_as_they_were():
    assert crowded.parameters == {"solver": "several", "critic": "one or none", "judge": "one"}
    assert crowded.options == {"solvers": 2, "samples": 1, "critical": False}
    assert crowded.with_options({"critical": True}).cast == {
        "solver": ("solver_1", "solver_2"),
        "critic": ("critic",),
        "judge": ("judge",),
    }
    assert crowded.cast["critic"] == ()


def test_without_a_cast_every_role_is_one_with_one_slot():
    assert ranged.cast == {"solver": ("solver",)}
    assert ranged.slots == {"solver": 1}


def test_a_sequence_of_roles_without_a_cast_is_one_role():
    @workflow
    async def lonely(problem: Problem, *, solver: Roles) -> str | None:
        return "+".join(one.name for one in solver)

    assert lonely.roles == ("solver",)
    assert asyncio.run(lonely(make_problem(), {"solver": Named("solver")})) == "solver"


def test_a_role_that_can_be_left_out_is_there_without_a_cast():
    @workflow
    async def both(problem: Problem, *, solver: Role, critic: Role | None) -> str | None:
        return critic.name

    assert both.roles == ("solver", "critic")
    assert asyncio.run(both(make_problem(), {name: Named(name) for name in both.roles})) == "critic"


def test_a_workflow_of_roles_that_can_all_be_left_out_has_roles():
    @workflow(cast=lambda options: {"critic": Part(roles=0)})
    async def empty(problem: Problem, *, critic: Role | None) -> str | None:
        return "nobody" if critic is None else None

    assert empty.roles == ()
    assert asyncio.run(empty(make_problem(), {})) == "nobody"


def test_several_roles_are_played_under_their_own_names():
    @workflow(cast=lambda options: {"solver": Part(roles=2)})
    async def duet(problem: Problem, *, solver: Roles) -> str | None:
        replies = [await one(problem.text) for one in solver]
        return "+".join(reply.text for reply in replies)

    stage, _ = make_stage(duet, lambda policy, prompt: policy[-1])
    groups = asyncio.run(rollout(stage, [make_task()], make_limits(), size=1, seed="s"))
    (episode,) = groups[0].episodes
    assert [tuple(call.key) for call in episode.calls] == [("solver_1", 0, 0), ("solver_2", 0, 0)]
    assert episode.answer == "1+2"


@pytest.mark.parametrize(
    ("cast", "message"),
    [
        ({"solvr": Part()}, "'odd': its cast has 'solvr', which is not one of its roles"),
        ({"votes": Part()}, "'odd': its cast has 'votes', which is not one of its roles"),
        ({"solver": Part(roles=0)}, "'odd': 'solver' cannot have 0 roles x 1 slots"),
        ({"solver": Part(roles=2)}, "'odd': 'solver' cannot have 2 roles x 1 slots"),
        ({"solver": Part(roles=-1)}, "'odd': 'solver' cannot have -1 roles x 1 slots"),
        ({"solver": Part(slots=0)}, "'odd': 'solver' cannot have 1 roles x 0 slots"),
        ({"voters": Part(roles=0)}, "'odd': 'voters' cannot have 0 roles x 1 slots"),
        ({"voters": Part(roles=3, slots=0)}, "'odd': 'voters' cannot have 3 roles x 0 slots"),
        ({"critic": Part(roles=2)}, "'odd': 'critic' cannot have 2 roles x 1 slots"),
        ({"critic": Part(roles=-1)}, "'odd': 'critic' cannot have -1 roles x 1 slots"),
        ({"critic": Part(roles=0, slots=0)}, "'odd': 'critic' cannot have 0 roles x 0 slots"),
        ({"solver": Part(slots=2), "voters": Part(roles=-3)}, "'odd': 'voters' cannot have -3 roles x 1 slots"),
    ],
)
def test_a_cast_that_cannot_be_is_refused_when_it_is_declared(cast, message):
    async def odd(
        problem: Problem, *, solver: Role, voters: Roles, critic: Role | None, votes: int = 3
    ) -> str | None: ...

    with pytest.raises(WorkflowError, match=message):
        workflow(cast=lambda options: cast)(odd)


@pytest.mark.parametrize(
    "cast",
    [
        {},
        {"solver": Part(slots=64)},
        {"voters": Part(roles=1)},
        {"voters": Part(roles=5, slots=5)},
        {"critic": Part(roles=0)},
        {"critic": Part(slots=3)},
    ],
)
def test_a_cast_that_can_be_is_taken(cast):
    async def fine(problem: Problem, *, solver: Role, voters: Roles, critic: Role | None) -> str | None: ...

    found = workflow(cast=lambda options: cast)(fine)
    assert len(found.roles) == sum(cast.get(name, Part()).roles for name in ("solver", "voters", "critic"))


OWN = """
from counterpoint.task import Problem
from counterpoint.workflows.base import Role, workflow

@workflow
async def echo(problem: Problem, *, parrot: Role, times: int = 1) -> str | None:
    reply = await parrot(problem.text * times)
    return reply.answers(reply.text)

async def bare(problem: Problem, *, parrot: Role, times: int = 1) -> str | None: ...
async def _vague(problem: Problem, *, parrot: str = '') -> str | None: ...
async def _unread(problem: Problem, *, parrot: "Parrot") -> str | None: ...
NUMBER = 42
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
        ("own_birds:ecko", ConfigError, r"unknown name in own_birds 'ecko'; did you mean 'echo'\? allowed: bare, echo"),
        ("own_birds:NUMBER", WorkflowError, "'own_birds:NUMBER' is a int, not a workflow: declare an `async def` with"),
        ("own_birds:_vague", WorkflowError, "workflow '_vague' has no role"),
        ("own_birds:_unread", WorkflowError, "'_unread': its annotations cannot be read: name 'Parrot' is not defined"),
        ("own_bird:echo", ConfigError, r"module 'own_bird' cannot be imported: .*No module named 'own_bird'"),
    ],
)
def test_a_workflow_of_ones_own_that_cannot_be_found_is_named(name, error, message):
    with pytest.raises(error, match=message):
        load_workflow(Spec(name=name))


@pytest.mark.usefixtures("own_module")
def test_an_async_function_without_the_decorator_is_declared():
    bare = load_workflow(Spec(name="own_birds:bare", times=3))
    assert (bare.name, bare.roles, bare.options) == ("bare", ("parrot",), {"times": 3})


@pytest.mark.usefixtures("own_module")
def test_an_option_of_ones_own_workflow_is_checked_too():
    with pytest.raises(ConfigError, match=r"'time'; did you mean 'times'\?"):
        load_workflow(Spec(name="own_birds:echo", time=2))


def test_a_workflow_that_does_not_exist_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown workflow 'votin'; did you mean 'voting'\? .*, or my_module:my_wo"):
        load_workflow(Spec(name="votin"))


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("single", ("generator",)),
        ("voting", ("generator", "aggregator")),
        ("evaluator_optimizer", ("generator", "evaluator")),
        ("orchestrator_workers", ("orchestrator", "worker", "synthesizer")),
        ("debate", ("debater", "judge")),
        ("tie_break", ("solver", "arbiter")),
        ("majority", ("generator",)),
        ("best_of", ("generator", "evaluator")),
    ],
)
def test_the_roles_of_the_workflows_that_ship(name, roles):
    assert load_workflow(Spec(name=name)).roles == roles


def test_the_number_of_votes_has_a_range():
    assert load_workflow(Spec(name="voting", votes=5)).options["votes"] == 5
    with pytest.raises(ConfigError, match=r"workflow\.voting\.votes = 65"):
        load_workflow(Spec(name="voting", votes=65))


def test_a_cast_that_cannot_be_under_other_options_is_refused_when_they_are_set():
    @workflow(cast=lambda options: {"solver": Part(roles=options["count"])})
    async def growing(problem: Problem, *, solver: Role, count: int = 1) -> str | None: ...

    for count in (0, 2):
        with pytest.raises(WorkflowError, match=f"'solver' cannot have {count} roles x 1 slots: it takes one"):
            growing.with_options({"count": count})


@pytest.mark.parametrize(
    ("cast", "message"),
    [
        (lambda options: {"solver": Part(slots=6 // options["count"])}, r"cast raised ZeroDivisionError: .*\.py:\d"),
        (lambda options: {"solver": options["count"]}, "its cast gives 'solver' 0: allowed is a Part of whole numbers"),
        (lambda options: {"solver": Part(slots=options["count"] / 2)}, r"gives 'solver' Part\(roles=1, slots=0\.0\)"),
        (lambda options: [options["count"]], "its cast must return a mapping, not list"),
    ],
)
def test_a_cast_that_raises_or_returns_no_parts_is_refused_in_one_line(cast, message):
    def late(options):
        return {} if options["count"] else cast(options)

    @workflow(cast=late)
    async def growing(problem: Problem, *, solver: Role, count: int = 1) -> str | None: ...

    with pytest.raises(WorkflowError, match=f"^workflow 'growing': .*{message}.*$"):
        growing.with_options({"count": 0})


def test_two_parameters_cannot_stand_for_the_same_role():
    with pytest.raises(WorkflowError, match="two of its parameters stand for a role 'solver_1'"):

        @workflow(cast=lambda options: {"solver": Part(roles=2)})
        async def twins(problem: Problem, *, solver: Roles, solver_1: Role) -> str | None: ...
