"""Damaged, lying and foreign files: one clear sentence, never a hang, a crash or a wild allocation."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import gguf
import pytest

from workbench.errors import BadModelFile, UnsupportedModel, UsageError
from workbench.models import gguf_file
from workbench.models.gguf_header import read_header
from workbench.models.lookalike import identify

STRING, ARRAY, UINT32 = 8, 9, 4


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: bytes = b"a", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def header(tensors: int, keys: int, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + body


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return key(b"a", ARRAY, struct.pack("<IQ", kind, count) + body)


LIES = {
    "future version": (header(0, 0, version=9), "version is 9"),
    "too many tensors": (header(2**40, 0), "claims 1,099,511,627,776 tensors"),
    "too many keys": (header(0, 2**40), "1,099,511,627,776 keys"),
    "ends in the header": (header(0, 1), "ends in the middle of its header"),
    "long key": (header(0, 1, struct.pack("<Q", 2**62)), "a key claims to be"),
    "key is no text": (header(0, 1, key(b"\xff\xfe", UINT32, bytes(4))), "a key is not text"),
    "key twice": (header(0, 2, key(b"a", UINT32, bytes(4)) * 2), "'a' appears twice"),
    "unknown value": (header(0, 1, key(b"a", 99, b"")), "unknown value type 99"),
    "long text": (header(0, 1, key(b"a", STRING, struct.pack("<Q", 2**60))), "past the end of the file"),
    "long array": (header(0, 1, array(UINT32, 2**60)), "more than the file has room for"),
    "many texts": (header(0, 1, array(STRING, 2**60)), "more than there can be"),
    "text in an array": (header(0, 1, array(STRING, 1, struct.pack("<Q", 2**63))), "reaches past the end"),
    "array of arrays": (header(0, 1, array(ARRAY, 1, bytes(99))), "element type 9"),
    "five dimensions": (header(1, 0, tensor(shape=(1,) * 5)), "5 dimensions"),
    "no elements": (header(1, 0, tensor(shape=(0, 2**60))), r"shape \(0,"),
    "endless elements": (header(1, 0, tensor(shape=(2**32, 2**32))), "claims the shape"),
    "unknown type": (header(1, 0, tensor(kind=4)), "unknown type 4"),
    "broken block": (header(1, 0, tensor(shape=(33,), kind=8)), "no whole Q8_0 blocks"),
    "not aligned": (header(1, 0, tensor(offset=7)), "not aligned"),
    "outside": (header(1, 0, tensor(offset=2**40)), "too early"),
    "overlap": (header(2, 0, tensor(b"a", (64,)) + tensor(b"b", offset=32)), "overlaps"),
    "same name": (header(2, 0, tensor() + tensor(offset=128)), "the same name"),
    "bad alignment": (header(0, 1, key(b"general.alignment", UINT32, struct.pack("<I", 3))), "alignment is 3"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused(tmp_path: Path, lie: str) -> None:
    content, complaint = LIES[lie]
    path = tmp_path / "lie.gguf"
    path.write_bytes(content + (b"" if lie == "ends in the header" else bytes(64)))
    with pytest.raises(BadModelFile, match=complaint):
        read_header(path)


def test_a_lying_header_allocates_little(tmp_path: Path) -> None:
    path = tmp_path / "zeros.gguf"
    path.write_bytes(header(0, 1, array(STRING, 2**23)))
    with path.open("r+b") as file:
        file.truncate(2**30)  # sparse: a gigabyte of empty texts
    tracemalloc.start()
    with pytest.raises(BadModelFile, match="more than there can be"):
        read_header(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 20 * 2**20


@pytest.mark.parametrize("kept", [0, 0.001, 0.05, 0.5, 0.9, 1])
def test_a_missing_tail_is_refused(tiny: Path, kept: float) -> None:
    tensors = gguf.GGUFReader(tiny).tensors
    end = max(tensor.data_offset + tensor.n_bytes for tensor in tensors)  # padding may follow
    content = tiny.read_bytes()[: int(kept * end) - (kept == 1)]
    tiny.write_bytes(content)
    with pytest.raises(BadModelFile):
        gguf_file.read(tiny)


def test_mutants_are_read_or_refused(tiny: Path) -> None:
    content, chance = tiny.read_bytes(), random.Random(7)
    end_of_header = read_header(tiny).data_offset
    refused = 0
    for number in range(1000):
        mutant = bytearray(content)
        for _ in range(chance.choice((1, 1, 4))):
            mutant[chance.randrange(end_of_header)] = chance.randrange(256)
        if number % 5 == 0:
            del mutant[chance.randrange(len(mutant)) :]
        tiny.write_bytes(mutant)
        try:
            model = gguf_file.read(tiny)
            assert model.weight_bytes <= len(mutant)
            assert model.decode_read_bytes <= model.weight_bytes
        except (BadModelFile, UnsupportedModel):
            refused += 1
    assert refused > 100


FOREIGN = {
    b"": "empty",
    bytes(100): "zeros",
    b"version https://git-lfs.github.com/spec/v1\noid": "Git LFS pointer",
    b"PK\x03\x04rest": "zip archive",
    b"\x80\x02}q\x00": "pickle",
    b"<!DOCTYPE html><html>": "web page",
    b"\n  <html>": "web page",
    struct.pack("<Q", 100) + b'{"__metadata__"': "safetensors",
    b"tjggrest": "GGML format",
    b'{"error": "not found"}': "JSON",
    b"\x1f\x8b\x08rest": "compressed",
    b"MZ\x90\x00": "unknown: it starts with b'MZ",
}


@pytest.mark.parametrize("content", FOREIGN)
def test_says_what_the_file_is_instead(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(BadModelFile, match="is not a GGUF file") as caught:
        gguf_file.read(path)
    assert FOREIGN[content] in caught.value.what
    assert caught.value.fix


def test_a_pickle_is_refused_with_the_reason() -> None:
    assert "can run code" in identify(b"\x80\x04K\x01.")[1]
    assert "can run code" in identify(b"PK\x03\x04")[1]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/", "/no/such/file"])
def test_only_regular_files_are_opened(path: str) -> None:
    with pytest.raises(UsageError):
        gguf_file.read(Path(path))
