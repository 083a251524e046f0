"""Checks of any program: each node by itself, and equal bytes on every way.

``check_nodes`` compares every node with its op's reference, at the operands that the kernels gave:
exact ops in every bit, vector math with the interpreter of its expression in every bit and with
float64 within its error, products within theirs. So errors do not add up, and a comparison near its
border is no excuse. ``check_program`` runs the program as planned and compiled otherwise too. The
nodes are those after ``stabilize``, which every level runs first; ``check_stable`` has its values.
"""

import numpy as np

import staticgrad as sg
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.evaluate import at_sizes, in_float64, same_bytes
from staticgrad.analysis.interpret import interpret
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import FeedError, NonFiniteError
from staticgrad.language.ir.expr import ref
from staticgrad.language.ir.forms import Contract, Pointwise, WindowProduct
from staticgrad.language.ir.graph import BodyOp, Node, bodies_of
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import F64
from staticgrad.testing.variants import LAYOUTS
from tests.compiled.agreement import differing
from tests.helpers.limits import finfo
from tests.helpers.random_programs import input_value, label
from tests.laws.samples import as_tuple

#: Error of a result that is not exact, in eps of its magnitude.
VECTOR_MATH = 64.0


class MismatchError(AssertionError):
    """A program that gives a wrong result; shows it as text and as a script."""

    def __init__(self, program, what):
        super().__init__(f"{what}\n\n{program.describe()}")
        self.what, self.program = what, program


# -- each node by itself ---------------------------------------------------------------------------


def named_nodes(graph):
    """A name for every value that is computed."""
    values = (v for node in graph.nodes if not node.is_leaf for v in node.values)
    return {f"v{i}": value for i, value in enumerate(values)}


def node_arrays(program, feeds):
    """Every value of the graph, each by a kernel of its own."""
    graph = program.stable
    named = named_nodes(graph)
    program.reset()
    outputs = {}
    if named:
        outputs = compiled_nodes(program, named).run(feeds)
    arrays = {value.key: outputs[name] for name, value in named.items()}
    for node in graph.nodes:
        if node.is_leaf:
            arrays[node, 0] = leaf_array(program, node, feeds)
    return arrays


def compiled_nodes(program, named):
    """A kernel of its own for every value, compiled once."""
    if program.nodes is None:
        every = sg.Graph(named, inputs=program.stable.inputs)
        program.nodes = sg.compile(every, fuse=False, pipeline="")
    return program.nodes


def leaf_array(program, node, feeds):
    """Return the array that a leaf is bound to."""
    if node.op.name == "input":
        return feeds[node.op.label]
    if node.op.name == "parameter":
        return np.array(node.op.store.read())
    return np.asarray(node.op.reference())


def check_nodes(program, feeds):
    """Every node against its op's reference; the arrays of all."""
    arrays = node_arrays(program, feeds)
    shapes = {name: a.shape for name, a in feeds.items()}
    sizes = bind_sizes(program.graph, shapes, {})
    for node in program.stable.nodes:
        if node.is_leaf:
            continue
        op = at_sizes(node.op, sizes)
        operands = [arrays[arg.key] for arg in node.args]
        actual = [arrays[value.key] for value in node.values]
        if isinstance(op, BodyOp):
            problem = body_problem(node, sizes, operands, actual)
        else:
            problem = node_problem(op, operands, actual)
        if problem:
            lines = [f"{op!r} of {[f'{a.dtype}{list(a.shape)}' for a in operands]}: {problem}"]
            lines += [f"operand {i}: {a!r}" for i, a in enumerate(operands) if a.size < 40]
            raise MismatchError(program, "\n".join(lines))
    return arrays


