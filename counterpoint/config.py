"""Every key of a recipe. A recipe is a TOML file; a key that it leaves out has the default given here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

import tomli_w
from pydantic import BaseModel, Field, ValidationError, create_model, model_validator

from counterpoint.errors import ConfigError
from counterpoint.options import Address, Named, Section, Spec, explain
from counterpoint.template import Day

Thinking = Literal["off", "on", "shown"]
LongPrompts = Literal["refuse", "cut"]
_SHORTEST_CUT = 64
"""The fewest tokens to which a prompt may be cut: each half still holds what a chat template adds around a message."""
_ENABLE_THINKING = "enable_thinking"
_PAPER = "paper"
_PAPER_AGGREGATION = {"gspo": "call", "sapo": "call", "reinforce_pp": "call", "dr_grpo": "constant"}
"""Loss or advantage -> the aggregation that its paper uses, where that is not the mean over tokens."""


class ModelConfig(Section):
    """The base model of the policies."""

    path: str = "micro-medium"
    """The base model: a shipped micro model, a folder, a GGUF file, `package:NAME/FILE` (a file in an installed Python
    package), or a name on the Hugging Face hub."""
    revision: str = "main"
    """The commit, tag or branch to load. Used for hub names only."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The precision of the frozen base; adapters are always float32. With bfloat16 sampler and learner round at
    different places, so `run.proof_tolerance` must be larger."""
    device: str = "cpu"
    """The torch device on which sampler and learner compute: "cpu", "cuda", or one GPU such as "cuda:1"."""
    forward: Literal["auto", "packed", "plain", "whole"] = "auto"
    """The forward pass. "packed": no padding, shared prefixes computed once. "plain": for other attention. "whole": for
    layers that keep a state. "auto": the first of them that agrees with full passes over single calls in a test."""
    thinking: Thinking = "off"
    """Reasoning before the answer, for models that support it. "off": no reasoning. "on": the model reasons, and its
    reasoning is hidden from the other roles. "shown": the reasoning is part of the text that the other roles see."""
    reasoning_end: Annotated[str, Field(min_length=1)] = "</think>"
    """The marker that ends the reasoning in a reply. The text of the reply is everything after the last such marker."""
    template: dict[str, bool | int | str] = {}
    """Additional variables for the chat template. `enable_thinking` is always set, from `thinking`."""
    date: Day = ""
    """The day that chat templates are told if they write today's date, such as "2026-11-28". Empty: the day on which
    the run begins; the run records it, and keeps it when it is resumed, evaluated or served."""

    @property
    def template_options(self) -> dict[str, bool | int | str]:
        """All variables that are passed to the chat template."""
        return {_ENABLE_THINKING: self.thinking != "off", **self.template}

    @model_validator(mode="after")
    def _thinks_as_its_template_says(self) -> Self:
        if self.template_options[_ENABLE_THINKING] != (self.thinking != "off"):
            raise ValueError(
                f"template.{_ENABLE_THINKING} = {self.template[_ENABLE_THINKING]!r} contradicts thinking ="
                f" {self.thinking!r}: leave it out, it is set from thinking"
            )
        return self


class UpdateConfig(Section):
    """The training steps in which a policy is updated: step k (from 1) if (k - 1 - start) mod period < steps."""

    period: Annotated[int, Field(ge=1)] = 1
    """The number of training steps after which the pattern repeats; with `period = 2`, every second step."""
    start: Annotated[int, Field(ge=0)] = 0
    """The number of training steps before the pattern begins. Two policies with `period = 20`, `steps = 10`, and
    `start = 0` and `start = 10` take turns."""
    steps: Annotated[int, Field(ge=1)] = 1
    """The number of consecutive training steps per period in which the policy is updated; at most `period`."""

    def due(self, step: int) -> bool:
        """True if the policy is updated in training step `step`, counted from 1."""
        return (step - 1 - self.start) % self.period < self.steps

    def clock(self, step: int) -> int:
        """The number of steps among 1 to `step` in which the policy is updated."""
        periods, rest = divmod(step, self.period)
        return periods * self.steps + sum(self.due(one) for one in range(1, rest + 1))

    @model_validator(mode="after")
    def _fits_its_period(self) -> Self:
        if self.steps > self.period:
            raise ValueError(f"steps = {self.steps} is more than the period of {self.period}")
        return self


class TrainingSettings(Section):
    """The adapter of a policy and its optimizer."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """The rank of the LoRA adapter, which is on all linear layers except the output layer."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """The LoRA scale: the adapter's output is multiplied by alpha / rank."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-5
    """AdamW's learning rate: its highest value, reached after the warm-up."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """The number of training steps over which the learning rate rises linearly from 0. Only steps in which the policy
    is updated count (see `update`)."""
    warmup_from_zero: bool = False
    """The learning rate of step k of the warm-up: with `false` k / warmup of the highest, with `true` (k - 1) / warmup,
    as in verl. The first step then has the rate 0: the optimizer takes in the gradient, and no weight moves."""
    warmup_clock: Literal["policy", "all"] = "policy"
    """The steps that `warmup` counts: the "policy"'s own, or those of "all" trained policies of its base together."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The learning rate after the warm-up: "constant", or a "linear" or "cosine" decay that reaches 0 after the
    policy's last update."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decoupled weight decay."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay rate of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's decay rate of the second moment."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """The largest allowed norm of a policy's gradient, summed over its roles; a longer gradient is scaled down to
    it."""
    trainable: bool = True
    """Train the policy. A policy with `false` is frozen: it generates in the episodes, but its calls are in no loss."""
    adapter: str = ""
    """A folder with a PEFT adapter of the same rank, from which training starts. Empty: the policy starts as its base
    model."""
    update: UpdateConfig = UpdateConfig()
    """The training steps in which the policy is updated; every step by default."""


class PoliciesConfig(TrainingSettings):
    """The assignment of policies to roles, and the settings of all policies."""

    sharing: str | dict[str, str | list[str]] = "isolated"
    """The policies. "shared": one policy for all roles. "isolated": one policy per role. "slots": one policy per role
    and slot. Or a table that gives each role its policy, or a list with one policy per slot."""


class EndpointConfig(Section):
    """A server with OpenAI's chat completions interface that generates for a policy, which cannot be trained."""

    url: Address
    """The base URL of the server, including the version, such as `http://localhost:8000/v1`."""
    model: str
    """The name of the model on the server."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the API key. It need not be set if the server asks for no key."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """The time limit of one request, in seconds."""
    retries: Annotated[int, Field(ge=0, le=20)] = 4
    """The number of further attempts after a lost connection, a time-out, or status 408, 409, 429 or 5xx. The pause
    before each attempt is longer than the one before."""
    concurrency: Annotated[int, Field(ge=1)] = 32
    """The largest number of concurrent requests."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The request field that limits the length of a completion; which of the two names a server expects depends on
    it."""
    body: dict[str, Any] = {}
    """Additional fields of the request body, such as `top_p`."""
    thinking: Thinking = "off"
    """The reading of reasoning in replies, as for `model.thinking`. It is not sent to the server; reasoning that the
    server returns in a field of its own always stays hidden."""
    reasoning_end: Annotated[str, Field(min_length=1)] = "</think>"
    """The marker that ends the reasoning in a reply, as for `model.reasoning_end`."""


class PolicySettings(TrainingSettings):
    """All settings of one policy."""

    model: ModelConfig = ModelConfig()
    """The base model of the policy."""
    endpoint: EndpointConfig | None = None
    """The server that generates for the policy, instead of a base model."""


def _partly(section: type[BaseModel], **replaced: Any) -> Any:
    """The same section, in which every key is optional."""
    hints = get_type_hints(section, include_extras=True)
    fields: dict[str, Any] = {name: (hints[name] | None, None) for name in section.model_fields}
    return create_model(f"Some{section.__name__}", __base__=Section, **{**fields, **replaced})


if TYPE_CHECKING:
    SomePolicySettings = PolicySettings
else:
    SomePolicySettings = _partly(PolicySettings, model=(_partly(ModelConfig) | None, None))


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
    temperature: Annotated[float, Field(gt=0)] = 1.0
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
    """The credit assignment, which gives each call its reward: outcome, own, mix, help_hurt, or your own
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
    temperature: Annotated[float, Field(gt=0)] = 1.0
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
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()

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
