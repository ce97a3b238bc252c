"""Reads the header of a GGUF file, and believes nothing in it.

The file may come from a stranger. Every count and length is held against the bytes there are and against limits far
above any real model, so that no header can make this code hang, allocate much or read outside the file. Types, block
sizes and value types come from the official `gguf` library. Its own reader is not used: it maps the whole vocabulary
into arrays (1.8 s for 49,152 tokens) and trusts lengths. The tests hold the two against each other.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from workbench.errors import BadModelFile, UsageError
from workbench.models.lookalike import HEAD_BYTES, identify
from workbench.models.model import Tensor
from workbench.units import format_bytes

VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

# Far above any model known: vocabularies of a quarter million tokens with half a million merges, some thousand tensors,
# some hundred keys. The format allows keys of 65,535 bytes and tensor names of 64.
_MAX_KEYS, _MAX_TENSORS, _MAX_STRINGS = 2**14, 2**17, 2**22
_MAX_NAME_BYTES = 2**16 - 1
_MAX_TEXT_BYTES = 2**20  # a longer text is skipped, not kept
_MAX_KEPT_ELEMENTS = 2**12  # a longer array is counted, not kept
_MAX_DIMENSIONS = 4

_CUT_SHORT = "The download was cut short: download the file again."

_SCALARS = {"UINT8": "<B", "INT8": "<b", "UINT16": "<H", "INT16": "<h", "UINT32": "<I", "INT32": "<i",
            "FLOAT32": "<f", "BOOL": "<?", "UINT64": "<Q", "INT64": "<q", "FLOAT64": "<d"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Skipped:
    """A long array or text of which only the number of elements (or bytes) was kept."""

    count: int


Value = int | float | bool | str | tuple[int | float | bool, ...] | Skipped


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says: values by key, and the tensors, all of which lie inside the file."""

    version: int
    values: dict[str, Value]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_bytes: int


def read_header(path: Path) -> Header:
    """Read and check the header of the GGUF file at `path`.

    Raises UsageError when there is no such file, BadModelFile when it is not a sound GGUF file.
    """
    if not path.is_file():  # a folder, a device, or a named pipe that would keep us waiting
        raise UsageError(f"{path} is not a regular file.", fix="Give the path of a .gguf file.")
    try:
        with path.open("rb", buffering=2**18) as file:
            return _Reader(path, file, path.stat().st_size).header()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", fix="Check the file and its disk.") from error


