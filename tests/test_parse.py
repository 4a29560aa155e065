"""A parser never guesses: what is not plainly chosen, judged or proposed is None."""

import pytest

from counterpoint.episode import CallKey, Unreadable
from counterpoint.workflows._parse import read_index, read_strategies, read_verdict
from counterpoint.workflows.base import Reply


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (r"The second is right: \boxed{2}", 1),
        (r"\boxed{ 3 }", 2),
        (r"\boxed{2}, I say \boxed{2}.", 1),
        (r"\boxed{2} and once more \boxed{02}", 1),
        (r"Solution 1 is wrong because 3 + 4 is 7. \boxed{2}", 1),
        (r"\boxed{39}", 38),
        (r"\boxed{0}", -1),
        (r"So it is $\boxed 2$.", 1),
        (r"\boxed {2} is \boxed 2", 1),
        (r"As \boxed notation says: \boxed{2}", 1),
    ],
)
def test_a_box_with_a_number_is_a_choice_counted_from_zero(text, index):
    assert read_index(text) == index


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Solution 2",
        "2",
        r"\boxed{2} so \boxed{3}",
        r"\boxed{2} or \boxed{none}",
        r"\boxed{2} or \boxed{12345}",
        r"\boxed{-1}",
        r"\boxed{2.0}",
        r"\boxed{two}",
        r"\boxed{Solution 2}",
        r"\boxed{2, 3}",
        r"\boxed{}",
        r"\boxed{2",
        r"\boxed{2} and \boxed{",
        r"\boxed{{2}}",
        "boxed{2}",
    ],
)
def test_whatever_else_is_no_choice(text):
    assert read_index(text) is None


@pytest.mark.parametrize("text", [r"\boxed{" * 100_000, r"\boxed{" + " " * 100_000, r"\boxed{1" * 100_000], ids=len)
def test_hostile_text_is_no_choice_either(text):
    assert read_index(text) is None


def test_the_answer_of_a_solution_is_not_taken_for_its_number():
    drafts = [Reply(CallKey("generator", slot, 0), "", []) for slot in range(3)]
    for draft in drafts:
        draft.answers("39")
    reply = Reply(CallKey("aggregator", 0, 0), r"Solution 1 is wrong, so the answer is \boxed{39}", [])
    assert reply.chooses(drafts, read_index(reply.text)) is None
    assert isinstance(reply.claim, Unreadable)


# Verdicts


@pytest.mark.parametrize(
    "form",
    [
        r"\boxed{%s}",
        r"\boxed{ %s }",
        r"\boxed{\text{%s}}",
        r"\boxed{\text{ %s } }",
        r"\boxed{\textbf{%s}}",
        r"\boxed{\textrm{%s}}",
        r"The last step is incorrect, or is it correct? \boxed{%s} is my verdict.",
        r"\boxed{%s}, I say \boxed{%s}.",
        r"\boxed{%s} \boxed{\text{%s}}",
        r"\boxed {%s}",
        r"$\boxed\text{%s}$",
    ],
)
@pytest.mark.parametrize("write", [str.lower, str.capitalize, str.upper])
@pytest.mark.parametrize(("word", "verdict"), [("correct", True), ("incorrect", False)])
def test_a_boxed_word_is_a_verdict(form, write, word, verdict):
    assert read_verdict(form.replace("%s", write(word))) is verdict


@pytest.mark.parametrize(
    "text",
    [
        "",
        "correct",
        "It is correct.",
        r"\boxed{correct} or \boxed{incorrect}",
        r"\boxed{incorrect}? No: \boxed{correct}",
        r"\boxed{correct} and the answer is \boxed{39}",
        r"\boxed{39}",
        r"\boxed{yes}",
        r"\boxed{true}",
        r"\boxed{not correct}",
        r"\boxed{correct or incorrect}",
        r"\boxed{correctly}",
        r"\boxed{in correct}",
        r"\boxed{}",
        r"\boxed{correct",
        r"\boxed{correct} \boxed{",
        r"\boxed{\boxed{correct}}",
        r"\text{correct}",
        "boxed{correct}",
    ],
)
def test_whatever_else_is_no_verdict(text):
    assert read_verdict(text) is None


