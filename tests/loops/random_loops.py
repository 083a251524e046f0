"""Random programs of loops in loops: one description, run by staticgrad and by NumPy.

A block is a list of statements over two vectors ``c`` and ``d``; around it are the vectors and the
matrix of ``Inputs``, the slice and the number of the innermost iteration. ``Looped`` makes loops,
branches and checkpoints of the statements. ``Written`` runs them as Python over complex numbers:
the imaginary part of a result, at operands moved by an imaginary step, is a derivative without
cancellation (J. Lyness and C. Moler 1967).
"""

from dataclasses import dataclass

import numpy as np

import staticgrad as sg
from staticgrad import checkpoint_policies as cp

SIZE = 2
POLICIES = (
    cp.nothing_saveable,
    cp.everything_saveable,
    cp.dots_saveable,
    lambda op, *types: op.name in ("sin", "loop"),
)
#: Statements without a body: text -> what becomes of the vectors ``c`` and ``d``.
STEPS = {
    "sin": lambda o, s: (o.sin(s.c * s.w) + 0.3 * s.d, s.d),
    "tanh": lambda o, s: (s.c, o.tanh(s.d + 0.5 * s.c)),
    "product": lambda o, s: (o.tanh(s.c @ s.m), s.d),
    "transposed": lambda o, s: (s.c, o.sin(s.m @ s.d + s.w)),
    "bell": lambda o, s: (o.exp(-s.c * s.c) * s.w, s.d + s.c),
    "exchange": lambda o, s: (s.d, s.c),
    "slice": lambda o, s: (o.sin(s.c + s.row), s.d * s.row),
    "number": lambda o, s: (s.c, o.tanh(s.d * (1.0 + 0.25 * s.number))),
    "forget": lambda o, s: (o.tanh(s.row * s.w), s.d),
    "sum": lambda o, s: (s.c * 0.5, o.sin(s.d.sum() + s.c)),
}
LOOPS = ("scan", "reversed", "fori", "while", "map", "only outputs")
BLOCKS = ("cond", "switch", *["checkpoint"] * 3, *LOOPS, *LOOPS)


@dataclass(frozen=True)
class State:
    """The values that a statement reads."""

    c: object
    d: object
    w: object
    m: object
    rows: object
    row: object
    number: object

    def to(self, c, d, **others):
        return State(**(self.__dict__ | {"c": c, "d": d} | others))


def random_block(rng, depth, width=2):
    """A list of statements, of a positive depth up to ``width`` of which have bodies."""
    count = int(rng.integers(1, 3))
    block = [str(rng.choice([*STEPS])) for _ in range(count)]
    if depth:
        for _ in range(int(rng.integers(1, width + 1))):
            kind = str(rng.choice(BLOCKS))
            below = depth - 1 if kind in LOOPS else depth
            options = int(rng.integers(4))
            bodies = [random_block(rng, below if k == 0 else 0, width) for k in range(2)]
            if kind not in LOOPS and rng.random() < 0.5:
                bodies[0] = random_block(rng, depth - 1, width)
            block.insert(int(rng.integers(len(block) + 1)), (kind, options, bodies))
    return block


def loops_in(block):
    """The depth of loops in a block."""
    below = [
        (kind in LOOPS) + max(map(loops_in, bodies)) for kind, _, bodies in _inner_blocks(block)
    ]
    return max(below, default=0)


def _inner_blocks(block):
    return [statement for statement in block if not isinstance(statement, str)]


class Way:
    """Runs a block; what a statement with a body does is left to its classes."""

    def block(self, block, state):
        for statement in block:
            if isinstance(statement, str):
                state = state.to(*STEPS[statement](self, state))
            else:
                kind, options, (first, second) = statement
                state = state.to(
                    *getattr(self, kind.replace(" ", "_"))(options, first, second, state)
                )
        return state

    def vectors(self, block, state):
        end = self.block(block, state)
        return end.c, end.d

    def loss(self, block, w, m, rows):
        """The number that a program gives."""
        end = self.block(block, State(w * 1.0, rows[0] * 0.5, w, m, rows, rows[1], 1.0))
        return (end.c * end.c * np.array([1.0, 2.0])).sum() + self.sin(end.d).sum()


