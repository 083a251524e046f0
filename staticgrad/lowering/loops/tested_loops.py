"""The kernel of a loop that ends by a test, written out as other loops are.

The test stands before the first iteration and behind each one: what it finds is carried, and the
loop goes on while that holds. There is one row, since a test is of all rows together.
"""

from __future__ import annotations

from collections.abc import Callable

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.kernels.stages import Carry, Check, Keep, Loop, Scalar, Stage, Store
from staticgrad.lowering.elements import write_out
from staticgrad.lowering.loops.bodies import LoweredBodies
from staticgrad.lowering.loops.steady import ITERATIONS, Steady
from staticgrad.lowering.loops.written_loops import Reading, WrittenLoop, kept
from staticgrad.lowering.loops.written_out import Found, NotWrittenOutError, RowPlace
from staticgrad.types.dtype import BOOL, I64, DType

#: An element of a carry, as a test reads it.
Given = Callable[[int, RowPlace], Expr]
_ONE: RowPlace = RowPlace(0, 0)


class TestedLoop(WrittenLoop):
    """The kernel of a ``while``; its body checks indices, its test does not."""

    def __init__(self, bodies: LoweredBodies) -> None:
        self._test, body = bodies.schedules
        super().__init__(bodies, body, Reading(None, True, False))

    def _stages(self) -> tuple[Stage, ...]:
        """What stays the same in all iterations, the loop, and the stores of what is carried
        last."""
        nexts = self._nexts()
        carries, made = self._bodies.form.carries, self._elements.made
        first = self._goes(
            self._elements.literal(0, I64), lambda n, at: self._load(n, at, f"out.c{n}")
        )
        done = made("add", I64, (ex.index(ITERATIONS), self._elements.literal(1, I64)))
        goes = self._goes(done, lambda n, at: nexts[n, at])
        lookups = self._elements.lookups
        checked = [expr for each in lookups for expr in (each.place, each.position)]
        steady = Steady([*nexts.values(), goes, done, *checked])
        body: list[Keep | Store | Check] = [self._check(each, steady) for each in lookups]
        begin, following = [*self._first(nexts)], []
        for each, value in nexts.items():
            following.append(Carry(str(self._carry(*each).attribute), kept(steady, body, value)))
        last = self._last(nexts)
        if self._bodies.writes[carries] in self._bodies.stored:
            count = self._state(I64)
            begin.append(Carry(str(count.attribute), self._elements.literal(0, I64)))
            following.append(Carry(str(count.attribute), kept(steady, body, done)))
            operand = self._operand(self._given + carries, I64, "out")
            last.append(Store(Access(operand, ()), count))
        going = str(self._state(BOOL).attribute)
        begin.append(Carry(going, first))
        following.append(Carry(going, kept(steady, body, goes)))
        if not body:
            raise NotWrittenOutError
        stages = (Scalar(tuple(body)),)
        iterations = Loop(self._loop(steady), tuple(begin), stages, tuple(following), going=going)
        return self._with_results(steady, iterations, last)

    def _state(self, dtype: DType) -> Expr:
        """Something else that is carried."""
        self._states += 1
        return ex.ref(f"s{len(self._carried) + self._states - 1}", dtype)

    _states = 0

    def _goes(self, number: Expr, given: Given) -> Expr:
        """What the test finds before the iteration of a number, of what is carried then."""
        carries = self._bodies.form.carries

        def source(name: str, dtype: DType, place: RowPlace, indices: Found) -> Expr:
            if name == "in.i":
                return number
            if name[3] == "p":
                return self._load_of(carries + int(name[4:]), dtype, place, 0, indices)
            if indices:
                raise NotWrittenOutError
            return given(int(name[4:]), place)

        test = self._elements.within(self._test, source)
        write_out(test, self._test.steps)
        held = test.memory.get("out.go", {})
        if test.lookups or held.keys() != {_ONE}:
            raise NotWrittenOutError  # a test checks no index
        return held[_ONE]
