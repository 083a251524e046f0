"""PyTorch's programs through the table of ATen operators, beside PyTorch."""

import copy
import importlib
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, ExportError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from staticgrad.bridges.programs import ForeignCall, ResultOf  # noqa: E402
from staticgrad.torch.aten import backend  # noqa: E402
from staticgrad.torch.aten.operators import OPERATORS, REFUSED, AtenType  # noqa: E402
from staticgrad.torch.aten.program import AtenProgram, aten_operator  # noqa: E402
from staticgrad.torch.aten.promotion import common  # noqa: E402
from staticgrad.torch.aten.reading import program_of  # noqa: E402
from tests.bridges import torch_models  # noqa: E402
from tests.bridges.aten_graphs import trace_graph  # noqa: E402

F = torch.nn.functional


def random_tensor(*shape, dtype="float64", seed=0):
    random = np.random.default_rng(seed)
    return torch.tensor(random.normal(size=shape)).to(getattr(torch, dtype))


def through(f, *tensors, gradients=True):
    """The results, and the gradients of their sum with weights, here and in PyTorch."""
    program = program_of(trace_graph(f, *tensors))
    inputs = [
        sg.input(f"x{k}", tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for k, tensor in enumerate(tensors)
    ]
    free = [None] * (len(program.inputs) - len(inputs))
    results = program.run([*inputs, *free])
    leaves = [t.clone().requires_grad_(gradients and t.is_floating_point()) for t in tensors]
    expected = f(*leaves)
    expected = [*expected] if isinstance(expected, tuple | list) else [expected]
    total, ours = 0, 0
    for value, result in zip(results, expected, strict=True):
        if result.requires_grad:
            weight = np.cos(np.arange(result.numel()).reshape(result.shape))
            total = total + (result * torch.tensor(weight)).sum()
            ours = ours + (value * weight).sum()
    values = {f"y{k}": value for k, value in enumerate(results)}
    slopes = [leaf for leaf in leaves if leaf.requires_grad]
    if slopes and not isinstance(ours, int):
        gradients = torch.autograd.grad(total, slopes)
        by = [x for x, leaf in zip(inputs, leaves, strict=True) if leaf.requires_grad]
        values |= {
            f"g{k}": gradient
            for k, gradient in enumerate(sg.grad(ours, by, allow_disconnected=True))
        }
        expected = [*expected, *gradients]
    feeds = {f"x{k}": tensor.numpy() for k, tensor in enumerate(tensors)}
    actual = sg.evaluate(sg.Graph(values, inputs=inputs), feeds)
    return [*zip(actual.values(), [result.detach().numpy() for result in expected], strict=True)]


def some_index():
    return torch.tensor([[2, 0, 1], [0, 0, 2]])


def places():
    return torch.tensor([[2, 0, 1], [0, 3, 2]])


FUNCTIONS = {
    "sub with alpha": (lambda x, y: torch.sub(x, y, alpha=3), (2, 3), (3,)),
    "broadcast": (lambda x, y: x[:, None] * y + x.mean(), (3, 2), (4, 2)),
    "strides": (lambda x: x.t()[1:, ::2] * x.expand(2, 3, 4).permute(2, 0, 1)[1:, :1, 1], (3, 4)),
    "clamp": (lambda x: x.clamp(-0.5, 0.5) + x.clamp_min(0.1), (9,)),
    "std": (lambda x: torch.std_mean(x, 1), (3, 4)),
    "norms": (lambda x: (x.norm(), torch.linalg.vector_norm(x, 3, 0), x.norm(dim=1)), (3, 4)),
    "max": (lambda x: (*x.max(1), x.min(), x.amax(0)), (3, 4)),
    "order": (lambda x: (*x.sort(0, True), *x.topk(2), x.median(1)[0], x.kthvalue(2)[0]), (3, 4)),
    "scans": (lambda x: (x.cumsum(1), x.logcumsumexp(0), x.cummax(1)[0]), (3, 4)),
    "index": (lambda x: x[some_index(), :, 1], (3, 2, 4)),
    "gather": (lambda x: x.gather(1, some_index()), (3, 4)),
    "scatter": (lambda x, y: x.scatter(1, places(), y) + x.scatter(0, places()[:1] % 2, 2.0),
                (3, 4), (2, 3)),
    "scatter_add": (lambda x, y: x.scatter_add(1, some_index(), y), (3, 4), (2, 3)),
    "rows scattered": (lambda x, y: (
        x.scatter_add(0, some_index()[0].view(-1, 1).expand(3, 4), y),
        x.scatter_add(-1, some_index()[:1, :2].expand(3, 2), y[:, :2]),
        x.scatter_reduce(0, some_index()[1:, :1].expand(3, 4), y, "mean"),
        x.scatter(1, some_index()[0].expand(3, 3), y[:, :3])), (3, 4), (3, 4)),
    "rows gathered": (lambda x: (
        x.gather(0, some_index()[0].view(-1, 1).expand(3, 4)),
        x.gather(1, some_index()[1].expand(3, 3))), (3, 4)),
    "rows of a part": (lambda x, y: (
        x.scatter_add(0, some_index()[0].view(-1, 1).expand(3, 2), y[:, :2]),
        x.gather(0, some_index()[1].view(-1, 1).expand(3, 2))), (3, 4), (3, 4)),
    "reduce": (lambda x, y: x.scatter_reduce(1, some_index(), y, "mean", include_self=False),
               (3, 4), (2, 3)),
    "in place": (lambda x: x.clone().mul_(2)[1].add_(x[0]).clone(), (2, 3)),
    "index_put": (lambda x, y: x.clone().index_put_((torch.tensor([0, 0]),), y, accumulate=True),
                  (2, 3), (2, 3)),
    "masked": (lambda x: x.masked_fill(x > 0, 2.0) + torch.where(x > 1, x, 0.0), (3, 4)),
    "pad": (lambda x: (F.pad(x, (1, -1, 2, 0)), F.pad(x, (1, 2), "reflect")), (3, 4)),
    "conv": (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=(1, 0), groups=2),
             (2, 4, 7, 6), (6, 2, 3, 2), (6,)),
    "conv_transpose": (lambda x, w: F.conv_transpose1d(x, w, None, 2, 1, 1), (2, 4, 5), (4, 3, 3)),
    "pools": (lambda x: (F.max_pool2d(x, 3, 2, 1, return_indices=True)[0], F.avg_pool2d(x, 2),
                         F.adaptive_avg_pool2d(x, (2, 3))), (2, 3, 7, 6)),
    "pool indices": (lambda x: F.max_pool2d(x, (2, 3), 2, 1, ceil_mode=True, return_indices=True),
                     (2, 3, 7, 6)),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (1, 2, 3, 4)),
    "nearest": (lambda x: F.interpolate(x, size=(5, 7)), (1, 2, 3, 4)),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (4, 3, 5), (3,), (3,)),
    "layer_norm": (lambda x, w: F.layer_norm(x, (4,), w), (2, 3, 4), (4,)),
    "cross_entropy": (lambda x: F.cross_entropy(x, torch.tensor([2, 0, 1]), label_smoothing=0.1),
                      (3, 4)),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                  (2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)),
    "attention in groups": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        (2, 4, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)),
    "embedding": (lambda w: F.embedding(some_index(), w, padding_idx=0), (3, 4)),
    "solve": (lambda a, b: torch.linalg.solve(a, b) + torch.linalg.inv(a) @ b, (3, 3), (3, 2)),
    "cholesky": (lambda a: torch.linalg.cholesky(a @ a.t() + torch.eye(3).double()), (3, 3)),
    "eigenvalues": (lambda a: torch.linalg.eigvalsh(a + a.t()) * torch.linalg.eigh(a @ a.t())[0],
                    (3, 3)),
    "symmetric": (torch.linalg.eigvalsh, (3, 3)),
    "rows of -inf": (lambda x: torch.ops.aten._safe_softmax(
        torch.where(torch.tensor([[True], [False]]), x, -float("inf")), 1), (2, 3)),
    "losses": (lambda x, y: F.huber_loss(x, y) + F.kl_div(x, y.softmax(0), reduction="sum"),
               (4,), (4,)),
    "activations": (lambda x: F.gelu(x) + F.celu(x) + F.mish(x) + F.softplus(x) + F.selu(x)
                    + F.leaky_relu(x), (9,)),
    "einsum": (lambda x, y: torch.einsum("bij,bjk->ik", x, y), (2, 3, 4), (2, 4, 5)),
    "triangles": (lambda a, b: (
        torch.cholesky_solve(b, a.tril() + torch.eye(3).double() * 4),
        torch.cholesky_inverse(a.triu() + torch.eye(3).double() * 4, upper=True),
        torch.triangular_solve(b, a + torch.eye(3).double() * 4, transpose=True)[0]),
        (3, 3), (3, 2)),
    "put": (lambda x, y: (x.put(torch.tensor([4, 0]), y), x.put(torch.tensor([4, 4]), y, True)),
            (2, 3), (2,)),
    "masked_scatter": (lambda x, y: x.masked_scatter(torch.tensor([[True], [False], [True]]), y),
                       (3, 2), (5,)),
    "factors": (lambda a: (torch.linalg.lu_factor(a)[0], *torch.linalg.lu(a)[1:]), (2, 4, 3)),
    "factors solve": (lambda a, b: (
        torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b, adjoint=True),
        torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b.mT, left=False),
        torch.lu_unpack(*torch.linalg.lu_factor(a))[0]), (2, 4, 4), (2, 4, 3)),
    "solution's factors": (lambda a: (
        torch.ops.aten._linalg_solve_ex(a, a)[1], torch.ops.aten._linalg_slogdet(a.mT)[2],
        torch.ops.aten._linalg_det(a)[1]), (4, 4)),
    "reflections": (lambda a, t, y: (
        torch.linalg.householder_product(a, t), torch.ormqr(a, t, y),
        torch.ormqr(a, t, y.mT, left=False, transpose=True)), (4, 2), (2,), (4, 3)),
    "complex eigenvalues": (lambda a: torch.linalg.eigvals(a).abs(), (3, 3)),
    "memory": (lambda x: (
        x.t().as_strided((2, 2), (1, 5), 3), x.as_strided((4,), (2,)),
        torch.as_strided_scatter(x.detach().t(), -x.detach()[:2, :2], (2, 2), (3, 4), 1)), (3, 4)),
    "most frequent": (lambda x: (
        *x.round().mode(0), *torch.where(x > 1, torch.nan, x).nanmedian(1),
        x.histc(4, -1, 1), x.histc(3), *torch.histogram(x.detach(), 4)), (5, 7)),
    "index_reduce": (lambda x, y: x.index_reduce(1, torch.tensor([3, 0, 3]), y, "mean"),
                     (3, 4), (3, 3)),
    "without the sum": (lambda x, a, b: x + torch.addmm(x, a, b, beta=0, alpha=2),
                        (2, 2), (2, 3), (3, 2)),
    "pairs": (lambda x: torch.pdist(x, 3.0), (4, 2)),
    "adaptive maxima": (lambda x: F.adaptive_max_pool2d(x, (2, 3), return_indices=True),
                        (2, 3, 7, 5)),
    "fractional maxima": (lambda x: F.fractional_max_pool2d(
        x, 2, (3, 2), return_indices=True, _random_samples=random_tensor(2, 3, 2).sigmoid()),
        (2, 3, 7, 5)),
    "sums of windows": (lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, divisor_override=2), (2, 3, 6, 7)),
    "negative borders": (lambda x: (F.pad(x, (-1, 2), "replicate"), F.pad(x, (2, -1), "reflect")),
                         (2, 3, 5)),
    "tolerance": (lambda a: torch.linalg.pinv(a, atol=0.1), (4, 3)),
    "copies": (lambda x: torch.permute_copy(x, (1, 0)) + torch.unbind_copy(x)[0][:, None], (2, 2)),
    "modes of division": (lambda x, y: torch.div(x, y, rounding_mode="floor") + torch.fmod(x, y)
                          + torch.remainder(x, y), (6,), (6,)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_their_gradients_are_those_of_pytorch(name):
    f, *shapes = FUNCTIONS[name]
    for actual, expected in through(f, *(random_tensor(*s, seed=k) for k, s in enumerate(shapes))):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11)


