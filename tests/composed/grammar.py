"""The grammar of composed programs: productions that add typed statements, drawn from a seed.

A production is a function of a ``Builder`` under ``@row``. It takes operands from the scope and
adds statements, each with a text for NumPy and, where that is not the same with ``sg`` for ``np``,
one for staticgrad. ``Builder.bound`` has a bound on the magnitude of each value: values stay tame,
so that neither overflow nor bad indices occur. Rows tagged "same" return the kind of their operand,
and carries are names of them; "top" stand outside of loops; "loop" have blocks.
"""

import numpy as np

from tests.composed.trees import Block, Kind, Program, Size, Statement, shape_text

LIMIT = 20.0  # larger values are scaled before anything else reads them
MOST = 240  # elements of a value
MOST_DEPTH = 3  # of loops in loops
LEAST_N = 4  # of a named size
ROWS = {}


class UnfitError(Exception):
    """No value in scope fits a production: nothing is added."""


def row(tags="", times=1):
    """Make a function a production that is drawn ``times`` times as often as others."""

    def register(function):
        ROWS[function.__name__] = function, times, frozenset(tags.split())
        return function

    return register


def least(size):
    """Return the smallest extent that a size may have."""
    return size.at(LEAST_N)


def index_text(axis, text, rank):
    """Return an index that has ``text`` at an axis, in brackets."""
    return f"[{', '.join([':'] * axis + [text] + [':'] * (rank - axis - 1))}]"


def literal_size(number):
    return Size(0, number)


class Builder:
    """One program in the making: the scope, and the statements of each open block."""

    def __init__(self, seed, steps=(5, 14), depth=MOST_DEPTH):
        self.rng = np.random.default_rng(seed)
        self.n = int(self.rng.integers(LEAST_N, 8)) if self.chance(0.25) else 0
        self.steps, self.most_depth = steps, depth
        self.scopes, self.statements, self.depth, self.count = [[]], [[]], 0, 0
        self.kinds, self.bound, self.draws = {}, {}, []
        self.rows = [
            (function, tags) for function, times, tags in ROWS.values() for _ in range(times)
        ]

    # choices

    def chance(self, probability):
        return self.rng.random() < probability

    def choice(self, options):
        options = list(options)
        if not options:
            raise UnfitError
        return options[int(self.rng.integers(len(options)))]

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    # the scope

    def fresh(self, letter="v"):
        self.count += 1
        return f"{letter}{self.count}"

    def declare(self, name, kind, bound):
        self.kinds[name], self.bound[name] = kind, bound
        self.scopes[-1].append(name)
        return name

    def find(self, dtype="float", accepts=lambda shape: True):
        """Return a value in scope; one of the latest more often than another."""
        names = [
            name
            for scope in self.scopes
            for name in scope
            if self.kinds[name].dtype == dtype and accepts(self.kinds[name].shape)
        ]
        if not names:
            raise UnfitError
        return self.choice(names[-3:] if self.chance(0.65) else names)

    def shape(self, name):
        return self.kinds[name].shape

    def float_with_axis(self, accepts=lambda size: True):
        """Return a float value and one of its axes."""
        x = self.find(accepts=lambda shape: any(map(accepts, shape)))
        axes = [axis for axis, size in enumerate(self.shape(x)) if accepts(size)]
        return x, self.choice(axes)

    # statements

    def add(self, name, kind, reads, text, sg=None, bound=LIMIT):
        """Add a statement and return the name of its result, scaled if it may be too large.

        Args:
            name: the production.
            text: what NumPy computes; ``$0`` is the first of ``reads``.
            sg: the same for staticgrad; by default ``text`` with ``sg`` for ``np``.
        """
        if np.prod([size.at(7) for size in kind.shape], dtype=float) > MOST or len(kind.shape) > 4:
            raise UnfitError
        result = self.fresh()
        texts = (text.replace("np.", "sg.") if sg is None else sg, text)
        self.statements[-1].append(Statement(name, ((result, kind),), tuple(reads), texts))
        self.declare(result, kind, bound)
        if bound > LIMIT and kind.dtype in ("float", "complex"):
            return self.add("scale", kind, [result], f"$0 * {2.0 / bound:.3g}", bound=2.1)
        if bound > LIMIT and kind.dtype in ("int64", "int32"):
            return self.add("wrap", kind, [result], "np.remainder($0, 7)", bound=6)
        return result

    def same(self, name, x, text, sg=None, bound=None, reads=()):
        """Add a statement whose result has the kind of ``x``."""
        bound = self.bound[x] if bound is None else bound
        return self.add(name, self.kinds[x], [x, *reads], text, sg, bound)

    def open(self):
        self.scopes.append([])
        self.statements.append([])
        self.depth += 1

    def close(self):
        self.scopes.pop()
        self.depth -= 1
        return tuple(self.statements.pop())

    # steps

    def step(self, tags=None):
        """Apply one production that may stand here; what does not fit adds nothing."""
        for _ in range(20):
            function, row_tags = self.rows[int(self.rng.integers(len(self.rows)))]
            if tags is not None and not (tags & row_tags):
                continue
            if "top" in row_tags and self.depth:
                continue
            if "loop" in row_tags and (self.depth >= self.most_depth or self.chance(0.3)):
                continue
            blocks, names, lines = len(self.scopes), len(self.scopes[-1]), len(self.statements[-1])
            draws = len(self.draws)
            try:
                return function(self)
            except UnfitError:
                del self.scopes[blocks:], self.statements[blocks:], self.draws[draws:]
                del self.scopes[-1][names:], self.statements[-1][lines:]
                self.depth = blocks - 1
        return None

    def inputs(self):
        """Declare the inputs; the first one has the named size, if there is one."""
        sizes = [literal_size(k) for k in (2, 3, 4, 5, 1, 6)] + [Size(1, 0)] * (3 * bool(self.n))
        base = [self.choice(sizes[:4]) for _ in range(self.number(1, 3))]
        if self.n:
            base[0] = Size(1, 0)
        params = [("x0", Kind("float", tuple(base)))]
        for place in range(self.number(1, 3)):
            shape = base[self.number(0, len(base)) :]
            if self.chance(0.4):
                shape = [self.choice(sizes) for _ in range(self.number(0, 3))]
            if self.chance(0.2) and len(shape) == 1:
                shape = [*shape, *shape]
            params.append((f"x{place + 1}", Kind("float", tuple(shape))))
        if self.chance(0.5):
            params.append(("i0", Kind("int64", (self.choice(sizes),))))
        if self.chance(0.3):
            params.append(("j0", Kind("int32", (self.choice(sizes),))))
        if self.chance(0.5):
            params.append(("b0", Kind("bool", (self.choice([*base, *sizes]),))))
        for name, kind in params:
            self.declare(name, kind, {"float": 1.5, "bool": 1}.get(kind.dtype, 3))
        return params

    def program(self, seed, dtype, order):
        """Return a program of some steps."""
        params = self.inputs()
        for _ in range(self.number(*self.steps)):
            self.step()
        names = [n for s in self.statements[-1] if s.row != "draw" for n in s.names]
        names = names or [same_kind(self, "x0")]
        results = [names[-1], *(self.choice(names) for _ in range(self.number(0, 3)))]
        updates = []
        if self.chance(0.25):
            for name, kind in params:
                values = [n for n in self.scopes[0] if self.kinds[n] == kind and n != name]
                if kind.dtype == "float" and not any(s.named for s in kind.shape) and values:
                    updates.append((name, self.choice(values[-4:])))
        block = Block(
            "", tuple(params), tuple(self.statements[0]), tuple(dict.fromkeys(results)), ""
        )
        return Program(block, dtype, order, self.n, seed, tuple(self.draws), tuple(updates))


def random_program(seed, **options):
    """Return the program of a seed."""
    rng = np.random.default_rng([93, seed])
    dtype = "float32" if rng.random() < 0.25 else "float64"
    order = int(rng.choice([0, 1, 1, 1, 2]))
    return Builder([1, seed], **options).program(seed, dtype, order)


# -- elementwise -----------------------------------------------------------------------------------

