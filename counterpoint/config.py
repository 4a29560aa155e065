"""Every key of a recipe. A recipe is a TOML file; a key that it leaves out has the default given here.

The sections of models and policies are in `policy_config.py`, and can be imported from here too.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from counterpoint.errors import ConfigError
from counterpoint.options import Named, Section, Spec, explain
from counterpoint.policy_config import EndpointConfig as EndpointConfig
from counterpoint.policy_config import ModelConfig as ModelConfig
from counterpoint.policy_config import PoliciesConfig as PoliciesConfig
from counterpoint.policy_config import PolicySettings as PolicySettings
from counterpoint.policy_config import SomePolicySettings as SomePolicySettings
from counterpoint.policy_config import Thinking as Thinking
from counterpoint.policy_config import TrainingSettings as TrainingSettings
from counterpoint.policy_config import UpdateConfig as UpdateConfig

LongPrompts = Literal["refuse", "cut"]
_SHORTEST_CUT = 64
"""The fewest tokens to which a prompt may be cut: each half still holds what a chat template adds around a message."""
_PAPER = "paper"
_PAPER_AGGREGATION = {"gspo": "call", "sapo": "call", "reinforce_pp": "call", "dr_grpo": "constant"}
"""Loss or advantage -> the aggregation that its paper uses, where that is not the mean over tokens."""


class RolloutConfig(Section):
    """The episodes of a training step, and the limits of their calls."""

    tasks_per_step: Annotated[int, Field(ge=1)] = 16
    """The number of tasks per training step."""
    group_size: Annotated[int, Field(ge=1)] = 8
    """The number of episodes per task and training step: the size of a group."""
    max_tokens: Annotated[int, Field(ge=1)] = 64
    """The largest number of tokens that one call may generate."""
    max_prompt_tokens: Annotated[int, Field(ge=1)] = 2048
    """The largest number of tokens in the prompt of one call."""
    long_prompts: LongPrompts = "refuse"
    """The treatment of prompts longer than `max_prompt_tokens`. "refuse": the episode ends with an error. "cut": tokens
    in the middle of the prompt are left out."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The sampling temperature in training episodes, without top-p and top-k: the recorded log-probabilities are those
    of the distribution that was sampled from."""
    max_calls: Annotated[int, Field(ge=1)] = 1000
    """The largest number of calls in one episode; an episode with more is recorded as failed."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """The time limit of an episode, in seconds; a longer episode is recorded as failed. Time spent waiting for the
    sampler does not count."""
    judge_timeout: Annotated[float, Field(gt=0)] = 30.0
    """The time limit for judging one answer, in seconds; an answer that takes longer counts as not judged."""

    @model_validator(mode="after")
    def _leaves_enough_of_a_prompt(self) -> Self:
        if self.long_prompts == "cut" and self.max_prompt_tokens < _SHORTEST_CUT:
            given = f"max_prompt_tokens = {self.max_prompt_tokens}"
            raise ValueError(f'{given} is too little for long_prompts = "cut": at least {_SHORTEST_CUT}')
        return self


class AlgorithmConfig(Section):
    """The reinforcement-learning algorithm: credit, advantage, loss and update schedule."""

    name: str = ""
    """A named algorithm, which sets the keys of this section that the recipe leaves out: grpo, dapo, dr_grpo, rloo,
    reinforce_pp, gspo, cispo, sapo, dr_mas, at_grpo, spiral, study, or your own `module:name`. Empty: every key that is
    left out has the default given here."""
    credit: Named = Spec(name="outcome")
    """The credit assignment, which gives each call its reward: outcome, own, mix, help_hurt, added, or your own
    `module:name`."""
    advantage: Named = Spec(name="grpo")
    """The advantage, which compares the rewards of calls: grpo, dr_grpo, rloo, reinforce_pp, role, role_slot,
    role_turn, prompt, rae, hierarchical, grouped, or your own `module:name`."""
    loss: Named = Spec(name="clip")
    """The policy-gradient loss of each token: reinforce, clip, gspo, cispo, sapo, or your own `module:name`."""
    aggregation: Named = Spec(name=_PAPER)
    """The aggregation of token losses into one loss. "token": the mean over all tokens. "call": the mean over calls of
    the mean over their tokens. "constant": the sum over the tokens of a call, divided by a constant length. "paper":
    the aggregation in the paper of the loss or advantage, which is call for gspo, sapo and reinforce_pp, constant for
    dr_grpo, and token for all others."""
    role_weights: Literal["calls", "balance"] = "calls"
    """The weights of roles in the loss of a policy. "calls": every call has weight 1. "balance": every role of the
    policy has the same total weight, however many calls it has."""
    old_logprobs: Literal["learner", "sampler"] = "learner"
    """The old log-probabilities in the ratio: computed by the "learner" before the step, or recorded by the
    "sampler"."""
    correction: Named = Spec(name="none")
    """The importance-sampling correction for the difference between sampler and learner: none, truncated (a capped
    weight per token), or sequence (a mask on whole calls)."""
    kl: Named = Spec(name="none")
    """The KL penalty towards the base model: none, or one of the estimators k1, k2, k3, each with a `weight`."""
    updates: Annotated[int, Field(ge=1)] = 1
    """The number of optimizer steps per policy and training step. The calls are split into that many mini-batches, with
    the calls of each role spread equally over them."""
    calls_per_update: Annotated[int, Field(ge=0)] = 0
    """The number of calls per optimizer step, so that a policy with more calls takes more steps; 0: use `updates`."""
    without_signal: Literal["drop", "keep"] = "drop"
    """The treatment of groups without signal, whose rewards are all equal. "drop": they are left out of the loss.
    "keep": they stay in it with advantage 0 and count in its denominators."""
    resample: Annotated[int, Field(ge=0, le=16)] = 0
    """The largest number of times per step that tasks without signal are replaced by others (dynamic sampling, as in
    DAPO)."""
    overlong: Named = Spec(name="keep")
    """The treatment of replies that reached `rollout.max_tokens`: keep, mask (left out of the loss), or soft (a penalty
    on the reward)."""

    @model_validator(mode="before")
    @classmethod
    def _aggregates_as_the_paper_does(cls, table: Any) -> Any:
        if not isinstance(table, dict) or _name_in(table, "aggregation", _PAPER) != _PAPER:
            return table
        names = (_name_in(table, "loss", "clip"), _name_in(table, "advantage", "grpo"))
        found = next((_PAPER_AGGREGATION[name] for name in names if name in _PAPER_AGGREGATION), "token")
        given = table.get("aggregation")
        return {**table, "aggregation": {**(given if isinstance(given, dict) else {}), "name": found}}


def _name_in(table: dict[str, Any], key: str, default: str) -> Any:
    """The member that the table names at `key`, or the default."""
    value = table.get(key, default)
    if isinstance(value, dict):
        return value.get("name", default)
    return value.name if isinstance(value, Spec) else value


class LearnerConfig(Section):
    """The computation of gradients."""

    max_tokens_per_micro_batch: Annotated[int, Field(ge=1)] = 4096
    """The largest number of tokens in one forward and backward pass. Results differ only by rounding; a GPU is faster
    with more tokens, as far as its memory allows."""
    gradient_checkpointing: bool = False
    """Compute the layers again in the backward pass instead of storing their activations: about a third more time, far
    less memory."""


class EvaluationConfig(Section):
    """Evaluations on the validation and the test split during training."""

    every: Annotated[int, Field(ge=1)] = 10
    """The number of training steps between evaluations. The policies are also evaluated before the first step and after
    the last."""
    samples: Annotated[int, Field(ge=1)] = 1
    """The number of episodes per task in each evaluation."""
    final_samples: Annotated[int, Field(ge=0)] = 0
    """The number of episodes per task with which the checkpoints of the base, the peak and the last three evaluations
    are evaluated again on the test split when training ends; 0: they are not. The summary is made from these. Every
    evaluation needs a checkpoint, so `run.save_every` must divide `every`."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The sampling temperature in evaluations."""


