"""Groups of rows and their errors."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.planning.validation import language_memory, language_speed, media, rows
from workbench.planning.validation.rows import Measured, Refused, Row

HEADLINE = ("CUDA", "Metal")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are scored together. Errors are absolute, as fractions of what was measured; None without any row.

    mean_error_per_device: the mean over devices of each device's mean error; in_interval: the share of rows inside the
    stated 90 % interval.
    """

    file: str
    quantity: str
    engine: str
    backend: str
    scope: str
    rows_total: int
    rows_used: int
    devices: int
    refused: dict[str, int]
    mean_error: float | None
    mean_error_per_device: float | None
    median_error: float | None
    p95_error: float | None
    in_interval: float | None


@dataclass(frozen=True, slots=True)
class Validation:
    """The groups of one table."""

    groups: tuple[Group, ...]

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json."""
        return {"groups": [asdict(group) for group in self.groups]}


Key = tuple[str, str, str, str]
#: What scores a table, and says in which group a row belongs that cannot be scored, by the columns that it has.
KINDS: tuple[tuple[frozenset[str], Callable[[Row], Measured], Callable[[Row], Key]], ...] = (
    (frozenset(language_speed.COLUMNS), language_speed.score,
     lambda row: (language_speed.quantity_of(row), rows.engine_of(row), row["backend"],
                  language_speed.scope(row))),
    (frozenset(language_memory.COLUMNS), language_memory.score,
     lambda row: (row["component"], rows.engine_of(row), "", "other")),
    (frozenset(media.IMAGE_SPEED), media.image_speed, lambda row: (row["metric"], row["engine"], "", "other")),
    (frozenset(media.IMAGE_MEMORY), media.image_memory, lambda row: (row["component"], "", "", "other")),
    (frozenset(media.SPEECH_SPEED), media.speech_speed,
     lambda row: (row["metric"], row["engine"].split(" ")[0], row["backend"], "other")),
    (frozenset(media.SPEECH_MEMORY), media.speech_memory,
     lambda row: (row["component"], row["engine"].split(" ")[0], "", "other")),
)  # fmt: skip


def validate(path: str | Path) -> Validation:
    """Predict every row of the table at `path` and compare; raises UsageError for a file that is no such table."""
    path = Path(path)
    table, columns = rows.read(path)
    score, key_of = _kind(path, columns)
    if not table:
        raise UsageError(f"{path} has no rows.", fix="Give a table with measurements.")
    used: dict[Key, list[Measured]] = defaultdict(list)
    refused: dict[Key, Counter[str]] = defaultdict(Counter)
    for row in table:
        try:
            one = score(row)
        except Refused as reason:
            refused[key_of(row)][str(reason)] += 1
        else:
            used[key_of(row)].append(one)
    keys = sorted({*used, *refused})
    groups = [_group(path.name, key, used[key], refused[key]) for key in keys]
    return Validation((*_headline(path.name, used, refused), *groups))


def _kind(path: Path, columns: set[str]) -> tuple[Callable[[Row], Measured], Callable[[Row], Key]]:
    for wanted, score, key_of in KINDS:
        if wanted <= columns:
            return score, key_of
    nearest = min((wanted - columns for wanted, _, _ in KINDS), key=len)
    raise UsageError(
        f"{path} is no table of measurements: it lacks the columns {', '.join(sorted(nearest))}.",
        fix="Use the columns of the tables in benchmarks/published.",
    )


def _headline(file: str, used: dict[Key, list[Measured]], refused: dict[Key, Counter[str]]) -> list[Group]:
    """The headline of CUDA and Metal together."""
    keys = [key for key in {*used, *refused} if key[3] == "headline" and key[2] in HEADLINE]
    if len(keys) < len(HEADLINE):
        return []
    together: Counter[str] = Counter()
    for key in keys:
        together.update(refused[key])
    scored = [one for key in keys for one in used[key]]
    return [_group(file, (keys[0][0], keys[0][1], "+".join(HEADLINE), "headline"), scored, together)]


def _group(file: str, key: Key, scored: Sequence[Measured], refused: Counter[str]) -> Group:
    errors = sorted(one.error for one in scored)
    by_device: dict[str, list[float]] = defaultdict(list)
    for one in scored:
        by_device[one.device].append(one.error)
    total = len(scored) + sum(refused.values())
    return Group(
        file, *key, total, len(scored), len(by_device), dict(refused),
        mean_error=statistics.fmean(errors) if errors else None,
        mean_error_per_device=statistics.fmean(map(statistics.fmean, by_device.values())) if errors else None,
        median_error=statistics.median(errors) if errors else None,
        p95_error=errors[min(len(errors) - 1, int(0.95 * len(errors)))] if errors else None,
        in_interval=sum(one.predicted.contains(one.value) for one in scored) / len(scored) if scored else None,
    )  # fmt: skip
