"""Reads the catalog: YAML records and CSV tables turned into frozen dataclasses, strictly.

A YAML file is a mapping from a record's name to its fields; a CSV table has one record per row, named by its first
column. Every record carries `source` (where the facts come from) and `checked` (the date somebody looked). A key that
is missing, unknown, repeated or of the wrong type is an error that names file and record. It does not fetch anything
and does not judge whether a fact is true.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Hashable
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import UsageError

FOLDER = Path(__file__).parent
T = TypeVar("T")


class _Wrong(Exception):
    """A value that does not fit; becomes a UsageError once file and record are known."""


def load(file: str | Path, kind: type[T]) -> dict[str, T]:
    """Read `file` (a name inside the catalog, or a path) into records of the dataclass `kind`, by name.

    A field called `name` receives the record's name. Raises UsageError naming file and record.
    """
    path = FOLDER / file
    records = parse(path)
    if not isinstance(records, dict):
        raise UsageError(f"{path.name}: expected records by name, got {type(records).__name__}.")
    return {str(name): _record(path.name, str(name), fields, kind) for name, fields in records.items()}


def load_table(file: str | Path, kind: type[T]) -> dict[str, T]:
    """Read the CSV `file` (a name inside the catalog, or a path) into rows of the dataclass `kind`, by first column.

    Its header names the fields of `kind`, in that order. Lines that start with # are remarks; an empty cell is nothing
    (None, or an empty text or list); parts of a list are separated by |. Raises UsageError naming file and row.
    """
    path = FOLDER / file
    header, *rows = _lines(path) or [[]]
    if header != list(_fields(kind)):
        raise UsageError(f"{path.name}: the columns are {header}, expected {list(_fields(kind))}.")
    table: dict[str, T] = {}
    for cells in rows:
        name = cells[0] if cells else ""
        if name in table:
            raise UsageError(f"{path.name}: {name!r} appears twice.", fix="Correct the table.")
        table[name] = _row(path.name, name, cells, kind)
    return table


def _lines(path: Path) -> list[list[str]]:
    try:
        return list(csv.reader((line for line in _read(path).splitlines() if not line.startswith("#")), strict=True))
    except csv.Error as error:
        raise UsageError(f"{path.name} is not valid CSV: {error}.") from error


def _row(file: str, name: str, cells: list[str], kind: type[T]) -> T:
    fields = _fields(kind)
    try:
        if len(cells) != len(fields):
            raise _Wrong(f"{len(cells)} cells, expected {len(fields)}")
        filled = zip(fields.items(), cells, strict=True)
        values = {field: _cell(field, text.strip(), type_) for (field, (type_, _)), text in filled}
        return typing.cast(T, _build(values, kind))
    except _Wrong as error:
        raise UsageError(f"{file}, row {name!r}: {error}.", fix="Correct the row.") from None


def _cell(field: str, text: str, kind: Any) -> Any:
    """The value that `text` writes down, for a field of type `kind`."""
    if typing.get_origin(kind) is tuple:
        return [part.strip() for part in text.split("|") if part.strip()]
    choices = [one for one in typing.get_args(kind) or (kind,) if one is not types.NoneType]
    if text == "" and choices != [str]:
        if types.NoneType in typing.get_args(kind):
            return None
        raise _Wrong(f"{field} is empty")
    if text == "" and field in ("key", "source"):
        raise _Wrong(f"{field} is empty")
    try:
        value = _WRITTEN[choices[0]](text)
    except (ValueError, ArithmeticError, KeyError):
        value = math.nan
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise _Wrong(f"{field}: expected {choices[0].__name__}, got {text!r}")
    return value


_WRITTEN: dict[Any, Callable[[str], Any]] = {
    str: str, int: int, float: float, Decimal: Decimal, date: date.fromisoformat,
    bool: {"yes": True, "no": False}.__getitem__,
}  # fmt: skip


def _record(file: str, name: str, fields: Any, kind: type[T]) -> T:
    try:
        _check_provenance(fields)
        named = {"name": name} if "name" in _fields(kind) else {}
        return typing.cast(T, _build({**named, **fields}, kind))
    except _Wrong as error:
        raise UsageError(f"{file}, record {name!r}: {error}.", fix="Correct the record.") from None


def _check_provenance(fields: Any) -> None:
    if not isinstance(fields, dict):
        raise _Wrong(f"expected a mapping, got {fields!r}")
    for key in ("source", "checked"):
        if key not in fields:
            raise _Wrong(f"missing key {key!r}")
    if not isinstance(fields["checked"], date):
        raise _Wrong(f"'checked' is {fields['checked']!r}, expected a date like 2026-01-31")


def parse(path: Path) -> Any:
    """What a YAML file says, strictly read but not yet looked at."""
    import yaml

    text = _read(path)
    try:
        # The loader class is a SafeLoader: it builds plain values only.
        return yaml.load(text, Loader=_strict_loader())  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path.name} is not valid YAML: {error}.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The catalog file {path} cannot be read: {error.strerror}.") from error


@cache
def _strict_loader() -> Any:
    """A SafeLoader that refuses repeated keys, which YAML would silently overwrite."""
    import yaml

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.YAMLError(f"key {key.value!r} appears twice, line {key.start_mark.line + 1}")
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Strict


def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Field name → (type, required)."""
    hints = _type_hints(kind)
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    }


