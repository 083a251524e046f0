"""Debugging as a measured act: a mistake is planted in a program, and looked for each way.

A mistake is planted at one operation of the program, at its line, on the tape and in the graph
alike: a NaN, a wrong shape, a gradient that goes nowhere. What somebody does to find it is really
done: each action has its seconds and the text that it shows. Without a mistake, the value and the
gradient at that line are asked for, as a breakpoint shows them.

    >>> from staticgrad.comparison import find_mistakes
    >>> print(find_mistakes(step, x, y))  # doctest: +SKIP
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set as AbstractSet
from contextlib import contextmanager, suppress
from itertools import islice, takewhile
from time import perf_counter
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.comparison import training
from staticgrad.comparison.loading import Spec, subject
from staticgrad.comparison.mistakes import Action, Debugging, Hunt, Trail
from staticgrad.comparison.programs import Batch, ComparedProgram
from staticgrad.eager import Tensor, detect_anomaly
from staticgrad.errors import ArgumentError, DisconnectedError, StaticgradError
from staticgrad.extend import NamedTuple, Symbolic, building
from staticgrad.extend.building import capture
from staticgrad.extend.tapes import recording
from staticgrad.extend.trees import first_part
from staticgrad.optim import Optimizer

BY_RUN: Final = "define by run"
THEN_RUN: Final = "define then run"
_MOST: Final = 12  # places that are tried in the middle, and as many all over; each is a run
#: The lines of the usual loss of a module, which is no program of the user's.
_LOSS: Final = {f"training.py:{line}" for *_, line in training.usual_loss.__code__.co_lines()}
_MOST_DEAD: Final = 100  # places where a gradient is stopped, each a run
_STEPS: Final = (1, 2, 4, 8)  # after which every parameter has changed: gradients are accumulated
_DEAD: Final = "a dead gradient"
_CLOSE: Final = 5e-3  # relative difference of norms that is rounding: of sums in float16, too
Plant = Callable[[Any], Any]
#: A way of running a program, with what is bound on it.
Way = Callable[[ComparedProgram], Any]


class RanAt(NamedTuple):
    """An operation that ran: its line, its name, its part of the line, and how often that ran."""

    line: str
    op: str
    part: tuple[object, ...]
    number: int


class PlantedAt(NamedTuple):
    """An operation of a program: its line, its name, its part, its number on the tape and in the
    graph.

    Without numbers it is meant each time: a loop of Python's, or the body of a loop, which the tape
    runs again and again and the graph has once.
    """

    line: str
    op: str
    part: tuple[object, ...]
    by_run: int | None = None
    then_run: int | None = None

    def is_at(self, seen: RanAt, way: Way) -> bool:
        """Return whether an operation is meant, of this way of running."""
        number = self.then_run if way in (_build, _run_compiled) else self.by_run
        return seen[:3] == self[:3] and number in (None, seen.number)

    def __str__(self) -> str:
        return f"{self.line} {self.op}"


def find_mistakes(spec: Spec, *arrays: Any, **options: Any) -> Debugging:
    """Plant mistakes in a program; count the actions that find them on tape and in graph.

    Args:
        spec: a model's name, ``path.py:name``, or with ``arrays`` a module or a function, as of
            ``compare``.
        arrays: example arrays.
        options: ``loss`` and ``optimizer`` of a module, as of ``compare``.

    Returns:
        The report: prints as a table, and a notebook shows it with all texts.

    Raises:
        UnknownNameError, ArgumentError, ProgramError: see ``compare``.
        ArgumentError: the program makes no graph, or no line of it computes a floating array.

    >>> import numpy as np, staticgrad as sg
    >>> w = sg.parameter("w", np.ones((3, 2)))
    >>> x = np.ones((4, 3))
    >>> found = find_mistakes(lambda x: (sg.tanh(x @ w) ** 2).mean(), x)
    >>> [hunt.what for hunt in found.hunts], found.holds
    (['a NaN', 'a dead gradient', 'the value and the gradient'], True)
    """
    chosen = subject(spec, arrays, options.get("loss"), options.get("optimizer"))
    return mistakes_in(chosen)


def mistakes_in(chosen: ComparedProgram) -> Debugging:
    """Count the actions that find planted mistakes in a loaded program, as ``find_mistakes``.

    Raises:
        ArgumentError: the program makes no graph, or no line of it computes a floating array.
    """
    if chosen.graph is None:
        raise ArgumentError(f"debugging: {chosen.name} makes no graph, so there is one way only")
    every = _every_place(chosen)
    places = _middle_first(every)
    try:
        hunts = [_hunt_nan(chosen, places), _hunt_shape(chosen, places), _hunt_dead(chosen, every)]
        hunts.append(_inspect_value(chosen, places))
    finally:
        chosen.restore()
    return Debugging(chosen.name, tuple(hunt for hunt in hunts if hunt is not None))


# Planting


@contextmanager
def _intercept_results(kind: Any, then: Callable[[RanAt, Any], Any]) -> Iterator[None]:
    """Patch the tape so that ``then`` sees, and may replace, each result of a forward operation.

    ``kind`` is the class of values: of the tape or of a graph. Of one run: places are counted.
    """
    original_bind, inside = kind.__dict__["bind"], False
    seen: Counter[tuple[Any, ...]] = Counter()

    def bind_and_replace(cls: Any, op: Any, args: tuple[Any, ...]) -> Any:
        """Run an operation of the tape, and replace its result where a mistake is to be planted."""
        nonlocal inside
        result = original_bind.__func__(cls, op, args)
        is_forward = recording.innermost() and building.current().order == 0
        if inside or not is_forward or isinstance(result, tuple):
            return result
        at = capture().resolve()
        key = (at.short, op.name, (at.scope, at.column, at.end_line, at.end_column))
        place = RanAt(*key, seen[key])
        seen[key] += 1
        inside = True
        try:
            return then(place, result)
        finally:
            inside = False

    kind.bind = classmethod(bind_and_replace)
    try:
        yield
    finally:
        kind.bind = original_bind


@contextmanager
def _record_losses() -> Iterator[list[Any]]:
    """Collect the losses that optimizers minimize in this context, times their weights."""
    losses: list[Any] = []
    original_minimize: Any = Optimizer.minimize

    def minimize(self: Any, loss: Any, *args: Any, **options: Any) -> None:
        scale = self.loss_scale if isinstance(self.loss_scale, int | float) else 1.0
        losses.append((loss, scale))
        original_minimize(self, loss, *args, **options)

    Optimizer.minimize = minimize  # type: ignore[method-assign]
    try:
        yield losses
    finally:
        Optimizer.minimize = original_minimize  # type: ignore[method-assign]


def _every_place(chosen: ComparedProgram) -> list[PlantedAt]:
    """List the operations that tape and graph both run, in the order of the program.

    Raises:
        ArgumentError: no line computes a floating array.
    """
    tape, _ = _run_planted(chosen, _run)
    graph, built = _run_planted(chosen, _build)
    inside = {*built.nodes} if isinstance(built, sg.Graph) else set()
    tape_arrays, graph_arrays = (
        [operation for operation in ran if _is_array(operation)] for ran in (tape, graph)
    )
    common_places = [*_align_operations(tape_arrays, graph_arrays, inside)]
    if not common_places:
        raise ArgumentError(f"debugging: no line of {chosen.name} computes a floating array")
    return [place for place in common_places if place.line not in _LOSS] or common_places


def _middle_first(places: Sequence[PlantedAt]) -> list[PlantedAt]:
    """Return some places, those in the middle of the program first."""
    middle = len(places) // 2
    order = sorted(range(len(places)), key=lambda k: abs(k - middle))
    spread = range(len(places) - 1, -1, -max(len(places) // _MOST, 1))  # the last one too
    return [places[k] for k in dict.fromkeys([*order[:_MOST], *spread])]


def _is_array(ran: tuple[RanAt, Any]) -> bool:
    kind = ran[1].type
    return bool(kind.dtype.is_float and kind.shape)


def _align_operations(tape: Ran, graph: Ran, nodes: AbstractSet[Any]) -> Iterator[PlantedAt]:
    """Align operations of a recorded tape with nodes of the graph, by line and name.

    A line that runs an operation as often both ways has its numbers; so have those ahead of the
    first loop and behind the last one, whose bodies are no ``nodes`` of the graph.
    """
    counts = [Counter(seen[:3] for seen, _ in ran) for ran in (tape, graph)]
    common = counts[0].keys() & counts[1].keys()
    on_tape = [seen for seen, _ in tape if seen[:3] in common]
    in_graph = [(seen, value.node in nodes) for seen, value in graph if seen[:3] in common]

    def alike(step: int) -> int:
        pairs = zip(on_tape[::step], in_graph[::step], strict=False)
        return sum(1 for _ in takewhile(lambda p: p[1][1] and p[0][:3] == p[1][0][:3], pairs))

    ahead, behind_count = alike(1), alike(-1)
    loops: set[tuple[Any, ...]] = set()
    for k, seen in enumerate(on_tape):
        key = seen[:3]
        if counts[0][key] == counts[1][key]:
            yield PlantedAt(*key, seen.number, seen.number)
        elif k < ahead:
            yield PlantedAt(*key, seen.number, in_graph[k][0].number)
        elif k >= len(on_tape) - behind_count:
            yield PlantedAt(*key, seen.number, in_graph[k - len(on_tape)][0].number)
        elif key not in loops:
            loops.add(key)
            yield PlantedAt(*key)


Ran = list[tuple[RanAt, Any]]


def _run_planted(
    chosen: ComparedProgram, way: Way, at: PlantedAt | None = None, plant: Plant | None = None
) -> tuple[Ran, Any]:
    """Run a program with a planted mistake; return all values, and its result or error.

    Of a tensor only its type stays.
    """
    ran: Ran = []

    def record(seen: RanAt, value: Any) -> Any:
        if plant is not None and at is not None and at.is_at(seen, way):
            value = plant(value)
        ran.append((seen, value if isinstance(value, Symbolic) else _Typed(value.type)))
        return value

    try:
        with _intercept_results(Symbolic if way in (_build, _run_compiled) else Tensor, record):
            return ran, way(chosen)
    except Exception as error:  # of the user's program, too, with a value that it has not seen
        return ran, error


class _Typed(NamedTuple):
    """The type of a value that does not stay."""

    type: Any


# The two ways


def _batch(chosen: ComparedProgram) -> Batch:
    return chosen.draw(chosen.batch_size, np.random.default_rng(0))


def _run(chosen: ComparedProgram) -> Any:
    """Run a step on the tape, from the start values."""
    chosen.restore()
    return chosen.new_function().eagerly(*_batch(chosen).values())


def _run_on(chosen: ComparedProgram) -> Any:
    """Run a further step on the tape."""
    return chosen.new_function().eagerly(*_batch(chosen).values())


def _build(chosen: ComparedProgram) -> Any:
    """Build the graph of a step."""
    return chosen.new_function().graph(*_batch(chosen).values())


def _run_compiled(chosen: ComparedProgram) -> Any:
    """Build, compile and run a step, from the start values."""
    chosen.restore()
    return chosen.new_function()(*_batch(chosen).values())


def _time_action(what: str, do: Callable[[], Any]) -> tuple[Action, Any]:
    """Time one action of a debugging session; return it with its text and its result."""
    begin = perf_counter()
    try:
        result = do()
    except StaticgradError as error:
        result = error
    spent = perf_counter() - begin
    is_text = isinstance(result, str | Exception)
    return Action(what, spent, str(result) if is_text else _loss_text(result)), result


def _loss_text(result: Any) -> str:
    return f"loss {float(np.mean(np.asarray(first_part(result)))):.6g}"


def _points_at(result: Any, place: PlantedAt) -> bool:
    """Return whether something is an error that points at the line of a place."""
    return isinstance(result, StaticgradError) and result.at.resolve().short == place.line


# The mistakes


def _hunt_nan(chosen: ComparedProgram, places: Sequence[PlantedAt]) -> Hunt | None:
    """Measure the search for a planted NaN, a logarithm of negative numbers.

    None if it is NaN for no such value, as where each is only compared with others.
    """
    place = next((candidate for candidate in places if _reaches_the_loss(chosen, candidate)), None)
    if place is None:
        return None

    def step(way: Way) -> Any:
        result = _run_planted(chosen, way, place, _with_nan)[1]
        if isinstance(result, Exception):
            raise result
        return result

    def anomaly() -> Any:
        with detect_anomaly():
            return step(_run)

    def step_with_nan_checks() -> Any:
        with sg.options(debug="nan"):
            return step(_run_compiled)

    seen, _ = _time_action("run a step and print the loss", lambda: step(_run))
    named, error = _time_action("run it again in detect_anomaly()", anomaly)
    by_run = Trail(BY_RUN, (seen, named), _points_at(error, place))
    seen, _ = _time_action("compile and run a step", lambda: step(_run_compiled))
    named, error = _time_action('compile it with debug="nan" and run it', step_with_nan_checks)
    return Hunt(
        "a NaN", str(place), by_run, Trail(THEN_RUN, (seen, named), _points_at(error, place))
    )


def _with_nan(value: Any) -> Any:
    return value + sg.log(-abs(value) - 1.0)


def _reaches_the_loss(chosen: ComparedProgram, place: PlantedAt) -> bool:
    """Test whether a NaN planted at an operation reaches the loss on both ways.

    A graph does not compute a value that only its own gradient is asked of.
    """
    graph = _run_planted(chosen, _build, place, _with_nan)[1]
    if not isinstance(graph, sg.Graph):
        return False
    loss = next((output for output in graph.outputs.values() if output.dtype.is_float), None)
    result = _run_planted(chosen, _run, place, _with_nan)[1]
    if loss is None or isinstance(result, Exception) or not _is_nan(first_part(result)):
        return False
    chosen.restore()
    labels = {leaf.node.label for leaf in sg.Graph({"loss": loss}).inputs}
    with np.errstate(all="ignore"):
        return _is_nan(sg.evaluate(loss, {k: v for k, v in _batch(chosen).items() if k in labels}))


def _is_nan(result: Any) -> bool:
    return bool(np.isnan(np.asarray(result, "float64")).any())


def _wider(value: Any) -> Any:
    """A value with one column too many; of a loop's line that also computes numbers these stay."""
    return value if not value.shape else sg.concatenate([value, value[..., :1]], axis=-1)


