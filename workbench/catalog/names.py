"""Finds a record by any spelling of its name: case, punctuation and words that tell nothing do not count.

A name is never guessed: one that several records claim is refused with all of them, one that nobody claims with the
nearest. What the names of one kind of thing look like (memory sizes, makers) is the business of that kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from workbench.errors import AmbiguousName, UnknownName

_WORD = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+")


class Names:
    """The names of one kind of thing. entries: key → its other names; ignore: words that tell nothing."""

    def __init__(self, kind: str, entries: Mapping[str, Iterable[str]], ignore: Iterable[str] = ()) -> None:
        self.kind, self.keys, self.ignore = kind, tuple(entries), frozenset(ignore)
        self._claims: dict[str, set[str]] = {}
        for key, aliases in entries.items():
            for name in (key, *aliases):
                self._claims.setdefault(self.spelling(name), set()).add(key)
        for key in entries:  # a key names its own record, whatever others are called
            self._claims[self.spelling(key)] = {key}

    def find(self, text: str) -> str:
        """The key of the record called `text`; raises AmbiguousName or UnknownName."""
        claims = self.claims(text)
        if len(claims) > 1:
            raise AmbiguousName(self.kind, text, claims)
        if not claims:
            raise UnknownName(self.kind, text, self.keys)
        return next(iter(claims))

    def claims(self, text: str) -> frozenset[str]:
        """The keys of all records that go by `text`."""
        return frozenset(self._claims.get(self.spelling(text), ()))

    def spelling(self, text: str) -> str:
        """`text` as it is compared: its words in lower case without what stands between them, save between numbers."""
        words = [word for word in _WORD.findall(text.casefold()) if word not in self.ignore]
        return re.sub(r"(?<=\d) (?=\d)|( )", lambda gap: "" if gap[1] else " ", " ".join(words))
