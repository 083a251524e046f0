"""Updates of a graph that is built by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from staticgrad.functions.draws import GENERATORS
from staticgrad.ir.calls import public
from staticgrad.ir.nodes import Parameter
from staticgrad.ir.roots import check_updates
from staticgrad.ir.session import Session, traced_in


@contextmanager
@public
def updates() -> Iterator[dict[Parameter, Any]]:
    """Inside, parameters take no values: what they shall become is collected, for a graph.

    So it is of running statistics, of ``p.update(value)``, ``opt.minimize(loss)`` and the steps of
    generators; ``sg.function`` does it by itself. The dict is filled when the block ends.

    Raises:
        GraphError: a parameter is updated twice.

    >>> import numpy as np, staticgrad as sg
    >>> norm, x = sg.nn.BatchNorm1d(3), sg.input("x", ("n", 3))
    >>> with sg.nn.updates() as updates:
    ...     y = norm(x + 1.0)
    >>> f = sg.compile(sg.Graph({"y": y}, updates))
    >>> f.run({"x": np.ones((4, 3), "float32")})["y"].shape
    (4, 3)
    >>> norm.running_mean.value.round(2).tolist()
    [0.20000000298023224, 0.20000000298023224, 0.20000000298023224]
    """
    noted = Session()
    found: dict[Parameter, Any] = {}
    before = {each: each.streams for each in list(GENERATORS)}
    with traced_in(noted):
        yield found
    for each in list(GENERATORS):
        if isinstance(each.step, Parameter) and each.streams > before.get(each, 0):
            noted.updates += each.updates.items()
    check_updates(noted.updates)
    found.update(noted.updates)
