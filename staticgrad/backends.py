"""Backends: named generators of the machine code of kernels.

A backend takes a ``Kernel`` and gives ``Code``, the address of a function that runs it. ``numba``
(``compiler/by_numba``) prints a kernel as plain loops and gives them to Numba. ``vector`` writes
LLVM IR of the records of a ``nest``, the vectorized form of the same kernel, whose source is known
by its kernel, so that code on disk is found without a nest. ``auto`` is ``vector``, because it
takes a fraction of the time and imports no Numba. Results are bitwise identical.

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
from typing import TYPE_CHECKING, Any, Final, Literal

from staticgrad import native
from staticgrad.errors import ArgumentError, CompileError, ConfigError, NameConflictError
from staticgrad.errors.wording import kind_of
from staticgrad.language.calls.arguments import namespace
from staticgrad.language.ir.discovery import load_entry_points
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.native import Code, machine
from staticgrad.native.libraries import routines
from staticgrad.support import config
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.language.ir.kernels.directives import Directives
    from staticgrad.native.language.frontend import Function
    from staticgrad.native.libraries.routines import RoutineCode

__all__ = [
    "BUILT_IN",
    "Backend",
    "Code",
    "as_text",
    "backend_names",
    "begin",
    "compiled",
    "prepare",
    "register",
    "render",
    "source_of",
]

#: Where other packages announce backends; the name of an entry point is that of its backend.
ENTRY_POINTS: Final = config.BACKEND_ENTRY_POINTS


@dataclass(frozen=True)
class Backend:
    """A compiler from kernels to machine code.

    ``compile`` gives the code of a kernel, and raises CompileError for one that it does not take.
    It is asked once for equal kernels; the code is kept as long as the process lives.
    ``as_text`` gives the LLVM IR or the assembly (``"llvm"``, ``"asm"``) of a source that it has
    compiled (``Code.source``); None: it shows neither.
    """

    name: str
    compile: Callable[[Kernel], Code]
    as_text: Callable[[Any, Literal["llvm", "asm"]], str] | None = None


_registered: Final[dict[str, Backend]] = {}
_codes: Final[dict[tuple[Backend, Kernel], Code]] = {}


def register(backend: Backend) -> Backend:
    """Register a compiler backend by its name, for ``backend=`` and the setting.

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


class _NestSource(native.KernelSource):
    """A kernel as a source: its nest for a machine, made where code is generated or text is read.

    Its key is all that the nest follows from: the kernel, the machine, and the directives, where
    they are not those that the kernel has by default.
    """

    def __init__(
        self, kernel: Kernel, host: machine.Machine, directives: Directives | None = None
    ) -> None:
        super().__init__("\0".join([kernel.text, repr(directives), repr(host)]))
        self._made_of = kernel, host, directives

    @cached_property
    def text(self) -> str:
        """The nest as readable Python."""
        from staticgrad.compiler import nest  # not where the code is on disk

        return nest.print_nest(nest.lower(*self._made_of))

    def functions(self) -> Mapping[str, Function]:
        """Return the nest's functions by name; code is generated once, so no nest stays."""
        from staticgrad.compiler import nest

        return nest.functions_of(nest.lower(*self._made_of))


def source_of(
    kernel: Kernel, host: machine.Machine | None = None, directives: Directives | None = None
) -> native.KernelSource:
    """Return the source that a backend compiles for a kernel on a machine, by default this one.

    ``directives`` take the place of those that it has by default.

    Making its text or its functions raises IllegalDirectiveError for directives that are not legal,
    UnsupportedError where no nest can be written for the kernel.
    """
    return _NestSource(kernel, host or machine.current(), directives)


def render(kernel: Kernel, host: machine.Machine | None = None) -> str:
    """Return the text of a kernel for a machine, this one if it is left out."""
    return source_of(kernel, host).text


def compiled(kernel: Kernel, name: str | None = None) -> Code:
    """Return a kernel's machine code by the backend of that name; None: the setting's.

    Raises:
        CompileError: the backend does not take the kernel.
        ConfigError: there is no such backend.
        CPUError, SelfTestError, OutOfMemory: nothing can be compiled on this machine, now.
    """
    settings = config.current(backend=name)
    if not settings.jit:
        return native.kernel(source_of(kernel, machine.Machine()))  # lanes of Python: any number
    backend = _find_backend(settings.backend)
    if backend.compile is _by_vector:
        return backend.compile(kernel)  # which counts and keeps what it made, by its key
    code = _codes.get((backend, kernel))
    if code is not None:
        return native.count(replace(code, origin="memory", compile_seconds=0.0))
    return _codes.setdefault((backend, kernel), native.count(backend.compile(kernel), settings))


