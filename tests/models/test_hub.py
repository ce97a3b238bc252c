"""Files from a Hugging Face Hub that runs here and can misbehave."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from workbench.catalog import HubSource
from workbench.errors import AssetUnavailable, NoSpace
from workbench.models import download, hub

CONTENT = b"GGUF" + bytes(50_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SOURCE = HubSource("owner/repo", "model.gguf")
COMMIT = "c" * 40


@dataclass
class Hub:
    bodies: list[bytes] = field(default_factory=list)  # of the next downloads; then CONTENT
    status: int = 200
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    url = f"http://127.0.0.1:{server.server_port}"
    files = url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {"ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": files,
                        "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False,
                        }.items():  # fmt: skip
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(tmp_path / "harnesses"), raising=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def _handler(state: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Be quiet."""

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            if self.path.startswith("/api/"):  # the library's own small talk
                self.send_error(404)
                return
            state.requests.append(self.path)
            self._answer(state.bodies.pop(0) if state.bodies else CONTENT)

        def _answer(self, body: bytes) -> None:
            self.send_response(state.status)
            headers = {"Content-Length": str(len(CONTENT)), "ETag": f'"{SHA256}"', "X-Repo-Commit": COMMIT}
            if state.status != 200:
                headers = {"Content-Length": "0", "X-Error-Code": "EntryNotFound"}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if state.status == 200 else b"")

    return Handler


def test_downloads_at_the_commit_that_was_looked_at(served: Hub) -> None:
    seen: list[str] = []
    path, sha256 = hub.bring(SOURCE, None, lambda done, total, what: seen.append(what))
    assert (path.read_bytes(), sha256) == (CONTENT, SHA256)
    assert served.requests == [f"/owner/repo/resolve/{COMMIT}/model.gguf"]
    assert seen
    assert hub.bring(SOURCE, None, None)[0] == path
    assert len(served.requests) == 1


def test_a_flipped_byte_is_fetched_again(served: Hub) -> None:
    served.bodies = [CONTENT[:-1] + b"x"]
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == CONTENT
    assert len(served.requests) == 2


def test_a_hub_that_stays_damaged_is_refused(served: Hub) -> None:
    served.bodies = [CONTENT[:-1] + b"x"] * 2
    with pytest.raises(AssetUnavailable, match="damaged owner/repo:model"):
        hub.bring(SOURCE, None, None)
    assert hub.bring(SOURCE, None, None)[0].read_bytes() == CONTENT


def test_the_recorded_hash_counts_more_than_the_hubs(served: Hub) -> None:
    with pytest.raises(AssetUnavailable, match="damaged"):
        hub.bring(SOURCE, "0" * 64, None)


def test_a_file_that_is_here_is_used_offline(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = hub.bring(SOURCE, None, None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert hub.bring(SOURCE, None, None) == (path, SHA256)
    path.resolve().write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(AssetUnavailable):
        hub.bring(SOURCE, None, None)


def test_a_missing_file_is_named(served: Hub) -> None:
    served.status = 404
    with pytest.raises(AssetUnavailable, match="repository has no such file"):
        hub.bring(SOURCE, None, None)


def test_a_hub_out_of_reach(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    with pytest.raises(AssetUnavailable, match="The Hugging Face Hub cannot deliver owner/repo"):
        hub.bring(SOURCE, None, None)


def test_a_full_disk_is_noticed_before(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(NoSpace, match="needs 50,004 bytes"):
        hub.bring(SOURCE, None, None)
    assert served.requests == []
