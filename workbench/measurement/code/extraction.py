"""Code out of what a model answered: from fenced blocks, from prose around it, or from a body alone.

Nothing is repaired: what does not parse is handed on as it came, and fails with its own error.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

# An opening fence, the block, and the closing fence or the end of an answer that was cut short.
_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


def from_chat(answer: str, prompt: str, entry_point: str) -> str:
    """The program in a chat answer to `prompt`, which begins the function `entry_point`.

    The block that defines the function, else the whole answer's code, else the answer as the body of the function.
    """
    answer = answer.replace("\r\n", "\n")
    blocks = [textwrap.dedent(block) for _, block in _FENCED.findall(answer)]
    if defining := [block for block in blocks if _defines(block, entry_point)]:
        whole = [block for block in defining if _parses(block)]  # an answer may be cut short in the middle of one
        return _with_imports(prompt, (whole or defining)[-1])  # the last one: models correct themselves
    if blocks:
        return _as_body(prompt, max(blocks, key=len))
    code = _code_lines(answer, entry_point)
    return _with_imports(prompt, code) if code else _as_body(prompt, answer)


def from_completion(completion: str, prompt: str) -> str:
    """The program that a completion of `prompt` makes: it ends where the function does."""
    return without_end(prompt) + _body(completion.replace("\r\n", "\n"))


def without_end(prompt: str) -> str:
    """The prompt of a completion: models expect to write the end of a line themselves."""
    return prompt.rstrip()


def _defines(code: str, entry_point: str) -> bool:
    return re.search(rf"^(async )?def {re.escape(entry_point)}\b", code, re.MULTILINE) is not None


def _with_imports(prompt: str, code: str) -> str:
    """A whole function, below the imports that the prompt gave."""
    lines = [line for line in prompt.splitlines() if line.startswith(("import ", "from "))]
    return "\n".join([*lines, code.rstrip("\n"), ""])


def _as_body(prompt: str, code: str) -> str:
    """The code below the beginning of the function, indented if it is not."""
    code = code.strip("\n")
    first = next((line for line in code.splitlines() if line.strip()), "")
    body = code if first.startswith((" ", "\t")) else textwrap.indent(code, "    ")
    return prompt.rstrip("\n") + "\n" + body + "\n"


def _body(text: str) -> str:
    """The lines up to the first that is not indented; the very first goes on where the prompt ends."""
    kept: list[str] = []
    for line in text.split("\n"):
        if kept and line.strip() and not line.startswith((" ", "\t")):
            break
        kept.append(line)
    return "\n".join(kept).rstrip() + "\n"


def _code_lines(answer: str, entry_point: str) -> str:
    """The longest run of lines that is Python, begins at the top level and has the function; empty if there is none."""
    lines = answer.splitlines()
    starts = [index for index, line in enumerate(lines) if re.match(r"(import|from|def|class|async def)\b|@", line)]
    for start in starts:
        for end in range(len(lines), start, -1):
            code = "\n".join(lines[start:end])
            if _defines(code, entry_point) and _parses(code):
                return code
    return ""


def _parses(code: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):  # of a stranger's escapes, for instance
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
