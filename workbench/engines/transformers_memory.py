"""The memory Transformers takes: weights, a cache that grows, and the prompt, which passes through at once.

The peak is the larger of two moments: the end of the answer, with all keys and values; and the prompt inside the widest
layer, with its own keys and values. Checked against published peaks of torch.cuda.max_memory_allocated, which leave out
the driver's context (`python -m benchmarks transformers_published`).

Programs built on Transformers, and its older versions, differ in a few habits: see HABITS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from workbench.engines import activations
from workbench.engines.contract import PEAK_ANSWER_TOKENS, Settings
from workbench.engines.device_memory import driver_context, label, weight_format
from workbench.engines.llamacpp_memory import RECURRENT, is_recurrent
from workbench.engines.tensor_split import shard
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model
from workbench.models.architecture import bytes_per_element, kv_bytes
from workbench.units import MIB

#: PyTorch's workspaces and the rounding of its allocator, beside everything that is counted.
ALLOCATOR_BYTES = 32 * MIB
#: Bytes of scratch per element of the largest matrix, by the first word of the format: kernels that unpack a matrix
#: before they multiply.
# Fitted to Qwen2.5 32B and 72B (GPTQ, AWQ) and Qwen3 14B and 32B (FP8) with a prompt of one token; bitsandbytes unpacks
# a whole matrix to 16 bits.
SCRATCH_BYTES = {"GPTQ": 2.5, "AWQ": 0.8, "FP8": 0.5, "NF4": 2.0, "FP4": 2.0, "LLM.int8": 2.0}
#: Tokens of a prompt that our server lets pass through the layers at once.
PART_TOKENS = 512
#: How far the whole of weights, cache and scratch lay below and above, and the prompt, as fractions.
STATIC_SPREAD, PROMPT_SPREAD = (0.005, 0.01), (0.15, 0.15)
QUANTIZED_SPREAD = (0.015, 0.04)
SOURCE = "published peaks of Transformers 4.38 to 4.51 for Qwen2, Qwen2.5 and Qwen3 of 0.5 to 72 B parameters"
#: A Python process with PyTorch, Transformers and a model's code, before any weight is touched.
PROGRAM_BYTES = 428 * MIB
PROGRAM_SOURCE = (
    "Transformers 5.23 with PyTorch 2.13 on x86-64 Linux, 2026-11-24 (records/transformers_memory_cpu.json)"
)
#: The same with PyTorch's CUDA libraries: usual, least, most.
CUDA_PROGRAM_BYTES = (1200 * MIB, 420 * MIB, 2500 * MIB)
#: Linux maps so much of a file around each page that is touched (fault_around_bytes).
FAULT_BYTES = 64 * 1024
CUDA_PROGRAM_SOURCE = "0.44 to 2.06 GB for PyTorch 2.2 on CUDA 11.8 (pytorch issue 113326)"


@dataclass(frozen=True, slots=True)
class Habits:
    """What sets a program apart from the current Transformers, as far as its published peaks show it.

    logit_bytes: bytes per token of the prompt and word of the vocabulary; the current one makes logits of the prompt's
    last token only; head_copies: further copies of the output matrix, on one device; joined_copies: the matrices of
    queries, keys and values are kept both apart and joined; cache_copies: how often all keys and values lie in memory;
    scratch_bytes: per element of the largest matrix, in place of SCRATCH_BYTES; reserved_bytes: taken and never used;
    prompt: whether its published numbers count the prompt; spread: how far they lay below and above, as fractions of
    the weights, beyond what Transformers' own do.
    """

    logit_bytes: float = 0.0
    head_copies: int = 0
    joined_copies: bool = False
    cache_copies: int = 1
    scratch_bytes: float | None = None
    reserved_bytes: int = 0
    prompt: bool = True
    spread: tuple[float, float] = (0.0, 0.0)


#: By the first words of the engine, as published measurements name it.
HABITS = {
    "HF Transformers 4.38": Habits(logit_bytes=6, head_copies=1, spread=(0.04, 0.06)),
    "HF Transformers 4.51": Habits(prompt=False),  # Qwen3's table: no more with 30,720 tokens of prompt than with one
    "Qwen's own code": Habits(cache_copies=2, reserved_bytes=512 * MIB, spread=(0.06, 0.06)),
    "GPTQ-for-LLaMa": Habits(prompt=False),
    "ExLlama": Habits(scratch_bytes=9.4, prompt=False),
    "AutoAWQ": Habits(logit_bytes=10, joined_copies=True, spread=(0.1, 0.1)),
    "torchao": Habits(head_copies=1, reserved_bytes=640 * MIB, spread=(0.05, 0.05)),
}


#: Formats that bitsandbytes makes while it loads, and what it takes itself on a CPU.
BITSANDBYTES = frozenset({"LLM.int8", "NF4", "NF4-DQ", "FP4"})
BITSANDBYTES_BYTES = 280 * MIB
BITSANDBYTES_SOURCE = "three deployments of one model of 134 million parameters on x86-64, 2026-11-28"
#: On a CPU the cache grows by copies, and the process keeps the room of what it outgrew.
# Deployments of the embedded model with 512 to 4,096 tokens, 2026-11-28: 0.9 to 1.2 caches more than one.
GROWING = Habits(cache_copies=2)


def habits_of(engine: str, source: str = "") -> Habits:
    """The habits of a program as published measurements name it; `source` is the repository they were read in."""
    if source.startswith("QwenLM/Qwen@"):
        return HABITS["Qwen's own code"]
    names = [name for name in HABITS if engine.startswith(name)]
    return HABITS[max(names, key=len)] if names else Habits()


@dataclass(frozen=True, slots=True)
class Serving:
    """How a server runs the library. part: see `Load`; one_by_one: a request starts when the one before has ended;
    program_bytes: its process before any weight is touched."""

    part: int | None
    one_by_one: bool
    program_bytes: int


#: Our server beside the library: FastAPI, uvicorn and what they need.
SERVER_BYTES = 16 * MIB
#: The library's own, with all its clients and parsers.
LIBRARY_SERVER_BYTES = 75 * MIB
HOSTED = Serving(PART_TOKENS, False, PROGRAM_BYTES + SERVER_BYTES)
LIBRARY = Serving(None, True, PROGRAM_BYTES + LIBRARY_SERVER_BYTES)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked at once: `batch` prompts of `prompt` tokens, each answered with `answer` tokens.

    part: tokens of one prompt that pass through the layers at once, one request after the other; None: all prompts
    pass together, whole.
    """

    prompt: int
    answer: int
    batch: int = 1
    part: int | None = None

    @classmethod
    def of(cls, settings: Settings, serving: Serving) -> Load:
        """The longest prompts that these settings leave room for."""
        prompt = max(1, settings.context - PEAK_ANSWER_TOKENS)
        batch = 1 if serving.one_by_one else settings.concurrency
        return cls(prompt, settings.context - prompt, batch, serving.part)

    @property
    def tokens(self) -> int:
        """Tokens that pass through a layer at once."""
        return self.batch * self.prompt if self.part is None else min(self.prompt, self.part)


