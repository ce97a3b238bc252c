"""An answer as a stream: how it ended, what it counted, and that closing it gives the server back to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

import workbench
from tests.deployment.conftest import wait_until
from workbench.deployment import Deployment, failures, limits
from workbench.deployment.stream import Stream
from workbench.errors import RequestFailed, ServerBusy, ServerDied, UsageError
from workbench.models import Model
from workbench.planning import Plan, plan

MakePlan = Callable[..., Plan]


def open_connections(deployment: Deployment) -> int:
    """Connections that the server's process holds open."""
    found = psutil.Process(deployment.state.server_pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def test_a_whole_answer_says_how_it_ended(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment, deployment.stream("hello world", max_tokens=4) as stream:
        assert (stream.finish_reason, stream.usage) == (None, None)
        assert list(stream) == ["The ", "quick ", "brown ", "fox "]
        assert stream.finish_reason == "length"
        assert stream.usage
        assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (2, 4)


@pytest.mark.parametrize(
    ("text", "tokens", "cut"),
    [
        ("word " * 1000, 512, True),
        ("word " * 1000, 1000, False),
        ("word " * 300, 200, False),
        ("word " * 1000, 0, False),
    ],
    ids=["cut", "as many as it has", "fits the context", "not counted"],
)
def test_a_prompt_that_an_app_cut(text: str, tokens: int, cut: bool) -> None:
    for fields in ({"prompt": text}, {"messages": [{"role": "user", "content": text}]}):
        said = limits.probably_cut(fields, tokens, 512)
        assert ("of its 5000 characters the server counted 512 tokens, and 512 fit" in said) == cut


def test_only_an_app_cuts(fake_plan: MakePlan) -> None:
    """The fake engine counts words: a long one is a token of many bytes."""
    with workbench.deploy(fake_plan()) as deployment:
        for app_port, warns in ((0, False), (1, True)):
            state = deployment.state.update(app_port=app_port)
            stream = Stream(state, {"messages": [{"role": "user", "content": "x" * 100_000}], "max_tokens": 1})
            assert list(stream) == ["The "]
            assert bool(stream.warning) == warns


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", -1), ("temperature", 2.1), ("temperature", "hot"), ("temperature", float("nan")), ("top_p", 7),
     ("max_tokens", 0), ("max_tokens", -1), ("max_tokens", True), ("max_tokens", float("inf")), ("max_tokens", 10**10)],
)  # fmt: skip
def test_what_engines_do_not_agree_on_is_not_sent(fake_plan: MakePlan, option: str, value: Any) -> None:
    with workbench.deploy(fake_plan()) as running, pytest.raises(UsageError, match=f"{option} is {value!r}"):
        running.chat("Hi", **{option: value})


@pytest.mark.parametrize(
    ("ask", "said"),
    [(lambda d: d.chat("x" * 10_000_000), r"has 10000\d\d\d bytes; this deployment takes 1048576\..*larger context"),
     (lambda d: d.chat("half \ud800 of one"), r"holds '\\ud800', half of a character"),
     (lambda d: d.complete("\udfff"), r"holds '\\udfff', half of a character"),
     (lambda d: d.chat("Hi", stop=["\ud800"]), "half of a character"),
     (lambda d: d.complete(""), "The prompt is empty"),
     (lambda d: d.complete([]), "The prompt is empty"),
     (lambda d: d.chat(""), "no message has any text"),
     (lambda d: d.chat([]), "no message has any text"),
     (lambda d: d.chat("Hi", seed=float("nan")), "cannot be written as JSON"),
     (lambda d: d.chat("Hi", user=b"me"), "cannot be written as JSON")],
)  # fmt: skip
def test_what_no_server_should_have_to_read_is_not_sent(fake_plan: MakePlan, ask: Any, said: str) -> None:
    with workbench.deploy(fake_plan()) as running, pytest.raises(UsageError, match=said):
        ask(running)


def test_text_of_any_kind_is_sent_as_it_is(fake_plan: MakePlan) -> None:
    with (
        workbench.deploy(fake_plan()) as deployment,
        deployment.stream("é 漢字 🦊 a\0b \u2028", max_tokens=1) as stream,
    ):
        assert list(stream) == ["The "]
        assert stream.usage and stream.usage.prompt_tokens == 4


def test_a_body_may_be_larger_for_a_larger_context() -> None:
    assert limits.most_body_bytes(0) == limits.most_body_bytes(2048) == 2**20
    assert limits.most_body_bytes(131_072) == 32 * 131_072


