"""Sections of a recipe and options of family members, and one-line explanations of errors in them."""

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model, model_validator

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


class _Options(Section):
    """The options of a function. The model is made from its signature, so there is no source to read docstrings
    from.
    """

    model_config = ConfigDict(use_attribute_docstrings=False)


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

    Raises ConfigError if an option is unknown, of the wrong type, outside the range its annotation gives, or missing.
    """
    empty = inspect.Parameter.empty
    fields: dict[str, Any] = {
        name: (
            Any if parameter.annotation is empty else _annotation(where, function, parameter.annotation),
            ... if parameter.default is empty else parameter.default,
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if (name in only if only is not None else parameter.kind is parameter.KEYWORD_ONLY and name not in skip)
    }
    model = create_model(where, __base__=_Options, **fields)
    try:
        return dict(model.model_validate(dict(options)))
    except ValidationError as error:
        raise ConfigError(explain(error, model, where)) from None


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
        return unknown(kind, str(key), [*_fields_at(model, parents), *(() if parents else beside)])
    if first["type"] == "missing":
        return f"{path} is required"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{path} = {first['input']!r}: {message}"


def _is_union_tag(part: int | str) -> bool:
    """True if pydantic added this part of a location to tell which type of a union it tried."""
    return isinstance(part, str) and (part in ("str", "int", "float", "bool") or "[" in part)


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    table: Any = model
    for part in location:
        if isinstance(table, type) and issubclass(table, BaseModel):
            field = table.model_fields.get(str(part))
            table = None if field is None else _table_in(field.annotation)
        else:  # a table of tables: this part is the name of one of them
            table = _table_in(get_args(table)[-1]) if get_origin(table) is dict else None
    return list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []


def _table_in(annotation: Any) -> Any:
    """The type of a field, without the None of an optional table."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) and len(options) == 1 else annotation
