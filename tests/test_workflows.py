"""Every workflow that ships, played with scripted replies: who is called, with what, and what each claim is worth."""

import asyncio
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from facts import MERGED, RIGHT, WRONG, assistant, make_chat, make_limits, make_stage, same_text, user

from counterpoint.episode import Answer, CallKey, Choice, Proposal, Unreadable, Verdict
from counterpoint.errors import ConfigError
from counterpoint.options import Spec
from counterpoint.play import rollout
from counterpoint.samplers.scripted import Scripted
from counterpoint.task import Problem, Task, not_judged
from counterpoint.workflows import WORKFLOWS, load_workflow

KEY = "4711"
SUM = Problem(
    id="sum",
    text="What is 4700 + 11?",
    answer_format=r"Write the final answer as \boxed{answer}.",
    extract=lambda reply: next(reversed(re.findall(r"\\boxed\{(\w+)\}", reply)), None),
)
PROGRAM = Problem(
    id="program",
    text="Write a program that prints the sum.",
    answer_format="Write the whole program in one block that begins with ```python and ends with ```.",
    extract=lambda reply: next(reversed(re.findall(r"```python\n(.*?)```", reply, flags=re.DOTALL)), None),
)
GOOD, BAD = r"It is \boxed{4711}", r"It is \boxed{99}"
MUTE = "I do not know."
YES, NO = r"Fine. \boxed{correct}", r"The last step is wrong. \boxed{incorrect}"
SOLVE = "What is 4700 + 11?\n\nSolve the problem step by step. Write the final answer as \\boxed{answer}."


def in_order(**replies):
    """A script: each role says the next of its replies at each call, in the order in which its calls were started."""
    lines = {role: iter([said] if isinstance(said, str) else said) for role, said in replies.items()}
    return lambda role, prompt: next(lines[role])


def always(**replies):
    """A script: each role says its one reply at every call."""
    return lambda role, prompt: replies[role]


def play(name, script, *, problem=SUM, judge=same_text, key=KEY, sampler=None, **options):
    stage, _ = make_stage(load_workflow(Spec(name=name, **options)), script)
    if sampler is not None:
        stage = replace(stage, sampler=sampler(script, next(iter(stage.chats.values()))))
    task = Task(problem=problem, key=key, judge=judge)
    (group,) = asyncio.run(rollout(stage, [task], make_limits(max_prompt_tokens=100_000), size=1, seed="s"))
    (episode,) = group.episodes
    assert episode.error is None, episode.error
    return episode


def keys(episode):
    return [tuple(call.key) for call in episode.calls]


def calls_of(episode, role):
    return [call for call in episode.calls if call.key.role == role]


def scores(episode, role):
    return [call.score for call in calls_of(episode, role)]


def asked(call):
    """The last thing that the role was told."""
    return call.messages[-1]["content"]


def speakers(call):
    return [message["role"] for message in call.messages]


def own_words(call):
    return [message["content"] for message in call.messages if message["role"] == "assistant"]


# single


def test_single_is_one_call_whose_answer_counts():
    episode = play("single", always(generator=GOOD))
    assert keys(episode) == [("generator", 0, 0)]
    assert episode.calls[0].messages == (user(SOLVE),)
    assert (episode.calls[0].claim, episode.calls[0].score) == (Answer(KEY), 1.0)
    assert (episode.answer, episode.score) == (KEY, RIGHT)


def test_single_without_an_answer_is_unreadable_and_wrong():
    episode = play("single", always(generator=MUTE))
    assert (episode.calls[0].claim, episode.calls[0].score) == (Unreadable("no answer"), 0.0)
    assert (episode.answer, episode.score) == (None, WRONG)


# voting


