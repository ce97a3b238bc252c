"""What the engines for language models have in common that the workbench predicts and cannot start yet.

Their speed on accelerators comes from coefficients fitted to published runs; the arithmetic is `roofline`'s. It is
unknown, with the reason, on the CPU, on devices that differ, and where nobody has published runs of that engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.coefficients import SpeedCoefficients, coefficients
from workbench.engines import roofline
from workbench.engines.contract import Availability, Settings, TextEngine
from workbench.engines.device_memory import Needs, meets, prediction_only, runtime, weight_format
from workbench.engines.llamacpp import NOT_GENERATIVE
from workbench.errors import UnknownName
from workbench.evidence import Estimate
from workbench.machine import Machine
from workbench.models import Model


class PredictedEngine(TextEngine):
    """An engine for language models that only predicts.

    package: its distribution; published_as: its name among the speed coefficients; needs: where each format of weights
    runs; splits_layers: it divides every layer over its devices, whatever the settings say.
    """

    package: str
    published_as: str
    needs: Mapping[str, Needs]
    splits_layers = False

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
        if isinstance(found, str):
            return Estimate.unknown("s", found)
        device, c = found
        work, devices = roofline.work_of(model), len(settings.devices)
        return roofline.prefill(work, device, c, tokens, batch, devices=devices, split=self._split(settings))

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        found = self._known(settings, machine)
        if isinstance(found, str):
            return Estimate.unknown("s", found)
        device, c = found
        # ggml has no type of exactly 8 bits; q8_0 has half a bit more.
        kind = "q8_0" if settings.cache_type.startswith("fp8") else settings.cache_type
        work, devices = roofline.work_of(model, depth, kind), len(settings.devices)
        return roofline.decode_step(work, device, c, batch=batch, devices=devices, split=self._split(settings))

    def _split(self, settings: Settings) -> str:
        return "tensor" if self.splits_layers or settings.tensor_parallel else "layer"

    def _known(self, settings: Settings, machine: Machine) -> tuple[AcceleratorSpec, SpeedCoefficients] | str:
        """The device and its coefficients; a text says what is missing."""
        cards = settings.accelerators(machine)
        if not cards:
            return f"nobody has published enough runs of {self.title} on CPUs"
        unheard = [card.name for card in cards if card.spec is None]
        if unheard:
            return f"the catalog does not know {unheard[0]}"
        specs = [card.spec for card in cards if card.spec]
        if len({spec.key for spec in specs}) > 1:
            return "the devices differ, and how they wait for each other is not modelled"
        if settings.device_layers is not None:
            return "some layers lie in main memory, and the time to bring them in is not modelled here"
        try:
            return specs[0], coefficients(self.published_as, runtime(cards[0]))
        except UnknownName:
            return f"nobody has published enough runs of {self.title} on {runtime(cards[0])}"