#: Operators of elements that PyTorch does not differentiate, and one that has no slope here.
WITHOUT_GRADIENTS = {"igamma", "igammac", "special_zeta", "floor_divide", "nextafter"}


def call_with_elements(name):
    """Return an operator and the first of some operands that it takes; None if there are none."""
    operator = getattr(torch.ops.aten, name, None)
    draw = np.random.default_rng(0).uniform
    x, y = (torch.tensor(draw(0.1, 0.9, (2, 3))) for _ in range(2))
    i, j = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[2, 1, 2], [2, 4, 3]])
    for operands in ((x,), (x, y), (i, j), (i,)):
        try:
            result = operator(*operands)
        except (RuntimeError, TypeError):
            continue
        of_elements = isinstance(result, torch.Tensor) and result.shape == x.shape
        return (operator, operands) if of_elements and not result.is_complex() else None
    return None


def test_operators_of_elements_are_those_of_pytorch():
    """Each row of one or two arrays of an element type: none waits for a commit that draws it."""
    names = []
    for name, row in OPERATORS.items():
        call = call_with_elements(name) if row.operands and "." not in name else None
        if call is None:
            continue
        names.append(name)
        operator, operands = call
        pairs = through(operator, *operands, gradients=name not in WITHOUT_GRADIENTS)
        for actual, expected in pairs:
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11, err_msg=name)
    assert len(names) > 70


def normalize(x, w, b, mean, variance):
    return torch.ops.aten._native_batch_norm_legit_functional(
        x, w, b, mean, variance.abs(), True, 0.3, 1e-3
    )


#: Variants of operators that the families above draw for some commits alone.
VARIANTS = {
    "normalized by an operator": (normalize, (4, 3, 5), (3,), (3,), (3,), (3,)),
    "corners": (
        lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", align_corners=True), (1, 2, 3, 4)
    ),
    "areas": (
        lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", align_corners=False), (1, 2, 3, 4)
    ),
    "antialiased": (
        lambda x: F.interpolate(x, size=(3, 2), mode="bilinear", antialias=True), (1, 2, 7, 6)
    ),
    "cubes": (lambda x: F.interpolate(x, scale_factor=1.5, mode="bicubic"), (1, 2, 4, 4)),
    "maxima with a stride": (lambda x: F.max_pool2d(x, 2, 1), (2, 3, 5, 4)),
    "means without the border": (
        lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False), (2, 3, 5, 4)
    ),
    "powers of two": (lambda x: torch.ldexp(x, torch.tensor([1, 2, 3, 0])), (3, 4)),
    "a norm of one axis": (lambda x: (x.norm(1, 0), x.norm(float("inf"), 1)), (3, 4)),
    "deviations": (lambda x: (x.std(0, correction=0), x.var(1)), (3, 4)),
    "weighted losses": (
        lambda x: F.cross_entropy(
            x, torch.tensor([2, 0, -100]), weight=torch.tensor([0.2, 1.0, 3.0, 0.5]).double()
        ),
        (3, 4),
    ),
}  # fmt: skip


