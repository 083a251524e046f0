"""Backends: named generators of the machine code of kernels.

A backend takes a ``Kernel`` and gives ``Code``, the address of a function that runs it. ``vector``
and ``numba`` compile the same source, ``nest``'s, which is a Numba function and runs as plain
Python, too: ``vector`` writes LLVM IR for it, ``numba`` gives it to Numba's own pipeline. ``auto``
is ``vector``, because it takes a fraction of the time and imports no Numba, and ``numba`` for
a source that ``vector`` refuses. All give the same bytes.

Another one is registered by whoever has it, or announced as an entry point of the group
``staticgrad.backends``:

    backends.register(backends.Backend("mine", compile))
    sg.compile(loss, backend="mine")

Its functions have the entry that ``staticgrad/native/vocabulary.md`` describes, and must keep
the promises about bytes by themselves. With the jit off no backend is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from staticgrad import native
from staticgrad.language.ir.discovery import announced
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.native import Code, machine
from staticgrad.support import config
from staticgrad.support.errors import ArgumentError, ConfigError, NameConflictError
from staticgrad.support.errors.hints import no_such_name
from staticgrad.support.errors.tracebacks import boundary
from staticgrad.support.errors.wording import kind_of
from staticgrad.support.records import dataclass

__all__ = [
    "Backend",
    "Code",
    "Sources",
    "backend_names",
    "compiled",
    "prepare",
    "register",
    "render",
    "sources",
]

#: Where other packages announce backends; the name of an entry point is that of its backend.
ENTRY_POINTS: Final = config.BACKEND_ENTRY_POINTS
#: What ``render`` gave, by kernel and the width of vectors that it is for.
Sources = Mapping[tuple[Kernel, int], str]


@dataclass(frozen=True)
class Backend:
    """A compiler from kernels to machine code.

    ``compile`` gives the code of a kernel, and raises CompileError for one that it does not take.
    It is asked once for equal kernels; the code is kept as long as the process lives.
    """

    name: str
    compile: Callable[[Kernel], Code]


_registered: Final[dict[str, Backend]] = {}
_codes: Final[dict[tuple[Backend, Kernel], Code]] = {}
#: Sources that were written to compile them together, until each is requested.
_rendered: Final[dict[tuple[Kernel, int], str]] = {}


def register(backend: Backend) -> Backend:
    """Register a backend by its name, for ``backend=`` and the setting.

    Raises:
        NameConflictError: another one has the name.
        ArgumentError: it is no Backend.
    """
    if not isinstance(backend, Backend):
        raise ArgumentError(
            f"register takes a Backend, not {kind_of(backend)}",
            hint="register(Backend(name, compile)); compile takes a Kernel and gives Code",
        )
    if _registered.setdefault(backend.name, backend) != backend:
        raise NameConflictError(f"there is a backend {backend.name!r} already")
    config.add_backend(backend.name)
    return backend


def backend_names() -> tuple[str, ...]:
    """The names that ``backend=`` takes: built in, registered, and announced by other packages."""
    return config.backend_names()


def render(kernel: Kernel, host: machine.Machine | None = None) -> str:
    """Return the source of a kernel for a machine, this one if it is left out."""
    from staticgrad.compiler import nest  # not where a process before has rendered

    return nest.source(kernel, host or machine.current())


def compiled(kernel: Kernel, name: str | None = None) -> Code:
    """Return the code of a kernel by the backend of that name; None: the one of the setting.

    Raises:
        CompileError: the backend does not take the kernel.
        ConfigError: there is no such backend.
        CPUError, SelfTestError, OutOfMemory: nothing can be compiled on this machine, now.
    """
    settings = config.current(backend=name)
    if not settings.jit:
        return native.kernel(render(kernel, machine.Machine()))  # Python has lanes of any number
    backend = _found(settings.backend)
    if backend.name in native.BUILT_IN:
        return backend.compile(kernel)  # which keeps what it made, by its source
    known = _codes.get((backend, kernel))
    if known is not None:
        return replace(known, origin="memory", compile_seconds=0.0)
    return _codes.setdefault((backend, kernel), backend.compile(kernel))


def sources(kernels: Iterable[Kernel], known: Sources, name: str | None = None) -> Sources:
    """Return the sources that ``prepare`` compiles for these kernels, for the target.

    ``known``: those that were rendered before, on this machine. There are none where the jit is off
    or the backend is not built in.

    Raises:
        ConfigError: there is no such backend.
        CPUError, SelfTestError, OutOfMemory: nothing can be compiled on this machine, now.
    """
    settings = config.current(backend=name)
    if not settings.jit or settings.backend not in native.BUILT_IN:
        return {}
    host = machine.current()
    wanted = [(kernel, host.vector_bits) for kernel in kernels]
    return {each: known.get(each) or render(each[0], host) for each in wanted}


def prepare(rendered: Sources, name: str | None = None, loops: bool = False) -> None:
    """Compile in one batch what ``compiled`` will request, if the backend is built in.

    ``rendered`` is what ``sources`` gave. ``loops``: and what follows loops and branches.

    Raises:
        ConfigError: there is no such backend.
        CPUError, SelfTestError, OutOfMemory: nothing can be compiled on this machine, now.
    """
    settings = config.current(backend=name)
    if not settings.jit or settings.backend not in native.BUILT_IN:
        return
    _rendered.clear()
    _rendered.update(rendered)
    built_in = next(each for each in native.BUILT_IN if each == settings.backend)
    native.prepare([*_rendered.values()], backend=built_in, loops=loops)


def _found(name: str) -> Backend:
    """The backend of a name that the setting takes."""
    found: object = _registered.get(name)
    if found is None:
        for entry, loaded in announced(ENTRY_POINTS):
            if entry.name == name:
                found = loaded
                if isinstance(loaded, Backend):
                    return _registered.setdefault(name, loaded)
    if isinstance(found, Backend):
        return found
    what = "nothing that can be imported" if found is None else kind_of(found)
    raise ConfigError(
        f"a package announces {name!r} as a backend: that is {what}",
        hint="an entry point names a backends.Backend",
    )


def _by_source(name: native.BuiltIn, kernel: Kernel) -> Code:
    bits = native.vector_bits()
    source = _rendered.pop((kernel, bits), None)
    return native.kernel(source or render(kernel), backend=name)


for _name in native.BUILT_IN:
    register(Backend(_name, partial(_by_source, _name)))


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:

    @boundary
    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.backends", name)
