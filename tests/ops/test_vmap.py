"""The batching rule of every op against a Python loop: the stack of what each element gives.

The batch stands at every place of every operand and of the result; several operands have it, or one
while the others are shared; it is nested; and it is differentiated.
"""

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.ir.graph import Graph
from staticgrad.ops.philox import FOLDED, RandomBits
from staticgrad.types.dtype import U64, as_dtype
from tests.diagonals import every_nth
from tests.limits import finfo
from tests.ops.graphs import run_all, variable
from tests.ops.samples import samples_of
from tests.ops.test_every_op import NAMES, as_tuple, every_op

BATCH = 3
#: Samples of an op that are tried: those of other attributes, ranks or dtypes than the ones before.
MOST = 6
#: Ops without a rule: the batch is a loop. With the reason for it.
IN_A_LOOP = {
    "call.host": "the function is a user's, and takes arrays of the promised shapes",
    "call.numba": "the function is a user's, and takes arrays of the promised shapes",
    "rank_part": "parts are those of updates, which have no batch",
    "rank_scatter": "parts are those of updates, which have no batch",
    "rank_gather": "parts are those of updates, which have no batch",
}
#: Those that have one which leaves some cases to a loop.
IN_PART = {
    "sparse_product": "a batch of patterns: each is one of its own",
    "sampled_product": "a batch of patterns: each is one of its own",
    "searchsorted": "a vector for each element is searched one after the other",
    "conv": "image and filter over a batch of a named size: groups are literal",
    "conv_image": "image and filter over a batch of a named size: groups are literal",
    "conv_filter": "image and filter over a batch of a named size: groups are literal",
}


