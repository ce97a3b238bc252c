"""Layouts over several devices: bytes add up, each layer lies in one place, what cannot be is refused."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.catalog.links import link, links
from workbench.engines import Availability, Settings
from workbench.engines.llamacpp import LlamaCpp
from workbench.engines.llamacpp_memory import deal_layers
from workbench.errors import MissingExtra, UnknownName, UnsupportedModel, UsageError
from workbench.evidence import Basis, Estimate
from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory
from workbench.models import Architecture, Model, Tensor
from workbench.planning import device_map as asking
from workbench.planning import device_map_layout, device_map_worker, layer_split, layouts, tensor_parallel
from workbench.planning.device_map import DeviceMap, device_map
from workbench.planning.layouts import Layout
from workbench.planning.sharding import compare
from workbench.units import GIB, MIB

PCIE, NVLINK = link("PCIe 4.0 x16"), link("nvlink-3")
BYTES = {"F32": 4.0, "BF16": 2.0, "LLM.int8": 1.0, "NF4": 0.5625, "Q4_K": 0.5625}


def llama(
    *, layers: int = 80, hidden: int = 8192, heads: int = 64, kv_heads: int = 8, feed_forward: int = 28672,
    vocabulary: int = 32000, kind: str = "BF16", tied: bool = False,
) -> Model:  # fmt: skip
    """A Llama on paper, Llama-2-70B unless told otherwise; embeddings, head and norms in 16 bits."""
    length = hidden // heads
    a = Architecture(
        "llama", layers, hidden, heads, kv_heads, length, length, feed_forward, vocabulary, 4096, tied_embeddings=tied
    )
    wide = heads * length
    matrices = {
        "attn_q": (hidden, wide), "attn_k": (hidden, kv_heads * length), "attn_v": (hidden, kv_heads * length),
        "attn_output": (wide, hidden), "ffn_gate": (hidden, feed_forward), "ffn_up": (hidden, feed_forward),
        "ffn_down": (feed_forward, hidden), "attn_norm": (hidden,), "ffn_norm": (hidden,),
    }  # fmt: skip
    tensors = [tensor("token_embd.weight", (hidden, vocabulary)), tensor("output_norm.weight", (hidden,))]
    tensors += [] if tied else [tensor("output.weight", (hidden, vocabulary))]
    for layer in range(layers):
        for name, shape in matrices.items():
            tensors.append(tensor(f"blk.{layer}.{name}.weight", shape, kind if len(shape) > 1 else "BF16"))
    size = sum(one.bytes for one in tensors)
    return Model("paper", Path("paper"), a, tuple(tensors), size, kind, "test")


def tensor(name: str, shape: tuple[int, ...], kind: str = "BF16") -> Tensor:
    elements = shape[0] * (shape[1] if len(shape) > 1 else 1)
    return Tensor(name, kind, shape, elements, int(elements * BYTES[kind]))


def config(model: Model) -> dict[str, Any]:
    """What the model's config.json would say."""
    a = model.architecture
    return {
        "model_type": "llama", "hidden_size": a.hidden, "intermediate_size": a.feed_forward, "vocab_size": a.vocabulary,
        "num_hidden_layers": a.layers, "num_attention_heads": a.heads, "num_key_value_heads": a.kv_heads,
        "tie_word_embeddings": a.tied_embeddings, "max_position_embeddings": a.context_length,
    }  # fmt: skip


def computer(cards: int, card_bytes: int | None = 24 * GIB, ram_bytes: int = 256 * GIB) -> Machine:
    return Machine(
        Cpu("Test CPU", "Test", "x86-64", 16, 16, 16.0), Memory(ram_bytes, ram_bytes), Disk("/", 2**42, 2**42),
        tuple(Accelerator("NVIDIA", "Test card", place, card_bytes, card_bytes) for place in range(cards)),
    )  # fmt: skip


class Streaming(LlamaCpp):
    """llama.cpp's memory; its speed is bytes by bandwidth, so that times can be checked by hand."""

    def supports(self, model: Model) -> Availability:
        return Availability(True)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        none = (None,) * (model.architecture.layers + 1)
        dealt = deal_layers(model, settings, machine) if settings.devices else none
        rates = [50e9 if at is None else 1000e9 for at in dealt]
        seconds = sum(size / rate for size, rate in zip(model.bytes_by_layer, rates, strict=True))
        return Estimate.within(seconds, "s", Basis("test"), 0.1, 0.1)