# -- a server that does not keep to its context ----------------------------------------------------------------


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """One token for each word."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [({}, {"max_tokens": 506}), ({"max_tokens": 9}, {"max_tokens": 9}), ({"max_tokens": 10**9}, {"max_tokens": 506}),
     ({"max_completion_tokens": 600}, {"max_completion_tokens": 506})],
)  # fmt: skip
def test_an_answer_is_held_to_what_the_prompt_leaves(tokenizer: Path, asked: Any, sent: Any) -> None:
    fields = {"messages": [{"content": "Be brief, please"}, {"content": [{"type": "text", "text": "why so"}]}], **asked}
    assert limits.held_to(512, tokenizer, fields) == {**fields, **sent}


def test_a_prompt_that_fills_the_context_is_refused(tokenizer: Path) -> None:
    with pytest.raises(UsageError, match="has 512 tokens; the deployment was made for 512"):
        limits.held_to(512, tokenizer, {"prompt": "word " * 512})


def test_without_a_tokenizer_an_answer_is_held_to_the_context(tmp_path: Path) -> None:
    assert limits.held_to(512, tmp_path / "none", {"prompt": "word " * 512})["max_tokens"] == 512


def test_only_a_server_that_does_not_keep_to_its_context_is_helped(fake_plan: MakePlan, tokenizer: Path) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        assert len(list(deployment.chat("one two", max_tokens=600))) == 600
        helped = replace(deployment.state, tokenizer=str(tokenizer))
        fields = {"messages": [{"role": "user", "content": "one two"}], "max_tokens": 600}
        assert len(list(Stream(helped, fields))) == helped.context - 2


# -- a server that answers with an error -----------------------------------------------------------------------


@contextmanager
def answering(deployment: Deployment, body: bytes, status: int = 200, **headers: str) -> Iterator[Stream]:
    """A stream that gets this answer, whatever it asks, of a deployment that lives."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        elsewhere = replace(deployment.state, base_url=f"http://127.0.0.1:{server.server_port}/v1")
        yield Stream(elsewhere, {"prompt": "Hi"})


def test_a_busy_server_is_not_called_dead_and_says_when_to_come_back(fake_plan: MakePlan) -> None:
    full = b'{"error": {"message": "64 requests wait already."}}'
    with workbench.deploy(fake_plan()) as deployment:
        with (
            answering(deployment, full, 429, Retry_After="5") as stream,
            pytest.raises(ServerBusy, match=r"is busy: 64 requests wait already\. Try again in 5 s\.$"),
        ):
            begin = time.monotonic()
            list(stream)
        assert time.monotonic() - begin < 1  # nobody waits for a death
        with answering(deployment, b"come back", 503) as stream, pytest.raises(ServerBusy, match="other requests"):
            list(stream)


