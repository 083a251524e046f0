"""Hints for names of PyTorch, JAX or NumPy, and for attributes that do not exist.

The tables hold only what is typed often; for everything else messages name the nearest name that
exists. The page ``other-names`` of the documentation shows them. ``MISSING`` says of NumPy's
functions that take no values why that is so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Any, Final

from staticgrad.errors import UnknownAttributeError
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import ON_CPU, each_of
from staticgrad.exports import MODULES, PUBLIC
from staticgrad.support.building import is_package_file

NUMBERS: Final = "for its numbers: sg.evaluate(value, feeds) or sg.compile(value).run(feeds)"
WRITE: Final = "a value never changes; x.at[key].set(y) and x.at[key].add(y) give a new one"
_TAPE: Final = "from staticgrad.eager import Tensor: define-by-run, with backward()"
_DATA: Final = "sg.train.Batches(x, y, size=32, seed=0): tuples of arrays"
_DRAW_CATEGORIES: Final = (
    "rng = sg.random.Generator(seed), then rng.categorical(sg.log(p), shape=shape);"
    " the distribution is sg.stats.multinomial"
)
_AS_RATE: Final = ", as the learning rate of an optimizer"
_HALF: Final = (
    'layers take a dtype: sg.nn.Linear(3, 2, dtype="float16"); staticgrad docs mixed-precision'
)
_RANKS: Final = "sg.distributed, whose ranks run one program"
_SIZES: Final = "the layer of that name without Lazy, whose sizes are known: sg.nn.Conv2d(3, 8, 3)"
_TRAINING: Final = (
    "a training step: opt.minimize(loss) under @sg.function, of opt = sg.optim.Adam(1e-3)\n"
    "gradients are values: dw, db = sg.grad(loss, [w, b])"
)
_AT_BUILD: Final = "sizes and types are fixed when the graph is built: nothing is asserted in a run"
_SCIPYS: Final = (
    "there is none: sg.host_call(function, x, types=..., vjp=...) calls SciPy's in a step"
)
_QUANTIZED: Final = "sg.quantize(program) makes products of 8-bit integers; sg.onnx.load reads them"
_NO_LAYOUT: Final = "a value has no memory before a run, and its results are in C order"

#: A package or module of other libraries -> what there is; the tests run each call in it.
PACKAGES: Final = {
    # NumPy and SciPy
    **each_of(
        "numpy np jnp",
        "import staticgrad as sg: NumPy's functions stand in sg, sg.sin(x), in sg.linalg and"
        " sg.fft; sg.xp has those of the array API",
    ),
    "optimize": "sg.scipy.minimize(f, x0), sg.scipy.root and sg.scipy.least_squares; sg.implicit"
    " has solutions with derivatives",
    "integrate": "sg.ode.solve_ivp(fun, (0.0, 1.0), y0, t_eval=t) solves equations;"
    " sg.trapezoid(y, x) integrates samples",
    "signal": "sg.convolve(x, y), sg.correlate(x, y), sg.fft, sg.ndimage.gaussian_filter(x, 1.0); a"
    " recursive filter is a sg.scan",
    "spatial": "distances of rows: sg.linalg.norm(a[:, None] - b, axis=-1)",
    "cluster": "there is none: use SciPy's or scikit-learn's, of arrays",
    "odr": "sg.scipy.least_squares(residuals, x0)",
    **each_of(
        "constants misc datasets io", "numbers and arrays: use SciPy's, and compute with them"
    ),
    # PyTorch
    "functional": "import staticgrad.nn.functional as F; its functions are those of sg.nn",
    "distributions": "sg.stats: sg.stats.norm(loc, scale).logpdf(x),"
    " sg.stats.gamma.rvs(2.0, random_state=rng)",
    "autograd": "sg.grad(loss, [w]) for autograd.grad, sg.custom_vjp for autograd.Function",
    **each_of("quantization amp", _HALF),
    "profiler": "sg.compile(loss).profile(feeds)",
    "export": 'sg.compile(loss).export("step.py")',
    **each_of(
        "torchvision torchaudio transformers timm vision audio",
        "its models run: sg.torch.module(model, (example,)); sg.nn has layers",
    ),
    "models": "sg.nn.Sequential(sg.nn.Linear(4, 8), sg.nn.relu); models of PyTorch run by"
    " sg.torch.module",
    **each_of(
        "lightning callbacks estimator",
        "sg.train.fit(step, data, epochs=3), of a step with opt.minimize(loss) in it",
    ),
    # JAX
    "lax": "its functions stand in sg: sg.scan, sg.cond, sg.while_loop, sg.map",
    **each_of(
        "optax tx",
        "sg.optim: opt = sg.optim.Adam(1e-3), opt.minimize(loss); of optax itself sg.jax.trace",
    ),
    **each_of(
        "flax linen nnx haiku equinox eqx",
        "sg.nn.Sequential(sg.nn.Linear(4, 8), sg.nn.relu); sg.jax.trace(f) takes their models",
    ),
    "diffrax": "sg.ode.solve(f, y0, t); sg.jax.trace(f) takes its solvers",
    **each_of(
        "jaxopt optimistix", "sg.scipy.minimize(f, x0), sg.optim.LBFGS(), sg.implicit.root(f, x0)"
    ),
    **each_of(
        "numpyro pymc pm pyro blackjax tfp tensorflow_probability",
        "sg.stats: sg.stats.norm(loc, scale).logpdf(x), sg.stats.nuts samples; models of PyMC run"
        ' by mode="STATICGRAD" (sg.pytensor)',
    ),
    **each_of("sharding", _RANKS),
    # TensorFlow
    **each_of(
        "tf tensorflow ops experimental contrib",
        "its functions stand in sg: sg.exp(x), sg.sum(x), sg.grad(loss, [w]); staticgrad docs"
        " from-tensorflow",
    ),
    **each_of(
        "keras layers Dense",
        "layers are in sg.nn: sg.nn.Sequential(sg.nn.Linear(4, 8), sg.nn.relu)",
    ),
    "optimizers": "sg.optim has them: opt = sg.optim.Adam(1e-3), opt.minimize(loss)",
    "losses": "sg.nn has them: sg.nn.cross_entropy(logits, labels), sg.nn.mse(x, y)",
    "metrics": "sg.mean(sg.argmax(logits, axis=1) == labels), and scikit-learn's, of arrays",
    "math": "its functions stand in sg: sg.exp(x), sg.sum(x), sg.cumsum(x)",
    "image": "sg.nn.resize(images, (4, 4)), sg.ndimage.zoom(a, 2.0), sg.nn.grid_sample",
    # others
    **each_of("theano aesara", "its functions stand in sg: sg.exp(x), sg.scan, sg.grad(loss, [w])"),
    **each_of("cvxpy casadi nlopt ipopt", "sg.scipy.minimize(f, x0), of any method of SciPy's"),
    "sympy": "sg.grad(loss, [w]) differentiates; print(sg.Graph({'loss': loss})) shows the formula",
    "pandas": "a table's columns are arrays: sg.sum(table.to_numpy())",
    "gpytorch": "sg.linalg.cholesky(k), sg.linalg.cho_solve((l, True), y0);"
    " staticgrad docs gaussian-process",
    "einops": "x.reshape(shape), sg.transpose(a, (1, 0)), sg.repeat(x, 2), sg.einsum('ij->ji', a)",
}

#: A function or class of another library -> what to write here.
INSTEAD: Final = {
    **PACKAGES,
    **each_of("placeholder Input", "sg.input(name, shape, dtype)"),
    "tensor": "sg.constant(array); most functions take arrays as is; on the tape, Tensor(array):"
    " from staticgrad.eager import Tensor",
    **each_of("Variable variable", "sg.parameter(name, array)"),
    **each_of("as_tensor from_numpy", "sg.constant(array); most functions take arrays as is"),
    "jit": "sg.function, above a function of arrays; of values sg.compile(y).run(feeds)",
    "Tensor": _TAPE,
    "GradientTape": f"sg.grad(y, x), or sg.grad(f)(x); on the tape, {_TAPE}",
    **each_of(
        "no_grad inference_mode", "nothing in a graph; on the tape, staticgrad.eager.no_grad()"
    ),
    **each_of(
        "detect_anomaly set_detect_anomaly",
        'sg.compile(graph, debug="nan") names the op\n'
        "on the tape, staticgrad.eager.detect_anomaly()",
    ),
    **each_of(
        "alias_copy as_strided_copy slice_copy select_copy values_copy indices_copy"
        " ccol_indices_copy col_indices_copy crow_indices_copy row_indices_copy"
        " view_as_complex_copy view_as_real_copy",
        "a value never changes: the function without _copy",
    ),
    **each_of("index_reduce", "x.at[indices].max(y), .min(y) or .multiply(y)"),
    **each_of("empty_strided empty_permuted", _NO_LAYOUT),
    **each_of("choose_qparams_optimized fused_moving_avg_obs_fake_quant", _QUANTIZED),
    "empty_quantized": _QUANTIZED,
    "from_file": "sg.constant(np.memmap(path, dtype, shape=shape))",
    "renorm": "x * sg.minimum(1.0, limit / sg.linalg.norm(x, axis=1, keepdims=True))",
    "norm_except_dim": "sg.linalg.norm(x, axis=axes, keepdims=True), of all axes but one",
    **each_of("is_signed is_same_size is_nonzero is_neg is_conj", "of x.dtype, x.shape and x != 0"),
    **each_of("is_distributed is_vulkan_available", ON_CPU),
    **each_of(
        "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices"
        " adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices"
        " adaptive_max_pool3d_with_indices",
        "sg.nn.max_pool(x, size); its gradient has the places",
    ),
    **each_of(
        "linear_cross_entropy LinearCrossEntropyLoss LinearCrossEntropyOptions",
        "sg.nn.cross_entropy(x @ w, y): logits of a large vocabulary are never stored whole",
    ),
    "grouped_mm": "sg.matmul(x, y), of batches of one size; of others a loop or sg.segment_sum",
    **each_of("scaled_mm scaled_grouped_mm scaled_matmul scaled_dot_general", _QUANTIZED),
    "cholesky_ex": 'sg.linalg.cholesky(x, errors="nan")',
    "inv_ex": 'sg.linalg.inv(x, errors="nan")',
    "solve_ex": 'sg.linalg.solve(a, b, errors="nan")',
    "lu_factor_ex": "sg.linalg.lu_factor(x)",
    "ldl_factor_ex": "sg.linalg.ldl(x)",
    "householder_product": "sg.linalg.qr(x)[0]",
    "airy_ai": "sg.special.airy(x)[0]",
    **{f"bessel_{name}": f"sg.special.{name}(x)" for name in ("j0", "j1", "y0", "y1")},
    **{f"modified_bessel_{name}": f"sg.special.{name}(x)" for name in ("i0", "i1", "k0", "k1")},
    **{f"scaled_modified_bessel_{name}": f"sg.special.{name}e(x)" for name in ("k0", "k1")},
    "spherical_bessel_j0": "sg.special.spherical_jn(0, x)",
    "chebyshev_polynomial_t": "sg.special.eval_chebyt(n, x)",
    "chebyshev_polynomial_u": "sg.special.eval_chebyu(n, x)",
    "shifted_chebyshev_polynomial_t": "sg.special.eval_sh_chebyt(n, x)",
    "shifted_chebyshev_polynomial_u": "sg.special.eval_sh_chebyu(n, x)",
    "hermite_polynomial_h": "sg.special.eval_hermite(n, x)",
    "hermite_polynomial_he": "sg.special.eval_hermitenorm(n, x)",
    "laguerre_polynomial_l": "sg.special.eval_laguerre(n, x)",
    "legendre_polynomial_p": "sg.special.eval_legendre(n, x)",
    **each_of("parse_schedule parse_plan parse_kernel parse_graph", "sg.parse(text)"),
    "typeof": "value.type",
    **each_of(
        "addmv_ alpha_dropout_ as_strided_ clamp_ clamp_max_ clamp_min_ conj_physical_ detach_"
        " embedding_renorm_ feature_alpha_dropout_ feature_dropout_ fill_ frac_ index_put_ neg_"
        " resize_as_ resize_as_sparse_ rrelu_",
        "a value never changes: the function without _ gives a new one, y = f(x)",
    ),
    "closure_convert": "what a function closes over is differentiated as it is: sg.grad(f)",
    "ensure_compile_time_eval": "functions of arrays and numbers alone compute at once",
    "clear_caches": "staticgrad cache clear, of kernels on disk",
    "backward": _TRAINING,
    "gradients": "sg.grad(loss, wrt)",
    "detach": "sg.stop_gradient(x)",
    "pmap": "a function over batches: sg.vmap(f)",
    **each_of("clone_replace graph_replace", "sg.replace(value, {x: new})"),
    "vectorize_graph": "sg.vectorize(value, {x: batch})",
    **each_of(
        "OpFromGraph closed_call", 'f = sg.Graph(outputs, name="f"), and f(x) gives its outputs'
    ),
    **each_of("seed default_rng PRNGKey", "rng = sg.random.Generator(seed)"),
    "manual_seed": "sg.nn.manual_seed(seed), for the first values of modules",
    **each_of("rand randn", "rng = sg.random.Generator(seed), then rng.uniform or rng.normal"),
    **each_of("device cuda device_put", ON_CPU),
    **each_of(
        "solve_bvp diffeqsolve",
        "sg.ode.solve(f, y, times, args), which gives the states at times (t_eval), f(t, y, *args)",
    ),
    **each_of(
        "remat recompute_grad",
        "sg.checkpoint(f, policy=sg.checkpoint_policies.dots_saveable); or memory_budget=",
    ),
    "init": 'layers take initialisers by name: sg.nn.Linear(8, 4, init="xavier_uniform", seed=0)',
    **each_of("data DataLoader", _DATA),
    "utils": f"{_DATA}\nsg.optim.Adam(1e-3, max_norm=1.0) clips gradients by norm, max_value= by"
    " value\nsg.tree.ravel_pytree(parameters) is parameters_to_vector"
    "\nsg.stack([sg.pad(row, (0, n - len(row))) for row in rows]) is pad_sequence"
    "\nweight_norm: g * v / sg.linalg.norm(v, axis=0) as the weight of sg.nn.linear",
    **each_of("tree_map tree_util", "sg.tree.map(f, tree)"),
    **each_of(
        "state_dict load_state_dict", 'sg.save("run.npz", tree), sg.load("run.npz", into=tree)'
    ),
    # functions of SciPy
    **each_of("minimise fmin_bfgs fmin_l_bfgs_b minimize_scalar", "sg.scipy.minimize(f, x0)"),
    **each_of("curve_fit", "sg.scipy.least_squares(residuals, x0)"),
    **each_of("fsolve root_scalar brentq newton", "sg.scipy.root(f, x0); sg.implicit.root(f, x)"),
    **each_of("quad quad_vec dblquad fixed_quad", "sg.trapezoid(y, x), of samples y = f(x)"),
    "cumtrapz": "sg.cumsum((y[1:] + y[:-1]) / 2 * dx)",
    "interp1d": "sg.interp(x, xp, fp), linear; sg.interpolate.CubicSpline(x, y)",
    **each_of(
        "CubicSpline make_interp_spline UnivariateSpline InterpolatedUnivariateSpline splrep splev",
        "sg.interpolate.CubicSpline(x, y), through all points, called at places",
    ),
    **each_of("PchipInterpolator pchip_interpolate", "sg.interpolate.PchipInterpolator(x, y)"),
    "Akima1DInterpolator": "sg.interpolate.Akima1DInterpolator(x, y)",
    **each_of(
        "BSpline RBFInterpolator griddata",
        "there is none: sg.interpolate has cubic splines; sg.host_call(function, x, types=...,"
        " vjp=...) calls SciPy's in a step",
    ),
    **each_of("fftconvolve oaconvolve", "sg.convolve(x, y)"),
    "convolve2d": "sg.nn.conv(x, weight)",
    **each_of("lfilter sosfilt filtfilt lfiltic", "sg.scan(f, init, x), one sample at a time"),
    "median_filter": "sg.median(sg.sliding_window_view(x, shape), axis), of x with sg.pad",
    **each_of("eigsh eigs svds", "dense: sg.linalg.eigh(A.toarray()), sg.linalg.svd(A.toarray())"),
    # TensorFlow
    "reduce_mean": "sg.mean(x, axis)",
    "reduce_std": "sg.std(x, axis)",
    "reduce_variance": "sg.var(x, axis)",
    "reduce_logsumexp": "sg.nn.logsumexp(x, axis)",
    "reduce_any": "sg.any(x, axis)",
    "reduce_all": "sg.all(x, axis)",
    "reduce_euclidean_norm": "sg.linalg.norm(x, axis=axis)",
    "Session": "there is none: sg.compile(y).run(feeds)",
    **each_of(
        "global_variables_initializer initialize_all_variables",
        "nothing: a parameter has its first value from sg.parameter(name, array)",
    ),
    "get_variable": "sg.parameter(name, array)",
    "convert_to_tensor": "sg.constant(array); most functions take arrays as is",
    **each_of("to_float", 'x.astype("float32")'),
    "to_int32": 'x.astype("int32")',
    "clip_by_norm": "x * sg.minimum(1.0, size / sg.linalg.norm(x))",
    "map_fn": "sg.map(f, x)",
    "foldl": "sg.scan(lambda total, row: (f(total, row), None), init, x)[0]",
    "foldr": "sg.scan(lambda total, row: (f(total, row), None), init, x, reverse=True)[0]",
    "boolean_mask": "sg.extract(mask, x, size=n), or sg.where(mask, x, 0.0)",
    "gather_nd": "x[i, j]",
    **each_of("scatter_nd tensor_scatter_nd_add", "sg.zeros(shape).at[indices].add(y)"),
    "tensor_scatter_nd_update": "x.at[indices].set(y)",
    "unsorted_segment_sum": "sg.segment_sum(x, segments, n)",
    "unsorted_segment_max": "sg.segment_max(x, segments, n)",
    "truediv": "a / b, or sg.divide(a, b)",
    "floordiv": "a // b, or sg.floor_divide(a, b)",
    "strided_slice": "x[start:stop:step]",
    "reverse": "sg.flip(x, axis)",
    "l2_loss": "(x * x).sum() / 2",
    **each_of("l2_normalize", "x / sg.linalg.norm(x, axis=-1, keepdims=True)"),
    "moments": "sg.mean(x, axis) and sg.var(x, axis)",
    "sequence_mask": "np.arange(n) < lengths[:, None]",
    "fill": "sg.full(shape, number)",
    "rank": "x.ndim",
    **each_of(
        "random_normal random_uniform truncated_normal",
        "rng = sg.random.Generator(seed),"
        " then rng.normal(shape), rng.uniform(shape=shape) or rng.truncated_normal(shape)",
    ),
    **each_of("py_function py_func", "sg.host_call(function, x, types=...)"),
    **each_of(
        "softmax_cross_entropy_with_logits sparse_softmax_cross_entropy_with_logits",
        "sg.nn.cross_entropy(logits, labels)",
    ),
    "sigmoid_cross_entropy_with_logits": "sg.nn.binary_cross_entropy_with_logits(logits, labels)",
    "bias_add": "x + b",
    **each_of("save_model save_weights", 'sg.save("model.npz", model)'),
    **each_of("load_model load_weights", 'sg.load("model.npz", into=model)'),
    **each_of("name_scope variable_scope", "sg.scope(name)"),
    **each_of("Assert assert_equal", f'{_AT_BUILD}; sg.compile(graph, debug="nan") looks for NaN'),
    # Theano and PyTensor
    **each_of(
        "dscalar dvector dmatrix dtensor3", 'sg.input("x", ("n", "m"), "float64"): one name an axis'
    ),
    **each_of(
        "fscalar fvector fmatrix ftensor3 scalar vector matrix tensor3 tensor4",
        'sg.input("x", ("n", "m"), "float32"): one name an axis',
    ),
    **each_of(
        "iscalar ivector imatrix lscalar lvector lmatrix",
        'sg.input("x", ("n", "m"), "int64"): one name an axis',
    ),
    "ifelse": "sg.cond(condition, lambda: x, lambda: y)",
    "config": "sg.options(threads=2) sets, sg.show_config() shows",
    "set_subtensor": "x.at[indices].set(y)",
    "inc_subtensor": "x.at[indices].add(y)",
    "as_tensor_variable": "sg.constant(array); most functions take arrays as is",
    "batched_dot": "a @ b, or sg.matmul(a, b)",
    "sqr": "sg.square(x)",
    "alloc": "sg.full(shape, number)",
    **each_of("neq", "x != y, or sg.not_equal(x, y)"),
    "Rop": "sg.jvp(y, x, v)",
    "Lop": "sg.vjp(y, x, v)",
    **each_of("RandomStream RandomStreams MRG_RandomStreams", "rng = sg.random.Generator(seed)"),
    # CasADi
    **each_of("MX SX", 'sg.input("x", (3,), "float64")'),
    "DM": "sg.constant(array); most functions take arrays as is",
    "vertcat": "sg.concatenate([a, b])",
    "horzcat": "sg.concatenate([a, b], 1)",
    "mtimes": "a @ b, or sg.matmul(a, b)",
    **each_of("nlpsol Opti qpsol", "sg.scipy.minimize(f, x0, constraints=...)"),
    # others
    "rearrange": "sg.transpose(x.reshape(shape), axes)",
    "fori": "sg.fori_loop(start, stop, body, init)",
    # arrays
    "cat": "sg.concatenate([a, b], axis)",
    "permute": "sg.transpose(x, axes)",
    "unsqueeze": "sg.expand_dims(x, axis)",
    "clamp": "sg.clip(x, low, high)",
    **each_of("mm bmm mv batch_matmul spmm", "a @ b, or sg.matmul(a, b)"),
    "cast": 'x.astype("float64")',
    "gather": "sg.take_along_axis(x, indices, axis)",
    "masked_fill": "sg.where(mask, number, x)",
    "lgamma": "sg.special.gammaln(x)",
    **each_of("isrealobj iscomplexobj", "x.dtype.is_complex"),
    "chain_matmul": "sg.linalg.multi_dot([a, b, c])",
    **each_of(
        "bicgstab minres", "sg.linalg.gmres(A, b), or cg of a symmetric, positive definite A"
    ),
    "bmat": "sg.block(rows)",
    "hfft": 'sg.fft.irfft(sg.conj(a), n, norm="forward")',
    "ihfft": 'sg.conj(sg.fft.rfft(a, n, norm="forward"))',
    **each_of("inverse", "sg.linalg.inv(x)"),
    "flatten": "x.reshape(len(x), -1), or sg.nn.Flatten() in a Sequential",
    "unflatten": "x.reshape(shape); sg.nn.Unflatten(axis, sizes) is a layer",
    "long": "sg.int64",
    "randint": "rng = sg.random.Generator(seed), then rng.integers(low, high, shape)",
    "aminmax": "sg.min(x) and sg.max(x)",
    "rsqrt": "1 / sg.sqrt(x)",
    "mul": "a * b, or sg.multiply(a, b)",
    "sub": "a - b, or sg.subtract(a, b)",
    "div": "a / b, or sg.divide(a, b)",
    "neg": "-x, or sg.negative(x)",
    "rev": "sg.flip(x, axis)",
    "rem": "sg.fmod(a, b)",
    "integer_pow": "x**n",
    "movedim": "sg.moveaxis(x, source, destination)",
    "swapdims": "sg.swapaxes(x, axis, other)",
    **each_of("chunk tensor_split", "sg.array_split(x, n, axis)"),
    "split_with_sizes": "sg.split(x, np.cumsum(sizes)[:-1], axis)",
    "unbind": "sg.unstack(x, axis=0)",
    "index_select": "sg.take(x, indices, axis)",
    **each_of(
        "index_add index_copy index_fill index_put scatter", "x.at[indices].set(y) or .add(y)"
    ),
    **each_of("scatter_reduce scatter_max scatter_min", "x.at[indices].max(y) or .min(y)"),
    "masked_select": "sg.extract(mask, x, size=n), or sg.where(mask, x, 0.0)",
    "masked_scatter": "sg.where(mask, y, x)",
    "take_along_dim": "sg.take_along_axis(x, indices, axis)",
    "repeat_interleave": "sg.repeat(x, n, axis)",
    "lerp": "a + weight * (b - a)",
    "addcmul": "x + value * a * b",
    "addcdiv": "x + value * a / b",
    **each_of("baddbmm addbmm addmv", "c + a @ b"),
    **each_of("ger addr", "sg.outer(a, b)"),
    "cdist": "sg.linalg.norm(x[:, None] - y, axis=-1)",
    "dist": "sg.linalg.norm(x - y)",
    "pinverse": "sg.linalg.pinv(x)",
    "logdet": "sg.linalg.slogdet(x)[1]",
    "matrix_exp": "sg.linalg.expm(x)",
    **each_of("cholesky_inverse", "sg.linalg.cho_solve((factor, True), sg.eye(n))"),
    "cholesky_solve": "sg.linalg.cho_solve((factor, True), b)",
    "triangular_solve": "sg.linalg.solve_triangular(a, b)",
    "frac": "sg.modf(x)[0]",
    "histc": "sg.histogram(x, bins)[0]",
    "bucketize": "sg.searchsorted(edges, x)",
    "kthvalue": "sg.partition(x, k - 1)[k - 1]",
    "mvlgamma": "sg.special.multigammaln(x, d)",
    "igamma": "sg.special.gammainc(a, x)",
    "igammac": "sg.special.gammaincc(a, x)",
    "std_mean": "sg.std(x) and sg.mean(x)",
    "var_mean": "sg.var(x) and sg.mean(x)",
    "numel": "x.size",
    **each_of("clamp_min clamp_max", "sg.maximum(x, low), sg.minimum(x, high)"),
    "rsub": "b - a",
    "conj_physical": "sg.conj(x)",
    **each_of("adjoint", "sg.conj(x).T, or sg.matrix_transpose(sg.conj(x))"),
    "diag_embed": "x[..., None] * sg.eye(n)",
    "cartesian_prod": "sg.stack(sg.meshgrid(x, y), -1)",
    **each_of("rand_like randn_like", "rng = sg.random.Generator(seed), then rng.normal(x.shape)"),
    "randperm": "rng = sg.random.Generator(seed), then rng.permutation(n)",
    "hann_window": "sg.hanning(n), which is symmetric: hanning(n + 1)[:-1] is periodic",
    "hamming_window": "sg.hamming(n), which is symmetric: hamming(n + 1)[:-1] is periodic",
    "blackman_window": "sg.blackman(n), which is symmetric: blackman(n + 1)[:-1] is periodic",
    "bartlett_window": "sg.bartlett(n), which is symmetric: bartlett(n + 1)[:-1] is periodic",
    "kaiser_window": "sg.kaiser(n, beta), which is symmetric: kaiser(n + 1, beta)[:-1] is periodic",
    "is_tensor": "isinstance(x, sg.Value)",
    **each_of("is_floating_point", "x.dtype.is_float"),
    **each_of("set_num_threads get_num_threads", "sg.options(threads=n)"),
    "convert_element_type": "x.astype(dtype)",
    **each_of("broadcast_in_dim", "sg.broadcast_to(x, shape)"),
    "dot_general": 'sg.einsum("bij,bjk->bik", a, b), sg.tensordot, sg.matmul',
    "conv_general_dilated": "sg.nn.conv(x, weight, stride=1, padding=0, dilation=1)",
    "reduce_window": "sg.nn.max_pool(x, size), sg.nn.avg_pool(x, size)",
    "reduce_sum": "sg.sum(x, axis)",
    "reduce_max": "sg.max(x, axis)",
    "reduce_min": "sg.min(x, axis)",
    "reduce_prod": "sg.prod(x, axis)",
    **each_of("dynamic_slice_in_dim slice_in_dim slice", "x[start : start + size]"),
    **each_of("dynamic_index_in_dim index_in_dim", "sg.take(x, i, axis)"),
    **each_of("dynamic_update_slice_in_dim dynamic_update_index_in_dim", "x.at[i].set(y)"),
    "broadcasted_iota": "sg.iota(shape, axis)",
    "shift_left": "sg.left_shift(x, n)",
    **each_of("shift_right_arithmetic shift_right_logical", "sg.right_shift(x, n)"),
    "population_count": "sg.bitwise_count(x)",
    "custom_root": "sg.implicit.root(f, x)",
    "custom_linear_solve": "sg.linalg.cg(A, b) or gmres, whose A may be a function",
    "custom_gradient": "sg.custom_vjp",
    "pure_callback": "sg.host_call(function, x, types=...)",
    "make_jaxpr": "print(sg.function(f).graph(x))",
    **each_of("psum_scatter all_gather axis_index", "sg.distributed, whose ranks run one program"),
    **each_of("enable_x64", "arrays keep their dtype: float64 is computed in float64"),
    "debug_nans": 'sg.compile(graph, debug="nan")',
    **each_of("block_until_ready", "nothing: a call returns when its results are there"),
    **each_of("devices device_count local_devices local_device_count", ON_CPU),
    "hessian_tensor_product": "sg.hessian_vector_product(f), or sg.hvp(f, x, v)",
    "addmm": "c + a @ b",
    "LinearLR": "sg.optim.warm_up(rate, steps)" + _AS_RATE,
    "MultiStepLR": "sg.optim.multi_step(rate, steps)" + _AS_RATE,
    "PolynomialLR": "sg.optim.polynomial(rate, end, steps)" + _AS_RATE,
    "ExponentialLR": "sg.optim.exponential(rate, factor)" + _AS_RATE,
    "ConstantLR": "sg.optim.constant(rate)" + _AS_RATE,
    "CosineAnnealingWarmRestarts": "sg.optim.cosine_restarts(rate, steps)" + _AS_RATE,
    **each_of(
        "SequentialLR ChainedScheduler LambdaLR MultiplicativeLR CyclicLR LRScheduler",
        "sg.optim.RateSchedule(lambda t: ...), of the number of steps t" + _AS_RATE,
    ),
    **each_of("issymmetric", "sg.allclose(a, a.T)"),
    **each_of("ishermitian", "sg.allclose(a, sg.conj(a).T)"),
    **each_of(
        "qz ordqz cossin cdf2rdf matrix_balance clarkson_woodruff_transform interpolative",
        "there is none: sg.host_call(function, a, types=..., vjp=...) calls SciPy's in a step",
    ),
    "qr_multiply": "c @ sg.linalg.qr(a)[0]",
    "qr_update": "sg.linalg.qr(q @ r + sg.outer(u, v))",
    "qr_insert": "sg.linalg.qr(sg.insert(q @ r, k, u, axis=0))",
    "qr_delete": "sg.linalg.qr(sg.delete(q @ r, k, axis=0))",
    "bandwidth": "scipy.linalg.bandwidth(array), of numbers: a value has none before a run",
    "LinAlgError": "sg.errors.LinearAlgebraError",
    "LinAlgWarning": "sg.linalg.cond(a) says how many digits are lost; nothing warns",
    **each_of(
        "blas lapack cython_blas cython_lapack get_blas_funcs get_lapack_funcs find_best_blas_type",
        "steps call LAPACK themselves: sg.linalg has its factorizations; scipy.linalg has the"
        " functions for arrays",
    ),
    **each_of(
        "hfft2 hfftn ihfft2 ihfftn fht ifht",
        "there is none: sg.host_call(function, x, types=..., vjp=...) calls SciPy's in a step",
    ),
    "solve_lyapunov": "sg.linalg.solve_continuous_lyapunov(a, q)",
    **each_of("alpha_dropout", "sg.nn.Dropout(p), a layer: it takes x when called"),
    **each_of(
        "dropout dropout1d dropout2d dropout3d", "sg.nn.Dropout(p), a layer: it takes x when called"
    ),
    # layers
    "scaled_dot_product_attention": "sg.nn.attention",
    **each_of("bilinear", 'sg.einsum("...i,oij,...j->...o", x, weight, y)'),
    **each_of("embedding_bag EmbeddingBag", "sg.nn.embedding(ids, table).mean(-2)"),
    **each_of(
        "TransformerEncoderLayer TransformerEncoder", "sg.nn.TransformerBlock(features, heads)"
    ),
    **each_of(
        "TransformerDecoderLayer TransformerDecoder Transformer",
        "sg.nn.TransformerBlock(features, heads, causal=True), sg.nn.MultiHeadAttention",
    ),
    **each_of("ParameterList ParameterDict", "a list or dict of parameters: self.w = [w, b]"),
    **each_of("upsample_nearest upsample", "sg.nn.resize(x, scale=2)"),
    "UpsamplingNearest2d": "sg.nn.Upsample(scale_factor=2)",
    "UpsamplingBilinear2d": ('sg.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)'),
    "upsample_bilinear": ('sg.nn.resize(x, scale=2, method="linear", coordinates="align_corners")'),
    **each_of("SyncBatchNorm", "sg.nn.BatchNorm2d(channels)"),
    **each_of("AlphaDropout FeatureAlphaDropout", "sg.nn.Dropout(p)"),
    **each_of("LazyLinear", "sg.nn.Linear(inputs, outputs), whose sizes are known"),
    "swish": "sg.nn.silu(x)",
    "narrow": "sg.take(x, np.arange(start, start + length), axis)",
    "narrow_copy": "sg.take(x, np.arange(start, start + length), axis)",
    "broadcast_tensors": "sg.broadcast_arrays(x, y)",
    "combinations": "x[np.stack(np.triu_indices(n, 1), 1)]",
    "pdist": "sg.linalg.norm(x[i] - x[j], axis=-1), with i, j = np.triu_indices(len(x), 1)",
    "cumulative_trapezoid": "sg.cumsum((y[1:] + y[:-1]) / 2 * dx)",
    "trapz": "sg.trapezoid(y, x)",
    "frobenius_norm": "sg.linalg.norm(x)",
    "nuclear_norm": 'sg.linalg.norm(x, "nuc")',
    "diagonal_scatter": "x.at[np.arange(n), np.arange(n)].set(y)",
    "select_scatter": "x.at[i].set(y)",
    "slice_scatter": "x.at[start:stop].set(y)",
    "channel_shuffle": "sg.swapaxes(x.reshape((len(x), groups, -1, *x.shape[2:])), 1, 2)"
    ".reshape(x.shape)",
    **each_of("ChannelShuffle", "sg.swapaxes(x.reshape(shape), 1, 2).reshape(x.shape)"),
    "constant_pad_nd": "sg.pad(x, widths)",
    "view_as_real": "sg.stack([x.real, x.imag], -1)",
    "view_as_complex": "x[..., 0] + 1j * x[..., 1]",
    "scalar_tensor": "sg.constant(2.0)",
    "randint_like": "rng = sg.random.Generator(seed), then rng.integers(low, high, x.shape)",
    **each_of("symeig lobpcg", "sg.linalg.eigh(a)"),
    **each_of("svd_lowrank pca_lowrank", "sg.linalg.svd(x, full_matrices=False)"),
    **each_of("geqrf orgqr ormqr", "sg.linalg.qr(a)"),
    "lu_unpack": "sg.linalg.lu(a)",
    "nonzero_static": "sg.argwhere(x, size=n)",
    "unique_consecutive": "sg.extract(sg.concatenate([[True], x[1:] != x[:-1]]), x, size=n)",
    "segment_reduce": "sg.segment_sum(x, segments, n)",
    "stft": "sg.fft.rfft(sg.sliding_window_view(x, size)[::hop] * window)",
    **each_of("grid_sampler_2d grid_sampler_3d", "sg.nn.grid_sample(x, grid)"),
    "affine_grid_generator": "sg.nn.affine_grid(theta, size)",
    **each_of("rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell RNNBase", "sg.nn.RNN(3, 8)"),
    "RNNCellBase": "sg.nn.RNNCell(3, 8)",
    **each_of(
        "convolution conv_tbc conv_with_general_padding conv_general_dilated_local",
        "sg.nn.conv(x, weight, stride=1, padding=0, dilation=1)",
    ),
    **each_of(
        "feature_dropout feature_alpha_dropout native_dropout",
        "sg.nn.Dropout(p), a layer: it takes x when called",
    ),
    "native_layer_norm": "sg.nn.layer_norm(x)",
    "multi_head_attention_forward": "sg.nn.MultiHeadAttention(features, heads)",
    **each_of(
        "set_default_dtype set_default_tensor_type get_default_dtype",
        'there is no default to set: sg.input, sg.zeros and layers take dtype="float64"',
    ),
    **each_of(
        "set_default_device get_default_device get_device default_backend default_device"
        " device_get platform_dependent",
        ON_CPU,
    ),
    **each_of(
        "get_rng_state set_rng_state initial_seed",
        "rng = sg.random.Generator(seed); rng.key.value and rng.step.value are its state",
    ),
    **each_of(
        "use_deterministic_algorithms are_deterministic_algorithms_enabled"
        " set_deterministic_debug_mode get_deterministic_debug_mode",
        "nothing: results are bitwise identical in every run",
    ),
    **each_of(
        "set_float32_matmul_precision get_float32_matmul_precision default_matmul_precision",
        "nothing: products of float32 are computed in float32",
    ),
    **each_of(
        "autocast_increment_nesting is_autocast_enabled set_autocast_enabled set_autocast_dtype"
        " get_autocast_dtype is_autocast_cpu_enabled set_autocast_cpu_enabled"
        " get_autocast_cpu_dtype set_autocast_cpu_dtype",
        _HALF,
    ),
    **each_of("set_num_interop_threads get_num_interop_threads", "sg.options(threads=n)"),
    **each_of(
        "is_grad_enabled is_inference_mode_enabled is_inference",
        "nothing in a graph: sg.grad(loss, [w]) names what it differentiates",
    ),
    **each_of(
        "set_anomaly_enabled is_anomaly_enabled debug_infs", 'sg.compile(graph, debug="nan")'
    ),
    "sparse_coo_tensor": "sg.sparse.coo(data, rows, columns, shape)",
    **each_of(
        "sparse_csr_tensor sparse_compressed_tensor sparse_csc_tensor sparse_bsr_tensor"
        " sparse_bsc_tensor",
        "sg.sparse.csr(data, indices, indptr, shape)",
    ),
    **each_of("hspmm dsmm hsmm", "A @ b, of A = sg.sparse.csr(data, indices, indptr, shape)"),
    **each_of("resolve_conj resolve_neg optimization_barrier", "nothing: use x itself"),
    "expand_copy": "sg.broadcast_to(x, shape)",
    **each_of("permute_copy transpose_copy", "sg.transpose(x, axes)"),
    "squeeze_copy": "sg.squeeze(x, axis)",
    "unsqueeze_copy": "sg.expand_dims(x, axis)",
    "view_copy": "x.reshape(shape)",
    "diagonal_copy": "sg.diagonal(x)",
    "unbind_copy": "sg.unstack(x, axis=0)",
    **each_of("split_copy unsafe_split unsafe_chunk", "sg.array_split(x, n, axis)"),
    **each_of(
        "split_with_sizes_copy unsafe_split_with_sizes", "sg.split(x, np.cumsum(sizes)[:-1], axis)"
    ),
    "detach_copy": "sg.stop_gradient(x)",
    "unfold_copy": "sg.sliding_window_view(x, size)",
    "clone": "a value never changes: use the value itself",
    "bessel_i0e": "sg.special.i0e(x)",
    "bessel_i1e": "sg.special.i1e(x)",
    "igamma_grad_a": "sg.grad(sg.special.gammainc, 0)(a, x)",
    "collapse": "x.reshape(shape)",
    "broadcast": "sg.broadcast_to(x, (*sizes, *x.shape))",
    "index_take": "sg.take(x, indices, axis)",
    "reduce_precision": 'x.astype("bfloat16").astype("float32")',
    **each_of(
        "rng_uniform rng_bit_generator",
        "rng = sg.random.Generator(seed), then rng.uniform(shape=(3,))",
    ),
    "sort_key_val": "sg.take_along_axis(values, sg.argsort(keys), -1)",
    "shape_as_value": "x.shape",
    "scaled_dot": "sg.matmul(a, b)",
    **each_of(
        "all_to_all ppermute pbroadcast pcast axis_size with_sharding_constraint shard_map"
        " make_mesh process_count process_index host_id host_count"
        " make_array_from_process_local_data DataParallel",
        _RANKS,
    ),
    "disable_jit": "f.eagerly(x), of f = sg.function(...): line by line, with numbers",
    "linear_transpose": "sg.vjp(f, x)[1]",
    **each_of("named_call named_scope", "sg.scope(name)"),
    **each_of("log_compiles explain_cache_misses", "f.stats, of f = sg.function(...)"),
    "fwd_and_bwd": "sg.value_and_grad(f)",
    **each_of("effects_barrier", "nothing: a call returns when its results are there"),
    **each_of("new_ref empty_ref", "sg.parameter(name, array), and p.update(value)"),
    "hard_silu": "sg.nn.hardswish(x)",
    "logmeanexp": "sg.nn.logsumexp(x) - np.log(x.shape[-1])",
    "squareplus": "(x + sg.sqrt(x * x + 4)) / 2",
    "standardize": "(x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)",
    "sparse_plus": "sg.where(x < 1, sg.where(x > -1, (x + 1) ** 2 / 4, 0.0), x)",
    "sparse_sigmoid": "sg.clip((x + 1) / 2, 0, 1)",
    **each_of(
        "LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d"
        " LazyConvTranspose3d LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d"
        " LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d",
        _SIZES,
    ),
    **each_of("LPPool1d LPPool2d LPPool3d", "sg.nn.lp_pool(x, 2, 3)"),
    "CrossMapLRN2d": "sg.nn.LocalResponseNorm(size)",
    "Container": "sg.nn.Module",
    **each_of("Buffer", "assign a parameter, and name it in states"),
    **each_of("UninitializedParameter UninitializedBuffer", "sg.parameter(name, array)"),
    **each_of(
        "pascal invpascal invhilbert fiedler fiedler_companion leslie convolution_matrix",
        "an array of numbers known at build: use SciPy's, and compute with it",
    ),
    "diagsvd": "sg.diag(s)",
    **each_of("next_fast_len prev_fast_len", "a number known at build: use SciPy's"),
    **each_of("set_workers get_workers", "sg.options(threads=n)"),
    "dot_product_attention": "sg.nn.attention(q, k, v), whose last axes are [time, features]",
    # training
    "lr_scheduler": "a schedule as learning rate: sg.optim.SGD(sg.optim.cosine(0.1, steps=1000))",
    "OneCycleLR": "sg.optim.one_cycle(rate, steps)" + _AS_RATE,
    "StepLR": "sg.optim.step_decay(rate, every)" + _AS_RATE,
    "CosineAnnealingLR": "sg.optim.cosine(rate, steps)" + _AS_RATE,
    **each_of(
        "warmup_cosine warmup_linear",
        "sg.optim.warm_up(sg.optim.cosine(rate, steps), steps)" + _AS_RATE,
    ),
    "ReduceLROnPlateau": "sg.optim.Plateau",
    "checkpoint_dots": "dots_saveable",
    "checkpoint_dots_with_no_batch_dims": "dots_with_no_batch_dims_saveable",
    **each_of(
        "save_any_names_but_these save_anything_except_these_names",
        "save_only_these_names(*others), or a function: lambda op, *types: op.name != 'exp'",
    ),
    "clip_grad_norm_": "max_norm= of an optimizer",
    "ASGD": "sg.optim.SGD, and sg.optim.Average of its parameters",
    **each_of("Rprop SparseAdam Lamb", "sg.optim.Adam, AdamW, NAdam, LAMB, RMSProp, Adagrad"),
    **each_of(
        "swa_utils AveragedModel get_ema_avg_fn get_ema_multi_avg_fn get_swa_avg_fn"
        " get_swa_multi_avg_fn",
        "average = sg.optim.Average(model, decay=0.999), and average.update() after each step",
    ),
    "SWALR": "sg.optim.linear(rate, end, steps)" + _AS_RATE,
    "multinomial": _DRAW_CATEGORIES,
    **each_of("rrelu RReLU", "sg.nn.leaky_relu(x, slope), with slope of rng.uniform in training"),
    **each_of(
        "max_unpool1d max_unpool2d max_unpool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d",
        "y.at[places].set(x), of places by sg.argmax over sg.sliding_window_view",
    ),
    "Softmax2d": "sg.nn.Softmax(axis=-3)",
    **each_of("lp_pool1d lp_pool2d lp_pool3d", "sg.nn.lp_pool(x, 2, 3)"),
    **each_of(
        "TripletMarginWithDistanceLoss triplet_margin_with_distance_loss",
        "sg.nn.relu(distance(a, p) - distance(a, n) + margin).mean()",
    ),
    "GradScaler": "sg.optim.LossScale, as loss_scale= of an optimizer",
    "as_strided": "sg.sliding_window_view(x, size)[::step], of a vector",
    "as_strided_scatter": "x.at[start:stop:step].set(y)",
    "slice_inverse": "sg.zeros(shape).at[start:stop:step].set(x)",
    "istft": "sg.zeros(n).at[places].add(sg.fft.irfft(s, size) * window)"
    " / sg.zeros(n).at[places].add(window**2 + 0 * places), of places ="
    " np.arange(frames)[:, None] * hop + np.arange(size)",
    "binomial": "rng.bernoulli(p, shape=(n, *shape)).sum(0), of rng = sg.random.Generator(seed)",
    "mode": "sg.sort(x)[sg.argmax((sg.sort(x)[:, None] == x).sum(1))], of a vector",
    **each_of("saddmm sspaddmm", "c + A @ b, of A = sg.sparse.csr(data, indices, indptr, shape)"),
    **each_of("fork wait", "nothing: independent parts of a program run together by themselves"),
    "hash_tensor": "of numbers: hash(f(x).tobytes()), of f = sg.function(...)",
    "int_repr": _QUANTIZED,
    **each_of("is_storage shares_memory may_share_memory", _NO_LAYOUT),
    "set_flush_denormal": "nothing: small numbers are computed as NumPy computes them",
    "as_subclass": "nothing: all values have one class",
    "module_load": "model.load_state_dict(state)",
    "AdaptiveLogSoftmaxWithLoss": "sg.nn.cross_entropy(logits, target), over all classes",
    **each_of(
        "FractionalMaxPool2d fractional_max_pool2d fractional_max_pool2d_with_indices",
        "sg.nn.adaptive_max_pool2d(x, shape), whose windows are not drawn",
    ),
    **each_of(
        "FractionalMaxPool3d fractional_max_pool3d fractional_max_pool3d_with_indices",
        "sg.nn.adaptive_max_pool(x, shape), whose windows are not drawn",
    ),
    **each_of(
        "MultiLabelMarginLoss multilabel_margin_loss",
        "sg.where(is_label[:, :, None] & ~is_label[:, None, :], sg.nn.relu(1 - x[:, :, None]"
        " + x[:, None, :]), 0.0).sum((1, 2)).mean() / x.shape[1], of a mask of labels",
    ),
    "chebyshev_polynomial_v": "sg.special.eval_chebyu(n, x) - sg.special.eval_chebyu(n - 1, x)",
    "chebyshev_polynomial_w": "sg.special.eval_chebyu(n, x) + sg.special.eval_chebyu(n - 1, x)",
    "shifted_chebyshev_polynomial_v": "sg.special.eval_sh_chebyu(n, x)"
    " - sg.special.eval_sh_chebyu(n - 1, x)",
    "shifted_chebyshev_polynomial_w": "sg.special.eval_sh_chebyu(n, x)"
    " + sg.special.eval_sh_chebyu(n - 1, x)",
    "ds": "sg.dynamic_slice(x, starts, sizes), or x[start : start + size] of Python numbers",
    "free_ref": "nothing: p.value is a parameter's array, and p.update(value) sets it",
    "freeze": "opt.minimize(loss, model.head): what is not named stays; or sg.stop_gradient(p)",
    **each_of(
        "host_ids process_indices make_array_from_callback make_array_from_single_device_arrays",
        _RANKS,
    ),
    "live_arrays": "f.plan(batch=32).peak_bytes, of f = sg.compile(graph): memory is planned",
    **each_of("copy_to_host_async transfer_guard", ON_CPU),
    "make_user_context": "sg.options(threads=2), which is a context",
    "print_environment_info": "python -m staticgrad doctor, on the command line",
    "get_scaled_dot_general_config": _QUANTIZED,
}

#: A name in one namespace -> what to write, where the name alone means something else.
OF_NAMESPACES: Final = {
    "scipy.signal.convolve": "sg.convolve(x, y), of vectors",
    "scipy.signal.correlate": "sg.correlate(x, y), of vectors",
    "scipy.integrate.quad": "sg.trapezoid(y, x), of samples y = f(x)",
    "sg.sparse.linalg": "sg.sparse.spsolve(A, b) and splu; sg.linalg.cg(A, b) and gmres take sparse"
    " matrices, too",
    "sg.nn.interpolate": "sg.nn.resize(x, shape, method), or scale=",
    "sg.nn.functional.interpolate": "sg.nn.resize(x, shape, method), or scale=",
    "sg.shared": "sg.parameter(name, array)",
    "sg.multinomial": _DRAW_CATEGORIES,
    "sg.clip_by_value": "sg.clip(x, low, high)",
    "sg.clip_by_global_norm": "sg.optim.clip_by_global_norm(gradients, size), or max_norm= of an"
    " optimizer",
    "sg.optim.minimize": "opt = sg.optim.Adam(1e-3), opt.minimize(loss); of functions"
    " sg.scipy.minimize(f, x0)",
    "sg.reduce": "sg.scan(lambda total, row: (f(total, row), None), init, x)[0]",
    "sg.onnx.save": "sg.onnx.export(program, path)",
    "sg.tree.tree_map": "sg.tree.map(f, tree)",
    **{f"sg.linalg.{name}": f"x.{name}, of the matrix" for name in ("T", "mT")},
    **{
        f"sg.special.{name}": "there is none: sg.host_call(function, x, types=..., vjp=...) calls"
        " SciPy's in a step"
        for name in (
            "chndtridf", "ellip_harm", "ellip_harm_2", "lqmn", "lqn", "ncfdtridfd", "ncfdtridfn",
            "nctdtridf",
        )
    },
    **{
        f"sg.special.{name}": f"sg.special.eval_{name}({operands}), its values"
        for names, operands in (
            (
                "chebyc chebys chebyt chebyu hermite hermitenorm laguerre legendre sh_chebyt"
                " sh_chebyu sh_legendre",
                "n, x",
            ),
            ("gegenbauer genlaguerre", "n, alpha, x"),
            ("jacobi", "n, alpha, beta, x"),
            ("sh_jacobi", "n, p, q, x"),
        )
        for name in names.split()
    },
    "sg.special.assoc_legendre_p_all": "sg.special.assoc_legendre_p(n, m, z), of arrays n and m",
    "sg.special.ellip_normal": "scipy.special.ellip_normal(h2, k2, n, p): a constant of numbers",
    "sg.special.legendre_p_all": "sg.special.legendre_p(n, z), of an array n",
    "sg.special.lmbda": "sg.special.jv(v, x) * sg.special.gamma(v + 1.0) * (2.0 / x) ** v",
    "sg.special.pbdn_seq": "sg.special.pbdv(v, x), of an array v and real x",
    "sg.special.pbdv_seq": "sg.special.pbdv(v, x), of an array v",
    "sg.special.pbvv_seq": "sg.special.pbvv(v, x), of an array v",
    "sg.special.riccati_jn": "x * sg.special.spherical_jn(n, x), of an array n",
    "sg.special.riccati_yn": "x * sg.special.spherical_yn(n, x), of an array n",
    "sg.special.sph_harm": "sg.special.sph_harm_y(n, m, theta, phi), of theta from the pole",
    "sg.special.sph_harm_y_all": "sg.special.sph_harm_y(n, m, theta, phi), of arrays n and m",
    "sg.special.sph_legendre_p_all": "sg.special.sph_legendre_p(n, m, theta), of arrays n and m",
}  # fmt: skip

#: A method or attribute of other libraries' arrays -> what to write of a value here.
METHODS: Final = {
    "backward": _TRAINING,
    "grad": "gradients are values: dw, db = sg.grad(loss, [w, b])",
    **each_of(
        "requires_grad requires_grad_",
        "name what you want: sg.grad(loss, [w]), opt.minimize(loss, [w]); the rest is frozen",
    ),
    **each_of("item numpy tolist eval cpu", NUMBERS),
    **each_of("detach data", "sg.stop_gradient(x) lets no gradient through"),
    "clone": "a value never changes: use the value itself",
    "unflatten": "x.reshape(shape)",
    "H": "sg.conj(x).T",
    "mH": "sg.matrix_transpose(sg.conj(x))",
    "bfloat16": 'x.astype("bfloat16")',
    **each_of("short byte char", 'x.astype("int16"), "uint8" and so on'),
    **each_of("cdouble cfloat chalf", 'x.astype("complex128"), "complex64"'),
    **each_of("ndimension", "x.ndim"),
    **each_of("nelement", "x.size"),
    **each_of("new_zeros new_empty", "sg.zeros(shape, x.dtype)"),
    "new_ones": "sg.ones(shape, x.dtype)",
    "new_full": "sg.full(shape, number, x.dtype)",
    "new_tensor": "sg.constant(array)",
    "sgn": "sg.sign(x)",
    "msort": "sg.sort(x, 0)",
    "resize_as": "x.reshape(y.shape)",
    "to_sparse": "sg.sparse.from_dense(x)",
    **each_of("to_sparse_csr to_sparse_coo", "sg.sparse.from_dense(x)"),
    **each_of("is_cuda is_cpu is_mps is_xpu is_meta xpu ipu mtia pin_memory", ON_CPU),
    **each_of(
        "grad_fn is_leaf retain_grad retains_grad register_hook",
        "gradients are values: dw, db = sg.grad(loss, [w, b])",
    ),
    **each_of(
        "stride strides flags storage untyped_storage data_ptr layout storage_offset element_size"
        " as_strided",
        _NO_LAYOUT,
    ),
    **each_of("fill put", WRITE),
    **each_of(
        "storage_type const_data_ptr dim_order new_empty_strided is_set_to",
        _NO_LAYOUT,
    ),
    **each_of(
        "register_post_accumulate_grad_hook output_nr grad_dtype volatile reinforce",
        "gradients are values: dw, db = sg.grad(loss, [w, b])",
    ),
    **each_of(
        "is_ipu is_maia is_mkldnn is_mtia is_vulkan is_xla is_pinned is_distributed record_stream"
        " to_mkldnn",
        ON_CPU,
    ),
    **each_of("dequantize int_repr q_scale qscheme is_quantized", _QUANTIZED),
    **each_of(
        "values coalesce is_coalesced crow_indices col_indices ccol_indices row_indices to_dense"
        " dense_dim sparse_dim sparse_mask smm sspaddmm is_sparse is_sparse_csr to_sparse_csc"
        " to_sparse_bsc to_sparse_bsr to_padded_tensor",
        "a value is dense; sg.sparse.csr(matrix) has data, pattern, todense() and sampled()",
    ),
    **each_of("as_strided_scatter slice_inverse", "x.at[key].set(y)"),
    "is_complex": "x.dtype.is_complex",
    "is_signed": "x.dtype.signed",
    "is_same_size": "x.shape == y.shape",
    "is_nonzero": "sg.where(x != 0, a, b): a condition is a value",
    **each_of("is_conj is_neg", "nothing is lazy: sg.conj(x) and -x are computed"),
    "itemsize": "x.dtype.itemsize",
    "nbytes": "x.size * x.dtype.itemsize",
    "new": "sg.zeros(shape, x.dtype)",
    "sum_to_size": "sg.sum(x, axes, keepdims=True), of the axes that have size 1 there",
    **each_of("to", "x.astype(dtype)"),
    **each_of("float double half long int bool", 'x.astype("float32"), "float64" and so on'),
    "cuda": "kernels run on the CPU: there is nothing to move",
    "where": "sg.where(condition, x, y)",
    "value": "a parameter has one; an input is fed: f.run({name: array})",
    "run": "f = sg.compile(value), then f.run(feeds)",
}
#: An attribute of a compiled program that stands elsewhere.
OF_PROGRAMS: Final = {
    **each_of("llvm asm source", "of a kernel: f.kernels[0].llvm, .asm, .source"),
    **each_of("dot svg", "of its graph: f.graph.dot(), f.graph.svg()"),
}
#: What is said otherwise of a tensor of ``staticgrad.eager``, which has numbers.
OF_TENSORS: Final = {
    **each_of("cpu eval run", "x.numpy()"),
    "requires_grad_": "x.requires_grad = True",
    "value": "x.data is the array",
    "clone": "x.copy()",
    "name": "inputs and parameters of graphs have names: keep tensors in a dict, {name: x}",
    "index": "x[key]; the place of an element: sg.argmax(x == element)",
}

#: An attribute of the modules of other libraries -> what to write.
OF_MODULES: Final = {
    **each_of("cuda cpu to", "kernels run on the CPU; layers take dtype="),
    **each_of("half float double", 'layers take a dtype: sg.nn.Linear(3, 2, dtype="float64")'),
    "compile": "sg.function(step): a step is compiled at its first call",
    "fit": "sg.train.fit(step, data), of a step with opt.minimize(loss) in it",
    "predict": "predict = sg.function(lambda x: model(x))",
    "summary": "print(model)",
    **each_of(
        "requires_grad_ freeze unfreeze",
        "name what trains: opt.minimize(loss, [head]); the rest is frozen",
    ),
    **each_of("bfloat16 type to_empty", 'layers take a dtype: sg.nn.Linear(3, 2, dtype="float32")'),
    **each_of("xpu ipu mtia share_memory", "kernels run on the CPU; p.value is an array"),
    **each_of(
        "register_forward_hook register_forward_pre_hook register_state_dict_pre_hook"
        " register_state_dict_post_hook register_load_state_dict_pre_hook"
        " register_load_state_dict_post_hook",
        "write it where the module is called: y = hook(layer(x))",
    ),
    **each_of(
        "register_backward_hook register_full_backward_hook register_full_backward_pre_hook",
        "a gradient is a value: y = layer(x), then sg.grad(loss, y)",
    ),
    **each_of("get_parameter get_buffer", "dict(model.named_parameters())[path]"),
    **each_of("get_extra_state set_extra_state", "assign a parameter, and name it in states"),
    "set_submodule": "assign it: model.layer = layer",
    "extra_repr": "define __repr__; print(model) shows its attributes",
    **each_of("buffers named_buffers register_buffer", "assign a parameter, and name it in states"),
    **each_of("add_module register_module register_parameter", "assign it: self.layer = layer"),
    "save": "sg.save(path, model)",
    "load": "sg.load(path, model)",
}
#: An attribute of the optimizers of other libraries -> what to write.
OF_OPTIMIZERS: Final = {
    **each_of("param_groups add_param_group", "sg.optim.ParameterGroups(opt, [(chosen, changes)])"),
    "lr": "opt.learning_rate",
    **each_of("compute_gradients gradient", "sg.grad(loss, [w])"),
}

#: Why functions of NumPy take no values -> their names.
MISSING: Final = {
    "complex numbers have no order here, and keep their element type": "real_if_close sort_complex",
    "the result's size depends on values; use a mask with where, or indices known at build": (
        "trim_zeros unique_all unique_counts unique_inverse unique_values"
    ),
    "writes into its operand; use x.at[key].set or .add, which give a new value": (
        "copyto fill_diagonal place put put_along_axis putmask"
    ),
    "there is none of values: sg.host_call(function, x, types=...) calls NumPy's in a step": (
        "packbits unpackbits"
    ),
    "makes an array of numbers known at build: use NumPy's, and index or compute with it": (
        "c_ diag_indices_from ndenumerate ndindex ogrid polydiv polynomial r_"
    ),
    "makes arrays from other data: use NumPy's, and sg.constant or a feed": (
        "asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray asmatrix"
        " empty empty_like from_dlpack frombuffer fromfile fromiter fromregex"
        " fromstring frompyfunc genfromtxt load loadtxt require"
    ),
    "memory, files, printing, dtypes and settings are those of arrays: use NumPy's": (
        "array2string array_repr array_str base_repr binary_repr broadcast_shapes common_type"
        " einsum_path errstate format_float_positional format_float_scientific get_include"
        " get_printoptions getbufsize geterr geterrcall info isdtype isfortran isscalar issubdtype"
        " iterable min_scalar_type mintypecode nested_iters printoptions"
        " promote_types save savetxt savez savez_compressed set_printoptions setbufsize seterr"
        " seterrcall show_config show_runtime test typename"
    ),
    "there are no dates": (
        "busday_count busday_offset datetime_as_string datetime_data is_busday isnat"
    ),
}
#: Name -> why it is missing.
REASONS: Final = {name: reason for reason, names in MISSING.items() for name in names.split()}


#: How names of a family of PyTorch's begin -> why they are missing, or what to write.
FAMILIES: Final = {
    **each_of("cudnn_ miopen_ mkldnn_", ON_CPU),
    **each_of("fbgemm_ quantized_ quantize_ fake_quantize_ q_per_ q_zero", _QUANTIZED),
    "sym_": "sizes are integers or names: sg.dim(name)",
    "batch_norm_": "sg.nn.BatchNorm2d(n), or sg.nn.batch_norm(x) without running statistics",
    "native_": "the function without native_: sg.nn.group_norm(x, groups)",
    **each_of(
        "autocast_ clear_autocast is_autocast_ set_autocast_ get_autocast_",
        _HALF,
    ),
    **each_of(
        "parse_ir parse_type_ parse_schema import_ir_ merge_type_ unify_type_ is_warn_ set_warn_"
        " init_num_ thread_safe_ get_device_module is_anomaly_ is_deterministic_",
        "TorchScript and settings of PyTorch: there is nothing to set here",
    ),
}


def instead_of(name: str) -> str:
    """Return what to write for another library's name, or why it is missing; else empty."""
    hint = INSTEAD.get(name) or REASONS.get(name, "")
    return hint or next((why for begin, why in FAMILIES.items() if name.startswith(begin)), "")


