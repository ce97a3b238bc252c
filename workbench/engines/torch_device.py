"""The accelerator that PyTorch sees: CUDA (ROCm answers to that name too), Apple's GPU, or Intel's."""

from __future__ import annotations

import torch

from workbench.engines.contract import Settings
from workbench.errors import EngineUnavailable


def torch_device(settings: Settings) -> str:
    """PyTorch's name of the first device that was planned for, or of the processor.

    Raises EngineUnavailable where a device was planned for and this build of PyTorch sees none.
    """
    if not settings.devices:
        return "cpu"
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:
        raise EngineUnavailable(
            f"PyTorch {torch.__version__} sees no accelerator here.",
            fix="Install its build for your accelerator (pytorch.org says how), or plan without devices.",
        )
    return f"{kind.type}:{settings.devices[0]}"
