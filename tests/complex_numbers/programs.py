"""Random complex programs, in staticgrad and in PyTorch: values and derivatives of two orders.

    python -m tests.complex_numbers.programs --seed 0 --count 300

A program is a list of steps, each a row of ``STEPS`` with operands and constants that the seed
chose. A step is written once for both libraries where they agree in names, and keeps its operands
in their domain: ``small`` brings magnitudes below 1 smoothly, and what has a pole or a cut is moved
away from it.
"""

import argparse
import traceback
from collections import Counter

import numpy as np
import torch
from scipy.sparse import csr_array

import staticgrad as sg
from staticgrad.eager import Tensor

SHAPE = (3, 4)
SQUARE = np.array([[3.0, 0, 0], [0, 4, 0], [0, 0, 5]])
HOLES = np.array([[2.0, 0, 0], [0, 0, -1], [1, 0, 0.5]])
MASK = np.array([[True, False, True, True], [False] * 4, [True, True, False, True]])
WAYS = ("value", "gradient", "second order", "hvp", "jvp", "vmap", "tape", "compiled")


class Ours:
    """The functions of staticgrad that steps call."""

    name = "sg"
    slogdet, eigvalsh, svdvals = (
        staticmethod(getattr(sg.linalg, name)) for name in ("slogdet", "eigvalsh", "svdvals")
    )

    def __getattr__(self, name):
        return getattr(sg, name)

    pad = staticmethod(lambda z: sg.pad(z, ((0, 0), (1, 2))))
    broadcast = staticmethod(lambda z: sg.broadcast_to(z[:, None], (z.shape[0], 2, z.shape[1])))
    take = staticmethod(lambda z: z[np.array([2, 0, 2])])
    added = staticmethod(lambda z: sg.zeros_like(z).at[np.array([1, 0, 1])].add(z))
    sparse = staticmethod(lambda z: sg.sparse.csr(csr_array(HOLES)) @ z)
    constant = staticmethod(lambda array: array)
    where_real = staticmethod(lambda a, b: sg.where(a.real > b.real, a, b))

    @staticmethod
    def cond(test, if_true, if_false, *args):
        return sg.cond(test, if_true, if_false, *args)

    @staticmethod
    def repeat_body(count, body, first):
        return sg.fori_loop(0, count, lambda _, h: body(h), first)

    @staticmethod
    def scan_rows(body, first, rows):
        return sg.scan(body, first, rows)

    @staticmethod
    def while_small(body, first):
        return sg.while_loop(
            lambda s: s[1] < 3, lambda s: (body(s[0]), s[1] + 1), (first, 0), max_steps=4
        )[0]


class Theirs:
    """The functions of PyTorch that steps call, by the same names."""

    name = "torch"
    slogdet, eigvalsh, svdvals = (
        staticmethod(getattr(torch.linalg, name)) for name in ("slogdet", "eigvalsh", "svdvals")
    )
    abs_square = staticmethod(lambda z: z.real**2 + z.imag**2)
    concatenate = staticmethod(torch.cat)
    sum = staticmethod(lambda z, axis=None: z.sum() if axis is None else z.sum(axis))
    mean = staticmethod(lambda z, axis: z.mean(axis))
    prod = staticmethod(lambda z, axis: z.prod(axis))
    std = staticmethod(lambda z, axis: torch.std(z, axis, correction=0))
    var = staticmethod(lambda z, axis: torch.var(z, axis, correction=0))
    norm = staticmethod(lambda z: torch.sqrt((z.abs() ** 2).sum()))
    expm1 = staticmethod(lambda z: torch.exp(z) - 1)
    log1p = staticmethod(lambda z: torch.log(1 + z))
    exp2 = staticmethod(lambda z: torch.exp(z * np.log(2.0)))
    sign = staticmethod(torch.sgn)
    trace = staticmethod(lambda z: z.diagonal().sum())
    pad = staticmethod(lambda z: torch.nn.functional.pad(z, (1, 2)))
    broadcast = staticmethod(lambda z: z[:, None].expand(z.shape[0], 2, z.shape[1]))
    take = staticmethod(lambda z: z[[2, 0, 2]])
    added = staticmethod(lambda z: torch.zeros_like(z).index_add(0, torch.tensor([1, 0, 1]), z))
    sparse = staticmethod(lambda z: torch.tensor(HOLES).to(z.dtype) @ z)
    where_real = staticmethod(lambda a, b: torch.where(a.real > b.real, a, b))
    flip = staticmethod(lambda z, axis: torch.flip(z, (axis,)))
    constant = staticmethod(torch.tensor)

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def cond(test, if_true, if_false, *args):
        return if_true(*args) if bool(test) else if_false(*args)

    @staticmethod
    def repeat_body(count, body, first):
        for _ in range(count):
            first = body(first)
        return first

    @staticmethod
    def scan_rows(body, first, rows):
        outs = []
        for row in rows:
            first, out = body(first, row)
            outs.append(out)
        return first, torch.stack(outs)

    @staticmethod
    def while_small(body, first):
        return Theirs.repeat_body(3, body, first)


