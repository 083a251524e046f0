"""Child process: runs programs whose every buffer lies against a page that cannot be accessed.

    python -m tests.safety.fenced_runs samples <most per op> [op ...]
    python -m tests.safety.fenced_runs programs [program ...]

It prints the name of a case before it runs, so that the last line names what crashed. Ops that are
named run sample by sample.
"""

import sys

import numpy as np

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.op import registered_ops
from tests.compiled.agreement import as_tuple, differing, input_like
from tests.compiled.test_ops import LEAVES, spread
from tests.ops.samples import samples_of
from tests.random_programs import parameter_value
from tests.safety.child import say
from tests.safety.fenced_programs import PROGRAMS
from tests.safety.fences import fenced, fences

LAYOUTS = ("contiguous", "reversed", "Fortran", "swapped bytes", "every third")


def fenced_feed(data, layout, at_end):
    """The same elements laid out in another way, over exactly the bytes of a fenced block."""
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * data.ndim
        return fenced(data[backwards], at_end)[backwards]
    if layout == "Fortran":
        return fenced(data.T, at_end).T
    if layout == "swapped bytes":
        return fenced(data.astype(data.dtype.newbyteorder()), at_end)
    if layout == "every third" and data.ndim and data.shape[-1]:
        wide = np.repeat(data, 3, axis=-1)[..., : 3 * data.shape[-1] - 2]
        return fenced(wide, at_end)[..., ::3]
    return fenced(data, at_end)


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
    wanted = {}
    for layout in LAYOUTS:
        found = f.run(laid_out(data, layout, at_end))
        for key, array in found.items():
            first = wanted.setdefault(key.split()[0], array.copy())
            if not same_bytes(array, first):
                sys.exit(f"{name}, {layout}, {key}: {differing(array, first)}")
    given = {key: fenced(array, at_end, writeable=True) for key, array in found.items()}
    for key, array in f.run(data, out=given).items():
        if not same_bytes(array, wanted[key.split()[0]]):
            sys.exit(f"{name}, out=, {key}: {differing(array, wanted[key.split()[0]])}")


def op_names():
    """The ops of this package but for the leaves; those from outside have a dot in their names."""
    return [n for n in registered_ops() if n not in LEAVES and "." not in n]


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
    wanted = {}
    for layout in ("contiguous", "reversed", "every third"):
        for parameter, value in start.items():
            parameter.value = value
        for key, array in f.run(laid_out(feeds, layout, at_end)).items():
            first = wanted.setdefault(key, array.copy())
            if not same_bytes(array, first):
                sys.exit(f"{key}: {differing(array, first)}")


def main():
    kind, *rest = sys.argv[1:]
    with np.errstate(all="ignore"):
        if kind == "samples":
            sample_cases(int(rest[0]), rest[1:])
        else:
            program_cases(rest)
    say("done")


if __name__ == "__main__":
    main()
