"""A deployment in use: talk to its supervised server, look at it, and let go of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from workbench import engines
from workbench.deployment import failures, limits, registry
from workbench.deployment import lease as leases
from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.deployment.stream import Stream
from workbench.engines import Endpoint
from workbench.errors import UsageError
from workbench.evidence import Estimate
from workbench.machine import MemoryReading, memory_bytes
from workbench.models.infill import Infill, infill

if TYPE_CHECKING:
    import openai

    from workbench.deployment.pictures import Imagined
    from workbench.deployment.transcripts import Transcript

Progress = Callable[[float | None, str], None]


class Deployment:
    """A running model. Use it in a `with` block: leaving it gives up this user's lease, and the last one ends it."""

    def __init__(self, state: State, lease: leases.Lease) -> None:
        self.id, self.plan_dict = state.id, state.plan
        self.endpoint = Endpoint(state.base_url, state.api_key, state.served_model)
        self._state, self._lease = state, lease

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    @property
    def state(self) -> State:
        """What the watchdog last wrote; the state at the start if it is gone."""
        return states.load(self._state.path) or self._state

    @cached_property
    def client(self) -> openai.OpenAI:
        """The official OpenAI client, pointed at this deployment. It does not retry: failures are shown."""
        import openai  # half a second; not every user of a deployment talks to it

        return openai.OpenAI(base_url=self.endpoint.base_url, api_key=self.endpoint.api_key, max_retries=0)

    def chat(self, prompt: str | Sequence[dict[str, str]], **options: Any) -> Iterator[str]:
        """Ask, and yield the answer piece by piece; prompt and options are those of `stream`."""
        return iter(self.stream(prompt, **options))

    def stream(
        self,
        prompt: str | Sequence[dict[str, str]],
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> Stream:
        """Ask, and get the answer as a stream that can be closed, and that knows how it ended.

        prompt: a question, or a list of messages with role and content. Further options go to the API as they are.
        Raises UsageError for what cannot be asked and for a prompt that does not fit the context, ServerBusy and
        RequestFailed for what the server answers instead, ServerDied when it goes away. Apps do not refuse what does
        not fit: Ollama and text-generation-webui leave out the oldest messages without a word.
        """
        self._check_use("chat")
        if isinstance(prompt, Mapping) or not isinstance(prompt, Iterable):
            raise UsageError(f"The prompt is {prompt!r}.", fix="Give a text, or messages with role and content.")
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if system:
            messages.insert(0, {"role": "system", "content": system})
        given = {"messages": messages, "max_tokens": max_tokens, "temperature": temperature, **options}
        return Stream(self._state, {name: value for name, value in given.items() if value is not None})

    def complete(self, prompt: str, suffix: str | None = None, **options: Any) -> Iterator[str]:
        """Continue a text, and yield what follows piece by piece; the arguments are those of `completion`."""
        return iter(self.completion(prompt, suffix, **options))

    def completion(
        self,
        prompt: str,
        suffix: str | None = None,
        *,
        max_tokens: int = limits.COMPLETION_TOKENS,
        temperature: float | None = None,
        **options: Any,
    ) -> Stream:
        """Continue a text as it stands, without a chat template; a stream like that of `stream`.

        max_tokens: by default as few as in OpenAI's API, since a base model does not end by itself.
        suffix: what comes after the gap, for models that can fill one in (`infill`). Raises UsageError when this one
        cannot, and what `stream` raises.
        """
        self._check_use("complete")
        if not isinstance(prompt, str | list):
            raise UsageError(f"The prompt is {prompt!r}.", fix="Give a text to be continued.")
        if suffix is not None:
            prompt = self._infill_prompt(prompt, suffix)
        given = {"prompt": prompt, "max_tokens": max_tokens, "temperature": temperature, **options}
        return Stream(self._state, {name: value for name, value in given.items() if value is not None})

    def transcribe(self, recording: str | Path, *, progress: Progress | None = None, **options: Any) -> Transcript:
        """Write down what is said in a recording, in any format that FFmpeg opens.

        options: language ('en'), prompt, temperature. `progress` hears how far it is, and may raise to end the work.
        Raises UsageError for what cannot be transcribed, ServerDied when the server goes away.
        """
        from workbench.deployment import transcripts

        self._check_use("transcribe")
        return transcripts.transcribe(self, recording, progress=progress, **options)

    def imagine(
        self,
        prompt: str,
        *,
        size: tuple[int, int] | None = None,
        images: int = 1,
        on_preview: Callable[[int, bytes], None] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Imagined:
        """Make pictures of a text; several at once have one seed after the other.

        size: width and height in pixels, as planned when not given; options: negative_prompt, steps, guidance, seed,
        scheduler. `on_preview` gets the number of a picture and a PNG of it now and then, which costs time;
        `progress` hears every step, and may raise to end the work within one.
        Raises UsageError for what cannot be made, ServerDied when the server goes away.
        """
        from workbench.deployment import pictures

        self._check_use("imagine")
        asked: dict[str, Any] = {"size": size, "images": images, "on_preview": on_preview, "progress": progress}
        return pictures.imagine(self, prompt, **asked, **options)

    @cached_property
    def _capabilities(self) -> frozenset[str]:
        return engines.get(self._state.engine).capabilities

    def _check_use(self, wanted: str) -> None:
        limits.check_use(self._state.model, self._capabilities, wanted)

    @property
    def infill(self) -> Infill | None:
        """The tokens with which this model fills in the middle of a text; None where its vocabulary has none."""
        path = self.plan_dict.get("model_path")
        return infill(Path(path)) if path else None

    def _infill_prompt(self, prefix: str, suffix: str) -> str:
        tokens = self.infill
        if tokens is None:
            raise UsageError(
                f"{self._state.model} cannot fill in the middle of a text: its vocabulary has no tokens for it.",
                fix="Leave the suffix out, or take a model made for code.",
            )
        return tokens.prompt(prefix, suffix)

    def memory(self) -> MemoryReading | None:
        """Memory of the server's process tree now, without the watchdog; None where nobody may look at it."""
        return memory_bytes(self.pids())

    def pids(self) -> list[int]:
        """The processes of the server."""
        return self.state.server_pids()

    @property
    def predictions(self) -> dict[str, Estimate]:
        """What was predicted for this deployment before it ran, also when another process planned it."""
        return {name: Estimate.from_dict(data) for name, data in self.plan_dict["predictions"].items()}

    def logs(self, lines: int = 50) -> str:
        """The last lines the server wrote."""
        return failures.log_tail(self._state.log_path, lines)

    def release(self) -> None:
        """Give up this user's lease; if it was the last one, return when everything is gone."""
        self._close_client()
        self._lease.leave()

    def stop(self) -> None:
        """End the deployment for all its users and return when everything is gone."""
        self._close_client()
        try:
            leases.stop(self._state)
        finally:
            self._lease.leave()

    def _close_client(self) -> None:
        if client := self.__dict__.pop("client", None):
            client.close()

    def __repr__(self) -> str:
        state = self._state
        return f"<Deployment {self.id} of {state.model} ({state.format}) on {state.engine} at {state.base_url}>"


def attach(name: str, *, grace_s: float = 0.0) -> Deployment:
    """Use a deployment that already runs, by its id or its model's name.

    Raises UnknownName, UsageError where several deployments of the model run, and ServerDied for one that died.
    """
    state = registry.find(name)
    if state.failure:
        raise failures.gone(state)
    return Deployment(state, leases.Lease(state, grace_s=grace_s))
