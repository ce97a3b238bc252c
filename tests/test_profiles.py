"""The profiles hold together: one lock, no torch in the light one, and the full one works in one environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workbench.models import Model

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED_FOR = {
    "accelerate", "bitsandbytes", "diffusers", "ipywidgets", "jupyterlab", "openai-whisper", "pandas", "papermill",
    "plotly", "torch", "transformers", "voila",
}  # fmt: skip


def requirements(*extras: str) -> list[Requirement]:
    """What the base and these extras ask for, extras of our own resolved."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    found = [Requirement(line) for line in lines]
    own = [r for r in found if r.name == PROJECT["name"]]
    deeper = [r for one in own for r in requirements(*one.extras)]
    return [r for r in found if r.name != PROJECT["name"]] + deeper


def locked() -> dict[str, str]:
    """Pinned versions by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def closure(names: set[str]) -> set[str]:
    """Everything that installing these distributions brings, on this platform."""
    seen: set[str] = set()
    while names:
        name = names.pop()
        seen.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        needed = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate({"extra": ""})]
        names |= {canonicalize_name(r.name) for r in needed} - seen
    return seen


def test_everything_that_is_asked_for_is_locked() -> None:
    pins = locked()
    for requirement in requirements("dev"):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} against {version}"


def test_the_full_profile_has_every_package_that_was_asked_for() -> None:
    assert {canonicalize_name(requirement.name) for requirement in requirements("full")} >= ASKED_FOR


def test_the_light_profile_brings_no_torch() -> None:
    light = closure({canonicalize_name(requirement.name) for requirement in requirements("light")})
    assert {"voila", "xllamacpp"} <= light
    assert not {"torch", "transformers", "triton"} & light


@pytest.mark.parametrize(("file", "profile"), [("environment.yml", "full"), ("binder/environment.yml", "light")])
def test_environment_files_install_a_profile_with_the_lock(file: str, profile: str) -> None:
    path = ROOT / file
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    options = dict(line.split(maxsplit=1) for line in pip)
    assert (path.parent / options["--constraint"]).resolve() == ROOT / "constraints.txt"
    place, _, extra = options["--editable"].partition("[")
    assert (path.parent / place).resolve() == ROOT
    assert extra == f"{profile}]"


def test_no_notebook_imports_torch() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        assert "import torch" not in path.read_text()


FULL = """
import json, sys, warnings
warnings.simplefilter("ignore")
import accelerate, bitsandbytes, diffusers, torch, transformers, whisper
path = sys.argv[1]
folder, _, name = path.rpartition("/")
config = transformers.AutoConfig.from_pretrained(folder, gguf_file=name)
with accelerate.init_empty_weights():
    model = transformers.AutoModelForCausalLM.from_config(config)
model.tie_weights()  # lost on the meta device
print(json.dumps({
    "parameters": sum(p.numel() for p in model.parameters()), "layers": config.num_hidden_layers,
    "hidden": config.hidden_size, "heads": config.num_attention_heads, "kv_heads": config.num_key_value_heads,
    "feed_forward": config.intermediate_size, "vocabulary": config.vocab_size,
    "unet": diffusers.UNet2DConditionModel.__name__, "whisper": "tiny.en" in whisper.available_models(),
    "linear4bit": bitsandbytes.nn.Linear4bit.__name__,
}))
"""


@pytest.mark.engine
def test_the_full_profile_works_together_and_agrees_on_the_model(embedded_model: Model, tmp_path: Path) -> None:
    """transformers, on the meta device of accelerate, reads the same model from the same file."""
    program = tmp_path / "full.py"
    program.write_text(FULL)
    done = subprocess.run(
        [sys.executable, str(program), str(embedded_model.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("parameters") == embedded_model.parameters
    assert seen.pop("whisper") is True
    assert (seen.pop("unet"), seen.pop("linear4bit")) == ("UNet2DConditionModel", "Linear4bit")
    assert {name: getattr(embedded_model.architecture, name) for name in seen} == seen
