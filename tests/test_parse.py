"""A parser never guesses: a number that is not plainly chosen is no choice."""

import pytest

from counterpoint.episode import CallKey, Unreadable
from counterpoint.workflow import Reply
from counterpoint.workflows._parse import read_index


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
