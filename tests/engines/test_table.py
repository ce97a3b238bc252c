"""The table of engines: what is said of each, and when it was last seen running."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.engines import APPS, ENGINES, IMAGE_APPS, table
from workbench.evidence import Basis, Estimate, Measured
from workbench.evidence.ledger import Ledger
from workbench.machine import Machine


def test_every_engine_but_the_fake_one_has_a_row(machine: Machine) -> None:
    found = {row.name: row for row in table.rows(machine)}
    assert list(found) == [name for name in (*ENGINES, *APPS, *IMAGE_APPS) if name != "fake"]
    assert found["vllm"].environment.startswith("to install: ")
    assert found["transformers"].environment == ""
    assert all(row.ok or (row.reason and row.fix) for row in found.values())


def test_the_newest_day_counts_whoever_saw_it(tmp_path: Path) -> None:
    record, ledger = tmp_path / "engines_tested.json", Ledger(tmp_path / "ledger.sqlite")
    assert table.last_tested(record, ledger) == {}
    assert not ledger.path.exists()  # looking makes none
    runs = {"vllm": [{"date": "2026-01-02T03:04:05+00:00"}, {"date": "2026-01-01T00:00:00+00:00"}],
            "llama.cpp": [{"date": "2026-01-02T00:00:00+00:00"}]}  # fmt: skip
    record.write_text(json.dumps({"result": runs}))
    plan = {"id": "p", "created": "x", "model": "m", "engine": "llama.cpp", "engine_version": "1", "hardware": "h",
            "machine": "f"}  # fmt: skip
    ledger.predict(plan, {"decode": Estimate(1.0, 0.5, 2.0, "tok/s", Basis("test"))})
    ledger.measure("p", "2026-02-03T00:00:00+00:00", {}, {"decode": Measured((1.0,), "tok/s", "test")})
    assert table.last_tested(record, ledger) == {
        "vllm": "2026-01-02 (recorded)", "llama.cpp": "2026-02-03 (measured here)",
    }  # fmt: skip


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    record = tmp_path / "engines_tested.json"
    record.write_text("{")
    assert table.last_tested(record, Ledger(tmp_path / "ledger.sqlite")) == {}
