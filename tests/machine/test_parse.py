"""The parsers over captured outputs, whole and broken."""

from __future__ import annotations

import pytest

from workbench.machine import parse
from workbench.units import GIB, KIB, MIB

CPUS = {
    "linux/cpuinfo-epyc-vm": ("AMD EPYC", "AuthenticAMD", 2, 2, {"AVX2", "AVX-512 VNNI", "AVX-512 BF16", "AVX-VNNI"}),
    "linux/cpuinfo-xeon-amx": ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "GenuineIntel", 2, 4,
                         {"FMA", "F16C", "AVX-512F", "AVX-512 FP16", "AMX INT8", "AMX BF16"}),
    "linux/cpuinfo-graviton3": ("Neoverse-V1", "ARM", None, 4, {"NEON", "FP16", "DOTPROD", "I8MM", "BF16", "SVE"}),
    "linux/cpuinfo-raspberry-pi-5": ("Cortex-A76 / Raspberry Pi 5 Model B Rev 1.0", "ARM", None, 4,
                               {"NEON", "FP16", "DOTPROD"}),
    "linux/cpuinfo-docker-on-mac": (None, None, None, 2, {"NEON", "DOTPROD"}),
    "linux/cpuinfo-truncated": ("AMD EPYC", "AuthenticAMD", 1, 1, {"AVX2", "AVX-512 BF16"}),
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
    arm = set(parse.cpuinfo(captured("linux/cpuinfo-raspberry-pi-5")).instruction_sets)
    assert arm == {"NEON", "FP16", "DOTPROD"}
    assert "AMX INT8" not in parse.cpuinfo(captured("linux/cpuinfo-epyc-vm")).instruction_sets
    assert parse.instruction_sets(["svei8mm"]) == ()


def test_sysctl_of_apple_and_intel_macs(captured):
    apple = parse.sysctl(captured("sysctl/apple-m4"))
    assert (apple.name, apple.vendor, apple.physical_cores, apple.logical_cores) == ("Apple M4", "Apple", 10, 10)
    assert set(apple.instruction_sets) == {"NEON", "FP16", "DOTPROD", "I8MM", "BF16", "SME"}
    intel = parse.sysctl(captured("sysctl/intel-mac"))
    assert (intel.vendor, intel.physical_cores, intel.logical_cores) == ("GenuineIntel", 6, 12)
    assert set(intel.instruction_sets) == {"AVX", "AVX2", "FMA", "F16C"}


def test_meminfo(captured):
    whole = parse.meminfo(captured("linux/meminfo-debian-24gib"))
    assert whole["MemTotal"] == 24684084 * KIB
    assert whole["Active(anon)"] > 0
    assert parse.meminfo(captured("linux/meminfo-cut-off")).keys() == {"MemTotal", "MemFree"}


def test_pss_comes_from_the_rollup_with_huge_pages_added(captured):
    text = captured("linux/smaps-rollup")
    assert parse.pss_bytes(text) == 309 * KIB
    with_pages = text.replace("Private_Hugetlb:       0 kB", "Private_Hugetlb:    2048 kB")
    assert parse.pss_bytes(with_pages) == (309 + 2048) * KIB
    assert parse.pss_bytes("") is None


def test_cgroup_v2_folders_go_up_to_the_root(captured):
    folders = parse.cgroup_folders(captured("linux/cgroup-v2"))
    assert folders[0] == "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope"
    assert "/sys/fs/cgroup/user.slice" in folders
    assert "/sys/fs/cgroup" in folders


def test_cgroup_v1_folders_include_the_containers_root(captured):
    folders = parse.cgroup_folders(captured("linux/cgroup-v1-docker"))
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
    assert parse.os_release(captured(f"linux/os-release-{name}")) == expected
    assert parse.os_release("") is None


def test_cache_sizes():
    assert parse.cache_bytes("32768K\n") == 32 * MIB
    assert parse.cache_bytes(None) is None
    assert parse.cache_bytes("big") is None


