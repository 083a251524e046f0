"""A plan as JSON data, for checkers outside this project.

Two documents: a graph of values and ops (``staticgrad-memgraph/1``) and a schedule of computes and
frees with offsets (``staticgrad-schedule/1``). Every version of a buffer is a value; a later one
takes over the bytes of the one before. An op that runs again makes the same values again. Copies of
feeds and resets of check words are ops of their own. What stands outside the arena has size 0.
"""

from bisect import bisect_left

from staticgrad.analysis.cost import all_seconds
from staticgrad.storage.parameter import ALIGNMENT

_BEGIN = "begin:"  # the op that copies a staged feed or resets check words
_LOOK = "look"  # the op that reads the checks before the commit


def memory_documents(plan):
    """The graph and the schedule of a plan, as JSON data."""
    export = _Export(plan)
    return export.graph(), export.schedule()


class _Export:
    def __init__(self, plan):
        self.plan = plan
        self.buffers = plan.schedule.by_name
        self.places = {}
        for place in plan.placements:
            self.places.setdefault(place.buffer, []).append(place)
        self.writers = {}
        for number, step in enumerate(plan.schedule.steps):
            for name in dict.fromkeys(step.writes()):
                self.writers.setdefault(name, []).append(number)
        self.current = {}  # buffer -> its live value
        self.values = {}
        self.ops = {}
        self.steps = []
        outside = ("input", "parameter", "constant")
        self.resident = [
            name
            for name, b in self.buffers.items()
            if b.role in outside and name not in self.places
        ]
        for name in self.resident:
            self._value(name, name)
        self._walk()

    def _walk(self):
        plan = self.plan
        steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
        seconds = all_seconds(steps, [planned.arguments for planned in plan.steps])
        for name, places in self.places.items():
            if self.buffers[name].role in ("input", "check") and places[0].first == 0:
                self._begin(name, places[0])
        for at in range(len(plan.steps)):
            if at == plan.commit:
                self._look()
            self._step(at, seconds[at])
        if plan.commit == len(plan.steps):
            self._look()

    def graph(self):
        outputs = [name for name, b in self.buffers.items() if b.role == "output"]
        return {
            "format": "staticgrad-memgraph/1",
            "name": self.plan.schedule.name,
            "values": list(self.values.values()),
            "ops": list(self.ops.values()),
            "resident": self.resident,
            "outputs": [self.current[name] for name in outputs if name in self.current],
        }

    def schedule(self):
        return {
            "format": "staticgrad-schedule/1",
            "steps": self.steps,
            "arena": self.plan.peak_bytes,
        }

    def _value(self, name, identity):
        kind = {"input": "input", "parameter": "param", "constant": "const"}
        nbytes = self.places[name][0].nbytes if name in self.places else 0
        size = -(-nbytes // ALIGNMENT) * ALIGNMENT
        role = self.buffers[name].role
        self.values[identity] = {"id": identity, "size": size, "kind": kind.get(role, "act")}
        return identity

    def _version(self, name, step):
        """The version of a buffer that a step reads; its own, if it writes, is the next."""
        return _named(name, bisect_left(self.writers.get(name, ()), step))

    def _compute(self, identity, op, **options):
        self.ops.setdefault(identity, {"id": identity, "cost": 0, **op})
        self.steps.append(["c", identity, options])

    def _free(self, name):
        self.steps.append(["f", self.current.pop(name)])

    # -- what is not a step ----------------------------------------------------------------------

    def _begin(self, name, place):
        made = self._value(name, name)
        op = {"name": _BEGIN, "inputs": [], "outputs": [made]}
        if self.buffers[name].role == "input":
            op["max_runs"] = 1
        self._compute(f"{_BEGIN}{name}", op, offsets={made: place.offset})
        self.current[name] = made

    def _look(self):
        checks = [name for name in self.current if self.buffers[name].role == "check"]
        if checks:
            op = {"name": _LOOK, "inputs": checks, "outputs": [], "max_runs": 1}
            self._compute(_LOOK, op)
            for name in checks:
                self._free(name)

    # -- steps ------------------------------------------------------------------------------------

    def _step(self, at, seconds):
        number = self.plan.steps[at].step
        step = self.plan.schedule.steps[number]
        checks = [n for n in dict.fromkeys(step.writes()) if self.buffers[n].role == "check"]
        for name in checks:
            if name not in self.current:  # it runs again after the commit
                self._begin(name, self._place(name, at))
        begins = {name for name in step.writes() if self._begins(name, number)}
        read = [n for n in dict.fromkeys([*step.reads(), *step.writes()]) if n not in begins]
        mutated = [n for n in dict.fromkeys(step.writes()) if n in self.resident]
        made = [n for n in dict.fromkeys(step.writes()) if n not in (*checks, *mutated)]
        updated = [a.buffer for a in step.accesses() if a.updated]
        pairs = self._pairs(at, number, step, made)
        op = {
            "name": step.label or f"s{number}",
            "cost": seconds,
            "inputs": [n if n in (*checks, *mutated) else self._version(n, number) for n in read],
            "outputs": [self._value(n, self._after(n, number)) for n in made],
            "inplace": [],
            "mutates": mutated,
            "reads_updated": list(dict.fromkeys([*mutated, *updated])),
        }
        if mutated:
            op["max_runs"] = 1
        identity = f"s{number}"
        fresh = [n for n in made if n in self.places and self._after(n, number) not in pairs]
        self._compute(
            identity,
            op,
            inplace=[[into, out] for out, into in pairs.items()],
            offsets={self._after(n, number): self._place(n, at).offset for n in fresh},
        )
        known = self.ops[identity]["inplace"]
        known += [pair for pair in self.steps[-1][2]["inplace"] if pair not in known]
        over = set(pairs.values())
        self.current = {name: value for name, value in self.current.items() if value not in over}
        self.current |= {name: self._after(name, number) for name in made}
        for name in [n for n in self.current if self._ends(n, at)]:
            self._free(name)

    def _begins(self, name, step):
        """Whether a step that writes a buffer is the first to do so."""
        fresh = self.buffers[name].role not in ("check", "parameter")
        return fresh and (self.writers[name][0] == step or self.buffers[name].role == "scratch")

    def _after(self, name, step):
        """The version of a buffer that a step writes."""
        if self.buffers[name].role == "scratch":
            return name
        return _named(name, bisect_left(self.writers[name], step) + 1)

    def _ends(self, name, at):
        if name not in self.places or (
            self.buffers[name].role == "check" and at < self.plan.commit
        ):
            return False
        return self._place(name, at).last == at

    def _place(self, name, at):
        return next(p for p in self.places[name] if p.first <= at <= p.last)

    def _pairs(self, at, number, step, made):
        """Value -> the value whose bytes it takes over here: of its own buffer or of another."""
        found = {}
        for name in made:
            if not self._begins(name, number):
                found[self._after(name, number)] = self._version(name, number)
                continue
            if name not in self.places:
                continue
            place = self._place(name, at)
            for other in dict.fromkeys(step.reads()):
                if other in self.places and other != name and place.nbytes:
                    into = self._place(other, at)
                    if into.last == at and into.offset == place.offset and into.nbytes:
                        found[self._after(name, number)] = self._version(other, number)
        return found


def _named(name, version):
    return name if version <= 1 else f"{name}#{version}"
