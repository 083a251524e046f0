"""PyTorch's samples of its operators through the table of ATen operators.

    python -m tests.bridges.aten_samples [--count 2] [--only linalg]

``torch.testing`` has a few calls of each operator. Each is traced, computed by rows and compared
with PyTorch in float64, complex128 and float32, with two gradients: that of the rows, and PyTorch's
backward graph computed by rows. The table says how many passed, and why others were refused.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import itertools
import re
import sys
import warnings
from typing import NamedTuple

import numpy as np
import torch

import staticgrad as sg
from staticgrad.errors import StaticgradError
from staticgrad.interop.aten.reading import program_of, traced
from staticgrad.interop.torch_arrays import array_of

#: Samples with results or gradients that PyTorch does not define, by the reason.
UNDEFINED = {
    "memory that nothing has written": {
        "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided",
        "resize_", "resize_as_",
    },
    "a gradient of elements that several write": {
        "nn.functional.max_unpool1d", "nn.functional.max_unpool2d", "nn.functional.max_unpool3d",
    },
    "a gradient of a matrix without full rank": {"linalg.pinv.hermitian"},
    "1 / 6 in single precision": {"nn.functional.hardsigmoid"},
}  # fmt: skip
#: Functions of one triangle: of gradients only the Hermitian part is defined.
TRIANGLES = {
    "cholesky", "linalg.cholesky", "linalg.cholesky_ex", "linalg.eigh", "linalg.eigvalsh",
}  # fmt: skip
#: Why a sample is not computed here: a pattern of the error -> the reason.
REFUSED = {
    r"no row": "an operator without a row",
    r"random": "random numbers",
    r"dtype|complex32|uint16|uint32|uint64": "an element type that there is not here",
    r"value out of a tracing|data-dependent|DataDependent|its data i|mask: the size":
        "a size that depends on values",
    r"sparse|Sparse|layout": "a sparse tensor",
    r"not supported|refuses|takes": "a variant of an operator",
    r"aot_autograd|autograd\.Function|functionaliz|fake|Meta|meta|alias|storage|leaf|trac|"
    r"vmap|grad can be implicitly|mutat|NestedTensor|set_data|tensor subclass|int\(|IntList":
        "PyTorch does not trace it",
}  # fmt: skip


class Outcome(NamedTuple):
    """What became of one sample: ``passed``, ``refused``, ``undefined``, ``skipped``, ``wrong``."""

    operator: str
    kind: str
    reason: str = ""
    rows: frozenset = frozenset()


class StoppedError(Exception):
    """The end of a sample: its kind and reason."""

    def __init__(self, kind, reason):
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason


class Sample:
    """One call of an operator as a function of its tensors."""

    def __init__(self, op, name, sample):
        self.op, self.name = op, name
        self._after = sample.output_process_fn_grad
        tree = sample.input, sample.args, sample.kwargs
        self._leaves, self._spec = torch.utils._pytree.tree_flatten(tree)
        self._places = [k for k, x in enumerate(self._leaves) if isinstance(x, torch.Tensor)]
        given = [self._leaves[k] for k in self._places]
        if any(each.layout is not torch.strided for each in given):
            raise StoppedError("refused", "a sparse tensor")
        self.tensors = [each.detach().clone().contiguous() for each in given]
        self.wrt = [k for k, each in enumerate(given) if each.requires_grad]

    def __call__(self, *tensors):
        leaves = [*self._leaves]
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        x, args, named = torch.utils._pytree.tree_unflatten(leaves, self._spec)
        results = torch.utils._pytree.tree_leaves(self._after(self.op(x, *args, **named)))
        return [each for each in results if isinstance(each, torch.Tensor)]

    def inputs(self, dtype=None):
        """Fresh tensors, those of gradients on the tape; floating ones in another precision."""
        made = []
        for k, each in enumerate(self.tensors):
            if dtype is not None and each.is_floating_point():
                each = each.to(dtype)
            made.append(each.clone().requires_grad_(k in self.wrt))
        return made


def _weights(values):
    """What results are multiplied by before they are added up: numbers, complex ones too."""
    made = []
    for each in values:
        weight = torch.arange(each.numel(), dtype=torch.float64).cos().reshape(each.shape)
        made.append((weight * (1 + 0.5j) if each.is_complex() else weight).to(each.dtype))
    return made


def by_pytorch(sample, f=None, dtype=None):
    """The results in PyTorch, gradients (None where there is none), and which results have one."""
    inputs = sample.inputs(dtype)
    results = (f or sample)(*inputs)
    paired = [(y, w) for y, w in zip(results, _weights(results), strict=True) if y.requires_grad]
    by = [inputs[k] for k in sample.wrt]
    slopes = [None] * len(by)
    if paired and by:
        ys, cts = zip(*paired, strict=True)
        slopes = torch.autograd.grad(ys, by, cts, allow_unused=True)
        slopes = [
            torch.zeros(each.shape, dtype=each.dtype)
            if each is not None and each._is_zerotensor()
            else each
            for each in slopes
        ]
    return [each.detach() for each in results], [*slopes], [y.requires_grad for y in results]


def _program(graph, used):
    """The program of a graph; the sample ends where it has no rows or draws numbers."""
    program = program_of(graph)
    if missing := program.missing():
        raise StoppedError("refused", f"no row: {missing[0].operator}")
    if program.draws:
        raise StoppedError("refused", "random numbers")
    used |= {node.operator for node in program.nodes}
    return program


def _values(tensors):
    return [
        sg.input(f"x{k}", tuple(each.shape), str(each.dtype).removeprefix("torch."))
        if isinstance(each, torch.Tensor) else each
        for k, each in enumerate(tensors)
    ]  # fmt: skip


def _evaluated(values, results, tensors):
    """Arrays of the results, numbers among them unchanged."""
    outputs = {f"y{k}": each for k, each in enumerate(results) if isinstance(each, sg.Value)}
    inputs = [each for each in values if isinstance(each, sg.Value)]
    feeds = {f"x{k}": array_of(x) for k, x in enumerate(tensors) if isinstance(x, torch.Tensor)}
    found = sg.evaluate(sg.Graph(outputs, inputs=inputs), feeds) if outputs else {}
    return [found.get(f"y{k}", each) for k, each in enumerate(results)]


def by_rows(sample, expected, slopes, smooth, used):
    """Results and gradients of the rows of the operators that the function runs."""
    program = _program(traced(sample, *sample.inputs()), used)
    values = _values(sample.tensors)
    results = program.run([*values, *[None] * (len(program.inputs) - len(values))])
    total = 0.0
    for value, is_smooth, weight in zip(results, smooth, _weights(expected), strict=True):
        if isinstance(value, sg.Value) and is_smooth:
            weight = sg.constant(array_of(weight))
            total = total + sg.real(value * sg.conj(weight)).sum()
    some = [values[k] for k, slope in zip(sample.wrt, slopes, strict=True) if slope is not None]
    found = iter(sg.grad(total, some, allow_disconnected=True) if some else [])
    pulled = [None if each is None else sg.conj(next(found)) for each in slopes]
    both = _evaluated(values, [*results, *pulled], sample.tensors)
    return both[: len(results)], both[len(results) :]


def by_graphs(sample, used):
    """Results and gradients of the graphs that PyTorch makes, forward and backward, by rows."""
    aot = importlib.import_module("torch._functorch.aot_autograd").aot_function
    stopped = []

    def compiled(graph, example):
        try:
            program = _program(graph, used)
        except (StoppedError, StaticgradError) as error:
            stopped.append(error)
            raise

        def run(args):
            values = _values(args)
            try:
                results = program.run([*values, *[None] * (len(program.inputs) - len(values))])
                arrays = _evaluated(values, results, args)
            except StaticgradError as error:
                stopped.append(error)
                raise
            args.clear()
            return [
                torch.from_numpy(np.array(each)) if isinstance(each, np.ndarray | np.generic)
                else each for each in arrays
            ]  # fmt: skip

        run._boxed_call = True
        return run

    f = aot(
        sample, fw_compiler=compiled, bw_compiler=compiled,
        decompositions=torch._decomp.core_aten_decompositions(),
    )  # fmt: skip
    try:
        return by_pytorch(sample, f)[:2]
    except Exception:
        if stopped:
            raise stopped[0] from None
        raise


def _difference(found, expected, exact, triangle):
    """The greatest difference, in units of what is allowed; infinite if the types differ."""
    found = array_of(found) if isinstance(found, torch.Tensor) else np.asarray(found)
    expected = array_of(expected.resolve_conj())
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return np.inf
    if found.dtype.kind not in "fc":
        return 0.0 if np.array_equal(found, expected) else np.inf
    if triangle:
        found, expected = (x + np.conj(np.swapaxes(x, -1, -2)) for x in (found, expected))
    if exact is not None:  # single precision: the error of PyTorch, or of rounding
        exact = array_of(exact.resolve_conj())
        with np.errstate(invalid="ignore", over="ignore"):
            scale = np.abs(exact[np.isfinite(exact)]).max(initial=1.0)
            theirs = np.abs(expected - exact)
        theirs = theirs[np.isfinite(theirs)].max(initial=0.0)
        allowed, expected = 4 * theirs + 2e-5 * scale, exact.astype(exact.dtype)
    else:
        allowed = 1e-10 + 1e-9 * np.abs(np.where(np.isfinite(expected), expected, 0))
    with np.errstate(invalid="ignore", over="ignore"):
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        same |= np.isinf(found) & (np.abs(expected) > np.finfo(found.dtype).max)
        gaps = np.where(same, 0.0, np.abs(found - expected) / allowed)
    return np.inf if np.isnan(gaps).any() else float(gaps.max(initial=0.0))


def outcome(sample, graphs):
    """Compute one sample and compare it with PyTorch."""
    try:
        expected, slopes, smooth = by_pytorch(sample)
    except Exception:
        raise StoppedError("skipped", "PyTorch refuses it") from None
    if not expected:
        raise StoppedError("skipped", "there is no tensor among the results")
    exact = [None] * len(expected), [None] * len(slopes)
    if any(each.dtype is torch.float32 for each in sample.tensors):
        exact = by_pytorch(sample, dtype=torch.float64)
    used: set[str] = set()
    if graphs:
        found, pulled = by_graphs(sample, used)
    else:
        found, pulled = by_rows(sample, expected, slopes, smooth, used)
    wrong = []
    for what, own, theirs, precise in (("y", found, expected, exact[0]),
                                       ("g", pulled, slopes, exact[1])):  # fmt: skip
        for k, (one, other, best) in enumerate(zip(own, theirs, precise, strict=True)):
            if one is None or other is None:
                rest = other if one is None else one
                if rest is not None and bool(rest.any()):
                    wrong.append(f"{what}{k} is missing")
                continue
            gap = _difference(one, other, best, what == "g" and sample.name in TRIANGLES)
            if gap > 1:
                wrong.append(f"{what}{k}: {gap:.3g} times what is allowed")
    if wrong:
        raise StoppedError("wrong", "; ".join(wrong))
    return frozenset(used - {"getitem"})


def reason_of(error):
    """The words for an error, of ``REFUSED``; its own where there are none."""
    text = f"{type(error).__name__}: {getattr(error, 'headline', error)}"
    return next((why for pattern, why in REFUSED.items() if re.search(pattern, text)), text)


def outcomes(dtype, graphs=False, count=2, shard=0, shards=1, only=""):
    """What becomes of the first samples of each operator."""
    module = importlib.import_module("torch.testing._internal.common_methods_invocations")
    unknown = {name: why for why, names in UNDEFINED.items() for name in names}
    for op in module.op_db[shard::shards]:
        name = f"{op.name}.{op.variant_test_name}".rstrip(".")
        if only not in name or dtype not in op.supported_dtypes("cpu"):
            continue
        torch.manual_seed(0)
        samples = op.sample_inputs("cpu", dtype, requires_grad=op.supports_autograd)
        try:
            chosen = [*itertools.islice(samples, count)]
        except Exception:
            yield Outcome(name, "skipped", "PyTorch has no sample")
            continue
        for each in chosen:
            if name in unknown:
                yield Outcome(name, "undefined", unknown[name])
                continue
            try:
                used = outcome(Sample(op, name, each), graphs)
                yield Outcome(name, "passed", "", used)
            except StoppedError as end:
                yield Outcome(
                    name, end.kind, reason_of(end) if end.kind == "refused" else end.reason
                )
            except Exception as error:
                yield Outcome(name, "refused", reason_of(error))


MODES = {
    "float64, gradients of rows": (torch.float64, False),
    "float64, PyTorch's backward": (torch.float64, True),
    "complex128, gradients of rows": (torch.complex128, False),
    "float32, gradients of rows": (torch.float32, False),
}


def main():
    """Print a table for each mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--modes", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for title, (dtype, graphs) in MODES.items():
        if options.modes not in title:
            continue
        every = [*outcomes(dtype, graphs, options.count, only=options.only)]
        counts = collections.Counter(each.kind for each in every)
        rows = frozenset().union(*(each.rows for each in every))
        passed = {each.operator for each in every if each.kind == "passed"}
        names = {each.operator for each in every}
        sys.stdout.write(
            f"\n{title}: {len(names)} operators, {len(passed)} passed, {len(rows)} rows run\n"
        )
        totals = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        sys.stdout.write(f"{totals}\n")
        reasons = collections.defaultdict(collections.Counter)
        for each in every:
            if each.kind != "passed":
                reasons[each.kind, each.reason][each.operator] += 1
        for (kind, why), who in sorted(reasons.items(), key=lambda each: -each[1].total()):
            names = ", ".join([*who][:4])
            sys.stdout.write(f"  {who.total():4} {kind}: {why} ({names})\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
