"""The model every notebook can run on: fetched for real (or from the cache) and read."""

from __future__ import annotations

from collections import Counter

import gguf
import pytest

from workbench.models import Model
from workbench.models.architecture import kv_bytes_per_token
from workbench.models.gguf_header import read_header

pytestmark = pytest.mark.engine


def test_facts(embedded_model: Model) -> None:
    shape = embedded_model.architecture
    assert (shape.name, shape.layers, shape.hidden, shape.heads, shape.kv_heads) == ("llama", 30, 576, 9, 3)
    assert (shape.feed_forward, shape.vocabulary, shape.merges, shape.context_length) == (1536, 49152, 48900, 8192)
    assert shape.tied_embeddings
    assert (embedded_model.quantization, embedded_model.licence, embedded_model.file_bytes) == (
        "Q4_1",
        "apache-2.0",
        98_362_432,
    )
    assert Counter(tensor.type for tensor in embedded_model.tensors) == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
    assert embedded_model.chat_template is not None


def test_arithmetic(embedded_model: Model) -> None:
    assert embedded_model.parameters == 134_515_008
    assert embedded_model.decode_read_bytes == embedded_model.weight_bytes == 96_576_768
    assert kv_bytes_per_token(embedded_model.architecture) == 23_040


def test_agrees_with_the_official_reader(embedded_model: Model) -> None:
    official = gguf.GGUFReader(embedded_model.path)
    ours = [(tensor.name, tensor.type, list(tensor.shape), tensor.bytes) for tensor in embedded_model.tensors]
    theirs = [(one.name, one.tensor_type.name, one.shape.tolist(), one.n_bytes) for one in official.tensors]
    assert ours == theirs
    assert read_header(embedded_model.path).data_offset == official.data_offset
