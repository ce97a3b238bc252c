"""Kernels of the interpreter that runs the workbench, whatever else is installed on this computer.

A kernel specification found in somebody's home folder would start another Python, without the workbench.
Used by the dashboards and by the tests of the notebooks.
"""

from __future__ import annotations

import sys
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import List, Unicode


class PinnedKernelSpecManager(KernelSpecManager):
    """Knows one kernel, `python3`: the running interpreter."""

    kernel_dirs: Any = List(Unicode(), default_value=[])


class PinnedKernelManager(AsyncKernelManager):
    """Starts the running interpreter under every kernel name, over local sockets where the system has them."""

    def __init__(self, **named: Any) -> None:
        named["kernel_name"] = "python3"
        named["kernel_spec_manager"] = PinnedKernelSpecManager()
        super().__init__(**named)
        if sys.platform == "linux":  # elsewhere the path of a socket may become longer than allowed
            self.transport = "ipc"
