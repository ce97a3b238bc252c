"""What the panel of chapter 3 knows and does, without a widget: deploy one or several engines, and talk with them.

Engines answer in turn, never at once: on one computer they would slow each other down. What was said stays, however an
answer ends; a question that nobody answered goes back to where it was written. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from traitlets import Any as AnyTrait
from traitlets import Dict, Enum, Float, Int, List, Unicode, observe

import workbench
from workbench import deployment, models
from workbench.errors import ServerDied, StopFailed, UsageError, WorkbenchError
from workbench.measurement import Compared, Terms, answers, label, terms
from workbench.ui import conversation, engine_choice, machine_choice
from workbench.ui.conversation import Reply, Turn
from workbench.ui.jobs import Cancelled, Context
from workbench.ui.stepwise import GRACE_S, Stepwise, checked, in_bytes

if TYPE_CHECKING:
    from workbench.deployment.stream import Stream

MODEL: Final = "smollm2-135m-instruct"
STATES: Final = ("idle", "looking", "deploying", "ready", "answering", "stopping")
BUSY: Final = ("looking", "deploying", "answering", "stopping")


@dataclass(frozen=True, slots=True)
class Steps:
    """The functions of the package that the steps call; tests put others in their place."""

    look: Callable[..., Any] = engine_choice.looked_at
    machine: Callable[..., Any] = machine_choice.calibrated
    get_model: Callable[..., Any] = models.get
    plan: Callable[..., Any] = workbench.plan
    check_room: Callable[..., Any] = deployment.check_room
    deploy: Callable[..., Any] = workbench.deploy


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it was sent: the turns before it, and how answers are to be made."""

    question: str
    earlier: tuple[Turn, ...]
    system: str
    options: Mapping[str, Any]


