"""The base class of passes, and the pipeline that runs them: text, checks, timing, dumps.

A pass only transforms. The pipeline verifies before and after each pass, checks the graph's
interface, times the pass, counts its changes, dumps text, and leaves passes out by name. A pipeline
is text, ``dce,cse{border=True},fold``, and is itself a pass. ``passes.pipelines`` lists the passes
by name.

No pass may change the inputs, the outputs or the updated parameters of a graph. Feeds are checked
against the graph that the user wrote, but kernels are made from the graph after the passes. If the
two differ, a kernel reads or writes beyond an array. So the interface is compared after every pass
that changed something. This is linear in the nodes, and no option turns it off.

A pass that fails is a defect of the pass, not of the program. One without which a program means the
same (``may_fail``) is left out with a warning, and the program is compiled from the graph before
it. Errors of other passes, as those that users write, are raised and name the pass.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, dataclass_transform

from passes.failures import attempt, describe_failure
from staticgrad.analysis.pass_report import Report as Report
from staticgrad.errors import (
    PassError,
    PassInterfaceError,
    PipelineError,
)
from staticgrad.errors.wording import did_you_mean, kind_of
from staticgrad.language.ir.bodies import map_bodies
from staticgrad.language.ir.graph import Graph, Parameter, Symbolic
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.types.dim import Size, named_sizes
from staticgrad.support import config
from staticgrad.support.caches import collection_paused
from staticgrad.support.deprecations import adopt_overrides, deprecated_attribute
from staticgrad.support.records import Immutable, dataclass


def check_kind(name: str, level: str, program: object) -> None:
    """Check that a pass returned a Graph if its level is ``graph``.

    Args:
        name: the name of the pass, for the message.
        level: the declared level of the result; only ``graph`` is checked here.
        program: the result of the pass.

    Raises:
        PassInterfaceError: the level is ``graph``, and the program is not a Graph.
    """
    if level == "graph" and not isinstance(program, Graph):
        raise PassInterfaceError(
            f"pass {name} gives {kind_of(program)}, not a Graph",
            hint="a pass returns the graph that it was given where it changes nothing",
        )


def check_interface(name: str, original: Graph, transformed: Graph) -> None:
    """Check that a pass kept the interface of a graph: inputs, outputs, updates, sizes.

    Inputs are compared by their nodes, in order; outputs by name, order and type; updates by
    parameter, order and type. Parameters and named sizes may be removed, but not added.

    Raises:
        PassInterfaceError: the first difference, at the line of the value that differs.
    """
    if original is transformed:
        return
    for text, value in _interface_differences(original, transformed):
        raise PassInterfaceError(
            f"pass {name} changes the graph's interface: {text}",
            hint="inputs, outputs, updates and their types stay as the program has them:\n"
            "build the result with graph.with_nodes or graph.replace_nodes",
            at=None if value is None else value.node.origin,
        )


def _interface_differences(
    original: Graph, transformed: Graph
) -> Iterator[tuple[str, Symbolic | None]]:
    """Yield the differences of two graphs' interfaces, as text with the value concerned."""
    old, new = _values_by_label(original.inputs), _values_by_label(transformed.inputs)
    yield from _compare_values("input", old, new)
    for name, value in old.items():
        if new[name].key != value.key:
            yield f"input {name!r} is another node of the same name", value
    yield from _compare_values("output", original.outputs, transformed.outputs)
    old, new = _next_values(original), _next_values(transformed)
    yield from _compare_values("update of parameter", old, new)
    if len(transformed.updates) != len(original.updates):
        yield "a parameter is updated twice", None
    parameter_nodes = {parameter.node for parameter in _parameters(original)}
    for parameter in _parameters(transformed):
        if parameter.node not in parameter_nodes:
            yield f"parameter {parameter.name!r} is not the program's", parameter
    yield from _new_sizes(original, transformed)


def _compare_values(
    what: str, original: Mapping[str, Symbolic], transformed: Mapping[str, Symbolic]
) -> Iterator[tuple[str, Symbolic | None]]:
    """Yield differences in names and types of inputs, parameters or outputs of two graphs."""
    for name, value in original.items():
        if name not in transformed:
            yield f"{what} {name!r} is gone", value
        elif transformed[name].type != value.type:
            yield f"{what} {name!r} was {value.type}, and is {transformed[name].type}", value
    for name, value in transformed.items():
        if name not in original:
            yield f"{what} {name!r} is new", value
    if list(original) != list(transformed):
        yield f"the order of each {what} is another", None


def _values_by_label(values: Iterable[Symbolic]) -> dict[str, Symbolic]:
    return {value.node.label: value for value in values}


