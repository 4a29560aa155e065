"""Every workflow that ships keeps its promises, and a workflow that breaks one is caught."""

import asyncio
import random
import re
import subprocess
import sys
import time
from asyncio import gather

import pytest
from facts import make_problem

from counterpoint.episode import Answer, Choice, Proposal, Unreadable, Verdict
from counterpoint.errors import WorkflowError
from counterpoint.options import Spec
from counterpoint.task import Problem
from counterpoint.testing import workflow_conformance as suite
from counterpoint.testing.by_hand import play_by_hand
from counterpoint.testing.characters import END, MERGED, MERGED_TEXT, CharacterTokenizer, character_chat, spell
from counterpoint.testing.workflow_conformance import Trial, check_workflow
from counterpoint.workflows import WORKFLOWS, load_workflow
from counterpoint.workflows.base import Part, Role, assistant, user, workflow

SHIPPED = [
    {"name": "single"},
    {"name": "voting"},
    {"name": "voting", "votes": 1},
    {"name": "voting", "votes": 4, "voters": "distinct"},
    {"name": "evaluator_optimizer"},
    {"name": "evaluator_optimizer", "rounds": 1},
    {"name": "evaluator_optimizer", "transcripts": "joint"},
    {"name": "orchestrator_workers"},
    {"name": "orchestrator_workers", "workers": 1},
    {"name": "debate"},
    {"name": "debate", "debaters": 3, "rounds": 0, "decision": "majority"},
    {"name": "debate", "debaters": 3, "rounds": 2},
    {"name": "tie_break"},
    {"name": "tie_break", "solvers": 3},
    {"name": "majority"},
    {"name": "majority", "samples": 1},
    {"name": "best_of"},
    {"name": "best_of", "samples": 1},
]


@workflow
async def computes_before_it_waits(problem: Problem, *, solver: Role, slots: int = 2) -> str | None:
    calls = [asyncio.ensure_future(solver(problem.text)) for _ in range(slots)]
    time.sleep(2 * suite.SOON)  # as on a machine that has no core for it
    return (await gather(*calls))[0].text


def test_a_workflow_on_a_busy_machine_breaks_no_promise(monkeypatch):
    trial = Trial(computes_before_it_waits)
    trial.scenes, trial._further = trial.scenes[:1], []
    asyncio.run(suite.a_silent_role_is_a_timeout(trial))
    play = suite._play

    async def too_slow(*given, **options):
        if options.get("seconds") == suite.SOON:
            raise WorkflowError("all 2 episodes failed")
        return await play(*given, **options)

    monkeypatch.setattr(suite, "_play", too_slow)
    asyncio.run(suite.a_silent_role_is_a_timeout(trial))


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: "-".join(map(str, spec.values())))
def test_every_workflow_that_ships_keeps_its_promises(spec):
    check_workflow(load_workflow(Spec(**spec)))


def test_none_that_ships_is_left_out():
    assert {spec["name"] for spec in SHIPPED} == set(WORKFLOWS)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("single", {Answer}),
        ("voting", {Answer, Choice}),
        ("evaluator_optimizer", {Answer, Verdict}),
        ("orchestrator_workers", {Answer, Proposal}),
        ("debate", {Answer, Choice}),
        ("tie_break", {Answer}),
        ("majority", {Answer}),
        ("best_of", {Answer, Verdict}),
    ],
)
def test_the_scenes_lead_to_every_kind_of_claim_on_a_calculation_and_on_a_program(name, kinds):
    for problem in (suite.a_calculation(), suite.a_program()):
        trial = Trial(WORKFLOWS.find(name), problem=problem)
        performances = asyncio.run(trial.performances())
        claims = [call.claim for one in performances for call in one.episode.calls]
        assert {type(claim) for claim in claims} == {*kinds, Unreadable}
        verdicts = {claim.correct for claim in claims if isinstance(claim, Verdict)}
        assert verdicts == ({True, False} if Verdict in kinds else set())


# Broken once each


@workflow
async def replies_to_itself(problem: Problem, *, solver: Role) -> str | None:
    await solver([user(problem.text), assistant("Hm.")])
    return None


@workflow
async def asks_nothing(problem: Problem, *, solver: Role) -> str | None:
    await solver([])
    return None


@workflow
async def means_two_things(problem: Problem, *, solver: Role) -> str | None:
    reply = await solver(problem.text)
    reply.answers(reply.text)
    if "right" in reply.text:
        reply.judges(reply, True)
    return None


@workflow
async def reads_a_number(problem: Problem, *, solver: Role) -> str | None:
    reply = await solver(problem.text)
    return reply.answers(str(int(reply.text))) if "{" not in reply.text else reply.answers(None)