# Strategies

TWO = ["count forward", "count back"]


@pytest.mark.parametrize(
    "text",
    [
        "Strategy 1: count forward\nStrategy 2: count back",
        "STRATEGY 1: count forward\nstrategy 2: count back",
        "Strategy 1. count forward\nStrategy 2. count back",
        "**Strategy 1:** count forward\n**Strategy 2:** count back",
        "**Strategy 1**: count forward\n\n__Strategy 2__: count back",
        "*Strategy 1:* count forward\n*Strategy 2:* count back",
        "### Strategy 1: count forward\n### Strategy 2: count back",
        "## **Strategy 1:** count forward\n\n## **Strategy 2:** count back\n",
        "Here they are.\n\n  Strategy 1: count forward\n\tStrategy 2: count back",
        "Strategy 1:\ncount forward\n\nStrategy 2:\ncount back\n\n",
        "Strategy 1: count forward\r\nStrategy 2: count back\r\n",
        "Strategy 01: count forward\nStrategy 02 : count back",
        "Strategy\t1:count forward\nStrategy  2:count back",
    ],
)
def test_numbered_strategies_are_read_in_many_forms(text):
    assert read_strategies(text, 3) == TWO


def test_a_strategy_may_have_several_lines_and_name_another():
    text = "Strategy 1: add.\nAs always.\nStrategy 2: the opposite of strategy 1: subtract."
    assert read_strategies(text, 3) == ["add.\nAs always.", "the opposite of strategy 1: subtract."]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_strategies_beyond_the_most_are_left_out(most):
    text = "Strategy 1: a\nStrategy 2: b\nStrategy 3: c"
    assert read_strategies(text, most) == ["a", "b", "c"][:most]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Add the units, then the tens.",
        "1. add\n2. subtract",
        "- add the units first\n- add the tens first",
        "Strategy: add",
        "Strategy one: add",
        "Strategy 1 add",
        "My strategy 1: add",
        "Strategy 2: b\nStrategy 1: a",
        "Strategy 2: b",
        "Strategy 0: a\nStrategy 1: b",
        "Strategy 1: a\nStrategy 3: c",
        "Strategy 1: a\nStrategy 1: b",
        "Strategy 1: a\nStrategy 2: b\nStrategy 1: c",
        "Strategy 1:",
        "Strategy 1:\nStrategy 2: b",
        "Strategy 1: a\nStrategy 2:",
        "Strategy 1: a\nStrategy 2:  \n\nStrategy 3: c",
        "**Strategy 1:**\n**Strategy 2:** b",
        "### Strategy 1: ***\n### Strategy 2: b",
        "Strategy 12345: a",
        "Strategy -1: a",
        r"The answer is \boxed{39}",
    ],
)
def test_whatever_else_is_no_strategy(text):
    assert read_strategies(text, 3) == []


def test_a_strategy_beyond_the_most_that_says_nothing_spoils_the_proposal_too():
    assert read_strategies("Strategy 1: a\nStrategy 2:", 1) == []


@pytest.mark.parametrize("piece", [r"\boxed{", "Strategy 1: ", "Strategy 1:\n", "strategy ", "* ", "#", "\n", "1" * 5])
def test_hostile_text_is_no_verdict_and_no_list_of_strategies(piece):
    text = piece * 20_000
    assert read_verdict(text) is None
    assert read_index(text) is None
    assert len(read_strategies(text, 3)) <= 1


def test_an_unclosed_box_is_no_verdict():
    assert read_verdict(r"\boxed{\text{correct}") is None
    assert read_verdict(r"\boxed{correct}}") is True


def test_marks_around_a_strategy_are_not_part_of_it_and_a_decimal_is_no_heading():
    assert read_strategies("**Strategy 1: add**\n**Strategy 2: guess**", 3) == ["add", "guess"]
    assert read_strategies("Strategy 1.5: half", 3) == []