def _hunt_shape(chosen: ComparedProgram, places: Sequence[PlantedAt]) -> Hunt | None:
    """Measure the search for a planted shape error, one column too many.

    None if no place has an error both ways: a line in a loop may have other numbers in the graph.
    """

    def fails(way: Way, place: PlantedAt) -> StaticgradError | None:
        error = _run_planted(chosen, way, place, _wider)[1]
        return error if isinstance(error, StaticgradError) else None

    failing = [(place, error) for place in places if (error := fails(_run, place))]
    failing.sort(key=lambda pair: _points_at(pair[1], pair[0]))  # errors elsewhere first
    place = next((place for place, _ in failing if fails(_build, place)), None)
    if place is None:
        return None
    searches = [
        _trace_shape(chosen, place, name, what, way)
        for name, what, way in (
            (BY_RUN, "run a step", _run), (THEN_RUN, "build the graph", _build)
        )
    ]  # fmt: skip
    return Hunt("a wrong shape", str(place), *searches)


def _trace_shape(
    chosen: ComparedProgram, place: PlantedAt, name: str, what: str, way: Way
) -> Trail:
    """Search for a planted shape error: read the error, then print shapes backwards from it."""
    ran: Ran = []

    def attempt() -> Any:
        ran[:], result = _run_planted(chosen, way, place, _wider)
        return result

    seen, error = _time_action(what, attempt)
    if isinstance(error, StaticgradError) and f"{place.line}\n" in f"{error}\n".replace(" ", "\n"):
        return Trail(name, (seen,), True)
    if not isinstance(error, StaticgradError):
        return Trail(name, (seen,), False)
    begin = perf_counter()
    attempt()
    spent = perf_counter() - begin
    lines = [f"{seen.line} {seen.op}  {value.type}" for seen, value in reversed(ran)]
    numbers = (k for k, (at, _) in enumerate(reversed(ran), 1) if place.is_at(at, way))
    count = next(numbers, len(lines))  # all of them where the line itself fails
    what = f"print the shapes ahead of that line, the latest first: {count} of them"
    return Trail(name, (seen, Action(what, spent, "\n".join(lines[:count]))), True)