def test_the_aggregator_of_voting_reads_all_drafts_in_order_and_chooses_one():
    episode = play("voting", in_order(generator=[BAD, GOOD, MUTE], aggregator=r"The second. \boxed{2}"))
    assert keys(episode) == [*(("generator", slot, 0) for slot in range(3)), ("aggregator", 0, 0)]
    assert [call.messages for call in calls_of(episode, "generator")] == [(user(SOLVE),)] * 3
    (aggregator,) = calls_of(episode, "aggregator")
    assert aggregator.messages == (
        user(
            f"Problem: {SUM.text}\n\nSolution 1:\n{BAD}\n\nSolution 2:\n{GOOD}\n\nSolution 3:\n{MUTE}\n\n"
            r"Which solution is right? Compare them, then write the number of the best one as \boxed{number}."
        ),
    )
    assert aggregator.claim == Choice(tuple(call.key for call in episode.calls[:3]), 1)
    assert [call.claim for call in episode.calls[:3]] == [Answer("99"), Answer(KEY), Unreadable("no answer")]
    assert [call.score for call in episode.calls] == [0.0, 1.0, 0.0, 1.0]
    assert (episode.answer, episode.score) == (KEY, RIGHT)


@pytest.mark.parametrize(
    ("reply", "claim"),
    [
        ("Solution 2 is right.", Unreadable("no choice")),
        (r"Solution 1 is wrong, so it is \boxed{39}", Unreadable("no candidate 39")),
        (r"\boxed{1} or \boxed{2}", Unreadable("no choice")),
        (r"\boxed{4711}", Unreadable("no candidate 4711")),
    ],
)
def test_a_choice_that_cannot_be_read_is_no_choice_and_no_answer(reply, claim):
    episode = play("voting", always(generator=GOOD, aggregator=reply))
    assert (episode.calls[-1].claim, episode.calls[-1].score) == (claim, 0.0)
    assert (episode.answer, episode.score) == (None, WRONG)
    assert scores(episode, "generator") == [1.0] * 3


def test_choosing_a_draft_without_an_answer_is_no_answer():
    episode = play("voting", in_order(generator=[GOOD, MUTE, GOOD], aggregator=r"\boxed{2}"))
    assert isinstance(episode.calls[-1].claim, Choice)
    assert (episode.answer, episode.calls[-1].score) == (None, 0.0)


def test_distinct_voters_are_a_role_each():
    voters = {"generator_1": BAD, "generator_2": GOOD, "generator_3": BAD, "generator_4": MUTE}
    episode = play("voting", always(**voters, aggregator=r"\boxed{2}"), votes=4, voters="distinct")
    assert keys(episode) == [*((role, 0, 0) for role in voters), ("aggregator", 0, 0)]
    assert [call.text for call in episode.calls[:4]] == list(voters.values())
    assert episode.calls[-1].claim == Choice(tuple(CallKey(role, 0, 0) for role in voters), 1)
    assert [call.score for call in episode.calls] == [0.0, 1.0, 0.0, 0.0, 1.0]
    assert episode.answer == KEY


def test_distinct_voters_are_asked_what_voters_alike_are_asked():
    alike = play("voting", lambda role, prompt: r"\boxed{1}")
    distinct = play("voting", lambda role, prompt: r"\boxed{1}", voters="distinct")
    assert [call.messages for call in alike.calls] == [call.messages for call in distinct.calls]


def test_one_distinct_voter_keeps_the_name_of_its_parameter():
    assert load_workflow(Spec(name="voting", votes=1, voters="distinct")).roles == ("generator", "aggregator")


# evaluator_optimizer


def refine(generator, evaluator, **options):
    return play("evaluator_optimizer", in_order(generator=generator, evaluator=evaluator), **options)


BOTH = pytest.mark.parametrize("transcripts", ["private", "joint"])


@BOTH
def test_refining_stops_when_the_evaluator_approves(transcripts):
    episode = refine([BAD, GOOD], [NO, YES], transcripts=transcripts, rounds=5)
    assert keys(episode) == [("generator", 0, 0), ("evaluator", 0, 0), ("generator", 0, 1), ("evaluator", 0, 1)]
    assert episode.answer == KEY
    first = refine([GOOD], [YES], transcripts=transcripts)
    assert keys(first) == [("generator", 0, 0), ("evaluator", 0, 0)]


