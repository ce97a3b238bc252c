"""A button that records from the browser's microphone, which ipywidgets lacks."""

from __future__ import annotations

from pathlib import Path

import anywidget
from traitlets import Bytes, Unicode


class Microphone(anywidget.AnyWidget):
    """recording: the last one, as the browser encodes it (WebM, Ogg or MP4); failure: why there is none."""

    _esm = Path(__file__).with_name("microphone.js")

    recording = Bytes(b"").tag(sync=True, from_json=lambda value, _: bytes(value or b""))
    failure = Unicode("").tag(sync=True)
