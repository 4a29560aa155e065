"""docs/serving.md: its commands are run, with a stand-in server; the server's own is held against the exports."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from chat_server import chat_server
from command_line import command_line

from counterpoint.recipe import config_from
from counterpoint.run import Run

PAGE = (Path(__file__).parent.parent / "docs" / "serving.md").read_text()
URL = "http://localhost:8000/v1"
OWN_URL = "http://127.0.0.1:8000/v1"
SMALL = ["task.train=64", "task.validation=4", "task.test=6", "rollout.tasks_per_step=2", "rollout.group_size=2"]
SMALL += ["rollout.max_tokens=24", "run.steps=1", "run.threads=1"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def commands(url):
    """Every command, in order, as a list of words, with the server at `url`."""
    return [shlex.split(line.replace(URL, url)) for block in blocks("bash") for line in block.splitlines()]


def run(words, folder):
    small = SMALL if words[1] == "train" else []
    if words[0] == "counterpoint":
        done = command_line(*words[1:], *small, folder=folder)
    else:
        arguments, environment = [sys.executable, *words[1:]], {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


@contextmanager
def serving(words, folder):
    """What `counterpoint serve` says when it is ready, while it is."""
    command = [sys.executable, "-m", *words, "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline()
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The page followed from top to bottom: the folder, what each command printed, what the server was asked."""
    folder = tmp_path_factory.mktemp("serving")
    ask, chat = blocks("python")
    printed = []
    with chat_server(folder, reply=r"The sum is \boxed{1}") as server, ExitStack() as stack:
        (folder / "ask.py").write_text(ask.replace(URL, server.url))
        for words in commands(server.url):
            if words[1] == "serve":
                said = stack.enter_context(serving(words, folder))
                (folder / "chat.py").write_text(chat.replace(OWN_URL, said.partition(": model ")[0]))
            else:
                said = run(words, folder)
            printed.append((words, said))
        return folder, printed, server.requests()


@pytest.mark.slow
def test_every_command_works_as_it_stands(followed):
    _, printed, _ = followed
    assert [words[1] for words, _ in printed] == ["train", "export", "export", "evaluate", "ask.py", "serve", "chat.py"]
    assert "accuracy on 6 test tasks" in printed[3][1]
    assert printed[4][1] == "1\n"
    assert printed[5][1].endswith(": model served\n")
    assert "aggregator False " in printed[6][1]


@pytest.mark.slow
def test_each_role_asks_for_the_adapter_of_its_name(followed):
    _, _, requests = followed
    asked = [request["body"]["model"] for request in requests]
    assert len(asked) == 7 * 4  # six test problems, and the one that ask.py brought
    assert sorted(asked) == sorted(7 * ["generator", "generator", "generator", "aggregator"])


@pytest.mark.slow
def test_a_program_of_ones_own_asks_what_an_evaluation_asks(followed):
    _, _, requests = followed
    told = [[message["content"] for message in request["body"]["messages"]] for request in requests]
    evaluated, own = told[0], told[-4]
    assert len(evaluated) == len(own) == 1
    question = re.compile(r"What is [^?]*\?")
    assert question.sub("Q", own[0]) == question.sub("Q", evaluated[0])
    assert own[0].startswith("What is 7 + 12 - 3?")


@pytest.mark.slow
def test_the_command_of_the_server_fits_what_was_exported(followed):
    folder, _, requests = followed
    (words,) = [shlex.split(block) for block in blocks("text")]
    options = {word: words[index + 1] for index, word in enumerate(words) if word.startswith("--")}
    named = dict(word.split("=") for word in words[words.index("--lora-modules") + 1 :])
    assert set(named) == {request["body"]["model"] for request in requests}
    assert int(options["--max-loras"]) == len(named)
    for path in named.values():
        assert (folder / path / "adapter_model.safetensors").is_file()
        assert json.loads((folder / path / "adapter_config.json").read_text())["r"] <= int(options["--max-lora-rank"])
    assert options["--dtype"] == Run.read(folder / "runs" / "served").config.model.dtype


def test_the_recipe_of_the_page_is_one():
    (text,) = blocks("toml")
    settings = config_from(tomllib.loads(text)).policy_settings("aggregator")
    assert settings.endpoint.url == URL
    assert not settings.trainable
