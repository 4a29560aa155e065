"""Sections of a recipe and options of family members, and one-line explanations of errors in them."""

import inspect
import json
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PydanticUserError,
    ValidationError,
    create_model,
    model_validator,
)

from counterpoint.errors import ConfigError, unknown


class Spec(BaseModel):
    """The name of a family member and its options. In a recipe, a bare string is a name without options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Section(BaseModel):
    """A table of the recipe: immutable, strict about types, without unknown keys."""

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


def _as_address(text: str) -> str:
    if not re.match(r"https?://[^/\s]", text):
        raise ValueError("input should be an address that begins with http:// or https://")
    if not text.isprintable() or re.search(r"[\s?#]", text):
        raise ValueError("input should be an address without blanks, and without anything from a ? or a # on")
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host:
        raise ValueError("input should be an address whose host and port are as in http://localhost:8000/v1")
    return text


Address = Annotated[str, AfterValidator(_as_address)]
"""The address of a server, below which its paths are."""


def _as_json(table: dict[str, Any]) -> dict[str, Any]:
    for name, value in table.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(f"{name} should be of what JSON has, such as text, finite numbers and lists") from None
    return table


Sent = Annotated[dict[str, Any], AfterValidator(_as_json)]
"""A table that is sent to a server as JSON."""


class _Options(Section):
    """The options of a function. The model is made from its signature, so there is no source to read docstrings
    from.
    """

    # A member that you wrote may have a parameter of any class, which no recipe can give, and which has a default.
    model_config = ConfigDict(use_attribute_docstrings=False, arbitrary_types_allowed=True)


def check_options(
    where: str,
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Every option of `function` with its checked value, or else its default.

    The options are the keyword-only parameters except those in `skip`, or exactly the parameters in `only`.

    Raises ConfigError if an option is unknown, of the wrong type, outside the range its annotation gives, or missing,
    or if a parameter cannot be an option.
    """
    model = _model_of(where, declared_options(where, function, skip=skip, only=only))
    try:
        return dict(model.model_validate(dict(options)))
    except ValidationError as error:
        raise ConfigError(explain(error, model, where)) from None


def _model_of(where: str, fields: dict[str, Any]) -> type[_Options]:
    """The options as a model. Raises ConfigError, in one line, if a parameter has a type that cannot be checked."""
    try:
        model = create_model(where, __base__=_Options, **fields)
        model.model_rebuild()  # raises if a type names a class that is not there
    except (PydanticUserError, NameError) as error:
        first = str(error).split("\n")[0]
        raise ConfigError(f"{where}: its parameters cannot be options: {first}") from error
    return model


