"""Names that are the same but for their numbers.

Names are numbered in the order in which a process makes models, so that the second model of a class
has other names than the first (``layers_1.0.weight`` for ``layers.0.weight``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

#: The number at the end of a name or of one of its parts: ``linear12.weight``, ``scale_1``.
_NUMBER: Final = re.compile(r"_?(\d+)(?=\.|$)")


def renumbered(given: Iterable[str], own: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Which of the given names stands for which of our own.

    Args:
        given: names from elsewhere.
        own: what we have: each its name, and others by which it is known, too.

    Returns:
        Given name -> our name. Names that differ in numbers alone make a group. Where each name of
        ours in a group, or another of its names, is given, and where the group has another number
        of names, the names of the group are left out, for they are equal or nothing is known of
        them; else they stand for each other in the order of their numbers.
    """
    theirs: defaultdict[str, list[str]] = defaultdict(list)
    for name in given:
        theirs[_stem(name)].append(name)
    ours: defaultdict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for names in own:
        alike = next((name for name in names if _stem(name) in theirs), names[0])
        ours[_stem(alike)].append((alike, names))
    found: dict[str, str] = {}
    for stem, group in ours.items():
        others = theirs[stem]
        known = {*others}
        if len(others) == len(group) and any(known.isdisjoint(names) for _, names in group):
            firsts = [names[0] for _, names in sorted(group, key=lambda pair: _order(pair[0]))]
            found.update(zip(sorted(others, key=_order), firsts, strict=True))
    return found


def _stem(name: str) -> str:
    return _NUMBER.sub("", name)


def _order(name: str) -> tuple[list[int], str]:
    """The numbers of a name; what has none is the first of its kind."""
    parts = [_NUMBER.search(part) for part in name.split(".")]
    return [int(number.group(1)) if number else 0 for number in parts], name
