"""A judge of the user's own: a Python function, in a process that can be killed."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial

import numpy as np
import pytest
from facts import make_task

from counterpoint import family
from counterpoint.errors import ConfigError, TaskError
from counterpoint.family import name_of
from counterpoint.judges import build_judge
from counterpoint.judges.base import Judge
from counterpoint.judges.function.judge import FunctionJudge
from counterpoint.judges.text import TextJudge
from counterpoint.options import Spec
from counterpoint.task import RIGHT, Score, as_score, not_judged

REWARDS = textwrap.dedent("""\
    import asyncio
    import os
    import time

    from counterpoint.task import Score

    def same(answer, key):
        return answer == key

    def partly(answer: str, key: str, *, worth: float = 0.3) -> float:
        return worth if answer != key else 1.0

    def with_problem(answer, key, problem):
        return float(problem == "what?")

    def given(answer, key):
        score = Score(reward=0.5, parts={"a": 1}, reason="so")
        return {"none": None, "text": "yes", "much": 1.5, "score": score}[answer]

    def raises(answer, key):
        values = {}
        return values[answer]

    def ends(answer, key):
        os._exit(7)

    def exits(answer, key):
        raise SystemExit("enough")

    def spins(answer, key):
        while answer == "slow":
            pass
        return 1.0

    def sleeps(answer, key):
        time.sleep(1e9 if answer == "slow" else 0)
        return 1.0

    def where(answer, key):
        return Score(reward=1.0, reason=f"{os.getpid()} {os.getcwd()} {os.environ.get('SOME_API_KEY')}")

    def prints(answer, key):
        print('{"reward": 0.0}')
        return 1.0

    def reads(answer, key):
        return float(len(open(0).read()) == 0)

    async def later(answer, key, *, wait: float = 0.2):
        await asyncio.sleep(float(answer) if key == "seconds" else wait)
        return 1.0

    async def blocks(answer, key):
        await asyncio.sleep(0.05)
        while answer == "slow":
            pass
        return 1.0

    async def stays(answer, key):
        while answer == "slow":
            try:
                await asyncio.sleep(1e9)
            except asyncio.CancelledError:
                pass
        return 1.0

    async def fails(answer, key):
        raise ValueError(answer)

    def wrong_names(answer):
        return 1.0

    def third(answer, key, text):
        return 1.0

    def kept(answer, key, *, seconds: float = 1.0):
        return 1.0

    class Strict(Exception):
        pass
