"""Every knob, in one file. A recipe is TOML; what it leaves out has the default given here."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator

from counterpoint.errors import ConfigError, unknown


class Spec(BaseModel):
    """A member of a family: its name and its keyword arguments. In a recipe a bare string is a name."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Section(BaseModel):
    """A table of the recipe: frozen, strict about types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _options_alone_keep_the_default_member(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        named = {key: field.default.name for key, field in cls.model_fields.items() if isinstance(field.default, Spec)}
        return {
            key: {"name": named[key], **value} if key in named and isinstance(value, dict) else value
            for key, value in table.items()
        }


def _as_spec(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Named = Annotated[Spec, BeforeValidator(_as_spec)]
Thinking = Literal["off", "on", "shown"]
LongPrompts = Literal["refuse", "cut"]
_SHORTEST_CUT = 64
"""Tokens whose halves hold what a template puts around a conversation."""
_ENABLE_THINKING = "enable_thinking"


class ModelConfig(Section):
    path: str = "micro-medium"
    """A shipped micro model, a folder, a GGUF file, `package:NAME/FILE` in an installed package, or a hub name."""
    revision: str = "main"
    """Commit, tag or branch, for a hub name."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen base; adapters are float32. bfloat16 rounds merged weights and needs a larger proof_tolerance."""
    device: str = "cpu"
    """Where sampler and learner compute: "cpu", "cuda", "cuda:1"."""
    forward: Literal["auto", "packed", "plain"] = "auto"
    """How it is computed: "packed" has no padding and computes every shared prefix once, "plain" can be had with every
    model; "auto" is packed where a rehearsal gives the same log-probabilities."""
    thinking: Thinking = "off"
    """Whether it is asked to reason first. What a reply reasons is kept from everybody else: "shown" makes it text."""
    reasoning_end: Annotated[str, Field(min_length=1)] = "</think>"
    """What closes the reasoning of a reply; what comes after the last of them is its text."""
    template: dict[str, bool | int | str] = {}
    """Passed to the chat template, as `enable_thinking` is anyway."""

    @property
    def template_options(self) -> dict[str, bool | int | str]:
        """Everything that is passed to the chat template."""
        return {_ENABLE_THINKING: self.thinking != "off", **self.template}

    @model_validator(mode="after")
    def _thinks_as_its_template_says(self) -> Self:
        if self.template_options[_ENABLE_THINKING] != (self.thinking != "off"):
            raise ValueError(
                f"template.{_ENABLE_THINKING} = {self.template[_ENABLE_THINKING]!r} contradicts thinking ="
                f" {self.thinking!r}: leave it out, thinking says it"
            )
        return self


class UpdateConfig(Section):
    """In which training steps a policy is updated: step k (from 1) if (k - 1 - start) mod period < steps."""

    period: Annotated[int, Field(ge=1)] = 1
    """Steps after which the pattern repeats: 2 means every second step."""
    start: Annotated[int, Field(ge=0)] = 0
    """Steps before the pattern begins; two policies with period 20, steps 10, start 0 and 10 take turns."""
    steps: Annotated[int, Field(ge=1)] = 1
    """Steps in a row in which it is updated."""

    def due(self, step: int) -> bool:
        """Whether it is updated in training step `step`, counted from 1."""
        return (step - 1 - self.start) % self.period < self.steps

    def clock(self, step: int) -> int:
        """How many of the training steps up to and with `step` are its own."""
        periods, rest = divmod(step, self.period)
        return periods * self.steps + sum(self.due(one) for one in range(1, rest + 1))

    @model_validator(mode="after")
    def _fits_its_period(self) -> Self:
        if self.steps > self.period:
            raise ValueError(f"steps = {self.steps} is more than the period of {self.period}")
        return self