ENGINE = Streaming()
small = llama(layers=12, hidden=512, heads=8, kv_heads=2, feed_forward=1408, vocabulary=32000)


def layers_in(layout: Layout) -> list[int]:
    """The layers that the devices say they hold."""
    words = [word for share in layout.devices for word in share.layers.split(", ") if word[:1].isdigit()]
    ends = [word.split("–") for word in words]
    return sorted(layer for end in ends for layer in range(int(end[0]), int(end[-1]) + 1))


def weights(layout: Layout) -> int:
    return sum(share.weights_bytes for share in layout.devices)


# -- links -----------------------------------------------------------------------------------------------------


def test_links_are_found_by_what_people_call_them() -> None:
    assert link("PCIe gen4 x8").name == "pcie-4-x8"
    assert link("NVLink 3090").name == "nvlink-bridge-3090"
    assert link("USB4").name == "thunderbolt-4"
    with pytest.raises(UnknownName, match="There is no link called 'carrier pigeon'"):
        link("carrier pigeon")


def test_links_are_plausible() -> None:
    for one in links().values():
        assert 1e9 < one.bytes_per_s < 1e12
        assert one.host == one.name.startswith(("pcie", "oculink", "thunderbolt"))
        assert (one.hop_us is None) == (one.start_us is None)
    for lanes in ("x4", "x8", "x16"):
        speeds = [links()[f"pcie-{generation}-{lanes}"].bytes_per_s for generation in (3, 4, 5)]
        assert speeds == sorted(speeds)


# -- tensor parallel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "devices", "reason"),
    [
        ({}, 3, "64 attention heads cannot be divided by 3. Use 2 or 4 devices."),
        ({"heads": 28, "kv_heads": 4}, 8, "28 attention heads cannot be divided by 8. Use 4 devices."),
        ({"heads": 48, "kv_heads": 6}, 4, "6 KV heads can neither be divided by 4 nor copied to 4 evenly."),
        ({"feed_forward": 11007}, 2, "A feed-forward width of 11007 cannot be divided by 2."),
        ({"vocabulary": 151552, "heads": 96, "kv_heads": 6}, 6, "A vocabulary of 151552 cannot be divided by 6."),
        ({"expert_feed_forward": 100}, 8, "A feed-forward width of 100 cannot be divided by 8. Use 4 devices."),
        ({"heads": 1, "kv_heads": 1}, 2, "1 attention heads cannot be divided by 2. No number of devices works."),
        ({"kv_heads_per_layer": (0, 8)}, 2, "Layers without attention are not modelled here."),
    ],
)
def test_what_does_not_divide_is_refused_with_what_would(change: dict[str, Any], devices: int, reason: str) -> None:
    feed_forward = 28672 if devices != 6 else 28674 // 6 * 6
    a = replace(llama(layers=1).architecture, **{"feed_forward": feed_forward, **change})
    assert tensor_parallel.refusal(a, devices).startswith(reason)


