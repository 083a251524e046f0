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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.eager import Tensor, detect_anomaly
from staticgrad.eager.tape import recording
from staticgrad.language.ir.nodes import Symbolic
from staticgrad.support import building
from staticgrad.support.building import capture
from staticgrad.support.containers import first_part
from staticgrad.support.errors import ArgumentError, StaticgradError
from staticgrad.support.records import NamedTuple
from staticgrad.tools.comparison import training
from staticgrad.tools.comparison.loading import Spec, subject
from staticgrad.tools.comparison.mistakes import Action, Debugging, Hunt, Trail
from staticgrad.tools.comparison.programs import Batch, ComparedProgram

BY_RUN: Final = "define by run"
THEN_RUN: Final = "define then run"
_MOST: Final = 12  # places that are tried in the middle, and as many all over; each is a run
#: The lines of the usual loss of a module, which is no program of the user's.
_LOSS: Final = {f"training.py:{line}" for *_, line in training.usual_loss.__code__.co_lines()}
Plant = Callable[[Any], Any]
#: A way of running a program, with what is bound on it.
Way = Callable[[ComparedProgram], Any]


class PlantedAt(NamedTuple):
    """An operation of a program: its line, its name, and how many of that name the line ran."""

    line: str
    op: str
    number: int

    def __str__(self) -> str:
        return f"{self.line} {self.op}"


def find_mistakes(spec: Spec, *arrays: Any, **options: Any) -> Debugging:
    """Plant mistakes in a program, and find them by run and then run; ``debugging`` says how.

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
    (['a NaN', 'the value and the gradient'], True)
    """
    chosen = subject(spec, arrays, options.get("loss"), options.get("optimizer"))
    return mistakes_in(chosen)


def mistakes_in(chosen: ComparedProgram) -> Debugging:
    """Return how mistakes in a program are found, as ``find_mistakes``.

    Raises:
        ArgumentError: the program makes no graph, or no line of it computes a floating array.
    """
    if chosen.graph is None:
        raise ArgumentError(f"debugging: {chosen.name} makes no graph, so there is one way only")
    places = _places(chosen)
    try:
        hunts = [_nan(chosen, places), _shape(chosen, places), _dead(chosen, places)]
        hunts.append(_looked_at(chosen, places))
    finally:
        chosen.restore()
    return Debugging(chosen.name, tuple(hunt for hunt in hunts if hunt is not None))


# Planting


@contextmanager
def _bound(kind: Any, then: Callable[[PlantedAt, Any], Any]) -> Iterator[None]:
    """Inside, ``then`` gets each result of a forward operation with its place, and replaces it.

    ``kind`` is the class of values: of the tape or of a graph. Of one run: places are counted.
    """
    before, inside = kind.__dict__["bind"], False
    seen: Counter[tuple[str, str]] = Counter()

    def planted(cls: Any, op: Any, args: tuple[Any, ...]) -> Any:
        nonlocal inside
        found = before.__func__(cls, op, args)
        is_forward = recording.innermost() and building.current().order == 0
        if inside or not is_forward or isinstance(found, tuple):
            return found
        key = (capture().resolve().short, op.name)
        place = PlantedAt(*key, seen[key])
        seen[key] += 1
        inside = True
        try:
            return then(place, found)
        finally:
            inside = False

    kind.bind = classmethod(planted)
    try:
        yield
    finally:
        kind.bind = before


