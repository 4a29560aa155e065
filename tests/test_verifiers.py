"""Environments of the package verifiers as tasks: what is refused, how replies are scored, and a run on a real one."""

import json
import sys
import textwrap
from importlib.util import find_spec

import pytest
from others import said_by, with_others

from counterpoint.cli.transcript import _verdict
from counterpoint.episode import Episode
from counterpoint.errors import ConfigError, TaskError
from counterpoint.judges.verifiers.environment import written
from counterpoint.task import Score
from counterpoint.tasks.verifiers import verifiers

module = sys.modules[verifiers.__module__]

SUMS = """
    import asyncio, time
    import verifiers.v1 as vf

    class SumData(vf.TaskData):
        answer: str

    class SumTask(vf.Task[SumData]):
        @vf.reward(weight=3.0)
        async def right(self, task, trace) -> float:
            if "boom" in trace.last_reply:
                raise ValueError("cannot be read")
            while "spin" in trace.last_reply:
                pass
            if "sleep" in trace.last_reply:
                await asyncio.sleep(1e6)
            return float(trace.last_reply.rpartition("=")[2].strip() == task.answer)

        @vf.reward(weight=1.0)
        async def marked(self, trace) -> float:
            return 7.0 if "much" in trace.last_reply else float("=" in trace.last_reply)

        @vf.metric
        async def length(self, trace) -> float:
            return float(len(trace.messages[-1].content))

    class SumConfig(vf.TasksetConfig):
        largest: int = 10
        begin: int = 0

    class SumTaskset(vf.Taskset[SumTask, SumConfig]):
        def load(self):
            for a in range(self.config.begin, self.config.largest):
                for b in range(self.config.largest):
                    shots = [vf.UserMessage(content="1+1?"), vf.AssistantMessage(content="=2")]
                    prompt = [*shots, vf.UserMessage(content=f"{a}+{b}?")] if a % 2 else f"{a}+{b}?"
                    data = SumData(prompt=prompt, system_prompt="Add.", answer=str(a + b))
                    yield SumTask(data, self.config.task)

    __all__ = ["SumTaskset"]
"""


def fake_rows(monkeypatch, rows, **facts):
    """Tasks as an environment would have them, without the package."""
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    whole = {"verifiers": "0.4.0", "environment": "sums 1", "code": "abc", **facts}

    def read(env, args, most):
        chosen = rows[args["part"]] if isinstance(rows, dict) else rows
        return [{"place": f"{env}, task {n}", **row} for n, row in enumerate(chosen, start=1)], whole

    monkeypatch.setattr(module, "_read", read)


def row(text, **beside):
    return {"text": text, "data": {"prompt": text}, "answer": "1", "weights": {"right": 1.0}, **beside}


MANY = [row(f"question {number}") for number in range(100)]


@pytest.mark.skipif(find_spec("verifiers") is not None, reason="verifiers is installed here")
def test_without_the_package_one_line_says_what_to_install():
    with pytest.raises(
        ConfigError, match=r"^task 'verifiers' needs verifiers: `pip install 'counterpoint\[verifiers\]'"
    ):
        verifiers(env="sums")


def test_the_text_of_a_task_decides_its_split_and_counts_are_maxima(monkeypatch):
    fake_rows(monkeypatch, MANY)
    tasks = verifiers(env="sums")
    assert sum(len(own) for own in tasks.named().values()) == 100
    assert tasks.fingerprints() == verifiers(env="sums").fingerprints()
    fewer = verifiers(env="sums", train=9, validation=3, test=2)
    assert [len(own) for own in fewer.named().values()] == [9, 3, 2]
    assert {task.problem.id for task in fewer.test} <= {task.problem.id for task in tasks.test}
    assert dict(tasks.notes) == {"verifiers": "0.4.0", "environment": "sums 1"}


def test_other_source_gives_other_fingerprints(monkeypatch):
    fake_rows(monkeypatch, MANY)
    before = verifiers(env="sums").fingerprints()
    fake_rows(monkeypatch, MANY, code="def")
    assert verifiers(env="sums").fingerprints() != before


