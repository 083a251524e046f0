"""Doors: ways in, through and out, each a function that pushes the program of a kind through it.

A door takes a ``Case`` (``kinds.py``) and returns results by name, which the test compares with the
reference of the case. What it cannot take has to be one coded error that names the door and the
kind. A new way in or out is a function here, with ``@door``.
"""

import ctypes
import importlib.util
import pickle
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import ml_dtypes
import numpy as np

import staticgrad as sg
from staticgrad.eager import Tensor
from tests.doors.kinds import Case, dense, with_label

NARROW = float(ml_dtypes.finfo(ml_dtypes.bfloat16).eps)


@dataclass(frozen=True)
class Door:
    """One row.

    Attributes:
        name: of the row.
        push: takes a case, returns results by name; None where it has compared by itself.
        covers: public names whose door this is.
        words: an error of this door has one of them: the names that its user wrote.
        quick: all kinds are quick: nothing is compiled.
        needs: packages that it needs.
        eps: relative error of one rounding, where the door rounds more than the kind.
        slow: a cell takes seconds.
        small: arrays of few rows, for results that have an element per pair of elements.
        wide: results may be of float64 or complex128, as SciPy's and scikit-learn's are.
    """

    name: str
    push: Callable
    covers: tuple[str, ...]
    words: tuple[str, ...]
    quick: bool
    needs: tuple[str, ...] = ()
    eps: float | None = None
    slow: bool = False
    small: bool = False
    wide: bool = False


DOORS: dict[str, Door] = {}
_numbers = count()


def door(name, covers="", words="", quick=False, needs="", **more):
    """Make a function of a case a row of the table."""

    def register(push):
        names = tuple(covers.split())
        texts = tuple(words.split()) or tuple(path.rpartition(".")[2] for path in names) or (name,)
        DOORS[name] = Door(name, push, names, texts, quick, tuple(needs.split()), **more)
        return push

    return register


def native(array):
    """The array in C order and the byte order of the machine, as other libraries ask for it."""
    return np.array(array, array.dtype.newbyteorder("="), order="C")


@cache
def _root():
    return tempfile.TemporaryDirectory(prefix="doors-")  # removed when the process ends


def folder():
    return Path(tempfile.mkdtemp(dir=_root().name))


# -- ways to run a graph -------------------------------------------------------------------------


@door("evaluate", "sg.evaluate sg.Graph", quick=True)
def _(case):
    return sg.evaluate(case.graph(), case.feeds)


def compile_with(**options):
    """A door that compiles with options, and runs twice: the second run has an entry of its own."""

    def push(case):
        f = sg.compile(case.graph(), **options)
        first = {name: np.array(array) for name, array in f.run(case.feeds).items()}
        return {**with_label(first, "first run"), **with_label(f.run(case.feeds), "second run")}

    return push


OPTIONS = {
    "run": ({}, "sg.compile sg.Compiled sg.Compiled.run"),
    "backend numba": ({"backend": "numba"}, "compile.backend options.backend"),
    "threads 2": ({"threads": 2}, "compile.threads options.threads"),
    "debug nan": ({"debug": "nan"}, ""),
    "debug": ({"debug": True}, "compile.debug options.debug"),
    "checkpoint recompute": ({"checkpoint": "recompute"}, "compile.checkpoint"),
    "pipeline O2": ({"pipeline": "O2"}, "compile.pipeline sg.passes"),
    "fuse off": ({"fuse": False}, "compile.fuse"),
    "passes off": ({"disable": ["simplify", "cse", "im2col", "segments"]}, "compile.disable"),
    "tune": ({"tune": True}, "compile.tune options.tune"),
    "linalg portable": ({"linalg": "portable"}, "compile.linalg options.linalg"),
    "freeze": ({"freeze": True}, "compile.freeze"),
}
for _name, (_options, _covers) in OPTIONS.items():
    slow = "backend" in _options
    door(_name, _covers, words="compile run", slow=slow)(compile_with(**_options))


@door("memory budget", "compile.memory_budget sg.BudgetInfeasible", words="compile run", slow=True)
def _(case):
    """The smallest of these budgets for which there is a plan; views are copied into it, too."""
    for budget in (0.7, 0.8, 0.9, 1.0, "1MB"):
        try:
            return sg.compile(case.graph(), memory_budget=budget).run(case.feeds)
        except sg.BudgetInfeasible:
            continue
    raise AssertionError("no plan has the peak of the plan without a budget")


@door("jit off", "options.jit", words="compile run")
def _(case):
    with sg.options(jit=False):
        return sg.compile(case.graph()).run(case.feeds)


@door("sizes fixed", "compile.sizes", words="compile run")
def _(case):
    sizes = {"rows": case.rows} if case.kind.named else None
    return sg.compile(case.graph(), sizes=sizes).run(case.feeds)


@door("narrow", "sg.precision", words="narrow precision", eps=NARROW)
def _(case):
    return sg.compile(case.graph(), pipeline="O1,narrow").run(case.feeds)


@door("out", "sg.Compiled.run.out", words="out run")
def _(case):
    f = sg.compile(case.graph())
    out = {name: np.full_like(array, 1) for name, array in f.run(case.feeds).items()}
    actual = f.run(case.feeds, out=out)
    assert all(np.shares_memory(actual[name], out[name]) for name in out if out[name].size)
    return out


@door("bind", "sg.Compiled.bind")
def _(case):
    call = sg.compile(case.graph()).bind(case.feeds)
    first = {name: np.array(array) for name, array in call().items()}
    return {**with_label(first, "first call"), **with_label(call(), "second call")}


@door("tradeoff and profile", "sg.tradeoff sg.Compiled.profile", words="tradeoff profile")
def _(case):
    f = sg.compile(case.graph())
    sg.tradeoff(f, sizes={"rows": case.rows} if case.kind.named else None)
    f.profile(case.feeds)
    return f.run(case.feeds)


@door("compile a function's graph", "sg.function.graph", words="graph function")
def _(case):
    graph = function(case).graph(case.x, case.w)
    arrays = [*case.feeds.values()]
    names = [value.node.label for value in graph.inputs]
    results = sg.evaluate(graph, dict(zip(names, arrays, strict=True)))
    return dict(
        zip(("loss", "mean", "picked", "product", "wave"), values_by_name(results), strict=True)
    )


def values_by_name(results):
    return [results[name] for name in sorted(results)]