#: Text of one operand -> its bound, from that of the operand; another text for staticgrad.
UNARY = (
    ("np.tanh($0)", lambda b: 1.0, None),
    ("np.sin($0)", lambda b: 1.0, None),
    ("np.cos($0)", lambda b: 1.0, None),
    ("-$0", lambda b: b, None),
    ("$0 * $0", lambda b: b * b, None),
    ("$0 ** 3", lambda b: b**3, None),
    ("np.exp(-$0 * $0)", lambda b: 1.0, None),
    ("np.exp(np.tanh($0))", lambda b: 2.8, None),
    ("np.log($0 * $0 + 1.0)", lambda b: b, None),
    ("np.log1p(np.abs($0))", lambda b: b, None),
    ("np.sqrt($0 * $0 + 0.5)", lambda b: b + 1, None),
    ("1.0 / ($0 * $0 + 1.0)", lambda b: 1.0, None),
    ("np.arctan($0)", lambda b: 1.6, None),
    ("np.expm1(np.sin($0))", lambda b: 2.0, None),
    ("1.0 / (1.0 + np.exp(-$0))", lambda b: 1.0, "sg.sigmoid($0)"),
    ("by.erf($0)", lambda b: 1.0, "sg.special.erf($0)"),
    ("np.abs($0)", lambda b: b, None),
    ("np.maximum($0, 0.0)", lambda b: b, "sg.nn.relu($0)"),
    ("np.logaddexp($0, 0.0)", lambda b: b + 1, "sg.nn.softplus($0)"),
    ("$0 / (1.0 + np.exp(-$0))", lambda b: b, "sg.nn.silu($0)"),
    ("np.where($0 > 0, $0, np.expm1($0))", lambda b: b, "sg.nn.elu($0)"),
    ("np.clip($0, -0.75, 0.5)", lambda b: 0.75, None),
    ("np.where($0 > 0.25, $0, 0.5 * $0)", lambda b: b, None),
    ("np.sign($0) * $0", lambda b: b, None),
    ("np.cosh(np.tanh($0))", lambda b: 1.6, None),
    ("np.arcsinh($0)", lambda b: b, None),
    ("np.exp2(-np.abs($0))", lambda b: 1.0, None),
    ("np.cbrt($0 * $0 + 0.25)", lambda b: b + 1, None),
    ("0.5 * $0 * (1.0 + by.erf($0 * 0.7071067811865476))", lambda b: b, "sg.nn.gelu($0)"),
)
BINARY = (
    ("$0 + $1", lambda a, b: a + b),
    ("$0 - $1", lambda a, b: a + b),
    ("$0 * $1", lambda a, b: a * b),
    ("np.maximum($0, $1)", max),
    ("np.minimum($0, 0.5 * $1)", max),
    ("$0 / ($1 * $1 + 1.0)", lambda a, b: a),
    ("np.sqrt($0 * $0 + $1 * $1 + 0.25)", lambda a, b: a + b + 1),
    ("np.logaddexp($0, $1)", lambda a, b: max(a, b) + 1),
    ("np.arctan2($0, $1 * $1 + 0.5)", lambda a, b: 1.6),
    ("np.where($0 > $1, $0, 2.0 * $1)", lambda a, b: max(a, 2 * b)),
    ("$0 * np.tanh($1) + 0.5", lambda a, b: a + 1),
    ("np.exp(-($0 - $1) ** 2)", lambda a, b: 1.0),
)


@row("same", 6)
def unary(b):
    x = b.find()
    text, bound, sg = b.choice(UNARY)
    return b.same("unary", x, text, sg, bound(b.bound[x]))


def broadcasts(small, large):
    """Return whether a shape broadcasts to another one."""
    if len(small) > len(large):
        return False
    pairs = zip(reversed(small), reversed(large), strict=False)
    return all(a in (literal_size(1), b) for a, b in pairs)


@row("same", 6)
def binary(b):
    """An operand and another that broadcasts to it."""
    x = b.find()
    y = b.find(accepts=lambda shape: broadcasts(shape, b.shape(x)))
    text, bound = b.choice(BINARY)
    return b.same("binary", x, text, bound=bound(b.bound[x], b.bound[y]), reads=[y])


@row("", 3)
def outer_broadcast(b):
    """Two operands neither of which has the shape of the result."""
    x, y = b.find(accepts=lambda s: len(s) == 1), b.find(accepts=lambda s: len(s) == 1)
    text, bound = b.choice(BINARY)
    text = text.replace("$0", "$0[:, None]")
    kind = Kind("float", b.shape(x) + b.shape(y))
    return b.add("outer_broadcast", kind, [x, y], text, bound=bound(b.bound[x], b.bound[y]))


def same_kind(b, x):
    return b.same("unary", x, "np.tanh($0)", bound=1.0)


@row("same", 2)
def custom_rule(b):
    x = b.find()
    if b.chance(0.3):
        return b.same("custom_rule", x, "$0 * $0 * $0", "rules.cube($0)", b.bound[x] ** 3)
    if b.chance(0.4):
        return b.same("custom_rule", x, "np.sin($0) * $0", "rules.wave($0)")
    y = b.find(accepts=lambda shape: shape == b.shape(x))
    return b.same("custom_rule", x, "$0 * np.sin($1)", "rules.blend($0, $1)", reads=[y])


@row("same")
def scale_by_integers(b):
    """A value that moves nothing: its gradient is blocked, so it must not depend on a leaf."""
    x = b.find()
    y = b.find("int64", lambda shape: broadcasts(shape, b.shape(x)))
    return b.same("scale_by_integers", x, "$0 * $1.astype(F)", None, b.bound[x] * b.bound[y], [y])


# -- reductions ------------------------------------------------------------------------------------


