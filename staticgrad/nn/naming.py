"""Names of parameters: of layers, then by paths from the module that is called; of deep copies.

A layer does not know where it will stand, so ``Linear`` calls its weight ``linear3.weight``. When a
module is called that no other one calls, its parameters get their paths as names,
``blocks.1.attn.query.weight``. Names are new in deep copies:
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
from weakref import WeakSet, WeakValueDictionary

from staticgrad.ir.nodes import Parameter, next_serial
from staticgrad.storage.parameter import ParameterStore

M = TypeVar("M")

#: Kinds of layers -> how many have been named so far.
_named: Final[defaultdict[str, Iterator[int]]] = defaultdict(itertools.count)
#: Names of parameters that were made for an attribute -> how many have had them so far.
_own: Final[defaultdict[str, Iterator[int]]] = defaultdict(itertools.count)
#: Beginnings of the names that layers gave.
_of_layers: Final[set[str]] = set()
#: What holds the arrays of parameters that were made for an attribute of a module.
_for_attributes: Final[WeakSet[ParameterStore]] = WeakSet()
#: Names that are paths -> what has them.
_paths: Final[WeakValueDictionary[str, ParameterStore]] = WeakValueDictionary()
#: What holds the arrays of parameters that have been attributes of modules.
_held: Final[WeakSet[ParameterStore]] = WeakSet()
#: The key of a deep copy's memo that says that a module around this one is copied.
_INSIDE: Final = "staticgrad.nn: inside of a module"


def named(kind: str) -> str:
    """A name for the parameters of one more layer of a kind: ``linear``, ``linear1`` and so on."""
    number = next(_named[kind])
    name = f"{kind}{number}" if number else kind
    _of_layers.add(name)
    return name


def name_by_path(stored: Iterable[tuple[str, Parameter]]) -> None:
    """Name parameters by their paths from a module that is called.

    Names stay that users gave, that are paths already, or that a graph has; so does that of a
    parameter of the module itself, as a path without a dot says less. Where another module has the
    same paths they get a number: ``blocks_1.0.scale``.
    """
    fresh = [(path, p.store) for path, p in stored if "." in path and _is_free(p.store)]
    if not fresh:
        return
    names = [path for path, _ in fresh]
    for number in itertools.count(1):
        if not any(name in _paths for name in names):
            break
        names = [f"_{number}.".join(path.split(".", 1)) for path, _ in fresh]
    for name, (_, store) in zip(names, fresh, strict=True):
        store.rename(name)
        _paths[name] = store


def _is_free(store: ParameterStore) -> bool:
    """Whether a parameter may be renamed: the package named it, by no path, and no graph has it."""
    if store.in_graph or _paths.get(store.name) is store:
        return False
    return store.name.partition(".")[0] in _of_layers or store in _for_attributes


def name_apart(value: Any) -> None:
    """Number the names of parameters that were made for an attribute of a module just now.

    A class whose ``__init__`` has ``self.scale = sg.parameter("scale", array)`` may be
    instantiated several times: the second has ``scale_1``. What has stood in a module, or may stand
    in a graph, keeps its name: other nodes have been made since it was.
    """
    found = [*_parameters_in(value)]
    fresh = [p for p in found if p.store not in _held]
    newest = next_serial()
    if any(newest - p.node.serial > len(fresh) for p in fresh):
        fresh = []
    _held.update(p.store for p in found)
    for p in fresh:
        _for_attributes.add(p.store)
        number = next(_own[p.name])
        if number:
            p.store.rename(f"{p.name}_{number}")


def _parameters_in(value: Any, depth: int = 8) -> Iterator[Parameter]:
    """A parameter itself, or those in lists, tuples and dicts."""
    if isinstance(value, Parameter):
        yield value
    elif isinstance(value, list | tuple | dict) and depth:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parameters_in(part, depth - 1)


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