# -- functions of arrays -------------------------------------------------------------------------


def function(case, f=None, **options):
    """The program, or another function of x and w, as ``sg.function``."""
    sizes = {"x": ("rows", None)} if case.kind.named else None
    return sg.function(f or (lambda x, w: case.values(x, w)), sizes=sizes, **options)


@door("function", "sg.function")
def _(case):
    f = function(case)
    if case.kind.named:
        smaller = Case(case.kind, rows=4)
        smaller.check(f(smaller.x, smaller.w))
    return f(case.x, case.w)


@door("function eagerly", "sg.function.eagerly", words="eagerly function", quick=True)
def _(case):
    results = function(case).eagerly(case.x, case.w)
    return {name: np.asarray(array) for name, array in results.items()}


@door("tape", "sg.eager.Tensor sg.eager.grad sg.eager", words="Tensor tensor grad", quick=True)
def _(case):
    x, w = tensors(case)
    results = case.values(x, w)
    arrays = {name: np.asarray(tensor.detach()) for name, tensor in results.items()}
    if case.differentiable:
        slope = sg.eager.grad(results["loss"], dense(x))
        arrays["slope"] = np.asarray(slope)
    return arrays


def tensors(case, requires_grad=None):
    """x, which requires a gradient if it can have one or it is ``requires_grad``, and w."""
    requires_grad = case.differentiable if requires_grad is None else requires_grad
    if not case.kind.sparse:
        return Tensor(case.x, requires_grad=requires_grad), Tensor(case.w)
    return rebuilt(case, Tensor(case.matrix.data, requires_grad=requires_grad)), Tensor(case.w)


@door("backward", words="backward Tensor", quick=True)
def _(case):
    x, w = tensors(case, requires_grad=True)
    case.loss(x, w).backward()
    return {"slope": np.asarray(dense(x).grad)}


def rebuilt(case, data):
    """The sparse matrix of a case with other elements."""
    m = case.matrix
    return sg.sparse.csr(data, m.indices, m.indptr, m.shape)


@door("tape checkpoint", "sg.eager.checkpoint", quick=True)
def _(case):
    x, w = tensors(case)
    loss = sg.eager.checkpoint(case.loss, x, w)
    if not case.differentiable:
        return {"loss": np.asarray(loss.detach())}
    return {"slope": np.asarray(sg.eager.grad(loss, dense(x)))}


@door("tape gradcheck", "sg.eager.gradcheck", words="gradcheck tensor", quick=True)
def _(case):
    if not case.kind.eps or case.kind.eps > 1e-3:
        x, w = tensors(case.smaller, requires_grad=True)
        sg.eager.gradcheck(case.loss, (x, w))  # of narrow floats it is too coarse to pass
        return
    x, w = tensors(case.smaller)
    x, w = (x, w) if not case.kind.sparse else (x.data, w)
    f = case.loss if not case.kind.sparse else lambda x, w: case.loss(rebuilt(case, x), w)
    assert sg.eager.gradcheck(f, (x, w))


@door("eager mode", "sg.eager_mode", words="eager_mode constant tensor grad", quick=True)
def _(case):
    with sg.eager_mode():
        x = sg.constant(case.feeds["x"])
        x = rebuilt(case, x) if case.kind.sparse else x
        results = case.values(x, sg.constant(case.w))
        return {name: np.asarray(array) for name, array in results.items()}


@door("xp", "sg.xp", words="xp asarray", quick=True)
def _(case):
    """The array API: its functions are those of tensors."""
    xp = sg.xp
    if case.kind.sparse:
        x = xp.asarray(case.matrix)
        return {"product": np.asarray(x @ xp.asarray(case.w))}
    x, w = xp.asarray(case.x), xp.asarray(case.w)
    if case.kind.family == "truth":
        return {"wave": np.asarray(xp.logical_not(x))}
    wave = xp.sin(x) if case.differentiable else x * 3 + 1
    product = wave * w if x.ndim == 0 else xp.matmul(wave, w)
    results = {"wave": wave, "product": product}
    if case.differentiable:
        results["mean"] = xp.mean(product, axis=case.axis)
    if case.at is not None:
        results["picked"] = xp.take(product, xp.asarray(case.at), axis=0)
    return {name: np.asarray(array) for name, array in results.items()}


def unit(x):
    """The cotangent of the loss: 1 in its own type."""
    return np.ones((), sg.real(x).dtype if np.dtype(x.dtype).kind == "c" else x.dtype)


def add_derivative_door(name, covers, result, *, words="", small=False):
    """A door of derivatives: of values of a graph, evaluated, and of arrays, at once.

    ``result`` takes the loss, x, w and a direction, and gives results by name.
    """

    def push(case):
        results = case.evaluate_results(lambda x, w: result(case.loss, x, w, case.direction(x)))
        if case.thorough:
            at_once = result(case.loss, case.x, case.w, case.direction(case.x))
            results |= with_label(
                {name: dense(array) for name, array in at_once.items()}, "at once"
            )
        return results

    door(name, covers, words=words, quick=True, small=small)(push)


add_derivative_door("grad", "sg.grad", lambda f, x, w, v: {"slope": sg.grad(f)(x, w)})
add_derivative_door(
    "value_and_grad", "sg.value_and_grad",
    lambda f, x, w, v: dict(zip(("loss", "slope"), sg.value_and_grad(f)(x, w), strict=True)),
)  # fmt: skip
add_derivative_door(
    "vjp", "sg.vjp", lambda f, x, w, v: {"slope": sg.vjp(f, (x, w), argnums=0)[1](unit(x))}
)
add_derivative_door(
    "jvp", "sg.jvp",
    lambda f, x, w, v: dict(zip(("loss", "along"), sg.jvp(f, (x, w), v, argnums=0), strict=True)),
)  # fmt: skip
add_derivative_door(
    "linearize", "sg.linearize",
    lambda f, x, w, v: {"along": sg.linearize(f, (x, w), argnums=0)[1](v)},
)  # fmt: skip
add_derivative_door("hvp", "sg.hvp", lambda f, x, w, v: {"bent": sg.hvp(f, (x, w), v, argnums=0)})
add_derivative_door(
    "hessian", "sg.hessian", lambda f, x, w, v: {"bends": sg.hessian(f)(x, w)}, small=True
)
add_derivative_door("jacobian", "sg.jacobian", lambda f, x, w, v: {"slope": sg.jacobian(f)(x, w)})


