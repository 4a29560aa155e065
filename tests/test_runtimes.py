"""Openings of a runtime: with a learner and without, with the package's sampler and with one of the user's own."""

import asyncio
import os
import socket
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import torch
from torch_build import CHOIR, fresh_model, start, tiny_base, tiny_folder, trained

from counterpoint import family
from counterpoint.errors import AdapterError, ConfigError, SamplerError
from counterpoint.family import give, name_of
from counterpoint.plan.plan import plan
from counterpoint.plan.startable import check_room
from counterpoint.plan.threads import with_threads
from counterpoint.policy import routing
from counterpoint.runtimes import check_runtime, open_runtime, open_sampler
from counterpoint.runtimes._actors import RankBody
from counterpoint.runtimes._cluster import connected
from counterpoint.runtimes.ray import Ray
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._weights import Beside, Merged
from counterpoint.samplers.base import Base, Request
from counterpoint.samplers.in_process import InProcess, in_process
from counterpoint.testing.sampler_conformance import check_sampler
from counterpoint.testing.tiny import tiny_adapters, tiny_config, tiny_prompts
from counterpoint.workflows import load_workflow

BASE = tiny_base()


def beside(**options):
    return InProcess(Engine(fresh_model(), BASE.chat.stop_ids, weights=Beside, **options))


def test_adapters_beside_the_base_keep_every_promise_of_a_sampler():
    check_sampler(beside(), BASE)


def said(sampler, policy="one"):
    prompts = tiny_prompts(BASE.chat, 4)

    async def ask():
        with sampler.session() as session:
            asked = [
                Request(policy=policy, prompt_ids=prompts[at % 4], max_tokens=12, temperature=0.9, seed=at)
                for at in range(12)
            ]
            return [await session.sample(one) for one in asked]

    return asyncio.run(ask())


def test_beside_and_merged_give_the_same_tokens_and_nearly_the_same_log_probabilities():
    adapters = tiny_adapters(BASE.model, ["one", "two"])
    merged, apart = InProcess(Engine(BASE.model, BASE.chat.stop_ids, weights=Merged)), beside()
    for sampler in (merged, apart):
        asyncio.run(sampler.load(adapters))
    for policy in ("one", "two", "one"):
        for one, other in zip(said(merged, policy), said(apart, policy), strict=True):
            assert one.ids == other.ids
            assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)


def test_beside_holds_the_base_once():
    model = fresh_model()
    places = [{one.data_ptr() for one in held.parameters()} for held in (model, Beside(model).model)]
    assert places[0] == places[1]
    assert places[0].isdisjoint(one.data_ptr() for one in Merged(model).model.parameters())


def test_an_adapter_for_another_base_is_refused():
    (adapter,) = tiny_adapters(BASE.model, ["one"])
    tensors = {name: torch.zeros(one.shape[0], 3) if "lora_A" in name else one for name, one in adapter.tensors.items()}
    sampler = beside()
    asyncio.run(sampler.load([type(adapter)(policy="one", version=1, scale=1.0, tensors=tensors)]))
    with pytest.raises(SamplerError, match="policy 'one': its adapter is for another base model"):
        said(sampler)


def opened(config, sources, use):
    routes = routing(config.policies.sharing, load_workflow(config.workflow).slots)

    async def inside():
        async with open_sampler(config, routes, sources) as found:
            return use(found)

    return asyncio.run(inside())


def test_a_sampler_alone_has_the_digests_and_versions_of_a_checkpoint(tmp_path):
    run = trained(start(tmp_path / "run"))
    step = run.checkpoints()[-1]
    names = ("soprano", "alto", "conductor")
    sources = {name: run.checkpoint_path(step) / name for name in names}
    digests = opened(run.config, sources, lambda found: found.sampler.digests())
    assert digests == run.checkpoint_state(step)["digests"]
    chats = opened(run.config, sources, lambda found: set(found.chats))
    assert chats == set(names)
    none = opened(run.config, {**sources, "alto": None}, lambda found: found.sampler.digests())
    assert none["alto"] != digests["alto"]
    assert none["soprano"] == digests["soprano"]
    with pytest.raises(AdapterError, match="nobody holds no adapter"):
        opened(run.config, {"alto": tmp_path / "nobody"}, lambda found: None)


