"""Compiled kernels on disk, found by content; files count only if they belong to the user.

One file per kernel, ``<installation>-<key>.kernel``: a magic line, a digest of key and rest, the
entry's name, the ELF object. No pickle. Writers replace files whole, readers verify the digest; a
file that does not verify, or stands under another's key, is compiled anew and replaced. The digest
detects damage, not another author: code of other users is kept out because folder and file must
belong to the user (``private_folder``). If the directory cannot be written, or another user could
write it, the process has no disk cache and works otherwise.

Beside them is a digest of the sources of each installation (``.sources``), which holds while no
file changes its size or its time of change: reading all sources takes longer than a small program's
entries.

The setting ``cache_size`` bounds the bytes: entries go that were not used for the longest time, and
those of other installations after a month. Processes that write at once may each exceed it by an
eighth.

**Ownership.** The folder, those above it and each file in it are checked. Kernels on disk run as
machine code, so a file is used only if no other user could have written it. The superuser can do so
anyway, so the superuser's folders and links are accepted on the way. On systems without user ids
nothing is checked.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import stat
import struct
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from staticgrad.errors import KernelCacheWarning, warn
from staticgrad.native.jit import ObjectCode
from staticgrad.native.target import Target
from staticgrad.support import config
from staticgrad.support.records import dataclass

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40  # symbolic links on one path, as in Linux
_CHECKED: Final = hasattr(os, "geteuid")


class NotPrivateError(Exception):
    """A folder or file that others could have written; carries the reason."""


def private_folder(path: Path) -> Path:
    """Return the folder of the kernel cache at ``path``, with mode 0700; links on the way are
    refused.

    It and its contents stay as they are: no mode is changed.

    Raises:
        NotPrivateError: another user owns the folder or could write in it, or could put another
            in its place.
        OSError: it cannot be made or looked at.
    """
    path = path.absolute()
    if not _CHECKED:  # pragma: no cover
        path.mkdir(parents=True, exist_ok=True)
        return path
    folder = _checked_way(path)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise NotPrivateError(f"{folder} belongs to another user")
    if status.st_mode & _OTHERS_WRITE:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise NotPrivateError(f"others may write in {folder} (mode {mode}); chmod 700 would do")
    return folder


def _checked_way(path: Path) -> Path:
    """Resolve the links of a cache path; refuse a folder on the way that others may change."""
    way = Path(path.anchor)
    status = way.stat()
    trusted = {0, os.geteuid(), status.st_uid}  # in a user namespace root may have no number
    remaining = list(reversed(path.parts[1:]))
    links = 0
    while remaining:
        if _replaceable(status):
            raise NotPrivateError(f"others may rename what is in {way}")
        part = remaining.pop()
        step = way.parent if part == ".." else way / part
        entry = _status(step)
        if entry.st_uid not in trusted:
            raise NotPrivateError(f"{step} belongs to another user")
        if stat.S_ISDIR(entry.st_mode):
            way, status = step, entry
            continue
        if not stat.S_ISLNK(entry.st_mode):
            raise NotADirectoryError(f"{step} is not a folder")
        links += 1
        if links > _MOST_LINKS:
            raise NotPrivateError(f"{path} has too many links on the way")
        target = step.readlink()
        remaining.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        if target.is_absolute():
            way = Path(target.anchor)
            status = way.stat()
    return way


def _status(path: Path) -> os.stat_result:
    """Return the status of ``path``, without following a link; make a missing folder."""
    try:
        return path.lstat()
    except FileNotFoundError:
        path.mkdir(mode=0o700, exist_ok=True)
        return path.lstat()


def _replaceable(status: os.stat_result) -> bool:
    """Return whether users besides the owner may replace files in a cache folder.

    In a sticky folder they may rename only their own files. A group whose only member is the user
    counts as the user.
    """
    mode = status.st_mode
    if not mode & _OTHERS_WRITE or mode & stat.S_ISVTX:
        return False
    return bool(mode & stat.S_IWOTH) or not _own_group(status.st_gid)


def _own_group(group: int) -> bool:
    """Return whether a group has this user as its only member (user private group)."""
    import grp
    import pwd

    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and entry.gr_name == user.pw_name and not entry.gr_mem


def read_private(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """Read a regular file of our own, of at most ``most`` bytes; return content and status.

    Raises:
        NotPrivateError: a link, another kind of file, a file that another user owns or others may
            write, or a longer one.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        if path.is_symlink():
            raise NotPrivateError(f"{path} is a link") from None
        raise
    try:
        status = os.fstat(handle)
        wrong = _wrong_with(status, most)
        if wrong:
            raise NotPrivateError(f"{path} {wrong}")
        content, left = [], status.st_size
        while left and (part := os.read(handle, left)):
            content.append(part)
            left -= len(part)
        return b"".join(content), status
    finally:
        os.close(handle)