@BOTH
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_refining_stops_when_the_evaluator_has_judged_so_many_times(transcripts, rounds):
    episode = refine([BAD] * rounds, [NO] * rounds, transcripts=transcripts, rounds=rounds)
    assert keys(episode) == [(role, 0, turn) for turn in range(rounds) for role in ("generator", "evaluator")]


@BOTH
def test_the_last_draft_counts_even_if_it_is_rejected(transcripts):
    episode = refine([BAD, GOOD], [NO, NO], transcripts=transcripts, rounds=2)
    assert (episode.answer, episode.score) == (KEY, RIGHT)
    worse = refine([GOOD, BAD], [NO, NO], transcripts=transcripts, rounds=2)
    assert (worse.answer, worse.score) == ("99", WRONG)


@BOTH
def test_a_last_draft_without_an_answer_does_not_fall_back_on_an_earlier_one(transcripts):
    episode = refine([GOOD, MUTE], [NO, YES], transcripts=transcripts)
    assert (episode.answer, episode.score) == (None, WRONG)


@BOTH
@pytest.mark.parametrize(
    "mumbled", ["It is correct.", r"\boxed{correct} or \boxed{incorrect}", r"\boxed{yes}", r"\boxed{correct", ""]
)
def test_a_verdict_that_cannot_be_read_is_no_approval(transcripts, mumbled):
    episode = refine([GOOD, BAD], [mumbled, YES], transcripts=transcripts)
    assert [call.claim for call in calls_of(episode, "evaluator")] == [
        Unreadable("no verdict"),
        Verdict(CallKey("generator", 0, 1), True),
    ]
    assert scores(episode, "evaluator") == [0.0, 0.0]
    assert episode.answer == "99"


@BOTH
def test_a_verdict_is_judged_against_the_draft_it_is_about_and_not_against_the_last(transcripts):
    episode = refine([BAD, GOOD, BAD], [NO, NO, YES], transcripts=transcripts)
    assert [call.claim for call in calls_of(episode, "evaluator")] == [
        Verdict(CallKey("generator", 0, 0), False),
        Verdict(CallKey("generator", 0, 1), False),
        Verdict(CallKey("generator", 0, 2), True),
    ]
    assert scores(episode, "evaluator") == [1.0, 0.0, 0.0]
    assert scores(episode, "generator") == [0.0, 1.0, 0.0]
    assert episode.score == WRONG


def test_with_private_transcripts_each_role_hears_the_other_from_the_user():
    episode = refine([BAD, MUTE, GOOD], [NO, "Hm.", YES])
    drafts, reviews = calls_of(episode, "generator"), calls_of(episode, "evaluator")
    for turn in range(3):
        for call, own, heard in ((drafts[turn], drafts, reviews), (reviews[turn], reviews, drafts)):
            assert speakers(call) == ["user", "assistant"] * turn + ["user"]
            assert own_words(call) == [earlier.text for earlier in own[:turn]]
            told = heard[turn] if own is reviews else heard[turn - 1]
            assert (told.text in asked(call)) is (own is reviews or turn > 0)
    assert SUM.text in asked(reviews[0])
    assert drafts[0].messages == (user(SOLVE),)
    assert drafts[1].messages == (
        user(SOLVE),
        assistant(BAD),
        user(
            f"A reviewer says about your solution:\n{NO}\n\n"
            r"Write a better solution, step by step. Write the final answer as \boxed{answer}."
        ),
    )


def test_with_a_joint_transcript_both_speak_as_the_assistant_and_requests_are_not_kept():
    episode = refine([BAD, MUTE, GOOD], [NO, "Hm.", YES], transcripts="joint")
    drafts, reviews = calls_of(episode, "generator"), calls_of(episode, "evaluator")
    said = [assistant(text) for text in (BAD, NO, MUTE, "Hm.", GOOD)]
    for turn in range(3):
        assert drafts[turn].messages[:-1] == ((user(SOLVE), *said[: 2 * turn]) if turn else ())
        assert reviews[turn].messages[:-1] == (user(SOLVE), *said[: 2 * turn + 1])
    assert drafts[0].messages == (user(SOLVE),)
    assert len({asked(call) for call in reviews}) == 1
    assert len({asked(call) for call in drafts[1:]}) == 1
    assert SUM.answer_format in asked(drafts[1])


