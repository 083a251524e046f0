"""The passes there are, the pipelines with a name, and the text form of both.

>>> print(pipeline("O1"))
stabilize,parts,dce,loops,fixpoint(simplify,cse,fold),dce,residuals
>>> print(pipeline("fixpoint(cse{border=True},fold),dce"))
fixpoint(cse{border=True},fold),dce
>>> print(pipeline("O0,fold"))
stabilize,parts,fold
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, NoReturn

from passes.base import REGISTRY, Fixpoint, Pass, Pipeline
from passes.cse import CommonSubexpressions, PartsOfOthers
from passes.dce import DeadNodes
from passes.fold import Fold
from passes.loops.whole import MergedLoops
from passes.narrow import Narrow
from passes.residuals import Residuals
from passes.simplify import Algebra, Simplify, Stabilize
from staticgrad.errors import ParseError, PipelineError, PluginWarning, warn
from staticgrad.errors.tracebacks import boundary
from staticgrad.errors.wording import did_you_mean, kind_of
from staticgrad.language.ir.discovery import load_entry_points, package_of

#: Every built-in pass, in the order a pipeline usually has them.
PASSES: Final[tuple[type[Pass], ...]] = (
    Stabilize,
    PartsOfOthers,
    DeadNodes,
    MergedLoops,
    Simplify,
    Algebra,
    CommonSubexpressions,
    Fold,
    Residuals,
    Narrow,
)

#: Passes that few pipelines have: name -> the module that defines it, imported where it is named.
RARE: Final[Mapping[str, str]] = MappingProxyType({"saved": "passes.saved"})

#: Passes that run when kernels are made, after the pipeline that ``sg.compile`` is given, in this
#: order -> the module that defines each. What they are for: ``passes/late/``.
LATE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "marks": "passes.late.marks",
        "unmarked-loops": "passes.late.marks",
        "chosen-first": "passes.late.chosen",
        "one-hot-products": "passes.late.one_hot",
        "thin-batches": "passes.late.batches",
        "few-of-a-sort": "passes.late.orders",
        "row-chunks": "passes.late.chunks",
        "byte-products": "passes.late.byte_products",
        "border-taps": "passes.late.windows",
        "im2col": "passes.late.windows",
        "space-to-depth": "passes.late.windows",
        "sums-of-exponentials": "passes.late.exponentials",
        "vector-products": "passes.late.products",
        "wide-totals": "passes.late.products",
        "broadcast-windows": "passes.late.windows",
        "winograd": "passes.late.windows",
        "paired-factors": "passes.late.pairs",
        "split-filter-gradients": "passes.late.windows",
        "split-k": "passes.late.products",
        "split-scatters": "passes.late.scatters",
        "joined-writes": "passes.late.writes",
        "checks-before-writes": "passes.late.writes",
        "sums-in-place": "passes.late.writes",
        "short-writes": "passes.late.writes",
        "overlapping-pads": "passes.late.regions",
        "if-conversion": "passes.late.loops",
        "scalarization": "passes.late.scalarization",
        "strip-mining": "passes.late.loops",
        "transposed-factors": "passes.late.loops",
        "reshaped-products": "passes.late.products",
        "disjoint-pads": "passes.late.regions",
        "slices-of-pads": "passes.late.slices",
        "shifted-formulas": "passes.late.columns",
        "recomputed-stages": "passes.late.stencils",
        "recomputed-formulas": "passes.late.columns",
        "shared-stacks": "passes.late.loops",
        "panels": "passes.late.products",
        "compact-scatters": "passes.late.scatters",
        "selected-elements": "passes.late.indices",
        "known-indices": "passes.late.indices",
    }
)
#: The first late pass that runs only if nodes are fused. Those before it decide the bits of
#: results; the others save memory traffic, and each node's kernel has the same bits without them.
_FIRST_OF_FUSED: Final = "if-conversion"
#: The late pass whose result stays only if kernels of it are predicted to take less time.
PRICED: Final = "scalarization"
#: Passes that a memory budget or a policy tries before the late ones -> the module.
OF_BUDGETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "recomputed-products": "passes.late.chunks",
        "products-in-loops": "passes.loops.rows_inside",
        "segments": "passes.loops.segments",
    }
)
#: What fusion does to the graph once groups are chosen: some products read narrow floats. It may be
#: disabled like a pass.
NARROW_FACTORS: Final = "narrow-factors"
#: The comparison of predicted times by which late passes that save memory traffic are kept or not.
#: It may be disabled like a pass: then each of them is kept.
PRICES: Final = "prices"
#: Every pass that is imported when it is named.
_LOADED: Final[Mapping[str, str]] = MappingProxyType({**RARE, **LATE, **OF_BUDGETS})

#: Where other packages announce their passes.
GROUP: Final = "staticgrad.passes"

#: Optimisation level -> its pipeline. O0 and O1 give equal bytes; O2 may move the last digits.
LEVELS: Final[Mapping[str, str]] = {
    "O0": "stabilize,parts",
    "O1": "stabilize,parts,dce,loops,fixpoint(simplify,cse,fold),dce,residuals",
    "O2": "stabilize,parts,dce,loops,fixpoint(simplify,algebra,cse,fold),dce,residuals",
}
#: The late passes, with fusion and without -> their pipeline.
STAGES: Final[Mapping[str, str]] = {
    "late": ",".join(LATE),
    "late-unfused": ",".join([*LATE][: [*LATE].index(_FIRST_OF_FUSED)]),
}

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


@boundary
def pipeline(text: str | Pass) -> Pipeline:
    """Parse the text of a pipeline of passes, or return the one of a level (``"O1"``).

    Args:
        text: pass names separated by commas, options in braces as Python literals, passes to
            repeat in parentheses: ``dce,cse{border=True},fixpoint{limit=9}(cse,fold)``. A level
            stands for its passes: ``O1,residuals``; so does ``late``. A pass is known by its name
            once its class is defined; passes of installed packages are found by entry points of
            the group ``staticgrad.passes``. A pass, instead of text, is a
            pipeline of one pass.

    Raises:
        ParseError: text that is no pipeline, an unknown pass or option; points at the place.
        PipelineError: passes that do not follow each other.
    """
    if isinstance(text, Pass):
        return text if isinstance(text, Pipeline) else Pipeline((text,))
    return _PipelineReader(text).pipeline()


def _import_pass_module(name: str) -> None:
    """Import the modules that may define a pass: rare ones, or installed extensions.

    A package that cannot be imported, or whose entry point is no pass, costs a warning, for a pass
    of another name may be wanted.

    Raises:
        PipelineError: the entry point called ``name`` is no Pass.
    """
    if name in _LOADED:
        import_module(_LOADED[name])
        return
    for entry, loaded in load_entry_points(GROUP):
        if not (isinstance(loaded, type) and issubclass(loaded, Pass) and loaded.name):
            text = (
                f"{package_of(entry)}: the entry point {entry.value!r} of {GROUP} is"
                f" {kind_of(loaded)}, no named Pass"
            )
            if entry.name == name:
                raise PipelineError(text)
            warn(PluginWarning, text)


class _PipelineReader:
    """Recursive descent over one pipeline text."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def pipeline(self) -> Pipeline:
        self.skip()
        passes = self.passes() if self.at < len(self.text) else ()
        if self.at < len(self.text):
            self.fail("expected ',' or the end")
        return Pipeline(passes)

    def passes(self) -> tuple[Pass, ...]:
        passes = self.some()
        while self.take(","):
            passes += self.some()
        return passes

    def some(self) -> tuple[Pass, ...]:
        """Parse one pass of a pipeline's text, or those of a level."""
        self.skip()
        match = _NAME.match(self.text, self.at)
        if match is None:
            self.fail("expected the name of a pass")
        if text := LEVELS.get(match[0]) or STAGES.get(match[0]):
            self.at = match.end()
            return _PipelineReader(text).passes()
        return (self.read_pass(match),)

    def read_pass(self, match: re.Match[str]) -> Pass:
        """Parse a pass's name with its options; a ``fixpoint`` contains passes."""
        start, name = self.at, match[0]
        if name not in REGISTRY:
            _import_pass_module(name)
        if name not in REGISTRY or name == Pipeline.name:
            names = dict.fromkeys((*(cls.name for cls in PASSES), *_LOADED, *REGISTRY))
            del names[Pipeline.name]
            self.fail(
                f"no pass is named {name!r}",
                width=len(name),
                hint=f"{did_you_mean(name, (*names, *LEVELS, *STAGES))}"
                f"there are {', '.join(names)},"
                f" and the levels {', '.join(LEVELS)}"
                "\na pass of your own is known by its name once its class is defined or imported",
            )
        self.at = match.end()
        self.skip()
        if name == Fixpoint.name:
            options = self.options(Fixpoint, start)
            self.expect("(")
            inner = self.passes()
            self.expect(")")
            return Fixpoint(inner, **options)
        return REGISTRY[name](**self.options(REGISTRY[name], start))

    def options(self, cls: type[Pass], start: int) -> dict[str, Any]:
        """Parse ``{key=value,...}`` behind a pass's name, checked against its fields."""
        values: dict[str, Any] = {}
        options = [f for f in fields(cls) if f.name != "passes"]  # type: ignore[arg-type]
        if self.take("{") and not self.take("}"):
            self.option(options, values)
            while self.take(","):
                self.option(options, values)
            self.expect("}")
        missing = [f.name for f in options if f.name not in values and f.default is MISSING]
        if missing:
            self.at = start
            self.fail(f"{cls.name!r} needs {', '.join(missing)}", width=len(cls.name))
        return values

    def option(self, options: list[Any], values: dict[str, Any]) -> None:
        """Parse one ``key=value`` of a pass's options."""
        self.skip()
        match = _NAME.match(self.text, self.at)
        name = match[0] if match else ""
        if name not in {field.name for field in options} or name in values:
            names = ", ".join(field.name for field in options) or "none"
            what = f"{name!r} twice" if name in values else f"no option {name!r}"
            self.fail(f"{what}", width=max(len(name), 1), hint=f"the options are {names}")
        self.at += len(name)
        self.expect("=")
        self.skip()
        start, value = self.at, self.literal()
        field = next(field for field in options if field.name == name)
        if not _is_like(value, field.default):
            self.at, width = start, self.at - start
            kind = type(field.default).__name__
            self.fail(f"{name!r} takes a value like {field.default!r}, {kind}", width)
        values[name] = value

    def literal(self) -> Any:
        """Parse a Python literal up to the comma or brace that ends it."""
        self.skip()
        for end in _ends(self.text, self.at):
            try:
                value = ast.literal_eval(self.text[self.at : end].strip())
            except (ValueError, SyntaxError):
                continue
            self.at = end
            return value
        word = re.match(r"[A-Za-z]\w*", self.text[self.at :])
        raise self.error(
            "expected a Python literal",
            hint=f"write text in quotes: {word[0]!r}" if word else "",
        )

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, symbol: str) -> bool:
        self.skip()
        if not self.text.startswith(symbol, self.at):
            return False
        self.at += len(symbol)
        return True

    def expect(self, symbol: str) -> None:
        if not self.take(symbol):
            self.fail(f"expected {symbol!r}")

    def fail(self, headline: str, width: int = 1, hint: str = "") -> NoReturn:
        raise self.error(headline, width, hint)

    def error(self, headline: str, width: int = 1, hint: str = "") -> ParseError:
        """Return a syntax error that points to the position in a pipeline's text."""
        consumed = self.text[: self.at]
        return ParseError(
            headline,
            text=self.text,
            line=consumed.count("\n") + 1,
            column=self.at - (consumed.rfind("\n") + 1) + 1,
            width=width,
            file="<pipeline>",
            hint=hint,
        )


def _is_like(value: Any, default: Any) -> bool:
    """Return whether ``value`` has the type of the option's default, if it has one."""
    if default is MISSING or default is None:
        return True
    return type(value) is type(default) or (type(value) is int and type(default) is float)


def _ends(text: str, start: int) -> list[int]:
    """Places where a literal that begins at ``start`` may end, nearest first."""
    return [i for i in range(start + 1, len(text)) if text[i] in ",}"]
