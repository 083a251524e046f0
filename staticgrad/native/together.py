"""Kernels of one program compiled together: LLVM's setting up is a tenth of what it takes apart.

Kernels that are neither in memory nor on disk become a few modules. What a module gives is kept on
disk as an entry of its own, a bundle; the entries of its kernels, and of the functions that they
share, name the bundle. Whatever stops a bundle is left to who compiles its kernels one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from staticgrad import config
from staticgrad.errors import CompileError
from staticgrad.native import cache, jit, loader
from staticgrad.native.jit import ObjectCode
from staticgrad.native.target import Target

#: Lines of LLVM IR to a module, about: an interrupt waits for one (0.3 to 0.4 s), and so does a
#: limit of memory. A module less saves 2 to 5 ms.
LONGEST: Final = 12000
#: How the content of an entry begins that names a bundle.
_NAMES: Final = b"in "


def resolved(name: str, settings: config.Config) -> ObjectCode | None:
    """The entry of a name, with the code of its bundle if it is in one."""
    found = cache.read(name, settings)
    if found is None or not found.elf.startswith(_NAMES):
        return found
    bundle = cache.read(found.elf.removeprefix(_NAMES).decode("ascii", "replace"), settings)
    return None if bundle is None else ObjectCode(bundle.elf, found.symbol)


def compiled(
    sources: Iterable[str], host: Target, settings: config.Config, beside: Mapping[str, str]
) -> dict[str, str]:
    """Compiles and loads kernels by ``vector``, several to a module; their symbols by source.

    Those that this cannot do are left out. ``beside``: further LLVM modules by their entries, which
    programs need as well and which are kept on disk by their texts.
    """
    kernels: dict[str, str] = {}
    shared: dict[str, str] = {}
    symbols: dict[str, str] = {}
    for source in sources:
        try:
            (text,), called = jit.parts(source, "vector")
        except CompileError:
            continue  # who asks for it alone is told why
        symbols[source] = jit.symbol_of(source, "vector")
        kernels[symbols[source]] = text
        shared |= called
    wanted = {name: text for name, text in shared.items() if not _is_there(name, host, settings)}
    keys = {name: cache.key(name, host) for name in wanted}
    keys |= {symbol: cache.key(f"vector\0{source}", host) for source, symbol in symbols.items()}
    keys |= {symbol: cache.key(text, host) for symbol, text in beside.items()}
    # what is shared is short, so that a second module would take longer than the higher level
    highest = max([jit.level_of([text]) for text in wanted.values()], default=1)
    modules = [(highest, texts) for texts in _parts(wanted)]
    for level, texts in (*modules, *_modules({**kernels, **beside})):  # those call what is shared
        if not _bundle(texts, level, keys, host, settings):
            break
    return {s: symbol for s, symbol in symbols.items() if loader.is_loaded(symbol, host)}


def _is_there(symbol: str, host: Target, settings: config.Config) -> bool:
    """Whether a shared function is loaded, or was now from disk."""
    if loader.is_loaded(symbol, host):
        return True
    stored = resolved(cache.key(symbol, host), settings)
    if stored is None or stored.symbol != symbol:
        return False
    try:
        return bool(loader.load(stored.elf, symbol, host))
    except CompileError:
        return False


def _modules(texts: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Texts by symbol, those that go into a module together: of one level, which stands first."""
    levels = {symbol: jit.level_of([text]) for symbol, text in texts.items()}
    for level in (1, 2):
        of_level = {symbol: text for symbol, text in texts.items() if levels[symbol] == level}
        yield from ((level, part) for part in _parts(of_level))


def _parts(texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The same of one level, none of them too long."""
    part: dict[str, str] = {}
    lines = 0
    for symbol, text in texts.items():
        if part and lines + text.count("\n") > LONGEST:
            yield part
            part, lines = {}, 0
        part[symbol] = text
        lines += text.count("\n")
    if part:
        yield part


def _bundle(
    texts: Mapping[str, str],
    level: int,
    keys: Mapping[str, str],
    host: Target,
    settings: config.Config,
) -> bool:
    """Compiles, stores and loads a module at LLVM's ``level``; whether that could be done."""
    first = next(iter(texts))
    try:
        code = jit.compile_ir([jit.merged(texts.values())], first, host, level)
        loader.load(code.elf, first, host)
    except CompileError as error:
        config.log("cache", "%d kernels are compiled one by one: %s", len(texts), error)
        return False
    if len(texts) == 1:
        cache.write(keys[first], code, settings)
        return True
    name = cache.key("\0".join(texts), host)
    if cache.write(name, code, settings):
        for symbol in texts:
            cache.write(keys[symbol], ObjectCode(_NAMES + name.encode(), symbol), settings)
    return True