# -- the whole machine -----------------------------------------------------------------------------------------


def on_devices(model: Model, settings: Settings, machine: Machine, serving: Serving = HOSTED) -> tuple[Breakdown, ...]:
    """One breakdown per device, in their order, then main memory; a device that shares main memory has all of it."""
    cards = settings.accelerators(machine)
    found = torch_parts(model, Load.of(settings, serving), settings, len(cards))
    devices = [{**parts, "driver": driver_context(card)} for parts, card in zip(found, cards, strict=True)]
    if cards[0].unified:
        return (Breakdown(cards[0].name, {**devices[0], "program": _program()}),)
    named = (Breakdown(label(card, len(cards)), parts) for card, parts in zip(cards, devices, strict=True))
    host = {"weights": _left_in_memory(model, settings), "program": _program(cuda=cards[0].vendor == "NVIDIA")}
    return (*named, Breakdown("RAM", host))


def on_cpu(model: Model, settings: Settings, serving: Serving = HOSTED) -> tuple[Breakdown, ...]:
    """Everything in main memory; weights are mapped from their file, and of a lookup table only what is read."""
    parts = torch_parts(model, Load.of(settings, serving), settings, habits=GROWING)[0]
    found = {**parts, "weights": _mapped(model, settings), "engine": _program(count=serving.program_bytes)}
    if weight_format(model) in BITSANDBYTES:
        found["quantizing"] = _quantizing(model)
    return (Breakdown("RAM", found),)


def torch_parts(
    model: Model, load: Load, settings: Settings, devices: int = 1, habits: Habits | None = None
) -> tuple[Mapping[str, Estimate], ...]:
    """What PyTorch's own counter shows on each device at its peak, in parts; the driver's context is not among them."""
    every = frozenset(range(model.architecture.layers))
    shown = habits or Habits()
    if settings.tensor_parallel and devices > 1:
        piece = shard(model, devices)
        return (
            _Share(piece, load, settings, shown, every, piece.weight_bytes, True, devices, devices).parts(),
        ) * devices
    dealt, found = deal_layers(model, devices, settings.device_layers), []
    for place in range(devices):
        here = frozenset(layer for layer, at in enumerate(dealt) if at == place)
        visiting = frozenset(layer for layer, at in enumerate(dealt) if at is None and place == 0)
        weights = sum(model.bytes_by_layer[layer] for layer in here) + _ends(model, place, devices)
        weights += max((model.bytes_by_layer[layer] for layer in visiting), default=0)  # one at a time
        ends = place == devices - 1
        found.append(_Share(model, load, settings, shown, here | visiting, weights, ends, 1, devices).parts())
    return tuple(found)


