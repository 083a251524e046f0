"""Child process: runs programs whose every buffer lies against a page that cannot be accessed.

    python -m tests.safety.fenced_runs samples <most per op> [op ...]
    python -m tests.safety.fenced_runs programs [program ...]
    python -m tests.safety.fenced_runs empty

Programs have feeds at sizes where loops have odd ends; lookups in axes of size 0 are refused.

It prints the name of a case before it runs, so that the last line names what crashed. Ops that are
named run sample by sample.
"""

import sys

import numpy as np

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange
from tests.compiled.agreement import differing, input_like
from tests.compiled.test_ops import spread
from tests.helpers.random_programs import parameter_value, random_graph
from tests.laws.samples import as_tuple, op_names, samples_of
from tests.safety.child import say
from tests.safety.fences import fence_array, fences

LAYOUTS = ("contiguous", "reversed", "Fortran", "swapped bytes", "every third")


def fenced_feed(data, layout, at_end):
    """The same elements laid out in another way, over exactly the bytes of a fenced block."""
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * data.ndim
        return fence_array(data[backwards], at_end)[backwards]
    if layout == "Fortran":
        return fence_array(data.T, at_end).T
    if layout == "swapped bytes":
        return fence_array(data.astype(data.dtype.newbyteorder()), at_end)
    if layout == "every third" and data.ndim and data.shape[-1]:
        wide = np.repeat(data, 3, axis=-1)[..., : 3 * data.shape[-1] - 2]
        return fence_array(wide, at_end)[..., ::3]
    return fence_array(data, at_end)


def laid_out(feeds, layout, at_end):
    return {name: fenced_feed(array, layout, at_end) for name, array in feeds.items()}


def sample_graph(samples):
    """Every sample thrice: its operands as inputs, as parameters, and as constants."""
    outputs = {}
    feeds = {}
    inputs = []
    for number, sample in enumerate(samples):
        labels = [f"x{number}_{position}" for position in range(len(sample.arrays))]
        feeds |= dict(zip(labels, sample.arrays, strict=True))
        ways = {
            "input": [input_like(n, a) for n, a in zip(labels, sample.arrays, strict=True)],
            "parameter": [
                parameter_value(n, a) for n, a in zip(labels, sample.arrays, strict=True)
            ],
            "constant": [sg.constant(a) for a in sample.arrays],
        }
        inputs += ways["input"]
        for way, operands in ways.items():
            for i, value in enumerate(as_tuple(sample.op(*operands))):
                outputs[f"{number}.{i} {way}"] = value
    return sg.Graph(outputs, inputs=inputs), feeds


def check_samples(name, samples, at_end):
    """Run them over every layout of their feeds, into own arrays and given ones."""
    graph, data = sample_graph(samples)
    f = sg.compile(graph, pipeline="O0")
    expected = {}
    for layout in LAYOUTS:
        outputs = f.run(laid_out(data, layout, at_end))
        for key, array in outputs.items():
            first = expected.setdefault(key.split()[0], array.copy())
            if not same_bytes(array, first):
                sys.exit(f"{name}, {layout}, {key}: {differing(array, first)}")
    out = {key: fence_array(array, at_end, writeable=True) for key, array in outputs.items()}
    for key, array in f.run(data, out=out).items():
        if not same_bytes(array, expected[key.split()[0]]):
            sys.exit(f"{name}, out=, {key}: {differing(array, expected[key.split()[0]])}")


