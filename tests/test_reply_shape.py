"""The shape of replies, by hand: terse, hesitant, boxed, in which form and how alike, read from claims."""

import asyncio
import time
from dataclasses import replace

import pytest
from facts import make_call, make_episode, make_group, make_limits, make_stage, make_task, user

from counterpoint.boxes import boxes
from counterpoint.diagnostics._shape import (
    HEDGES,
    SIDE_BY_SIDE,
    asks_for_a_box,
    first_strategy,
    has_box,
    hedges,
    shape,
    similarity,
    threes,
)
from counterpoint.diagnostics.behaviour import episode_numbers
from counterpoint.episode import Answer, CallKey, Choice, Proposal, Unreadable, Verdict
from counterpoint.evaluation import evaluate
from counterpoint.tasks._fence import prose_and_code
from counterpoint.workflows.base import Role, workflow

DRAFT = CallKey("generator", 0, 0)
CODE = "```python\na = 1\n\nb = 2\nprint(a)\n```"


def long(role, tokens, claim, text="it is 2", **fields):
    """A call whose reply has that many tokens."""
    return make_call(role, claim=claim, text=text, completion_ids=(5,) * tokens, logprobs=(-1.0,) * tokens, **fields)


def of(role, *calls):
    """The numbers of a role, each call in an episode of its own."""
    numbers = shape([make_group(*(make_episode(call, rollout=rollout) for rollout, call in enumerate(calls)))])
    start = f"role/{role}/"
    return {name.removeprefix(start): value for name, value in numbers.items() if name.startswith(start)}


def choice(tokens, **fields):
    return long("judge", tokens, Choice((DRAFT,), 0), **fields)


def verdict(tokens, text="it is 2", **fields):
    return long("critic", tokens, Verdict(DRAFT, True), text, **fields)


def test_a_terse_choice_can_be_read_and_has_at_most_30_tokens():
    unread = [long("judge", 4, Unreadable(reason)) for reason in ("no choice", "no candidate 9", "my own reason")]
    assert of("judge", choice(30), choice(31), choice(1), *unread)["terse"] == 2 / 6


def test_a_role_that_could_never_be_read_is_known_by_the_reasons():
    assert of("judge", long("judge", 4, Unreadable("no choice")))["terse"] == 0.0
    assert of("critic", long("critic", 4, Unreadable("no verdict")))["form_other"] == 1.0
    assert "terse" not in of("judge", long("judge", 4, Unreadable("my own reason")))


def synthesis(asked):
    draft = long("worker", 50, Answer("2"), r"so \boxed{2}", messages=(user("What is 1 + 1?"),))
    return make_episode(draft, long("writer", 9, Answer("2"), messages=(user(asked),)))


def test_an_answer_counts_as_terse_or_not_only_if_it_read_the_answer_of_another_role():
    read = shape([make_group(synthesis("Which is it?\nso \\boxed{2}\n"))])
    assert read["role/writer/terse"] == 1.0
    assert not [name for name in shape([make_group(synthesis("Start anew."))]) if name.endswith("/terse")]
    again = [
        long("solver", 9, Answer("2"), "it is 2", turn=turn, messages=(user(f"it is 2? {turn}"),)) for turn in (0, 1)
    ]
    assert "role/solver/terse" not in shape([make_group(make_episode(*again))])


def test_the_95th_percentile_of_lengths():
    assert of("judge", *(choice(tokens) for tokens in (10, 20, 30, 40, 50)))["tokens_p95"] == pytest.approx(48.0)
    assert of("judge", choice(10))["tokens_p95"] == 10.0


@pytest.mark.parametrize("phrase", HEDGES)
def test_every_hedge_is_found_in_any_case_as_whole_words(phrase):
    assert hedges(f"It is 3. {phrase.upper()}, no.")
    assert hedges(phrase)
    assert not hedges(f"un{phrase} {phrase}ed _{phrase}_")
    assert hedges(f"un{phrase} and {phrase}")


