"""``sg.function``: NumPy-style Python, traced at the first call and compiled.

The function is called with values of a graph instead of arrays. Its graph is reused for calls with
the same signature: the same containers, element types, ranks and static arguments, and sizes that
the graph accepts (``arguments.py``). The parameters that it reads are those of the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from math import prod
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Final, NoReturn, Protocol, overload

from staticgrad import native
from staticgrad.compiler.compiling.compiler import Compiled, compile as compile_program
from staticgrad.errors import (
    ArgumentError,
    GraphError,
    StaticgradWarning,
    SymbolicValueError,
    UnknownAttributeError,
    warn,
)
from staticgrad.errors.calls import check_keywords
from staticgrad.errors.tracebacks import boundary, cut_frames
from staticgrad.errors.wording import kind_of, quote
from staticgrad.functions.call_types import (
    Gradient,
    OfArrays,
    OfValue,
    P,
    R,
    T,
    ValueAndGradient,
)
from staticgrad.functions.streams import draws_from_0
from staticgrad.functions.unrun_draws import warn_of_steps
from staticgrad.language.calls.execution import computing
from staticgrad.language.calls.pickling import reduce_wrapper
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.nodes import Symbolic, running_session
from staticgrad.language.ir.python_numbers import Number
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.ir.value import Value
from staticgrad.language.trees import flatten, map_leaves
from staticgrad.programs.arguments import (
    CallArguments,
    Spec,
    bound_to,
    fits,
    is_array,
    largest_sizes,
    signature_of,
    spec_of,
    tells_names,
    with_names,
)
from staticgrad.programs.repeated import PlainArguments, RepeatedCalls
from staticgrad.programs.retraces import CallOutline, Change, find_change
from staticgrad.programs.traced import TracedProgram, Tracer, as_result
from staticgrad.support.forks import ProcessLock
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.compiler.reports.profiling import Profile

#: Traces that differ in static arguments alone, from which on a warning says so.
_MANY: Final = 8
#: Graphs of one signature, at most, so that far larger sizes have one of their own.
_MOST_SCALES: Final = 6
_CURE: Final = (
    "a number that changes from call to call is an array argument, np.float64(number), or a"
    " parameter, p.update(number)"
)
#: Calls of which each was traced, from which on a warning says what changes. Two are often meant: a
#: flag, both floating types.
_IN_A_ROW: Final = 3
_UNROLLED: Final = 16  # calls of results of calls that a program unrolls; more are taken for a loop
#: What a traced function takes beside the options of ``sg.compile``.
_OWN_OPTIONS: Final = ("static",)


@dataclass(frozen=True)
class TraceStats:
    """The cost of a traced function until now: ``reasons`` has one entry for each trace."""

    traces: int
    calls: int
    reasons: tuple[str, ...]


class _Signature:
    """The graphs of one signature."""

    def __init__(self) -> None:
        self.graphs: list[TracedProgram] = []
        #: The graphs in the order in which they are tried: sizes that are constants first, which
        #: are faster than named ones; then those for smaller sizes; of equal ones the latest.
        self.candidates: list[TracedProgram] = []
        self.refusal = ""  # why the function refused named sizes, if it did

    def add(self, traced: TracedProgram) -> None:
        """Add a graph."""
        self.graphs.append(traced)
        self.candidates.insert(0, traced)
        self.candidates.sort(key=lambda graph: (len(graph.hints), prod(graph.hints.values())))


class _Numbers:
    """Python numbers of calls that are alike but for these: the first ones, and which changed."""

    def __init__(self, first: Mapping[str, Number]) -> None:
        self.first = {name: repr(number) for name, number in first.items()}
        self.changed: set[str] = set()

    def see(self, numbers: Mapping[str, Number]) -> None:
        """Note which of a call's numbers differ from the first ones."""
        self.changed |= {
            name for name, number in numbers.items() if repr(number) != self.first[name]
        }


class FunctionMaker(Protocol):
    """A decorator that makes functions of arrays."""

    def __call__(self, f: Callable[P, R], /) -> Function[P, R]: ...


