"""Hints for names of PyTorch, JAX or NumPy, and for attributes that do not exist.

The tables hold only what is typed often; for everything else messages name the nearest name that
exists. The page ``other-names`` of the documentation shows them. ``MISSING`` says of NumPy's
functions that take no values why that is so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, NoReturn

from staticgrad.exports import MODULES, PUBLIC
from staticgrad.support.errors import UnknownAttributeError
from staticgrad.support.errors.tracebacks import boundary
from staticgrad.support.errors.wording import ON_CPU, each_of

NUMBERS: Final = "for its numbers: sg.evaluate(value, feeds) or sg.compile(value).run(feeds)"
WRITE: Final = "a value never changes; x.at[key].set(y) and x.at[key].add(y) give a new one"
_TAPE: Final = "from staticgrad.eager import Tensor: define-by-run, with backward()"
_DATA: Final = "sg.train.Batches(x, y, size=32, seed=0): tuples of arrays"
_AS_RATE: Final = ", as the learning rate of an optimizer"

#: A function or class of another library -> what to write here.
INSTEAD: Final = {
    **each_of("tensor placeholder Input", "sg.input(name, shape, dtype)"),
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
    **each_of("backward gradients", "sg.grad(loss, wrt)"),
    **each_of("jacfwd jacrev", "sg.jacobian(f), which takes mode="),
    "detach": "sg.stop_gradient(x)",
    **each_of("pmap vectorize", "a function over batches: sg.vmap(f)"),
    **each_of("seed default_rng PRNGKey", "rng = sg.random.Generator(seed)"),
    "manual_seed": "sg.nn.manual_seed(seed), for the first values of modules",
    **each_of("rand randn", "rng = sg.random.Generator(seed), then rng.uniform or rng.normal"),
    **each_of("device cuda device_put", ON_CPU),
    **each_of(
        "odeint solve_ivp solve_bvp diffeqsolve",
        "sg.ode.solve(f, y, times, args), which gives the states at times (t_eval), f(t, y, *args)",
    ),
    **each_of(
        "remat recompute_grad",
        "sg.checkpoint(f, policy=sg.checkpoint_policies.dots_saveable); or memory_budget=",
    ),
    "distributions": "sg.stats: sg.stats.norm(loc, scale).logpdf(x), sg.stats.gamma.rvs(2.0)",
    "lax": "its functions stand in sg: sg.scan, sg.cond, sg.while_loop, sg.map",
    "numpy": "its functions stand in sg: sg.sin(x), and methods on values: x.sum()",
    "functional": "import staticgrad.nn.functional as F; its functions are those of sg.nn",
    "init": 'layers take initialisers by name: sg.nn.Linear(8, 4, init="xavier_uniform", seed=0)',
    **each_of("data DataLoader", _DATA),
    "utils": f"{_DATA}\nsg.optim.Adam(1e-3, max_norm=1.0) clips gradients",
    **each_of("tree_map tree_util", "sg.tree.map(f, tree)"),
    **each_of(
        "state_dict load_state_dict", 'sg.save("run.npz", tree), sg.load("run.npz", into=tree)'
    ),
    # arrays
    "cat": "sg.concatenate([a, b], axis)",
    "permute": "sg.transpose(x, axes)",
    "unsqueeze": "sg.expand_dims(x, axis)",
    "clamp": "sg.clip(x, low, high)",
    **each_of("mm bmm", "a @ b, or sg.matmul(a, b)"),
    "cast": 'x.astype("float64")',
    "gather": "sg.take_along_axis(x, indices, axis)",
    "masked_fill": "sg.where(mask, number, x)",
    "lgamma": "sg.special.gammaln(x)",
    **each_of("isrealobj iscomplexobj", "x.dtype.is_complex"),
    "logcumsumexp": "sg.cumlogsumexp(x, axis)",
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
    "addmm": "c + a @ b",
    **each_of("LinearLR", "sg.optim.warm_up(rate, steps)" + _AS_RATE),
    **each_of(
        "SequentialLR ChainedScheduler LambdaLR MultiStepLR",
        "sg.optim.RateSchedule(lambda t: ...), of the number of steps t" + _AS_RATE,
    ),
    "null_space": "u, s, v = sg.linalg.svd(a); v[r:].T of a rank r that is known",
    "orth": "u, s, v = sg.linalg.svd(a); u[:, :r] of a rank r that is known",
    **each_of("funm", "sg.linalg.sqrtm, logm, expm, cosm, signm; of a symmetric matrix eigh"),
    "solve_lyapunov": "sg.linalg.solve_continuous_lyapunov(a, q)",
    **each_of(
        "dropout dropout1d dropout2d dropout3d", "sg.nn.Dropout(p), a layer: it takes x when called"
    ),
    # layers
    **each_of("interpolate Upsample", "sg.nn.resize(x, shape, method), or scale="),
    "scaled_dot_product_attention": "sg.nn.attention",
    **each_of("bilinear", 'sg.einsum("...i,oij,...j->...o", x, weight, y)'),
    **each_of("embedding_bag EmbeddingBag", "sg.nn.embedding(ids, table).mean(-2)"),
    "TransformerEncoderLayer": "sg.nn.TransformerBlock(features, heads)",
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
    **each_of(
        "Adamax NAdam RAdam Rprop Adadelta LAMB", "sg.optim.Adam, AdamW, Lion, RMSProp, Adagrad"
    ),
    "GradScaler": "sg.optim.LossScale, as loss_scale= of an optimizer",
}

#: A name in one namespace -> what to write, where the name alone means something else.
OF_NAMESPACES: Final = {
    "sg.onnx.save": "sg.onnx.export(program, path)",
    "sg.tree.tree_map": "sg.tree.map(f, tree)",
    **{f"sg.linalg.{name}": f"x.{name}, of the matrix" for name in ("T", "mT")},
    **{
        f"sg.special.{name}": "there is none: sg.host_call(function, x, types=..., vjp=...) calls"
        " SciPy's in a step"
        for name in (
            "bdtr", "bernoulli", "chdtr", "elliprf", "fdtr", "gdtr", "legendre_p", "nbdtr", "pdtr",
            "sph_harm", "sph_harm_y", "zetac",
        )
    },
}  # fmt: skip

#: A method or attribute of other libraries' arrays -> what to write of a value here.
METHODS: Final = {
    **each_of("backward grad", "gradients are values: dw, db = sg.grad(loss, [w, b])"),
    **each_of(
        "requires_grad requires_grad_",
        "name what you want: sg.grad(loss, [w]), opt.minimize(loss, [w]); the rest is frozen",
    ),
    **each_of("item numpy tolist eval cpu", NUMBERS),
    **each_of("detach data", "sg.stop_gradient(x) lets no gradient through"),
    "clone": "a value never changes: use the value itself",
    **each_of("fill put", WRITE),
    **each_of("to type_as", "x.astype(dtype)"),
    **each_of("float double half long int bool", 'x.astype("float32"), "float64" and so on'),
    "cuda": "kernels run on the CPU: there is nothing to move",
    "t": "x.T",
    "expand_as": "sg.broadcast_to(x, shape)",
    **each_of("mm bmm", "a @ b, or sg.matmul(a, b)"),
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
}

#: An attribute of the modules of other libraries -> what to write.
OF_MODULES: Final = {
    **each_of("cuda cpu to", "kernels run on the CPU; layers take dtype="),
    **each_of("half float double", 'layers take a dtype: sg.nn.Linear(3, 2, dtype="float64")'),
    "compile": "sg.function(step): a step is compiled at its first call",
    "fit": "sg.train.fit(step, data), of a step with opt.minimize(loss) in it",
    "predict": "predict = sg.function(lambda x: model(x))",
    "summary": "print(model)",
    "requires_grad_": "name what trains: opt.minimize(loss, [head]); the rest is frozen",
    **each_of("buffers named_buffers register_buffer", "assign a parameter, and name it in states"),
    **each_of("add_module register_module register_parameter", "assign it: self.layer = layer"),
    "save": "sg.save(path, model)",
    "load": "sg.load(path, model)",
}
#: An attribute of the optimizers of other libraries -> what to write.
OF_OPTIMIZERS: Final = {
    "zero_grad": "nothing: gradients are values, and none is added up; opt.minimize(loss)",
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
        " iterable may_share_memory min_scalar_type mintypecode nested_iters printoptions"
        " promote_types save savetxt savez savez_compressed set_printoptions setbufsize seterr"
        " seterrcall shares_memory show_config show_runtime test typename"
    ),
    "shorter written out": "iscomplexobj isrealobj",
    "there are no dates": (
        "busday_count busday_offset datetime_as_string datetime_data is_busday isnat"
    ),
    "a function over batches: sg.vmap(f)": ("vectorize"),
}
#: Name -> why it is missing.
REASONS: Final = {name: reason for reason, names in MISSING.items() for name in names.split()}


def instead_of(name: str) -> str:
    """Return what to write for another library's name, or why it is missing; else empty."""
    return INSTEAD.get(name) or REASONS.get(name, "")