def test_hedging_is_the_fraction_of_replies_that_hesitate_outside_of_code():
    replies = ["Wait, 3.", "It is 3.", "```\nwait\n```", "", "等等,是三。", "```\nunfinished: maybe", f"{CODE}\nHmm."]
    assert of("judge", *(choice(5, text=text) for text in replies))["hedging"] == 2 / 7


def test_reasoning_is_no_part_of_the_shape():
    assert of("judge", choice(5, text="3", reasoning="wait, hmm"))["hedging"] == 0.0


def test_the_forms_of_verdicts_add_up_to_1():
    calls = [
        verdict(200),  # a stamp
        verdict(201),
        verdict(500, CODE),
        verdict(20, CODE),  # code comes before a stamp
        verdict(20, "```\nright\n```"),  # neither: a block, but a short one
        verdict(20, "```\n" + "\n" * 9 + "right\n```"),  # empty lines are none
        verdict(500, "```python\na = 1\nb = 2\nc = 3"),  # cut off
        long("critic", 20, Unreadable("no verdict")),
    ]
    found = of("critic", *calls)
    assert (found["form_code"], found["form_stamp"], found["form_other"]) == (3 / 8, 1 / 8, 4 / 8)


def test_only_the_verdicts_of_a_role_that_does_several_things_have_a_form():
    found = of("critic", verdict(5), long("critic", 900, Answer("2"), CODE), long("critic", 5, Unreadable("mine")))
    assert (found["form_code"], found["form_stamp"], found["form_other"]) == (0.0, 1.0, 0.0)


def test_a_call_without_a_claim_has_neither_form_nor_terseness():
    assert of("critic", make_call("critic")) == {"tokens_p95": 3.0, "hedging": 0.0}


def test_an_endpoint_that_counts_is_measured_by_its_count_and_one_that_does_not_is_left_out():
    counted = verdict(0, counted_tokens=300)
    assert of("critic", counted)["form_other"] == 1.0
    assert "form_other" not in of("critic", verdict(0, counted_tokens=None))
    assert "terse" not in of("judge", choice(0, counted_tokens=None))
    assert of("judge", choice(0, text="", counted_tokens=0))["terse"] == 1.0


def boxed(text, asked=r"Write \boxed{number}."):
    return make_call("judge", turn=1, text=text, messages=(user(asked),))


def test_boxed_is_the_fraction_of_replies_that_keep_a_box_they_are_asked_for():
    replies = [r"\boxed{3}", "3", r"\boxed{}", r"\boxed{3", r"\boxed{\frac12} or \boxed{}", r"\boxed 4"]
    assert of("judge", *map(boxed, replies))["boxed"] == 3 / 6
    assert "boxed" not in of("judge", boxed(r"\boxed{3}", "Write the number."))


def test_a_box_that_a_prompt_only_quotes_is_not_asked_for():
    said = "I added one and one and then one more, so \\boxed{3}"
    draft = make_call("generator", text=f"{said}\n", messages=(user("Say \\boxed{...}."),))
    quoting = make_call("judge", messages=(user(f"Judge: {said}. Say yes."),))
    assert not asks_for_a_box(quoting, [draft])
    assert asks_for_a_box(quoting, [])
    both = replace(quoting, messages=(user(f"Judge: {said}. Say \\boxed{{yes}}."),))
    assert asks_for_a_box(both, [draft])


def test_a_box_alone_is_a_quote_on_a_line_of_its_own_only():
    stamps = [make_call("critic", slot, text=f"\\boxed{{{word}}}") for slot, word in enumerate(("yes", "no"))]
    asked = make_call(
        "judge", messages=(user("1:\n\\boxed{yes}\n2:\n\\boxed{no}\n\nSay \\boxed{yes} or \\boxed{no}."),)
    )
    assert asks_for_a_box(asked, stamps)
    assert not asks_for_a_box(make_call("judge", messages=(user("1:\n\\boxed{yes}\n2:\n\\boxed{no}"),)), stamps)


