"""What part of an episode's calls answers by itself: outcomes worked by hand from hand-made episodes."""

import pytest
from facts import make_call, make_episode, make_group, user, vote

from counterpoint.analysis.intervals import paired_interval
from counterpoint.analysis.recorded import (
    BEST,
    against_the_team,
    first_answers,
    majority_value,
    recorded,
    tokens_per_episode,
)
from counterpoint.episode import Answer, CallKey, Choice, Proposal, Unreadable, Verdict
from counterpoint.evaluation import count


def outcomes(groups):
    return {control.name: control.outcomes for control in recorded(groups)}


def asked(*texts):
    return {"messages": tuple(user(text) for text in texts)}


def test_voting_is_compared_with_one_draft_and_with_the_majority_of_its_drafts():
    groups = [
        make_group(vote([("2", 1.0), ("3", 0.0), ("2", 1.0)], 1, task="a")),  # chose the wrong one of 2, 3, 2
        make_group(vote([("4", 0.0), ("5", 0.0), ("2", 1.0)], 2, task="b")),  # a tie of three
    ]
    assert outcomes(groups) == {
        "one answer of generator": {"a": [pytest.approx(2 / 3)], "b": [pytest.approx(1 / 3)]},
        "the majority of 3 answers of generator": {"a": [1.0], "b": [pytest.approx(1 / 3)]},
        BEST: {"a": [1.0], "b": [1.0]},
    }
    tokens = {control.name: control.tokens for control in recorded(groups)}
    assert tokens == {"one answer of generator": 3, "the majority of 3 answers of generator": 9, BEST: 12}


def refined(task="t", first=0.0, second=1.0):
    draft = make_call("generator", 0, 0, claim=Answer("3"), score=first, text="it is 3")
    verdict = make_call(
        "evaluator", 0, 0, claim=Verdict(draft.key, False), score=1.0, **asked("Is this right? it is 3")
    )
    again = make_call("generator", 0, 1, claim=Answer("2"), score=second, **asked("it is 3", "No. Again."))
    return make_episode(draft, verdict, again, reward=second, task=task)


def test_a_refinement_is_compared_with_its_first_draft():
    groups = [make_group(refined("a")), make_group(refined("b", 1.0, 1.0))]
    assert outcomes(groups) == {"one answer of generator": {"a": [0.0], "b": [1.0]}, BEST: {"a": [1.0], "b": [1.0]}}
    assert recorded(groups)[0].tokens == 3


def orchestrated(scores=(1.0, 1.0, 0.0), answers=("2", "2", "3"), final=0.0):
    keys = tuple(CallKey("worker", slot, 0) for slot in range(len(answers)))
    plan = make_call("orchestrator", claim=Proposal(keys), score=0.5)
    workers = [
        make_call(
            "worker", slot, 0, claim=Answer(text), score=score, text=f"plan {slot}: {text}", **asked(f"way {slot}")
        )
        for slot, (text, score) in enumerate(zip(answers, scores, strict=True))
    ]
    together = asked("\n".join(worker.text for worker in workers))
    last = make_call("synthesizer", claim=Answer("3"), score=final, **together)
    return make_episode(plan, *workers, last, reward=final, task="a")


def test_workers_are_voters_too_and_the_synthesizer_who_read_them_is_none():
    found = recorded([make_group(orchestrated())])
    assert {one.name: one.outcomes["a"] for one in found} == {
        "one answer of worker": [pytest.approx(2 / 3)],
        "the majority of 3 answers of worker": [1.0],
        BEST: [1.0],
    }
    assert [one.tokens for one in found] == [6, 12, 15]  # the orchestrator's call is needed for each


def test_episodes_with_fewer_first_answers_say_so_and_those_without_one_are_wrong():
    none = make_episode(
        make_call("orchestrator", claim=Unreadable("no strategies"), score=0.0), task="b", answer=None, reward=0.0
    )
    found = outcomes([make_group(orchestrated()), make_group(none)])
    assert found["the majority of up to 3 answers of worker"] == {"a": [1.0], "b": [0.0]}
    assert found["one answer of worker"]["b"] == [0.0]


def test_voters_of_different_roles_vote_together():
    drafts = [make_call(f"voter-{who}", claim=Answer("2" if who else "3"), score=float(who > 0)) for who in range(3)]
    choice = make_call("aggregator", claim=Choice(tuple(draft.key for draft in drafts), 0), score=0.0)
    found = outcomes([make_group(make_episode(*drafts, choice, reward=0.0))])
    assert found["one answer of voter-0"] == {"t": [0.0]}
    assert found["the majority of 3 answers of voter-0 and voter-1 and voter-2"] == {"t": [1.0]}


def test_a_single_call_has_no_part_and_a_majority_is_not_compared_with_itself():
    single = make_episode(make_call(claim=Answer("2"), score=1.0))
    assert recorded([make_group(single)]) == ()
    voters = [make_call("generator", slot, claim=Answer("2"), score=1.0) for slot in range(3)]
    assert list(outcomes([make_group(make_episode(*voters))])) == ["one answer of generator", BEST]


def test_an_answer_that_quotes_the_problem_by_chance_is_still_a_first_answer():
    drafts = [make_call("generator", slot, claim=Answer("1"), score=0.0, text="1") for slot in range(2)]  # asks 1 + 1
    alike = make_call("rival", claim=Answer("2"), score=1.0)  # the same prompt, another role
    assert first_answers(make_episode(*drafts, alike), {"generator", "rival"}) == [*drafts, alike]


def test_unjudged_episodes_and_answers_are_left_out_and_failed_episodes_are_not():
    unjudged = refined("a", None, 1.0)
    failed = make_episode(make_call(claim=Answer("2"), score=1.0), make_call("evaluator"), task="b", error="gone")
    found = outcomes([make_group(unjudged), make_group(failed)])
    assert found["one answer of generator"] == {"b": [1.0]}


def test_the_majority_by_hand():
    assert majority_value([("Paris", 1.0), (" paris ", 0.5), ("Rome", 0.0)]) == 0.75  # partial rewards are kept
    assert majority_value([("a", 1.0), ("b", 0.0)]) == 0.5
    assert majority_value([(None, 0.0), (None, 0.0), ("a", 1.0)]) == 1.0
    assert majority_value([(None, 0.0)]) == 0.0
    assert majority_value([]) == 0.0


def test_a_line_of_the_evaluations_holds_the_controls_and_compares_them_with_the_team():
    groups = [make_group(refined("a")), make_group(refined("b", 1.0, 1.0)), make_group(refined("c", 1.0, 0.0))]
    row = count(groups, "test").row(30)
    draft, best = against_the_team(row)
    assert draft.difference == paired_interval([1.0, 0.0, -1.0])  # the team minus one draft
    assert draft.accuracy.value == pytest.approx(2 / 3)
    assert best.accuracy.value == 1.0
    assert against_the_team({key: value for key, value in row.items() if key != "controls"}) == ()
    assert tokens_per_episode(row["numbers"]) == pytest.approx(9)
