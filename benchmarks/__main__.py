"""`python -m benchmarks [NAME …]`: run all benchmarks, or those named, and write their records."""

from __future__ import annotations

import sys

from benchmarks import (
    apps,
    code_models,
    deployments,
    endings,
    engine_deployments,
    engines_tested,
    fit_media,
    fit_speed,
    import_time,
    library_overhead,
    media_deployments,
    media_overhead,
    memory,
    race,
    same_text,
    throughput,
    transformers_activations,
    transformers_memory_cpu,
    transformers_options,
    transformers_published,
    validation,
    vllm_published,
)
from benchmarks.record import write

BENCHMARKS = {
    "code_models": code_models.run,
    "deployments": deployments.run,
    "endings": endings.run,
    "engine_deployments": engine_deployments.run,
    "engines_tested": engines_tested.run,
    "fit_media": fit_media.run,
    "fit_speed": fit_speed.run,
    "import_time": import_time.run,
    "library_overhead": library_overhead.run,
    "media_deployments": media_deployments.run,
    "media_overhead": media_overhead.run,
    "memory": memory.run,
    "race": race.run,
    "same_text": same_text.run,
    "throughput": throughput.run,
    "transformers_activations": transformers_activations.run,
    "transformers_memory_cpu": transformers_memory_cpu.run,
    "transformers_options": transformers_options.run,
    "transformers_published": transformers_published.run,
    "validation": validation.run,
    "vllm_published": vllm_published.run,
}
#: Run only when named: they need what is not on every machine.
ON_REQUEST = {"apps": apps.run}

for name in sys.argv[1:] or BENCHMARKS:
    print(name, flush=True)
    print(f"  {write(name, {**BENCHMARKS, **ON_REQUEST}[name]())}", flush=True)