def test_variants_that_the_functions_above_lack():
    for name, (f, *shapes) in VARIANTS.items():
        tensors = [random_tensor(*shape, seed=k) for k, shape in enumerate(shapes)]
        pairs = through(f, *tensors, gradients=name != "normalized by an operator")
        for actual, expected in pairs:
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("function", [torch.cummax, torch.cummin])
def test_running_extremes_of_rows_with_nan_are_those_of_pytorch(function):
    x = torch.tensor([[1.0, torch.nan, 3.0, 0.5, torch.nan], [2.0, 2.0, 1.0, 5.0, 5.0]])
    actual = torch.compile(lambda x: function(x, 1), backend="staticgrad", fullgraph=True)(x)
    for ours, theirs in zip(actual, function(x, 1), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_places_of_dilated_maxima_are_those_of_pytorch():
    def pool_with_indices(x):
        return F.max_pool2d(x, (2, 3), 2, 1, dilation=(3, 2), return_indices=True)

    for actual, expected in through(pool_with_indices, random_tensor(2, 3, 9, 8)):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


OF_ONE_VALUE = {
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, torch.eye(5) > 0.5),
    "attention, causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "attention of others": lambda x: F.scaled_dot_product_attention(x, x.sin(), x.cos()),
    "attention in groups": lambda x: F.scaled_dot_product_attention(
        x, x[:, :1], x[:, 1:], enable_gqa=True),
    "convolution": lambda x: F.conv2d(x, x, padding=2),
    "distances": lambda x: torch.cdist(x, x.sin()),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_ONE_VALUE)
def test_operands_of_one_value_have_a_share_each(name):
    torch._dynamo.reset()
    f, x = OF_ONE_VALUE[name], random_tensor(2, 2, 5, 4).requires_grad_()
    run = torch.compile(f, backend="staticgrad")
    actual, expected = (torch.autograd.grad(g(x).square().sum(), x)[0] for g in (run, f))
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11)


def test_polynomials_are_those_of_pytorch():
    x, degree = random_tensor(6), torch.tensor([0.0, 1, 2, 3, 5, -1], dtype=torch.float64)
    names = [name for name in dir(torch.special) if "polynomial" in name]
    assert len(names) == 12

    def f(x):
        return tuple(getattr(torch.special, name)(x, degree) for name in names)

    for actual, expected in through(f, x):
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_factors_of_integers_are_whole_numbers():
    x, y, z = (torch.arange(k, k + 4).reshape(2, 2) for k in (1, -3, 2))

    def f(x, y, z):
        return (torch.addmm(x, y, z, beta=0.5, alpha=1.5),
                x.scatter_reduce(0, y.abs() % 2, z - 7, "mean"), x.gcd(z), x.lcm(y))  # fmt: skip

    for actual, expected in through(f, x, y, z):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)


def test_sums_of_truth_values_are_whether_one_is_true():
    x, y = torch.tensor([False, True, False]), torch.tensor([True, False, False])
    places = torch.tensor([2, 1, 2])

    def f(x, y):
        return (x.index_put((places,), y, accumulate=True), x.scatter_add(0, places, y),
                x.put(places, y, True), x.index_add(0, places, y))  # fmt: skip

    for actual, expected in through(f, x, y):
        np.testing.assert_array_equal(actual, expected)


def test_a_refused_operator_has_no_row():
    assert not REFUSED.keys() & {name.partition(".")[0] for name in OPERATORS}
    for name in REFUSED:
        assert hasattr(torch.ops.aten, name), name


BACKWARD = {
    "maxima": (lambda x: F.adaptive_max_pool2d(x, (2, 3)), (2, 3, 7, 5)),
    "scattered": (lambda x, y: x.masked_scatter(torch.tensor([[True], [False], [True]]), y),
                  (3, 2), (5,)),
    "solution": (lambda a, b: torch.linalg.solve(a, b, left=False), (3, 3), (2, 3)),
    "logarithm of a determinant": (lambda a: torch.linalg.slogdet(a.mT)[1], (4, 4)),
    "normalized": (lambda x, w: torch.ops.aten._batch_norm_with_update_functional(
        x, w, w, torch.zeros(3).double(), torch.ones(3).double(), 0.1, 1e-5)[0], (4, 3, 5), (3,)),
    "border": (lambda x: F.pad(x, (1, 2), "replicate"), (2, 3, 4)),
    "grid": (lambda x, grid: F.grid_sample(x, grid.tanh(), align_corners=False),
             (1, 2, 3, 4), (1, 2, 2, 2)),
    "distances": (lambda x, y: torch.cdist(x, y, 3.0), (3, 2), (4, 2)),
    "distances of pairs": (lambda x: torch.pdist(x, 3.0), (4, 2)),
    "means of windows": (lambda x: F.avg_pool2d(x, 2, 1, 1, count_include_pad=False), (1, 2, 4, 3)),
    "mirror": (lambda x: F.pad(x, (1, 2, 0, 1), "reflect"), (1, 2, 3, 4)),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                  (2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)),
    "enlarged": (lambda x: F.interpolate(x, scale_factor=1.7, mode="bicubic"), (1, 2, 3, 4)),
    "enlarged, aligned": (lambda x: F.interpolate(
        x, size=(4, 5, 3), mode="trilinear", align_corners=True), (1, 2, 3, 4, 2)),
    "enlarged, bilinear": (lambda x: F.interpolate(x, size=(5, 7), mode="bilinear"), (1, 2, 3, 4)),
    "enlarged, linear": (lambda x: F.interpolate(x, scale_factor=2.5, mode="linear"), (1, 2, 3)),
    "enlarged, nearest": (lambda x: F.interpolate(x, size=(5, 7)), (1, 2, 3, 4)),
    "resized, averaging": (lambda x: torch.cat([
        F.interpolate(x, size, mode=mode, antialias=True).flatten()
        for mode in ("bilinear", "bicubic") for size in ((2, 9), (5, 3))]), (1, 2, 7, 6)),
    "scaled, averaging": (lambda x: torch.cat([
        F.interpolate(x, scale_factor=scale, mode=mode, antialias=True).flatten()
        for mode in ("bilinear", "bicubic") for scale in (0.6, (0.5, 1.7))]), (1, 2, 7, 6)),
    "enlarged, exactly": (lambda x: F.interpolate(x, size=(5, 7, 3), mode="nearest-exact"),
                          (1, 2, 3, 4, 2)),
    "shrinkage": (lambda x: F.hardshrink(x, 0.4) + 2.0 * F.softshrink(x, 0.7), (9,)),
    "weights by length": (lambda v, g: torch.ops.aten._weight_norm(v, g, 0), (3, 2, 2), (3, 1, 1)),
    "weights by length, last": (lambda v, g: torch.ops.aten._weight_norm(v, g, 2),
                                (3, 2, 2), (1, 1, 2)),
    "margins": (lambda x: F.multi_margin_loss(x, torch.tensor([2, 0, 1]), 2, 0.8), (3, 4)),
    "margins, sum": (lambda x: F.multi_margin_loss(
        x, torch.tensor([2, 0, 1]), reduction="sum")[None], (3, 4)),
}  # fmt: skip
#: Backward operators that no program of dense tensors of a CPU reads.
ELSEWHERE = {
    **dict.fromkeys(("_sparse_softmax_backward_data", "_sparse_log_softmax_backward_data"),
                    "of sparse tensors"),
    **dict.fromkeys(("_nested_select_backward", "_nested_sum_backward", "matmul_backward"),
                    "of nested tensors"),
    "glu_backward_jvp": "of forward mode",
    "linear_backward": "of nested tensors, and of other devices",
    "max_pool2d_backward": "of other devices",
}  # fmt: skip


