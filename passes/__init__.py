"""Passes from Graph to Graph, rewrite rules, pipelines and recomputation policies.

A pass is a frozen dataclass with a ``name``; its fields are its options. Called with a Graph it
returns a new Graph, or the very same object when it changed nothing. A pass never mutates, prints,
times or verifies: the pipeline does. Pipelines are text, ``simplify,cse,residuals``.

Passes are built on the graph, the ops and the analyses, not on the compiler, the renderers or
the runtime, and one pass imports another only to be built from it. Start reading at ``base``.
"""


def __getattr__(name: str) -> object:
    from pkgutil import iter_modules  # when a name is wrong

    from staticgrad.errors.hints import as_imported, no_such_name

    raise as_imported(no_such_name("passes", name, [m.name for m in iter_modules(__path__)]))
