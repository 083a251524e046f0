"""Checkpoint policies around loops, in them and over other ops with bodies.

The unit of a planned peak is the bytes of one state. ``BLOCKS`` blocks of ``STEPS`` iterations make
a program; a block that saves nothing has one state at its beginning, and its iterations' states
while its gradient is computed. The oracle of results is the program without a policy.
"""

import functools

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline as read_pipeline
from passes.remat import StoreAll
from staticgrad import checkpoint_policies as cp
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.divided import choose_division
from staticgrad.compiler.memory.planner import plan

STEPS, BLOCKS, SIZE = 20, 3, 12
#: States beside those that are stored: operands and results of the kernel that runs.
FEW = 8
RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(SIZE, SIZE)), 0.3 * RNG.normal(size=(SIZE, SIZE))
LEVELS = ("O0", "O1", "O2")
each_level = pytest.mark.parametrize(
    "level", [pytest.param(level, marks=[pytest.mark.slow] * (level != "O1")) for level in LEVELS]
)


def step(c, p):
    return sg.sin(p * c) + c


def by_fori(c, p):
    return sg.fori_loop(0, STEPS, lambda _, c: step(c, p), c)


def by_scan(c, p):
    return sg.scan(lambda c, _: (step(c, p), None), c, length=STEPS)[0]


def by_reversed_scan(c, p):
    return sg.scan(lambda c, _: (step(c, p), None), c, length=STEPS, reverse=True)[0]


def by_while(c, p):
    def iteration(carry):
        return carry[0] + 1, step(carry[1], p)

    return sg.while_loop(lambda carry: carry[0] < STEPS, iteration, (0, c), max_steps=STEPS)[1]


def by_rows(c, p):
    return sg.vmap(lambda row: by_fori(row, p))(c)


def by_branch(c, p):
    return sg.cond(p > 0.0, lambda: by_fori(c, p), lambda: c * p)


def by_map(c, p):
    return c + sg.map(lambda row: sg.sin(sg.exp(-p * row * row)), c)


def by_switch(c, p):
    return sg.switch(sg.constant(1), [lambda: c, lambda: by_scan(c, p)])


def loop_in_blocks(loop):
    """Blocks, each under a policy."""

    def program(c, p, wrap):
        for _ in range(BLOCKS):
            c = wrap(loop)(c, p)
        return c

    return program


def in_branch(c, p, wrap):
    """A branch of blocks, each under a policy."""
    return sg.cond(p > 0.0, lambda: loop_in_blocks(by_fori)(c, p, wrap), lambda: c * p)


def in_rows(c, p, wrap):
    """Blocks that map a function under a policy over rows."""
    for _ in range(BLOCKS):
        c = sg.vmap(lambda row: wrap(by_fori)(row, p))(c)
    return c


def nest_policies(c, p, wrap):
    """Blocks under a policy in a function under the same policy."""
    return wrap(lambda c, p: loop_in_blocks(by_fori)(c, p, wrap))(c, p)


def in_loop(loop):
    """A loop whose iterations are blocks of one product, each under a policy."""

    def program(c, p, wrap):
        return loop(wrap(lambda c, p: sg.sin(sg.exp(-((c @ (p * W)) ** 2)) @ W)), c, p)

    return program


def scan_of(f, c, p):
    return sg.scan(lambda c, _: (f(c, p), None), c, length=STEPS)[0]


def fori_of(f, c, p):
    return sg.fori_loop(0, STEPS, lambda _, c: f(c, p), c)


def while_of(f, c, p):
    def iteration(carry):
        return carry[0] + 1, f(carry[1], p)

    return sg.while_loop(lambda carry: carry[0] < STEPS, iteration, (0, c), max_steps=STEPS)[1]


def map_of(f, c, p):
    return sg.map(lambda row: f(row[None], p)[0], c)


