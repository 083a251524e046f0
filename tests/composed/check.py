"""Check a composed program: values by NumPy, derivatives by differences of the program in NumPy.

The measure of an error is how far the program in NumPy moves when its operands move by a few units
in the last place: a value that turns on a tie or that has lost its digits has no truth to compare.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

import staticgrad as sg
from staticgrad.language.ir.discovery import load_ops
from tests.composed import by_numpy, rules
from tests.composed.trees import Program

load_ops()


class WrongError(AssertionError):
    """A result that is not what the program means."""

    def __init__(self, door, what):
        super().__init__(f"{door}: {what}")
        self.door = door


def run_numpy(program, arrays, draws, dtype):
    """Return what the program means, in an element type."""
    space = {"np": np, "by": by_numpy, "F": dtype}
    exec(program.text("np"), space)
    with np.errstate(all="ignore"):
        results = space["program"](**arrays, **draws)
    return {name: np.asarray(value) for name, value in results.items()}


def load_program(program, rng):
    """Return the program as a function of staticgrad's; draws come from a generator."""
    space = {"np": np, "sg": sg, "rules": rules, "F": program.dtype, "rng": rng}
    exec(compile(program.text("sg"), "<composed>", "exec"), space)
    return space["program"]


def cast(arrays, dtype):
    """Return the arrays with floats of a type."""
    return {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in arrays.items()}


def move(arrays, directions, distance):
    """Return arrays with leaves moved along directions."""
    moves = {name: arrays[name] + distance * d for name, d in directions.items()}
    return arrays | moves