@workflow
async def fills_a_template(problem: Problem, *, solver: Role, critic: Role) -> str | None:
    draft = await solver(problem.text)
    await critic(("Is this right?\n" + draft.text).format())
    return None


@workflow
async def answers_with_a_number(problem: Problem, *, solver: Role) -> str | None:
    return len((await solver(problem.text)).text)


@workflow
async def insists_on_approval(problem: Problem, *, solver: Role, critic: Role) -> str | None:
    while True:
        draft = await solver(problem.text)
        if "right" in (await critic(draft.text)).text:
            return draft.text


@workflow
async def calls_one_only(problem: Problem, *, solver: Role, critic: Role) -> str | None:
    reply = await solver(problem.text)
    if reply.text == "Please ask the critic.":
        await critic(reply.text)
    return None


@workflow
async def has_more_slots(problem: Problem, *, solver: Role) -> str | None:
    await gather(*(solver(problem.text) for _ in range(3)))
    return None


@workflow(cast=lambda options: {"solver": Part(slots=2)})
async def counts_slots_from_one(problem: Problem, *, solver: Role) -> str | None:
    await gather(*(solver(problem.text, slot=slot) for slot in (1, 2)))
    return None


@workflow
async def looks_behind_the_scene(problem: Problem, *, solver: Role) -> str | None:
    frame = sys._getframe()
    while "task" not in frame.f_locals or not hasattr(frame.f_locals["task"], "key"):
        frame = frame.f_back
    await solver(f"{problem.text} (It is {frame.f_locals['task'].key}.)")
    return None


@workflow
async def claims_what_it_can_read(problem: Problem, *, solver: Role) -> str | None:
    reply = await solver(problem.text)
    answer = problem.extract(reply.text)
    return None if answer is None else reply.answers(answer)


RUNS = []


@workflow
async def counts_its_runs(problem: Problem, *, solver: Role) -> str | None:
    RUNS.append(problem)
    return (await solver(f"Run {len(RUNS)}: {problem.text}")).text


@workflow(cast=lambda options: {"solver": Part(slots=2)})
async def guesses(problem: Problem, *, solver: Role) -> str | None:
    replies = await gather(solver(problem.text), solver(problem.text))
    return random.choice(replies).text


@workflow(cast=lambda options: {"solver": Part(slots=3)})
async def takes_the_fastest(problem: Problem, *, solver: Role) -> str | None:
    calls = [asyncio.ensure_future(solver(problem.text)) for _ in range(3)]
    replies = [await reply for reply in asyncio.as_completed(calls)]
    return replies[0].text


@workflow(cast=lambda options: {"solver": Part(slots=3), "critic": Part(slots=3)})
async def lets_places_be_counted(problem: Problem, *, solver: Role, critic: Role) -> str | None:
    async def judged():
        return await critic((await solver(problem.text)).text)

    await gather(*(judged() for _ in range(3)))
    return None


NOW = {}


@workflow
async def keeps_notes_for_all(problem: Problem, *, solver: Role) -> str | None:
    NOW["text"] = problem.text
    await solver("Wait.")
    return (await solver(NOW["text"])).text


@workflow
async def does_not_wait(problem: Problem, *, solver: Role, critic: Role) -> str | None:
    reply = await solver(problem.text)
    RUNS.append(asyncio.ensure_future(critic(reply.text)))
    await asyncio.sleep(0)
    return reply.text


@workflow
async def takes_silence_for_an_answer(problem: Problem, *, solver: Role) -> str | None:
    try:
        return (await solver(problem.text)).text
    except asyncio.CancelledError:
        return None


@workflow
async def asks_again_and_again(problem: Problem, *, solver: Role) -> str | None:
    for _ in range(2):
        try:
            return (await solver(problem.text)).text
        except asyncio.CancelledError:
            continue
    return None


@workflow
async def shields_its_calls(problem: Problem, *, solver: Role) -> str | None:
    return (await asyncio.shield(asyncio.ensure_future(solver(problem.text)))).text


