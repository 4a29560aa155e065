"""Hundreds of answers at once, some of which hang: the loop goes on, each is judged, nothing is left running."""

import asyncio
import os
import signal
import threading
import time

import pytest

from counterpoint.errors import ConfigError
from counterpoint.judges import _process
from counterpoint.judges.mathematics import judge
from counterpoint.judges.mathematics.judge import MathJudge

pytestmark = pytest.mark.alone

SLOW = r"\sum_{k=1}^{10^8}\lfloor\sin k\rfloor"
QUICK = [(rf"\sqrt{{{4 * n}}}", rf"2\sqrt{{{n}}}") for n in (2, 3, 5, 6, 7, 10, 11, 13, 14, 15)]


def runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def stand_in(tmp_path, monkeypatch, program):
    """Another program in place of the one that compares."""
    file = tmp_path / "worker.py"
    file.write_text(program)
    monkeypatch.setattr(judge, "_PROGRAM", file)


def test_hundreds_of_answers_at_once_leave_the_loop_free_and_nothing_running():
    async def judged():
        judge = MathJudge(workers=2, seconds=1.0)
        longest, done, seen = 0.0, asyncio.Event(), set()

        async def watch():
            nonlocal longest
            while not done.is_set():
                began = time.perf_counter()
                await asyncio.sleep(0.01)
                longest = max(longest, time.perf_counter() - began)
                seen.update(judge._pool.processes())

        async with judge:
            watching = asyncio.create_task(watch())
            pairs = [QUICK[n % len(QUICK)] for n in range(300)] + [("17", str(n)) for n in range(100)]
            pairs += [(f"{SLOW}+{n}", "5") for n in range(2)]
            scores = await asyncio.gather(*(judge.judge(*pair) for pair in pairs))
            done.set()
            await watching
            numbers = judge.numbers()
        return scores, longest, seen, numbers

    scores, longest, processes, numbers = asyncio.run(judged())
    assert [score.reward for score in scores] == [1.0] * 300 + [float(n == 17) for n in range(100)] + [0.0] * 2
    assert all("processor time" in score.reason for score in scores[-2:])
    assert longest < 1.0
    assert len(processes) >= 2
    assert not any(runs(process) for process in processes)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mathematics")]
    assert numbers["mathematics/answers"] == 402
    assert numbers["mathematics/compared"] == len(QUICK) + 2


def test_closing_while_answers_hang_ends_them_as_not_judged():
    async def judged():
        judge = MathJudge(workers=1, seconds=60.0)
        asked = [asyncio.create_task(judge.judge(f"{SLOW}+{n}", "5")) for n in range(5)]
        while not judge._pool.processes():
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        await judge.close()
        seconds = time.perf_counter() - began
        return await asyncio.gather(*asked), judge._pool.processes(), seconds

    scores, processes, seconds = asyncio.run(judged())
    assert [score.reward for score in scores] == [None] * 5
    assert processes == ()
    assert seconds < 30


def test_a_process_that_is_killed_is_replaced_and_no_answer_is_lost():
    async def judged():
        async with MathJudge(workers=1) as judge:
            first = await judge.judge(*QUICK[0])
            (process,) = judge._pool.processes()
            os.kill(process, signal.SIGKILL)
            second = await judge.judge(*QUICK[1])
            return first, second, process, judge._pool.processes()

    first, second, process, after = asyncio.run(judged())
    assert (first.reward, second.reward) == (1.0, 1.0)
    assert process not in after
    assert len(after) == 1


def test_a_process_killed_in_the_middle_of_an_answer_is_replaced_and_the_answer_asked_again(tmp_path, monkeypatch):
    program = (
        "import os, signal, sys\nprint('{\"ready\": true}', flush=True)\n"
        f"first = not os.path.exists({str(tmp_path / 'seen')!r})\nopen({str(tmp_path / 'seen')!r}, 'w').close()\n"
        "for line in sys.stdin:\n    print('{\"read\": true}', flush=True)\n"
        "    if first:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        '    print(\'{"right": true, "reason": ""}\', flush=True)\n'
    )
    stand_in(tmp_path, monkeypatch, program)

    async def judged():
        async with MathJudge(workers=1) as judge:
            return await judge.judge(*QUICK[0]), judge._pool.started

    score, started = asyncio.run(judged())
    assert (score.reward, started) == (1.0, 2)


