"""The lines of a plan about time: the least that a step takes, and the tokens per second that may be expected."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from counterpoint.errors import ModelError, counted
from counterpoint.family import is_own
from counterpoint.plan.speed import LEARNED, SAMPLED, Rates, learned_per_second, rates_of, sampled_per_second
from counterpoint.policy_config import PolicySettings
from counterpoint.runtimes import is_elsewhere, processes

if TYPE_CHECKING:
    from counterpoint.plan.memory import Look
    from counterpoint.plan.plan import Plan

_ENGINE = "tensor_parallel"
"""The option of vLLM with the number of GPUs of an engine."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def lines_about_time(plan: "Plan", look: "Look") -> list[str]:
    """The floor of a step, and the estimates; of devices that this machine does not have, no seconds are said.

    `look` finds the footprint of a base.
    """
    operations = f"{plan.operations_per_step() / 1e9:.1f} GFLOP"
    own = {name: plan.settings[name] for name in {call.policy for call in plan.rehearsal.calls} if name in plan.sizes}
    if not own:
        return []
    rates, kind = _rates(plan, own)
    if rates is None:
        return [f"time        {operations} per step; the speed of its devices is not known here"]
    devices = _devices(plan, own)
    floor = plan.operations_per_step() / (devices * rates.operations)
    tokens, threads = plan.config.rollout.max_tokens, counted(plan.config.run.threads, "thread")
    where = f"here, {threads}" if kind == "cpu" else "on the GPU"
    each = f" for each of {devices}" if devices > 1 else ""
    return [
        f"time        at least {floor:.2f} s per step if every reply takes {counted(tokens, 'token')}"
        f" ({operations} at the {rates.operations / 1e9:,.0f} GFLOP/s measured {where}{each}):"
        " a floor, not a forecast",
        *_speed_lines(plan, look, rates, kind),
    ]


def _devices(plan: "Plan", own: Mapping[str, PolicySettings]) -> int:
    """The devices that may compute at the same time."""
    samplers, learners = processes(plan.config)
    engines = int(plan.config.sampler.options.get(_ENGINE, 1))
    if not samplers and engines == 1:
        return 1
    return max(1, samplers) * engines + max(1, learners) * len({one.model.path for one in own.values()})


def _rates(plan: "Plan", own: Mapping[str, PolicySettings]) -> tuple[Rates | None, str]:
    """The rates of the devices of all bases, and their kind; None if they are unknown or differ."""
    devices = {(one.model.device.partition(":")[0], one.model.dtype) for one in own.values()}
    kind = next(iter(devices))[0]
    if len(devices) != 1 or kind not in SAMPLED or is_elsewhere(plan.config):
        return None, kind
    largest = max(own, key=lambda name: plan.sizes[name].parameters)
    model = own[largest].model
    return rates_of(model, plan.sizes[largest].parameters * _BYTES[model.dtype], plan.config.run.threads), kind


def _speed_lines(plan: "Plan", look: "Look", rates: Rates, kind: str) -> list[str]:
    samplers, learners = processes(plan.config)
    parts, said = [], []
    if not is_own(plan.config.sampler.name):
        try:
            waves = plan.waves(look)
        except ModelError:  # the line about memory says why
            return []
        engines = plan.config.sampler.options.get(_ENGINE, 1)
        most = sampled_per_second(waves, Rates(engines * rates.operations, engines * rates.bytes))
        parts.append(f"{_round(SAMPLED[kind] * most)} tokens of replies" + (samplers > 1) * " from each sampler")
        said.append(f"{SAMPLED[kind]:.0%}")
    if learned := _learned(plan):
        most = learned_per_second(learned, rates)
        parts.append(f"{_round(LEARNED[kind] * most)} learned from" + (learners > 1) * " by each rank")
        said.append(f"{LEARNED[kind]:.0%}")
    if not parts:
        return []
    return [
        f"speed       about {' and '.join(parts)} per second: an estimate, {' and '.join(said)} of what {rates}"
        " allow, as was reached in benchmarks"
    ]


def _round(number: float) -> str:
    """Two digits of it: no estimate is better."""
    return f"{float(f'{number:.1e}'):,.0f}"


def _learned(plan: "Plan") -> float:
    """The parameters that a token which is learned from passes through, on average over tokens; 0 if none is."""
    said = plan.config.rollout.max_tokens
    found = [
        (len(call.prompt_ids) + said, plan.sizes[call.policy].active)
        for call in plan.rehearsal.calls
        if call.policy in plan.sizes and plan.settings[call.policy].trainable
    ]
    tokens = sum(count for count, _ in found)
    return sum(count * active for count, active in found) / tokens if tokens else 0.0
