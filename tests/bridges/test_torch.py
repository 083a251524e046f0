"""Functions of arrays on PyTorch's tape, beside the same functions written in PyTorch."""

import copy
import importlib
import pickle
import warnings

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def tensors(*shapes, dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    return [torch.tensor(random.normal(size=shape).astype(dtype)) for shape in shapes]


def wanting(*leaves):
    return [leaf.requires_grad_() for leaf in leaves]


def layer(x, w):
    return sg.tanh(x @ w)


def loss(x, w):
    return sg.nn.mse(sg.tanh(x @ w), sg.sin(x[:, :2]))


def loop(x, w):
    return sg.fori_loop(0, 3, lambda _, h: sg.tanh(h @ w), x)


def several(x, w):
    y = x @ w
    return {"y": y, "more": (sg.exp(y).sum(axis=0), [sg.linalg.norm(x)])}


@pytest.mark.parametrize("f", [layer, loss, several])
def test_gradients_of_both_orders_pass_gradcheck(f):
    bridged = sg.torch.function(f)
    inputs = wanting(*tensors((3, 4), (4, 2)))
    as_tuple = lambda *args: tuple(sg.tree.leaves(bridged(*args)))  # noqa: E731
    assert torch.autograd.gradcheck(as_tuple, inputs)
    assert torch.autograd.gradgradcheck(as_tuple, inputs)


@pytest.mark.parametrize(
    "options", [{"jit": False}, {"backend": "numba"}, {"debug": "nan"}, {"threads": 2}], ids=str
)
def test_gradients_pass_gradcheck_under_options(options):
    with sg.options(**options):
        assert torch.autograd.gradcheck(sg.torch.function(loss), wanting(*tensors((3, 4), (4, 2))))


def test_loops_pass_gradcheck():
    assert torch.autograd.gradcheck(sg.torch.function(loop), wanting(*tensors((3, 2), (2, 2))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_and_gradients_are_those_of_pytorch(dtype):
    x, w = wanting(*tensors((5, 4), (4, 2), dtype=dtype))
    actual = sg.torch.function(loss)(x, w)
    expected = torch.nn.functional.mse_loss(torch.tanh(x @ w), torch.sin(x[:, :2]))
    assert actual.dtype == expected.dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    pairs = zip(
        torch.autograd.grad(actual, [x, w]), torch.autograd.grad(expected, [x, w]), strict=True
    )
    for slope, reference in pairs:
        torch.testing.assert_close(slope, reference, rtol=tolerance, atol=tolerance)


def test_tensors_without_gradient_and_integers_get_none():
    x, w = tensors((3, 4), (4, 2))
    places = torch.tensor([2, 0])
    bridged = sg.torch.function(lambda x, w, places: {"y": (x @ w)[places], "at": places + 1})
    out = bridged(x, w.requires_grad_(), places)
    assert out["at"].tolist() == [3, 1]
    assert not out["at"].requires_grad
    out["y"].sum().backward()
    torch.testing.assert_close(w.grad, (x[0] + x[2])[:, None].expand(4, 2))
    assert x.grad is None
    with torch.no_grad():
        assert not bridged(x, w, places)["y"].requires_grad


def test_a_layer_of_a_pytorch_model_trains_with_it():
    model = sg.nn.Sequential(sg.nn.Linear(4, 8), sg.nn.LayerNorm(8), sg.nn.gelu)
    weights = sg.tree.map(lambda p: torch.tensor(p.value).requires_grad_(), model)
    assert all(isinstance(leaf, torch.Tensor) for leaf in sg.tree.leaves(weights))
    head = torch.nn.Linear(8, 1)
    apply = sg.torch.function(lambda module, x: module(x))
    x, y = tensors((32, 4), (32, 1), dtype="float32")
    optimizer = torch.optim.Adam([*sg.tree.leaves(weights), *head.parameters()], 0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = ((head(apply(weights, x)) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_torch_func_differentiates_it():
    x, w = tensors((3, 4), (4, 2))
    actual = torch.func.grad(sg.torch.function(loss), argnums=1)(x, w)
    expected = sg.grad(loss, 1)(x.numpy(), w.numpy())
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)
    mapped = torch.vmap(sg.torch.function(loss), (0, None))(x[None], w.requires_grad_())
    np.testing.assert_allclose(torch.autograd.grad(mapped.sum(), w)[0], expected, rtol=1e-12)


def test_strided_tensors_and_bfloat16():
    x = tensors((4, 6))[0].T
    torch.testing.assert_close(sg.torch.function(lambda x: x * 2.0)(x), x * 2.0)
    narrow = x.to(torch.bfloat16)
    actual = sg.torch.function(lambda x: x + x)(narrow)
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual, narrow + narrow)


def test_results_of_earlier_calls_stay():
    bridged = sg.torch.function(lambda x: x + 1.0)
    x = tensors((100,))[0]
    results = [bridged(x * k) for k in range(5)]
    for k, result in enumerate(results):
        torch.testing.assert_close(result, x * k + 1.0)


def test_static_arguments_and_sizes_are_traced_once_each():
    traced = []

    def power(x, name):
        traced.append(name)
        return x**2 if name == "square" else x**3

    bridged = sg.torch.function(power)
    for size in (2, 3, 4):
        for name, value in (("square", 4.0), ("cube", 8.0)):
            assert bridged(torch.full((size,), 2.0), name).tolist() == [value] * size
    assert len(traced) == 4  # each with a size, and with a named one


def test_state_and_other_devices_are_refused():
    norm = sg.nn.BatchNorm1d(3)
    with pytest.raises(ArgumentError, match="updates parameters"):
        sg.torch.function(norm)(torch.ones(4, 3))
    generator = sg.random.Generator(0)
    with pytest.raises(ArgumentError, match="draws random numbers"):
        sg.torch.function(lambda x: x + generator.normal(shape=x.shape))(torch.ones(3))
    with pytest.raises(ArgumentError, match=r"tensor\.cpu"):
        sg.torch.function(lambda x: x + 1.0)(torch.ones(3, device="meta"))
    with pytest.raises(ArgumentError, match="not a function"):
        sg.torch.function(3)
    with pytest.raises(ArgumentError, match="must be hashable"):
        sg.torch.function(lambda x, a: x)(torch.ones(3), np.ones(2))


def test_arrays_cross_by_dlpack_without_copies():
    x = tensors((8, 3))[0]
    f = sg.compile(sg.Graph({"y": sg.input("x", ("n", 3), "float64") * 2.0}))
    actual = f.run({"x": x})["y"]
    as_tensor = torch.from_dlpack(actual)
    assert as_tensor.data_ptr() == actual.ctypes.data
    torch.testing.assert_close(as_tensor, 2 * x)
    later = f.run({"x": x + 1.0})["y"]  # does not reuse the memory that PyTorch holds
    assert not np.shares_memory(later, as_tensor.numpy())
    torch.testing.assert_close(torch.from_dlpack(sg.eager.Tensor(actual)), 2 * x)
    bridged = sg.torch.function(lambda x: x + 1.0)
    torch.testing.assert_close(bridged(torch.from_dlpack(x.numpy())), x + 1.0)


def spectrum(module, x, z):
    """Compute Fourier transforms of two real and complex arrays, here and in PyTorch."""
    total = module.fft.fft(x) * module.exp(z) + module.conj(z) * x
    return total, abs(total), 2.0 * module.fft.ifft(total).real, module.real(z) + 1j


@pytest.mark.parametrize("single", [False, True])
def test_complex_tensors_have_the_gradients_of_pytorch(single):
    real, imag, x = (wanting(tensor)[0] for tensor in tensors((3,), (3,), (3,)))
    z = torch.complex(real, imag).detach().requires_grad_()
    x, z = (x.float(), z.to(torch.complex64)) if single else (x, z)
    x, z = x.detach().requires_grad_(), z.detach().requires_grad_()
    bridged = sg.torch.function(lambda x, z: spectrum(sg, x, z))
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if single else {"rtol": 1e-12, "atol": 1e-12}

    def slopes(f):
        first, size, back, turned = f(x, z)
        loss = (
            (first.abs() ** 2).sum() + (size * back).sum() + (turned**2).imag.sum() + (x**2).sum()
        )
        gradients = torch.autograd.grad(loss, [x, z], create_graph=True)
        again = torch.autograd.grad(
            gradients[0].sin().sum() + (gradients[1] ** 2).imag.sum(), [x, z]
        )
        return first, *gradients, *again

    ours, theirs = slopes(bridged), slopes(lambda x, z: spectrum(torch, x, z))
    assert [tensor.dtype for tensor in ours] == [tensor.dtype for tensor in theirs]
    for actual, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual, expected, **tolerance)


def test_complex_tensors_pass_gradcheck():
    x, real, imag = tensors((3,), (3,), (3,))
    inputs = wanting(x, torch.complex(real, imag))
    bridged = sg.torch.function(lambda x, z: spectrum(sg, x, z))
    assert torch.autograd.gradcheck(bridged, inputs)
    assert torch.autograd.gradgradcheck(bridged, inputs)


def test_conjugate_views_are_read_and_complex_losses_are_holomorphic():
    z = torch.tensor([1.0 + 2.0j, 0.5 - 1.0j], requires_grad=True)
    power = sg.torch.function(lambda z: (z**3).sum())
    torch.testing.assert_close(power(z.conj()), (z.conj() ** 3).sum())
    (slope,) = torch.autograd.grad(power(z), z, torch.tensor(1.0 + 0.0j))
    torch.testing.assert_close(slope, (3.0 * z**2).conj().detach())


def test_constants_among_the_results_have_no_gradient():
    x = torch.tensor([2.0], requires_grad=True)
    y, number, array = sg.torch.function(lambda x: (x**2, 3.0, np.arange(2)))(x)
    assert (number.item(), array.tolist()) == (3.0, [0, 1])
    (y.sum() + number).backward()
    assert x.grad.tolist() == [4.0]


twice = sg.torch.function(np.exp)
bridged_layer = sg.torch.function(layer)


@sg.torch.function
def double_exp(x):
    return sg.exp(x) * 2.0


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.apply_layer = torch.nn.Parameter(tensors((4, 2))[0]), bridged_layer

    def forward(self, x):
        return self.apply_layer(x, self.w)

    @sg.torch.function
    def method(self, x):
        return x + 1.0


def test_functions_and_modules_that_hold_them_pickle():
    x, w = tensors((3, 4), (4, 2))
    again = pickle.loads(pickle.dumps(bridged_layer))
    torch.testing.assert_close(again(x, w), torch.tanh(x @ w))
    assert pickle.loads(pickle.dumps(double_exp)) is double_exp
    assert (again.__name__, double_exp.__name__) == ("layer", "double_exp")
    torch.testing.assert_close(pickle.loads(pickle.dumps(twice))(x), torch.exp(x))
    for copied in (pickle.loads(pickle.dumps(Holder())), copy.deepcopy(Holder())):
        torch.testing.assert_close(copied(x), Holder()(x))
    torch.testing.assert_close(Holder.method(None, x), x + 1.0)
    torch.testing.assert_close(Holder().method(x), x + 1.0)


def model(x, w):
    outputs = pair(x.cos(), w)
    return (double_exp(outputs["y"]) + 1.0).sum() + outputs["norm"]


@sg.torch.function
def pair(x, w):
    return {"y": sg.tanh(x @ w), "norm": (x**2).sum()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # PyTorch's own
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "staticgrad"])
def test_pytorch_compiles_functions_as_an_operator_of_its_graph(backend, recwarn):
    x, w = (tensor.requires_grad_() for tensor in tensors((5, 3), (3, 2)))
    expected = torch.autograd.grad(model(x, w), (x, w))
    torch._dynamo.reset()
    chosen = sg.torch.backend if backend == "staticgrad" else backend
    compiled = torch.compile(model, backend=chosen, fullgraph=True)
    for _ in range(2):
        actual = compiled(x, w)
        torch.testing.assert_close(actual, model(x, w))
        torch.testing.assert_close(torch.autograd.grad(actual, (x, w)), expected)
    torch._dynamo.reset()
    assert not [
        warning for warning in recwarn if issubclass(warning.category, sg.StaticgradWarning)
    ]


class Net(torch.nn.Module):
    def forward(self, x, w):
        return model(x, w)


@pytest.mark.slow
def test_torch_export_has_functions_as_an_operator():
    x, w = tensors((5, 3), (3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's own
        exported = torch.export.export(Net(), (x, w))
    names = [str(node.target) for node in exported.graph.nodes]
    assert names.count("staticgrad.run.default") == 2
    torch.testing.assert_close(exported.module()(x, w), model(x, w))


OF_OPEN_SIZES = {
    "row sums": (lambda x: sg.tanh(x @ x.T).sum(axis=1), lambda x: torch.tanh(x @ x.T).sum(1), 1),
    "shapes": (
        lambda x: (sg.concatenate([x, x]).reshape(-1, 2) * x.shape[0], x.T),
        lambda x: (torch.cat([x, x]).reshape(-1, 2) * x.shape[0], x.T),
        1,
    ),
    "broadcast": (lambda x: x[:, :1] + x[:, 0], lambda x: x[:, :1] + x[:, 0], 1),
    "branch": (*[lambda x: x * 2 if x.shape[0] > 4 else x * 3] * 2, 3),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # PyTorch's own
@pytest.mark.parametrize("name", OF_OPEN_SIZES)
def test_open_sizes_of_pytorch_stay_open_where_a_function_needs_no_values(name):
    f, expected, frames = OF_OPEN_SIZES[name]
    bridged = sg.torch.function(f)
    torch._dynamo.reset()
    counter = importlib.import_module("torch._dynamo.testing").CompileCounterWithBackend(
        "aot_eager"
    )
    compiled = torch.compile(lambda x: bridged(x * 2), backend=counter, dynamic=True)
    for rows in (3, 5, 7):
        slopes = []
        for run in (compiled, lambda x: expected(x * 2)):
            (x,) = tensors((rows, 4))
            results = run(x.requires_grad_())
            results = results if isinstance(results, tuple) else (results,)
            total = sum((result**2).sum() for result in results)
            slopes.append([*results, *torch.autograd.grad(total, x)])
        torch.testing.assert_close(*slopes)
    torch._dynamo.reset()
    assert counter.frame_count == frames


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # PyTorch's own
def test_torch_export_has_functions_of_named_sizes():
    dims = {"x": {0: torch.export.Dim("rows")}, "w": None}
    exported = torch.export.export(Net(), (*tensors((5, 3), (3, 2)),), dynamic_shapes=dims)
    for rows in (2, 9):
        x, w = tensors((rows, 3), (3, 2))
        torch.testing.assert_close(exported.module()(x, w), model(x, w))


def test_vmap_maps_functions_and_their_gradients():
    (x,) = tensors((4, 3))
    loss = lambda x: (double_exp(x) * x).sum()  # noqa: E731
    mapped = torch.func.vmap(double_exp, in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(mapped, double_exp(x))
    slopes = torch.func.vmap(torch.func.grad(loss))(x)
    torch.testing.assert_close(slopes, 2 * x.exp() * (1 + x))


def test_a_graph_calls_functions_of_this_process():
    from staticgrad.bridges.foreign_programs import find_programs

    with pytest.raises(ArgumentError, match="f: a graph of another process calls this function"):
        find_programs("f:99999")


@pytest.mark.slow
def test_functions_run_in_spawned_workers():
    x, _ = tensors((3, 4), (4, 2))
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        torch.testing.assert_close(pool.apply(double_exp, (x,)), double_exp(x))