def deal_layers(model: Model, devices: int, device_layers: int | None = None) -> tuple[int | None, ...]:
    """The device of each layer, None for main memory: the first `device_layers`, in equal shares of their bytes.

    What accelerate answers, which also knows each device's room, is in `workbench.planning`; this is its rule for
    devices that are alike.
    """
    sizes = model.bytes_by_layer[: model.architecture.layers]
    kept = len(sizes) if device_layers is None else min(device_layers, len(sizes))
    ends = list(accumulate(sizes[:kept]))
    middles = (end - size / 2 for end, size in zip(ends, sizes, strict=False))
    places = [min(devices - 1, int(devices * middle / (ends[-1] or 1))) for middle in middles]
    return (*places, *((None,) * (len(sizes) - kept)))


def _ends(model: Model, place: int, devices: int) -> int:
    """Bytes of what is no layer: tables of tokens lie on the first device, and a head tied to one lies there too."""
    tied = model.embedding_bytes if model.architecture.tied_embeddings else 0
    first, last = model.lookup_bytes, model.bytes_by_layer[-1] - tied
    return (first if place == 0 else 0) + (last if place == devices - 1 else 0)


# -- one device ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Share:
    """What one device does: these layers, with so many bytes of weights; has_output: the last one of all; split:
    devices that each matrix is divided by."""

    model: Model
    load: Load
    settings: Settings
    habits: Habits
    layers: frozenset[int]
    weights: int
    has_output: bool = True
    split: int = 1
    devices: int = 1

    def parts(self) -> Mapping[str, Estimate]:
        return {
            "weights": self._weights(),
            "KV cache": self._cache(),
            "prompt": self._prompt(),
            "workspace": self._workspace(),
        }

    @property
    def value_bytes(self) -> int:
        """Bytes of an activation."""
        return 4 if weight_format(self.model) == "FP32" else 2

    def _weights(self) -> Estimate:
        kind = weight_format(self.model)
        below, above = STATIC_SPREAD if kind in ("FP32", "FP16", "BF16") else QUANTIZED_SPREAD
        below, above = below + self.habits.spread[0], above + self.habits.spread[1]
        basis = Basis("bytes of the tensors that lie here", {"format": kind}, "exact by architecture")
        return Estimate.within(self.weights, "B", basis, below, above)

    def _cache(self) -> Estimate:
        if is_recurrent(self.model.architecture):
            return Estimate.unknown("B", RECURRENT)
        tokens = self.load.prompt + self.load.answer
        inputs = {"tokens": f"{tokens}", "requests": f"{self.load.batch}", "layers": f"{len(self.layers)}"}
        basis = Basis(
            "keys and values of all tokens; sliding layers keep their window", inputs,
            "exact by architecture; latent attention is cached compressed, as Transformers 5.23 does",
        )  # fmt: skip
        return Estimate.within(self._cached(tokens), "B", basis, 0.0, 0.0)

    def _cached(self, tokens: int) -> float:
        kind = self.settings.cache_type
        per_value = {"f16": self.value_bytes, "bf16": self.value_bytes}.get(kind) or bytes_per_element(kind)
        copies = self.load.batch * self.habits.cache_copies
        return copies * kv_bytes(self.model.architecture, tokens, per_value, layers=self.layers)

    def _prompt(self) -> Estimate:
        """What the prompt needs beyond the room that the answer will take later."""
        load, a = self.load, self.model.architecture
        if is_recurrent(a):
            return Estimate.unknown("B", RECURRENT)
        inside = self._inside() if self.habits.prompt else 0
        later = self._cached(load.prompt + load.answer) - self._cached(load.prompt)
        inputs = {"tokens": f"{load.tokens} of {load.batch} × {load.prompt}",
                  "in the widest layer": f"{inside / MIB:.4g} MiB",
                  "taken later by the answer": f"{later / MIB:.4g} MiB"}  # fmt: skip
        basis = Basis("tokens × values of the widest layer, less what the answer takes later", inputs,
                      f"{activations.SOURCE}; {SOURCE}")  # fmt: skip
        below, above = PROMPT_SPREAD
        low, high = (max(0, inside * factor - later) for factor in (1 - below, 1 + above))
        return Estimate(max(0, inside - later), low, high, "B", basis)

    def _inside(self) -> float:
        """Bytes of one prompt, or of all that go together, inside the layer where they take most, or as logits."""
        load, a = self.load, self.model.architecture
        tokens = load.tokens
        widest = tokens * self.value_bytes * activations.widest_layer(self.model, self.split)
        if not self.settings.flash_attention:
            scores = load.batch * activations.score_bytes(self.model, load.prompt)
            widest = max(widest, scores + tokens * self.value_bytes * activations.attention_values(a))
        if a.sliding_window and load.prompt > a.sliding_window:
            widest += load.batch * load.prompt**2  # the mask of the window, a byte each
        per_word = max(tokens * self.habits.logit_bytes, load.batch * 6) if self.has_output else 0
        return max(widest, per_word * a.vocabulary)

    def _workspace(self) -> Estimate:
        unpacked = activations.largest_matrix(self.model) * self._scratch()
        reserved, copies = ALLOCATOR_BYTES + self.habits.reserved_bytes, self._copies()
        inputs = {"allocator": f"{reserved / MIB:.0f} MiB", "unpacking": f"{unpacked / MIB:.4g} MiB",
                  "copies of matrices": f"{copies / MIB:.4g} MiB"}  # fmt: skip
        value = reserved + unpacked + copies
        return Estimate(value, value / 4, 2 * value, "B", Basis("allocator + unpacking + copies", inputs, SOURCE))

    def _scratch(self) -> float:
        """Bytes of scratch per element of the largest matrix."""
        if self.habits.scratch_bytes is not None:
            return self.habits.scratch_bytes
        kind = weight_format(self.model)
        return max((per for word, per in SCRATCH_BYTES.items() if kind.startswith(word)), default=0.0)

    def _copies(self) -> float:
        """Bytes of matrices that are held a second time."""
        a, kind = self.model.architecture, weight_format(self.model)
        # Published FP8 models with a tied head hold it apart as well: Qwen3 1.7B and 4B need exactly that much more.
        heads = self.habits.head_copies * (self.devices == 1) + (a.tied_embeddings and kind == "FP8")
        parts = (".attn_q.weight", ".attn_k.weight", ".attn_v.weight")
        joined = sum(t.bytes for t in self.model.tensors if t.name.endswith(parts)) if self.habits.joined_copies else 0
        return heads * a.vocabulary * a.hidden * 2 * self.has_output + joined