def node_problem(op, operands, actual):
    """Describe the mistake of one node; empty if there is none."""
    with np.errstate(all="ignore"):
        expected = [np.asarray(a) for a in as_tuple(op.reference(*operands))]
        for got, want in zip(actual, expected, strict=True):
            if (got.dtype, got.shape) != (want.dtype, want.shape):
                return differing(got, want)
            if op.exact or want.dtype.kind != "f":
                return "" if same_bytes(got, want) else differing(got, want)
        (got,) = actual
        types = [TensorType(sg.constant(a).dtype, a.shape) for a in operands]
        form = op.form(op.infer(*types), *types)
        if isinstance(form, Contract):
            return product_problem(form, operands, got)
        if isinstance(form, WindowProduct):
            return convolution_problem(op, operands, got)
        assert isinstance(form, Pointwise)
        leaves = [ref(str(i), t.dtype) for i, t in enumerate(types)]
        (bits,) = interpret([form.scalar(*leaves)], lambda leaf: operands[int(leaf.attribute)])
        bits = np.broadcast_to(bits, got.shape)
        if not same_bytes(got, bits):
            return f"not what its expression gives: {differing(got, bits)}"
        return inexact_problem(op, operands, got)


def inexact_problem(op, operands, got):
    """Vector math against its reference in float64."""
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in operands]
    true = np.asarray(in_float64(op).reference(*wide))
    info = finfo(got.dtype)
    scale = np.abs(true)
    if op.name == "logaddexp":  # near 0 it is the difference of its larger operand and log1p
        scale = np.maximum(scale, np.minimum(1, np.maximum(*map(np.abs, wide))))
    allowed = VECTOR_MATH * info.eps * np.maximum(scale, info.tiny)
    near = np.abs(got - true) <= allowed
    near |= (got == true.astype(got.dtype)) | (np.isnan(got) & np.isnan(true))
    return "" if near.all() else f"not near float64: {differing(got, true.astype(got.dtype))}"


def _all_types(node):
    """The types of a node's operands and results, and of all in its bodies."""
    yield from (arg.type for arg in node.args)
    yield from node.types
    for body in bodies_of(node):
        for inner in body.nodes:
            yield from _all_types(inner)


def body_problem(node, sizes, operands, actual):
    """A loop or a branch: whole numbers as they are, others within what a few iterations lose.

    Its bits are compared on every way; that it means what it says is the matter of ``tests/loops``.
    """
    inputs = [input_value(f"p{place}", arg.type) for place, arg in enumerate(node.args)]
    alone = Node(node.op, tuple(inputs), node.types, node.origin)
    graph = sg.Graph({str(v.index): v for v in alone.values}, inputs=inputs)
    feeds = {f"p{place}": array for place, array in enumerate(operands)}
    expected = sg.evaluate(graph, feeds, sizes=dict(sizes))
    wide = all(t.dtype == F64 or not t.dtype.is_float for t in _all_types(node))
    for got, want in zip(actual, expected.values(), strict=True):
        near = same_bytes(got, want)
        if got.dtype.kind == "f" and got.size:
            finite = np.where(np.isfinite(want), want, 0.0)
            allowed = (1e-11 if wide else 1e-4) * (1.0 + float(np.abs(finite).max()))
            near = np.allclose(got, want, rtol=0.0, atol=allowed, equal_nan=True)
        if not near:
            return f"not near the reference: {differing(got, want)}"
    return ""


def product_problem(form, operands, got):
    """A product: within 4 eps log2(k) of the sum of the terms' magnitudes."""
    a, b = operands
    a = np.swapaxes(a, -1, -2) if form.transpose_a else a
    b = np.swapaxes(b, -1, -2) if form.transpose_b else b
    a, b = a.astype(np.longdouble), b.astype(np.longdouble)
    eps = float(finfo(got.dtype).eps) * 4 * float(np.log2(max(a.shape[-1], 2)))
    error = np.abs(got - np.matmul(a, b))
    wrong = error > eps * np.matmul(np.abs(a), np.abs(b))
    return f"{int(wrong.sum())} elements of a product are off" if wrong.any() else ""


def convolution_problem(op, operands, got):
    """The same of a convolution, whose reference is in double precision."""
    wide = [a.astype(np.float64) for a in operands]
    true, sizes = op.reference(*wide), op.reference(*map(np.abs, wide))
    most = max(2, sum(a.size for a in operands))  # terms, and more
    eps = float(finfo(got.dtype).eps) * 4 * float(np.log2(most))
    wrong = np.abs(got - true) > eps * sizes
    return f"{int(wrong.sum())} elements of a convolution are off" if wrong.any() else ""


# -- every way -------------------------------------------------------------------------------------