@settings(deadline=None)
@given(st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.sampled_from([1, 2, 4, 8, 64]), st.booleans())
def test_a_shard_times_devices_is_the_model_and_what_is_repeated(devices: int, kv_heads: int, tied: bool) -> None:
    model = llama(layers=2, kv_heads=kv_heads, tied=tied)
    piece = tensor_parallel.shard(model, devices)
    norms = sum(one.bytes for one in model.tensors if "norm" in one.name)
    keys = sum(one.bytes for one in model.tensors if ".attn_k." in one.name or ".attn_v." in one.name)
    copies = max(1, devices // kv_heads)
    assert devices * piece.weight_bytes == model.weight_bytes + (devices - 1) * norms + (copies - 1) * keys
    assert piece.architecture.kv_heads == max(1, kv_heads // devices)
    assert piece.parameters * devices >= model.parameters


def test_the_vocabulary_is_padded_and_biases_are_added_once() -> None:
    model = llama(layers=1, vocabulary=32001)
    biases = tuple(tensor(f"blk.0.{name}.bias", (8192,)) for name in ("attn_q", "attn_output", "ffn_down"))
    piece = tensor_parallel.shard(replace(model, tensors=model.tensors + biases), 2)
    sizes = {one.name: one.elements for one in piece.tensors}
    assert sizes["output.weight"] == 8192 * 32064 // 2
    assert [sizes[one.name] for one in biases] == [4096, 8192, 8192]


def test_sums_over_devices_cost_more_with_more_devices_and_slower_links() -> None:
    model = llama()
    times = [tensor_parallel.collectives(model, devices, NVLINK).known() for devices in (2, 4, 8)]
    assert times == sorted(times)
    assert tensor_parallel.collectives(model, 8, PCIE).known() > times[-1]
    assert tensor_parallel.collectives(model, 2, None).value is None
    assert "Thunderbolt" in tensor_parallel.collectives(model, 2, link("thunderbolt 5")).reason


def test_sums_over_devices_explain_published_runs() -> None:
    """gpt-fast on A100 with NVLink, ms a token: one part is divided, one is not, and the sums are what is predicted."""
    published = {1: 1 / 104.9, 2: 1 / 168.84, 4: 1 / 254.02, 8: 1 / 328.43}  # Llama-2-7B, BF16
    model = llama(layers=32, hidden=4096, heads=32, kv_heads=32, feed_forward=11008)
    sums = {n: tensor_parallel.collectives(model, n, NVLINK).known() for n in (2, 4, 8)}
    undivided = statistics.median((n * (published[n] - sums[n]) - published[1]) / (n - 1) for n in sums)
    for n, waiting in sums.items():
        predicted = undivided + (published[1] - undivided) / n + waiting
        assert predicted == pytest.approx(published[n], rel=0.06)


def test_tensor_parallel_divides_the_time_and_says_what_it_waits_for() -> None:
    model, machine = llama(), computer(8, 80 * GIB)
    two, eight = (tensor_parallel.layout(model, machine, ENGINE, context=4096, devices=n, link=NVLINK) for n in (2, 8))
    assert two.possible
    assert len(two.devices) == 2
    assert eight.seconds_per_token.known() < two.seconds_per_token.known() / 3
    assert set(two.seconds_per_token.basis.inputs) == {"the slowest device", "sums over all devices"}
    assert two.spilled_bytes == {}


def test_tensor_parallel_cannot_spill() -> None:
    layout = tensor_parallel.layout(llama(), computer(2), ENGINE, context=4096, link=NVLINK)
    assert not layout.possible
    assert layout.reason.endswith("nothing can spill. 8 devices like Test card would hold it.")
    assert all(share.over_bytes > 40 * GIB for share in layout.devices)
    assert layout.seconds_per_token.value is None


@pytest.mark.parametrize(
    ("cards", "devices", "reason"),
    [(0, None, "no accelerator"), (1, None, "only one"), (2, 4, "4 accelerators were asked for")],
)
def test_tensor_parallel_needs_devices(cards: int, devices: int | None, reason: str) -> None:
    layout = tensor_parallel.layout(llama(), computer(cards), ENGINE, context=4096, devices=devices)
    assert reason in layout.reason


# -- layer split -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 160), st.booleans(), st.integers(1, 90))
def test_every_layer_lies_once_and_bytes_add_up(cards: int, size: int, tied: bool, layers: int) -> None:
    model = llama(layers=layers, hidden=1024, heads=8, kv_heads=8, feed_forward=4096, tied=tied)
    layout = layer_split.layout(model, computer(cards, size * GIB // 8), ENGINE, context=4096)
    assert layout.possible
    assert layers_in(layout) == list(range(layers))
    output_on_card = not any("output" in share.layers for share in layout.devices if share.device == "RAM")
    assert weights(layout) == model.weight_bytes + (model.embedding_bytes if tied and output_on_card else 0)
    assert not any(share.over_bytes for share in layout.devices)
    assert sum(layout.spilled_bytes.values()) <= model.weight_bytes


def test_smaller_cards_spill_more_and_are_slower() -> None:
    found = [layer_split.layout(llama(), computer(2, size * GIB), ENGINE, context=4096) for size in (80, 48, 24, 8, 1)]
    spilled = [sum(layout.spilled_bytes.values()) for layout in found]
    times = [layout.seconds_per_token.known() for layout in found]
    assert spilled[0] == 0
    assert spilled == sorted(spilled)
    assert times == sorted(times)
    assert found[-1].notes == ("--n-gpu-layers 0 of 81, the output counted",)


def test_layers_can_be_given() -> None:
    layout = layer_split.layout(llama(), computer(2, 80 * GIB), ENGINE, context=4096, device_layers=11)
    assert [share.layers for share in layout.devices] == ["70–75", "76–79, output", "embedding, 0–69"]


def test_what_main_memory_cannot_hold_is_read_from_the_disk_for_every_token() -> None:
    machine = computer(1, 24 * GIB, ram_bytes=30 * GIB)
    unknown = layer_split.layout(llama(), machine, ENGINE, context=4096)
    assert set(unknown.spilled_bytes) == {"RAM", "disk"}
    assert weights(unknown) == llama().weight_bytes
    assert unknown.seconds_per_token.reason.endswith("say how fast the disk reads")
    known = layer_split.layout(llama(), machine, ENGINE, context=4096, disk_bytes_per_s=3e9)
    assert known.seconds_per_token.known() > unknown.spilled_bytes["disk"] / 3e9


def test_without_accelerators_nothing_has_spilled() -> None:
    layout = layer_split.layout(small, computer(0), ENGINE, context=4096)
    assert [share.device for share in layout.devices] == ["RAM"]
    assert layout.spilled_bytes == {}


# -- device map: accelerate itself -----------------------------------------------------------------------------


def request(max_memory: Mapping[str, int], **changes: Any) -> dict[str, Any]:
    usual = {"dtype": "bfloat16", "other_dtype": "", "balanced": False, "whole": True, "cache_bytes": []}
    return {"max_memory": dict(max_memory), **usual, **changes}


@pytest.fixture(scope="module")
def small_module() -> Any:
    """The small model as Transformers builds it, without weights."""
    return device_map_worker.build(config(small))


def answer_here(module: Any, text: str) -> dict[str, Any]:
    return {**device_map_worker.place(module, json.loads(text)), "versions": {}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("limit", [0, 20, 40, 60, 1000])
def test_accelerate_places_every_layer_once(small_module: Any, limit: int, balanced: bool) -> None:
    room = {"0": limit * MIB, "1": limit * MIB, "cpu": 60 * MIB}
    answer = device_map_worker.place(small_module, request(room, balanced=balanced))
    assert len(answer["layers"]) == 12
    assert set(answer["layers"]) <= {"0", "1", "cpu", "disk"}
    assert answer["split"] == []
    assert sum(answer["bytes"].values()) == pytest.approx(small.weight_bytes, abs=1024)  # and tables of angles
    assert all(answer["bytes"].get(device, 0) <= count for device, count in room.items())


@pytest.mark.filterwarnings("ignore")
def test_smaller_limits_spill_more(small_module: Any) -> None:
    spilled = []
    for limit in (100, 60, 40, 20, 0):
        answer = device_map_worker.place(small_module, request({"0": limit * MIB, "cpu": 1000 * MIB}))
        spilled.append(answer["bytes"].get("cpu", 0))
    assert spilled[0] < spilled[-1]
    assert spilled == sorted(spilled)


@pytest.mark.filterwarnings("ignore")
def test_room_is_left_for_the_cache(small_module: Any) -> None:
    """Also for that of layers in main memory, which work on the first accelerator."""
    room, cache = {"0": 70 * MIB, "1": 70 * MIB, "cpu": 1000 * MIB}, [4 * MIB] * 12
    answer = device_map_worker.place(small_module, request(room, cache_bytes=cache))
    on_second = answer["layers"].count("1")
    assert answer["bytes"]["0"] + (12 - on_second) * 4 * MIB <= room["0"]
    assert answer["bytes"]["1"] + on_second * 4 * MIB <= room["1"]
    assert answer["max_memory"]["1"] < room["1"]


@pytest.mark.filterwarnings("ignore")
def test_only_matrices_of_layers_are_counted_in_four_bits(small_module: Any) -> None:
    room = {"cpu": 1000 * MIB}
    answer = device_map_worker.place(small_module, request(room, dtype="int4", other_dtype="bfloat16"))
    quantized = sum(one.elements for one in small.tensors if one.name.startswith("blk.") and len(one.shape) > 1)
    assert answer["bytes"]["cpu"] == pytest.approx(quantized / 2 + 2 * (small.parameters - quantized), abs=1024)


def test_the_example_of_the_guide_does_not_fit() -> None:
    """Llama-2-70B on 20 + 20 + 30 GiB: most of it lies on the disk, and layers are split, which must not be."""
    began = time.monotonic()
    limits = {"0": 20 * GIB, "1": 20 * GIB, "cpu": 30 * GIB}
    found = device_map(config(llama()), limits, dtype="float16", whole_layers=False)
    print(f"a map of 70 billion parameters took {time.monotonic() - began:.1f} s")  # noqa: T201 - how long is what one wants to know
    assert sum(found.bytes.values()) == pytest.approx(llama().weight_bytes, abs=1024)
    assert found.bytes["disk"] > 60 * GIB
    assert found.layers.count("") == 3
    assert found.split
    assert found.output == "disk"
    assert found.call == "max_memory={0: 21474836480, 1: 21474836480, 'cpu': 32212254720}"
    assert set(found.versions) == {"accelerate", "torch", "transformers"}


@pytest.mark.filterwarnings("ignore")
def test_the_whole_way_with_accelerate(small_module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the process in between, which the test before this one has seen."""
    monkeypatch.setattr(asking, "_ask", lambda text: json.dumps(answer_here(small_module, text)))
    machine = computer(2, 1 * GIB)
    layout = device_map_layout.layout(small, config(small), machine, ENGINE, context=512, link=PCIE, host_link=PCIE)
    assert layout.possible
    assert layers_in(layout) == list(range(12))
    assert weights(layout) == small.weight_bytes
    assert layout.spilled_bytes == {}


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"A device map needs the package 'accelerate'.*\[engines\]"):
        device_map(config(small), {"cpu": GIB})
    layout = compare(small, computer(2), context=512, config=config(small), engine=ENGINE)[0]
    assert "accelerate" in layout.reason


def test_limits_and_configs_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="Name accelerators '0'"):
        device_map(config(small), {"cuda:0": GIB})
    with pytest.raises(UsageError):
        device_map(config(small), {"cpu": -1})
    with pytest.raises(UnsupportedModel, match="model_type"):
        device_map({}, {"cpu": GIB})
    with pytest.raises(UnsupportedModel, match=r"Transformers cannot build this model: .*nonesuch"):
        device_map({"model_type": "nonesuch"}, {"cpu": GIB})


# -- device map: what follows from it --------------------------------------------------------------------------


@pytest.fixture
def first_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate's rule without accelerate: whole layers in their order, what is left over to 'cpu', then 'disk'."""

    def ask(config: Mapping[str, Any], limits: Mapping[str, int], dtype: str, **_: Any) -> DeviceMap:
        size = llama(layers=1).bytes_by_layer[0] * {"bfloat16": 1.0, "int4": 0.25}[dtype]
        count, beside = config["num_hidden_layers"], 2 * GIB  # embedding or output, and the cache of all layers
        places: list[str] = []
        for device, limit in limits.items():
            places += [device] * min(count - len(places), int((limit - beside) // size))
        layers = (*places, *("disk",) * (count - len(places)))
        named = {f"layers.{layer}": device for layer, device in enumerate(layers)}
        return DeviceMap(named, layers, layers[0], layers[-1], layers[-1], {}, limits, (), {})

    monkeypatch.setattr(device_map_layout, "device_map", ask)


def mapped(model: Model, machine: Machine, **options: Any) -> Layout:
    usual = {"context": 4096, "link": PCIE, "host_link": PCIE, "disk_bytes_per_s": 3e9}
    return device_map_layout.layout(model, config(model), machine, ENGINE, **{**usual, **options})


@pytest.mark.usefixtures("first_fit")
def test_less_room_is_slower_and_bytes_always_add_up() -> None:
    found = [mapped(llama(), computer(2, size * GIB, ram_bytes=64 * GIB)) for size in (80, 60, 40, 24)]
    for layout in found:
        assert weights(layout) == llama().weight_bytes
        assert layers_in(layout) == list(range(80))
    times = [layout.seconds_per_token.known() for layout in found]
    assert times == sorted(times)
    assert times[-1] > 50 * times[0]  # copied for every token
    assert set(found[-1].spilled_bytes) == {"RAM", "disk"}
    assert "offload_folder" in found[-1].notes[-1]


@pytest.mark.usefixtures("first_fit")
@pytest.mark.parametrize(("disk", "room"), [(Disk("", 0, 0), None), (Disk("/", 2**40, GIB), GIB)])
def test_a_disk_of_which_nothing_is_known_is_not_a_full_one(disk: Disk, room: int | None) -> None:
    machine = replace(computer(2, 24 * GIB, ram_bytes=30 * GIB), disk=disk)
    found = mapped(llama(), machine)
    assert (found.devices[-1].device, found.devices[-1].capacity_bytes) == ("disk", room)
    assert found.possible is (room is None)


@pytest.mark.usefixtures("first_fit")
def test_the_cache_of_layers_elsewhere_lies_on_the_first_accelerator() -> None:
    layout = mapped(llama(), computer(2, 24 * GIB))
    cache = {share.device: share.memory.parts["KV cache"].known() for share in layout.devices[:2]}
    assert sum(cache.values()) == 2 * 80 * 8 * 128 * 2 * 4096
    assert cache["GPU 0: Test card"] > 3 * cache["GPU 1: Test card"]
    assert "KV cache" not in layout.devices[2].memory.parts


@pytest.mark.usefixtures("first_fit")
def test_what_is_not_told_is_unknown() -> None:
    assert "between the accelerators" in mapped(llama(), computer(2, 80 * GIB), link=None).seconds_per_token.reason
    assert "to main memory" in mapped(llama(), computer(2), host_link=None).seconds_per_token.reason
    slow_disk = mapped(llama(), computer(2, ram_bytes=30 * GIB), disk_bytes_per_s=None)
    assert "how fast the disk reads" in slow_disk.seconds_per_token.reason
    assert mapped(llama(), computer(1, None)).reason == "The memory of Test card is not known."


@pytest.mark.usefixtures("first_fit")
def test_quantized_weights_stay_on_accelerators() -> None:
    model = llama(kind="NF4")
    layout = mapped(model, computer(1, 24 * GIB))
    assert "of quantized weights would lie in RAM" in layout.reason
    assert mapped(model, computer(8, 24 * GIB)).possible
    assert "choose BF16, FP8, LLM.int8 or NF4" in mapped(llama(kind="Q4_K"), computer(1)).reason


@pytest.mark.usefixtures("first_fit")
def test_limits_make_up_for_what_accelerate_does_not_count() -> None:
    layout = mapped(llama(kind="NF4"), computer(4, 24 * GIB))
    assert "accelerate counts 89% of what these weights take" in layout.notes[1]
    assert not any(share.over_bytes for share in layout.devices)


@pytest.mark.usefixtures("first_fit")
def test_without_accelerators_the_cpu_works() -> None:
    layout = mapped(llama(), computer(0))
    assert layout.possible
    assert layout.spilled_bytes == {}
    assert layout.seconds_per_token.known() == pytest.approx(llama().decode_read_bytes / 50e9, rel=0.01)


@pytest.mark.parametrize(
    ("model", "copied_bytes", "name", "measured_s"),
    [
        ("OPT-30B FP16, RTX 3090", 39.5e9, "pcie-4-x16", 2.616),
        ("CodeGen-16B FP16, RTX 3090", 10.6e9, "pcie-4-x16", 0.809),
        ("CodeGen-6B FP32, RTX 3090", 6.5e9, "pcie-4-x16", 0.544),
        ("OPT-6.7B FP32, RTX 3090", 4.8e9, "pcie-4-x16", 0.428),
        ("OPT-30B FP16, two Titan RTX", 12.3e9, "pcie-3-x16", 2.37),
        ("OPT-6.7B FP32, T4", 13.7e9, "pcie-3-x16", 2.864),
    ],
)
def test_copies_take_as_long_as_published(model: str, copied_bytes: float, name: str, measured_s: float) -> None:
    """Transformers with weights in main memory (copied_bytes: by accelerate's map), without the time of the cards."""
    predicted = layouts.from_memory(copied_bytes, link(name))
    assert predicted.known() == pytest.approx(measured_s, rel=0.3), model


# -- side by side ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("first_fit")
def test_three_layouts_side_by_side() -> None:
    model = llama()
    found = compare(model, computer(2, 80 * GIB), config=config(model), link=PCIE, engine=ENGINE)
    assert [layout.name for layout in found] == ["device map", "tensor parallel", "layer split"]
    mapped_s, parallel_s, split_s = (layout.seconds_per_token.known() for layout in found)
    assert mapped_s == pytest.approx(split_s, rel=0.05)
    assert parallel_s < 0.6 * split_s
    assert found[1].notes[-1] == "the speed of each device is llama.cpp's"
    for layout in found:
        bars = json.loads(json.dumps(layout.to_dict()))["devices"]
        assert all(sum(bar["parts_bytes"].values()) <= bar["capacity_bytes"] for bar in bars)


def test_accelerate_needs_a_config() -> None:
    layout = compare(small, computer(2), engine=ENGINE)[0]
    assert layout.reason == "Transformers needs the config.json of paper, and nobody gave it."
    assert layout.to_dict()["devices"] == []


def test_layers_in_words() -> None:
    assert layouts.in_words([3, 1, 2, 7], "output", "embedding") == "embedding, 1–3, 7, output"
    assert layouts.in_words([]) == ""