def test_an_answer_of_which_two_processes_die_is_wrong_so_that_it_does_not_pay(tmp_path, monkeypatch):
    program = (
        "import os, signal, sys\nprint('{\"ready\": true}', flush=True)\n"
        "for line in sys.stdin:\n    print('{\"read\": true}', flush=True)\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    stand_in(tmp_path, monkeypatch, program)

    async def judged():
        async with MathJudge(workers=1) as judge:
            return await judge.judge(*QUICK[0]), judge._pool.started

    score, started = asyncio.run(judged())
    assert (score.reward, started) == (0.0, 2)
    assert "-11" in score.reason


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit(3)", "status 3"),
        ('print(\'{"error": "ModuleNotFoundError: no math_verify"}\', flush=True)', "no math_verify"),
    ],
)
def test_what_cannot_start_has_not_judged(tmp_path, monkeypatch, program, reason):
    stand_in(tmp_path, monkeypatch, program)

    async def judged():
        async with MathJudge(workers=1) as judge:
            return await judge.judge(*QUICK[0])

    score = asyncio.run(judged())
    assert score.reward is None
    assert reason in score.reason


def test_silence_on_a_busy_machine_is_not_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(_process, "_PATIENCE", 0.0)
    monkeypatch.setattr(_process, "_LEAST_PATIENCE", 0.2)
    program = (
        "import sys, time\nprint('{\"ready\": true}', flush=True)\n"
        "for line in sys.stdin:\n    print('{\"read\": true}', flush=True)\n    time.sleep(60)\n"
    )
    stand_in(tmp_path, monkeypatch, program)

    async def judged():
        async with MathJudge(workers=1) as judge:
            return await judge.judge(*QUICK[0])

    score = asyncio.run(judged())
    assert score.reward is None
    assert "busy" in score.reason


def test_a_judge_serves_one_loop_after_another_and_again_after_it_was_closed():
    judge = MathJudge(workers=1)
    assert asyncio.run(judge.judge(*QUICK[0])).reward == 1.0
    assert asyncio.run(judge.judge(*QUICK[1])).reward == 1.0
    asyncio.run(judge.close())
    assert judge._pool.processes() == ()
    assert asyncio.run(judge.judge(*QUICK[2])).reward == 1.0
    asyncio.run(judge.close())


def test_who_no_longer_waits_does_not_end_it_for_others():
    async def judged():
        async with MathJudge(workers=1) as judge:
            hasty = asyncio.create_task(judge.judge(*QUICK[0]))
            patient = asyncio.create_task(judge.judge(*QUICK[0]))
            await asyncio.sleep(0.01)
            hasty.cancel()
            return await patient, judge.numbers()

    score, numbers = asyncio.run(judged())
    assert score.reward == 1.0
    assert numbers["mathematics/compared"] == 1


def test_a_process_inherits_no_secrets_and_no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    program = (
        "import json, os, sys\nprint('{\"ready\": true}', flush=True)\n"
        "for line in sys.stdin:\n    print('{\"read\": true}', flush=True)\n"
        "    told = [*os.environ, *os.listdir('/proc/self/fd')]\n"
        "    print(json.dumps({'right': False, 'reason': ' '.join(told)}), flush=True)\n"
    )
    stand_in(tmp_path, monkeypatch, program)

    async def judged():
        with (tmp_path / "open").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            async with MathJudge(workers=1) as judge:
                return await judge.judge(*QUICK[0])

    told = asyncio.run(judged()).reason.split()
    assert "SOME_API_KEY" not in told
    assert {number for number in told if number.isdigit()} <= {"0", "1", "2", "3"}


def test_a_judge_without_math_verify_says_what_to_install(monkeypatch):
    monkeypatch.setattr(judge, "find_spec", lambda name: None)

    async def entered():
        async with MathJudge():
            pass

    with pytest.raises(ConfigError, match="pip install math-verify"):
        asyncio.run(entered())


def test_what_it_is_can_be_told():
    facts = MathJudge().facts()
    assert facts["judge_math_verify"][0].isdigit()
