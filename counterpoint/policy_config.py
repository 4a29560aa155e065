"""The keys of a recipe that say what a policy is: its base model, its adapter and optimizer, or its endpoint."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

from pydantic import BaseModel, Field, create_model, model_validator

from counterpoint.options import Address, Section, Sent
from counterpoint.template import Day

Thinking = Literal["off", "on", "shown"]
_ENABLE_THINKING = "enable_thinking"


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
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 32.0
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
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
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
    """A folder with a PEFT adapter of the same rank and alpha, from which training starts. Empty: the policy starts as
    its base model."""
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
    body: Sent = {}
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
