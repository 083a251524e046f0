"""``python -m tests.bridges.record_calls LIBRARY``: write calls of each row with their results.

The library, ``aten``, ``lax`` or ``pytensor``, runs the programs of the tests and its own samples,
call by call. Of the calls of a row those are kept that reach lines of ours which no shorter one
reaches, or that have other attributes. Calls of which we give something else are printed and left
out: their results are not defined, or are a fault of ours.
"""

import argparse
import contextlib
import json
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

from tests.bridges.recorded_calls import (
    FOLDER,
    PROGRAMS,
    Computed,
    RecordedCall,
    find_difference,
    flatten,
    write_line,
)

#: Characters of a call; of the only call of a row.
MOST, MOST_OF_ONE = 1000, 4000
#: A call that reaches no other line is kept as long as its row has fewer.
MOST_VARIANTS = 3
OURS = tuple(
    str(Path(__file__).resolve().parents[2] / "staticgrad" / name)
    for name in ("bridges", "torch", "jax", "pytensor")
)
#: Operators whose results are not defined, or random.
UNDEFINED = ("empty", "AllocEmpty", "bernoulli", "dropout", "rng_", "as_strided")


def report(text):
    """Write a line to the standard error stream."""
    sys.stderr.write(f"{text}\n")


class Calls:
    """Candidates: recorded calls by row."""

    def __init__(self, library):
        self.library, self.program = library, PROGRAMS[library]
        self.by_row = defaultdict(dict)

    def add(self, call, operands, results):
        """Record a call of a program with the arrays of its operands and results."""
        table = self.program.table_of(call.operator)
        name = next((n for n in (call.operator.name, *call.operator.bases) if n in table), None)
        if name is None or any(word in name for word in UNDEFINED):
            return
        if "random" in table[name].arguments:
            return
        row = f"scalar {name}" if call.operator.is_scalar else name
        if str(call.operator) != call.operator.name:
            row = str(call.operator)  # it applies another one
        recorded = RecordedCall(row, call.operator, operands, call.out, flatten(results))
        try:
            line = write_line(recorded)
        except TypeError:  # a function inside
            return
        if len(line) <= MOST_OF_ONE:
            self.by_row[row].setdefault(line, recorded)

    def choose(self):
        """Return the lines that are kept, of all rows."""
        lines, printed = [], set()
        for row, candidates in sorted(self.by_row.items()):
            reached, variants, count = set(), set(), 0
            for line in sorted(
                candidates, key=lambda line: (says_little(candidates[line]), len(line))
            ):
                call = candidates[line]
                if count and (len(line) > MOST or says_little(call) == 2):
                    continue
                variant = repr([call.operator.attributes, describe(call.operands)])
                with trace_lines() as new:
                    wrong = find_difference(self.library, call)
                if wrong:
                    if (row, wrong[:60]) not in printed:
                        report(f"{row}: {wrong}\n    {line[:200]}")
                    printed.add((row, wrong[:60]))
                    continue
                if new <= reached and (variant in variants or count >= MOST_VARIANTS):
                    continue
                reached |= new
                variants.add(variant)
                lines.append(line)
                count += 1
            if not count:
                report(f"{row}: no call")
        return lines


def says_little(call):
    """Return 2 of a call without elements, 1 of one whose results have one or two, else 0."""
    most = max([np.size(result) for result in call.results if result is not None], default=0)
    return 2 if most == 0 else int(most < 3)


def describe(operands):
    """Return operands without the numbers of arrays."""
    if isinstance(operands, Computed):
        return operands.array.dtype.name, operands.array.ndim
    if isinstance(operands, dict):
        return {name: describe(part) for name, part in operands.items()}
    return [*map(describe, operands)] if isinstance(operands, list | tuple) else operands


@contextlib.contextmanager
def trace_lines():
    """Give the set of our lines that run inside."""
    lines = set()

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(tracer)