def test_what_is_asked_for_stands_in_the_system_message_or_in_the_last_one():
    system = {"role": "system", "content": r"Write \boxed{}."}
    assert asks_for_a_box(make_call(messages=(system, user("And?"))), [])
    assert not asks_for_a_box(make_call(messages=(user(r"Write \boxed{}."), user("In words, please."))), [])
    assert not asks_for_a_box(make_call(messages=()), [])


def test_boxes_are_read_as_the_workflows_read_them():
    for text in (r"\boxed{3}", r"\fbox{3}", r"\boxed{a} and \boxed{", r"\boxed{\boxed{}}", r"x \boxed{}"):
        assert has_box(text) == any(boxes(text)), text


def test_similarity_is_the_jaccard_index_of_three_words_in_a_row():
    one, other = threes("a b c d"), threes("a b c e")
    assert similarity(one, other) == 1 / 3  # abc of abc, bcd, bce
    assert similarity(one, one) == 1.0
    assert similarity(threes("7"), threes(" 7\n")) == 1.0
    assert similarity(threes("7"), threes("8")) == 0.0
    assert similarity(threes(""), threes(" ")) == 1.0
    assert similarity(threes(""), threes("a b c d")) == 0.0
    assert similarity(threes("答案是三"), threes("答案是四")) == 1 / 3  # a character is a word
    assert len(threes("the cat 三十二 sat")) == 4


def side_by_side(*texts, role="voter", turn=0, rollout=0):
    return make_episode(*(make_call(role, slot, turn, text=text) for slot, text in enumerate(texts)), rollout=rollout)


def test_the_similarity_of_a_role_is_the_mean_over_pairs_of_its_replies_side_by_side():
    alike, apart = side_by_side("a b c d", "a b c e", "a b c d"), side_by_side("7", "8", rollout=1)
    assert shape([make_group(alike, apart)])["role/voter/similarity"] == pytest.approx((1 / 3 + 1 + 1 / 3 + 0) / 4)


def test_one_reply_at_a_time_has_no_similarity():
    turns = make_episode(*(make_call("voter", 0, turn) for turn in range(3)), make_call("other"))
    assert not [name for name in shape([make_group(turns)]) if name.endswith("/similarity")]


def test_of_many_replies_side_by_side_the_first_slots_are_compared():
    texts = ["same"] * SIDE_BY_SIDE + [f"other {number}" for number in range(50)]
    episode = side_by_side(*texts)
    assert shape([make_group(episode)])["role/voter/similarity"] == 1.0
    assert shape([make_group(replace(episode, calls=episode.calls[::-1]))])["role/voter/similarity"] == 1.0


def proposal(text, rollout, task="t", claim=None):
    made = make_call("planner", text=text, claim=claim or Proposal((CallKey("worker", 0, 0),)))
    return make_episode(made, rollout=rollout, task=task)


def test_first_strategies_are_counted_over_the_rollouts_of_a_task():
    one = [proposal(f"Strategy 1: {first}\nStrategy 2: guess", at) for at, first in enumerate(("Add", " add", "Count"))]
    two = [proposal("Strategy 1: add", rollout, "u") for rollout in (0, 1)]
    groups = [make_group(*one), make_group(*two)]
    assert shape(groups)["role/planner/first_strategies"] == (2 + 1) / 2


def test_one_rollout_and_proposals_that_cannot_be_read_have_no_number_of_strategies():
    unread = proposal("Strategy 1: count", 1, claim=Unreadable("no strategies"))
    numbers = shape([make_group(proposal("Strategy 1: add", 0), unread)])
    assert "role/planner/first_strategies" not in numbers


def test_the_first_strategy_is_the_first_that_is_numbered_else_the_first_line():
    assert (
        first_strategy("Here they are.\n**Strategy 1:** Use  the SUM\nof all.\nStrategy 2: b") == "use the sum of all."
    )
    assert first_strategy("\n\n1) Draw it\n2) Add") == "1) draw it"
    assert first_strategy("") == ""
    assert first_strategy(" ".join(map(str, range(99)))) == " ".join(map(str, range(16)))


