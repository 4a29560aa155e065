"""A trained workflow behind HTTP: asked by OpenAI's client, as a process of its own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import openai
import pytest
from facts import make_call, make_episode, make_limits, make_stage, make_task

from counterpoint.cli.serve import _like, serve_run
from counterpoint.episode import Answer, CallKey, Choice
from counterpoint.errors import ConfigError, RunError
from counterpoint.serve import Service, _completion
from counterpoint.task import Problem
from counterpoint.tasks.base import Splits
from counterpoint.workflows.base import Role, workflow

SUM = "What is 7 + 12 - 3?"


@contextmanager
def served(run, *arguments):
    """The URL of `counterpoint serve`, and its process."""
    command = [sys.executable, "-m", "counterpoint", "serve", str(run), *arguments, "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        assert ": model " in line, process.stderr.read()
        yield line.partition(": model ")[0], process
    finally:
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def url(tiny_run):
    with served(tiny_run.path) as (found, _):
        yield found


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as found:
        yield found


def ask(client, text=SUM, before=(), **fields):
    messages = [*before, {"role": "user", "content": text}]
    return client.chat.completions.create(model="voting", messages=messages, **fields)


def test_the_answer_is_the_reply_that_won_and_all_replies_are_told(client):
    made = ask(client, seed=3, temperature=0)
    told = made.model_extra["counterpoint"]
    assert [(reply["role"], reply["slot"], reply["policy"]) for reply in told["replies"]] == [
        *(("generator", slot, "shared") for slot in range(3)),
        ("aggregator", 0, "shared"),
    ]
    (won,) = [reply for reply in told["replies"] if reply["won"]]
    assert made.choices[0].message.content == won["text"]
    assert rf"\boxed{{{told['answer']}}}" in won["text"]
    assert made.choices[0].finish_reason == "stop"
    assert made.usage.completion_tokens == sum(reply["tokens"] for reply in told["replies"])
    assert made.usage.prompt_tokens > 0


def test_a_seed_gives_the_same_replies_and_another_seed_others(client):
    def replies(seed, **fields):
        return ask(client, seed=seed, temperature=2, **fields).model_extra["counterpoint"]["replies"]

    assert replies(1) == replies(1)
    assert replies(1) == replies(1, before=[{"role": "system", "content": "Be brief."}])
    assert replies(1) != replies(2)


def test_several_at_once_are_all_answered(client):
    texts = [f"What is {number} + 2 - 1?" for number in range(6)]

    def answer(text):
        return ask(client, text, seed=1).model_extra["counterpoint"]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(answer, texts)) == [answer(text) for text in texts]


def test_what_cannot_be_had_is_refused_in_openais_way(client):
    with pytest.raises(openai.BadRequestError, match=r"unknown key 'stream'; .*allowed: messages, model, seed, temp"):
        ask(client, stream=True)
    with pytest.raises(openai.BadRequestError, match=r"temperature = 9\.0: input should be less than or equal to 2"):
        ask(client, temperature=9.0)
    with pytest.raises(openai.BadRequestError, match=r"unknown model 'gpt'; allowed: voting"):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": SUM}])
    with pytest.raises(
        openai.BadRequestError, match="the last message must have the role 'user' and contain the problem"
    ):
        ask(client, " ")
    with pytest.raises(openai.BadRequestError, match=r"messages.0.content = \[.*\]: input should be a valid string"):
        ask(client, [{"type": "text", "text": SUM}])
    with pytest.raises(openai.UnprocessableEntityError, match=r"longer than rollout\.max_prompt_tokens = 2048"):
        ask(client, "1 + " * 3000)
    with pytest.raises(openai.NotFoundError, match=r"there is no /v1/completions; allowed: /v1/chat/completions"):
        client.completions.create(model="voting", prompt=SUM)
    assert ask(client).choices


@pytest.mark.parametrize(
    ("request_lines", "status", "message"),
    [
        ("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 3\r\n\r\n{x}", 400, "the request is not JSON"),
        ("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 2\r\n\r\n[]", 400, "valid dictionary"),
        (
            "POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 9999999\r\n\r\n",
            413,
            "has 9999999 bytes; allowed: 1048",
        ),
        ("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: -1\r\n\r\n", 411, "does not say its Content-Length"),
        ("POST /v1/chat/completions HTTP/1.0\r\n\r\n", 411, "does not say its Content-Length"),
        ("GET /v1/chat/completions HTTP/1.0\r\n\r\n", 501, "Unsupported method"),
        ("nonsense\r\n\r\n", 400, "Bad request syntax"),
    ],
)
def test_any_request_at_all_gets_an_error_in_json(url, request_lines, status, message):
    host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(request_lines.encode())
        answer = b""
        while more := line.recv(4096):
            answer += more
    head, _, body = answer.decode().rpartition("\r\n\r\n")
    assert message in json.loads(body)["error"]["message"]
    assert not head or f" {status} " in head.splitlines()[0]


def test_it_listens_on_this_machine_alone_and_ends_when_interrupted(tiny_run):
    with served(tiny_run.path, "--step", "0") as (url, process):
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


def test_a_checkpoint_that_is_not_there_is_named(tiny_run):
    with pytest.raises(RunError, match="has no checkpoint of step 7; there are: 0, 2"):
        serve_run(tiny_run.path, [], 7, "127.0.0.1", 0)


def test_a_role_may_be_played_by_a_server_and_its_loss_is_a_bad_gateway(tiny_run):
    gone = 'policy.shared.endpoint={url="http://127.0.0.1:9/v1", model="m", retries=0}'
    with served(tiny_run.path, gone) as (url, _), openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError, match="policy 'shared': m at http") as caught:
            ask(client)
        assert caught.value.status_code == 502


@workflow
async def composing(problem: Problem, *, writer: Role) -> str | None:
    """Puts together an answer that no reply gave."""
    reply = await writer(problem.text)
    return f"so: {reply.text}" if reply.text else None


def complete(reply):
    stage, _ = make_stage(composing, lambda policy, prompt: reply)
    service = Service(name="mine", stage=stage, limits=make_limits(), like=make_task().problem)
    body = json.dumps({"model": "mine", "messages": [{"role": "user", "content": "Hm?"}]})
    return asyncio.run(service.complete(body.encode()))


def test_an_answer_that_no_reply_gave_is_told_by_itself_and_none_is_null():
    assert complete("2")["choices"][0]["message"]["content"] == "so: 2"
    assert complete("")["choices"][0]["message"]["content"] is None
    assert not any(reply["won"] for reply in complete("2")["counterpoint"]["replies"])


def won(*calls):
    made = _completion("mine", make_episode(*calls, answer="2"))
    return [(reply["role"], reply["slot"]) for reply in made["counterpoint"]["replies"] if reply["won"]]


def test_of_equal_answers_the_chosen_one_wins_else_the_last():
    drafts = [make_call(slot=slot, claim=Answer(text)) for slot, text in enumerate(["2", "2", "3", "2"])]
    keys = tuple(CallKey("generator", slot, 0) for slot in range(4))
    assert won(*drafts) == [("generator", 3)]
    assert won(*drafts, make_call("judge", claim=Choice(keys, 1))) == [("generator", 1)]
    assert won(*drafts, make_call("judge", claim=Answer("2"))) == [("judge", 0)]


def test_problems_that_want_different_answers_cannot_be_served():
    tasks = {name: make_task(name, id=name) for name in ("train", "validation", "test")}
    assert _like(Splits(**{name: (task,) for name, task in tasks.items()})) in [one.problem for one in tasks.values()]
    other = replace(tasks["test"], problem=replace(tasks["test"].problem, answer_format="Write a program."))
    with pytest.raises(ConfigError, match=r"answers in 2 forms: 'Just write it.', 'Write a program.'"):
        _like(Splits(**{name: (task,) for name, task in (tasks | {"test": other}).items()}))
