"""Example episodes for reports, and two runs on the same tasks."""

from dataclasses import replace

import pytest
from facts import make_call, make_episode, make_group, user, vote

from counterpoint.analysis.signatures.base import Finding
from counterpoint.episode import Answer, CallKey, Choice, Unreadable, Verdict, write_episodes
from counterpoint.errors import RunError
from counterpoint.recipe import config_from
from counterpoint.reports.episodes.examples import examples_of, examples_of_finding, within_budget
from counterpoint.reports.episodes.listing import lines_of, read_episode
from counterpoint.reports.episodes.pairing import pair_runs, pair_view
from counterpoint.reports.episodes.view import episode_view
from counterpoint.reports.markup import environment
from counterpoint.run import Run
from counterpoint.task import not_judged

FACTS = {"routing": {"generator": "g", "aggregator": "a", "evaluator": "a"}}
DRAFT = CallKey("generator", 0, 0)


def judged(correct, draft, *, task="t", rollout=0, team=None):
    """A draft that is right or wrong, and a verdict on it."""
    calls = (
        make_call(claim=Answer("2"), score=draft, text="a draft of some length"),
        make_call("evaluator", claim=Verdict(DRAFT, correct), score=float(correct == bool(draft))),
    )
    return make_episode(*calls, reward=draft if team is None else team, task=task, rollout=rollout)


def run_with(path, *episodes, step=3, split="test"):
    """A run with these episodes in the evaluation of a step, or in a training step, and with an earlier evaluation."""
    with Run.create(path, config_from({"workflow": "voting"}), FACTS) as run:
        groups = [make_group(one) for one in episodes]
        if split is None:
            run.add_episodes(step, groups)
            return run
        for number, accuracy in ((0, 0.0), (step, 1.0), (step + 1, 0.0)):
            row = {"step": number, "accuracy": accuracy, "outcomes": {"t": [accuracy]}, "roles": {}, "numbers": {}}
            for one in ("validation", split):
                run.add_evaluation({**row, "split": one}, groups if (number, one) == (step, split) else [])
    return run


def finding(name, where="evaluator", last=5):
    return Finding(signature=name, where=where, steps=(1, last), evidence=())


def test_the_examples_of_a_run_are_one_that_helped_one_that_hurt_and_one_wrong_unanimously(tmp_path):
    helped = vote([("5", 0.0), ("4", 1.0)], 1, task="helped")
    hurt = vote([("4", 1.0), ("5", 0.0)], 1, task="hurt")
    alike = vote([("5", 0.0), (" 5", 0.0)], 0, task="alike")
    right = vote([("4", 1.0), ("4", 1.0)], 0, task="right")
    argued = vote([("5", 0.0), ("6", 0.0)], 0, task="argued")
    run = run_with(tmp_path / "run", right, argued, helped, replace(helped, task="helped too"), hurt, alike)
    found = examples_of(run)
    assert [(one.kind, one.view.task, one.step, one.split) for one in found] == [
        ("helped", "helped", 3, "test"),
        ("hurt", "hurt", 3, "test"),
        ("unanimous", "alike", 3, "test"),
    ]
    assert found[0].why == (
        "the first answer, of generator slot 0, was wrong and the team's right; one of 2 such episodes among 6 of the"
        " test evaluation at step 3"
    )
    assert "the only such episode" in found[1].why
    assert len({one.view.anchor for one in found}) == 3


def test_an_episode_whose_replies_are_whole_is_taken_before_one_that_was_cut_off(tmp_path):
    helped = vote([("5", 0.0), ("4", 1.0)], 1, task="whole")
    cut_off = tuple(replace(call, finish="length") for call in helped.calls)
    run = run_with(tmp_path / "run", replace(helped, calls=cut_off, task="cut"), helped)
    assert [one.view.task for one in examples_of(run)] == ["whole"]


def test_without_evaluations_examples_are_of_the_last_training_step_and_have_their_credit(tmp_path):
    run = run_with(tmp_path / "run", vote([("5", 0.0), ("4", 1.0)], 1), step=2, split=None)
    (found,) = examples_of(run)
    assert (found.step, found.split, found.view.has_credit) == (2, None, True)


