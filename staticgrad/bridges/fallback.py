"""Fallback by node: programs of what has rows, and the library's own functions between them.

The library computes a call whose operator has no row, or whose row refuses it. A program computes
what depends on no such call, the next one what depends on one, and so on: the level of a call is
the number of calls of the library on the longest path to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from math import inf, prod
from time import process_time
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from staticgrad.bridges.operands import (
    ForeignType,
    UncountedResultError,
    UnknownSizeError,
    is_known,
    value,
)
from staticgrad.bridges.programs import (
    ForeignCall,
    ForeignProgram,
    RefusedCallError,
    ResultOf,
    make_refusal,
    read_operands,
)
from staticgrad.errors import ExportError, StaticgradWarning
from staticgrad.extend import Graph, Size, Value, warn
from staticgrad.extend.functions import constant, input as graph_input
from staticgrad.extend.programs import Compiled, compile

#: Computes the results of a call, an array each, of the arrays of its operands.
RunCall: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
#: Texts of warnings that were given.
_warned: Final[set[str]] = set()


def warn_of_fallback(text: str) -> None:
    """Warn at the user's line, once for a text, that the library computes a part of a program."""
    if text not in _warned:
        _warned.add(text)
        warn(StaticgradWarning, text)


def levels_of(
    program: ForeignProgram,
    outside: Collection[int],
    in_order: Collection[int] = (),
    named: Collection[int] = (),
    counted: Collection[int] = (),
) -> list[int]:
    """Return the level of each call.

    Args:
        program: what has the calls.
        outside: the numbers of those that the library computes, ``with_picks``.
        in_order: of these, the ones that it has to compute in the order of the program, as draws
            of random numbers.
        named: places of integers that are named sizes where they are read: the next program is.
        counted: the numbers of calls whose results the program before counts.
    """
    levels: list[int] = []
    levels_behind: dict[int, int] = {}  # place of a result -> the level of what reads it
    outside_places = set[int]()
    latest = 0
    for k, (call, places) in enumerate(zip(program.calls, program.places, strict=True)):
        operands = [ref.place for ref in refs_in(call.operands)]
        level = max([levels_behind.get(place, 0) for place in operands], default=0) + (k in counted)
        if k in in_order:
            latest = level = max(level, latest)
        if call.operator.name in program.picks and not outside_places.isdisjoint(operands):
            level -= 1  # it is where the call is
        levels.append(level)
        if k in outside:
            outside_places.update(places)
        levels_behind |= {place: level + (k in outside or place in named) for place in places}
    return levels


def with_picks(program: ForeignProgram, outside: Mapping[int, str]) -> dict[int, str]:
    """Return calls that the library computes, with those that pick one of their results."""
    calls = dict(outside)
    for k, call in enumerate(program.calls):
        if call.operator.name in program.picks:
            maker = program.makers.get(next(refs_in(call.operands)).place)
            if maker in calls:
                calls[k] = calls[maker]
    return calls


def refs_in(operands: Any) -> Iterator[ResultOf]:
    """Yield the results of calls, and the inputs, that operands read."""
    if isinstance(operands, ResultOf):
        yield operands
    elif isinstance(operands, Mapping):
        yield from refs_in([*operands.values()])
    elif isinstance(operands, list | tuple):
        for operand in operands:
            yield from refs_in(operand)


def find_fallbacks(
    build: Callable[[Mapping[int, str]], Any],
    fallbacks: Mapping[int, str],
    resolve: Callable[[RefusedCallError], bool] = lambda error: False,
) -> tuple[Any, dict[int, str]]:
    """Build programs until no row refuses a call.

    Args:
        build: given the calls that the library computes, it returns programs; of a call that a row
            refuses it raises ``RefusedCallError`` with the call's place.
        fallbacks: calls that the library computes in any case -> why.
        resolve: returns whether ``build`` will go on without a fallback.

    Returns:
        The programs, and all calls that the library computes.
    """
    fallbacks = dict(fallbacks)
    while True:
        try:
            return build(fallbacks), fallbacks
        except RefusedCallError as error:
            if error.place is None or error.place in fallbacks:
                raise
            if not resolve(error):
                fallbacks[error.place] = error.headline


