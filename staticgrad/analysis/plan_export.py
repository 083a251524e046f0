"""A plan as JSON data for checkers that know nothing of this project.

Two documents: a graph of values and ops (``staticgrad-memgraph/1``) and a schedule of computes and
frees with offsets (``staticgrad-schedule/1``). Every version of a buffer is a value; later versions
are views of the first, which owns the bytes. What stands outside the arena has size 0 here.
"""

from __future__ import annotations

from typing import Any

from staticgrad.ir.parameter import ALIGNMENT
from staticgrad.ir.plan import Plan

Document = dict[str, Any]
_BEGIN = "begin"  # the op that copies staged feeds and resets checks
_LOOK = "look"  # the op that reads the checks before the commit


def memory_documents(plan: Plan) -> tuple[Document, Document]:
    """The graph and the schedule of a plan, as JSON data."""
    export = _Export(plan)
    return export.graph(), export.schedule()


class _Export:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.buffers = plan.schedule.by_name
        self.places = {p.buffer: p for p in plan.placements}
        self.versions = dict.fromkeys(self.buffers, 0)
        self.values: dict[str, Document] = {}
        self.ops: list[Document] = []
        self.steps: list[list[Any]] = []
        outside = ("input", "parameter", "constant")
        self.resident = [
            name
            for name, b in self.buffers.items()
            if b.role in outside and name not in self.places
        ]
        for name in self.resident:
            self._value(name, 0)
        self._begin()
        for at in range(len(plan.steps)):
            if at == plan.commit:
                self._look()
            self._step(at)
        if plan.commit == len(plan.steps):
            self._look()

    def graph(self) -> Document:
        return {
            "format": "staticgrad-memgraph/1",
            "name": self.plan.schedule.name,
            "values": list(self.values.values()),
            "ops": self.ops,
            "resident": self.resident,
            "outputs": [
                self._latest(name) for name, b in self.buffers.items() if self._is_output(name)
            ],
        }

    def schedule(self) -> Document:
        return {
            "format": "staticgrad-schedule/1",
            "steps": self.steps,
            "arena": self.plan.peak_bytes,
        }

    def _is_output(self, name: str) -> bool:
        return self.buffers[name].role == "output" and self.versions[name] > 0

    def _latest(self, name: str) -> str:
        count = self.versions[name]
        return name if count <= 1 else f"{name}#{count}"

    def _value(self, identity: str, size: int, base: str | None = None) -> None:
        kind = {"input": "input", "parameter": "param", "constant": "const"}
        role = self.buffers[base or identity].role
        self.values[identity] = {"id": identity, "size": size, "kind": kind.get(role, "act")}
        if base is not None:
            self.values[identity]["alias_of"] = base

    def _write(self, name: str) -> str:
        """A new version of a buffer: the first owns the bytes, later ones are views of it."""
        self.versions[name] += 1
        place = self.places.get(name)
        size = -(-place.nbytes // ALIGNMENT) * ALIGNMENT if place else 0
        version = self._latest(name)
        self._value(version, 0 if version != name else size, None if version == name else name)
        return version

    def _compute(self, op: Document, options: Document) -> None:
        self.ops.append({"cost": 1, "max_runs": 1, **op})
        self.steps.append(["c", op["id"], options])

    def _offsets(self, values: list[str]) -> dict[str, int]:
        return {v: self.places[v].offset for v in values if v in self.places}

    def _begin(self) -> None:
        early = [
            name
            for name in self.places
            if self.buffers[name].role in ("input", "check") and not self.versions[name]
        ]
        if early:
            made = [self._write(name) for name in early]
            op = {"id": _BEGIN, "name": _BEGIN, "inputs": [], "outputs": made}
            self._compute(op, {"offsets": self._offsets(made)})

    def _look(self) -> None:
        checks = [name for name in self.places if self.buffers[name].role == "check"]
        if checks:
            read = [self._latest(name) for name in checks]
            self._compute({"id": _LOOK, "name": _LOOK, "inputs": read, "outputs": []}, {})
            self.steps += [["f", name] for name in checks]

    def _step(self, at: int) -> None:
        step = self.plan.schedule.steps[self.plan.steps[at].step]
        again = [n for n in dict.fromkeys(step.writes()) if self.versions[n] or n in self.resident]
        read = dict.fromkeys([*step.reads(), *(n for n in again if n not in self.resident)])
        inputs = [self._latest(name) for name in read]
        written = [n for n in dict.fromkeys(step.writes()) if n not in self.resident]
        taken = {out: into for into, out in self._in_place(at)}
        outputs = [self._write(name) for name in written]
        pairs = [[into, out] for out, into in taken.items()]
        identity = f"s{self.plan.steps[at].step}"
        mutated = [name for name in again if name in self.resident]
        op = {
            "id": identity,
            "name": step.label or identity,
            "inputs": inputs,
            "outputs": outputs,
            "inplace": pairs,
            "mutates": mutated,
            "reads_updated": mutated,
        }
        fresh = [out for out in outputs if out not in taken]
        self._compute(op, {"inplace": pairs, "offsets": self._offsets(fresh)})
        over = [
            name
            for name, place in self.places.items()
            if place.last == at
            and self.buffers[name].role != "check"
            and name not in taken.values()
        ]
        self.steps += [["f", name] for name in over]

    def _in_place(self, at: int) -> list[tuple[str, str]]:
        """Pairs (operand, result) of buffers of which one takes over the other's bytes here."""
        begins = [p for p in self.plan.placements if p.first == at and p.nbytes]
        ends = [p for p in self.plan.placements if p.last == at and p.nbytes]
        return [
            (into.buffer, out.buffer)
            for out in begins
            for into in ends
            if into is not out
            and into.offset == out.offset
            and not self.versions[out.buffer]
            and self.versions[into.buffer]
        ]