def _hunt_dead(chosen: ComparedProgram, every: Sequence[PlantedAt]) -> Hunt | None:
    """Measure the search for a planted ``stop_gradient``; None if gradients take other paths.

    Of a line in a loop the gradient passes none of its values, as where somebody writes it there.
    """
    names = _find_updated(_build(chosen))
    steps = next(
        (n for n in _STEPS if not {*names} & {*_find_unchanged(chosen, None, n)}), _STEPS[0]
    )
    still = {*_find_unchanged(chosen, None, steps)}
    trained = [name for name in names if name not in still]
    if not trained:
        return None  # what does not move has another reason
    counts = Counter(place[:3] for place in every)
    loops = [PlantedAt(*place[:3]) for place in every if counts[place[:3]] > 1]
    everything: PlantedAt | None = None
    differs: Hunt | None = None
    for place in islice(dict.fromkeys([*_middle_first(every), *loops]), _MOST_DEAD):
        dead = _find_unchanged(chosen, place, steps)
        if isinstance(dead, StaticgradError):
            everything = everything or place
        elif isinstance(dead, list):
            dead_trained = [name for name in dead if name in trained]
            if 0 < len(dead_trained) < len(trained):
                hunt = _trace_dead(chosen, place, ", ".join(dead_trained), trained, steps)
                if hunt.then_run.found:
                    return hunt
                differs = differs or hunt  # a gradient that is 0 looks dead on a tape
    return differs or (None if everything is None else _trace_all_dead(chosen, everything))