@door("sparse_jacobian", "sg.sparse_jacobian sg.sparse_hessian")
def _(case):
    x = case.x
    dense = not case.kind.sparse and case.kind.rows is not None
    actual = sg.sparse_jacobian(sg.sin)(x[:, 0] if dense else x)
    np.testing.assert_allclose(
        np.diag(actual.todense()),
        np.cos(case.exact_x[:, 0] if dense else case.exact_x.ravel()),
        rtol=16 * case.kind.eps,
    )


@door("check_gradients", "sg.testing.check_gradients sg.testing", quick=True)
def _(case):
    f = (lambda x, w: case.loss(rebuilt(case, x), w)) if case.kind.sparse else case.loss
    assert sg.testing.check_gradients(f, [*case.feeds.values()], directions=1) < 1e-6


# -- through functions that take functions -------------------------------------------------------


def through(name, covers, way, words=""):
    """A door that the elementwise function of the program goes through: ``way(f, x, case)``."""

    def push(case):
        return case.evaluate_through(lambda f, x: way(f, x, case))

    door(name, covers, words=words, quick=True)(push)


def zeros(x):
    return x.with_data(x.data * 0.0) if isinstance(x, sg.sparse.Sparse) else sg.zeros_like(x)


through("vmap", "sg.vmap", lambda f, x, case: sg.vmap(f)(x))
through("map", "sg.map", lambda f, x, case: sg.map(f, x))
through("scan", "sg.scan", lambda f, x, case: sg.scan(lambda n, r: (n + 1, f(r)), 0, x)[1])
through(
    "scan's carry", "", lambda f, x, case: sg.scan(lambda h, _: (f(h), None), x, length=1)[0],
    words="scan",
)  # fmt: skip
through(
    "while_loop", "sg.while_loop",
    lambda f, x, case: sg.while_loop(
        lambda s: s[0] < 1, lambda s: (s[0] + 1, f(s[1])), (0, x), max_steps=2
    )[1],
)  # fmt: skip
through(
    "fori_loop", "sg.fori_loop",
    lambda f, x, case: sg.fori_loop(0, number_one(x, case), lambda i, h: f(h), x, max_steps=2),
)  # fmt: skip
through("cond", "sg.cond", lambda f, x, case: sg.cond(number_one(x, case) > 0, f, lambda x: x, x))
through(
    "switch", "sg.switch", lambda f, x, case: sg.switch(number_one(x, case), [lambda x: x, f], x)
)
through(
    "associative_scan", "sg.associative_scan",
    lambda f, x, case: sg.associative_scan(lambda a, b: b, f(x)),
)  # fmt: skip
through("checkpoint", "sg.checkpoint", lambda f, x, case: sg.checkpoint(f)(x))
through(
    "checkpoint policy", "sg.checkpoint_policies",
    lambda f, x, case: sg.checkpoint(f, sg.checkpoint_policies.nothing_saveable)(x),
    words="checkpoint",
)  # fmt: skip
through("function inside", "", lambda f, x, case: sg.function(f)(x), words="function")
through("stop_gradient", "sg.stop_gradient", lambda f, x, case: f(x) + sg.stop_gradient(x) * 0
        if case.kind.family != "truth" else f(x))  # fmt: skip
through("scope", "sg.scope", lambda f, x, case: call_in_scope(f, x))
through("distributed.mean", "sg.distributed.mean sg.distributed",
        lambda f, x, case: sg.distributed.mean(f(x)), words="mean")  # fmt: skip


def back(value, case):
    """The result of a solver in the dtype of the kind: integers become float64 there."""
    return value if case.differentiable else sg.astype(sg.rint(value), case.kind.dtype)


def last(states):
    return sg.tree.map(lambda state: state[-1], states)


through(
    "rk4", "sg.ode.rk4 sg.ode",
    lambda f, x, case: back(
        last(sg.ode.rk4(lambda t, y, c: c, zeros(x), [0.0, 1.0], args=(f(x),))), case
    ),
)  # fmt: skip
through(
    "rk45", "sg.ode.rk45",
    lambda f, x, case: back(
        sg.ode.rk45(lambda t, y, c: c, zeros(x), 0.0, 1.0, max_steps=9, args=(f(x),)), case
    ),
)  # fmt: skip
through(
    "solve", "sg.ode.solve",
    lambda f, x, case: back(
        last(
            sg.ode.solve(
                lambda t, y, c: c, zeros(x), [0.0, 1.0], (f(x),), method="rk23", max_steps=9,
                dense=True,
            ).ys
        ),
        case,
    ),
)  # fmt: skip
#: Equation of each solver for y, whose solution is c.
EQUATIONS = {
    "fixed_point": lambda y, c: (y + c) / 2,
    "root": lambda y, c: y - c,
    "argmin": lambda y, c: sg.abs_square(y - c).sum(),
}


def by_steps(name):
    solver, equation = getattr(sg.implicit, name), EQUATIONS[name]
    return lambda f, x, case: solver(equation, zeros(x), f(x), tol=2 * max(case.kind.eps, 1e-16))


for _name in EQUATIONS:
    through(_name, f"sg.implicit.{_name} sg.implicit", by_steps(_name), words=_name)
through("cg", "sg.linalg.cg sg.linalg",
        lambda f, x, case: solve_columns(sg.linalg.cg, f, x, case), words="cg")  # fmt: skip
through("gmres", "sg.linalg.gmres", lambda f, x, case: solve_columns(sg.linalg.gmres, f, x, case))


def number_one(x, case):
    """The number 1, which only the run shows."""
    some = dense(x)
    return 1 + (some == 77).sum() if case.kind.family != "truth" else 1 + (some & ~some).sum()


def call_in_scope(f, x):
    with sg.scope("part"):
        return f(x)


def solve_columns(solver, f, x, case):
    """A column at a time, of 2 y = 2 f(x)."""
    value = f(x)
    solve = lambda b: solver(lambda v: v * 2, b, rtol=max(case.kind.eps, 1e-15))[0]  # noqa: E731
    if case.kind.rows is None or case.kind.sparse:
        return solve(value * 2)
    if case.kind.family == "truth":
        return back(sg.vmap(solve, 1, 1)(value) * 2, case)
    return back(sg.vmap(solve, 1, 1)(value * 2), case)