#: How users reach a module -> its home, whose ``__all__`` is what it offers.
_ROOMS: Final = {
    f"sg.{name}": MODULES[name]
    for name in (
        "checkpoint_policies", "implicit", "fft", "linalg", "nn", "ode", "optim", "random",
        "special", "stats", "testing", "train", "tree",
    )
}  # fmt: skip

_IMPORTED: Final = ("staticgrad.comparison", "staticgrad.eager")
"""Modules that ``sg`` has no name for: users import from them."""


def no_such_name(room: str, name: str, known: Sequence[str] = ()) -> AttributeError:
    """Return the error for a name that ``sg`` or one of its modules does not have."""
    if name.startswith("__"):
        return AttributeError(name)

    def hint() -> str:
        return _answer(room, name, known) or _closest(room, name, _own(room, known))

    return UnknownAttributeError(f"{room} has no {name!r}", hint=hint)


def attributes(room: str, known: Sequence[str], instead: Mapping[str, str] | None = None) -> Any:
    """Return ``__getattr__`` and ``__dir__`` of the module ``room`` with the names ``known``."""

    @boundary
    def __getattr__(name: str) -> NoReturn:  # noqa: N807 - that of the module
        if instead and name in instead:
            raise UnknownAttributeError(f"{room} has no {name!r}", hint=instead[name])
        raise no_such_name(room, name, known)

    return __getattr__, lambda: sorted(known)


