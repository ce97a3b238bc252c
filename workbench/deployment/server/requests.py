"""What may be asked of a language model: the fields of OpenAI's API that are served, their limits, and the others.

Unknown fields are refused by name: one that is silently ignored is an answer to another question. Fields that only
label a request are ignored. Fields of features that are not served may be there with the value that turns them off:
n, best_of, logprobs, top_logprobs, echo, suffix, tools, tool_choice, functions, function_call, response_format,
logit_bias, frequency_penalty, presence_penalty, modalities, reasoning_effort, verbosity.
Beyond OpenAI's: top_k (0 for all), and ignore_eos, which goes on at the end of text, for measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from workbench.deployment.limits import COMPLETION_TOKENS, MOST_TOKENS
from workbench.deployment.server.refusals import SHOWN
from workbench.engines.runtime import Sampling

MOST_MESSAGES, MOST_STOPS, LONGEST_STOP = 2048, 16, 256
MOST_SEED = 2**63 - 1

IGNORED = frozenset({
    "user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention",
})  # fmt: skip
#: Features that are not served, with the values that turn them off; null does for all of them.
OFF: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "logprobs": (False,), "top_logprobs": (0,), "echo": (False,), "suffix": ("",),
    "tools": ([],), "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},), "logit_bias": ({},), "frequency_penalty": (0,), "presence_penalty": (0,),
    "modalities": (["text"],), "reasoning_effort": ("none",), "verbosity": ("medium",),
}  # fmt: skip


def _sound(text: str) -> str:
    """JSON can hold half of a character; no text can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"broken Unicode: half of a character at {error.start}.") from None
    return text


Text = Annotated[str, AfterValidator(_sound)]
Stop = Annotated[Text, Field(min_length=1, max_length=LONGEST_STOP)]
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class _Strict(BaseModel):
    """No value is turned into another type, and no field is taken that is not named."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StreamOptions(_Strict):
    """include_usage: end a stream with the counts of tokens."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class _Said(_Strict):
    """What clients send back of an earlier answer has fields that say nothing; they are null."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return {k: v for k, v in fields.items() if v is not None} if isinstance(fields, dict) else fields


class Part(_Said):
    """A piece of a message; only text is served."""

    type: Literal["text"]
    text: Text


class Message(_Said):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_answer(cls, fields: Any) -> Any:
        """An answer that was empty comes back without content."""
        is_answer = isinstance(fields, dict) and fields.get("role") == "assistant"
        return {**fields, "content": fields.get("content") or ""} if is_answer else fields

    def plain(self) -> dict[str, str]:
        """Role and text alone; OpenAI's 'developer' is what templates call 'system'."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class Asked(_Strict):
    """What both kinds of completions share."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=MOST_TOKENS)
    seed: int | None = Field(None, ge=-MOST_SEED - 1, le=MOST_SEED)
    ignore_eos: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_off(cls, fields: Any) -> Any:
        return (
            {k: v for k, v in fields.items() if not _may_be_left_out(cls, k, v)} if isinstance(fields, dict) else fields
        )

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop sequences."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def most_tokens(self) -> int:
        """Tokens of the answer at most."""
        return self.max_tokens or MOST_TOKENS

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> Sampling:
        """How tokens are chosen; as llama.cpp's server does where nothing was asked for."""
        names = ("temperature", "top_p", "top_k", "seed", "ignore_eos")
        return Sampling(**{name: value for name in names if (value := getattr(self, name)) is not None})


class ChatAsked(Asked):
    """A conversation to be answered."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)

    @field_validator("messages")
    @classmethod
    def _says_something(cls, messages: list[Message]) -> list[Message]:
        if not any(message.plain()["content"] for message in messages):
            raise ValueError("no message has any text.")
        return messages

    @property
    def most_tokens(self) -> int:
        """The smaller of the two names of the same limit."""
        return min(self.max_tokens or MOST_TOKENS, self.max_completion_tokens or MOST_TOKENS)


class CompletionAsked(Asked):
    """A text, or its tokens, to be continued. A list of one prompt is taken as that prompt."""

    prompt: Text | Tokens

    @property
    def most_tokens(self) -> int:
        """OpenAI's default: a base model goes on for ever."""
        return self.max_tokens or COMPLETION_TOKENS

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_prompt(cls, prompt: Any) -> Any:
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            if len(prompt) > 1:
                raise ValueError(f"one prompt per request is served, got {len(prompt)}.")
            prompt = prompt[0]
        if prompt in ("", []):
            raise ValueError("the prompt is empty.")
        return prompt


def _may_be_left_out(cls: type[BaseModel], name: str, value: Any) -> bool:
    """Whether a field says nothing here; raises ValueError for one that is not served."""
    if name in cls.model_fields:
        return False
    if name in OFF and not any(_is_same(value, off) for off in (None, *OFF[name])):
        shown = repr(value)
        raise ValueError(f"{name!r} is not served here, got {shown[:SHOWN]}. Leave it out.")
    if name not in OFF and name not in IGNORED:
        raise ValueError(f"there is no parameter {name!r}.")
    return True


def _is_same(value: Any, other: Any) -> bool:
    """Equal, and not one of them a truth value and the other a number."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
