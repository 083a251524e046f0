"""The reference: a page for each subject, made of signatures, docstrings and trials.

The element types that a function takes and returns are found by calling it with inputs of a graph,
so that a page cannot contradict the code.

Docstrings are read in parts: a summary, paragraphs, sections (``Args:``, ``Returns:``, ``Raises:``,
``Attributes:``) and examples that start with ``>>>``. Pages show these parts, and tests check them.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import staticgrad as sg
from staticgrad.errors import CODES, StaticgradError
from staticgrad.exports import FUNCTIONS, MODULES, OTHERS, homes
from staticgrad.extend import DType, Op
from staticgrad.extend.dtypes import BOOL, F16, F32, F64, I8, I32, I64, U8
from staticgrad.tools.documentation.formulas import derivatives

#: The sections, in the order in which a page shows them.
SECTIONS: Final = ("Args", "Attributes", "Returns", "Raises")
_HEAD: Final = re.compile(rf"^({'|'.join(SECTIONS)}):(.*)$")
_ENTRY: Final = re.compile(r"^(\*{0,2}[\w.]+(?:(?:, | and )\*{0,2}[\w.]+)*(?: \([^)]*\))?): ?(.*)$")


def docstring(value: Any) -> str:
    """Return the docstring of a function, or of a class together with that of its ``__init__``."""
    text = inspect.getdoc(value) or ""
    if isinstance(value, type) and "__init__" in vars(value):
        init_docstring = inspect.cleandoc(value.__init__.__doc__ or "")  # type: ignore[misc]
        text += f"\n\n{init_docstring}"
    return text


def markdown(text: str) -> str:
    """Convert a docstring to Markdown: text, sections, examples."""
    paragraphs, examples = [], []
    sections: dict[str, list[str]] = {}
    for block in blocks(text):
        head = _HEAD.match(block[0])
        if head is not None:
            lines_after_head = [head[2].strip()] if head[2].strip() else []
            sections.setdefault(head[1], []).extend([*lines_after_head, *block[1:]])
        elif block[0].startswith(">>>"):
            example = "\n".join(block)
            examples.append(f"```python\n{with_imports(example)}\n```")
        elif all(line.startswith("    ") for line in block):  # indented lines are code
            paragraphs.append("```text\n" + inspect.cleandoc("\n".join(block)) + "\n```")
        else:
            lines = [line.strip() if line[:1] == " " else line for line in block]
            paragraphs.append(code("\n".join(lines)))
    for name in SECTIONS:
        if name in sections:
            paragraphs += [f"**{name}**", entries(sections[name])]
    return "\n\n".join([*paragraphs, *examples])


def with_imports(example: str) -> str:
    """Add the imports that an example of the documentation leaves out."""
    names = {"np": "import numpy as np", "sg": "import staticgrad as sg"}
    missing = [
        f">>> {line}\n"
        for name, line in names.items()
        if line not in example and re.search(rf"\b{name}\.", example)
    ]
    return "".join(missing) + example


def blocks(text: str) -> Iterator[list[str]]:
    """Split a docstring into blocks: a paragraph, an example, or a section with its lines."""
    run: list[str] = []
    for line in text.splitlines():
        within = bool(run) and _HEAD.match(run[0]) is not None and line.startswith(" ")
        starts = line.startswith(">>>") and not (run and run[0].startswith(">>>"))
        if run and not within and (not line.strip() or starts or _HEAD.match(line)):
            yield run
            run = []
        if line.strip():
            run.append(line)
    if run:
        yield run


def entries(lines: Sequence[str]) -> str:
    """Convert a docstring section to Markdown: a list of named entries, or text."""
    shortest = min((len(line) - len(line.lstrip()) for line in lines if line[:1] == " "), default=0)
    entry_lines: list[str] = []
    for line in lines:
        text = line[shortest:] if line[:1] == " " else line
        entry = _ENTRY.match(text)
        if entry is not None:
            entry_lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif entry_lines:
            entry_lines[-1] += f" {text.strip()}"
        else:
            entry_lines.append(text)
    return code("\n".join(entry_lines))


def code(text: str) -> str:
    """Two backquotes as Markdown's one; stars outside of code stay stars."""
    parts = text.replace("``", "`").split("`")
    return "`".join(
        part if k % 2 else part.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")
        for k, part in enumerate(parts)
    )