def test_an_operator_that_is_read_has_a_backward_operator_that_is_read():
    files = pytest.importorskip("torchgen", reason="PyTorch's table of derivatives is missing")
    text = (Path(files.__file__).parent / "packaged/autograd/derivatives.yaml").read_text()
    table = backend.drop_lossy_decompositions(torch._decomp.core_aten_decompositions())

    def is_read(name):
        packet_name, _, overload = name.partition(".")
        if name in OPERATORS or packet_name in OPERATORS:
            return True
        packet = getattr(torch.ops.aten, packet_name, None)
        overloads = [] if packet is None else [overload] if overload else packet.overloads()
        return any(getattr(packet, name) in table for name in overloads)

    unpaired, pairs = {}, 0
    for entry in re.split(r"^- name: ", text, flags=re.MULTILINE)[1:]:
        forward, formulas = entry.partition("(")[0], entry.partition("\n")[2]
        for name in set(re.findall(r"\b(\w+_backward\w*)\(", formulas)):
            backward = name.removesuffix("_symint")
            packet = getattr(torch.ops.aten, backward, None)
            if packet is None or not is_read(forward):
                continue  # a function of C++, whose operators are read
            pairs += 1
            if backward not in ELSEWHERE and backward not in REFUSED and not is_read(backward):
                unpaired[backward] = forward
    assert pairs > 80
    assert unpaired == {}


@pytest.mark.parametrize("name", BACKWARD)
def test_backward_graphs_of_pytorch_are_those_of_pytorch(name):
    f, *shapes = BACKWARD[name]

    def graph(graph, example):
        program = program_of(graph)
        inputs = [
            sg.input(f"x{k}", tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            for k, tensor in enumerate(example)
        ]
        results = program.run([*inputs, *[None] * (len(program.inputs) - len(inputs))])
        outputs = {
            f"y{k}": result for k, result in enumerate(results) if isinstance(result, sg.Value)
        }

        def run(args):
            args = [torch.zeros(0) if arg is None else arg for arg in args]  # an order of calls
            feeds = {f"x{k}": arg.detach().numpy() for k, arg in enumerate(args)}
            arrays = sg.evaluate(sg.Graph(outputs, inputs=inputs), feeds)
            return [
                torch.tensor(arrays[f"y{k}"]) if f"y{k}" in arrays else result
                for k, result in enumerate(results)
            ]

        run._boxed_call = True
        return run

    compiled = importlib.import_module("torch._functorch.aot_autograd").aot_function(
        f, fw_compiler=graph, bw_compiler=graph,
        decompositions=torch._decomp.core_aten_decompositions(),
    )  # fmt: skip
    outcomes = []
    for g in (f, compiled):
        xs = [random_tensor(*s, seed=k).requires_grad_() for k, s in enumerate(shapes)]
        y = g(*xs)
        weight = torch.arange(y.numel()).reshape(y.shape).cos()
        outcomes.append([y.detach(), *torch.autograd.grad((y * weight).sum(), xs)])
    torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore:Casting complex values:UserWarning")
def test_complex_numbers_convert_to_their_real_parts():
    x = torch.complex(random_tensor(3), random_tensor(3, seed=1))
    program = program_of(trace_graph(lambda x: x.to(torch.float32), x))
    (y,) = program.run([sg.constant(x.numpy()), *[None] * (len(program.inputs) - 1)])
    assert sg.evaluate(y).dtype == np.float32
    np.testing.assert_allclose(sg.evaluate(y), x.real.numpy(), rtol=1e-6)


def test_results_have_the_element_types_that_pytorch_promotes_to():
    integers, small, single = (
        torch.tensor([3, -2, 5]), torch.tensor([1, 2, -4], dtype=torch.int8),
        torch.tensor([0.5, 2.5, -1.0]),
    )  # fmt: skip
    zero = torch.tensor(2.5, dtype=torch.float64)  # without an axis: a number

    def f(a, b, c, d):
        return (a + b, b * 2, b + 2.5, a / b, c * d, a * d, a == c, c < a, b // a, a**2, a.sum(),
                (a > 0).sum(), b.mean(dtype=torch.float32), torch.where(a > 0, b, c),
                torch.cat([b, a]), c.pow(a), a.clamp(max=1.5))  # fmt: skip

    for actual, expected in through(f, integers, small, single, zero):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_detached_tensor_has_no_gradient():
    kinds = [AtenType("float64", (3,))]
    call = ForeignCall(aten_operator("aten.detach"), {"x": ResultOf(0)}, kinds)
    operands = {"x": ResultOf(0), "y": ResultOf(1)}
    twice = ForeignCall(aten_operator("aten.mul.Tensor"), operands, kinds)
    x = sg.input("x", (3,), "float64")
    (y,) = AtenProgram(kinds, [call, twice], [ResultOf(2)]).run([x])
    slope = sg.evaluate(sg.grad(y.sum(), x), {"x": np.array([1.0, 2.0, 3.0])})
    np.testing.assert_array_equal(slope, [1.0, 2.0, 3.0])


class SafeSoftmax(torch.nn.Module):
    def forward(self, x):
        return torch.ops.aten._safe_softmax(x, -1)


def test_a_row_of_minus_infinities_has_no_gradient():
    x = torch.tensor([[-np.inf] * 3, [1.0, -np.inf, 0.5]], dtype=torch.float64, requires_grad=True)
    slope = np.arange(6.0).reshape(2, 3)
    SafeSoftmax()(x).backward(torch.from_numpy(slope))
    model, value = sg.torch.module(SafeSoftmax(), x.detach()), sg.input("x", (2, 3), "float64")
    actual = sg.evaluate(sg.grad((model(value) * slope).sum(), value), {"x": x.detach().numpy()})
    np.testing.assert_allclose(actual, x.grad.numpy(), atol=1e-15)
    assert not actual[0].any()


def test_promotion_of_operands_is_that_of_pytorch():
    kinds = ["bool", "int8", "uint8", "int64", "float16", "float32", "float64"]
    tensors = [torch.ones((2,) * rank, dtype=getattr(torch, k)) for k in kinds for rank in (0, 1)]
    for left in tensors:
        for right in (*tensors, True, 2, 2.5):
            values = [
                sg.constant(operand.numpy()) if isinstance(operand, torch.Tensor) else operand
                for operand in (left, right)
            ]
            expected = str(torch.result_type(left, right)).removeprefix("torch.")
            assert common(values) == expected, (left, right)


def test_an_operator_without_a_row_is_one_error_that_names_it_and_the_line():
    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.nonzero_static(x, size=2)

    with pytest.raises(ExportError, match=r"nonzero_static.*no row") as caught:
        sg.torch.module(Net(), random_tensor(3))
    assert "torch.nonzero_static(x, size=2)" in str(caught.value)


def test_a_variant_that_a_row_lacks_names_the_operator():
    program = program_of(
        trace_graph(lambda x: x[x > 0].sum() if False else x[x > 0], random_tensor(3))
    )
    with pytest.raises(ExportError, match=r"aten\.index.*mask[\s\S]*backend='staticgrad'"):
        program.run([sg.input("x", (3,), "float64")])


def test_the_backend_runs_a_selection_by_a_mask():
    """PyTorch runs that line between two programs, as the hint of the refusal says."""
    x = random_tensor(7)
    actual = torch.compile(lambda x: x[x.sin() > 0].cos().sum(), backend=sg.torch.backend)(x)
    torch.testing.assert_close(actual, x[x.sin() > 0].cos().sum())


def test_module_takes_modules_of_pytorch():
    with pytest.raises(ArgumentError, match=r"torch\.nn\.Module"):
        sg.torch.module(lambda x: x, random_tensor(3))


class Part(torch.nn.Module):
    def forward(self, x):
        part = x[:, :2]
        return torch.as_strided(part, part.shape, part.stride(), part.storage_offset()) * 2


def test_views_of_a_whole_tensor_in_a_larger_memory_are_the_tensor():
    x = torch.arange(12.0).reshape(3, 4)
    actual = sg.function(sg.torch.module(Part(), x))(x.numpy())
    np.testing.assert_array_equal(actual, Part()(x))


class Solver(torch.nn.Module):
    """A function of matrices whose result PyTorch checks: what it exports has tokens."""

    def __init__(self, solve):
        super().__init__()
        self.solve = solve
        self.count = torch.nn.Buffer(torch.zeros((), dtype=torch.float64))

    def forward(self, a, b):
        self.count.add_(1.0)
        return {"x": self.solve(a, b), "sum": a.sum()}


@pytest.mark.parametrize(
    "solve",
    [
        torch.linalg.solve,
        lambda a, b: torch.linalg.inv(a) @ b,
        lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b),
        lambda a, b: torch.cholesky_solve(b, torch.linalg.cholesky(a @ a.mT)),
    ],
)
def test_modules_that_solve_have_the_results_of_pytorch(solve):
    a, b = random_tensor(4, 4).detach() + 4 * torch.eye(4).double(), random_tensor(4, 2).detach()
    model = sg.torch.module(Solver(solve), a, b)
    step = sg.function(lambda a, b: model(a, b))
    for _ in range(2):
        actual = step(a.numpy(), b.numpy())
    np.testing.assert_allclose(actual["x"], solve(a, b), rtol=1e-12)
    np.testing.assert_allclose(actual["sum"], a.sum(), rtol=1e-12)