def test_an_error_that_was_answered_is_told_at_once(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment, answering(deployment, b"Internal Server Error", 500) as stream:
        begin = time.monotonic()
        with pytest.raises(RequestFailed, match=r"status 500: Internal Server Error\. See `workbench logs"):
            list(stream)
        assert time.monotonic() - begin < 1


def test_the_official_client_s_errors_are_the_same(fake_plan: MakePlan) -> None:
    import openai

    answer = httpx2.Response(429, request=httpx2.Request("POST", "http://here"), json={"error": {"message": "full"}})
    with (
        workbench.deploy(fake_plan()) as deployment,
        pytest.raises(ServerBusy, match="is busy: full"),
        failures.explained(deployment.state),
    ):
        raise openai.RateLimitError("full", response=answer, body=None)


@pytest.mark.parametrize(
    ("event", "said"),
    [(rb'{"error": {"message": "out of blocks"}}', r"with an error: out of blocks\."),
     (rb'{"error": "the "best" of \all"}', r'with an error: the "best" of \\all\.'),  # unescaped: transformers serve
     (b'{"error": "first line\nsecond line"}', "with an error: first line"),
     (rb'{"error": ""}', r"with an error\. It said: .fake engine")],
)  # fmt: skip
def test_an_error_in_mid_stream_is_told_in_the_server_s_words(fake_plan: MakePlan, event: bytes, said: str) -> None:
    answer = b'data: {"choices": [{"text": "The "}]}\n\ndata: ' + event + b"\n\n"
    with workbench.deploy(fake_plan()) as deployment, answering(deployment, answer) as stream:
        pieces = iter(stream)
        assert next(pieces) == "The "
        with pytest.raises(RequestFailed, match=said):
            next(pieces)


def test_what_ends_without_an_end_comes_with_the_server_s_last_words(fake_plan: MakePlan) -> None:
    answer = b'data: {"choices": [{"text": "The "}]}\n\n'
    with (
        workbench.deploy(fake_plan()) as deployment,
        answering(deployment, answer) as stream,
        pytest.raises(RequestFailed, match=r"cut short\. It said: .fake engine"),
    ):
        list(stream)


# -- ending one ------------------------------------------------------------------------------------------------


def test_closing_hangs_up(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(token_s=0.01)) as deployment:
        with deployment.stream("hello", max_tokens=100_000) as stream:
            assert next(iter(stream)) == "The "
            assert open_connections(deployment) == 1
        assert wait_until(lambda: open_connections(deployment) == 0, 5)
        assert list(stream) == []
        assert (stream.finish_reason, stream.usage) == (None, None)


def test_leaving_chat_hangs_up(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(token_s=0.01)) as deployment:
        pieces: Any = deployment.chat("hello", max_tokens=100_000)
        assert next(pieces) == "The "
        pieces.close()
        assert wait_until(lambda: open_connections(deployment) == 0, 5)


@pytest.mark.parametrize("first", [True, False], ids=["before the first piece", "between two"])
def test_closing_wakes_up_a_thread_that_waits(fake_plan: MakePlan, first: bool) -> None:
    """The server sends one token and then nothing for a minute; or nothing at all."""
    came = threading.Event()
    pieces: list[str] = []

    def read() -> None:
        for piece in stream:
            pieces.append(piece)
            came.set()

    with workbench.deploy(fake_plan(token_s=60.0, first_token_s=60.0 if first else 0.0)) as deployment:
        stream = deployment.stream("hello", max_tokens=3)
        reader = threading.Thread(target=read)
        reader.start()
        assert wait_until(lambda: open_connections(deployment) == 1, 5) if first else came.wait(5)
        stream.close()
        reader.join(5)
        assert not reader.is_alive()
        assert pieces == ([] if first else ["The "])


def test_a_stream_that_was_closed_asks_nothing(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        stream = deployment.stream("hello")
        stream.close()
        assert list(stream) == []


def test_a_server_that_dies_is_no_end(fake_plan: MakePlan) -> None:
    pieces = []
    with workbench.deploy(fake_plan(die_after_tokens=2)) as deployment:
        stream = deployment.stream("hello", max_tokens=9)
        with pytest.raises(ServerDied, match="exit code 3"):
            for piece in stream:
                pieces.append(piece)
        assert pieces == ["The ", "quick "]
        assert stream.finish_reason is None


@pytest.mark.engine
def test_a_closed_stream_frees_the_only_slot(embedded_model: Model, machine: Any) -> None:
    """llama.cpp with one slot: the next question is answered, and most of the first answer was never written."""
    made = plan(embedded_model, machine=machine, context=4096, threads=1)
    endless = {"max_tokens": 3500, "temperature": 0, "extra_body": {"ignore_eos": True}}
    with workbench.deploy(made) as deployment:
        with deployment.stream("Count to a million.", **endless) as stream:
            assert next(iter(stream))
        with deployment.stream("Hi", max_tokens=2, temperature=0) as stream:
            assert "".join(stream)
        assert stream.usage
        assert stream.usage.completion_tokens == 2
        counted = metric(deployment, "tokens_predicted_total"), metric(deployment, "requests_processing")
    assert 2 <= counted[0] < 1000
    assert counted[1] == 0


def metric(deployment: Deployment, name: str) -> float:
    """One of llama.cpp's own counters."""
    headers = {"Authorization": f"Bearer {deployment.endpoint.api_key}"}
    text = httpx2.get(f"{deployment.endpoint.root}/metrics", headers=headers).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"llamacpp:{name} ")))


# -- what is refused before anything is started or sent --------------------------------------------------------


def test_a_model_is_asked_for_what_it_does_alone(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        for ask in (lambda: deployment.imagine("a cat"), lambda: deployment.transcribe(__file__)):
            with pytest.raises(UsageError, match=r"little answers in text\. Use `workbench run little QUESTION`"):
                ask()
        for prompt in (None, 5, {"role": "user"}):
            with pytest.raises(UsageError, match=r"The prompt is .*Give a text"):
                deployment.chat(prompt)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="The prompt is None"):
            deployment.complete(None)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="'two' repeats were asked for"):
            workbench.measure(deployment, repeats="two")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("capability", "wanted", "said"),
    [
        ("transcribe", "chat", "whisper transcribes. Use `workbench transcribe FILE --model whisper`"),
        ("imagine", "complete", "whisper makes pictures. Use `workbench imagine TEXT --model whisper`"),
    ],
)
def test_what_a_model_of_another_kind_does(capability: str, wanted: str, said: str) -> None:
    limits.check_use("whisper", {capability}, capability)
    with pytest.raises(UsageError, match=said):
        limits.check_use("whisper", {capability}, wanted)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 3}, "deploy has no option 'max_tokens'. Known: model, machine, "),
        ({"context": "2048"}, "context is '2048'. Give a whole number."),
        ({"concurrency": 1.5}, "concurrency is 1.5"),
        ({"model": None}, "The model is None. Give a name"),
        ({"model": Path("x.gguf")}, "The model is .*Give a name, a path as text, or a plan."),
    ],
)
def test_what_deploy_cannot_mean(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        workbench.deploy(**{"model": "smollm2-135m-instruct", **options})