#: Address of a page -> its title, how users reach what is on it, and the names.
Room = tuple[str, str, tuple[str, ...]]
#: Prefix -> address of a page -> its title, and the modules (in ``staticgrad``) that define what is
#: on it. A prefix that is missing here has a single page.
SUBJECTS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "sg": {
        "programs": (
            "Graphs and compiled programs",
            "compiling.compiler compiling.mixed_precision compiling.quantization"
            " compiling.tradeoffs programs.function"
            " analysis.evaluate ir.graph ir.value ir.nodes ir.parser ir.printer lints saving scopes"
            " planning.planner options eager.at_once errors errors.wording types.dim",
        ),
        "derivatives": (
            "Derivatives, batches, checkpoints, functions of your own",
            "programs.along_axes programs.derivatives programs.sparse programs.spellings"
            " programs.transformed functions.substitution"
            " ops.custom ops.marks functions.checkpoints.marks functions.kinks",
        ),
        "loops": ("Loops and branches", "functions.loops"),
        "creation": ("Inputs, parameters, new arrays", "functions.creation ops.positions"),
        "dtypes": ("Element types and constants", "types.dtype functions.standard ops.convert"),
        "arithmetic": (
            "Arithmetic, rounding, complex numbers",
            "ops.arithmetic functions.complex_numbers",
        ),
        "exponentials": (
            "Exponentials, logarithms, trigonometric and hyperbolic functions",
            "ops.transcendental ops.special",
        ),
        "logic": ("Comparisons and logic", "ops.logic"),
        "choices": (
            "Conditions, choices, other elementwise functions",
            "ops.selection functions.elementwise",
        ),
        "reductions": ("Sums, means, extremes", "functions.aggregate functions.missing_values"),
        "running": (
            "Running sums, differences, filters, polynomials",
            "ops.scans functions.curves functions.filters functions.tapers functions.coefficients",
        ),
        "sorting": ("Sorting, statistics, quantiles, bins", "ops.sorting functions.statistics"),
        "shapes": ("Shapes and axes", "ops.movement functions.arrange"),
        "indexing": (
            "Indexing, joining and splitting",
            "ops.indexing functions.indexing",
        ),
        "index-arrays": (
            "Arrays of indices, sets, results of a given size",
            "functions.bounded functions.index_arrays",
        ),
        "parts": ("Divisors, exponents and neighbours of numbers", "functions.whole_numbers"),
        "products": ("Products", "ops.contract functions.products"),
    },
    "sg.nn": {
        "module": (
            "Modules, linear layers, embeddings",
            "nn.module nn.layers nn.graphs nn.initial functional.layers",
        ),
        "convolutions": (
            "Convolutions and pools",
            "nn.convolutions functional.images.windows",
        ),
        "resizing": ("Resizing, grids of images", "functional.images.resizing"),
        "normalization": (
            "Normalization",
            "nn.normalization functional.normalization",
        ),
        "padding": ("Layers that pad", "nn.padding"),
        "activation-layers": ("Activations as layers", "nn.activations"),
        "activations": (
            "Activations",
            "functional.activations functions.creation ops.transcendental functional.basics",
        ),
        "recurrent": ("Recurrent networks", "nn.recurrent functional.recurrent"),
        "attention": (
            "Attention, transformers and graphs",
            "nn.transformers nn.graphs functional.attention",
        ),
        "losses": (
            "Losses",
            "nn.losses losses.margins functional.losses.basic functional.losses.further",
        ),
    },
    "sg.optim": {
        "optimizers": ("Optimizers", "optim.rules optim.variants optim.lbfgs"),
        "training": (
            "Schedules, clipping, averages, an optimizer of your own",
            "optim.schedules optim.gradients optim.averaging optim.optimizer optim.state",
        ),
    },
    "sg.stats": {
        "continuous": ("Continuous distributions", "stats.continuous"),
        "discrete": ("Distributions of whole numbers", "stats.discrete"),
        "joint": ("Distributions of vectors, matrices and classes", "stats.joint"),
        "models": (
            "Mixtures, truncation, transforms, samplers and ranks",
            "stats.compound stats.transforms stats.sampling stats.ranks",
        ),
    },
    "sg.linalg": {
        "solutions": (
            "Factors, solutions, products, norms",
            "linalg.matrices linalg.iterative functions.products ops.contract"
            " functions.indexing functions.statistics",
        ),
        "equations": (
            "Matrix equations, functions of matrices, and their forms",
            "linalg.equations linalg.decompositions linalg.subspaces",
        ),
        "structured": ("Structured matrices and tensors", "linalg.structured"),
    },
    "sg.special": {
        "elementary": (
            "Gamma, error and entropy functions",
            "ops.special ops.transcendental",
        ),
        "others": (
            "Beta, zeta, softmax, quantiles and other functions",
            "special.gamma_functions special.quantiles functions.elementwise functional.basics",
        ),
        "bessel": ("Bessel and Struve functions", "special.bessel"),
        "integrals": (
            "Integrals, hypergeometric and further functions",
            "special.integrals",
        ),
        "elliptic": ("Elliptic integrals and functions", "special.elliptic"),
        "combinatorics": ("Factorials and binomial coefficients", "special.combinatorics"),
        "kelvin": (
            "Kelvin and Wright functions, integrals of Bessel functions",
            "special.kelvin",
        ),
        "polynomials": ("Orthogonal polynomials", "special.polynomials"),
        "cumulative": ("Distribution functions and their inverses", "special.cumulative"),
        "noncentral": ("Noncentral distribution functions", "special.noncentral"),
        "waves": (
            "Parabolic cylinder, Mathieu and spheroidal wave functions",
            "special.waves",
        ),
        "quadratures": ("Nodes and weights of quadratures", "special.quadratures"),
        "constants": ("Zeros and numbers", "special.constants"),
    },
}
_ROOT: Final = Path(sg.__file__).parents[1]
_TRIED: Final = 2  # operands of a function that is tried
_TYPES: Final = (BOOL, I8, I32, I64, U8, F16, F32, F64)


