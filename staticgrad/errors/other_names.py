"""Names of other libraries, library by library, and what to write here: data for ``habits``.

What several libraries share, and what users meet first, stands in ``habits`` itself.
"""

from __future__ import annotations

from typing import Final


def _each(names: str, answer: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), answer)


_ONE_DEVICE: Final = "nothing: kernels run on the threads of one machine, sg.compile(y, threads=2)"
_DRAWS: Final = "rng = sg.random.Generator(seed): every draw is independent of the others"
_PADDED: Final = "sg.pad(x, widths, mode)"
_SIZED: Final = "layers are given their sizes: sg.nn.Linear(8, 4), sg.nn.Conv2d(3, 8, 3)"
_AUTOCAST: Final = "sg.compile(step, pipeline=sg.precision(step, feeds).pipeline)"

OF_SCIPY: Final = {
    "boxcox": "sg.expm1(lam * sg.log(x)) / lam",
    "boxcox1p": "sg.expm1(lam * sg.log1p(x)) / lam",
    "inv_boxcox": "sg.exp(sg.log1p(lam * x) / lam)",
    "inv_boxcox1p": "sg.expm1(sg.log1p(lam * x) / lam)",
    **_each("comb binom", "1 / ((n + 1) * sg.special.beta(n - k + 1, k + 1))"),
    **_each("factorial factorialk", "sg.special.gamma(n + 1)"),
    "perm": "sg.special.gamma(n + 1) / sg.special.gamma(n - k + 1)",
    "poch": "sg.special.gamma(x + m) / sg.special.gamma(x)",
    "rgamma": "1 / sg.special.gamma(x)",
    "gammasgn": "sg.sign(sg.special.gamma(x))",
    "exp10": "10.0 ** x",
    "exprel": "sg.where(x == 0, 1.0, sg.expm1(x) / x)",
    "cosm1": "-2 * sg.sin(x / 2) ** 2",
    **_each(
        "odeint solve_ivp diffeqsolve", "sg.ode.rk45(f, y, start, end), sg.ode.rk4(f, y, times)"
    ),
    "powm1": "sg.expm1(y * sg.log(x))",
    **_each("cosdg sindg tandg cotdg", "sg.cos(sg.deg2rad(x)), sg.sin, sg.tan, 1 / sg.tan"),
    "radian": "sg.deg2rad(degrees + minutes / 60 + seconds / 3600)",
    "betaincc": "1 - sg.special.betainc(a, b, x), or betainc(b, a, 1 - x)",
    "log_expit": "sg.nn.log_sigmoid(x)",
    "pseudo_huber": "delta**2 * (sg.sqrt(1 + (x / delta) ** 2) - 1)",
    "psi": "sg.special.digamma(x)",
    "zetac": "sg.special.zeta(x) - 1",
    "pdtr": "sg.special.gammaincc(k + 1, m)",
    **_each("chdtr chdtrc", "sg.special.gammainc(df / 2, x / 2), gammaincc"),
    "bdtr": "sg.special.betainc(n - k, k + 1, 1 - p)",
    "stdtr": "1 - 0.5 * sg.special.betainc(df / 2, 0.5, df / (df + t * t)) for t > 0",
    "fdtr": "sg.special.betainc(m / 2, n / 2, m * x / (m * x + n))",
    "mvlgamma": "sg.special.multigammaln(a, d)",
    **_each("modified_bessel_i0 modified_bessel_i1", "sg.special.i0(x), sg.special.i1(x)"),
    "circulant": "sg.linalg.toeplitz(c, sg.roll(sg.flip(c), 1))",
    "convolution_matrix": "sg.linalg.toeplitz of the padded row, or sg.convolve(a, v)",
    **_each(
        "dft hadamard hankel helmert hilbert invhilbert pascal invpascal leslie companion fiedler",
        "a matrix of numbers known at build: SciPy's, as an operand",
    ),
    "solve_sylvester": "sg.linalg.solve(sg.kron(a, i) + sg.kron(j, b.T), q.ravel())",
}

