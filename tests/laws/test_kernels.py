"""Laws of every kernel, checked on random kernels of each kind.

The oracle is ``codegen/kernel_meaning.py``, one iteration after the other in Python. Two thousand
of each kind are drawn in minutes: ``python -m pytest tests/laws/test_kernels.py -m exhaustive``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import get_args

import numpy as np
import pytest

from staticgrad.backends import source_of
from staticgrad.compiler.nest.directives import defaults
from staticgrad.language.ir.kernels.directives import (
    Directive,
    Directives,
    Interleave,
    Prefetch,
    Stream,
    Strips,
    Vector,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.legality import IllegalDirectiveError, with_directives
from staticgrad.language.ir.kernels.parser import parse_kernel
from staticgrad.language.ir.kernels.stages import Loop, Map, nested_stages
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.native.machine import current
from tests.codegen.kernel_meaning import Meaning
from tests.codegen.random_kernels import KINDS
from tests.codegen.test_random_kernels import memory_of, sizes_of, with_facts
from tests.exporting.printed import plain_texts_parse, run_printed
from tests.laws.table import Laws
from tests.native.support import MODES, READERS, assert_same, call, source_for

FEW = 24
#: A kernel that streams in half registers, which are too narrow for it.
NARROW = 1635
#: Products one or both of whose factors have ends, and elements for storage.
NARROW_FLOATS = (70, 8, 119, 85, 41, 103, 100, 74)


@dataclass(frozen=True)
class Sample:
    """A random kernel of a kind, and the readers that run it."""

    kind: str
    seed: int
    modes: tuple = ("vector", "python")

    @property
    def kernel(self):
        kernel = KINDS[self.kind](self.seed)
        return with_facts(kernel, self.sizes_of(kernel)) if self.seed % 3 == 0 else kernel

    def sizes_of(self, kernel):
        return sizes_of(kernel, self.seed)

    def __str__(self):
        return f"{self.kind} {self.seed}"


@lru_cache(maxsize=1)  # for all laws of one sample
def meant(sample):
    """The kernel, its sizes, and its memory after a run."""
    kernel = sample.kernel
    sizes = sizes_of(kernel, sample.seed)
    expected = memory_of(kernel, sizes, sample.seed)
    Meaning(kernel, expected, sizes).run()
    return kernel, sizes, expected


def check_run(sample, source, mode, what=""):
    """A source leaves in memory what the kernel means."""
    kernel, sizes, expected = meant(sample)
    words = [sizes[argument] for argument in kernel.arguments]
    memory = memory_of(kernel, sizes, sample.seed)
    if mode == "file":
        run_printed(kernel, memory, sizes)
    else:
        shared = [memory[o.name] for o in kernel.operands if not o.is_own]
        private = [memory[o.name] for o in kernel.operands if o.is_own]
        call(source, shared, words, 0, int(kernel.iterations(words)), private=private, mode=mode)
    passing = {o.name for o in kernel.operands if o.mode == "scratch"}
    for name, array in memory.items():
        if name not in passing and isinstance(array, np.ndarray):
            label = f"{sample} at {sizes}, {mode}, {what}: {name}\n{kernel}"
            assert_same(array, expected[name], label)


LAWS = Laws()


@LAWS.law()
def text_reads_back(sample):
    kernel, _, _ = meant(sample)
    verify_kernel(kernel)
    assert parse_kernel(str(kernel)) == kernel


@LAWS.law()
def texts_of_plain_loops_parse(sample):
    """The text for Numba, and the function of an exported file."""
    kernel, _, _ = meant(sample)
    assert plain_texts_parse(kernel)


@LAWS.law()
def every_reader_gives_the_meaning(sample):
    for mode in sample.modes:
        check_run(sample, None if mode == "file" else source_for(meant(sample)[0], mode), mode)


@LAWS.law(on=lambda samples: [s for s in samples if "python" in s.modes])
def no_bit_depends_on_a_directive(sample):
    """The defaults of this machine, and legal ones drawn at random."""
    kernel, machine, random = meant(sample)[0], current(), Random(sample.seed)
    lists = [defaults(kernel, machine), *(directives_of(kernel, random) for _ in range(2))]
    for directives in lists:
        source = source_of(kernel, machine, directives)
        for mode in ("vector", "python"):
            check_run(sample, source, mode, directives)


def directives_of(kernel: Kernel, random: Random) -> Directives:
    """Return directives that are legal for a kernel, drawn at random."""
    axes = [axis.name for stage in kernel.stages if isinstance(stage, Map) for axis in stage.loops]
    drawn: list[Directive] = [Strips()] if random.random() < 0.5 else []
    for stage, (nest, _) in enumerate(nested_stages(kernel.stages)):
        if isinstance(nest, Loop):
            drawn.append(Interleave(nest.axis.name, random.choice((1, 2, 4)), stage))
        drawn.append(Vector(random.choice(("peel", "mask")), stage))
        drawn.append(Interleave("j", random.choice((1, 2, 4)), stage))
        if axes:
            drawn.append(Prefetch(random.choice(axes), random.choice((1, 7, 512)), stage))
    drawn.append(Interleave("o", random.choice((1, 2, 3, 4))))
    drawn += [Stream(o.name) for o in kernel.operands if o.mode == "out" and random.random() < 0.3]
    legal: Directives = ()
    for directive in drawn:
        try:
            legal = with_directives(kernel, (*legal, directive)).directives
        except IllegalDirectiveError:
            continue
    return legal


def check(sample):
    for law in LAWS:
        LAWS.check(law, [sample])


@pytest.mark.thinned(3)
@pytest.mark.parametrize("seed", [*range(1, FEW + 1), NARROW])
@pytest.mark.parametrize("kind", KINDS)
def test_laws_of_random_kernels(kind, seed):
    """Numba, which takes half a second for a kernel, reads every twelfth one."""
    check(Sample(kind, seed, MODES if seed % 12 == 1 else ("vector", "python")))


@pytest.mark.parametrize("seed", [20, 72, 228])
def test_chains_go_on_from_what_is_there(seed):
    sample = Sample("rows", seed)
    assert " onto " in str(sample.kernel)
    check(sample)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [198, 350, 361])
def test_chains_go_on_in_plain_loops(seed):
    sample = Sample("rows", seed, ("numba", "file"))
    assert " onto " in str(sample.kernel)
    check(sample)


@pytest.mark.slow
@pytest.mark.parametrize("seed", NARROW_FLOATS)
def test_exported_files_have_zeros_beyond_ends_and_narrow_floats(seed):
    check(Sample("rows", seed, ("file",)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(FEW + 1, 2001))
@pytest.mark.parametrize("kind", KINDS)
def test_laws_of_two_thousand_kernels(kind, seed):
    check(Sample(kind, seed, READERS))


def test_every_directive_is_drawn_and_read_back():
    drawn = set()
    for seed in range(1, 121):
        kernel = KINDS["rows"](seed)
        directed = with_directives(kernel, directives_of(kernel, Random(seed)))
        assert parse_kernel(str(directed)) == directed
        drawn |= {type(directive) for directive in directed.directives}
    assert drawn == {*get_args(Directive)}