def with_rule(make, rule):
    """An elementwise function with a rule for its derivative that is written here."""

    def way(f, x, case):
        function = make(
            lambda x: f(x), name=f"doors.{case.kind.name.replace(' ', '_')}.{next(_numbers)}"
        )
        function.rule(rule)
        return function(x)

    return way


through("custom_vjp", "sg.custom_vjp",
        with_rule(sg.custom_vjp, lambda ct, out, x: (ct * sg.cos(x),)),
        words="custom_vjp doors.")  # fmt: skip
through("custom_jvp", "sg.custom_jvp",
        with_rule(sg.custom_jvp, lambda tangents, out, x: tangents[0] * sg.cos(x)),
        words="custom_jvp doors.")  # fmt: skip


def call(f, x, case, caller):
    """The function of the kind in NumPy."""
    host = {"inexact": np.sin, "whole": lambda a: a * 3 + 1, "truth": np.logical_not}
    host_function = host[case.kind.family]
    if caller is sg.numba_call and isinstance(host_function, np.ufunc):
        ufunc = host_function
        host_function = lambda a: ufunc(a)  # noqa: E731
    elif caller is sg.host_call:
        dtype, plain = case.kind.numpy, host_function
        host_function = lambda a: np.asarray(plain(a), dtype)  # noqa: E731
    rule = (lambda ct, out, x: (ct * sg.cos(x),)) if case.differentiable else None
    return caller(host_function, x, types=x, vjp=rule, name=f"doors.{case.kind.name}")


through("host_call", "sg.host_call", lambda f, x, case: call(f, x, case, sg.host_call))
through("numba_call", "sg.numba_call", lambda f, x, case: call(f, x, case, sg.numba_call))


# -- values that exist, over others ----------------------------------------------------------------


def with_slope(case, x, w):
    """The program of leaves x and w, with the slope of the loss."""
    values = case.values(x, w)
    return {**values, "slope": sg.grad(values["loss"], dense(x))} if case.differentiable else values


def over_leaves(case, way):
    """Results of ``way(x, w)``, values over new leaves, and the slope of the loss through it."""

    def results(x, w):
        values = dict(way(dense(x), w))
        if case.differentiable:
            values["slope: through it"] = sg.grad(values["loss"], dense(x))
        return values

    return case.evaluate_results(results)


@door("call a graph", "sg.Graph.__call__", words="graph", quick=True)
def _(case):
    """On values, on arrays alone and on tensors."""
    graph = case.graph()
    results = over_leaves(case, graph)
    results |= with_label(graph(**case.feeds), "of arrays")
    tensors = graph(*map(Tensor, case.feeds.values()))
    return results | with_label({name: t.numpy() for name, t in tensors.items()}, "of tensors")


@door("replace", "sg.replace", quick=True)
def _(case):
    """The leaves by values and by arrays, and the elementwise function by its results."""
    x, w = case.inputs()
    values = with_slope(case, x, w)
    results = over_leaves(case, lambda new, v: sg.replace(values, {dense(x): new, w: v}))
    arrays = sg.replace(values, {dense(x): case.feeds["x"], w: case.w})
    results |= with_label(sg.evaluate(arrays), "by arrays")
    if case.kind.sparse:  # nothing reads its wave, which is a dense copy
        return results
    names = ("product", "mean", "picked")
    wave = case.laid(case.reference["wave"].astype(case.kind.dtype))
    inside = sg.replace({n: values[n] for n in names}, {values["wave"]: wave, w: case.w})
    return results | with_label(sg.evaluate(inside), "inside")


@door("vectorize", "sg.vectorize", quick=True)
def _(case):
    """Over batches of three elements, of which the second is another one, of values and arrays."""
    x, w = case.inputs()
    values = with_slope(case, x, w)

    def elements(batches):
        return {f"{name}: element {k}": batch[k] for name, batch in batches.items() for k in (0, 2)}

    def over_batches(new, v):
        batch = sg.stack([dense(new), sg.zeros_like(dense(new)), dense(new)])
        return elements(sg.vectorize(values, {dense(x): batch, w: v}))

    results = case.evaluate_results(over_batches)
    data, v = np.asarray(case.feeds["x"]), case.exact_w
    arrays = {
        leaf: case.kind.layout(np.stack([array, np.zeros_like(array), array]))
        for leaf, array in ((dense(x), data), (w, v))
    }
    of_arrays = sg.evaluate(sg.vectorize(values, arrays))
    return results | with_label(elements(of_arrays), "by arrays")


# -- arrays that enter otherwise than as feeds -----------------------------------------------------


def entering(name, covers, enter, words="", quick=True, needs=""):
    """A door for arrays: ``enter(array)`` gives what the program takes in the array's place."""

    def push(case):
        x = enter(case.x, case)
        results = case.values(x, enter(case.w, case))
        return (
            sg.evaluate(results)
            if not isinstance(results["loss"], Tensor)
            else {name: np.asarray(array) for name, array in results.items()}
        )

    door(name, covers, words=words, quick=quick, needs=needs)(push)


def leafwise(enter):
    """Let the elements of a sparse matrix enter."""

    def enter_elements(x, case):
        return x.with_data(enter(x.data)) if isinstance(x, sg.sparse.Sparse) else enter(x)

    return enter_elements


entering("constant", "sg.constant", leafwise(sg.constant))
entering("asarray", "sg.asarray", leafwise(sg.asarray))
entering("operand", "", lambda x, case: x if isinstance(x, sg.sparse.Sparse)
         else sg.where(sg.constant(True), x, x), words="where")  # fmt: skip
entering("parameter", "sg.parameter sg.Parameter",
         leafwise(lambda array: sg.parameter(f"p{next(_numbers)}", array)))  # fmt: skip


def parameter_assigned(array):
    parameter = sg.parameter(f"p{next(_numbers)}", np.zeros_like(np.asarray(array)))
    parameter.value = array
    return parameter


entering(
    "parameter's value", "sg.Parameter.value", leafwise(parameter_assigned), words="parameter value"
)


def through_file(suffix):
    def push(case):
        path = folder() / f"tree{suffix}"
        sg.save(path, {"x": case.x, "w": case.w})
        loaded = sg.load(path, into={"x": case.x, "w": case.w} if case.kind.sparse else None)
        x = loaded["x"] if case.kind.sparse else sg.constant(loaded["x"])
        return sg.evaluate(case.values(x, sg.constant(loaded["w"])))

    return push


