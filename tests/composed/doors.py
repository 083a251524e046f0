"""Every door that a composed program goes through, as a row: what it runs, and what must hold.

A door takes a ``Case`` and returns results by name, or None where it has nothing for the program.
"bits" doors run the compiled program otherwise, and must give the bits of the first one; results of
the others are compared with NumPy and with differences.
"""

import ctypes
import pickle
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ir.bodies import walk_bodies
from staticgrad.language.ops.fourier import FourierTransform
from staticgrad.language.ops.linalg import LinearAlgebra
from tests.composed.check import Case, WrongError
from tests.exporting.printed import load_exported

DOORS = {}


@dataclass(frozen=True)
class Door:
    """A row: its function, whether its bits are those of the first door, and its cost.

    Attributes:
        every: one program in so many goes through it in the quick suite; 0: none.
        routines: it has others in the place of LAPACK and of Fourier transforms, with other last
            bits.
        refuses: codes of errors by which it refuses programs.
        needs: modules without which it is left out.
    """

    name: str
    push: object
    bits: bool = True
    every: int = 10
    routines: bool = False
    refuses: tuple = ()
    needs: tuple = ()

    def is_installed(self):
        return all(find_spec(name) for name in self.needs)


def door(name, **more):
    def register(push):
        DOORS[name] = Door(name, push, **more)
        return push

    return register


def compile_with(settings=None, **options):
    """Return a door that compiles with options, under settings of the process."""

    def push(case):
        with sg.options(**settings or {}):
            return case.results(sg.compile(case.graph, **options))

    return push


#: Limits so low that small programs take the paths of large ones; what is a maximum, so high.
LOWERED = {
    "wide_product": 64,
    "chunk_rows": 1,
    "byte_flops": 1000,
    "chunk_share": 1000,
    "long_exponentials": 3,
    "exponential_part": 2,
    "exponential_bytes": 1,
    "exponential_row_bytes": 1,
    "partly_sorted_row": 2,
    "selected_row": 2,
    "stored_formula": 2,
    "formula_flops": 10_000,
    "formula_reads": 1000,
    "compared_write": 1,
    "compact_elements": 2,
    "compact_row": 1,
    "chunk_iterations": 2,
    "summed_pads": 2,
    "long_row": 3,
    "totalled_row": 2,
    "large_array": 2,
    "sunk_elements": 2,
    "sunk_window_elements": 2,
    "spared_bytes": 1,
    "square_rows": 2,
    "cut_nodes": 2,
    "copied_rows": 2,
    "copied_row": 2,
    "mask_elements": 2,
    "folded_elements": 2,
    "section_seconds": 1e-12,
    "group_seconds": 1e-12,
    "waking_seconds": 1e-12,
    "chain_seconds": 1e-12,
    "chain_rows": 1,
}
#: Settings under which kernels run as plain Python, which takes no time to compile.
PLAIN = {"jit": False}

#: In plain Python, watched: what a kernel touches outside of its buffers is an error.
door("python", every=8)(compile_with(PLAIN, debug=True))
door("compiled", every=12)(compile_with())
door("debug", every=25)(compile_with(debug=True))
door("threads", every=25)(compile_with(threads=2))
door("O0", every=20)(compile_with(PLAIN, pipeline="O0"))
door("apart", every=20)(compile_with(PLAIN, fuse=False))
door("recompute", every=20)(compile_with(PLAIN, checkpoint="recompute"))
door("sqrt", every=20)(compile_with(PLAIN, checkpoint="sqrt"))
door("checked passes", every=30)(compile_with({**PLAIN, "check": True}))
door("O2", bits=False, every=20)(compile_with(PLAIN, pipeline="O2"))
door("lowered limits", bits=False, every=8)(compile_with({**PLAIN, "limits": LOWERED}))
door("threads, lowered", bits=False, every=30)(compile_with({"limits": LOWERED}, threads=2))
door("numba", every=0)(compile_with({"backend": "numba"}))


def compile_plain(graph):
    with sg.options(**PLAIN):
        return sg.compile(graph)


