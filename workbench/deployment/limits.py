"""What may be sent to a server: what none should have to read is refused before it is sent, in a sentence.

Our own server has the same limit on sizes; this module loads nothing, so that both can have it from here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from workbench.errors import UsageError

#: A body may have this many bytes, or so many for each token of the context, whichever is more.
LEAST_BODY_BYTES, BODY_BYTES_PER_TOKEN = 1 << 20, 32
MOST_TOKENS: Final = 2**31 - 1  # servers count in 32 bits
COMPLETION_TOKENS: Final = 16  # where nobody says how many: OpenAI's default, since a base model goes on for ever
#: Characters of text for a token: more than usual text has, and fewer.
_MOST_CHARACTERS, _LEAST_CHARACTERS = 6, 3
#: The least and the most that OpenAI's API takes. Beyond them some engines refuse, others answer as if nothing were
#: wrong: a negative number of tokens is all that fit for one, an error for the next.
_SAMPLING: Final[Mapping[str, tuple[int, int]]] = {
    "temperature": (0, 2), "top_p": (0, 1), "max_tokens": (1, MOST_TOKENS), "max_completion_tokens": (1, MOST_TOKENS),
}  # fmt: skip

#: What a model does that an engine of this capability runs, and how it is used.
_USES: Final[Mapping[str, tuple[str, str]]] = {
    "chat": ("answers in text", "`workbench run {} QUESTION`, in Python `chat`"),
    "transcribe": ("transcribes", "`workbench transcribe FILE --model {}`, in Python `transcribe`"),
    "imagine": ("makes pictures", "`workbench imagine TEXT --model {}`, in Python `imagine`"),
}


def most_body_bytes(context: int) -> int:
    """The largest body that a server with this context takes."""
    return max(LEAST_BODY_BYTES, BODY_BYTES_PER_TOKEN * context)


def body(fields: Mapping[str, Any], context: int) -> bytes:
    """The fields as they are sent. Raises UsageError for what is no text, no JSON, or too much."""
    try:
        made = json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        raise UsageError(f"The text holds {found!r}, half of a character.", fix="Take it out.") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"The request cannot be written as JSON: {error}.") from error
    if len(made) > (most := most_body_bytes(context)):
        raise UsageError(
            f"The request has {len(made)} bytes; this deployment takes {most}.",
            fix="Shorten it, or deploy with a larger context." if context else "Shorten it.",
        )
    return made


def check(fields: Mapping[str, Any]) -> None:
    """Raise UsageError for a request without any text, and for options on whose meaning engines do not agree."""
    if "prompt" in fields and fields["prompt"] in ("", [], [""]):
        raise UsageError("The prompt is empty.", fix="Give a text to be continued.")
    if "messages" in fields and not any(_content(one) for one in fields["messages"]):
        raise UsageError("The conversation is empty: no message has any text.", fix="Ask something.")
    for name, (least, most) in _SAMPLING.items():
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise UsageError(f"{name} is {value!r}.", fix=f"Choose a number between {least} and {most}.")


def check_use(model: str, capabilities: Collection[str], wanted: str) -> None:
    """Raise UsageError for a model of another kind; wanted: chat, complete, transcribe or imagine."""
    if wanted in capabilities:
        return
    does, use = next(told for one, told in _USES.items() if one in capabilities)
    raise UsageError(f"{model} {does}.", fix=f"Use {use.format(model)}.")


def held_to(context: int, tokenizer: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with as many tokens asked for as fit the context behind the prompt, at most: for a server that would
    not stop there. What a chat template adds to the prompt is not counted.

    tokenizer: a tokenizer.json; without it the prompt counts nothing. Raises UsageError for a prompt that fits nowhere.
    """
    prompt = _tokens(tokenizer, _text(fields))
    if prompt >= context:
        raise prompt_too_long(prompt, context)
    left, limits = context - prompt, ("max_completion_tokens", "max_tokens")
    asked = [name for name in limits if fields.get(name)] or ["max_tokens"]
    return {**fields, **{name: min(fields.get(name) or left, left) for name in asked}}


def prompt_too_long(tokens: int, context: int) -> UsageError:
    """The error behind a prompt that leaves no room for an answer."""
    return UsageError(
        f"The prompt has {tokens} tokens; the deployment was made for {context}.",
        fix="Shorten it, begin a new conversation, or deploy with a larger context.",
    )


def probably_cut(fields: Mapping[str, Any], tokens: int, context: int) -> str:
    """What is to be said of a prompt of which the server counted fewer tokens than its text can have; "" of any other.

    Apps leave out what does not fit the context and do not say so. A guess: prose and code have fewer than 6 characters
    for a token, and a text of fewer than 3 for each token of the context most often fits it.
    """
    size = len(_text(fields))
    if not 0 < tokens < size / _MOST_CHARACTERS or size < _LEAST_CHARACTERS * context:
        return ""
    return (
        f"The prompt was probably cut: of its {size} characters the server counted {tokens} tokens, and {context} fit "
        "the context. Shorten it, begin a new conversation, or deploy with a larger context."
    )


def _content(message: Any) -> Any:
    """Text, or parts of one; whatever is no message is for the server to judge."""
    return message.get("content") if isinstance(message, Mapping) else message


def _text(fields: Mapping[str, Any]) -> str:
    """All the text of a prompt or a conversation."""
    prompt = fields.get("prompt", ())
    pieces: list[Any] = [prompt] if isinstance(prompt, str) else list(prompt)
    for content in map(_content, fields.get("messages", ())):
        pieces += content if isinstance(content, list) else [content]
    texts = (piece.get("text") if isinstance(piece, Mapping) else piece for piece in pieces)
    return "\n".join(text for text in texts if isinstance(text, str))


def _tokens(tokenizer: Path, text: str) -> int:
    if not tokenizer.is_file():
        return 0
    return len(_tokenizer(tokenizer, tokenizer.stat().st_mtime_ns).encode(text, add_special_tokens=False).ids)


@lru_cache(maxsize=4)
def _tokenizer(path: Path, _changed: int) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))