class Merging(Scripted):
    """Says "12" first, in a token that no encoding of the text would give."""

    async def sample(self, request):
        completion = await super().sample(request)
        ids = (MERGED, *completion.ids)
        return replace(completion, ids=ids, logprobs=(0.0,) * len(ids))


def stands_in(ids, prompt_ids):
    """How often the one stands in the other, in one piece."""
    return sum(prompt_ids[start : start + len(ids)] == ids for start in range(len(prompt_ids)))


@BOTH
def test_earlier_replies_stand_in_later_prompts_token_by_token(transcripts):
    said = {"generator": ["a", "b", "c"], "evaluator": ["d", "e", "f"]}
    episode = play("evaluator_optimizer", in_order(**said), sampler=Merging, transcripts=transcripts)
    assert [call.text for call in episode.calls] == ["12a", "12d", "12b", "12e", "12c", "12f"]
    for place, call in enumerate(episode.calls):
        earlier = episode.calls[:place]
        heard = [one for one in earlier if transcripts == "joint" or one.key.role == call.key.role]
        assert len(own_words(call)) == len(heard)
        assert [stands_in(one.completion_ids, call.prompt_ids) for one in heard] == [1] * len(heard)
        assert call.prompt_ids.count(MERGED) == len(heard)


def test_with_private_transcripts_a_later_turn_extends_the_earlier_one():
    said = {"generator": ["a", "b", "c"], "evaluator": ["d", "e", "f"]}
    episode = play("evaluator_optimizer", in_order(**said), sampler=Merging)
    for role in said:
        for earlier, later in pairwise(calls_of(episode, role)):
            known = earlier.prompt_ids + earlier.completion_ids
            assert later.prompt_ids[: len(known)] == known


def test_with_a_joint_transcript_what_is_kept_is_extended_too():
    said = {"generator": ["a", "b", "c"], "evaluator": ["d", "e", "f"]}
    episode = play("evaluator_optimizer", in_order(**said), sampler=Merging, transcripts="joint")
    drafts = calls_of(episode, "generator")
    known = drafts[0].prompt_ids + drafts[0].completion_ids
    for call in episode.calls[1:]:
        assert call.prompt_ids[: len(known)] == known
    request = len(make_chat().prompt([user(asked(drafts[1]))]))
    kept = drafts[1].prompt_ids[:-request]
    assert drafts[2].prompt_ids[: len(kept)] == kept


# orchestrator_workers

PLAN = "Strategy 1: add the units\nStrategy 2: add the tens\nStrategy 3: guess"


def test_workers_follow_a_strategy_each_and_the_synthesizer_has_the_last_word():
    script = in_order(orchestrator=PLAN, worker=[BAD, GOOD, MUTE], synthesizer=GOOD)
    episode = play("orchestrator_workers", script)
    workers = [("worker", slot, 0) for slot in range(3)]
    assert keys(episode) == [("orchestrator", 0, 0), *workers, ("synthesizer", 0, 0)]
    orchestrator, *followers, synthesizer = episode.calls
    assert "Propose up to 3 different strategies" in asked(orchestrator)
    for call, strategy in zip(followers, ("add the units", "add the tens", "guess"), strict=True):
        assert f"Strategy: {strategy}\n" in asked(call)
        assert "Strategy 1" not in asked(call)
    assert f"Solution 1:\n{BAD}\n\nSolution 2:\n{GOOD}\n\nSolution 3:\n{MUTE}" in asked(synthesizer)
    assert orchestrator.claim == Proposal(tuple(call.key for call in followers))
    assert [call.score for call in episode.calls] == [pytest.approx(1 / 3), 0.0, 1.0, 0.0, 1.0]
    assert (episode.answer, episode.score) == (KEY, RIGHT)


def test_fewer_strategies_have_fewer_workers():
    plan = "Strategy 1: add the units\nStrategy 2: add the tens"
    episode = play("orchestrator_workers", in_order(orchestrator=plan, worker=[GOOD, BAD], synthesizer=BAD))
    assert [key[:2] for key in keys(episode)] == [
        ("orchestrator", 0),
        ("worker", 0),
        ("worker", 1),
        ("synthesizer", 0),
    ]
    assert scores(episode, "orchestrator") == [0.5]


