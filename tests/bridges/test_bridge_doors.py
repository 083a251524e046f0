"""Tables of the bridges to PyTorch and JAX: each way to call a function beside the library's.

A cell is the result of the library for the same formula, or one coded error.
"""

import copy
import pickle
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, DTypeError, ShapeError, StaticgradError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def formula(xp):
    """Return a function of arrays, a number and containers, in a library."""

    def f(x, w, rate=2.0):
        return {"y": xp.tanh(x @ w) * rate, "more": (xp.exp(x).sum(), [x[0] - 1])}

    return f


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def tolerance(dtype):
    name = str(dtype).removeprefix("torch.")
    if name in ("float16", "bfloat16"):
        return {"rtol": 2e-2, "atol": 2e-2}
    return (
        {"rtol": 1e-4, "atol": 1e-5}
        if name in ("float32", "complex64")
        else {"rtol": 1e-9, "atol": 1e-11}
    )


# -- sg.torch.function ----------------------------------------------------------------------------

in_torch = formula(torch)
bridged = sg.torch.function(formula(sg))
X, W = (torch.from_numpy(numbers(*shape)) for shape in ((3, 4), (4, 2)))
BATCH = X[:, None]


def wanting(*tensors):
    return [tensor.clone().requires_grad_() for tensor in tensors]


def total(f):
    return lambda *args: sum(leaf.sum() for leaf in torch.utils._pytree.tree_leaves(f(*args)))


def only_y(f):
    return lambda *args: f(*args)["y"]


def gradients(f):
    x, w = wanting(X, W)
    return torch.autograd.grad(total(f)(x, w), (x, w))


def gradients_of_gradients(f):
    x, w = wanting(X, W)
    by_x, by_w = torch.autograd.grad(total(f)(x, w), (x, w), create_graph=True)
    return torch.autograd.grad((by_x**2).sum() + (by_w**3).sum(), (x, w))


def third_derivatives(f):
    (x,) = wanting(X)
    (first,) = torch.autograd.grad(total(f)(x, W), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    return torch.autograd.grad((second**2).sum(), x)


def dual(f):
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        output = forward_ad.unpack_dual(f(forward_ad.make_dual(X, X + 1), W)["y"])
        return output.primal.clone(), output.tangent.clone()


def gradient_of_tangents(f):
    forward_ad, (x,) = torch.autograd.forward_ad, wanting(X)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, X + 1), W)["y"]).tangent
        return torch.autograd.grad(tangent.sum(), x)


def batched_cotangents(f):
    (x,) = wanting(X)
    cotangents = torch.eye(6, dtype=torch.float64).reshape(6, 3, 2)
    return torch.autograd.grad(f(x, W)["y"], x, cotangents, is_grads_batched=True)


def in_checkpoint(reentrant):
    def run(f):
        (x,) = wanting(X)
        y = torch.utils.checkpoint.checkpoint(lambda x: f(x, W)["y"], x, use_reentrant=reentrant)
        return torch.autograd.grad(y.sum(), x) if not reentrant else (y.sum().backward(), x.grad)[1]

    return run


def saved_elsewhere(f):
    (x,) = wanting(X)
    with torch.autograd.graph.save_on_cpu():
        y = f(x, W)["y"]
    return torch.autograd.grad(y.sum(), x)


def under_inference(f):
    with torch.inference_mode():
        return f(X.clone(), W)["y"].clone()


def of_dtype(name):
    def run(f):
        x, w = wanting(*(tensor.to(getattr(torch, name)) for tensor in (X, W)))
        leaves = torch.utils._pytree.tree_leaves(f(x, w))
        slopes = torch.autograd.grad(sum(abs(leaf).sum() for leaf in leaves), (x, w))
        return [leaf.detach() for leaf in leaves], slopes

    return run


def empty(f):
    x, w = wanting(torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, 2, dtype=torch.float64))
    y = f(x, w)["y"]
    return y, torch.autograd.grad(y.sum(), (x, w))


