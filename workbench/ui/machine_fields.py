"""The controls that name a machine, the same on every panel."""

from __future__ import annotations

from typing import Any, Final

import ipywidgets as widgets

from workbench.ui import machine_choice, pieces
from workbench.ui.view import PanelView

HERE: Final = "this computer"
UNMEASURED: Final = (
    "How fast this computer's processor is has not been measured, so nothing that runs on it has a speed. "
    "Measuring takes about four seconds."
)


def add_to(view: PanelView[Any]) -> list[widgets.Widget]:
    """Fields bound to the state's `device`, `count` and `memory_gib`."""
    state = view.state
    device = widgets.Combobox(
        value=state.device, options=machine_choice.known(), placeholder=HERE, continuous_update=False,
        ensure_option=False, description="Accelerator or cloud instance",
    )  # fmt: skip
    count = widgets.BoundedIntText(state.count, min=1, max=64, description="How many")
    memory = widgets.BoundedFloatText(
        state.memory_gib, min=0, max=65536, step=8, description="Main memory, GiB (0: as here)"
    )
    fields = {"device": device, "count": count, "memory_gib": memory}
    for name, control in fields.items():
        view.bind(control, name)
    return [pieces.field(control) for control in fields.values()]
