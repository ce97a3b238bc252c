"""The ledger: what was said to be saved is there, whoever dies and whoever writes at the same time."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import LedgerError, UsageError
from workbench.evidence import Basis, Estimate, Measured
from workbench.evidence.ledger import Ledger

BASIS = Basis("made up")


def plan(name: str, hardware: str = "cpu-x86-64") -> dict[str, Any]:
    return {"id": name, "created": "2026-01-01T00:00:00+00:00", "model": "little", "engine": "fake",
            "engine_version": "0", "hardware": hardware, "machine": "abc"}  # fmt: skip


def guess(value: float, unit: str = "tok/s") -> Estimate:
    """A prediction that is sure of itself to a tenth."""
    return Estimate.within(value, unit, BASIS, 0.1, 0.1)


def measured(*samples: float, unit: str = "tok/s") -> Measured:
    return Measured(samples, unit, "made up")


def record(ledger: Ledger, name: str, predicted: Mapping[str, Estimate], values: Mapping[str, Measured],
           hardware: str = "cpu-x86-64") -> int:  # fmt: skip
    ledger.predict(plan(name, hardware), predicted)
    return ledger.measure(name, "2026-01-02T00:00:00+00:00", {"where": "here"}, values)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "ledger.sqlite")


def test_it_lies_in_the_data_folder(home: Path) -> None:
    assert Ledger().path == home / "data" / "ledger.sqlite"


def test_an_empty_ledger(ledger: Ledger) -> None:
    assert ledger.pairs() == []
    assert ledger.errors() == []


def test_every_measured_quantity_stands_beside_its_prediction(ledger: Ledger) -> None:
    number = record(
        ledger, "a", {"decode": guess(110), "ttft": guess(1, "s")},
        {"decode": measured(90, 100, 200), "ttft": measured(2, unit="s"), "cpu": measured(1, unit="cores")},
    )  # fmt: skip
    first, second = ledger.pairs()  # nobody predicted cpu
    assert (first["quantity"], second["quantity"]) == ("decode", "ttft")
    assert (first["prediction"], first["measurement"]) == ("a", number)
    assert (first["predicted"], first["measured"], first["unit"]) == (110, 100, "tok/s")
    assert (first["low"], first["high"]) == (pytest.approx(99), pytest.approx(121))
    assert first["error"] == pytest.approx(0.1)
    assert second["error"] == pytest.approx(-0.5)
    assert (first["hardware"], first["machine"], first["calibrated_by_ledger"]) == ("cpu-x86-64", "abc", 0)


def test_a_pair_says_of_which_variant_it_is_and_who_disturbed_it(ledger: Ledger) -> None:
    settings = {"context": 512, "concurrency": 2, "threads": 1, "prefill_threads": 2,
                "flash_attention": False, "cache_type": "f16"}  # fmt: skip
    ledger.predict({**plan("a"), "quantization": "Q4_1", "settings": {"format": "gguf", **settings}},
                   {"decode": guess(100)})  # fmt: skip
    ledger.measure("a", "2026-01-02T00:00:00+00:00", {"others_busy_cores": 0.7}, {"decode": measured(90)})
    (pair,) = ledger.pairs()
    assert pair["others_busy_cores"] == 0.7 and pair["quantization"] == "Q4_1"
    assert {name: pair[name] for name in settings} == settings


@pytest.mark.parametrize(("format_name", "known"), [("BF16", "BF16"), ("gguf", None)])
def test_plans_of_before_did_not_say_the_quantization_of_a_file(
    ledger: Ledger, format_name: str, known: str | None
) -> None:
    ledger.predict({**plan("a"), "settings": {"format": format_name}}, {"decode": guess(100)})
    ledger.measure("a", "2026-01-02T00:00:00+00:00", {}, {"decode": measured(90)})
    (pair,) = ledger.pairs()
    assert pair["quantization"] == known and pair["others_busy_cores"] is None


def test_the_same_plan_is_stored_once_and_measured_often(ledger: Ledger) -> None:
    first = record(ledger, "a", {"decode": guess(100)}, {"decode": measured(100)})
    second = record(ledger, "a", {"decode": guess(999)}, {"decode": measured(50)}, hardware="another")
    assert second > first
    assert [(p["predicted"], p["measured"]) for p in ledger.pairs()] == [(100, 100), (100, 50)]
    assert {p["hardware"] for p in ledger.pairs()} == {"cpu-x86-64"}


def test_running_error_and_how_often_the_interval_held(ledger: Ledger) -> None:
    for index, value in enumerate((100.0, 105.0, 50.0)):  # errors 0, −5 % and +100 %
        record(ledger, f"p{index}", {"decode": guess(100)}, {"decode": measured(value)})
    (error,) = ledger.errors()
    assert (error.engine, error.hardware, error.quantity, error.count) == ("fake", "cpu-x86-64", "decode", 3)
    assert error.median_error == pytest.approx(5 / 105)
    assert error.worst_error == pytest.approx(1)
    assert error.in_interval == pytest.approx(2 / 3)


def test_errors_are_kept_apart_by_hardware_and_quantity(ledger: Ledger) -> None:
    both = {"decode": guess(100), "prefill": guess(100)}
    values = {"decode": measured(100), "prefill": measured(100)}
    record(ledger, "a", both, values)
    record(ledger, "b", both, values, hardware="cuda")
    assert [(e.hardware, e.quantity, e.count) for e in ledger.errors()] == [
        ("cpu-x86-64", "decode", 1), ("cpu-x86-64", "prefill", 1), ("cuda", "decode", 1), ("cuda", "prefill", 1),
    ]  # fmt: skip


def test_what_was_not_predicted_is_kept_and_not_judged(ledger: Ledger) -> None:
    record(ledger, "a", {"decode": Estimate.unknown("tok/s", "not calibrated")}, {"decode": measured(100)})
    (pair,) = ledger.pairs()
    assert (pair["predicted"], pair["low"], pair["error"], pair["measured"]) == (None, None, None, 100)
    assert ledger.errors() == []


def test_predictions_that_learned_from_the_ledger_are_not_judged_by_it(ledger: Ledger) -> None:
    record(ledger, "a", {"decode": guess(100)}, {"decode": measured(100)})
    with sqlite3.connect(ledger.path) as database:
        database.execute("UPDATE prediction SET calibrated_by_ledger = 1")
    database.close()
    assert len(ledger.pairs()) == 1
    assert ledger.errors() == []


def test_raw_samples_and_environment_are_in_the_file(ledger: Ledger) -> None:
    record(ledger, "a", {"decode": guess(1)}, {"decode": measured(3, 1, 2)})
    with sqlite3.connect(ledger.path) as database:
        (samples,), (environment,) = (
            database.execute(f"SELECT {column} FROM {table}").fetchone()  # noqa: S608 - constants
            for column, table in (("samples", "measured"), ("environment", "measurement"))
        )
    database.close()
    assert json.loads(samples) == [3, 1, 2]
    assert json.loads(environment) == {"where": "here"}


def test_export(ledger: Ledger, tmp_path: Path) -> None:
    for name in "abc":
        record(ledger, name, {"decode": guess(100)}, {"decode": measured(80)})
    assert ledger.export(tmp_path / "out.json") == ledger.export(tmp_path / "out.csv") == 3
    assert json.loads((tmp_path / "out.json").read_text()) == ledger.pairs()
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == ["a", "b", "c"]
    assert float(rows[0]["error"]) == 0.25


def test_exporting_an_empty_ledger(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.export(tmp_path / "out.csv") == 0
    assert ledger.export(tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_an_ending_nobody_knows_is_wrong_use(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.xlsx"):
        ledger.export(tmp_path / "out.xlsx")
    assert not (tmp_path / "out.xlsx").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises((LedgerError, UsageError), match=r"nowhere"):
        ledger.export(tmp_path / "nowhere" / "out.csv")


def test_a_measurement_needs_its_prediction(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="cannot be used") as caught:
        ledger.measure("nobody", "2026-01-01", {}, {"decode": measured(1)})
    assert caught.value.fix == ""  # the disk is not to blame
    assert ledger.pairs() == []


def test_a_failed_transaction_leaves_nothing(ledger: Ledger) -> None:
    ledger.predict(plan("a"), {"decode": guess(1)})
    with pytest.raises(TypeError):  # the second value is no number: nothing of the measurement may stay
        ledger.measure("a", "2026-01-01", {"x": object()}, {"decode": measured(1)})
    with sqlite3.connect(ledger.path) as database:
        assert database.execute("SELECT count(*) FROM measurement").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize("content", [b"this is no database, it is a text" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_one_sentence(ledger: Ledger, content: bytes) -> None:
    ledger.path.parent.mkdir(parents=True)
    ledger.path.write_bytes(content)
    for use in (ledger.pairs, lambda: ledger.predict(plan("a"), {})):
        with pytest.raises(LedgerError, match=r"ledger\.sqlite cannot be used: .+\. Check the disk"):
            use()
    assert ledger.path.read_bytes() == content  # nobody repairs by deleting


def test_a_folder_where_the_file_should_be(ledger: Ledger) -> None:
    ledger.path.mkdir(parents=True)
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger.pairs()


def test_a_place_nobody_can_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path / "file" / "ledger.sqlite").pairs()
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(Path("/proc/nobody/ledger.sqlite")).pairs()


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that this process may look into and not write to; root becomes nobody for a while."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        me = os.geteuid()
        if me == 0:
            os.seteuid(65534)
        yield Path(name)
        os.seteuid(me)
        Path(name).chmod(0o755)


def test_a_read_only_folder(read_only: Path) -> None:
    with pytest.raises(LedgerError, match=r"cannot be used: .+\. Check the disk and the file's permissions"):
        Ledger(read_only / "ledger.sqlite").pairs()


# -- several at once, and kill -9 ------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from workbench.evidence import Basis, Estimate, Measured
from workbench.evidence.ledger import Ledger
ledger, name, count = Ledger(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for index in range(count):
    plan = {"id": f"{name}-{index}", "created": "2026", "model": "little", "engine": "fake", "engine_version": "0",
            "hardware": "cpu", "machine": "abc"}
    ledger.predict(plan, {"decode": Estimate.within(index + 1, "tok/s", Basis("made up"), 0.1, 0.1)})
    ledger.measure(plan["id"], "2026", {}, {"decode": Measured((index + 1,), "tok/s", "made up")})
    print(plan["id"], flush=True)
"""


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Another process, ready to write."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdout
    assert writer.stdout.readline() == "ready\n"
    return writer


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """Also the first use of a file that does not exist yet, which creates the tables."""
    path = tmp_path / "ledger.sqlite"
    writers = [start_writer(path, name, 40) for name in "ab"]
    ends = []
    threads = [threading.Thread(target=lambda w=w: ends.append(w.communicate("go\n"))) for w in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [stderr for _, stderr in ends] == ["", ""]
    assert {pair["prediction"] for pair in Ledger(path).pairs()} == {f"{n}-{i}" for n in "ab" for i in range(40)}


def test_reading_does_not_wait_for_a_writer(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    record(ledger, "a", {"decode": guess(1)}, {"decode": measured(1)})
    monkeypatch.setattr("workbench.evidence.ledger.BUSY_TIMEOUT_S", 0.05)
    writer = sqlite3.connect(ledger.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM measured")
    assert len(ledger.pairs()) == 1
    with pytest.raises(LedgerError, match="locked"):
        ledger.predict(plan("b"), {})
    writer.close()


def test_first_uses_at_once(tmp_path: Path) -> None:
    """Threads of one process, each opening a file that is not there yet."""
    for attempt in range(20):
        ledger = Ledger(tmp_path / f"{attempt}.sqlite")
        barrier, failures = threading.Barrier(6), []

        def use(name: str, ledger: Ledger = ledger, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                record(ledger, name, {"decode": guess(1)}, {"decode": measured(1)})
            except LedgerError as error:
                failures.append(error)  # noqa: B023 - joined below, within the same round

        threads = [threading.Thread(target=use, args=(name,)) for name in "abcdef"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(ledger.pairs()) == 6


def test_what_was_said_to_be_saved_survives_kill_9(tmp_path: Path) -> None:
    path, said = tmp_path / "ledger.sqlite", set()
    for attempt in range(5):
        writer = start_writer(path, f"k{attempt}", 100_000)
        assert writer.stdin
        assert writer.stdout
        writer.stdin.write("go\n")
        writer.stdin.flush()
        said |= {writer.stdout.readline().strip() for _ in range(3 + 4 * attempt)}
        writer.kill()
        said |= {line.strip() for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
        writer.communicate()
    assert len(said) >= 5 * 3
    assert said <= {pair["prediction"] for pair in Ledger(path).pairs()}
    record(Ledger(path), "after", {"decode": guess(1)}, {"decode": measured(1)})  # and the file still takes more
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