class Function(OfArrays[P, R]):
    """A function of arrays that runs compiled; ``sg.function`` makes it."""

    def __init__(
        self,
        function: Callable[..., Any],
        static: tuple[str, ...],
        sizes: Mapping[str, Sequence[str | None]],
        options: Mapping[str, Any],
    ) -> None:
        if options:
            check_keywords("function", options, compile_program, ("program",), _OWN_OPTIONS)
        functools.update_wrapper(self, function)
        self._name: str = getattr(function, "__qualname__", repr(function))
        self._function, self._static, self._options = function, static, dict(options)
        self._size_names = {name: tuple(names) for name, names in sizes.items()}
        try:
            self._takes = signature_of(function)
        except (TypeError, ValueError):  # functions of C have none
            raise ArgumentError(
                f"function: {quote(function)} does not say what it takes",
                hint="a function of Python around it: sg.function(lambda x: ...)",
            ) from None
        self._tells_names = tells_names(function)
        self._signatures: dict[Any, _Signature] = {}
        self._repeated = RepeatedCalls(static)
        #: Sizes, by the names and ranks of arrays.
        self._seen: dict[Any, list[tuple[int, ...]]] = {}
        #: By what calls with other numbers have alike.
        self._numbers: dict[Any, _Numbers] = {}
        #: Arguments that are numbers which Python needs when it traces, and what needs them.
        self._steering: dict[str, str] = {}
        self._tracer = Tracer(function, self._name)
        self._static_objects: list[Any] = []  # static arguments that are compared by identity
        self._reasons: list[str] = []
        #: Whether the patterns of sparse matrices may be inputs, by the key of calls with them.
        self._opened: dict[Any, bool] = {}
        #: What of the latest traced call is compiled in.
        self._latest: CallOutline | None = None
        #: What the latest trace was for, if the calls differ in more than sizes and numbers.
        self._latest_change: Change | None = None
        #: Whether the first calls were warned of, each of which was traced.
        self._is_warned = False
        #: Nodes that the latest call on values returned, by serial number.
        self._results_of_values: set[int] = set()
        #: How many calls on values took a result of the call before; -1 once a warning was due.
        self._calls_in_a_row = 0
        self._calls = 0
        self._lock = ProcessLock()

    @property
    def sizes(self) -> Mapping[str, tuple[str | None, ...]]:
        """The names of sizes by input, as ``sg.function`` was given them."""
        return dict(self._size_names)

    def __reduce__(self) -> Any:
        """Pickle by name, or by value with cloudpickle, as functions are pickled."""
        arguments = (self._function, self._static, self._size_names, self._options)
        return reduce_wrapper(self, self._name, (Function, arguments))

    def __copy__(self) -> Function[P, R]:
        return self

    def __deepcopy__(self, _memo: Any) -> Function[P, R]:
        return self

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            hint = ""
            if name == "run":
                hint = "it is called: f(x)"
            elif hasattr(Compiled, name):
                hint = f"the program for some arrays has it: f.compile(x).{name}"
            raise UnknownAttributeError(f"a traced function has no {name!r}", hint=hint)

    def __get__(self, owner: Any, _kind: Any = None) -> Any:
        """Bind as a method: the instance is the first argument."""
        return self if owner is None else MethodType(self, owner)

    def _run_call(self, *args: Any, **kwargs: Any) -> Any:
        """Run a traced function on arrays by its compiled program; on values call it as written.

        Raises:
            ArgumentError: arguments that the function does not take, or that have no hash.
        """
        try:
            if running_session() is not None:
                return self._function(*args, **kwargs)
            call = PlainArguments(args, kwargs)
            results = self._run_again(call)
            if results is not None:
                return results[0]
            arguments = self._bind_call(args, kwargs)
            if arguments.has_values:
                return self._call_on_values(arguments, args, kwargs)
            with self._lock.mutex:
                self._calls += 1
                traced, arguments = self._find_or_trace(arguments)
            self._repeated.note(call, arguments, traced, kwargs)
            return traced.run(*traced.feeds(arguments.arrays, arguments.numbers), self._options)
        except Exception as error:
            cut_frames(error)
            raise

    def _call_on_values(self, arguments: CallArguments, args: Any, kwargs: Any) -> Any:
        """Call the plain function on values or tensors; warn where its steps run nothing."""
        if arguments.kind is None and self._calls_in_a_row >= 0:
            values = [leaf for leaf in arguments.leaves if isinstance(leaf, Symbolic)]
            is_next = any(value.node.serial in self._results_of_values for value in values)
            self._calls_in_a_row = self._calls_in_a_row + 1 if is_next else 0
            arrays = (leaf for leaf in arguments.leaves if is_array(leaf))
            has_data = is_next and any(getattr(array, "shape", ()) for array in arrays)
            if has_data or self._calls_in_a_row == _UNROLLED:
                self._calls_in_a_row = -1
                warn_of_steps(self._name, values)
        with computing(arguments.kind):
            results = self._function(*args, **kwargs)
        if arguments.kind is None and self._calls_in_a_row >= 0:
            leaves = flatten(results)[0]
            self._results_of_values = {v.node.serial for v in leaves if isinstance(v, Symbolic)}
        return results

    def repeat(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any] | None:
        """Return a tuple with the result of a call that repeats an earlier one; None of others."""
        try:
            is_traced = running_session() is not None
            return None if is_traced else self._run_again(PlainArguments(args, kwargs))
        except Exception as error:
            cut_frames(error)
            raise

    def _run_again(self, call: PlainArguments) -> tuple[Any] | None:
        """Run the program of an earlier call with equal dtypes, shapes and static arguments."""
        again = self._repeated.find(call)
        if again is None:
            return None
        traced, numbers = again
        feeds, values = traced.feeds_of(call.arrays), []
        if traced.arithmetic is not None:
            number_feeds = traced.numbers(numbers)
            if number_feeds is None:
                return None
            values = number_feeds[1]
            feeds.update(number_feeds[0])
        self._calls += 1
        return (traced.run(traced.read_of(feeds), values, self._options),)

    @boundary
    def _eagerly(self, *args: Any, **kwargs: Any) -> Any:
        """Run a call with these arguments eagerly, line by line on the tape.

        Nothing is traced or compiled: Python runs the function with tensors in the place of its
        arrays, so that a debugger, ``print`` and ``if`` see numbers. Updates are written when it
        has ended, as a compiled call does it, or none of them if it raises; generators draw the
        same numbers. Results are equal, up to the rounding of fused arithmetic.

        Raises:
            ArgumentError: values of a graph or tensors: of these it is the plain function.
        """
        arguments = self._bind_call(args, kwargs)
        if arguments.has_values:
            raise self._without_graph()
        from staticgrad.eager.at_once import run_at_once  # who never runs one does without

        def call(tensors: Sequence[Any]) -> Any:
            return arguments.call(self._function, tensors)[0]

        with draws_from_0():
            return map_leaves(as_result, run_at_once(call, [*arguments.arrays.values()]))

    if TYPE_CHECKING:  # the types of calls are those of the base

        @property
        def eagerly(self) -> OfArrays[P, R]: ...

    else:
        __call__, eagerly = _run_call, _eagerly

    @boundary
    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The graph that a call with these arguments runs.

        Raises:
            GraphError: the results depend on no array and on no parameter.
        """
        graph = self._of(args, kwargs).graph
        if graph is None:
            raise GraphError(f"{self._name}: there is nothing to compute")
        return graph

    @boundary
    def compile(self, *args: Any, **kwargs: Any) -> Compiled:
        """The compiled program that a call with these arguments runs.

        Its feeds are the arrays, and Python numbers that are inputs.

        Raises:
            GraphError: as ``graph``.
        """
        return self._of(args, kwargs).program(self._options)

    @boundary
    def lower(self, *args: Any, **kwargs: Any) -> Schedule:
        """The schedule of that program: which kernels it runs.

        Raises:
            GraphError: as ``graph``.
        """
        return self.compile(*args, **kwargs).schedule

    @boundary
    def profile(self, *args: Any, **kwargs: Any) -> Profile:
        """Measure each step of a call with these arguments, as ``sg.compile(graph).profile`` does.

        Ten runs are measured; parameters are then as they were before.

        Raises:
            GraphError: as ``graph``.
        """
        traced, arguments = traced_call(self, args, kwargs)
        feeds, _ = traced.feeds(arguments.arrays, arguments.numbers)
        return traced.program(self._options).profile(feeds)

    def wait(self) -> None:
        """Return when all programs that were called have their full code, before calls are timed.

        First calls use code that was compiled quickly, as those of ``sg.compile(graph).wait`` do.
        """
        native.wait()

    @property
    def stats(self) -> TraceStats:
        """The number of traces, and their reasons."""
        return TraceStats(len(self._reasons), self._calls, tuple(self._reasons))

    def __repr__(self) -> str:
        return f"<sg.function {self._name}, traced {len(self._reasons)} times>"

    def __str__(self) -> str:
        """Its signature, and why each graph of it was traced, a line each."""
        static = f", static {', '.join(self._static)}" if self._static else ""
        times = f"traced {len(self._reasons)} times, called {self._calls} times{static}"
        return "\n".join([f"{self._name}{self._takes}: {times}", *self._reasons])

    def _repr_html_(self) -> str:
        """Show a traced function as HTML: its text, and a picture of the latest graph."""
        from staticgrad.language.pictures import graph_html
        from staticgrad.support.pictures.markup import fragment, text_block

        traced_graphs = [
            traced.graph for kind in self._signatures.values() for traced in kind.graphs
        ]
        graphs = [graph for graph in traced_graphs if graph is not None]
        return fragment(text_block(str(self))) + (graph_html(graphs[-1]) if graphs else "")

    # -- tracing ----------------------------------------------------------------------------------

    def _bind_call(self, args: Any, kwargs: Any) -> CallArguments:
        name = self._name.rpartition(".")[2]
        bound = bound_to(self._takes, name, args, kwargs)
        if not (kwargs and self._tells_names):
            return CallArguments(bound, self._static)
        bound = bound_to(with_names(self._takes, kwargs), name, args, kwargs)
        return CallArguments(bound, self._static, tuple(sorted(kwargs)))

    def _of(self, args: Any, kwargs: Any) -> TracedProgram:
        return traced_call(self, args, kwargs)[0]

    def _without_graph(self) -> ArgumentError:
        return ArgumentError(
            f"{self._name}: of values or tensors it is the plain function, without a graph",
            hint="pass arrays as in a call; their numbers do not matter",
        )

    def _find_or_trace(self, arguments: CallArguments) -> tuple[TracedProgram, CallArguments]:
        """Return a graph that takes these arguments, known or new, and the arguments it takes."""
        is_new = arguments.key not in self._signatures
        if is_new and arguments.has_patterns:
            traced_and_opened = self._of_any_patterns(arguments)
            if traced_and_opened is not None:
                return traced_and_opened
        if is_new and arguments.numbers:
            traced = self._of_any_numbers(arguments)
            if traced is not None:
                return traced, arguments
        return self._of_key(arguments), arguments

    def _of_any_patterns(
        self, arguments: CallArguments
    ) -> tuple[TracedProgram, CallArguments] | None:
        """Trace with patterns of sparse matrices that changed as inputs.

        Return None for the first patterns, which are static, and where the function needs them.
        """
        opened = arguments.open_patterns()
        key = opened.key_with(opened.numbers)
        can_open = self._opened.get(key)
        if can_open is None:
            self._opened[key] = True
            self._numbers.setdefault(key, _Numbers(opened.numbers))
            self._seen[opened.ranks] = [*self._seen.get(opened.ranks, ()), opened.sizes]
        if not can_open:
            return None
        try:
            traced, opened = self._find_or_trace(opened)
            if not traced.gives_patterns:
                return traced, opened
            why = "a result has the pattern of an argument"
        except Exception as error:
            why = getattr(error, "headline", None) or f"{type(error).__name__}: {error}"
        self._opened[key] = False
        traced = self._of_key(arguments)  # an error of the user's is that of a plain trace
        warn(
            StaticgradWarning,
            f"{self._name} compiles for each pattern of a sparse matrix, since {why}: a matrix of"
            " which only products, sums and functions of stored elements are taken has any"
            " pattern from its second one on",
        )
        return traced, arguments

    def _of_any_numbers(self, arguments: CallArguments) -> TracedProgram | None:
        """Trace with Python numbers that changed as inputs; None if Python needs the values.

        Whatever error such a trace ends in, the numbers are then static: an error of the user's is
        that of a plain trace.
        """
        alike = arguments.key_with(arguments.numbers)
        seen = self._numbers.setdefault(alike, _Numbers(arguments.numbers))
        seen.see(arguments.numbers)
        needed: dict[str, str] = {}
        traced = None
        while traced is None:
            names = seen.changed - self._steering.keys() - needed.keys()
            if not names:
                break
            try:
                traced = self._of_key(arguments, frozenset(names))
            except Exception as error:
                blamed = names.intersection(_numbers_in(error)) or names
                why = getattr(error, "headline", None) or f"{type(error).__name__}: {error}"
                needed |= dict.fromkeys(sorted(blamed), why)
        if traced is not None and traced.numbers(arguments.numbers) is None:
            return None  # a plain trace raises, or gives results of another type
        if needed:
            traced = traced or self._of_key(arguments)
            self._steering |= needed
            why = "; ".join(dict.fromkeys(needed.values()))
            self._reasons[-1] += f"; static: {', '.join(needed)}, for {why}"
            if any(isinstance(arguments.numbers[name], float) for name in needed):
                warn(
                    StaticgradWarning,
                    f"{self._name} compiles for each value of {', '.join(needed)}, since {why}:"
                    " a number that only arithmetic and functions of sg use is an input from its"
                    " second value on;"
                    f" static={(*needed,)!r} says that it is meant",
                )
        return traced

    def _of_key(
        self, arguments: CallArguments, numbers: frozenset[str] = frozenset()
    ) -> TracedProgram:
        """Find or trace the graph for these arguments, with ``numbers`` as inputs."""
        key = arguments.key_with(numbers)
        cached = self._signatures.get(key)
        signature = cached or _Signature()
        first_change = ""
        outgrown: TracedProgram | None = None
        for candidate in signature.candidates:
            if fits(candidate.spec, arguments.sizes):
                changed = candidate.describe_change()
                if not changed and not candidate.is_outgrown(arguments.sizes):
                    return candidate
                outgrown = outgrown if changed else candidate
                first_change = first_change or changed
        if outgrown is not None and (self._size_names or len(signature.graphs) >= _MOST_SCALES):
            return outgrown
        seen = [*self._seen.get(arguments.ranks, ()), arguments.sizes]
        labels, user_names = self._labels(arguments)
        spec = spec_of(seen[-1:] if signature.refusal else seen, labels, user_names)
        outline = CallOutline.of(arguments, numbers)
        change = None
        if cached is None and self._latest is not None and not numbers and not arguments.is_open:
            change = find_change(self._latest, outline)
        elif first_change:
            change = Change("", first_change, _CURE)
        why = change or self._reason(spec, cached is not None, numbers)
        if outgrown is not None:
            why = "sizes far beyond those that it was compiled for"
        if arguments.is_open and cached is None:
            why = "other places of nonzero elements, from now on inputs"
        kinds = zip(arguments.arrays, arguments.dtypes, arguments.shapes, strict=True)
        shapes = ", ".join(f"{n}: {d.name}[{', '.join(map(str, s))}]" for n, d, s in kinds)
        reason = f"{shapes}: {why}"
        try:
            traced = self._tracer.trace(arguments, spec, numbers, largest_sizes(spec, seen))
        except Exception as error:
            literal = tuple(user_names.get(k, size) for k, size in enumerate(arguments.sizes))
            if literal == spec or numbers.intersection(_numbers_in(error)):
                raise
            # Its error names plain sizes.
            hints = largest_sizes(literal, [arguments.sizes])
            traced = self._tracer.trace(arguments, literal, numbers, hints)
            signature.refusal = str(getattr(error, "headline", error))
            reason += f", which it refuses: {signature.refusal}"
        signature.add(traced)
        self._seen[arguments.ranks] = seen
        self._signatures[key] = signature
        self._static_objects.extend(arguments.statics.values())
        self._reasons.append(reason)
        self._latest = outline
        previous_change, self._latest_change = self._latest_change, change
        if (
            change
            and previous_change
            and previous_change.name == change.name
            and len(self._reasons) == self._calls == _IN_A_ROW
            and not self._is_meant(change, arguments.numbers)
            and not (arguments.has_patterns and False in self._opened.values())  # warned of
        ):
            self._warn_of_change(change)
        statics = {name: value for name, value in arguments.statics.items() if name not in numbers}
        if self._is_warned:
            pass
        elif signature.refusal and len(signature.graphs) == _IN_A_ROW:
            self._is_warned = True
            warn(
                StaticgradWarning,
                f"{self._name} compiles for each size of its arrays, since {signature.refusal}:"
                " a size is a value by sg.size_value(x.shape[0]), a mean by x.mean(); parts of"
                " one size each, or rows that are padded to one size, keep the program",
            )
        elif len(signature.graphs) == _MANY and first_change:
            self._warn(f"because {first_change}")
        elif cached is None and len(self._signatures) == _MANY and statics:
            static = ", ".join(f"{name}={quote(value)}" for name, value in statics.items())
            self._warn(f"of which this one has the static arguments {static}")
        return traced

    def _labels(self, arguments: CallArguments) -> tuple[list[str], dict[int, str]]:
        """Return a label for each argument axis, and the names that the user gave to sizes."""
        labels: list[str] = []
        user_names: dict[int, str] = {}
        unknown = self._size_names.keys() - arguments.arrays.keys()
        if unknown:
            raise ArgumentError(
                f"{self._name}: sizes names {quote(min(unknown))}, which is not an array here",
                hint=f"the arrays are {', '.join(arguments.arrays) or 'none'}",
            )
        for name, shape in zip(arguments.arrays, arguments.shapes, strict=True):
            names = self._size_names.get(name, (None,) * len(shape))
            if len(names) != len(shape):
                raise ArgumentError(
                    f"{self._name}: sizes has {len(names)} entries for {name}, which has"
                    f" {len(shape)} axes"
                )
            for axis, user_name in enumerate(names):
                if user_name is not None:
                    user_names[len(labels)] = user_name
                labels.append(f"{name}.{axis}")
        return labels, user_names

    # -- words ------------------------------------------------------------------------------------

    def _reason(self, spec: Spec, has_signature: bool, numbers: frozenset[str]) -> str:
        names = sorted({size for size in spec if isinstance(size, str)})
        if has_signature:
            return f"other sizes, now named {', '.join(names)}"
        if numbers:
            return f"another {', another '.join(sorted(numbers))}, from now on an input"
        return "the first call"

    def _is_meant(self, change: Change, numbers: Mapping[str, Number]) -> bool:
        """Return whether what changed is named as static, or a float, which was warned of."""
        is_static = change.name.partition(".")[0] in self._static
        return is_static or isinstance(numbers.get(change.name), float)

    def _warn_of_change(self, change: Change) -> None:
        self._is_warned = True
        warn(
            StaticgradWarning,
            f"{self._name} was traced, and compiled, at each of its first {_IN_A_ROW} calls, the"
            f" latest time because {change}: {change.cure}",
        )

    def _warn(self, why: str) -> None:
        warn(
            StaticgradWarning,
            f"{self._name} was traced {_MANY} times, {why}: {_CURE}",
        )


def _numbers_in(error: BaseException | None) -> tuple[str, ...]:
    """Return the arguments whose numbers Python needed, if that is what an error comes from."""
    while error is not None:
        if isinstance(error, SymbolicValueError) and error.numbers:
            return error.numbers
        error = error.__cause__ or error.__context__
    return ()


def traced_call(
    f: Function[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[TracedProgram, CallArguments]:
    """Trace a call of a function of arrays, and return its program and arguments.

    Raises:
        ArgumentError: arguments are values.
    """
    arguments = f._bind_call(args, kwargs)
    if arguments.has_values:
        raise f._without_graph()
    with f._lock.mutex:
        return f._find_or_trace(arguments)


@overload
def function(
    f: Gradient[Concatenate[T, P]],
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Function[Concatenate[T, P], T]: ...
@overload
def function(
    f: ValueAndGradient[Concatenate[T, P], R],
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Function[Concatenate[T, P], tuple[R, T]]: ...
@overload
def function(
    f: OfValue[P],
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Function[P, Value]: ...
@overload
def function(
    f: OfArrays[P, R],
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Function[P, R]: ...
@overload
def function(
    f: Callable[P, R],
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Function[P, R]: ...
@overload
def function(
    f: None = None,
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> FunctionMaker: ...
@boundary
def function(
    f: Any = None,
    *,
    static: str | Sequence[str] = (),
    sizes: Mapping[str, Sequence[str | None]] | None = None,
    **options: Any,
) -> Any:
    """Let a Python function of arrays run compiled: a decorator.

    At the first call it runs once with values of a graph in the place of its arrays, and the graph
    is compiled; further calls run that program. Arrays in dicts, lists, tuples and dataclasses are
    inputs, named by where they stand (``batch.image``). All else (numbers, strings, bools, None,
    functions) is static: another value is another program. NumPy scalars are arrays. Sizes are
    literal at first; an axis that comes with a second size is named from then on, together with
    those that changed with it, so that further sizes compile nothing, but for sizes more than eight
    times as large whose work takes milliseconds (``sizes`` compiles once). The first sizes keep
    their program. Python floats and ints that
    only arithmetic and functions of ``sg`` use do alike: one that comes with a second value is an
    input from then on, and results keep their dtypes. One that Python needs (``if``, ``range``, an
    axis), and an exponent of an array, stay static.

    What it reads around it: parameters and generators at their values of each run; a generator goes
    one step further with each call. Numbers, arrays and functions of globals, closures and
    attributes are constants, and where one of these names has another value later, it is traced
    again. So it is for what containers and objects hold, however deep, for attributes that are set
    later, and for arrays that are written in place. What is too long to be compared at each call
    (4096 elements of containers, 64 KiB of arrays of which only Python reads elements), and
    iterators, are warned of. What it does: ``p.update(value)`` and ``opt.minimize(loss)`` happen at
    each call, after all has been read. Side effects of Python happen when it is traced, and numbers
    that Python draws then are frozen; both are warned of where they can be seen. With values of a
    graph or tensors for arguments it is the plain function, so that one may call another and be
    differentiated.

    Args:
        f: takes and returns arrays in containers; or returns ``sg.Graph(outputs, updates)``, whose
            updates then happen at each call: the results are its outputs. A result without axes is
            a NumPy scalar, as NumPy's functions give it.
        static: names of arguments that are static whatever they hold; they need a hash.
        sizes: the names of sizes by input, so that they are named from the first call on:
            ``{"x": ("batch", None)}``.
        options: those of ``sg.compile``.

    Returns:
        The function. Its ``graph``, ``lower`` and ``compile`` take the same arguments, and give the
        graph, the schedule and the compiled program of that call; ``stats`` says what it cost.

    Raises:
        ArgumentError: no function, or one that does not say what it takes; ``static`` names no
            argument of it. UnknownArgumentError: options that ``sg.compile`` does not take.

    >>> import numpy as np
    >>> @function
    ... def step(x, power):
    ...     return {"y": (x**power).sum(axis=1)}
    >>> step(np.array([[1.0, 2.0]]), 2)
    {'y': array([5.])}
    >>> step(np.ones((3, 2)), 2), step(np.ones((4, 2)), 2), step.stats.traces
    ({'y': array([2., 2., 2.])}, {'y': array([2., 2., 2., 2.])}, 2)
    """
    if f is None:
        return functools.partial(function, static=static, sizes=sizes, **options)
    if not callable(f):
        raise ArgumentError(
            f"function: f is {kind_of(f)}, not a function", hint="@sg.function above def step(x)"
        )
    names = (static,) if isinstance(static, str) else tuple(static)
    takes = signature(f) if names else None
    if takes and not any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in takes.parameters.values()
    ):
        for name in names:
            if name not in takes.parameters:
                raise ArgumentError(
                    f"function: static names {quote(name)}, which is not an argument of"
                    f" {f.__qualname__}",
                    hint=f"it takes {takes}",
                )
    return Function(f, names, sizes or {}, options)