class _UnknownSizeRefusalError(RefusedCallError):
    """A row needs integers that only a run computes.

    Attributes:
        sources: places of integers that are to be named sizes.
        count: how many elements a result has; the row takes it if it is known.
    """

    sources: Sequence[int] = ()
    count: Value | None = None


class _NoSizeError(Exception):
    """An integer of a run that is to be a size is below 0, or more than memory has bytes."""


class CountOf(NamedTuple):
    """The number of elements that the results of a call have: the call's number."""

    call: int


class RunSize(NamedTuple):
    """An input of a program that names a size: an array of as many elements.

    Attributes:
        source: the place of integers, or what counts.
        number: of the size among them.
    """

    source: int | CountOf
    number: int

    def make_array(self, arrays: Mapping[Any, Any]) -> np.ndarray[Any, Any]:
        """Return an array of the size for a run.

        Raises:
            _NoSizeError: the integer is below 0, or too large.
        """
        count = int(np.ravel(arrays[self.source])[self.number])
        if count < 0:
            raise _NoSizeError
        try:
            return np.empty(count, np.bool_)
        except (MemoryError, ValueError, OverflowError):
            raise _NoSizeError from None


class ProgramPart:
    """Calls that one program computes.

    Attributes:
        inputs: the places that the program reads, by the names of its inputs.
        sizes: inputs that name sizes, by name.
        results: the places that it computes, in the order of its outputs, and what it counts.
        constants: what is known before a run, by place.
        numbers: the places of numbers of NumPy, which are no arrays without axes.
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        sizes: Mapping[str, RunSize],
        values: Sequence[Value],
        results: Mapping[Any, Value],
        constants: Mapping[int, Any],
        numbers: Collection[int],
        name: str,
    ) -> None:
        self.inputs, self.sizes, self.results = dict(inputs), dict(sizes), [*results]
        self.constants = dict(constants)
        self.numbers = [place for place in (*results, *constants) if place in numbers]
        self._graph: Graph | None = None
        if results:
            outputs = {f"y{k}": result for k, result in enumerate(results.values())}
            self._graph = Graph(outputs, inputs=[*values], name=name)
        self.compiled: Compiled[dict[str, Any]] | None = None

    def compile(self, options: Mapping[str, Any]) -> None:
        """Compile the program."""
        if self._graph is not None:
            self.compiled = compile(self._graph, **options)

    def run(self, arrays: dict[Any, Any]) -> None:
        """Run the program on arrays by place, and add its results to them."""
        for place, array in self.constants.items():
            arrays[place] = deepcopy(array)
        if self.compiled is not None:
            feeds = {name: arrays[place] for name, place in self.inputs.items()}
            feeds |= {name: size.make_array(arrays) for name, size in self.sizes.items()}
            results = self.compiled.run(feeds)
            arrays.update(zip(self.results, results.values(), strict=True))
        for place in self.numbers:
            arrays[place] = arrays[place][()]


class CallPart:
    """A call that the library computes."""

    def __init__(self, call: ForeignCall, places: Sequence[int], run: RunCall) -> None:
        self.results, self._operands, self._run = [*places], call.operands, run

    def compile(self, options: Mapping[str, Any]) -> None:
        """Do nothing: the library has compiled it."""

    def run(self, arrays: dict[Any, Any]) -> None:
        """Compute the results of arrays by place, and add them."""
        results = self._run(read_operands(self._operands, arrays))
        arrays.update(zip(self.results, results, strict=True))


class SplitProgram:
    """A program of another library as compiled programs, and calls that the library computes.

    Sizes that the library does not know are named, so that a program is compiled once for them.
    Integers of a run that are sizes are named sizes, too: those of inputs at once, those that are
    computed in the program after the one that computes them. If one is below 0, or too large, the
    library computes the calls that read it.

    Attributes:
        parts: in order.
        fallbacks: the calls that the library computes, by number -> why.
        seconds: of the processor, for reading the program and for ``sg.compile``.
    """

    def __init__(
        self,
        program: ForeignProgram,
        run_of: Callable[[int], RunCall],
        options: Mapping[str, Any],
        numbers: Collection[int] = (),
        warn: Callable[[Mapping[int, str]], object] = lambda fallbacks: None,
        names_sizes_of_runs: bool = True,
    ) -> None:
        """Build and compile the programs.

        Args:
            program: what is computed.
            run_of: returns what the library computes a call by, given its number.
            options: as ``sg.compile`` takes them.
            numbers: the places of numbers of NumPy, which are no arrays without axes.
            warn: is given the calls that the library computes -> why.
            names_sizes_of_runs: integers that only a run computes may be named sizes; or the
                library computes the calls that read them.
        """
        self._program, self._run_of, self._options = program, run_of, options
        self._numbers, self._warn = frozenset(numbers), warn
        self._names_sizes_of_runs = names_sizes_of_runs
        #: Places of named sizes -> the calls that need it.
        self._sizes: dict[int, int] = {}
        #: Calls whose results have sizes that the program before counts.
        self._counted: set[int] = set()
        self._without_sizes: SplitProgram | None = None
        self.parts: list[ProgramPart | CallPart]
        start = process_time()
        self.parts, self.fallbacks = find_fallbacks(self._build, {}, self._name_sizes_of_run)
        warn(self.fallbacks)
        built_at = process_time()
        for part in self.parts:
            part.compile(options)
        self.seconds = {"reading": built_at - start, "sg.compile": process_time() - built_at}

    @property
    def programs(self) -> list[Compiled[dict[str, Any]]]:
        """The compiled programs, in order."""
        parts = [part.compiled for part in self.parts if isinstance(part, ProgramPart)]
        return [compiled for compiled in parts if compiled is not None]

    @property
    def alone(self) -> ProgramPart | None:
        """The part whose outputs are all results, in order; None if a run takes more than that."""
        part, refs = self.parts[0], self._program.results
        if len(self.parts) > 1 or not isinstance(part, ProgramPart) or part.numbers or part.sizes:
            return None
        places = [ref.place for ref in refs if isinstance(ref, ResultOf)]
        return part if places == part.results and len(refs) == len(places) else None

    def _name_sizes_of_run(self, error: RefusedCallError) -> bool:
        """Name the sizes that a call needs, or have them counted; return False if nothing helps."""
        call = -1 if error.place is None else error.place
        if self._names_sizes_of_runs and isinstance(error, _UnknownSizeRefusalError):
            new = [source for source in error.sources if source not in self._sizes]
            if new:
                self._sizes |= dict.fromkeys(new, call)
                return True
            if error.count is not None and call not in self._counted:
                self._counted.add(call)
                return True
        self._counted.discard(call)
        self._sizes = {place: reader for place, reader in self._sizes.items() if reader != call}
        return False

    def _build(self, fallbacks: Mapping[int, str]) -> list[ProgramPart | CallPart]:
        """Build the programs between the calls that the library computes.

        Raises:
            RefusedCallError: a row refuses a call.
        """
        program = self._program
        levels = levels_of(program, fallbacks, (), self._sizes, self._counted)
        outputs = [ref.place for ref in refs_in(program.results)]
        #: Place -> the level of its last reader; calls of the library are behind their level.
        last: dict[int, float] = dict.fromkeys(outputs, inf)
        for k, call in enumerate(program.calls):
            for ref in refs_in(call.operands):
                level = levels[k] + (k in fallbacks) / 2
                last[ref.place] = max(last.get(ref.place, -1), level)
        # the program's own results first, in its order: then a run of one part returns them
        order = {place: k for k, place in enumerate(dict.fromkeys(outputs))}
        parts: list[ProgramPart | CallPart] = []
        known_before: dict[int, Any] = {}
        for level in range(max(levels, default=0) + 1):
            numbers = [k for k, of_call in enumerate(levels) if of_call == level]
            builder = _Builder(program, known_before, self._sizes, self._numbers)
            # what nothing computes, and a result or a later part reads
            leaves = [*program.constants, *range(len(program.inputs))] if level == 0 else []
            results = [
                place
                for place in leaves
                if (place in order and program.types[place] is not None)
                or (place in program.constants and last.get(place, -1) > 0)
            ]
            for k in numbers:
                if k not in fallbacks:
                    builder.compute(k, k in self._counted)
                    results += [place for place in program.places[k] if last.get(place, -1) > level]
            for k in self._counted:
                if levels[k] == level + 1:
                    builder.count(k)
            results.sort(key=lambda place: order.get(place, len(order)))
            parts.append(builder.part(results))
            known_before |= builder.known_values
            parts += [
                CallPart(program.calls[k], program.places[k], self._run_of(k))
                for k in numbers
                if k in fallbacks
            ]
        return parts

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """Return the results for arrays of the program's inputs."""
        arrays: dict[Any, Any] = dict(enumerate(operands))
        try:
            for part in self.parts:
                part.run(arrays)
        except _NoSizeError:
            if self._without_sizes is None:
                self._without_sizes = SplitProgram(
                    self._program, self._run_of, self._options, self._numbers, self._warn, False
                )
            return self._without_sizes.run(operands)
        return [
            arrays[result.place] if isinstance(result, ResultOf) else deepcopy(result)
            for result in self._program.results
        ]