def as_text(compiler: str, source: str | native.KernelSource, form: Literal["llvm", "asm"]) -> str:
    """Return the LLVM IR or the assembly of a source that the backend of that name compiled.

    Raises ArgumentError where that shows neither, and for ``python``, which makes none.
    """
    backend = _registered.get(compiler)
    if backend is None or backend.as_text is None:
        raise ArgumentError(
            f"{form} is of kernels that vector or numba compiled, and this one ran by {compiler!r}",
            hint='sg.options(jit=True), or backend="auto"',
        )
    return backend.as_text(source, form)


def begin(
    kernels: Iterable[Kernel],
    name: str | None = None,
    loops: bool = False,
    is_long: Callable[[], bool] = bool,
    routines: Iterable[str] = (),
) -> Callable[[], dict[Kernel, Code]]:
    """Begin to compile kernels in one batch; return the function that returns their code.

    Some may be on disk.

    That returns their code; kernels that it lacks are left to ``compiled``. ``loops``: also compile
    the code of loops and branches. ``is_long``: tells whether a run is predicted to take long; it
    is asked if there is something to compile. ``routines``: their sources, compiled beside.

    Raises:
        ConfigError: there is no such backend.
        CPUError, SelfTestError, OutOfMemory: nothing can be compiled on this machine, now.
    """
    settings = config.current(backend=name)
    if not settings.jit or settings.backend not in ("auto", "vector"):
        return dict
    host = machine.current()
    sources = {kernel: source_of(kernel, host) for kernel in kernels}
    end = native.begin([*sources.values(), *routines], loops, is_long)

    def finish() -> dict[Kernel, Code]:
        codes = end()
        return {k: codes[source.key] for k, source in sources.items() if source.key in codes}

    return finish


def prepare(
    kernels: Iterable[Kernel],
    name: str | None = None,
    loops: bool = False,
    is_long: Callable[[], bool] = bool,
    routines: Iterable[str] = (),
) -> dict[Kernel, Code]:
    """Compile kernels in one batch and return their code: ``begin``, and its end at once."""
    return begin(kernels, name, loops, is_long, routines)()


def _find_backend(name: str) -> Backend:
    """Return the registered compiler backend of a name that the setting takes."""
    backend: object = _registered.get(name)
    if backend is None:
        for entry, loaded in load_entry_points(ENTRY_POINTS):
            if entry.name == name:
                backend = loaded
                if isinstance(loaded, Backend):
                    return _registered.setdefault(name, loaded)
    if isinstance(backend, Backend):
        return backend
    what = "nothing that can be imported" if backend is None else kind_of(backend)
    raise ConfigError(
        f"a package announces {name!r} as a backend: that is {what}",
        hint="an entry point names a backends.Backend",
    )


def _by_vector(kernel: Kernel) -> Code:
    """Compile a kernel as vector code; an error names the backend that has another form of it."""
    try:
        return native.kernel(source_of(kernel))
    except CompileError as error:
        error.hint = error.hint or 'backend="numba" compiles kernels as plain loops'
        raise


def _by_numba(kernel: Kernel) -> Code:
    from staticgrad.compiler import by_numba

    return by_numba.compile_kernel(kernel)


def _text_by_numba(source: str, form: Literal["llvm", "asm"]) -> str:
    from staticgrad.compiler import by_numba

    return by_numba.as_text(source, form)


#: The names of the backends that come with the package.
BUILT_IN: Final = tuple(
    register(backend).name
    for backend in (
        Backend("auto", _by_vector, native.as_text),
        Backend("vector", _by_vector, native.as_text),
        Backend("numba", _by_numba, _text_by_numba),
    )
)


def _make_call_of_numba(name: str) -> RoutineCode:
    from staticgrad.compiler.by_numba import calls

    return calls.make_routine(name)


def _failure_of_numba(name: str, iteration: int, how: int) -> BaseException:
    from staticgrad.compiler.by_numba import calls

    return calls.failure(name, iteration, how)


# Functions of users that Numba compiles, which steps call.
routines.register("numba", _make_call_of_numba, _failure_of_numba)


namespace(globals(), operands=None)
