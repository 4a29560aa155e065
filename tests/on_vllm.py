"""A real engine, asked for everything that no stand-in can show. Run by `test_vllm.py` in a process of its own.

Prints one JSON line for each thing that was seen: its name and its value.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import torch

from counterpoint.adapter import Adapter
from counterpoint.base_model import load_base_model
from counterpoint.config import ModelConfig
from counterpoint.episode import Call, CallKey
from counterpoint.errors import EngineError, ProofError
from counterpoint.event_loop import run_to_end
from counterpoint.proof import check_logprobs
from counterpoint.samplers._folder import Place
from counterpoint.samplers.base import Request
from counterpoint.samplers.vllm import Vllm
from counterpoint.testing.reference import largest_difference, plain_logprobs
from counterpoint.testing.sampler_conformance import SAMPLER_CHECKS
from counterpoint.testing.tiny import tiny_adapters

CONFIG = ModelConfig(path="micro-medium")
PROMPT = "What is 12 + 30? " * 60
"""Longer than a block of vLLM's cache of prefixes."""


def say(name, value):
    print(json.dumps({"name": name, "value": value}), flush=True)


def adapter_of(version, seed, policy="one"):
    return next(one for one in tiny_adapters(BASE.model, [policy], version=version, seed=seed))


def request(count=8, seed=0):
    ids = tuple(BASE.chat.tokenizer.encode(PROMPT, add_special_tokens=False))[:200]
    return Request(policy="one", prompt_ids=ids, max_tokens=count, temperature=1.0, seed=seed)


def call_of(asked, said, version=0):
    return Call(
        key=CallKey("speaker", 0, 0), policy=asked.policy, version=version, messages=(), prompt_ids=asked.prompt_ids,
        completion_ids=said.ids, logprobs=said.logprobs, text="", finish="length", seed=asked.seed, temperature=1.0,
    )  # fmt: skip


def off(asked, said, adapter):
    """Nats by which a reply's log-probabilities differ from those of an adapter."""
    return largest_difference([said.logprobs], plain_logprobs(BASE.model, [call_of(asked, said)], adapter))


def rows_of_ps():
    """Number, parent and name of every process that has not ended."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    return [line.split(None, 2) for line in found.splitlines() if "<defunct>" not in line]


def children():
    """The processes of the engine: number -> name."""
    rows = rows_of_ps()
    mine = {os.getpid()}
    for _ in rows:
        mine |= {int(pid) for pid, parent, _ in rows if int(parent) in mine}
    return {int(pid): text for pid, _, text in rows if int(pid) in mine and "VLLM" in text}


async def conforms(sampler):
    for check in SAMPLER_CHECKS:
        await check(sampler, BASE, 1e-4)
        say(check.__name__, True)


async def publishes_under_way(sampler):
    old, new = adapter_of(1, 0), adapter_of(2, 41)
    await sampler.load([old])
    with sampler.session() as session:
        asked = [request(120, seed) for seed in range(8)]
        under_way = [asyncio.create_task(session.sample(one)) for one in asked]
        await asyncio.sleep(0.05)
        await sampler.load([new])
        say("calls under way after publishing", sum(not one.done() for one in under_way))
        said = [await one for one in under_way]
    say("versions of calls under way", sorted({one.version for one in said}))
    say("calls under way off the old weights", max(off(*pair, old) for pair in zip(asked, said, strict=True)))
    say("calls under way off the new weights", min(off(*pair, new) for pair in zip(asked, said, strict=True)))
    with sampler.session() as session:
        after = await session.sample(request())
    say("a call after publishing off the new weights", off(request(), after, new))


async def speaks_as_its_base(sampler):
    await sampler.load([Adapter.base("two")])
    asked = replace(request(), policy="two")
    with sampler.session() as session:
        said = await session.sample(asked)
    say("a policy without adapter off its base", off(asked, said, None))


class Learner:
    """The learner's log-probabilities under one adapter."""

    def __init__(self, adapter):
        self._adapter = adapter

    def logprobs(self, calls):
        return plain_logprobs(BASE.model, calls, self._adapter)


async def caught(engine, name, first, second, *, in_place=False):
    """Two adapters are published under these places, one after the other: what the proofs say of the second."""
    from vllm.lora.request import LoRARequest

    one, two = adapter_of(8, 51), adapter_of(9, 52)
    for place, adapter in ((first, one), (second, two)):
        shutil.rmtree(place.folder, ignore_errors=True)
        replace(adapter, settings={}).write(place.folder)
        if in_place and adapter is two:
            again = LoRARequest(place.name, place.number, str(place.folder), load_inplace=True)
            await engine._engine.add_lora(again)
        else:
            await engine.add(place)
        (proof,) = await engine.prove(place, adapter.scale)
        said = await engine.generate(request(), place)
        if adapter is one and first.number != second.number:
            await engine.remove(place)
    say(f"{name}: slots", proof.get("digest") == two.digest)
    try:
        check_logprobs(Learner(two), [call_of(request(), said)], 1e-4)
        say(f"{name}: log-probabilities", True)
    except ProofError:
        say(f"{name}: log-probabilities", False)
    await engine.remove(second)


async def stale(versions):
    engine, root = versions._engine, versions._folders.root
    here = Place(9001, "here", root / "here")
    await caught(engine, "an identifier used again", here, Place(9001, "there", root / "there"))
    here = Place(9002, "second", root / "second")
    await caught(engine, "loaded in place", here, here, in_place=True)
    here = Place(9003, "third", root / "third")
    await caught(engine, "a new identifier with an old name", here, replace(here, number=9004))
    here = Place(9005, "fourth", root / "fourth")
    await caught(engine, "everything new", here, Place(9006, "fifth", root / "fifth"))


async def dies(sampler):
    with sampler.session() as session:
        under_way = asyncio.create_task(session.sample(request(300)))
        await asyncio.sleep(0.05)
        for number, text in children().items():
            if "EngineCore" in text:
                os.kill(number, signal.SIGKILL)
        for asked in (under_way, session.sample(request())):
            try:
                await asyncio.wait_for(asked, 60)
                say("death", "a reply")
            except EngineError as error:
                say("death", str(error))


async def main(death):
    sampler = Vllm([PART], max_rows=32, cache_gb=0.5)
    engine = children()
    say("processes", len(engine))
    try:
        if death:
            await sampler.load([adapter_of(1, 0)])
            await dies(sampler)
        else:
            await conforms(sampler)
            await publishes_under_way(sampler)
            await speaks_as_its_base(sampler)
            await stale(sampler._all[0])
    finally:
        await sampler.close()
    await asyncio.sleep(2)
    say("processes after closing", len([pid for pid, _, _ in rows_of_ps() if int(pid) in engine]))
    say("folders after closing", sorted(one for one in os.listdir("/dev/shm") if f"-{os.getpid()}-" in one))


if __name__ == "__main__":
    torch.set_num_threads(1)
    BASE = load_base_model(CONFIG)
    RANKS = dict.fromkeys(("one", "two"), 4)
    PART = SimpleNamespace(config=CONFIG, policies=tuple(RANKS), ranks=RANKS, chat=BASE.chat, longest=2112)
    run_to_end(main(sys.argv[1] == "dies"))
