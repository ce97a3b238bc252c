"""Every published output has a source, and none of them breaks the detection, however it is cut or masked."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.machine.conftest import BASE, FIXTURES, texts_of
from workbench.machine import from_raw, judge, parse

NAMES = sorted(path.relative_to(FIXTURES).with_suffix("").as_posix() for path in FIXTURES.rglob("*.txt"))
INDEX = yaml.safe_load((FIXTURES / "index.yaml").read_text(encoding="utf-8"))


def test_the_index_names_the_source_of_each():
    assert sorted(INDEX) == NAMES
    for name, entry in INDEX.items():
        assert entry["source"], name
        assert entry["how"] in ("captured", "shortened", "rearranged", "constructed"), name
    assert len(NAMES) >= 30
    assert sum(bool(entry.get("odd")) for entry in INDEX.values()) >= len(NAMES) / 3


@pytest.mark.parametrize("name", NAMES)
def test_no_text_breaks_the_detection_wherever_it_is_cut(name):
    for key, whole in texts_of(name).items():
        for end in range(0, len(whole) + 1, max(1, len(whole) // 20)):
            if key in ("/proc/meminfo", "platform") and end < len(whole):
                continue  # without them a machine is refused, which is tested elsewhere
            machine = from_raw({**BASE, **texts_of(name), key: whole[:end]})
            json.dumps(machine.to_dict())
            judge(machine)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_masked_for_a_bug_report_is_detected_all_the_same(name):
    dump = {**BASE, **texts_of(name)}
    masked = {key: parse.redact(text) for key, text in dump.items()}
    assert from_raw(masked).to_dict() == from_raw(dump).to_dict()
