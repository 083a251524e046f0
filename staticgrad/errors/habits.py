"""What users of other libraries type, and what to write here: data for messages.

``INSTEAD`` has names that stand for something here; ``MISSING`` names that stand for nothing yet,
by the reason; ``ARGUMENTS`` other libraries' names of arguments. A test holds that nothing that
exists is said to be missing.
"""

from __future__ import annotations

from typing import Final

from staticgrad.errors.other_names import (
    OF_JAX,
    OF_OPTAX,
    OF_SCIPY,
    OF_TORCH,
    SPECIAL_WITHOUT_KERNEL,
)

_LAYER: Final = "modules stand in sg.nn: sg.nn.Linear(8, 4), sg.nn.Sequential(...), sg.nn.Module"
_RUN: Final = "f = sg.compile(value), then f.run(feeds)"
_TAPE: Final = "from staticgrad.eager import Tensor: define-by-run, with backward()"
_DATA: Final = "sg.train.Batches(x, y, size=32, seed=0): tuples of arrays"
_SAVE: Final = (
    'sg.save("run.npz", {"model": model, "opt": opt}) saves, sg.load("run.npz", into=...) restores;'
    "\ngraphs and compiled programs pickle"
)
_BY_AXES: Final = "modules have the number of axes in their names: Conv2d, BatchNorm1d, MaxPool3d"
_CHAIN: Final = "arguments of an optimizer: max_norm, max_value, weight_decay, accumulate"
_OWN_RATE: Final = "sg.optim.RateSchedule(lambda step: ...), as the learning rate of an optimizer"
_AS_RATE: Final = ", as the learning rate of an optimizer"