def test_a_sampler_alone_builds_no_learner(monkeypatch):
    monkeypatch.setitem(sys.modules, "counterpoint.learners.peft", None)
    config = tiny_config(tiny_folder(), CHOIR)
    assert set(opened(config, {}, lambda found: found.sampler.digests())) == {"soprano", "alto", "conductor"}


MADE = []


class Counting:
    """A sampler of one's own: the package's, and how often it was asked."""

    def __init__(self, bases, greeting):
        self.inner = in_process(bases)
        self.greeting = greeting
        self.bases = [(base.config.path, tuple(base.policies), base.has_learner) for base in bases]
        self.asked = self.closed = 0

    @contextmanager
    def session(self):
        self.asked += 1
        with self.inner.session() as session:
            yield session

    async def load(self, adapters):
        await self.inner.load(adapters)

    def digests(self):
        return self.inner.digests()

    async def close(self):
        self.closed += 1


def counting(bases: list[Base], *, greeting: str = "hello") -> Counting:
    MADE.append(Counting(bases, greeting))
    return MADE[-1]


def test_a_run_is_trained_with_a_sampler_of_ones_own(tmp_path):
    MADE.clear()
    own = {"sampler": {"name": "test_runtimes:counting", "greeting": "good day"}, "run": {"steps": 2}}
    run, usual = trained(start(tmp_path / "own", own)), trained(start(tmp_path / "usual", {"run": {"steps": 2}}))
    (sampler,) = MADE
    assert sampler.bases == [(str(tiny_folder()), ("soprano", "alto", "conductor"), True)]
    assert (sampler.greeting, sampler.closed) == ("good day", 1)
    assert sampler.asked > 2 * 3 * 4
    assert run.checkpoint_state(2)["digests"] == usual.checkpoint_state(2)["digests"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sampler": {"name": "in_proces"}}, "unknown sampler 'in_proces'; did you mean 'in_process'"),
        ({"sampler": {"name": "test_runtimes:countin"}}, "did you mean 'counting'"),
        ({"sampler": {"name": "in_process", "max_rows": 0}}, "sampler.in_process.max_rows = 0"),
        ({"sampler": {"name": "in_process", "rows": 3}}, "unknown key .*'rows'"),
        ({"runtime": {"name": "rey"}}, "unknown runtime 'rey'; did you mean 'ray'"),
        ({"runtime": {"name": "local", "learners": 2}}, "takes no options; learners given"),
        ({"runtime": {"name": "ray", "learners": 0}}, "runtime.ray.learners = 0"),
        ({"runtime": {"name": "ray", "timeout": float("inf")}}, "runtime.ray.timeout = inf: .*finite"),
        ({"runtime": {"name": "ray", "shard_base": True}}, "shard_base = true needs runtime.learners = 2 or more"),
        ({"runtime": {"name": "ray", "address": "here"}}, "runtime.address = 'here': input should be host:port"),
        ({"runtime": {"name": "ray", "address": "here:70000"}}, "input should be host:port"),
        ({"runtime": {"name": "local", "nodes": 2}}, "takes no options; nodes given"),
    ],
)
def test_a_sampler_or_runtime_that_cannot_be_is_found_before_anything_is_loaded(table, message):
    config = tiny_config(tiny_folder(), {**CHOIR, **table})
    routes = routing(config.policies.sharing, load_workflow(config.workflow).slots)
    checks = (check_runtime, plan, lambda one: open_runtime(one, routes), lambda one: open_sampler(one, routes, {}))
    for check in checks:
        with pytest.raises(ConfigError, match=message):
            check(config)


def test_a_gpu_that_a_recipe_numbers_is_refused_where_each_process_has_its_own():
    for model, policy, where in (
        ("cuda:1", {}, "model"),
        ("cpu", {"one": {"model": {"device": "cuda:1"}}}, "policy.one.model"),
    ):
        table = {**CHOIR, "runtime": {"name": "ray"}, "policy": policy}
        config = tiny_config(tiny_folder(), table)
        config = config.model_copy(update={"model": config.model.model_copy(update={"device": model})})
        with pytest.raises(ConfigError, match=rf"^{where}.device = 'cuda:1' cannot be used with runtime.name = 'ray'"):
            check_runtime(config)