def _trace_dead(
    chosen: ComparedProgram, place: PlantedAt, dead: str, trained: Sequence[str], steps: int
) -> Hunt:
    """Search for a planted ``stop_gradient``: compare parameters, then read gradients."""

    def without_update() -> str:
        graph = _run_planted(chosen, _build, place, sg.stop_gradient)[1]
        if isinstance(graph, Exception):
            raise graph
        return ", ".join(name for name in trained if name not in _find_updated(graph))

    def compared_values() -> str:
        return ", ".join(name for name in _find_unchanged(chosen, place, steps) if name in trained)

    step = lambda: _run_planted(chosen, _run, place, sg.stop_gradient)[1]  # noqa: E731
    seen, _ = _time_action("run a step and print the loss", step)
    many = "a step" if steps == 1 else f"{steps} steps, which are one update"
    compared, _ = _time_action(f"compare the parameters before and after {many}", compared_values)
    built, _ = _time_action("build the graph and list parameters without an update", without_update)
    by_run = Trail(BY_RUN, (seen, compared), compared.shown == dead)
    return Hunt(_DEAD, str(place), by_run, Trail(THEN_RUN, (built,), built.shown == dead))


def _trace_all_dead(chosen: ComparedProgram, place: PlantedAt) -> Hunt:
    """Record the search if no parameter gets a gradient: both ways raise an error at once."""

    def trail(name: str, what: str, way: Way) -> Trail:
        action, error = _time_action(
            what, lambda: _run_planted(chosen, way, place, sg.stop_gradient)[1]
        )
        return Trail(name, (action,), isinstance(error, StaticgradError))

    by_run = trail(BY_RUN, "run a step", _run)
    return Hunt(_DEAD, str(place), by_run, trail(THEN_RUN, "build the graph", _build))