""")


@pytest.fixture(scope="module", autouse=True)
def rewards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewards")
    (folder / "own_rewards.py").write_text(REWARDS)
    family.look_in(folder)
    yield folder
    family._folders.remove(str(folder.resolve()))


def line_of(text):
    return 1 + next(number for number, line in enumerate(REWARDS.splitlines()) if text in line)


def judge_named(name, **options):
    return build_judge(Spec(name=f"own_rewards:{name}", **options))


def scores(judge, *pairs, problem="what?"):
    """The scores of (answer, key) pairs, asked all at once; afterwards no process and no thread is left."""

    async def judged():
        async with judge:
            found = await asyncio.gather(*(judge.for_problem(problem)(*pair) for pair in pairs))
            return found, judge._pool.processes()

    found, processes = asyncio.run(judged())
    assert judge._pool.processes() == ()
    assert not any(runs(process) for process in processes)
    assert not [one.name for one in threading.enumerate() if "own_rewards" in one.name]
    return found


def runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def rewards_of(found):
    return [score.reward for score in found]


def test_a_function_scores_answers_right_wrong_or_partly():
    assert rewards_of(scores(judge_named("same"), ("1", "1"), ("2", "1"))) == [1.0, 0.0]
    assert rewards_of(scores(judge_named("partly"), ("1", "1"), ("2", "1"))) == [1.0, 0.3]


def test_its_options_come_from_its_signature():
    assert rewards_of(scores(judge_named("partly", worth=0.7), ("2", "1"))) == [0.7]
    with pytest.raises(ConfigError, match=r"unknown key in \[judge\] 'wort'; did you mean 'worth'"):
        judge_named("partly", wort=0.7)
    with pytest.raises(ConfigError, match=r"judge\.worth = 'much'"):
        judge_named("partly", worth="much")
    with pytest.raises(ConfigError, match="takes no options; worth given"):
        judge_named("same", worth=1.0)


def test_it_may_see_the_problem():
    assert rewards_of(scores(judge_named("with_problem"), ("1", "1"))) == [1.0]
    assert rewards_of(scores(judge_named("with_problem"), ("1", "1"), problem="else")) == [0.0]


def test_what_it_returns_is_a_reward_or_a_reason():
    none, text, much, score = scores(judge_named("given"), *((name, "") for name in ("none", "text", "much", "score")))
    assert rewards_of([none, text, much, score]) == [None, None, None, 0.5]
    assert none.reason == "own_rewards:given returned None"
    assert "'yes', a str, instead of a number in [0, 1]" in text.reason
    assert "1.5, which is outside [0, 1]" in much.reason
    assert (dict(score.parts), score.reason) == ({"a": 1.0}, "so")


def test_an_error_is_not_judged_and_names_type_message_and_line():
    (found,) = scores(judge_named("raises"), ("no", ""))
    line = line_of("return values[answer]")
    assert (found.reward, found.reason) == (
        None,
        f"own_rewards:raises raised KeyError: 'no' (own_rewards.py, line {line})",
    )
    (found,) = scores(judge_named("exits"), ("no", ""))
    assert "raised SystemExit: enough" in found.reason
    (found,) = scores(judge_named("fails"), ("odd", ""))
    assert f"raised ValueError: odd (own_rewards.py, line {line_of('raise ValueError')})" in found.reason


@pytest.mark.parametrize("name", ["spins", "sleeps"])
def test_a_call_that_never_returns_is_not_judged_and_the_others_are(name):
    slow, *others = scores(judge_named(name, seconds=0.5, workers=1), ("slow", ""), ("1", ""), ("2", ""))
    assert slow.reward is None
    assert "took longer than 0.5 s (own_rewards.py, line" in slow.reason
    assert rewards_of(others) == [1.0, 1.0]


def test_a_function_that_ends_its_process_is_not_judged():
    judge = judge_named("ends")
    (found,) = scores(judge, ("1", ""))
    assert found.reward is None
    assert found.reason == "own_rewards:ends ended its process: it ended with status 7"
    assert judge._pool.started == 2


def test_a_plain_function_runs_in_several_processes_at_once():
    judge = judge_named("where", workers=2)
    found = scores(judge, *((str(number), "") for number in range(40)))
    assert 1 <= len({score.reason.split()[0] for score in found}) <= 2
    assert judge._pool.started <= 2


def test_it_runs_here_with_our_environment(rewards, monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_API_KEY", "mine")
    monkeypatch.chdir(tmp_path)
    (found,) = scores(judge_named("where"), ("1", ""))
    process, folder, key = found.reason.split()
    assert (folder, key) == (str(tmp_path), "mine")
    assert int(process) != os.getpid()


def test_what_it_prints_and_reads_does_not_touch_the_protocol():
    assert rewards_of(scores(judge_named("prints"), ("1", ""))) == [1.0]
    assert rewards_of(scores(judge_named("reads"), ("1", ""))) == [1.0]


def test_async_calls_run_many_at_once_in_one_process():
    began = time.perf_counter()
    judge = judge_named("later", wait=0.5, at_once=16)
    assert rewards_of(scores(judge, *((str(number), "") for number in range(32)))) == [1.0] * 32
    assert judge._pool.started == 1
    assert time.perf_counter() - began < 16 * 0.5


def test_an_async_call_that_takes_too_long_ends_alone():
    judge = judge_named("later", seconds=0.5)
    slow, quick = scores(judge, ("60", "seconds"), ("0", "seconds"))
    assert (slow.reward, quick.reward) == (None, 1.0)
    assert slow.reason == "own_rewards:later took longer than 0.5 s"
    assert judge._pool.started == 1


def test_an_async_call_that_never_awaits_is_found_out_and_the_others_are_asked_again():
    judge = judge_named("blocks", seconds=1.0)
    slow, *others = scores(judge, ("slow", ""), *((str(number), "") for number in range(4)))
    assert slow.reward is None
    assert "took longer than 1 s (own_rewards.py, line" in slow.reason
    assert rewards_of(others) == [1.0] * 4


def test_an_async_call_that_refuses_to_be_cancelled_is_killed(monkeypatch):
    monkeypatch.setattr("counterpoint.judges.function.judge._GRACE", 0.5)
    slow, other = scores(judge_named("stays", seconds=0.5), ("slow", ""), ("1", ""))
    assert (slow.reward, other.reward) == (None, 1.0)
    assert "was killed: no word after 1 s" in slow.reason


def test_closing_ends_what_hangs():
    async def judged():
        judge = judge_named("sleeps", seconds=600.0, workers=1)
        asked = [asyncio.create_task(judge.judge("slow", str(number))) for number in range(3)]
        while not judge._pool.processes():
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        (process,) = judge._pool.processes()
        await judge.close()
        return await asyncio.gather(*asked), process

    found, process = asyncio.run(judged())
    assert [score.reason for score in found] == ["the judge was closed"] * 3
    assert not runs(process)


ORPHANED = """
import asyncio, os, sys
from counterpoint import family
from counterpoint.config import Spec
from counterpoint.judges import build_judge
from pathlib import Path
family.look_in(Path(sys.argv[1]))
async def main():
    judge = build_judge(Spec(name="own_rewards:" + sys.argv[2], seconds=2.0))
    await judge.start()
    asking = asyncio.create_task(judge.judge("slow", ""))
    await asyncio.sleep(0.5)
    print(*judge._pool.processes(), flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["spins", "blocks"])
