"""Names of layers' parameters, which are new in deep copies of modules.

Target networks, teachers and ensembles are made by ``copy.deepcopy(model)`` and stand in one graph
with their original, where two parameters of one name would be an error.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, Final, TypeVar

from staticgrad.storage.parameter import ParameterStore

M = TypeVar("M")

#: Kinds of layers -> how many have been named so far.
_named: Final[defaultdict[str, Iterator[int]]] = defaultdict(itertools.count)
#: The key of a deep copy's memo that says that a module around this one is copied.
_INSIDE: Final = "staticgrad.nn: inside of a module"


def named(kind: str) -> str:
    """A name for the parameters of one more layer of a kind: ``linear``, ``linear1`` and so on."""
    number = next(_named[kind])
    return f"{kind}{number}" if number else kind


def copied_apart(module: M, stores: Iterable[ParameterStore], memo: dict[Any, Any]) -> M:
    """A deep copy, whose parameters have names of their own: ``linear_copy.weight``.

    Args:
        module: what is copied.
        stores: those of the parameters inside of it, read by the outermost copy alone.
        memo: what has been copied already; of a parameter among that the name stays, for a graph
            or a compiled program that has it may be part of the same copy.
    """
    if _INSIDE in memo:
        return _copied(module, memo)
    own = {id(store): store for store in stores}
    before = memo.keys() & own.keys()
    memo[_INSIDE] = True
    try:
        copied = _copied(module, memo)
    finally:
        del memo[_INSIDE]
    layers: dict[str, str] = {}
    for key, store in own.items():
        fresh = memo.get(key)
        if key not in before and isinstance(fresh, ParameterStore):
            fresh.rename(_name_of_copy(store.name, layers))
    return copied


def _copied(module: M, memo: dict[Any, Any]) -> M:
    """What ``copy.deepcopy`` makes of an object without ``__deepcopy__``."""
    reduced: Any = module.__reduce_ex__(4)
    make, arguments, *rest = reduced
    copied: Any = make(*deepcopy(arguments, memo))
    memo[id(module)] = copied
    state = deepcopy(rest[0], memo) if rest and rest[0] is not None else {}
    own, slots = state if isinstance(state, tuple) else (state, None)
    if hasattr(copied, "__setstate__"):
        copied.__setstate__(state)
    else:
        vars(copied).update(own or {})
        for name, value in (slots or {}).items():
            setattr(copied, name, value)
    found: M = copied
    return found


def _name_of_copy(name: str, layers: dict[str, str]) -> str:
    """The name of a copied parameter: those of a layer have one beginning."""
    layer, dot, own = name.partition(".")
    if layer not in layers:
        layers[layer] = named(re.sub(r"_copy\d*$", "", layer) + "_copy")
    return layers[layer] + dot + own