@door("budget", every=30)
def _(case):
    """The least memory for which there is a plan."""
    with sg.options(**PLAIN):
        try:
            return case.results(sg.compile(case.graph, memory_budget=0))
        except sg.BudgetInfeasible as error:
            return case.results(sg.compile(case.graph, memory_budget=error.smallest_peak))


@door("evaluate", bits=False, every=4)
def _(case):
    case.reset()
    outputs, updates = sg.evaluate(case.graph, case.feeds, updates=True)
    results = {name: np.asarray(value) for name, value in outputs.items()}
    return results | {f"new {n}": np.asarray(v) for n, v in updates.items() if n in case.arrays}


@door("text", every=12)
def _(case):
    """The text of the graph, read again and compiled."""
    case.reset()
    graph = case.graph
    parameters = {p.name: p for p in graph.parameters}
    again = sg.parse(str(graph), parameters=parameters, constants=graph.constants)
    if not sg.same_graph(graph, again):
        raise WrongError("text", "the graph that is read back differs")
    return case.results(compile_plain(again))


@door("pickle", every=20)
def _(case):
    """A pickled graph, whose parameters are its own."""
    case.reset()
    graph = pickle.loads(pickle.dumps(case.graph))
    outputs = compile_plain(graph).run(case.feeds)
    names = {*case.program.parameters}
    return outputs | {f"new {p.name}": p.value for p in graph.parameters if p.name in names}


@door("function", bits=False, every=15)
def _(case):
    """The program as a function of arrays: its values, and its gradients by name."""
    names = [name for name, _ in case.program.inputs]
    case.rng.step.value = np.uint64(0)
    f = sg.function(case.function)
    return f(*[case.arrays[n] for n in names])


@door("gradient", bits=False, every=30)
def _(case):
    """``sg.grad`` of the loss as a function of arrays."""
    names = [name for name, _ in case.program.inputs]
    if "loss" not in case.graph.outputs or not case.program.leaves or case.program.draws:
        return None
    argnums = tuple(names.index(name) for name in case.program.leaves)
    loss = lambda *args: case.function(*args)["loss"]  # noqa: E731
    slopes = sg.grad(loss, argnums=argnums, allow_disconnected=True)(
        *[case.arrays[n] for n in names]
    )
    results = {
        f"slope {n}": np.asarray(s) for n, s in zip(case.program.leaves, slopes, strict=True)
    }
    return results | {"loss": case.first["loss"]} if case.program.order < 2 else None


@door("tape", bits=False, every=6)
def _(case):
    """Eager mode: values at once, and gradients by the tape."""
    tensors = {
        name: sg.eager.Tensor(array, requires_grad=name in case.program.leaves)
        for name, array in case.arrays.items()
    }
    if case.program.draws:
        return None
    with sg.eager_mode():
        outputs = case.function(**tensors)
    results = {n: np.asarray(getattr(v, "detach", lambda v=v: v)()) for n, v in outputs.items()}
    if case.program.order == 1 and getattr(outputs.get("loss"), "requires_grad", False):
        leaves = [tensors[name] for name in case.program.leaves]
        slopes = sg.eager.grad(outputs["loss"], leaves, allow_disconnected=True)
        results |= {
            f"slope {n}": np.asarray(s.detach() if hasattr(s, "detach") else s)
            for n, s in zip(case.program.leaves, slopes, strict=True)
        }
    return results


@door("export .py", every=10)
def _(case):
    """An exported file: its text parses; with helpers that are compiled already it runs."""
    case.reset()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.py"
        compile_plain(case.graph).export(path)
        compile(path.read_text("utf-8"), "step.py", "exec")
    return


@door("run .py", every=0, routines=True)
def _(case):
    case.reset()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.py"
        sg.compile(case.graph).export(path)
        space = load_exported(path)
        results = {name: np.array(a) for name, a in space["run"](case.feeds).items()}
        names = {*case.program.parameters}
        new = space.get("parameters", {})
        return results | {f"new {n}": np.array(a) for n, a in new.items() if n in names}


