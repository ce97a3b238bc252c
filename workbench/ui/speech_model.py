"""What the panel of chapter 6 knows and does, without a widget: one recording, written down by several engines.

Nothing is computed here: every number comes from the functions of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from traitlets import Any as AnyTrait
from traitlets import Enum, List, Unicode

import workbench
from workbench import folders, models
from workbench.catalog.recordings import recording, recordings
from workbench.errors import UsageError
from workbench.measurement import listening
from workbench.models import assets
from workbench.ui import engine_choice, machine_choice
from workbench.ui.jobs import Context
from workbench.ui.stepwise import GRACE_S, Stepwise, checked, in_bytes, part

MODEL: Final = "whisper-tiny.en"
ENGINES: Final = ("faster-whisper", "whisper.cpp", "openai-whisper")
MOST_UPLOAD_BYTES: Final = 10_000_000  # what one message to a kernel may have


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    machine: Callable[..., Any] = machine_choice.calibrated
    get_model: Callable[..., Any] = models.get
    plan: Callable[..., Any] = workbench.plan
    deploy: Callable[..., Any] = workbench.deploy
    listen: Callable[..., Any] = listening.listen
    fetch: Callable[..., Any] = assets.fetch


class SpeechModel(Stepwise):
    """The state of the panel. Set the choices, call `transcribe`, watch the rest.

    sample: a recording of the catalog, "" for `path`, which is the user's own; wanted: what is said in it, where the
    user knows; heard: one for each engine, in the order in which they worked; texts: what came so far, by engine.
    """

    BUSY = ("transcribing",)

    state = Enum(("idle", *BUSY), default_value="idle")

    model = Unicode(MODEL)
    sample = Unicode(next(iter(recordings())))
    path = Unicode("")
    wanted = Unicode("")
    language = Unicode("")
    engines: Any = List(list(ENGINES))
    choices = AnyTrait(())

    heard: Any = List()

    def __init__(self, steps: Steps | None = None, **choices: Any) -> None:
        super().__init__(**choices)
        self._steps = steps or Steps()
        self.choices = engine_choice.looked_at(engine_choice.listed("transcribe"))

    def keep(self, name: str, content: bytes) -> None:
        """Take a recording that was uploaded; raises UsageError for one that is too large."""
        if len(content) > MOST_UPLOAD_BYTES:
            raise UsageError(
                f"{name} has {len(content) / 1e6:.0f} MB; a page takes {MOST_UPLOAD_BYTES / 1e6:.0f} MB.",
                fix="Give its path on the computer that runs the notebook instead.",
            )
        folder = folders.cache() / "uploads"
        folder.mkdir(exist_ok=True)
        path = folder / folders.file_name(Path(name).name or "recording")
        path.write_bytes(content)
        self.set_trait("path", str(path))
        self.set_trait("sample", "")

    def transcribe(self) -> None:
        """Let every chosen engine write the recording down, one after the other."""
        if not self.engines:
            raise UsageError("No engine is chosen.", fix="Choose at least one.")
        if not self.sample and not self.path.strip():
            raise UsageError("No recording is chosen.", fix="Choose one, upload one, or give the path of a file.")
        chosen, own, wanted = list(self.engines), self.path.strip(), self.wanted
        sample, language = self.sample, self.language.strip() or None

        def work(context: Context) -> None:
            path, said = self._recording(context, sample) if sample else (Path(own), wanted)
            found: list[Any] = []
            for number, engine in enumerate(chosen):
                report = part(context, number, len(chosen))
                found.append(self._listen(context, engine, path, said, language=language, report=report))
                context.partial(list(found))

        self.heard = []
        self._begin("transcribing", work, "idle", partial="heard")

    def _recording(self, context: Context, name: str) -> tuple[Path, str]:
        chosen = recording(name)
        folder = self._steps.fetch(chosen.asset, progress=in_bytes(context))
        return folder / chosen.file, chosen.text

    def _listen(
        self, context: Context, engine: str, path: Path, wanted: str, *, language: str | None, report: Any
    ) -> Any:
        machine = self._steps.machine(progress=checked(context))
        model = self._steps.get_model(self.model, progress=in_bytes(context))
        plan = self._steps.plan(model, machine=machine, engine=engine)
        report(None, f"starting {plan.engine.title}")
        with self._steps.deploy(plan, grace_s=GRACE_S, progress=checked(context)) as running:
            return self._steps.listen(running, plan, path, wanted, language=language, progress=report)
