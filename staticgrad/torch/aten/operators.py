"""The operators of ATen as functions of staticgrad, a row each.

The signature of a function is the row: arguments have PyTorch's names, but ``self`` and ``input``
are ``x`` and ``other`` is ``y``. An argument that a row does not have may only be given its
default. Three arguments are not PyTorch's: ``out``, the type of the result there (``AtenType``; of
several results a tuple), ``operator``, the name, and ``random``, a generator.

Names are those of ``torch.ops.aten``. An overload that computes something else has its own row,
``max.dim``. The rows are the operators that PyTorch decomposes others to (core ATen), those of
them that gradients read, and some whose decomposition is slower than our function.

Results are cast to PyTorch's element type, and their shapes are compared with PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter as Argument, Signature, signature
from math import inf, prod
from typing import Any, Final, TypeAlias

import numpy as np

import staticgrad.functions as sg
from staticgrad import fft, linalg, nn, special
from staticgrad.bridges.elements import COMPARISONS, ELEMENTS, make_rows
from staticgrad.bridges.foreign_programs import find_programs
from staticgrad.bridges.operands import ForeignType, cast
from staticgrad.bridges.tables import OperatorRow, OperatorTable, unsupported_variant
from staticgrad.errors import ExportError
from staticgrad.extend import Dim, Value, gradients
from staticgrad.extend.trees import flatten
from staticgrad.functions.index_arrays import row_numbers
from staticgrad.linalg.structured import order_of
from staticgrad.torch.aten.promotion import cast_operand, common

AtenType: TypeAlias = ForeignType

#: Operators of elements that are computed in the element type of their result.
_RESULT: Final[dict[str, Callable[..., Any]]] = {
    **ELEMENTS,
    **make_rows(
        sg,
        unary="log10 log2 trunc bitwise_not=invert round=rint",
        binary="""
            bitwise_and bitwise_or bitwise_xor copysign fmax fmin fmod gcd hypot lcm maximum minimum
            nextafter remainder bitwise_left_shift=left_shift bitwise_right_shift=right_shift
        """,
    ),
    **make_rows(
        special,
        unary="""
            erfinv i0 special_bessel_j0=j0 special_bessel_j1=j1 special_bessel_y0=y0
            special_bessel_y1=y1 special_erfcx=erfcx special_i0e=i0e special_i1=i1 special_i1e=i1e
            special_log_ndtr=log_ndtr special_modified_bessel_i0=i0 special_modified_bessel_i1=i1
            special_modified_bessel_k0=k0 special_modified_bessel_k1=k1 special_ndtri=ndtri
            special_scaled_modified_bessel_k0=k0e special_scaled_modified_bessel_k1=k1e
        """,
        binary="special_zeta=zeta",
    ),
    **make_rows(nn, unary="relu sigmoid silu"),
    "add": lambda x, y, *, alpha=1: x + _times(y, alpha),
    "celu": lambda x, alpha=1.0: nn.celu(x, alpha),
    "special_airy_ai": lambda x: special.airy(x)[0],
    "special_spherical_bessel_j0": lambda x: special.spherical_jn(0, x),
    "div": lambda x, y: x / y,
    "floor_divide": lambda x, y: x // y,
    "gelu": lambda x, *, approximate="none": nn.gelu(x, approximate),
    "leaky_relu": lambda x, negative_slope=0.01: nn.leaky_relu(x, negative_slope),
    "polygamma": lambda n, x: special.polygamma(n, x),
    "reciprocal": lambda x: 1.0 / x,
    "sign": lambda x: sg.where(sg.isnan(x), 0, sg.sign(x)) if x.dtype.is_float else sg.sign(x),
    "rsub": lambda x, y, alpha=1: y - _times(x, alpha),
    "sub": lambda x, y, *, alpha=1: x - _times(y, alpha),
}
#: Other operators.
_OTHER: Final[dict[str, Callable[..., Any]]] = {
    **make_rows(
        sg,
        unary="""
            abs angle isfinite isinf isnan real signbit _conj=conj _conj_physical=conj
            detach=stop_gradient t=transpose
        """,
    ),
    "_to_copy": lambda x, *, dtype=None: x if dtype is None else _convert_dtype(x, dtype),
    "prims.convert_element_type": lambda a, *, out: _convert_dtype(a, out.dtype),
    "_unsafe_view": lambda x, size: sg.reshape(x, tuple(size)),
    "alias": lambda x: x,
    "clone": lambda x: x,
    "dot": lambda x, tensor: sg.matmul(x, tensor),
    "expand": lambda x, size: sg.broadcast_to(x, _expand_shape(x, size)),
    "fill": lambda x, value: sg.full_like(x, value),
    "flip": lambda x, dims: sg.flip(x, tuple(dims)) if dims else x,
    "lift_fresh_copy": lambda x: x,
    "logical_and": lambda x, y: sg.logical_and(_truth(x), _truth(y)),
    "logical_not": lambda x: sg.logical_not(_truth(x)),
    "logical_or": lambda x, y: sg.logical_or(_truth(x), _truth(y)),
    "logical_xor": lambda x, y: sg.logical_xor(_truth(x), _truth(y)),
    "ldexp": lambda x, y, *, out: cast(x, out.dtype) * sg.exp2(cast(y, out.dtype)),
    "permute": lambda x, dims: sg.transpose(x, tuple(d % max(x.ndim, 1) for d in dims)),
    "repeat": lambda x, repeats: sg.tile(x, tuple(repeats)) if repeats else x,
    "reshape": lambda x, shape: sg.reshape(x, tuple(shape)),
    "resolve_conj": lambda x: x,
    "resolve_neg": lambda x: x,
    "transpose": lambda x, dim0, dim1: sg.swapaxes(x, dim0, dim1) if x.ndim else x,
    "unsqueeze": lambda x, dim: sg.expand_dims(x, dim),
    "view": lambda x, size: sg.reshape(x, tuple(size)),
    "view_as_real": lambda x: sg.stack([sg.real(x), sg.imag(x)], -1),
}
_OTHER.update({f"{name}_copy": _OTHER[name] for name in ("expand", "permute", "t", "view")})

#: Operators without a row, which PyTorch computes -> why.
REFUSED: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("bincount", "masked_select", "nonzero", "nonzero_static", "_unique2", "unique_dim",
         "unique_consecutive", "_local_scalar_dense", "equal"),
        "the size of a result, or the program, depends on values",
    ),
    **dict.fromkeys(
        ("geqrf", "linalg_ldl_factor_ex", "linalg_ldl_solve"), "the format is LAPACK's own"
    ),
    **dict.fromkeys(("multinomial", "poisson", "binomial"), "random numbers of this distribution"),
    **dict.fromkeys(
        ("_ctc_loss", "_ctc_loss_backward"), "the backward pass reads a format of PyTorch's own"
    ),
    **dict.fromkeys(
        ("segment_reduce", "_segment_reduce_backward", "_embedding_bag",
         "_embedding_bag_backward", "grid_sampler_3d", "grid_sampler_3d_backward",
         "_upsample_lanczos2d_aa", "_upsample_lanczos2d_aa_backward",
         "multilabel_margin_loss_backward", "hash_tensor", "_histogramdd_bin_edges",
         "_histogramdd_from_bin_cts"),
        "there is no function for it",
    ),
}  # fmt: skip


#: Operator, or operator.overload -> its row.
OPERATORS: Final = OperatorTable(
    "PyTorch",
    {
        **{name: OperatorRow(function, "result") for name, function in _RESULT.items()},
        **{name: OperatorRow(function, "common") for name, function in COMPARISONS.items()},
        **{name: OperatorRow(function) for name, function in _OTHER.items()},
    },
    decorator="staticgrad.torch.aten.operators.operator",
    word="argument",
    refused=REFUSED,
    takes_known=True,
    name_argument="operator",
    short_name=lambda name: name.removeprefix("aten.").partition(".")[0],
    common=common,
    cast_operand=cast_operand,
)
#: Registers a function as the row of ATen operators of these names.
operator = OPERATORS.row


# -- helpers --------------------------------------------------------------------------------------


def _times(x: Any, factor: Any) -> Any:
    return x if isinstance(factor, int | float) and factor == 1 else x * factor


def _convert_dtype(x: Any, dtype: str) -> Any:
    """A value in an element type; of complex numbers a real one has the real parts."""
    return cast(sg.real(x) if x.dtype.is_complex and "complex" not in dtype else x, dtype)


def _truth(x: Any) -> Any:
    return x if x.dtype.name == "bool" else sg.not_equal(x, 0)


def _axes(x: Any, dim: Any) -> tuple[int, ...]:
    """The axes that a reduction names; all of them if it names none."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return tuple(range(x.ndim))
    dims = dim if isinstance(dim, list | tuple) else (dim,)
    return tuple(d % x.ndim for d in dims) if x.ndim else ()


def _at(axis: int, rank: int, key: Any) -> tuple[Any, ...]:
    """The key that is ``key`` along an axis and everything along the others."""
    return (*(slice(None),) * (axis % rank), key)


def _expand_shape(x: Any, size: Sequence[Any]) -> tuple[Any, ...]:
    added_axes = len(size) - x.ndim
    return tuple(
        x.shape[k - added_axes] if isinstance(n, int) and n == -1 else n for k, n in enumerate(size)
    )


def _per_axis(numbers: Any, count: int) -> tuple[Any, ...]:
    """A number for each axis, of one for all of them or a list of one or all."""
    values = tuple(numbers) if isinstance(numbers, list | tuple) else (numbers,)
    return values * count if len(values) == 1 else values


def _numbers(values: Any, dtype: str) -> Any:
    return sg.constant(np.asarray(values, dtype))


def _pull_back(f: Callable[..., Any], operands: Sequence[Any], cotangent: Any) -> list[Any]:
    """The gradients of operands, given that of the result: those of the forward function.

    It reads copies: an operand may be computed of another one, or be the same value.
    """
    copies = [operand * 1.0 for operand in operands]
    return list(gradients.vjp([f(*copies)], copies, [cotangent], True))


def derive_backward(
    operators: str,
    *operands: str,
    forward: str = "",
    cotangent: str = "grad_output",
    saved: str = "",
) -> None:
    """Make the rows of backward operators from those of the forward ones, by differentiation.

    ``derive_backward("avg_pool2d", "x")`` makes ``avg_pool2d_backward`` the gradient by ``x`` of
    the row ``avg_pool2d``, whose arguments it takes after the cotangent. Of several results the
    first has a gradient. Rows that read saved results are written by hand.

    Args:
        operators: names without ``_backward``.
        operands: the operands that have gradients, in the order of results.
        forward: the end of the forward operator's name.
        cotangent: the name of the gradient of the result.
        saved: arguments that are results of the forward operator, and are not read.
    """
    for name in operators.split():
        row = _differentiate_row(name + forward, operands, cotangent, saved)
        OPERATORS[f"{name}_backward"] = OperatorRow(row)


def _differentiate_row(
    name: str, operands: tuple[str, ...], cotangent: str, saved: str
) -> Callable[..., Any]:
    """Make the row of ATen's backward operator by differentiating the row of the forward one."""
    row = OPERATORS[name].function
    parameters = [*signature(row).parameters.values()]

    def compute_gradients(**arguments: Any) -> Any:
        """Compute the gradients of an ATen operator by pulling a cotangent back through its row."""
        options = {key.name: arguments[key.name] for key in parameters if key.name in arguments}
        values = [options.pop(operand) for operand in operands]
        if "operator" in options:
            options["operator"] = name

        def compute_result(*values: Any) -> Any:
            result = row(**dict(zip(operands, values, strict=True)), **options)
            return result[0] if isinstance(result, tuple) else result

        slopes = _pull_back(compute_result, values, arguments[cotangent])
        return slopes[0] if len(slopes) == 1 else tuple(slopes)

    positional = Argument.POSITIONAL_OR_KEYWORD
    first = [Argument(cotangent, positional)]
    last = [Argument(word, Argument.KEYWORD_ONLY) for word in saved.split()]
    compute_gradients.__signature__ = Signature([*first, *parameters, *last])  # type: ignore[attr-defined]
    return compute_gradients


