"""The parsers over captured outputs, whole and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.machine import cards, parse
from workbench.units import GIB, KIB, MIB

CPUS = {
    "cpuinfo-epyc-vm": ("AMD EPYC", "AuthenticAMD", 2, 2, {"AVX2", "AVX-512 VNNI", "AVX-512 BF16", "AVX-VNNI"}),
    "cpuinfo-xeon-amx": ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "GenuineIntel", 2, 4,
                         {"FMA", "F16C", "AVX-512F", "AVX-512 FP16", "AMX INT8", "AMX BF16"}),
    "cpuinfo-graviton3": ("Neoverse-V1", "ARM", None, 4, {"NEON", "FP16", "DOTPROD", "I8MM", "BF16", "SVE"}),
    "cpuinfo-raspberry-pi-5": ("Cortex-A76 / Raspberry Pi 5 Model B Rev 1.0", "ARM", None, 4,
                               {"NEON", "FP16", "DOTPROD"}),
    "cpuinfo-docker-on-mac": (None, None, None, 2, {"NEON", "DOTPROD"}),
    "cpuinfo-truncated": ("AMD EPYC", "AuthenticAMD", 1, 1, {"AVX2", "AVX-512 BF16"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CPUS)
def test_cpuinfo(name, captured):
    cpu_name, vendor, physical, logical, sets = CPUS[name]
    facts = parse.cpuinfo(captured(name))
    assert (facts.name, facts.vendor, facts.physical_cores, facts.logical_cores) == (
        cpu_name, vendor, physical, logical
    )  # fmt: skip
    assert sets <= set(facts.instruction_sets)


def test_instruction_sets_do_not_run_ahead_of_the_flags(captured):
    arm = set(parse.cpuinfo(captured("cpuinfo-raspberry-pi-5")).instruction_sets)
    assert arm == {"NEON", "FP16", "DOTPROD"}
    assert "AMX INT8" not in parse.cpuinfo(captured("cpuinfo-epyc-vm")).instruction_sets
    assert parse.instruction_sets(["svei8mm"]) == ()


def test_sysctl_of_apple_and_intel_macs(captured):
    apple = parse.sysctl(captured("sysctl-apple-m4"))
    assert (apple.name, apple.vendor, apple.physical_cores, apple.logical_cores) == ("Apple M4", "Apple", 10, 10)
    assert set(apple.instruction_sets) == {"NEON", "FP16", "DOTPROD", "I8MM", "BF16", "SME"}
    intel = parse.sysctl(captured("sysctl-intel-mac"))
    assert (intel.vendor, intel.physical_cores, intel.logical_cores) == ("GenuineIntel", 6, 12)
    assert set(intel.instruction_sets) == {"AVX", "AVX2", "FMA", "F16C"}


def test_meminfo(captured):
    whole = parse.meminfo(captured("meminfo-debian-24gib"))
    assert whole["MemTotal"] == 24684084 * KIB
    assert whole["Active(anon)"] > 0
    assert parse.meminfo(captured("meminfo-cut-off")).keys() == {"MemTotal", "MemFree"}


def test_pss_comes_from_the_rollup_with_huge_pages_added(captured):
    text = captured("smaps-rollup")
    assert parse.pss_bytes(text) == 309 * KIB
    with_pages = text.replace("Private_Hugetlb:       0 kB", "Private_Hugetlb:    2048 kB")
    assert parse.pss_bytes(with_pages) == (309 + 2048) * KIB
    assert parse.pss_bytes("") is None


def test_cgroup_v2_folders_go_up_to_the_root(captured):
    folders = parse.cgroup_folders(captured("cgroup-v2"))
    assert folders[0] == "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope"
    assert "/sys/fs/cgroup/user.slice" in folders
    assert "/sys/fs/cgroup" in folders


def test_cgroup_v1_folders_include_the_containers_root(captured):
    folders = parse.cgroup_folders(captured("cgroup-v1-docker"))
    assert {"/sys/fs/cgroup/memory/docker/305e812abc468e24", "/sys/fs/cgroup/memory"} <= set(folders)
    assert {"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu"} <= set(folders)
    assert not any("cpuset" in folder or "hugetlb" in folder for folder in folders)
    assert parse.cgroup_folders("garbage") == ["/sys/fs/cgroup"]


@pytest.mark.parametrize(
    ("level", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "max"}, None),
        ({"cpu.max": ""}, None),
        ({"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.cfs_quota_us": "200000\n"}, None),
        ({}, None),
    ],
)
def test_cpu_quota(level, cores):
    assert parse.cpu_quota(level) == cores


def test_memory_limit_counts_droppable_files_as_left():
    level = {"memory.max": f"{4 * GIB}\n", "memory.current": f"{3 * GIB}\n", "memory.stat": f"inactive_file {GIB}\n"}
    assert parse.memory_limit(level) == (4 * GIB, 2 * GIB)
    v1 = {"memory.limit_in_bytes": str(GIB), "memory.usage_in_bytes": str(2 * GIB), "memory.stat": ""}
    assert parse.memory_limit(v1) == (GIB, 0)
    assert parse.memory_limit({"memory.max": str(GIB)}) == (GIB, GIB)
    assert parse.memory_limit({"memory.max": "max\n"}) is None
    assert parse.memory_limit({"memory.limit_in_bytes": "9223372036854771712"}) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("debian12", "Debian GNU/Linux 12"), ("ubuntu", "Ubuntu 24.04"), ("arch", "Arch Linux")],
)
def test_os_release(name, expected, captured):
    assert parse.os_release(captured(f"os-release-{name}")) == expected
    assert parse.os_release("") is None


def test_cache_sizes():
    assert parse.cache_bytes("32768K\n") == 32 * MIB
    assert parse.cache_bytes(None) is None
    assert parse.cache_bytes("big") is None


def test_nvidia_cards(captured):
    found, notes = cards.nvidia(captured("nvidia-two-cards"))
    assert notes == ()
    first, second = found
    assert (first.name, first.index, first.driver) == ("NVIDIA H100 80GB HBM3", 0, "535.129.03")
    assert (first.memory_total_bytes, first.memory_free_bytes) == (81559 * MIB, 81008 * MIB)
    assert (second.name, second.index) == ("NVIDIA GeForce RTX 4090", 1)


def test_nvidia_memory_that_is_not_available_is_unknown_not_zero(captured):
    (card,), notes = cards.nvidia(captured("nvidia-gb10-not-available"))
    assert card.memory_total_bytes is None
    assert card.memory_free_bytes is None
    assert "[N/A]" in card.note
    assert notes == ()


def test_nvidia_mig_does_not_offer_the_whole_card(captured):
    (divided, whole), _ = cards.nvidia(captured("nvidia-mig"))
    assert divided.memory_total_bytes is None
    assert "MIG" in divided.note
    assert whole.memory_total_bytes == 81920 * MIB


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mismatch", "restart the computer"),
        ("no-driver", "driver is not running"),
        ("no-devices", "finds no card"),
        ("old-driver", "tools said: Field"),
    ],
)
def test_nvidia_trouble_becomes_a_sentence(name, sentence, captured):
    found, (note,) = cards.nvidia(captured(f"nvidia-{name}"))
    assert found == ()
    assert sentence in note


def test_a_lost_card_does_not_hide_the_others(captured):
    found, (note,) = cards.nvidia(captured("nvidia-one-lost"))
    assert [card.name for card in found] == ["NVIDIA GeForce RTX 3090"]
    assert "GPU1" in note


def test_lspci_names_graphics_cards_only(captured):
    found = cards.lspci(captured("lspci-amd-intel"))
    assert [vendor for vendor, _ in found] == ["Intel", "AMD", "NVIDIA"]
    named = cards.named_only(found)
    assert [(card.vendor, card.index) for card in named] == [("Intel", 0), ("AMD", 1)]
    assert "RX 470" in named[1].name
    assert all(card.memory_total_bytes is None and card.note for card in named)


def test_pci_ids_without_lspci(captured):
    found = cards.pci_ids(captured("pci-sysfs"))
    assert [vendor for vendor, _ in found] == ["AMD", "NVIDIA", "AMD"]
    assert "0x744c" in found[0][1]


def test_redact_takes_identities_out_and_leaves_the_rest(captured):
    text = parse.redact(captured("cpuinfo-raspberry-pi-5"))
    assert "0123456789abcdef" not in text
    assert "Raspberry Pi 5" in text
    text = parse.redact(captured("nvidia-two-cards"))
    assert "6b1f6f0e" not in text
    assert cards.nvidia(text)[0] == cards.nvidia(captured("nvidia-two-cards"))[0]


@pytest.mark.parametrize("path", sorted(Path(__file__).with_name("captured").glob("*.txt")), ids=lambda path: path.stem)
def test_no_parser_fails_on_any_text_cut_anywhere(path):
    whole = path.read_text(encoding="utf-8")
    parsers = (
        parse.cpuinfo, parse.sysctl, parse.meminfo, parse.pss_bytes, parse.cgroup_folders, parse.os_release,
        cards.nvidia, cards.lspci, cards.pci_ids, lambda text: parse.memory_limit({"memory.max": text}),
        lambda text: parse.cpu_quota({"cpu.max": text}),
    )  # fmt: skip
    for end in range(0, len(whole), max(1, len(whole) // 20)):
        for parser in parsers:
            parser(whole[:end])