def _next_values(graph: Graph) -> dict[str, Symbolic]:
    return {parameter.name: value for parameter, value in graph.updates}


def _parameters(graph: Graph) -> list[Parameter]:
    return [*graph.parameters, *(parameter for parameter, _ in graph.updates)]


def _new_sizes(original: Graph, transformed: Graph) -> Iterator[tuple[str, Symbolic | None]]:
    """Yield named sizes that a pass has introduced, which no feed determines."""
    old = set(original.nodes)
    seen: dict[int, object] = {}  # by identity: few are shared by many nodes
    declared = [extent for value in original.inputs for extent in value.shape]
    declared_sizes = {named.name: named for extent in declared for named in named_sizes(extent)}
    for node in transformed.nodes:
        if node in old:
            continue
        extents: list[Size] = []
        for kind in node.types:
            if id(kind) not in seen:
                seen[id(kind)] = kind
                extents += kind.shape
        if id(node.op) not in seen:
            seen[id(node.op)] = node.op
            extents += node.op.sizes()
        for extent in extents:
            if isinstance(extent, int) or id(extent) in seen:
                continue
            seen[id(extent)] = extent
            for named in named_sizes(extent):
                if (
                    declared_sizes.get(named.name) != named
                    and original.sizes.get(named.name) != named
                ):
                    yield f"size {named.name!r} is new", Symbolic(node)


#: Is called with each change as it happens; the argument prints as a line.
Watch = Callable[[object], object]


class Hits(dict[str, int]):
    """Counts of how often each rule of a pass applied; ``note``: a line of its report."""

    __slots__ = ("note",)

    def __init__(self, counts: Mapping[str, int] | None = None, note: str = "") -> None:
        super().__init__(counts or {})
        self.note = note


#: Name in pipeline text -> the pass.
REGISTRY: Final[dict[str, type[Pass]]] = {}