def _wrong_with(status: os.stat_result, most: int) -> str:
    """Return why a cached file is not trusted (owner, mode, links, size); empty if it is."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if _CHECKED and status.st_uid != os.geteuid():
        return "belongs to another user"
    if _CHECKED and status.st_mode & _OTHERS_WRITE:
        return "may be written by others"
    if status.st_nlink > 1:
        return "has a second name elsewhere"
    if status.st_size > most:
        return f"has {status.st_size} bytes, and no kernel has more than {most}"
    return ""


MAGIC: Final = b"staticgrad-kernel-2\n"
SUFFIX: Final = ".kernel"
#: How files end that contain the digest of an installation's sources, one for each installation.
_NOTE: Final = ".sources"
_DIGEST_BYTES: Final = 32
_UNFINISHED: Final = ".new-"
_ABANDONED: Final = 3600.0  # seconds after which an unfinished file has no writer
_FORGOTTEN: Final = 30 * 86400.0  # seconds after which an unused entry of another installation goes
_LATELY: Final = 3600.0  # seconds for which a use of an entry is not noted again
LARGEST_ENTRY: Final = 64 * 2**20  # bytes; a kernel has thousands


@dataclass(frozen=True)
class CacheInfo:
    """The contents of the disk cache: its directory (None: no cache), files, bytes.

    ``others`` of the files belong to other installations (another version of staticgrad, Numba,
    llvmlite, NumPy or Python); ``limit`` is the setting ``cache_size``; ``refusal`` says why there
    is no directory.
    """

    directory: Path | None
    entries: int
    bytes: int
    others: int = 0
    limit: int = 0
    refusal: str = ""


@dataclass
class _Fill:
    """Bytes in a folder as this process last counted them, and bytes written since."""

    counted: int
    written: int = 0


#: The folders that this process has written into. Estimates, so that threads need no lock.
_fills: Final[dict[Path, _Fill]] = {}
_warned: Final[list[str]] = []
#: Of the files that this process writes, which have names of their own until they are whole.
_numbers: Final = itertools.count()


#: The packages whose code makes schedules and machine code.
PACKAGES: Final = ("staticgrad", "passes")
#: The folders of staticgrad whose code makes machine code of kernels, and code of the runtime.
SOURCES: Final = (
    "compiler/by_numba", "compiler/nest", "errors", "language/ir", "language/types",
    "language/vecmath", "native", "support",
)  # fmt: skip


@functools.cache
def environment() -> str:
    """Everything besides source and target that machine code depends on."""
    versions = [f"{name} {_version_of(name)}" for name in ("numba", "llvmlite")]
    python = f"python {sys.version_info.major}.{sys.version_info.minor}"
    return "|".join([*versions, f"numpy {np.__version__}", python, _digest_of_sources()])


@functools.cache
def state_of_sources(root: Path) -> str | None:
    """Digest path, size and modification time of this package's source files.

    None if they cannot be listed. ``root`` is the folder that contains the packages.
    """
    lines = []
    try:
        for package in PACKAGES:
            folders = [str(root / package)]
            for folder in folders:
                for entry in sorted(os.scandir(folder), key=lambda file: file.name):
                    if entry.name.endswith(".py"):
                        status = entry.stat()
                        lines.append(f"{entry.path} {status.st_mtime_ns} {status.st_size}")
                    elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                        folders.append(entry.path)
    except OSError:
        return None
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _digest_of_sources() -> str:
    """Digest the package's sources for cache keys; for unchanged files it is read from disk."""
    root = Path(__file__).parents[2]
    state, folder = state_of_sources(root), directory()
    if state is None or folder is None:
        return _read_sources(root)
    note = folder / f"{hashlib.blake2b(bytes(root), digest_size=16).hexdigest()}{_NOTE}"
    stored = None
    with contextlib.suppress(OSError, NotPrivateError):
        stored = _decode(state, read_private(note, LARGEST_ENTRY)[0])
    if stored is not None:
        return stored.symbol
    digest = _read_sources(root)
    _replace(folder, note, _encode(state, ObjectCode(b"", digest)))
    return digest


def _read_sources(root: Path) -> str:
    """Digest the content of the package's source files."""
    package = root / "staticgrad"
    digest = hashlib.blake2b(digest_size=16)
    for folder in SOURCES:
        # sorted: the digest must not depend on the order of the file system
        for path in sorted((package / folder).rglob("*.py")):
            name = path.relative_to(package).as_posix()
            digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _version_of(package: str) -> str:
    """Identify an installed package's release for cache keys, without importing it."""
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
    """Return the cache directory, made if needed; None without a safe, writable one.

    Reading the settings costs more than finding a kernel, so a caller that has them passes them.
    """
    return _found_directory(settings)[0]