def test_strategies_beyond_the_number_of_workers_are_cut():
    plan = "\n".join(f"Strategy {number}: way {number}" for number in range(1, 7))
    episode = play("orchestrator_workers", always(orchestrator=plan, worker=GOOD, synthesizer=GOOD), workers=2)
    workers = calls_of(episode, "worker")
    assert [re.findall(r"Strategy: (.*)", asked(call)) for call in workers] == [["way 1"], ["way 2"]]
    assert episode.calls[0].claim == Proposal(tuple(call.key for call in workers))


@pytest.mark.parametrize(
    "garbage", ["", "Just add them up, as everyone would do.", GOOD, "1. add\n2. guess", "Strategy 2: a", "Strategy 1:"]
)
def test_what_is_not_a_list_of_strategies_is_followed_by_nobody(garbage):
    episode = play("orchestrator_workers", always(orchestrator=garbage))
    assert keys(episode) == [("orchestrator", 0, 0)]
    assert (episode.calls[0].claim, episode.calls[0].score) == (Unreadable("no strategies"), 0.0)
    assert (episode.answer, episode.score) == (None, WRONG)


def test_a_proposal_is_worth_what_those_of_its_followers_that_were_judged_are_worth():
    async def cannot_judge_99(answer, key):
        return not_judged("no idea") if answer == "99" else await same_text(answer, key)

    plan = {"orchestrator": PLAN, "synthesizer": GOOD}
    some = play("orchestrator_workers", in_order(**plan, worker=[GOOD, BAD, MUTE]), judge=cannot_judge_99)
    assert scores(some, "worker") == [1.0, None, 0.0]
    assert scores(some, "orchestrator") == [0.5]
    none = play("orchestrator_workers", in_order(**plan, worker=[BAD, BAD, BAD]), judge=cannot_judge_99)
    assert scores(none, "orchestrator") == [None]


def test_the_synthesizer_may_answer_what_no_worker_said():
    script = always(orchestrator=PLAN, worker=BAD, synthesizer=GOOD)
    episode = play("orchestrator_workers", script)
    assert (episode.answer, episode.score) == (KEY, RIGHT)
    assert scores(episode, "worker") == [0.0] * 3
    assert scores(episode, "orchestrator") == [0.0]
    assert (episode.calls[-1].claim, episode.calls[-1].score) == (Answer(KEY), 1.0)


def test_a_synthesizer_without_an_answer_has_none_even_if_all_workers_agree():
    episode = play("orchestrator_workers", always(orchestrator=PLAN, worker=GOOD, synthesizer="As they say."))
    assert (episode.answer, episode.score) == (None, WRONG)
    assert isinstance(episode.calls[-1].claim, Unreadable)


# debate


def test_a_debate_without_rounds_is_drafts_and_a_judge():
    script = in_order(debater=[BAD, GOOD], judge=r"\boxed{2}")
    episode = play("debate", script, rounds=0)
    assert keys(episode) == [("debater", 0, 0), ("debater", 1, 0), ("judge", 0, 0)]
    assert f"Solution 1:\n{BAD}\n\nSolution 2:\n{GOOD}" in asked(episode.calls[-1])
    assert episode.calls[-1].claim == Choice((CallKey("debater", 0, 0), CallKey("debater", 1, 0)), 1)
    assert (episode.answer, episode.calls[-1].score) == (KEY, 1.0)


def number_of_call():
    """A script of debaters that say which of all calls theirs is; the judge chooses the third."""
    numbers = iter(range(100))
    return lambda role, prompt: r"\boxed{3}" if role == "judge" else rf"call-{next(numbers)}. \boxed{{4711}}"


