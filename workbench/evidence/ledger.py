"""The ledger: every prediction and every measurement, paired, in one SQLite file.

Write-ahead log and full synchronization: what was reported as saved survives kill -9 and power loss, and several
processes may write at once. A measured value and an estimate never share a column.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench import folders
from workbench.errors import LedgerError, UsageError
from workbench.evidence.estimate import Basis, Estimate
from workbench.evidence.measured import Measured

BUSY_TIMEOUT_S = 30

_SCHEMA = """
CREATE TABLE IF NOT EXISTS prediction (
    id TEXT PRIMARY KEY, created TEXT NOT NULL, model TEXT NOT NULL, engine TEXT NOT NULL,
    engine_version TEXT NOT NULL, hardware TEXT NOT NULL, machine TEXT NOT NULL,
    calibrated_by_ledger INTEGER NOT NULL, plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS predicted (
    prediction TEXT NOT NULL REFERENCES prediction (id), quantity TEXT NOT NULL, unit TEXT NOT NULL,
    value REAL, low REAL, high REAL, basis TEXT NOT NULL, PRIMARY KEY (prediction, quantity));
CREATE TABLE IF NOT EXISTS measurement (
    id INTEGER PRIMARY KEY, prediction TEXT NOT NULL REFERENCES prediction (id), created TEXT NOT NULL,
    environment TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS measured (
    measurement INTEGER NOT NULL REFERENCES measurement (id), quantity TEXT NOT NULL, unit TEXT NOT NULL,
    value REAL NOT NULL, samples TEXT NOT NULL, method TEXT NOT NULL, PRIMARY KEY (measurement, quantity));
"""

_PAIRS = """
SELECT p.id AS prediction, m.id AS measurement, m.created AS measured_at, p.model, p.engine, p.engine_version,
       p.hardware, p.machine, p.calibrated_by_ledger,
       COALESCE(json_extract(p.plan, '$.quantization'), NULLIF(json_extract(p.plan, '$.settings.format'), 'gguf'))
         AS quantization,  -- plans of before 2026-12 do not say it of a GGUF file
       json_extract(p.plan, '$.settings.context') AS context,
       json_extract(p.plan, '$.settings.concurrency') AS concurrency,
       json_extract(p.plan, '$.settings.threads') AS threads,
       json_extract(p.plan, '$.settings.prefill_threads') AS prefill_threads,
       json_extract(p.plan, '$.settings.flash_attention') AS flash_attention,
       json_extract(p.plan, '$.settings.cache_type') AS cache_type,
       json_extract(p.plan, '$.settings.devices') AS devices,
       json_extract(p.plan, '$.settings.device_layers') AS device_layers,
       json_extract(m.environment, '$.others_busy_cores') AS others_busy_cores,
       q.quantity, q.unit, q.value AS predicted, q.low, q.high, json_extract(q.basis, '$.source') AS source,
       d.value AS measured
FROM measurement m JOIN prediction p ON p.id = m.prediction
JOIN measured d ON d.measurement = m.id
JOIN predicted q ON q.prediction = p.id AND q.quantity = d.quantity
ORDER BY m.id, q.quantity
"""


@dataclass(frozen=True, slots=True)
class Error:
    """How far the predictions of one quantity lay from its measurements: fractions of the measured value."""

    engine: str
    hardware: str
    quantity: str
    count: int
    median_error: float
    worst_error: float
    in_interval: float


class Ledger:
    """The ledger in `path`, by default the user's own."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or folders.data() / "ledger.sqlite"

    def predict(self, plan: Mapping[str, Any], predictions: Mapping[str, Estimate]) -> None:
        """Store a plan (`Plan.to_dict`) and its predictions before it runs. Storing it again changes nothing."""
        columns = ("id", "created", "model", "engine", "engine_version", "hardware", "machine")
        row = (*(plan[column] for column in columns), int(plan.get("calibrated_by_ledger", False)), json.dumps(plan))
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO prediction VALUES (?,?,?,?,?,?,?,?,?)", row)
            database.executemany(
                "INSERT OR IGNORE INTO predicted VALUES (?,?,?,?,?,?,?)",
                [
                    (plan["id"], name, e.unit, e.value, e.low, e.high, json.dumps(asdict(e.basis)))
                    for name, e in predictions.items()
                ],
            )

    def measure(
        self, prediction: str, created: str, environment: Mapping[str, Any], values: Mapping[str, Measured]
    ) -> int:
        """Store what was measured on a deployment whose plan is `prediction`; returns the measurement's number."""
        with self._transaction() as database:
            cursor = database.execute(
                "INSERT INTO measurement (prediction, created, environment) VALUES (?,?,?)",
                (prediction, created, json.dumps(environment)),
            )
            number = int(cursor.lastrowid or 0)
            database.executemany(
                "INSERT INTO measured VALUES (?,?,?,?,?,?)",
                [(number, name, m.unit, m.value, json.dumps(m.samples), m.method) for name, m in values.items()],
            )
        return number

    def pairs(self) -> list[dict[str, Any]]:
        """Every measured quantity beside its prediction, oldest first, with the signed error as a fraction."""
        with self._transaction("DEFERRED") as database:
            rows = [dict(row) for row in database.execute(_PAIRS)]
        return [{**row, "error": _estimate(row).error(row["measured"])} for row in rows]

    def errors(self) -> list[Error]:
        """The running error of each quantity, per engine and hardware class, of predictions made without the ledger."""
        groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for pair in self.pairs():
            if pair["error"] is not None and not pair["calibrated_by_ledger"]:
                groups.setdefault((pair["engine"], pair["hardware"], pair["quantity"]), []).append(pair)
        return [_summary(key, pairs) for key, pairs in sorted(groups.items())]

    def export(self, path: Path) -> int:
        """Write all pairs to a .csv or .json file; returns their number."""
        pairs = self.pairs()
        if path.suffix not in {".csv", ".json"}:
            raise UsageError(f"The ledger exports to .csv or .json, not to {path.name!r}.", fix="Change the ending.")
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                if path.suffix == ".json":
                    json.dump(pairs, file, indent=1)
                else:
                    columns = [*pairs[0]] if pairs else ["prediction"]
                    writer = csv.DictWriter(file, columns)
                    writer.writeheader()
                    writer.writerows(pairs)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}.", fix="Choose another place.") from error
        return len(pairs)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """A connection of its own per transaction: the ledger may be used from any thread and any process."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise self._trouble(error) from error
        try:
            database.row_factory = sqlite3.Row
            _use_write_ahead_log(database)
            database.executescript("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;" + _SCHEMA)
            database.execute(f"BEGIN {kind}")
            yield database
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        finally:
            database.close()

    def _trouble(self, error: Exception) -> LedgerError:
        advice = "Check the disk and the file's permissions; a damaged file can be moved away, a new one is made."
        inside = isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError)
        return LedgerError(f"The ledger {self.path} cannot be used: {error}.", fix="" if inside else advice)


def _use_write_ahead_log(database: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite itself does not wait for others here, whatever its timeout."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _estimate(row: Mapping[str, Any]) -> Estimate:
    """The estimate of a row of pairs."""
    if row["predicted"] is None:
        return Estimate.unknown(row["unit"], "not predicted")
    return Estimate(row["predicted"], row["low"], row["high"], row["unit"], Basis("as stored"))


def _summary(key: tuple[str, str, str], pairs: Iterable[dict[str, Any]]) -> Error:
    pairs = list(pairs)
    sizes = [abs(pair["error"]) for pair in pairs]
    inside = sum(_estimate(pair).contains(pair["measured"]) for pair in pairs)
    return Error(*key, len(pairs), statistics.median(sizes), max(sizes), inside / len(pairs))
