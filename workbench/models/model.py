"""What a model is: its architecture, its tensors and the file they lie in. Facts only, nothing is loaded or guessed.

Everything here was read from a file's header, or follows from the config.json of a model you do not have. What a
model needs on a machine, and which engine can run it, is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# Tables in the file that are computed, not learned: they are weights to read but no parameters.
_COMPUTED = ("rope_freqs", "rope_factors")
# Tables of which one row is looked up per token, so that decoding does not read them whole.
_LOOKED_UP = ("token_embd.", "per_layer_token_embd.", "position_embd.", "token_types.")


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a transformer. Lengths are numbers of values, `context_length` is in tokens.

    heads and kv_heads are per layer; where layers differ, `kv_heads` and `feed_forward` are the largest and the tuples
    `kv_heads_per_layer` and `feed_forward_per_layer` hold all of them (empty: every layer is alike).
    experts is 0 for a dense model. sliding_window is None when every layer attends to the whole context; otherwise
    `windowed` says which layers slide (empty: the file does not say).
    latent_cache: keys and values are cached as one compressed vector of key_length values (latent attention).
    shared_feed_forward: width of the experts that every token uses, together. recurrent_values_per_layer: what each
    layer keeps per sequence, however long it is (empty: no layer is recurrent, or the file does not say).
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    feed_forward: int
    vocabulary: int
    context_length: int
    tied_embeddings: bool
    merges: int = 0
    experts: int = 0
    experts_used: int = 0
    expert_feed_forward: int = 0
    shared_feed_forward: int = 0
    sliding_window: int | None = None
    windowed: tuple[bool, ...] = ()
    kv_heads_per_layer: tuple[int, ...] = ()
    feed_forward_per_layer: tuple[int, ...] = ()
    recurrent_values_per_layer: tuple[int, ...] = ()
    latent_cache: bool = False


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `shape` as the file stores it (fastest dimension first), `bytes` as stored in type `type`."""

    name: str
    type: str
    shape: tuple[int, ...]
    elements: int
    bytes: int

    @property
    def is_computed(self) -> bool:
        """True for tables of rotary frequencies, which nobody trained."""
        return self.name.startswith(_COMPUTED)

    @property
    def is_looked_up(self) -> bool:
        """True for tables of which one token reads one row."""
        return self.name.startswith(_LOOKED_UP)

    @property
    def is_expert(self) -> bool:
        """True where all experts of a layer lie in one tensor, of which a token uses a few."""
        return "_exps." in self.name


@dataclass(frozen=True)
class Model:
    """A model in a file on this computer, or one that is only described.

    path is None for a model that is only described; file_bytes is what its file would take, then. It may be a folder.
    made_from: the model in a file that a described one can be made of (`models.convert`).
    quantization is the file's own name for its mix of types (such as Q4_K_M). sha256 is None when nobody computed it:
    hashing a large file takes a while and is done for files whose hash is recorded. licence and chat_template are None
    when the file holds none. source says where the file came from.
    """

    name: str
    path: Path | None
    architecture: Architecture
    tensors: tuple[Tensor, ...]
    file_bytes: int
    quantization: str
    source: str
    format: str = "gguf"
    licence: str | None = None
    chat_template: str | None = None
    sha256: str | None = None
    made_from: Model | None = None

    @cached_property
    def parameters(self) -> int:
        """Number of trained values."""
        return sum(tensor.elements for tensor in self.tensors if not tensor.is_computed)

    @cached_property
    def active_parameters(self) -> int:
        """Parameters that take part in one token: all but the experts not chosen (a fraction of equal experts)."""
        return round(sum(t.elements * self._used(t) for t in self.tensors if not t.is_computed))

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(tensor.bytes for tensor in self.tensors)

    @cached_property
    def embedding_bytes(self) -> int:
        """Bytes of the token embedding table."""
        return sum(tensor.bytes for tensor in self.tensors if tensor.name == "token_embd.weight")

    @cached_property
    def bytes_by_layer(self) -> tuple[int, ...]:
        """Bytes of each layer, first layer first, and of the output as one more, the last.

        A token embedding that is also the output counts here as well as in `lookup_bytes`.
        """
        sizes = [0] * (self.architecture.layers + 1)
        for tensor in self.tensors:
            if tensor.name.startswith("blk."):
                sizes[int(tensor.name.split(".", 2)[1])] += tensor.bytes
            elif self._is_read_whole(tensor):
                sizes[-1] += tensor.bytes
        return tuple(sizes)

    @cached_property
    def lookup_bytes(self) -> int:
        """Bytes of the tables of which a token reads one row."""
        return sum(tensor.bytes for tensor in self.tensors if tensor.is_looked_up)

    @cached_property
    def decode_read_bytes(self) -> int:
        """Bytes of weights read to decode one token.

        Lookup tables count for nothing (one row), except a token embedding that is also the output head; of experts
        only those chosen count.
        """
        return round(sum(tensor.bytes * self._used(tensor) for tensor in self.tensors if self._is_read_whole(tensor)))

    def _is_read_whole(self, tensor: Tensor) -> bool:
        is_head = self.architecture.tied_embeddings and tensor.name == "token_embd.weight"
        return is_head or not tensor.is_looked_up

    def _used(self, tensor: Tensor) -> float:
        """Fraction of a tensor that one token uses."""
        experts = self.architecture.experts
        return self.architecture.experts_used / experts if experts and tensor.is_expert else 1.0
