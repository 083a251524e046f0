"""The cheapest sequence for one order of first runs, by mixed integer programming.

Stage t ends with the first run of the t-th step of the order; steps before it may run again in it,
once, in the order. R[t, i] says that step i runs in stage t, S[t, v] that a value is held when it
begins: the model of Checkmate (Jain et al., arXiv 1910.02653). Live ranges differ: X[t, v, q] says
that the value is needed by its reader q in stage t or by a later one, which falls from reader to
reader, so neither these nor the bytes alive at each place of a stage are integers to branch on.
SciPy's HiGHS (Huangfu and Hall, 2018) solves it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from staticgrad.analysis.planning.problem import Net
from staticgrad.support.records import dataclass

_Terms = dict[int, float]


@dataclass(frozen=True)
class Solved:
    """The result of the solver: the sequence, if there is one within the budget, and a lower bound
    of the cost of all sequences of this order and form (infinity without one)."""

    sequence: tuple[int, ...] | None
    bound: float


def solve(net: Net, order: Sequence[int], budget: int, seconds: float) -> Solved:
    """The cheapest sequence whose load keeps the budget, of those with this order of first runs in
    which a step runs at most once in a stage.
    """
    return _Model(net, order, budget).solve(seconds)


class _Model:
    """Variables and rows of the model."""

    def __init__(self, net: Net, order: Sequence[int], budget: int) -> None:
        self.net = net
        self.order = order
        self.place = {step: i for i, step in enumerate(order)}
        self.unit = float(max((*net.sizes, 1)))
        self.room = budget / self.unit
        self.names: dict[tuple[str, int, int, int], int] = {}
        self.upper: list[float] = []
        self.integrality: list[int] = []
        self.rows: list[tuple[_Terms, float, float]] = []
        self.readers: dict[int, list[int]] = defaultdict(list)
        for i, step in enumerate(order):
            for value in net.reads[step]:
                self.readers[value].append(i)
        self.maker = [self.place[step] for step in net.producer]
        self._add_constraints()

    def _name(self, kind: str, t: int, i: int, q: int = 0, upper: float = 1.0) -> int:
        key = kind, t, i, q
        if key not in self.names:
            self.names[key] = len(self.upper)
            self.upper.append(upper)
            self.integrality.append(int(kind in "RS"))
        return self.names[key]

    def _row(self, terms: Sequence[tuple[float, int]], low: float, high: float) -> None:
        factor_by_variable: _Terms = defaultdict(float)
        for factor, variable in terms:
            factor_by_variable[variable] += factor
        self.rows.append((factor_by_variable, low, high))

    def _at_least(self, larger: int, smaller: int) -> None:
        self._row([(1.0, larger), (-1.0, smaller)], 0.0, np.inf)

    def _run(self, t: int, i: int) -> int:
        return self._name("R", t, i)

    def _held(self, t: int, value: int) -> int:
        return self._name("S", t, value)

    def _alive(self, t: int, value: int, i: int) -> int:
        """Return the variable of a value needed in stage t from place i on, or after the stage."""
        for reader in self.readers[value]:
            if i <= reader <= t:
                return self._name("X", t, value, reader)
        return self._held(t + 1, value)

    def _add_constraints(self) -> None:
        """Add all constraints of the integer program: stages, outputs, run limits."""
        for t in range(len(self.order)):
            self._add_stage(t)
        last = len(self.order)
        for value, must_stay in enumerate(self.net.is_output):
            if must_stay:
                self._row([(1.0, self._held(last, value))], 1.0, 1.0)
        for i, step in enumerate(self.order):
            limit = self.net.limits[step]
            if limit < last - i:
                runs = [(1.0, self._run(t, i)) for t in range(i, last)]
                self._row(runs, 1.0, float(limit))

    def _add_stage(self, t: int) -> None:
        """Add the constraints of one stage: runs, stored values, uses and bytes."""
        net = self.net
        self._row([(1.0, self._run(t, t))], 1.0, 1.0)
        for value, maker in enumerate(self.maker):
            if maker > t:
                continue
            terms = [(1.0, self._held(t + 1, value)), (-1.0, self._run(t, maker))]
            if maker < t:
                terms.append((-1.0, self._held(t, value)))
            self._row(terms, -np.inf, 0.0)
            for reader in (q for q in self.readers[value] if q <= t):
                needed = self._name("X", t, value, reader)
                self._at_least(needed, self._run(t, reader))
                self._at_least(needed, self._alive(t, value, reader + 1))
                source = [(1.0, self._run(t, maker)), (-1.0, self._run(t, reader))]
                if maker < t:
                    source.append((1.0, self._held(t, value)))
                self._row(source, 0.0, np.inf)
        for i in range(t + 1):
            if any(self.place[writer] < t for writer in net.overwriters[self.order[i]]) and i < t:
                self._row([(1.0, self._run(t, i))], 0.0, 0.0)
            self._bound_bytes(t, i)

    def _before(self, t: int, i: int) -> list[tuple[float, int]]:
        """Bytes alive in stage t before place i."""
        if i:
            return [(1.0, self._name("U", t, i - 1, upper=np.inf))]
        sizes = self.net.sizes
        values_made_before = (v for v, maker in enumerate(self.maker) if maker < t and sizes[v])
        return [(sizes[v] / self.unit, self._held(t, v)) for v in values_made_before]

    def _bound_bytes(self, t: int, i: int) -> None:
        """Constrain the memory while the step at place i runs, and the bytes live after it."""
        net, step = self.net, self.order[i]
        alive_before = self._before(t, i)
        load = [*alive_before, (net.workspace[step] / self.unit, self._run(t, i))]
        alive_after = [(-1.0, self._name("U", t, i, upper=np.inf)), *alive_before]
        for value in net.makes[step]:
            size = net.sizes[value] / self.unit
            is_stored = self._name("W", t, value)
            later = self._alive(t, value, i + 1)
            self._at_least(is_stored, self._run(t, i))
            self._at_least(is_stored, later)
            load.append((size, is_stored))
            alive_after.append((size, later))
            if i < t:
                load.append((-size, self._held(t, value)))
                alive_after.append((-size, self._held(t, value)))
        for value in net.reads[step]:
            size = net.sizes[value] / self.unit
            alive_after.append((size, self._alive(t, value, i + 1)))
            alive_after.append((-size, self._alive(t, value, i)))
        load += self._in_place_credits(t, i)
        self._row(load, -np.inf, self.room)
        self._row(alive_after, 0.0, 0.0)

    def _in_place_credits(self, t: int, i: int) -> list[tuple[float, int]]:
        """Return the bytes that a step saves by overwriting inputs that die there (in place)."""
        credits = []
        once: dict[int, list[int]] = defaultdict(list)
        for number, (overwritten, output) in enumerate(self.net.overwrites[self.order[i]]):
            saved = self._name("Y", t, i, number)
            self._at_least(self._run(t, i), saved)
            self._row([(1.0, saved), (1.0, self._alive(t, overwritten, i + 1))], -np.inf, 1.0)
            once[overwritten].append(saved)
            once[~output].append(saved)
            credits.append((-self.net.sizes[output] / self.unit, saved))
        for same in once.values():
            self._row([(1.0, saved) for saved in same], -np.inf, 1.0)
        return credits

    def solve(self, seconds: float) -> Solved:
        """Solve the integer program within some seconds; return the sequence and a bound."""
        net, scale = self.net, max((*self.net.costs, 0.0)) or 1.0
        price = np.zeros(len(self.upper))
        for (kind, _, i, _), variable in self.names.items():
            if kind == "R":
                price[variable] = net.costs[self.order[i]] / scale
        entries = [(r, v, f) for r, (row, _, _) in enumerate(self.rows) for v, f in row.items()]
        at_row, at_variable, factors = zip(*entries, strict=True)
        shape = len(self.rows), len(self.upper)
        matrix = csr_array((factors, (at_row, at_variable)), shape=shape)
        lows, highs = ([row[k] for row in self.rows] for k in (1, 2))
        solution = milp(
            price,
            integrality=np.array(self.integrality),
            bounds=Bounds(np.zeros(len(self.upper)), np.array(self.upper)),
            constraints=LinearConstraint(matrix, lows, highs),
            options={"time_limit": seconds, "mip_rel_gap": 1e-6},
        )
        if solution.status == 2:
            return Solved(None, float("inf"))
        bound = getattr(solution, "mip_dual_bound", None)
        least = net.total if bound is None else max(float(bound) * scale, net.total)
        if solution.x is None:
            return Solved(None, least)
        return Solved(self._sequence(solution.x), least)

    def _sequence(self, x: Sequence[float]) -> tuple[int, ...]:
        places = range(len(self.order))
        runs = ((t, i) for t in places for i in range(t + 1))
        return tuple(self.order[i] for t, i in runs if x[self._run(t, i)] > 0.5)
