"""What a recipe will do, before it does it: everything that can be checked and counted without weights."""

import asyncio
from dataclasses import dataclass
from time import perf_counter

import torch

from counterpoint.algorithms import build_algorithm, build_loss
from counterpoint.base_model import BaseSize, base_size, load_chat
from counterpoint.config import Config
from counterpoint.diagnostics import build_diagnostics
from counterpoint.episode import Episode
from counterpoint.interventions import build_interventions
from counterpoint.policy import Routing, routing
from counterpoint.rollout import Stage, rollout
from counterpoint.samplers.scripted import Scripted
from counterpoint.tasks import load_tasks
from counterpoint.tasks.base import batch
from counterpoint.train import limits_of
from counterpoint.workflow import Workflow
from counterpoint.workflows import load_workflow

REHEARSAL_REPLY = r"\boxed{1}"
_FLOAT32 = 4
_MATRIX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A recipe that holds together, and its arithmetic."""

    config: Config
    workflow: Workflow
    routes: Routing
    splits: dict[str, int]
    """Tasks a split."""
    size: BaseSize
    rehearsal: Episode
    """One episode in which every role replied `\\boxed{1}`: its calls and prompt lengths stand for those to come."""

    @property
    def roles(self) -> tuple[str, ...]:
        return self.workflow.roles

    @property
    def calls_per_step(self) -> int:
        rollouts = self.config.rollout
        return rollouts.tasks_per_step * rollouts.group_size * len(self.rehearsal.calls)

    def adapter_parameters(self) -> int:
        """Of one policy: rank * (inputs + outputs), over all linear layers."""
        return self.config.policies.rank * self.size.linear_width

    def memory_bytes(self) -> dict[str, int]:
        """Rough peak memory, by what takes it."""
        policies, adapter = len(self.routes.policies), self.adapter_parameters() * _FLOAT32
        per_weight = 2 if self.config.model.dtype == "bfloat16" else _FLOAT32
        tokens = self.config.learner.max_tokens_per_micro_batch
        return {
            "base, for learner and sampler": 2 * self.size.parameters * per_weight,
            "adapters and optimizers": policies * adapter * 4,
            "role gradients": (len(self.roles) + 1) * adapter,
            "activations of a micro-batch": tokens * self.size.activation_width * _FLOAT32,
        }

    def operations_per_step(self) -> float:
        """Floating-point operations a step needs at least: two a weight and token forward, four backward.

        Every call takes all of its `max_tokens`; each distinct prompt is counted once a group.
        """
        rollouts = self.config.rollout
        groups = rollouts.tasks_per_step
        prompt = sum(len(call.prompt_ids) for call in self.rehearsal.calls)
        sampled = self.calls_per_step * rollouts.max_tokens
        return (2 + 6) * float(self.size.parameters) * (groups * prompt + sampled)

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        rollouts, runs = self.config.rollout, self.config.run
        calls = len(self.rehearsal.calls)
        memory = self.memory_bytes()
        rate = measured_rate(runs.threads)
        floor = self.operations_per_step() / rate
        return [
            f"cell        {self.config.cell}",
            f"roles       {', '.join(self.roles)}",
            "routing     " + ", ".join(f"{role} -> {policy}" for role, policy in self.routes.policy_of.items()),
            "tasks       " + ", ".join(f"{count} {split}" for split, count in self.splits.items()),
            f"base        {self.size.parameters:,} parameters; {self.adapter_parameters():,} more a policy",
            f"a step      {rollouts.tasks_per_step} tasks x {rollouts.group_size} rollouts x {calls} calls ="
            f" {self.calls_per_step} calls, 1 update a policy",
            f"the run     {runs.steps} steps; evaluation every {self.config.evaluation.every},"
            f" checkpoint every {runs.save_every}",
            "memory      about " + gigabytes(sum(memory.values())),
            *(f"              {gigabytes(value):>9}  {name}" for name, value in memory.items()),
            f"time        at least {floor:.2f} s a step if every reply takes {rollouts.max_tokens} tokens"
            f" ({self.operations_per_step() / 1e9:.1f} GFLOP at the {rate / 1e9:.0f} GFLOP/s measured here,"
            f" {runs.threads} threads): a floor, not a forecast",
        ]


def plan(config: Config) -> Plan:
    """The plan of a recipe. Raises CounterpointError for whatever would keep it from starting."""
    workflow, tasks = load_workflow(config.workflow), load_tasks(config.task)
    routes = routing(config.policies.sharing, workflow.roles)
    build_algorithm(config.algorithm)
    build_loss(config.algorithm)
    build_diagnostics(config.diagnostics)
    build_interventions(config.interventions)
    batch(tasks.train, step=1, size=config.rollout.tasks_per_step, seed=config.run.seed)
    chat = load_chat(config.model)
    stage = Stage(
        workflow=workflow,
        routing=routes,
        sampler=Scripted(lambda policy, prompt: REHEARSAL_REPLY, chat),
        chats={policy.name: chat for policy in routes.policies},
    )
    groups = asyncio.run(rollout(stage, tasks.train[:1], limits_of(config, 1.0), size=1, seed="rehearsal"))
    return Plan(
        config=config,
        workflow=workflow,
        routes=routes,
        splits={split: len(members) for split, members in tasks.named().items()},
        size=base_size(config.model),
        rehearsal=groups[0].episodes[0],
    )


def measured_rate(threads: int) -> float:
    """Floating-point operations a second of this machine's float32 matrix product, the best of five."""
    torch.set_num_threads(threads)
    one = torch.rand(_MATRIX, _MATRIX)
    times = []
    for _ in range(5):
        began = perf_counter()
        torch.mm(one, one)
        times.append(perf_counter() - began)
    return float(2 * _MATRIX**3 / min(times))


def gigabytes(count: float) -> str:
    """Bytes, in the unit that people buy memory in."""
    return f"{count / 2**30:.2f} GiB"