def record_aten(calls):
    """Run the functions of the tests, and PyTorch's samples, forward and backward."""
    import torch
    from torch._functorch.aot_autograd import aot_function

    from staticgrad.bridges.programs import read_operands
    from staticgrad.torch.arrays import array_of
    from staticgrad.torch.aten.reading import drop_lossy_decompositions, program_of
    from tests.bridges import test_aten
    from tests.bridges.aten_samples import Sample

    def wrap(x):
        if isinstance(x, torch.Tensor):
            return Computed(np.array(array_of(x.detach().resolve_conj().resolve_neg()), order="C"))
        return [*map(wrap, x)] if isinstance(x, list | tuple) else x

    def unwrap(x):
        return (
            x.array if isinstance(x, Computed) else [*map(unwrap, x)] if isinstance(x, list) else x
        )

    class Interpreter(torch.fx.Interpreter):
        """Runs a graph and keeps the result of each node."""

        def run_node(self, node):
            result = super().run_node(node)
            self.arrays[node] = wrap(result)
            return result

    def compile_graph(graph, example):
        def run(args):
            interpreter = Interpreter(graph)
            interpreter.arrays = {}
            results = interpreter.run(*args)
            with contextlib.suppress(Exception):
                record(graph, interpreter.arrays)
            return results

        run._boxed_call = True
        return run

    def record(graph, arrays):
        program = program_of(graph)
        nodes = [*graph.graph.nodes]
        leaves = [n for n in nodes if n.op == "placeholder"] + [
            n for n in nodes if n.op == "get_attr"
        ]
        inner = [n for n in nodes if n.op not in ("placeholder", "get_attr", "output")]
        env = [arrays.get(node) for node in leaves]
        for node, call in zip(inner, program.calls, strict=True):
            result = arrays[node]
            calls.add(call, read_operands(call.operands, env), unwrap(result))
            env.append(result)

    table = drop_lossy_decompositions(torch._decomp.core_aten_decompositions())

    def run(f, tensors, derive, decompositions):
        compiled = aot_function(
            f, fw_compiler=compile_graph, bw_compiler=compile_graph, decompositions=decompositions
        )
        leaves = [
            t.clone().requires_grad_(derive and (t.is_floating_point() or t.is_complex()))
            for t in tensors
        ]
        results = [r for r in flatten(compiled(*leaves)) if isinstance(r, torch.Tensor)]
        results = [r for r in results if r.requires_grad]
        if results:
            total = sum(
                (r * torch.arange(r.numel()).reshape(r.shape).cos().to(r.dtype)).sum().abs()
                for r in results
            )
            torch.autograd.grad(total, [x for x in leaves if x.requires_grad], allow_unused=True)

    def round_to_cents(t):
        return torch.round(t, decimals=2) if t.is_floating_point() else t

    def attempt(f, tensors, derive=True):
        """Run a function with the decompositions of core ATen, and with none."""
        for decompositions in (table, {}):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    run(f, tensors, derive, decompositions)
            except Exception as error:
                reason = f"{type(error).__name__} {str(error).splitlines()[:1]}"
                report(f"left out: {reason}")

    tables = (test_aten.FUNCTIONS, test_aten.VARIANTS, test_aten.BACKWARD)
    for f, *shapes in [entry for table_ in tables for entry in table_.values()]:
        tensors = [
            round_to_cents(test_aten.random_tensor(*s, seed=k)) for k, s in enumerate(shapes)
        ]
        attempt(f, tensors)
    for name in test_aten.OPERATORS:
        call = None
        with contextlib.suppress(Exception):
            call = test_aten.call_with_elements(name) if "." not in name else None
        if call is not None:
            attempt(
                call[0], [*map(round_to_cents, call[1])], name not in test_aten.WITHOUT_GRADIENTS
            )
            attempt(call[0], [*map(round_to_cents, call[1])], False)
    from torch.testing._internal.common_methods_invocations import op_db

    for op in op_db:
        for dtype in (torch.float64, torch.complex128, torch.int64, torch.bool):
            if dtype not in op.dtypes:
                continue
            try:
                samples = [*op.sample_inputs("cpu", dtype, requires_grad=False)]
            except Exception:
                continue
            samples.sort(
                key=lambda s: sum(
                    t.numel() for t in flatten([s.input, [*s.args]]) if isinstance(t, torch.Tensor)
                )
            )
            for sample_input in samples[: 6 if dtype is torch.float64 else 2]:
                try:
                    sample = Sample(op.op, op.name, sample_input)
                except Exception:
                    continue
                tensors = [*map(round_to_cents, sample.tensors)]
                if sum(t.numel() for t in tensors) < 80:
                    attempt(sample, tensors, dtype is torch.float64 and op.supports_autograd)