class TrainingSettings(Section):
    """How the weights of a policy are made and trained."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """LoRA rank, on all linear layers."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """LoRA scale: the adapter's output is multiplied by alpha / rank."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-5
    """Peak, of AdamW."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly, counted on the policy's own clock: its scheduled steps."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: stay, or fall to zero after the policy's last step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled, of AdamW."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """First moment decay, of AdamW."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Second moment decay, of AdamW."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of a policy's joint gradient."""
    trainable: bool = True
    """A policy that is not stays as it is: its calls are part of the episodes and of no loss."""
    adapter: str = ""
    """A folder with a PEFT adapter to start from, of the same rank; without one a policy starts as its base."""
    update: UpdateConfig = UpdateConfig()
    """In which steps it is trained; all of them if left out."""


class PoliciesConfig(TrainingSettings):
    sharing: str | dict[str, str | list[str]] = "isolated"
    """"shared": all roles, one policy. "isolated": a policy a role. "slots": a policy a role and slot. Or a table of
    role = policy, or role = [policy of slot 0, of slot 1, ...]."""


class EndpointConfig(Section):
    """A server with OpenAI's chat completions interface that plays a policy; its weights cannot be trained."""

    url: str
    """Up to and with the version, such as `http://localhost:8000/v1`."""
    model: str
    """What the server calls the model."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; a server without keys needs none."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds for one attempt."""
    retries: Annotated[int, Field(ge=0, le=20)] = 4
    """More attempts after a lost connection, a time-out, or status 408, 409, 429 or 5xx, with growing pauses."""
    concurrency: Annotated[int, Field(ge=1)] = 32
    """Calls under way at once; the others wait."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls the longest completion."""
    body: dict[str, Any] = {}
    """More fields of the request's body, such as `top_p`."""
    thinking: Thinking = "off"
    """How its replies are read, as of a model; the server is not told, and what it keeps apart itself stays apart."""
    reasoning_end: Annotated[str, Field(min_length=1)] = "</think>"
    """As of a model."""


class PolicySettings(TrainingSettings):
    """Everything about one policy."""

    model: ModelConfig = ModelConfig()
    """Its base."""
    endpoint: EndpointConfig | None = None
    """The server that plays it, in place of a base."""


def _partly(section: type[BaseModel], **replaced: Any) -> Any:
    """The same table, in which every key may be left out."""
    hints = get_type_hints(section, include_extras=True)
    fields: dict[str, Any] = {name: (hints[name] | None, None) for name in section.model_fields}
    return create_model(f"Some{section.__name__}", __base__=Section, **{**fields, **replaced})


if TYPE_CHECKING:
    SomePolicySettings = PolicySettings
else:
    SomePolicySettings = _partly(PolicySettings, model=(_partly(ModelConfig) | None, None))


class RolloutConfig(Section):
    tasks_per_step: Annotated[int, Field(ge=1)] = 16
    """Problems a step."""
    group_size: Annotated[int, Field(ge=1)] = 8
    """Episodes a problem."""
    max_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest completion of a call, in tokens."""
    max_prompt_tokens: Annotated[int, Field(ge=1)] = 2048
    """Longest prompt of a call, in tokens."""
    long_prompts: LongPrompts = "refuse"
    """What becomes of a longer one: "refuse" ends its episode with an error, "cut" leaves out its middle."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of sampling while training; top-p and top-k stay off, so that log-probabilities are those of what was sampled."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds an episode may take before it is recorded as failed; waiting for the sampler does not count."""
    judge_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds one verdict may take before it counts as not judged."""

    @model_validator(mode="after")
    def _leaves_enough_of_a_prompt(self) -> Self:
        if self.long_prompts == "cut" and self.max_prompt_tokens < _SHORTEST_CUT:
            raise ValueError(
                f"max_prompt_tokens = {self.max_prompt_tokens} leaves too little of a prompt that is cut: at least"
                f" {_SHORTEST_CUT}"
            )
        return self


