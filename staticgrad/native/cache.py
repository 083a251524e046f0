"""Compiled kernels on disk, found by content.

One file per kernel, ``<key>.kernel``: a magic line, a digest of the rest, the entry's name, the
ELF object. No pickle. Writers replace files whole, readers verify the digest; a file that does
not verify is compiled anew and replaced. A directory that cannot be written, or that another
user could write, leaves the process without a disk cache and otherwise unharmed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import struct
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from staticgrad import config
from staticgrad.native.jit import ObjectCode
from staticgrad.native.target import Target

MAGIC: Final = b"staticgrad-kernel-1\n"
SUFFIX: Final = ".kernel"
_DIGEST_BYTES: Final = 32
_UNFINISHED: Final = ".new-"
_ABANDONED: Final = 3600.0  # seconds after which an unfinished file has no writer


@dataclass(frozen=True)
class CacheInfo:
    """What the disk cache holds: its directory (None: no cache), files, bytes."""

    directory: Path | None
    entries: int
    bytes: int


@functools.cache
def environment() -> str:
    """Everything besides source and target that machine code depends on."""
    package = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(package.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    versions = [f"{name} {_version_of(name)}" for name in ("numba", "llvmlite")]
    python = f"python {sys.version_info.major}.{sys.version_info.minor}"
    return "|".join([*versions, f"numpy {np.__version__}", python, digest.hexdigest()])


def _version_of(package: str) -> str:
    """What tells one release of an installed package from another, without importing it."""
    spec = find_spec(package)
    if spec is not None and spec.origin is not None:
        with contextlib.suppress(OSError):  # both generate this file; reading it takes microseconds
            content = Path(spec.origin).with_name("_version.py").read_bytes()
            return hashlib.blake2b(content, digest_size=8).hexdigest()
    from importlib import metadata  # loads half of the standard library

    return metadata.version(package)


def key(source: str, target: Target) -> str:
    """The name of a source's entry on this installation and machine."""
    text = "\0".join([environment(), target.key, source])
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def directory(settings: config.Config | None = None) -> Path | None:
    """The cache directory, made if need be; None when there is no safe, writable one.

    Reading the settings costs more than finding a kernel, so a caller who has them passes them.
    """
    chosen = (settings or config.current()).cache_dir
    return _prepared(chosen or _default_directory())


@functools.cache
def _default_directory() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("staticgrad", appauthor=False))


@functools.cache
def _prepared(base: Path) -> Path | None:
    path = base / "kernels"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        config.log("cache", "no kernel cache in %s: %s", path, error)
        return None
    if hasattr(os, "getuid"):
        if status.st_uid != os.getuid():
            config.log("cache", "no kernel cache in %s: it belongs to another user", path)
            return None
        if stat.S_IMODE(status.st_mode) & 0o077:
            with contextlib.suppress(OSError):
                path.chmod(0o700)
    return path


def read(name: str, settings: config.Config | None = None) -> ObjectCode | None:
    """The entry called ``name``; None when there is none or it does not verify."""
    folder = directory(settings)
    if folder is None:
        return None
    path = folder / (name + SUFFIX)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        config.log("cache", "%s cannot be read: %s", path, error)
        return None
    found = _decode(content)
    if found is None:
        config.logger.warning("%s is damaged; the kernel is compiled anew", path)
    return found


def write(name: str, code: ObjectCode, settings: config.Config | None = None) -> bool:
    """Stores an entry, replacing the file whole; False when the directory does not take it.

    Whatever stops it leaves the old entry or the new one. What a killed process left half written
    is removed by a later one.
    """
    folder = directory(settings)
    if folder is None:
        return False
    temporary: Path | None = None
    stored = False
    try:
        import tempfile  # a warm start writes nothing

        _sweep(folder)
        handle, path = tempfile.mkstemp(dir=folder, prefix=_UNFINISHED)
        temporary = Path(path)
        with os.fdopen(handle, "wb") as stream:
            stream.write(_encode(code))
        temporary.replace(folder / (name + SUFFIX))
        stored = True
    except OSError as error:
        config.log("cache", "%s takes no kernels: %s", folder, error)
    finally:
        if temporary is not None and not stored:
            with contextlib.suppress(OSError):
                temporary.unlink()
    return stored


@functools.cache
def _sweep(folder: Path) -> None:
    """Removes unfinished files that nobody can be writing any more; once per process."""
    for path in folder.glob(_UNFINISHED + "*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def remember(name: str, text: str) -> None:
    """Keeps a short text (a verdict of the self-test) under a name, as an entry without code."""
    write(name, ObjectCode(b"", text))


def recall(name: str) -> str | None:
    """The text kept under a name, or None."""
    found = read(name)
    return None if found is None else found.symbol


def discard(name: str) -> None:
    """Removes an entry that verified but could not be loaded."""
    folder = directory()
    if folder is not None:
        with contextlib.suppress(OSError):
            (folder / (name + SUFFIX)).unlink()


def info() -> CacheInfo:
    """How many kernels the cache directory holds, and their bytes."""
    folder = directory()
    if folder is None:
        return CacheInfo(None, 0, 0)
    sizes = []
    for path in folder.glob("*" + SUFFIX):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_size)
    return CacheInfo(folder, len(sizes), sum(sizes))


def clear() -> int:
    """Removes every entry and abandoned temporary file; returns how many kernels there were."""
    folder = directory()
    removed = 0
    for path in (
        [] if folder is None else [*folder.glob("*" + SUFFIX), *folder.glob(_UNFINISHED + "*")]
    ):
        with contextlib.suppress(OSError):
            path.unlink()
            removed += path.suffix == SUFFIX
    return removed


def _encode(code: ObjectCode) -> bytes:
    symbol = code.symbol.encode("ascii")
    body = struct.pack("<H", len(symbol)) + symbol + code.elf
    return MAGIC + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def _decode(content: bytes) -> ObjectCode | None:
    start = len(MAGIC) + _DIGEST_BYTES
    body = content[start:]
    if not content.startswith(MAGIC) or len(body) < 2:
        return None
    digest = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
    if digest != content[len(MAGIC) : start]:
        return None
    (length,) = struct.unpack_from("<H", body)
    return ObjectCode(body[2 + length :], body[2 : 2 + length].decode("ascii"))
