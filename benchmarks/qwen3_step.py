"""One training step of a workflow on a Qwen3 of 0.6 B parameters (random weights): time and peak memory.

    python -m benchmarks.qwen3_step --threads 2
    python -m benchmarks.qwen3_step --device cuda --workflows voting,evaluator_optimizer,orchestrator_workers

It is a whole step of the real `train`, 2 problems x 2 episodes, on the CPU in float32 or on a GPU, and the memory
that it took is held against the memory that `--dry-run` promises. Each workflow has a process of its own. What the
model says is noise, and worth something by luck; where it cannot be read, gradients are computed and are 0.
"""

import argparse
import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks._models import SHAPES, folder_of
from counterpoint.family import name_of
from counterpoint.plan.plan import gigabytes, plan
from counterpoint.recipe import load_config
from counterpoint.run import Run
from counterpoint.task import Problem, Score, Task
from counterpoint.tasks.base import Splits
from counterpoint.training import train

ON_A_GPU = [
    "model.dtype='bfloat16'",
    "run.proof_tolerance=2.0",
    "learner.gradient_checkpointing=true",
    "learner.max_tokens_per_micro_batch=51712",
    "rollout.max_prompt_tokens=20480",
]
"""As in the presets, but for the number of tasks and the rank."""


def luck() -> Splits:
    """Problems whose answers are worth something by chance, whatever is said: so that there is something to learn."""
    tasks = [Task(problem=_problem(number), key="1", judge=_by_luck) for number in range(4)]
    return Splits(train=tuple(tasks[:2]), validation=(tasks[2],), test=(tasks[3],))


def _problem(number: int) -> Problem:
    text = f"What is {number + 2} + 3 - 1 + 7? Think of every step, and say what you do."
    return Problem(id=str(number), text=text, answer_format="Write the answer as \\boxed{answer}.", extract=_lot)


def _lot(reply: str) -> str:
    return str(hashlib.sha256(reply.encode()).digest()[0])


async def _by_luck(answer: str, key: str) -> Score:
    return Score(reward=int(answer) / 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b-shape")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--device", default="cpu", help="on a GPU in bfloat16, with gradient checkpointing")
    parser.add_argument("--workflows", default="evaluator_optimizer", metavar="NAME,...")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        _apart(folder_of, given.shape, Path(place) / "model")
        for workflow in given.workflows.split(","):
            _apart(_measure, Path(place), workflow, given.threads, given.max_tokens, given.device)


def _apart(work: Callable[..., Any], *arguments: Any) -> None:
    """The work is done by a process of its own, whose memory is not that of any other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        elsewhere.submit(work, *arguments).result()


def _measure(place: Path, workflow: str, threads: int, max_tokens: int, device: str) -> None:
    config = load_config(
        f"{workflow}_arithmetic",
        [
            f"model.path={str(place / 'model')!r}",
            f'task={{name="{name_of(luck, "task")}"}}',
            "rollout.tasks_per_step=2",
            "rollout.group_size=2",
            "algorithm.without_signal=keep",
            f"rollout.max_tokens={max_tokens}",
            "evaluation.every=2",
            "policies.rank=16",
            "run.steps=1",
            "run.save_every=2",
            f"run.threads={threads}",
            *(ON_A_GPU if device != "cpu" else []),
            f"model.device={device!r}",
        ],
    )
    promised = plan(config).memory()
    before = _peak() if device == "cpu" else 0
    began = perf_counter()
    folder = place / workflow
    with Run.create(folder, config, {}) as run:
        asyncio.run(train(run))
    numbers = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8"))
    taken = torch.cuda.max_memory_allocated() if device != "cpu" else _peak() - before
    print(f"{workflow}: step {numbers['time/step']:.1f} s, of which learning {numbers['time/learn']:.1f} s;", end=" ")
    print(f"the run, with its evaluations, {perf_counter() - began:.0f} s, {threads} threads")
    trained = {name: value for name, value in numbers.items() if name.endswith("/trained")}
    print(f"policies trained: {trained}; mismatch: {[v for k, v in numbers.items() if k.endswith('/mismatch')]}")
    print(f"memory promised {gigabytes(promised.peak)}, taken {gigabytes(taken)} beside {gigabytes(before)} before")
    print(f"promised / taken = {promised.peak / taken:.2f}", flush=True)


def _peak() -> int:
    """Bytes that this process has had at most; getrusage would count the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
