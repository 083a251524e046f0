"""The base class of passes, and the pipeline that runs them: text, checks, timing, dumps.

A pass only transforms. The pipeline verifies before and after each pass, checks the graph's
interface, times the pass, counts its changes, dumps text, and leaves passes out by name. A pipeline
is text, ``dce,cse{border=True},fold``, and is itself a pass. ``passes.pipelines`` lists the passes
by name.

No pass may change the inputs, the outputs or the updated parameters of a graph. Feeds are checked
against the graph that the user wrote, but kernels are made from the graph after the passes. If the
two differ, a kernel reads or writes beyond an array. So the interface is compared after every pass
that changed something. This is linear in the nodes, and no option turns it off.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, dataclass_transform

from staticgrad.analysis.pass_report import Report as Report
from staticgrad.language.ir.bodies import map_bodies
from staticgrad.language.ir.graph import Graph, Parameter, Symbolic
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.types.dim import Size, named_sizes
from staticgrad.support import config
from staticgrad.support.caches import collection_paused
from staticgrad.support.errors import PassInterfaceError, PipelineError
from staticgrad.support.errors.wording import kind_of
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


def check_interface(name: str, before: Graph, after: Graph) -> None:
    """Check that a pass did not change the interface of a graph.

    Inputs are compared by their nodes, in order; outputs by name, order and type; updates by
    parameter, order and type. Parameters and named sizes may be removed, but not added.

    Raises:
        PassInterfaceError: the first difference, at the line of the value that differs.
    """
    if before is after:
        return
    for text, value in _differences(before, after):
        raise PassInterfaceError(
            f"pass {name} changes the graph's interface: {text}",
            hint="inputs, outputs, updates and their types stay as the program has them:\n"
            "build the result with graph.with_nodes or graph.replace_nodes",
            at=None if value is None else value.node.origin,
        )


def _differences(before: Graph, after: Graph) -> Iterator[tuple[str, Symbolic | None]]:
    """Yield a text for each difference, with the value concerned."""
    old, new = _labelled(before.inputs), _labelled(after.inputs)
    yield from _between("input", old, new)
    for name, value in old.items():
        if new[name].key != value.key:
            yield f"input {name!r} is another node of the same name", value
    yield from _between("output", before.outputs, after.outputs)
    old, new = _next_values(before), _next_values(after)
    yield from _between("update of parameter", old, new)
    if len(after.updates) != len(before.updates):
        yield "a parameter is updated twice", None
    known = {parameter.node for parameter in _parameters(before)}
    for parameter in _parameters(after):
        if parameter.node not in known:
            yield f"parameter {parameter.name!r} is not the program's", parameter
    yield from _in_sizes(before, after)


def _between(
    what: str, before: Mapping[str, Symbolic], after: Mapping[str, Symbolic]
) -> Iterator[tuple[str, Symbolic | None]]:
    """Yield the differences of names and types of one kind of value."""
    for name, value in before.items():
        if name not in after:
            yield f"{what} {name!r} is gone", value
        elif after[name].type != value.type:
            yield f"{what} {name!r} was {value.type}, and is {after[name].type}", value
    for name, value in after.items():
        if name not in before:
            yield f"{what} {name!r} is new", value
    if list(before) != list(after):
        yield f"the order of each {what} is another", None


def _labelled(values: Iterable[Symbolic]) -> dict[str, Symbolic]:
    return {value.node.label: value for value in values}


def _next_values(graph: Graph) -> dict[str, Symbolic]:
    return {parameter.name: value for parameter, value in graph.updates}


def _parameters(graph: Graph) -> list[Parameter]:
    return [*graph.parameters, *(parameter for parameter, _ in graph.updates)]


def _in_sizes(before: Graph, after: Graph) -> Iterator[tuple[str, Symbolic | None]]:
    """Yield named sizes that occur only in new nodes: no feed determines them."""
    old = set(before.nodes)
    seen: dict[int, Size] = {}  # by identity: few dims are shared by many types
    declared = [extent for value in before.inputs for extent in value.shape]
    known = {named.name: named for extent in declared for named in named_sizes(extent)}
    for node in after.nodes:
        if node in old:
            continue
        for kind in node.types:
            for extent in (*kind.shape, *node.op.sizes()):
                if isinstance(extent, int) or id(extent) in seen:
                    continue
                seen[id(extent)] = extent
                for named in named_sizes(extent):
                    if known.get(named.name) != named and before.sizes.get(named.name) != named:
                        yield f"size {named.name!r} is new", Symbolic(node)


#: Is called with each change as it happens; the argument prints as a line.
Watch = Callable[[object], object]


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
    """

    name: ClassVar[str] = ""
    keeps: ClassVar[str] = "exact"
    takes: ClassVar[str] = "graph"
    gives: ClassVar[str] = "graph"
    inside: ClassVar[bool] = True

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, repr=False)(cls)
        if name:
            cls.name = name
        if name := vars(cls).get("name", ""):
            known = REGISTRY.get(name, cls)
            if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise PipelineError(f"two passes are named {name!r}: {known}, {cls}")
            REGISTRY[name] = cls

    def __call__(self, program: Any) -> Any:
        """Return the transformed program, or ``program`` itself if nothing changed.

        Raises:
            PipelineError: the class defines neither ``__call__`` nor ``traced``.
        """
        if type(self).traced is Pass.traced:
            raise PipelineError(
                f"pass {self.name!r} does not say what it does", hint="define __call__(self, graph)"
            )
        return self.traced(program)[0]

    def traced(self, program: Any, watch: Watch | None = None) -> tuple[Any, Mapping[str, int]]:
        """Return the transformed program, and how often each of the pass's rules applied.

        The pipeline calls this method. A pass with one rule counts it under the pass's name. A pass
        defines this or, without rules, ``__call__``: each follows from the other. ``watch`` is
        called for every change that the pass can distinguish.
        """
        return self(program), {}

    def unrounded(self) -> Pass:
        """Return the pass to compare with the graph before: without intentional rounding."""
        return self

    def options(self) -> dict[str, Any]:
        """Return the fields that differ from their default, in declaration order."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
            if each.default is MISSING or getattr(self, each.name) != each.default
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
        for before, after in zip(self.passes, self.passes[1:], strict=False):
            if _gives(before) != _takes(after):
                raise PipelineError(
                    f"{after.name!r} cannot follow {before.name!r}: it takes a {_takes(after)},"
                    f" and {before.name!r} gives a {_gives(before)}",
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
        dump: Path | str | None = None,
        watch: Watch | None = None,
        check: bool | None = None,
    ) -> tuple[Any, tuple[Report, ...]]:
        """Return the transformed program, with one report per pass that ran, in order.

        Args:
            program: a Graph, or the input level of the first pass.
            verify: check the program's invariants before the first pass and after each that
                changed something.
            disable: names of passes to leave out; all of them must occur in the pipeline.
            dump: a folder for ``00-input.sg``, ``01-dce.sg`` and so on; the setting
                ``dump`` (``STATICGRAD_DUMP``) by default.
            watch: called with each rewrite, with its rule, as it happens.
            check: evaluate each graph before and after each pass on small random feeds; the setting
                ``check`` (``STATICGRAD_CHECK``) by default.

        Raises:
            VerifyError: an invariant does not hold after a pass, which is named.
            PassInterfaceError: a pass changed inputs, outputs, updates or their types, or did not
                return a graph; checked regardless of ``verify`` and ``check``.
            PassMismatchError: with ``check``, a pass changed a result; with a minimal graph.
            PipelineError: a disabled name does not occur, or neighbours no longer fit without it.
        """
        kept = _without(self, disable)
        settings = config.current(dump=dump, check=check)
        folder = settings.dump
        if verify:
            _verified(program, kept.passes[0].takes if kept.passes else "graph", "the input")
        if folder is not None:
            _dump(folder, 0, "input", program)
        reports = []
        for position, each in enumerate(kept.passes, 1):
            start = time.perf_counter()
            after, hits = _traced(each, program, watch)
            report = Report(each.name, program, after, hits, time.perf_counter() - start)
            before, program = program, report.after
            reports.append(report)
            config.log("passes", "%s, %.2f ms", report, report.seconds * 1e3)  # counted if shown
            if verify and report.changed:
                _verified(program, each.gives, f"pass {each}")
            if settings.check and report.changed and isinstance(before, Graph):
                _validated(each, before, program)
            if folder is not None:
                _dump(folder, position, each.name, program)
        return program, tuple(reports)

    def unrounded(self) -> Pipeline:
        """Return the pipeline of its passes without their intentional rounding."""
        return Pipeline(tuple([each.unrounded() for each in self.passes]))

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

    def traced(self, program: Any, watch: Watch | None = None) -> tuple[Any, Mapping[str, int]]:
        """Return the result of ``__call__``, and the hits of all rounds."""
        hits: Counter[str] = Counter()
        for _ in range(self.limit):
            before = program
            for each in self.passes:
                program, own = _traced(each, program, watch)
                hits.update(own)
            if program is before:
                break
        return program, hits

    def unrounded(self) -> Fixpoint:
        """Return the same rounds of its passes without their intentional rounding."""
        return Fixpoint(tuple([each.unrounded() for each in self.passes]), self.limit)

    def __str__(self) -> str:
        options = "" if self.limit == 25 else f"{{limit={self.limit}}}"
        return f"{self.name}{options}({','.join(map(str, self.passes))})"

    __repr__ = __str__


def _takes(each: Pass) -> str:
    inner = getattr(each, "passes", ())
    return _takes(inner[0]) if inner else each.takes


def _gives(each: Pass) -> str:
    inner = getattr(each, "passes", ())
    return _gives(inner[-1]) if inner else each.gives


def _without(pipeline: Pipeline, names: Collection[str]) -> Pipeline:
    if not names:
        return pipeline
    unknown = set(names) - {each.name for each in pipeline.passes}
    if unknown:
        raise PipelineError(
            f"no pass {', '.join(map(repr, sorted(unknown)))} to disable",
            details=[f"in the pipeline {pipeline}"],
        )
    return Pipeline(tuple(each for each in pipeline.passes if each.name not in names))


def _traced(each: Pass, program: Any, watch: Watch | None = None) -> tuple[Any, Mapping[str, int]]:
    """Return the result of ``each.traced``; check its kind and the graph's interface."""
    given, inside = program, Counter[str]()
    if each.inside and each.gives == "graph" and isinstance(program, Graph):
        given = map_bodies(program, partial(_in_body, each, inside, watch))
    found: Any = each.traced(given, watch)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)):
        raise PassInterfaceError(
            f"pass {each}: traced gives {kind_of(found)}, not a pair",
            hint="the transformed graph, and how often each rule applied: return graph, {}",
        )
    after, hits = found
    if inside:
        hits = Counter(hits) + inside
    check_kind(str(each), _gives(each), after)
    if isinstance(program, Graph) and isinstance(after, Graph):
        check_interface(str(each), program, after)
    return after, hits