def test_every_row_is_an_operator_of_pytorch():
    gone = {"cholesky"} - {*dir(torch.ops.aten)}  # of PyTorch 2.14, which has linalg_cholesky_ex
    for name in OPERATORS:
        # Those of staticgrad and of transformers are registered when they are first used.
        if name.startswith(("staticgrad.", "transformers.")) or name in gone:
            continue
        library = torch.ops.prims if name.startswith("prims.") else torch.ops.aten
        packet, _, overload = name.removeprefix("prims.").partition(".")
        operator = getattr(library, packet)
        assert not overload or overload in operator.overloads()


@pytest.mark.slow
@pytest.mark.parametrize("name", torch_models.MODELS)
def test_models_train_with_the_losses_of_pytorch(name):
    torch.manual_seed(0)
    make, example = torch_models.MODELS[name]
    net = make().double()
    as_double = lambda args: [a.double() if a.is_floating_point() else a for a in args]  # noqa: E731
    model = sg.torch.module(net, *as_double(example()))
    assert len(model.parameters()) == len([*net.parameters()])
    theirs, ours = torch.optim.Adam(net.parameters(), 1e-2), sg.optim.Adam(1e-2)

    @sg.function
    def step(*args):
        out = model(*args)
        loss = out if out.ndim == 0 else (out * out).mean() + 0.1 * out.sum() / out.shape[0]
        ours.minimize(loss)
        return loss

    for _ in range(10):
        args = as_double(example())
        theirs.zero_grad()
        loss = torch_models.loss(net(*args))
        loss.backward()
        theirs.step()
        np.testing.assert_allclose(step(*(a.numpy() for a in args)), loss.item(), rtol=1e-7)
    back = model.torch_state_dict()
    for key, tensor in net.state_dict().items():
        np.testing.assert_allclose(back[key], tensor, rtol=1e-5, atol=1e-7)
    fresh = make().double()
    fresh.load_state_dict(back)
    net.eval()
    model.eval()
    actual = sg.function(model)(*(a.numpy() for a in args))
    np.testing.assert_allclose(actual, fresh.eval()(*args).detach(), rtol=1e-7, atol=1e-9)


class Heads(torch.nn.Module):
    def forward(self, q):
        y = F.scaled_dot_product_attention(q, q, q, is_causal=True)
        return y.transpose(1, 2).reshape(2, 5, 8).view(-1, 8)  # no copy in PyTorch


def test_attention_has_the_order_in_memory_that_views_rely_on():
    q = random_tensor(2, 5, 2, 4).transpose(1, 2).requires_grad_()
    expected = Heads()(q)
    (slope,) = torch.autograd.grad(expected.square().sum(), q)
    model, value = sg.torch.module(Heads(), q.detach()), sg.input("q", (2, 2, 5, 4), "float64")
    y = model(value)
    actual = sg.evaluate({"y": y, "g": sg.grad((y * y).sum(), value)}, {"q": q.detach().numpy()})
    np.testing.assert_allclose(actual["y"], expected.detach(), rtol=1e-9)
    np.testing.assert_allclose(actual["g"], slope, rtol=1e-9, atol=1e-11)