def run(program, f, feeds):
    """Outputs, and parameters after the run, from the same start."""
    program.reset()
    outputs = dict(f.run(feeds))
    program_parameters = {f"parameter {p.name}": p.value for p in program.parameters}
    return outputs | program_parameters


def expected_outputs(program, arrays):
    """Return the outputs that ``run`` must give, from the arrays of all nodes."""
    graph = program.stable
    outputs = {name: arrays[value.key] for name, value in graph.outputs.items()}
    parameters_after = dict(zip((p.name for p in program.parameters), program.start, strict=True))
    parameters_after |= {parameter.name: arrays[value.key] for parameter, value in graph.updates}
    return outputs | {f"parameter {name}": array for name, array in parameters_after.items()}


def compare(program, way, actual, expected):
    """Equal names, types and bytes."""
    if actual.keys() != expected.keys():
        raise MismatchError(program, f"{way}: {sorted(actual)} for {sorted(expected)}")
    for name, array in expected.items():
        if not same_bytes(actual[name], array):
            raise MismatchError(program, f"{way}: {name}: {differing(actual[name], array)}")


#: Options of ``sg.compile`` that may change no byte; a budget is that place in the front of plans.
WAYS = (
    {"fuse": False},
    {"checkpoint": "recompute"},
    {"memory_budget": -1},
    {"checkpoint": "sqrt"},
    {"debug": True},
    {"memory_budget": -2},
    {"pipeline": "O0"},
    {"threads": 2},
    {"debug": "nan"},
    {"freeze": True},
    {"backend": "numba"},
    {"jit": False},
)
SETTINGS = ("backend", "jit")  # of the process, not of one program
SLOW_WAYS = WAYS[-2:]
OTHER_SIZES = ({"batch": 1, "n": 1}, {"batch": 18, "n": 15}, {"batch": 40, "n": 1})


def check_program(program, ways=WAYS[:-2], layouts=len(LAYOUTS)):  # noqa: B008
    """Each node, then every way against the nodes, at the program's sizes and at others."""
    feeds = program.feeds
    check_stable(program)
    expected = expected_outputs(program, check_nodes(program, feeds))
    f = sg.compile(program.graph)
    compare(program, "fused", run(program, f, feeds), expected)
    compare(program, "run again", run(program, f, feeds), expected)
    for options in ways:
        check_way(program, f, options, expected)
    first = sum(program.description.header)
    for turn in range(first, first + layouts):
        name = list(LAYOUTS)[turn % len(LAYOUTS)]
        feeds_in_layout = {key: LAYOUTS[name](array) for key, array in feeds.items()}
        compare(program, name, run(program, f, feeds_in_layout), expected)
    check_other_sizes(program, f)


def check_way(program, f, options, expected):
    """The program compiled or planned otherwise, with verified plans and passes."""
    chosen = dict(options)
    if "memory_budget" in chosen:
        chosen["memory_budget"] = budget = front_budget(program, f, chosen["memory_budget"])
    settings = {name: chosen.pop(name) for name in SETTINGS if name in chosen}
    with sg.options(check=not settings, **settings):
        g = sg.compile(program.graph, **chosen)
        try:
            actual = run(program, g, program.feeds)
        except NonFiniteError:
            if program.description.smooth:
                raise
            return
        compare(program, options, actual, expected)
    if "memory_budget" in chosen and g.peak_bytes > budget:
        raise MismatchError(program, f"{options}: the peak is {g.peak_bytes}, above {budget}")


def front_budget(program, f, place):
    """A peak of the front of plans: -1 is the smallest."""
    shapes = {name: a.shape for name, a in program.feeds.items()}
    sizes = bind_sizes(program.graph, shapes, {})
    peaks = [plan.peak_bytes for plan, _ in Planner(f.schedule).front(sizes)]
    return peaks[max(place, -len(peaks))]


def check_other_sizes(program, f):
    """The same compiled program at other sizes."""
    if not program.graph.sizes:
        return
    sizes = OTHER_SIZES[program.description.header[0] % len(OTHER_SIZES)]
    feeds = program.at_sizes(**sizes)
    try:
        expected = expected_outputs(program, check_nodes(program, feeds))
    except FeedError:
        return  # sizes that the program excludes
    compare(program, sizes, run(program, f, feeds), expected)


