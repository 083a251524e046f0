"""The state that optimizers keep between steps: parameters that are zero at first.

``Optimizer.updates`` makes them anew at each call, and what is saved of the optimizer are those of
graphs that still live. ``Optimizer.minimize`` finds those again that it made before, for a function
may be traced several times. Eager mode keeps arrays instead.
"""

from __future__ import annotations

import gc
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from staticgrad.errors import SavedFileError
from staticgrad.extend import Parameter, list_names
from staticgrad.extend.building import running_session
from staticgrad.extend.parameters import ParameterStore, Shard, write_all
from staticgrad.functions import parameter

#: The state in which gradients of several runs are added up.
ACCUMULATOR: Final = "accumulator"
#: Creates a state of zeros from an owner (or None), a name, a shape and an element type.
Maker = Callable[[Any, str, Any, Any], Any]


class Stepping(Protocol):
    """The interface of an optimizer that this file reads; its class is in a higher layer."""

    @property
    def accumulate(self) -> int:
        """The number of runs whose gradients are added up."""

    def parts(self) -> Sequence[Stepping]:
        """The optimizers whose rules it applies."""

    def advance(self, grads: Mapping[Any, Any], /) -> dict[Any, Any]:
        """A step, or one run of those whose gradients are added up."""

    def scheduled_step(self, grads: Mapping[Any, Any], /) -> dict[Any, Any]:
        """A step at the learning rate of this step."""


def slot(p: Parameter, name: str) -> Parameter:
    """State of the parameter p, zero at first, as ``<p>.<name>``: for optimizers of your own."""
    return state_of(p, name, p.shape, p.dtype.compute.numpy)


@contextmanager
def states_made_by(maker: Maker) -> Iterator[None]:
    """Create or find optimizer states by ``maker`` inside of this context.

    It is given the parameter that the state belongs to (None: the optimizer as a whole), the name,
    shape (a Shard: that of a part) and element type. So the same rules serve tensors, which have
    no graph to put it in.
    """
    token = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(token)