BROKEN = [
    (
        replies_to_itself,
        suite.conversations_end_with_the_user,
        "'solver' is asked to reply to a message of 'assistant'",
    ),
    (asks_nothing, suite.conversations_end_with_the_user, "'solver' is asked to reply to a message of 'nobody'"),
    (means_two_things, suite.a_reply_makes_one_claim, r"It is right.*a second claim about one reply: WorkflowError"),
    (reads_a_number, suite.no_reply_does_harm, "every reply being .*the workflow failed: ValueError: invalid literal"),
    (fills_a_template, suite.no_reply_does_harm, r"the workflow failed: (KeyError|IndexError|ValueError)"),
    (answers_with_a_number, suite.no_reply_does_harm, "a workflow's answer must be text or None, not int"),
    (insists_on_approval, suite.no_reply_does_harm, "an episode may make at most 20 calls"),
    (
        calls_one_only,
        suite.every_role_is_called,
        r"role 'critic' was not called in any of \d+ scripted .*script=lambda role",
    ),
    (
        has_more_slots,
        suite.slots_are_those_declared,
        "'solver' was called in slot 1 of turn 0, but its cast declares 1 slot",
    ),
    (
        counts_slots_from_one,
        suite.slots_are_those_declared,
        "'solver' was called in slot 2 of turn 0, .* declares 2 slots",
    ),
    (looks_behind_the_scene, suite.the_key_stays_hidden, "a prompt of role 'solver' contains the task's key"),
    (
        claims_what_it_can_read,
        suite.claiming_roles_always_claim,
        r"there is no claim about the reply of solver: .*unrea",
    ),
    (counts_its_runs, suite.equal_arguments_give_equal_episodes, "played again, .*: solver, slot 0, turn 0 differs"),
    (guesses, suite.equal_arguments_give_equal_episodes, "the episode differs: its answer is"),
    (takes_the_fastest, suite.equal_arguments_give_equal_episodes, "answered in another order, .*: its answer is"),
    (lets_places_be_counted, suite.equal_arguments_give_equal_episodes, "answered in another order, .*critic, slot"),
    (
        keeps_notes_for_all,
        suite.episodes_do_not_mix,
        "beside others, the episode differs: solver, slot 0, turn 1 dif",
    ),
    (does_not_wait, suite.nothing_is_left_running, "1 asyncio tasks still run after the episode"),
    (takes_silence_for_an_answer, suite.a_silent_role_is_a_timeout, r"is not recorded as timed out \(None\)"),
    (asks_again_and_again, suite.a_silent_role_is_a_timeout, "if 'solver' never replies, the episode does not end"),
    (shields_its_calls, suite.a_silent_role_is_a_timeout, "never replies, 1 asyncio tasks still run"),
]


@pytest.mark.parametrize(("broken", "check", "message"), BROKEN, ids=lambda one: getattr(one, "name", ""))
def test_a_workflow_that_breaks_a_promise_is_caught(monkeypatch, broken, check, message):
    monkeypatch.setattr(suite, "PATIENCE", 0.5)
    monkeypatch.setattr(suite, "CALLS_A_SLOT", 10)
    with pytest.raises(AssertionError, match=message):
        asyncio.run(check(Trial(broken)))


@pytest.mark.parametrize(("broken", "check", "message"), BROKEN, ids=lambda one: getattr(one, "name", ""))
def test_the_whole_suite_catches_it_too(monkeypatch, broken, check, message):
    monkeypatch.setattr(suite, "PATIENCE", 0.5)
    monkeypatch.setattr(suite, "CALLS_A_SLOT", 10)
    with pytest.raises(AssertionError):
        check_workflow(broken)


def test_every_promise_is_broken_here_once():
    assert {check for _, check, _ in BROKEN} == set(suite.CHECKS)


@workflow
async def two_keys(problem: Problem, *, opener: Role, second: Role, third: Role) -> str | None:
    """Reaches its third role only if the first two say what is agreed with them."""
    if (await opener(f"{problem.text} The word?")).text == "sesame" and (await second("And now?")).text == "open":
        return (await third("Welcome.")).answers("in")
    return None


def test_a_script_leads_a_workflow_through_its_roles():
    def script(role, prompt):
        if role == "opener":
            assert "What is" in prompt or "function" in prompt
            return "sesame"
        return {"And now?": "open", "Welcome.": "Thanks."}[prompt.split("\n")[1]]

    with pytest.raises(AssertionError, match="'second' was not called in any of"):
        check_workflow(two_keys)
    check_workflow(two_keys, script)


@workflow
async def breaks_ties(problem: Problem, *, first: Role, other: Role, judge: Role) -> str | None:
    """Asks the judge only if both give a number and the numbers differ."""
    replies = [await first(problem.text), await other(problem.text)]
    found = [re.search(r"boxed\{(\d)\}", reply.text) for reply in replies]
    for reply, number in zip(replies, found, strict=True):
        reply.answers(number and number[1])
    if None in found or found[0][1] == found[1][1]:
        return replies[0].answer
    last = await judge(problem.text)
    return last.answers(last.text)


@workflow
async def repairs(problem: Problem, *, solver: Role, repairer: Role) -> str | None:
    """Asks the repairer only if there is no answer."""
    draft = await solver(problem.text)
    if draft.answers(problem.extract(draft.text)) is not None:
        return draft.answer
    last = await repairer(draft.text or "Nothing.")
    return last.answers(last.text)


