"""What the routes share: the one model that is served, and events on the wire."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request

from workbench.deployment.server.refusals import SHOWN, Refused


def check_model(request: Request, name: str) -> None:
    """Refuse another model's name."""
    served = request.app.state.served_model
    if name != served:
        request.app.state.metrics.ended("refused")
        raise Refused(f"There is no model {name[:SHOWN]!r} here; there is {served!r}.", status=404, param="model",
                      code="model_not_found")  # fmt: skip


def event(fields: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"