# -- main memory -----------------------------------------------------------------------------------------------


def _mapped(model: Model, settings: Settings) -> Estimate:
    """Weights mapped from a file in the type they are used in: of a lookup table, what was read around each row."""
    tables = 0 if model.architecture.tied_embeddings else model.lookup_bytes
    looked_up = min(tables, settings.context * settings.concurrency * FAULT_BYTES)
    inputs = {"format": weight_format(model), "read of lookup tables": f"{looked_up / MIB:.4g} MiB"}
    basis = Basis("bytes of all tensors; of a lookup table what is read around each row", inputs, PROGRAM_SOURCE)
    value = model.weight_bytes - tables + looked_up
    return Estimate(value, model.weight_bytes - tables, model.weight_bytes, "B", basis)


def _quantizing(model: Model) -> Estimate:
    """What bitsandbytes leaves behind on a CPU: the 16-bit weights it read, and its own code and scratch."""
    read = 2 * model.parameters
    inputs = {"weights read": f"{read / MIB:.4g} MiB", "bitsandbytes": f"{BITSANDBYTES_BYTES / MIB:.0f} MiB"}
    basis = Basis("16-bit weights + bitsandbytes", inputs, BITSANDBYTES_SOURCE)
    return Estimate.within(read + BITSANDBYTES_BYTES, "B", basis, 0.5, 0.5)


def _left_in_memory(model: Model, settings: Settings) -> Estimate:
    """Layers that no device holds."""
    dealt = deal_layers(model, max(1, len(settings.devices)), settings.device_layers)
    count = sum(size for size, at in zip(model.bytes_by_layer, dealt, strict=False) if at is None)
    basis = Basis("bytes of the layers that no device holds", {"layers": f"{dealt.count(None)}"}, "accelerate's rule")
    return Estimate.within(count, "B", basis, 0.0, 0.01)


def _program(*, cuda: bool = False, count: int = PROGRAM_BYTES) -> Estimate:
    if cuda:
        basis = Basis("Python, PyTorch with CUDA and Transformers", source=f"{CUDA_PROGRAM_SOURCE}; {PROGRAM_SOURCE}")
        return Estimate(*CUDA_PROGRAM_BYTES, "B", basis)
    return Estimate.within(count, "B", Basis("Python, PyTorch and Transformers", source=PROGRAM_SOURCE), 0.1, 0.15)