def record_lax(calls):
    """Run the programs of the tests, and their gradients, equation by equation."""
    import jax
    from jax import numpy as jnp
    from jax.extend import core

    from staticgrad.bridges.programs import read_operands
    from staticgrad.jax.lax.reading import array_of, program_of
    from tests.bridges import test_lax

    def record(jaxpr, constants, arguments):
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

        def read(variable):
            return variable.val if hasattr(variable, "val") else env[variable]

        program, places = program_of(jaxpr, constants), []
        wrap = lambda x: Computed(np.array(array_of(jnp.asarray(x))))  # noqa: E731
        places = [wrap(env[v]) for v in (*jaxpr.invars, *jaxpr.constvars)]
        for equation, call in zip(jaxpr.eqns, program.calls, strict=True):
            operands = [*map(read, equation.invars)]
            bound = equation.primitive.get_bind_params(equation.params)
            functions, parameters = bound if isinstance(bound, tuple) else ((), bound)
            results = equation.primitive.bind(*functions, *operands, **parameters)
            results = [*results] if equation.primitive.multiple_results else [results]
            env.update(zip(equation.outvars, results, strict=True))
            arrays = [*map(wrap, results)]
            calls.add(call, read_operands(call.operands, places), [a.array for a in arrays])
            places += arrays
            for value in equation.params.values():
                inner = value.jaxpr if isinstance(value, core.ClosedJaxpr) else value
                if isinstance(inner, core.Jaxpr) and len(inner.invars) == len(operands):
                    try:
                        record(inner, getattr(value, "consts", ()), operands)
                    except Exception as error:
                        report(f"left out: inside of {equation.primitive}: {error!r:.100}")

    def run(f, args):
        leaves, structure = jax.tree.flatten(args)
        flat = lambda *xs: jax.tree.leaves(f(*jax.tree.unflatten(structure, xs)))  # noqa: E731
        closed = jax.make_jaxpr(flat)(*leaves)
        record(closed.jaxpr, closed.consts, leaves)

        def total(*xs):
            return sum(
                (jnp.cos(jnp.arange(y.size).reshape(y.shape)) * jnp.abs(y)).sum()
                for y in flat(*xs)
                if jnp.issubdtype(y.dtype, jnp.inexact)
            )

        wrt = tuple(k for k, x in enumerate(leaves) if np.asarray(x).dtype.kind == "f")
        closed = jax.make_jaxpr(jax.grad(total, wrt))(*leaves)
        record(closed.jaxpr, closed.consts, leaves)

    programs = [*test_lax.SMOOTH.values(), *test_lax.OTHERS.values(), *test_lax.VARIANTS.values()]
    programs += [(f, test_lax.KEY) for f in test_lax.RANDOM.values()]
    programs += further_programs_of_lax(jax)
    for f, *args in programs:
        args = jax.tree.map(
            lambda x: np.round(x, 2) if np.asarray(x).dtype.kind == "f" else x, args
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run(f, args)
        except Exception as error:
            report(f"left out: {type(error).__name__} {str(error).splitlines()[:1]}")


def further_programs_of_lax(jax):
    """Return calls of primitives by the names of ``jax.lax`` on small arrays."""
    lax = jax.lax
    x, y = np.array([0.3, -0.75, 2.5], "float32"), np.array([0.5, 1.25, -2.0], "float32")
    u = np.array([0.25, 0.5, 0.9], "float32")
    i, j = np.array([5, -3, 12], "int32"), np.array([3, 2, 5], "int32")
    z = np.array([0.5 + 1j, -1 - 2j], "complex64")
    t = np.array([True, False, True])
    programs = []
    for name in dir(lax):
        f = getattr(lax, name)
        if not callable(f) or name.startswith("_") or isinstance(f, type):
            continue
        for args in (
            (x,),
            (u,),
            (x, y),
            (u, u),
            (u, u, u),
            (i,),
            (i, j),
            (z,),
            (z, z),
            (t,),
            (t, ~t),
            (x, u, y),
        ):
            try:
                result = f(*args)
            except Exception:
                continue
            if isinstance(result, jax.Array):
                programs.append((f, *args))
    return programs + small_programs_of_lax(jax)


def small_programs_of_lax(jax):
    """Return programs of the tests of JAX over arrays that are small enough to be recorded."""
    jnp, lax = jax.numpy, jax.lax
    axes = ("NHWC", "HWIO", "NHWC")
    random = np.random.default_rng(5)

    def draw(*shape):
        return random.normal(size=shape).round(1).astype("float32")

    m, v, image, taps = draw(3, 2), draw(2), draw(1, 4, 3, 2), draw(2, 2, 2, 2)
    square = draw(2, 2)
    definite = (square @ square.T + np.eye(2)).round(1).astype("float32")
    place, beyond = np.array([2, 0]), np.array([2, 9, 0])
    key, wrap = np.array([0, 3], "uint32"), jax.random.wrap_key_data

    def convolve(stride=(1, 1), padding="SAME", **options):
        return lambda x, w: lax.conv_general_dilated(
            x, w, stride, padding, dimension_numbers=axes, **options
        )

    def pool(reduce, first, padding="VALID", **options):
        return lambda x: lax.reduce_window(
            x, np.float32(first), reduce, (2, 2), (1, 2), padding, **options
        )

    return [
        (convolve(), image, taps), (convolve((2, 1), "VALID"), image, taps),
        (convolve(lhs_dilation=(2, 1)), image, taps),
        (convolve(padding=((1, 0), (-1, 2)), rhs_dilation=(1, 2)), image, taps),
        (convolve(feature_group_count=2), image, draw(2, 2, 1, 4)),
        (convolve(batch_group_count=2), draw(2, 3, 2, 1), draw(2, 2, 1, 2)),
        *[(lambda x, y, how=how: getattr(x.at[place], how)(y), m, draw(2, 2))
          for how in ("set", "add", "subtract", "multiply", "min", "max")],
        *[(lambda x, y, how=how: getattr(x.at[beyond, 1], how)(y, mode="drop"), m, draw(3))
          for how in ("set", "add", "multiply", "min", "max")],
        (pool(lax.add, 0.0), draw(3, 4)), (pool(lax.max, -np.inf, "SAME"), draw(3, 4)),
        (pool(lax.min, np.inf), draw(3, 4)), (pool(lax.mul, 1.0), draw(3, 4)),
        (pool(lax.add, 0.0, window_dilation=(1, 2)), draw(3, 4)),
        (pool(lax.max, -np.inf, ((1, 1), (0, 1)), base_dilation=(2, 1)), draw(2, 3)),
        (lambda x: lax.reduce_xor(x, (0,)), np.array([[5, 3], [6, 1]], "int32")),
        (lambda x: lax.reduce_and(x, (1,)), np.array([[5, 3], [6, 1]], "int32")),
        (lambda x: lax.reduce_or(x, (0,)), np.array([[5, 3], [6, 1]], "int32")),
        (lambda a: jnp.tril(lax.linalg.cholesky(a)), definite),
        (lambda a: jnp.linalg.eigvals(a), np.array([[2, 1], [0.5, 3]], "float32")),
        (lambda x: lax.linalg.tridiagonal_solve(x[0], x[1] + 4, x[2], x[3][:, None]), draw(4, 3)),
        (lambda a: lax.linalg.symmetric_product(a, a @ a.T, alpha=2.0, symmetrize_output=True), m),
        (lambda x: lax.optimization_barrier(x) + 1, v), (lambda x: lax.expand_dims(x, (0, 2)), v),
        (lambda key: jax.random.bits(jax.random.fold_in(wrap(key), 7), (3,)), key),
        (lambda key: jax.random.key_data(jax.random.split(wrap(key))), key),
        (lambda seed: jax.random.key_data(jax.random.key(seed)), np.int32(7)),
        (lambda key: jax.random.bits(wrap(key), (2,), "uint8"), key),
    ]  # fmt: skip


def record_pytensor(calls):
    """Run the tests of PyTensor's graphs, node by node by PyTensor."""
    import pytensor
    import pytest
    from pytensor.compile.mode import Mode, get_mode
    from pytensor.link.basic import PerformLinker, WrapLinker

    from staticgrad.pytensor.reading import program_between

    def call_node(graph, number, node, *thunks):
        thunk = thunks[0]
        arrays = [copy_of(x[0]) for x in thunk.inputs]
        thunk()
        results = [copy_of(x[0]) for x in thunk.outputs]
        with contextlib.suppress(Exception):
            (call,) = program_between(node.inputs, [node], node.outputs).calls
            operands = []
            for variable, array in zip(node.inputs, arrays, strict=True):
                is_known = hasattr(variable, "data") or not isinstance(
                    array, np.ndarray | np.generic
                )
                operands.append(array if is_known else Computed(np.asarray(array)))
            calls.add(call, operands, results)
            # Integers may be sizes, which are known while a program is built.
            calls.add(call, [*map(make_known, operands)], results)

    def make_known(x):
        is_integer = isinstance(x, Computed) and x.array.dtype.kind == "i" and x.array.ndim < 2
        return x.array if is_integer else x

    def copy_of(x):
        return x.copy() if isinstance(x, np.ndarray) else x

    original = pytensor.function

    def call_scalar(op):
        """Record an Op of numbers over vectors of several element types."""
        u, x = np.array([0.25, 0.5, 0.9]), np.array([-1.5, 0.3, 2.5])
        i, t = np.array([5, -3, 12]), np.array([True, False, True])
        w = np.array([3.0, 1.5, 4.25])
        for args in ([u] * 4, [x, w, u, x], [w, u, x, w], [i, abs(i)[::-1], i, i], [t, ~t, t, t],
                     [t, x, w, u], [x + 1j * w, u - 1j * x, u, u]):  # fmt: skip
            with contextlib.suppress(Exception):
                arrays = [np.ascontiguousarray(a) for a in args[: op.nin]]
                inputs = [pytensor.tensor.vector(dtype=a.dtype.name) for a in arrays]
                output = pytensor.tensor.elemwise.Elemwise(op)(*inputs)
                record_calls = Mode(WrapLinker([PerformLinker()], call_node), None)
                original(inputs, output, mode=record_calls)(*arrays)

    def function(inputs, outputs=None, mode=None, **options):
        with contextlib.suppress(Exception):
            rewrites = get_mode("STATICGRAD" if mode == "STATICGRAD" else "FAST_COMPILE").optimizer
            recording = Mode(WrapLinker([PerformLinker()], call_node), rewrites)
            record = original(
                inputs, outputs, mode=recording, **{**options, "on_unused_input": "ignore"}
            )
        result = original(inputs, outputs, mode=mode, **options)

        class RecordedFunction:
            """A function whose calls are recorded."""

            def __call__(self, *args, **kwargs):
                with contextlib.suppress(Exception):  # also where it could not be compiled
                    record(*args, **kwargs)
                return result(*args, **kwargs)

            def __getattr__(self, name):
                return getattr(result, name)

        return RecordedFunction()

    pytensor.function = function
    for module in (pytensor.scalar.basic, pytensor.scalar.math):
        for scalar_op in vars(module).values():
            if isinstance(scalar_op, pytensor.scalar.basic.ScalarOp):
                call_scalar(scalar_op)
    folder = str(Path(__file__).parent)
    pytest.main(
        [
            "-n0",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "",
            "--tb=no",
            "-W",
            "ignore",
            *[
                f"{folder}/test_{name}.py"
                for name in ("pytensor", "pytensor_table", "pytensor_scan")
            ],
        ]
    )


def main():
    """Write the file of a library."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=PROGRAMS)
    library = parser.parse_args().library
    calls = Calls(library)
    {"aten": record_aten, "lax": record_lax, "pytensor": record_pytensor}[library](calls)
    lines = calls.choose()
    (FOLDER / f"{library}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    rows = {json.loads(line)[0] for line in lines}
    report(f"{len(lines)} calls of {len(rows)} rows")


if __name__ == "__main__":
    main()