class _Builder:
    """Values of one program by place; those of others become its inputs when a call reads them."""

    def __init__(
        self,
        program: ForeignProgram,
        known_before: Mapping[int, Any],
        named: Collection[int],
        numbers: Collection[int],
    ) -> None:
        self._program, self._known_before = program, known_before
        self._named, self._numbers = named, numbers
        self._values: dict[int, Any] = {}
        self._inputs: dict[str, int] = {}
        self._sizes: dict[str, RunSize] = {}
        self._counts: dict[CountOf, Value] = {}
        self._values_of_sizes: list[Value] = []

    @property
    def known_values(self) -> dict[int, Any]:
        """Arrays of integers and sizes, and what is no array, that are known before a run."""
        return {place: x for place, x in self._values.items() if is_known(x)}

    def compute(self, k: int, is_counted: bool = False) -> None:
        """Compute the results of a call.

        Args:
            k: its number.
            is_counted: the program before counts the elements of its results.

        Raises:
            RefusedCallError: its row refuses it, or an operand is no array.
        """
        facts = {"count": self._name_size(RunSize(CountOf(k), 0), "count")} if is_counted else {}
        results = self._call(k, facts)
        self._values.update(zip(self._program.places[k], results, strict=True))

    def count(self, k: int) -> None:
        """Compute how many elements the results of a call have.

        Raises:
            RefusedCallError: its row refuses it.
        """
        try:
            self._call(k, {})
        except _UnknownSizeRefusalError as refusal:
            if refusal.count is None:
                raise
            self._counts[CountOf(k)] = value(refusal.count, "int64")

    def _call(self, k: int, facts: Mapping[str, Any]) -> list[Any]:
        """Return the results of a call.

        Raises:
            RefusedCallError: its row refuses it, or an operand is no array.
        """
        call = self._program.calls[k]
        try:
            return self._program.compute(call, read_operands(call.operands, self), facts)
        except RefusedCallError as error:
            raise self._explain_unknown_size(k, error) from error.__cause__
        except ExportError as error:
            refusal = make_refusal(call, (), error.headline, error.hint)
            refusal.place = k
            raise refusal from error

    def _explain_unknown_size(self, k: int, error: RefusedCallError) -> RefusedCallError:
        """Return the error of a call with its number, and with what may be sizes of a run."""
        call, cause = self._program.calls[k], error.__cause__
        if not isinstance(cause, UnknownSizeError):
            error.place = k
            return error
        refusal = _UnknownSizeRefusalError(error.headline, hint=error.hint, at=error.at)
        refusal.place = k
        if isinstance(cause, UncountedResultError):
            row = self._program.table_of(call.operator).find(call.operator)
            if error.place is None and row is not None and "count" in row.arguments:
                refusal.count = cause.value
        else:
            places = [ref.place for ref in refs_in(call.operands)]
            chosen = [place for place in places if self._values[place] is cause.value]
            refusal.sources = [x for place in chosen for x in self._find_sources(place)]
        return refusal

    def _find_sources(self, place: int) -> list[int]:
        """Return the integers of which those of a place are computed, as arithmetic of sizes.

        Returns:
            Places that may be named sizes: none if the place is none, and only itself if all
            others are named already.
        """
        program = self._program
        if not self._may_be_sizes(place):
            return []
        sources: list[int] = []
        stack = [place]
        while stack:
            source = stack.pop()
            k = None if source in self._named else program.makers.get(source)
            places = [] if k is None else [ref.place for ref in refs_in(program.calls[k].operands)]
            unknown = [x for x in places if x in self._values and not is_known(self._values[x])]
            is_arithmetic = (
                k is not None
                and len(program.calls[k].operands) > 0
                and all(x in self._values for x in places)
                and program.computes_sizes(program.calls[k].operator)
            )
            if is_arithmetic and all(map(self._may_be_sizes, unknown)):
                stack += unknown
            else:
                sources.append(source)
        return [source for source in sources if source not in self._named] or [place]

    def _may_be_sizes(self, place: int) -> bool:
        """Return whether a place has integers, and the library knows how many."""
        kind = self._program.types.get(place)
        if not isinstance(kind, ForeignType):
            return False
        return np.dtype(kind.dtype).kind in "iu" and None not in kind.shape

    def __getitem__(self, place: int) -> Any:
        """Return the value at a place; one of another program becomes an input."""
        if place not in self._values:
            known_value = self._known_before.get(place)
            if place in self._program.constants:
                self._values[place] = constant(self._program.constants[place])
            elif place in self._named:
                self._values[place] = self._name_sizes_of(place)
            elif known_value is None:
                self._values[place] = self._add_input(place)
            elif isinstance(known_value, np.ndarray) and known_value.dtype != object:
                self._values[place] = known_value
            else:  # sizes have other names here
                self.compute(self._program.makers[place])
        return self._values[place]

    def _name_of(self, place: int, instead: str) -> str:
        """Return the name of an input, or another one, that no input of the program has."""
        names = self._program.names
        name = (names[place] if place < len(names) else "") or instead
        return self._make_unique(name)

    def _make_unique(self, name: str) -> str:
        while name in self._inputs or name in self._sizes:
            name += "_"
        return name

    def _name_sizes_of(self, place: int) -> np.ndarray[Any, Any]:
        """Return the integers of a place as named sizes."""
        shape = self._program.types[place].shape
        name = self._name_of(place, "size")
        sizes = np.empty(prod(shape), object)
        sizes[:] = [self._name_size(RunSize(place, k), name) for k in range(len(sizes))]
        return sizes.reshape(shape)

    def _name_size(self, size: RunSize, name: str) -> Size:
        """Make an input of which a size is the length, and return the size."""
        name = self._make_unique(name)
        self._sizes[name] = size
        x = graph_input(name, (f"{name}_size",), "bool")
        self._values_of_sizes.append(x)
        return x.shape[0]

    def _add_input(self, place: int) -> Value:
        """Make a place an input, with a name for each size that the library does not know.

        Raises:
            ExportError: it is no array.
        """
        kind = self._program.types.get(place)
        if not isinstance(kind, ForeignType):
            raise ExportError("an operand is no array")
        name = self._name_of(place, f"x{len(self._inputs)}")
        self._inputs[name] = place
        shape = [f"{name}_{axis}" if n is None else n for axis, n in enumerate(kind.shape)]
        return graph_input(name, tuple(shape), kind.dtype)

    def part(self, places: Iterable[int]) -> ProgramPart:
        """Return the program that computes the values at places."""
        results: dict[Any, Value] = {}
        constants: dict[int, Any] = {}
        for place in places:
            x, kind = self[place], self._program.types.get(place)
            if not isinstance(kind, ForeignType):
                constants[place] = x
            elif isinstance(x, np.ndarray) and x.dtype != object:
                constants[place] = x.astype(kind.dtype)
            else:
                results[place] = value(x, kind.dtype)
        results |= self._counts
        values = [self._values[place] for place in self._inputs.values()]
        return ProgramPart(
            self._inputs,
            self._sizes,
            [*values, *self._values_of_sizes],
            results,
            constants,
            self._numbers,
            self._program.table.library.lower(),
        )
