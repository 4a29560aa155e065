"""The chat format of a base model, made from its tokenizer: which tokens there are, and which text may write them."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from counterpoint.chat import Chat
from counterpoint.config import ModelConfig
from counterpoint.episode import Message
from counterpoint.errors import ModelError
from counterpoint.template import fault, marks, pieces, tells_date, with_date

_LONG_TEXT = "sequence-length-is-longer-than-the-specified-maximum"
"""The warning that transformers gives once, unless it is marked as given: too long a prompt is an error here."""


def chat_of(tokenizer: Any, config: ModelConfig, stops: frozenset[int], rows: int | None) -> Chat:
    """The chat format of a tokenizer of transformers, whose model ends a reply at `stops` and has `rows` embeddings.

    Afterwards the tokenizer has a template that takes the date of the recipe, or today's, for the present. Raises
    ModelError if no prompt can be made, or one could have a token that the model does not have.
    """
    named = f"model.path = {config.path!r}"
    tokenizer.deprecation_warnings[_LONG_TEXT] = True
    template = _template(tokenizer, named)
    beyond = _beyond(tokenizer, rows, named)
    usable = frozenset(stop for stop in stops if rows is None or stop < rows)
    if not usable:
        which = f"; {', '.join(map(str, sorted(stops)))}: the model has {rows} tokens" if stops else ""
        raise ModelError(f"{named}: neither it nor its tokenizer names a token that ends a reply{which}")
    told = (config.date or date.today().isoformat()) if tells_date(template) else ""
    if told:
        _tell(tokenizer, told)
    plain = Chat(tokenizer=tokenizer, stop_ids=usable, template_options=tuple(config.template_options.items()))
    wrong = fault(_renderer(plain), template)
    if wrong:
        raise ModelError(f"{named}: {wrong}")
    chat = Chat(
        tokenizer=tokenizer,
        stop_ids=usable,
        template_options=plain.template_options,
        thinking=config.thinking,
        reasoning_end=config.reasoning_end,
        control=_special(tokenizer, usable) | _turns(plain, config) | beyond,
        normalized=_normalization(tokenizer),
        date=told,
    )
    _check_prompt(chat, rows, named)
    return chat


def _template(tokenizer: Any, named: str) -> str:
    """The template of conversations without tools. Raises ModelError if there is none."""
    if not tokenizer.chat_template:
        raise ModelError(f"{named}: its tokenizer has no chat template, which workflows need")
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise ModelError(f"{named}: its tokenizer has no chat template for plain conversations: {error}") from error


def _beyond(tokenizer: Any, rows: int | None, named: str) -> frozenset[str]:
    """The added tokens that the model does not have. Raises ModelError if it lacks tokens of ordinary text."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    if rows is None or max(vocabulary.values(), default=0) < rows:
        return frozenset()
    added = tokenizer.added_tokens_decoder
    lacking = {text: number for text, number in vocabulary.items() if number >= rows}
    ordinary = [text for text, number in lacking.items() if number not in added]
    if ordinary:
        raise ModelError(
            f"{named}: its tokenizer has {len(vocabulary)} tokens and its model {rows}: it lacks {len(lacking)}, such"
            f" as {ordinary[0]!r}; they do not belong together"
        )
    return frozenset(lacking)


def _tell(tokenizer: Any, day: str) -> None:
    """The tokenizer's templates take `day` for the present; a copy that is saved does too."""
    found = tokenizer.chat_template
    if isinstance(found, str):
        tokenizer.chat_template = with_date(found, day)
    else:
        tokenizer.chat_template = {name: with_date(one, day) for name, one in found.items()}


def _renderer(chat: Chat) -> Callable[..., str]:
    def render(messages: Any, asking: bool) -> str:
        return chat.applied([Message(role=role, content=content) for role, content in messages], asking=asking)

    return render


def _special(tokenizer: Any, stops: frozenset[int]) -> frozenset[str]:
    """The texts of the special tokens, and of added tokens that end a reply."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(str(token) for number, token in added if token.special or number in stops)


def _turns(plain: Chat, config: ModelConfig) -> frozenset[str]:
    """The marks of turns, special or not. The tags of reasoning open no turn, and a template may need to see them."""
    added = [str(token) for token in getattr(plain.tokenizer, "added_tokens_decoder", {}).values()]
    tags = {config.reasoning_end, config.reasoning_end.replace("/", "", 1)}
    return frozenset(marks(pieces(_renderer(plain)), added, tags))


def _normalization(tokenizer: Any) -> Callable[[str], str]:
    """The function by which the tokenizer changes a text before it looks for tokens."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return str if normalizer is None else normalizer.normalize_str


def _check_prompt(chat: Chat, rows: int | None, named: str) -> None:
    """Raises ModelError if the template itself writes a token that the model does not have."""
    system, asked = Message(role="system", content="a"), Message(role="user", content="a")
    for messages in ([asked], [system, asked], [asked, Message(role="assistant", content="a"), asked]):
        try:
            text = chat.applied(messages)
        except ValueError:
            continue
        ids = chat.tokenizer.encode(text, add_special_tokens=False)
        if rows is not None and max(ids, default=0) >= rows:
            unknown = chat.tokenizer.decode([max(ids)], skip_special_tokens=False)
            raise ModelError(f"{named}: its chat template writes {unknown!r}, a token that its model of {rows} lacks")
