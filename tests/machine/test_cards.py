"""The accelerators of whole machines, from what their tools printed: every maker, sound and broken."""

from __future__ import annotations

import pytest

from workbench.machine import Accelerator
from workbench.units import GIB, MIB

SHARES = "shares the main memory"


def sizes(cards: tuple[Accelerator, ...]) -> list[tuple[int | None, int | None]]:
    """Total and free memory in MiB."""
    return [tuple(None if size is None else size // MIB for size in (card.memory_total_bytes, card.memory_free_bytes))
            for card in cards]  # fmt: skip


def keys(cards: tuple[Accelerator, ...]) -> list[str | None]:
    return [card.spec.key if card.spec else None for card in cards]


# NVIDIA


def test_nvidia_cards_with_what_other_processes_leave(machine):
    found = machine("nvidia-smi/two-cards")
    assert sizes(found.accelerators) == [(81559, 81008), (24564, 1911)]
    assert keys(found.accelerators) == ["h100-sxm5-80gb", "rtx-4090"]
    first, second = found.accelerators
    assert (first.driver, first.compute_capability, first.runtime, first.pci) == (
        "535.129.03", "9.0", "cuda", "0000:1b:00.0"
    )  # fmt: skip
    assert second.index == 1
    assert found.hardware_class == "cuda"
    assert found.notes == ()


def test_eight_cards_that_are_in_use(machine):
    found = machine("nvidia-smi/eight-busy").accelerators
    assert [card.memory_free_bytes // MIB for card in found] == [11404, 2174, 5764, 5764, 5747, 5764, 5755, 5764]
    assert {card.compute_capability for card in found} == {"5.2"}  # that driver does not know; the catalog does


@pytest.mark.parametrize(
    ("fixtures", "name", "spec", "capability"),
    [
        (["nvidia-smi/gb10"], "NVIDIA GB10", "gb10", "12.1"),
        (["nvidia-smi/thor"], "NVIDIA Thor", "jetson-thor-t5000", "11.0"),
        (["nvidia-smi/orin"], "Orin (nvgpu)", None, None),
        (["nvidia-smi/orin", "sysfs/jetson-agx-orin"], "Jetson AGX Orin 64GB", "jetson-agx-orin-64gb", "8.7"),
        (["sysfs/jetson-orin-nano-super"], "Jetson Orin Nano Super 8GB", "jetson-orin-nano-super", "8.7"),
    ],
)
def test_boards_without_memory_of_their_own_have_that_of_the_machine(machine, fixtures, name, spec, capability):
    found = machine(*fixtures)
    (card,) = found.accelerators
    assert (card.name, keys((card,)), card.compute_capability) == (name, [spec], capability)
    assert (card.memory_total_bytes, card.memory_free_bytes) == (found.memory.total_bytes, found.memory.available_bytes)
    assert card.unified
    assert card.note == SHARES
    assert found.notes == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [("unknown-error", "[Unknown Error]"), ("err", "ERR!"), ("mig-in-container", "[Insufficient Permissions]"),
     ("other-order", "nothing at all")],
)  # fmt: skip
def test_memory_that_a_driver_does_not_tell_is_unknown_not_zero(machine, name, said):
    card = machine(f"nvidia-smi/{name}").accelerators[0]
    assert (card.memory_total_bytes, card.memory_free_bytes, card.unified) == (None, None, False)
    assert said in card.note


def test_columns_are_read_by_their_names(machine):
    first, second = machine("nvidia-smi/other-order").accelerators
    assert (first.name, first.index, first.compute_capability) == ("NVIDIA TITAN V", 0, "7.0")
    assert (second.name, second.index, second.compute_capability) == ("NVIDIA RTX 5880 Ada Generation", 1, "8.9")


def test_each_mig_slice_is_a_device_with_its_share(machine):
    found = machine("nvidia-smi/mig", "nvidia-smi-L/seven-slices").accelerators
    assert len(found) == 7
    assert {(card.slice_profile, card.memory_total_bytes, card.memory_free_bytes) for card in found} == {
        ("1g.10gb", 10 * 10**9, None)
    }
    assert len({card.uuid for card in found}) == 7
    spec = found[0].spec
    assert spec.fp16_tensor_flops == pytest.approx(312e12 / 7)
    assert spec.bandwidth_bytes_per_s == pytest.approx(2039e9 / 8)
    assert spec.memory_bytes == 10 * 10**9


@pytest.mark.parametrize(
    ("fixtures", "profiles"),
    [
        (["mig-four", "first-of-four"], ["1g.20gb"] * 4 + [""] * 3),
        (["mig-in-container", "one-slice"], ["2g.20gb"]),
        (["mig-40gb", "old-identities"], ["3g.20gb", "1c.3g.20gb"]),
    ],
)
def test_mig_among_whole_cards_in_containers_and_of_old_drivers(machine, fixtures, profiles):
    query, listed = fixtures
    found = machine(f"nvidia-smi/{query}", f"nvidia-smi-L/{listed}").accelerators
    assert [card.slice_profile for card in found] == profiles
    assert all(card.memory_total_bytes for card in found)


def test_a_divided_card_without_slices_does_not_offer_the_whole_card(machine):
    (card,) = machine("nvidia-smi/mig").accelerators
    assert card.memory_total_bytes is None
    assert "divided by MIG" in card.note


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mismatch", "restart the computer"),
        ("no-driver", "driver is not running"),
        ("no-devices", "finds no card"),
        ("wsl-blocked", "wsl --update"),
        ("refused-field", "tools said: Field"),
    ],
)
def test_nvidia_trouble_becomes_a_sentence(machine, name, sentence):
    found = machine(f"nvidia-smi/{name}")
    assert found.accelerators == ()
    (note,) = found.notes
    assert sentence in note