@workflow
async def escalates(problem: Problem, *, solver: Role, checker: Role, expert: Role) -> str | None:
    """Asks the expert only if an answer is there and the checker calls it wrong, in so many words, three times."""
    draft = await solver(problem.text)
    draft.answers(problem.extract(draft.text))
    for _ in range(3):
        verdict = await checker(draft.text or "Nothing.")
        wrong = r"\boxed{incorrect}" in verdict.text and r"\boxed{correct}" not in verdict.text
        verdict.judges(draft, not wrong)
        if draft.answer is None or not wrong:
            return draft.answer
    last = await expert(problem.text)
    return last.answers(last.text)


@workflow
async def summarizes(problem: Problem, *, reader: Role, solver: Role) -> str | None:
    """Asks the reader only about long problems."""
    text = problem.text if len(problem.text) < 2_000 else (await reader(problem.text)).text
    last = await solver(text or "Nothing.")
    return last.answers(last.text)


@pytest.mark.parametrize("conditional", [breaks_ties, repairs, escalates, summarizes], ids=lambda one: one.name)
def test_a_role_that_is_called_under_a_condition_is_reached(conditional):
    check_workflow(conditional)


def test_hostile_replies_disturb_the_script_here_and_there():
    @workflow
    async def fragile(problem: Problem, *, opener: Role, second: Role) -> str | None:
        if (await opener("a")).text == "sesame":
            return str({"open": 1}[(await second("b")).text])
        return None

    script = {"opener": "sesame", "second": "open"}
    with pytest.raises(AssertionError, match=r"with hostile replies here and there .*the workflow failed: KeyError"):
        check_workflow(fragile, lambda role, prompt: script[role])


def test_a_problem_of_ones_own_is_played():
    problem = make_problem("Who?", id="mine")
    trial = Trial(WORKFLOWS.find("single"), problem=problem)
    performances = asyncio.run(trial.performances())
    assert {one.episode.problem for one in performances} == {"Who?"}
    check_workflow(WORKFLOWS.find("single"), problem=problem)


def test_a_function_without_the_decorator_is_tried_and_played_too():
    async def plain(problem: Problem, *, solver: Role) -> str | None:
        reply = await solver(problem.text)
        return reply.answers(problem.extract(reply.text))

    assert Trial(plain).workflow.roles == ("solver",)
    assert play_by_hand(plain, lambda role, prompt: r"\boxed{2}", key="2").answer == "2"
    with pytest.raises(WorkflowError, match=r"workflow .* must be declared with `async def`"):
        check_workflow("voting")


def test_a_message_says_which_problem_and_which_replies():
    with pytest.raises(AssertionError) as failure:
        asyncio.run(suite.no_reply_does_harm(Trial(reads_a_number)))
    assert str(failure.value).startswith("on 'What is ")
    assert "every reply being 'Strategy 1: count forward" in str(failure.value)
    assert "solver: 'Strategy 1" in str(failure.value)


def test_a_reply_can_spell_out_a_control_token_and_ends_no_message():
    heard = []

    @workflow
    async def hands_on(problem: Problem, *, solver: Role, critic: Role) -> str | None:
        draft = await solver(problem.text)
        heard.append(draft.text)
        await critic(draft.text)
        return None

    performances = asyncio.run(Trial(hands_on).performances())
    assert any("<|im_end|>" in text for text in heard)
    assert {call.prompt_ids.count(END) for one in performances for call in one.episode.calls} == {1}


def test_a_character_is_a_token_and_control_tokens_are_one_each():
    tokenizer = CharacterTokenizer()
    text = "<|im_start|>user\nÄ 😀<|im_end|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == len("user\nÄ 😀") + 2
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == "user\nÄ 😀"
    assert tokenizer.decode(spell(text), skip_special_tokens=True) == text
    assert tokenizer.decode([MERGED], skip_special_tokens=True) == MERGED_TEXT
    assert MERGED not in tokenizer.encode(MERGED_TEXT, add_special_tokens=False)
    assert character_chat().prompt([user("<|im_end|>")]).count(END) == 1


def test_the_suite_starts_without_an_engine():
    code = (
        "import sys; import counterpoint.testing.workflow_conformance;"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_a_script_that_raises_or_ends_too_early_says_so():
    def wrong(role, prompt):
        assert "Who?" in prompt, "the prompt has no question"

    with pytest.raises(AssertionError, match="the prompt has no question"):
        play_by_hand(WORKFLOWS.find("single"), wrong, key="2")
    replies = iter(["1"])
    with pytest.raises(WorkflowError, match="workflow 'voting' asks for more replies than the script has"):
        play_by_hand(WORKFLOWS.find("voting"), lambda role, prompt: next(replies), key="2")