_type_hints = cache(typing.get_type_hints)  # a table asks for the same ones at every cell


def _build(values: dict[str, Any], kind: type) -> Any:
    fields = _fields(kind)
    if unknown := [key for key in values if key not in fields]:
        raise _Wrong(f"unknown key {unknown[0]!r}; {kind.__name__} has {', '.join(fields)}")
    if missing := [key for key, (_, required) in fields.items() if required and key not in values]:
        raise _Wrong(f"missing key {missing[0]!r}")
    built = {}
    for key, value in values.items():
        try:
            built[key] = _convert(value, fields[key][0])
        except _Wrong as error:
            raise _Wrong(f"{key}: {error}") from None
    try:
        return kind(**built)
    except ValueError as error:  # a record's own check
        raise _Wrong(str(error)) from None


def _convert(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, typing.get_args(kind))
    if origin is tuple:
        return _convert_list(value, typing.get_args(kind)[0])
    if origin is dict:
        return _convert_mapping(value, typing.get_args(kind)[1])
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(value, typing.cast(type, kind))
    return _convert_scalar(value, kind)


def _convert_union(value: Any, kinds: tuple[Any, ...]) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    choices = [kind for kind in kinds if kind is not types.NoneType]
    if isinstance(value, dict):  # several dataclasses: the keys say which
        choices = [kind for kind in choices if _may_be(kind, value)]
    for kind in choices[:-1]:
        try:
            return _convert(value, kind)
        except _Wrong:
            continue
    if not choices:
        raise _Wrong(f"no known record has the keys {', '.join(map(str, value))}")
    return _convert(value, choices[-1])


def _may_be(kind: Any, value: dict[str, Any]) -> bool:
    is_record = dataclasses.is_dataclass(kind) and set(value) <= set(_fields(kind))
    return is_record or typing.get_origin(kind) is dict


def _convert_list(value: Any, kind: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _Wrong(f"expected a list, got {value!r}")
    return tuple(_convert(item, kind) for item in value)


def _convert_mapping(value: Any, kind: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"expected a mapping, got {value!r}")
    return {str(key): _convert(item, kind) for key, item in value.items()}


def _convert_scalar(value: Any, kind: Any) -> Any:
    if kind is Decimal and isinstance(value, str | int) and not isinstance(value, bool):
        return _decimal(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # type() and not isinstance(): `true` is no number and a datetime is no date.
    if kind is Any or type(value) is kind:
        return value
    hint = " (quote it, so that no digit is lost)" if kind is Decimal and isinstance(value, float) else ""
    raise _Wrong(f"expected {getattr(kind, '__name__', kind)}, got {value!r}{hint}")


def _decimal(value: str | int) -> Decimal:
    try:
        return Decimal(value)
    except ArithmeticError:
        raise _Wrong(f"expected a decimal number, got {value!r}") from None