def check_stable(program, rtol=1e-7):
    """In float64 the graph means what it meant before it was stabilised."""
    if program.stable is program.graph or not program.description.smooth:
        return
    program.reset()
    expected, actual = (
        sg.evaluate(g, program.feeds, dtype="float64") for g in (program.graph, program.stable)
    )
    for name, array in expected.items():
        scale = 1.0 + float(np.abs(array).max(initial=0.0))
        if not np.allclose(actual[name], array, rtol=rtol, atol=rtol * scale):
            raise MismatchError(program, f"stabilised, {name} is {actual[name]}, not {array}")


# -- derivatives -----------------------------------------------------------------------------------


def check_derivatives(program, rtol=1e-5):
    """Gradients and curvatures of a smooth program against differences, in float64.

    The shorter step is for programs that bend within the longer one, the longer one for those whose
    values are large beside their slopes.
    """
    graph, description = program.graph, program.description
    if not description.order or program.loss is None:
        return
    at = {label(v): a for v, a in by_leaf(program).items()}
    moves = {name: direction_of(program, name, array) for name, array in at.items()}
    levels = [("loss", "gradient of {}")]
    levels += [("slope", "curvature by {}")] if description.order > 1 else []
    for value, gradient in levels:
        outputs = values(program, graph, {})
        product = sum(
            float(np.sum(outputs[gradient.format(name)] * move)) for name, move in moves.items()
        )
        scale = sum(
            float(np.sum(np.abs(outputs[gradient.format(name)] * move)))
            for name, move in moves.items()
        )

        def value_at(distance, value=value):
            changed = {name: at[name] + distance * moves[name] for name in moves}
            return float(values(program, graph, changed)[value])

        def difference(step, value_at=value_at):
            near, far = value_at(step) - value_at(-step), value_at(2 * step) - value_at(-2 * step)
            return (8 * near - far) / (12 * step)

        allowed = rtol * max(1.0, scale, abs(float(outputs[value])))
        differences = []
        for step in (1e-4, 1e-5):
            differences.append(difference(step))
            if abs(product - differences[-1]) <= allowed:
                break
        else:
            raise MismatchError(
                program, f"{value}: the rules give {product}, differences {differences}"
            )


def by_leaf(program):
    """Floating leaves but for directions, with their arrays."""
    graph = program.graph
    start = dict(zip((p.name for p in program.parameters), program.start, strict=True))
    arrays = {**program.feeds, **start}
    along = {label(v) for v in program.directions.values()}
    leaves = [*graph.inputs, *graph.parameters]
    return {v: arrays[label(v)] for v in leaves if v.dtype.is_float and label(v) not in along}


def direction_of(program, name, array):
    """Random numbers of which the largest is about 1."""
    return np.random.default_rng([len(name), array.size]).uniform(-1, 1, array.shape)


def values(program, graph, changed):
    """Outputs in float64 with some leaves elsewhere: parameters stand as inputs."""
    leaves = {p: sg.input(f"at {p.name}", p.shape, p.dtype) for p in graph.parameters}
    if not hasattr(program, "open"):
        floats = {p: v for p, v in leaves.items() if p.dtype.is_float}
        program.open = with_inputs_for_parameters(graph, floats)
    feeds = dict(program.feeds)
    start = dict(zip((p.name for p in program.parameters), program.start, strict=True))
    feeds |= {f"at {n}": a for n, a in start.items()}
    for name, array in changed.items():
        feeds[name if name in feeds else f"at {name}"] = array
    target = program.open
    feeds = {label(value): feeds[label(value)] for value in target.inputs}
    sizes = {name: program.sizes[name] for name in target.sizes}
    return dict(sg.evaluate(target, feeds, sizes=sizes, dtype="float64"))


def with_inputs_for_parameters(graph, leaves):
    """The graph's outputs with parameters replaced by inputs."""
    by_node = {p.node: value for p, value in leaves.items()}
    plain = sg.Graph(graph.outputs, inputs=graph.inputs)
    rewritten = plain.replace_nodes(lambda node, _: [by_node[node]] if node in by_node else None)
    return sg.Graph(rewritten.outputs)
