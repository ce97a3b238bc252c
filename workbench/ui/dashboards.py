"""The dashboards' server: every notebook as a page, on this computer only.

Voilà runs as a process of its own (`voila_app`), told everything over its standard input: no token and no setting
is in its arguments. It ends with whoever started it, also when that process is killed, and takes its kernels along.
Kernels run the interpreter that runs the workbench, without the keys and tokens of your shell.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from workbench import folders
from workbench.errors import AssetUnavailable, MissingExtra, StartFailed, UsageError
from workbench.secrets import private_environment

DEFAULT_PORT: Final = 8866
START_LIMIT_S: Final = 60
STOP_LIMIT_S: Final = 10
SHARE: Final = Path(__file__).parent / "share" / "jupyter"
_CHECKOUT: Final = Path(__file__).parents[2]

PAGE: Final[dict[str, Any]] = {
    "VoilaConfiguration": {
        "template": "workbench",
        "allow_template_override": "NO",  # ?template= belongs to the visitor otherwise
        "allow_theme_override": "NO",
        "classic_tree": True,  # our own tree.html
        "show_tracebacks": False,
        "file_allowlist": [r".*\.(png|jpg|gif|svg)"],
        # Extensions made for JupyterLab raise errors on every page here.
        "extension_denylist": [
            "@jupyterlab/git",
            "@jupyterhub/jupyter-server-proxy",
            "@voila-dashboards/jupyterlab-preview",
            "jupyterlab-gridstack",
            "jupyterlab-jupytext",
            "nbdime-jupyterlab",
        ],
    },
    "VoilaExecutor": {"cell_error_instruction": "The end of the dashboards' log has the reason."},
}
"""What holds for every page; voila.json in the root of the repository says the same to a Jupyter server."""

# Everything a page may load comes from this server; model output can then never send anything anywhere.
_CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' data:; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)


class Dashboards:
    """A running server of dashboards. Leaving the `with` block, or the end of this process, stops it."""

    def __init__(self, process: subprocess.Popen[str], address: str, page: str, token: str) -> None:
        self.process, self.address, self._page, self._token = process, address, page, token

    @property
    def url(self) -> str:
        """The address of the first page, with the token: treat it like a password."""
        return f"{self.address}{self._page}" + (f"?token={self._token}" if self._token else "")

    def wait(self) -> None:
        """Wait until the server ends or the user presses Ctrl-C."""
        try:
            self.process.wait()
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """Stop the server and the kernels of its pages."""
        if self.process.stdin is not None:
            self.process.stdin.close()  # its lease: without it the server ends by itself
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _redirect_path(self.process.pid).unlink(missing_ok=True)

    def __enter__(self) -> Dashboards:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(
    notebook: str | Path | None = None,
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    token: bool = True,
    open_browser: bool = True,
    block: bool = True,
    announce: Callable[[str], object] = print,
) -> Dashboards:
    """Serve the notebooks as dashboards on this computer.

    notebook: the page to open first, by name or path; without it the list of all pages.
    port: 8866 or the next free one by default. token: False serves every user of this computer.
    Raises MissingExtra, UsageError, AssetUnavailable or StartFailed.
    """
    if find_spec("voila") is None:
        raise MissingExtra("voila", "lab", "A dashboard")
    _refuse_other_computers(host)
    folder, page = _locate(notebook)
    chosen, secret = _free_port(host, port), secrets.token_urlsafe(24) if token else ""
    dashboards = _start(folder, host, chosen, page, secret)
    announce(f"The dashboards are at {dashboards.url}\nCtrl-C stops them.")
    if open_browser:
        _open(dashboards)
    if block:
        dashboards.wait()
    return dashboards


def settings(folder: Path, host: str, port: int, token: str) -> dict[str, Any]:
    """Everything the server is told, as Jupyter's configuration."""
    page = {section: dict(values) for section, values in PAGE.items()}
    page["VoilaConfiguration"]["kernel_spec_manager_class"] = "workbench.ui.kernels.PinnedKernelSpecManager"
    return page | {
        "Voila": {
            "ip": host,
            "port": port,
            "port_retries": 0,  # another port than the announced one helps nobody
            "root_dir": str(folder),
            "token": token,
            "open_browser": False,
            "config_file_paths": [],  # no voila.json of a folder somebody happens to be in
            "tornado_settings": {
                "allow_remote_access": False,  # answers only to local names: no DNS rebinding
                "headers": {"Content-Security-Policy": _CONTENT_POLICY, "Referrer-Policy": "no-referrer"},
            },
        },
        # A page that was left ends its kernel itself; this is for browsers that crashed.
        # Its model goes with it. A page that is open keeps its kernel, and so does a cell that runs.
        "MappingKernelManager": {
            "cull_idle_timeout": 60,
            "cull_interval": 15,
            "cull_connected": False,
            "cull_busy": False,
        },
        "KernelManager": {"transport": "ipc"} if sys.platform == "linux" else {},
    }


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of the server and its kernels: without secrets, with our template and our package."""
    kept = private_environment(inherited)
    kept["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(SHARE), kept.get("JUPYTER_PATH"))))
    if _in_checkout():
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_CHECKOUT), kept.get("PYTHONPATH"))))
    return kept


def notebooks_folder() -> Path:
    """The folder of the notebooks: in this checkout, or below the current folder."""
    for folder in ([_CHECKOUT / "notebooks"] if _in_checkout() else []) + [Path.cwd() / "notebooks"]:
        if any(folder.glob("*.ipynb")):
            return folder
    raise AssetUnavailable(
        "The notebooks are not part of the installed package, and there is no folder `notebooks` here.",
        fix="Get a copy of the project's repository and run this in it, or name a notebook.",
    )


def _in_checkout() -> bool:
    return (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "notebooks").is_dir()


def _locate(notebook: str | Path | None) -> tuple[Path, str]:
    """The folder to serve and the first page in it."""
    if notebook is None:
        return notebooks_folder(), "voila/tree"
    path = Path(notebook).expanduser()
    if not path.is_file():
        path = notebooks_folder() / path.with_suffix(".ipynb").name
    if not path.is_file():
        raise UsageError(f"There is no notebook {str(notebook)!r}.", fix=f"The notebooks are in {path.parent}.")
    return path.absolute().parent, f"voila/render/{quote(path.name)}"


def _refuse_other_computers(host: str) -> None:
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise UsageError(
            f"The dashboards are for this computer only; {host!r} can be reached by others.",
            fix="Use 127.0.0.1, and from another computer: ssh -L 8866:127.0.0.1:8866 THIS-COMPUTER",
        )


def _free_port(host: str, wanted: int | None) -> int:
    candidates = [wanted] if wanted else [*range(DEFAULT_PORT, DEFAULT_PORT + 20), 0]
    for candidate in candidates:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UsageError(f"Port {wanted} is in use.", fix="Choose another one, or leave the choice to the workbench.")


def _start(folder: Path, host: str, port: int, page: str, token: str) -> Dashboards:
    log_path = folders.state() / "dashboards.log"
    with log_path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workbench.ui.voila_app"],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True,
            env=environment(os.environ), cwd=folder,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop it in order
        )  # fmt: skip
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    dashboards = Dashboards(process, address, page, token)
    try:
        _tell(process, settings(folder, host, port, token))
        _await_ready(dashboards)
    except BaseException:
        dashboards.stop()
        raise
    return dashboards


def _tell(process: subprocess.Popen[str], configuration: Mapping[str, Any]) -> None:
    if process.stdin is not None:
        process.stdin.write(json.dumps(configuration) + "\n")
        process.stdin.flush()


def _await_ready(dashboards: Dashboards) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and dashboards.process.poll() is None:
        if _answers(dashboards):
            return
        time.sleep(0.1)
    log = (folders.state() / "dashboards.log").read_text(encoding="utf-8", errors="replace")
    raise StartFailed(
        "The dashboards did not start.",
        fix=f"Their log is in {folders.state()}.",
        details="\n".join(log.splitlines()[-20:]),
    )


def _answers(dashboards: Dashboards) -> bool:
    """Whether the server that knows our token answers at the address."""
    request = urllib.request.Request(  # noqa: S310  our own address
        f"{dashboards.address}voila/tree", headers={"Authorization": f"token {dashboards._token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310
            return "workbench-index" in reply.read().decode()
    except OSError:
        return False


def _open(dashboards: Dashboards) -> None:
    """Open the first page by way of a file only we can read: a browser's arguments are visible to everybody here."""
    path = _redirect_path(dashboards.process.pid)
    path.touch(mode=0o600)
    path.write_text(f'<meta http-equiv="refresh" content="0;url={dashboards.url}">', encoding="utf-8")
    webbrowser.open(path.as_uri())


def _redirect_path(pid: int) -> Path:
    return folders.state() / f"dashboards-{pid}.html"