# -- elementwise ----------------------------------------------------------------------------------


@operator("div.Tensor_mode", "div.Scalar_mode", operands="result")
def _div_mode(x: Any, y: Any, *, rounding_mode: str | None, out: AtenType) -> Any:
    """Divide by ATen's ``rounding_mode``: none, floor or truncation."""
    if rounding_mode is None:
        return x / y
    if rounding_mode == "floor":
        return x // y
    if out.dtype.startswith(("float", "bfloat")):
        return sg.trunc(x / y)
    quotient = x // y
    return sg.where((x % y != 0) & ((x < 0) != (y < 0)), quotient + 1, quotient)


@operator("pow", operands="result")
def _pow(x: Any, exponent: Any) -> Any:
    if isinstance(exponent, float) and exponent == int(exponent) and abs(exponent) <= 8:
        exponent = int(exponent)  # by multiplication
    return x**exponent


@operator("pow.Scalar", operands="result")
def _pow_of_number(x: Any, exponent: Any) -> Any:
    return sg.power(x, exponent)


@operator("frexp.Tensor")
def _frexp(x: Any) -> Any:
    return tuple(sg.frexp(x))


@operator("round.decimals")
def _round_decimals(x: Any, *, decimals: int) -> Any:
    if decimals == 0:
        return sg.rint(x)
    factor = 10.0 ** abs(decimals)
    return sg.rint(x * factor) / factor if decimals > 0 else sg.rint(x / factor) * factor


@operator("elu", operands="result")
def _elu(x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Any:
    below = sg.expm1(sg.minimum(_times(x, input_scale), 0.0)) * (alpha * scale)
    return sg.where(x > 0, _times(x, scale), below)


@operator("elu_backward", operands="result")
def _elu_backward(
    grad_output: Any, alpha: float, scale: float, input_scale: float, is_result: bool,
    self_or_result: Any,
) -> Any:  # fmt: skip
    """Differentiate ATen's ELU, from its operand or from its result."""
    below = (
        (self_or_result + alpha * scale) * input_scale
        if is_result
        else sg.exp(self_or_result * input_scale) * (input_scale * alpha * scale)
    )
    return grad_output * sg.where(self_or_result <= 0, below, float(scale))


@operator("hardshrink_backward", "softshrink_backward")
def _shrink_backward(x: Any, lambd: float, grad_out: Any = None, grad_output: Any = None) -> Any:
    slope = grad_output if grad_out is None else grad_out
    return sg.where((x >= -lambd) & (x <= lambd), 0.0, slope)


@operator("hardtanh")
def _hardtanh(x: Any, min_val: float = -1, max_val: float = 1) -> Any:
    return _clamp(x, min_val, max_val, inside=True)


@operator("clamp")
def _clamp_row(x: Any, min: Any = None, max: Any = None, *, out: AtenType) -> Any:
    return _clamp(cast(x, out.dtype), cast(min, out.dtype), cast(max, out.dtype))


@operator("clamp_min")
def _clamp_min(x: Any, min: Any, *, out: AtenType) -> Any:
    return _clamp(cast(x, out.dtype), cast(min, out.dtype), None)


@operator("clamp_max")
def _clamp_max(x: Any, max: Any, *, out: AtenType) -> Any:
    return _clamp(cast(x, out.dtype), None, cast(max, out.dtype))


def _clamp(x: Any, low: Any, high: Any, inside: bool = False) -> Any:
    """Clip; on a bound the gradient is that of x, or of ``inside`` it is 0."""
    if inside:
        return sg.where(x <= low, low, sg.where(x >= high, high, x))
    x = x if low is None else _replace_beyond(x, low, x < low)
    return x if high is None else _replace_beyond(x, high, x > high)


def _replace_beyond(x: Any, bound: Any, beyond: Any) -> Any:
    """The bound where x is beyond it, and where the bound is NaN; else x."""
    if not isinstance(bound, Value):
        return sg.where(beyond, bound, x) if bound == bound else sg.full_like(x, bound)
    if bound.dtype.is_float:
        beyond = beyond | sg.isnan(bound)
    return sg.where(beyond, bound, x)


@operator("where")
def _where(condition: Any, x: Any, y: Any, *, out: AtenType) -> Any:
    return sg.where(_truth(condition), cast(x, out.dtype), cast(y, out.dtype))


@operator("masked_fill")
def _masked_fill(x: Any, mask: Any, value: Any, *, out: AtenType) -> Any:
    return sg.where(mask, cast(value, out.dtype), x)


@operator("complex")
def _complex(real: Any, imag: Any) -> Any:
    return sg.complex(real, imag)


@operator("polar")
def _polar(abs: Any, angle: Any) -> Any:
    return sg.complex(abs * sg.cos(angle), abs * sg.sin(angle))


@operator("view_as_complex")
def _view_as_complex(x: Any) -> Any:
    return sg.complex(x[..., 0], x[..., 1])


#: Polynomial -> that of degree 1, and of degree k + 1 by those of k and k - 1.
_POLYNOMIALS: Final[dict[str, tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "chebyshev_polynomial_t": (lambda x: x, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_u": (lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, lambda k, x, p, q: 2 * x * p - q),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - 2 * k * q),
    "hermite_polynomial_he": (lambda x: x, lambda k, x, p, q: x * p - k * q),
    "laguerre_polynomial_l": (
        lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)),
    "legendre_polynomial_p": (
        lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)),
}  # fmt: skip


@operator(*(f"special_{name}" for name in _POLYNOMIALS),
          *(f"special_shifted_{name}" for name in _POLYNOMIALS if name[0] == "c"),
          operands="result")  # fmt: skip
def _polynomial(x: Any, n: Any, *, operator: str, out: AtenType) -> Any:
    """Evaluate an orthogonal polynomial of ATen (Chebyshev, Hermite, ...) by its recurrence."""
    name = operator.removeprefix("special_")
    first, rule = _POLYNOMIALS[name.removeprefix("shifted_")]
    x, n = (
        _numbers(argument, out.dtype) if isinstance(argument, int | float) else argument
        for argument in (x, n)
    )
    x, degree = sg.broadcast_arrays(x, sg.astype(n, "int64"))
    if name.startswith("shifted_"):
        x = 2 * x - 1

    def step(k: Any, carry: Any) -> Any:
        p, q = carry
        more = sg.less(k, degree)
        wide = sg.astype(k, x.dtype)
        return sg.where(more, rule(wide, x, p, q), p), sg.where(more, p, q)

    last = sg.max(degree) if degree.size != 0 else 1
    value, _ = sg.fori_loop(1, last, step, (first(x), sg.ones_like(x)))
    return sg.where(degree > 0, value, sg.where(sg.equal(degree, 0), sg.ones_like(x), 0.0))


# -- tensors of nothing else ----------------------------------------------------------------------


@operator("full", "empty", "zeros", "ones")
def _full(size: Any, fill_value: Any = None, *, operator: str, out: AtenType) -> Any:
    fill = float(operator == "ones") if fill_value is None else fill_value
    return sg.full(tuple(size), _numbers(fill, out.dtype), out.dtype)


@operator("empty_permuted", "empty_strided")
def _empty(size: Any, physical_layout: Any = None, stride: Any = None, *, out: AtenType) -> Any:
    return sg.full(tuple(size), _numbers(0, out.dtype), out.dtype)


@operator("_efficientzerotensor")
def _zeros(size: Any, *, out: AtenType) -> Any:
    return sg.zeros(tuple(size), out.dtype)


@operator("full_like", "empty_like", "zeros_like", "ones_like")
def _full_like(x: Any, fill_value: Any = None, *, operator: str, out: AtenType) -> Any:
    fill = float(operator == "ones_like") if fill_value is None else fill_value
    return sg.full(x.shape, _numbers(fill, out.dtype), out.dtype)


@operator("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided")
def _new(
    x: Any, size: Any, fill_value: Any = None, stride: Any = None, *, operator: str, out: AtenType
) -> Any:
    fill = float(operator == "new_ones") if fill_value is None else fill_value
    return sg.full(tuple(size), _numbers(fill, out.dtype), out.dtype)


@operator("scalar_tensor")
def _scalar_tensor(s: Any, *, out: AtenType) -> Any:
    return sg.size_value(s, out.dtype) if isinstance(s, Dim) else _numbers(s, out.dtype)


@operator("arange")
def _arange(start: Any = 0, end: Any = None, step: Any = 1, *, out: AtenType) -> Any:
    if any(isinstance(bound, Dim) for bound in (start, end, step)):
        return cast(sg.arange(start, end, step), out.dtype)
    count = max(0, int(np.ceil((end - start) / step)))
    return _numbers(start + np.arange(count) * step, out.dtype)


@operator("eye")
def _eye(n: Any, m: Any = None, *, out: AtenType) -> Any:
    return sg.eye(n, n if m is None else m, dtype=out.dtype)


# -- reductions -----------------------------------------------------------------------------------


@operator("sum", "mean", "prod", "prod.dim_int", "nansum")
def _sum(x: Any, dim: Any = None, keepdim: bool = False, *, operator: str, out: AtenType) -> Any:
    function = {"sum": sg.sum, "mean": sg.mean, "prod": sg.prod, "nansum": sg.nansum}[operator]
    return function(cast(x, out.dtype), _axes(x, dim), keepdims=keepdim)


@operator("amax", "amin")
def _amax(x: Any, dim: Any = (), keepdim: bool = False, *, operator: str) -> Any:
    return (sg.max if operator == "amax" else sg.min)(x, _axes(x, dim), keepdims=keepdim)


@operator("max", "min")
def _max(x: Any, *, operator: str) -> Any:
    return sg.max(x) if operator == "max" else sg.min(x)


@operator("max.dim", "min.dim")
def _max_along(x: Any, dim: int, keepdim: bool = False, *, operator: str) -> Any:
    places = (sg.argmax if operator == "max" else sg.argmin)(x, dim, keepdims=True) if x.ndim else 0
    return _pick_along(x, places, dim, keepdim)


def _pick_along(x: Any, places: Any, dim: int, keepdim: bool) -> tuple[Any, Any]:
    """The elements at places along an axis, and the places."""
    if not x.ndim:
        return x, _numbers(0, "int64")
    values = sg.take_along_axis(x, places, dim)
    return (values, places) if keepdim else (sg.squeeze(values, dim), sg.squeeze(places, dim))


@operator("any", "any.dim", "any.dims", "all", "all.dim", "all.dims")
def _any(x: Any, dim: Any = None, keepdim: bool = False, *, operator: str) -> Any:
    function = sg.any if operator == "any" else sg.all
    return function(_truth(x), _axes(x, dim), keepdims=keepdim)


@operator("argmax", "argmin")
def _argmax(x: Any, dim: Any = None, keepdim: bool = False, *, operator: str) -> Any:
    """Find the index of an extreme, over all axes if ``dim`` is None (ATen's argmax, argmin)."""
    function = sg.argmax if operator == "argmax" else sg.argmin
    if not x.ndim:
        return _numbers(0, "int64")
    if dim is not None:
        return function(x, dim, keepdims=keepdim)
    place = function(sg.reshape(x, (-1,)), 0)
    return sg.reshape(place, (1,) * x.ndim) if keepdim else place


@operator("var", "var_mean", "std", "std_mean")
def _var(
    x: Any, dim: Any = None, unbiased: bool = True, correction: Any = None, keepdim: bool = False,
    *, operator: str, out: Any,
) -> Any:  # fmt: skip
    """Compute ATen's var, std, var_mean and std_mean with their correction."""
    axes = _axes(x, dim)
    lost = (1 if unbiased else 0) if correction is None else correction
    sizes = [x.shape[k] for k in axes]
    mean = sg.mean(x, axes, keepdims=True)
    total = sg.sum(sg.abs_square(x - mean), axes, keepdims=keepdim)
    if all(isinstance(size, int) for size in sizes):
        count = max(prod(sizes) - lost, 0)
        spread = total / float(count) if count else total / sg.zeros_like(total)
    else:
        spread = total / (sg.size_value(prod(sizes), total.dtype) - float(lost))
    spread = sg.sqrt(spread) if operator.startswith("std") else spread
    if not operator.endswith("mean"):
        return spread
    return spread, mean if keepdim else sg.squeeze(mean, axes) if axes else mean


@operator("cumsum", "cumprod")
def _cumulative(x: Any, dim: int, *, operator: str, out: AtenType) -> Any:
    x = cast(x, out.dtype)
    return (sg.cumsum if operator == "cumsum" else sg.cumprod)(x, dim) if x.ndim else x


@operator("logcumsumexp")
def _logcumsumexp(x: Any, dim: int) -> Any:
    return sg.cumlogsumexp(x, dim) if x.ndim else x


@operator("linalg_vector_norm")
def _vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, out: AtenType
) -> Any:
    """Compute ATen's vector norm of order ``ord`` over axes."""
    axes = _axes(x, dim)
    size = sg.abs(cast(x, out.dtype) if not x.dtype.is_complex else x)
    if not axes:
        return sg.astype(sg.not_equal(size, 0), out.dtype) if ord == 0 else size
    if ord == 0:
        return sg.sum(sg.astype(sg.not_equal(size, 0), out.dtype), axes, keepdims=keepdim)
    if abs(ord) == inf:
        return (sg.max if ord > 0 else sg.min)(size, axes, keepdims=keepdim)
    if ord == 1:
        return sg.sum(size, axes, keepdims=keepdim)
    if ord == 2:
        total = sg.sum(sg.abs_square(x), axes, keepdims=keepdim)
        return sg.where(total > 0, sg.sqrt(sg.where(total > 0, total, 1.0)), total)
    total = sg.sum(size**ord, axes, keepdims=keepdim)
    return total ** (1.0 / ord)