def rooms() -> dict[str, Room]:
    """Assign every public name to one page of the reference."""
    everything = {"sg": tuple(sorted({*homes(FUNCTIONS), *homes(OTHERS)}))}
    for name, home in sorted(MODULES.items()):
        if name not in ("errors", "extend", "passes"):  # which have pages of their own
            everything[f"sg.{name}"] = tuple(sorted(import_module(home).__all__))
    page_rooms: dict[str, Room] = {}
    for path, names in everything.items():
        if path in SUBJECTS:
            page_rooms |= dict(_by_subject(path, names))
        else:
            page_rooms[path.removeprefix("sg.")] = (path, path, names)
    return page_rooms


def _by_subject(path: str, names: tuple[str, ...]) -> Iterator[tuple[str, Room]]:
    """Split the reference page of a module by the subjects in which its names are defined."""
    subject_of = {
        f".{module}": subject
        for subject, (_, modules) in SUBJECTS[path].items()
        for module in modules.split()
    }
    parts: dict[str, list[str]] = {subject: [] for subject in SUBJECTS[path]}
    for name in names:
        value = getattr(owner(path), name)
        module = getattr(inspect.unwrap(value) if callable(value) else value, "__module__", None)
        module = value.__name__ if inspect.ismodule(value) else module
        subjects = [s for end, s in subject_of.items() if module and module.endswith(end)]
        parts[subjects[0] if module else "dtypes"].append(name)  # pi has no module
    room = path.removeprefix("sg.")
    for subject, (title, _) in SUBJECTS[path].items():
        yield f"{room}/{subject}", (title, path, tuple(parts[subject]))


def page(room: Room, *, sources: bool = False) -> str:
    """Return the Markdown of a reference page, optionally with links to sources."""
    title, path, names = room
    room_of = owner(path)
    head = summary(room_of) if path == title else ""
    parts = [f"# {title}", *([code(head)] if head else [])]
    same = [
        name for name in names if path not in SUBJECTS and _is_of_sg(name, getattr(room_of, name))
    ]
    if same:
        parts.append("The same as in `sg`: " + ", ".join(f"`{name}`" for name in same) + ".")
    entries_here = [(name, getattr(room_of, name)) for name in names if name not in same]
    parts += [entry(f"{path}.{name}", value, sources=sources) for name, value in entries_here]
    return "\n\n".join(parts) + "\n"