def test_each_debater_hears_the_others_and_remembers_itself():
    episode = play("debate", number_of_call(), debaters=3, rounds=2)
    rounds = [("debater", slot, turn) for turn in range(3) for slot in range(3)]
    assert keys(episode) == [*rounds, ("judge", 0, 0)]
    calls = {(call.key.slot, call.key.turn): call for call in calls_of(episode, "debater")}
    for (slot, turn), call in calls.items():
        assert speakers(call) == ["user", "assistant"] * turn + ["user"]
        assert own_words(call) == [calls[slot, earlier].text for earlier in range(turn)]
        if turn:
            others = [calls[other, turn - 1].text for other in range(3) if other != slot]
            told = f"Others wrote:\n\nSolution 1:\n{others[0]}\n\nSolution 2:\n{others[1]}\n\n"
            assert asked(call).startswith(told)
            assert re.findall(r"call-\d", asked(call)) == [text[:6] for text in others]
    last = [calls[slot, 2] for slot in range(3)]
    (judge,) = calls_of(episode, "judge")
    assert re.findall(r"call-\d", asked(judge)) == [call.text[:6] for call in last]
    assert judge.claim == Choice(tuple(call.key for call in last), 2)


def test_a_debaters_later_turn_extends_its_earlier_one():
    script = in_order(debater=list("abcdef"), judge="g")
    episode = play("debate", script, sampler=Merging, rounds=2)
    for slot in range(2):
        for earlier, later in pairwise(call for call in calls_of(episode, "debater") if call.key.slot == slot):
            known = earlier.prompt_ids + earlier.completion_ids
            assert later.prompt_ids[: len(known)] == known


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_debate_can_be_decided_by_the_majority_without_a_judge(rounds):
    said = [MUTE] * 3 * rounds + [BAD, GOOD, GOOD]
    episode = play("debate", in_order(debater=said), debaters=3, rounds=rounds, decision="majority")
    assert load_workflow(Spec(name="debate", decision="majority")).roles == ("debater",)
    assert len(episode.calls) == 3 * (rounds + 1)
    assert (episode.answer, episode.score) == (KEY, RIGHT)
    assert scores(episode, "debater") == [0.0] * 3 * rounds + [0.0, 1.0, 1.0]


def test_only_the_last_round_of_a_debate_is_counted():
    said = [GOOD, GOOD, GOOD, BAD, BAD, GOOD]
    episode = play("debate", in_order(debater=said), debaters=3, rounds=1, decision="majority")
    assert episode.answer == "99"


def test_a_judge_who_cannot_be_read_leaves_no_answer():
    episode = play("debate", always(debater=GOOD, judge=GOOD))
    assert (episode.calls[-1].claim, episode.answer) == (Unreadable("no candidate 4711"), None)


# majority


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (["a", "b", "b", "c"], "b"),
        (["a", "b", "b", "a"], "a"),
        (["b", "a", "a", "b"], "b"),
        (["c", "b", "a", None], "c"),
        ([None, None, None, "a"], "a"),
        (["Yes", "no", "yes", "no"], "Yes"),
        (["no", "YES", "yes", "No way"], "YES"),
        ([None, None, None, None], None),
    ],
)
def test_the_answer_given_most_often_counts_and_of_several_the_first(said, answer):
    boxes = [MUTE if one is None else rf"\boxed{{{one.replace(' ', '_')}}}" for one in said]
    episode = play("majority", in_order(generator=boxes), key="a")
    assert episode.answer == answer
    assert keys(episode) == [("generator", slot, 0) for slot in range(4)]
    assert scores(episode, "generator") == [float(one == "a") for one in said]


def test_answers_that_differ_in_white_space_are_the_same():
    problem = replace(SUM, extract=lambda reply: reply)
    episode = play("majority", in_order(generator=["x  y", "z", " x Y\n"]), problem=problem, samples=3)
    assert episode.answer == "x  y"


# best_of


def best(generator, evaluator, **options):
    return play("best_of", in_order(generator=generator, evaluator=evaluator), **options)


def test_the_first_draft_that_is_approved_counts():
    episode = best([BAD, GOOD, BAD], [NO, YES, YES])
    assert sorted(keys(episode)) == [(role, slot, 0) for role in ("evaluator", "generator") for slot in range(3)]
    assert (episode.answer, episode.score) == (KEY, RIGHT)
    assert scores(episode, "evaluator") == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("reviews", [[NO, NO, NO], ["?", NO, ""], [NO, "?", NO], [NO, "", r"\boxed{yes}"]])
