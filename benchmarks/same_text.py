"""The greedy text of several engines and formats on the same prompts, and where each leaves that of the reference.

Engines that compute in 32 bits with the same weights must agree; formats that round the weights, or their activations,
may leave it, and the record says at which character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import workbench

MODEL, TOKENS = "smollm2-135m-instruct", 32
#: Numerically equal: whole weights in 32 bits, and a cache of 32 bits.
EQUAL: Final = (
    ("transformers", "FP32", {}),
    ("llama.cpp", "F32", {"cache_type": "f32", "flash_attention": False}),
    ("onnx-runtime", "FP32", {}),
)
ROUNDED: Final = (
    ("llama.cpp", "Q4_1", {}), ("transformers", "BF16", {}), ("transformers", "NF4", {}),
    ("onnx-runtime", "ONNX-int4", {}),
)  # fmt: skip
PROMPTS: Final = (
    "Why is the sky blue?", "Name three colours.", "Write a haiku about rain.", "What is 7 times 8?",
    "Translate 'good morning' to French.", "Who wrote Hamlet?", "List two uses of copper.",
    "Explain gravity to a child.",
    "What do bees make?", "Give a synonym for happy.", "What is the capital of Japan?", "Describe a lighthouse.",
    "How does a bicycle stay upright?", "Finish the sentence: once upon a time", "What is water made of?",
    "Say something kind.", "What is a prime number?", "Name a planet with rings.", "Why do leaves fall?",
    "Count from one to five.",
)  # fmt: skip


def run() -> dict[str, Any]:
    """Per engine and format, on how many prompts its text is the reference's, and where it leaves it on the others."""
    reference = texts(*EQUAL[0], PROMPTS)
    found = {f"{EQUAL[0][0]} {EQUAL[0][1]}": {"equal": len(PROMPTS), "of": len(PROMPTS), "leaves_at_character": {}}}
    for engine, format_name, options in (*EQUAL[1:], *ROUNDED):
        name = f"{engine} {format_name}"
        found[name] = compared(reference, texts(engine, format_name, options, PROMPTS))
        print(f"  {name}: {found[name]['equal']} of {len(PROMPTS)}", flush=True)
    return {"model": MODEL, "tokens": TOKENS, "numerically_equal": [f"{one[0]} {one[1]}" for one in EQUAL],
            "engines": found}  # fmt: skip


def texts(engine: str, format_name: str, options: Mapping[str, Any], prompts: Sequence[str]) -> list[str]:
    """The greedy answers of one engine."""
    plan = workbench.plan(MODEL, engine=engine, format=format_name, context=512, threads=1, **options)
    with workbench.deploy(plan, share=False) as running:
        return ["".join(running.chat(prompt, max_tokens=TOKENS, temperature=0)) for prompt in prompts]


def compared(reference: Sequence[str], other: Sequence[str]) -> dict[str, Any]:
    """How many are equal, and the character at which each of the others leaves the reference, by prompt."""
    leaves = {
        prompt: next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
        for prompt, one, two in zip(PROMPTS, reference, other, strict=True) if one != two
    }  # fmt: skip
    return {"equal": len(PROMPTS) - len(leaves), "of": len(PROMPTS), "leaves_at_character": leaves}