door("save and load .npz", "sg.save sg.load", quick=True)(through_file(".npz"))
door("save and load .safetensors", words="save load", quick=True, needs="safetensors")(
    through_file(".safetensors")
)


@door("save into parameters", words="save load", quick=True)
def _(case):
    path = folder() / "tree.npz"
    arrays = {"x": case.feeds["x"], "w": case.w}
    parameters = {name: sg.parameter(name, array) for name, array in arrays.items()}
    sg.save(path, parameters)
    fresh = {name: sg.parameter(name, np.zeros_like(np.asarray(a))) for name, a in arrays.items()}
    sg.load(path, into=fresh)
    x = fresh["x"]
    x = rebuilt(case, x) if case.kind.sparse else x
    return sg.evaluate(case.values(x, fresh["w"]))


@door("pickle a graph", "sg.Graph.__reduce__", words="pickle", quick=True)
def _(case):
    return sg.evaluate(pickle.loads(pickle.dumps(case.graph())), case.feeds)


@door("pickle a compiled program", words="pickle")
def _(case):
    return pickle.loads(pickle.dumps(sg.compile(case.graph()))).run(case.feeds)


@door("text", "sg.parse sg.same_graph", words="parse", quick=True)
def _(case):
    graph = case.graph()
    constants = dict(graph.constants) if hasattr(graph, "constants") else None
    back = sg.parse(str(graph), constants=constants)
    assert sg.same_graph(graph, back)
    return sg.evaluate(back, case.feeds)


@door("lint", "sg.lint", quick=True)
def _(case):
    graph = case.graph()
    sg.lint(graph)
    return sg.evaluate(graph, case.feeds)


# -- files -----------------------------------------------------------------------------------------