def _find_unchanged(chosen: ComparedProgram, place: PlantedAt | None, steps: int) -> Any:
    """Find the parameters that training steps of the tape do not change."""
    chosen.restore()
    values_before = {p.name: np.array(p.value) for p in chosen.graph.parameters if p.dtype.is_float}
    for k in range(steps):
        result = _run_planted(chosen, _run_on if k else _run, place, sg.stop_gradient)[1]
        if isinstance(result, Exception):
            return result
    values_after = {p.name: p.value for p in chosen.graph.parameters}
    return [
        name for name, value in values_before.items() if np.array_equal(value, values_after[name])
    ]


def _find_updated(graph: Any) -> list[str]:
    """Return the names of the parameters that a step updates and the loss reads."""
    read = {*sg.Graph(graph.outputs).nodes}
    return [p.name for p, _ in graph.updates if p.dtype.is_float and p.node in read]


def _inspect_value(chosen: ComparedProgram, places: Sequence[PlantedAt]) -> Hunt | None:
    """Measure how a value at a line and its gradient are inspected, on the tape and compiled.

    A value that several losses depend on has several gradients; another one is taken where a tape
    that updates between them passes fewer.
    """
    with _record_losses() as losses:
        _build(chosen)
    is_trained = bool(losses) or bool(chosen.gradient_arguments)
    for place in places:
        if place.then_run is None:
            continue  # in the body of a loop, which has no result for it
        tape, graph = _Watched(chosen, place), _Watched(chosen, place)
        ran, _ = _time_action(
            f"stop at the line{', with a hook for the gradient' * is_trained}, and run a step",
            tape.by_run,
        )
        graph.build()
        if graph.value is None or not tape.numbers or len(graph.slopes) != len(tape.numbers) - 1:
            continue
        if is_trained and not graph.slopes:
            continue
        requested = " both as results" if is_trained else " it as a result"
        compiled, _ = _time_action(f"ask for{requested}, compile and run", graph.then_run)
        same = np.allclose(tape.numbers, graph.numbers, rtol=_CLOSE)
        return Hunt(
            "the value and the gradient" if is_trained else "the value", str(place),
            Trail(BY_RUN, (ran,), same), Trail(THEN_RUN, (compiled,), same),
        )  # fmt: skip
    return None


