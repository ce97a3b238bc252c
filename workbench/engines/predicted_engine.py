"""What the engines for language models have in common that the workbench predicts and cannot start yet.

Their speed on accelerators is `device_speed`'s; on the CPU it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.engines import device_speed
from workbench.engines.contract import Availability, Settings, TextEngine
from workbench.engines.device_memory import Needs, meets, prediction_only, weight_format
from workbench.engines.llamacpp import NOT_GENERATIVE
from workbench.evidence import Estimate
from workbench.machine import Machine
from workbench.models import Model


class PredictedEngine(TextEngine):
    """An engine for language models that only predicts.

    package: its distribution; published_as: its name among the speed coefficients; needs: where each format of weights
    runs.
    """

    package: str
    published_as: str
    needs: Mapping[str, Needs]
    container = "safetensors"
    starts = False
    spans_devices = True

    # -- what runs here ----------------------------------------------------------------------------------------

    def available(self, machine: Machine | None = None) -> Availability:
        return prediction_only(self.title, self.package)

    def supports(self, model: Model) -> Availability:
        kind, name = weight_format(model), model.architecture.name
        if kind not in self.needs:
            return Availability(
                False, f"{self.title} does not run {model.name} in {kind}.", f"Choose one of {', '.join(self.needs)}."
            )
        if name in NOT_GENERATIVE:
            return Availability(
                False, f"{model.name} is a {name} model: it makes embeddings or features, not text.",
                "Choose a language model; `workbench models` lists some.",
            )  # fmt: skip
        return Availability(True)

    def runs_on(self, model: Model, settings: Settings, machine: Machine) -> Availability:
        """Say whether the devices of these settings can run this model."""
        able, kind = self.supports(model), weight_format(model)
        return meets(self.title, kind, self.needs[kind], settings.accelerators(machine)) if able.ok else able

    # -- speed -------------------------------------------------------------------------------------------------

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        found = self._known(settings, machine)
        devices, split = len(settings.devices), self._split(settings)
        return device_speed.prefill(found, model, tokens, batch, devices=devices, split=split)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        found, kind = self._known(settings, machine), settings.cache_type
        devices, split = len(settings.devices), self._split(settings)
        return device_speed.decode(found, model, kind, depth, batch=batch, devices=devices, split=split)

    def _split(self, settings: Settings) -> str:
        return "tensor" if self.splits_layers or settings.tensor_parallel else "layer"

    def _known(self, settings: Settings, machine: Machine) -> device_speed.Known | str:
        """The device and its coefficients; a text says what is missing."""
        cards = settings.accelerators(machine)
        if not cards:
            return f"nobody has published enough runs of {self.title} on CPUs"
        if settings.device_layers is not None:
            return "some layers lie in main memory, and the time to bring them in is not modelled here"
        return device_speed.known(self.title, self.published_as, cards)
