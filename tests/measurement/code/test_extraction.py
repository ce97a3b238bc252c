"""Code out of chat answers, however they are dressed up."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.measurement.code.extraction import from_chat, from_completion

PROMPT = 'import re\n\n\ndef double(x):\n    """Return twice x."""\n'
WHOLE = "def double(x):\n    return 2 * x"


def result(program: str, argument: object = 4) -> object:
    """What the function gives; our own programs only."""
    namespace: dict[str, object] = {}
    exec(compile(program, "program", "exec"), namespace)  # noqa: S102
    return namespace["double"](argument)  # type: ignore[operator]


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        f"```python\n{WHOLE}\n```",
        f"```\n{WHOLE}\n```",
        f"~~~py\n{WHOLE}\n~~~",
        f"````python\n{WHOLE}\n````",
        f"Here you are:\n\n```python\n{WHOLE}\n```\nIt doubles x.",
        f"```python\n{WHOLE}",  # cut short
        f"   ```python\n   {WHOLE.replace(chr(10), chr(10) + '   ')}\n   ```",
        f"```python\r\n{WHOLE}\r\n```".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"Sure!\n\n{WHOLE}\n\nThis function doubles x.",
        f"{WHOLE}\n\nprint(double(2))",
        f"First:\n```bash\npip install x\n```\n```python\n{WHOLE}\n```\nUse it:\n```python\ndouble(3)\n```",
        f"```python\n{WHOLE}\n```\nAgain:\n```python\n{WHOLE} * (",  # cut short while it repeats itself
        f"```python\ndef double(x):\n    return x\n```\nNo, wait:\n```python\n{WHOLE}\n```",
        f"```python\nimport math\n\ndef helper(x):\n    return 2 * x\n\n{WHOLE.replace('2 * x', 'helper(x)')}\n```",
        "return 2 * x",
        "    return 2 * x",
        "```python\nreturn 2 * x\n```",
        "```python\n    y = 2\n    return y * x\n```",
        f"The function `double`:\n\nimport math\n{WHOLE}\nThat's all, folks",
        f"async def other():\n    pass\n\n{WHOLE}",
    ],
)
def test_the_function_is_found(answer: str) -> None:
    assert result(from_chat(answer, PROMPT, "double")) == 8


def test_imports_of_the_prompt_are_kept() -> None:
    program = from_chat("```python\ndef double(x):\n    return re.sub('a', 'aa', x)\n```", PROMPT, "double")
    assert result(program, "a") == "aa"


@pytest.mark.parametrize("answer", ["", "I cannot do that.", "```python\n```", "```", "\n\n", "def", "`" * 999, "\0"])
def test_an_answer_without_code_gives_a_program_that_fails(answer: str) -> None:
    """It is neither repaired nor lost, and nothing is raised here."""
    assert from_chat(answer, PROMPT, "double").startswith(PROMPT.rstrip("\n"))


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("\n    return 2 * x\n", 8),
        ("\n    return 2 * x\n\n\ndef main():\n    print(double(2))\n", 8),
        ("\n    y = 2\n\n    return y * x\nprint(1 / 0)", 8),
        ("\n\n    return 2 * x", 8),
        ("\n    return 2 * x\n```\nThat is it.", 8),
        ("\n    if x:\n        return 2 * x\n# done\n", 8),
        ("\r\n    return 2 * x\r\ndouble(\r\n", 8),
        ("", None),
    ],
)
def test_a_completion_ends_where_the_function_does(completion: str, expected: object) -> None:
    assert result(from_completion(completion, PROMPT)) == expected


LINES = st.text(
    st.characters(codec="utf-8", exclude_characters="`~\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=60
)
PROSE = st.lists(LINES.filter(lambda line: "def double" not in line), max_size=4).map("\n".join)


@given(
    before=PROSE,
    after=PROSE,
    fence=st.sampled_from(["```python", "```py", "```", "````", "~~~"]),
    depth=st.integers(0, 3),
)
def test_prose_around_a_block_does_not_matter(before: str, after: str, fence: str, depth: int) -> None:
    close = fence.rstrip("python")
    block = "\n".join("  " * depth + line for line in [fence, *WHOLE.split("\n"), close])
    program = from_chat(f"{before}\n{block}\n{after}", PROMPT, "double")
    assert ast.dump(ast.parse(program)) == ast.dump(ast.parse(f"import re\n{WHOLE}"))


@settings(max_examples=50)
@given(st.text(max_size=400))
def test_no_answer_breaks_it(answer: str) -> None:
    assert from_chat(answer, PROMPT, "double").endswith("\n")
    assert from_completion(answer, PROMPT).startswith(PROMPT.rstrip())