def _is_of_sg(name: str, value: Any) -> bool:
    """Return whether the name is also one of ``sg``, with the same meaning."""
    counterpart = getattr(sg, name, None)
    if callable(value) and callable(counterpart):
        return inspect.unwrap(value) is inspect.unwrap(counterpart)
    return counterpart is not None and value == counterpart


def indexes() -> dict[str, str]:
    """Return index pages of the reference for prefixes with several pages."""
    pages_of_reference, index_pages = rooms(), {}
    for path, subjects in SUBJECTS.items():
        room = path.removeprefix("sg.")
        parts = [f"# {path}", *([code(summary(owner(path)))] if path != "sg" else [])]
        for subject, (title, _) in subjects.items():
            address = f"{room}/{subject}"
            rows = [
                f"| [`{name}`]({address}.md#{path}.{name}) | "
                + code(first_sentence(getattr(owner(path), name))).replace("|", r"\|")
                + " |"
                for name in pages_of_reference[address][2]
            ]
            parts += [f"## {title}", "\n".join(["| name | |", "|---|---|", *rows])]
        index_pages[room] = "\n\n".join(parts) + "\n"
    return index_pages


def summary(value: Any) -> str:
    """The first paragraph of a docstring."""
    return (inspect.getdoc(value) or "").partition("\n\n")[0]


def find(name: str) -> tuple[str, Any] | None:
    """Resolve a public name as typed (``exp``, ``sg.nn.relu``) for the reference."""
    asked = name.removeprefix("sg.").removeprefix("staticgrad.")
    for _, path, names in rooms().values():
        room = path.removeprefix("sg").removeprefix("staticgrad").removeprefix(".")
        for public_name in names:
            if asked in (public_name, f"{room}.{public_name}".lstrip(".")):
                return f"{path}.{public_name}", getattr(owner(path), public_name)
    return None


def owner(path: str) -> Any:
    """Return the module that has the names of a page: ``sg``, or one of its modules."""
    return sg if path == "sg" else import_module(MODULES.get(path.removeprefix("sg."), path))


def entry(path: str, value: Any, *, sources: bool = False) -> str:
    """Return the reference text of one public name, optionally with its source link."""
    lines = [f"## {path}"]
    if not callable(value):
        return "\n\n".join([*lines, f"`{value!r}`"])
    lines += [f"```python\n{path}{signature_text(value)}\n```", markdown(docstring(value))]
    slopes = derivatives(value, _operands(value))
    if slopes:
        lines += ["**Derivatives**"]
        lines += ["\n".join(f"- by `{name}`: `{slope}`" for name, slope in slopes.items())]
    type_lines = dtypes(value)
    if type_lines:
        lines += ["**Element types**", type_lines]
    if isinstance(value, type):
        lines += list(_methods(value))
    lines.append(_describe_source(value, sources=sources))
    return "\n\n".join(part for part in lines if part)


def _describe_source(value: Any, *, sources: bool) -> str:
    """Return the file and line where a documented function or class is defined."""
    definition = inspect.unwrap(value)
    cells = [cell.cell_contents for cell in getattr(definition, "__closure__", None) or ()]
    ops = [type(cell) for cell in cells if isinstance(cell, Op)]
    if ops or not isinstance(definition, type | FunctionType):
        # The functions of ops are closures of one factory; the class of the op says more.
        definition = (ops or [type(definition)])[0]
    import_module(definition.__module__)  # a public module: inspect looks among the imported ones
    try:
        file = Path(inspect.getsourcefile(definition) or "")
        lines, first = inspect.getsourcelines(definition)
    except (OSError, TypeError):  # a name that stands for a class of another module
        return f"*Defined in* `{definition.__module__}`"
    home = f"`{file.relative_to(_ROOT).as_posix()}`"
    if not sources:
        return f"*Defined in* {home}, line {first}"
    rows = textwrap.dedent("".join(lines)).splitlines()
    bodies = [
        node.body
        for node in ast.walk(ast.parse("\n".join(rows)))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None
    ]
    for body in sorted(bodies, key=lambda body: -body[0].lineno):
        docstring_node = body[0]
        rows[docstring_node.lineno - 1 : docstring_node.end_lineno] = (
            [] if body[1:] else [" " * docstring_node.col_offset + "..."]
        )
    text = "\n".join(rows)
    return (
        f'<details markdown="1"><summary>Source: {home}, line {first}</summary>\n\n'
        f"```python\n{text}\n```\n\n</details>"
    )