def small(m, z):
    """Values below 0.8 in magnitude."""
    return z * 0.8 / m.sqrt(1.0 + m.abs_square(z))


def hermitian(m, z):
    """A matrix [3, 3] with eigenvalues that are apart."""
    z = small(m, z) * 0.3
    return z @ m.conj(z.T) + m.constant(SQUARE)


def regular(m, z):
    """A square matrix that has an inverse."""
    z = small(m, z)[:, :3]
    return z * 0.5 + m.constant(SQUARE)


def row_step(m, w):
    def body(carry, row):
        carry = small(m, carry * row + w)
        return carry, m.exp(carry) * row

    return body


INSIDE = """exp sin cos tan sinh cosh tanh expm1 log1p square sigmoid arcsin arccos arctan arcsinh
    arctanh exp2 conj real imag"""
MOVED_AWAY = "sqrt log log2 log10 reciprocal angle abs sign arccosh"
#: Functions of an operand of magnitude below 1.
ONE = {
    **{name: (lambda m, z, name=name: getattr(m, name)(z)) for name in INSIDE.split()},
    **{name: (lambda m, z, name=name: getattr(m, name)(z + 2.0)) for name in MOVED_AWAY.split()},
    "cube": lambda m, z: z**3,
    "inverse square": lambda m, z: (z + 1.5) ** -2,
    "root": lambda m, z: (z + 1.5) ** 0.5,
    "by i": lambda m, z: 1j * z,
    "over i": lambda m, z: z / 2j,
    "minus": lambda m, z: (1.0 - 2j) - z,
    "abs square": lambda m, z: m.abs_square(z),
    "parts": lambda m, z: m.complex(z.imag, z.real * 0.5),
    "i of a part": lambda m, z: 1j * z.real,
    "of one": lambda m, z: z * 0 + (0.5 + 1j),
}  # fmt: skip
#: Functions of two such operands.
TWO = {
    "add": lambda m, a, b: a + b,
    "subtract": lambda m, a, b: a - b,
    "multiply": lambda m, a, b: a * b,
    "divide": lambda m, a, b: a / (b + 2.0),
    "power": lambda m, a, b: (a + 2.0) ** b,
    "by real": lambda m, a, b: a * b.real,
    "over real": lambda m, a, b: a / (b.real + 2.0),
    "where": lambda m, a, b: m.where(m.constant(MASK), a, b),
    "where real": lambda m, a, b: m.where_real(a, b),
    "loop": lambda m, a, b: m.repeat_body(3, lambda h: small(m, m.sin(h) * a + b), b),
    "while": lambda m, a, b: m.while_small(lambda h: m.exp(h * 0.3) * a, b),
    "scan": lambda m, a, b: m.scan_rows(row_step(m, b[0]), a[0], b)[1] + a,
    "cond": lambda m, a, b: m.cond(
        m.sum(a.real) > 0.0, lambda a, b: a * m.cos(b), lambda a, b: 1j * a - b, a, b
    ),
    "concatenate": lambda m, a, b: m.concatenate([a, b])[1:4],
    "stack": lambda m, a, b: m.stack([a, 2j * b])[1] + m.stack([a, b], 1)[:, 0],
    "matmul": lambda m, a, b: (a @ m.conj(b.T)) @ b,
    "einsum": lambda m, a, b: m.einsum("ij,kj,kl->il", a, b, a * 0.5),
    "outer": lambda m, a, b: m.outer(a[:, 0], b[1]),
    "kron": lambda m, a, b: m.kron(a[:1, :2], b[:, :2]),
    "solve": lambda m, a, b: m.linalg.solve(regular(m, a), b),
    "solve adjoint": lambda m, a, b: m.linalg.solve(m.conj(regular(m, a).T), b),
}
#: Functions of one operand [3, 4] that give another shape, or look at the whole.
MOVED = {
    "transpose": lambda m, z: z.T.reshape((3, 4)),
    "reverse": lambda m, z: m.flip(m.flip(z, 0), 1),
    "slice": lambda m, z: z[1:, :] * z[:2, :],
    "step": lambda m, z: z[::2, ::3],
    "roll": lambda m, z: m.roll(z, 1, 1),
    "pad": lambda m, z: m.pad(z),
    "broadcast": lambda m, z: m.broadcast(z)[:, 1],
    "take": lambda m, z: m.take(z),
    "scatter": lambda m, z: m.added(z),
    "sum": lambda m, z: m.sum(z, 0),
    "mean": lambda m, z: m.mean(z, 1),
    "prod": lambda m, z: m.prod(z + 1.0, 1),
    "cumsum": lambda m, z: m.cumsum(z, 1),
    "cumprod": lambda m, z: m.cumprod(z + 1.0, 0),
    "var": lambda m, z: m.var(z, 1) + 0j,
    "std": lambda m, z: m.std(z, 0) + 0j,
    "norm": lambda m, z: m.norm(z) * z,
    "trace": lambda m, z: m.trace(z[:, :3]) * z,
    "sparse": lambda m, z: m.sparse(z),
    "inv": lambda m, z: m.linalg.inv(regular(m, z)),
    "det": lambda m, z: m.linalg.det(regular(m, z)) * z * 0.01,
    "slogdet": lambda m, z: m.slogdet(regular(m, z))[1] * z,
    "sign of det": lambda m, z: m.slogdet(regular(m, z))[0] * z,
    "cholesky": lambda m, z: m.linalg.cholesky(hermitian(m, z)),
    "eigvalsh": lambda m, z: m.eigvalsh(hermitian(m, z)) + 0j,
    "svdvals": lambda m, z: m.svdvals(hermitian(m, z)[:2]) + 0j,
}
NORMS = ("backward", "ortho", "forward")


