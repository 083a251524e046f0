"""Dynamic programs by loops beside the same in plain NumPy: carries of whole numbers and bools.

Their bodies look up by what they carry, choose by comparisons, and hold loops themselves. Whatever
way a program is compiled, its bytes are the same; rows are fewer and more than a vector has lanes.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes


def viterbi(v):
    """The likeliest states: scores forward, then back along the pointers."""

    def forward(scores, emitted):
        ways = scores[:, :, None] + v["moves"]
        return ways.max(axis=1) + emitted, ways.argmax(axis=1)

    scores, pointers = sg.scan(forward, v["emitted"][0], v["emitted"][1:])

    def back(state, pointer):
        return sg.take_along_axis(pointer, state[:, None], 1)[:, 0], state

    first, states = sg.scan(back, scores.argmax(axis=1), pointers, reverse=True)
    return {"score": scores.max(axis=1), "first": first, "states": states}


def viterbi_written(a):
    found = []
    for row in range(a["emitted"].shape[1]):
        scores, pointers = a["emitted"][0, row], []
        for emitted in a["emitted"][1:, row]:
            ways = scores[:, None] + a["moves"]
            scores = ways.max(axis=0) + emitted
            pointers.append(ways.argmax(axis=0))
        states = [int(scores.argmax())]
        for pointer in pointers[::-1]:
            states.insert(0, int(pointer[states[0]]))
        found.append((scores.max(), states[0], states[1:]))
    score, first, states = zip(*found, strict=True)
    return {"score": np.array(score), "first": np.array(first), "states": np.array(states).T}


def edits(v):
    """Distances of words from one word: a row of the table by a loop within the loop over rows."""
    words, word = v["words"], v["word"]
    start = sg.broadcast_to(sg.arange(6.0)[:, None].astype("float64"), (6, words.shape[0]))

    def row(above, letter):
        def column(left, at):
            other, over, corner = at
            best = sg.minimum(sg.minimum(left, over) + 1.0, corner + (letter != other) * v["cost"])
            return best, best

        _, rest = sg.scan(column, above[0] + 1.0, (word, above[1:], above[:-1]))
        return sg.concatenate([(above[0] + 1.0)[None], rest], 0), None

    last, _ = sg.scan(row, start, words.T)
    return {"distance": last[-1], "slope": sg.grad(last[-1].sum(), v["cost"])}


def edits_written(a):
    def distances(cost):
        found = []
        for each in a["words"]:
            table = [[float(i + j) for j in range(6)] for i in range(len(each) + 1)]
            for i, letter in enumerate(each, 1):
                for j, other in enumerate(a["word"], 1):
                    corner = table[i - 1][j - 1] + (cost if letter != other else 0.0)
                    table[i][j] = min(min(table[i][j - 1], table[i - 1][j]) + 1.0, corner)
            found.append(table[-1][-1])
        return np.array(found)

    cost, step = float(a["cost"]), 1e-3  # distances are linear where no two ways are equal
    slope = (distances(cost + step).sum() - distances(cost - step).sum()) / (2 * step)
    return {"distance": distances(cost), "slope": np.array(slope)}


def packed(v):
    """What fits into a bag: the best value for each weight, what was taken, and the last parity."""
    places = sg.arange(13)

    def item(carry, at):
        best, odd, count = carry
        value, weight = at
        before = places - weight
        other = sg.take(best, sg.maximum(before, 0), 0) + value
        taken = (before >= 0) & (other > best)
        odd = odd ^ (weight % 2 == 1)
        return (sg.where(taken, other, best), odd, count + taken), taken

    first = (v["values"][:1] * 0.0 + sg.zeros(13, "float64"), v["weights"][0] < 0, places * 0)
    (best, odd, count), taken = sg.scan(item, first, (v["values"], v["weights"]))
    slope = sg.grad(best.sum(), v["values"])
    return {"best": best, "odd": odd, "count": count, "taken": taken, "slope": slope}


def packed_written(a):
    best, count, odd = np.zeros(13), np.zeros(13, int), False
    uses, taken = np.zeros((13, len(a["values"]))), []
    for item, (value, weight) in enumerate(zip(a["values"], a["weights"], strict=True)):
        old, used, here = best.copy(), uses.copy(), np.zeros(13, bool)
        for place in range(weight, 13):
            if old[place - weight] + value > old[place]:
                best[place], here[place] = old[place - weight] + value, True
                uses[place] = used[place - weight]
                uses[place, item] += 1
        count, odd = count + here, odd ^ bool(weight % 2)
        taken.append(here)
    return {
        "best": best, "odd": np.array(odd), "count": count,
        "taken": np.array(taken), "slope": uses.sum(axis=0),
    }  # fmt: skip


def arrays_of(name, rows):
    rng = np.random.default_rng(rows)
    if name == "viterbi":
        return {"emitted": rng.normal(size=(6, rows, 5)), "moves": rng.normal(size=(5, 5))}
    if name == "edits":
        words, word = rng.integers(0, 4, (rows, 7)), rng.integers(0, 4, 5)
        return {"words": words, "word": word, "cost": np.array(0.7312)}
    return {"values": rng.uniform(size=rows), "weights": rng.integers(1, 5, rows)}


PROGRAMS = {
    "viterbi": (viterbi, viterbi_written),
    "edits": (edits, edits_written),
    "packed": (packed, packed_written),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_tables_are_those_of_plain_loops_on_every_way(name):
    program, written = PROGRAMS[name]
    for rows in (1, 7, 33):
        feeds = arrays_of(name, rows)
        values = {n: sg.input(n, a.shape, a.dtype.name) for n, a in feeds.items()}
        graph = sg.Graph(program(values))
        f = sg.compile(graph)
        found = {n: np.array(a) for n, a in f.run(feeds).items()}
        for result, expected in written(feeds).items():
            np.testing.assert_allclose(found[result], expected, rtol=1e-9, atol=1e-9)
        if rows != 7:
            continue
        ways = ({"threads": 2}, {"fuse": False}, {"debug": True}, {"checkpoint": "recompute"})
        for options in ways:
            again = sg.compile(graph, **options).run(feeds)
            assert all(same_bytes(a, again[n]) for n, a in found.items()), options
        with sg.options(jit=False):
            again = sg.compile(graph).run(feeds)
        assert all(same_bytes(a, again[n]) for n, a in found.items())