@pytest.mark.parametrize(
    ("text", "unit", "size"),
    [
        ("16384 MiB", "", 16 * GIB), ("16384", "M", 16 * GIB), ("14248,00 MiB", "", 14248 * MIB), ("8 GB", "", 8 * GIB),
        ("16,384 MB", "", 16 * GIB), ("1,5 GiB", "", 3 * GIB // 2), ("512", "", 512), ("512 KiB", "", 512 * KIB),
        ("12K", "", 12 * KIB), ("[N/A]", "M", None), ("ERR!", "M", None), ("", "M", None), (None, "M", None),
        ("1.2.3", "", None), ("-5 MiB", "", None), ("unknown GB", "", None),
    ],
)  # fmt: skip
def test_sizes_as_tools_print_them(text, unit, size):
    assert parse.size_bytes(text, unit) == size


def test_json_is_found_between_warnings_and_only_whole():
    assert parse.json_values('WARNING: [x] {y}\n\n{"a": {"b": 1}}\nbye\n[2]\n') == [{"a": {"b": 1}}, [2]]
    assert parse.json_values('{"card0": {"a": 1},\n "card1": {"b"') == []
    assert parse.json_values('{"card0":\n{"a": 1}') == [{"a": 1}]  # nobody prints this; a whole value is a value
    assert parse.json_values("") == parse.json_values("[") == []


@pytest.mark.parametrize(
    ("text", "address"),
    [("00000000:1B:00.0", "0000:1b:00.0"), ("1b:00.0", "0000:1b:00.0"), ("000F:01:00.0", "000f:01:00.0"), ("N/A", ""),
     (None, ""), ("1b:00", "")],
)  # fmt: skip
def test_pci_addresses_are_written_one_way(text, address):
    assert parse.pci_address(text) == address


@pytest.mark.parametrize(
    ("name", "version"),
    [("cpu", "2.13.0+cpu"), ("cu130", "2.13.0+cu130"), ("conda-cu126", "2.10.0+cu126"), ("rocm", "2.12.0+rocm7.2")],
)
def test_the_build_of_torch_is_read_without_loading_it(name, version, captured):
    assert parse.torch_version(captured(f"torch/{name}")) == version
    assert parse.torch_version("") is None


def test_redact_takes_identities_out_and_leaves_the_rest(captured):
    text = parse.redact(captured("linux/cpuinfo-raspberry-pi-5"))
    assert "0123456789abcdef" not in text
    assert "Raspberry Pi 5" in text


@pytest.mark.parametrize(
    ("name", "secrets", "kept"),
    [
        ("nvidia-smi/two-cards", ["66667777"], "H100"),
        ("nvidia-smi-L/old-identities", ["66667777"], "3g.20gb"),
        ("amd-smi/mi350x-text", ["1234567890ABCDEF"], "gfx950"),
        ("amd-smi/mi300x-list", ["1234567890ABCDE0"], "gfx942"),
        ("rocm-smi/mi250x-old-keys", ["692139000119"], "0000:C9:00.0"),
        ("sysfs/radeon-vii", ["1234567890123456789"], "gfx_target_version 90006"),
        ("xpu-smi/flex-decimal-comma", ["LQAC13301234", "004d00000000"], "14248,00 MiB"),
        ("xpu-smi/b60-json", ["0097-0000"], "25669140480"),
        ("system_profiler/m3-max", ["fd626d62"], "sppci_cores"),
        ("windows-adapters/uhd-format-list", ["WIDLE"], "VEN_8086"),
    ],
)
def test_redact_knows_how_each_tool_names_a_computer(name, secrets, kept, captured):
    text = parse.redact(captured(name))
    assert not [secret for secret in secrets if secret in text]
    assert kept in text


def test_redact_takes_out_whose_folder_it_is():
    assert parse.redact("disk: /home/ada/.cache\n") == "disk: /home/(removed)/.cache\n"
    assert parse.redact("C:\\Users\\Ada\\x") == "C:\\Users\\(removed)\\x"
