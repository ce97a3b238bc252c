"""Models of language and code: every family people run, under the names they use, with shapes that add up."""

from __future__ import annotations

import csv
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from workbench import catalog
from workbench.catalog import ModelEntry
from workbench.catalog.loader import FOLDER, load
from workbench.errors import UnknownName, UnsupportedModel, UsageError
from workbench.models.config import from_config
from workbench.models.model import Model

LANGUAGE = load("models/language.yaml", ModelEntry)
UNCHECKED = [entry for entry in LANGUAGE.values() if entry.parameters is None]
PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "published"
#: What every config.json says, by any of its names.
CORE = (
    ("hidden_size", "d_model", "n_embd"),
    ("num_hidden_layers", "num_layers", "n_layers", "n_layer"),
    ("num_attention_heads", "n_heads", "n_head"),
    ("vocab_size",),
    ("max_position_embeddings", "max_seq_len", "n_positions"),
)


def described(entry: ModelEntry) -> Model | None:
    """The model that the record's config makes; None where its family is refused by name."""
    try:
        return from_config(entry.config or {}, name=entry.name, source=entry.source)
    except UnsupportedModel as refusal:
        assert repr((entry.config or {})["model_type"]) in str(refusal)
        return None


@pytest.mark.parametrize("entry", LANGUAGE.values(), ids=lambda entry: entry.name)
def test_a_record_is_whole(entry: ModelEntry) -> None:
    assert entry.task in ("chat", "code")
    assert all(text == text.strip() != "" for text in (entry.title, entry.licence, entry.source))
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repo)
    assert re.fullmatch(r"(20(1[89]|2[0-6])-(0[1-9]|1[0-2]))?", entry.released)
    config = entry.config or {}
    assert isinstance(config.get("tie_word_embeddings"), bool)
    for names in CORE:
        values = [config[name] for name in names if name in config]
        assert len(values) == 1, names
        assert type(values[0]) is int, names
        assert values[0] > 0, names


@pytest.mark.parametrize("entry", LANGUAGE.values(), ids=lambda entry: entry.name)
def test_shapes_give_the_published_total(entry: ModelEntry) -> None:
    model = described(entry)
    if model is not None and entry.parameters is not None:
        assert model.parameters == pytest.approx(entry.parameters, rel=1e-3)


def test_shapes_without_a_published_total_are_of_the_size_in_the_name() -> None:
    sized = {
        entry.name: re.search(r"(?<=[ -])(\d+(?:\.\d+)?)([BM])(?![\w.]| \d+E)", entry.title) for entry in UNCHECKED
    }
    assert sum(said is not None for said in sized.values()) >= 50
    for entry in UNCHECKED:
        said, model = sized[entry.name], described(entry)
        if said and model is not None:
            size = float(said[1]) * (1e9 if said[2] == "B" else 1e6)
            assert 0.72 < model.parameters / size < 1.35, entry.name


def test_every_family_is_there() -> None:
    assert len(LANGUAGE) >= 250
    assert Counter(entry.task for entry in LANGUAGE.values())["code"] >= 25
    assert sum(entry.parameters is not None for entry in LANGUAGE.values()) >= 180
    keys = "".join(f"{key} " for key in LANGUAGE)
    for family in ("llama-1", "llama-2", "codellama", "llama-3.1", "llama-4", "mistral-7b", "mixtral", "mistral-nemo",
                   "mistral-small", "codestral", "devstral", "magistral", "ministral", "falcon", "mpt", "gpt-j",
                   "gpt-neox", "pythia", "bloom", "opt", "starcoder", "deepseek-coder", "deepseek-v3",
                   "deepseek-r1-distill", "qwen-", "qwen1.5", "qwen2-", "qwen2.5-coder", "qwq", "qwen3-", "qwen3-next",
                   "qwen3.5", "qwen3.6", "gemma-2b", "gemma-2-", "gemma-3-", "gemma-3n", "gemma-4", "phi-2", "phi-4",
                   "yi-", "olmo-2", "smollm2", "smollm3", "tinyllama", "stablelm", "gpt-oss", "glm-4.7-flash",
                   "nemotron-3-super", "command-r", "aya", "granite-4.0-h", "exaone", "internlm", "minicpm", "kimi-k2",
                   "lfm2", "hunyuan", "ernie", "seed-oss"):  # fmt: skip
        assert family in keys