@door("C function", "sg.Compiled.address sg.Compiled.c_function", words="address c_function")
def _(case):
    """Arrays by their addresses, with the named sizes: as other languages call it."""
    f = sg.compile(case.graph())
    feeds = [native(array) for array in case.feeds.values()]
    results = {
        name: np.zeros(np.shape(case.reference[name]), case.dtype_of(name)) for name in f.outputs
    }
    pointers = [
        (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
        for arrays in (feeds, [*results.values()])
    ]
    sizes = (ctypes.c_int64 * 1)(case.rows or 0)
    call = f.c_function()
    assert (call.address, call.user_data) == (f.address, f.user_data)
    copies = {}
    for how in ("first call", "second call"):
        assert call.ctypes(*pointers, sizes, f.user_data) == 0
        copies |= with_label({name: a.copy() for name, a in results.items()}, how)
    return copies


@door("numba", "sg.numba.function sg.numba", words="numba", needs="numba", slow=True)
def _(case):
    """A call in jitted code, of arrays that the bridge reads in place or refuses."""
    import numba

    f = sg.numba.function(case.graph())
    jitted = numba.njit(lambda x, w: f(x, w))
    feeds = [native(array) for array in case.feeds.values()]
    copies = {}
    for how in ("first call", "second call"):  # Python gets Numba's numbers as its own
        named = jitted(*feeds)._asdict().items()
        copies |= with_label({n: np.asarray(a, case.dtype_of(n)) for n, a in named}, how)
    return copies


@door("export .py", "sg.Compiled.export", slow=True)
def _(case):
    path = folder() / f"exported{next(_numbers)}.py"
    sg.compile(case.graph()).export(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run(case.feeds)


@door("export .so", words="export", needs="cc")
def _(case):
    path = folder() / f"exported{next(_numbers)}.so"
    graph = case.graph()
    sizes = [ctypes.c_int64(case.rows)] if case.kind.named else []  # which stay free
    sg.compile(graph).export(path, header=path.with_suffix(".h"))
    code = ctypes.CDLL(str(path))
    nbytes = getattr(code, f"{path.stem}_arena_bytes")
    nbytes.restype = ctypes.c_size_t
    memory = np.zeros(nbytes(*sizes) + 64, np.uint8)
    arena = memory[-memory.ctypes.data % 64 :]
    feeds = {name: native(a) for name, a in case.feeds.items()}
    inputs = [feeds[value.node.label] for value in graph.inputs]
    results = {
        name: np.zeros(np.shape(case.reference[name]), case.dtype_of(name))
        for name in graph.outputs
    }
    structs = [
        (ctypes.c_void_p * max(1, len(arrays)))(*[array.ctypes.data for array in arrays])
        for arrays in (inputs, [], results.values())
    ]
    run = getattr(code, f"{path.stem}_run")
    assert run(*sizes, *structs, ctypes.c_void_p(arena.ctypes.data), None) == 0
    return results


@door("ONNX out", "sg.onnx.export sg.onnx", words="ONNX export", quick=True, needs="onnx")
def _(case):
    """A file that ONNX's own checker accepts and its reference in NumPy runs."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    path = folder() / "model.onnx"
    sg.onnx.export(case.graph(), path)
    model = onnx.load(path)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise AssertionError(f"the file is not valid: {str(error).splitlines()[-1]}") from None
    names = [output.name for output in model.graph.output]
    feeds = {name: native(a) for name, a in case.feeds.items()}
    if case.kind.numpy.kind != "c":
        return dict(zip(names, ReferenceEvaluator(model).run(names, feeds), strict=True))
    part = case.dtype_of("loss")  # in the file complex arrays are pairs, along a last axis
    feeds = {name: array.view(part).reshape(*array.shape, 2) for name, array in feeds.items()}
    results = zip(names, ReferenceEvaluator(model).run(names, feeds), strict=True)
    return {
        name: array if name == "loss" else native(array).view(case.kind.numpy)[..., 0]
        for name, array in results
    }


@door("ONNX in", "sg.onnx.load sg.onnx.OnnxModel", words="ONNX load", quick=True, needs="onnx")
def _(case):
    from onnx import TensorProto, helper, numpy_helper

    kind = case.kind
    if kind.sparse:
        return onnx_of_sparse(case)
    element = helper.np_dtype_to_tensor_dtype(kind.numpy)
    rows = "rows" if kind.named else case.rows
    shape = [] if kind.rows is None else [rows, kind.columns]
    info = helper.make_tensor_value_info
    node = helper.make_node
    w = numpy_helper.from_array(case.exact_w, "w")
    if kind.family == "truth":
        nodes, names = [node("Not", ["x"], ["wave"])], {"wave": element}
        initializers = []
    else:
        first = [node("Sin", ["x"], ["wave"])]
        initializers = [w]
        if kind.family == "whole":
            consts = [np.asarray(n, kind.numpy) for n in (3, 1)]
            initializers += [
                numpy_helper.from_array(a, n) for a, n in zip(consts, "ab", strict=True)
            ]
            first = [node("Mul", ["x", "a"], ["t"]), node("Add", ["t", "b"], ["wave"])]
        product = "Mul" if kind.rows is None else "MatMul"
        nodes = [*first, node(product, ["wave", "w"], ["product"])]
        names = {"wave": element, "product": element}
        if case.at is not None:
            initializers.append(numpy_helper.from_array(case.at, "at"))
            nodes.append(node("Gather", ["product", "at"], ["picked"], axis=0))
            names["picked"] = element
        if case.differentiable and case.rows:
            nodes.append(node("ReduceMean", ["product", "axes"], ["mean"], keepdims=0))
            axes = np.array([0] if case.axis == 0 else [], "int64")
            initializers.append(numpy_helper.from_array(axes, "axes"))
            names["mean"] = element
    graph = helper.make_graph(
        nodes, "doors", [info("x", element, shape)],
        [info(name, dtype, None) for name, dtype in names.items()], initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert TensorProto.FLOAT == 1
    return sg.evaluate(sg.onnx.load(model).graph(), {"x": case.x})


def onnx_of_sparse(case):
    """A matrix of ONNX's sparse type as an initializer."""
    from onnx import helper, numpy_helper

    m = case.matrix.tocoo()
    values = numpy_helper.from_array(m.data, "x")
    indices = numpy_helper.from_array(np.stack([m.row, m.col], 1).astype("int64"), "at")
    sparse = helper.make_sparse_tensor(values, indices, m.shape)
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMul", ["x", "w"], ["product"])]
    graph = helper.make_graph(
        nodes, "doors", [info("w", 11, case.w.shape)], [info("product", 11, None)],
        sparse_initializer=[sparse],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return sg.evaluate(sg.onnx.load(model).graph(), {"w": case.w})


# -- bridges ---------------------------------------------------------------------------------------


def torch_tensor(array):
    import torch

    array = np.asarray(array)
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    if not array.dtype.isnative or min(array.strides, default=0) < 0 or not array.flags.writeable:
        array = array.astype(array.dtype.newbyteorder("="))  # PyTorch has no such arrays
    return torch.from_numpy(array)


def from_torch(tensor):
    import torch

    tensor = tensor.detach().resolve_conj()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


@door("torch bridge", "sg.torch.function sg.torch", words="torch tensor", needs="torch")
def _(case):
    x = case.x
    if case.kind.sparse:
        x = sg.tree.map(torch_tensor, x)
    else:
        x = torch_tensor(x)
    if case.differentiable:
        dense(x).requires_grad_()
    results = sg.torch.function(function(case))(x, torch_tensor(case.w))
    arrays = {name: from_torch(tensor) for name, tensor in results.items()}
    if case.differentiable:
        results["loss"].backward()
        arrays["slope"] = np.conj(from_torch(dense(x).grad))  # conjugated there
    return arrays


def torch_program(case):
    """The program of a case in PyTorch, with its arguments."""
    import torch

    family, at = case.kind.family, case.at

    class Net(torch.nn.Module):
        def forward(self, x, w):
            if family == "truth":
                return {"wave": ~x}
            wave = torch.sin(x) if family == "inexact" else x * 3 + 1
            out = {"wave": wave, "product": wave * w if case.kind.rows is None else wave @ w}
            if at is not None:
                out["picked"] = out["product"][torch.from_numpy(at)]
            return out

    return Net(), torch_tensor(case.x), torch_tensor(case.exact_w)


@door("torch module", "sg.torch.module", words="torch module export", needs="torch", slow=True)
def _(case):
    if case.kind.sparse:
        return sg.evaluate(case.graph(), case.feeds)  # tensors of these programs are dense
    shapes = {"x": {0: "rows"}, "w": None} if case.kind.named else None
    model = sg.torch.module(*torch_program(case), dynamic_shapes=shapes)
    return sg.function(model)(case.x, case.exact_w)


@door("torch.compile", "sg.torch.backend", words="torch compile", needs="torch", slow=True)
def _(case):
    import torch

    if case.kind.sparse:
        return sg.evaluate(case.graph(), case.feeds)  # as above
    net, *tensors = torch_program(case)
    torch._dynamo.reset()
    f = torch.compile(net, backend=sg.torch.backend, dynamic=case.kind.named)
    return {name: from_torch(tensor) for name, tensor in f(*tensors).items()}


@door("torch step", "sg.torch.step", words="torch step", needs="torch", slow=True)
def _(case):
    import torch

    if case.kind.sparse or not case.differentiable:
        return sg.evaluate(case.graph(), case.feeds)  # parameters are dense and inexact
    program, x, w = torch_program(case)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(x.clone())

        def forward(self, w):
            results = program(self.x, w)
            squares = (results["product"] * results["product"].conj()).real
            return squares.mean() if self.x.numel() else squares.sum(), results

    net = Net()
    step = sg.torch.step(net, None, torch.optim.SGD(net.parameters(), 1.0))
    loss, results = step(w)
    check_descent(case, from_torch(x), from_torch(net.x))
    return {name: from_torch(tensor) for name, tensor in {**results, "loss": loss}.items()}


@door("feeds of torch", words="run feed", quick=True, needs="torch")
def _(case):
    feeds = {name: torch_tensor(array) for name, array in case.feeds.items()}
    return sg.evaluate(case.graph(), feeds)


@door("load_torch", "sg.nn.Module.load_torch sg.nn.Module", quick=True, needs="torch")
def _(case):
    if case.kind.sparse or case.kind.rows is None:
        return sg.evaluate(case.graph(), case.feeds)  # a layer's weights are dense matrices
    layer = sg.nn.Linear(case.kind.columns, 2, bias=False, dtype=case.kind.dtype)
    layer.load_torch({"weight": torch_tensor(case.w).T})
    return sg.evaluate(case.values(sg.constant(case.x), layer.weight))


def jax_array(array):
    import jax

    return jax.numpy.asarray(np.asarray(array).astype(np.asarray(array).dtype.newbyteorder("=")))


@door("jax bridge", "sg.jax.function sg.jax", words="jax", needs="jax")
def _(case):
    import jax

    with jax.enable_x64(True):
        f = sg.jax.function(function(case))
        if case.kind.sparse:  # JAX has no such arguments: the elements are one
            f = sg.jax.function(lambda x, w: case.values(rebuilt(case, x), w))
        x, w = (jax_array(array) for array in case.feeds.values())
        results = {name: np.asarray(array) for name, array in f(x, w).items()}
        results |= with_label({n: np.asarray(a) for n, a in jax.jit(f)(x, w).items()}, "jit")
        if case.differentiable:
            slope = jax.grad(lambda x: f(x, w)["loss"])(x)
            results["slope"] = np.asarray(slope)
    return results


@door("jax trace", "sg.jax.trace", words="jax trace", needs="jax", slow=True)
def _(case):
    import jax

    if case.kind.sparse:
        return sg.evaluate(case.graph(), case.feeds)  # arrays of these programs are dense
    family, at = case.kind.family, case.at

    def f(x, w):
        if family == "truth":
            return {"wave": ~x}
        wave = jax.numpy.sin(x) if family == "inexact" else x * 3 + 1
        out = {"wave": wave, "product": wave * w if case.kind.rows is None else wave @ w}
        if at is not None:
            out["picked"] = out["product"][at]
        return out

    with jax.enable_x64(True):
        traced = sg.jax.trace(f, jax_array(case.x), jax_array(case.exact_w))
    return traced(case.x, case.exact_w)


@door("jax lower", "sg.jax.lower", words="lower", needs="jax", slow=True)
def _(case):
    import jax

    with jax.enable_x64(True):
        feeds = {name: jax_array(array) for name, array in case.feeds.items()}
        results = jax.jit(sg.jax.lower(case.graph()))(feeds)
        return {name: np.asarray(array) for name, array in results.items()}


@door("feeds of jax", words="run feed", quick=True, needs="jax")
def _(case):
    import jax

    with jax.enable_x64(True):
        feeds = {name: jax_array(array) for name, array in case.feeds.items()}
        return sg.evaluate(case.graph(), feeds)


def pytensor_program(case):
    """The variables of a case and its program in PyTensor; of floats with the slope of the loss."""
    import pytensor.tensor as pt

    kind, dtype = case.kind, str(case.kind.numpy)
    if kind.sparse:
        import pytensor.sparse

        x, w = pytensor.sparse.csr_matrix("x", dtype=dtype), pt.matrix("w", dtype=dtype)
        product = pytensor.sparse.dot(pytensor.sparse.sin(x), w)
        return [x, w], {"product": product, "loss": (product**2).mean()}
    rows = None if kind.named else case.rows
    x = pt.tensor("x", dtype=dtype, shape=() if kind.rows is None else (rows, kind.columns))
    w = pt.tensor("w", dtype=dtype, shape=case.exact_w.shape)
    if kind.family == "truth":
        return [x], {"wave": pt.invert(x)}
    factor, term = (np.asarray(n, kind.numpy) for n in (3, 1))
    wave = pt.sin(x) if kind.family == "inexact" else x * factor + term
    product = wave * w if kind.rows is None else wave @ w
    results = {"wave": wave, "product": product}
    if case.at is not None:
        results["picked"] = product[case.at]
    if case.differentiable:
        squares = (product * pt.conj(product)).real if kind.numpy.kind == "c" else product**2
        results["loss"] = squares.mean() if case.exact_x.size else squares.sum()
        if kind.numpy.kind == "f":
            results["slope"] = pt.grad(results["loss"], x)
    return [x, w], results


@door("pytensor mode", "sg.pytensor.mode", words="mode pytensor", needs="pytensor")
def _(case):
    import pytensor

    if case.kind.name in ("bfloat16", "unaligned"):
        return sg.evaluate(case.graph(), case.feeds)  # PyTensor has no such arrays
    inputs, results = pytensor_program(case)
    with warnings.catch_warnings():
        if case.kind.sparse:  # whose product PyTensor computes
            warnings.simplefilter("ignore", sg.StaticgradWarning)
        f = pytensor.function(inputs, [*results.values()], mode=sg.pytensor.mode())
    x = case.matrix if case.kind.sparse else case.x
    return dict(zip(results, f(*[x, case.w][: len(inputs)]), strict=True))


@door("pytensor", "sg.pytensor.function sg.pytensor", words="pytensor", needs="pytensor")
def _(case):
    if case.kind.name == "bfloat16":
        return sg.evaluate(case.graph(), case.feeds)  # as above
    inputs, results = pytensor_program(case)
    f = sg.pytensor.function(results, inputs)
    arguments = [case.matrix if case.kind.sparse else case.x, case.w][: len(inputs)]
    arrays = f(*arguments)
    if case.differentiable:
        slope = sg.grad(lambda x, w: f(x, w)["loss"])(*arguments)
        arrays["slope: of the function"] = slope
    return arrays


@door("pymc density", "sg.pytensor.logp", words="logp", needs="pymc", wide=True)
def _(case):
    """A model of one flat variable of float64, x, whose density is the loss."""
    import pymc as pm
    import pytensor.tensor as pt

    kind, w, shape = case.kind, case.exact_w, case.exact_x.shape
    w = w if kind.numpy.kind == "c" else w.astype("float64")
    with pm.Model(coords={"row": range(case.rows or 0), "column": range(kind.columns)}) as model:
        x = pm.Flat("x", dims=("row", "column")) if kind.named else pm.Flat("x", shape=shape)
        wave = pt.sin(x) if case.differentiable else x * 3 + 1 if kind.family == "whole" else x
        product = wave * w if kind.rows is None else wave @ w
        if kind.family == "truth":
            product = (product > 0).astype("float64")
        squares = product**2 if case.differentiable else product
        pm.Potential("loss", squares.mean() if case.exact_x.size else squares.sum())
    density = sg.pytensor.logp(model)
    results = {"loss": density({"x": case.x})}
    if case.differentiable:
        results["slope"] = sg.grad(density)({"x": case.x})["x"]
    return results


@door("scipy.minimize", "sg.scipy.minimize sg.scipy sg.scipy.ravel", small=True, wide=True)
def _(case):
    """The loss and its slope at the start, of no step."""
    solution = sg.scipy.minimize(
        case.loss, case.x, (case.w,), method="BFGS", options={"maxiter": 0}
    )
    slope = np.conj(dense(solution.jac))  # of complex numbers the direction of ascent
    arrays = {"loss": np.asarray(solution.fun), "slope": np.asarray(slope)}
    return arrays if case.differentiable else {"loss": arrays["loss"]}


@door("scipy.root", "sg.scipy.root", small=True)
def _(case):
    """The root of x - c, from twice that."""
    goal = dense(case.x)
    start = case.x.with_data(goal * 2) if case.kind.sparse else goal + goal
    actual = sg.scipy.root(lambda x, c: dense(x) - c, start, (goal,))
    np.testing.assert_allclose(dense(actual.x), goal, rtol=8 * max(case.kind.eps, 2.0**-52))


@door("scipy.least_squares", "sg.scipy.least_squares", small=True, wide=True)
def _(case):
    """Residuals at the start."""
    residuals = lambda x, w: case.values(x, w)["product"]  # noqa: E731
    solution = sg.scipy.least_squares(residuals, case.x, (case.w,), max_nfev=1)
    expected = case.reference["product"]
    residual = np.asarray(solution.fun)
    if np.iscomplexobj(expected):  # a complex number is two residuals
        residual = residual[::2] + 1j * residual[1::2]
    return {"product": residual.reshape(expected.shape)}


@door("scipy operators", "sg.scipy.jacobian_operator sg.scipy.hessian_operator", small=True,
      wide=True,
      words="jacobian_operator hessian_operator")  # fmt: skip
def _(case):
    operator = sg.scipy.jacobian_operator(case.loss, case.x, case.w)
    direction = sg.scipy.ravel(dense(case.direction(case.x)))[0]
    along = np.asarray(operator @ direction).reshape(())
    if case.differentiable:
        return {"along": along}
    wide = [a.astype("float64") for a in (case.exact_x, case.exact_w)]
    np.testing.assert_allclose(along, np.mean(3 * wide[0] @ wide[1]), rtol=1e-12)
    return None


@door("sklearn", "sg.sklearn.Regressor sg.sklearn.Classifier sg.sklearn", needs="sklearn",
      words="Regressor X")  # fmt: skip
def _(case):
    """A model whose weights stay: what it predicts is the product of x and them, in float64."""
    w = np.random.default_rng(0).uniform(size=(case.kind.columns, 2))
    layer = sg.nn.Linear(case.kind.columns, 2, bias=False, dtype="float64")
    layer.weight.value = w
    model = sg.sklearn.Regressor(layer, optimizer=sg.optim.SGD(1e-300), epochs=1, dtype="float64")
    x = case.matrix if case.kind.sparse else case.x
    rows = 1 if case.kind.rows is None else case.rows
    actual = model.fit(x, np.zeros((rows, 2))).predict(x)
    np.testing.assert_allclose(actual, case.exact_x.astype("float64") @ w, rtol=1e-12, atol=1e-99)


# -- training --------------------------------------------------------------------------------------


def check_step(case, step):
    """A parameter of the kind after one step of descent by 1: x minus the slope."""
    x = sg.parameter("x", case.feeds["x"])
    point = rebuilt(case, x) if case.kind.sparse else x
    start = np.array(case.feeds["x"])
    step(x, point)
    check_descent(case, start, np.asarray(x.value))


def check_descent(case, start, stepped):
    """Check a parameter after one step of descent by 1."""
    wide = "complex128" if case.kind.numpy.kind == "c" else "float64"
    if case.kind.numpy.kind == "c" and stepped.dtype.kind != "c":
        stepped = stepped[..., 0] + 1j * stepped[..., 1]
    slope = np.conj(case.reference.get("slope", 0.0))
    eps = max(case.kind.eps, 1e-16)
    np.testing.assert_allclose(
        stepped.astype(wide), start.astype(wide) - slope, rtol=8 * eps,
        atol=16 * eps * float(np.max(np.abs(slope), initial=0.0)),
    )  # fmt: skip


@door("optimizer's updates", "sg.optim sg.optim.Optimizer.updates", words="updates", quick=True)
def _(case):
    def step(x, point):
        loss = case.loss(point, sg.constant(case.w))
        updates = sg.optim.SGD(1.0).updates(loss, [x])
        graph = sg.Graph({"loss": loss}, updates)
        results, updated = sg.evaluate(graph, updates=True)
        case.check(results)
        x.value = updated["x"] if "x" in updated else updated[x]

    check_step(case, step)


@door("minimize", "sg.optim.Optimizer.minimize sg.nn.updates")
def _(case):
    opt = sg.optim.SGD(1.0)

    def step(x, point):
        @sg.function
        def run(w):
            loss = case.loss(point, w)
            opt.minimize(loss)
            return loss

        case.check({"loss": run(case.w)})

    check_step(case, step)


@door("minimize data_parallel", words="minimize data_parallel")
def _(case):
    opt = sg.optim.SGD(1.0)

    def step(x, point):
        @sg.function
        def run(w):
            loss = case.loss(point, w)
            opt.minimize(loss, data_parallel=True)
            return sg.distributed.mean(loss)

        case.check({"loss": run(case.w)})

    check_step(case, step)


@door("minimize eagerly", words="minimize", quick=True)
def _(case):
    opt = sg.optim.SGD(1.0)

    def step(x, point):
        with sg.eager_mode():
            opt.minimize(case.loss(point, sg.constant(case.w)))

    check_step(case, step)


@door("apply_gradients", "sg.optim.Optimizer.apply_gradients", quick=True)
def _(case):
    def step(x, point):
        slope = case.reference.get("slope", case.exact_x).astype(case.kind.dtype)
        sg.optim.SGD(1.0).apply_gradients({x: slope})

    check_step(case, step)


@door("fit", "sg.train.fit sg.train.Batches sg.train")
def _(case):
    """One batch of all rows, as ``Batches`` hands it on."""
    f = function(case, lambda x, w: case.loss(x, w))
    batches = sg.train.Batches(case.x, size=max(case.rows or 1, 1))
    losses = sg.train.fit(lambda x: f(x, case.w), batches, 1).losses
    np.testing.assert_allclose(
        losses, [case.reference["loss"]], rtol=16 * max(case.kind.eps, 1e-16)
    )


@door("compare", "sg.comparison.compare", words="compare", slow=True)
def _(case):
    from staticgrad.comparison import compare

    actual = compare(lambda x, w: case.loss(x, w), case.x, case.w, batches=[], seconds=0.0)
    actual.as_json()
    assert not actual.agreement.problem, actual.agreement.problem
