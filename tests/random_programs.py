"""Random programs as descriptions, so that hypothesis can shrink a failure to a few nodes.

A ``Description`` is a header and a list of steps, each a few bytes: which step, and its choices. A
step left out, or a byte made smaller, is another valid program; what no output needs is not in the
graph. ``Program`` holds the graph made of one (gradients, Hessian-vector products, updates, random
draws), its feeds, and a script that shows a failure without this package's tests.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.ir.printer import graph_constants
from staticgrad.types.dim import evaluate as evaluate_dim
from staticgrad.types.dtype import as_dtype
from tests.random_bodies import BODIES
from tests.random_graphs import MOST_ELEMENTS, Builder, Chooser, input_value
from tests.random_library_steps import LIBRARY
from tests.random_steps import STEPS

HEADER = 48  # bytes that choose sizes and leaves
STEP = 8  # bytes of a step: its kind, and its choices
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33)  # of named sizes; odd, and round the lanes


@dataclass(frozen=True)
class Description:
    """A program, written down: bytes for its leaves, for every step, and for its outputs."""

    smooth: bool
    order: int
    header: bytes
    steps: tuple[bytes, ...]

    def __str__(self):
        steps = ", ".join(f'"{step.hex()}"' for step in self.steps)
        return f'described({self.smooth}, {self.order}, "{self.header.hex()}", [{steps}])'


def described(smooth, order, header, steps):
    """The description that was printed."""
    made = tuple(map(bytes.fromhex, steps))
    return Description(smooth, order, bytes.fromhex(header), made)


@st.composite
def descriptions(draw, min_steps=10, max_steps=40, smooth=None):
    """Programs; a failure shrinks by losing steps, then by simpler choices."""
    steps = st.lists(
        st.binary(min_size=STEP, max_size=STEP), min_size=min_steps, max_size=max_steps
    )
    return Description(
        draw(st.booleans()) if smooth is None else smooth,
        draw(st.integers(0, 2)),
        draw(st.binary(min_size=HEADER, max_size=HEADER)),
        tuple(draw(steps)),
    )


def random_description(rng, steps, smooth):
    """A program drawn without hypothesis."""
    made = tuple(rng.bytes(STEP) for _ in range(steps))
    return Description(smooth, int(rng.integers(0, 3)), rng.bytes(HEADER), made)


class _Described(Builder):
    """A builder whose choices are those of a description."""

    def graph_of(self, description):
        pick = self.chooser
        self.numbers = np.random.default_rng(list(description.header[:4]))
        self.generator = sg.random.Generator(pick.integer(0, 255), name="draws")
        self.sizes = {name: pick.choice(SIZES) for name in ("batch", "n")}
        self.axes = [2, 1, 3, 4, 5, 8, 17, sg.dim("batch"), sg.dim("batch"), sg.dim("n", hint=8)]
        self.pool, self.feeds, self.inputs, self.parameters = [], {}, [], []
        base = tuple(pick.choice(self.axes) for _ in range(pick.choice((1, 2, 2, 3, 0))))
        for index in range(pick.integer(1, 3)):
            shape = base if index == 0 else self.near(base)
            self.add_input(f"x{index}", pick.choice(self.dtypes), shape)
        for index in range(pick.integer(0, 2)):
            self.add_parameter(f"w{index}", self.near(base))
        if self.integers and pick.integer(0, 3):
            self.add_input(
                "i", as_dtype(pick.choice(("int64", "int32", "int8", "uint8"))), self.near(base)
            )
        self.steps_to_choose, self.waiting = self.table(), deque(description.steps)
        self.depth = 0
        while self.waiting:
            self.next_steps(1)
        self.chooser = pick
        return self.rooted(description)

    def next_steps(self, most):
        """Up to so many steps of the description, each into the pool; bodies take some, too."""
        for _ in range(min(most, len(self.waiting))):
            text = self.waiting.popleft()
            self.chooser = Chooser(text)
            self.numbers = np.random.default_rng(list(text))
            self.attempt(self.chooser.choice(self.steps_to_choose))
            if not self.waiting:
                return

    def table(self):
        basic = list(dict.fromkeys(self.steps()))
        more = [
            s
            for s, often, smooth in (STEPS | LIBRARY | BODIES).values()
            for _ in range(often)
            if smooth or not self.smooth
        ]
        return [*basic, *(lambda step=step: step(self) for step in more)]

    def any_of(self, accepts=lambda value: True):
        """One of the latest three that fit, or else any: so that programs grow deep."""
        fitting = [entry for entry in self.pool if accepts(entry.value)][::-1]
        if not fitting:
            return None
        reach = 3 if self.chooser.integer(0, 2) else len(fitting)
        return self.chooser.choice(fitting[:reach])

    def attempt(self, step):
        """Add what the step gives, if it is not too large; the latest values are read most."""
        made = step()
        if made is None or made.value.ndim > self.max_rank:
            return
        if evaluate_dim(made.value.size, {"batch": 33, "n": 33}) <= 4 * MOST_ELEMENTS:
            self.pool.append(self.squashed(made))

    def rooted(self, description):
        """The graph: latest values as outputs, and their derivatives."""
        pick = self.chooser
        outputs = {"out": self.pool[-1].value}
        for index in range(pick.integer(0, 3)):
            outputs[f"more {index}"] = self.pool[-1 - pick.integer(0, len(self.pool) - 1)].value
        updates = {}
        gradients = self.derivatives(list(outputs.values()), description.order, outputs)
        for parameter in self.parameters:
            if parameter in gradients and pick.integer(0, 2):
                updates[parameter] = parameter - gradients[parameter] * 0.125
            elif pick.integer(0, 1):
                updates[parameter] = sg.tanh(parameter) * 0.5
        graph = sg.Graph(outputs, updates, name="random", inputs=self.inputs)
        if any(parameter is self.generator.step for parameter in graph.parameters):
            updates |= self.generator.updates
            graph = sg.Graph(outputs, updates, name="random", inputs=self.inputs)
        return graph

    def derivatives(self, values, order, outputs):
        """Gradients of a loss and Hessian-vector products, put into ``outputs``."""
        leaves = [v for v in (*self.inputs, *self.parameters) if v.dtype.is_float]
        self.loss, self.directions = loss_of(values), {}
        if not order or self.loss is None:
            return {}
        found = sg.grad(self.loss, {leaf: leaf for leaf in leaves}, allow_disconnected=True)
        outputs["loss"] = self.loss
        outputs |= {f"gradient of {label(leaf)}": value for leaf, value in found.items()}
        if order == 1:
            return dict(found)
        slopes = []
        for leaf, gradient in found.items():
            along = input_value(f"along {label(leaf)}", leaf.type)
            self.directions[leaf] = along
            self.inputs.append(along)
            self.feeds[f"along {label(leaf)}"] = self.numbers_of(
                leaf.dtype, self.concrete(leaf.shape)
            )
            slopes.append((gradient * along).astype("float64").sum())
        self.slope = sum(slopes[1:], slopes[0])
        second = sg.grad(self.slope, leaves, allow_disconnected=True)
        outputs["slope"] = self.slope
        outputs |= {
            f"curvature by {label(leaf)}": value for leaf, value in zip(leaves, second, strict=True)
        }
        return dict(found)


def label(leaf):
    """The name of an input or parameter."""
    return str(getattr(leaf, "name", None) or leaf.node.op.label)


def loss_of(values):
    """One number that depends on every floating value, bounded in value and slope; or None."""
    parts = [sg.tanh(v * 0.5).astype("float64").sum() for v in values if v.dtype.is_float]
    return sum(parts[1:], parts[0]) if parts else None


class Program:
    """What a description describes.

    Attributes:
        graph: outputs, gradients, curvatures and updates.
        stable: the same after ``stabilize``, which compiling does first at every level.
        feeds: arrays by input, at the sizes of the description.
        start: values of the parameters before a run.
    """

    def __init__(self, description):
        self.description = description
        dtypes = tuple(map(as_dtype, ("float64", "float32")))
        smooth = description.smooth
        chooser = Chooser(description.header[4:])
        builder = _Described(chooser, dtypes, True, not smooth, smooth, False, 3)
        self.graph = builder.graph_of(description)
        self.stable = pipeline("stabilize")(self.graph)
        self.nodes = None  # compiled apart, by whoever compares nodes
        self.feeds = dict(builder.feeds)
        self.sizes = builder.sizes
        self.loss, self.directions = builder.loss, builder.directions
        self.parameters = self.graph.parameters
        self.start = [p.value for p in self.parameters]

    def reset(self):
        """Give the parameters of the graph the values that they began with."""
        for parameter, value in zip(self.parameters, self.start, strict=True):
            parameter.value = value

    def at_sizes(self, **sizes):
        """Feeds at other named sizes."""
        rng = np.random.default_rng(list(self.description.header[:4]))
        feeds = {}
        for value in self.graph.inputs:
            shape = tuple(evaluate_dim(n, {**self.sizes, **sizes}) for n in value.shape)
            feeds[label(value)] = numbers(rng, shape, value.dtype.numpy)
        return feeds

    def script(self):
        """A program that needs no tests: the graph as text, and its feeds."""
        lines = ["import numpy as np", "import staticgrad as sg", "from numpy import *", ""]
        lines += [f'text = """{self.graph}"""']
        constants = graph_constants(self.graph)
        with np.printoptions(threshold=10**9, floatmode="unique"):
            lines += [f"constants = {constants!r}"]
            values = dict(zip((p.name for p in self.parameters), self.start, strict=True))
            lines += [f"parameters = {values!r}", f"feeds = {self.feeds!r}"]
        lines += [
            "graph = sg.parse(text, parameters=parameters, constants=constants)",
            "wanted = sg.evaluate(graph, feeds)",
            "for name, array in sg.compile(graph).run(feeds).items():",
            "    print(name, abs(array - wanted[name]).max() if array.size else 'empty')",
        ]
        return "\n".join(lines)

    def told(self):
        """The program as a failing test shows it."""
        return f"{self.description}\n{self.graph}\n\n{self.script()}"


def numbers(rng, shape, dtype):
    """Numbers that the steps keep tame."""
    if np.dtype(dtype).kind == "f":
        return np.asarray(rng.uniform(-2, 2, shape)).astype(dtype)
    return np.asarray(rng.integers(-3, 4, shape)).astype(dtype)