OF_JAX: Final = {
    "hard_silu": "sg.nn.hardswish(x)",
    "log1mexp": "sg.where(x < 0.693, sg.log(-sg.expm1(-x)), sg.log1p(-sg.exp(-x)))",
    "logmeanexp": "sg.nn.logsumexp(x, axis) - np.log(count)",
    "squareplus": "(x + sg.sqrt(x * x + 4)) / 2",
    "sparse_plus": "sg.where(x < -1, 0.0, sg.where(x > 1, x, (x + 1) ** 2 / 4))",
    "sparse_sigmoid": "sg.clip((x + 1) / 2, 0, 1)",
    "standardize": "sg.nn.layer_norm(x)",
    "rem": "sg.fmod(x, y)",
    "rev": "sg.flip(x, axes)",
    **_each("reduce_sum reduce_max reduce_min reduce_prod", "x.sum(axes), max, min, prod"),
    **_each("reduce_and reduce_or", "x.all(axes), x.any(axes)"),
    "reduce": "x.sum(axis), max, min, prod; another operator: sg.associative_scan(f, x)",
    "select_n": "sg.where(condition, y, x), sg.choose(which, cases)",
    **_each("slice slice_in_dim index_in_dim", "x[2:5], x[:, 0]"),
    **_each("dynamic_slice_in_dim dynamic_index_in_dim", "sg.take(x, start + np.arange(n), axis)"),
    **_each(
        "dynamic_update_slice_in_dim dynamic_update_index_in_dim",
        "x.at[start + np.arange(n)].set(y)",
    ),
    "convert_element_type": "x.astype(dtype)",
    **_each("broadcast broadcast_in_dim", "sg.broadcast_to(x, shape)"),
    **_each("broadcast_like broadcast_to_rank", "sg.broadcast_to(x, y.shape)"),
    "broadcasted_iota": "sg.broadcast_to(sg.arange(n), shape)",
    "collapse": "x.reshape(shape)",
    "integer_pow": "x ** n",
    **_each("batch_matmul dot_general", "x @ y, sg.einsum"),
    "ragged_dot": "sg.nn.embedding(w, group) of each row, and an einsum",
    **_each("bessel_i0e bessel_i1e", "sg.special.i0e(x), sg.special.i1e(x)"),
    **_each("igamma igammac", "sg.special.gammainc(a, x), gammaincc"),
    **_each("igamma_grad_a random_gamma_grad", "sg.grad of sg.special.gammainc, or of rng.gamma"),
    "regularized_incomplete_beta": "sg.special.betainc(a, b, x)",
    **_each(
        "conv_general_dilated conv_with_general_padding", "sg.nn.conv(x, w, stride=, padding=)"
    ),
    "conv_general_dilated_patches": "sg.nn.unfold(x, kernel_size)",
    "reduce_window": "sg.nn.max_pool, avg_pool, or sg.sliding_window_view(x, n).max(-1)",
    **_each("scatter scatter_apply", "x.at[indices].set(y)"),
    **_each("scatter_max scatter_min", "x.at[indices].max(y), x.at[indices].min(y)"),
    **_each("scatter_mul scatter_sub", "x.at[indices].add(-y), sg.exp of added logarithms"),
    **_each("shift_left shift_right_logical shift_right_arithmetic", "x << n, x >> n"),
    "sort_key_val": "sg.take_along_axis(values, sg.argsort(keys), axis)",
    **_each("approx_max_k approx_min_k", "sg.topk(x, k)"),
    **_each("custom_root custom_linear_solve linear_solve", "sg.implicit.root, sg.linalg.solve"),
    "optimization_barrier": "sg.checkpoint_name or nothing: passes change no bits",
    "reduce_precision": "x.astype('bfloat16').astype('float32')",
    **_each(
        "psum pmean pmax pmin all_gather all_to_all ppermute axis_index axis_size psum_scatter"
        " shard_map make_mesh NamedSharding set_mesh reshard process_count host_count"
        " device_count local_device_count devices local_devices default_device default_backend"
        " device_get with_sharding_constraint",
        _ONE_DEVICE,
    ),
    **_each("debug_nans debug_infs", 'sg.compile(y, debug="nan")'),
    **_each("enable_x64 default_matmul_precision", 'nothing: dtype="float64" is there always'),
    "linear_transpose": "sg.vjp(f, x)",
    **_each("closure_convert named_call", "a function as it is: it may close over anything"),
    "typeof": "x.type, x.shape, x.dtype",
    **_each("fold_in key_data wrap_key_data", _DRAWS),
    "orthogonal": "sg.linalg.qr(rng.normal(shape=(n, n)))[0]",
}