def _in_body(each: Pass, hits: Counter[str], watch: Watch | None, body: Graph) -> Graph:
    """Return the result of a pass for the body of a loop or branch."""
    after, own = each.traced(body, watch)
    hits.update(own)
    check_kind(str(each), _gives(each), after)
    check_interface(str(each), body, after)
    found: Graph = after
    return found


def _verified(program: Any, level: str, culprit: str) -> None:
    verifier = VERIFIERS.get(level)
    if verifier is None:
        return
    try:
        verifier(program)
    except Exception as error:
        error.add_note(f"found after {culprit}")
        raise


def _validated(each: Pass, before: Graph, after: Graph) -> None:
    from passes.validation import validate  # evaluation is loaded only for checks

    compared = each.unrounded()

    def transform(graph: Graph) -> Graph:
        after: Graph = _traced(compared, graph)[0]
        return after

    after = after if compared is each else transform(before)
    validate(str(each), transform, before, after, keeps(each))


def keeps(each: Pass) -> str:
    """Return ``exact`` if a pass and all passes in it are exact, else ``close``."""
    inner = getattr(each, "passes", ())
    return "close" if any(keeps(p) == "close" for p in inner) else each.keeps


def _dump(folder: Path, position: int, name: str, program: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{position:02}-{name}.sg"
    path.write_text(str(program).rstrip("\n") + "\n", encoding="utf-8")
