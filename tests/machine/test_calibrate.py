"""Calibration: measured once, kept, measured again when what was kept is damaged."""

from __future__ import annotations

import importlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

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
    monkeypatch.setattr(room.BusyMeter, "cores", lambda _self: 0.0)
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
    assert calibration.disturbed is noted


@pytest.fixture
def disturb(monkeypatch, answers):
    """disturb(1.5, 0.3, …): cores that others use during one try after the other; returns those still to come."""

    def follow(*cores):
        left = list(cores)
        monkeypatch.setattr(room.BusyMeter, "cores", lambda _self: left.pop(0))
        return left

    monkeypatch.setattr(room, "busy_cores", lambda: 0.0)
    return follow


def found(machine):
    calibration = calibrate(machine).calibration
    assert calibration is not None
    return calibration


def long_ago(home):
    """What is kept was kept long enough ago to be tried again."""
    os.utime(home / "cache" / "calibration.json", (0, 0))


@pytest.mark.parametrize(
    ("cores", "kept", "unused"), [((0.1, 9.0), 0.1, 1), ((1.5, 0.1, 9.0), 0.1, 1), ((1.5, 0.3, 0.6, 9.0), 0.3, 1)]
)
def test_what_others_disturb_is_tried_a_few_times_and_the_quietest_counts(cores, kept, unused, disturb):
    left = disturb(*cores)
    assert found(probe()).busy_cores == kept
    assert len(left) == unused


def test_progress_never_goes_back_and_says_why_it_takes_longer(disturb):
    disturb(1.5, 0.3, 0.6)
    steps = []
    calibrate(probe(), progress=lambda fraction, what: steps.append((fraction, what)))
    fractions = [fraction for fraction, _ in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert ["others were busy" in what for _, what in steps] == [False, False, True, True, True, True, False]


def test_a_disturbed_calibration_is_measured_again_when_the_next_one_is_needed(disturb, home):
    machine = probe()
    disturb(0.6, 0.6, 0.6)
    assert found(machine).disturbed
    long_ago(home)
    left = disturb(0.0)
    assert found(machine).busy_cores == 0
    assert left == []
    long_ago(home)
    assert not found(machine).disturbed  # and this one is final


def test_a_noisier_try_does_not_replace_what_is_kept(disturb, home):
    machine = probe()
    disturb(0.3, 0.6, 0.6)
    assert found(machine).busy_cores == 0.3
    long_ago(home)
    disturb(0.9, 0.8, 0.7)
    assert found(machine).busy_cores == 0.3


def test_a_machine_that_is_never_quiet_is_not_tried_at_every_call(disturb):
    machine = probe()
    disturb(0.6, 0.6, 0.6)
    assert found(machine) == found(machine)


def test_nothing_is_measured_again_while_something_is_at_work(disturb, home, monkeypatch):
    machine = probe()
    disturb(0.6, 0.6, 0.6)
    before = found(machine)
    long_ago(home)
    with room.alone(pytest.fail):
        assert found(machine) == before
    monkeypatch.setattr(room, "busy_cores", lambda: 1.0)
    assert found(machine) == before


def test_another_computer_s_disturbed_calibration_serves_on(disturb, home):
    machine = probe()
    disturb(0.6, 0.6, 0.6)
    before = found(machine)
    store = home / "cache" / "calibration.json"
    (key,) = json.loads(store.read_text())
    other = replace(machine, cpu=replace(machine.cpu, name="Somebody's CPU"))
    moved = key.replace(machine.fingerprint(), other.fingerprint())
    store.write_text(json.dumps({moved: before.to_dict()}))
    long_ago(home)
    assert found(other) == before


def test_the_first_calibration_waits_for_a_measurement_to_end(disturb):
    disturb(0.0)
    heard, steps = Event(), []

    def hear(_fraction, what):
        steps.append(what)
        heard.set()

    with ThreadPoolExecutor(1) as pool:
        with room.alone(pytest.fail):
            waiting = pool.submit(calibrate, probe(), progress=hear)
            assert heard.wait(10)
        assert waiting.result(10).calibration is not None
    assert steps[0] == "waiting for another measurement to end"


def test_the_fastest_read_is_that_of_all_samples(answers):
    calibration = found(probe())
    assert calibration.fastest_read == 6e9
    slow = replace(calibration, read_bandwidth=replace(calibration.read_bandwidth, samples=(1e9, 2e9)))
    assert slow.fastest_read == 3e9


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