def test_hybrids_say_which_layers_are_of_which_kind() -> None:
    for entry in LANGUAGE.values():
        config = entry.config or {}
        if config["model_type"] in ("nemotron_h", "granitemoehybrid", "lfm2", "lfm2_moe", "qwen3_next", "qwen3_5_text"):
            fields = {"hybrid_override_pattern", "layer_types", "full_attn_idxs", "full_attention_interval"}
            assert fields & set(config), entry.name


def test_files_are_still_linked() -> None:
    assert {name: entry.asset for name, entry in LANGUAGE.items() if entry.asset} == {
        "smollm2-135m-instruct": "smollm2-135m-instruct-q4_1",
        "qwen2.5-0.5b-instruct": "qwen2.5-0.5b-instruct-q4_k_m",
        "llama-3.2-1b-instruct": "llama-3.2-1b-instruct-q4_k_m",
    }


def test_every_name_finds_its_own_record() -> None:
    for entry in catalog.models().values():
        for name in filter(None, (entry.name, entry.title, entry.repo, *entry.aliases)):
            assert catalog.find_model(name) is entry, name
            assert catalog.model(name) is entry, name
            assert catalog.model(name.upper()) is entry, name


def test_no_record_is_in_two_files() -> None:
    names = [name for path in (FOLDER / "models").glob("*.yaml") for name in load(path, ModelEntry)]
    assert not [name for name, count in Counter(names).items() if count > 1]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llama3.1:8b", "llama-3.1-8b"), ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("Llama 3.1 8B Instruct", "llama-3.1-8b"), ("LLaMA-1-33B", "llama-1-30b"), ("Llama 3.2:3b", "llama-3.2-3b"),
        ("qwen3:8b", "qwen3-8b"), ("Qwen_Qwen3-0.6B-Q4_K_M.gguf", "qwen3-0.6b"), ("gpt-oss:20b", "gpt-oss-20b"),
        ("deepseek-r1:14b", "deepseek-r1-distill-qwen-14b"), ("DeepSeek R1 671b", "deepseek-r1"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "qwen2.5-coder-32b"), ("gemma-3-4b-it-qat", "gemma-3-4b"),
        ("unsloth/gemma-3-12b-it-GGUF:Q4_K_M", "gemma-3-12b"), ("TheBloke/Llama-2-7B-GPTQ", "llama-2-7b"),
        ("TinyLlama-1.1B-Chat-v1.0.i1-Q4_K_M.gguf", "tinyllama-1.1b"), ("starcoder2-3b.Q4_K_M.gguf", "starcoder2-3b"),
        ("microsoft_Phi-4-mini-instruct-Q4_K_M.gguf", "phi-4-mini"), ("mixtral:8x7b", "mixtral-8x7b"),
        ("SmolLM2", "smollm2-135m-instruct"), ("qwen2.5-0.5b", "qwen2.5-0.5b-instruct"),
    ],
)  # fmt: skip
def test_finds(text: str, name: str) -> None:
    assert catalog.model(text).name == name


@pytest.mark.parametrize(
    "text",
    ["", "gemma3", "qwen", "Mistral 7B", "qwen3.5", "llama", "whisper", "Qwen3.5-27B-Writer", "llama-3-9b", "7b"],
)
def test_never_guesses(text: str) -> None:
    with pytest.raises(UnknownName, match="no model called"):
        catalog.model(text)


def test_a_format_and_a_path_are_more_than_a_name() -> None:
    for text in ("llama-3.1-8b-Q4_K_M", "./llama-3.1-8b", "/llama-3.1-8b", "~/llama-3.1-8b", "someone/llama-3.1-8b"):
        assert catalog.find_model(text) is None


def test_published_measurements_are_of_known_models() -> None:
    known, of_llamacpp, rows = 0, [], 0
    for file in ("llm_speed.csv", "llm_memory.csv"):
        for row in csv.DictReader((PUBLISHED / file).read_text(encoding="utf-8").splitlines()):
            found = _is_known(row["model"])
            known, rows = known + found, rows + 1
            if "llama" in row["engine"].lower() and row.get("size_gib"):
                of_llamacpp.append(found)
    assert known >= 0.95 * rows
    assert all(of_llamacpp)


@cache
def _is_known(text: str) -> bool:
    try:
        return bool(catalog.model(text))
    except UsageError:
        return False