#: A name in other libraries -> what to write here.
INSTEAD: Final = {
    **OF_SCIPY,
    **OF_JAX,
    **OF_TORCH,
    **OF_OPTAX,
    **dict.fromkeys(("placeholder", "Input", "tensor", "symbol"), "sg.input(name, shape, dtype)"),
    **dict.fromkeys(("Variable", "variable", "shared"), "sg.parameter(name, array)"),
    **dict.fromkeys(("array",), "sg.constant(array); most functions take arrays as is"),
    **dict.fromkeys(("Function", "Session", "session"), _RUN),
    "jit": "sg.function, above a function of arrays; of values sg.compile(y).run(feeds)",
    **dict.fromkeys(("Tensor", "FloatTensor", "LongTensor"), _TAPE),
    **dict.fromkeys(
        ("GradientTape", "tape"), f"sg.grad(y, x), or sg.grad(f)(x); on the tape, {_TAPE}"
    ),
    **dict.fromkeys(
        ("no_grad", "inference_mode", "set_grad_enabled"),
        "nothing in a graph; on the tape, from staticgrad.eager import no_grad",
    ),
    **dict.fromkeys(
        ("detect_anomaly", "set_detect_anomaly"), 'sg.compile(graph, debug="nan") names the op'
    ),
    "recompute_grad": "sg.checkpoint(f)",
    **dict.fromkeys(("gradients", "backward"), "sg.grad(loss, wrt)"),
    **dict.fromkeys(("Linear", "Dense", "Module", "Sequential"), _LAYER),
    **dict.fromkeys(("seed", "default_rng", "PRNGKey"), "rng = sg.random.Generator(seed)"),
    **dict.fromkeys(("mm", "bmm"), "a @ b, or sg.matmul(a, b)"),
    **dict.fromkeys(
        ("rand", "randn", "randint", "rand_like", "randn_like"),
        "rng = sg.random.Generator(seed), then rng.uniform, normal or integers(..., shape=(3,))",
    ),
    "functional": "its functions stand in sg.nn: sg.nn.relu(x), sg.nn.mse(prediction, target)",
    "init": 'layers take initialisers by name: sg.nn.Linear(8, 4, init="xavier_uniform", seed=0)',
    "data": _DATA,
    "utils": f"{_DATA}\nsg.optim.Adam(1e-3, max_norm=1.0) clips gradients",
    "cast": 'x.astype("float64")',
    **dict.fromkeys(
        ("savez", "savez_compressed", "savetxt", "state_dict", "load_state_dict"), _SAVE
    ),
    "RMSprop": "sg.optim.RMSProp",
    "lr_scheduler": "a schedule as learning rate: sg.optim.SGD(sg.optim.cosine(0.1, steps=1000))",
    **dict.fromkeys(("DataLoader", "Dataset", "TensorDataset"), _DATA),
    **dict.fromkeys(
        ["conv1d", "conv2d", "conv3d", "convolution", "Conv1d", "Conv2d", "Conv3d"],
        "sg.nn.conv(x, w, bias, stride=1, padding=0): images with any number of axes",
    ),
    **dict.fromkeys(
        ["conv_transpose1d", "conv_transpose2d", "ConvTranspose2d"],
        "sg.nn.conv_transpose(x, w, bias, stride=1, padding=0)",
    ),
    **dict.fromkeys(
        ["max_pool1d", "max_pool2d", "max_pool3d", "MaxPool1d", "MaxPool2d"],
        "sg.nn.max_pool(x, kernel_size)",
    ),
    **dict.fromkeys(
        ["avg_pool1d", "avg_pool2d", "avg_pool3d", "AvgPool1d", "AvgPool2d"],
        "sg.nn.avg_pool(x, kernel_size)",
    ),
    **dict.fromkeys(("im2col", "Unfold"), "sg.nn.unfold(x, kernel_size)"),
    **dict.fromkeys(("col2im", "Fold"), "sg.nn.fold(y, extents)"),
    "bincount": "sg.zeros((count,)).at[x].add(weights): how many bins there are is known at build",
    **dict.fromkeys(("accuracy", "metrics"), "(logits.argmax(-1) == labels).mean()"),
    "onnx": "str(graph) is text that sg.parse reads; weights as safetensors: sg.save(path, model)",
    "degrees": "sg.rad2deg(x)",
    "radians": "sg.deg2rad(x)",
    "trapz": "sg.trapezoid(y, x)",
    "in1d": "sg.isin(x, values)",
    "lerp": "x + weight * (y - x)",
    **dict.fromkeys(("addcmul", "addcdiv"), "x + number * a * b, x + number * a / b"),
    **dict.fromkeys(("cdist", "pdist"), "sg.linalg.norm(x[:, None] - y, axis=-1)"),
    "cartesian_prod": "sg.stack(sg.meshgrid(a, b, indexing='ij'), -1).reshape(-1, 2)",
    "randperm": "rng.uniform(shape=(n,)).argsort(), of rng = sg.random.Generator(seed)",
    "sum_to_size": "x.sum(axes, keepdims=True)",
    "rename": "sg.Graph({name: value}): values have names as outputs",
    **dict.fromkeys(("jacfwd", "jacrev"), "sg.jacobian(f), which takes mode="),
    "numpy": "its functions stand in sg: sg.sin(x), and methods on values: x.sum()",
    "ma": "a mask is an array of its own: sg.where(mask, x, 0)",
    "lax": "its functions stand in sg: sg.scan, sg.cond, sg.while_loop, sg.map",
    "make_jaxpr": "print(sg.function(f).graph(x))",
    "eval_shape": "sg.function(f).graph(x).outputs, whose values have shape and dtype",
    "ShapeDtypeStruct": "sg.input(name, shape, dtype)",
    **dict.fromkeys(("device_put", "block_until_ready"), "nothing: results are arrays of NumPy"),
    "debug": (
        "f.eagerly(x) of a traced function, where print shows numbers; sg.compile(y, debug=True)"
    ),
    "rearrange": "x.reshape(2, 3, -1).transpose(1, 0, 2), or sg.einsum",
    "autograd": "sg.grad(loss, wrt); sg.custom_vjp(f) for a rule of your own",
    "is_tensor": "isinstance(x, sg.Value)",
    "linear": "x @ weight + bias, with weight as [in, out]; sg.nn.Linear(in, out) is a module",
    **dict.fromkeys(
        ("dropout", "alpha_dropout", "dropout2d"),
        "sg.nn.Dropout(rate), rng.dropout(x, rate) of a sg.random.Generator(seed)",
    ),
    "instance_norm": "sg.nn.group_norm(x, channels)",
    "multi_head_attention_forward": "sg.nn.MultiHeadAttention(features, heads)",
    "softmax_cross_entropy_with_integer_labels": "sg.nn.cross_entropy(logits, labels)",
    "cosine_decay_schedule": "sg.optim.cosine(rate, steps)" + _AS_RATE,
    **dict.fromkeys(
        ("warmup_cosine", "cosine_warmup", "linear_warmup_cosine_decay"),
        "sg.optim.warm_up(sg.optim.cosine(rate, steps), warm)" + _AS_RATE,
    ),
    "warmup_cosine_decay_schedule": "sg.optim.warm_up(...) of sg.optim.cosine(...)" + _AS_RATE,
    **dict.fromkeys(
        ("linear_schedule", "piecewise_constant_schedule", "join_schedules"), _OWN_RATE
    ),
    "constant_schedule": "sg.optim.constant(rate)" + _AS_RATE,
    "apply_updates": "sg.Graph(outputs, updates=opt.updates(loss, params))",
    **dict.fromkeys(("chain", "scale", "scale_by_adam", "add_decayed_weights"), _CHAIN),
    "masked": "sg.optim.ParameterGroups: an optimizer for each group of parameters",
    "inject_hyperparams": "the learning rate may be a value of the graph, or a schedule",
    "MultiSteps": "accumulate= of an optimizer",
    "ema": "sg.optim.Average",
    "tree_utils": "sg.tree.map(f, tree)",
    "half": "sg.float16",
    "gather": "sg.take_along_axis(x, indices, axis)",
    "index_select": "sg.take(x, indices, axis)",
    "chunk": "sg.array_split(x, parts, axis)",
    "unbind": "sg.unstack(x, axis)",
    "repeat_interleave": "sg.repeat(x, repeats, axis)",
    "movedim": "sg.moveaxis(x, source, destination)",
    "numel": "x.size",
    "manual_seed": "sg.nn.manual_seed(seed), for the first values of modules",
    **dict.fromkeys(("from_numpy", "as_tensor"), "sg.constant(array); most functions take arrays"),
    **dict.fromkeys(("amax", "amin"), "sg.max(x, axis), sg.min(x, axis)"),
    **dict.fromkeys(("addmm", "baddbmm"), "c + a @ b"),
    **dict.fromkeys(("device", "cuda"), "nothing: kernels run on the CPU"),
    **dict.fromkeys(("BCELoss", "BCEWithLogitsLoss"), "sg.nn.binary_cross_entropy(_with_logits)"),
    **dict.fromkeys(("MSELoss", "mse_loss"), "sg.nn.mse(prediction, target)"),
    **dict.fromkeys(("HuberLoss", "huber_loss"), "sg.nn.huber(prediction, target)"),
    **dict.fromkeys(("NLLLoss",), "sg.nn.nll_loss(log_probabilities, labels)"),
    **dict.fromkeys(("scaled_dot_product_attention", "dot_product_attention"), "sg.nn.attention"),
    "Unflatten": "a function: modules take any",
    "ParameterList": "a list or dict of parameters",
    **dict.fromkeys(
        ("interpolate", "upsample", "Upsample"), "sg.nn.resize(x, shape, method), or scale="
    ),
    **dict.fromkeys(
        ("TransformerEncoderLayer", "TransformerEncoder", "TransformerDecoderLayer"),
        "sg.nn.TransformerBlock(features, heads)",
    ),
    **dict.fromkeys(("Conv", "ConvTranspose", "BatchNorm", "MaxPool", "AvgPool"), _BY_AXES),
    **dict.fromkeys(("StepLR", "MultiStepLR"), "sg.optim.step_decay(rate, every)" + _AS_RATE),
    "CosineAnnealingLR": "sg.optim.cosine(rate, steps)" + _AS_RATE,
    "OneCycleLR": "sg.optim.one_cycle(rate, steps)" + _AS_RATE,
    "LambdaLR": "sg.optim.RateSchedule(lambda step: ...)" + _AS_RATE,
    "ReduceLROnPlateau": "sg.optim.Plateau",
    **dict.fromkeys(("EMA", "swa_utils", "AveragedModel"), "sg.optim.Average"),
    "GradScaler": "sg.optim.LossScale, as loss_scale= of an optimizer",
    **dict.fromkeys(
        ("clip_grad_norm_", "clip_grad_value_"), "max_norm= and max_value= of an optimizer"
    ),
    **dict.fromkeys(("ZeroPad2d", "ConstantPad2d", "ReflectionPad2d"), "sg.pad(x, widths, mode)"),
    **dict.fromkeys(("swish", "hard_swish"), "sg.nn.silu(x), sg.nn.hardswish(x)"),
    **dict.fromkeys(("ger", "outer_product"), "sg.outer(a, b)"),
    **dict.fromkeys(("loggamma",), "sg.special.gammaln(x)"),
    "sqrtm": "of a symmetric a: w, v = sg.linalg.eigh(a); v * sg.sqrt(w) @ v.T",
    **dict.fromkeys(("matrix_exp",), "sg.linalg.expm(a)"),
    **dict.fromkeys(("inverse", "pinverse"), "sg.linalg.inv(a), sg.linalg.pinv(a)"),
    "pure_callback": "sg.host_call(f, x, types=x)",
    **dict.fromkeys(
        ("pytree", "tree_map", "tree_util"), "dicts, lists, tuples, dataclasses: as they are"
    ),
    "permute": "sg.transpose(x, axes)",
    "cat": "sg.concatenate([a, b], axis)",
    "unsqueeze": "sg.expand_dims(x, axis)",
    "clamp": "sg.clip(x, low, high)",
    "masked_fill": "sg.where(mask, number, x)",
    "rsqrt": "1 / sg.sqrt(x)",
    "lgamma": "sg.special.gammaln(x)",
    **dict.fromkeys(("logcumsumexp",), "sg.cumlogsumexp(x, axis)"),
    **dict.fromkeys(("segment_sum", "index_add"), "sg.zeros((count,)).at[indices].add(x)"),
    "dynamic_slice": "sg.take(x, start + np.arange(count), axis), where start is a value",
    "dynamic_update_slice": "x.at[start + np.arange(count)].set(y)",
    "bucketize": "sg.searchsorted(borders, x)",
    **dict.fromkeys(("detach", "no_gradient"), "sg.stop_gradient(x)"),
    "logdet": "sg.linalg.slogdet(a)[1]",
    **dict.fromkeys(("neg", "bitwise_not"), "-x of numbers, ~x of bits and bools"),
    "fix": "sg.trunc(x)",
    "mod": "x % y, sg.remainder(x, y)",
    **dict.fromkeys(("sub", "mul", "div", "true_divide"), "x - y, x * y, x / y"),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), "x == y, x < y and so on"),
    "around": "sg.round(x, decimals)",
    "row_stack": "sg.vstack(values)",
    "custom_gradient": "sg.custom_vjp(f)",
    "named_scope": "with sg.scope(name):",
    "disable_jit": "with sg.eager_mode(): or f.eagerly(x) of a traced function",
    **dict.fromkeys(
        ("CosineAnnealingWarmRestarts", "CyclicLR", "LinearLR", "PolynomialLR", "SequentialLR"),
        _OWN_RATE,
    ),
    "ExponentialLR": "sg.optim.exponential(rate, ...)" + _AS_RATE,
    "remat": "sg.checkpoint(f, policy=sg.checkpoint_policies.dots_saveable); or memory_budget=",
}

