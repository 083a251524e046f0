"""Programs as trees: statements with a text for staticgrad and one for NumPy, and blocks of them.

A program prints as two functions of Python, ``program`` for each language, and as one script that
compares both. It shrinks as a tree: a statement gives way to another value of its kind, and what
nothing reads is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

import numpy as np

LANGUAGES = ("sg", "np")


class Size(NamedTuple):
    """An extent: ``named`` times the size n of the program, plus ``fixed``."""

    named: int
    fixed: int

    def __str__(self):
        parts = [] if not self.named else ["n" if self.named == 1 else f"{self.named} * n"]
        if self.fixed or not parts:
            parts.append(str(self.fixed))
        return " + ".join(parts).replace("+ -", "- ")

    def at(self, n):
        return self.named * n + self.fixed


class Kind(NamedTuple):
    """The element type and the shape of a value; "float" is the element type of the program."""

    dtype: str
    shape: tuple[Size, ...] = ()

    def __str__(self):
        return f"{self.dtype}{shape_text(self.shape)}"


def shape_text(shape):
    """Return the text of a shape, as Python reads it."""
    sizes = ", ".join(map(str, shape))
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


@dataclass(frozen=True)
class Statement:
    """One line, or a loop or a branch with blocks.

    Attributes:
        row: the production that wrote it.
        results: names and kinds of what it gives.
        reads: the values that its texts call ``$0``, ``$1`` ...
        texts: what gives the results, in staticgrad and in NumPy; ``$f``, ``$g`` are the blocks.
        blocks: functions that its texts call.
    """

    row: str
    results: tuple[tuple[str, Kind], ...]
    reads: tuple[str, ...]
    texts: tuple[str, str]
    blocks: tuple["Block", ...] = ()

    @property
    def names(self):
        return tuple(name for name, _ in self.results)

    def lines(self, language):
        """Yield the lines of the statement; first the functions that it calls."""
        functions = [f"{self.names[0]}_{letter}" for letter in "fgh"[: len(self.blocks)]]
        for name, block in zip(functions, self.blocks, strict=True):
            yield from block.lines(language, name)
        values = dict(zip("fgh", functions, strict=False))
        values |= {str(place): name for place, name in enumerate(self.reads)}
        text = self.texts[LANGUAGES.index(language)]
        yield f"{', '.join(self.names)} = " + re.sub(r"\$(\w)", lambda m: values[m[1]], text)


@dataclass(frozen=True)
class Block:
    """A function: the text of its parameters and of its result, and the statements between.

    Attributes:
        head: text of the parameters.
        params: names and kinds that ``head`` binds.
        results: names of the values that ``tail`` calls ``$0``, ``$1`` ...
    """

    head: str
    params: tuple[tuple[str, Kind], ...]
    statements: tuple[Statement, ...]
    results: tuple[str, ...]
    tail: str

    def lines(self, language, name, first=()):
        yield f"def {name}({self.head}):"
        body = (line for statement in self.statements for line in statement.lines(language))
        for line in chain(first, self.opening(), body):
            yield f"    {line}"
        yield "    return " + re.sub(r"\$(\d)", lambda m: self.results[int(m[1])], self.tail)

    def opening(self):
        """Yield the line that takes a carry of several values apart."""
        carry = [name for name, _ in self.params if name.startswith("c")]
        if "carry" in self.head:
            yield f"{', '.join(carry)}{',' * (len(carry) == 1)} = carry"

    def names_read(self):
        """Return the names that a block reads, its own included."""
        names = {*self.results}
        for statement in self.statements:
            names |= {*statement.reads}
            for block in statement.blocks:
                names |= block.names_read()
        return names

    def without_unread(self):
        """Return the block without statements of which nothing is read."""
        needed, statements = {*self.results}, []
        for statement in reversed(self.statements):
            if needed & {*statement.names}:
                blocks = tuple(block.without_unread() for block in statement.blocks)
                statements.append(replace(statement, blocks=blocks))
                needed |= {*statement.reads}
                for block in blocks:
                    needed |= block.names_read()
        return replace(self, statements=tuple(reversed(statements)))

    def rename_reads(self, old, new):
        """Return the block with reads of one name as reads of another."""
        change = {old: new}
        statements = tuple(
            replace(
                statement,
                reads=tuple(change.get(name, name) for name in statement.reads),
                blocks=tuple(block.rename_reads(old, new) for block in statement.blocks),
            )
            for statement in self.statements
        )
        results = tuple(change.get(name, name) for name in self.results)
        return replace(self, statements=statements, results=results)

    def walk(self):
        """Yield each statement and those of its blocks."""
        for statement in self.statements:
            yield statement
            for block in statement.blocks:
                yield from block.walk()

    def depth(self):
        """Return how many loops and branches are in each other."""
        depths = [1 + block.depth() for s in self.statements for block in s.blocks]
        return max(depths, default=0)


@dataclass(frozen=True)
class Program:
    """A program of float arrays with its feeds.

    Attributes:
        block: its inputs and what it computes; the results are values of any kind.
        dtype: float64 or float32.
        order: how many times it is differentiated.
        n: the value of the named size; 0 if there is none.
        seed: of the feeds.
        draws: values that are drawn, which the program in NumPy takes as operands.
        updates: inputs that are parameters, and the values that they take.
    """

    block: Block
    dtype: str = "float64"
    order: int = 1
    n: int = 0
    seed: int = 0
    draws: tuple[tuple[str, Kind], ...] = ()
    updates: tuple[tuple[str, str], ...] = ()

    @property
    def inputs(self):
        return self.block.params

    @property
    def leaves(self):
        """Return the inputs with a derivative."""
        return [name for name, kind in self.inputs if kind.dtype == "float"]

    @property
    def parameters(self):
        return [name for name, _ in self.updates]

    def kinds(self):
        """Return the kind of every name outside of blocks."""
        named = chain(self.inputs, *(s.results for s in self.block.statements))
        return dict(named)

    def arrays(self):
        """Return an array for each input, in the element type of the program."""
        return {name: self.array(name, kind) for name, kind in self.inputs}

    def array(self, name, kind, label=""):
        """Return the numbers of an input; those of another label are independent."""
        rng = np.random.default_rng([self.seed, *f"{name} {label}".encode()])
        shape = tuple(size.at(self.n) for size in kind.shape)
        if kind.dtype == "bool":
            return rng.random(shape) < 0.6
        if kind.dtype == "float":
            return np.asarray(rng.uniform(-1.5, 1.5, shape)).astype(self.dtype)
        return np.asarray(rng.integers(-3, 4, shape)).astype(kind.dtype)

    def directions(self, label="along"):
        """Return a random direction for each leaf, of largest element about 1."""
        kinds = dict(self.inputs)
        return {name: self.array(name, kinds[name], label) for name in self.leaves}

    # -- text --------------------------------------------------------------------------------------

    def size_line(self):
        """Return the line that reads the named size off an input."""
        for name, kind in self.inputs:
            for axis, size in enumerate(kind.shape):
                if size == (1, 0):
                    return [f"n = {name}.shape[{axis}]"]
        return []

    def results(self):
        """Return the text of each result by name; the loss comes first."""
        kinds, texts, terms = self.kinds(), {}, []
        for place, name in enumerate(self.block.results):
            if kinds[name].dtype == "complex":
                texts |= {f"real{place}": f"np.real({name})", f"imag{place}": f"np.imag({name})"}
                parts = (f"np.real({name})", f"np.imag({name})")
            else:
                texts[f"y{place}"] = name
                parts = (name,) * (kinds[name].dtype == "float")
            terms += [f"np.sin({part} * {1.25 + len(terms) / 8} + 0.5).sum()" for part in parts]
        texts |= {f"new {name}": value for name, value in self.updates}
        loss = {"loss": " + ".join(terms)} if terms else {}
        return loss | texts

    def text(self, language):
        """Return the program as a function of its inputs that returns a dict."""
        results = self.results()
        if language == "np":
            head = [name for name, _ in chain(self.inputs, self.draws)]
        else:
            results |= {name: name for name, _ in self.draws}
            head = [name for name, _ in self.inputs]
        pairs = ", ".join(f'"{name}": {text}' for name, text in results.items())
        tail = f"{{{pairs}}}".replace("np.", f"{language}.")
        block = replace(self.block, head=", ".join(head), tail=tail)
        return "\n".join(block.lines(language, "program", self.size_line())) + "\n"

    def rows(self):
        """Return the names of the productions in the program."""
        return {statement.row for statement in self.block.walk()}


# -- shrinking -------------------------------------------------------------------------------------


@dataclass
class Shrinker:
    """Makes a program smaller while it fails.

    Attributes:
        fails: whether a program fails in the same way.
        tries: how many programs may be tried.
    """

    fails: object
    tries: int = 400
    seen: set = field(default_factory=set)

    def shrink(self, program):
        """Return the smallest program that was found; a change that fails begins a new round."""
        changed = True
        while changed and self.tries > 0:
            changed = False
            for smaller in self.candidates(program):
                if self.tries <= 0:
                    break
                if smaller in self.seen:
                    continue
                self.seen.add(smaller)
                self.tries -= 1
                if self.fails(smaller):
                    program, changed = smaller, True
                    break
        return program

    def candidates(self, program) -> Iterator[Program]:
        """Yield smaller programs, the much smaller ones first."""
        for order in range(program.order):
            yield replace(program, order=order)
        for place in range(len(program.updates)):
            yield clean(replace(program, updates=program.updates[:place]))
        results = program.block.results
        if len(results) > 1:
            for name in results:
                yield with_block(program, replace(program.block, results=(name,)))
            for place in range(len(results)):
                fewer = results[:place] + results[place + 1 :]
                yield with_block(program, replace(program.block, results=fewer))
        outer = [s for s in program.block.statements if s.row != "draw"]
        for statement in outer:  # a later value as the result
            for name, kind in statement.results:
                if (name,) != results and kind.dtype in ("float", "int64"):
                    yield with_block(program, replace(program.block, results=(name,)))
        for statement in outer:  # a value as an input
            for name, kind in statement.results:
                if kind.dtype != "complex":
                    yield as_input(program, name, kind)
        yield from (with_block(program, block) for block in smaller_blocks(program.block, {}))


def with_block(program, block):
    """Return a program with another block, without what nothing reads."""
    return clean(replace(program, block=block))


def clean(program):
    """Return the program without statements, draws and inputs that nothing reads."""
    updates = tuple(value for _, value in program.updates)
    block = replace(program.block, results=program.block.results + updates).without_unread()
    read = block.names_read()
    params = tuple(p for p in block.params if p[0] in read or p[0] in program.parameters)
    named = [p for p in block.params if (1, 0) in p[1].shape]
    if program.n and named and not any((1, 0) in kind.shape for _, kind in params):
        params = (named[0], *params)  # which says what n is
    if not params:
        params = block.params[:1]
    drawn = {s.names[0] for s in block.statements if s.row == "draw"}
    block = replace(block, params=params, results=program.block.results)
    draws = tuple(draw for draw in program.draws if draw[0] in drawn)
    return replace(program, block=block, draws=draws)


def as_input(program, name, kind):
    """Return the program in which a value is an input."""
    fresh = f"x{name}"
    block = program.block.rename_reads(name, fresh)
    block = replace(block, params=(*block.params, (fresh, kind)))
    updates = tuple((p, fresh if value == name else value) for p, value in program.updates)
    return clean(replace(program, block=block, updates=updates))


def smaller_blocks(block, scope) -> Iterator[Block]:
    """Yield blocks in which a result of a statement gives way to another value of its kind."""
    scope = scope | dict(block.params)
    for place, statement in enumerate(block.statements):
        for name, kind in statement.results:
            alike = [value for value, its in scope.items() if its == kind]
            operands = [value for value in alike if value in statement.reads]
            for value in dict.fromkeys([*operands, *alike[-2:]]):
                yield block.rename_reads(name, value)
        for number, inner in enumerate(statement.blocks):
            for smaller in smaller_blocks(inner, scope):
                blocks = (*statement.blocks[:number], smaller, *statement.blocks[number + 1 :])
                changed = replace(statement, blocks=blocks)
                statements = (*block.statements[:place], changed, *block.statements[place + 1 :])
                yield replace(block, statements=statements)
        scope |= dict(statement.results)