def test_tasks_for_testing_are_never_trained_on(monkeypatch):
    fake_rows(monkeypatch, {"all": MANY, "held": MANY[:10]})
    given = {"env": "sums", "args": {"part": "all"}, "test_args": {"part": "held"}}
    with pytest.raises(
        TaskError, match=r"Of 110 rows this holds for 10 \(10 x its prompt is that of another task too\)"
    ):
        verifiers(**given)
    tasks = verifiers(**given, invalid="skip")
    held = {task.problem.text for task in tasks.test}
    assert held == {one["text"] for one in MANY[:10]}
    assert held.isdisjoint(task.problem.text for task in (*tasks.train, *tasks.validation))


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (MANY, {"range": [1.0, 0.0]}, ConfigError, r"task\.range = \[1\.0, 0\.0\]: the first number"),
        (MANY, {"reply": "so"}, ConfigError, "task.reply = 'so' must contain"),
        (MANY, {"read": "boxes"}, ConfigError, "unknown task.read 'boxes'"),
        (MANY[:1], {}, TaskError, "none of its 1 tasks falls into the"),
        ([*MANY, {"refused": "it has no prompt"}], {}, TaskError, "task 101 cannot be used: it has no prompt"),
        ([row("a", weights={"long": -1.0})], {}, ConfigError, "'long' has the negative weight -1; say with task.range"),
        ([row("a", weights={"seen": 0.0})], {}, ConfigError, "no reward with a weight other than 0"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(monkeypatch, rows, options, error, message):
    fake_rows(monkeypatch, rows)
    with pytest.raises(error, match=message):
        verifiers(env="sums", **options)


def test_a_box_is_given_to_the_environment_as_a_box(monkeypatch):
    fake_rows(monkeypatch, MANY)
    (task, *_) = verifiers(env="sums", read="boxed").train
    assert task.problem.extract(r"so \boxed{7}") == "7"
    assert module._template("", module.reading_of("boxed", "", "")).replace("{answer}", "7") == r"\boxed{7}"
    (plain, *_) = verifiers(env="sums").train
    assert (plain.problem.extract(" all of it "), plain.problem.answer_format) == ("all of it", "")


def test_a_conversation_is_one_text():
    assert written([("user", "1+1?")]) == "1+1?"
    assert written([("system", "Add."), ("user", "1+1?")]) == "Add.\n\n1+1?"
    turns = [("system", "Add."), ("user", "1+1?"), ("assistant", "2"), ("user", "2+2?")]
    assert written(turns) == "Add.\n\nQuestion: 1+1?\n\nReply: 2\n\nQuestion: 2+2?"
    with pytest.raises(TaskError, match="part of type 'image_url'; only text"):
        written([("user", [type("Part", (), {"type": "image_url"})()])])
    with pytest.raises(TaskError, match="its prompt is empty"):
        written([("system", "Add."), ("user", " ")])


def test_an_episode_is_shown_with_the_parts_of_its_reward():
    score = Score(reward=0.75, parts={"right": 1.0, "short": 0.0}, reason="so")
    episode = Episode(task="a", rollout=0, problem="?", key="1", answer="1", score=score, calls=())
    assert _verdict(episode) == "reward 0.75 [right 1, short 0] (so)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with environments as modules."""
    folder = tmp_path_factory.mktemp("environments")
    (folder / "sums.py").write_text(textwrap.dedent(SUMS), encoding="utf-8")
    alone = "import verifiers.v1 as vf\nfrom sums import SumConfig, SumTask, SumTaskset\n"
    others = {
        "older": "def load_environment():\n    pass\n",
        "nothing": "__all__ = []\n",
        "broken": "1 / 0\n",
        "several": f"{alone}class Turns(vf.Env[vf.SingleAgentEnvConfig]):\n    async def run(self, task, agents): ...\n"
        "__all__ = ['SumTaskset', 'Turns']\n",
        "prepared": f"{alone}class Mine(SumTask):\n    async def setup(self, trace, runtime): ...\n"
        "class Set(vf.Taskset[Mine, SumConfig]):\n    def load(self): return []\n__all__ = ['Set']\n",
        "ran": f"{alone}class Mine(SumTask):\n    @vf.reward\n    async def file(self, runtime): ...\n"
        "class Set(vf.Taskset[Mine, SumConfig]):\n"
        "    def load(self): yield Mine(Mine.data_type()(prompt='a', answer='1'))\n__all__ = ['Set']\n",
        "endless": f"{alone}class Set(SumTaskset):\n    INFINITE = True\n__all__ = ['Set']\n",
    }
    for name, source in others.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_rewards_are_scored_in_a_process_that_is_killed_when_they_hang(place):
    said = said_by(
        r"""
        import asyncio, json
        from counterpoint.tasks.verifiers import verifiers

        tasks = verifiers(env="sums", judge_seconds=2.0, workers=1)
        odd = next(task for task in tasks.every() if task.problem.text.endswith("Question: 1+2?"))
        print(json.dumps(odd.problem.text), odd.recorded_key)

        async def judged():
            async with tasks.judging:
                for reply in ("so = 3", "= 4", "", "boom", "much", "spin", "sleep", "= 3"):
                    score = await odd.verify(reply)
                    print(score.reward, dict(score.parts), score.reason)

        asyncio.run(judged())
        """,
        place,
    )
    assert said[0] == r'"Add.\n\nQuestion: 1+1?\n\nReply: =2\n\nQuestion: 1+2?" 3'
    assert said[1] == "1.0 {'length': 6.0, 'marked': 1.0, 'right': 1.0} "
    assert said[2] == "0.25 {'length': 3.0, 'marked': 1.0, 'right': 0.0} "
    assert said[3].startswith("0.0 ")
    assert said[4] == "None {} sums raised ValueError: cannot be read (sums.py, line 12)"
    assert said[5].startswith("None {} sums gave reward 'marked' = 7, outside [0, 1]: say with task.range")
    assert said[6].startswith("None {} sums took longer than 2 s")
    assert said[7].startswith("None {} sums took longer than 2 s")
    assert said[8].startswith("1.0")


@pytest.mark.slow
def test_environments_that_take_more_than_one_reply_are_refused_in_one_line(place):
    said = said_by(
        """
        from counterpoint.errors import CounterpointError
        from counterpoint.judges.verifiers.environment import opened, rows

        more = {"sums": {"biggest": 3}}
        names = ("older", "nothing", "broken", "several", "prepared", "ran", "endless", "absent", "openenv", "sums")
        for env in names:
            try:
                print(*(row.get("refused") for row in rows(opened(env, more.get(env, {})), None)))
            except CounterpointError as error:
                print(error)
        """,
        place,
    )
    expected = [
        "environment 'older' is written for verifiers before 0.4 (`load_environment`), which is not supported",
        "environment 'nothing' is no taskset of verifiers",
        "environment 'broken' cannot be imported: ZeroDivisionError: division by zero (broken.py, line 1)",
        "environment 'several' is played by an `Env` of its own, Turns",
        "environment 'prepared' prepares or reads a runtime (`setup` or `finalize`), which is not supported; allowed",
        "its reward or metric 'file' takes 'runtime', which one reply does not have",
        "environment 'endless' makes tasks without end: say with task.tasks how many",
        "environment 'absent' is not installed: install the package that has the module 'absent', or start",
        "environment 'openenv' is played by an `Env` of its own, OpenEnvEnv",
        "task.args: environment 'sums' has no argument 'biggest'; allowed: begin, largest, system_prompt, task",
    ]
    assert [line[: len(start)] for line, start in zip(said, expected, strict=True)] == expected


@pytest.mark.slow
def test_an_environment_from_pip_trains_is_resumed_and_is_shown(place):
    said = said_by(
        """
        import sys

        import counterpoint as cp
        from counterpoint.cli.main import main

        sizes = ["rollout.tasks_per_step=2", "rollout.group_size=2", "rollout.max_tokens=8", "run.threads=1"]
        limits = ["rollout.max_prompt_tokens=4000", "evaluation.every=9", "run.save_every=1", "run.proof_calls=1"]
        task = (
            'task={name="verifiers", env="marble-v1", tasks=40, invalid="skip",'
            " train=8, validation=2, test=2, workers=1}"
        )
        cp.train("voting_arithmetic", 'workflow="single"', task, *sizes, *limits, "run.steps=2",
                 out="run", progress=False)
        cp.resume("run", "run.steps=3", progress=False)
        sys.argv = ["counterpoint", "show", "run", "--step", "3"]
        main()
        """,
        place,
    )
    rows = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["step"] for row in rows if "episode/part/closeness" in row} >= {1, 2, 3}
    assert "[answered_legally 0, closeness 0, scored 0]" in "\n".join(said)
    record = (place / "run" / "run.json").read_text(encoding="utf-8")
    assert "marble_v1 0.1.0" in record
    assert '"0.4.0"' in record


@pytest.mark.slow
def test_endpoints_are_asked_with_openai_2_too():
    from others import REPOSITORY

    chosen = (
        "test_a_request_is or test_failed_attempts or test_attempts_come or test_what_the_server or that_hangs or"
        " that_is_not_there"
    )
    version = said_by("import openai\nprint(openai.__version__)", REPOSITORY)
    assert version[0].startswith("2.")
    done = with_others(
        "-m", "pytest", "tests/test_endpoint.py", "-q", "-p", "no:cacheprovider", "-k", chosen, folder=REPOSITORY
    )
    assert done.returncode == 0, done.stdout[-3000:]