def _found_directory(settings: config.Config | None) -> tuple[Path | None, str]:
    """The cache directory, or None and the reason."""
    chosen = (settings or config.current()).cache_dir
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    return _prepare_folder(chosen or _default_directory(), user)


@functools.cache
def _default_directory() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("staticgrad", appauthor=False))


@functools.cache
def _prepare_folder(base: Path, user: int) -> tuple[Path | None, str]:
    """Prepare the folder of the kernel cache; on failure return None and the reason."""
    try:
        return private_folder(base / "kernels"), ""
    except NotPrivateError as refusal:
        _refuse(f"no kernel cache: {refusal}")
        return None, str(refusal)
    except OSError as error:
        config.log("cache", "no kernel cache in %s: %s", base, error)
        return None, str(error)


def _refuse(text: str) -> None:
    """Warn once per process that a file of the kernel cache is not trusted; later only log."""
    if _warned:
        config.log("cache", "%s", text)
        return
    _warned.append(text)
    warn(
        KernelCacheWarning,
        f"{text}. Whoever can write there could run code as this user, so kernels are compiled"
        " anew; STATICGRAD_CACHE_DIR names another folder",
    )


@functools.cache
def _installation() -> str:
    return hashlib.blake2b(environment().encode(), digest_size=6).hexdigest()


def path_of(folder: Path, name: str) -> Path:
    """The file of the entry called ``name``."""
    return folder / f"{_installation()}-{name}{SUFFIX}"


def read(name: str, settings: config.Config | None = None) -> ObjectCode | None:
    """Read a cache entry's machine code by name; None if it is missing or does not verify.

    Warns, once per process, of an entry that is not the user's own regular file.
    """
    folder = directory(settings)
    if folder is None:
        return None
    path = path_of(folder, name)
    try:
        content, status = read_private(path, LARGEST_ENTRY)
    except FileNotFoundError:
        return None
    except NotPrivateError as refusal:
        _refuse(f"a kernel on disk is not used: {refusal}")
        return None
    except OSError as error:
        config.log("cache", "%s cannot be read: %s", path, error)
        return None
    code = _decode(name, content)
    if code is None:
        config.logger.warning("%s is damaged; the kernel is compiled anew", path)
    elif _age(status, time.time()) > _LATELY:
        with contextlib.suppress(OSError):
            os.utime(path)
    return code


def write(name: str, code: ObjectCode, settings: config.Config | None = None) -> bool:
    """Write a cache entry atomically; return False when the directory does not take it.

    Whatever stops it leaves the old entry or the new one. What a killed process left half written
    is removed by a later one.
    """
    settings = settings or config.current()
    folder = directory(settings)
    content = _encode(name, code)
    if folder is None or len(content) > min(settings.cache_size, LARGEST_ENTRY):
        return False
    stored = _replace(folder, path_of(folder, name), content)
    _evict_if_full(folder, len(content), settings.cache_size)
    return stored


def _replace(folder: Path, path: Path, content: bytes) -> bool:
    """Replace a cache file atomically; return False when the folder does not take it."""
    temporary: Path | None = None
    stored = False
    try:
        unfinished = folder / f"{_UNFINISHED}{os.getpid()}-{next(_numbers)}-{time.time_ns()}"
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        temporary = unfinished
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(handle, left) :]
        finally:
            os.close(handle)
        temporary.replace(path)
        stored = True
    except OSError as error:
        config.log("cache", "%s takes no kernels: %s", folder, error)
    finally:
        if temporary is not None and not stored:
            with contextlib.suppress(OSError):
                temporary.unlink()
    return stored


def _evict_if_full(folder: Path, added: int, limit: int) -> None:
    """Count bytes written to the kernel cache; remove old entries beyond the limit."""
    fill = _fills.get(folder)
    if fill is not None:
        fill.written += added
        if fill.counted + fill.written <= limit and fill.written <= limit // 8:
            return
    _fills[folder] = _Fill(_trim_folder(folder, limit, _FORGOTTEN)[1])


def prune(limit: int | None = None) -> int:
    """Prune the kernel cache: entries of other installations, then the longest unused ones.

    Args:
        limit: bytes that may stay; by default the setting ``cache_size``.

    Returns:
        The number of entries removed.
    """
    settings = config.current()
    folder = directory(settings)
    if folder is None:
        return 0
    _remove_folders(folder, others=True)
    return _trim_folder(folder, settings.cache_size if limit is None else limit, 0.0)[0]