def _places(chosen: ComparedProgram) -> list[PlantedAt]:
    """Return operations that both ways run, those in the middle of the program first."""
    tape, graph = [
        [place for place, kind in _ran(chosen, way)[0] if kind.dtype.is_float and kind.shape]
        for way in (_run, _build)
    ]
    counts = [Counter((place.line, place.op) for place in own) for own in (tape, graph)]
    both = [p for p in tape if counts[0][p.line, p.op] == counts[1][p.line, p.op]]
    both = [p for p in both if p.line not in _LOSS] or both
    if not both:
        raise ArgumentError(f"debugging: no line of {chosen.name} computes a floating array")
    middle = len(both) // 2
    order = sorted(range(len(both)), key=lambda k: abs(k - middle))
    spread = range(len(both) - 1, -1, -max(len(both) // _MOST, 1))  # the last one too
    return [both[k] for k in dict.fromkeys([*order[:_MOST], *spread])]


Ran = list[tuple[PlantedAt, Any]]


def _ran(
    chosen: ComparedProgram, way: Way, at: PlantedAt | None = None, plant: Plant | None = None
) -> tuple[Ran, Any]:
    """Run a program with a mistake; return the places with their types, and the result or error."""
    ran: Ran = []

    def then(place: PlantedAt, value: Any) -> Any:
        if plant is not None and place == at:
            value = plant(value)
        ran.append((place, value.type))
        return value

    try:
        with _bound(Tensor if way is _run else Symbolic, then):
            return ran, way(chosen)
    except StaticgradError as error:
        return ran, error


# The two ways


def _batch(chosen: ComparedProgram) -> Batch:
    return chosen.draw(chosen.batch_size, np.random.default_rng(0))


def _run(chosen: ComparedProgram) -> Any:
    """Run a step on the tape, from the start values."""
    chosen.restore()
    return chosen.new_function().eagerly(*_batch(chosen).values())


def _build(chosen: ComparedProgram) -> Any:
    """Build the graph of a step."""
    return chosen.new_function().graph(*_batch(chosen).values())


def _run_compiled(chosen: ComparedProgram) -> Any:
    """Build, compile and run a step, from the start values."""
    chosen.restore()
    return chosen.new_function()(*_batch(chosen).values())


def _act(what: str, do: Callable[[], Any]) -> tuple[Action, Any]:
    """Do something; return it with the text that it shows, and what it gives or raises."""
    begin = perf_counter()
    try:
        found = do()
    except StaticgradError as error:
        found = error
    spent = perf_counter() - begin
    is_text = isinstance(found, str | StaticgradError)
    return Action(what, spent, str(found) if is_text else _loss(found)), found


def _loss(found: Any) -> str:
    return f"loss {float(np.mean(np.asarray(first_part(found)))):.6g}"


def _at(found: Any, place: PlantedAt) -> bool:
    """Return whether something is an error that points at the line of a place."""
    return isinstance(found, StaticgradError) and found.at.resolve().short == place.line


# The mistakes


def _nan(chosen: ComparedProgram, places: Sequence[PlantedAt]) -> Hunt:
    """A logarithm of negative numbers is added to a value."""
    place = places[0]

    def step(way: Way) -> Any:
        found = _ran(chosen, way, place, lambda value: value + sg.log(-abs(value) - 1.0))[1]
        if isinstance(found, StaticgradError):
            raise found
        return found

    def anomaly() -> Any:
        with detect_anomaly():
            return step(_run)

    def probed() -> Any:
        with sg.options(debug="nan"):
            return step(_run_compiled)

    seen, _ = _act("run a step and print the loss", lambda: step(_run))
    named, error = _act("run it again in detect_anomaly()", anomaly)
    by_run = Trail(BY_RUN, (seen, named), _at(error, place))
    seen, _ = _act("compile and run a step", lambda: step(_run_compiled))
    named, error = _act('compile it with debug="nan" and run it', probed)
    return Hunt("a NaN", str(place), by_run, Trail(THEN_RUN, (seen, named), _at(error, place)))


def _wider(value: Any) -> Any:
    return sg.concatenate([value, value[..., :1]], axis=-1)


def _shape(chosen: ComparedProgram, places: Sequence[PlantedAt]) -> Hunt | None:
    """A value has one column too many; None if that is no error anywhere in the program."""
    failing = [
        (place, error)
        for place in places
        if isinstance(error := _ran(chosen, _run, place, _wider)[1], StaticgradError)
    ]
    if not failing:
        return None
    elsewhere = [place for place, error in failing if not _at(error, place)]
    place = elsewhere[0] if elsewhere else failing[0][0]
    searches = [
        _shape_found(chosen, place, name, what, way)
        for name, what, way in (
            (BY_RUN, "run a step", _run), (THEN_RUN, "build the graph", _build)
        )
    ]  # fmt: skip
    return Hunt("a wrong shape", str(place), *searches)


def _shape_found(
    chosen: ComparedProgram, place: PlantedAt, name: str, what: str, way: Way
) -> Trail:
    """Read the error; if it does not name the line, print shapes from there backwards."""
    ran: Ran = []

    def attempt() -> Any:
        ran[:], found = _ran(chosen, way, place, _wider)
        return found

    seen, error = _act(what, attempt)
    if isinstance(error, StaticgradError) and f"{place.line}\n" in f"{error}\n".replace(" ", "\n"):
        return Trail(name, (seen,), True)
    if not isinstance(error, StaticgradError):
        return Trail(name, (seen,), False)
    begin = perf_counter()
    attempt()
    spent = perf_counter() - begin
    lines = [f"{at}  {kind}" for at, kind in reversed(ran)]
    count = 1 + next(k for k, (at, _) in enumerate(reversed(ran)) if at == place)
    what = f"print the shapes ahead of that line, the latest first: {count} of them"
    return Trail(name, (seen, Action(what, spent, "\n".join(lines[:count]))), True)


def _dead(chosen: ComparedProgram, places: Sequence[PlantedAt]) -> Hunt | None:
    """No gradient passes a value; None if each parameter is reached in another way, too."""
    trained = _updated(_build(chosen))

    def unchanged(place: PlantedAt | None) -> str:
        chosen.restore()
        before = {p.name: np.array(p.value) for p in chosen.graph.parameters}
        found = _ran(chosen, _run, place, sg.stop_gradient)[1]
        if isinstance(found, StaticgradError):
            raise found
        after = {p.name: p.value for p in chosen.graph.parameters}
        return ", ".join(name for name in trained if np.array_equal(before[name], after[name]))

    def without_update(place: PlantedAt) -> str:
        graph = _ran(chosen, _build, place, sg.stop_gradient)[1]
        if isinstance(graph, StaticgradError):
            raise graph
        return ", ".join(name for name in trained if name not in _updated(graph))

    if unchanged(None):
        return None  # a parameter that does not move has another reason
    for place in places:
        try:
            dead = unchanged(place)
        except StaticgradError:
            continue
        if not 0 < len(dead.split(", ")) < len(trained) or not dead:
            continue
        step = lambda: _ran(chosen, _run, place, sg.stop_gradient)[1]  # noqa: B023, E731
        seen, _ = _act("run a step and print the loss", step)
        compared, _ = _act(
            "compare the parameters before and after a step", lambda: unchanged(place)  # noqa: B023
        )  # fmt: skip
        built, _ = _act(
            "build the graph and list parameters without an update",
            lambda: without_update(place),  # noqa: B023
        )
        by_run = Trail(BY_RUN, (seen, compared), compared.shown == dead)
        return Hunt(
            "a dead gradient", str(place), by_run,
            Trail(THEN_RUN, (built,), built.shown == dead),
        )  # fmt: skip
    return None


def _updated(graph: Any) -> list[str]:
    """Return the names of the parameters that a step updates and the loss reads."""
    read = {*sg.Graph(graph.outputs).nodes}
    return [p.name for p, _ in graph.updates if p.dtype.is_float and p.node in read]


def _looked_at(chosen: ComparedProgram, places: Sequence[PlantedAt]) -> Hunt | None:
    """The value at a line, and the gradient of the loss by it."""
    for place in places:
        held: list[Any] = []

        def stop(value: Any, held: list[Any] = held) -> Any:
            held.append(value)
            if isinstance(value, Tensor) and value.requires_grad:
                value.register_hook(lambda gradient: held.append(gradient.numpy()))
            return value

        def by_run(place: PlantedAt = place, held: list[Any] = held, stop: Plant = stop) -> Any:
            _ran(chosen, _run, place, stop)
            return _numbers(held[0].numpy(), held[1]) if len(held) > 1 else ""

        def then_run(place: PlantedAt = place, held: list[Any] = held, stop: Plant = stop) -> Any:
            graph = _ran(chosen, _build, place, stop)[1]
            loss = next(each for each in graph.outputs.values() if each.type.dtype.is_float)
            slope = sg.grad(sg.sum(loss), held[-1])
            found = sg.compile({"value": held[-1], "gradient": slope}, threads=1)
            chosen.restore()
            names = {leaf.node.label for leaf in found.graph.inputs}
            result = found.run({k: v for k, v in _batch(chosen).items() if k in names})
            return _numbers(result["value"], result["gradient"])

        ran, _ = _act("stop at the line, with a hook for the gradient, and run a step", by_run)
        if not ran.shown:
            continue
        compiled, _ = _act("ask for both as results, compile and run", then_run)
        same = ran.shown == compiled.shown
        return Hunt(
            "the value and the gradient", str(place),
            Trail(BY_RUN, (ran,), same), Trail(THEN_RUN, (compiled,), same),
        )  # fmt: skip
    return None


def _numbers(value: Any, gradient: Any) -> str:
    """Describe two arrays by their norms."""
    one, two = (float(np.linalg.norm(np.asarray(each, "float64"))) for each in (value, gradient))
    return f"norm of the value {one:.3g}, of the gradient {two:.3g}"