@dataclass
class Case:
    """A program with its graph, its feeds and what it means."""

    program: Program

    def __post_init__(self):
        self.arrays = self.program.arrays()
        self.eps = float(np.finfo(self.program.dtype).eps)
        self.rng = sg.random.Generator(seed=self.program.seed % 2**32, name="draws")
        self.function = load_program(self.program, self.rng)
        self.unclear = set()  # results that no comparison decides
        self.first = {}  # results of the first door that computed all

    @cached_property
    def graph(self):
        """The program with its derivatives, as a graph."""
        program, values = self.program, {}
        n = sg.dim("n", min=4)
        for name, kind in program.inputs:
            shape = tuple(size.named * n + size.fixed for size in kind.shape)
            dtype = program.dtype if kind.dtype == "float" else kind.dtype
            if name in program.parameters:
                values[name] = sg.parameter(name, self.arrays[name])
            else:
                values[name] = sg.input(name, shape, dtype)
        outputs = {
            name: value if isinstance(value, sg.Value) else sg.constant(value)
            for name, value in self.function(**values).items()
        }
        updates = {values[name]: outputs.pop(f"new {name}") for name in program.parameters}
        inputs = [value for name, value in values.items() if name not in program.parameters]
        leaves = [values[name] for name in program.leaves]
        if program.order and "loss" in outputs and leaves:
            slopes = sg.grad(outputs["loss"], leaves, allow_disconnected=True)
            outputs |= {f"slope {n}": s for n, s in zip(program.leaves, slopes, strict=True)}
            if program.order > 1:
                along = {
                    n: sg.input(f"along {n}", values[n].shape, program.dtype)
                    for n in program.leaves
                }
                inputs += along.values()
                slope = sum(
                    (s * along[n]).sum() for n, s in zip(program.leaves, slopes, strict=True)
                )
                bends = sg.grad(slope, leaves, allow_disconnected=True)
                outputs |= {f"bend {n}": s for n, s in zip(program.leaves, bends, strict=True)}
        return sg.Graph(outputs, updates, inputs=inputs)

    @cached_property
    def directions(self):
        return self.program.directions()

    @cached_property
    def feeds(self):
        names = {value.name for value in self.graph.inputs}
        along = {f"along {name}": d for name, d in self.directions.items()}
        return {name: a for name, a in (self.arrays | along).items() if name in names}

    def reset(self):
        """Give parameters the values that they began with, and let draws begin anew."""
        self.rng.step.value = np.uint64(0)
        for parameter in self.graph.parameters:
            if parameter.name in self.arrays:
                parameter.value = self.arrays[parameter.name]

    def results(self, compiled):
        """Run a compiled program from the start; return outputs and new parameters."""
        self.reset()
        outputs = {name: np.array(a) for name, a in compiled.run(self.feeds).items()}
        return outputs | self.new_parameters()

    def new_parameters(self):
        names = {*self.program.parameters}
        return {
            f"new {p.name}": np.array(p.value) for p in self.graph.parameters if p.name in names
        }

    # -- what is true ------------------------------------------------------------------------------

    def meaning(self, arrays, draws):
        """Return what the program means of operands, in float64."""
        return run_numpy(self.program, cast(arrays, "float64"), cast(draws, "float64"), "float64")

    def check_values(self, door, results):
        """Compare values with the program in NumPy."""
        draws = {name: results[name] for name, _ in self.program.draws}
        self.draws = draws
        expected, allowed = self.find_expected(draws)
        for name, true in expected.items():
            if name not in results:
                continue
            self.compare(door, name, results[name], true, allowed[name])

    def compare(self, door, name, actual, true, allowed):
        """Compare one result, if the program decides it."""
        if name in self.unclear:
            return
        if actual.shape != true.shape:
            raise WrongError(door, f"{name} has the shape {actual.shape}, not {true.shape}")
        if true.dtype.kind not in "fc":
            if not np.array_equal(actual, true):
                raise WrongError(door, f"{name} is {actual!r}, not {true!r}")
            return
        if true.dtype.kind == "f" and actual.dtype != self.program.dtype:
            raise WrongError(door, f"{name} has the type {actual.dtype}")
        error = np.max(np.abs(actual - true), initial=0.0)
        if not error <= allowed:
            raise WrongError(
                door,
                f"{name} is off by {error:.3g}, allowed {allowed:.3g}: {actual!r}, not {true!r}",
            )

    def find_expected(self, draws):
        """Return what the program means and how far each result may be from it."""
        key = {name: array.tobytes() for name, array in draws.items()}
        if getattr(self, "_drawn", None) == key:
            return self._expected
        true = self.meaning(self.arrays, draws)
        errors, rng = dict.fromkeys(true, 0.0), np.random.default_rng(self.program.seed)
        leaves = [n for n, a in self.arrays.items() if a.dtype.kind == "f"]
        for _ in range(2):
            arrays = dict(self.arrays)
            for name in leaves:
                a = self.arrays[name].astype("float64")
                arrays[name] = a + 16 * self.eps * (1 + np.abs(a)) * rng.uniform(-1, 1, a.shape)
            for name, value in self.meaning(arrays, draws).items():
                if value.dtype.kind not in "fc":
                    if not np.array_equal(value, true[name]):
                        self.unclear.add(name)
                    continue
                errors[name] = max(errors[name], np.max(np.abs(value - true[name]), initial=0.0))
        for name, distance in errors.items():
            if true[name].dtype.kind in "fc":
                scale = max(1.0, float(np.max(np.abs(true[name]), initial=0.0)))
                if not np.isfinite(true[name]).all() or distance > 1e5 * self.eps * scale:
                    self.unclear.add(name)
                errors[name] = 64 * distance + 1000 * self.eps * scale
        self._drawn, self._expected = key, (true, errors)
        return self._expected

    # -- derivatives -------------------------------------------------------------------------------

    def loss(self, distance):
        arrays = move(cast(self.arrays, "float64"), self.directions, distance)
        return float(self.meaning(arrays, self.draws)["loss"])

    def check_derivatives(self, door, results):
        """Compare the slope and the bend along a direction with differences."""
        if not any(name.startswith("slope ") for name in results) or "loss" in self.unclear:
            return False
        levels = [("slope", first_difference, (1e-4, 1e-5, 1e-3, 1e-6))]
        if self.program.order > 1:
            levels.append(("bend", second_difference, (1e-2, 3e-3, 1e-3)))
        for level, difference, steps in levels:
            terms = [
                results[f"{level} {name}"].astype("float64") * direction
                for name, direction in self.directions.items()
            ]
            product = float(sum(term.sum() for term in terms))
            scale = float(sum(np.abs(term).sum() for term in terms))
            rtol = max(1e-6 if level == "slope" else 1e-4, 4e3 * self.eps)
            allowed = rtol * max(1.0, scale, abs(float(results["loss"])))
            differences = [self.difference(difference, step) for step in steps]
            if any(abs(product - value) <= allowed for value in differences):
                continue
            pairs = pairwise(differences)
            if not any(abs(a - b) <= 0.3 * allowed for a, b in pairs) or self.has_kink():
                self.unclear.add(level)  # a kink, or too steep
                return False
            raise WrongError(door, f"{level} is {product}, differences are {differences}")
        return True

    def difference(self, difference, step):
        with np.errstate(all="ignore"):
            return difference(self.loss, step)

    def has_kink(self):
        """Return whether the loss has a kink or a jump here: slopes of both sides differ."""
        middle = self.loss(0.0)
        for step in (1e-5, 1e-7):
            right, left = (self.loss(step) - middle) / step, (middle - self.loss(-step)) / step
            if abs(right - left) > 1e-2 * max(1.0, abs(right)):
                return True
        return False


def first_difference(f, h):
    """Return the derivative of f at 0 by differences of the fourth order."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def second_difference(f, h):
    """Return the second derivative of f at 0 by differences of the fourth order."""
    return (-f(2 * h) + 16 * f(h) - 30 * f(0.0) + 16 * f(-h) - f(-2 * h)) / (12 * h * h)