@pytest.mark.parametrize(
    ("name", "card", "sentence"),
    [("one-lost", "rtx-3090", "GPU1"), ("gpu-is-lost", "rtx-4090", "fallen off the bus"),
     ("inforom-warning", "t4", "infoROM is corrupted")],
)  # fmt: skip
def test_a_lost_card_and_a_warning_do_not_hide_the_others(machine, name, card, sentence):
    found = machine(f"nvidia-smi/{name}")
    assert keys(found.accelerators) == [card]
    (note,) = found.notes
    assert sentence in note


# AMD


@pytest.mark.parametrize("name", ["rx-7900-xt", "rx-7900-xt-csv"])
def test_rocm_smi_in_either_form(machine, name):
    (card,) = found = machine(f"rocm-smi/{name}").accelerators
    assert sizes(found) == [(21458059264 // MIB, (21458059264 - 27856896) // MIB)]
    assert (keys(found), card.compute_capability, card.runtime) == (["rx-7900-xt"], "gfx1100", "rocm")


def test_rocm_smi_in_lines_with_old_keys_and_after_a_warning(machine):
    (card,) = machine("rocm-smi/lines").accelerators
    assert (card.name, card.compute_capability, card.pci) == ("AMD Instinct MI300X", "gfx942", "0000:05:00.0")
    assert card.memory_total_bytes == 206141652992
    (card,) = machine("rocm-smi/mi250x-old-keys").accelerators
    assert (card.name, card.driver) == ("AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2", "5.16.9.22.20")
    assert card.memory_total_bytes is None
    found = machine("rocm-smi/warning-before-json")
    assert keys(found.accelerators) == ["rx-9070-xt", "radeon-ai-pro-r9700"]
    assert found.notes == ()


def test_amd_smi_in_every_form(machine):
    assert keys(machine("amd-smi/mi300x-list").accelerators) == ["mi300x", "mi300x"]
    (card,) = found = machine("amd-smi/mi300x-gpu-data").accelerators
    assert (keys(found), sizes(found), card.driver) == (["mi300x"], [(196592, None)], "6.8.5")
    (card,) = found = machine("amd-smi/mi350x-text").accelerators
    assert (keys(found), sizes(found), card.compute_capability) == (["mi350x"], [(294896, None)], "gfx950")
    (card,) = machine("amd-smi/phoenix-not-available").accelerators
    assert (card.name, card.unified, card.memory_total_bytes) == ("Phoenix3", True, None)


def test_a_tool_that_is_cut_off_is_a_note_and_no_half_list(machine):
    found = machine("rocm-smi/cut-off")
    assert found.accelerators == ()
    assert "rocm-smi printed what cannot be understood" in found.notes[0]


@pytest.mark.parametrize("name", ["rocm-smi/no-driver", "amd-smi/no-driver", "rocminfo/no-module"])
def test_a_driver_that_is_not_loaded_is_a_sentence(machine, name):
    assert "modprobe amdgpu" in machine(name).notes[0]


def test_the_kernel_knows_the_cards_better_than_a_tool_that_fails(machine):
    found = machine("sysfs/rx-7900-xtx-and-raphael", "rocm-smi/no-driver")
    assert keys(found.accelerators)[0] == "rx-7900-xtx"
    assert not [note for note in found.notes if "modprobe" in note]


def test_cards_by_the_kernel_alone(machine):
    found = machine("sysfs/rx-7900-xtx-and-raphael")
    card, inside = found.accelerators
    assert (card.name, card.driver, card.compute_capability) == ("AMD Radeon RX 7900 XTX", "6.8.5", "gfx1100")
    assert card.memory_free_bytes == 25753026560 - 416378880
    assert (inside.unified, inside.compute_capability, inside.memory_total_bytes) == (True, "gfx1036", 33554432000)
    assert "usermod -aG render" in found.notes[0]
    assert keys(machine("sysfs/radeon-vii").accelerators) == ["radeon-vii"]
    (card,) = machine("sysfs/rx-6700-xt").accelerators
    assert (card.spec, card.compute_capability) == (None, "gfx1031")  # three models have that name and memory


def test_tools_and_kernel_speak_of_the_same_cards(machine):
    found = machine("sysfs/strix-halo-512-mib", "rocm-smi/strix-halo").accelerators
    assert [(card.name, card.pci) for card in found] == [("Radeon 8060S", "0000:c3:00.0")]


def test_strix_halo_may_take_what_the_driver_maps(machine):
    found = machine("sysfs/strix-halo-512-mib")
    (card,) = found.accelerators
    assert (keys((card,)), card.unified, card.compute_capability) == (["radeon-8060s"], True, "gfx1151")
    assert card.memory_total_bytes == 133143986176
    assert card.memory_free_bytes == found.memory.available_bytes < 133143986176 - 67645734912
    assert "512 MiB set aside for it, up to 124 GiB on demand" in card.note


def test_strix_halo_with_most_memory_set_aside(machine):
    found = machine("sysfs/strix-halo-96-gib")
    assert sizes(found.accelerators) == [(98304, 97280)]  # the driver would map more than the main memory has left
    assert sizes(machine("sysfs/bc-250").accelerators) == [(12288, 12032)]


def test_rocminfo_alone_as_under_wsl(machine):
    (card,) = machine("rocminfo/wsl-rx-7900-xtx", "sysfs/wsl-2").accelerators
    assert (card.name, card.memory_total_bytes, card.runtime) == ("AMD Radeon RX 7900 XTX", 25081028 * 1024, "rocm")
    (card,) = machine("rocminfo/strix-halo", **{"/proc/meminfo": "MemTotal: 131072000 kB\n"}).accelerators
    assert (card.pci, card.unified, card.memory_total_bytes) == ("0000:c6:00.0", True, 65243148 * 1024)
    assert machine("rocminfo/wsl-processor-only").accelerators == ()


def test_integrated_graphics_take_their_name_from_the_processor(machine):
    cpu = "processor : 0\nmodel name : AMD Ryzen 7 8845HS w/ Radeon 780M Graphics\n"
    (card,) = machine("rocm-smi/phoenix", **{"/proc/cpuinfo": cpu}).accelerators
    assert (card.name, keys((card,)), card.memory_total_bytes) == ("Radeon 780M", ["radeon-780m"], None)


def test_amd_cards_that_are_only_seen(machine):
    found = machine("sysfs/amd-without-driver")
    (card,) = found.accelerators
    assert (card.runtime, card.memory_total_bytes, card.spec) == ("", None, None)
    assert "not known" in card.note
    assert found.hardware_class == "cpu-x86-64"
    first, inside = machine("rocm-smi/navi21-and-raphael-csv").accelerators
    assert (first.spec, first.compute_capability) == (None, "gfx1030")
    assert (inside.unified, inside.memory_total_bytes) == (True, 67108864)


# Intel


def test_xpu_smi_lists_details_and_tables(machine):
    found = machine("xpu-smi/b60-json").accelerators
    assert keys(found) == ["arc-pro-b60"] * 2
    assert sizes(found) == [(25669140480 // MIB, 25447604224 // MIB)] * 2
    (card,) = found = machine("xpu-smi/max-1550-list-and-details").accelerators
    assert (keys(found), card.memory_total_bytes, card.runtime) == (["max-1550"], 128 * GIB, "xpu")
    (card,) = machine("xpu-smi/b60-table").accelerators
    assert (card.memory_total_bytes, card.driver) == (24480 * MIB, "25.44.36015")
    (card,) = machine("xpu-smi/flex-decimal-comma").accelerators
    assert (card.memory_total_bytes, keys((card,))) == (14248 * MIB, ["flex-170"])


def test_intel_cards_by_the_kernel(machine):
    (card,) = found = machine("sysfs/arc-b580-xe").accelerators
    assert (keys(found), card.memory_total_bytes, card.runtime) == (["arc-b580"], 12 * GIB, "xpu")
    (card,) = found = machine("sysfs/arc-a770-i915").accelerators
    assert (card.memory_total_bytes, card.runtime, card.unified) == (None, "xpu", False)
    assert "xpu-smi" in card.note


def test_intel_graphics_in_the_processor(machine):
    (card,) = machine("sysfs/uhd-630").accelerators
    assert (card.unified, card.runtime, card.note) == (True, "", SHARES)
    (card,) = machine("xpu-smi/meteor-lake-table").accelerators
    assert (card.unified, card.runtime) == (True, "xpu")
    assert "Error: No device discovered" in machine("xpu-smi/no-device").notes[0]


# Apple

MAC = {"platform": "system: Darwin\nrelease: 24.1.0\nmachine: arm64\nmacos: 15.1\nlogical_cores: 16\n"
                   "memory_available_bytes: 42949672960\n", "/proc/cpuinfo": "", "/proc/meminfo": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("profiler", "sysctl", "name", "total_bytes"),
    [
        ("m3-max", "m3-max-64-gib", "Apple M3 Max (40-core GPU)", 48 * GIB),
        ("m3-max", "m3-max-wired-limit", "Apple M3 Max (40-core GPU)", 118000 * MIB),
        ("m3-text", "m2-pro-32-gib", "Apple M3 (10-core GPU)", 32 * GIB * 2 // 3),
        ("m5-max", "m5-max-48-gib", "Apple M5 Max (40-core GPU)", 36 * GIB),
        ("m3-pro-without-cores", "m3-max-64-gib", "Apple M3 Pro GPU", 48 * GIB),
        ("cut-off", "m3-max-64-gib", "Apple M3 Max GPU", 48 * GIB),
    ],
)
def test_apple_chips(machine, profiler, sysctl, name, total_bytes):
    found = machine(f"system_profiler/{profiler}", f"sysctl/{sysctl}", **MAC)
    (card,) = found.accelerators
    assert (card.name, card.unified, card.runtime) == (name, True, "metal")
    assert card.memory_total_bytes == pytest.approx(total_bytes, abs=1)
    assert card.memory_free_bytes == min(card.memory_total_bytes, 40 * GIB)
    assert card.note.startswith(SHARES)
    assert found.hardware_class == "metal"
    assert found.system == "macOS 15.1, Darwin 24.1"
    assert bool(card.spec) == ("core" in name)
    assert bool(found.notes) == (profiler == "cut-off")


def test_what_metal_recommends_is_not_exceeded():
    from workbench.machine.apple import working_set_bytes

    seen_mib = {16: 10922, 24: 16384, 32: 21845, 36: 27648, 48: 38339, 64: 49152, 96: 73728, 192: 147456}
    for memory_gib, recommended_mib in seen_mib.items():
        assert 0.9 * recommended_mib * MIB < working_set_bytes(memory_gib * GIB) <= (recommended_mib + 1) * MIB


def test_the_cards_of_intel_macs(machine):
    for name in ("intel-mac-text", "intel-mac-json"):
        found = machine(f"system_profiler/{name}", "sysctl/intel-mac", **{**MAC, "platform": MAC["platform"] +
                        "memory_total_bytes: 17179869184\n"})  # fmt: skip
        assert [card.vendor for card in found.accelerators] == ["Intel", "AMD"]
        assert {card.runtime for card in found.accelerators} == {""}
        assert found.hardware_class == "cpu-arm64"  # as the platform of this test says


# Windows


def test_windows_memory_is_the_registrys_never_the_capped_one(machine):
    windows = {"platform": "system: Windows\nrelease: 11\nmachine: AMD64\nlogical_cores: 16\n"}
    found = machine("windows-adapters/rtx-4070-ti-and-amd", "windows-registry/rtx-4070-ti-and-amd", **windows)
    card, inside = found.accelerators
    assert (card.memory_total_bytes, card.driver, card.runtime) == (12282 * MIB, "560.94", "cuda")
    assert keys((card,)) == ["rtx-4070-ti"]
    assert (inside.unified, inside.memory_total_bytes) == (True, None)
    (card,) = machine("windows-adapters/r9700-and-remote", "windows-registry/r9700").accelerators
    assert (keys((card,)), card.memory_total_bytes, card.runtime) == (["radeon-ai-pro-r9700"], 34208743424, "")


@pytest.mark.parametrize("name", ["r9700-and-remote", "arc-a770", "uhd-format-list", "wmic-rtx-4090", "negative"])
def test_adapter_ram_alone_is_not_believed(machine, name):
    found = machine(f"windows-adapters/{name}", **{"platform": "system: Windows\nlogical_cores: 4\n"}).accelerators
    assert found
    assert {card.memory_total_bytes for card in found} == {None}


def test_small_adapter_ram_of_a_card_is_believed(machine):
    text = '{"Name": "NVIDIA GeForce GT 1030", "AdapterRAM": 1073741824}'
    (card,) = machine(Win32_VideoController=text, platform="system: Windows\nlogical_cores: 4\n").accelerators
    assert card.memory_total_bytes == GIB


def test_what_windows_sees_and_wsl_cannot_use(machine):
    found = machine("sysfs/wsl-2", "windows-adapters/rtx-4070-ti-and-amd", "windows-registry/rtx-4070-ti-and-amd")
    assert [card.vendor for card in found.accelerators] == ["AMD"]
    assert "RTX 4070 Ti" in found.notes[0]


# The bus


def test_the_bus_names_what_nobody_else_does(machine):
    found = machine("lspci/amd-intel-cut-off")
    assert [(card.vendor, card.runtime, card.pci) for card in found.accelerators] == [
        ("AMD", "", "0000:01:00.0"), ("Intel", "", "0000:00:02.0"),
    ]  # fmt: skip
    assert "GA107M" in found.notes[0]
    found = machine("pci/amd-nvidia")
    assert [card.name for card in found.accelerators] == ["AMD graphics (0x744c)", "AMD graphics (0x74a1)"]
    assert "no NVIDIA driver" in found.notes[0]


def test_a_list_of_models_becomes_the_one_whose_memory_fits(machine):
    bus = '0000:03:00.0 "VGA compatible controller" "Advanced Micro Devices, Inc. [AMD/ATI]" ' \
          '"Navi 31 [Radeon RX 7900 XT/7900 XTX/7900 GRE/7900M]" -rc8'  # fmt: skip
    folder = "/sys/class/drm/card0/device/"
    kernel = {f"{folder}uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0\n"}
    for total, key in ((25753026560, "rx-7900-xtx"), (21458059264, "rx-7900-xt"), (17163091968, None)):
        found = machine(lspci=bus, **kernel, **{f"{folder}mem_info_vram_total": str(total)}).accelerators
        assert keys(found) == [key]
