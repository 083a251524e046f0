"""Every public name of ``staticgrad``, once: the module that defines it.

The facade (``staticgrad/__init__.py``), the package of functions
(``staticgrad/functions``), what type checkers read of both (their ``.pyi``) and the
reference (``staticgrad docs``) are derived from these tables. To add a public function, write it
and name it here; ``python -m tests.exports`` writes the stubs, which a test compares with the
tables. Arguments, types and overloads stand with the definition alone. Nothing is imported here.
"""

__all__ = [
    "EXPORTING",
    "FUNCTIONS",
    "LAYERS",
    "MAKES_VALUES",
    "MODULES",
    "NAMESPACES",
    "OTHERS",
    "PUBLIC",
    "homes",
]

#: Module -> what it gives to ``staticgrad.functions``, which publishes functions of
#: values: there, and as ``sg.<name>``. ``name=attribute`` where the module calls it otherwise.
FUNCTIONS = {
    "staticgrad.functions.aggregate": (
        "all amax=max amin=min any argmax argmin max mean min reduce_and reduce_or reduce_xor std"
        " sum var"
    ),
    "staticgrad.functions.arrange": (
        "array_split diag diagflat dsplit hsplit meshgrid pad repeat"
        " roll rot90 split tile trace vsplit"
    ),
    "staticgrad.functions.loops": (
        "associative_scan cond fori_loop map=map_slices scan switch while_loop"
    ),
    "staticgrad.functions.indexing": (
        "append at atleast_1d atleast_2d atleast_3d block column_stack dstack fliplr flipud"
        " delete getitem hstack insert matrix_transpose rollaxis unstack vstack"
    ),
    "staticgrad.functions.bounded": (
        "argwhere compress dynamic_slice dynamic_update_slice extract flatnonzero intersect1d"
        " nonzero segment_max segment_min segment_prod segment_sum setdiff1d setxor1d union1d"
        " unique"
    ),
    "staticgrad.functions.statistics": (
        "argpartition average bincount corrcoef count_nonzero cov digitize histogram"
        " histogram2d histogram_bin_edges histogramdd isin lexsort median nanmedian nanpercentile"
        " nanquantile norm partition percentile prod ptp quantile"
    ),
    "staticgrad.functions.elementwise": (
        "allclose array_equal array_equiv choose copy deg2rad degrees=rad2deg divmod"
        " fabs float_power fmax fmin heaviside isclose isneginf isposinf"
        " logaddexp2 nan_to_num piecewise rad2deg radians=deg2rad round select sinc"
    ),
    "staticgrad.functions.complex_numbers": ("abs_square angle complex imag iscomplex isreal real"),
    "staticgrad.functions.creation": (
        "arange constant eye full full_like geomspace identity input linspace logspace one_hot"
        " ones ones_like parameter tri tril triu vander zeros zeros_like"
    ),
    "staticgrad.functions.curves": (
        "cumlogsumexp cummax cummin cumulative_prod cumulative_sum diff ediff1d gradient"
        " logcumsumexp=cumlogsumexp"
        " trapezoid unwrap"
    ),
    "staticgrad.functions.products": (
        "cross dot einsum inner kron matvec outer tensordot vdot vecdot vecmat"
    ),
    "staticgrad.functions.coefficients": (
        "poly polyadd polyder polyfit polyint polymul polysub roots"
    ),
    "staticgrad.functions.index_arrays": (
        "diag_indices fromfunction indices ix_ mask_indices ravel_multi_index tril_indices"
        " tril_indices_from triu_indices triu_indices_from unravel_index"
    ),
    "staticgrad.functions.substitution": "replace vectorize",
    "staticgrad.functions.tapers": "bartlett blackman hamming hanning kaiser",
    "staticgrad.functions.whole_numbers": (
        "bitwise_count frexp gcd lcm ldexp modf nextafter spacing"
    ),
    "staticgrad.functions.filters": (
        "convolve correlate interp polyval resize sliding_window_view"
    ),
    "staticgrad.functions.kinks": "conventions",
    "staticgrad.functions.checkpoints.marks": "checkpoint checkpoint_name",
    "staticgrad.functions.missing_values": (
        "nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmin nanprod nanstd nansum"
        " nanvar"
    ),
    "staticgrad.language.ir.graph": "Graph",
    "staticgrad.language.ir.nodes": "Parameter",
    "staticgrad.language.ir.value": "Value",
    "staticgrad.language.ops.special": "i0",
    "staticgrad.language.ops.arithmetic": (
        "abs=absolute absolute add ceil conj conjugate=conj divide fix=trunc floor floor_divide"
        " fmod isfinite isinf"
        " isnan left_shift mod=remainder multiply negative positive pow=power power reciprocal"
        " remainder right_shift rint sign signbit square subtract trunc"
    ),
    "staticgrad.language.ops.logic": (
        "bitwise_and bitwise_or bitwise_xor equal greater greater_equal invert less less_equal"
        " logical_and logical_not logical_or logical_xor not_equal"
    ),
    "staticgrad.language.ops.contract": "matmul",
    "staticgrad.language.ops.convert": "astype size_value",
    "staticgrad.language.ops.custom": "custom_jvp custom_vjp host_call numba_call",
    "staticgrad.language.ops.transcendental": (
        "arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt cos cosh erf erfc exp exp2"
        " expm1 hypot log log10 log1p log2 logaddexp sigmoid sin sinh sqrt tan tanh xlogy"
    ),
    "staticgrad.language.ops.indexing": (
        "concat=concatenate concatenate diagonal flip scatter_add stack take take_along_axis"
    ),
    "staticgrad.language.ops.marks": "stop_gradient",
    "staticgrad.language.ops.movement": (
        "broadcast_arrays broadcast_to expand_dims moveaxis ravel reshape squeeze swapaxes"
        " transpose"
    ),
    "staticgrad.language.ops.positions": "iota",
    "staticgrad.language.ops.scans": "cumprod cumsum linear_scan",
    "staticgrad.language.ops.selection": "clip copysign maximum minimum where",
    "staticgrad.language.ops.sorting": "argsort searchsorted sort topk",
    "staticgrad.programs.along_axes": "apply_along_axis apply_over_axes",
    "staticgrad.programs.transformed": "vmap",
}
#: Module -> what the facade takes from it; of ``staticgrad.functions`` the standard's
#: other names.
OTHERS = {
    "staticgrad.analysis.evaluate": "evaluate",
    "staticgrad.compiler.compiling.compiler": "Compiled compile",
    "staticgrad.support.options": "options show_config",
    "staticgrad.eager.at_once": "eager_mode",
    "staticgrad.errors": "BudgetInfeasible StaticgradError",
    "staticgrad.errors.wording": "StaticgradWarning",
    "staticgrad.language.ir.printer": "same_graph",
    "staticgrad.language.types.dim": "dim",
    "staticgrad.language.types.dtype": (
        "bfloat16=BF16 bool_=BOOL complex128=C128 complex64=C64 float16=F16 float32=F32"
        " float64=F64 int16=I16 int32=I32 int64=I64 int8=I8 uint16=U16 uint32=U32 uint64=U64"
        " uint8=U8"
    ),
    "staticgrad.language.ir.parser": "parse",
    "staticgrad.tools.lints": "lint",
    "staticgrad.functions": (
        "acos=arccos acosh=arccosh asin=arcsin asinh=arcsinh atan2=arctan2 atan=arctan"
        " around=round atanh=arctanh bitwise_invert=invert bitwise_left_shift=left_shift"
        " bitwise_not=invert bitwise_right_shift=right_shift empty=zeros empty_like=zeros_like"
        " permute_dims=transpose row_stack=vstack true_divide=divide"
    ),
    "staticgrad.functions.standard": (
        "array=asarray asarray can_cast e finfo iinfo inf isdtype nan ndim newaxis pi result_type"
        " shape size"
    ),
    "staticgrad.compiler.compiling.mixed_precision": "precision",
    "staticgrad.compiler.compiling.quantization": "quantize",
    "staticgrad.analysis.planning.planner": "plan_abstract",
    "staticgrad.programs.derivatives": "grad jvp linearize value_and_grad vjp",
    "staticgrad.programs.function": "function",
    "staticgrad.programs.spellings": (
        "elementwise_grad eval_shape hessian_vector_product jacfwd jacrev multigrad_dict"
    ),
    "staticgrad.programs.sparse": "hessian hvp jacobian sparse_hessian sparse_jacobian",
    "staticgrad.saving": "load save",
    "staticgrad.language.scopes": "scope",
    "staticgrad.compiler.compiling.tradeoffs": "tradeoff",
}
#: Namespace -> the module whose functions stand for NumPy's, SciPy's and methods of values.
NAMESPACES = {
    "fft": "staticgrad.fft",
    "linalg": "staticgrad.linalg",
    "nn": "staticgrad.nn.functional.basics",
    "random": "staticgrad.random",
    "sparse": "staticgrad.sparse",
    "special": "staticgrad.special",
    "standard": "staticgrad.functions.standard",
}
#: Module -> what it gives to ``staticgrad.nn``: functions, and modules that call them.
LAYERS = {
    "staticgrad.functions": "one_hot sigmoid tanh",
    "staticgrad.nn.functional.basics": (
        "binary_cross_entropy_with_logits elu gelu leaky_relu linear log_softmax logsumexp relu"
        " silu softmax softplus"
    ),
    "staticgrad.nn.functional.activations": (
        "celu glu gumbel_softmax hardshrink hardsigmoid hardswish hardtanh log_sigmoid"
        " logsigmoid=log_sigmoid mish prelu relu6 selu softmin softshrink softsign tanhshrink"
        " threshold"
    ),
    "staticgrad.nn.functional.attention": "attention embedding rotary",
    "staticgrad.nn.functional.images.resizing": (
        "affine_grid grid_sample pixel_shuffle pixel_unshuffle resize"
    ),
    "staticgrad.nn.functional.images.windows": (
        "adaptive_avg_pool adaptive_avg_pool1d=adaptive_avg_pool"
        " adaptive_avg_pool2d=adaptive_avg_pool adaptive_avg_pool3d=adaptive_avg_pool"
        " adaptive_max_pool adaptive_max_pool1d=adaptive_max_pool"
        " adaptive_max_pool2d=adaptive_max_pool adaptive_max_pool3d=adaptive_max_pool"
        " avg_pool avg_pool1d=avg_pool avg_pool2d=avg_pool"
        " avg_pool3d=avg_pool conv conv1d=conv conv2d=conv conv3d=conv conv_transpose"
        " conv_transpose1d=conv_transpose conv_transpose2d=conv_transpose"
        " conv_transpose3d=conv_transpose fold lp_pool max_pool max_pool1d=max_pool"
        " max_pool2d=max_pool max_pool3d=max_pool unfold"
    ),
    "staticgrad.nn.functional.normalization": (
        "batch_norm batch_statistics group_norm instance_norm layer_norm local_response_norm"
        " rms_norm"
    ),
    "staticgrad.nn.functional.recurrent": (
        "bidirectional gru gru_cell lstm lstm_cell rnn rnn_cell stacked"
    ),
    "staticgrad.nn.functional.losses.basic": (
        "cross_entropy huber huber_loss=huber mse mse_loss=mse"
    ),
    "staticgrad.nn.functional.losses.further": (
        "binary_cross_entropy cosine_similarity ctc_loss"
        " kl_div l1_loss nll_loss normalize pairwise_distance smooth_l1_loss triplet_margin_loss"
    ),
    "staticgrad.nn.functional.losses.margins": (
        "cosine_embedding_loss gaussian_nll_loss hinge_embedding_loss margin_ranking_loss"
        " multi_margin_loss multilabel_soft_margin_loss poisson_nll_loss soft_margin_loss"
    ),
    "staticgrad.nn.activations": (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid"
        " LogSoftmax Mish PReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus Softshrink"
        " Softsign Tanh Tanhshrink Threshold"
    ),
    "staticgrad.nn.graphs": "GraphConv",
    "staticgrad.nn.transformers": ("MultiHeadAttention MultiheadAttention TransformerBlock"),
    "staticgrad.nn.normalization": (
        "BatchNorm1d BatchNorm2d BatchNorm3d GroupNorm InstanceNorm1d InstanceNorm2d"
        " InstanceNorm3d LayerNorm RMSNorm"
    ),
    "staticgrad.nn.recurrent": "GRU GRUCell LSTM LSTMCell RNN RNNCell",
    "staticgrad.nn.convolutions": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d"
        " AvgPool2d AvgPool3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d"
        " ConvTranspose3d MaxPool1d MaxPool2d MaxPool3d"
    ),
    "staticgrad.nn.layers": (
        "Bilinear Dropout Dropout1d Dropout2d Dropout3d Embedding Flatten Linear LocalResponseNorm"
        " ModuleDict ModuleList PixelShuffle PixelUnshuffle Sequential Unflatten Upsample"
    ),
    "staticgrad.nn.losses": (
        "BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss"
        " GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss MSELoss MarginRankingLoss"
        " MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss PairwiseDistance PoissonNLLLoss"
        " SmoothL1Loss SoftMarginLoss TripletMarginLoss"
    ),
    "staticgrad.nn.padding": (
        "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d"
        " ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d"
        " ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d"
    ),
    "staticgrad.nn.initial": "manual_seed",
    "staticgrad.nn.module": "Module updates",
}