def _trim_folder(folder: Path, limit: int, forgotten: float) -> tuple[int, int]:
    """Remove entries from a kernel cache folder; return how many, and the bytes left.

    It removes those of other installations unused for ``forgotten`` seconds, and the longest unused
    ones until three quarters of the limit are left, so that the next write need not count again.
    Racing processes remove the same files.
    """
    now, left, removed = time.time(), 0, 0
    candidates = []
    for path, status in _files(folder):
        age = _age(status, now)
        if path.name.startswith(_UNFINISHED):
            if age > _ABANDONED:
                _remove(path)
        elif age >= forgotten and not path.name.startswith(_installation()):
            removed += _remove(path)
        else:
            candidates.append((-age, path.name, status.st_size, path))
            left += status.st_size
    enough = limit - limit // 4 if left > limit else limit
    for _, _, size, path in sorted(candidates):
        if left <= enough:
            break
        removed += _remove(path)
        left -= size
    return removed, left


def _age(status: os.stat_result, now: float) -> float:
    """Seconds since the time of change, which is that of the last use.

    What was used in the future, before the clock was set back, is that far from use: it would stay
    as the youngest for as long, and what is used now would go in its place.
    """
    return abs(now - status.st_mtime)


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the entries and unfinished files of a kernel cache folder, with status."""
    entries = []
    with contextlib.suppress(OSError), os.scandir(folder) as inside:
        for entry in inside:
            if entry.name.endswith(SUFFIX) or entry.name.startswith(_UNFINISHED):
                with contextlib.suppress(OSError):  # another process may remove it meanwhile
                    entries.append((Path(entry.path), entry.stat(follow_symlinks=False)))
    return entries


def _remove(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.unlink()
        return True
    return False


def folder_for(compiler: str, settings: config.Config | None = None) -> Path | None:
    """Return the folder where another compiler keeps its files, one for each installation.

    None without a safe, writable one. The setting ``cache_size`` does not count its files.
    """
    folder = directory(settings)
    if folder is None:
        return None
    try:
        folder_of_installation = private_folder(folder / compiler / _installation())
        private_folder(folder_of_installation / "__pycache__")
    except (NotPrivateError, OSError) as error:
        config.log("cache", "no folder for kernels by %s: %s", compiler, error)
        return None
    return folder_of_installation


def _remove_folders(folder: Path, others: bool) -> None:
    """Remove the folders of other compilers: all, or those of other installations."""
    import shutil

    with contextlib.suppress(OSError):
        for installation in folder.glob("*/*/"):
            if not (others and installation.name == _installation()):
                shutil.rmtree(installation, ignore_errors=True)


def remember(name: str, text: str) -> None:
    """Keeps a short text (a verdict of the self-test) under a name, as an entry without code."""
    write(name, ObjectCode(b"", text))


def recall(name: str) -> str | None:
    """The text kept under a name, or None."""
    entry = read(name)
    return None if entry is None else entry.symbol


def discard(name: str) -> None:
    """Removes an entry that verified but could not be loaded."""
    folder = directory()
    if folder is not None:
        _remove(path_of(folder, name))


def info() -> CacheInfo:
    """Return the number of kernels in the disk cache, and their bytes."""
    settings = config.current()
    folder, refusal = _found_directory(settings)
    if folder is None:
        return CacheInfo(None, 0, 0, limit=settings.cache_size, refusal=refusal)
    kernels = [(path, status) for path, status in _files(folder) if path.suffix == SUFFIX]
    others = sum(not path.name.startswith(_installation()) for path, _ in kernels)
    size = sum(status.st_size for _, status in kernels)
    return CacheInfo(folder, len(kernels), size, others, settings.cache_size)


def clear() -> int:
    """Removes every entry and abandoned temporary file; returns how many kernels there were."""
    folder = directory()
    paths = [] if folder is None else [path for path, _ in _files(folder)]
    if folder is not None:
        _remove_folders(folder, others=False)
    return sum([_remove(path) and path.suffix == SUFFIX for path in paths])


def _encode(name: str, code: ObjectCode) -> bytes:
    symbol = code.symbol.encode("ascii")
    body = struct.pack("<H", len(symbol)) + symbol + code.elf
    return MAGIC + _digest(name, body) + body


def _digest(name: str, body: bytes) -> bytes:
    """A digest of an entry under its key, so that one never passes for another."""
    return hashlib.blake2b(name.encode() + b"\0" + body, digest_size=_DIGEST_BYTES).digest()


def _decode(name: str, content: bytes) -> ObjectCode | None:
    """Decode a cache entry: check magic, digest and length; None if damaged."""
    start = len(MAGIC) + _DIGEST_BYTES
    body = content[start:]
    if not content.startswith(MAGIC) or len(body) < 2:
        return None
    if _digest(name, body) != content[len(MAGIC) : start]:
        return None
    (length,) = struct.unpack_from("<H", body)
    symbol = body[2 : 2 + length]
    if len(symbol) != length or not symbol.isascii():
        return None
    return ObjectCode(body[2 + length :], symbol.decode("ascii"))