def test_a_run_without_episodes_has_no_examples(tmp_path):
    with Run.create(tmp_path / "run", config_from({"workflow": "single"}), {}) as run:
        assert examples_of(run) == examples_of_finding(run, finding("rubber stamp")) == []


def test_a_run_whose_episodes_are_damaged_has_no_examples(tmp_path):
    run = run_with(tmp_path / "run", vote([("5", 0.0), ("4", 1.0)], 1))
    (run.path / "evaluations" / "test" / "000003.parquet").write_bytes(b"noise")
    assert examples_of(run) == []


def test_an_approved_wrong_draft_is_wrong_unanimously(tmp_path):
    found = examples_of(run_with(tmp_path / "run", judged(False, 0.0, task="argued"), judged(True, 0.0, task="agreed")))
    assert [(one.kind, one.view.task) for one in found] == [("unanimous", "agreed")]


CHOICE = Choice((DRAFT, CallKey("generator", 1, 0)), 0)
SIGNS = {
    "rubber stamp": judged(True, 0.0),
    "over-rejection": judged(False, 1.0),
    "unreadable replies": make_episode(make_call("evaluator", claim=Unreadable("no verdict"), score=0.0)),
    "cut-off replies": make_episode(make_call("evaluator", finish="length")),
    "selection blindness": make_episode(
        make_call(slot=0, claim=Answer("5"), score=0.0),
        make_call(slot=1, claim=Answer("4"), score=1.0),
        make_call("evaluator", claim=CHOICE, score=0.0),
        reward=0.0,
    ),
    "voter collapse": make_episode(*(make_call("evaluator", n, claim=Answer("5"), score=0.0) for n in range(2))),
    "lazy role": make_episode(
        make_call(slot=0, claim=Answer("5"), score=0.0), make_call(slot=1, claim=Answer("4"), score=1.0), reward=0.0
    ),
    "failed episodes": make_episode(make_call(), error="ValueError", answer=None),
    "unjudged answers": replace(make_episode(make_call()), score=not_judged("no judge")),
    "echo": make_episode(make_call("evaluator", text="said before", messages=(user("He: said before, twice."),))),
}


@pytest.mark.parametrize("name", SIGNS)
def test_a_finding_has_the_episodes_that_show_it_and_no_others(tmp_path, name):
    plain = make_episode(make_call("evaluator", claim=Answer("2"), score=1.0), task="plain")
    shows = replace(SIGNS[name], error_kind="workflow") if name == "failed episodes" else SIGNS[name]
    twins = [replace(shows, task=f"shows {number}") for number in range(3)]
    run = run_with(tmp_path / "run", plain, *twins)
    found = examples_of_finding(run, finding(name))
    assert [one.view.task for one in found] == ["shows 0", "shows 1"]
    assert all("one of 3 such episodes among 4" in one.why and one.kind == name for one in found)
    other = examples_of_finding(run, finding(name, where="nobody"))
    assert bool(other) == (name in ("failed episodes", "unjudged answers", "lazy role"))


def test_a_finding_of_earlier_steps_takes_episodes_of_those(tmp_path):
    run = run_with(tmp_path / "run", judged(True, 0.0), step=6, split=None)
    assert examples_of_finding(run, finding("rubber stamp", last=5)) == []
    assert len(examples_of_finding(run, finding("rubber stamp", last=6))) == 1


def test_a_signature_that_no_episode_shows_has_no_examples(tmp_path):
    assert examples_of_finding(run_with(tmp_path / "run", judged(True, 0.0)), finding("cliff", where="team")) == []


def test_the_scarcest_examples_come_first_where_not_all_fit(tmp_path):
    helped = [vote([("5", 0.0), ("4", 1.0)], 1, task="t")] * 3
    runs = [run_with(tmp_path / f"run {number}", one) for number, one in enumerate(helped)]
    rare = run_with(tmp_path / "rare", vote([("4", 1.0), ("5", 0.0)], 1))
    every = [one for run in [*runs, rare] for one in examples_of(run)]
    kept, left_out = within_budget(every, lambda one: 100, budget=250)
    assert [(one.kind, one.run) for one in kept] == [("helped", "run 0"), ("hurt", "rare")]
    assert left_out == 2
    macro = environment().get_template("_episode.html").module.episode
    assert len(within_budget(every, lambda one: len(macro(one.view).encode()))[0]) == 4


