#!/usr/bin/env python
"""What looking costs: a training step with every diagnostic against one with none, side by side in one run.

    python benchmarks/diagnostics.py [--recipe voting_arithmetic] [--repeats 9] [key=value ...]

The same episodes are learned from again and again, in turns: without diagnostics, with all of them, and with slots
apart as in every fifth step. A step is what `train` does but for the optimizer: act, judge, gradients, looks. Printed
are medians and their ratios; the noise is the interquartile range of the first over its median.
"""

import argparse
import asyncio
import statistics
from functools import partial
from time import perf_counter

from counterpoint.act import act
from counterpoint.algorithms import build_algorithm, build_loss
from counterpoint.algorithms.base import in_loss
from counterpoint.diagnostics import build_diagnostics
from counterpoint.diagnostics.base import Diagnostics, Step
from counterpoint.episode import Group
from counterpoint.learn import trainable
from counterpoint.policy import routing, settings_of
from counterpoint.recipe import load_config
from counterpoint.rollout import Stage
from counterpoint.runtimes import open_runtime
from counterpoint.tasks import load_tasks
from counterpoint.train import limits_of
from counterpoint.workflows import load_workflow


async def measure(recipe: str, overrides: list[str], repeats: int) -> dict[str, list[float]]:
    """Seconds of each step, by what it looks at; the last kind is what acting alone takes."""
    config = load_config(recipe, overrides)
    workflow, tasks = load_workflow(config.workflow), load_tasks(config.task, config.sandbox)
    routes = routing(config.policies.sharing, workflow.slots)
    algorithm = build_algorithm(config, workflow.roles, trainable(settings_of(routes, config)))
    loss, limits = build_loss(config), limits_of(config, config.rollout.temperature)
    looking = {"none": build_diagnostics([]), "all": build_diagnostics(config.diagnostics)}
    seconds: dict[str, list[float]] = {"acting": []}
    async with tasks.judging, open_runtime(config, routes) as runtime:
        learner = runtime.learner
        await runtime.sampler.load(learner.adapters())
        stage = Stage(workflow=workflow, routing=routes, sampler=runtime.sampler, chats=runtime.chats)

        def learn(groups: list[Group], diagnostics: Diagnostics, index: int) -> None:
            samples = algorithm.samples(groups)
            apart = diagnostics.slots_apart(index)
            contributions = learner.backward(in_loss(samples), loss, slots_apart=apart)
            diagnostics.look(Step(index, groups, samples, contributions, learner.base_logprobs))

        for repeat in range(repeats + 1):
            began = perf_counter()
            groups = await act(stage, tasks.train, limits, config, algorithm, step=1)
            acting = perf_counter() - began
            kinds = {
                "none": partial(learn, groups, looking["none"], 1),
                "all": partial(learn, groups, looking["all"], 1),
                "all, slots apart": partial(learn, groups, looking["all"], 5),
            }
            for name, work in kinds.items():
                began = perf_counter()
                work()
                if repeat:  # the first warms up
                    seconds.setdefault(name, []).append(acting + perf_counter() - began)
            if repeat:
                seconds["acting"].append(acting)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="voting_arithmetic")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("overrides", nargs="*", default=["policies.sharing=shared"])
    given = parser.parse_args()
    found = asyncio.run(measure(given.recipe, given.overrides, given.repeats))
    low, _, high = statistics.quantiles(found["none"], n=4)
    base = statistics.median(found["none"])
    print(f"{given.recipe} {' '.join(given.overrides)}, {given.repeats} repeats, noise {(high - low) / base:.1%}")
    for name, values in found.items():
        middle = statistics.median(values)
        ratio = statistics.median(value / plain for value, plain in zip(values, found["none"], strict=True))
        print(f"{name:18} {middle:7.3f} s   {ratio:.3f} x")


if __name__ == "__main__":
    main()
