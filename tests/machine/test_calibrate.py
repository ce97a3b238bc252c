"""Calibration: measured once, kept, measured again when what was kept is damaged."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import pytest

from workbench.errors import UsageError, WorkbenchError
from workbench.machine import Calibration, calibrate, probe
from workbench.units import MIB

room = importlib.import_module("workbench.machine.calibration")  # the name `calibrate` in the room is the function


@pytest.fixture
def quick(monkeypatch):
    """Measure for real, but little; counts the processes that were started."""
    monkeypatch.setattr(room, "_ARRAY_BYTES", 8 * MIB)
    monkeypatch.setattr(room, "_TIMES_CACHE", 0)
    monkeypatch.setattr(room, "_MATRIX_SIZES", (128,))
    monkeypatch.setattr(room, "_SECONDS_EACH", 0.0)
    runs, run = [], room._run

    def counted(*arguments, **options):
        runs.append(options)
        return run(*arguments, **options)

    monkeypatch.setattr(room, "_run", counted)
    return runs


def test_measured_once_kept_and_measured_again_by_force(quick, home):
    machine, steps = probe(), []
    first = calibrate(machine, progress=lambda fraction, what: steps.append((fraction, what)))
    assert len(quick) == 2
    assert [fraction for fraction, _ in steps] == sorted(fraction for fraction, _ in steps)
    assert machine.calibration is None

    calibration = first.calibration
    assert calibration is not None
    assert calibration.read_bandwidth.unit == "B/s"
    assert calibration.matrix_throughput_one_core.unit == "FLOP/s"
    assert len(calibration.read_bandwidth.samples) >= 3
    assert min(calibration.matrix_throughput.samples) > 0
    assert calibration.versions["numpy"]

    assert calibrate(machine).calibration == calibration
    assert len(quick) == 2
    calibrate(machine, force=True)
    assert len(quick) == 4
    assert sorted(path.name for path in (home / "cache").glob("calibration.json*")) == ["calibration.json"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '"text"', "\x00\xff"])
def test_a_damaged_file_is_measured_again(damage, home, monkeypatch, answers):
    store = home / "cache" / "calibration.json"
    store.parent.mkdir()
    store.write_text(damage, encoding="latin-1")
    assert calibrate(probe()).calibration is not None
    assert json.loads(store.read_text())


@pytest.mark.parametrize("entry", [None, [], {}, {"date": "today"}, "text"])
def test_a_damaged_entry_is_measured_again_and_others_stay(entry, home, answers):
    machine = probe()
    calibrate(machine)
    store = home / "cache" / "calibration.json"
    (key,) = json.loads(store.read_text())
    store.write_text(json.dumps({key: entry, "another machine": {"kept": True}}))
    assert calibrate(machine).calibration is not None
    entries = json.loads(store.read_text())
    assert entries["another machine"] == {"kept": True}
    assert entries[key]["threads"] >= 1


@pytest.fixture
def answers(monkeypatch):
    """Answers of the measuring processes, without any."""
    answer = {
        "bandwidth": {"one": [1e9, 2e9, 3e9], "all": [4e9, 5e9, 6e9]},
        "matrix": {"rates": [1e10, 2e10, 3e10], "size": 512},
        "versions": {"numpy": "2"},
    }
    monkeypatch.setattr(room, "_run", lambda _order, *, threads: answer)


def test_other_usable_cores_are_another_calibration(answers, home):
    machine = probe()
    calibrate(machine)
    calibrate(replace(machine, cpu=replace(machine.cpu, usable_cores=0.5)))
    assert len(json.loads((home / "cache" / "calibration.json").read_text())) == 2


def test_values_are_medians_and_survive_the_file(answers):
    calibration = calibrate(probe()).calibration
    assert calibration is not None
    assert calibration.read_bandwidth_one_core.value == 2e9
    assert calibration.read_bandwidth.value == 5e9
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize(("busy", "noted"), [(0.0, False), (1.5, True)])
def test_busy_neighbours_are_noted(busy, noted, answers, monkeypatch):
    monkeypatch.setattr(room.BusyMeter, "cores", lambda _self: busy)
    calibration = calibrate(probe()).calibration
    assert calibration is not None
    assert calibration.busy_cores == busy
    assert any("Other processes" in note for note in calibration.notes) is noted


def test_the_array_is_larger_than_the_cache_and_fits_the_memory(monkeypatch):
    machine = probe()
    monkeypatch.setattr(room, "_last_level_cache_bytes", lambda: 256 * MIB)
    roomy = replace(machine, memory=replace(machine.memory, available_bytes=64 * 1024 * MIB))
    assert room._array_bytes(roomy) == (1024 * MIB, [])
    tight = replace(machine, memory=replace(machine.memory, available_bytes=512 * MIB))
    size, notes = room._array_bytes(tight)
    assert size == 128 * MIB
    assert "flattered" in notes[0]


def test_a_machine_that_is_not_here_is_refused(answers):
    machine = probe()
    with pytest.raises(UsageError, match="not this computer"):
        calibrate(replace(machine, cpu=replace(machine.cpu, name="Somebody's CPU")))


def test_a_failing_measurement_is_an_error_with_the_output(monkeypatch):
    monkeypatch.setattr(room.sys, "executable", "/bin/false")
    with pytest.raises(WorkbenchError, match="did not finish"):
        calibrate(probe())