class Chat(Stepwise):
    """The state of the panel. Set the choices, call `deploy`, then `send` and `halt`; watch the rest.

    engines: choices as `engine_choice` writes them; seed: negative for another one each time; plans and running: the
    plan and the deployment of each engine, by the name it has in the conversation.
    """

    BUSY = BUSY

    state = Enum(STATES, default_value="idle")

    model = Unicode(MODEL)
    engines: Any = List(Unicode(), default_value=[engine_choice.AUTO])
    context = Int(2048)
    concurrency = Int(1)

    system = Unicode("")
    question = Unicode("")
    temperature = Float(0.7)
    top_p = Float(0.95)
    max_tokens = Int(256)
    seed = Int(-1)

    choices: Any = AnyTrait(())
    plans: Any = Dict()
    running: Any = Dict()
    turns: Any = AnyTrait(())

    def __init__(self, steps: Steps | None = None, **wanted: Any) -> None:
        super().__init__(**wanted)
        self._steps = steps or Steps()
        self._asked: Asked | None = None
        self.choices = engine_choice.listed(also=self.engines)

    # -- engines -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out which engines can run here."""
        self._begin("looking", lambda _: self._steps.look(self.choices), self._rest(), result="choices")

    def deploy(self) -> None:
        """Plan every chosen engine, refuse what does not fit, and start the rest."""
        if self.running:
            raise UsageError("A model is running.", fix="Stop it before you deploy another one.")
        self._begin("deploying", self._deploy, "ready", partial="plans", result="running")

    def stop(self) -> None:
        """Stop every deployment, for every page that uses it, and give the memory back."""
        self._begin("stopping", self._stop, "idle", result="running")

    def _deploy(self, context: Context) -> dict[str, Any]:
        plans = self._plan(context)
        context.partial(plans)
        self._steps.check_room(list(plans.values()))
        started: dict[str, Any] = {}
        try:
            for name, plan in plans.items():
                started[name] = self._steps.deploy(plan, grace_s=GRACE_S, progress=checked(context))
        except BaseException:  # also when it is cancelled: all of them or none
            for one in started.values():
                with suppress(StopFailed):
                    one.release()
            raise
        return started

    def _plan(self, context: Context) -> dict[str, Any]:
        name = self.model.strip()
        if not name:
            raise UsageError("No model is named.", fix="Choose one of the list, or give a path or a file on the Hub.")
        machine = self._steps.machine(progress=checked(context))
        model = self._model(context, name)
        wanted = {"machine": machine, "context": self.context, "concurrency": self.concurrency}
        plans: dict[str, Any] = {}
        for choice in self.engines:
            context.check()
            context.progress(None, f"predicting {choice}")
            named = name if engine_choice.has_own_models(choice) else model
            plan = self._steps.plan(named, **engine_choice.options(choice), **wanted)
            if label(plan) in plans:
                raise UsageError(f"{label(plan)} was chosen twice.", fix="Remove one of them.")
            plans[label(plan)] = plan
        return plans

    def _model(self, context: Context, name: str) -> Any:
        """The model in its file; None where every engine has its models itself."""
        if all(map(engine_choice.has_own_models, self.engines)):
            return None
        context.progress(None, f"getting {name}")
        return self._steps.get_model(name, progress=in_bytes(context))

    def _stop(self, context: Context) -> dict[str, Any]:
        left = dict(self.running)
        for name, one in self.running.items():
            context.progress(None, f"stopping {name}")
            with suppress(ServerDied):
                one.stop()
            del left[name]
        return left

    # -- the conversation --------------------------------------------------------------------------------------

    def send(self) -> None:
        """Ask every running engine in turn; the answers grow while they come."""
        question = self.question.strip()
        if not question:
            raise UsageError("The question is empty.", fix="Write one.")
        if not self.running:
            raise UsageError("No model is running.", fix="Deploy one first.")
        if self.busy:
            return
        self._asked = asked = Asked(question, self.turns, self.system, self._options())
        self.question = ""
        self._begin("answering", lambda context: self._answer(context, asked), "ready", partial="turns", result="turns")

    def halt(self) -> None:
        """End the answer that is being written. What came of it stays."""
        if self.state == "answering":
            self.cancel()

    def new_chat(self) -> None:
        """Forget what was said."""
        if not self.busy:
            self.set_trait("error", None)
            self.turns = ()

    def transcript(self) -> str:
        """The conversation as Markdown."""
        return conversation.transcript(self.turns, f"A conversation with {self.model}", self.system)

    def compared(self) -> list[Compared]:
        """Every planned engine with its last answer, if it has one that was counted."""
        found = []
        for name, plan in self.plans.items():
            replies = [turn.replies[name] for turn in self.turns if name in turn.replies]
            last = next((reply for reply in reversed(replies) if reply.answer.tokens), None)
            found.append(Compared(plan, last.answer, last.memory_bytes) if last else Compared(plan))
        return found

    def _options(self) -> dict[str, Any]:
        chosen = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return chosen if self.seed < 0 else {**chosen, "seed": self.seed}

    def _answer(self, context: Context, asked: Asked) -> tuple[Turn, ...]:
        turn = Turn(asked.question, {name: Reply() for name in self.running}, self._terms(asked))
        for name in self.running:
            context.progress(None, f"{name} is answering")
            for reply in self._replies(context, name, asked):
                turn = turn.with_reply(name, reply)
                context.partial((*asked.earlier, turn))
            if reply.ending == "stopped":
                turn = turn.without_the_rest()
                if not turn.said:
                    raise Cancelled
                break
        self._let_go_of_the_dead(turn)
        if turn.error and not turn.said:
            raise turn.error
        self.set_trait("error", turn.error)
        return (*asked.earlier, turn)

    def _terms(self, asked: Asked) -> dict[str, Terms]:
        sent, temperature = conversation.histories(asked.earlier, list(self.running)), asked.options["temperature"]
        return {name: terms(self.plans[name], temperature=temperature, history=sent[name]) for name in self.running}

    def _replies(self, context: Context, name: str, asked: Asked) -> Iterator[Reply]:
        """One engine's reply as it grows, and as it ended."""
        running, reply = self.running[name], Reply(ending="growing")
        said = conversation.messages(asked.earlier, name, asked.question, asked.system)
        stream = running.stream(said, **asked.options)
        context.on_cancel(stream.close)
        yield reply
        try:
            for answer in answers(stream):
                reply = replace(reply, answer=answer)
                yield reply
        except KeyboardInterrupt:  # in the foreground, interrupting the kernel is how one stops
            stream.close()
        except WorkbenchError as error:
            yield replace(reply, ending="failed", note=str(error), error=error)
            return
        yield self._ended(name, reply, asked, stream)

    def _ended(self, name: str, reply: Reply, asked: Asked, stream: Stream) -> Reply:
        room, most = self.plans[name].settings.context, asked.options["max_tokens"]
        ending, note = conversation.ended(reply.answer, stopped=stream.closed, context=room, most_tokens=most)
        said = " ".join(filter(None, (note, stream.warning)))
        memory = self.running[name].memory()
        return replace(reply, ending=ending, note=said, memory_bytes=memory.bytes if memory else None)

    def _let_go_of_the_dead(self, turn: Turn) -> None:
        dead = [name for name, reply in turn.replies.items() if isinstance(reply.error, ServerDied)]
        gone = [self.running[name] for name in dead]
        self.running = {name: one for name, one in self.running.items() if name not in dead}
        for one in gone:
            with suppress(StopFailed):
                one.release()

    # -- states ------------------------------------------------------------------------------------------------

    def _rest(self) -> str:
        """The state between two steps."""
        return "ready" if self.running else "idle"

    def _end(self, state: str, values: dict[str, Any]) -> None:
        if self.state == "answering" and self._asked and "turns" not in values:  # nobody said a word
            written = "\n".join(filter(None, (self._asked.question, self.question)))  # meanwhile, too
            values = {**values, "turns": self._asked.earlier, "question": written}
        if state == "ready" and not values.get("running", self.running):
            state = "idle"
        super()._end(state, values)

    @observe("model", "engines", "context", "concurrency")
    def _choose(self, _: Any) -> None:
        """Other choices: what was predicted for the former ones no longer counts."""
        if not self.running and not self.busy:
            self.plans = {}