@operator("dist")
def _dist(x: Any, y: Any, p: float = 2, *, out: AtenType) -> Any:
    return _vector_norm(x - y, p, out=out)


# -- order ----------------------------------------------------------------------------------------


@operator("sort", "sort.stable")
def _sort(x: Any, dim: int = -1, descending: bool = False, stable: bool | None = None) -> Any:
    """Sort as ATen: values and indices, NaN first in descending order."""
    if not x.ndim:
        return x, _numbers(0, "int64")
    if descending:  # NaN comes first in PyTorch
        places = sg.topk(x, x.shape[dim], dim)[1]
    else:
        places = sg.argsort(x, dim, stable=True)
    return sg.take_along_axis(x, places, dim), places


@operator("topk")
def _topk(x: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if not x.ndim:
        return x, _numbers(0, "int64")
    places = sg.topk(x, k, dim, largest=largest)[1]
    return sg.take_along_axis(x, places, dim), places


@operator("kthvalue")
def _kthvalue(x: Any, k: Any, dim: int = -1, keepdim: bool = False) -> Any:
    if not x.ndim:
        return x, _numbers(0, "int64")
    places = sg.argsort(x, dim, stable=True)[_at(dim, x.ndim, slice(k - 1, k))]
    return _pick_along(x, places, dim, keepdim)


@operator("nanmedian.dim")
def _nanmedian_along(x: Any, dim: int, keepdim: bool = False) -> Any:
    if not x.ndim:
        return x, _numbers(0, "int64")
    places = sg.argsort(x, dim, stable=True)  # NaN comes last
    count = sg.sum(sg.astype(sg.logical_not(sg.isnan(x)), "int64"), dim, keepdims=True)
    middle = sg.maximum((count - 1) // 2, 0)
    return _pick_along(x, sg.take_along_axis(places, middle, dim), dim, keepdim)


@operator("nanmedian")
def _nanmedian(x: Any) -> Any:
    return _nanmedian_along(sg.reshape(x, (-1,)), 0)[0]


@operator("mode")
def _mode(x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """Find the most frequent element along an axis, and its last index (ATen's mode)."""
    if not x.ndim:
        return x, _numbers(0, "int64")
    places = sg.argsort(x, dim, stable=True)
    row = sg.take_along_axis(x, places, dim)
    axis = dim % x.ndim
    step = sg.iota(x.shape, axis)
    is_first = (step == 0) | sg.not_equal(row, sg.roll(row, 1, axis))
    length = step - sg.cummax(sg.where(is_first, step, 0), axis)
    longest = sg.argmax(length, axis, keepdims=True)  # the last place of the run
    return _pick_along(x, sg.take_along_axis(places, longest, axis), dim, keepdim)


@operator("median.dim")
def _median_along(x: Any, dim: int, keepdim: bool = False) -> Any:
    """Find the lower median along an axis and its index; the first NaN if there is one (ATen)."""
    if not x.ndim:
        return x, _numbers(0, "int64")
    places = sg.argsort(x, dim, stable=True)
    middle = (x.shape[dim] - 1) // 2
    bad = sg.isnan(x)
    first = sg.argmax(sg.astype(bad, "int32"), dim, keepdims=True)
    places = places[_at(dim, x.ndim, slice(middle, middle + 1))]
    places = sg.where(sg.any(bad, dim, keepdims=True), first, places)
    return _pick_along(x, places, dim, keepdim)


@operator("median")
def _median(x: Any) -> Any:
    return _median_along(sg.reshape(x, (-1,)), 0)[0]


@operator("cummax", "cummin")
def _cummax(x: Any, dim: int, *, operator: str) -> Any:
    if not x.ndim:
        return x, _numbers(0, "int64")
    values = (sg.cummax if operator == "cummax" else sg.cummin)(x, dim)
    is_best = sg.equal(x, values) | sg.isnan(x)  # the last place where the value is new or equal
    places = sg.cummax(sg.where(is_best, sg.iota(x.shape, dim % x.ndim), 0), dim)
    return sg.take_along_axis(x, places, dim), places


@operator("searchsorted", "bucketize")
def _search_sorted(
    x: Any = None, sorted_sequence: Any = None, boundaries: Any = None, *, out_int32: bool = False,
    right: bool = False, side: str | None = None, sorter: Any = None,
) -> Any:  # fmt: skip
    """Compute ATen's searchsorted and bucketize by binary search in one sorted row."""
    edges = sorted_sequence if boundaries is None else boundaries
    if edges.ndim != 1:
        raise unsupported_variant("searchsorted in several rows")
    return sg.searchsorted(edges, x, "right" if right or side == "right" else "left", sorter)


@operator("histogram.bin_ct", "histogram.bins_tensor")
def _histogram(
    x: Any, bins: Any = 100, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    row = sg.reshape(x, (-1,))
    span = None if range is None else tuple(range)
    weights = None if weight is None else sg.reshape(weight, (-1,))
    return tuple(sg.histogram(row, bins, span, density, weights))


@operator("histc")
def _histc(x: Any, bins: int = 100, min: Any = 0, max: Any = 0) -> Any:
    """Count elements in equal bins between ``min`` and ``max``, or the extremes (ATen's histc)."""
    row = sg.reshape(x, (-1,))
    low, high = (min, max) if min != max else (sg.min(row), sg.max(row))
    flat = sg.equal(low, high) if isinstance(low, Value) else False
    low, high = sg.where(flat, low - 1, low), sg.where(flat, high + 1, high)
    wide = row if row.dtype.is_float else sg.astype(row, "float64")
    place = sg.floor((wide - low) / (high - low) * bins)
    place = sg.minimum(sg.astype(place, "int64"), bins - 1)
    inside = (row >= low) & (row <= high)
    empty: Any = sg.zeros((bins,), x.dtype)
    return empty.at[sg.where(inside, place, 0)].add(sg.astype(inside, x.dtype))


@operator("tril_indices", "triu_indices")
def _triangle_indices(row: int, col: int, offset: int = 0, *, operator: str, out: AtenType) -> Any:
    find = np.tril_indices if operator == "tril_indices" else np.triu_indices
    return _numbers(np.stack(find(row, offset, col)), out.dtype)


# -- shapes and places ----------------------------------------------------------------------------


@operator("squeeze")
def _squeeze(x: Any, dim: Any = None) -> Any:
    chosen = range(x.ndim) if dim is None else _axes(x, dim) if dim != [] else ()
    axes = tuple(k for k in chosen if isinstance(x.shape[k], int) and x.shape[k] == 1)
    return sg.squeeze(x, axes) if axes else x


@operator("cat")
def _cat(tensors: Any, dim: int = 0, *, out: AtenType) -> Any:
    rank = len(out.shape)
    parts = [cast(tensor, out.dtype) for tensor in tensors if tensor.ndim == rank]
    return sg.concatenate(parts, dim)


@operator("stack")
def _stack(tensors: Any, dim: int = 0, *, out: AtenType) -> Any:
    return sg.stack([cast(tensor, out.dtype) for tensor in tensors], dim)


@operator("split_with_sizes")
def _split_with_sizes(x: Any, split_sizes: Any, dim: int = 0) -> Any:
    pieces, start = [], 0
    for size in split_sizes:
        pieces.append(x[_at(dim, x.ndim, slice(start, start + size))])
        start = start + size
    return tuple(pieces)


@operator("split")
def _split(x: Any, split_size: Any, dim: int = 0, *, out: Any) -> Any:
    sizes = [part.shape[dim] for part in out]
    return _split_with_sizes(x, sizes, dim)


@operator("unbind", "unbind_copy")
def _unbind(x: Any, dim: int = 0) -> Any:
    return tuple(x[_at(dim, x.ndim, k)] for k in range(x.shape[dim]))


@operator("select")
def _select(x: Any, dim: int, index: Any) -> Any:
    return x[_at(dim, x.ndim, index)]


def _span(x: Any, dim: int, start: Any, end: Any, step: int) -> slice:
    """A slice along an axis; PyTorch's largest integer is the end."""
    beyond = end is None or (isinstance(end, int) and end >= 2**62)
    if isinstance(end, int) and isinstance(x.shape[dim], int) and end >= x.shape[dim]:
        beyond = True
    start = None if isinstance(start, int) and start == 0 else start
    return slice(start, None if beyond else end, step)


@operator("slice")
def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    key = _span(x, dim, start, end, step)
    return x if key == slice(None, None, 1) else x[_at(dim, x.ndim, key)]


@operator("narrow_copy")
def _narrow(x: Any, dim: int, start: Any, length: Any) -> Any:
    return x[_at(dim, x.ndim, slice(start, start + length))]


@operator("slice_scatter")
def _slice_scatter(
    x: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    key = _span(x, dim, start, end, step)
    if key == slice(None, None, 1):
        return sg.broadcast_to(cast(src, x.dtype.name), x.shape)
    return x.at[_at(dim, x.ndim, key)].set(cast(src, x.dtype.name))


@operator("select_scatter")
def _select_scatter(x: Any, src: Any, dim: int, index: Any) -> Any:
    return x.at[_at(dim, x.ndim, index)].set(cast(src, x.dtype.name))


@operator("copy")
def _copy(x: Any, src: Any) -> Any:
    return sg.broadcast_to(cast(src, x.dtype.name), x.shape)


@operator("diagonal")
def _diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return sg.diagonal(x, offset, dim1, dim2)


@operator("diagonal_scatter")
def _diagonal_scatter(x: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    last = sg.moveaxis(x, (dim1, dim2), (-2, -1))
    count = src.shape[-1]
    rows = sg.arange(count) + max(-offset, 0)
    columns = sg.arange(count) + max(offset, 0)
    last = last.at[..., rows, columns].set(cast(src, x.dtype.name))
    return sg.moveaxis(last, (-2, -1), (dim1, dim2))


@operator("tril", "triu")
def _triangle(x: Any, diagonal: int = 0, *, operator: str) -> Any:
    return (sg.tril if operator == "tril" else sg.triu)(x, diagonal)


@operator("roll")
def _roll(x: Any, shifts: Any, dims: Any = ()) -> Any:
    if not dims:
        return sg.reshape(sg.roll(sg.reshape(x, (-1,)), shifts[0]), x.shape)
    return sg.roll(x, tuple(shifts), tuple(dims))


@operator("unfold")
def _unfold_axis(x: Any, dimension: int, size: int, step: int) -> Any:
    if not x.ndim:
        return sg.reshape(x, (1,)) if size else sg.zeros((0,), x.dtype)
    k = dimension % x.ndim
    count = (x.shape[k] - size) // step + 1
    rows = sg.iota((count, size), 0) * step + sg.iota((count, size), 1)
    return sg.moveaxis(sg.take(x, rows, k), k + 1, -1)


@operator("constant_pad_nd")
def _constant_pad(x: Any, pad: Any, value: float = 0) -> Any:
    """Pad with a constant by ATen's list of widths, last axis first; negative widths crop."""
    pairs: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for k in range(len(pad) // 2):
        pairs[x.ndim - 1 - k] = pad[2 * k], pad[2 * k + 1]
    if any(isinstance(w, int) and w < 0 for pair in pairs for w in pair):
        ends = [
            slice(max(0, -low), size - max(0, -high))
            for (low, high), size in zip(pairs, x.shape, strict=True)
        ]
        x, pairs = x[tuple(ends)], [(max(0, low), max(0, high)) for low, high in pairs]
    if not any(isinstance(w, Dim) or w for pair in pairs for w in pair):
        return x
    return sg.pad(x, pairs, constant_values=value)


@operator("reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
          "replication_pad1d", "replication_pad2d", "replication_pad3d")  # fmt: skip
def _pad_by_border(x: Any, padding: Any, *, operator: str) -> Any:
    """Pad by reflection or replication as ATen; negative widths crop."""
    pairs = [(0, 0)] * x.ndim
    for k in range(len(padding) // 2):
        pairs[x.ndim - 1 - k] = padding[2 * k], padding[2 * k + 1]
    wide = [(max(0, low), max(0, high)) for low, high in pairs]
    y = sg.pad(x, wide, "reflect" if operator.startswith("reflection") else "edge")
    if wide == pairs:
        return y
    ends = [slice(max(0, -low), size - max(0, -high))
            for (low, high), size in zip(pairs, y.shape, strict=True)]  # fmt: skip
    return y[tuple(ends)]


derive_backward(
    "reflection_pad1d reflection_pad2d reflection_pad3d"
    " replication_pad1d replication_pad2d replication_pad3d",
    "x",
)


def _flatten_in_memory_order(x: Any, strides: Sequence[int] | str | None) -> tuple[Any, Any]:
    """Flatten a strided tensor in memory order, and return its axes in that order."""
    if isinstance(strides, str):
        raise unsupported_variant("a view of a part of a tensor's memory")
    order = tuple(range(x.ndim))
    if strides is not None:
        order = tuple(sorted(order, key=lambda axis: (-strides[axis], axis)))
        step = 1
        for axis in reversed(order):
            if x.shape[axis] != 1 and strides[axis] != step:
                raise unsupported_variant(
                    "a view of a tensor with gaps or repetitions in its memory"
                )
            step *= x.shape[axis]
    return sg.reshape(sg.transpose(x, order) if x.ndim else x, (-1,)), order


def _offsets(size: Sequence[Any], stride: Sequence[Any], start: Any) -> Any:
    """The place in memory of each element of a view."""
    total: Any = sg.full(tuple(size), _numbers(start or 0, "int64"), "int64")
    for axis, step in enumerate(stride):
        total = total + sg.iota(tuple(size), axis, like=total) * step
    return total


@operator("as_strided", "as_strided_copy")
def _as_strided(
    x: Any, size: Any, stride: Any, storage_offset: Any = None, strides: Any = None
) -> Any:
    if strides == "all":
        return x
    row, _ = _flatten_in_memory_order(x, strides)
    return sg.take(row, _offsets(size, stride, storage_offset), 0)


@operator("as_strided_scatter")
def _as_strided_scatter(
    x: Any, src: Any, size: Any, stride: Any, storage_offset: Any = None, strides: Any = None
) -> Any:
    """Write ``src`` into a strided view of a tensor and return the whole (ATen)."""
    if strides == "all":
        return cast(src, x.dtype.name)
    row, order = _flatten_in_memory_order(x, strides)
    row = row.at[_offsets(size, stride, storage_offset)].set(cast(src, x.dtype.name))
    array = sg.reshape(row, tuple(x.shape[axis] for axis in order))
    return sg.transpose(array, tuple(np.argsort(order).tolist())) if x.ndim else array


# -- gather and scatter ---------------------------------------------------------------------------


#: What to do where a size or a branch depends on data.
USE_BACKEND: Final = (
    "torch.compile(net, backend='staticgrad') ends its program at that line, where PyTorch"
    " runs it, and begins another one"
)


def _make_index_key(x: Any, indices: Sequence[Any]) -> tuple[Any, ...]:
    """Convert the indices of ATen's index operators to a NumPy key; refuse masks."""
    key: list[Any] = []
    for index in indices:
        if index is not None and index.dtype.name in ("bool", "uint8"):
            raise ExportError(
                "an index that is a mask is not supported: the size of the result depends on it",
                hint=USE_BACKEND,
            )
        key.append(slice(None) if index is None else index)
    return tuple(key)


@operator("index", "_unsafe_index")
def _index(x: Any, indices: Any) -> Any:
    return x[_make_index_key(x, indices)]


@operator("index_put", "_unsafe_index_put")
def _index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """Set or add elements at advanced indices (ATen's index_put); one mask is a ``where``."""
    values = cast(values, x.dtype.name)
    masks = [index for index in indices if index is not None and index.dtype.name == "bool"]
    if len(masks) == 1 and len(indices) == 1 and prod(values.shape) == 1:
        mask = sg.reshape(masks[0], (*masks[0].shape, *(1,) * (x.ndim - masks[0].ndim)))
        value = sg.reshape(values, ())
        return sg.where(mask, x + value if accumulate else value, x)
    places = x.at[_make_index_key(x, indices)]
    return _add_at(places, values) if accumulate else places.set(values)


def _add_at(places: Any, values: Any) -> Any:
    """Add values at places; of truth values a sum is whether there is one."""
    return places.max(values) if values.dtype.name == "bool" else places.add(values)


@operator("index_select")
def _index_select(x: Any, dim: int, index: Any) -> Any:
    if not x.ndim:
        return x
    return sg.take(x, sg.reshape(index, (-1,)), dim)


@operator("index_add", "index_copy")
def _index_add(x: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1, operator: str) -> Any:
    """Add or copy slices of ``source`` at indices along an axis (ATen's index_add, index_copy)."""
    if not x.ndim:
        source = sg.reshape(source, ())
        return x + _times(source, alpha) if operator == "index_add" else source
    places = x.at[_at(dim, x.ndim, sg.reshape(index, (-1,)))]
    if operator == "index_copy":
        return places.set(source)
    return _add_at(places, _times(source, alpha))


def _cut_to_index(x: Any, index: Any, dim: int) -> Any:
    """The part of x before the sizes of an index along all axes but one."""
    key = [slice(None)] * x.ndim
    for k in range(x.ndim):
        if k != dim % x.ndim and index.shape[k] != x.shape[k]:
            key[k] = slice(0, index.shape[k])
    return x if all(span == slice(None) for span in key) else x[tuple(key)]


@operator("gather")
def _gather(x: Any, dim: int, index: Any) -> Any:
    if not x.ndim:
        return x
    index = sg.reshape(index, (1,) * x.ndim) if not index.ndim else index
    if (rows := row_numbers(x, dim, index)) is not None:
        return sg.take(x, rows, dim)
    return sg.take_along_axis(_cut_to_index(x, index, dim), index, dim)


def _places(x: Any, dim: int, index: Any) -> tuple[Any, ...]:
    """The key of the elements of x that an index along one axis names."""
    if (rows := row_numbers(x, dim, index)) is not None:
        return _at(dim, x.ndim, rows)
    key: list[Any] = [sg.iota(index.shape, a, like=index) for a in range(x.ndim)]
    key[dim % x.ndim] = index
    return tuple(key)


@operator("scatter", "scatter.value", "scatter.src", "scatter_add", "scatter.reduce",
          "scatter.value_reduce")  # fmt: skip
def _scatter(
    x: Any, dim: int, index: Any, src: Any = None, value: Any = None, reduce: str = "set",
    *, operator: str,
) -> Any:  # fmt: skip
    """Set, add or multiply elements at indices along an axis (ATen's scatter and scatter_add)."""
    if not x.ndim:
        x, index = (sg.reshape(operand, (1,)) for operand in (x, index))
        src = sg.reshape(src, (1,)) if src is not None else None
        row = _scatter(x, 0, index, src, value, reduce, operator=operator)
        return sg.reshape(row, ())
    k = dim % x.ndim
    updates = value if src is None else _cut_to_shape(src, index.shape)
    reduce = "add" if operator == "scatter_add" else reduce
    single = isinstance(index.shape[k], int) and index.shape[k] == 1
    same = all(index.shape[a] == x.shape[a] for a in range(x.ndim) if a != k)
    if single and same and reduce == "set":
        is_index = sg.equal(sg.iota(x.shape, k, like=index), index)
        updates = _numbers(value, x.dtype.name) if src is None else updates
        return sg.where(is_index, updates, x)
    if src is None:
        updates = sg.full(index.shape, _numbers(value, x.dtype.name), x.dtype)
    places = x.at[_places(x, dim, index)]
    return _add_at(places, updates) if reduce == "add" else getattr(places, reduce)(updates)


@operator("put")
def _put_elements(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    places = sg.reshape(x, (-1,)).at[sg.reshape(index, (-1,))]
    source = sg.reshape(source, (-1,))
    return sg.reshape(_add_at(places, source) if accumulate else places.set(source), x.shape)


@operator("masked_scatter")
def _masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    mask = sg.reshape(sg.broadcast_to(mask, x.shape), (-1,))
    places = sg.maximum(sg.cumsum(sg.astype(mask, "int64"), 0) - 1, 0)
    values = sg.take(sg.reshape(source, (-1,)), places, 0)
    return sg.reshape(sg.where(mask, values, sg.reshape(x, (-1,))), x.shape)


def _cut_to_shape(x: Any, shape: Sequence[Any]) -> Any:
    if all(a == b for a, b in zip(x.shape, shape, strict=True)):
        return x
    return x[tuple(slice(0, size) for size in shape)]


@operator("scatter_reduce")
def _scatter_reduce(
    x: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
) -> Any:
    """Reduce elements that are scattered to one index: sum, product, mean or extreme (ATen)."""
    if not x.ndim:
        x, index, src = (sg.reshape(operand, (1,)) for operand in (x, index, src))
        return sg.reshape(_scatter_reduce(x, 0, index, src, reduce, include_self=include_self), ())
    where, src = _places(x, dim, index), _cut_to_shape(src, index.shape)
    method = {"sum": "add", "prod": "multiply", "amax": "max", "amin": "min", "mean": "add"}[reduce]
    ones = sg.ones(index.shape, x.dtype)
    if not include_self:
        neutral = {"sum": 0, "prod": 1, "amax": -inf, "amin": inf, "mean": 0}[reduce]
        if abs(neutral) == inf and not x.dtype.is_float:
            raise unsupported_variant(f"scatter_reduce of {x.dtype} by {reduce} without itself")
        blank: Any = sg.zeros(x.shape, x.dtype)
        hit = blank.at[where].add(ones) > 0
        out = getattr(sg.where(hit, neutral, x).at[where], method)(src)
    else:
        out = getattr(x.at[where], method)(src)
    if reduce == "mean":
        start: Any = sg.ones(x.shape, x.dtype) if include_self else sg.zeros(x.shape, x.dtype)
        count = sg.maximum(start.at[where].add(ones), 1)
        out = out / count if x.dtype.is_float else out // count
    return out


@operator("index_reduce")
def _index_reduce(
    x: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True
) -> Any:
    """Reduce slices along an axis by index (ATen's index_reduce), by way of scatter_reduce."""
    if not x.ndim:
        x, source = sg.reshape(x, (1,)), sg.reshape(source, (1,))
        row = _index_reduce(x, 0, index, source, reduce, include_self=include_self)
        return sg.reshape(row, ())
    wide = sg.reshape(index, (-1, *(1,) * (x.ndim - 1 - dim % x.ndim)))
    places = sg.broadcast_to(wide, source.shape)
    return _scatter_reduce(x, dim, places, source, reduce, include_self=include_self)


@operator("masked_scatter_backward")
def _masked_scatter_backward(grad_output: Any, mask: Any, sizes: Any) -> Any:
    row = sg.reshape(sg.broadcast_to(mask, grad_output.shape), (-1,))
    places = sg.maximum(sg.cumsum(sg.astype(row, "int64"), 0) - 1, 0)
    parts = sg.where(row, sg.reshape(grad_output, (-1,)), 0)
    slope: Any = sg.zeros((prod(sizes),), grad_output.dtype)
    return sg.reshape(slope.at[places].add(parts), tuple(sizes))


@operator("embedding")
def _embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False
) -> Any:
    """Look up rows of an embedding table; the padding row has no gradient (ATen)."""
    if scale_grad_by_freq:
        raise unsupported_variant("scale_grad_by_freq=True")
    rows = sg.take(weight, indices, 0)
    if padding_idx < 0:
        return rows
    padding = sg.expand_dims(sg.equal(indices, padding_idx), -1)
    return sg.where(padding, sg.stop_gradient(rows), rows)


@operator("embedding_dense_backward")
def _embedding_dense_backward(
    grad_output: Any, indices: Any, num_weights: Any, padding_idx: int, scale_grad_by_freq: bool
) -> Any:
    """Add cotangents of looked-up rows into the gradient of an embedding table (ATen)."""
    if scale_grad_by_freq:
        raise unsupported_variant("scale_grad_by_freq=True")
    rows = sg.reshape(grad_output, (-1, grad_output.shape[-1]))
    places = sg.reshape(indices, (-1,))
    if padding_idx >= 0:
        rows = sg.where(sg.expand_dims(sg.equal(places, padding_idx), 1), 0.0, rows)
    table: Any = sg.zeros((num_weights, rows.shape[1]), rows.dtype)
    return table.at[places].add(rows)


# -- products -------------------------------------------------------------------------------------


@operator("mm", "bmm", "mv", "matmul")
def _mm(x: Any, mat2: Any = None, vec: Any = None, y: Any = None) -> Any:
    return sg.matmul(x, mat2 if mat2 is not None else vec if vec is not None else y)


#: The most groups of rows whose products are computed of all rows with the others at zero.
_MOST_GROUPS: Final = 16


@operator("transformers.grouped_mm_fallback", "_grouped_mm")
def _grouped_mm(
    x: Any, weight: Any = None, offs: Any = None, mat2: Any = None, *, operator: str
) -> Any:
    """Multiply groups of rows by a matrix each; ``offs`` are the ends of the groups.

    The sizes of groups depend on values: each product is of all rows, those of others at zero.
    """
    weight = mat2 if weight is None else weight
    if x.ndim != 2 or weight.ndim != 3 or offs is None:
        raise unsupported_variant(f"{operator} of other ranks")
    count = int(weight.shape[0])
    if count > _MOST_GROUPS:
        raise unsupported_variant(f"{operator} of {count} groups")
    group = sg.sum(sg.expand_dims(sg.arange(x.shape[0]), 1) >= sg.astype(offs, "int64"), 1)
    products = [
        sg.matmul(sg.where(sg.expand_dims(group == k, 1), x, 0.0), weight[k]) for k in range(count)
    ]
    return sum(products[1:], products[0])


@operator("transformers.grouped_mm_fallback_backward")
def _grouped_mm_backward(x: Any, weight: Any, offs: Any, grad_output: Any) -> Any:
    """Pull a cotangent back through the products of groups."""
    row = OPERATORS["transformers.grouped_mm_fallback"].function
    name = "transformers.grouped_mm_fallback"
    product = lambda x, weight: row(x, weight, offs, operator=name)  # noqa: E731 - pulled back
    return tuple(_pull_back(product, [x, weight], grad_output))


@operator("addmm", "baddbmm", "addmv", "addbmm")
def _addmm(
    x: Any, mat1: Any = None, mat2: Any = None, batch1: Any = None, batch2: Any = None,
    mat: Any = None, vec: Any = None, *, beta: Any = 1, alpha: Any = 1, operator: str,
) -> Any:  # fmt: skip
    """Compute beta x + alpha (A @ B) for ATen's addmm, baddbmm, addbmm and addmv."""
    left = next(matrix for matrix in (mat1, batch1, mat) if matrix is not None)
    right = next(matrix for matrix in (mat2, batch2, vec) if matrix is not None)
    product = sg.matmul(left, right)
    product = sg.sum(product, 0) if operator == "addbmm" else product
    if not (x.dtype.is_float or x.dtype.is_complex):
        beta, alpha = int(beta), int(alpha)
    product = _times(product, alpha)
    return product if beta == 0 else _times(x, beta) + product


@operator("_cdist_forward")
def _cdist(x1: Any, x2: Any, p: float, compute_mode: Any = None, *, out: AtenType) -> Any:
    difference = sg.expand_dims(x1, -2) - sg.expand_dims(x2, -3)
    return _vector_norm(difference, p, [-1], out=out)


derive_backward("_cdist", "x1", forward="_forward", saved="cdist")


def _pairs(count: Any) -> tuple[Any, Any]:
    if not isinstance(count, int):
        raise unsupported_variant("pdist of a named size")
    return np.triu_indices(count, 1)


@operator("_pdist_forward")
def _pdist(x: Any, p: float = 2, *, out: AtenType) -> Any:
    first, second = (_numbers(indices, "int64") for indices in _pairs(x.shape[0]))
    return _vector_norm(sg.take(x, first, 0) - sg.take(x, second, 0), p, [-1], out=out)


derive_backward("_pdist", "x", forward="_forward", saved="pdist")


@operator("_trilinear")
def _trilinear(
    i1: Any, i2: Any, i3: Any, expand1: Any, expand2: Any, expand3: Any, sumdim: Any,
    unroll_dim: int = 1,
) -> Any:  # fmt: skip
    """Sum the product of three expanded tensors over axes (ATen's _trilinear)."""
    parts = []
    for part, places in ((i1, expand1), (i2, expand2), (i3, expand3)):
        for place in sorted(places):
            part = sg.expand_dims(part, place)
        parts.append(part)
    return sg.sum(parts[0] * parts[1] * parts[2], tuple(sumdim))


# -- functions of staticgrad ----------------------------------------------------------------------


@operator("staticgrad.run")
def _run(key: str, tensors: Sequence[Any]) -> Any:
    return tuple(flatten(find_programs(key).values(*tensors), keep_complex=True)[0])


# -- softmax --------------------------------------------------------------------------------------


@operator("_softmax", "_log_softmax", "_safe_softmax", operands="result")
def _softmax(x: Any, dim: int, *, half_to_float: bool = False, operator: str) -> Any:
    """Compute ATen's softmax family; the safe one gives 0 in rows of -inf alone."""
    if not x.ndim:
        return _softmax(sg.reshape(x, (1,)), 0, operator=operator)[0]
    if operator == "_log_softmax":
        return nn.log_softmax(x, dim)
    if operator == "_softmax":
        return nn.softmax(x, dim)
    empty = sg.all(sg.equal(x, -inf), dim, keepdims=True)
    return sg.where(empty, 0.0, nn.softmax(sg.where(empty, 0.0, x), dim))


@operator("_softmax_backward_data")
def _softmax_backward(grad_output: Any, output: Any, dim: int, input_dtype: str) -> Any:
    if not output.ndim:
        return sg.zeros_like(output)
    along = grad_output * output
    return along - output * sg.sum(along, dim, keepdims=True)


@operator("_log_softmax_backward_data")
def _log_softmax_backward(grad_output: Any, output: Any, dim: int, input_dtype: str) -> Any:
    if not output.ndim:
        return sg.zeros_like(output)
    return grad_output - sg.exp(output) * sg.sum(grad_output, dim, keepdims=True)


def _of_heads(x: Any, query: Any) -> Any:
    """Keys or values for each head of the queries, of which groups share one."""
    heads, query_heads = x.shape[-3], query.shape[-3]
    return x if heads == query_heads else sg.repeat(x, query_heads // heads, -3)


def _attention(query: Any, key: Any, mask: Any, causal: bool, scale: float | None) -> Any:
    """Return the masked, scaled scores of attention for ATen's fused attention operators."""
    size = 1.0 / float(query.shape[-1]) ** 0.5 if scale is None else scale
    scores = sg.matmul(query * size, sg.swapaxes(_of_heads(key, query), -1, -2))
    if causal:
        rows, columns = scores.shape[-2:]
        scores = sg.where(sg.iota((rows, columns), 0) >= sg.iota((rows, columns), 1), scores, -inf)
    if mask is not None:
        scores = scores + mask
    return scores


@operator("_scaled_dot_product_flash_attention_for_cpu")
def _flash(
    query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, *,
    attn_mask: Any = None, scale: float | None = None,
) -> Any:  # fmt: skip
    scores = _attention(query, key, attn_mask, is_causal, scale)
    return sg.matmul(nn.softmax(scores, -1), _of_heads(value, query)), nn.logsumexp(scores, -1)


derive_backward(
    "_scaled_dot_product_flash_attention_for_cpu", "query", "key", "value", cotangent="grad_out",
    saved="out_ logsumexp",
)  # fmt: skip


# -- losses ---------------------------------------------------------------------------------------


@operator("multi_margin_loss_backward")
def _multi_margin_loss_backward(
    grad_output: Any, x: Any, target: Any, p: int, margin: float, weight: Any = None,
    reduction: int = 1,
) -> Any:  # fmt: skip
    """Differentiate ATen's multi-class margin loss by its input."""
    if weight is not None:
        raise unsupported_variant("a weight of each class")
    how: Any = ("none", "mean", "sum")[reduction]

    def forward(x: Any) -> Any:
        return nn.multi_margin_loss(x, target, int(p), float(margin), how)

    (slope,) = _pull_back(forward, [x], grad_output)
    return slope


# -- windows --------------------------------------------------------------------------------------


@operator("convolution")
def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int,
) -> Any:  # fmt: skip
    """Compute ATen's convolution, plain or transposed, in one to three dimensions."""
    count = x.ndim - 2
    options: dict[str, Any] = {
        "stride": _per_axis(stride, count),
        "padding": [(p, p) for p in _per_axis(padding, count)],
        "dilation": _per_axis(dilation, count),
        "groups": groups,
    }
    if not transposed:
        return nn.conv(x, weight, bias, **options)
    more = _per_axis(output_padding, count)
    return nn.conv_transpose(x, weight, bias, output_padding=more, **options)


@operator("convolution_backward")
def _convolution_backward(
    grad_output: Any, x: Any, weight: Any, bias_sizes: Any, stride: Any, padding: Any,
    dilation: Any, transposed: bool, output_padding: Any, groups: int, output_mask: Any,
) -> Any:  # fmt: skip
    """Differentiate ATen's convolution by images, filters and bias, as ``output_mask`` says."""
    options = (stride, padding, dilation, transposed, output_padding, groups)
    variables = [operand for operand, asked in zip((x, weight), output_mask, strict=False) if asked]

    def forward(*chosen: Any) -> Any:
        """Call the convolution on the operands whose gradients ATen's ``output_mask`` selects."""
        pending = [*chosen]
        operands = [
            pending.pop(0) if asked else operand
            for operand, asked in zip((x, weight), output_mask, strict=False)
        ]
        row: Callable[..., Any] = _convolution
        return row(*operands, None, *options)

    slopes = _pull_back(forward, variables, grad_output) if variables else []
    image = slopes.pop(0) if output_mask[0] else None
    filters = slopes.pop(0) if output_mask[1] else None
    others = (0, *range(2, grad_output.ndim))
    return image, filters, sg.sum(grad_output, others) if output_mask[2] else None


def _pool_options(
    count: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Convert the arguments of ATen's pooling (stride, padding, ...) to options of ``sg.nn``."""
    taps = _per_axis(kernel_size, count)
    return taps, {
        "stride": _per_axis(stride, count) if stride or stride == 0 else taps,
        "padding": [(p, p) for p in _per_axis(padding, count)],
        "dilation": _per_axis(dilation, count),
    }


def _add_batch_axis(x: Any, count: int) -> tuple[Any, bool]:
    """An image with an axis of batches in front."""
    return (sg.expand_dims(x, 0), True) if x.ndim == count + 1 else (x, False)


def _max_pool(x: Any, count: int, ceil_mode: bool, *windows: Any) -> Any:
    taps, options = _pool_options(count, *windows)
    x, is_unbatched = _add_batch_axis(x, count)
    y = nn.max_pool(x, taps, ceil_mode=ceil_mode, **options)
    return y[0] if is_unbatched else y


@operator("max_pool2d_with_indices", "max_pool3d_with_indices")
def _max_pool_with_indices(
    x: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, *, operator: str,
) -> Any:  # fmt: skip
    """Max-pool images and return the flat index of each maximum, as ATen does."""
    count = 2 if operator.startswith("max_pool2d") else 3
    y = _max_pool(x, count, ceil_mode, kernel_size, stride, padding, dilation)
    taps, options = _pool_options(count, kernel_size, stride, padding, dilation)
    image, is_unbatched = _add_batch_axis(sg.stop_gradient(x), count)
    windows = y.shape[-count:]
    pairs = [
        (low, max(0, (n - 1) * s + (t - 1) * d + 1 - low - size))
        for n, s, t, d, (low, _), size in zip(
            windows, options["stride"], taps, options["dilation"], options["padding"],
            x.shape[-count:], strict=True,
        )
    ]  # fmt: skip
    wide = sg.pad(image, [(0, 0), (0, 0), *pairs], constant_values=-inf)
    columns = nn.unfold(
        wide, taps, stride=options["stride"], dilation=options["dilation"]
    )  # [n, c, *taps, *windows]
    columns = columns[(..., *(slice(0, n) for n in windows))]
    flat = sg.reshape(columns, (*image.shape[:2], prod(taps), *windows))
    best: Any = sg.argmax(flat, 2)
    place: Any = None
    for k in range(count):
        tap = (best // prod(taps[k + 1 :])) % taps[k]
        first = sg.iota(best.shape, 2 + k) * options["stride"][k] - options["padding"][k][0]
        at = first + tap * options["dilation"][k]
        place = at if place is None else place * x.shape[k - count] + at
    assert place is not None
    return y, place[0] if is_unbatched else place


@operator("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward")
def _max_pool_backward(
    grad_output: Any, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, indices: Any = None, *, operator: str,
) -> Any:  # fmt: skip
    """Differentiate ATen's max-pooling by windows, from the image itself."""
    count = 2 if operator.startswith("max_pool2d") else 3
    windows = (kernel_size, stride, padding, dilation)
    (slope,) = _pull_back(lambda x: _max_pool(x, count, ceil_mode, *windows), [x], grad_output)
    return slope


@operator("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(
    x: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, operator: str,
) -> Any:  # fmt: skip
    """Average-pool images as ATen, with its divisor and padding options."""
    count = int(operator[8])
    taps, options = _pool_options(count, kernel_size, stride, padding)
    del options["dilation"]
    if not x.dtype.is_float:
        raise unsupported_variant(f"an average of {x.dtype}")
    x, is_unbatched = _add_batch_axis(x, count)
    if divisor_override is not None:  # the sum of each window, with zeros around
        pairs = [
            (low, max(0, (_windows(size, t, s, low, ceil_mode) - 1) * s + t - low - size))
            for size, t, s, (low, _) in zip(
                x.shape[-count:], taps, options["stride"], options["padding"], strict=True
            )
        ]
        x = sg.pad(x, [(0, 0)] * (x.ndim - count) + pairs)
        y = nn.avg_pool(x, taps, stride=options["stride"]) * (prod(taps) / divisor_override)
    else:
        y = nn.avg_pool(
            x, taps, ceil_mode=ceil_mode, count_include_pad=count_include_pad, **options
        )
    return y[0] if is_unbatched else y


def _windows(size: Any, taps: int, stride: int, padding: int, ceil_mode: bool) -> Any:
    """The number of windows along an axis; each begins inside of the image or its left border."""
    extent = size + 2 * padding - taps
    count = (-(-extent // stride) if ceil_mode else extent // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


derive_backward("avg_pool2d avg_pool3d", "x")


@operator("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d")
def _adaptive_avg_pool(x: Any, output_size: Any, *, operator: str) -> Any:
    count = int(operator[-2])
    x, is_unbatched = _add_batch_axis(x, count)
    y = nn.adaptive_avg_pool(x, _per_axis(output_size, count))
    return y[0] if is_unbatched else y


@operator("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward")
def _adaptive_avg_pool_backward(grad_output: Any, x: Any, *, operator: str) -> Any:
    count = int(operator.removesuffix("_backward")[-2])
    size = grad_output.shape[-count:]
    name = operator.removesuffix("_backward")
    (slope,) = _pull_back(lambda x: _adaptive_avg_pool(x, size, operator=name), [x], grad_output)
    return slope


def _max_pool_windows(x: Any, starts: Sequence[Any], sizes: Sequence[Any]) -> tuple[Any, Any]:
    """Max-pool windows of given starts and sizes; return maxima and their flat indices (ATen).

    Along each of the last axes there is a row of windows: they begin at ``starts`` [..., n] and
    have ``sizes``, [n] or a number.
    """
    count = len(starts)
    space = tuple(x.shape[-count:])
    if not all(isinstance(size, int) for size in space):
        raise unsupported_variant("a pool with indices of a named size")
    place: Any = None
    inside: Any = True
    for k, (start, size, extent) in enumerate(zip(starts, sizes, space, strict=True)):
        longest = int(np.max(size))
        taps = np.arange(longest)
        row = sg.expand_dims(start, -1) + taps  # [..., n, taps]
        is_tap = np.broadcast_to(taps < np.reshape(size, (-1, 1)), (start.shape[-1], longest))
        axes_before, axes_after = k, count - 1 - k
        rank = row.ndim - 2
        shape = (*row.shape[:rank], *(1,) * axes_before, row.shape[-2], *(1,) * axes_after)
        shape += (*(1,) * axes_before, longest, *(1,) * axes_after)
        wide = sg.reshape(sg.minimum(row, extent - 1), shape)
        place = wide if place is None else place * extent + wide
        inside = sg.logical_and(inside, sg.constant(is_tap.reshape(shape[rank:])))
    lead = tuple(x.shape[:-count])
    windows = tuple(place.shape[-2 * count : -count])
    flat = sg.reshape(x, (*lead, prod(space)))
    rows = (*lead, prod(windows), prod(place.shape[-count:]))
    place, inside = (
        sg.reshape(sg.broadcast_to(grid, (*lead, *place.shape[-2 * count :])), rows)
        for grid in (place, inside)
    )
    elements = sg.take_along_axis(sg.expand_dims(flat, -2), place, -1)
    best = sg.argmax(sg.where(inside, elements, -inf), -1, keepdims=True)
    shape = (*lead, *windows)
    return tuple(
        sg.reshape(sg.take_along_axis(grid, best, -1), shape) for grid in (elements, place)
    )


@operator("adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(x: Any, output_size: Any, *, operator: str) -> Any:
    """Max-pool images to a given output size, with indices (ATen's adaptive_max_pool)."""
    count = int(operator[-2])
    starts, sizes = [], []
    for extent, n in zip(x.shape[-count:], _per_axis(output_size, count), strict=True):
        first = np.arange(n) * extent // n
        starts.append(_numbers(first, "int64"))
        sizes.append(-(-(np.arange(n) + 1) * extent // n) - first)
    return _max_pool_windows(x, starts, sizes)


@operator("fractional_max_pool2d", "fractional_max_pool3d")
def _fractional_max_pool(
    x: Any, kernel_size: Any, output_size: Any, random_samples: Any, *, operator: str
) -> Any:
    """Max-pool windows that start at random offsets (ATen's fractional_max_pool)."""
    count = int(operator[-2])
    axes = range(count)
    if x.ndim == count + 1:
        random_samples = random_samples[0]
    starts = []
    for k in axes:
        taps, n, extent = kernel_size[k], output_size[k], x.shape[k - count]
        at = random_samples[..., count - 1 - k if count == 2 else k]
        alpha = (extent - taps) / (n - 1) if n > 1 else 0.0
        at = sg.expand_dims(at, -1)
        step = sg.astype((sg.iota((n,), 0, at.dtype) + at) * alpha, "int64")
        first = step - sg.astype(at * alpha, "int64")
        starts.append(sg.where(sg.iota((n,), 0) == n - 1, extent - taps, first))
    return _max_pool_windows(x, starts, [kernel_size[k] for k in axes])


@operator("adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward",
          "fractional_max_pool2d_backward", "fractional_max_pool3d_backward")  # fmt: skip
def _pool_by_indices(
    grad_output: Any, x: Any, kernel_size: Any = None, output_size: Any = None,
    indices: Any = None, *, operator: str,
) -> Any:  # fmt: skip
    """Scatter cotangents of a max-pooling to the indices of its maxima (ATen)."""
    count = 2 if "2d" in operator else 3
    lead = tuple(x.shape[:-count])
    rows = (prod(lead), -1)
    slope: Any = sg.zeros((prod(lead), prod(x.shape[-count:])), grad_output.dtype)
    places, parts = (sg.reshape(grid, rows) for grid in (indices, grad_output))
    first = sg.iota(places.shape, 0, like=places)
    return sg.reshape(slope.at[first, places].add(parts), x.shape)


@operator("col2im")
def _col2im(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> Any:
    """Add the columns of windows back into images (ATen's col2im)."""
    is_unbatched = x.ndim == 2
    x = sg.expand_dims(x, 0) if is_unbatched else x
    taps, options = _pool_options(2, kernel_size, stride, padding, dilation)
    windows = [
        (size + 2 * options["padding"][k][0] - (taps[k] - 1) * options["dilation"][k] - 1)
        // options["stride"][k] + 1
        for k, size in enumerate(output_size)
    ]  # fmt: skip
    columns = sg.reshape(x, (x.shape[0], x.shape[1] // prod(taps), *taps, *windows))
    y = nn.fold(columns, tuple(output_size), **options)
    return y[0] if is_unbatched else y


@operator("im2col")
def _im2col(x: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    x, is_unbatched = _add_batch_axis(x, 2)
    taps, options = _pool_options(2, kernel_size, stride, padding, dilation)
    columns = nn.unfold(x, taps, **options)
    n, c, *_, rows, across = columns.shape
    y = sg.reshape(columns, (n, c * prod(taps), rows * across))
    return y[0] if is_unbatched else y


_UPSAMPLE: Final = {
    "nearest": {"method": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
    "nearest_exact": {"method": "nearest"},
    "linear": {"method": "linear"},
    "bilinear": {"method": "linear"},
    "trilinear": {"method": "linear"},
    "bicubic": {"method": "cubic"},
}


_UPSAMPLES: Final = (
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip


@operator(*_UPSAMPLES)
def _upsample(
    x: Any, output_size: Any = None, align_corners: bool = False, scales: Any = None,
    scales_d: Any = None, scales_h: Any = None, scales_w: Any = None, scale_factors: Any = None,
    *, operator: str, out: AtenType,
) -> Any:  # fmt: skip
    """Resize images by ATen's upsample operators: nearest, linear or bicubic."""
    mode = operator.partition("upsample_")[2].removesuffix("_aa")
    count = int(mode[-2])
    options: dict[str, Any] = {**_UPSAMPLE[mode[:-2]]}
    if operator.endswith("_aa"):  # as Pillow: weights inside of the image add up to 1
        if align_corners:
            raise unsupported_variant("antialias with align_corners=True")
        options |= {"antialias": True, "exclude_outside": True, "cubic": -0.5}
    if align_corners:
        options["coordinates"] = "align_corners"
    factors = scale_factors or [s for s in (scales_d, scales_h, scales_w) if s is not None]
    factors = [scales] if scales is not None else factors
    shape = tuple(out.shape[-count:])
    if factors and any(
        not isinstance(n, int) or int(n * f) != m or n * f != m
        for n, f, m in zip(x.shape[-count:], factors, shape, strict=True)
    ):
        return nn.resize(x, None, scale=tuple(factors), **options)
    return nn.resize(x, shape, **options)


@operator(*(f"{name}_backward" for name in _UPSAMPLES))
def _upsample_backward(
    grad_output: Any, output_size: Any, input_size: Any, align_corners: bool = False,
    scales: Any = None, scales_d: Any = None, scales_h: Any = None, scales_w: Any = None,
    *, operator: str, out: AtenType,
) -> Any:  # fmt: skip
    """Differentiate ATen's upsampling, which is linear, by its image."""
    enlarged = AtenType(out.dtype, grad_output.shape)
    options = (output_size, align_corners, scales, scales_d, scales_h, scales_w)
    name = operator.removesuffix("_backward")
    image = sg.zeros(tuple(input_size), out.dtype)  # any image: the function is linear
    (slope,) = _pull_back(
        lambda x: _upsample(x, *options, operator=name, out=enlarged), [image], grad_output
    )
    return slope


@operator("grid_sampler_2d")
def _grid_sampler(
    x: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Any:
    """Sample images at the points of a grid (ATen's grid_sampler)."""
    if interpolation_mode > 1:
        raise unsupported_variant("bicubic interpolation")
    border: Any = ("zeros", "border", "reflection")[padding_mode]
    mode: Any = ("bilinear", "nearest")[interpolation_mode]
    return nn.grid_sample(x, grid, mode, border, align_corners)


@operator("grid_sampler_2d_backward")
def _grid_sampler_backward(
    grad_output: Any, x: Any, grid: Any, interpolation_mode: int, padding_mode: int,
    align_corners: bool, output_mask: Any,
) -> Any:  # fmt: skip
    """Differentiate ATen's grid_sampler by images and, unless nearest, by the grid."""
    options = (interpolation_mode, padding_mode, align_corners)
    if interpolation_mode == 1:  # nearest: no slope of the grid
        (image,) = _pull_back(lambda x: _grid_sampler(x, grid, *options), [x], grad_output)
        return image, sg.zeros_like(grid)
    return tuple(
        _pull_back(lambda x, grid: _grid_sampler(x, grid, *options), [x, grid], grad_output)
    )


# -- normalization --------------------------------------------------------------------------------


def _scale_and_shift(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _standardize(x: Any, axes: tuple[int, ...], eps: float) -> tuple[Any, Any, Any]:
    """The elements without mean and spread, the mean, and 1 / spread."""
    mean = sg.mean(x, axes, keepdims=True)
    centred = x - mean
    inverse = 1.0 / sg.sqrt(sg.mean(centred * centred, axes, keepdims=True) + eps)
    return centred * inverse, mean, inverse


@operator("native_layer_norm")
def _layer_norm(x: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    axes = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    y, mean, inverse = _standardize(x, axes, eps)
    return _scale_and_shift(y, weight, bias), mean, inverse


@operator("native_group_norm")
def _group_norm(
    x: Any, weight: Any, bias: Any, N: Any, C: Any, HxW: Any, group: int, eps: float
) -> Any:
    """Normalize groups of channels; return mean and inverse deviation too (ATen)."""
    groups = sg.reshape(x, (N, group, -1))
    y, mean, inverse = _standardize(groups, (2,), eps)
    wide = (-1, *(1,) * (x.ndim - 2))
    weight, bias = (
        None if vector is None else sg.reshape(vector, wide) for vector in (weight, bias)
    )
    y = _scale_and_shift(sg.reshape(y, x.shape), weight, bias)
    return y, sg.reshape(mean, (N, group)), sg.reshape(inverse, (N, group))


@operator("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit.no_stats",
          "_native_batch_norm_legit_functional", "_native_batch_norm_legit_no_training",
          "_batch_norm_with_update_functional", "_batch_norm_no_update")  # fmt: skip
def _batch_norm(
    x: Any, weight: Any, bias: Any, running_mean: Any = None, running_var: Any = None,
    training: bool | None = None, momentum: float = 0.1, eps: float = 1e-5, *, operator: str,
) -> Any:  # fmt: skip
    """Normalize batches as ATen's batch norms, with batch or running statistics."""
    if training is None:
        training = operator == "_batch_norm_with_update_functional"
    axes = (0, *range(2, x.ndim))
    wide = (1, -1, *(1,) * (x.ndim - 2))

    def row(vector: Any) -> Any:
        return None if vector is None else sg.reshape(vector, wide)

    if not training:
        inverse = 1.0 / sg.sqrt(running_var + eps)
        y = _scale_and_shift((x - row(running_mean)) * row(inverse), row(weight), row(bias))
        empty = sg.zeros((0,), x.dtype)
        extra = (empty,) if operator.startswith("_batch_norm") else ()
        return y, empty, empty, *extra
    y, mean, inverse = _standardize(x, axes, eps)
    y = _scale_and_shift(y, row(weight), row(bias))
    mean, inverse = sg.reshape(mean, (-1,)), sg.reshape(inverse, (-1,))
    results = y, mean, inverse
    if not operator.endswith("functional"):
        return results
    sizes = [x.shape[k] for k in axes]
    now = sg.var(x, axes)
    count = sg.size_value(prod(sizes), x.dtype)
    running = [
        old * (1.0 - momentum) + sg.stop_gradient(new) * momentum
        for old, new in ((running_mean, mean), (running_var, now * (count / (count - 1.0))))
    ]
    if operator.startswith("_batch_norm"):
        return *results, sg.zeros((0,), "uint8"), *running
    return *results, *running


@operator("batch_norm_backward")
def _batch_norm_backward(
    grad_out: Any, x: Any, weight: Any, running_mean: Any, running_var: Any, save_mean: Any,
    save_var: Any, update: bool, eps: float, output_mask: Any, reserve: Any = None,
) -> Any:  # fmt: skip
    """Differentiate ATen's batch norm by images, weight and bias."""
    axes = (0, *range(2, x.ndim))
    wide = (1, -1, *(1,) * (x.ndim - 2))
    mean, inverse = (
        (save_mean, save_var) if update else (running_mean, 1.0 / sg.sqrt(running_var + eps))
    )
    mean, inverse = sg.reshape(mean, wide), sg.reshape(inverse, wide)
    y = (x - mean) * inverse
    by_bias = sg.sum(grad_out, axes)
    by_weight = sg.sum(grad_out * y, axes)
    slope = grad_out if weight is None else grad_out * sg.reshape(weight, wide)
    if update:
        slope = slope - sg.mean(slope, axes, keepdims=True)
        slope = slope - y * sg.mean(slope * y, axes, keepdims=True)
    return slope * inverse, by_weight, by_bias


@operator("_weight_norm_interface_backward")
def _weight_norm_backward(
    grad_w: Any, saved_v: Any, saved_g: Any, saved_norms: Any, dim: int
) -> tuple[Any, ...]:
    """Differentiate ATen's weight normalization by direction and norm."""
    axes = tuple(axis for axis in range(saved_v.ndim) if axis != dim)

    def forward(v: Any, g: Any) -> Any:
        return v * (g / sg.sqrt(sg.sum(v * v, axes, keepdims=True)))

    return tuple(_pull_back(forward, [saved_v, saved_g], grad_w))


# -- random numbers -------------------------------------------------------------------------------


@operator("rand", "randn", "rand_like", "randn_like")
def _rand(x: Any = None, size: Any = None, *, operator: str, random: Any, out: AtenType) -> Any:
    shape = tuple(size) if x is None else x.shape
    draw = random.uniform if operator in ("rand", "rand_like") else random.normal
    return draw(shape=shape, dtype=out.dtype)


@operator("uniform")
def _uniform(x: Any, *, random: Any, **options: Any) -> Any:
    low, high = options.get("from", 0.0), options.get("to", 1.0)
    return random.uniform(shape=x.shape, dtype=x.dtype) * (high - low) + low


@operator("normal_functional")
def _normal(x: Any, mean: float = 0, std: float = 1, *, random: Any) -> Any:
    return random.normal(shape=x.shape, dtype=x.dtype) * std + mean


@operator("normal.float_float", "normal.Tensor_Tensor", "normal.Tensor_float",
          "normal.float_Tensor")  # fmt: skip
def _normal_of(mean: Any = 0, std: Any = 1, size: Any = None, *, random: Any, out: AtenType) -> Any:
    shape = tuple(out.shape) if size is None else tuple(size)
    return random.normal(shape=shape, dtype=out.dtype) * std + mean


@operator("exponential", "log_normal", "cauchy", "geometric")
def _draw_sample(
    x: Any, lambd: float = 1, mean: float = 1, std: float = 2, median: float = 0, sigma: float = 1,
    p: float = 0.5, *, random: Any, operator: str,
) -> Any:  # fmt: skip
    """Draw from ATen's exponential, geometric, Cauchy or log-normal distribution."""
    if operator == "log_normal":
        return sg.exp(random.normal(shape=x.shape, dtype=x.dtype) * std + mean)
    u = random.uniform(shape=x.shape, dtype=x.dtype)
    if operator == "exponential":
        return -sg.log1p(-u) / lambd
    if operator == "cauchy":
        return sg.tan((u - 0.5) * np.pi) * sigma + median
    return sg.maximum(sg.ceil(sg.log1p(-u) / float(np.log1p(-p))), 1.0)


@operator("bernoulli", "bernoulli.p")
def _bernoulli(x: Any, p: Any = None, *, random: Any, out: AtenType) -> Any:
    chance = x if p is None else p
    return sg.astype(random.uniform(shape=x.shape, dtype=x.dtype) < chance, out.dtype)


@operator("native_dropout")
def _native_dropout(x: Any, p: float, train: bool | None, *, random: Any) -> Any:
    if train is False or p == 0:
        return x, sg.ones(x.shape, "bool")
    stays = random.uniform(shape=x.shape, dtype=x.dtype) >= p
    return sg.where(stays, x * (1.0 / (1.0 - p)) if p < 1 else x, 0.0), stays


@operator("randint", "randint.low", "randint_like", "randint_like.low_dtype")
def _randint(
    x: Any = None, low: int = 0, high: int = 0, size: Any = (), *, random: Any, out: AtenType
) -> Any:
    shape = tuple(size) if x is None else x.shape
    return cast(random.integers(low, high, shape=shape, dtype="int64"), out.dtype)


@operator("randperm")
def _randperm(n: Any, *, random: Any, out: AtenType) -> Any:
    return cast(random.permutation(n), out.dtype)


@operator("rrelu_with_noise_functional")
def _rrelu(
    x: Any, noise: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *,
    random: Any,
) -> Any:  # fmt: skip
    """Apply a leaky ReLU with random slopes in training, their mean otherwise (ATen's rrelu)."""
    if not training:
        return sg.where(x > 0, x, x * ((lower + upper) / 2)), noise
    drawn = random.uniform(shape=x.shape, dtype=x.dtype) * (upper - lower) + lower
    slope = sg.where(x > 0, 1.0, drawn)
    return x * slope, slope


@operator("rrelu_with_noise_backward")
def _rrelu_backward(
    grad_output: Any, x: Any, noise: Any, lower: float, upper: float, training: bool,
    self_is_result: bool,
) -> Any:  # fmt: skip
    if training and upper - lower > 1e-6:
        return grad_output * noise
    return sg.where(x > 0, grad_output, grad_output * ((lower + upper) / 2))


# -- linear algebra and Fourier transforms --------------------------------------------------------


@operator("linalg_inv_ex")
def _inv(A: Any, *, check_errors: bool = False) -> Any:
    return linalg.inv(A), sg.zeros(A.shape[:-2], "int32")


def _hermitian(x: Any, upper: bool) -> Any:
    """The matrix that one triangle of x says; its gradient goes to both triangles alike."""
    part = sg.triu(x) if upper else sg.tril(x)
    same = sg.conj(sg.swapaxes(part, -1, -2))
    symmetric = (x + sg.conj(sg.swapaxes(x, -1, -2))) * 0.5
    read = part + (sg.tril(same, -1) if upper else sg.triu(same, 1))
    return symmetric + sg.stop_gradient(read - symmetric)


@operator("linalg_cholesky_ex", "cholesky")
def _cholesky(x: Any, upper: bool = False, check_errors: bool = False, *, operator: str) -> Any:
    lower = linalg.cholesky(_hermitian(x, upper), upper=upper)
    return lower if operator == "cholesky" else (lower, sg.zeros(x.shape[:-2], "int32"))


def _saved_factors(A: Any, strides: Any) -> tuple[Any, Any]:
    """The factors that PyTorch saves: of the transposed matrix if A is real and contiguous."""
    is_transposed = strides is None and not A.dtype.is_complex
    packed, pivots, _ = _lu_factor(sg.swapaxes(A, -1, -2) if is_transposed else A)
    return packed, pivots


@operator("linalg_lu_factor_ex")
def _lu_factor(A: Any, pivot: bool = True, check_errors: bool = False) -> Any:
    if not pivot:
        raise unsupported_variant("LU without pivots")
    packed, pivots = linalg.lu_factor(A)
    return packed, sg.astype(pivots + 1, "int32"), sg.zeros(A.shape[:-2], "int32")


@operator("linalg_lu")
def _lu(A: Any, pivot: bool = True) -> Any:
    if not pivot:
        raise unsupported_variant("LU without pivots")
    return tuple(linalg.lu(A))


def _rows_of(pivots: Any, size: Any) -> Any:
    """The order of rows that PyTorch's pivots, which count from 1, stand for."""
    return order_of(sg.astype(pivots, "int64") - 1, size)


@operator("lu_unpack")
def _lu_unpack(
    LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """Split a packed LU factorization into permutation, L and U (ATen's lu_unpack)."""
    m, n = LU_data.shape[-2:]
    empty = sg.zeros((0,), LU_data.dtype)
    rows, lower, upper = empty, empty, empty
    if unpack_pivots:
        order = _rows_of(LU_pivots, m)
        rows = sg.equal(sg.iota((m, m), 0, like=order), sg.expand_dims(order, -2))
        rows = sg.astype(rows, LU_data.dtype)
    if unpack_data:
        k = min(m, n)
        lower = sg.tril(LU_data[..., :k], -1) + sg.eye(m, k, dtype=LU_data.dtype)
        upper = sg.triu(LU_data[..., :k, :])
    return rows, lower, upper


@operator("linalg_lu_solve")
def _lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """Solve linear equations from a packed LU factorization and its pivots (ATen's lu_solve)."""
    if not left:
        adjoint_b = sg.conj(sg.swapaxes(B, -1, -2))
        solution = _lu_solve(LU, pivots, adjoint_b, adjoint=not adjoint)
        return sg.conj(sg.swapaxes(solution, -1, -2))
    order = sg.expand_dims(_rows_of(pivots, LU.shape[-1]), -1)
    shape = np.broadcast_shapes(LU.shape[:-2], B.shape[:-2])
    B = sg.broadcast_to(B, (*shape, *B.shape[-2:]))
    options: dict[str, Any] = {"errors": "nan"}
    if not adjoint:
        rows = sg.take_along_axis(B, sg.broadcast_to(order, B.shape), -2)
        rows = linalg.solve_triangular(LU, rows, lower=True, unit_diagonal=True, **options)
        return linalg.solve_triangular(LU, rows, **options)
    rows = linalg.solve_triangular(LU, B, "C", **options)
    rows = linalg.solve_triangular(LU, rows, "C", lower=True, unit_diagonal=True, **options)
    back = sg.argsort(order, -2)
    return sg.take_along_axis(rows, sg.broadcast_to(back, rows.shape), -2)


@operator("_linalg_solve_ex")
def _solve(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """Solve A X = B or X A = B, and return the LU factors as ATen does."""
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and tuple(B.shape) == tuple(A.shape[:-1]))
    if vector:
        solution = linalg.solve(A, sg.expand_dims(B, -1))[..., 0]
    elif left:
        solution = linalg.solve(A, B)
    else:
        solution = sg.swapaxes(linalg.solve(sg.swapaxes(A, -1, -2), sg.swapaxes(B, -1, -2)), -1, -2)
    return solution, *_lu_factor(A)[:2], sg.zeros(A.shape[:-2], "int32")


@operator("linalg_solve_triangular")
def _solve_triangular(
    x: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    """Solve triangular equations with the matrix left or right (ATen's linalg_solve_triangular)."""
    if left:
        return linalg.solve_triangular(x, B, lower=not upper, unit_diagonal=unitriangular)
    transposed_solution = linalg.solve_triangular(
        sg.swapaxes(x, -1, -2), sg.swapaxes(B, -1, -2), lower=upper, unit_diagonal=unitriangular
    )
    return sg.swapaxes(transposed_solution, -1, -2)


@operator("cholesky_solve")
def _cholesky_solve(x: Any, input2: Any, upper: bool = False) -> Any:
    lower = sg.conj(sg.swapaxes(input2, -1, -2)) if upper else input2
    half = linalg.solve_triangular(lower, x, lower=True)
    return linalg.solve_triangular(sg.conj(sg.swapaxes(lower, -1, -2)), half, lower=False)


@operator("cholesky_inverse")
def _cholesky_inverse(x: Any, upper: bool = False) -> Any:
    part = sg.triu(x) if upper else sg.tril(x)
    return _cholesky_solve(
        sg.broadcast_to(sg.eye(x.shape[-1], dtype=x.dtype), x.shape), part, upper
    )


@operator("triangular_solve")
def _triangular_solve(
    x: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """Solve triangular equations by ATen's older triangular_solve; return A too."""
    matrix = sg.swapaxes(A, -1, -2) if transpose else A
    solution = linalg.solve_triangular(
        matrix, x, lower=upper == transpose, unit_diagonal=unitriangular
    )
    return solution, A


@operator("_linalg_check_errors")
def _check_errors(info: Any, api_name: str, *, is_matrix: bool) -> None:
    return None


@operator("_linalg_det")
def _det(A: Any, strides: Any = None) -> Any:
    return linalg.det(A), *_saved_factors(A, strides)


@operator("_linalg_slogdet")
def _slogdet(A: Any, strides: Any = None) -> Any:
    return *linalg.slogdet(A), *_saved_factors(A, strides)


@operator("linalg_eig")
def _eig(x: Any) -> Any:
    return tuple(linalg.eig(x))


@operator("_linalg_eigvals")
def _eigvals(x: Any) -> Any:
    return linalg.eigvals(x)


def _apply_reflections(x: Any, tau: Any, y: Any, transposed: bool) -> Any:
    """Multiply ``y`` by Householder reflections I - tau v v.H, whose v are columns (ATen).

    The vectors v are the columns below x's diagonal. ``transposed``: multiply by their adjoints, in
    the other order.
    """
    count = tau.shape[-1]
    for k in range(count) if transposed else reversed(range(count)):
        below = x[..., k + 1 :, k : k + 1]
        lead = below.shape[:-2]
        v = sg.concatenate([sg.zeros((*lead, k, 1), x.dtype), sg.ones((*lead, 1, 1), x.dtype),
                            below], -2)  # fmt: skip
        factor = tau[..., k, None, None]
        factor = sg.conj(factor) if transposed else factor
        y = y - factor * v * sg.sum(sg.conj(v) * y, -2, keepdims=True)
    return y


@operator("linalg_householder_product")
def _householder_product(x: Any, tau: Any) -> Any:
    unit = sg.broadcast_to(sg.eye(x.shape[-2], x.shape[-1], dtype=x.dtype), x.shape)
    return _apply_reflections(x, tau, unit, False)


@operator("ormqr")
def _ormqr(x: Any, input2: Any, input3: Any, left: bool = True, transpose: bool = False) -> Any:
    if left:
        return _apply_reflections(x, input2, input3, transpose)
    adjoint = sg.conj(sg.swapaxes(input3, -1, -2))
    return sg.conj(sg.swapaxes(_apply_reflections(x, input2, adjoint, not transpose), -1, -2))


@operator("_linalg_eigh")
def _eigh(A: Any, UPLO: Any = "L", compute_v: bool = True) -> Any:
    A = _hermitian(A, UPLO in ("U", "u"))
    if not compute_v:
        return linalg.eigvalsh(A, UPLO), sg.zeros((0,), A.dtype)
    return tuple(linalg.eigh(A, UPLO))


@operator("_linalg_svd")
def _svd(
    A: Any, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None
) -> Any:
    if not compute_uv:
        empty = sg.zeros((0,), A.dtype)
        return empty, linalg.svdvals(A), empty
    return tuple(linalg.svd(A, full_matrices))


@operator("linalg_qr")
def _qr(A: Any, mode: Any = "reduced") -> Any:
    if mode == "r":
        return sg.zeros((0,), A.dtype), linalg.qr(A, "r")
    return tuple(linalg.qr(A, mode))


@operator("linalg_pinv")
def _pinv(x: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """Compute the pseudoinverse with ATen's absolute and relative tolerances."""
    x = _hermitian(x, False) if hermitian else x
    if atol is not None:  # the tolerance is a fraction of the largest value
        if rtol is None:
            rtol = sg.where(
                sg.equal(atol, 0), max(x.shape[-2:]) * float(np.finfo(x.dtype.numpy).eps), 0.0
            )
        largest = sg.max(linalg.svdvals(sg.stop_gradient(x)), -1)
        rtol = sg.maximum(rtol, sg.where(largest > 0, atol / largest, 0.0))
    return linalg.pinv(x, rtol=rtol, hermitian=hermitian)


@operator("linalg_matrix_exp")
def _matrix_exp(x: Any) -> Any:
    return linalg.expm(x)


_FORWARD: Final[tuple[fft.Norm, ...]] = (
    "backward",
    "ortho",
    "forward",
)  # none, by the root of n, by n
_INVERSE: Final[tuple[fft.Norm, ...]] = ("forward", "ortho", "backward")


@operator("_fft_r2c")
def _fft_r2c(x: Any, dim: Any, normalization: int, onesided: bool) -> Any:
    axes, norm = tuple(dim), _FORWARD[normalization]
    return fft.rfftn(x, axes=axes, norm=norm) if onesided else fft.fftn(x, axes=axes, norm=norm)


@operator("_fft_c2c")
def _fft_c2c(x: Any, dim: Any, normalization: int, forward: bool) -> Any:
    if not dim:
        return x
    if forward:
        return fft.fftn(x, axes=tuple(dim), norm=_FORWARD[normalization])
    return fft.ifftn(x, axes=tuple(dim), norm=_INVERSE[normalization])


@operator("_fft_c2r")
def _fft_c2r(x: Any, dim: Any, normalization: int, last_dim_size: Any) -> Any:
    sizes = tuple(x.shape[d] for d in dim[:-1])
    norm = _INVERSE[normalization]
    return fft.irfftn(x, (*sizes, last_dim_size), axes=tuple(dim), norm=norm)


# -- assertions on sizes --------------------------------------------------------------------------


@operator("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
          "sym_constrain_range_for_size", "_assert_async")  # fmt: skip
def _assert(**_: Any) -> None:
    """Do nothing: PyTorch checked its assertions on sizes when it traced the program."""
