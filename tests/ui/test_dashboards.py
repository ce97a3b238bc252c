"""The dashboards' server: what it refuses, what it hides, and that a page leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from workbench.errors import AssetUnavailable, UsageError
from workbench.ui import dashboards
from workbench.ui.dashboards import Dashboards, environment, notebooks_folder, serve, settings
from workbench.ui.index import card

ROOT = Path(__file__).parents[2]
CODE = """import os, sys, ipywidgets
button, label = ipywidgets.Button(description="Ask"), ipywidgets.HTML()
button.on_click(lambda _: setattr(label, "value", f"{sys.executable} {os.environ.get('HF_TOKEN')}"))
ipywidgets.VBox([button, label])"""

STEADY = """import time, ipywidgets
from workbench.ui.stepwise import Stepwise
from workbench.ui.view import PanelView
labels = [ipywidgets.HTML("closed") for _ in range(300)]
class State(Stepwise):
    def open_all(self):
        self._begin("opening", self._open, "opened")
    def _open(self, context):
        for label in [*labels[1:], labels[0]]:
            time.sleep(0.01)
            label.value = "finished" if label is labels[0] else "open"
view = PanelView(State())
view.show(*labels)
view.start(view.state.open_all)
view.root"""


def notebook(path: Path, title: str, code: str) -> Path:
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": f"# {title}"},
        {"cell_type": "code", "id": "b", "metadata": {}, "execution_count": None, "outputs": [], "source": code},
    ]
    metadata = {"title": title, "description": f"About {title}.", "kernelspec": {"name": "gone", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    notebook(folder / "01_asks.ipynb", "A <b>question</b>", CODE)
    return folder


@pytest.fixture
def server(pages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboards]:
    monkeypatch.setenv("HF_TOKEN", "hidden")
    with serve(pages / "01_asks.ipynb", open_browser=False, block=False, announce=lambda _: None) as running:
        yield running


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.org", "::", ""])  # noqa: S104
def test_other_computers_are_refused(host: str) -> None:
    with pytest.raises(UsageError, match="this computer only"):
        serve(host=host, open_browser=False, block=False)


def test_a_port_in_use_is_named(pages: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=f"Port {taken.getsockname()[1]} is in use"):
            serve(pages / "01_asks.ipynb", port=taken.getsockname()[1], open_browser=False, block=False)


def test_a_notebook_that_does_not_exist_is_named() -> None:
    with pytest.raises((UsageError, AssetUnavailable)):
        serve("no_such_notebook", open_browser=False, block=False)


def test_without_notebooks_the_message_says_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dashboards, "_CHECKOUT", tmp_path)
    with pytest.raises(AssetUnavailable, match="copy of the project's repository"):
        notebooks_folder()


def test_secrets_stay_out_of_the_server_and_its_kernels() -> None:
    inherited = {"HF_TOKEN": "a", "OPENAI_API_KEY": "b", "AWS_SECRET_ACCESS_KEY": "c", "PATH": "/bin", "HOME": "/h"}
    kept = environment(inherited)
    assert not {"a", "b", "c"} & set(kept.values())
    assert kept["PATH"] == "/bin"
    assert kept["JUPYTER_PATH"].split(os.pathsep)[0] == str(dashboards.SHARE)


def test_the_settings_can_be_told_as_json_and_hide_tracebacks() -> None:
    told = json.loads(json.dumps(settings(Path("/pages"), "127.0.0.1", 1, "secret")))
    assert told["VoilaConfiguration"]["show_tracebacks"] is False
    assert told["VoilaConfiguration"]["allow_template_override"] == "NO"
    culling = {"cull_idle_timeout": 60, "cull_interval": 15, "cull_connected": False, "cull_busy": False}
    assert told["MappingKernelManager"] == culling


def test_a_jupyter_server_is_told_the_same() -> None:
    assert json.loads((ROOT / "voila.json").read_text()) == dashboards.PAGE


def test_no_page_of_the_template_names_another_computer() -> None:
    texts = [path.read_text() for path in dashboards.SHARE.rglob("*") if path.is_file()]
    assert len(texts) > 5
    assert not [text for text in texts if "http" in text.replace("http://www.w3.org/2000/svg", "").replace("http-", "")]


def test_a_card_is_made_of_the_notebook_s_own_words(pages: Path, tmp_path: Path) -> None:
    assert card(pages / "01_asks.ipynb") == {"title": "A <b>question</b>", "description": "About A <b>question</b>."}
    damaged = tmp_path / "damaged.ipynb"
    damaged.write_text("{")
    assert card(damaged)["title"] == "damaged"


@pytest.mark.browser
def test_the_server_answers_only_those_who_know_the_token(server: Dashboards) -> None:
    token = server.url.split("token=")[1]
    process = psutil.Process(server.process.pid)
    assert token not in " ".join(process.cmdline())
    assert token not in " ".join(process.environ().values())
    assert not [path for path in (server_files()) if token in path.read_text(errors="replace")]
    assert status(f"{server.address}voila/tree?token={token}") == 200
    assert status(f"{server.address}voila/tree?token={token}", Host="evil.example") == 403
    assert "workbench-index" not in body(f"{server.address}voila/tree")


@pytest.mark.browser
def test_a_page_shows_its_widgets_and_leaves_no_kernel(server: Dashboards, open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.goto(server.url)
    page.get_by_role("button", name="Ask").click()
    page.get_by_text(f"{sys.executable} None").wait_for()  # our interpreter, without our token
    page.reload()
    page.get_by_role("button", name="Ask").wait_for()
    assert eventually(lambda: kernels(server) == 1)
    page.get_by_role("link", name="All dashboards").click()
    page.get_by_text("A <b>question</b>", exact=True).wait_for()  # shown as text
    assert eventually(lambda: kernels(server) == 0)


@pytest.mark.browser
def test_a_page_says_that_its_session_has_ended(server: Dashboards, open_page: Callable[..., Any]) -> None:
    page = open_page(expected=("404",))
    page.goto(server.url)
    page.get_by_role("button", name="Ask").wait_for()
    assert page.get_by_role("alert").count() == 0
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    token = server.url.split("token=")[1]
    address = f"{server.address}api/kernels/{kernel}"
    assert status(address, method="DELETE", Authorization=f"token {token}") == 204
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # instead of waiting ten seconds
    page.get_by_text("This session has ended.").wait_for()
    page.get_by_role("link", name="Start again").click()
    page.get_by_role("button", name="Ask").wait_for()
    assert page.get_by_role("alert").count() == 0


@pytest.mark.browser
def test_a_page_loses_nothing_of_a_step_that_starts_with_it(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    """What a thread changes while the page is still making its widgets never arrives: steps must begin later."""
    path = notebook(tmp_path / "01_steady.ipynb", "Steady", STEADY)
    with serve(path, open_browser=False, block=False, announce=lambda _: None) as steady:
        page = open_page()
        page.goto(steady.url)
        page.get_by_text("finished").wait_for()
        page.wait_for_function("!document.querySelector('.wb-panel').innerText.includes('closed')")
        page.goto("about:blank")


@pytest.mark.browser
def test_stopping_the_server_stops_its_kernels(server: Dashboards, open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.goto(server.url)
    page.get_by_role("button", name="Ask").wait_for()
    tree = psutil.Process(server.process.pid).children(recursive=True)
    assert tree
    page.goto("about:blank")
    server.stop()
    assert eventually(lambda: not any(child.is_running() and child.status() != "zombie" for child in tree))


def server_files() -> list[Path]:
    home = Path(os.environ["WORKBENCH_HOME"])
    files = [path for path in home.rglob("*") if path.is_file()]
    assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in files)
    return files


def kernels(server: Dashboards) -> int:
    return len(psutil.Process(server.process.pid).children())


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def status(address: str, method: str = "GET", **headers: str) -> int:
    request = urllib.request.Request(address, headers=headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def body(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as reply:  # noqa: S310
        return str(reply.read().decode())
