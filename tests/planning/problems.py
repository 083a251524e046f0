"""Small memory problems drawn at random, and the optimum of each by a search over all plans."""

import heapq
import itertools
import random
from collections import Counter

from staticgrad.analysis.planning.problem import MemoryOp, MemoryProblem, MemoryValue


def random_problem(seed, count=6):
    """Ops of one or two outputs, some with workspace, pairs, updates, views and limits of runs."""
    rng = random.Random(seed)
    values = [MemoryValue("x", 4, "input"), MemoryValue("w", 4, "param")]
    names = ["x", "w"]
    ops = []
    for i in range(count):
        inputs = tuple(dict.fromkeys(rng.choices(names[-4:], k=rng.randint(1, 2))))
        new_names = tuple(f"v{i}{j}" for j in range(1 + (rng.random() < 0.25)))
        values += [MemoryValue(name, rng.randint(1, 6)) for name in new_names]
        sizes = {value.id: value.size for value in values}
        overwritten = [n for n in inputs if n not in ("x", "w") and sizes[n] == sizes[new_names[0]]]
        ops.append(
            MemoryOp(
                id=i,
                name=f"op{i}",
                inputs=inputs,
                outputs=new_names,
                cost=rng.randint(1, 9),
                workspace=rng.choice((0, 0, 3)),
                inplace=tuple((n, new_names[0]) for n in overwritten),
                max_runs=1 if rng.random() < 0.15 else None,
            )
        )
        names += new_names
        if rng.random() < 0.2:
            values.append(MemoryValue(f"s{i}", 0, alias_of=new_names[0]))
            ops.append(MemoryOp(100 + i, f"view{i}", (new_names[0],), (f"s{i}",)))
            names.append(f"s{i}")
    if rng.random() < 0.5:
        ops.append(MemoryOp(99, "update", (names[-1], "w"), (), 1, mutates=("w",)))
    outputs = tuple(dict.fromkeys(rng.choices(names[2:], k=2)))
    return MemoryProblem(tuple(values), tuple(ops), frozenset({"x", "w"}), outputs=outputs)


def chain(length, seed=0):
    """Layers, and gradients that read theirs; sizes and costs equal without a seed."""
    rng = random.Random(seed)
    sizes = [rng.randint(1, 40) if seed else 1 for _ in range(length)]
    costs = [rng.randint(1, 60) if seed else 10 for _ in range(length)]
    ops, values = [], [MemoryValue("x", 1, "input")]
    for i in range(length):
        values.append(MemoryValue(f"a{i}", sizes[i]))
        ops.append(MemoryOp(f"f{i}", f"f{i}", (f"a{i - 1}" if i else "x",), (f"a{i}",), costs[i]))
    for i in range(length - 1, -1, -1):
        values.append(MemoryValue(f"g{i}", sizes[i], "grad"))
        residuals = ([f"g{i + 1}"] if i + 1 < length else []) + ([f"a{i - 1}"] if i else [])
        inputs = (f"a{i}", *residuals)
        ops.append(MemoryOp(f"b{i}", f"b{i}", inputs, (f"g{i}",), 2 * costs[i]))
    return MemoryProblem(tuple(values), tuple(ops), frozenset({"x"}), outputs=("g0",))


def optimum(problem, budget):
    """The least cost of any plan whose load keeps the budget: Dijkstra over what is there.

    Every op runs at least once, but for views without cost.
    """
    expected = {*problem.outputs}
    for op in reversed(problem.ops):
        if expected.intersection(op.outputs):
            expected.update(op.inputs, (problem.bases[name] for name in op.outputs))
    # what an output is made of runs in any case, so that only others are remembered
    must = frozenset(
        i for i, op in enumerate(problem.ops) if op.cost and not expected.intersection(op.outputs)
    )
    start = (problem.resident, frozenset(), frozenset())
    queue = [(0.0, 0, start)]
    seen = set()
    number = itertools.count(1)
    while queue:
        cost, _, state = heapq.heappop(queue)
        if state in seen:
            continue
        seen.add(state)
        present, ran, _ = state
        if must <= ran and present.issuperset(problem.outputs):
            return cost
        for more, (left, done, new_updates) in _moves(problem, state, budget):
            once = (i for i in done if i in must or problem.ops[i].max_runs == 1)
            following = (left, frozenset(once), new_updates)
            if following not in seen:
                heapq.heappush(queue, (cost + more, next(number), following))
    return None