class _Reader:
    """Walks through one open file once, front to back."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

        self._path, self._file, self._size, self._position = path, file, size, 0
        self._strings_left = _MAX_STRINGS
        self._formats = {kind.value: _SCALARS[kind.name] for kind in GGUFValueType if kind.name in _SCALARS}
        self._string, self._array = int(GGUFValueType.STRING), int(GGUFValueType.ARRAY)
        self._types = {int(kind): (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType
                       if kind in GGML_QUANT_SIZES}  # fmt: skip

    def header(self) -> Header:
        version = self._preamble()
        tensor_count, key_count = self._number("<Q"), self._number("<Q")
        if tensor_count > _MAX_TENSORS or key_count > _MAX_KEYS:
            self._bad(f"its header claims {tensor_count:,} tensors and {key_count:,} keys")
        values = self._values(key_count)
        alignment = self._alignment(values)
        infos = [self._tensor_info() for _ in range(tensor_count)]
        data_offset = _align(self._position, alignment)
        self._check_placement(infos, data_offset, alignment)
        tensors = tuple(tensor for tensor, _ in infos)
        return Header(version, values, tensors, data_offset, self._size)

    def _preamble(self) -> int:
        """Check magic and version; returns the version."""
        head = self._file.read(HEAD_BYTES)
        if head[:4] != b"GGUF":
            kind, fix = identify(head)
            raise BadModelFile(f"{self._path} is not a GGUF file: it is {kind}.", fix=fix)
        self._skip(4)
        version = self._number("<I")
        if version & 0xFFFF == 0 and version:
            self._bad("it was written for big-endian machines", "Get the little-endian file of the model.")
        if version not in VERSIONS:
            self._bad(f"its GGUF version is {version}, this workbench reads 2 and 3")
        return version

    def _values(self, count: int) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for _ in range(count):
            key = self._name("a key")
            if key in values:
                self._bad(f"the key {key!r} appears twice")
            values[key] = self._value(self._number("<I"), key)
        return values

    def _value(self, kind: int, key: str) -> Value:
        if kind in self._formats:
            return self._scalar(self._formats[kind])
        if kind == self._string:
            return self._text()
        if kind == self._array:
            return self._elements(key)
        return self._bad(f"the key {key!r} has the unknown value type {kind}")

    def _elements(self, key: str) -> Value:
        """Read an array: short ones of numbers are kept, of others only the count."""
        kind, count = self._number("<I"), self._number("<Q")
        if kind == self._string:
            return self._skip_strings(count, key)
        if kind not in self._formats:
            self._bad(f"the array {key!r} has the element type {kind}, which is no number and no text")
        size = struct.calcsize(self._formats[kind])
        if count * size > self._size - self._position:
            self._bad(f"the array {key!r} claims {count:,} elements, more than the file has room for")
        if count > _MAX_KEPT_ELEMENTS:
            self._skip(count * size)
            return Skipped(count)
        return tuple(value for (value,) in struct.iter_unpack(self._formats[kind], self._read(count * size)))

    def _skip_strings(self, count: int, key: str) -> Skipped:
        if count * 8 > self._size - self._position or count > self._strings_left:
            self._bad(f"the array {key!r} claims {count:,} texts, more than there can be")
        self._strings_left -= count
        read, seek, size, position = self._file.read, self._file.seek, self._size, self._position
        for _ in range(count):  # hot: half a million times for some models
            position += 8 + int.from_bytes(read(8), "little")
            if position > size:
                self._bad(f"a text in the array {key!r} reaches past the end of the file")
            seek(position)
        self._position = position
        return Skipped(count)

    def _tensor_info(self) -> tuple[Tensor, int]:
        """One tensor and its offset in the data section."""
        name = self._name("a tensor name")
        dimensions = self._number("<I")
        if dimensions > _MAX_DIMENSIONS:
            self._bad(f"the tensor {name!r} claims {dimensions} dimensions")
        shape = struct.unpack(f"<{dimensions}Q", self._read(8 * dimensions))
        kind, offset = self._number("<I"), self._number("<Q")
        if kind not in self._types:
            self._bad(f"the tensor {name!r} has the unknown type {kind}")
        return self._tensor(name, kind, shape), offset

    def _tensor(self, name: str, kind: int, shape: tuple[int, ...]) -> Tensor:
        type_name, block_elements, block_bytes = self._types[kind]
        elements = 1
        for length in shape:
            elements *= length
        if not 0 < elements < 2**63:
            self._bad(f"the tensor {name!r} claims the shape {shape}")
        if (shape[0] if shape else 1) % block_elements:
            self._bad(f"rows of the tensor {name!r}, {shape[0] if shape else 1} long, are no whole {type_name} blocks")
        return Tensor(name, type_name, shape, elements, elements // block_elements * block_bytes)

    def _alignment(self, values: dict[str, Value]) -> int:
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            self._bad(f"its alignment is {alignment!r}, which is not a power of two")
        return alignment

    def _check_placement(self, infos: list[tuple[Tensor, int]], data_offset: int, alignment: int) -> None:
        """Every tensor lies inside the file, aligned, and no two overlap or share a name."""
        if len({tensor.name for tensor, _ in infos}) < len(infos):
            self._bad("two of its tensors have the same name")
        end = 0
        for tensor, offset in sorted(infos, key=lambda info: info[1]):
            if offset % alignment:
                self._bad(f"the tensor {tensor.name!r} is not aligned to {alignment} bytes")
            if offset < end:
                self._bad(f"the tensor {tensor.name!r} overlaps another one")
            end = offset + tensor.bytes
        if data_offset + end > self._size:
            missing, needed = format_bytes(data_offset + end - self._size), data_offset + end
            self._bad(f"it ends {missing} too early, at {self._size:,} of {needed:,} bytes", _CUT_SHORT)

    def _name(self, what: str) -> str:
        length = self._number("<Q")
        if length > _MAX_NAME_BYTES:
            self._bad(f"{what} claims to be {length:,} bytes long")
        try:
            return self._read(length).decode("utf-8")
        except UnicodeDecodeError:
            self._bad(f"{what} is not text")

    def _text(self) -> Value:
        length = self._number("<Q")
        if length > self._size - self._position:
            self._bad(f"a text claims to be {length:,} bytes long, past the end of the file")
        if length > _MAX_TEXT_BYTES:
            self._skip(length)
            return Skipped(length)
        return self._read(length).decode("utf-8", errors="replace")

    def _number(self, layout: str) -> int:
        """One integer of the given struct layout."""
        return int(self._scalar(layout))

    def _scalar(self, layout: str) -> int | float | bool:
        value: int | float | bool = struct.unpack(layout, self._read(struct.calcsize(layout)))[0]
        return value

    def _read(self, count: int) -> bytes:
        """Read `count` bytes, which must be there; callers bound `count` first."""
        self._position += count
        data = self._file.read(count) if self._position <= self._size else b""
        if len(data) < count:
            self._bad(f"it ends in the middle of its header, after {self._size:,} bytes", _CUT_SHORT)
        return data

    def _skip(self, count: int) -> None:
        self._position += count
        self._file.seek(self._position)

    def _bad(self, what: str, fix: str = "Download the file again, or get another one.") -> NoReturn:
        raise BadModelFile(f"{self._path} is not a sound GGUF file: {what}.", fix=fix)


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