def declared_options(
    where: str, function: Callable[..., Any], *, skip: Collection[str] = (), only: Collection[str] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Option -> its type and its default, `...` if it must be given; the options are those of `check_options`.

    Raises ConfigError if a type cannot be read.
    """
    empty = inspect.Parameter.empty
    return {
        name: (
            Any if parameter.annotation is empty else _annotation(where, function, parameter.annotation),
            ... if parameter.default is empty else parameter.default,
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if (name in only if only is not None else parameter.kind is parameter.KEYWORD_ONLY and name not in skip)
    }


def _annotation(where: str, function: Callable[..., Any], annotation: Any) -> Any:
    """The type of an option. Those of other parameters are not looked at: an engine may be needed to know them."""
    if not isinstance(annotation, str):
        return annotation
    declared: Any = inspect.unwrap(getattr(function, "func", function))
    try:
        return eval(annotation, getattr(declared, "__globals__", None) or vars(sys.modules[declared.__module__]))
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise ConfigError(f"{where}: the annotation {annotation!r} cannot be read: {error}") from error


def explain(error: ValidationError, model: type[BaseModel], where: str = "", *, beside: Collection[str] = ()) -> str:
    """One line that names the first wrong key or value and what is allowed; `beside` are further keys of the top
    level.
    """
    first = error.errors()[0]
    path = ".".join(str(part) for part in (where, *first["loc"]) if part != "" and not _is_union_tag(part))
    if first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        section = ".".join(str(part) for part in (where, *parents) if part != "")
        kind = f"key in [{section}]" if section else "key"
        here = [*fields_at(model, parents), *(() if parents else beside)]
        return unknown(kind, str(key), here, _meant(str(key), section, here, model))
    if first["type"] == "missing":
        return f"{path} is required"
    if first["type"] == "model_type" and isinstance(first["input"], str):
        keys = [f"{path}.{key}" for key in fields_at(model, first["loc"])]
        return f"{path} = {first['input']!r}: {path} is a section; allowed are its keys, such as {', '.join(keys[:3])}"
    if not path and first["type"] == "value_error":
        return str(first["ctx"]["error"])  # of the whole recipe: it names the keys itself
    message = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "list_type" and isinstance(first["input"], str):
        message += f", such as {json.dumps([first['input']])}"
    return f"{path} = {first['input']!r}: {message}"


ALIASES: Mapping[str, Sequence[str]] = {
    "lr": ("policies.learning_rate",),
    "lr_scheduler_type": ("policies.schedule",),
    "warmup_steps": ("policies.warmup",),
    "lora_r": ("policies.rank",),
    "lora_rank": ("policies.rank",),
    "lora_alpha": ("policies.alpha",),
    "batch_size": ("rollout.tasks_per_step",),
    "train_batch_size": ("rollout.tasks_per_step",),
    "per_device_train_batch_size": ("rollout.tasks_per_step", "learner.max_tokens_per_micro_batch"),
    "gradient_accumulation_steps": ("learner.max_tokens_per_micro_batch",),
    "mini_batch_size": ("algorithm.calls_per_update",),
    "ppo_mini_batch_size": ("algorithm.calls_per_update",),
    "num_iterations": ("algorithm.updates",),
    "ppo_epochs": ("algorithm.updates",),
    "num_generations": ("rollout.group_size",),
    "n_samples": ("rollout.group_size",),
    "max_new_tokens": ("rollout.max_tokens",),
    "max_completion_length": ("rollout.max_tokens",),
    "max_response_length": ("rollout.max_tokens",),
    "max_prompt_length": ("rollout.max_prompt_tokens",),
    "beta": ("algorithm.kl",),
    "kl_coef": ("algorithm.kl",),
    "clip_range": ("algorithm.loss",),
    "epsilon": ("algorithm.loss",),
    "loss_type": ("algorithm.loss",),
    "adv_estimator": ("algorithm.advantage",),
    "reward_funcs": ("judge",),
    "reward": ("judge",),
    "dataset": ("task",),
    "data": ("task",),
    "epochs": ("run.steps",),
    "num_epochs": ("run.steps",),
    "num_train_epochs": ("run.steps",),
    "max_steps": ("run.steps",),
    "total_steps": ("run.steps",),
    "save_steps": ("run.save_every",),
    "save_freq": ("run.save_every",),
    "eval_steps": ("evaluation.every",),
    "test_freq": ("evaluation.every",),
    "model_name": ("model.path",),
    "model_name_or_path": ("model.path",),
    "base_model": ("model.path",),
    "bf16": ("model.dtype",),
    "torch_dtype": ("model.dtype",),
}
"""The names that other libraries give keys -> the keys here."""


def _meant(key: str, section: str, here: Sequence[str], model: type[BaseModel]) -> list[str]:
    """The keys that somebody who writes `key` in a section with the keys `here` is likely to mean.

    None if it is the nearest one of `here`.
    """
    every = dotted_keys(model)
    exact = [one for one in every if one.rpartition(".")[2] == key]
    below = [one for one in exact if one.startswith(f"{section}.")]
    found = below or _outermost(exact) or [one for one in ALIASES.get(key, ()) if one in every]
    inside = [name for one in found if (name := one.rpartition(".")[2]) in here]
    if found:
        return inside or found
    near = get_close_matches(key, [*here, *(one.rpartition(".")[2] for one in every)], n=1)
    return [] if near and near[0] in here else _outermost([one for one in every if one.rpartition(".")[2] in near])


def _outermost(keys: Sequence[str]) -> list[str]:
    """The keys that are in the fewest sections."""
    least = min((key.count(".") for key in keys), default=0)
    return [key for key in keys if key.count(".") == least]


def dotted_keys(section: type[BaseModel], above: str = "") -> list[str]:
    """Every key of a section and of the sections in it, as `section.key`; not those in tables of tables."""
    keys = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            keys += dotted_keys(inner, f"{above}{name}.")
        else:
            keys.append(f"{above}{name}")
    return keys


def _is_union_tag(part: int | str) -> bool:
    """True if pydantic added this part of a location to tell which type of a union it tried."""
    return isinstance(part, str) and (part in ("str", "int", "float", "bool") or "[" in part)


def fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys of the table at a place of the recipe; none if what is there has no keys of its own."""
    table: Any = model
    for part in location:
        if isinstance(table, type) and issubclass(table, BaseModel):
            field = table.model_fields.get(str(part))
            table = None if field is None else _table_in(field.annotation)
        else:  # a table or a list of tables: this part says which one
            table = _table_in(get_args(table)[-1]) if get_origin(table) in (dict, list) else None
    return list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []


def _table_in(annotation: Any) -> Any:
    """The type of a field, without the None of an optional table."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) and len(options) == 1 else annotation