def _moves(problem, state, budget):
    present, ran, updated = state
    moves = []
    for name in present - problem.resident:
        gone = {v for v in present if v == name or problem.bases[v] == name}
        moves.append((0.0, (present - gone, ran, updated)))
    alive = sum(problem.bytes_owned(name) for name in present)
    for i, op in enumerate(problem.ops):
        late = any(problem.bases[n] == "w" for n in op.inputs) and updated
        once = (op.max_runs == 1 or op.mutates) and i in ran
        if not present.issuperset(op.inputs) or late or once:
            continue
        fresh = [n for n in op.outputs if n not in present]
        load = alive + sum(problem.bytes_owned(n) for n in fresh) + op.workspace
        new_updates = updated | {i} if op.mutates else updated
        if load <= budget:
            moves.append((op.cost, (present.union(op.outputs), ran | {i}, new_updates)))
        for old, new in op.inplace:
            viewed = any(problem.bases[v] == old for v in present if v != old)
            if new in fresh and not viewed and load - problem.bytes_owned(new) <= budget:
                left = present.union(op.outputs) - {old}
                moves.append((op.cost, (left, ran | {i}, new_updates)))
    return moves


def is_valid(net, sequence):
    """Return whether steps have their inputs, read nothing overwritten, and keep their limits."""
    present, ran = set(), Counter()
    for step in sequence:
        ran[step] += 1
        if not present.issuperset(net.reads[step]) or ran[step] > net.limits[step]:
            return False
        if any(writer in ran for writer in net.overwriters[step]):
            return False
        present.difference_update(net.ends[step])
        present.update(net.makes[step])
    return len(ran) == len(net.ops)


class Runs:
    """A valid sequence without unneeded runs: its events and loads, and bytes between its steps."""

    def __init__(self, net, sequence):
        self.net = net
        self.sequence = without_idle(net, list(sequence))
        #: By value, ``2 * t`` for each step that reads it and ``2 * t + 1`` that makes it.
        self.events = [[] for _ in net.sizes]
        for t, step in enumerate(self.sequence):
            for value in net.reads[step]:
                self.events[value].append(2 * t)
            for value in net.makes[step]:
                self.events[value].append(2 * t + 1)
        self.loads, self.across = _loads(net, self.sequence)

    @property
    def peak(self):
        """The largest load."""
        return max(self.loads, default=0)


def _loads(net, steps):
    """Loads of the steps, and bytes alive before each and after the last."""
    sizes = net.sizes
    need = [*net.is_output]  # by value, whether a later step needs it
    alive = sum(size for size, is_needed in zip(sizes, need, strict=True) if is_needed)
    loads, across = [], [alive]
    for step in reversed(steps):
        load = alive + net.workspace[step]
        if net.overwrites[step]:
            load -= _bytes_saved(net, step, need)
        for value in net.makes[step]:
            if need[value]:
                alive -= sizes[value]
                need[value] = False
            else:
                load += sizes[value]
        for value in net.reads[step]:
            if not need[value]:
                alive += sizes[value]
                load += sizes[value]
                need[value] = True
        loads.append(load)
        across.append(alive)
    return loads[::-1], across[::-1]


def _bytes_saved(net, step, need):
    """Bytes that a step writes over dying inputs, each value once."""
    used, saved = set(), 0
    for dying, written in net.overwrites[step]:
        if not {dying, written} & used and not need[dying]:
            used |= {dying, written}
            saved += net.sizes[written]
    return saved


def without_idle(net, sequence):
    """Return the sequence without runs whose results are never read; each step keeps one run."""
    counts = Counter(sequence)
    need = list(net.is_output)
    left = []
    for step in reversed(sequence):
        if counts[step] > 1 and not any(need[value] for value in net.makes[step]):
            counts[step] -= 1
            continue
        for value in net.makes[step]:
            need[value] = False
        for value in net.reads[step]:
            need[value] = True
        left.append(step)
    return left[::-1]