@door("export .so", every=60, routines=True)
def _(case):
    """A library for C, called by ctypes: inputs, parameters and results by their addresses."""
    case.reset()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"step{next_number()}.so"
        graph = case.graph
        compiled = sg.compile(graph)
        compiled.export(path, header=path.with_suffix(".h"), libraries=["scipy"])
        code = ctypes.CDLL(str(path))
    sizes = [ctypes.c_int64(case.program.n)] if graph.sizes else []
    nbytes = getattr(code, f"{path.stem}_arena_bytes")
    nbytes.restype = ctypes.c_size_t
    memory = np.zeros(nbytes(*sizes) + 64, np.uint8)
    arena = memory[-memory.ctypes.data % 64 :]
    feeds = [np.ascontiguousarray(case.feeds[value.name]) for value in graph.inputs]
    parameters = [np.array(p.value) for p in graph.parameters]
    results = {name: np.zeros_like(case.first[name]) for name in graph.outputs}
    structs = [
        (ctypes.c_void_p * max(1, len(arrays)))(*[array.ctypes.data for array in arrays])
        for arrays in (feeds, parameters, [*results.values()])
    ]
    run = getattr(code, f"{path.stem}_run")
    status = run(*sizes, *structs, ctypes.c_void_p(arena.ctypes.data), None)
    if status:
        raise WrongError("export .so", f"the status is {status}")
    names = {*case.program.parameters}
    pairs = zip(graph.parameters, parameters, strict=True)
    return results | {f"new {p.name}": a for p, a in pairs if p.name in names}


_number = iter(range(10**9))


def next_number():
    return next(_number)


@door("onnx", bits=False, every=12, refuses=("SG",), needs=("onnx",))
def _(case):
    """A file that ONNX's evaluator in NumPy runs; what has no operator there is refused."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    if case.program.draws:
        return None
    case.reset()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        graph = sg.Graph(case.graph.outputs, inputs=case.graph.inputs)
        sg.onnx.export(graph, path)
        model = onnx.load(path)
    if 'op_type: "Erf"' in str(model):
        return None  # the evaluator rounds its results to float32
    names = [output.name for output in model.graph.output]
    feeds = {value.name for value in model.graph.input}
    arrays = {name: array for name, array in case.feeds.items() if name in feeds}
    return dict(zip(names, ReferenceEvaluator(model).run(names, arrays), strict=True))


@door("jax", bits=False, every=100, refuses=("SG",), needs=("jax",))
def _(case):
    """The graph as a function of JAX's."""
    import jax

    if case.program.draws or case.program.parameters:
        return None
    with jax.enable_x64(True):
        feeds = {name: jax.numpy.asarray(a) for name, a in case.feeds.items()}
        results = jax.jit(sg.jax.lower(case.graph))(feeds)
        return {name: np.asarray(a) for name, a in results.items()}


def calls_routines(graph):
    """Return whether a node of the graph, or of its loops, is of LAPACK or a Fourier transform."""
    nodes = [node for part in (graph, *walk_bodies(graph)) for node in part.nodes]
    return any(isinstance(node.op, LinearAlgebra | FourierTransform) for node in nodes)


def check_door(case: Case, door: Door):
    """Push a program through a door and check what it gives; return "=" or why it gave nothing."""
    try:
        results = door.push(case)
    except sg.StaticgradError as error:
        if any(str(error.code).startswith(code) for code in door.refuses):
            return "refused"
        raise WrongError(door.name, f"{type(error).__name__} {error}") from error
    except WrongError:
        raise
    except Exception as error:
        raise WrongError(door.name, f"{type(error).__name__} {error}") from error
    if results is None:
        return "nothing"
    results = {name: np.asarray(array) for name, array in results.items()}
    if door.bits and case.first and not (door.routines and calls_routines(case.graph)):
        for name, array in case.first.items():
            if not same_bytes(results[name], array):
                raise WrongError(
                    door.name, f"{name} has other bits: {results[name]!r}, not {array!r}"
                )
        return "="
    results = {name: case.first[name] for name, _ in case.program.draws if case.first} | results
    case.check_values(door.name, results)
    case.check_derivatives(door.name, results)
    case.first = case.first or results
    return "="