class Net(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f, self.w = f, torch.nn.Parameter(W.clone())

    def forward(self, x, rate=2.0):
        return self.f(x, self.w, rate)["y"]


TORCH = {
    "call": lambda f: f(X, W),
    "by name": lambda f: f(x=X, w=W, rate=3.0),
    "int": lambda f: f(X, W, 3),
    "bool": lambda f: f(X, W, True),
    "no_grad": lambda f: torch.no_grad()(f)(*wanting(X, W)),
    "inference_mode": under_inference,
    "grad": gradients,
    "grad of grad": gradients_of_gradients,
    "third derivatives": third_derivatives,
    "func.vmap": lambda f: torch.func.vmap(f, (0, None))(BATCH, W),
    "func.vmap, other axes": lambda f: torch.func.vmap(only_y(f), (1, None), 1)(BATCH, W),
    "func.grad": lambda f: torch.func.grad(total(f), (0, 1))(X, W),
    "func.vjp": lambda f: torch.func.vjp(only_y(f), X, W)[1](torch.ones(3, 2).double()),
    "func.jvp": lambda f: torch.func.jvp(f, (X, W), (X + 1, W - 1)),
    "func.jvp by one": lambda f: torch.func.jvp(lambda x: f(x, W), (X,), (X + 1,)),
    "func.jacrev": lambda f: torch.func.jacrev(only_y(f))(X, W),
    "func.jacfwd": lambda f: torch.func.jacfwd(only_y(f))(X, W),
    "func.hessian": lambda f: torch.func.hessian(total(f))(X, W),
    "jacfwd of jacfwd": lambda f: torch.func.jacfwd(torch.func.jacfwd(total(f)))(X, W),
    "vmap of grad": lambda f: torch.func.vmap(torch.func.grad(total(f)), (0, None))(BATCH, W),
    "grad of vmap": lambda f: torch.func.grad(total(torch.func.vmap(f, (0, None))))(BATCH, W),
    "jvp of vmap": lambda f: torch.func.jvp(
        lambda x: torch.func.vmap(only_y(f), (0, None))(x, W), (BATCH,), (BATCH,)
    ),
    "vmap of jvp": lambda f: torch.func.vmap(
        lambda x: torch.func.jvp(lambda x: f(x, W)["y"], (x,), (x,))
    )(BATCH),
    "func.linearize": lambda f: torch.func.linearize(lambda x: f(x, W)["y"], X)[1](X),
    "func.functional_call": lambda f: torch.func.functional_call(Net(f), {"w": W + 1}, (X,)),
    "forward_ad": dual,
    "grad of forward_ad": gradient_of_tangents,
    "functional.hessian": lambda f: torch.autograd.functional.hessian(total(f), (X, W)),
    "functional.jacobian, vectorize": lambda f: torch.autograd.functional.jacobian(
        only_y(f), (X, W), vectorize=True
    ),
    "functional.jacobian, forward": lambda f: torch.autograd.functional.jacobian(
        only_y(f), (X, W), vectorize=True, strategy="forward-mode"
    ),
    "is_grads_batched": batched_cotangents,
    "checkpoint": in_checkpoint(False),
    "checkpoint, reentrant": in_checkpoint(True),
    "save_on_cpu": saved_elsewhere,
    **{name: of_dtype(name) for name in ("float16", "bfloat16", "float32", "complex64")},
    "empty": empty,
    "empty sum": lambda f: f(torch.zeros(3, 0).double(), torch.zeros(0, 2).double())["y"],
    "transposed": lambda f: f(X.T.contiguous().T, W),
    "strides": lambda f: f(torch.arange(24.0).double().reshape(3, 8)[:, ::2], W),
    "expanded": lambda f: f(torch.ones(1, 4).double().expand(3, 4), W),
    "negative bit": lambda f: f(torch.complex(X, X).conj().imag, W),
    "deepcopy": lambda f: copy.deepcopy(Net(f))(X),
    "jit.trace": lambda f: torch.jit.trace(lambda x: f(x, W)["y"], X)(X + 1),
}  # fmt: skip


def same(actual, expected):
    actual, expected = map(torch.utils._pytree.tree_leaves, (actual, expected))
    assert len(actual) == len(expected)
    for result, reference in zip(actual, expected, strict=True):
        assert result.requires_grad >= reference.requires_grad
        torch.testing.assert_close(
            result.detach().resolve_conj(),
            reference.detach().resolve_conj(),
            **tolerance(reference.dtype),
        )


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
@pytest.mark.parametrize("way", TORCH)
def test_functions_give_what_pytorch_gives(way):
    same(TORCH[way](bridged), TORCH[way](in_torch))


REFUSED = {
    "another device": (lambda: bridged(X.to("meta"), W), "a tensor is on meta"),
    "sparse": (lambda: bridged(X.to_sparse(), W), "the layout sparse_coo"),
    "quantized": (
        lambda: bridged(torch.quantize_per_tensor(X.float(), 0.1, 0, torch.qint8), W),
        "a tensor is quantized, torch.qint8",
    ),
    "nested": (lambda: bridged(torch.nested.nested_tensor([X[0], X[1]]), W), "a tensor is nested"),
    "array of NumPy": (lambda: bridged(X.numpy(), W), "must be hashable: x is array"),
    "set": (lambda: bridged(X, W, {1}), "rate is {1}, a set"),
    "missing argument": (lambda: bridged(X), "f(x, w, rate=2.0): missing a required argument: 'w'"),
    "other name": (lambda: bridged(X, W, at=1), "unexpected keyword argument 'at'"),
    "symbolic_trace": (
        lambda: torch.fx.symbolic_trace(lambda x: bridged(x, W)),
        "torch.fx.symbolic_trace has no shapes and dtypes",
    ),
    "jit.trace of gradients": (
        lambda: torch.jit.trace(lambda x: bridged(x, W)["y"], *wanting(X)),
        "torch.jit.trace does not record gradients",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_are_no_arrays_are_one_coded_error(name):
    call, text = REFUSED[name]
    with pytest.raises(ArgumentError) as caught:
        call()
    assert text in str(caught.value)


def test_shapes_that_do_not_fit_are_errors_of_the_function():
    with pytest.raises(ShapeError, match="inner sizes differ"):
        bridged(X, W.T)


class Counted(NamedTuple):
    """A function whose traces are counted."""

    traced: list
    f: object


def count_traces(formula):
    traced = []

    def f(x, rate):
        traced.append(rate)
        return formula(x, rate)

    return Counted(traced, f)


def descent(x, rate):
    return {"x": x - rate * sg.sin(x), "rate": rate}


def test_learning_rates_compile_twice_in_pytorch():
    count = count_traces(descent)
    function = sg.torch.function(count.f)
    x = torch.linspace(0, 1, 5, dtype=torch.float32)
    for k in range(20):
        actual = function(x, 0.1 * k)
        torch.testing.assert_close(actual["x"], x - 0.1 * k * torch.sin(x))
        assert actual["rate"].item() == 0.1 * k
    assert len(count.traced) == 2
    (x,) = wanting(x)
    for k in range(20):
        (slope,) = torch.autograd.grad(function(x, 0.1 * k)["x"].sum(), x, create_graph=True)
        torch.testing.assert_close(slope, 1 - 0.1 * k * torch.cos(x))
        (second,) = torch.autograd.grad(slope.sum(), x)
        torch.testing.assert_close(second, 0.1 * k * torch.sin(x))
    programs = 4  # forward, and of its gradient, which is differentiated: forward, backward
    assert len(count.traced) == 2 * programs


def test_kinds_of_static_arguments_are_not_mixed():
    function = sg.torch.function(lambda x, n: x * n if n is not True else x - 1)
    x = torch.tensor([2, 3])
    assert [function(x, n).tolist() for n in (1, True, 1.0)] == [[2, 3], [1, 2], [2.0, 3.0]]
    assert function(x, 1.0).dtype == torch.float64 != function(x, 1).dtype


@pytest.mark.parametrize("first", [[], [2.0, 3.0]])
def test_numbers_have_their_sign_and_size_in_repeated_calls(first):
    function = sg.torch.function(lambda x, n: x / n)
    x = torch.tensor([1.0], dtype=torch.float64)
    for n in [*first, 0.0, -0.0, 0.0, -0.0, 2**62, 2**70, -(2**70), 2**62]:
        expected = np.copysign(np.inf, n) if n == 0.0 else 1.0 / n
        assert function(x, n).item() == expected


def test_numbers_that_python_needs_stay_static():
    function = sg.torch.function(sg.function(lambda x, n: x * n if n > 1 else x, static="n"))
    x = torch.tensor([2.0])
    assert [function(x, n).item() for n in (1.0, 2.0, 0.5, 3.0)] == [2.0, 4.0, 2.0, 6.0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize("dynamic", [None, True, False])
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor", "staticgrad"])
def test_pytorch_compiles_functions_of_sizes_and_numbers(backend, dynamic):
    torch._dynamo.reset()
    chosen = sg.torch.backend if backend == "staticgrad" else backend
    net, reference = Net(bridged), Net(in_torch)
    compiled = torch.compile(net, backend=chosen, dynamic=dynamic, fullgraph=True)
    for rows, rate in ((3, 2.0), (2, 3.0), (1, 4.5), (3, 5.5)):
        actual, expected = compiled(X[:rows], rate), reference(X[:rows], rate)
        same(actual, expected)
        same(
            *(torch.autograd.grad(y.sum(), n.w) for y, n in ((actual, net), (expected, reference)))
        )
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: lambda x: torch.func.grad(total(f))(x, W),
        lambda f: lambda x: torch.func.vmap(f, (0, None))(x[:, None], W),
        lambda f: lambda x: torch.func.jvp(lambda x: f(x, W)["y"], (x,), (x,)),
    ],
    ids=["grad", "vmap", "jvp"],
)  # fmt: skip
def test_pytorch_compiles_transformations_of_functions(transform):
    torch._dynamo.reset()
    same(torch.compile(transform(bridged), backend="aot_eager")(X), transform(in_torch)(X))
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # PyTorch's own
def test_exported_functions_have_gradients():
    net, reference = Net(bridged), Net(in_torch)
    exported = torch.export.export(net, (X,)).module()
    ((name, weight),) = exported.named_parameters()
    actual = torch.autograd.grad(exported(X).sum(), weight)
    same(actual, torch.autograd.grad(reference(X).sum(), reference.w))
    assert name == "w"


module_function = sg.torch.function(formula(sg))


def whole_step(rank, size, path, results):
    """One process of data-parallel training by PyTorch."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{path}", rank=rank, world_size=size
    )
    net = torch.nn.parallel.DistributedDataParallel(Net(module_function))
    (net(X + rank) ** 2).mean().backward()
    results[rank] = net.module.w.grad.clone()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_gradients_are_averaged_by_pytorchs_data_parallel_training(tmp_path):
    manager = torch.multiprocessing.Manager()
    results = manager.dict()
    torch.multiprocessing.spawn(whole_step, (2, tmp_path / "store", results), nprocs=2)
    expected = 0
    for rank in range(2):
        net = Net(in_torch)
        (net(X + rank) ** 2).mean().backward()
        expected = expected + net.w.grad / 2
    for rank in range(2):
        same(results[rank], expected)


# -- sg.jax.function ------------------------------------------------------------------------------

jax = pytest.importorskip("jax", reason="JAX is not installed")
jnp = jax.numpy


@pytest.fixture
def in_float64():
    old_value = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", old_value)


in_jax = formula(jnp)
mapped_by_jax = sg.jax.function(formula(sg))
lowered_to_jax = sg.jax.lower(formula(sg))


def sum_leaves(f):
    return lambda *args: sum(leaf.sum() for leaf in jax.tree.leaves(f(*args)))


def jax_of_dtype(transform, name):
    def run(f, x, w):
        loss = lambda x, w: sum(  # noqa: E731 - a test
            abs(leaf).astype("float32").sum() for leaf in jax.tree.leaves(f(x, w))
        )
        return transform(loss)(x.astype(name), w.astype(name))

    return run


JAX = {
    "call": lambda f, x, w: f(x, w),
    "by name": lambda f, x, w: f(x=x, w=w, rate=3.0),
    "int": lambda f, x, w: f(x, w, 3),
    "bool": lambda f, x, w: f(x, w, True),
    "arrays of NumPy": lambda f, x, w: f(np.asarray(x), np.asarray(w)),
    "jit": lambda f, x, w: jax.jit(f)(x, w),
    "jit, a number": lambda f, x, w: jax.jit(f)(x, w, 3.0),
    "jit, static": lambda f, x, w: jax.jit(f, static_argnums=2)(x, w, 3.0),
    "lower and compile": lambda f, x, w: jax.jit(f).lower(x, w).compile()(x, w),
    "grad": lambda f, x, w: jax.grad(sum_leaves(f), (0, 1))(x, w),
    "grad by a number": lambda f, x, w: jax.grad(sum_leaves(f), 2)(x, w, 3.0),
    "jvp": lambda f, x, w: jax.jvp(f, (x, w), (x + 1, w - 1)),
    "jvp by one": lambda f, x, w: jax.jvp(lambda x: f(x, w), (x,), (x,)),
    "jit of jvp": lambda f, x, w: jax.jit(lambda x: jax.jvp(lambda x: f(x, w), (x,), (x,)))(x),
    "vjp": lambda f, x, w: jax.vjp(f, x, w)[1](in_jax(x, w)),
    "linearize": lambda f, x, w: jax.linearize(lambda x: f(x, w), x)[1](x),
    "hessian": lambda f, x, w: jax.hessian(sum_leaves(f), (0, 1))(x, w),
    "jit of hessian": lambda f, x, w: jax.jit(jax.hessian(sum_leaves(f)))(x, w),
    "jacfwd of jacfwd": lambda f, x, w: jax.jacfwd(jax.jacfwd(sum_leaves(f)))(x, w),
    "jacrev of jacrev": lambda f, x, w: jax.jacrev(jax.jacrev(sum_leaves(f)))(x, w),
    "jacrev of jacfwd": lambda f, x, w: jax.jacrev(jax.jacfwd(sum_leaves(f)))(x, w),
    "third derivatives": lambda f, x, w: jax.jacfwd(jax.hessian(sum_leaves(f)))(x[:1], w),
    "vmap": lambda f, x, w: jax.vmap(f, (0, None))(x[:, None], w),
    "vmap, other axes": lambda f, x, w: jax.vmap(lambda w: f(x, w)["y"], 2, 1)(
        jnp.stack([w, w + 1], 2)
    ),
    "vmap of jvp": lambda f, x, w: jax.vmap(
        lambda x: jax.jvp(lambda x, w: f(x, w)["y"], (x, w), (x, w))
    )(x[:, None]),
    "jvp of vmap": lambda f, x, w: jax.jvp(
        lambda x: jax.vmap(f, (0, None))(x, w), (x[:, None],), (x[:, None],)
    ),
    "vmap of hessian": lambda f, x, w: jax.vmap(jax.hessian(sum_leaves(f)), (0, None))(
        x[:, None], w
    ),
    "grad of vmap of grad": lambda f, x, w: jax.grad(
        lambda w: (jax.vmap(jax.grad(sum_leaves(f)), (0, None))(x[:, None], w) ** 2).sum()
    )(w),
    "scan": lambda f, x, w: jax.lax.scan(lambda c, x: (c + 1, f(x[None], w)["y"]), 0, x),
    "grad of scan": lambda f, x, w: jax.grad(
        lambda w: jax.lax.scan(lambda c, x: (c / 2 + f(x[None], w)["y"].sum(), 0), 0.0, x)[0]
    )(w),
    "cond": lambda f, x, w: jax.lax.cond(True, f, lambda x, w: f(x, w, 3.0), x, w),
    "checkpoint": lambda f, x, w: jax.jit(jax.grad(jax.checkpoint(sum_leaves(f))))(x, w),
    "eval_shape": lambda f, x, w: jax.tree.map(
        lambda shape: jnp.zeros(shape.shape, shape.dtype), jax.eval_shape(f, x, w)
    ) if f is not in_jax else jax.tree.map(jnp.zeros_like, f(x, w)),
    "empty": lambda f, x, w: f(x[:, :0], w[:0]),
    "jit, empty": lambda f, x, w: jax.jit(f)(x[:, :0], w[:0]),
    "grad, empty": lambda f, x, w: jax.grad(lambda w: f(x[:, :0], w)["y"].sum())(w[:0]),
    "deepcopy": lambda f, x, w: copy.deepcopy(f)(x, w),
    "negative strides": lambda f, x, w: f(np.asarray(x)[::-1, ::-1], w),
    **{
        f"grad, {name}": jax_of_dtype(lambda f: jax.value_and_grad(f, (0, 1)), name)
        for name in ("float16", "bfloat16", "float32", "complex64")
    },
    **{
        f"jvp, {name}": jax_of_dtype(lambda f: lambda *x: jax.jvp(f, x, x), name)
        for name in ("float16", "float32", "complex64")
    },
    "no tangents of integers": lambda f, x, w: jax.jvp(
        lambda x, n: f(x, w)["y"] * n.sum(), (x, jnp.arange(3)),
        (x, np.zeros(3, jax.dtypes.float0)),
    ),
}  # fmt: skip


#: Ways that compile programs of second and third derivatives, or of rarer dtypes.
LONGER = (
    "third derivatives", "hessian", "jit of hessian", "vmap of hessian", "jacfwd of jacfwd",
    "jacrev of jacfwd", "grad of vmap of grad", "grad, bfloat16", "grad, float16", "jvp, float16",
)  # fmt: skip


def same_in_jax(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for result, reference in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert (result.dtype, result.shape) == (reference.dtype, reference.shape)
        wide = np.complex128 if result.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(
            np.asarray(result).astype(wide),
            np.asarray(reference).astype(wide),
            **tolerance(reference.dtype),
        )


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow if way in LONGER else ()) for way in JAX]
)
def test_functions_give_what_jax_gives(way):
    give_what_jax_gives(way, mapped_by_jax)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow if way in LONGER else ()) for way in JAX]
)
def test_lowered_functions_give_what_jax_gives(way):
    give_what_jax_gives(way, lowered_to_jax)


def give_what_jax_gives(way, f):
    x, w = jnp.asarray(X.numpy()), jnp.asarray(W.numpy())
    actual, expected = JAX[way](f, x, w), JAX[way](in_jax, x, w)
    narrow = any(name in way for name in ("float", "complex64"))
    if narrow:  # sums of them are float32 here
        actual, expected = (
            jax.tree.map(lambda array: array.astype("float16"), tree) if "16" in way else tree
            for tree in (actual, expected)
        )
    same_in_jax(actual, expected)


def test_tangents_of_tangents_depend_on_the_arrays():
    cube, point, tangent = sg.jax.function(lambda x: x * x * x), jnp.float32(2), jnp.float32(1)
    first = lambda x: jax.jvp(cube, (x,), (x,))[1]  # noqa: E731 - 3 x^3, whose slope is 9 x^2
    assert jax.jvp(first, (point,), (tangent,)) == (24, 36)


@pytest.mark.usefixtures("in_float64")
def test_learning_rates_compile_twice_in_jax():
    count = count_traces(descent)
    function = sg.jax.function(count.f)
    x = jnp.linspace(0, 1, 5)
    for k in range(20):
        actual = function(x, 0.1 * k)
        np.testing.assert_allclose(actual["x"], x - 0.1 * k * jnp.sin(x))
        slope = jax.grad(lambda x, rate: function(x, rate)["x"].sum())(x, 0.1 * k)
        np.testing.assert_allclose(slope, 1 - 0.1 * k * jnp.cos(x))
    assert len(count.traced) < 12  # programs and types of f, forward and backward, each twice


@pytest.mark.usefixtures("in_float64")
def test_arrays_that_jax_alone_has_are_one_coded_error():
    x, w = jnp.asarray(X.numpy()), jnp.asarray(W.numpy())
    with pytest.raises(DTypeError, match="float8_e4m3fn"):
        mapped_by_jax(x.astype("float8_e4m3fn"), w)
    with pytest.raises(ArgumentError, match="missing a required argument"):
        mapped_by_jax(x)
    with pytest.raises(ShapeError, match="inner sizes differ"):
        jax.jit(mapped_by_jax)(x, w.T)


@pytest.mark.usefixtures("in_float64")
def test_typed_keys_of_jax_are_arrays_of_their_words():
    f = lambda key, x: x * key[1].astype("float64")  # noqa: E731
    key, x = jax.random.key(3), jnp.asarray(X.numpy())
    np.testing.assert_array_equal(sg.function(f)(key, np.asarray(x)), 3 * x)
    bridged = sg.jax.function(f)
    for function in (bridged, jax.jit(bridged), sg.jax.lower(f), jax.jit(sg.jax.lower(f))):
        np.testing.assert_array_equal(function(key, x), 3 * x)
    slope = jax.grad(lambda x: bridged(key, x).sum())
    np.testing.assert_array_equal(jax.jit(slope)(x), jnp.full_like(x, 3))
    keys = jax.random.wrap_key_data(jnp.array([[0, 2], [0, 5]], "uint32"))
    mapped = jax.vmap(bridged, (0, None))(keys, x)
    np.testing.assert_array_equal(mapped, jnp.stack([2 * x, 5 * x]))


SHARDED = """
import os, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np, staticgrad as sg
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
mesh = Mesh(np.array(jax.devices()[:2]), ("d",))
random = np.random.default_rng(0)
x, w = (jax.numpy.asarray(random.normal(size=shape)) for shape in ((4, 3), (3, 2)))
formula = lambda xp: lambda x, w: xp.tanh(x @ w)
own, other = sg.jax.function(formula(sg)), formula(jax.numpy)
def mapped(f, check):
    return jax.shard_map(f, mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"), check_vma=check)
def both(run):
    for one, two in zip(*(jax.tree.leaves(run(f)) for f in (own, other)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
for check in (True, False):
    both(lambda f: jax.jit(mapped(f, check))(x, w))
    both(lambda f: jax.jit(jax.grad(lambda w: (mapped(f, check)(x, w) ** 2).sum()))(w))
    both(lambda f: jax.jit(jax.hessian(lambda w: (mapped(f, check)(x, w) ** 2).sum()))(w))
    both(lambda f: jax.jvp(lambda w: mapped(f, check)(x, w), (w,), (w,)))
both(lambda f: jax.pmap(f, in_axes=(0, None))(x.reshape(2, 2, 3), w))
both(lambda f: jax.grad(lambda w: jax.pmap(f, in_axes=(0, None))(x.reshape(2, 2, 3), w).sum())(w))
split = jax.device_put(x, NamedSharding(mesh, P("d")))
both(lambda f: f(split, w))
both(lambda f: jax.jit(f)(split, w))
both(lambda f: jax.jit(jax.grad(lambda w: f(split, w).sum()))(w))
"""


@pytest.mark.slow
def test_functions_of_several_devices_have_the_gradients_of_jax():
    subprocess.run([sys.executable, "-c", SHARDED], check=True, timeout=300)


# -- functions of arrays made of PyTorch's and JAX's ----------------------------------------------


class Exported(torch.nn.Module):
    def forward(self, x, w):
        return formula(torch)(x, w)


def loss_of(f):
    return lambda x, w: sg.exp(f(x, w)["y"]).sum()


def slope_of_slopes(f):
    return sg.grad(lambda x, w: (sg.grad(loss_of(f))(x, w) ** 2).sum())


HERE = {
    "call": lambda f, x, w: f(x, w),
    "negative strides": lambda f, x, w: f(x[:, ::-1], w),
    "columns first": lambda f, x, w: f(np.asfortranarray(x), w),
    "eagerly": lambda f, x, w: f.eagerly(x, w),
    "grad": lambda f, x, w: sg.grad(loss_of(f), (0, 1))(x, w),
    "grad of grad": lambda f, x, w: slope_of_slopes(f)(x, w),
    "jvp": lambda f, x, w: sg.jvp(lambda x: f(x, w)["y"], x, x),
    "vmap": lambda f, x, w: sg.vmap(lambda x: f(x, w)["y"])(np.stack([x, x + 1])),
    "pickle": lambda f, x, w: pickle.loads(pickle.dumps(f))(x, w),
}  # fmt: skip
MADE = {
    "torch.module": lambda x, w: sg.function(sg.torch.module(Exported(), *map(tensor, (x, w)))),
    "jax.trace": lambda x, w: sg.jax.trace(formula(jnp), x, w),
}


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "complex128", "empty"])
@pytest.mark.parametrize("door", MADE)
def test_functions_made_of_other_libraries_are_functions_of_arrays(door, dtype):
    x, w = numbers(3, 4), numbers(4, 2)
    x, w = (x[:, :0], w[:0]) if dtype == "empty" else (x.astype(dtype), w.astype(dtype))
    function, plain = MADE[door](x, w), sg.function(formula(sg))
    for way, run in HERE.items():
        if dtype == "complex128" and "grad" in way:
            continue  # of a complex loss
        expected = (
            run(plain if way != "pickle" else sg.function(plain), x, w)
            if way != "pickle"
            else plain(x, w)
        )
        actual = run(function, x, w)
        if isinstance(actual, dict):
            assert actual.keys() == expected.keys()
            actual, expected = (
                [results[name] for name in expected] for results in (actual, expected)
            )
        for result, reference in zip(*map(sg.tree.leaves, (actual, expected)), strict=True):
            assert (result.dtype, result.shape) == (reference.dtype, reference.shape), way
            np.testing.assert_allclose(result, reference, err_msg=way, **tolerance(reference.dtype))


def test_results_of_functions_made_of_other_libraries_are_refused_by_code():
    x, w = numbers(3, 4).astype("float32"), numbers(4, 2).astype("float32")
    for make in MADE.values():
        function = make(x, w)
        for args in ((x[:2], w), (x.astype("int8"), w), (x,)):
            with pytest.raises(StaticgradError):
                function(*args)