OF_TORCH: Final = {
    "aminmax": "x.min(axis), x.max(axis)",
    **_each("mv addmv", "a @ x, y + a @ x"),
    **_each("addr addbmm", "a + sg.outer(x, y), a + (x @ y).sum(0)"),
    "chain_matmul": "sg.linalg.multi_dot(matrices)",
    "adjoint": "sg.matrix_transpose(x)",
    "broadcast_tensors": "sg.broadcast_arrays(x, y)",
    **_each("clamp_min clamp_max", "sg.maximum(x, low), sg.minimum(x, high)"),
    **_each("clone resolve_conj resolve_neg", "x itself: values never change"),
    "cumulative_trapezoid": "sg.cumsum((y[1:] + y[:-1]) / 2 * dx)",
    "diag_embed": "x[..., None] * sg.eye(n)",
    "dist": "sg.linalg.norm(x - y)",
    "frac": "x - sg.trunc(x)",
    **_each("get_num_threads set_num_threads", "sg.compile(y, threads=2), or STATICGRAD_THREADS"),
    **_each("grid_sampler grid_sampler_2d grid_sampler_3d", "sg.nn.grid_sample(x, grid)"),
    "histc": "sg.histogram(x, bins)",
    **_each("index_copy index_fill index_put", "x.at[indices].set(y)"),
    **_each("index_reduce scatter_reduce", "x.at[indices].add(y), .max(y), .min(y)"),
    **_each("select_scatter slice_scatter diagonal_scatter masked_scatter", "x.at[key].set(y)"),
    "kthvalue": "sg.sort(x)[..., k - 1]",
    "msort": "sg.sort(x, 0)",
    "mode": "the counts by sg.zeros(n).at[x].add(1), and their argmax",
    "multinomial": "rng.choice(n, shape, p=p) of rng = sg.random.Generator(seed)",
    **_each("narrow narrow_copy select_copy", "x[start : start + length]"),
    "nuclear_norm": 'sg.linalg.norm(a, "nuc")',
    "frobenius_norm": "sg.linalg.norm(a)",
    "renorm": "x * sg.minimum(1.0, most / sg.linalg.norm(x, axis=-1, keepdims=True))",
    "rsub": "y - x",
    "range": "sg.arange(start, stop, step)",
    "as_strided": "sg.sliding_window_view(x, n), or x[start::step]",
    **_each("is_floating_point is_complex", "x.dtype"),
    **_each("cholesky_solve cholesky_inverse", "sg.linalg.cho_solve(factor, b)"),
    "lu_unpack": "sg.linalg.lu(a), which gives p, l and u",
    **_each("inv_ex solve_ex cholesky_ex", 'sg.linalg.inv(a, errors="nan")'),
    **_each("double float long int", "sg.float64, sg.float32, sg.int64, sg.int32"),
    **_each("autocast amp get_autocast_dtype", _AUTOCAST),
    **_each("set_rng_state get_rng_state initial_seed", "rng.key.value, rng.step.value"),
    **_each("hann_window hamming_window blackman_window kaiser_window bartlett_window", "NumPy's"),
    **_each(
        "channel_shuffle ChannelShuffle",
        "x.reshape(b, groups, c // groups, *rest).swapaxes(1, 2).reshape(x.shape)",
    ),
    **_each(
        "adaptive_avg_pool3d AdaptiveAvgPool3d adaptive_max_pool3d AdaptiveMaxPool3d",
        "sg.nn.adaptive_avg_pool(x, output_size), adaptive_max_pool: any number of axes",
    ),
    **_each(
        "lp_pool1d lp_pool2d lp_pool3d LPPool1d LPPool2d LPPool3d",
        "sg.nn.lp_pool(x, norm_type, kernel_size)",
    ),
    **_each(
        "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices",
        "sg.nn.max_pool(x, kernel_size); which won: sg.argmax of sg.nn.unfold(x, kernel_size)",
    ),
    **_each("linear_cross_entropy LinearCrossEntropyLoss", "sg.nn.cross_entropy(x @ w, labels)"),
    **_each(
        "triplet_margin_with_distance_loss TripletMarginWithDistanceLoss",
        "sg.nn.relu(margin + distance(a, p) - distance(a, n)).mean()",
    ),
    **_each("upsample_bilinear upsample_nearest UpsamplingBilinear2d", "sg.nn.resize(x, shape)"),
    "UpsamplingNearest2d": 'sg.nn.resize(x, shape, "nearest")',
    **_each("feature_alpha_dropout AlphaDropout FeatureAlphaDropout rrelu RReLU", "sg.nn.Dropout"),
    **_each("CircularPad1d CircularPad2d CircularPad3d", _PADDED),
    **_each("ConstantPad1d ConstantPad3d ZeroPad1d ZeroPad3d", _PADDED),
    **_each("ReflectionPad1d ReflectionPad3d ReplicationPad1d", _PADDED),
    **_each("ReplicationPad2d ReplicationPad3d constant_pad_nd", _PADDED),
    **_each("LazyLinear LazyConv1d LazyConv2d LazyConv3d LazyBatchNorm1d LazyBatchNorm2d", _SIZED),
    "Softmax2d": "sg.nn.softmax(x, 1)",
    "NLLLoss2d": "sg.nn.nll_loss(log_probabilities, labels)",
    "SyncBatchNorm": "sg.nn.BatchNorm2d(features): there is one process",
    **_each("Transformer TransformerDecoder", "sg.nn.TransformerBlock(features, heads)"),
    **_each("RNNBase RNNCellBase", "sg.nn.RNN, sg.nn.RNNCell"),
    **_each("ParameterDict Buffer", "a dict of parameters; an attribute, named in states = (...)"),
    "DataParallel": _ONE_DEVICE,
    "CrossMapLRN2d": "sg.nn.local_response_norm(x, size)",
    **_each(
        "LRScheduler ConstantLR MultiplicativeLR ChainedScheduler",
        "sg.optim.RateSchedule(lambda step: ...), as the learning rate of an optimizer",
    ),
}

