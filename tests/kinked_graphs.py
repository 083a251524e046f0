"""Random graphs whose derivatives are easy to lose: marks, kinks, and ties that really occur.

``random_graph`` with few distinct numbers, so that elements are equal and at kinks, and with
``stop_gradient``, derivative rules of the user's own, and extrema of what shares operands.
"""

import numpy as np

import staticgrad as sg
from staticgrad.ir.graph import Graph
from staticgrad.types.dtype import as_dtype
from tests.random_graphs import Builder, Chooser, Entry


@sg.custom_vjp(name="tests.straight")
def straight(x):
    return sg.rint(x)


@straight.rule
def _(ct, out, x):
    return (ct * 3.0,)


@sg.custom_vjp(name="tests.apart")
def apart(x, y):
    """Its rule tells of operands that its value does not depend on."""
    return x * 1.0 + 0.0 * y.sum()


@apart.rule
def _(ct, out, x, y):
    return ct * x, sg.broadcast_to(ct.sum(), y.shape) * 2.0


def kinked_graph(seed, ops=25):
    """A random graph in float64 and feeds for it."""
    source = np.random.default_rng(seed)
    builder = Kinked(Chooser(source), (as_dtype("float64"),), True, True, False, False, 3)
    return builder.build(ops, True)


class Kinked(Builder):
    """A Builder that draws what passes may not lose."""

    def numbers_of(self, dtype, shape):
        if dtype.is_float:
            return np.asarray(self.numbers.integers(-2, 3, shape) * 0.5).astype(dtype.numpy)
        return super().numbers_of(dtype, shape)

    def steps(self):
        own = [self.stopped, self.stopped, self.custom, self.again, self.again, self.itself]
        return [*super().steps(), *own, *own]

    def finish(self):
        """Every third floating value is returned, the last one first."""
        floats = [entry.value for entry in self.pool if entry.value.dtype.is_float]
        outputs = {f"out{k}": value for k, value in enumerate(floats[::-3])}
        return Graph(outputs, name="kinked", inputs=self.inputs)

    def stopped(self):
        """A value times, plus, or against itself without gradient."""
        entry = self.floating()
        if entry is None:
            return None
        x, held = entry.value, sg.stop_gradient(entry.value)
        made = self.chooser.choice((held, x * held, x + held, sg.maximum(x, held)))
        return Entry(made, max(2 * entry.bound, entry.bound**2))

    def custom(self):
        entry = self.floating()
        other = self.any_of(lambda value: value.dtype == as_dtype("float64"))
        if entry is None or other is None:
            return None
        if self.chooser.integer(0, 1):
            return Entry(straight(entry.value), entry.bound + 1)
        return Entry(apart(entry.value, other.value), entry.bound)

    def again(self):
        """An extremum of what has one of its operands already: ties wherever that one won."""
        entry = self.floating()
        other = entry and self.partner(entry.value.shape)
        if entry is None or other is None:
            return None
        name, then = (self.chooser.choice(("maximum", "minimum")) for _ in range(2))
        extreme = getattr(sg, name)
        once = extreme(entry.value, other.value)
        twice = getattr(sg, then)(once, self.chooser.choice((other.value, entry.value)))
        return Entry(twice, max(entry.bound, other.bound))

    def itself(self):
        """What is at a kink of its own: abs of abs, where on equal branches, a sign twice."""
        entry = self.floating()
        if entry is None:
            return None
        x = entry.value
        made = self.chooser.choice(
            (
                lambda: abs(abs(x)),
                lambda: abs(-x),
                lambda: sg.where(x > 0.0, x, sg.where(x > 0.0, 0.0, x * x)),
                lambda: sg.maximum(x, x),
                lambda: sg.nn.relu(sg.nn.relu(x)),
                lambda: sg.sign(sg.sign(x)) * x,
            )
        )
        return Entry(made(), max(entry.bound, entry.bound**2))