#: Why a name has nothing that stands for it -> the names, those of NumPy's main namespace first.
MISSING: Final = {
    "there are no complex numbers": (
        "angle conj conjugate imag iscomplex iscomplexobj isreal isrealobj real real_if_close"
        " sort_complex complex64 complex128 fft ifft rfft irfft fft2 ifft2"
    ),
    "the result's size depends on values; use a mask with where, or indices known at build": (
        "argwhere bincount compress delete extract flatnonzero intersect1d nonzero"
        " setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts unique_inverse"
        " unique_values boolean_mask masked_select"
    ),
    "writes into its operand; use x.at[key].set or .add, which give a new value": (
        "copyto fill_diagonal place put put_along_axis putmask scatter_ index_put"
    ),
    "a composite that nobody has written yet": (
        "apply_along_axis apply_over_axes bmat histogram2d histogramdd ldexp rollaxis vander"
    ),
    "an op on bits or number pairs that nobody has written yet": (
        "bitwise_count frexp modf nextafter packbits spacing unpackbits"
    ),
    "a special function without a kernel": SPECIAL_WITHOUT_KERNEL,
    "makes an array of numbers known at build: use NumPy's, and index or compute with it": (
        "bartlett blackman c_ combinations diag_indices diag_indices_from hamming hanning indices"
        " ix_ kaiser mask_indices ndenumerate ndindex ogrid poly polyadd"
        " polyder polydiv polyfit polyint polymul polynomial polysub"
        " r_ ravel_multi_index roots tril_indices tril_indices_from triu_indices"
        " triu_indices_from unravel_index"
    ),
    "makes arrays from other data: use NumPy's, and sg.constant or a feed": (
        "array asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray asmatrix copy"
        " empty empty_like from_dlpack frombuffer fromfile fromfunction fromiter fromregex"
        " fromstring frompyfunc genfromtxt load loadtxt require"
    ),
    "memory, files, printing, dtypes and settings are those of arrays: use NumPy's": (
        "array2string array_repr array_str base_repr binary_repr broadcast_shapes"
        " byteswap common_type dumps einsum_path errstate format_float_positional"
        " format_float_scientific get_include get_printoptions getbufsize geterr geterrcall info"
        " isdtype isfortran isscalar issubdtype"
        " iterable may_share_memory min_scalar_type mintypecode nested_iters printoptions"
        " promote_types save savetxt savez savez_compressed set_printoptions setbufsize"
        " set_default_dtype seterr seterrcall shares_memory show_config show_runtime test tobytes"
        " tofile typename"
    ),
    "there are no dates": (
        "busday_count busday_offset datetime_as_string datetime_data is_busday isnat"
    ),
    "of linear algebra there is what stands in sg.linalg": (
        "eig eigvals tensorsolve tensorinv lu_factor lu_solve logm polar schur"
    ),
    "loops and branches in the graph: sg.scan(f, init, xs), sg.map(f, xs), sg.cond(test, f, g)": (
        "ifelse foldl map_fn"
    ),
    "one of several functions by an index: sg.switch(index, functions)": "case",
    "a function over batches: sg.vmap(f)": "pmap vectorize",
    "recurrent layers: the modules sg.nn.LSTM, GRU, RNN; functions sg.nn.lstm_cell and so on": (
        "RNN LSTM GRU LSTMCell GRUCell RNNCell"
    ),
    "a subclass of sg.optim.Optimizer adds an optimizer; sg.optim has Adam and its variants, SGD,"
    " RMSProp, Rprop, Adagrad, Adadelta, Adafactor, Lion, Muon": (
        "ASGD SparseAdam adabelief amsgrad lars lookahead nadamw noisy_sgd novograd sam yogi"
    ),
    "there are no sparse arrays; sg.take and sg.scatter_add read and add at indices": (
        "sparse coo_matrix csr_matrix spmm to_sparse"
    ),
}

