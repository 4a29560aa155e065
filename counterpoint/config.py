"""Every knob, in one file. A recipe is TOML; what it leaves out has the default given here."""

import copy
import inspect
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator

from counterpoint.errors import ConfigError, unknown

_PACKAGE = Path(__file__).parent
RECIPE_FOLDERS = (Path("recipes"), _PACKAGE / "recipes", _PACKAGE.parent / "recipes")


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


class ModelConfig(Section):
    path: str = "micro-medium"
    """A shipped micro model, a folder, a GGUF file, `package:NAME/FILE` in an installed package, or a hub name."""
    revision: str = "main"
    """Commit, tag or branch, for a hub name."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen base; adapters are float32. bfloat16 rounds merged weights and needs a larger proof_tolerance."""
    device: str = "cpu"
    """Where sampler and learner compute: "cpu", "cuda", "cuda:1"."""
    template: dict[str, bool | int | str] = {}
    """Passed to the chat template, such as `enable_thinking = false`."""


class PoliciesConfig(Section):
    sharing: str | dict[str, str] = "isolated"
    """"shared": all roles, one policy. "isolated": a policy a role. Or a table of role = policy."""
    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """LoRA rank, on all linear layers."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """LoRA scale: the adapter's output is multiplied by alpha / rank."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-5
    """Peak, of AdamW."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly; one clock for all policies: the training step."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After the warm-up: stay, or fall to zero at the last step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled, of AdamW."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """First moment decay, of AdamW."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Second moment decay, of AdamW."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of a policy's joint gradient."""


class RolloutConfig(Section):
    tasks_per_step: Annotated[int, Field(ge=1)] = 16
    """Problems a step."""
    group_size: Annotated[int, Field(ge=1)] = 8
    """Episodes a problem."""
    max_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest completion of a call, in tokens."""
    max_prompt_tokens: Annotated[int, Field(ge=1)] = 2048
    """A longer prompt ends its episode with an error; nothing is cut."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of sampling while training; top-p and top-k stay off, so that log-probabilities are those of what was sampled."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds an episode may take before it is recorded as failed; waiting for the sampler does not count."""
    judge_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds one verdict may take before it counts as not judged."""


class AlgorithmConfig(Section):
    credit: Named = Spec(name="outcome")
    """What a call was worth: outcome, own."""
    advantage: Named = Spec(name="grpo")
    """Against whom it is compared: grpo, dr_grpo, rloo, role, role_slot."""
    loss: Named = Spec(name="clip")
    """reinforce, clip."""
    aggregation: Named = Spec(name="token")
    """What the policy's loss is a mean over: token, call."""


class LearnerConfig(Section):
    max_tokens_per_micro_batch: Annotated[int, Field(ge=1)] = 16384
    """Tokens, padding included, that go through the model at once; bounds memory, changes no number beyond rounding."""


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
    threads: Annotated[int, Field(ge=0)] = 0
    """Of torch on the CPU; 0 means every core this process may use, and is resolved when the run starts."""
    proof_calls: Annotated[int, Field(ge=0)] = 8
    """Calls a policy and step whose log-probabilities the learner recomputes."""
    proof_tolerance: Annotated[float, Field(gt=0)] = 1e-4
    """Largest difference, in nats a token, between sampler and learner before the run stops."""


class Config(Section):
    """A whole recipe."""

    task: Named = Spec(name="arithmetic")
    workflow: Named = Spec(name="voting")
    model: ModelConfig = ModelConfig()
    policies: PoliciesConfig = PoliciesConfig()
    rollout: RolloutConfig = RolloutConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    sampler: Named = Spec(name="in_process")
    learner: LearnerConfig = LearnerConfig()
    runtime: Named = Spec(name="local")
    diagnostics: list[Named] = [Spec(name="behaviour"), Spec(name="role_gradients")]
    interventions: list[Named] = []
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()

    def toml(self) -> str:
        """The whole recipe with every default written out."""
        return tomli_w.dumps(self.model_dump())

    @property
    def cell(self) -> str:
        """The name of this cell of a study: workflow-sharing-model-task-seed."""
        sharing = self.policies.sharing if isinstance(self.policies.sharing, str) else "table"
        model = Path(self.model.path).name.lower().removesuffix(".gguf")
        names = (self.workflow.name, sharing, model, self.task.name)
        return "-".join(name.rpartition(":")[2] for name in names) + f"-s{self.run.seed}"


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The recipe with the overrides (`section.key=value`) applied.

    `recipe` is a TOML file, a folder with a `run.toml`, or the name of a folder in `recipes/`.
    Raises ConfigError that names the bad key or value and what is allowed.
    """
    path = find_recipe(str(recipe))
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return config_from(override_table(table, overrides))


def override_table(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The table with every `section.key=value` set in it. Raises ConfigError if one is malformed."""
    changed = copy.deepcopy(dict(table))
    for override in overrides:
        _set(changed, override)
    return changed


def config_from(table: Mapping[str, Any]) -> Config:
    """The recipe that a plain table describes. Raises ConfigError."""
    try:
        return Config.model_validate(dict(table))
    except ValidationError as error:
        raise ConfigError(_explain(error, Config)) from None


def find_recipe(name: str) -> Path:
    """The TOML file that `name` means. Raises ConfigError with the names that exist."""
    here = Path(name)
    candidates = [here, here / "run.toml", *(folder / name / "run.toml" for folder in RECIPE_FOLDERS)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = {path.parent.name for folder in RECIPE_FOLDERS for path in folder.glob("*/run.toml")}
    raise ConfigError(unknown("recipe", name, known) + " (or the path of a TOML file)")


def check_options(
    where: str, function: Callable[..., Any], options: Mapping[str, Any], *, skip: Collection[str] = ()
) -> dict[str, Any]:
    """Every keyword option of `function` with its value: the given one, checked, or the default.

    Raises ConfigError if an option is unknown, of the wrong type, outside the range its annotation gives, or missing.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in skip
    }
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in parameters.items()
    }
    model = create_model(where, __base__=Section, **fields)
    try:
        return dict(model.model_validate(dict(options)))
    except ValidationError as error:
        raise ConfigError(_explain(error, model, where)) from None


def _set(table: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"override {override!r} must read section.key=value")
    *parents, last = key.strip().split(".")
    node = table
    for depth, parent in enumerate(parents):
        if isinstance(node.get(parent), str):
            node[parent] = {"name": node[parent]} if _is_spec(parents[: depth + 1]) else {}
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is not a table")
    node[last] = _value(text.strip())


def _is_spec(path: Sequence[str]) -> bool:
    """Whether the recipe has a member of a family at this place."""
    model: type[BaseModel] = Config
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return False
        model = field.annotation
    return model is Spec


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, model: type[BaseModel], where: str = "") -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in (where, *first["loc"]) if part != "" and not _is_union_tag(part))
    if first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        section = ".".join(str(part) for part in (where, *parents) if part != "")
        kind = f"key in [{section}]" if section else "key"
        return unknown(kind, str(key), _fields_at(model, parents))
    if first["type"] == "missing":
        return f"{path} is required"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{path} = {first['input']!r}: {message}"


def _is_union_tag(part: int | str) -> bool:
    """Whether pydantic put it into a location to say which type of a union it tried."""
    return isinstance(part, str) and (part in ("str", "int", "float", "bool") or "[" in part)


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = None if field is None else field.annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