class RunConfig(Section):
    """The length, seed, checkpoints and checks of a training run."""

    steps: Annotated[int, Field(ge=1)] = 100
    """The number of training steps."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The seed of all randomness: the initial weights of adapters, the order of tasks, and the sampling of every
    call."""
    save_every: Annotated[int, Field(ge=1)] = 10
    """The number of training steps between checkpoints. Checkpoints are also saved before the first step and after the
    last."""
    overlap: Annotated[int, Field(ge=0)] = 0
    """The number of steps that are played ahead. 1: while a step is learned, the next one is played with the weights
    that were published last, which saves time where sampler and learner have hardware of their own. Steps that evaluate
    or save a checkpoint are learned alone."""
    patience: Annotated[int, Field(ge=1)] = 3
    """The number of consecutive training steps in which every episode fails, after which the run stops with an
    error."""
    threads: Annotated[int, Field(ge=0)] = 0
    """The number of torch threads on the CPU. 0: chosen when the run starts, either one per core, or 1 if other work on
    the machine makes several threads slower than one."""
    proof_calls: Annotated[int, Field(ge=0)] = 8
    """The number of calls per policy and step whose log-probabilities the learner recomputes and compares with the
    sampler's."""
    proof_tolerance: Annotated[float, Field(gt=0)] = 1e-4
    """The largest allowed difference between the log-probabilities of sampler and learner, in nats per token; above it
    the run stops with an error."""
    proof_spoken: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """The least correlation between sampler and learner of the change that an adapter makes to log-probabilities, and
    the least part of it that the sampler makes; below it the run stops with an error. 0: never."""