_MOVED: Final = "nothing: kernels run on the CPU"
#: What modules of other libraries do -> what to write here.
OF_MODULES: Final = {
    **dict.fromkeys(("cuda", "cpu", "to_empty", "share_memory"), _MOVED),
    "to": _MOVED + '; other element types are made so: sg.nn.Linear(8, 4, dtype="float64")',
    **dict.fromkeys(
        ("half", "float", "double", "bfloat16", "type"), "sg.nn.Linear(8, 4, dtype=...)"
    ),
    "zero_grad": "gradients are values of the graph: there is nothing to clear",
    "compile": "step = sg.function(step): a function that calls the module is compiled",
    **dict.fromkeys(
        ("register_parameter", "register_buffer", "add_module", "register_module"),
        "an attribute: self.w = sg.parameter(name, array), self.layer = sg.nn.Linear(8, 4);"
        "\nthe class attribute states = (name,) keeps one from optimizers",
    ),
    **dict.fromkeys(("children", "named_children"), "model.modules(), model.named_modules()"),
    **dict.fromkeys(("buffers", "named_buffers"), "model.state_dict(): parameters and states"),
    **dict.fromkeys(
        ("register_forward_hook", "register_backward_hook", "register_full_backward_hook"),
        "sg.custom_vjp(f): what f's rule does happens to the gradient",
    ),
    "requires_grad_": "opt.minimize(loss, params): name what is to be trained; the rest is frozen",
    **dict.fromkeys(("apply", "map"), "sg.tree.map(f, model)"),
    **dict.fromkeys(("fit", "fit_generator"), "sg.train.fit(step, batches, epochs=5)"),
    "summary": "print(model)",
}
#: What compiled functions of other libraries do -> what to write here.
OF_COMPILED: Final = {
    **dict.fromkeys(("eval", "forward", "predict", "call", "apply", "execute"), "f.run(feeds)"),
    **dict.fromkeys(("backward", "grad"), "compile gradients: sg.compile(sg.grad(loss, w))"),
    **dict.fromkeys(("parameters", "params", "state_dict"), "f.program_graph.parameters"),
    **dict.fromkeys(("train", "train_step", "step"), "f.run(feeds), once per batch"),
    "fit": "f.run(feeds), once per batch; sg.train.fit(step, batches, epochs=5) is a loop",
    **dict.fromkeys(("lower", "as_text", "ir", "code"), "f.source, f.schedule"),
    **dict.fromkeys(("llvm", "asm"), "of a kernel: f.kernels[0].llvm, f.kernels[0].asm"),
    **dict.fromkeys(("svg", "dot"), "of its graph: f.graph.svg(), f.graph.dot()"),
    "cost_analysis": "f.explain()",
    **dict.fromkeys(("save", "export", "dump"), "pickle.dumps(f): the program with its parameters"),
    **dict.fromkeys(
        ("backend", "compiler"),
        "f.kernels[0].compiler is who compiled, f.options.backend what was asked for",
    ),
}