def reduced_shape(shape, axes, keep):
    if keep:
        return tuple(literal_size(1) if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def axis_text(axes, rank):
    if len(axes) == rank:
        return "None"
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


@row("", 5)
def reduction(b):
    x = b.find(accepts=len)
    shape = b.shape(x)
    axes = [a for a in range(len(shape)) if b.chance(0.5)] or [b.number(0, len(shape) - 1)]
    keep, count = b.chance(0.4), float(np.prod([shape[a].at(7) for a in axes]))
    name = b.choice(("sum", "mean", "max", "min", "var", "std", "prod", "logsumexp"))
    place, bound = axis_text(axes, len(shape)), b.bound[x]
    more = f", keepdims={keep}" * keep
    text, sg = f"np.{name}($0, axis={place}{more})", None
    if name == "std":
        text = f"np.sqrt(np.var($0, axis={place}{more}) + 0.25)"
    if name == "prod":
        text = f"np.prod(np.tanh($0), axis={place}{more})"
    if name == "logsumexp":
        place = str(tuple(axes))
        text = f"by.logsumexp($0, {place}, keepdims={keep})"
        sg = f"sg.nn.logsumexp($0, {place}, keepdims={keep})"
    bounds = {"sum": bound * count, "var": bound**2, "prod": 1.0, "logsumexp": bound + 6}
    kind = Kind("float", reduced_shape(shape, axes, keep))
    return b.add("reduction", kind, [x], text, sg, bounds.get(name, bound + 1))


@row("same", 2)
def subtract_reduction(b):
    """A value less a reduction of its own, or over it."""
    x, axis = b.float_with_axis()
    text = b.choice((
        f"$0 - np.mean($0, axis={axis}, keepdims=True)",
        f"$0 - np.max($0, axis={axis}, keepdims=True)",
        f"$0 / np.sqrt(np.sum($0 * $0, axis={axis}, keepdims=True) + 1.0)",
        f"$0 * np.min($0, axis={axis}, keepdims=True)",
    ))  # fmt: skip
    return b.same("subtract_reduction", x, text, bound=max(2 * b.bound[x], b.bound[x] ** 2))


@row("same", 2)
def softmaxes(b):
    x, axis = b.float_with_axis()
    name = b.choice(("softmax", "log_softmax"))
    text = f"by.{name}($0, {axis})"
    return b.same("softmaxes", x, text, text.replace("by.", "sg.nn."), 2 * b.bound[x] + 3)


@row("same")
def layer_norm(b):
    x = b.find(accepts=lambda s: len(s) and least(s[-1]) > 1)
    ramp = f"$0 + 0.5 * np.arange({b.shape(x)[-1]}).astype(F)"
    x = b.same("unary", x, ramp, bound=b.bound[x] + 3)
    return b.same("layer_norm", x, "by.layer_norm($0)", "sg.nn.layer_norm($0)", 3.0)


@row("", 2)
def positions(b):
    """Indices of extremes, as numbers."""
    x, axis = b.float_with_axis()
    name = b.choice(("argmax", "argmin"))
    shape = reduced_shape(b.shape(x), [axis], False)
    return b.add(
        "positions", Kind("int64", shape), [x], f"np.{name}($0, axis={axis})",
        bound=b.shape(x)[axis].at(7) - 1,
    )  # fmt: skip


# -- movement --------------------------------------------------------------------------------------


@row("", 3)
def reshape_axes(b):
    """Axes merged, split or new."""
    x = b.find(b.choice(("float", "float", "float", "int64", "bool", "complex")), len)
    shape = list(b.shape(x))
    axis = b.number(0, len(shape) - 1)
    size, following = shape[axis], shape[axis + 1] if axis + 1 < len(shape) else None
    if following is not None and not (size.named and following.named) and b.chance(0.6):
        factor, number = (size, following) if size.named else (following, size)
        merged = Size(factor.named * number.fixed, factor.fixed * number.fixed)
        shape[axis : axis + 2] = [merged]
    elif not size.named and size.fixed % 2 == 0 and size.fixed > 2:
        shape[axis : axis + 1] = [literal_size(2), literal_size(size.fixed // 2)]
    elif not size.named and size.fixed % 3 == 0 and size.fixed > 3:
        shape[axis : axis + 1] = [literal_size(size.fixed // 3), literal_size(3)]
    else:
        shape.insert(axis, literal_size(1))
    kind = Kind(b.kinds[x].dtype, tuple(shape))
    return b.add("reshape_axes", kind, [x], f"$0.reshape({shape_text(shape)})", None, b.bound[x])


@row("", 3)
def transpose_axes(b):
    x = b.find(b.choice(("float", "float", "float", "bool", "complex")), lambda s: len(s) > 1)
    order = [int(a) for a in b.rng.permutation(len(b.shape(x)))]
    kind = Kind(b.kinds[x].dtype, tuple(b.shape(x)[a] for a in order))
    return b.add("transpose_axes", kind, [x], f"np.transpose($0, {tuple(order)})", None, b.bound[x])


@row("", 1)
def squeeze_axis(b):
    x = b.find(accepts=lambda s: literal_size(1) in s)
    axis = b.shape(x).index(literal_size(1))
    kind = Kind("float", reduced_shape(b.shape(x), [axis], False))
    return b.add("squeeze_axis", kind, [x], f"np.squeeze($0, {axis})", None, b.bound[x])


@row("", 2)
def repeat_axis(b):
    """A new axis that is repeated, in front or inside."""
    x = b.find(accepts=lambda s: len(s) < 3)
    axis, count = b.number(0, len(b.shape(x))), b.number(2, 4)
    shape = [*b.shape(x)]
    index = ", ".join([":"] * axis + ["None"] + [":"] * (len(shape) - axis))
    shape.insert(axis, literal_size(count))
    text = f"np.broadcast_to($0[{index}], {shape_text(shape)})"
    return b.add("repeat_axis", Kind("float", tuple(shape)), [x], text, None, b.bound[x])


@row("same", 3)
def roll_axis(b):
    x, axis = b.float_with_axis()
    shift = b.choice((1, -1, 2))
    if b.chance(0.2):
        return b.same("roll_axis", x, f"np.roll($0, {shift})")
    return b.same("roll_axis", x, f"np.roll($0, {shift}, axis={axis})")


@row("same", 2)
def flip_axis(b):
    x, axis = b.float_with_axis()
    if b.chance(0.5):
        return b.same("flip_axis", x, f"np.flip($0, {axis})")
    return b.same("flip_axis", x, "$0" + index_text(axis, "::-1", len(b.shape(x))))


#: What is joined to a shifted slice: text of the first part, of the second part, bound.
SHIFTS = (
    (":1", ":-1", "$0{b} + $0{c}", 2),
    ("-1:", "1:", "$0{b} * 0.5", 1),
    (":1", "1:", "$0{b} - $0{d}", 2),
    ("1:", ":1", "$0{b}", 1),
    ("-1:", ":-1", "np.tanh($0{b})", 1),
    (":1", "1:", "$0{b} * $0{c}", 3),
)


@row("same", 4)
def join_shifted(b):
    """Slices of one value, computed with and joined again."""
    x, axis = b.float_with_axis(lambda size: least(size) > 1)
    first, second, text, factor = b.choice(SHIFTS)
    rank = len(b.shape(x))
    inner = text.format(
        b=index_text(axis, second, rank),
        c=index_text(axis, "1:", rank),
        d=index_text(axis, ":-1", rank),
    )
    parts = f"$0{index_text(axis, first, rank)}, {inner}"
    bound = b.bound[x] * max(factor, b.bound[x])
    return b.same("join_shifted", x, f"np.concatenate([{parts}], axis={axis})", bound=bound)


@row("same", 2)
def stencil(b):
    """Neighbours along an axis, with zeros beyond the ends."""
    x, axis = b.float_with_axis(lambda size: least(size) > 1)
    rank = len(b.shape(x))
    first, last = b.choice(((1, 1), (2, 0), (0, 1), (1, 2)))
    widths = tuple((first, last) if a == axis else (0, 0) for a in range(rank))
    padded = b.shape(x)[axis]
    size = Size(padded.named, padded.fixed + first + last)
    shape = tuple(size if a == axis else s for a, s in enumerate(b.shape(x)))
    p = b.add("pad_axes", Kind("float", shape), [x], f"np.pad($0, {widths})", None, b.bound[x])
    width = first + last
    left = index_text(axis, f":-{width}", rank)
    right = index_text(axis, f"{width}:", rank)
    return b.add(
        "stencil", b.kinds[x], [p, x], f"$0{left} - 0.5 * $0{right} + $1", None, 3 * b.bound[p]
    )


@row("", 3)
def slice_axis(b):
    """A slice with ends and steps of any sign."""
    x, axis = b.float_with_axis(lambda size: least(size) > 1)
    size, rank = b.shape(x)[axis], len(b.shape(x))
    if size.named:
        start, stop = b.choice(((1, 0), (0, 1), (1, 1), (2, 0)))
        text = f"{start or ''}:{f'-{stop}' if stop else ''}"
        new = Size(size.named, size.fixed - start - stop)
        if b.chance(0.4):  # of the named size with a step: two elements
            step = b.choice((2, -2, -1, 3, -3))
            text = f"{b.choice(('', '-1')) if step < 0 else b.choice(('', '0'))}::{step}"
            y = f"$0{index_text(axis, text, rank)}{index_text(axis, ':2', rank)}"
            shape = tuple(literal_size(2) if a == axis else s for a, s in enumerate(b.shape(x)))
            return b.add("strided", Kind("float", shape), [x], y, None, b.bound[x])
    else:
        count = size.fixed
        step = b.choice((1, 1, 2, -1, -2, 3, -3))
        start = b.choice(("", b.number(-count, count - 1)))
        stop = b.choice(("", b.number(-count, count)))
        length = len(range(count)[slice(*(None if v == "" else v for v in (start, stop)), step)])
        if not length:
            raise UnfitError
        text, new = f"{start}:{stop}:{step}", literal_size(length)
    shape = tuple(new if a == axis else s for a, s in enumerate(b.shape(x)))
    text = "$0" + index_text(axis, text, rank)
    return b.add("slice_axis", Kind("float", shape), [x], text, None, b.bound[x])


@row("", 2)
def pad_axes(b):
    x = b.find(b.choice(("float", "float", "bool", "int64")), len)
    shape = b.shape(x)
    widths = tuple((b.number(0, 2), b.number(0, 1)) for _ in shape)
    kind = Kind(
        b.kinds[x].dtype,
        tuple(Size(s.named, s.fixed + sum(w)) for s, w in zip(shape, widths, strict=True)),
    )
    text = f"np.pad($0, {widths})"
    if kind.dtype == "float" and b.chance(0.3):
        text = f"np.pad($0, {widths}, constant_values=0.75)"
    elif kind.dtype == "float" and b.chance(0.2):
        text = f'np.pad($0, {widths}, mode="edge")'
    return b.add("pad_axes", kind, [x], text, None, max(1, b.bound[x]))


def joinable(b, x, axis):
    def accepts(shape):
        expected = b.shape(x)
        return len(shape) == len(expected) and all(
            a == axis or s == t for a, (s, t) in enumerate(zip(shape, expected, strict=True))
        )

    return accepts


@row("", 3)
def join_axis(b):
    x, axis = b.float_with_axis()
    y = b.find(accepts=joinable(b, x, axis))
    sizes = b.shape(x)[axis], b.shape(y)[axis]
    size = Size(sum(size.named for size in sizes), sum(size.fixed for size in sizes))
    shape = tuple(size if a == axis else s for a, s in enumerate(b.shape(x)))
    bound = max(b.bound[x], b.bound[y])
    text = f"np.concatenate([$0, $1], axis={axis})"
    return b.add("join_axis", Kind("float", shape), [x, y], text, None, bound)


@row("", 2)
def stacked(b):
    x = b.find(accepts=lambda s: len(s) < 3)
    y = b.find(accepts=lambda s: s == b.shape(x))
    axis = b.number(0, len(b.shape(x)))
    shape = [*b.shape(x)]
    shape.insert(axis, literal_size(2))
    text = f"np.stack([$0, $1], axis={axis})"
    return b.add("stacked", Kind("float", tuple(shape)), [x, y], text, None,
                 max(b.bound[x], b.bound[y]))  # fmt: skip


@row("", 1)
def tile_last(b):
    x = b.find(accepts=lambda s: len(s) in (1, 2))
    count, name = b.number(2, 3), b.choice(("tile", "repeat"))
    *others, last = b.shape(x)
    shape = (*others, Size(last.named * count, last.fixed * count))
    text = f"np.tile($0, {count})" if name == "tile" else f"np.repeat($0, {count}, axis=-1)"
    return b.add("tile_last", Kind("float", shape), [x], text, None, b.bound[x])


@row("same", 2)
def triangle(b):
    x = b.find(accepts=lambda s: len(s) > 1)
    name, k = b.choice(("tril", "triu")), b.number(-1, 1)
    return b.same("triangle", x, f"np.{name}($0, {k})")


@row("", 1)
def diagonal(b):
    x = b.find(accepts=lambda s: len(s) == 2 and s[0] == s[1])
    return b.add(
        "diagonal", Kind("float", b.shape(x)[:1]), [x], "np.diagonal($0)", None, b.bound[x]
    )


@row("", 1)
def difference(b):
    x, axis = b.float_with_axis(lambda size: least(size) > 1)
    shape = tuple(Size(s.named, s.fixed - 1) if a == axis else s for a, s in enumerate(b.shape(x)))
    text = f"np.diff($0, axis={axis})"
    return b.add("difference", Kind("float", shape), [x], text, None, 2 * b.bound[x])


# -- indices ---------------------------------------------------------------------------------------


def index_of(b, size, like=None):
    """Return a value of indices below a size, in range."""
    i = b.find("int64", accepts=lambda s: len(s) <= 1 if like is None else s == like)
    if b.bound[i] < least(size) and b.chance(0.5):
        return i  # inside as it is, also from the end
    text = f"np.remainder($0, {size})"
    if b.chance(0.3):
        text += f" - ({size})"  # from the end
    bound = size.at(7)
    return b.add("index", b.kinds[i], [i], text, None, bound)


@row("", 3)
def take_indices(b):
    x, axis = b.float_with_axis()
    size = b.shape(x)[axis]
    if not size.named and b.chance(0.5):
        numbers = [b.number(-size.fixed, size.fixed - 1) for _ in range(b.number(1, 4))]
        new, reads = (literal_size(len(numbers)),), [x]
        text = f"np.take($0, np.array({numbers}), axis={axis})"
        sg = f"sg.take($0, sg.constant(np.array({numbers})), axis={axis})"
    else:
        i = index_of(b, size)
        new, reads = b.shape(i), [x, i]
        text, sg = f"np.take($0, $1, axis={axis})", None
        if axis == 0 and b.chance(0.5):
            text = "$0[$1]"
    shape = b.shape(x)[:axis] + new + b.shape(x)[axis + 1 :]
    return b.add("take_indices", Kind("float", shape), reads, text, sg, b.bound[x])


@row("", 1)
def element(b):
    """One element along an axis, by a number."""
    x, axis = b.float_with_axis(lambda size: least(size) > 1)
    shape = reduced_shape(b.shape(x), [axis], False)
    text = "$0" + index_text(axis, str(b.choice((0, -1, 1))), len(b.shape(x)))
    return b.add("element", Kind("float", shape), [x], text, None, b.bound[x])


@row("same", 2)
def sorted_along(b):
    x, axis = b.float_with_axis()
    text = f"np.sort($0, axis={axis})"
    if b.chance(0.4):
        text = f"np.take_along_axis($0, np.argsort($0, axis={axis}, kind='stable'), axis={axis})"
    if b.chance(0.2):
        text = f"-np.sort(-$0, axis={axis})"
    return b.same("sorted_along", x, text)


@row("", 1)
def order_of(b):
    x, axis = b.float_with_axis()
    bound = b.shape(x)[axis].at(7)
    return b.add(
        "order_of",
        Kind("int64", b.shape(x)),
        [x],
        f"np.argsort($0, axis={axis}, kind='stable')",
        None,
        bound,
    )


@row("", 1)
def largest(b):
    """The k largest along the last axis."""
    x = b.find(accepts=lambda s: len(s) and least(s[-1]) > 2)
    k = b.number(1, 2)
    kind = Kind("float", (*b.shape(x)[:-1], literal_size(k)))
    if b.chance(0.5):
        return b.add("smallest", kind, [x], f"np.sort($0, axis=-1)[..., :{k}]", None, b.bound[x])
    text = f"-np.sort(-$0, axis=-1)[..., :{k}]"
    return b.add("largest", kind, [x], text, f"sg.topk($0, {k})[0]", b.bound[x])


@row("same", 2)
def write_twice(b):
    """Two entries written one after the other, at numbers that only a run knows: equal or not."""
    x = b.find(accepts=lambda s: len(s) == 1 and least(s[0]) > 1)
    size = b.shape(x)[0]
    numbers = []
    for _ in range(2):
        i = b.find("int64")
        text = f"np.remainder(np.sum($0), {size})"
        numbers.append(b.add("index", Kind("int64"), [i], text, None, size.at(7)))
    y, z = (b.find(accepts=lambda s: s == ()) for _ in range(2))
    first, second = (b.choice(("set", "add", "set")) for _ in range(2))
    inner = f'by.write($0, $1, $3, "{first}")'
    sg = f"$0.at[$1].{first}($3).at[$2].{second}($4)"
    bound = b.bound[x] + b.bound[y] + b.bound[z]
    text = f'by.write({inner}, $2, $4, "{second}")'
    return b.same("write_twice", x, text, sg, bound, [*numbers, y, z])


WRITES = ("set", "add", "multiply", "min", "max")


@row("same", 5)
def write_entries(b):
    """Entries of one axis written: at a number, a slice, listed numbers or computed ones."""
    x, axis = b.float_with_axis(lambda size: least(size) > 1)
    size, rank = b.shape(x)[axis], len(b.shape(x))
    how, reads = b.choice(WRITES), []
    place = b.choice(("number", "slice", "listed", "computed"))
    if place == "number":
        text = str(b.choice((0, -1, 1, -2)))
    elif place == "slice":
        text = b.choice((":1", "1:", "::2", "-2:", ":-1"))
    elif place == "listed":
        numbers = [b.choice((0, 1, -1, -2)) for _ in range(b.number(1, 3))]
        if how in ("set", "multiply"):
            numbers = [*{n % 2: n for n in (0, 1)[: len(numbers)]}]
        text = f"np.array({numbers})"
    else:
        i = index_of(b, size)
        if how in ("set", "multiply") and len(b.shape(i)) > 0:
            how = "add"
        reads, text = [i], "$2"
    rows = b.shape(x)[-1:] if axis < rank - 1 else ()
    y = b.find(accepts=lambda s: s in ((), rows))
    spot = index_text(axis, text, rank)
    value = "np.tanh($1)" if how == "multiply" else "$1"
    if b.chance(0.3) and place in ("number", "slice"):
        value = f"$0{spot} * 0.5"
    np_text = f"by.write($0, np.s_{spot}, {value}, {how!r})"
    sg = f"$0.at{spot}.{how}({value.replace('np.', 'sg.')})"
    bound = b.bound[x] + (5 * b.bound[y] if how == "add" else b.bound[y])
    return b.same("write_entries", x, np_text, sg, bound, [y, *reads])


@row("", 1)
def scatter_rows(b):
    """Rows added up at the numbers that integers name."""
    x = b.find(accepts=len)
    size = b.number(2, 5)
    i = index_of(b, literal_size(size), b.shape(x)[:1])
    kind = Kind("float", (literal_size(size), *b.shape(x)[1:]))
    return b.add(
        "scatter_rows", kind, [x, i], f"by.scatter_add($0, $1, {size})",
        f"sg.scatter_add($0, $1, {size})", b.bound[x] * 7,
    )  # fmt: skip


@row("", 1)
def search_row(b):
    x = b.find(accepts=lambda s: len(s) == 1)
    y = b.find(accepts=lambda s: len(s) == 1)
    text = "np.searchsorted(np.sort($0), $1)"
    return b.add("search_row", Kind("int64", b.shape(y)), [x, y], text, None, b.shape(x)[0].at(7))


@row("", 1)
def cross_entropy(b):
    x = b.find(accepts=lambda s: len(s) == 2)
    i = index_of(b, b.shape(x)[1], b.shape(x)[:1])
    text, sg = "by.cross_entropy($0, $1)", "sg.nn.cross_entropy($0, sg.remainder($1, {}))"
    sg = sg.format(b.shape(x)[1])  # an index from the end is an error there
    return b.add("cross_entropy", Kind("float"), [x, i], text, sg, 2 * b.bound[x] + 3)


# -- curves ----------------------------------------------------------------------------------------


@row("same", 3)
def curve(b):
    x, axis = b.float_with_axis()
    name = b.choice(("cumsum", "cumprod", "linear_scan"))
    count = b.shape(x)[axis].at(7)
    if name == "linear_scan":
        text = f"by.linear_scan(np.tanh($0), $0, {axis})"
        return b.same(
            "curve", x, text, f"sg.linear_scan(sg.tanh($0), $0, {axis})", b.bound[x] * count
        )
    if name == "cumprod":
        return b.same("curve", x, f"np.cumprod(np.tanh($0) + 0.25, axis={axis})", bound=1.25**count)
    return b.same("curve", x, f"np.cumsum($0, axis={axis})", bound=b.bound[x] * count)


# -- products --------------------------------------------------------------------------------------


@row("", 5)
def product(b):
    """A product of matrices, one of which may be transposed, or have more axes."""
    x = b.find(accepts=lambda s: 2 <= len(s) <= 3)
    inner = b.shape(x)[-1]
    y = b.find(accepts=lambda s: len(s) == 2 and inner in s)
    if b.shape(y)[0] == inner:
        text, last = "$0 @ $1", b.shape(y)[1]
    else:
        text, last = "$0 @ $1.T", b.shape(y)[0]
    shape = (*b.shape(x)[:-1], last)
    bound = b.bound[x] * b.bound[y] * inner.at(7)
    z = b.add("product", Kind("float", shape), [x, y], text, None, bound)
    if b.chance(0.3):
        return epilogue(b, z)
    return z


def epilogue(b, z):
    """A bias and an activation behind a product, or another shape of it."""
    if b.chance(0.5):
        y = b.find(accepts=lambda s: broadcasts(s, b.shape(z)))
        return b.same("epilogue", z, "np.tanh($0 + $1)", None, 1.0, [y])
    *lead, last = b.shape(z)
    if last.named or last.fixed % 2:
        raise UnfitError
    shape = (*lead, literal_size(2), literal_size(last.fixed // 2))
    kind = Kind("float", shape)
    w = b.add("reshape_axes", kind, [z], f"$0.reshape({shape_text(shape)})", None, b.bound[z])
    y = b.find(accepts=lambda s: broadcasts(s, shape))
    bound = b.bound[w] * b.bound[y] + b.bound[y] ** 2
    return b.same("binary", w, "np.maximum($0, $1) * $1", None, bound, [y])


@row("same", 3)
def square_product(b):
    """Rows times a square matrix: the kind stays, so carries are names of it."""
    x = b.find(accepts=lambda s: len(s) and not s[-1].named)
    m = b.find(accepts=lambda s: s == (b.shape(x)[-1],) * 2)
    bound = b.bound[x] * b.bound[m] * b.shape(x)[-1].fixed
    return b.same("square_product", x, b.choice(("$0 @ $1", "$0 @ $1.T")), None, bound, [m])


@row("", 2)
def gram(b):
    x = b.find(accepts=lambda s: len(s) == 2)
    text, size = ("$0 @ $0.T", b.shape(x)[0]) if b.chance(0.5) else ("$0.T @ $0", b.shape(x)[1])
    return b.add("product", Kind("float", (size, size)), [x], text, None, b.bound[x] ** 2 * 7)


@row("", 2)
def contraction(b):
    x = b.find(accepts=lambda s: len(s) == 2)
    y = b.find(accepts=lambda s: len(s) == 2 and s[0] == b.shape(x)[0])
    rows, i, j = b.shape(x)[0], b.shape(x)[1], b.shape(y)[1]
    text, shape = b.choice((
        ("bi,bj->ij", (i, j)), ("bi,bj->bij", (rows, i, j)),
        ("bi,bj->b", (rows,)), ("bi,bj->ji", (j, i)),
    ))  # fmt: skip
    bound = b.bound[x] * b.bound[y] * 7 * (7 if shape == (rows,) else 1)
    return b.add(
        "contraction", Kind("float", shape), [x, y], f'np.einsum("{text}", $0, $1)', None, bound
    )


@row("", 1)
def vector_product(b):
    x = b.find(accepts=lambda s: len(s) == 2)
    y = b.find(accepts=lambda s: len(s) == 1 and s[0] in b.shape(x))
    is_last = b.shape(x)[1] == b.shape(y)[0]
    text, size = ("$0 @ $1", b.shape(x)[0]) if is_last else ("$1 @ $0", b.shape(x)[1])
    return b.add("product", Kind("float", (size,)), [x, y], text, None, b.bound[x] * b.bound[y] * 7)


@row("", 2)
def attention(b):
    q = b.find(accepts=lambda s: len(s) in (2, 3))
    *lead, _, width = b.shape(q)
    k = b.find(accepts=lambda s: len(s) > 1 and s[:-2] == (*lead,) and s[-1] == width)
    causal = b.chance(0.5) and b.shape(q)[-2] == b.shape(k)[-2]
    text = f"by.attention($0, $1, $1, {causal})"
    sg = f"sg.nn.attention($0, $1, $1, causal={causal})"
    return b.add("attention", b.kinds[q], [q, k], text, sg, b.bound[k])


def has_windows(shape):
    """Return whether all axes behind the first two have a number above 1 as their size."""
    return all(size.fixed > 1 and not size.named for size in shape[2:])


@row("", 2)
def convolution(b):
    """Filters over one or two axes, with a stride, zeros around, and a bias behind."""
    axes = b.choice((1, 2))
    x = b.find(accepts=lambda s: len(s) == axes + 2 and has_windows(s))
    channels = b.shape(x)[1]
    if channels.named:
        raise UnfitError
    stride, padding, out = b.number(1, 2), b.number(0, 1), b.number(1, 3)
    size = 2
    filters = (literal_size(out), channels, *[literal_size(size)] * axes)
    numbers = b.add(
        "constant", Kind("float", filters), [],
        f"np.sin(np.arange({out * channels.fixed * size**axes}) * 0.7).astype(F).reshape("
        f"({out}, {channels}, {', '.join(['2'] * axes)}))",
        bound=1.0,
    )  # fmt: skip
    y = b.find(accepts=lambda s: s == ())
    w = b.same("binary", numbers, "$0 * $1", None, b.bound[y], [y])
    extents = tuple(
        literal_size((t.fixed + 2 * padding - size) // stride + 1) for t in b.shape(x)[2:]
    )
    kind = Kind("float", (b.shape(x)[0], literal_size(out), *extents))
    return b.add(
        "convolution", kind, [x, w], f"by.conv($0, $1, {stride}, {padding})",
        f"sg.nn.conv($0, $1, stride={stride}, padding={padding})",
        b.bound[x] * b.bound[w] * channels.fixed * size**axes,
    )  # fmt: skip


@row("", 1)
def image(b):
    """A value as images: a batch with channels and one or two axes behind."""
    x = b.find(accepts=lambda s: 2 <= len(s) <= 3 and all(not t.named for t in s[-2:]))
    axes = b.choice(("None, None", ":, None", "None, :")) if len(b.shape(x)) == 3 else "None, None"
    shape = list(b.shape(x))
    if axes == "None, None":
        if len(shape) == 3:
            raise UnfitError
        shape = [literal_size(1), literal_size(1), *shape]
    else:
        shape.insert(axes.index("None") // 3, literal_size(1))
    return b.add("image", Kind("float", tuple(shape)), [x], f"$0[{axes}]", None, b.bound[x])


@row("", 1)
def pool_windows(b):
    x = b.find(accepts=lambda s: len(s) in (3, 4) and has_windows(s))
    name, stride = b.choice(("max_pool", "avg_pool")), b.number(1, 2)
    extents = tuple(literal_size((t.fixed - 2) // stride + 1) for t in b.shape(x)[2:])
    kind = Kind("float", (*b.shape(x)[:2], *extents))
    return b.add(
        "pool_windows", kind, [x], f"by.{name}($0, 2, {stride})",
        f"sg.nn.{name}($0, 2, stride={stride})", b.bound[x],
    )  # fmt: skip


@row("", 2)
def image_net(b):
    """A convolution, a bias, an activation and a pool, over the last axes of a matrix."""
    x = b.find(accepts=lambda s: len(s) == 2 and all(t.fixed > 3 and not t.named for t in s))
    y = b.find(accepts=lambda s: s == ())
    shape = b.shape(x)
    image = Kind("float", (literal_size(1), literal_size(1), *shape))
    z = b.add("image", image, [x], "$0[None, None]", None, b.bound[x])
    numbers = "np.cos(np.arange({}) * 0.9).astype(F).reshape({})"
    filters = Kind("float", tuple(map(literal_size, (2, 1, 2, 2))))
    w = b.add("constant", filters, [], numbers.format(8, "(2, 1, 2, 2)"), None, 1)
    inner = tuple(literal_size(t.fixed - 1) for t in shape)
    kind = Kind("float", (literal_size(1), literal_size(2), *inner))
    z = b.add(
        "convolution", kind, [z, w], "by.conv($0, $1, 1, 0)", "sg.nn.conv($0, $1)", 4 * b.bound[x]
    )
    z = b.same("epilogue", z, "np.maximum($0 + $1, 0.0)", None, b.bound[z] + b.bound[y], [y])
    name, stride = b.choice(("max_pool", "avg_pool")), b.number(1, 2)
    extents = tuple(literal_size((t.fixed - 2) // stride + 1) for t in inner)
    kind = Kind("float", (literal_size(1), literal_size(2), *extents))
    return b.add(
        "pool_windows", kind, [z], f"by.{name}($0, 2, {stride})",
        f"sg.nn.{name}($0, 2, stride={stride})", b.bound[z],
    )  # fmt: skip


# -- linear algebra --------------------------------------------------------------------------------


@row("", 3)
def spectral(b):
    """Functions of a symmetric matrix whose eigenvalues are apart."""
    x = b.find(accepts=lambda s: len(s) >= 2 and s[-1] == s[-2] and not s[-1].named)
    size = b.shape(x)[-1].fixed
    kind = Kind("float", b.shape(x))
    a = b.add(
        "symmetric", kind, [x],
        "(np.tanh($0) + np.swapaxes(np.tanh($0), -1, -2))"
        f" * {0.5 / size:.4g}"
        f" + np.eye({size}, dtype=F) * (3.0 + 2.0 * np.arange({size}).astype(F))",
        bound=LIMIT,
    )  # fmt: skip
    vector = Kind("float", b.shape(x)[:-1])
    name = b.choice((
        "eigvals", "eigvecs", "matrix function", "cholesky", "solve", "inv", "det", "slogdet",
        "svd", "solve vector",
    ))  # fmt: skip
    if name == "eigvals":
        return b.add("eigh", vector, [a], "np.linalg.eigh($0)[0]", None, 14)
    if name == "eigvecs":
        return b.add("eigh", kind, [a], "np.linalg.eigh($0)[1] ** 2", None, 1)
    if name == "matrix function":
        text = "(e[1] * np.exp(-0.3 * e[0])[..., None, :]) @ np.swapaxes(e[1], -1, -2)"
        text = f"(lambda e: {text})(np.linalg.eigh($0))"
        return b.add("eigh", kind, [a], text, None, 2)
    if name == "cholesky":
        return b.add("cholesky", kind, [a], "np.linalg.cholesky($0)", None, 5)
    if name == "inv":
        return b.add("inv", kind, [a], "np.linalg.inv($0)", None, 1)
    if name == "det":
        return b.add(
            "det", Kind("float", b.shape(x)[:-2]), [a], "np.log(np.linalg.det($0))", None, 14
        )
    if name == "slogdet":
        return b.add(
            "slogdet", Kind("float", b.shape(x)[:-2]), [a], "np.linalg.slogdet($0)[1]", None, 14
        )
    if name == "svd":
        sg = "sg.linalg.svd($0, compute_uv=False)"
        return b.add("svd", vector, [a], "np.linalg.svd($0, compute_uv=False)", sg, 14)
    if name == "solve vector":
        y = b.find(accepts=lambda s: s == (literal_size(size),))
        if len(b.shape(x)) > 2:
            raise UnfitError
        return b.add("solve", vector, [a, y], "np.linalg.solve($0, $1)", None, b.bound[y])
    y = b.find(accepts=lambda s: len(s) == len(b.shape(x)) and s[:-1] == b.shape(x)[:-1])
    return b.add("solve", b.kinds[y], [a, y], "np.linalg.solve($0, $1)", None, b.bound[y])


@row("", 1)
def exponential(b):
    x = b.find(accepts=lambda s: len(s) == 2 and s[-1] == s[-2] and not s[-1].named)
    text = "by.expm(np.tanh($0) * 0.25)"
    return b.add("expm", b.kinds[x], [x], text, "sg.linalg.expm(sg.tanh($0) * 0.25)", 4)


# -- complex numbers -------------------------------------------------------------------------------


@row("", 2)
def complex_of(b):
    x = b.find(accepts=lambda s: len(s) < 4)
    y = b.find(accepts=lambda s: s == b.shape(x))
    text = b.choice(("$0 + 1j * $1", "$0 - 1j * np.sin($1)"))
    if b.chance(0.3):
        x, axis = b.float_with_axis()
        text = f"np.fft.fft($0, axis={axis})"
        return b.add("fft", Kind("complex", b.shape(x)), [x], text, None, b.bound[x] * 7)
    return b.add(
        "complex_of", Kind("complex", b.shape(x)), [x, y], text, None, b.bound[x] + b.bound[y]
    )


@row("", 2)
def complex_step(b):
    z = b.find("complex")
    text, bound = b.choice((
        ("np.conj($0) * $0", b.bound[z] ** 2),
        ("$0 * $0 * 0.5", b.bound[z] ** 2),
        ("np.exp(-0.5j * np.real($0))", 1.0),
        ("$0 / (np.abs($0) + 1.0)", 1.0),
        ("np.conj($0) + 1j", b.bound[z] + 1),
    ))  # fmt: skip
    return b.same("complex_step", z, text, None, bound)


@row("", 3)
def real_of(b):
    z = b.find("complex")
    text, bound = b.choice((
        ("np.real($0)", b.bound[z]),
        ("np.imag($0)", b.bound[z]),
        ("np.real($0 * np.conj($0))", b.bound[z] ** 2),
        ("np.abs($0 + 3.5)", b.bound[z] + 4),
    ))  # fmt: skip
    return b.add("real_of", Kind("float", b.shape(z)), [z], text, None, bound)


@row("", 1)
def complex_join(b):
    z = b.find("complex", len)
    axis = b.number(0, len(b.shape(z)) - 1)
    size = b.shape(z)[axis]
    shape = tuple(
        Size(2 * size.named, 2 * size.fixed) if a == axis else s for a, s in enumerate(b.shape(z))
    )
    text = f"np.concatenate([np.flip($0, {axis}), np.conj($0)], axis={axis})"
    return b.add("complex_join", Kind("complex", shape), [z], text, None, b.bound[z])


# -- integers and bools ----------------------------------------------------------------------------


@row("", 3)
def whole(b):
    dtype = b.choice(("int64", "int64", "int32"))
    i = b.find(dtype)
    text, bound = b.choice((
        ("$0 * 3 + 1", 3 * b.bound[i] + 1),
        ("np.remainder($0, 5)", 4),
        ("$0 // 2", b.bound[i]),
        ("np.abs($0) - 1", b.bound[i] + 1),
        ("np.maximum($0, 1 - $0)", b.bound[i] + 1),
        ("$0 * $0", b.bound[i] ** 2),
        ("np.where($0 > 0, $0, 2 - $0)", b.bound[i] + 2),
    ))  # fmt: skip
    return b.same("whole", i, text, None, bound)


@row("", 1)
def whole_curve(b):
    i = b.find("int64", len)
    return b.same("whole_curve", i, "np.cumsum($0, axis=-1)", None, 7 * b.bound[i])


@row("", 2)
def cast(b):
    i = b.find(b.choice(("int64", "int32", "bool")))
    dtype = b.choice(("float", "float", "int64"))
    text = "$0.astype(F)" if dtype == "float" else '$0.astype("int64")'
    return b.add("cast", Kind(dtype, b.shape(i)), [i], text, None, b.bound[i])


@row("", 1)
def count_up(b):
    size = b.choice((literal_size(3), literal_size(5), Size(1, 0) if b.n else literal_size(4)))
    return b.add("count_up", Kind("int64", (size,)), [], f"np.arange({size})", None, size.at(7))


@row("", 3)
def compare(b):
    x = b.find(accepts=len)
    y = b.find(accepts=lambda s: broadcasts(s, b.shape(x)))
    text = b.choice(("$0 > $1", "$0 <= 0.5 * $1 + 0.1", "$0 < np.sin($1)"))
    return b.add("compare", Kind("bool", b.shape(x)), [x, y], text, None, 1)


@row("", 2)
def mask_step(b):
    m = b.find("bool", len)
    if b.chance(0.3):
        y = b.find("bool", lambda s: broadcasts(s, b.shape(m)))
        return b.same("mask_step", m, b.choice(("$0 & $1", "$0 | $1", "$0 ^ ~$1")), reads=[y])
    axis = b.number(0, len(b.shape(m)) - 1)
    rank = len(b.shape(m))
    parts = f"$0{index_text(axis, '1:', rank)}, $0{index_text(axis, ':1', rank)}"
    return b.same("mask_step", m, b.choice((
        "~$0", f"np.roll($0, 1, axis={axis})", f"np.flip($0, {axis})",
        f"np.concatenate([{parts}], axis={axis})", f"np.sort($0, axis={axis})",
    )))  # fmt: skip


@row("", 2)
def padded_mask(b):
    """A mask shifted by a pad and a slice: bools beyond the ends are False."""
    m = b.find("bool", lambda s: len(s) and least(s[-1]) > 1)
    widths = ((0, 0),) * (len(b.shape(m)) - 1) + ((1, 0),)
    return b.same("padded_mask", m, f"np.pad($0, {widths})[..., :-1]")


@row("same", 4)
def select(b):
    x = b.find()
    m = b.find("bool", lambda s: broadcasts(s, b.shape(x)))
    y = b.find(accepts=lambda s: broadcasts(s, b.shape(x)))
    text = b.choice(
        ("np.where($1, $0, $2)", "np.where(~$1, 2.0 * $0, $0 * $2)", "np.where($1, $0, 0.0)")
    )
    bound = max(2 * b.bound[x], b.bound[x] * b.bound[y], b.bound[y])
    return b.same("select", x, text, None, bound, [m, y])


@row("", 1)
def test_bools(b):
    """Test whether any or all bools are true, or count them."""
    m = b.find("bool", len)
    text, dtype = b.choice((
        ("np.any($0)", "bool"), ("np.all($0)", "bool"), ("np.sum($0, dtype='int64')", "int64"),
    ))  # fmt: skip
    return b.add("test_bools", Kind(dtype), [m], text, None, 50)


# -- draws -----------------------------------------------------------------------------------------


@row("top", 2)
def draw(b):
    """Random numbers, which the program in NumPy takes as operands."""
    shape = b.shape(b.find())
    name = f"u{len(b.draws)}"
    sg = b.choice(
        ("rng.normal(shape={}, dtype=F) * 0.5", "rng.uniform(-1.0, 1.0, shape={}, dtype=F)")
    )
    if np.prod([size.at(7) for size in shape], dtype=float) > MOST:
        raise UnfitError
    kind = Kind("float", shape)
    b.statements[-1].append(
        Statement("draw", ((name, kind),), (), (sg.format(shape_text(shape)), name))
    )
    b.draws.append((name, kind))
    return b.declare(name, kind, 3.0)


# -- loops -----------------------------------------------------------------------------------------


def fit(b, name, like, bound):
    """Return a value of the kind of ``like`` that depends on ``name``, within a bound."""
    kind = b.kinds[like]
    if b.kinds[name] != kind:
        value = name
        if not broadcasts(b.shape(name), kind.shape):
            value = b.add("reduction", Kind("float"), [name], "np.mean($0)", None, b.bound[name])
        name = b.same("binary", like, "$0 + $1", None, b.bound[like] + b.bound[value], [value])
    if b.bound[name] > bound:
        name = b.same("unary", name, f"np.tanh($0) * {bound}", None, bound)
    return name


def body(b, steps, params, likes, bounds):
    """Build the statements of a block that ends in values of the kinds of ``likes``.

    Returns:
        The statements, and for each of ``likes`` the name of a result.
    """
    b.open()
    for name, kind, bound in params:
        b.declare(name, kind, bound)
    first = len(b.statements[-1])
    for _ in range(steps):
        b.step({"same", "loop"} if b.chance(0.6) else None)
    names = [n for s in b.statements[-1][first:] for n in s.names if b.kinds[n].dtype == "float"]
    results = []
    for like, bound in zip(likes, bounds, strict=True):
        alike = [n for n in names if b.kinds[n] == b.kinds[like]]
        source = b.choice(alike[-2:]) if alike and b.chance(0.8) else b.choice(names or [like])
        results.append(fit(b, source, like, bound))
    return results


def carries(b, names):
    """Declare the carries of a loop that begin as these values."""
    return [(b.fresh("c"), b.kinds[name], max(1.0, b.bound[name])) for name in names]


def loop_results(b, statement_row, inits, kinds, bounds, reads, texts, blocks):
    """Add a loop, whose results are its last carries and what it stacks."""
    names = [b.fresh() for _ in kinds]
    b.statements[-1].append(
        Statement(statement_row, tuple(zip(names, kinds, strict=True)), tuple(reads), texts, blocks)
    )
    for name, kind, bound in zip(names, kinds, bounds, strict=True):
        b.declare(name, kind, bound)
    return names[-1] if b.chance(0.5) else names[0]


def first_carries(b):
    """Return one or two values that a loop may carry."""
    names = [b.find(accepts=lambda s: len(s) < 4)]
    if b.chance(0.35):
        names.append(b.find(accepts=lambda s: len(s) < 3))
    return names


def tail_of(results):
    return "(" + "".join(f"${place}, " for place in range(results)).rstrip(" ") + ")"


@row("loop", 16)
def scan(b):
    """A scan forwards or backwards, over slices or a number of iterations, with results or none."""
    inits = first_carries(b)
    xs = b.find(accepts=lambda s: len(s) > 0 and least(s[0]) > 1) if b.chance(0.8) else None
    length = b.shape(xs)[0] if xs else literal_size(b.number(2, 5))
    carry = carries(b, inits)
    params = [*carry]
    if xs:
        params.append((b.fresh("s"), Kind("float", b.shape(xs)[1:]), b.bound[xs]))
    likes, bounds = [name for name, _, _ in carry], [bound for *_, bound in carry]
    results = body(b, b.number(1, 4), params, likes, bounds)
    out = None
    if b.chance(0.75):
        inner = [n for n in b.scopes[-1] if b.kinds[n].dtype == "float" and len(b.shape(n)) < 4]
        fitting = [n for n in inner if np.prod([s.at(7) for s in (*b.shape(n), length)]) <= MOST]
        out = b.choice(fitting[-3:]) if fitting else None
        if out:
            out = (out, b.kinds[out], b.bound[out])
    statements = b.close()
    last = f"${len(results)}" if out else "None"
    names = (*results, *([out[0]] if out else []))
    head = f"carry, {params[-1][0] if xs else '_'}"
    tail = f"{tail_of(len(results))}, {last}"
    block = Block(head, tuple(p[:2] for p in params), statements, names, tail)
    reverse = b.choice((", reverse=True", ""))
    starts = tail_of(len(inits))
    source = f"${len(inits)}" if xs else "None"
    count = "" if xs else f", length={length}"
    kinds = [b.kinds[name] for name in inits]
    texts, ends = [], list(bounds)
    if out:
        kinds.append(Kind("float", (length, *out[1].shape)))
        ends.append(out[2])
    for module in ("sg", "by"):
        call = f"{module}.scan($f, {starts}, {source}{count}{reverse})"
        flat = f"(lambda r: (*r[0], r[1]))({call})" if out else f"{call}[0]"
        texts.append(flat if len(kinds) > 1 else f"{flat}[0]")
    return loop_results(b, "scan reversed" if reverse else "scan", inits, kinds, ends,
                        [*inits, *([xs] if xs else [])], tuple(texts), (block,))  # fmt: skip


@row("loop", 6)
def fori(b):
    inits = first_carries(b)
    carry, number = carries(b, inits), b.fresh("i")
    likes, bounds = [name for name, _, _ in carry], [bound for *_, bound in carry]
    low, high = b.number(0, 1), b.number(2, 4)
    params = [(number, Kind("int64"), high), *carry]
    results = body(b, b.number(1, 4), params, likes, bounds)
    statements = b.close()
    block = Block(f"{number}, carry", tuple(p[:2] for p in params), statements, tuple(results),
                  tail_of(len(results)))  # fmt: skip
    kinds = [b.kinds[name] for name in inits]
    upper = str(high)
    reads = [*inits]
    if b.chance(0.3):  # a bound that only a run knows
        i = b.find("int64", lambda s: s == ())
        upper = f"np.remainder(${len(inits)}, {high + 1})"
        reads.append(i)
    most = f", max_steps={high}" if upper != str(high) else ""
    texts = []
    for module, language in (("sg", "sg."), ("by", "np.")):
        end = upper.replace("np.", language)
        call = f"{module}.fori_loop({low}, {end}, $f, {tail_of(len(inits))}"
        call += f"{most})" if module == "sg" else ")"
        texts.append(call if len(kinds) > 1 else f"{call}[0]")
    return loop_results(b, "fori_loop", inits, kinds, bounds, reads, tuple(texts), (block,))


@row("loop", 5)
def repeat_while(b):
    """A loop that ends by a count or by a value."""
    (init,) = first_carries(b)[:1]
    count, (carry,) = b.fresh("c"), carries(b, [init])
    params = [(count, Kind("int64"), 9), carry]
    most, upper = b.number(2, 4), b.number(1, 5)
    results = body(b, b.number(1, 3), params, [carry[0]], [carry[2]])
    number = b.add("whole", Kind("int64"), [count], "$0 + 1", None, 9)
    statements = b.close()
    block = Block("carry", tuple(p[:2] for p in params), statements, (number, *results), "($0, $1)")
    tested = (b.fresh("c"), b.fresh("c"))
    test_params = ((tested[0], Kind("int64")), (tested[1], carry[1]))
    text = f"($0 < {upper})" + (f" & (np.sum($1) < {b.choice((0.5, 2.5))})" * b.chance(0.5))
    tests = [text.replace("np.", "sg."), text]
    done = b.fresh()
    test = Block(
        "carry", test_params,
        (Statement("while test", ((done, Kind("bool")),), tested, tuple(tests)),), (done,), "$0",
    )  # fmt: skip
    kinds = [b.kinds[init]]
    call = "{}.while_loop($g, $f, ({}, $0), max_steps={})[1]"
    texts = (call.format("sg", "sg.constant(0)", most), call.format("by", "np.int64(0)", most))
    return loop_results(b, "while_loop", [init], kinds, [carry[2]], [init], texts, (block, test))


@row("loop", 4)
def branch(b):
    """One of two or three functions of what is around them."""
    like = b.find()
    count = b.number(2, 3)
    blocks, bound = [], max(1.0, b.bound[like])
    for _ in range(count):
        results = body(b, b.number(1, 3), [], [like], [bound])
        blocks.append(Block("", (), b.close(), tuple(results), "$0"))
    if count == 2:
        if b.chance(0.5):
            m = b.find("bool", lambda s: s == ())
            test = "$0"
        else:
            m = b.find()
            test = f"np.sum($0) > {b.choice((0.0, 0.4, -1.0))}"
        texts = [
            f"{m_}.cond({test.replace('np.', l_)}, $f, $g)"
            for m_, l_ in (("sg", "sg."), ("by", "np."))
        ]
    else:
        m = b.find("int64", lambda s: s == ())
        texts = [f"{m_}.switch($0, [$f, $g, $h])" for m_ in ("sg", "by")]
    return loop_results(b, "cond" if count == 2 else "switch", [], [b.kinds[like]], [bound], [m],
                        tuple(texts), tuple(blocks))  # fmt: skip


@row("loop", 5)
def map_slices(b):
    """A function of slices along any axis, whose results are stacked along any axis."""
    x, axis = b.float_with_axis()
    size = b.shape(x)[axis]
    inner = Kind("float", reduced_shape(b.shape(x), [axis], False))
    name = b.fresh("s")
    out = body(b, b.number(1, 3), [(name, inner, b.bound[x])], [name], [max(1.0, b.bound[x])])[0]
    kind = b.kinds[out]
    statements = b.close()
    place = b.number(0, len(kind.shape))
    shape = [*kind.shape]
    shape.insert(place, size)
    block = Block(name, ((name, inner),), statements, (out,), "$0")
    if axis == place == 0 and b.chance(0.4):
        texts = ("sg.map($f, $0)", "by.vmap($f)($0)")
    else:
        call = f"vmap($f, {axis}, {place})"
        texts = (f"sg.{call}($0)", f"by.{call}($0)")
    name = texts[0].partition("(")[0].removeprefix("sg.")
    kinds = [Kind("float", tuple(shape))]
    return loop_results(b, name, [], kinds, [b.bound[out]], [x], texts, (block,))


@row("loop", 1)
def call_checkpoint(b):
    """A function under ``checkpoint``."""
    x = b.find()
    name = b.fresh("s")
    params = [(name, b.kinds[x], b.bound[x])]
    out = body(b, b.number(1, 3), params, [name], [max(1.0, b.bound[x])])[0]
    kind, bound = b.kinds[out], b.bound[out]
    block = Block(name, ((name, b.kinds[x]),), b.close(), (out,), "$0")
    texts = ("sg.checkpoint($f)($0)", "by.checkpoint($f)($0)")
    return loop_results(b, "checkpoint", [], [kind], [bound], [x], texts, (block,))