def tried(name):
    """A few samples that differ in more than their numbers."""
    found = {}
    for sample in samples_of(name):
        if not sample.arrays or sum(a.size for a in sample.arrays) > 4000:
            continue
        kinds = tuple((a.dtype.name, a.shape) for a in sample.arrays)
        found.setdefault((sample.op if sample.op.bodies else repr(sample.op), kinds), sample)
    every = list(found.values())
    return every[:: max(1, -(-len(every) // MOST))]


def elements_of(array, smooth):
    """Other operands of the same kind: matrices stay definite, indices inside."""
    if as_dtype(array.dtype).is_float:
        with np.errstate(all="ignore"):
            return [array, *((array * f).astype(array.dtype) for f in (0.99, 1.01))]
    if array.ndim == 0 and array.dtype.kind in "iu":
        return [array, np.zeros_like(array), array]
    return [array, np.flip(array), array]


def choices(count):
    """Which operands are over the batch: all choices of up to three, else one or all."""
    if count <= 3:
        return [over for over in product((True, False), repeat=count) if any(over)]
    single = [tuple(k == place for k in range(count)) for place in range(count)]
    return [*single, (True,) * count]


def close(found, wanted, label):
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), label
    if not as_dtype(wanted.dtype).is_float:
        np.testing.assert_array_equal(found, wanted, err_msg=str(label))
        return
    epsilon = float(finfo(wanted.dtype).eps)
    with np.errstate(all="ignore"):
        found, wanted = found.astype(np.float64), wanted.astype(np.float64)
        finite = np.abs(wanted[np.isfinite(wanted)])
        scale = float(finite.max()) if finite.size else 1.0
        np.testing.assert_allclose(
            found,
            wanted,
            rtol=512 * epsilon,
            atol=min(64 * epsilon * scale, 1e300),
            err_msg=str(label),
        )


def inputs_for(arrays):
    values = [variable(f"x{k}", as_dtype(a.dtype), a.shape) for k, a in enumerate(arrays)]
    return values, {f"x{k}": a for k, a in enumerate(arrays)}


def looped(sample, batches, over):
    """Results of each element, stacked."""
    every = [
        replace(
            sample,
            arrays=tuple(b[k] if has else b[0] for b, has in zip(batches, over, strict=True)),
        )
        for k in range(BATCH)
    ]
    if isinstance(sample.op, RandomBits):  # draws of an element have a key of their own
        fold = RandomBits((), U64, FOLDED)
        every = [
            replace(s, arrays=(fold.reference(s.arrays[0], np.uint64(k)), s.arrays[1]))
            for k, s in enumerate(every)
        ]
    return [np.stack(each) for each in zip(*(as_tuple(s.reference()) for s in every), strict=True)]


@every_op
def test_is_the_stack_of_its_elements(name):
    for turn, sample in enumerate(tried(name)):
        batches = [elements_of(a, sample.smooth) for a in sample.arrays]
        for over in choices(len(sample.arrays)):
            wanted = looped(sample, batches, over)
            ranks = [a.ndim for a in sample.arrays]
            axes = [
                turn % (rank + 1) if has else None for rank, has in zip(ranks, over, strict=True)
            ]
            outs = [(turn + 1) % w.ndim - (w.ndim if turn % 2 else 0) for w in wanted]
            arrays = [
                np.stack(b, axis) if has else b[0]
                for b, axis, has in zip(batches, axes, over, strict=True)
            ]
            values, feeds = inputs_for(arrays)
            mapped = sg.vmap(lambda *x, op=sample.op: as_tuple(op(*x)), tuple(axes), tuple(outs))
            found = run_all(mapped(*values), feeds)
            for each, expected, out in zip(found, wanted, outs, strict=True):
                close(each, np.moveaxis(expected, 0, out), (sample.op, axes, out))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random_bits"])
def test_nests(name):
    """A batch of batches, the outer one last in place: the inner ones are shared."""
    for sample in tried(name)[:3]:
        batches = [elements_of(a, sample.smooth) for a in sample.arrays]
        for over in choices(len(sample.arrays))[:4]:
            wanted = looped(sample, batches, over)
            arrays = [
                np.stack([np.stack(b)] * 2, -1) if has else b[0]
                for b, has in zip(batches, over, strict=True)
            ]
            values, feeds = inputs_for(arrays)
            axes = [tuple(place if has else None for has in over) for place in (0, -1)]
            op = partial(lambda op, *x: as_tuple(op(*x)), sample.op)
            found = run_all(sg.vmap(sg.vmap(op, axes[0]), axes[1], 1)(*values), feeds)
            for each, expected in zip(found, wanted, strict=True):
                close(each, np.stack([expected] * 2, 1), (sample.op, over))


@every_op
def test_composes_with_gradients(name):
    """The gradient of a mapped op, and the mapped gradient, are those of each element."""
    smooth = [
        s
        for s in samples_of(name)
        if s.smooth
        and any(s.moves)
        and any(y.dtype.kind == "f" for y in map(np.asarray, as_tuple(s.reference())))
    ]
    for sample in smooth[-2:]:
        batches = [elements_of(a, sample.smooth) for a in sample.arrays]
        moves = [k for k, moves in enumerate(sample.moves) if moves]

        def slopes(*x, sample=sample, moves=moves):
            outs = [y for y in as_tuple(sample.op(*x)) if y.dtype.is_float]
            total = sum(sg.sum(sg.sin(y)) for y in outs)
            return sg.grad(total, [x[k] for k in moves], allow_disconnected=True)

        one, _ = inputs_for([*sample.arrays])
        of_one = slopes(*one)
        wanted = [
            np.stack(each)
            for each in zip(
                *(
                    run_all(of_one, {f"x{k}": b[e] for k, b in enumerate(batches)})
                    for e in range(BATCH)
                ),
                strict=True,
            )
        ]
        values, feeds = inputs_for([np.stack(b) for b in batches])
        inner = run_all(sg.vmap(slopes)(*values), feeds)
        totals = sg.vmap(
            lambda *x, op=sample.op: sum(
                sg.sum(sg.sin(y)) for y in as_tuple(op(*x)) if y.dtype.is_float
            )
        )(*values)
        outer = run_all(
            sg.grad(sg.sum(totals), [values[k] for k in moves], allow_disconnected=True), feeds
        )
        for each, other, expected in zip(inner, outer, wanted, strict=True):
            close(each, expected, sample.op)
            close(other, expected, sample.op)


@every_nth(3, "name", NAMES)
def test_compiles(name):
    """Kernels and routines over a batch of a named size give what the reference does: the graph of
    each op does daily, and each op is compiled daily without a batch."""
    sample = max(tried(name)[:4], key=lambda s: min(a.size for a in s.arrays), default=None)
    if sample is None:
        return
    batches = [elements_of(a, sample.smooth) for a in sample.arrays]
    values = [sg.input(f"x{k}", ("batch", *a.shape), a.dtype) for k, a in enumerate(sample.arrays)]
    outs = as_tuple(sg.vmap(sample.op)(*values))
    found = sg.compile({f"y{k}": y for k, y in enumerate(outs)}).run(
        {f"x{k}": np.stack(b) for k, b in enumerate(batches)}
    )
    wanted = looped(sample, batches, (True,) * len(batches))
    for each, expected in zip(found.values(), wanted, strict=True):
        close(each, expected, sample.op)


def test_loops_are_listed():
    """Every op has a rule of its own but those that are listed."""
    for name in NAMES:
        loops = False
        for sample in tried(name)[:3]:
            for over in choices(len(sample.arrays)):
                arrays = [
                    np.stack([a] * BATCH) if has else a
                    for a, has in zip(sample.arrays, over, strict=True)
                ]
                values, _ = inputs_for(arrays)
                given = sample.op.batched(BATCH, values, over)
                loops |= given is None
                if given is not None and not sample.op.bodies:
                    graph = Graph({str(k): v for k, v in enumerate(as_tuple(given))})
                    assert not any(n.op.name == "loop" for n in graph.nodes), name
        assert not loops or name in IN_A_LOOP or name in IN_PART, f"{name} has no batching rule"
