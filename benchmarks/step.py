"""A training step of one policy that answers alone, against TRL's GRPOTrainer: same model, prompts, group and lengths.

Ours is the real `train`: sampling, judging, proofs, diagnostics, one update, and everything that is written down. No
reply ends before its last token, and groups without signal are learned from as well, so that both sides do the same
work. TRL runs without gradient checkpointing, which it would use by default.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks._models import endless
from benchmarks._peers import Peer, PeerError
from benchmarks._timing import in_turns, ratio
from benchmarks._training import Training, stepwise
from benchmarks._work import ALONE_ON_A_GPU
from benchmarks.base import Figure, Missing, Setting, Target
from counterpoint.config import Config
from counterpoint.tasks import load_tasks
from counterpoint.workflows._prompts import solve

TARGETS = {"cpu": Target(">=", 4.0), "cuda": Target(">=", 10.0)}
NAME = "TRL's step / ours"
TOLERANCE = {"float32": 1e-4, "bfloat16": 2.0}
"""Of the proof that sampler and learner agree: bfloat16 rounds in both, at different places."""
PARTS = 4
"""Micro-batches of TRL's step: with one, or eight, it was no faster."""


def step(setting: Setting) -> Iterator[Figure | Missing]:
    target = TARGETS["cpu" if setting.device == "cpu" else "cuda"]
    tasks, group, tokens = setting.size((32, 8, 32) if setting.device == "cpu" else (8, 8, 256), (2, 2, 4))
    with tempfile.TemporaryDirectory() as folder:
        config = recipe(endless(setting, Path(folder) / "model"), tasks, group, tokens, setting)
        try:
            with (
                Peer("trl", "trl_step.py", setting, work_of(config)) as trl,
                Training(config, Path(folder) / "run") as ours,
            ):
                ours.step()  # TRL has taken its first step, too, by the time it is ready
                seconds = in_turns({"trl": trl.measure, "ours": ours.step}, setting.repeats, warm=0)
                facts = {
                    "work": f"{tasks} prompts x {group}, {tokens} tokens each, LoRA of rank {config.policies.rank}",
                    "peer": trl.ready["version"],
                    "tokens": {"trl": trl.ready["tokens"], "ours": tokens_of(ours.numbers, tasks * group)},
                }
        except PeerError as error:
            yield Missing(name=NAME, reason=str(error), target=target)
        else:
            yield ratio(NAME, seconds, over="trl", under="ours", target=target, **facts)


def recipe(model: Path, tasks: int, group: int, tokens: int, setting: Setting) -> Config:
    """Ours, with the same work in every step."""
    return stepwise(
        {
            "model": {"path": str(model), "device": setting.device, "dtype": setting.dtype},
            "task": {"name": "arithmetic", "operands": 3, "high": 30},
            "workflow": "single",
            "policies": {"rank": 16, "alpha": 32.0, "learning_rate": 1e-6},
            "rollout": {"tasks_per_step": tasks, "group_size": group, "max_tokens": tokens},
            "algorithm": {"without_signal": "keep"},
            "learner": {} if setting.device == "cpu" else {"max_tokens_per_micro_batch": ALONE_ON_A_GPU},
        },
        threads=setting.threads,
        proof_tolerance=TOLERANCE[setting.dtype],
    )


def work_of(config: Config) -> dict[str, Any]:
    """The same, as the peer is told it."""
    rollouts, policies = config.rollout, config.policies
    return {
        "model": config.model.path,
        "device": config.model.device,
        "dtype": config.model.dtype,
        "prompts": [solve(task.problem) for task in load_tasks(config.task, config.sandbox).train],
        "tasks": rollouts.tasks_per_step,
        "group": rollouts.group_size,
        "tokens": rollouts.max_tokens,
        "parts": min(PARTS, rollouts.tasks_per_step),
        "rank": policies.rank,
        "alpha": policies.alpha,
        "learning_rate": policies.learning_rate,
    }


def tokens_of(numbers: Mapping[str, float], calls: int) -> int:
    return round(numbers["role/generator/tokens"] * calls)