def signature_text(value: Any) -> str:
    """Format the parameters of a documented callable with their defaults."""
    if not callable(value) or (isinstance(value, type) and issubclass(value, BaseException)):
        return ""
    function: Any = value
    signature = inspect.signature(function.__init__ if isinstance(value, type) else value)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    parameters = plain[isinstance(value, type) :]  # without self
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def first_sentence(value: Any) -> str:
    """The first paragraph of a docstring in one line; of a constant what it is."""
    if not callable(value):
        return f"`{value!r}`"
    code_prefix = f"{value.code}. " if getattr(value, "code", "") else ""
    return code_prefix + " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def _methods(kind: type) -> Iterator[str]:
    """List the public methods and properties that a documented class itself defines."""
    lines = []
    for name, member in sorted(vars(kind).items()):
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if name.startswith("_") or not (inspect.isfunction(function) and function.__doc__):
            continue
        shown = name if isinstance(member, property) else f"{name}{signature_text(function)}"
        shown = shown.replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
        lines.append(f"- `{shown}`: {code(first_sentence(function))}")
    if lines:
        yield "**Methods and properties**"
        yield "\n".join(lines)


def dtypes(value: Callable[..., Any]) -> str:
    """List result types by operand type for the reference, by trying the function.

    Empty where the function takes no operands, or needs more than these to be called.
    """
    count = len(_operands(value))
    if not 0 < count <= _TRIED:
        return ""
    gives: dict[str, list[str]] = {}
    for dtype in _TYPES:
        result_type = _try_dtype(value, count, dtype)
        if result_type is None:
            continue
        pattern = result_type.replace(f"{dtype.code}[", "T[")
        gives.setdefault(pattern, []).append(dtype.code)
    operands = ", ".join(["T[n, 3]"] * count)
    return "\n".join(
        f"- {', '.join(codes)}: `{operands}` gives `{pattern}`" for pattern, codes in gives.items()
    )


def _operands(value: Callable[..., Any]) -> tuple[str, ...]:
    """Return the operand names of a function that takes arrays alone; of others none."""
    if isinstance(value, type):
        return ()
    needed = [
        p
        for p in inspect.signature(value).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)
    ]
    plain = all("ArrayLike" in str(p.annotation) and p.kind is not p.VAR_POSITIONAL for p in needed)
    return tuple(p.name for p in needed) if plain else ()


def _try_dtype(value: Callable[..., Any], count: int, dtype: DType) -> str | None:
    """Try a documented function on operands of one dtype; return its result type, or None."""
    operands = [sg.input(f"x{k}", ("n", 3), dtype) for k in range(count)]
    try:
        result = value(*operands)
    except (StaticgradError, TypeError, ValueError):
        return None
    results = result if isinstance(result, tuple | list) else [result]
    if not all(isinstance(output, sg.Value) for output in results):
        return None
    return ", ".join(str(output.type) for output in results)


def codes() -> str:
    """Return the documentation page of error codes and their classes."""
    kinds_by_code: dict[str, list[type]] = {}
    everything: Any = import_module("staticgrad.errors")
    for name in everything.__all__:
        kind = getattr(everything, name)
        if isinstance(kind, type) and "code" in vars(kind):
            kinds_by_code.setdefault(vars(kind)["code"], []).append(kind)
    parts = [
        "# Error codes",
        "Every error begins with a code, which never changes its meaning. Below 900 they are"
        " errors, from there on warnings. All derive from `sg.StaticgradError` or"
        " `sg.StaticgradWarning`, most from Python's own class of the same kind, too.",
    ]
    for number in CODES:
        parts.append(f"## {number}")
        for kind in kinds_by_code[number]:
            bases = [base.__name__ for base in kind.__mro__[1:] if base.__module__ == "builtins"]
            python = [n for n in bases if n not in ("Exception", "BaseException", "object")]
            like = f" (also {', '.join(f'`{name}`' for name in python[:2])})" if python else ""
            parts.append(f"`sg.errors.{kind.__name__}`{like}: {markdown(docstring(kind))}")
    return "\n\n".join(parts) + "\n"
