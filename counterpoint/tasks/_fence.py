"""Read code out of replies."""

import re

BLOCK_FORMAT = "Write the function in a ```python block."
_LINE_END = re.compile(r"\r\n?|\n")
_FENCE = re.compile(r"^[ \t]{0,3}```(.*)$")
_LANGUAGES = ("", "python", "py", "python3")


def last_block(text: str) -> str | None:
    """The content of the last closed block between lines of three backticks, its lines ended by one line feed each.

    The opening line may name Python or nothing. A block that is not closed, or names another language, is none. None if
    there is no block, or only white space in it.
    """
    found: str | None = None
    opened: list[str] | None = None
    language = ""
    for line in _LINE_END.split(text):
        fence = _FENCE.match(line)
        if fence is None:
            if opened is not None:
                opened.append(line)
            continue
        label = fence[1].strip().lower()
        if opened is None or label:
            opened, language = [], label
        else:
            found = "\n".join(opened) if language in _LANGUAGES else found
            opened = None
    return found if found is not None and found.strip() else None