class PartsWithoutGradient(torch.nn.Module):
    """Parts without a gradient, a buffer that moves, results in a dict."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.frozen = torch.nn.Linear(2, 2).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("order", torch.tensor([1, 0]), persistent=False)

    def forward(self, x, *, scale=1.0):
        h = self.layer(x)
        with torch.no_grad():
            size = h.abs().mean() + 1
        if self.training:
            self.mean.copy_(0.9 * self.mean + 0.1 * h.detach().mean(0))
        return {
            "y": self.frozen(h / size - h.detach())[:, self.order] * scale + self.mean,
            "h": (h,),
        }


@pytest.mark.slow
def test_parts_without_gradient_buffers_and_containers():
    torch.manual_seed(0)
    net = PartsWithoutGradient()
    x = random_tensor(4, 3, dtype="float32")
    model = sg.torch.module(net, x, dynamic_shapes={"x": {0: "batch"}, "scale": None}, scale=2.0)
    assert list(model.weights) == ["layer.weight", "layer.bias"]

    @sg.function
    def step(x):
        out = model(x, scale=2.0)
        return out["y"], out["h"][0], sg.grad((out["y"] ** 2).sum(), [*model.weights.values()])

    for count in (4, 7):
        x = random_tensor(count, 3, dtype="float32", seed=count)
        out = net(x, scale=2.0)
        slopes = torch.autograd.grad((out["y"] ** 2).sum(), [*net.layer.parameters()])
        y, h, gradients = step(x.numpy())
        np.testing.assert_allclose(y, out["y"].detach(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(h, out["h"][0].detach(), rtol=1e-5, atol=1e-6)
        for gradient, reference in zip(gradients, slopes, strict=True):
            np.testing.assert_allclose(gradient, reference, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.statistics["mean"].value, net.mean, rtol=1e-5)
    assert model.torch_state_dict().keys() == net.state_dict().keys()
    with pytest.raises(ArgumentError, match="was exported for"):
        sg.function(model)(np.ones((4, 2), "float32"), scale=2.0)
    with pytest.raises(ArgumentError, match="other containers or numbers"):
        sg.function(model)(np.ones((4, 3), "float32"), scale=3.0)


class StraightSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.sign(x)

    @staticmethod
    def backward(ctx, slope):
        return slope


class Binary(torch.nn.Module):
    def forward(self, x):
        return StraightSign.apply(x)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_in_the_mode_of_pytorchs(training):
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5)).train(training)
    x = random_tensor(6, 3, dtype="float32")
    model = sg.torch.module(net, x)
    assert model.training is net.training is training
    actual = sg.function(model)(x.numpy())
    if training:
        assert (actual == 0.0).any()
    else:
        np.testing.assert_allclose(actual, net(x).detach(), 1e-6)


def test_a_backward_of_its_own_is_refused():
    with pytest.raises(ExportError, match=r"StraightSign is a torch\.autograd\.Function"):
        sg.torch.module(Binary(), random_tensor(3))


def _write_whole(x, weights):
    return x.mul_(weights)


def _write_view(x, weights):
    x[0].add_(1)
    return x * weights


def _write_without_gradient(x, weights):
    with torch.no_grad():
        x.mul_(2)
    return x * weights


def _write_second_argument(x, weights):
    weights.add_(1)
    return x * weights


class Writing(torch.nn.Module):
    """Write into an argument by ``write``."""

    def __init__(self, write):
        super().__init__()
        self.write = write

    def forward(self, x, weights):
        return self.write(x, weights)


WRITES = {
    _write_whole: "x",
    _write_view: "x",
    _write_without_gradient: "x",
    _write_second_argument: "weights",
}


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_a_module_that_writes_into_an_argument_is_refused(write):
    x, weights = random_tensor(2, 3), random_tensor(2, 3, seed=1)
    values = x.clone(), weights.clone()
    with pytest.raises(ExportError, match=f"the module writes into {WRITES[write]},"):
        sg.torch.module(Writing(write), x, weights)
    assert torch.equal(x, values[0])
    assert torch.equal(weights, values[1])
    assert not x.requires_grad


def test_a_module_writes_into_a_copy_of_an_argument_and_has_its_gradient():
    """The hint of the error says so."""

    def write_copy(x, weights):
        y = x.clone()
        y.mul_(2)
        return y * weights

    x, weights = random_tensor(2, 3), random_tensor(2, 3, seed=1)
    model = sg.torch.module(Writing(write_copy), x, weights)
    value = sg.input("x", (2, 3), "float64")
    y = model(value, weights.numpy())
    actual = sg.evaluate({"y": y, "slope": sg.grad(y.sum(), value)}, {"x": x.numpy()})
    np.testing.assert_allclose(actual["y"], 2 * x.numpy() * weights.numpy(), rtol=1e-14)
    np.testing.assert_allclose(actual["slope"], 2 * weights.numpy(), rtol=1e-14)


@pytest.mark.slow
def test_a_model_goes_on_without_pytorch(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.ReLU())
    x = random_tensor(5, 3, dtype="float32")
    model = sg.torch.module(net, x)
    zeros = np.count_nonzero(sg.function(model)(x.numpy()) == 0.0)
    model.eval()
    expected = net.eval()(x).detach().numpy()
    assert zeros > np.count_nonzero(expected == 0.0)  # dropout is active in training
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    program = (
        "import sys, pickle, numpy as np, staticgrad as sg\n"
        "sys.modules['torch'] = None\n"
        f"model = pickle.load(open({str(path)!r}, 'rb'))\n"
        f"print(float(sg.function(model)(np.array({x.tolist()}, 'float32')).sum()))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(out.stdout) == pytest.approx(expected.sum(), rel=1e-5)


# -- torch.compile ---------------------------------------------------------------------------------


@pytest.fixture
def compile_here():
    torch._dynamo.reset()
    yield lambda f, **options: torch.compile(f, backend=sg.torch.backend, **options)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "gpt", "vae"])
def test_compiled_models_train_with_the_losses_of_pytorch(name, compile_here):
    torch.manual_seed(0)
    make, example = torch_models.MODELS[name]
    nets = [make() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    f = compile_here(lambda *args: torch_models.loss(nets[1](*args)))
    eager = lambda *args: torch_models.loss(nets[0](*args))  # noqa: E731
    steps = [torch.optim.SGD(net.parameters(), 0.05) for net in nets]
    for _ in range(10):
        args, losses = example(), []
        for optimizer, g in zip(steps, (eager, f), strict=True):
            optimizer.zero_grad()
            losses.append(g(*args))
            losses[-1].backward()
            optimizer.step()
        torch.testing.assert_close(losses[1], losses[0], rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_constants_of_a_compiled_function_are_read(compile_here):
    x = random_tensor(3).requires_grad_()
    run = compile_here(lambda x: x[[0, 2]].sum() * torch.tensor([1.0, 2.0]))
    run(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [3.0, 0.0, 3.0])


def drawing_by_sizes(x):
    """Draw for several sizes, orders of axes and ways to say a distribution."""
    y = torch.dropout(x.sin(), 0.5, True) * 2 + torch.rand_like(x)
    z = torch.nn.functional.dropout(x.t().cos(), 0.3) + torch.randn(3, 5)
    w = torch.bernoulli(x.detach(), 0.25) + torch.empty_like(x).uniform_(1.0, 2.0)
    return y * w + z.t() * torch.randint(0, 5, (5, 3)) + torch.empty(3).normal_(1.0, 0.5)


def drawing_by_chances(x):
    """Draw with chances that are computed, between draws that are not."""
    chances = torch.sigmoid(x.detach())
    y = torch.rand_like(x) + torch.bernoulli(chances) + torch.dropout(x, 0.5, True)
    z = torch.bernoulli(chances.t().double()) + torch.bernoulli(chances.half()).t()
    return y * torch.empty(5, 3).bernoulli_(chances[0]) + z.float().t()


@pytest.mark.slow
@pytest.mark.parametrize("f", [drawing_by_sizes, drawing_by_chances], ids=["sizes", "chances"])
def test_random_numbers_of_a_compiled_function_are_pytorch_s(compile_here, f):
    """In one program, where what is drawn depends on sizes: PyTorch draws before it runs."""
    x = random_tensor(5, 3).requires_grad_()
    torch.manual_seed(3)
    expected = f(x), f(x)
    (slope,) = torch.autograd.grad(expected[1].sum(), x)
    run = compile_here(f)
    torch.manual_seed(3)
    actual = run(x), run(x)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(torch.autograd.grad(actual[1].sum(), x)[0], slope)
    report = sg.torch.explain(f, x)
    assert len(report.graphs[0].programs) == 1
    assert not report.graphs[0].outside


@pytest.mark.slow
def test_pytorch_runs_what_has_no_row_and_one_warning_names_it(compile_here):
    def f(x):
        return torch.geqrf(x.exp() + 1)[0].cos() + 1

    x = random_tensor(5, 5)
    with pytest.warns(sg.StaticgradWarning, match=r"aten\.geqrf has no row.*LAPACK"):
        actual = compile_here(f)(x)
    torch.testing.assert_close(actual, f(x))


@pytest.mark.slow
def test_compiled_functions_write_in_place_give_views_and_other_orders_of_axes(compile_here):
    def f(x, total):
        total.add_(x.sum(0))
        y = (x * 2).t()
        y[0].mul_(3)
        return y, y[1:], y.reshape(-1), x.shape[0] * y.mean(), x.argmax(1), x

    runs = compile_here(f, dynamic=True)
    for count in (3, 5):
        x, totals = random_tensor(count, 4), [random_tensor(4), random_tensor(4)]
        expected, actual = f(x, totals[0]), runs(x, totals[1])
        for result, reference in zip(actual, expected, strict=True):
            torch.testing.assert_close(result, reference)
            assert result.stride() == reference.stride()
        torch.testing.assert_close(totals[1], totals[0])
        assert actual[-1] is x
        actual[0].zero_()  # its view
        assert not actual[1].any()


@pytest.mark.slow
def test_open_sizes_are_named_sizes_of_one_program(compile_here, monkeypatch):
    programs = []
    make = backend.compile_graph
    monkeypatch.setattr(
        backend, "compile_graph", lambda *a, **k: programs.append(make(*a, **k)) or programs[-1]
    )

    def f(x, w, factor):
        y = torch.cat([x, x + 1]).tanh() @ w
        return (y * factor).reshape(2, -1, w.shape[1]), x.shape[0] * 3, y.t()

    g = compile_here(f, dynamic=True)
    for count in (4, 7, 5):
        outcomes = []
        for run in (f, g):
            x, w = (
                random_tensor(count, 3, seed=count).requires_grad_(),
                random_tensor(3, 2).requires_grad_(),
            )
            y, size, turned = run(x, w, 0.5 + count)
            slopes = torch.autograd.grad(y.cos().sum() + turned.sin().sum(), (x, w))
            outcomes.append([y.detach(), turned.detach(), *slopes])
            assert size == 3 * count
        torch.testing.assert_close(outcomes[1], outcomes[0])
    assert [sorted(program.program_graph.sizes) for program in programs] == [
        sorted(programs[0].program_graph.sizes)
    ] * 2  # forward and backward
    assert programs[0].program_graph.sizes


WITH_INTEGERS = {
    "sum": lambda x, n: (x.sum() + n, x.int() * n, x.int() // n + x.int() % n, x / n),
    "results": lambda x, n: (x * n, n, n * 2, abs(n)),
    "shapes": lambda x, n: (x.new_zeros(abs(n) + 1) + n, torch.arange(abs(n) + 2) * n),
    "parts": lambda x, n: (x[: abs(n) % 3], x.roll(n), torch.full_like(x, n).clamp(max=n)),
}


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("name", WITH_INTEGERS)
def test_open_integers_are_arguments_whether_they_are_sizes_or_not(
    compile_here, name, dynamic, recwarn
):
    f = WITH_INTEGERS[name]
    g = compile_here(f, dynamic=dynamic)
    for n in (1, 2, 5, -3, 7):
        for needs_slope in (False, True):
            outcomes = []
            for run in (f, g):
                x = random_tensor(5).requires_grad_(needs_slope)
                results = [*run(x, n)]
                if needs_slope and results[0].requires_grad:
                    results += torch.autograd.grad(sum(y.sum() for y in results[:1]), x)
                outcomes.append(results)
            assert [*map(type, outcomes[1])] == [*map(type, outcomes[0])]
            for result, reference in zip(outcomes[1], outcomes[0], strict=True):
                torch.testing.assert_close(result, reference)
    assert not [warning for warning in recwarn if warning.category is sg.StaticgradWarning]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pytorch_runs_branches_beside_programs(compile_here):
    def f(x):
        y = torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos() * 2, (x * 3,))
        return (y.exp() + 1).sum()

    g = compile_here(f)
    for x in (random_tensor(3).abs().requires_grad_(), (-random_tensor(3).abs()).requires_grad_()):
        results = [f(x), g(x)]
        torch.testing.assert_close(*results)
        torch.testing.assert_close(*[torch.autograd.grad(y, x) for y in results])


NAN, INF = float("nan"), float("inf")
ODD = [1.0, NAN, -2.0, INF, -INF, 0.0, -0.0, NAN, 0.5, -0.5]
OF_NANS = {
    "scans": lambda x, y: (*x.cummax(0), *x.cummin(0), x.logcumsumexp(0), x.cumsum(0)),
    "bounds": lambda x, y: (x.clamp(y, y + 1), x.clamp_max(y), x.clamp_min(y), x.clamp(-1, NAN)),
    "signs": lambda x, y: (x.sign(), x.sgn(), x.signbit(), x.abs(), torch.copysign(x, y)),
    "extremes": lambda x, y: (x.max(), *x.min(0), x.argmax(), x.amin(), *x.aminmax(),
                              torch.maximum(x, y), torch.fmin(x, y)),
    "order": lambda x, y: (*x.sort(), *x.topk(3), x.median(), x.nanmedian(), x.kthvalue(9)[0]),
    "sums": lambda x, y: (x.nansum(), x.logsumexp(0), x.softmax(0), x.nanmean(), x.norm()),
    "activations": lambda x, y: (x.relu(), torch.nn.functional.hardtanh(x), x.sigmoid(), x.tanh()),
    "choices": lambda x, y: (torch.where(x > y, x, y), x.nan_to_num(), x.isnan(), x == x, x <= y),
    "quotients": lambda x, y: (x / y, x // y, x % y, torch.fmod(x, y), x**y, torch.atan2(x, y)),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_NANS)
def test_nans_and_infinities_are_those_of_pytorch(name):
    x = torch.tensor(ODD)
    y = x.roll(3)
    program = program_of(trace_graph(OF_NANS[name], x, y))
    values = [sg.input(label, (len(ODD),), "float32") for label in "xy"]
    results = program.run([*values, *[None] * (len(program.inputs) - 2)])
    graph = sg.Graph({f"r{k}": result for k, result in enumerate(results)}, inputs=values)
    actual = sg.evaluate(graph, {"x": x, "y": y}).values()
    for result, reference in zip(actual, OF_NANS[name](x, y), strict=True):
        np.testing.assert_allclose(result, reference, 1e-5, 1e-6)


def test_arguments_and_results_in_another_order_in_memory_are_not_copied():
    x = random_tensor(4, 3).t()
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: (x.sin() * 2,))(x)
    notes = []
    run = backend._compile_aten_graph("inference", graph, [x], {}, notes.append)
    for seed in (1, 2):
        x = random_tensor(4, 3, seed=seed).t()
        (y,) = run([x])
        torch.testing.assert_close(y, x.sin() * 2)
        assert y.stride() == x.stride()
    (program,) = notes[0].runs[0].programs
    assert program.peak_bytes == 0  # a feed that is copied has its bytes there


def test_expanded_results_are_contiguous():
    x = random_tensor(3)
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: (x.sin().expand(2, 3),))(x)
    notes = []
    run = backend._compile_aten_graph("inference", graph, [x], {}, notes.append)
    (y,) = run([x])
    torch.testing.assert_close(y, x.sin().expand(2, 3))
    assert y.is_contiguous()
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: (x + 1,))(x.expand(2, 3))
    run = backend._compile_aten_graph("inference", graph, [x.expand(2, 3)], {}, notes.append)
    torch.testing.assert_close(run([y])[0], y + 1)
    (program,) = notes[1].runs[0].programs
    assert program.peak_bytes == 0  # it reads the result where it is


def test_an_index_that_is_expanded_over_rows_is_read_once_for_a_row():
    def f(x, index):
        return torch.zeros(3, 7).scatter_add(0, index.view(-1, 1).expand(5, 7), x)

    x, index = sg.input("x", (5, 7), "float32"), sg.input("index", (5,), "int64")
    (y,) = program_of(trace_graph(f, torch.ones(5, 7), torch.zeros(5).long())).run([x, index])
    graph = sg.Graph({"y": y, "slope": sg.grad((y * y).sum(), x)})
    integers = [v for node in graph.nodes for v in node.values if v.dtype.name == "int64"]
    assert all(value.ndim == 1 or 1 in value.shape for value in integers)


@pytest.mark.filterwarnings("ignore:.*torch.compile. PyTorch runs")
def test_draws_between_programs_are_in_the_order_of_the_function(compile_here):
    def f(x):
        first = torch.multinomial(torch.softmax(x * 2.0, 0), 2, replacement=True)
        weights = torch.softmax(x + first.sum().cos(), 0)
        second = torch.multinomial(weights, 3, replacement=True)
        return second * 2.0 + torch.rand(3).double().sin() * 4.0

    x, outcomes = random_tensor(3), []
    for g in (f, compile_here(f)):
        torch.manual_seed(3)
        outcomes.append(g(x))
    torch.testing.assert_close(outcomes[1], outcomes[0])


@pytest.mark.filterwarnings("ignore:.*torch.compile. PyTorch runs")
def test_each_node_that_a_row_refuses_is_pytorchs_and_the_rest_is_in_programs():
    def f(x):
        y = torch.segment_reduce(x.sin() * 2.0, "sum", lengths=torch.tensor([1, 2]), axis=0)
        first, second = torch.geqrf(y.cos() + x[:2])
        return (first.exp() - y).sum() + second.sum()

    notes = []
    x = random_tensor(3, 2)
    example = torch.fx.experimental.proxy_tensor.make_fx(f, tracing_mode="fake")(x)
    run = backend._compile_aten_graph("inference", example, [x], {}, notes.append)
    torch.testing.assert_close(run([x]), f(x), check_stride=False)
    names = [name for name, _ in notes[0].outside]
    assert names == ["aten.segment_reduce.default", "aten.geqrf.default"]
    assert [len(runs.program.calls) for runs in notes[0].runs] == [4, 2, 5]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.compile. PyTorch runs")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_explain_counts_operators_programs_and_kernels_and_names_the_rest():
    weight = random_tensor(3, 3).requires_grad_()

    def f(x):
        y = (x @ weight).tanh()
        y = torch.segment_reduce(y, "sum", lengths=torch.tensor([1, 3]), axis=0).relu()
        if y.sum() >= 0:
            return y.sum()
        return y

    report = sg.torch.explain(f, random_tensor(4, 3))
    assert [graph.kind for graph in report.graphs] == ["forward", "forward", "backward", "backward"]
    first, second, *_ = report.graphs
    assert first.outside[0][0] == "aten.segment_reduce.default"
    assert len(first.programs) == 2
    assert first.kernels >= 2
    assert (second.outside, len(second.programs)) == ((), 1)
    assert report.breaks == ("Data-dependent branching",)
    assert weight.grad is None
    assert "PyTorch runs aten.segment_reduce.default: aten.segment_reduce has" in str(report)


@pytest.mark.filterwarnings("ignore::staticgrad.StaticgradWarning")
def test_explain_names_operators_that_pytorch_runs_between_others():
    report = sg.torch.explain(lambda x: torch.geqrf(x.sin())[0].cos(), random_tensor(3, 3))
    (graph,) = report.graphs
    names = [name for name, _ in graph.outside]
    assert names == ["aten.geqrf.default", "aten.sin.default", "aten.cos.default"]
    assert graph.programs == ()


@pytest.mark.slow
def test_compiled_functions_of_matrices_run_here_with_their_checks(compile_here, recwarn):
    def f(a):
        return torch.linalg.cholesky(a @ a.t() + torch.eye(3).double()) + torch.linalg.inv(a)

    outcomes = []
    for g in (f, compile_here(f)):
        x = random_tensor(3, 3).requires_grad_()
        y = g(x)
        outcomes.append([y.detach(), *torch.autograd.grad(y.cos().sum(), x)])
    torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-9, atol=1e-11)
    assert not [warning for warning in recwarn if "with_effects" in str(warning.message)]


# -- training steps --------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda net: torch.optim.SGD(net.parameters(), 0.1, 0.9, 0, 0.01, True),
    "Adam": lambda net: torch.optim.Adam(net.parameters(), 0.05, weight_decay=0.1),
    "AdamW": lambda net: torch.optim.AdamW([
        {"params": net[0].parameters()},
        {"params": net[-1].parameters(), "lr": 0.01, "weight_decay": 0.0, "betas": (0.8, 0.9)},
    ], 0.1),
    "AMSGrad": lambda net: torch.optim.Adam(net.parameters(), 0.01, amsgrad=True),
    "AMSGrad, decoupled": lambda net: torch.optim.AdamW(net.parameters(), 0.01, amsgrad=True),
    "RAdam": lambda net: torch.optim.RAdam(net.parameters(), 0.1, (0.5, 0.9), weight_decay=0.1),
    "Adamax": lambda net: torch.optim.Adamax(net.parameters(), 0.1, weight_decay=0.1),
    "RMSprop": lambda net: torch.optim.RMSprop(net.parameters(), 0.01, weight_decay=0.1),
    "RMSprop, centered": lambda net: torch.optim.RMSprop(
        net.parameters(), 0.01, 0.9, 1e-6, centered=True, momentum=0.5),
    "Adagrad": lambda net: torch.optim.Adagrad(
        net.parameters(), 0.1, lr_decay=0.3, initial_accumulator_value=0.2),
    "Adadelta": lambda net: torch.optim.Adadelta(net.parameters(), 2.0, 0.8, weight_decay=0.1),
    "ascent": lambda net: torch.optim.AdamW(net.parameters(), 0.01, maximize=True),
    "ascent with decay": lambda net: torch.optim.SGD(
        net.parameters(), 0.01, momentum=0.5, maximize=True, weight_decay=0.1),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_pytorch_beside_eager_steps_schedules_and_loaded_state(name):
    torch.manual_seed(0)
    nets = [
        torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
        for _ in range(2)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    theirs, ours = map(OPTIMIZERS[name], nets)
    rates = [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5) for optimizer in (theirs, ours)]
    step = sg.torch.step(nets[1], F.cross_entropy, ours, max_norm=0.05)

    def eager(net, optimizer, x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.05)
        optimizer.step()
        return loss

    for k in range(7):
        x, y = torch.randn(4 + k % 3, 5).double(), torch.randint(0, 3, (4 + k % 3,))
        expected = eager(nets[0], theirs, x, y)
        actual = eager(nets[1], ours, x, y) if k == 3 else step(x, y)
        torch.testing.assert_close(actual, expected.detach(), rtol=1e-12, atol=0)
        for schedule in rates:
            schedule.step()
        if k == 4:
            ours.load_state_dict(copy.deepcopy(ours.state_dict()))
            nets[1].load_state_dict(copy.deepcopy(nets[1].state_dict()))
    assert len(next(iter(step._exported.values()))) == 2  # the second has a free batch
    torch.testing.assert_close(nets[1].state_dict(), nets[0].state_dict(), rtol=1e-9, atol=1e-11)
    for parameter, reference in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
        torch.testing.assert_close(
            ours.state[parameter], theirs.state[reference], rtol=1e-9, atol=1e-11
        )


@pytest.mark.slow
def test_a_step_updates_buffers_and_leaves_frozen_parameters():
    torch.manual_seed(0)
    nets = [PartsWithoutGradient() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [torch.optim.SGD(net.parameters(), 0.1) for net in nets]
    loss = lambda out, y: ((out["y"] - y).square().mean(), out["h"][0])  # noqa: E731
    step = sg.torch.step(nets[1], loss, optimizers[1])
    for k in range(4):
        x, y = (
            random_tensor(4, 3, dtype="float32", seed=k),
            random_tensor(4, 2, dtype="float32", seed=9 + k),
        )
        if k == 2:  # thawed
            for net in nets:
                net.frozen.requires_grad_()
        optimizers[0].zero_grad()
        expected = loss(nets[0](x), y)
        expected[0].backward()
        optimizers[0].step()
        torch.testing.assert_close(step(x, y), tuple(e.detach() for e in expected))
    torch.testing.assert_close(nets[1].state_dict(), nets[0].state_dict())


def test_a_step_refuses_other_optimizers_and_options():
    net = torch.nn.Linear(2, 1)
    with pytest.raises(ArgumentError, match=r"SGD, Adam, .*, got an? .*NAdam"):
        sg.torch.step(net, F.mse_loss, torch.optim.NAdam(net.parameters()))
    optimizer = torch.optim.SGD(net.parameters(), momentum=0.5, dampening=0.1)
    with pytest.raises(ArgumentError, match=r"dampening=0\.1 is not supported"):
        sg.torch.step(net, F.mse_loss, optimizer)
    with pytest.raises(ArgumentError, match=r"takes a torch\.nn\.Module"):
        sg.torch.step(F.relu, F.mse_loss, optimizer)


def test_products_of_groups_are_those_of_each_group():
    """Experts that get two rows, none and three; the rows behind the last end are zeros."""
    x, weight, ct = random_tensor(6, 3), random_tensor(3, 3, 2), random_tensor(6, 2)
    x.requires_grad_(), weight.requires_grad_()
    parts = [x[0:2] @ weight[0], x[2:5] @ weight[2], x.new_zeros(1, 2)]
    slopes = torch.autograd.grad(torch.cat(parts), [x, weight], ct)
    arrays = [tensor.detach().numpy() for tensor in (x, weight)]
    ends, name = np.array([2, 2, 5]), "transformers.grouped_mm_fallback"
    product = OPERATORS[name].function
    gradients = OPERATORS[f"{name}_backward"].function
    actual = sg.function(lambda x, w, ends: product(x, w, ends, operator=name))(*arrays, ends)
    np.testing.assert_allclose(actual, torch.cat(parts).detach(), rtol=1e-12)
    for slope, expected in zip(
        sg.function(gradients)(*arrays, ends, ct.numpy()), slopes, strict=True
    ):
        np.testing.assert_allclose(slope, expected, rtol=1e-12)