def test_a_call_that_never_returns_does_not_outlive_a_parent_that_is_killed(rewards, name):
    command = [sys.executable, "-c", ORPHANED, str(rewards), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    (process,) = map(int, done.stdout.split())
    until = time.monotonic() + 30
    while runs(process) and time.monotonic() < until:
        time.sleep(0.1)
    assert not runs(process)


def test_a_lambda_and_a_closure_are_sent_as_they_are(monkeypatch):
    monkeypatch.setattr(family, "_given", {})
    half = 0.5
    name = name_of(lambda answer, key: half if answer == key else 0.0, "judge")
    assert name == "given:judge"
    assert rewards_of(scores(build_judge(Spec(name=name)), ("1", "1"), ("2", "1"))) == [0.5, 0.0]


def test_an_object_that_can_be_called_and_a_function_with_arguments_bound_are_judges():
    def worth(answer, key, *, much):
        return much

    class Worth:
        async def __call__(self, answer, key):
            return 0.25

    assert rewards_of(scores(FunctionJudge("own_rewards", [partial(worth, much=0.75)]), ("1", "1"))) == [0.75]
    assert rewards_of(scores(build_judge(Spec(name=name_of(Worth(), "judge"))), ("1", "1"))) == [0.25]


def test_what_cannot_be_sent_is_refused():
    lock = threading.Lock()

    def locked(answer, key):
        with lock:
            return 1.0

    with pytest.raises(ConfigError, match=r"cannot be sent to the process that runs it: TypeError: .*locks"):
        build_judge(Spec(name=name_of(locked, "judge")))


def test_what_cannot_be_imported_there_is_told_at_the_start(tmp_path):
    (tmp_path / "gone_rewards.py").write_text("def score(answer, key):\n    return 1.0\n")
    family.look_in(tmp_path)
    judge = build_judge(Spec(name="gone_rewards:score"))
    (tmp_path / "gone_rewards.py").write_text("raise RuntimeError('not any more')\n")
    try:
        with pytest.raises(ConfigError, match="does not start in a process of its own: RuntimeError: not any more"):
            asyncio.run(judge.start())
    finally:
        family._folders.remove(str(tmp_path.resolve()))
        sys.modules.pop("gone_rewards")
    assert judge._pool.processes() == ()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wrong_names", {}, r"takes \(answer\): it must take \(answer, key\) or \(answer, key, problem\)"),
        ("third", {}, r"takes \(answer, key, text\): it must take"),
        ("kept", {}, "has an option 'seconds', but seconds, workers, at_once are the limits of its process"),
        ("same", {"at_once": 4}, r"at_once is for async functions; 'own_rewards:same' is a plain one"),
        ("same", {"seconds": 0}, r"judge\.seconds = 0: .*greater than 0"),
        ("smae", {}, r"unknown name in own_rewards 'smae'; did you mean 'same'\?"),
    ],
)
def test_what_is_no_judge_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        judge_named(name, **options)


def test_the_name_of_a_judge_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown judge 'txt'; did you mean 'text'\?.* or my_module:my_judge"):
        build_judge(Spec(name="txt"))
    with pytest.raises(ConfigError, match="takes no options"):
        build_judge(Spec(name="task", seconds=3))


def test_task_is_no_judge_at_all():
    assert build_judge(Spec(name="task")) is None


class Everything(Judge):
    async def judge(self, answer, key):
        return RIGHT


def test_a_judge_made_by_hand_is_used_as_it_is():
    assert isinstance(build_judge(Spec(name=name_of(Everything, "judge"))), Everything)
    given = TextJudge()
    assert build_judge(Spec(name=name_of(given, "judge"))) is given


@pytest.mark.parametrize(
    ("value", "reward"),
    [
        (True, 1.0),
        (False, 0.0),
        (0.25, 0.25),
        (1, 1.0),
        (np.float32(0.5), 0.5),
        (np.bool_(True), 1.0),
        (np.array(0.5), 0.5),
        (None, None),
        ("1", None),
        (float("nan"), None),
        (-1, None),
        (np.array([1.0]), None),
        (not_judged("why"), None),
    ],
)
def test_a_result_stands_for_a_score(value, reward):
    score = as_score(value)
    assert score.reward == reward
    assert score.reason or reward is not None


def test_a_score_of_numbers_of_numpy_is_one_of_plain_numbers():
    found = Score(reward=np.float32(0.5), parts={"a": np.int64(2)}, reason="half \ud83d")
    assert json.dumps([found.reward, found.parts, found.reason]) == r'[0.5, {"a": 2.0}, "half \\ud83d"]'
    assert Score(reward=np.bool_(True), reason=None) == RIGHT


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reward": "1"}, "a reward must be a number, not '1', a str"),
        ({"reward": 1.0, "parts": {"a": "b"}}, "part 'a' of a score must be a number, not 'b', a str"),
        ({"reward": 1.0, "parts": None}, "the parts of a score must be numbers by name, not NoneType"),
        ({"reward": 1.0, "reason": ValueError("x")}, "the reason of a score must be text, not ValueError"),
    ],
)
def test_a_score_of_something_else_is_refused(fields, message):
    with pytest.raises(TaskError, match=f"^{message}$"):
        Score(**fields)


@pytest.mark.parametrize("judge", [lambda answer, key: answer == key, lambda answer, key: Score(reward=1.0)])
def test_a_task_may_have_a_plain_function_as_its_judge(judge):
    task = make_task("x", key="1", judge=judge)
    assert asyncio.run(task.verify("1")) == RIGHT