def test_if_no_draft_is_approved_the_first_counts(reviews):
    assert best([BAD, GOOD, GOOD], reviews).answer == "99"


def test_an_approved_draft_without_an_answer_is_no_answer():
    episode = best([GOOD, MUTE, GOOD], [NO, YES, YES])
    assert (episode.answer, episode.score) == (None, WRONG)


class Slow(Scripted):
    """Answers the first draft last."""

    async def sample(self, request):
        if len(self.requests) == 0:
            self.requests.append(request)
            for _ in range(20):
                await asyncio.sleep(0)
        return await super().sample(request)


def test_a_verdict_of_best_of_stands_in_the_slot_of_its_draft_whoever_is_ready_first():
    def script(role, prompt):
        return (YES if GOOD in prompt else NO) if role == "evaluator" else next(drafts)

    drafts = iter([GOOD, BAD, BAD])
    episode = play("best_of", script, sampler=Slow)
    by_slot = {call.key.slot: call.text for call in calls_of(episode, "generator")}
    assert by_slot == {1: GOOD, 2: BAD, 0: BAD}
    for review in calls_of(episode, "evaluator"):
        assert review.claim.about == CallKey("generator", review.key.slot, 0)
        assert by_slot[review.key.slot] in asked(review)
    assert scores(episode, "evaluator") == [1.0] * 3
    assert episode.answer == KEY


# tie_break


def broken(solver, arbiter=(), **options):
    return play("tie_break", in_order(solver=solver, arbiter=arbiter), **options)


def test_solvers_that_agree_ask_nobody():
    episode = broken([GOOD, r"Look: \boxed{4711}"])
    assert keys(episode) == [("solver", 0, 0), ("solver", 1, 0)]
    assert (episode.answer, episode.score) == (KEY, RIGHT)
    assert broken([BAD, BAD]).answer == "99"


@pytest.mark.parametrize("drafts", [[GOOD, BAD], [MUTE, GOOD], [MUTE, MUTE], [GOOD, GOOD, BAD]])
def test_the_arbiter_reads_the_drafts_and_writes_the_answer_where_not_all_agree(drafts):
    episode = broken(drafts, GOOD, solvers=len(drafts))
    (arbiter,) = calls_of(episode, "arbiter")
    assert all(draft in asked(arbiter) for draft in drafts)
    assert (episode.answer, arbiter.claim, arbiter.score) == (KEY, Answer(KEY), 1.0)
    assert broken(drafts, MUTE, solvers=len(drafts)).answer is None


def test_answers_that_differ_in_case_and_blanks_agree():
    assert keys(broken([r"\boxed{Paris}", r"\boxed{paris}"])) == [("solver", 0, 0), ("solver", 1, 0)]


# All of them, on a calculation and on a program

EVERY = [
    ("single", {}),
    ("voting", {}),
    ("voting", {"voters": "distinct"}),
    ("evaluator_optimizer", {}),
    ("evaluator_optimizer", {"transcripts": "joint"}),
    ("orchestrator_workers", {}),
    ("debate", {"rounds": 2}),
    ("debate", {"decision": "majority"}),
    ("tie_break", {}),
    ("majority", {}),
    ("best_of", {}),
]
CALCULATION_SAID, PROGRAM_SAID = r"So it is \boxed{99}", "So:\n```python\nprint(99)\n```"
EVERY_ONE = pytest.mark.parametrize(("name", "options"), EVERY, ids=lambda one: one if isinstance(one, str) else None)
BOTH_KINDS = pytest.mark.parametrize("problem", [SUM, PROGRAM], ids=["calculation", "program"])