class Looped(Way):
    """Loops, branches and checkpoints of staticgrad."""

    sin, tanh, exp = map(staticmethod, (sg.sin, sg.tanh, sg.exp))

    def __init__(self, checkpoints=True):
        self.checkpoints = checkpoints

    def scan(self, options, first, second, state, reverse=False):
        def iteration(carry, row):
            (c, d), number = carry
            c, d = self.vectors(first, state.to(c, d, row=row, number=sg.astype(number, "float64")))
            return ((c, d), number + 1), (c * row, d) if options else None

        start = (state.c, state.d), sg.constant(0)
        ((c, d), _), outs = sg.scan(iteration, start, state.rows, reverse=reverse)
        if options:
            c = c + sg.sin(outs[0]).sum(0) * 0.2
            d = d if options == 1 else d + outs[1][1]
        return c, d

    def reversed(self, options, first, second, state):
        return self.scan(options, first, second, state, True)

    def fori(self, options, first, second, state):
        def iteration(number, carry):
            return self.vectors(first, state.to(*carry, number=sg.astype(number, "float64")))

        return sg.fori_loop(options % 2, 3, iteration, (state.c, state.d))

    def only_outputs(self, options, first, second, state):
        """A scan whose last carries are not read."""

        def iteration(carry, row):
            c, d = self.vectors(first, state.to(*carry, row=row))
            return (c, d), d

        outs = sg.scan(iteration, (state.c, state.d), state.rows, reverse=options % 2 == 1)[1]
        return state.c, outs.sum(0)

    def map(self, options, first, second, state):
        def one(row):
            c, d = self.vectors(first, state.to(state.c * row, state.d, row=row))
            return c * d if options % 2 else (c + d)

        return state.c, sg.map(one, state.rows).sum(0) * 0.5

    def _while(self, options, first, second, state):
        def iteration(carry):
            done, c, d = carry
            c, d = self.vectors(first, state.to(c, d, number=sg.astype(done, "float64")))
            return done + 1, c, d

        most = 2 if options == 3 else 4
        start = sg.constant(0), state.c, state.d
        return sg.while_loop(lambda carry: carry[0] < options, iteration, start, max_steps=most)[1:]

    def cond(self, options, first, second, state):
        test = state.c.sum() > (0.0, 0.3, -9.0, 9.0)[options]
        return sg.cond(
            test, lambda: self.vectors(first, state), lambda: self.vectors(second, state)
        )

    def switch(self, options, first, second, state):
        which = sg.astype(state.number * 1.0 + options, "int64") % 2
        branches = [lambda: self.vectors(first, state), lambda: self.vectors(second, state)]
        return sg.switch(which, branches)

    def checkpoint(self, options, first, second, state):
        def inside(c, d):
            return self.vectors(first, state.to(c, d))

        if self.checkpoints:
            inside = sg.checkpoint(inside, policy=POLICIES[options])
        return inside(state.c, state.d)


setattr(Looped, "while", Looped._while)


