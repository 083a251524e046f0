"""Methods and attributes of other libraries' arrays, and what to write here: data for messages.

Values of a graph and tensors share the table; tensors, which have numbers, have some more of the
methods, and other answers to a few.
"""

from __future__ import annotations

from typing import Final

from staticgrad.errors.elsewhere import call_of
from staticgrad.errors.habits import instead_of

NUMBERS: Final = "for its numbers: sg.evaluate(value, feeds) or sg.compile(value).run(feeds)"
WRITE: Final = "a value never changes; x.at[key].set(y) and x.at[key].add(y) give a new one"
_NO_COPY: Final = "a value never changes: use the value itself"
_NOT_MOVED: Final = "kernels run on the CPU: there is nothing to move"
_ASKED: Final = "values have no memory layout, and stand on the CPU: there is nothing to ask"

#: How others call it -> what to write here.
OF_VALUES: Final[dict[str, str]] = {
    **dict.fromkeys(("backward", "grad"), "gradients are values: dw, db = sg.grad(loss, [w, b])"),
    **dict.fromkeys(
        ("requires_grad", "requires_grad_"),
        "name what you want: sg.grad(loss, [w]), opt.minimize(loss, [w]); the rest is frozen",
    ),
    **dict.fromkeys(("item", "numpy", "tolist", "eval", "cpu", "asnumpy", "get_value"), NUMBERS),
    **dict.fromkeys(("detach", "data"), "sg.stop_gradient(x) lets no gradient through"),
    **dict.fromkeys(("zero_grad", "retain_grad"), "gradients are values: there is none to clear"),
    **dict.fromkeys(("clone", "contiguous"), _NO_COPY),
    **dict.fromkeys(("fill", "put", "itemset", "set_value", "resize"), WRITE),
    **dict.fromkeys(("to", "type_as"), "x.astype(dtype)"),
    **dict.fromkeys(("double",), 'x.astype("float64")'),
    **dict.fromkeys(("float",), 'x.astype("float32")'),
    **dict.fromkeys(("half", "bfloat16"), 'x.astype("float16"), or x.astype("bfloat16")'),
    **dict.fromkeys(("long", "int", "short", "char"), 'x.astype("int64"), "int32" and so on'),
    **dict.fromkeys(("bool", "byte"), 'x.astype("bool"), x.astype("uint8")'),
    **dict.fromkeys(("cuda", "pin_memory"), _NOT_MOVED),
    **dict.fromkeys(("is_cuda", "is_contiguous", "stride", "strides", "data_ptr", "flags"), _ASKED),
    **dict.fromkeys(("storage", "layout", "base", "names"), _ASKED),
    **dict.fromkeys(("is_leaf", "grad_fn"), "x.node: what computes a value, x.node.args of what"),
    "flat": "x.reshape(-1)",
    "run": "f = sg.compile(value), then f.run(feeds)",
    "value": "a parameter has one; an input is fed: f.run({name: array})",
    "assign": "sg.Graph(outputs, updates={parameter: its next value})",
    "name": "an input's name is the key of its feed; give values names as outputs of a graph",
    "register_hook": "sg.custom_vjp(f): what f's rule does happens to the gradient",
    # shapes
    **dict.fromkeys(("view", "reshape_as", "view_as", "unflatten"), "x.reshape(shape)"),
    **dict.fromkeys(("permute", "movedim"), "x.transpose(axes), sg.moveaxis(x, source, target)"),
    "t": "x.T",
    "unsqueeze": "x[..., None] or sg.expand_dims(x, axis)",
    **dict.fromkeys(("expand", "expand_as"), "sg.broadcast_to(x, shape)"),
    **dict.fromkeys(("dim", "ndimension"), "x.ndim"),
    **dict.fromkeys(("numel", "nelement"), "x.size"),
    **dict.fromkeys(("element_size", "itemsize", "nbytes"), "x.dtype.bits // 8, times x.size"),
    # parts
    **dict.fromkeys(("select", "narrow"), "x[:, start : start + length], by its axis"),
    "index_select": "x.take(indices, axis)",
    "gather": "sg.take_along_axis(x, indices, axis)",
    "scatter": "x.at[key].set(y)",
    "index_add": "x.at[key].add(y)",
    "chunk": "sg.array_split(x, parts, axis)",
    "split_with_sizes": "sg.split(x, places, axis), at places instead of sizes",
    "unbind": "sg.unstack(x, axis)",
    "repeat_interleave": "x.repeat(repeats, axis)",
    "masked_select": "sg.where(mask, x, 0): the size of a result never depends on values",
    "where": "sg.where(condition, x, y)",
    **dict.fromkeys(("new_zeros", "new_empty"), "sg.zeros(shape, x.dtype)"),
    "new_ones": "sg.ones(shape, x.dtype)",
    "new_full": "sg.full(shape, number, x.dtype)",
    "new_tensor": "sg.constant(array)",
    # numbers
    **dict.fromkeys(("mm", "bmm", "matmul", "mv"), "a @ b, or sg.matmul(a, b)"),
    **dict.fromkeys(("addmm", "baddbmm"), "c + a @ b"),
    "abs": "abs(x)",
    "pow": "x ** y",
    **dict.fromkeys(("add", "sub", "subtract", "mul", "multiply", "div", "divide"), "x + y, x * y"),
    **dict.fromkeys(("addcmul", "addcdiv", "lerp"), "the formula: x + t * (y - x)"),
    **dict.fromkeys(("eq", "ne", "lt", "gt", "le", "ge"), "x == y, x < y, and so on"),
    **dict.fromkeys(("amax", "amin", "aminmax"), "x.max(axis), x.min(axis)"),
    **dict.fromkeys(("clamp_min", "clamp_max"), "sg.maximum(x, low), sg.minimum(x, high)"),
    "neg": "-x",
    "lgamma": "sg.special.gammaln(x)",
    "inverse": "sg.linalg.inv(x)",
    "kthvalue": "sg.sort(x, axis)[..., k - 1]",
    "msort": "sg.sort(x, 0)",
    "mode": "sg.one_hot(x, classes).sum(0).argmax() of labels",
    **dict.fromkeys(("bernoulli", "multinomial"), "sg.random.Generator(0).uniform(...) < p"),
}  # fmt: skip

#: What is answered otherwise of a tensor.
OF_TENSORS: Final[dict[str, str]] = {
    **dict.fromkeys(("cpu", "asnumpy", "get_value"), "x.numpy()"),
    "eval": "it is computed already: x.numpy()",
    "requires_grad_": "x.requires_grad = True",
    "run": "it has run already: x.numpy()",
    "value": "x.data is the array",
    "is_leaf": "x.requires_grad; x.grad after backward, of a tensor that asked for it",
    "assign": "x.data = array",
    "clone": "x.copy()",
}


def instead_of_method(name: str, *, of_tensor: bool = False) -> str:
    """What to write for a method of another library; empty where nothing is known."""
    if of_tensor and name in OF_TENSORS:
        return OF_TENSORS[name]
    if name in OF_VALUES:
        return OF_VALUES[name]
    if name.endswith("_") and name.rstrip("_"):
        plain = name.rstrip("_")
        new = OF_VALUES.get(plain) or call_of(plain)
        return f"a value never changes: y = {new}" if new.startswith(("sg.", "x.")) else WRITE
    return call_of(name) or instead_of(name)