OF_OPTAX: Final = {
    "adamaxw": "sg.optim.Adamax",
    "sgd_with_momentum": "sg.optim.SGD(rate, momentum=0.9)",
    **_each("polynomial_schedule exponential_decay sgdr_schedule", "sg.optim.RateSchedule(f)"),
    **_each("cosine_onecycle_schedule linear_onecycle_schedule", "sg.optim.one_cycle(rate, steps)"),
    **_each(
        "warmup_constant_schedule warmup_exponential_decay_schedule", "sg.optim.warm_up(schedule)"
    ),
    **_each("clip_by_block_rms adaptive_grad_clip", "max_value= and max_norm="),
    "apply_if_finite": "skip_nonfinite= of an optimizer",
    "apply_every": "accumulate= of an optimizer",
    **_each("multi_transform set_to_zero", "sg.optim.ParameterGroups"),
    "sigmoid_binary_cross_entropy": "sg.nn.binary_cross_entropy_with_logits",
    **_each("l2_loss squared_error", "sg.nn.mse(prediction, target)"),
    "smooth_labels": "sg.nn.cross_entropy(logits, labels, label_smoothing=0.1)",
    "kl_divergence": "sg.nn.kl_div(log_predictions, targets)",
    "hinge_loss": "sg.nn.relu(1 - prediction * target).mean()",
    "log_cosh": "sg.logaddexp(x, -x) - np.log(2)",
    "incremental_update": "sg.optim.Average",
    "safe_norm": "sg.sqrt(sg.maximum((x * x).sum(), least))",
}

#: Special functions, of SciPy's and others' names, that have no kernel.
SPECIAL_WITHOUT_KERNEL: Final = (
    "jv spence agm airy airye airy_ai ai_zeros bi_zeros assoc_laguerre bdtrc bdtri bei ber"
    " betaincinv betainccinv gammaincinv gammainccinv btdtria btdtrib chdtri chndtr dawsn dawson"
    " diric ellipe ellipeinc ellipj ellipk ellipkinc ellipkm1 elliprc elliprd elliprf elliprg"
    " elliprj erfi eval_chebyt eval_chebyu eval_hermite eval_legendre eval_laguerre eval_jacobi"
    " expn fdtrc fdtri fresnel gdtr gdtrc hankel1 hankel2 hyp0f1 hyp1f1 hyp2f1 hyperu itairy iti0k0"
    " iv ive j0 j1 jn jve k0 k0e k1 k1e kn kv kve kolmogorov kolmogi lpmv mathieu_a"
    " mathieu_b modstruve struve nbdtr nctdtr ncfdtr ndtri_exp owens_t pdtrc pdtri pbdv shichi sici"
    " smirnov sph_harm_y sph_harm spherical_jn spherical_yn spherical_in spherical_kn stdtrit"
    " stirling2 tklmbda voigt_profile wofz wright_bessel wrightomega y0 y1 yn yv yve bessel_j0"
    " bessel_j1 bessel_jn bessel_y0 bessel_y1 modified_bessel_k0 modified_bessel_k1"
    " scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0"
    " chebyshev_polynomial_t hermite_polynomial_h legendre_polynomial_p laguerre_polynomial_l"
)