class AlgorithmConfig(Section):
    credit: Named = Spec(name="outcome")
    """What a call was worth: outcome, own, mix, help_hurt."""
    advantage: Named = Spec(name="grpo")
    """Against what it is compared: grpo, dr_grpo, rloo, reinforce_pp, role, role_slot, role_turn, prompt, rae,
    hierarchical, grouped."""
    loss: Named = Spec(name="clip")
    """reinforce, clip, gspo, cispo, sapo."""
    aggregation: Named = Spec(name="token")
    """What the policy's loss is a mean over: token, call, constant."""
    role_weights: Literal["calls", "balance"] = "calls"
    """"calls": every call weighs 1. "balance": every role of a policy weighs the same, however often it speaks."""
    anchor: Literal["learner", "sampler"] = "learner"
    """Whose log-probabilities are the old ones of the ratio: the learner's before the step, or the sampler's."""
    correction: Named = Spec(name="none")
    """Of the difference between sampler and learner: none, truncated (token weights), sequence (mask)."""
    kl: Named = Spec(name="none")
    """To the base: none, k1, k2, k3, each with a weight."""
    updates: Annotated[int, Field(ge=1)] = 1
    """Optimizer steps a policy and training step, over as many mini-batches in which its roles have equal parts."""
    calls_per_update: Annotated[int, Field(ge=0)] = 0
    """If not 0, an optimizer step for so many calls of a policy, so that those who speak more take more steps."""
    without_signal: Literal["drop", "keep"] = "drop"
    """Groups that compare nothing are left out of the loss, or stay in its denominators with advantage 0."""
    resample: Annotated[int, Field(ge=0, le=16)] = 0
    """How often, at most, tasks without signal are replaced by others in the same step (dynamic sampling, DAPO)."""
    overlong: Named = Spec(name="keep")
    """What becomes of replies that reached max_tokens: keep, mask (out of the loss), soft (a penalty on the reward)."""


class LearnerConfig(Section):
    max_tokens_per_micro_batch: Annotated[int, Field(ge=1)] = 4096
    """Tokens that go through the model at once; changes no number beyond rounding. A GPU wants more, if they fit."""
    gradient_checkpointing: bool = False
    """Layers are computed again in the backward pass: a third more time, far less memory."""


class EvaluationConfig(Section):
    every: Annotated[int, Field(ge=1)] = 10
    """Steps between evaluations; also before the first step and after the last."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Episodes a problem."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of sampling while evaluating."""


class RunConfig(Section):
    steps: Annotated[int, Field(ge=1)] = 100
    """Training steps."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything random: adapters' initial values, the order of tasks, every call."""
    save_every: Annotated[int, Field(ge=1)] = 10
    """Steps between checkpoints; also before the first step and after the last."""
    patience: Annotated[int, Field(ge=1)] = 3
    """Steps in a row in which every episode failed, after which the run stops."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Of torch on the CPU; 0 is resolved when the run starts: every core, or 1 where other work makes more slower."""
    proof_calls: Annotated[int, Field(ge=0)] = 8
    """Calls a policy and step whose log-probabilities the learner recomputes."""
    proof_tolerance: Annotated[float, Field(gt=0)] = 1e-4
    """Largest difference, in nats a token, between sampler and learner before the run stops."""


