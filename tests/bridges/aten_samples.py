"""PyTorch's samples of its operators through ``torch.compile(f, backend="staticgrad")``.

    python -m tests.bridges.aten_samples --json samples.jsonl [--mode float32] [--shard 0/4]
    python -m tests.bridges.aten_samples --report samples.jsonl

``torch.testing`` has calls of each operator. Results and gradients are compared with those of
PyTorch in the same element type; of fewer digits both with those of double precision. A sample has
*passed* if our programs compute all of it; it is *by fallback* if PyTorch runs a part of it. Other
modes compute gradients of gradients, and gradients of the rows, without PyTorch's backward graph.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import importlib.util
import itertools
import json
import logging
import re
import signal
import sys
import types
import unittest
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

if importlib.util.find_spec("expecttest") is None:  # which PyTorch's samples import for a class
    sys.modules["expecttest"] = types.ModuleType("expecttest")
    sys.modules["expecttest"].TestCase = unittest.TestCase

import staticgrad as sg
from staticgrad.torch.arrays import array_of
from staticgrad.torch.aten import backend
from staticgrad.torch.aten.reading import program_of
from tests.bridges.aten_graphs import trace_graph

#: Samples with results or gradients that PyTorch does not define, by the reason: operators, or
#: operators of one element type.
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
    "which of equal elements is the one": {"kthvalue uint8"},
    "PyTorch rounds columns before rows": {
        "nn.functional.interpolate.bilinear uint8", "nn.functional.upsample_bilinear uint8",
    },
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
    """The end of one sample: ``passed``, ``refused``, ``undefined``, ``skipped``, ``wrong``."""

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
        self._process_output = sample.output_process_fn_grad
        tree = sample.input, sample.args, sample.kwargs
        self._leaves, self._spec = torch.utils._pytree.tree_flatten(tree)
        self._places = [k for k, x in enumerate(self._leaves) if isinstance(x, torch.Tensor)]
        tensors = [self._leaves[k] for k in self._places]
        if any(tensor.layout is not torch.strided for tensor in tensors):
            raise StoppedError("refused", "a sparse tensor")
        self.tensors = [tensor.detach().clone().contiguous() for tensor in tensors]
        self.wrt = [k for k, tensor in enumerate(tensors) if tensor.requires_grad]

    def __call__(self, *tensors):
        leaves = [*self._leaves]
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        x, args, named = torch.utils._pytree.tree_unflatten(leaves, self._spec)
        results = torch.utils._pytree.tree_leaves(self._process_output(self.op(x, *args, **named)))
        return [result for result in results if isinstance(result, torch.Tensor)]

    def inputs(self, wide=False):
        """Fresh tensors, those of gradients on the tape; ``wide``: in double precision."""
        copies = []
        for k, tensor in enumerate(self.tensors):
            if wide and (tensor.is_floating_point() or tensor.is_complex()):
                tensor = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
            copies.append(tensor.clone().requires_grad_(k in self.wrt))
        return copies


def _weights(values):
    """Return the weights of results in a sum, complex ones of complex results."""
    weights = []
    for value in values:
        weight = torch.arange(value.numel(), dtype=torch.float64).cos().reshape(value.shape)
        weights.append((weight * (1 + 0.5j) if value.is_complex() else weight).to(value.dtype))
    return weights


def by_pytorch(sample, f=None, wide=False):
    """The results in PyTorch, gradients (None where there is none), and which results have one."""
    inputs = sample.inputs(wide)
    results = (f or sample)(*inputs)
    paired = [(y, w) for y, w in zip(results, _weights(results), strict=True) if y.requires_grad]
    by = [inputs[k] for k in sample.wrt]
    slopes = [None] * len(by)
    if paired and by:
        ys, cts = zip(*paired, strict=True)
        slopes = torch.autograd.grad(ys, by, cts, allow_unused=True)
        slopes = [
            torch.zeros(slope.shape, dtype=slope.dtype)
            if slope is not None and slope._is_zerotensor()
            else slope
            for slope in slopes
        ]
    return [result.detach() for result in results], [*slopes], [y.requires_grad for y in results]


def _program(graph, used):
    """The program of a graph; the sample ends where it has no rows or draws numbers."""
    program = program_of(graph)
    if missing := program.missing():
        raise StoppedError("refused", f"no row: {missing[0].operator.name}")
    if program.draws:
        raise StoppedError("refused", "random numbers")
    used |= {call.operator.name for call in program.calls}
    return program


def _values(tensors):
    return [
        sg.input(f"x{k}", tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        if isinstance(tensor, torch.Tensor) else tensor
        for k, tensor in enumerate(tensors)
    ]  # fmt: skip


def _evaluate(values, results, tensors):
    """Arrays of the results, numbers among them unchanged."""
    outputs = {f"y{k}": result for k, result in enumerate(results) if isinstance(result, sg.Value)}
    inputs = [value for value in values if isinstance(value, sg.Value)]
    feeds = {f"x{k}": array_of(x) for k, x in enumerate(tensors) if isinstance(x, torch.Tensor)}
    arrays = sg.evaluate(sg.Graph(outputs, inputs=inputs), feeds) if outputs else {}
    return [arrays.get(f"y{k}", result) for k, result in enumerate(results)]


def by_rows(sample, expected, slopes, smooth, used):
    """Results and gradients of the rows of the operators that the function runs."""
    program = _program(trace_graph(sample, *sample.inputs()), used)
    values = _values(sample.tensors)
    results = program.run([*values, *[None] * (len(program.inputs) - len(values))])
    total = 0.0
    for value, is_smooth, weight in zip(results, smooth, _weights(expected), strict=True):
        if isinstance(value, sg.Value) and is_smooth:
            weight = sg.constant(array_of(weight))
            total = total + sg.real(value * sg.conj(weight)).sum()
    some = [values[k] for k, slope in zip(sample.wrt, slopes, strict=True) if slope is not None]
    gradients = iter(sg.grad(total, some, allow_disconnected=True) if some else [])
    pulled = [None if slope is None else sg.conj(next(gradients)) for slope in slopes]
    arrays = _evaluate(values, [*results, *pulled], sample.tensors)
    return arrays[: len(results)], arrays[len(results) :]


class Found(NamedTuple):
    """Results of the backend for a sample.

    Attributes:
        results: tensors.
        slopes: gradients; None where there is none.
        rows: the names of operators that programs ran.
        outside: why PyTorch ran parts of the graphs.
        graphs: how many graphs there were.
    """

    results: list
    slopes: list
    rows: frozenset
    outside: tuple
    graphs: int


def by_backend(f, sample):
    """Return the results and gradients of ``torch.compile(f, backend="staticgrad")``."""
    torch._dynamo.reset()
    notes: list[backend.Note] = []
    late: list[str] = []

    def compile_and_note(graph, example):
        return backend.compile_dynamo_graph(graph, example, {}, notes.append)

    was, backend._warn = backend._warn, late.append
    try:
        results, slopes, _ = by_pytorch(
            sample, torch.compile(f, backend=compile_and_note, dynamic=False)
        )
    finally:
        backend._warn = was
    nodes = {c.operator.name for note in notes for runs in note.runs for c in runs.program.calls}
    outside = [reason for note in notes for _, reason in note.outside] + late
    return Found(results, slopes, frozenset(nodes), tuple(dict.fromkeys(outside)), len(notes))


class Slopes:
    """The gradients of a sample as a function of its tensors, which has a gradient again."""

    def __init__(self, sample):
        self.sample, self.wrt, self.name = sample, sample.wrt, sample.name
        self.tensors = sample.tensors

    def trace(self):
        """The function as a graph of operators that autograd differentiates."""
        try:
            module = torch.fx.experimental.proxy_tensor.make_fx(self)(*self.inputs())
        except Exception:
            raise StoppedError("refused", "PyTorch does not trace it") from None
        for node in module.graph.nodes:
            if node.target is torch.ops.aten.detach.default:  # autograd saves results like this
                node.replace_all_uses_with(node.args[0])
        module.recompile()
        return module

    inputs = Sample.inputs

    def __call__(self, *inputs):
        results = self.sample(*inputs)
        paired = [(y, w) for y, w in zip(results, _weights(results), strict=True)
                  if y.requires_grad]  # fmt: skip
        if not paired:
            raise StoppedError("skipped", "there is no gradient")
        by = [inputs[k] for k in self.wrt]
        ys, cts = zip(*paired, strict=True)
        gradients = torch.autograd.grad(ys, by, cts, create_graph=True, allow_unused=True)
        return [gradient for gradient in gradients if gradient is not None]


def _wide(x):
    """An array whose elements NumPy compares: of half precision in float64."""
    x = array_of(x) if isinstance(x, torch.Tensor) else np.asarray(x)
    return x.astype(np.float64) if x.dtype.name in ("float16", "bfloat16") else x


#: The element type -> its rounding error, as ``_difference`` allows it.
ROUNDING = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 1e-7, "complex64": 1e-7}


def _difference(actual, expected, exact, triangle):
    """The greatest difference, in units of what is allowed; infinite if the types differ."""
    expected = expected.resolve_conj().resolve_neg()
    name = str(expected.dtype).removeprefix("torch.")
    actual_name = str(actual.dtype).removeprefix("torch.")
    if (tuple(actual.shape), actual_name) != (tuple(expected.shape), name):
        return np.inf
    actual, expected = _wide(actual), _wide(expected)
    if actual.dtype.kind not in "fc":
        return 0.0 if np.array_equal(actual, expected) else np.inf
    if triangle:
        actual, expected = (x + np.conj(np.swapaxes(x, -1, -2)) for x in (actual, expected))
    if name in ROUNDING:  # the error of PyTorch, or of rounding
        if np.array_equal(actual, expected, equal_nan=True):
            return 0.0
        exact = expected if exact is None else _wide(exact)
        if exact.shape != expected.shape:
            return np.inf
        with np.errstate(invalid="ignore", over="ignore"):
            scale = np.abs(exact[np.isfinite(exact)]).max(initial=1.0)
            theirs = np.abs(expected - exact)
        theirs = theirs[np.isfinite(theirs)].max(initial=0.0)
        allowed, like = 4 * theirs + 200 * ROUNDING[name] * scale, expected
        if name in ("float16", "bfloat16"):
            allowed = 4 * theirs + 8 * ROUNDING[name] * scale
        expected = exact.astype(exact.dtype)
    else:
        allowed, like = 1e-10 + 1e-9 * np.abs(np.where(np.isfinite(expected), expected, 0)), actual
    with np.errstate(invalid="ignore", over="ignore"):
        top = float(torch.finfo(getattr(torch, name)).max)
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected)) | (actual == like)
        same |= np.isnan(actual) & np.isnan(like)
        same |= np.isinf(actual) & (np.abs(expected) > top)
        gaps = np.where(same, 0.0, np.abs(actual - expected) / allowed)
    return np.inf if np.isnan(gaps).any() else float(gaps.max(initial=0.0))


def _exact(sample, f=None):
    """Results and gradients in float64 of a sample in fewer digits; None where it has no such."""
    narrow = {torch.float32: 1, torch.float16: 1, torch.bfloat16: 1, torch.complex64: 2}
    if not any(tensor.dtype in narrow for tensor in sample.tensors):
        return None
    try:
        torch.manual_seed(1)
        return by_pytorch(sample, f, wide=True)[:2]
    except Exception:
        return None


def outcome(sample, way="rows"):
    """Compute one sample and compare it with PyTorch; return the operators that have run."""
    try:
        if way == "twice":
            sample = Slopes(sample)
        torch.manual_seed(1)
        expected, slopes, smooth = by_pytorch(sample)
    except StoppedError:
        raise
    except Exception:
        raise StoppedError("skipped", "PyTorch refuses it") from None
    if not expected:
        raise StoppedError("skipped", "there is no tensor among the results")
    if way == "twice" and not any(smooth):
        raise StoppedError("skipped", "there is no second gradient")
    exact = _exact(sample) or ([None] * len(expected), [None] * len(slopes))
    triangle, why, graphs = False, "", 1
    if way == "rows":
        rows: set[str] = set()
        actual, pulled = by_rows(sample, expected, slopes, smooth, rows)
        used = frozenset(rows)
        triangle = sample.name in TRIANGLES
    else:
        f = sample.trace() if way == "twice" else sample
        torch.manual_seed(1)
        try:
            compiled = by_backend(lambda *tensors: f(*tensors), sample)
        except Exception as error:
            raise _of_pytorch(sample, error) from None
        actual, pulled, used, graphs = (
            compiled.results,
            compiled.slopes,
            compiled.rows,
            compiled.graphs,
        )
        why = "; ".join(compiled.outside)
    wrong = []
    if len(actual) != len(expected):
        raise StoppedError("wrong", f"{len(actual)} results in the place of {len(expected)}")
    for what, ours, theirs, precise in (("y", actual, expected, exact[0]),
                                       ("g", pulled, slopes, exact[1])):  # fmt: skip
        for k, (result, reference, best) in enumerate(zip(ours, theirs, precise, strict=True)):
            if result is None or reference is None:
                present = reference if result is None else result
                if present is not None and bool(present.any()):
                    wrong.append(f"{what}{k} is missing")
                continue
            gap = _difference(result, reference, best, what == "g" and triangle)
            if gap > 1:
                wrong.append(f"{what}{k}: {gap:.3g} times what is allowed")
    if wrong:
        raise StoppedError("wrong", "; ".join([*wrong, *([f"beside {why}"] if why else [])]))
    if why:
        raise StoppedError("fallback", why)
    if not graphs:
        raise StoppedError("refused", "PyTorch does not trace it")
    return used - {"getitem"}


def _of_pytorch(sample, error):
    """The end of a sample that raised: ``wrong`` unless PyTorch does not compile it either."""
    torch._dynamo.reset()
    try:
        by_pytorch(sample, torch.compile(lambda *tensors: sample(*tensors), backend="aot_eager"))
    except Exception:
        return StoppedError("refused", "PyTorch does not trace it")
    text = str(error).strip().splitlines()
    return StoppedError("wrong", f"{type(error).__name__}: {' | '.join(text)[:300]}")


def reason_of(error):
    """The words for an error, of ``REFUSED``; its own where there are none."""
    text = f"{type(error).__name__}: {getattr(error, 'headline', error)}"
    return next((why for pattern, why in REFUSED.items() if re.search(pattern, text)), text)


SECONDS = 60  # that a sample may take


def _late(*_):
    raise StoppedError("skipped", f"it takes more than {SECONDS} seconds")


def outcomes(mode, count=2, shard=0, shards=1, only=""):
    """Yield outcomes of ``count`` samples of each operator, evenly between the first and last."""
    module = importlib.import_module("torch.testing._internal.common_methods_invocations")
    module.wrapper_set_seed = lambda op, *args, **named: op(*args, **named)  # Dynamo has no seeds
    unknown = {name: why for why, names in UNDEFINED.items() for name in names}
    dtype = str(mode.dtype).removeprefix("torch.")
    signal.signal(signal.SIGALRM, _late)
    for op in module.op_db[shard::shards]:
        name = f"{op.name}.{op.variant_test_name}".rstrip(".")
        if not re.search(only, name) or mode.dtype not in op.supported_dtypes("cpu"):
            continue
        if mode.way == "twice" and not (op.supports_autograd and op.supports_gradgrad):
            continue
        torch.manual_seed(0)
        slopes = mode.slopes and op.supports_autograd
        try:
            samples = [*itertools.islice(op.sample_inputs("cpu", mode.dtype, slopes), 40)]
        except Exception:
            yield Outcome(name, "skipped", "PyTorch has no sample")
            continue
        places = sorted({(2 * k + 1) * len(samples) // (2 * count) for k in range(count)})
        for sample in [samples[k] for k in places if samples]:
            if reason := unknown.get(name) or unknown.get(f"{name} {dtype}"):
                yield Outcome(name, "undefined", reason)
                continue
            signal.alarm(SECONDS)
            try:
                used = outcome(Sample(op, name, sample), mode.way)
                yield Outcome(name, "passed", "", used)
            except StoppedError as end:
                reason = reason_of(end) if end.kind == "refused" else end.reason
                yield Outcome(name, end.kind, reason)
            except Exception as error:
                yield Outcome(name, "refused", reason_of(error))
            finally:
                signal.alarm(0)


class Mode(NamedTuple):
    """A way to compute samples.

    Attributes:
        dtype: their element type.
        way: ``backend``, by ``torch.compile(f, backend="staticgrad")``; ``twice``, its gradients
            compiled, with their gradient; ``rows``, by the rows, with the gradients of these.
        slopes: whether gradients are compared.
    """

    dtype: torch.dtype
    way: str = "backend"
    slopes: bool = True


MODES = {
    "float32": Mode(torch.float32),
    "float64": Mode(torch.float64),
    "float64, second gradients": Mode(torch.float64, "twice"),
    "complex64": Mode(torch.complex64),
    "complex128": Mode(torch.complex128),
    **{
        str(dtype).removeprefix("torch."): Mode(dtype, slopes=False)
        for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8,
                      torch.bool)
    },
    "float64, gradients of rows": Mode(torch.float64, "rows"),
    "complex128, gradients of rows": Mode(torch.complex128, "rows"),
    "float32, gradients of rows": Mode(torch.float32, "rows"),
}  # fmt: skip


KINDS = {
    "passed": "passed", "fallback": "by fallback", "refused": "not traced",
    "undefined": "undefined", "skipped": "left out", "wrong": "wrong",
}  # fmt: skip


def report(lines):
    """The tables of outcomes, as Markdown."""
    every: dict = {}
    for line in lines:
        title, name, kind, reason, rows = json.loads(line)
        every.setdefault(title, {}).setdefault(name, []).append((kind, reason, rows))
    heads = ["mode", "operators", "wholly ours", "samples", *KINDS.values()]
    text = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    reasons = collections.defaultdict(lambda: [collections.Counter(), {}])
    used: set[str] = set()
    for title in filter(every.__contains__, MODES):
        counts, complete = collections.Counter(), 0
        for name, samples in every[title].items():
            kinds = {kind for kind, _, _ in samples}
            complete += kinds <= {"passed", "skipped"} and "passed" in kinds
            for kind, reason, rows in samples:
                counts[kind] += 1
                used |= {*rows}
                for why in reason.split("; ") if kind != "passed" else ():
                    why = re.sub(r"(has no row).*", r"\1", why)
                    reasons[KINDS[kind], why][0][title] += 1
                    reasons[KINDS[kind], why][1][name] = None
        cells = [len(every[title]), complete, counts.total(), *(counts[kind] for kind in KINDS)]
        text.append(f"| {title} | " + " | ".join(map(str, cells)) + " |")
    text += ["", f"{len(used - {'getitem'})} operators of ATen ran by their rows.", ""]
    text += ["| what | samples | reason | operators |", "|---|--:|---|---|"]
    kinds = [*KINDS.values()]

    def order(row):
        (kind, why), (counts, _) = row
        return kinds.index(kind), -counts.total(), why

    for (kind, why), (counts, names) in sorted(reasons.items(), key=order):
        some = ", ".join([*names][:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        text.append(f"| {kind} | {counts.total()} | {why} | {some} |")
    return "\n".join(text) + "\n"


def main():
    """Compute samples, and write their outcomes or the tables of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1, help="samples of each operator")
    parser.add_argument("--only", default="", help="a pattern of operators")
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--json", help="outcomes are appended to this file, a line each")
    parser.add_argument("--report", nargs="+", help="print the tables of such files")
    options = parser.parse_args()
    if options.report:
        texts = (Path(path).read_text(encoding="utf-8") for path in options.report)
        sys.stdout.write(report([line for text in texts for line in text.splitlines()]))
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    shard, shards = map(int, options.shard.split("/"))
    for title, mode in MODES.items():
        if options.mode not in (None, title):
            continue
        for row in outcomes(mode, options.count, shard, shards, options.only):
            line = json.dumps([title, row.operator, row.kind, row.reason, sorted(row.rows)])
            if options.json:
                with Path(options.json).open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
            else:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