def some(samples, most):
    """At most so many, evenly picked from those of ``spread``."""
    picked = spread(samples, most)
    return picked[:: -(-len(picked) // most)]


def turns(samples, alone):
    """Samples that are one program, and whether they lie at the end: each sample alone at both,
    or samples in turn."""
    if alone:
        yield from (([sample], at_end) for sample in samples for at_end in (True, False))
    else:
        yield samples[::2], True
        yield samples[1::2] or samples, False


def sample_cases(most, names):
    """Two programs per op; two per sample for the ops that are named."""
    for name in names or op_names():
        for group, at_end in turns(some(samples_of(name), most), alone=bool(names)):
            kinds = [f"{s.op} {[(a.shape, str(a.dtype)) for a in s.arrays]}" for s in group]
            say(name, "at the end" if at_end else "at the start", kinds[:3])
            with fences(at_end):
                check_samples(name, group, at_end)


def program_cases(names):
    """The fused programs, each at several sizes."""
    for name in names or PROGRAMS:
        for at_end in (True, False):
            with fences(at_end):
                graph, feeds_at = PROGRAMS[name]()
                f = sg.compile(graph)
                for feeds in feeds_at:
                    shapes = {n: np.shape(a) for n, a in feeds.items()}
                    say(name, "at the end" if at_end else "at the start", shapes)
                    check_program(f, feeds, at_end)


def check_program(f, feeds, at_end):
    """Runs over feeds read in place, and copied from two layouts, give the same bytes."""
    start = {p: p.value for p in f.program_graph.parameters}
    expected = {}
    for layout in ("contiguous", "reversed", "every third"):
        for parameter, value in start.items():
            parameter.value = value
        for key, array in f.run(laid_out(feeds, layout, at_end)).items():
            first = expected.setdefault(key, array.copy())
            if not same_bytes(array, first):
                sys.exit(f"{key}: {differing(array, first)}")


# -- programs --------------------------------------------------------------------------------------

PROGRAMS = {}


def program(make):
    PROGRAMS[make.__name__.replace("_", " ")] = make
    return make


def numbers(*shape, dtype=np.float32):
    rng = np.random.default_rng(sum(shape))
    return np.asarray(rng.integers(-3, 4, shape)).astype(dtype)


@program
def elementwise_at_any_size():
    x, t = sg.input("x", ("n",), "float32"), sg.input("t", ("n",), "bool")
    d, i = sg.input("d", ("n",), "float64"), sg.input("i", ("n",), "int8")
    outputs = {
        "a": sg.tanh(x) * 2 + x, "b": sg.where(t, d, 1.0), "c": x > 0, "e": i + 1, "f": ~t,
        "g": x.sum(), "h": d.sum(), "k": sg.cumsum(x, 0),
        "l": x.astype("int64"), "m": i.astype("float64"), "o": sg.exp(d)[::-1],
    }  # fmt: skip
    sizes = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 257)
    return sg.Graph(outputs), [
        {
            "x": numbers(n), "t": numbers(n) > 0, "d": numbers(n, dtype="f8"),
            "i": numbers(n, dtype="i1"),
        }
        for n in sizes
    ]  # fmt: skip


@program
def products_at_tile_tails():
    outputs = {}
    for dtype in ("float32", "float64"):
        a = sg.input(f"a {dtype}", ("m", "k"), dtype)
        b = sg.input(f"b {dtype}", ("k", "n"), dtype)
        c = sg.input(f"c {dtype}", ("n",), dtype)
        outputs[f"plain {dtype}"] = a @ b
        outputs[f"epilogue {dtype}"] = sg.nn.relu(a @ b + c) * 2
        if dtype == "float64":
            continue
        outputs[f"transposed {dtype}"] = b.T @ a.T
        outputs[f"gram {dtype}"] = a.T @ a
        outputs[f"vector {dtype}"] = (a @ b) @ c
        outputs[f"rows {dtype}"] = c @ (b.T @ a.T)
    shapes = [
        (1, 1, 1), (7, 3, 15), (8, 1, 16), (9, 5, 17), (8, 8, 32), (15, 16, 31), (17, 33, 33),
        (95, 2, 1), (97, 17, 65), (1, 64, 7), (64, 1, 64), (0, 3, 5), (3, 0, 5), (3, 5, 0),
        (2, 4097, 9),
    ]  # fmt: skip
    return sg.Graph(outputs), [
        {
            f"{name} {dtype}": numbers(*shape, dtype=dtype)
            for dtype in ("float32", "float64")
            for name, shape in (("a", (m, k)), ("b", (k, n)), ("c", (n,)))
        }
        for m, k, n in shapes
    ]


@program
def lookups_at_both_ends():
    table, rows = sg.input("table", ("v", "w"), "float32"), sg.input("rows", ("n",), "int64")
    new = sg.input("new", ("n", "w"), "float32")
    looked_up = sg.take(table, rows, 0)
    outputs = {
        "rows": looked_up, "columns": sg.take(table.T, rows, 1), "sum": looked_up.sum(1),
        "words": sg.take(table[:, 0], rows), "subscript": table[rows] * 2,
        "gradient": sg.grad((looked_up * looked_up).sum(), table),
        "added": table.at[rows].add(new), "set": table.at[rows].set(new),
        "along": sg.take_along_axis(table, sg.argmax(table, 1, keepdims=True), 1),
    }  # fmt: skip
    shapes = [(1, 1, 1), (5, 3, 16), (6, 17, 33), (2, 1, 40), (33, 16, 1), (4, 5, 0), (7, 31, 15)]
    return sg.Graph(outputs), [
        {
            "table": numbers(v, w),
            "rows": np.resize(np.array([v - 1, 0, -v, -1]), n),
            "new": numbers(n, w),
        }
        for v, w, n in shapes
    ]


@program
def a_training_step():
    rng = np.random.default_rng(0)
    x, y = sg.input("x", ("b", 13), "float32"), sg.input("y", ("b",), "int64")
    w = sg.parameter("w", rng.normal(size=(13, 17)).astype("f4"))
    c = sg.parameter("c", rng.normal(size=17).astype("f4"))
    v = sg.parameter("v", rng.normal(size=(17, 5)).astype("f4"))
    loss = sg.nn.cross_entropy(sg.nn.gelu(sg.nn.layer_norm(x @ w) + c) @ v, y)
    updates = {p: p - 0.1 * g for p, g in zip((w, c, v), sg.grad(loss, [w, c, v]), strict=True)}
    return sg.Graph({"loss": loss}, updates), [
        {"x": rng.normal(size=(b, 13)).astype("f4"), "y": np.resize([4, 0], b)}
        for b in (1, 7, 16, 33, 97)
    ]


@program
def attention():
    q, k, v = (sg.input(name, (2, "t", 9), "float32") for name in "qkv")
    y = sg.nn.attention(q, k, v)
    outputs = {
        "y": y,
        **{f"d{n}": g for n, g in zip("qkv", sg.grad(y.sum(), [q, k, v]), strict=True)},
    }
    return sg.Graph(outputs), [{n: numbers(2, t, 9) for n in "qkv"} for t in (1, 3, 8, 17)]


@program
def movement():
    x = sg.input("x", ("m", "n"), "float32")
    outputs = {
        "joined": sg.concat([x, x[::-1], x[:, ::-1]], 1), "padded": sg.pad(x, [(1, 0), (2, 3)]),
        "stacked": sg.stack([x, x + 1]), "copy": x.T, "columns": x.sum(0), "rows": x.max(1),
        "flat": x.reshape((x.size,)) + 1, "scan": sg.cumsum(x, 0), "triangle": sg.tril(x),
        "rolled": sg.roll(x, 1, 1),
    }  # fmt: skip
    shapes = [(1, 1), (3, 17), (16, 16), (33, 5), (2, 64), (65, 2)]
    return sg.Graph(outputs), [{"x": numbers(m, n)} for m, n in shapes]


def random_program(seed):
    graph, feeds = random_graph(np.random.default_rng(seed), min_ops=10, max_ops=40, empty=True)
    return graph, [feeds]


for _seed in range(4):
    PROGRAMS[f"random {_seed}"] = lambda seed=_seed: random_program(seed)


# -- lookups in empty axes -------------------------------------------------------------------------

WIDE = 3000  # a row is longer than a page

LOOKUPS = {
    "rows": lambda table, rows, new: sg.take(table, rows, 0),
    "columns": lambda table, rows, new: sg.take(table.T, rows, 1),
    "a sum": lambda table, rows, new: sg.take(table, rows, 0).sum(1),
    "words": lambda table, rows, new: sg.take(table[:, 7], rows),
    "one row": lambda table, rows, new: sg.take(table, rows[0], 0),
    "subscript": lambda table, rows, new: table[rows] * 2,
    "along": lambda table, rows, new: sg.take_along_axis(table[:, 0], rows, 0),
    "gradient": lambda table, rows, new: sg.grad((sg.take(table, rows, 0) ** 2).sum(), table),
    "scatter": lambda table, rows, new: sg.scatter_add(new, rows, table.shape[0], 0),
    "added": lambda table, rows, new: table.at[rows].add(new),
    "set": lambda table, rows, new: table.at[rows].set(new),
}


def check_empty(name, extent, at_end):
    """The lookup over an empty table, alone and before an update of a parameter."""
    table, rows = sg.input("table", (extent, WIDE), "float32"), sg.input("rows", (5,), "int64")
    new = sg.input("new", (5, WIDE), "float32")
    w = sg.parameter("w", np.zeros(4, np.float32))
    value = LOOKUPS[name](table, rows, new)
    graph = sg.Graph(
        {"y": value}, updates={w: w + 1.0 + 0.0 * sg.sum(value)}, inputs=[table, rows, new]
    )
    f = sg.compile(graph)
    feeds = {
        "table": fence_array(np.zeros((0, WIDE), np.float32), at_end),
        "new": fence_array(np.ones((5, WIDE), np.float32), at_end),
    }
    for indices in ([0, 0, 0, 0, 0], [-1, 2**62, 3, 0, 1]):
        for _ in range(2):
            try:
                f.run({**feeds, "rows": fence_array(np.array(indices), at_end)})
            except IndexOutOfRange as error:
                if "fenced_runs.py" not in str(error) or "the axis is empty" not in str(error):
                    sys.exit(str(error))
            else:
                sys.exit(f"{name}: an index into an empty axis was taken")
            if w.value.any():
                sys.exit(f"{name}: a refused run changed a parameter")


def check_no_index(at_end):
    """No index at all fits into an empty axis, and what follows is computed."""
    x, rows = sg.input("x", ("m", "n"), "float32"), sg.input("rows", ("k",), "int64")
    looked_up = sg.take(x, rows, 1)
    graph = sg.Graph({"y": looked_up, "sum": looked_up.sum(1) + 1, "set": x.at[:, rows].set(2.0)})
    feeds = {
        "x": fence_array(np.ones((5, 0), np.float32), at_end),
        "rows": fence_array(np.zeros(0, np.int64), at_end),
    }
    outputs = sg.compile(graph).run(feeds)
    if outputs["sum"].tolist() != [1.0] * 5 or outputs["y"].shape != outputs["set"].shape != (5, 0):
        sys.exit(str(outputs))


def empty_cases():
    """Each lookup at both ends, of a literal and of a named size; nothing is touched."""
    for at_end in (True, False):
        with fences(at_end):
            for name in LOOKUPS:
                for extent in (0, "n"):
                    say(name, extent, "at the end" if at_end else "at the start")
                    check_empty(name, extent, at_end)
            say("no index")
            check_no_index(at_end)


def main():
    kind, *arguments = sys.argv[1:]
    with np.errstate(all="ignore"):
        if kind == "samples":
            sample_cases(int(arguments[0]), arguments[1:])
        elif kind == "empty":
            empty_cases()
        else:
            program_cases(arguments)
    say("done")


if __name__ == "__main__":
    main()