class Written(Way):
    """The same in Python, of arrays of complex numbers."""

    sin, tanh, exp = map(staticmethod, (np.sin, np.tanh, np.exp))

    def scan(self, options, first, second, state, reverse=False):
        c, d, outs = state.c, state.d, {}
        order = range(len(state.rows))
        for number, place in enumerate(reversed(order) if reverse else order):
            row = state.rows[place]
            c, d = self.vectors(first, state.to(c, d, row=row, number=float(number)))
            outs[place] = c * row, d
        if options:
            c = c + sum(np.sin(outs[place][0]) for place in order) * 0.2
            d = d if options == 1 else d + outs[1][1]
        return c, d

    def reversed(self, options, first, second, state):
        return self.scan(options, first, second, state, True)

    def fori(self, options, first, second, state):
        c, d = state.c, state.d
        for number in range(options % 2, 3):
            c, d = self.vectors(first, state.to(c, d, number=float(number)))
        return c, d

    def only_outputs(self, options, first, second, state):
        c, d, total = state.c, state.d, 0.0
        for row in state.rows[::-1] if options % 2 else state.rows:
            c, d = self.vectors(first, state.to(c, d, row=row))
            total = total + d
        return state.c, total

    def map(self, options, first, second, state):
        total = 0.0
        for row in state.rows:
            c, d = self.vectors(first, state.to(state.c * row, state.d, row=row))
            total = total + (c * d if options % 2 else c + d)
        return state.c, total * 0.5

    def _while(self, options, first, second, state):
        c, d = state.c, state.d
        for done in range(min(options, 2 if options == 3 else 4)):
            c, d = self.vectors(first, state.to(c, d, number=float(done)))
        return c, d

    def cond(self, options, first, second, state):
        test = state.c.sum().real > (0.0, 0.3, -9.0, 9.0)[options]
        return self.vectors(first if test else second, state)

    def switch(self, options, first, second, state):
        return self.vectors((first, second)[int(state.number + options) % 2], state)

    def checkpoint(self, options, first, second, state):
        return self.vectors(first, state)


setattr(Written, "while", Written._while)


class Program:
    """A random program of loops in each other, ``depth`` of them, and its operands."""

    def __init__(self, seed, depth=3, width=2):
        rng = np.random.default_rng(seed)
        while True:
            self.text = random_block(rng, depth, width)
            if loops_in(self.text) == depth:
                break
        self.arrays = (
            rng.uniform(0.3, 1.2, SIZE),
            rng.uniform(-0.8, 0.8, (SIZE, SIZE)),
            rng.uniform(0.3, 1.1, (3, SIZE)),
        )
        self.directions = [tuple(rng.normal(size=a.shape) for a in self.arrays) for _ in range(2)]
        self.values = [sg.input(f"x{k}", a.shape, "float64") for k, a in enumerate(self.arrays)]
        self.feeds = {f"x{k}": a for k, a in enumerate(self.arrays)}

    def slope(self, distance=0.0):
        """The derivative along the first direction, from a place moved along the second one."""
        along, across = self.directions
        step = 1e-30
        at = [
            a + distance * u + 1j * step * v
            for a, u, v in zip(self.arrays, across, along, strict=True)
        ]
        return Written().loss(self.text, *at).imag / step

    def numeric_derivatives(self):
        """The value, the slope along one direction, and the slope of that along another."""
        value = Written().loss(self.text, *(a + 0j for a in self.arrays)).real
        h = 1e-5
        ahead = [self.slope(k * h) - self.slope(-k * h) for k in (1, 2)]
        return value, self.slope(), (8 * ahead[0] - ahead[1]) / (12 * h)

    def graph(self, checkpoints=True):
        """The same by name: by reverse and by forward mode, of each other."""
        along, across = self.directions
        loss = Looped(checkpoints).loss(self.text, *self.values)

        def inner_product(slopes, direction):
            return sum((slope * v).sum() for slope, v in zip(slopes, direction, strict=True))

        slope = inner_product(sg.grad(loss, self.values, allow_disconnected=True), along)
        pushed = sg.jvp(loss, self.values, along, True)
        bends = {
            "reverse of reverse": inner_product(
                sg.grad(slope, self.values, allow_disconnected=True), across
            ),
            "forward of reverse": sg.jvp(slope, self.values, across, True),
            "forward of forward": sg.jvp(pushed, self.values, across, True),
        }
        results = {"value": loss, "reverse": slope, "forward": pushed, **bends}
        return sg.Graph(results, inputs=self.values)