def axis_named(m, axis):
    return {"dim" if m.name == "torch" else "axis": axis}


def axes_named(m, axes):
    return {"dim" if m.name == "torch" else "axes": axes}


def draw_transform(rng):
    """A transform with n, axis and norm."""
    name = str(rng.choice(["fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "fftn", "ifftn"]))
    norm, axis = str(rng.choice(NORMS)), int(rng.choice([0, 1, -1]))
    n = None if rng.random() < 0.5 else int(rng.integers(1 if name != "irfft" else 2, 7))
    s = None if rng.random() < 0.5 else tuple(map(int, rng.integers(1, 6, 2)))

    def apply(m, z):
        f = getattr(m.fft, name)
        if name in ("fft2", "ifft2", "fftn", "ifftn"):
            return f(z, s, norm=norm, **axes_named(m, (0, 1)))
        if name == "irfft":  # imaginary parts of the first and last element take no part
            return f(z, n, norm=norm, **axis_named(m, axis)) + 0j
        return f(z.real if name == "rfft" else z, n, norm=norm, **axis_named(m, axis))

    return f"{name}(n={n}, s={s}, axis={axis}, norm={norm})", apply


class Program:
    """A random program; ``names`` says what it does."""

    def __init__(self, seed, most=7):
        rng = np.random.default_rng(seed)
        self.seed, self.names, self.steps = seed, [], []
        parts = rng.normal(size=(5, *SHAPE))
        self.at = (parts[0] + 1j * parts[1], parts[2] + 1j * parts[3], parts[4])
        self.ways = tuple(rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE) for _ in range(2))
        self.ways = (*self.ways, rng.normal(size=SHAPE))
        self.weight = rng.normal(size=2)
        for _ in range(int(rng.integers(2, most + 1))):
            kind = rng.choice(["one", "two", "moved", "fft"], p=[0.35, 0.3, 0.2, 0.15])
            a, b = (int(rng.integers(0, len(self.steps) + 3)) for _ in range(2))
            if kind == "fft":
                name, step = draw_transform(rng)
            else:
                table = {"one": ONE, "two": TWO, "moved": MOVED}[str(kind)]
                name = str(rng.choice([*table]))
                step = table[name]
            self.names.append(f"{name}({a}, {b})" if kind == "two" else f"{name}({a})")
            self.steps.append((step, (a, b) if kind == "two" else (a,)))

    def __str__(self):
        return f"seed {self.seed}: {'; '.join(self.names)}"

    def values(self, m, *arguments):
        """The results of all steps, each [3, 4]."""
        pool = [*arguments]
        for step, operands in self.steps:
            result = step(m, *[small(m, pool[place] + 0j) for place in operands])
            pool.append(fit_shape(m, result))
        return pool[len(arguments) :]

    def loss(self, m, *operands):
        values, (a, b) = self.values(m, *operands), self.weight
        return sum(m.sum(m.abs_square(z)) * a + m.sum((z * (b + 0.5j)).real) for z in values)


def fit_shape(m, result):
    """A result of any shape as one [3, 4], of which every element takes part."""
    flat = result.reshape(-1)
    count = flat.shape[0]
    index = np.arange(12) % count
    cut = flat[index] if m.name == "sg" else flat[torch.tensor(index)]
    total = m.sum(flat) * 0.3
    return cut.reshape(SHAPE) + total + 0j


M, T = Ours(), Theirs()


def of_torch(program, at):
    """Value, gradient and gradient of a product with it, by PyTorch, in JAX's convention."""
    tensors = [torch.tensor(x, requires_grad=True) for x in at]
    loss = program.loss(T, *tensors)
    slopes = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
    along = sum(
        (slope.conj() * torch.tensor(way)).real.sum()
        for slope, way in zip(slopes, program.ways, strict=True)
        if slope is not None
    )
    again = [None] * 3
    if getattr(along, "requires_grad", False):
        again = torch.autograd.grad(along, tensors, allow_unused=True)
    plain = lambda slope, x: np.zeros_like(x) if slope is None else np.conj(slope.detach().numpy())  # noqa: E731
    return (
        [v.detach().numpy() for v in program.values(T, *tensors)],
        [plain(slope, x) for slope, x in zip(slopes, at, strict=True)],
        [plain(slope, x) for slope, x in zip(again, at, strict=True)],
    )


def compare_with_torch(program, ways=WAYS):
    """Compare a program with PyTorch; return how many results of each kind were compared.

    Raises:
        AssertionError: they differ.
    """
    counts = Counter(programs=1)
    at, argnums = program.at, (0, 1, 2)
    values, slopes, curved = of_torch(program, at)
    if not all(np.isfinite(array).all() for array in (*values, *slopes, *curved)):
        return Counter(not_finite=1)
    inputs = [sg.input(f"x{k}", SHAPE, x.dtype.name) for k, x in enumerate(at)]
    feeds = {f"x{k}": x for k, x in enumerate(at)}
    results_of_steps, loss = program.values(M, *inputs), program.loss(M, *inputs)
    by = sg.grad(loss, inputs, allow_disconnected=True)
    along = sum((sg.sum((slope * way).real) for slope, way in zip(by, program.ways, strict=True)))
    graph = {f"value{k}": value for k, value in enumerate(results_of_steps)}
    graph |= {f"slope{k}": slope for k, slope in enumerate(by)}
    if "second order" in ways:
        again = sg.grad(along, inputs, allow_disconnected=True)
        graph |= {f"second{k}": slope for k, slope in enumerate(again)}
    graph |= {"fed": inputs[0] + 0, "w": inputs[1], "x": inputs[2]}
    actual = sg.evaluate(sg.Graph(graph), feeds)

    def compare(what, results, expected, tolerance=1e-8):
        for actual, reference in zip(results, expected, strict=True):
            scale = max(1.0, np.abs(reference).max(initial=0.0))
            np.testing.assert_allclose(
                actual / scale,
                reference / scale,
                rtol=0,
                atol=tolerance,
                err_msg=f"{what}: {program}",
            )
            counts[what] += 1

    compare("value", [actual[f"value{k}"] for k in range(len(results_of_steps))], values)
    if "gradient" in ways:
        compare("gradient", [actual[f"slope{k}"] for k in range(3)], slopes)
    if "second order" in ways:
        compare("second order", [actual[f"second{k}"] for k in range(3)], curved, 1e-6)
    if "hvp" in ways:  # forward over reverse
        points = sg.hvp(loss, inputs, list(program.ways), allow_disconnected=True)
        compare("hvp", sg.evaluate([*points, *inputs], feeds)[:3], curved, 1e-6)
    if "jvp" in ways:
        step = 1e-6
        points = [
            tuple(x + s * w for x, w in zip(at, program.ways, strict=True)) for s in (step, -step)
        ]
        ends = [of_values(program, point) for point in points]
        tangents_expected = [(a - b) / (2 * step) for a, b in zip(*ends, strict=True)]
        f = lambda *operands: program.values(M, *operands)  # noqa: E731
        tangents = sg.jvp(f(*inputs), inputs, list(program.ways), allow_disconnected=True)
        result = sg.evaluate([*tangents, *inputs], feeds)[: len(results_of_steps)]
        compare("jvp", result, tangents_expected, 1e-4)
    if "vmap" in ways:
        batches = [np.stack([x, 0.5 * x]) for x in at]
        slope = sg.grad(
            lambda *operands: program.loss(M, *operands), argnums, allow_disconnected=True
        )
        fed = [sg.input(f"b{k}", b.shape, b.dtype.name) for k, b in enumerate(batches)]
        mapped = sg.vmap(slope)(*fed)
        result = sg.evaluate([*mapped, *fed], {f"b{k}": b for k, b in enumerate(batches)})[:3]
        half_slopes = of_torch(program, [0.5 * x for x in at])[1]
        compare("vmap", result, [np.stack(pair) for pair in zip(slopes, half_slopes, strict=True)])
    if "tape" in ways:
        tensors = [Tensor(x, requires_grad=True) for x in at]
        result = sg.grad(program.loss(M, *tensors), tensors, allow_disconnected=True)
        compare("tape", [tensor.data for tensor in result], slopes)
    if "compiled" in ways:
        result = sg.compile(sg.Graph(graph)).run(feeds)
        compare("compiled", [result[name] for name in graph], [actual[name] for name in graph])
    return counts


def of_values(program, at):
    tensors = [torch.tensor(x) for x in at]
    return [v.numpy() for v in program.values(T, *tensors)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--compiled", type=int, default=10, help="compile one program of so many")
    args = parser.parse_args()
    total, failed = Counter(), []
    for seed in range(args.seed, args.seed + args.count):
        ways = WAYS if seed % args.compiled == 0 else WAYS[:-1]
        program = Program(seed)
        try:
            total += compare_with_torch(program, ways)
        except Exception:
            failed.append(seed)
            report(f"FAILED {program}\n{traceback.format_exc(limit=-3)}")
    report(f"{dict(total)}, {len(failed)} failures: {failed}")


def report(text):
    print(text, flush=True)  # noqa: T201 - what the command is for


if __name__ == "__main__":
    main()