def test_a_runtime_whose_package_is_absent_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'counterpoint\[ray\]' first"):
        check_runtime(tiny_config(tiny_folder(), {**CHOIR, "runtime": {"name": "ray"}}))


def test_the_processes_of_ray_get_an_object_under_the_name_that_the_recipe_has(monkeypatch):
    monkeypatch.setattr(family, "_given", {})

    def sampler():
        raise NotImplementedError

    config = tiny_config(tiny_folder(), {**CHOIR, "sampler": name_of(sampler, "sampler")})
    given = Ray._given(SimpleNamespace(_config=config))
    family._given.clear()  # as in another process
    for name, member in given.objects.items():
        give(name, member)
    assert family.given([config.sampler.name]) == {config.sampler.name: sampler}


def test_a_ray_that_does_not_listen_is_an_error_of_one_line_before_ray_is_imported():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tiny_config(tiny_folder(), {**CHOIR, "runtime": {"name": "ray", "address": address}})
        routes = routing(config.policies.sharing, load_workflow(config.workflow).slots)
        with pytest.raises(ConfigError, match=f"^runtime.address = '{address}': no Ray answers there: "):
            asyncio.run(entered(open_runtime(config, routes)))


def test_what_ray_says_of_a_token_that_is_missing_is_one_line(monkeypatch):
    class RefusedError(Exception):
        pass

    def init(**options):
        raise RefusedError("RAY_AUTH_MODE is token, but no token was found.\n\nFor more information, see")

    exceptions = SimpleNamespace(RayError=RefusedError)
    ray = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None, exceptions=exceptions)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    said = r"^runtime.name = 'ray': Ray cannot be reached: RAY_AUTH_MODE is token, but no token was found\.$"
    with pytest.raises(ConfigError, match=said), connected("", 1, 0):
        pass


def test_ranks_meet_at_an_address_of_ipv6_too(monkeypatch):
    util = SimpleNamespace(get_node_ip_address=lambda: "fd00::5")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(util=util))
    monkeypatch.setattr(socket, "AF_INET6", socket.AF_INET)  # also on a machine that has no IPv6
    place = urlsplit(f"tcp://{RankBody().address()}")
    assert (place.hostname, place.port > 0) == ("fd00::5", True)


async def entered(opening):
    async with opening:
        pass


def test_the_plan_has_the_memory_of_each_process_and_shares_the_cores():
    table = {**CHOIR, "runtime": {"name": "ray", "samplers": 2, "learners": 3}}
    alone, apart = plan(tiny_config(tiny_folder(), CHOIR)), plan(tiny_config(tiny_folder(), table))
    sampler, learner = apart.memories().values()
    assert [line for line in apart.lines() if "in each of 2 samplers" in line]
    assert [line for line in apart.lines() if "in each of 3 ranks of" in line]
    assert max(sampler.peak, learner.peak) < alone.memory().peak < sampler.peak + learner.peak
    assert apart.peak() == 2 * sampler.peak + 3 * learner.peak
    cores = len(os.sched_getaffinity(0))
    config = tiny_config(tiny_folder(), table)
    assert with_threads(
        config.model_copy(update={"run": config.run.model_copy(update={"threads": 0})})
    ).run.threads in (
        1,
        max(1, cores // 3),
    )


def test_what_a_gpu_cannot_hold_all_the_time_is_refused_before_anything_starts(monkeypatch):
    made = plan(tiny_config(tiny_folder(), {**CHOIR, "runtime": {"name": "ray"}}))
    held = {place: sum(memory.lasting.values()) for place, memory in made.memories().items()}
    smaller, larger = sorted(held.values())
    monkeypatch.setattr("counterpoint.samplers._room.total_memory", lambda device: larger)
    check_room(made)
    monkeypatch.setattr("counterpoint.samplers._room.total_memory", lambda device: smaller)
    with pytest.raises(ConfigError, match=r"the GPU has .*, and .* would be held all the time in each of 1 "):
        check_room(made)
    monkeypatch.setattr("counterpoint.samplers._room.total_memory", lambda device: None)
    check_room(made)