#: Program -> the states that are stored if nothing is saved, and if everything is: those of all
#: iterations of a block, and one for each block (of a map: none but these).
AROUND = {
    "fori": (loop_in_blocks(by_fori), STEPS + BLOCKS, STEPS * BLOCKS),
    "scan": (loop_in_blocks(by_scan), STEPS + BLOCKS, STEPS * BLOCKS),
    "reversed scan": (loop_in_blocks(by_reversed_scan), STEPS + BLOCKS, STEPS * BLOCKS),
    "vmap": (loop_in_blocks(by_rows), STEPS + BLOCKS, STEPS * BLOCKS),
    # A while, and a branch with a loop, never store the states of their iterations.
    "while": (loop_in_blocks(by_while), STEPS + BLOCKS, STEPS + BLOCKS),
    "cond": (loop_in_blocks(by_branch), STEPS + BLOCKS, STEPS + BLOCKS),
    "switch": (loop_in_blocks(by_switch), STEPS + BLOCKS, STEPS + BLOCKS),
    "map": (loop_in_blocks(by_map), BLOCKS, BLOCKS),
    "in cond": (in_branch, STEPS + BLOCKS, STEPS * BLOCKS),
    "in vmap": (in_rows, STEPS + BLOCKS, STEPS * BLOCKS),
    # The whole is computed again, then each block.
    "nested": (nest_policies, STEPS + BLOCKS, STEPS * BLOCKS),
}
#: The carries and a factor of the sum over time for ``p``; then the results of both products, too.
INSIDE = {
    "scan of": (in_loop(scan_of), 2 * STEPS, 4 * STEPS),
    "fori of": (in_loop(fori_of), 2 * STEPS, 4 * STEPS),
}
PROGRAMS = {name: program for name, (program, *_) in (AROUND | INSIDE).items()}
PROGRAMS |= {"while of": in_loop(while_of), "map of": in_loop(map_of)}

#: Policy -> whether the loops here are saved by it.
POLICIES = {
    "nothing": (cp.nothing_saveable, False),
    "everything": (cp.everything_saveable, True),
    "dots": (cp.dots_saveable, False),
    "names": (cp.save_only_these_names("c"), False),
    "loops": (lambda op, *types: op.name == "loop", True),
    "sines": (lambda op, *types: op.name == "sin", True),
}


def wrapping(policy):
    if policy is None:
        return lambda f: f

    def name_arguments(f, *args):
        return f(*(sg.checkpoint_name(arg, "c") for arg in args[:1]), *args[1:])

    return lambda f: sg.checkpoint(functools.partial(name_arguments, f), policy=policy)


def graph_of(name, policy):
    c, p = sg.input("c", X.shape, "float64"), sg.input("p", (), "float64")
    out = PROGRAMS[name](c, p, wrapping(policy))
    loss = (out * out).sum()
    return sg.Graph({"loss": loss, "dp": sg.grad(loss, p)})


@functools.cache
def peak_of(name, policy, level):
    saved = POLICIES[policy][0] if policy else None
    schedule = fuse(read_pipeline(level)(graph_of(name, saved)))
    return plan(schedule, {}).peak_bytes / X.nbytes


@each_level
@pytest.mark.parametrize("name", AROUND)
def test_a_block_that_is_not_saved_has_its_states_while_its_gradient_is_computed(name, level):
    _, least, most = AROUND[name]
    for policy, (_, saves) in POLICIES.items():
        peak = peak_of(name, policy, level)
        if not saves:
            assert peak <= least + (least if name == "nested" else FEW), policy
        elif level != "O0":  # where nothing merges the loops, the states are computed again
            assert most - FEW <= peak <= peak_of(name, None, level) + 1, policy


@each_level
@pytest.mark.parametrize("name", INSIDE)
def test_an_iteration_that_is_not_saved_stacks_its_carries_alone(name, level):
    _, least, most = INSIDE[name]
    for policy in ("nothing", "names"):
        assert peak_of(name, policy, level) <= least + FEW
    if level != "O0":
        assert peak_of(name, "dots", level) >= most


@pytest.mark.slow
@pytest.mark.parametrize("loop", [fori_of, scan_of])
def test_a_budget_reaches_the_peak_of_loops_that_are_not_merged(loop):
    """Without a budget the loops that stack carries are the ones that run first, to save time."""

    def blocks(c, p):
        for _ in range(BLOCKS):
            c = loop(lambda c, p: sg.sin(c @ (p * W)), c, p)
        return c

    c, p = sg.input("c", X.shape, "float64"), sg.input("p", (), "float64")
    loss = blocks(c, p).sum()
    graph = read_pipeline("O1")(sg.Graph({"loss": loss, "dp": sg.grad(loss, p)}))
    assert plan(fuse(graph), {}).peak_bytes / X.nbytes >= STEPS * (BLOCKS + 1)
    budget = (2 * STEPS + BLOCKS + FEW) * X.nbytes
    chosen = choose_division(graph, {}, fuse, (StoreAll(), budget, 1, 0.0))
    assert chosen.planner.plan({}).peak_bytes <= budget


FEEDS = {"c": X, "p": np.array(0.7)}


@pytest.mark.thinned(5)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_bytes_are_those_without_a_policy(name, policy):
    expected = sg.evaluate(graph_of(name, None), FEEDS)
    marked = graph_of(name, POLICIES[policy][0])
    for level in LEVELS:
        actual = sg.evaluate(read_pipeline(level)(marked), FEEDS)
        for key, value in expected.items():
            np.testing.assert_array_equal(actual[key], value, err_msg=f"{level} {key}")
