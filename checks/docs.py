"""The README's tables come from the command line and the records themselves, and its links lead somewhere.

`python -m checks.docs` exits with 1 when they differ; `--write` brings the README up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from checks import accuracy
from workbench import cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def main(argv: list[str]) -> int:
    """Check the README, or write its generated parts."""
    text = README.read_text("utf-8")
    fresh = with_tables(text)
    if "--write" in argv:
        README.write_text(fresh, "utf-8")
        return 0
    found = ["README.md: its tables are out of date; run make format"] if fresh != text else []
    found += [f"{page.name}: there is no {target}" for page, target in dead_links()]
    print("\n".join(found) or "the documents are up to date")
    return 1 if found else 0


def with_tables(text: str) -> str:
    """The README with its tables as the command line and the records have them now."""
    for name, table in (("commands", commands), ("accuracy", accuracy.table)):
        begin, end = f"<!-- {name}: make format writes this -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{table()}\n{end}{after}"
    return text


def commands() -> str:
    """Command and help text of every command, as Markdown."""
    (parsers,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    rows = [f"| `workbench {choice.dest}` | {choice.help} |" for choice in parsers._choices_actions]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def dead_links() -> list[tuple[Path, str]]:
    """Links in the documents to files that do not exist."""
    pages = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    targets = [(page, target) for page in pages for target in LINK.findall(page.read_text("utf-8"))]
    return [(page, target) for page, target in targets if not (page.parent / target).exists()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