def _parameter_of_zeros(p: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
    shard = shape if isinstance(shape, Shard) else None
    name = name if p is None else f"{p.name}.{name}"
    # One zero for all elements: an array of zeros would be read from as many pages of memory.
    zeros = np.broadcast_to(np.zeros((), dtype), shape if shard is None else shard.part)
    state = parameter(name, zeros)
    state.store.shard = shard
    return state


class _StateCache:
    """A maker of optimizer states that returns the same state for equal requests."""

    def __init__(self, states: dict[Any, Any], maker: Maker = _parameter_of_zeros) -> None:
        self._states, self._maker = states, maker

    def __call__(self, owner: Any, name: str, shape: Any, dtype: Any) -> Any:
        key = (owner.node if isinstance(owner, Parameter) else owner, name)
        if key not in self._states:
            self._states[key] = self._maker(owner, name, shape, dtype)
        return self._states[key]


@contextmanager
def states_made_once() -> Iterator[None]:
    """Return one optimizer state for two requests of one name inside of this context."""
    maker = _maker.get()
    if isinstance(maker, _StateCache):
        yield
        return
    with states_made_by(_StateCache({}, maker)):
        yield


class _Memory:
    """The state of one optimizer: created states, and loaded ones that are not yet in use."""

    def __init__(self) -> None:
        self.by_request: dict[Any, Parameter] = {}
        self.loaded: dict[str, Any] = {}
        self.of_graphs: WeakSet[ParameterStore] = WeakSet()

    def stores(self) -> list[ParameterStore]:
        """Return the stores of an optimizer's states: of ``minimize``, else those of graphs.

        Two graphs that have one of the same name are refused.
        """
        if self.by_request:
            return [p.store for p in self.by_request.values()]
        if len({store.name for store in self.of_graphs}) < len(self.of_graphs):
            gc.collect()  # a graph that nobody has any more may be part of a circle
        stores = sorted(self.of_graphs, key=lambda store: store.name)
        for first, second in pairwise(stores):
            if first.name == second.name:
                raise SavedFileError(
                    f"the optimizer made the state {first.name!r} for two graphs",
                    hint='save what was compiled of them: sg.save(path, {"one": f, "other": g})',
                )
        return stores

    def make(self, owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
        """Create an optimizer state of zeros, or of loaded values.

        Raises:
            SavedFileError: other states were loaded, but none of that name, shape and type.
        """
        state = _parameter_of_zeros(owner, name, shape, dtype)
        if owner is not None:
            state.store.belong_to(owner.store, name)
        if not self.loaded:
            return state
        name_in_file = _name_among(self.loaded, state.store)
        array = state.store.part_of(self.loaded.get(name_in_file))
        if array is None:
            raise SavedFileError(
                f"of the state {state.name!r} nothing was loaded",
                hint=f"the file has {list_names(sorted(self.loaded))}\n"
                "sg.save and sg.load of a tree that has the parameters, too, find the places",
            )
        if array.shape != state.value.shape or array.dtype != state.value.dtype:
            raise SavedFileError(
                f"the state {state.name!r} is {state.type}, {array.dtype.name}{[*array.shape]} in"
                " the file"
            )
        state.value = array
        del self.loaded[name_in_file]
        return state


def _name_among(states: Mapping[str, Any], store: ParameterStore) -> str:
    return next((name for name in (store.name, *store.former) if name in states), store.name)


_memories: Final[WeakKeyDictionary[object, _Memory]] = WeakKeyDictionary()


def states_kept_by(optimizer: object) -> AbstractContextManager[None]:
    """Reuse an optimizer's existing states inside of this context."""
    memory = _memories.setdefault(optimizer, _Memory())
    noted = running_session()

    def make(owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
        state = memory.make(owner, name, shape, dtype)
        if noted is not None and not any(born is optimizer for born in noted.born):
            noted.state_nodes.add(state.node)
        return state

    return states_made_by(_StateCache(memory.by_request, make))


def states_noted_by(optimizer: object) -> AbstractContextManager[None]:
    """Record new optimizer states of a graph that are created inside of this context."""
    if _maker.get() is not _parameter_of_zeros:
        return nullcontext()
    memory = _memories.setdefault(optimizer, _Memory())

    def make(owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
        state = memory.make(owner, name, shape, dtype)
        memory.of_graphs.add(state.store)
        return state

    return states_made_by(make)


def states_expected_of(optimizer: object, owners: Iterable[Any]) -> None:
    """Rename loaded states that are not yet in use to the names of their owners here."""
    memory = _memories.get(optimizer)
    if memory is not None and memory.loaded:
        names = [(p.name, *p.store.former) for p in owners if isinstance(p, Parameter)]
        memory.loaded = _in_names_of(names, memory.loaded)


def _in_names_of(owners: Iterable[tuple[str, ...]], states: Mapping[str, Any]) -> dict[str, Any]:
    """Rename loaded optimizer states to the present names of their parameters."""
    elsewhere = dict.fromkeys(name.rpartition(".")[0] for name in states)
    own_names = match_names(elsewhere, owners)
    renamed = {}
    for name, array in states.items():
        owner, dot, state_name = name.rpartition(".")
        renamed[own_names.get(owner, owner) + dot + state_name] = array
    return renamed


def kept_states(optimizer: object) -> dict[str, Any]:
    """The arrays of all that an optimizer keeps, by name."""
    return {
        name: state.gather_array() if isinstance(state, ParameterStore) else state
        for name, state in kept_stores(optimizer).items()
    }


def kept_stores(optimizer: object) -> dict[str, Any]:
    """The stores of all that an optimizer keeps, and the arrays that wait for theirs, by name."""
    memory = _memories.get(optimizer, _Memory())
    return {**memory.loaded, **{store.name: store for store in memory.stores()}}


def keep_states(optimizer: object, states: Mapping[str, Any]) -> None:
    """Load optimizer states, now or when they are created; all or none.

    No states are those before the first step: what it keeps is zero again.
    """
    memory = _memories.setdefault(optimizer, _Memory())
    stores = memory.stores()
    owners = dict.fromkeys(
        tuple(name.rpartition(".")[0] for name in (store.name, *store.former)) for store in stores
    )
    waiting = _in_names_of(owners, states)
    pairs = []
    for store in stores:
        current = store.array
        name = _name_among(waiting, store)
        array = waiting.pop(name, None) if states else np.zeros_like(current)
        array = store.part_of(array)
        if array is None or array.shape != current.shape or array.dtype != current.dtype:
            inside = "nothing" if array is None else f"{array.dtype.name}{[*array.shape]}"
            raise SavedFileError(
                f"the state {store.name!r} is {store.type} here, {inside} in the file"
            )
        pairs.append((store, array))
    write_all(pairs)
    memory.loaded = waiting


def state_maker() -> Maker:
    """The maker of states here."""
    return _maker.get()


def state_of(owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
    """The state of that name."""
    state: Parameter = _maker.get()(owner, name, shape, dtype)
    return state


_maker: Final[ContextVar[Maker]] = ContextVar("optimizer_state", default=_parameter_of_zeros)
_asked: Final[ContextVar[Callable[[Any], Any] | None]] = ContextVar("asked_of", default=None)


@contextmanager
def asked_of(owner: Callable[[Any], Any]) -> Iterator[None]:
    """Inside of this context, ``owner`` returns the tensor that a rule's parameter represents."""
    token = _asked.set(owner)
    try:
        yield
    finally:
        _asked.reset(token)


def as_given(p: Any) -> Any:
    """The parameter as the user has it: where a rule is run for tensors, the tensor."""
    owner = _asked.get()
    return p if owner is None else owner(p)


# -- states of another optimizer -------------------------------------------------------------------

#: A rule may keep something else for vectors than for matrices and filters.
_SHAPES: Final = ((), (2,), (2, 2), (2, 2, 2, 2))


def refuse_other_kind(optimizer: Stepping, states: Mapping[str, Any]) -> None:
    """Refuse to load states of another optimizer's kind, by their names.

    Those of the optimizer as a whole, which are single numbers, may differ: a rate that was a
    schedule, say.
    """
    loaded_names = {
        name.rpartition(".")[2] for name, array in states.items() if np.shape(array) != ()
    }
    if not loaded_names or running_session() is not None:
        return
    own_names = _names(optimizer)
    if own_names is not None and not loaded_names <= own_names:
        keeps = f"keeps {list_names(sorted(own_names))}" if own_names else "keeps nothing"
        raise SavedFileError(
            f"states of another optimizer: {type(optimizer).__name__} {keeps} for a parameter, and"
            f" is given {list_names(sorted(loaded_names))}",
            hint="make the optimizer with the options that it was saved with",
        )


def _names(optimizer: Stepping) -> frozenset[str] | None:
    """Return the state names of an optimizer per parameter; None if they cannot be found."""
    names = {ACCUMULATOR} if optimizer.accumulate > 1 else set()

    def make(owner: Any, name: str, shape: Any, dtype: Any) -> Any:
        if owner is not None:
            names.add(name)
        return parameter(name, np.zeros(shape, dtype))

    for part in optimizer.parts():
        for shape in _SHAPES:
            p = parameter("p", np.zeros(shape, np.float32))
            try:
                with states_made_by(make):
                    part.advance({p: p})
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                return None  # a rule from outside, for parameters of its own
    return frozenset(names)


# -- names that differ in their numbers ------------------------------------------------------------
# Names are numbered in the order in which a process makes models: the second model of a class has
# other names than the first (``layers_1.0.weight`` for ``layers.0.weight``).

#: The number at the end of a name or of one of its parts: ``linear12.weight``, ``scale_1``.
_NUMBER: Final = re.compile(r"_?(\d+)(?=\.|$)")


def match_names(
    foreign_names: Iterable[str], own_names: Iterable[tuple[str, ...]]
) -> dict[str, str]:
    """Match parameter names of a file with present ones that differ in numbers.

    ``own_names`` has for each of ours its name, and others by which it is known, too. Names that
    differ in numbers alone make a group. Where each name of ours in a group, or another of its
    names, is given, and where the group has another number of names, the names of the group are
    left out, for they are equal or nothing is known of them; else they stand for each other in the
    order of their numbers.
    """
    theirs: defaultdict[str, list[str]] = defaultdict(list)
    for name in foreign_names:
        theirs[_stem(name)].append(name)
    ours: defaultdict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for names in own_names:
        alike = next((name for name in names if _stem(name) in theirs), names[0])
        ours[_stem(alike)].append((alike, names))
    matches: dict[str, str] = {}
    for stem, group in ours.items():
        others = theirs[stem]
        foreign_group = {*others}
        if len(others) == len(group) and any(foreign_group.isdisjoint(names) for _, names in group):
            firsts = [names[0] for _, names in sorted(group, key=lambda pair: _order(pair[0]))]
            matches.update(zip(sorted(others, key=_order), firsts, strict=True))
    return matches


def _stem(name: str) -> str:
    return _NUMBER.sub("", name)


def _order(name: str) -> tuple[list[int], str]:
    parts = [_NUMBER.search(part) for part in name.split(".")]
    return [int(number.group(1)) if number else 0 for number in parts], name