class Config(Section):
    """A recipe."""

    task: Named = Spec(name="arithmetic")
    """The task set, which supplies the problems, or your own `module:name`."""
    sandbox: Named = Spec(name="fork_server")
    """The sandbox in which the programs of code tasks run: fork_server, bubblewrap, or remote."""
    judge: Named = Spec(name="task")
    """The judge, which scores answers: task (each task's own judge), text, number, mathematics, or a function of your
    own, `my_module:my_judge`, with its own options and with `seconds`, `workers` and `at_once`."""
    workflow: Named = Spec(name="voting")
    """The workflow, which defines the roles and when each is called, or your own `module:name`."""
    model: ModelConfig = ModelConfig()
    policies: PoliciesConfig = PoliciesConfig()
    policy: dict[str, SomePolicySettings] = {}
    """Settings of single policies: `policy.NAME.KEY` overrides a key of [policies] or [model] for policy NAME, or gives
    it an `endpoint`."""
    rollout: RolloutConfig = RolloutConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    sampler: Named = Spec(name="in_process")
    """The engine that generates the replies, or your own `module:name`."""
    learner: LearnerConfig = LearnerConfig()
    runtime: Named = Spec(name="local")
    """The arrangement of sampler and learner in processes."""
    diagnostics: list[Named] = [Spec(name=name) for name in ("behaviour", "role_gradients", "persistence", "distance")]
    """The diagnostics that are computed in each training step; `docs/metrics.md` defines their numbers."""
    interventions: list[Named] = []
    """The interventions, which change training steps, in the order in which they are applied."""
    signatures: list[Named] = []
    """Your own failure signatures, `module:NAME`, which are searched for in addition to the shipped ones."""
    track: list[Named] = []
    """The trackers that the run's numbers are sent to while it trains: wandb, trackio, tensorboard, mlflow, or your own
    `module:NAME`."""
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _has_a_checkpoint_of_every_evaluation(self) -> Self:
        every, save_every = self.evaluation.every, self.run.save_every
        if self.evaluation.final_samples and every < self.run.steps and every % save_every:
            raise ValueError(
                f"evaluation.final_samples = {self.evaluation.final_samples}: run.save_every = {save_every} must divide"
                f" evaluation.every = {every}, or the peak may have no checkpoint that can be evaluated again"
            )
        return self

    @model_validator(mode="after")
    def _can_play_ahead(self) -> Self:
        if self.run.overlap == 0:
            return self
        if self.run.overlap > 1:
            raise ValueError(
                f"run.overlap = {self.run.overlap}: at most one step is played ahead, so that no step learns from"
                " weights that are more than one step behind; allowed: 0, 1"
            )
        if self.sampler.name == "in_process" and self.runtime.name == "local":
            raise ValueError(
                "run.overlap = 1: sampler = 'in_process' in runtime = 'local' generates and learns in one process, so"
                " that nothing would run at the same time; use run.overlap = 0, or another sampler or runtime"
            )
        if self.algorithm.old_logprobs == "learner" and self.algorithm.correction.name == "none":
            raise ValueError(
                "run.overlap = 1: steps learn from replies of older weights, which algorithm.old_logprobs = 'learner'"
                " with algorithm.correction = 'none' does not account for; use algorithm.old_logprobs = 'sampler', or"
                " algorithm.correction = 'truncated' or 'sequence'"
            )
        return self

    def toml(self) -> str:
        """The recipe as TOML, with every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def policy_settings(self, name: str) -> PolicySettings:
        """The settings of a policy: those in its own table, then those in [policies] and [model].

        Raises ConfigError if a policy of an endpoint is to be trained, or if the tables contradict each other.
        """
        known = self.policies.model_dump(exclude={"sharing"})
        own = self.policy[name].model_dump(exclude_none=True) if name in self.policy else {}
        model = {**self.model.model_dump(), **own.pop("model", {})}
        if "endpoint" in own:
            if own.get("trainable"):
                raise ConfigError(
                    f"policy {name!r} uses an endpoint, which cannot be trained because it gives neither weights nor"
                    f" log-probabilities of its tokens: set policy.{name}.trainable = false, or give it a model"
                )
            own["trainable"] = False
        try:
            return PolicySettings.model_validate({**known, **own, "model": model})
        except ValidationError as error:
            raise ConfigError(explain(error, PolicySettings, f"policy.{name}")) from None

    @property
    def cell(self) -> str:
        """The name of this recipe within a study: workflow-sharing-model-task-seed."""
        sharing = self.policies.sharing if isinstance(self.policies.sharing, str) else "table"
        model = Path(self.model.path).name.lower().removesuffix(".gguf")
        names = (self.workflow.name, sharing, model, self.task.name)
        return "-".join(name.rpartition(":")[2] for name in names) + f"-s{self.run.seed}"
