"""A bounded ``while`` as a loop of so many iterations, of which the last do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from staticgrad.autodiff.bodies.making import Inputs, apply, closed
from staticgrad.building import current
from staticgrad.errors import GradientError
from staticgrad.ir.bodies import inlined
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Symbolic
from staticgrad.ops.loops import Branch, Loop, While


def bounded(op: While) -> Loop:
    """The loop of ``most`` iterations that does the same, carrying the number of iterations done
    before.

    It has stopped where an iteration's number is not that of the iterations done; then nothing
    runs.

    Raises:
        GradientError: the ``while`` has no bound.
    """
    if op.most is None:
        raise GradientError(
            "while_loop stores the carries of all iterations for its gradient, max_steps= does not"
            " say how many there may be",
            hint="sg.while_loop(test, body, init, max_steps=100); sg.jvp needs no bound, and"
            " sg.scan and sg.fori_loop have one",
        )
    inputs = Inputs()
    done = inputs.new("c", inputs.number.type)
    given = inputs.like("v", [value.type for value in op.body.inputs[1:]])
    carries = given[: op.carries]
    operands = [inputs.number, done, *given]

    def case(results: Callable[[list[Symbolic]], Sequence[Symbolic]]) -> Graph:
        values = Inputs().like("v", [value.type for value in operands])
        return closed([], [("p", values)], [("y", results(values))])

    def unchanged(values: list[Symbolic]) -> Sequence[Symbolic]:
        return values[1 : 2 + op.carries]

    def iteration(values: list[Symbolic]) -> Sequence[Symbolic]:
        inner = inlined(op.body, [values[0], *values[2:]], current().order)
        return [functions.add(values[1], 1), *inner]  # type: ignore[list-item]

    def tested(values: list[Symbolic]) -> Sequence[Symbolic]:
        (go,) = inlined(op.test, [values[0], *values[2:]], current().order)
        return apply(
            Branch((case(unchanged), case(iteration))), [functions.astype(go, "int64"), *values]
        )

    running = functions.astype(functions.equal(inputs.number, done), "int64")
    found = apply(Branch((case(unchanged), case(tested))), [running, *operands])
    body = closed(
        [inputs.number],
        [("c", [done, *carries]), ("p", given[op.carries :])],
        [("c", found)],
    )
    return Loop(body, op.most, 1 + op.carries, 0)
