"""Trees as arrays by name and a text, and written back into the same places.

The text is JSON: containers with their keys, numbers as they are, and the name of each array. An
array has the name of its path (``model.0.weight``), as other libraries have it; a complex one is
real there, with a last axis of 2, and the text says that it is complex. Optimizers keep
their states by the names of parameters, which layers number in the order in which a process makes
them, so the text has these names, too: where the same places have other names, states are renamed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, SavedFileError, StaticgradError
from staticgrad.extend import NamedTuple, Parameter, Value, array_of, kind_of, quote
from staticgrad.extend.dtypes import BF16, COMPLEX_DTYPES
from staticgrad.extend.parameters import (
    Complex,
    Deferred,
    ParameterStore,
    as_parts,
    of_parts,
    read_together,
    stored_of,
    write_all,
)
from staticgrad.extend.trees import items_of, parts, parts_in
from staticgrad.saving.files import Content, DeferredContent

_MOST_SHOWN: Final = 8
#: Levels of containers. The text has three for each, and Python reads about 1,000 in some versions:
#: a file that one version writes is to be read by all.
_MOST_LEVELS: Final = 200
_NAMES: Final = "names"


def _names_in(tree: Any, path: str = "") -> dict[str, str]:
    """Map paths of parameters in a tree to be saved to their names."""
    tree = stored_of(tree)
    if isinstance(tree, Parameter):
        return {path: tree.name}
    container = parts(tree)
    if container is None or container.are_names:
        return {}
    names: dict[str, str] = {}
    for key, part in (container.paths or container.by_key)().items():
        names |= _names_in(part, f"{path}.{key}" if path else str(key))
    return names


# -- to a file ------------------------------------------------------------------------------------


class Outline(NamedTuple):
    """A tree to be saved: arrays, and parameters that have them, by name, and a JSON text."""

    arrays: Mapping[str, Any]
    text: str


def outline_of(tree: Any) -> Outline:
    """Convert a tree to be saved to arrays and parameters by name and a JSON text.

    Of arrays of which each rank has a part all ranks make the whole ones here, together.
    """
    arrays: dict[str, Any] = {}
    try:
        text = json.dumps({**_describe_tree(tree, "", arrays, 0), _NAMES: _names_in(tree)})
    except StaticgradError:
        raise
    except RecursionError:
        raise endless("save") from None
    except ValueError as error:  # an integer of thousands of digits
        raise ArgumentError(f"save: {error}") from None
    return Outline(arrays, text)


def with_content(outline: Outline, act: Callable[[Content], object]) -> None:
    """Call ``act`` with the content of a tree: parameters as they are at one moment.

    Their arrays belong to it while it runs.
    """
    stores = {n: leaf for n, leaf in outline.arrays.items() if isinstance(leaf, ParameterStore)}

    def read(values: Sequence[Any]) -> None:
        arrays = {**outline.arrays, **dict(zip(stores, values, strict=True))}
        act(Content(arrays, outline.text))

    read_together([*stores.values()], read)


def content_of(tree: Any) -> Content:
    """Convert a tree to arrays by name, which are its own, and a JSON text."""
    contents: list[Content] = []
    with_content(
        outline_of(tree),
        lambda content: contents.append(
            Content({n: np.array(array) for n, array in content.arrays.items()}, content.text)
        ),
    )
    return contents[0]


def endless(function: str) -> ArgumentError:
    """Return the error of a tree through which Python cannot go."""
    return ArgumentError(f"{function}: the tree contains itself, or is nested too deeply")


def _describe_tree(tree: Any, path: str, arrays: dict[str, Any], level: int) -> Any:
    """Describe a tree as nested lists for JSON, and collect its arrays by path."""
    if level > _MOST_LEVELS:
        raise endless("save")
    tree = stored_of(tree)
    container = parts(tree)
    if container is not None:
        kind = "list" if isinstance(tree, list) else "tuple" if isinstance(tree, tuple) else "dict"
        items = []
        for key, part in (container.stored or container.by_key)().items():
            if not isinstance(key, str | int):
                raise ArgumentError(f"save: the key {quote(key)} is neither a text nor an integer")
            part_path = f"{path}.{key}" if path else str(key)
            items.append([key, _describe_tree(part, part_path, arrays, level + 1)])
        return {kind: items}
    if type(tree) in (bool, int, float, str) or tree is None:
        return {"value": tree}
    if type(tree) is complex:
        return {"number": [tree.real, tree.imag]}
    leaf = _array_of(tree, path)
    if leaf is None:
        where = f" at {path!r}" if path else ""
        raise ArgumentError(
            f"save: {quote(tree)}{where} is {kind_of(tree)}, neither an array nor a number",
            hint="parameters, modules, optimizers, generators, arrays, numbers and texts, in dicts,"
            " lists and tuples",
        )
    name = path or "array"
    while name in arrays:  # {"a.b": x, "a": {"b": y}}
        name += "'"
    is_pair = isinstance(leaf, ParameterStore) and leaf.is_complex
    is_complex = not isinstance(leaf, ParameterStore) and leaf.dtype.kind == "c"
    arrays[name] = as_parts(leaf) if is_complex else leaf
    return {"complex" if is_complex or is_pair else "array": name}


def _array_of(leaf: Any, path: str) -> Any:
    """Return the array of a leaf to be saved, or the parameter that has it; None if none has."""
    store = leaf.store if isinstance(leaf, Parameter) else leaf
    if isinstance(store, ParameterStore):
        return store if store.shard is None else store.gather_array()
    if isinstance(leaf, Value):
        return np.array(leaf.data) if leaf.computes else None  # type: ignore[attr-defined]
    if not isinstance(leaf, np.ndarray | np.generic):
        return None
    if leaf.dtype.kind not in "biuf" and leaf.dtype.newbyteorder("=") not in (
        BF16,
        *COMPLEX_DTYPES,
    ):
        return None
    return array_of(leaf, f"save: {path or 'the tree'}")


# -- from a file ----------------------------------------------------------------------------------


def tree_of(content: Content | DeferredContent, path: Any) -> Any:
    """Rebuild the tree of a saved file; of foreign files a dict of arrays, or of deferred ones."""
    if content.text is None:
        return dict(content.arrays)
    try:
        described = json.loads(content.text)
        return _rebuild_tree(
            {kind: value for kind, value in described.items() if kind != _NAMES}, content.arrays
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SavedFileError(f"{path} says of itself what cannot be read: {error}") from None


def names_of(content: Content) -> dict[str, str]:
    """The path of each parameter that was saved -> its name then; empty of files without names."""
    names = json.loads(content.text or "{}").get(_NAMES, {})
    return {str(path): str(name) for path, name in names.items()} if type(names) is dict else {}


def _rebuild_tree(described: Any, arrays: Mapping[str, Any]) -> Any:
    """Rebuild a tree from its JSON description and arrays."""
    ((kind, what),) = described.items()
    if kind == "value":
        return what
    if kind == "number":
        return complex(*what)
    if kind == "array":
        return arrays[what]
    if kind == "complex":
        return _complex_of(arrays[what])
    parts = [(key, _rebuild_tree(part, arrays)) for key, part in what]
    if kind == "dict":
        return dict(parts)
    return [part for _, part in parts] if kind == "list" else tuple(part for _, part in parts)


def _complex_of(array: Any) -> Any:
    """Return the complex array, or deferred one, whose parts a file has."""
    if not isinstance(array, Deferred):
        return of_parts(array)
    dtype = np.result_type(array.dtype, np.complex64)
    return Deferred(dtype, array.shape[:-1], lambda: of_parts(array.read()))


def _is_kept(tree: Any) -> bool:
    """Return whether it holds more than numbers and texts, which are not restored in place."""
    parts = parts_in(tree)
    return isinstance(tree, np.ndarray) if parts is None else any(map(_is_kept, parts))


def renamed_in(tree: Any, saved: Mapping[str, str]) -> dict[str, str]:
    """Map names of parameters at saving to their names in ``tree`` now.

    Empty where one name stands for two parameters, then or now.
    """
    present = _names_in(tree)
    pairs = {(name, present[path]) for path, name in saved.items() if path in present}
    if len({old for old, _ in pairs}) < len(pairs) or len({new for _, new in pairs}) < len(pairs):
        return {}
    return dict(sorted(pairs, key=lambda pair: -len(pair[0])))


class Restoring:
    """The pending writes of a load; nothing is written before all of it has been checked.

    ``renamed`` are names of parameters when they were saved -> the names of those in their places.
    """

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._renamed = renamed
        self._parameters: list[tuple[Parameter, Any]] = []
        self._arrays: list[tuple[Any, Any]] = []
        self._states: list[tuple[Callable[[], Any], Callable[[Any], object], Any]] = []

    def look(self, tree: Any, saved: Any, path: str = "") -> None:
        """Match a saved tree with ``tree``: collect what to load where, and problems."""
        tree = stored_of(tree)
        container = parts(tree)
        if container is not None and container.are_names and isinstance(saved, dict):
            # keys are "w", and "w.momentum" of an optimizer's state
            renamed = {}
            for key, value in saved.items():
                name = next((n for n in self._renamed if f"{key}.".startswith(f"{n}.")), None)
                renamed[key if name is None else self._renamed[name] + key[len(name) :]] = value
            saved = renamed
        if container is not None and container.restore is not None:
            if isinstance(saved, dict):
                self._states.append((container.by_key, container.restore, saved))
            else:
                self._differs(path, "what a file keeps by name", saved)
        elif container is not None:
            children = container.by_key()
            if container.are_names and isinstance(saved, dict):
                present = {}  # by the name in the file, where a parameter was renamed
                for name, p in children.items():
                    latest = (f for f in p.store.former if f in saved and f not in children)
                    if name not in saved and (former := next(latest, None)) is not None:
                        present[former] = name
                saved = {present.get(key, key): part for key, part in saved.items()}
            self._look_inside(children, saved, path)
        elif isinstance(tree, Parameter):
            if tree.store.is_complex and isinstance(saved, np.ndarray) and saved.dtype.kind == "c":
                saved = as_parts(saved)  # files of before have these
            saved = tree.store.part_of(saved)
            noted = self._parameters
            self._fit(tree.value, saved, path, lambda array: noted.append((tree, array)), True)
        elif isinstance(tree, Complex) and isinstance(saved, np.ndarray):
            self.look(tree.re, saved.real, f"{path}.real")
            self.look(tree.im, saved.imag, f"{path}.imag")
        elif isinstance(tree, Value | np.ndarray):
            array = tree.array if isinstance(tree, Value) else tree  # type: ignore[attr-defined]
            target = array_of(array, f"load: {path or 'into'}")
            self._fit(target, saved, path, lambda array: self._arrays.append((target, array)))

    def write(self) -> None:
        """Load all matched values into parameters, states and arrays, or none."""
        done: list[tuple[Callable[[Any], object], Any]] = []
        try:
            for place, (state_of, restore, state) in enumerate(self._states, 1):
                # The last one needs no copy to go back to: it fails whole.
                previous = state_of() if place < len(self._states) else None
                restore(state)
                done.append((restore, previous))
        except StaticgradError as error:
            for restore, previous in done:
                restore(previous)
            raise SavedFileError(error.headline, details=error.details, hint=error.hint) from error
        write_all([(p.store, array) for p, array in self._parameters])
        for target, array in self._arrays:
            np.copyto(target, array)

    def _look_inside(self, parts: Mapping[Any, Any], saved: Any, path: str) -> None:
        """Match a container's parts with the saved ones by key; report missing and extra ones."""
        items = items_of(saved)
        if items is None:
            self._differs(path, f"{len(parts)} parts", saved)
            return
        saved_by_key = dict(items)
        for key, part in parts.items():
            inner = f"{path}.{key}" if path else str(key)
            if key in saved_by_key:
                self.look(part, saved_by_key[key], inner)
            else:
                self.problems.append(f"{inner} is not in the file")
        for key in [
            name for name, part in saved_by_key.items() if name not in parts and _is_kept(part)
        ]:
            inner = f"{path}.{key}" if path else str(key)
            self.problems.append(f"{inner} is in the file alone")

    def _fit(
        self,
        target: Any,
        saved: Any,
        path: str,
        note: Callable[[Any], None],
        is_stored: bool = False,
    ) -> None:
        """Match a saved array with a target of equal shape and dtype, or report a difference."""
        if not isinstance(saved, np.ndarray):
            self._differs(path, f"{target.dtype.name}{[*target.shape]}", saved)
        elif saved.shape != target.shape or saved.dtype != target.dtype:
            inside = f"{saved.dtype.name}{[*saved.shape]}"
            self._differs(path, f"{target.dtype.name}{[*target.shape]}", inside)
        elif isinstance(target, np.ndarray) and not (target.flags.writeable or is_stored):
            self.problems.append(
                f"{path or 'it'} is a read-only array, as of a sparse matrix: load cannot write it"
            )
        else:
            note(saved)

    def _differs(self, path: str, expected: str, saved: Any) -> None:
        inside = saved if isinstance(saved, str) else kind_of(saved)
        self.problems.append(f"{path or 'it'} is {expected} here, {inside} in the file")

    def check(self, path: Any, cure: str = "") -> None:
        """Refuse a saved file that does not fit, with its first problems."""
        if self.problems:
            problems = sorted(self.problems)
            more = len(problems) - _MOST_SHOWN
            lines = [*problems[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]
            raise SavedFileError(
                f"{path} does not fit: {lines[0]}", hint="\n".join(filter(None, [cure, *lines[1:]]))
            )