def test_prose_and_code_part_a_text():
    text = f"Before\n{CODE}\n> quoted\n> ```\n> x\n> ```\nafter"
    assert prose_and_code(text) == ("Before\n> quoted\nafter", ("a = 1\n\nb = 2\nprint(a)", "x"))
    assert prose_and_code("a ``` b") == ("a ``` b", ())
    assert prose_and_code("a\n~~~\nb\n```") == ("a", ("b\n```",))
    assert prose_and_code(f"````markdown\nWait.\n{CODE}\n````\n.") == ("Wait.\n.", ("a = 1\n\nb = 2\nprint(a)",))


HOSTILE = {
    "one line": "a" * 100_000,
    "NUL": "\0" * 100_000,
    "fences": "```\n" * 25_000,
    "labelled fences": "```python\n" * 10_000,
    "open strings": '```python\nx = """\n' * 5_000,
    "quotes": "> " * 50_000 + "```",
    "boxes": "\\boxed{" * 14_000,
    "hedge in part": "await " * 16_000,
    "strategies": "Strategy 1: a\n" * 7_000,
    "no spaces": "等" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_replies_take_no_longer_than_their_length(text):
    drafts = [make_call("voter", slot, text=text, claim=Answer("2")) for slot in (0, 1)]
    asked = (user(f"\\boxed{{}} {text} {text}"),)
    others = [choice(5, text=text, messages=asked), verdict(5, text, messages=asked), *proposal(text, 0).calls]
    began = time.process_time()
    numbers = shape([make_group(make_episode(*drafts, *others))])
    assert time.process_time() - began < 5.0  # a tenth of it as a rule; minutes if it were quadratic
    assert numbers["role/voter/similarity"] == 1.0


@workflow
async def panel(problem, *, poet: Role, censor: Role, editor: Role, muse: Role):
    """A workflow of the user's own, with other names for everything."""
    ideas = await muse("Give ideas.")
    poems = [await poet(f"Write about {problem.text}", slot=slot, turn=0) for slot in range(2)]
    for poem in poems:
        poem.answers(poem.text)
    (await censor(f"Right? {poems[0].text} Say \\boxed{{yes}}.")).judges(poems[0], True)
    ideas.proposes(poems)
    return (await editor(f"Which? {poems[0].text} {poems[1].text}")).chooses(poems, 0)


def test_a_workflow_of_the_users_own_gets_the_numbers_that_make_sense_for_its_roles():
    replies = {"muse": "Strategy 1: rhyme", "poet": "maybe 2", "censor": r"\boxed{yes}", "editor": "the first"}
    stage, _ = make_stage(panel, lambda role, prompt: replies[role])
    made = asyncio.run(evaluate(stage, [make_task()], make_limits(), split="test", samples=2, seed=0)).numbers
    shown = {name: value for name, value in made.items() if name.startswith("role/")}
    kinds = ("terse", "hedging", "boxed", "form_code", "form_stamp", "form_other", "similarity", "first_strategies")
    assert {
        role: {kind: shown[name] for kind in kinds if (name := f"role/{role}/{kind}") in shown} for role in panel.roles
    } == {
        "poet": {"hedging": 1.0, "similarity": 1.0},
        "censor": {"hedging": 0.0, "boxed": 1.0, "form_code": 0.0, "form_stamp": 1.0, "form_other": 0.0},
        "editor": {"hedging": 0.0, "terse": 1.0},
        "muse": {"hedging": 0.0, "first_strategies": 1.0},
    }


def test_episodes_without_a_call_have_no_shape():
    assert shape([make_group(make_episode(error="gone"))]) == {}
    assert not [name for name in episode_numbers([make_group(make_episode())]) if name.startswith("role/")]