class Config(Section):
    """A whole recipe."""

    task: Named = Spec(name="arithmetic")
    sandbox: Named = Spec(name="fork_server")
    """Where the programs of code tasks run: fork_server, bubblewrap, remote."""
    workflow: Named = Spec(name="voting")
    model: ModelConfig = ModelConfig()
    policies: PoliciesConfig = PoliciesConfig()
    policy: dict[str, SomePolicySettings] = {}
    """What is different for some policies: `policy.NAME.KEY`, with the keys of [policies], `model` and `endpoint`."""
    rollout: RolloutConfig = RolloutConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    sampler: Named = Spec(name="in_process")
    learner: LearnerConfig = LearnerConfig()
    runtime: Named = Spec(name="local")
    diagnostics: list[Named] = [Spec(name=name) for name in ("behaviour", "role_gradients", "persistence", "distance")]
    """What is looked at in each step; `docs/metrics.md` says what the numbers are."""
    interventions: list[Named] = []
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()

    def toml(self) -> str:
        """The whole recipe with every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def policy_settings(self, name: str) -> PolicySettings:
        """Everything about a policy: what its table says, else what [policies] and [model] say.

        Raises ConfigError if an endpoint is to be trained, or the tables contradict each other.
        """
        known = self.policies.model_dump(exclude={"sharing"})
        own = self.policy[name].model_dump(exclude_none=True) if name in self.policy else {}
        model = {**self.model.model_dump(), **own.pop("model", {})}
        if "endpoint" in own:
            if own.get("trainable"):
                raise ConfigError(
                    f"policy {name!r} is played by an endpoint, whose weights are out of reach and whose token"
                    f" log-probabilities are not ours: set policy.{name}.trainable = false, or give it a model"
                )
            own["trainable"] = False
        try:
            return PolicySettings.model_validate({**known, **own, "model": model})
        except ValidationError as error:
            raise ConfigError(explain(error, PolicySettings, f"policy.{name}")) from None

    @property
    def cell(self) -> str:
        """The name of this cell of a study: workflow-sharing-model-task-seed."""
        sharing = self.policies.sharing if isinstance(self.policies.sharing, str) else "table"
        model = Path(self.model.path).name.lower().removesuffix(".gguf")
        names = (self.workflow.name, sharing, model, self.task.name)
        return "-".join(name.rpartition(":")[2] for name in names) + f"-s{self.run.seed}"


class _Options(Section):
    """Options of a function: their model is made from its signature, and has no source to look for docstrings in."""

    model_config = ConfigDict(use_attribute_docstrings=False)


def check_options(
    where: str,
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Every option of `function` with its value: the given one, checked, or the default.

    Options are its keyword-only parameters but for those in `skip`, or just the parameters in `only`.

    Raises ConfigError if an option is unknown, of the wrong type, outside the range its annotation gives, or missing.
    """
    empty = inspect.Parameter.empty
    fields: dict[str, Any] = {
        name: (
            Any if parameter.annotation is empty else parameter.annotation,
            ... if parameter.default is empty else parameter.default,
        )
        for name, parameter in _signature(where, function).parameters.items()
        if (name in only if only is not None else parameter.kind is parameter.KEYWORD_ONLY and name not in skip)
    }
    model = create_model(where, __base__=_Options, **fields)
    try:
        return dict(model.model_validate(dict(options)))
    except ValidationError as error:
        raise ConfigError(explain(error, model, where)) from None


def _signature(where: str, function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, TypeError, SyntaxError) as error:
        raise ConfigError(f"{where}: its annotations cannot be read: {error}") from error


def explain(error: ValidationError, model: type[BaseModel], where: str = "", *, beside: Collection[str] = ()) -> str:
    """One line that names the first bad key or value, and what is allowed; at the top also the keys in `beside`."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in (where, *first["loc"]) if part != "" and not _is_union_tag(part))
    if first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        section = ".".join(str(part) for part in (where, *parents) if part != "")
        kind = f"key in [{section}]" if section else "key"
        return unknown(kind, str(key), [*_fields_at(model, parents), *(() if parents else beside)])
    if first["type"] == "missing":
        return f"{path} is required"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{path} = {first['input']!r}: {message}"


def _is_union_tag(part: int | str) -> bool:
    """Whether pydantic put it into a location to say which type of a union it tried."""
    return isinstance(part, str) and (part in ("str", "int", "float", "bool") or "[" in part)


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    table: Any = model
    for part in location:
        if isinstance(table, type) and issubclass(table, BaseModel):
            field = table.model_fields.get(str(part))
            table = None if field is None else _table_in(field.annotation)
        else:  # a table of tables, of which this is one's name
            table = _table_in(get_args(table)[-1]) if get_origin(table) is dict else None
    return list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []


def _table_in(annotation: Any) -> Any:
    """The table that a field holds, where it holds one or None."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) and len(options) == 1 else annotation