_MAKERS = (
    "arange asarray at constant eye full geomspace identity input iota linspace logspace"
    " ones parameter replace size_value tri vectorize zeros"
)
#: Functions that make values of numbers: leaves of graphs, and constants in them. Any other
#: function of values computes at once where no operand is a value.
MAKES_VALUES = frozenset(_MAKERS.split())

#: What writes a compiled program as a file: a part that nothing else needs.
EXPORTING = "staticgrad.exporting"

#: Public name of a module -> where it stands.
MODULES = {
    "backends": "staticgrad.backends",
    "checkpoint_policies": "staticgrad.checkpoint_policies",
    "comparison": "staticgrad.comparison",
    "distributed": "staticgrad.distributed",
    "eager": "staticgrad.eager",
    "errors": "staticgrad.errors",
    "extend": "staticgrad.extend",
    "fft": "staticgrad.fft",
    "implicit": "staticgrad.implicit",
    "interpolate": "staticgrad.interpolate",
    "linalg": "staticgrad.linalg",
    "jax": "staticgrad.jax",
    "ndimage": "staticgrad.ndimage",
    "nn": "staticgrad.nn",
    "numba": "staticgrad.numba",
    "ode": "staticgrad.ode",
    "onnx": "staticgrad.onnx",
    "optim": "staticgrad.optim",
    "passes": "passes",
    "pytensor": "staticgrad.pytensor",
    "random": "staticgrad.random",
    "scipy": "staticgrad.scipy",
    "sklearn": "staticgrad.sklearn",
    "sparse": "staticgrad.sparse",
    "special": "staticgrad.special",
    "stats": "staticgrad.stats",
    "testing": "staticgrad.testing",
    "torch": "staticgrad.torch",
    "train": "staticgrad.train",
    "tree": "staticgrad.tree",
    "xp": "staticgrad.xp",
}


def homes(table: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Public name -> (module, the attribute there), of one of the tables."""
    return {
        entry.partition("=")[0]: (module, entry.rpartition("=")[2])
        for module, entries in table.items()
        for entry in entries.split()
    }


#: Public name of ``sg`` -> (home, the attribute there; empty for a module). Functions of values
#: have one home, which makes them read NumPy's arguments.
PUBLIC = {
    **{name: ("staticgrad.functions", name) for name in homes(FUNCTIONS)},
    **homes(OTHERS),
    **{name: (home, "") for name, home in MODULES.items()},
}