#: What stands for a backend elsewhere -> how it is had here.
BACKENDS: Final = {
    **dict.fromkeys(
        ("python", "py", "interpret", "numpy", "eager", "none"),
        "with sg.options(jit=False) kernels run as plain Python; sg.evaluate runs NumPy",
    ),
    **dict.fromkeys(("jit", "njit"), "numba jits every kernel"),
    **dict.fromkeys(("llvm", "llvmlite"), "vector writes LLVM IR for every kernel"),
    **dict.fromkeys(("cpu", "gpu", "cuda"), "kernels run on the CPU, whoever compiles them"),
}

#: Other libraries' names of arguments -> ours, or what to write instead.
ARGUMENTS: Final = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "size": "shape",
    "batch_size": "size",
    "shuffle": "seed",
    "keep_dims": "keepdims",
    "lr": "learning_rate",
    **dict.fromkeys(("static_argnums", "static_argnames"), "static"),
    **dict.fromkeys(
        ("donate_argnums", "donate_argnames"), "p.update(value): parameters are written in place"
    ),
    "axis_name": "a sum over the batch, behind the vmap: sg.vmap(f)(x).sum(0)",
    "unroll": "nothing: a trip is compiled as one kernel where it can be",
    "input": "x",
    "other": "y",
    "betas": "beta1 and beta2",
    "eps": "epsilon",
    "is_causal": "causal",
    "attn_mask": "mask",
    "key_padding_mask": "mask=~padding[:, None, None, :]: where a key may be looked at",
    "validation_data": "validate=lambda: 1 - score(x, y)",
    "verbose": "progress=print",
    "negative_slope": "slope",
    "scale_factor": "scale",
    "align_corners": 'coordinates="align_corners"',
    "start_dim": "x.reshape(x.shape[0], -1), or sg.nn.Flatten(start)",
    **dict.fromkeys(("wrt", "argnum"), "argnums"),
    "params": "wrt",
    "parameters": "wrt",
    "updates": "a graph: sg.compile(sg.Graph(outputs, updates))",
    "inputs": "the values that outputs depend on: they are found",
    "feeds": "f = sg.compile(value), then f.run(feeds)",
    "givens": "f.run(feeds)",
    "device": "nothing: kernels run on the CPU",
    **dict.fromkeys(("jit", "nopython"), "sg.options(jit=False), for kernels as plain Python"),
    **dict.fromkeys(("level", "optimize", "opt_level", "passes"), 'pipeline="O2"'),
    **dict.fromkeys(("mode", "target", "engine"), "backend, or pipeline for the passes"),
    **dict.fromkeys(("budget", "memory", "max_memory"), "memory_budget"),
    **dict.fromkeys(("remat", "policy", "recompute"), "checkpoint"),
    "inplace": "nothing: a value never changes, and kernels write over what nobody reads",
    "dump": 'with sg.options(dump="folder"): around it, or STATICGRAD_DUMP=folder',
    "extra": "nothing: a pass is known by its name once its class is defined",
    "requires_grad": "nothing: sg.grad(loss, [w]) names what it differentiates",
}

#: Name -> why it is missing.
REASONS: Final = {name: reason for reason, names in MISSING.items() for name in names.split()}


_BY_LETTERS: Final = {name.lower(): reason for name, reason in REASONS.items()}


def instead_of(name: str) -> str:
    """What to write for another library's name, or why nothing stands for it; else empty."""
    return INSTEAD.get(name) or REASONS.get(name) or _BY_LETTERS.get(name.lower(), "")
