"""The process in which Voilà runs: `python -m workbench.ui.voila_app`, started by `dashboards` and by nobody else.

The first line of its standard input is its configuration, as JSON. The rest of the input is its lease:
at its end the server shuts down its kernels and ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

from traitlets.config import Config

from workbench.ui.index import add_cards, without_story


def main() -> None:
    """Read the configuration, serve, end with the lease."""
    from voila.app import Voila

    configuration = Config(json.loads(sys.stdin.readline()))
    configuration.VoilaConfiguration.page_config_hook = add_cards
    configuration.VoilaConfiguration.prelaunch_hook = without_story
    app: Any = Voila.instance(config=configuration)
    app.initialize([])
    threading.Thread(target=_end_with_lease, daemon=True).start()
    app.start()


def _end_with_lease() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # Voilà's own way out: it stops the kernels first


if __name__ == "__main__":
    main()