# Two runs


@pytest.fixture
def files(tmp_path):
    """The same three tasks in two runs: alike, right in the first alone, right in the second alone; and one more."""
    right, wrong = [("4", 1.0), ("5", 0.0)], [("4", 0.0), ("5", 0.0)]
    one = [vote(right, 0, task="alike"), vote(right, 0, task="first"), vote(wrong, 0, task="second")]
    two = [vote(right, 0, task="alike"), vote(wrong, 0, task="first"), vote(right, 0, task="second")]
    for name, episodes in (("a", one), ("b", [*two, vote(right, 0, task="new")])):
        write_episodes(tmp_path / name, 1, [make_group(episode) for episode in episodes])
    return tmp_path / "a", tmp_path / "b"


def test_tasks_that_are_right_in_one_run_alone_come_first(files):
    found = pair_runs(*files)
    assert [(one.task, one.difference) for one in found.tasks] == [("first", 1.0), ("second", -1.0), ("alike", 0.0)]
    assert found.counts == {"both": 1, "only_a": 1, "only_b": 1, "neither": 0}
    assert (found.only_a, found.only_b) == (0, 1)
    assert found.tasks[0].rollout == 0


def test_a_rollout_that_differs_is_the_one_to_look_at(tmp_path):
    right, wrong = [("4", 1.0)], [("4", 0.0)]
    for name, second in (("a", right), ("b", wrong)):
        group = make_group(vote(right, 0, rollout=0), vote(second, 0, rollout=1))
        write_episodes(tmp_path / name, 1, [group])
    (task,) = pair_runs(tmp_path / "a", tmp_path / "b").tasks
    assert (task.rollout, task.difference) == (1, 0.5)


def test_tasks_that_were_not_judged_are_not_compared(tmp_path, files):
    lost = replace(vote([("4", 1.0)], 0, task="alike"), score=not_judged("no judge"))
    write_episodes(tmp_path / "c", 1, [make_group(lost)])
    found = pair_runs(files[0], tmp_path / "c")
    assert (found.tasks, found.only_a, found.only_b) == ((), 3, 0)
    with pytest.raises(RunError):
        pair_runs(files[0], tmp_path / "gone")


def test_what_differs_between_two_episodes_comes_first(files):
    views = [episode_view(read_episode(file, "first", 0), None, anchor=file.name) for file in files]
    found = pair_view(*views, names=("one", "two"))
    assert [(fact.name, fact.differs) for fact in found.facts][:4] == [
        ("team's answer", True),
        ("reward", True),
        ("generator slot 0", True),
        ("aggregator", True),
    ]
    assert not any(fact.differs for fact in found.facts[4:])
    page = str(environment().get_template("_pair.html").module.pair(found))
    assert page.count("data-episode") == 2
    listed = (
        environment()
        .get_template("_pair.html")
        .module.paired_tasks(pair_runs(*files), ("<one>", "two"), lambda task, rollout: f"/{task}/{rollout}")
    )
    assert '<a href="/first/0"><bdi>first</bdi></a>' in listed
    assert "<bdi>&lt;one&gt;</bdi> alone" in listed


def test_calls_of_other_turns_are_compared_by_their_places():
    one = episode_view(judged(True, 1.0), None, anchor="a")
    again = make_call(turn=1, claim=Answer("2"), score=1.0)
    two = episode_view(replace(judged(True, 1.0), calls=(*judged(True, 1.0).calls, again)), None, anchor="b")
    facts = {fact.name: (fact.a, fact.b) for fact in pair_view(one, two, ("a", "b")).facts}
    assert facts["generator turn 0"] == ("answers 2", "answers 2")
    assert facts["generator turn 1"] == ("not called", "answers 2")


def test_lines_and_examples_agree_on_who_was_first(tmp_path):
    run = run_with(tmp_path / "run", vote([("5", 0.0), ("4", 1.0)], 1))
    (line,) = lines_of(run.path / "evaluations" / "test" / "000003.parquet")
    assert line.is_right
    assert line.calls[0].score == 0.0