def led(name, options, problem):
    """An episode in which every role speaks, no draft is right and the last review approves."""
    reviews = iter([NO, "Hm.", YES] * 10)
    solution = PROGRAM_SAID if problem is PROGRAM else CALCULATION_SAID
    other = iter([solution.replace("99", "98")])

    def script(role, prompt):
        match role:
            case "evaluator":
                return next(reviews)
            case "solver":
                return next(other, solution)
            case "aggregator" | "judge":
                return r"\boxed{1}"
            case "orchestrator":
                return PLAN
            case _:
                return solution

    return play(name, script, problem=problem, **options)


def test_every_workflow_that_ships_is_led():
    assert {name for name, _ in EVERY} == set(WORKFLOWS)


@BOTH_KINDS
@EVERY_ONE
def test_one_function_serves_calculations_and_programs(name, options, problem):
    episode = led(name, options, problem)
    assert episode.answer == ("print(99)\n" if problem is PROGRAM else "99")
    assert {call.key.role for call in episode.calls} == set(load_workflow(Spec(name=name, **options)).roles)


@BOTH_KINDS
@EVERY_ONE
def test_who_answers_is_asked_for_the_problems_own_format_and_nobody_else_is(name, options, problem):
    other = SUM if problem is PROGRAM else PROGRAM
    for call in led(name, options, problem).calls:
        answers = isinstance(call.claim, Answer)
        assert asked(call).count(problem.answer_format) == answers, call.key
        told = " ".join(message["content"] for message in call.messages if message["role"] == "user")
        assert other.answer_format not in told
        if problem is PROGRAM and answers:
            assert "boxed" not in asked(call).replace(NO, "").replace(YES, "")


@BOTH_KINDS
@EVERY_ONE
def test_prompts_are_plain(name, options, problem):
    """No doubled braces that a template left over, no key, no blank that a template did not fill; a user ends each."""
    for call in led(name, options, problem).calls:
        assert speakers(call)[-1] == "user"
        assert speakers(call)[0] == "user"
        assert set(speakers(call)) <= {"user", "assistant"}
        for message in call.messages:
            text = message["content"]
            assert "{{" not in text
            assert "}}" not in text
            assert KEY not in text
            assert "None" not in text
            assert text == text.strip()
            assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("name", "option", "outside"),
    [
        ("evaluator_optimizer", "rounds", (0, 17)),
        ("evaluator_optimizer", "transcripts", ("shared",)),
        ("orchestrator_workers", "workers", (0, 65)),
        ("debate", "debaters", (1, 65)),
        ("debate", "rounds", (-1, 17)),
        ("debate", "decision", ("vote",)),
        ("majority", "samples", (0, 1025)),
        ("best_of", "samples", (0, 257)),
        ("voting", "votes", (0, 65)),
        ("tie_break", "solvers", (1, 65)),
        ("voting", "voters", ("different",)),
    ],
)
def test_an_option_out_of_range_is_refused(name, option, outside):
    for value in outside:
        with pytest.raises(ConfigError, match=rf"workflow\.{name}\.{option} = "):
            load_workflow(Spec(name=name, **{option: value}))


@pytest.mark.parametrize(
    ("spec", "slots"),
    [
        ({"name": "single"}, {"generator": 1}),
        ({"name": "voting", "votes": 5}, {"generator": 5, "aggregator": 1}),
        (
            {"name": "voting", "votes": 2, "voters": "distinct"},
            {"generator_1": 1, "generator_2": 1, "aggregator": 1},
        ),
        ({"name": "evaluator_optimizer", "rounds": 9}, {"generator": 1, "evaluator": 1}),
        ({"name": "orchestrator_workers", "workers": 2}, {"orchestrator": 1, "worker": 2, "synthesizer": 1}),
        ({"name": "debate", "debaters": 4}, {"debater": 4, "judge": 1}),
        ({"name": "debate", "decision": "majority"}, {"debater": 2}),
        ({"name": "tie_break", "solvers": 3}, {"solver": 3, "arbiter": 1}),
        ({"name": "majority", "samples": 7}, {"generator": 7}),
        ({"name": "best_of", "samples": 5}, {"generator": 5, "evaluator": 5}),
    ],
)
def test_the_roles_and_slots_of_a_workflow_follow_its_options(spec, slots):
    assert load_workflow(Spec(**spec)).slots == slots