class _Watched:
    """The norms of a value and of its gradients, by run or then run."""

    def __init__(self, chosen: ComparedProgram, place: PlantedAt) -> None:
        self._chosen, self._place = chosen, place
        self.numbers: list[float] = []
        self.value: Any = None
        self.slopes: list[Any] = []

    def by_run(self) -> str:
        """Inspect a value and its gradients on the tape, while a step runs."""
        norms: list[float] = []

        def stop(value: Any) -> Any:
            norms.append(_norm(value.numpy()))  # now: a reshaped parameter is updated in place
            if value.requires_grad:
                value.register_hook(lambda gradient: norms.append(_norm(gradient.numpy())))
            return value

        _run_planted(self._chosen, _run, self._place, stop)
        self.numbers = norms
        return self._format_norms()

    def build(self) -> None:
        """Build the graph with the inspected value and the gradients of each loss by it."""
        values: list[Any] = []

        def stop(value: Any) -> Any:
            values.append(value)
            return value

        with _record_losses() as losses:
            graph = _run_planted(self._chosen, _build, self._place, stop)[1]
        if not values or isinstance(graph, Exception):
            return
        if self._chosen.gradient_arguments:
            losses = [(next(iter(graph.outputs.values())), 1.0)]
        self.value = values[0]
        for loss, scale in losses:
            with suppress(DisconnectedError):
                self.slopes.append(sg.grad(sg.sum(loss) * scale, self.value))

    def then_run(self) -> str:
        """Inspect a value and its gradients by compiling them as outputs."""
        outputs = {"value": self.value}
        outputs |= {f"gradient {k}": slope for k, slope in enumerate(self.slopes)}
        compiled = sg.compile(outputs, threads=1)
        self._chosen.restore()
        names = {leaf.node.label for leaf in compiled.graph.inputs}
        results = compiled.run({k: v for k, v in _batch(self._chosen).items() if k in names})
        self.numbers = [_norm(results[name]) for name in outputs]
        return self._format_norms()

    def _format_norms(self) -> str:
        if not self.numbers:
            return ""
        value, *slopes = (f"{number:.3g}" for number in self.numbers)
        return (
            f"norm of the value {value}{''.join(f', of the gradient {slope}' for slope in slopes)}"
        )


def _norm(value: Any) -> float:
    return float(np.linalg.norm(np.asarray(value, "float64")))
