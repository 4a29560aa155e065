"""What the tests with a model share: the tiny model, learners on it, workflows whose luck any model can try."""

import asyncio
import atexit
import copy
import importlib
import shutil
import tempfile
from asyncio import gather
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from counterpoint.adapter import Adapter
from counterpoint.base_model import BaseModel, load_base_model
from counterpoint.episode import Call
from counterpoint.learners.peft import Peft
from counterpoint.policy import Routing
from counterpoint.run import Run
from counterpoint.samplers.base import Completion, Request, Sampler
from counterpoint.task import Problem
from counterpoint.tasks.arithmetic import steps_of
from counterpoint.testing.tiny import tiny_config, tiny_model_folder
from counterpoint.training import train
from counterpoint.workflows.base import Part, Reply, Role, workflow

torch.set_num_threads(1)

IN_PROCESS = importlib.import_module("counterpoint.samplers.in_process")
PEFT = importlib.import_module("counterpoint.learners.peft")
"""The modules in which the runtime looks for the sampler and the learner."""

ROUTING = Routing({"writer": "shared", "critic": "shared"})
ISOLATED = Routing({"writer": "writer", "critic": "critic"})


@cache
def session_folder() -> Path:
    """A folder for what is made once a session."""
    folder = Path(tempfile.mkdtemp(prefix="counterpoint-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def tiny_folder() -> Path:
    """The tiny model."""
    return tiny_model_folder(session_folder() / "tiny")


@cache
def other_folder() -> Path:
    """Another random model, to be another base."""
    return tiny_model_folder(session_folder() / "other", seed=1)


@cache
def tiny_base() -> BaseModel:
    """The tiny model, loaded. Never put an adapter into it: take `fresh_model()`."""
    return load_base_model(tiny_config(tiny_folder()).model)


def fresh_model() -> Any:
    return copy.deepcopy(tiny_base().model)


def new_learner(routing: Routing, table: Mapping[str, Any] | None = None) -> Peft:
    return Peft(fresh_model(), routing.policies, tiny_config(tiny_folder(), table))


def adapter_of(learner: Peft, policy: str) -> Adapter:
    return next(adapter for adapter in learner.adapters() if adapter.policy == policy)


def same_tensors(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


async def ask(sampler: Sampler, requests: list[Request]) -> list[Completion]:
    with sampler.session() as session:
        return list(await gather(*(session.sample(request) for request in requests)))


def sampled(sampler: Sampler, requests: list[Request]) -> list[Completion]:
    return asyncio.run(ask(sampler, requests))


def request_of(call: Call, **changes: Any) -> Request:
    fields = {"max_tokens": 8, "temperature": call.temperature, "seed": call.seed, **changes}
    return Request(policy=call.policy, prompt_ids=call.prompt_ids, **fields)


async def sing(role: Role, problem: Problem) -> Reply:
    """A reply that counts as right if its number of characters is even: a matter of luck, and learnable."""
    reply = await role(problem.text)
    reply.answers(str(steps_of(problem.text)[-1][3] + len(reply.text) % 2))
    return reply


@workflow
async def solo(problem: Problem, *, soprano: Role) -> str | None:
    return (await sing(soprano, problem)).answer


@workflow(cast=lambda options: {"soprano": Part(slots=options["voices"])})
async def choir(problem: Problem, *, soprano: Role, alto: Role, conductor: Role, voices: int = 2) -> str | None:
    """Some sopranos and an alto sing, the conductor chooses one of them."""
    songs = await gather(*(sing(soprano, problem) for _ in range(voices)), sing(alto, problem))
    reply = await conductor(problem.text + " Who?")
    return reply.chooses(songs, len(reply.text) % len(songs))


CHOIR = {"workflow": {"name": "torch_build:choir"}}
SOLO = {"workflow": {"name": "torch_build:solo"}}


def start(path: Path, table: Mapping[str, Any] | None = None) -> Run:
    """A new run of the choir, created but not begun."""
    return Run.create(path, tiny_config(tiny_folder(), {**CHOIR, **(table or {})}), {})


def trained(run: Run, **options: Any) -> Run:
    """The run after `train`, given back."""
    with run:
        asyncio.run(train(run, **options))
    return run