def as_imported(error: AttributeError) -> Exception:
    """Return an AttributeError as ImportError if ``from module import name`` runs.

    Python replaces an AttributeError there, and its hint is lost.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and is_package_file(frame.f_code.co_filename):
        frame = frame.f_back
    return ImportError(str(error)) if runs(frame, "IMPORT_FROM") else error


def discards_result() -> bool:
    """Return whether the user's line calls the package and throws the result away.

    A statement ``opt.minimize(loss)`` is followed by POP_TOP. What a prompt shows is not discarded.
    """
    from dis import get_instructions

    frame = sys._getframe(1)
    while frame.f_back is not None and is_package_file(frame.f_code.co_filename):
        frame = frame.f_back
    following = (step for step in get_instructions(frame.f_code) if step.offset > frame.f_lasti)
    return next((step.opname == "POP_TOP" for step in following), False)


def runs(frame: FrameType, instruction: str) -> bool:
    """Return whether a frame's current line has an instruction: ``out[i] = x`` is STORE_SUBSCR.

    ``array[x]`` is BINARY_SUBSCR, and from Python 3.14 on the operator ``[]`` of BINARY_OP.
    """
    from dis import get_instructions  # for messages: a correct program never loads it

    for step in get_instructions(frame.f_code):
        if step.offset == frame.f_lasti:
            is_index = step.opname == "BINARY_OP" and step.argrepr == "[]"
            return ("BINARY_SUBSCR" if is_index else step.opname) == instruction
    return False


#: How users reach a module -> its home, whose ``__all__`` is what it offers.
_ROOMS: Final = {
    f"sg.{name}": MODULES[name]
    for name in (
        "checkpoint_policies", "implicit", "fft", "linalg", "nn", "ode", "optim", "random",
        "special", "stats", "testing", "train", "tree", "sparse", "scipy", "interpolate",
        "ndimage",
    )
}  # fmt: skip

_IMPORTED: Final = ("staticgrad.comparison", "staticgrad.eager")
"""Modules that ``sg`` has no name for: users import from them."""


def no_such_name(room: str, name: str, names: Sequence[str] = ()) -> AttributeError:
    """Return the error for a name that ``sg`` or one of its modules does not have."""
    if name.startswith("__"):
        return AttributeError(name)

    def hint() -> str:
        return (
            _hint_for_name(room, name, names)
            or _hint_for_arrays(room, name)
            or _closest(room, name, _offered_names(room, names))
        )

    return UnknownAttributeError(f"{room} has no {name!r}", hint=hint)


def no_such_module(package: str, name: str) -> ModuleNotFoundError | None:
    """Return the error for ``import staticgrad.numpy``; None if nothing is known of the name."""
    room = package.replace("staticgrad", "sg", 1)
    names = tuple(PUBLIC) if room == "sg" else _names_in(room) if room in _ROOMS else ()
    hint = (
        f"it is {room}.{name}: from {package} import {name}"
        if name in names
        else _hint_for_name(room, name, names) or (_closest(room, name, names) if names else "")
    )
    if not hint:
        return None
    error = UnknownAttributeError(f"there is no module {package}.{name}", hint=hint)
    return ModuleNotFoundError(str(error), name=f"{package}.{name}")


def attributes(room: str, names: Sequence[str], instead: Mapping[str, str] | None = None) -> Any:
    """Make ``__getattr__`` and ``__dir__`` of a public module, with hints for wrong names."""

    @boundary
    def __getattr__(name: str) -> Any:  # noqa: N807 - that of the module
        if name == "__path__" and _is_imported_from():
            return []
        if instead and name in instead:
            raise as_imported(UnknownAttributeError(f"{room} has no {name!r}", hint=instead[name]))
        raise as_imported(no_such_name(room, name, names))

    return __getattr__, lambda: sorted(names)


def _is_imported_from() -> bool:
    """Return whether Python imports ``staticgrad.scipy.optimize``, and asks where to search.

    It then asks the finder of ``staticgrad/__init__.py``, as it does for a module of a package.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and is_package_file(frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_code.co_filename.startswith("<frozen importlib")


def _hint_for_name(room: str, name: str, names: Sequence[str]) -> str:
    """Return a hint for a name that a public module does not have; empty if none.

    PyTorch's classes are functions here: ``CrossEntropyLoss`` is ``sg.nn.cross_entropy``.
    """
    hint = OF_NAMESPACES.get(f"{room}.{name}") or _find_module(room, name)
    hint = hint or instead_of(name) or _find_import(name)
    if hint:
        return hint
    paths, spelled = _paths(room, _offered_names(room, names))
    written = spelled.get(_letters(name)) or spelled.get(_letters(name).removesuffix("loss"))
    if written is None or (room == "sg.nn" and name.islower() and written[0].isupper()):
        return ""  # a class takes sizes where a function of its name takes values
    return f"it is {paths[written]}"


def no_such_attribute(owner: Any, name: str, instead: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that an object does not have."""
    kind = type(owner).__name__
    if name in instead:
        return UnknownAttributeError(f"{kind} has no attribute {name!r}", hint=instead[name])
    return AttributeError(f"{kind!r} object has no attribute {name!r}", name=name, obj=owner)


def instead_of_method(name: str, *, of_tensor: bool = False) -> str:
    """Return what to write for a method of another library's arrays; empty if unknown."""
    if of_tensor and name in OF_TENSORS:
        return OF_TENSORS[name]
    if name in METHODS:
        return METHODS[name]
    if name.endswith("_") and name.rstrip("_"):
        plain = name.rstrip("_")
        new = METHODS.get(plain) or call_of(plain)
        return f"a value never changes: y = {new}" if new.startswith(("sg.", "x.")) else WRITE
    return call_of(name) or instead_of(name)


def call_of(name: str) -> str:
    """Return how a public function is called, ``sg.nn.softmax(x, axis)``; else empty."""
    for room in ("sg", *_ROOMS):
        if name in (PUBLIC if room == "sg" else _names_in(room)):
            home, attribute = PUBLIC[name] if room == "sg" else (_ROOMS[room], name)
            function = getattr(import_module(home), attribute) if attribute else None
            if callable(function) and not isinstance(function, type):
                return f"{room}.{name}({_first_arguments(function)})"
    return ""


#: A package of SciPy -> our modules with functions of its names.
_SAME_NAMES: Final = {
    "scipy.fft": ("sg.fft",),
    "scipy.linalg": ("sg.linalg", "sg"),
    "scipy.integrate": ("sg.ode", "sg"),
    "scipy.interpolate": ("sg.interpolate",),
    "scipy.ndimage": ("sg.ndimage",),
    "scipy.optimize": ("sg.scipy",),
    "scipy.sparse": ("sg.sparse",),
    "scipy.sparse.linalg": ("sg.sparse", "sg.linalg"),
    "scipy.special": ("sg.special",),
    "scipy.stats": ("sg.stats",),
}


def instead_of_call(package: str, name: str) -> str:
    """Return what to write of values instead of a call of ``scipy.linalg.expm`` and others."""
    for room in _SAME_NAMES.get(package, ()):
        if name in (PUBLIC if room == "sg" else _names_in(room)):
            return f"of values: {room}.{name}"
    instead = OF_NAMESPACES.get(f"{package}.{name}") or INSTEAD.get(name, "")
    if not package.startswith("scipy"):
        return ""
    return instead or f"sg.host_call({name}, x, types=..., vjp=...) calls it in a step"


def instead_of_draw(name: str) -> str:
    """Return what to write of values instead of a draw of ``np.random``."""
    return _find_module("sg", name) or "rng = sg.random.Generator(seed)"


def _hint_for_arrays(room: str, name: str) -> str:
    """Return the function of SciPy that a module with its names does not have; empty if none."""
    for package, rooms in _SAME_NAMES.items():
        if room == rooms[0] and callable(getattr(import_module(package), name, None)):
            step = f"in a step: sg.host_call({name}, x, types=..., vjp=...)"
            return f"of arrays: {package}.{name}\n{step}"
    return ""


def has_name(room: str, name: str) -> bool:
    """Return whether a public module, ``sg.stats``, has a name."""
    return name in _names_in(room)


def _first_arguments(function: Callable[..., Any]) -> str:
    """Return a function's operands and the next argument, as a method would take them."""
    from inspect import Parameter, signature  # for messages: a correct program never loads it

    parameters = list(signature(function).parameters.values())
    required = [p.name for p in parameters if p.default is Parameter.empty]
    further = [p.name for p in parameters if p.default is not Parameter.empty and p.name == "axis"]
    return ", ".join([*required, *further])


def _closest(room: str, name: str, offered: tuple[str, ...]) -> str:
    """Suggest the public name that a misspelled one is near to: ``did you mean sg.nn.Linear?``.

    A name of the same module and kind (class or function) within two edits, one edit for names of
    five letters and less; of another module within one edit, for names of six letters and more.
    """
    paths, _ = _paths(room, offered)
    alike = [candidate for candidate in paths if candidate[0].isupper() is name[0].isupper()]
    near = [(edits(name, candidate), candidate not in offered, candidate) for candidate in alike]
    most = 2 if len(name) > 5 else 1
    fits = [
        (count, foreign, candidate)
        for count, foreign, candidate in near
        if (count <= most and not foreign) or (count == 1 and len(name) > 5)
    ]
    return f"did you mean {paths[min(fits)[2]]}?" if fits else ""


def edits(left: str, right: str) -> int:
    """Return the edit distance of two names; swapping neighbours counts as one edit."""
    row: list[int]
    if abs(len(left) - len(right)) > 2:
        return 3  # or more
    earlier: list[int] = []
    previous: list[int] = []
    row = [*range(len(right) + 1)]
    for i, a in enumerate(left, 1):
        earlier, previous, row = previous, row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, left[i - 2]) == (right[j - 2], b):
                row[j] = min(row[j], earlier[j - 2] + 1)
    return row[-1]


@cache
def _paths(room: str, offered: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Each public name -> how users reach it, first in their room; its letters -> the name."""
    paths = [f"{room}.{name}" for name in offered]
    paths += [f"{namespace}.{name}" for namespace in _ROOMS for name in _names_in(namespace)]
    last = {path.rpartition(".")[2]: path for path in reversed(paths)}
    return last, {_letters(name): name for name in last}


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def _find_module(room: str, name: str) -> str:
    """Return the other public module that has a name."""
    if name == "Parameter" and room != "sg":  # the class is there, a function makes them
        return "it is sg.parameter(name, array)"
    if room != "sg" and name in PUBLIC:
        return f"it is sg.{name}"
    for namespace in _ROOMS:
        if namespace not in (room, "sg.tree") and name in _names_in(
            namespace
        ):  # flatten is another one
            return f"it is {namespace}.{name}"
    generator = import_module(MODULES["random"]).Generator
    if not name.startswith("_") and callable(getattr(generator, name, None)):
        return f"a generator has it: rng = sg.random.Generator(seed), rng.{name}(...)"
    return ""


def _find_import(name: str) -> str:
    """Return the import statement of a name that users import."""
    modules = (module for module in _IMPORTED if name in import_module(module).__all__)
    return next((f"from {module} import {name}" for module in modules), "")


def _offered_names(room: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that a room itself offers: those of ``sg`` are given."""
    return tuple(names) or _names_in(room)


def _names_in(room: str) -> tuple[str, ...]:
    """The public names of a module."""
    home = MODULES.get(room.removeprefix("sg."))
    return tuple(getattr(import_module(home), "__all__", ())) if home else ()