def _answer(room: str, name: str, known: Sequence[str]) -> str:
    """Return what to write instead of a name that a module does not have; empty if unknown.

    PyTorch's classes are functions here: ``CrossEntropyLoss`` is ``sg.nn.cross_entropy``.
    """
    found = OF_NAMESPACES.get(f"{room}.{name}") or _where(room, name)
    found = found or instead_of(name) or _imported(name)
    if found:
        return found
    paths, spelled = _paths(room, _own(room, known))
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
    """``sg.nn.softmax(x, axis)``: how the public function of that name is called; else empty."""
    for room in ("sg", *_ROOMS):
        if name in (PUBLIC if room == "sg" else _names_in(room)):
            home, attribute = PUBLIC[name] if room == "sg" else (_ROOMS[room], name)
            function = getattr(import_module(home), attribute) if attribute else None
            if callable(function) and not isinstance(function, type):
                return f"{room}.{name}({_first_arguments(function)})"
    return ""


def has_name(room: str, name: str) -> bool:
    """Return whether a public module, ``sg.stats``, has a name."""
    return name in _names_in(room)


def _first_arguments(function: Callable[..., Any]) -> str:
    """Its operands, and the argument behind them: what a method of the same name would take."""
    from inspect import Parameter, signature  # for messages: a correct program never loads it

    known = list(signature(function).parameters.values())
    required = [p.name for p in known if p.default is Parameter.empty]
    further = [p.name for p in known if p.default is not Parameter.empty and p.name == "axis"]
    return ", ".join([*required, *further])


def _closest(room: str, name: str, own: tuple[str, ...]) -> str:
    """``did you mean sg.nn.Linear?``: a slip of the hand.

    A name of the same module and kind (class or function) within two edits, one edit for names of
    five letters and less; of another module within one edit, for names of six letters and more.
    """
    paths, _ = _paths(room, own)
    alike = [each for each in paths if each[0].isupper() is name[0].isupper()]
    near = [(edits(name, each), each not in own, each) for each in alike]
    most = 2 if len(name) > 5 else 1
    fits = [
        (count, foreign, each)
        for count, foreign, each in near
        if (count <= most and not foreign) or (count == 1 and len(name) > 5)
    ]
    return f"did you mean {paths[min(fits)[2]]}?" if fits else ""


def edits(one: str, other: str) -> int:
    """Return how many letters are replaced, inserted, left out, or swapped with the next."""
    row: list[int]
    if abs(len(one) - len(other)) > 2:
        return 3  # or more
    earlier: list[int] = []
    before: list[int] = []
    row = [*range(len(other) + 1)]
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, one[i - 2]) == (other[j - 2], b):
                row[j] = min(row[j], earlier[j - 2] + 1)
    return row[-1]


@cache
def _paths(room: str, own: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Each public name -> how users reach it, first in their room; its letters -> the name."""
    paths = [f"{room}.{each}" for each in own]
    paths += [f"{other}.{each}" for other in _ROOMS for each in _names_in(other)]
    last = {path.rpartition(".")[2]: path for path in reversed(paths)}
    return last, {_letters(each): each for each in last}


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def _where(room: str, name: str) -> str:
    """Return the other module that has the name."""
    if name == "Parameter" and room != "sg":  # the class is there, a function makes them
        return "it is sg.parameter(name, array)"
    if room != "sg" and name in PUBLIC:
        return f"it is sg.{name}"
    for other in _ROOMS:
        if other not in (room, "sg.tree") and name in _names_in(other):  # flatten is another one
            return f"it is {other}.{name}"
    if name in dir(import_module(MODULES["random"]).Generator):
        return f"a generator has it: rng = sg.random.Generator(seed), rng.{name}(...)"
    return ""


def _imported(name: str) -> str:
    """Return the import statement of a name that users import."""
    found = (module for module in _IMPORTED if name in import_module(module).__all__)
    return next((f"from {module} import {name}" for module in found), "")


def _own(room: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names that a room itself offers: those of ``sg`` are given."""
    return tuple(known) or _names_in(room)


def _names_in(room: str) -> tuple[str, ...]:
    """The public names of a module."""
    return tuple(import_module(_ROOMS[room]).__all__)
