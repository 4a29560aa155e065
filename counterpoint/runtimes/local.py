"""Sampler and learner in this process, around one frozen base."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import torch

from counterpoint.base_model import load_base_model
from counterpoint.config import Config, check_options
from counterpoint.learners.peft import Peft
from counterpoint.policy import Routing
from counterpoint.runtimes.base import Runtime
from counterpoint.samplers.in_process import InProcess


@asynccontextmanager
async def local(config: Config, routing: Routing) -> AsyncIterator[Runtime]:
    """One copy of the base for the learner's adapters, one for the sampler to merge them into.

    Raises ModelError if the base cannot be loaded, ConfigError if the sampler's options are wrong.
    """
    options = check_options("sampler.in_process", InProcess.__init__, config.sampler.options, skip={"self"})
    torch.set_num_threads(config.run.threads or available_cores())
    base = load_base_model(config.model)
    sampler = InProcess(base.model, base.chat.stop_ids, **options)
    learner = Peft(base.model, routing.policies, config)
    yield Runtime(sampler=sampler, learner=learner, chats={policy.name: base.chat for policy in routing.policies})


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
