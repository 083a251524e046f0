"""Training steps under budgets: arena, memory of the process and time, beside what was predicted.

    python -m benchmarks time_budgets [--only TEXT] [--rows TEXT] [--rounds 4] [--calls 4]
        [--into FILE] [--markdown]

Eight models make a step of SGD each: a perceptron of 100 layers, a GPT of 12 blocks, an LSTM by
``sg.scan`` over 200 steps of time, a recurrent layer over 4,000 (``long scan``), a U-Net of four
widths, and recurrent layers that multiply the inputs of all steps before their loop. A row is a
process of its own on one thread. Its budget is a share of the arena that storing everything needs,
or the smallest plan found; one that no plan found meets is refused. ``dots`` and ``nothing`` are
policies of ``sg.checkpoint_policies`` around each layer or block, as JAX has them; rows of JAX and
torch (``budget_peers.py``) are named by the peer. ``process`` is the growth of the resident memory
in the first call (Linux counts it). When all rows of a model are ready their processes take turns:
some calls of each, round after round. ``ms`` is the least of them all, and the median of what was
least in each round; more time is what a row takes beside the row of 100 %, or the plain one of its
peer, predicted by the plan and measured. All rows of ours of a model have to give the same bytes,
those of peers the same loss to three digits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.implementations.with_staticgrad import Staticgrad
from benchmarks.memory import budget_peers
from staticgrad.analysis.cost import plan_seconds

SHARES: Final = ("100%", "50%", "25%", "smallest")
#: Policies of blocks, by the words of the rows of peers.
POLICIES: Final = {
    "dots": sg.checkpoint_policies.dots_saveable,
    "nothing": sg.checkpoint_policies.nothing_saveable,
}
#: Further rows of a model: other shares, and policies of the whole program.
MORE: Final = {
    "long scan": ("10%", "5%", "2%", "recompute", "sqrt"),
    **dict.fromkeys(("lstm layer", "two lstm layers", "gru layer"), ("60%", "40%", "20%")),
}


def graph_of(model: str, policy: Any = None) -> tuple[sg.Graph, Mapping[str, np.ndarray]]:
    """The graph of one step and its feeds, each block under a policy if there is one."""

    def wrap(block: Callable[..., Any]) -> Callable[..., Any]:
        return block if policy is None else sg.checkpoint(block, policy=policy)

    peer = budget_peers.Peer(Staticgrad(), sg.nn.gelu, wrap, sg.scan)
    weights, feeds, loss = budget_peers.BUILT[model](peer)
    parameters = {name: sg.parameter(name, array) for name, array in weights.items()}
    value = loss(parameters, {n: sg.input(n, x.shape, x.dtype.name) for n, x in feeds.items()})
    updates = sg.optim.SGD(budget_peers.RATES.get(model, 1e-3)).updates(
        value, [*parameters.values()]
    )
    return sg.Graph({"loss": value}, updates), feeds


def builders() -> Builders:
    """Return what builds a step of each model, plain and with each policy."""
    policies = {"plain": None, **POLICIES}
    return {
        f"{model}, {name}": partial(graph_of, model, policy)
        for model in budget_peers.BUILT
        for name, policy in policies.items()
    }


def prepare_row(model: str, share: str) -> budget_peers.Prepared:
    """One row of ours, behind its first call."""
    graph, feeds = graph_of(model, POLICIES.get(share))
    limits: dict[str, Any] = {}
    if share in ("recompute", "sqrt"):
        limits["checkpoint"] = share
    elif share == "smallest":
        limits["memory_budget"] = sg.tradeoff(graph).smallest.peak_bytes
    elif share not in ("100%", *POLICIES):
        limits["memory_budget"] = share
    try:
        f = sg.compile(graph, threads=1, **limits)
        plan = f.plan()
    except sg.BudgetInfeasible as error:
        return {"refused": error.smallest_peak}, None
    facts = {
        "arena": plan.peak_bytes, "steps": len(plan.steps), "predicted": plan_seconds(plan)
    }  # fmt: skip
    return budget_peers.first_called(facts, lambda: f.run(feeds)["loss"])


def shares_of(model: str) -> tuple[str, ...]:
    """The rows of a model: ours, then those of peers, as ``jax dots``."""
    peers = (f"{peer} {way}" for peer, way in budget_peers.ways_of(model))
    blocks = POLICIES if model not in budget_peers.SEGMENTS else ()
    return (*SHARES, *MORE.get(model, ()), *blocks, *peers)


def serve(model: str, share: str) -> None:
    """Be the process of a row: write what is known of it, then, for each number that is read, the
    seconds and losses of so many calls."""
    peer, _, way = share.partition(" ")
    row, call = budget_peers.ROWS[peer](model, way) if way else prepare_row(model, share)
    print(json.dumps({"model": model, "share": share, **row}), flush=True)
    if call is None:
        return
    for line in sys.stdin:
        seconds, losses = [], []
        for _ in range(int(line)):
            start = time.perf_counter()
            losses.append(float(call()))
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"seconds": seconds, "losses": losses}), flush=True)


class Served:
    """The process of a row, ready to be timed; ``losses`` are of all its calls."""

    def __init__(self, model: str, share: str) -> None:
        command = [sys.executable, "-m", "benchmarks", "time_budgets", "--row", model, share]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.row = self._read_record()
        self.losses = [self.row["loss"]] if "loss" in self.row else []
        self.rounds: list[float] = []

    def _read_record(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        record: dict[str, Any] = json.loads(self.process.stdout.readline())
        return record

    def turn(self, calls: int) -> None:
        """So many calls."""
        if "refused" in self.row:
            return
        assert self.process.stdin is not None
        print(calls, file=self.process.stdin, flush=True)
        record = self._read_record()
        self.rounds.append(min(record["seconds"]))
        self.losses += record["losses"]

    def finish(self) -> dict[str, Any]:
        """The row; its process ends."""
        self.process.communicate()
        if "refused" in self.row:
            return self.row
        losses = np.array(self.losses).tobytes()
        return {
            **self.row, "seconds": min(self.rounds), "median": median(self.rounds),
            "digest": hashlib.sha256(losses).hexdigest()[:16],
        }  # fmt: skip


def take_turns(served: Sequence[Served], rounds: int, calls: int) -> None:
    """Time rows that are ready, some calls of each in turn."""
    for _ in range(rounds):
        for server in served:
            server.turn(calls)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| model | budget | arena, bytes | process | steps | ms, least | median | more time "
        "| of medians | predicted |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    unlimited = {row["model"]: row for row in rows if row["share"] == "100%"}
    unlimited |= {
        f"{row['model']} {peer}": row
        for row in rows
        for peer in budget_peers.WAYS
        if row["share"] == f"{peer} plain"
    }
    for row in rows:
        model, share = row["model"], row["share"]
        if "refused" in row:
            lines.append(f"| {model} | {share} | refused | | | | | | | |")
            continue
        first = unlimited.get(f"{model} {share.partition(' ')[0]}", unlimited.get(model, row))
        more, middle = (row[key] / first[key] - 1.0 for key in ("seconds", "median"))
        predicted = (
            f"{row['predicted'] / first['predicted'] - 1.0:+.1%}" if "predicted" in row else ""
        )
        arena = "" if row["arena"] is None else f"{row['arena']:,}"
        lines.append(
            f"| {model} | {share} | {arena} | {row['process']:,} "
            f"| {row.get('steps', '')} | {1e3 * row['seconds']:.2f} | {1e3 * row['median']:.2f} "
            f"| {more:+.1%} | {middle:+.1%} | {predicted} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the rows, each in a process of its own, and say what they give."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="models whose names have this text")
    parser.add_argument("--rows", dest="row_text", default="", help="rows whose names have this")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calls", type=int, default=4, help="of each row in a round")
    parser.add_argument("--into", type=Path, help="a file of rows, to which these are added")
    parser.add_argument("--markdown", action="store_true", help="print a table")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        serve(*options.row)
        return
    earlier = (
        json.loads(options.into.read_text("utf-8"))
        if options.into and options.into.exists()
        else {}
    )
    rows = [
        row
        for row in earlier.get("rows", ())
        if options.only not in row["model"] or options.row_text not in row["share"]
    ]
    for model in [name for name in budget_peers.BUILT if options.only in name]:
        served = [Served(model, share) for share in shares_of(model) if options.row_text in share]
        take_turns(served, options.rounds, options.calls)
        finished = [server.finish() for server in served]
        check(model, finished)
        rows += finished
    if options.into:
        document = {"machine": earlier.get("machine", describe()), "rows": rows}
        options.into.write_text(json.dumps(document, indent=1, default=vars) + "\n", "utf-8")
    print(table(rows) if options.markdown else json.dumps(rows, indent=1))


def check(model: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse rows of a model whose losses differ: ours in a byte, those of peers in a digit."""
    ours = {row["digest"] for row in rows if "predicted" in row}
    assert len(ours) < 2, f"{model}: results differ"
    losses = [row["loss"] for row in rows if "loss" in row]
    assert not losses or np.allclose(losses, losses[0], rtol=1e-3), f"{model}: {losses}"