@dataclass_transform(frozen_default=True)
class Pass(Immutable):
    """A named function from a program to a program; its fields are its options.

    Subclasses become frozen dataclasses, with the decorator or without it. Once defined, they are
    available in pipeline text by name. Equal inputs give equal outputs. A pass that changes nothing
    returns its input object.

    Class attributes:
        name: the name in pipeline text.
        keeps: ``exact`` if results stay bitwise identical, else ``close``.
        takes, gives: the level of its input and output; ``graph`` by default.
        inside: if true, the pipeline also runs it in the bodies of loops and branches, inner ones
            first. A pass that does not return a graph must handle bodies itself.
        required: why no program compiles without the pass, so that it cannot be disabled; empty
            by default.
        may_fail: if true, an error in the pass is a warning, and the program is compiled without
            the pass; by default the error is raised.
    """

    name: ClassVar[str] = ""
    keeps: ClassVar[str] = "exact"
    takes: ClassVar[str] = "graph"
    gives: ClassVar[str] = "graph"
    inside: ClassVar[bool] = True
    required: ClassVar[str] = ""
    may_fail: ClassVar[bool] = False

    traced = deprecated_attribute("0.2", "apply")
    unrounded = deprecated_attribute("0.2", "without_rounding")

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        adopt_overrides(cls)
        dataclass(frozen=True, repr=False)(cls)
        if name:
            cls.name = name
        if name := vars(cls).get("name", ""):
            registered = REGISTRY.get(name, cls)
            if (registered.__module__, registered.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise PipelineError(f"two passes are named {name!r}: {registered}, {cls}")
            REGISTRY[name] = cls

    def __call__(self, program: Any) -> Any:
        """Return the transformed program, or ``program`` itself if nothing changed.

        Raises:
            PipelineError: the class defines neither ``__call__`` nor ``apply``.
        """
        if type(self).apply is Pass.apply:
            raise PipelineError(
                f"pass {self.name!r} does not say what it does", hint="define __call__(self, graph)"
            )
        return self.apply(program)[0]

    def apply(self, program: Any, watch: Watch | None = None) -> tuple[Any, Mapping[str, int]]:
        """Run the pass: return the transformed graph, and how often each of its rules applied.

        The pipeline calls this method. A pass with one rule counts it under the pass's name. A pass
        defines this or, without rules, ``__call__``: each follows from the other. ``watch`` is
        called for every change that the pass can distinguish.
        """
        return self(program), {}

    def describe_misses(self, program: Any, hits: Mapping[str, int]) -> tuple[str, ...]:
        """Return a line for each rule of the pass that is worth a word because it never applied.

        ``program`` is that behind the pass, ``hits`` counts the rules that applied.
        """
        return ()

    def without_rounding(self) -> Pass:
        """Return the pass to compare with the graph before: without intentional rounding."""
        return self

    def without_passes(self, names: Collection[str]) -> Pass:
        """Return the pass that does not apply the passes of these names itself, inside of it."""
        return self

    def options(self) -> dict[str, Any]:
        """Return the fields that differ from their default, in declaration order."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
            if field.default is MISSING or getattr(self, field.name) != field.default
        }

    def __str__(self) -> str:
        """Return the text that ``passes.pipelines.pipeline`` reads back."""
        options = ",".join(f"{key}={value!r}" for key, value in self.options().items())
        return f"{self.name}{{{options}}}" if options else self.name

    __repr__ = __str__


#: Level of a program -> its verifier. A level without an entry is not verified.
VERIFIERS: Final[dict[str, Callable[[Any], object]]] = {"graph": verify_graph}


class Pipeline(Pass, name="pipeline"):
    """Passes in order, as one pass.

    >>> from passes.dce import DeadNodes
    >>> from passes.fold import Fold
    >>> print(Pipeline((DeadNodes(), Fold(limit=16))))
    dce,fold{limit=16}
    """

    inside = False
    passes: tuple[Pass, ...] = ()

    def __post_init__(self) -> None:
        """Check that each pass takes the level that the pass before it gives.

        Raises:
            PipelineError: the levels of two neighbours differ.
        """
        for earlier, later in zip(self.passes, self.passes[1:], strict=False):
            if _gives(earlier) != _takes(later):
                raise PipelineError(
                    f"{later.name!r} cannot follow {earlier.name!r}: it takes a {_takes(later)},"
                    f" and {earlier.name!r} gives a {_gives(earlier)}",
                    details=[f"in the pipeline {self}"],
                )

    def __call__(self, program: Any) -> Any:
        """Return the result of ``run`` without the reports."""
        return self.run(program)[0]

    @collection_paused()
    def run(
        self,
        program: Any,
        *,
        verify: bool = True,
        disable: Collection[str] = (),
        dump: Path | str | Literal[False] | None = None,
        watch: Watch | None = None,
        check: bool | None = None,
    ) -> tuple[Any, tuple[Report, ...]]:
        """Run all passes of the pipeline: return the transformed graph with a report for each.

        Args:
            program: a Graph, or the input level of the first pass.
            verify: check the program's invariants before the first pass and after each that
                changed something.
            disable: names of passes to leave out, also inside of fixpoints; all of them must occur
                in the pipeline.
            dump: a folder for ``00-input.sg``, ``01-dce.sg`` and so on; the setting
                ``dump`` (``STATICGRAD_DUMP``) by default. False: nothing is written.
            watch: called with each rewrite, with its rule, as it happens.
            check: evaluate each graph before and after each pass on small random feeds; the setting
                ``check`` (``STATICGRAD_CHECK``) by default.

        Raises:
            VerifyError: an invariant does not hold after a pass, which is named.
            PassInterfaceError: a pass changed inputs, outputs, updates or their types, or did not
                return a graph; checked regardless of ``verify`` and ``check``.
            PassError: a pass failed without which no program compiles. A pass that may fail is
                left out with a ``PassWarning`` instead, unless ``watch`` is given.
            PassMismatchError: with ``check``, a pass changed a result; with a minimal graph.
            PipelineError: a disabled name does not occur, or neighbours no longer fit without it.
        """
        enabled = disable_passes(self, disable)
        settings = config.current(dump=None if dump is False else dump, check=check)
        folder = None if dump is False else settings.dump
        if verify:
            _verify_program(
                program, enabled.passes[0].takes if enabled.passes else "graph", "the input"
            )
        if folder is not None:
            _dump(folder, 0, "input", program)
        reports = []
        for position, pass_ in enumerate(enabled.passes, 1):
            start = time.perf_counter()
            transformed, hits = _attempt_pass(pass_, program, watch, verify)
            seconds = time.perf_counter() - start
            misses = pass_.describe_misses(transformed, hits)
            note = hits.note if isinstance(hits, Hits) else ""
            report = Report(
                pass_.name, program, transformed, hits, seconds, misses=misses, note=note
            )
            original, program = program, report.after
            reports.append(report)
            config.log("passes", "%s, %.2f ms", report, report.seconds * 1e3)  # counted if shown
            if settings.check and report.changed and isinstance(original, Graph):
                _validate_pass(pass_, original, program)
            if folder is not None:
                _dump(folder, position, pass_.name, program)
        return program, tuple(reports)

    def describe_misses(self, program: Any, hits: Mapping[str, int]) -> tuple[str, ...]:
        """Return the lines of its passes."""
        return _misses_of(self.passes, program, hits)

    def without_rounding(self) -> Pipeline:
        """Return the pipeline of its passes without their intentional rounding."""
        return Pipeline(tuple([pass_.without_rounding() for pass_ in self.passes]))

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))

    __repr__ = __str__


class Fixpoint(Pass, name="fixpoint"):
    """Passes that are repeated until none changes the program: ``fixpoint{limit=9}(cse,fold)``.

    ``limit`` bounds the rounds. The graph after the last round is returned even if it would still
    change, because every pass leaves a correct graph.
    """

    inside = False
    passes: tuple[Pass, ...]
    limit: int = 25

    def __post_init__(self) -> None:
        """Check that the passes can follow each other in a cycle.

        Raises:
            PipelineError: they cannot, or there are no passes, or no rounds.
        """
        if not self.passes or self.limit < 1:
            raise PipelineError("a fixpoint needs at least one pass and one round")
        Pipeline((*self.passes, self.passes[0]))

    def apply(self, program: Any, watch: Watch | None = None) -> tuple[Any, Mapping[str, int]]:
        """Run the passes to a fixpoint: return the graph, and the rule hits of all rounds."""
        hits: Counter[str] = Counter()
        for _ in range(self.limit):
            previous = program
            for pass_ in self.passes:
                program, counts = _attempt_pass(pass_, program, watch)
                hits.update(counts)
            if program is previous:
                break
        return program, hits

    def describe_misses(self, program: Any, hits: Mapping[str, int]) -> tuple[str, ...]:
        """Return the lines of its passes."""
        return _misses_of(self.passes, program, hits)

    def without_rounding(self) -> Fixpoint:
        """Return the same rounds of its passes without their intentional rounding."""
        return Fixpoint(tuple([pass_.without_rounding() for pass_ in self.passes]), self.limit)

    def __str__(self) -> str:
        options = "" if self.limit == 25 else f"{{limit={self.limit}}}"
        return f"{self.name}{options}({','.join(map(str, self.passes))})"

    __repr__ = __str__


def _takes(pass_: Pass) -> str:
    inner = getattr(pass_, "passes", ())
    return _takes(inner[0]) if inner else pass_.takes


def _gives(pass_: Pass) -> str:
    inner = getattr(pass_, "passes", ())
    return _gives(inner[-1]) if inner else pass_.gives


def disable_passes(
    pipeline: Pipeline, names: Collection[str], others: Collection[str] = ()
) -> Pipeline:
    """Return a pipeline without the passes of these names, also inside of fixpoints.

    ``others``: names that may be disabled elsewhere, and are ignored here.

    Raises:
        PipelineError: a name that occurs nowhere, or a pass that is required.
    """
    if not names:
        return pipeline
    passes = {pass_.name: pass_ for pass_ in _all_passes(pipeline)}
    available = [*passes, *others]
    if unknown := sorted({*names}.difference(available)):
        raise PipelineError(
            f"no pass {', '.join(map(repr, unknown))} to disable",
            hint=f"{did_you_mean(unknown[0], available)}there are {', '.join(available)}",
            details=[f"in the pipeline {pipeline}"],
        )
    for name in names:
        if name in passes and passes[name].required:
            raise PipelineError(
                f"pass {name!r} cannot be disabled: {passes[name].required}",
                hint=f"remove {name!r} from disable",
            )
    return Pipeline(tuple(_enabled_passes(pipeline, names)))


def _all_passes(pipeline: Pipeline | Fixpoint) -> Iterator[Pass]:
    for pass_ in pipeline.passes:
        yield pass_
        if isinstance(pass_, Pipeline | Fixpoint):
            yield from _all_passes(pass_)


def _enabled_passes(pipeline: Pipeline | Fixpoint, names: Collection[str]) -> Iterator[Pass]:
    """Yield the passes of a pipeline that are not disabled by name."""
    for pass_ in pipeline.passes:
        if pass_.name in names:
            continue
        if not isinstance(pass_, Pipeline | Fixpoint):
            yield pass_.without_passes(names)
        elif enabled := tuple(_enabled_passes(pass_, names)):
            yield (
                Pipeline(enabled) if isinstance(pass_, Pipeline) else Fixpoint(enabled, pass_.limit)
            )


def _misses_of(passes: Iterable[Pass], program: Any, hits: Mapping[str, int]) -> tuple[str, ...]:
    """Return the lines of several passes about rules that never applied."""
    return tuple([line for pass_ in passes for line in pass_.describe_misses(program, hits)])


#: What a report counts of a pass that failed, in the place of rules.
LEFT_OUT: Final = "failed, left out"


def _attempt_pass(
    pass_: Pass, program: Any, watch: Watch | None, verify: bool = False
) -> tuple[Any, Mapping[str, int]]:
    """Run one pass and check its result; return the program itself if the pass fails and may.

    Errors are raised while each rewrite is watched.
    """

    def run() -> tuple[Any, Mapping[str, int]]:
        """Run the pass and check its result."""
        transformed, hits = _run_pass(pass_, program, watch)
        if verify and transformed is not program:
            _verify_program(transformed, pass_.gives, f"pass {pass_}")
        return transformed, hits

    def refuse(error: Exception) -> None:
        """Raise the errors of passes that cannot be left out."""
        if watch is not None or not may_fail(pass_):
            _name_pass(pass_, error)
            raise error
        if pass_.required:
            raise PassError(
                f"pass {pass_} failed: {describe_failure(error)}",
                details=[f"no program compiles without it: {pass_.required}"],
                hint="this is a defect of staticgrad; please report it with the program",
                at=getattr(error, "at", None),
            ) from error

    left_out: tuple[Any, Mapping[str, int]] = program, {LEFT_OUT: 1}
    return attempt(str(pass_), run, left_out, refuse)


def may_fail(pass_: Pass) -> bool:
    """Return whether a program is compiled without a pass that fails, or any pass inside of it."""
    inner = getattr(pass_, "passes", ())
    return all(map(may_fail, inner)) if inner else pass_.may_fail


def _name_pass(pass_: Pass, error: Exception) -> None:
    """Add the name of the pass to an error that does not have it; inner passes have names."""
    if getattr(pass_, "passes", ()):
        return
    texts = (str(error), *getattr(error, "__notes__", ()))
    if not any(f"pass {pass_.name}" in text for text in texts):
        error.add_note(f"in pass {pass_}")


def _run_pass(
    pass_: Pass, program: Any, watch: Watch | None = None
) -> tuple[Any, Mapping[str, int]]:
    """Run one pass on a graph; check the kind of its result and the graph's interface."""
    source, inside = program, Counter[str]()
    if pass_.inside and pass_.gives == "graph" and isinstance(program, Graph):
        source = map_bodies(program, partial(_in_body, pass_, inside, watch))
    result: Any = pass_.apply(source, watch)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
        raise PassInterfaceError(
            f"pass {pass_}: traced gives {kind_of(result)}, not a pair",
            hint="the transformed graph, and how often each rule applied: return graph, {}",
        )
    transformed, hits = result
    if inside:
        hits = Counter(hits) + inside
    check_kind(str(pass_), _gives(pass_), transformed)
    if isinstance(program, Graph) and isinstance(transformed, Graph):
        check_interface(str(pass_), program, transformed)
    return transformed, hits


def _in_body(pass_: Pass, hits: Counter[str], watch: Watch | None, body: Graph) -> Graph:
    """Run a pass on the body of a loop or branch."""
    transformed, counts = pass_.apply(body, watch)
    hits.update(counts)
    check_kind(str(pass_), _gives(pass_), transformed)
    check_interface(str(pass_), body, transformed)
    result: Graph = transformed
    return result


def _verify_program(program: Any, level: str, culprit: str) -> None:
    """Verify the graph that a pass returned; an error names the pass."""
    verifier = VERIFIERS.get(level)
    if verifier is None:
        return
    try:
        verifier(program)
    except Exception as error:
        error.add_note(f"found after {culprit}")
        raise


def _validate_pass(pass_: Pass, original: Graph, transformed: Graph) -> None:
    """Test on sample feeds that a pass keeps the graph's meaning (translation validation)."""
    from passes.validation import validate  # evaluation is loaded only for checks

    compared = pass_.without_rounding()

    def transform(graph: Graph) -> Graph:
        result: Graph = _run_pass(compared, graph)[0]
        return result

    transformed = transformed if compared is pass_ else transform(original)
    validate(str(pass_), transform, original, transformed, keeps(pass_))


def keeps(pass_: Pass) -> str:
    """Return ``exact`` if a pass and all passes in it are exact, else ``close``."""
    inner = getattr(pass_, "passes", ())
    return "close" if any(keeps(p) == "close" for p in inner) else pass_.keeps


def _dump(folder: Path, position: int, name: str, program: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{position:02}-{name}.sg"
    path.write_text(str(program).rstrip("\n") + "\n", encoding="utf-8")
