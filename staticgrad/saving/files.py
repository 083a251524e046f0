"""Arrays by name in files: npz, which NumPy reads, and safetensors, which others read as well.

A file is written beside its place and moved there when it is whole, so that what stood there stays
whatever happens. What it holds beside arrays, a text, is kept with a sum over the bytes of all
arrays, which reading checks.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from errno import ENOENT
from functools import partial
from glob import escape
from pathlib import Path
from time import time
from typing import Any, Final, Protocol
from zipfile import ZIP_STORED, BadZipFile, ZipFile
from zlib import crc32, error as zlib_error

import numpy as np

from staticgrad.errors import ArgumentError, SavedFileError
from staticgrad.extend import dataclass, quote
from staticgrad.extend.dtypes import BF16
from staticgrad.extend.optional import safetensors
from staticgrad.extend.parameters import Deferred

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]
_NOTE: Final = "__staticgrad__"
_SUFFIXES: Final = (".npz", ".safetensors")
_ABANDONED: Final = 3600.0  # seconds
#: Names that the formats use themselves, and the most bytes of a name in a zip file with ``.npy``.
_RESERVED: Final = (_NOTE, "__metadata__")
_LONGEST: Final = 2**16 - 1 - len(".npy")


@dataclass(frozen=True)
class Content:
    """The content of a file: arrays by name, and the text beside them, None in foreign files."""

    arrays: Arrays
    text: str | None


@dataclass(frozen=True)
class DeferredContent:
    """The content of an open file, whose arrays are read one at a time."""

    arrays: Mapping[str, Deferred]
    text: str | None


def write_file(path: Path, with_content: Callable[[Callable[[Content], None]], None]) -> None:
    """Write arrays and text to an npz or safetensors file, atomically.

    ``with_content`` calls what it is given with the content, which stays as it is until then.
    """
    check_place(path)
    write = _write_npz if _check_suffix(path) == ".npz" else _write_safetensors

    def write_content(content: Content) -> None:
        for name in content.arrays:
            _check_name(name)
        arrays = {name: _plain(array) for name, array in content.arrays.items()}
        checksum = _compute_checksum(arrays, content.text)
        write(temporary, arrays, json.dumps({"text": content.text, "crc32": checksum}))

    with _replace_file(path) as temporary:
        with_content(write_content)


def read_file(path: Path) -> Content:
    """Read arrays and text of an npz or safetensors file, and check their sum."""
    with _open_reader(path) as reader:
        arrays = {name: reader.read(name) for name in reader.names}
        text, checksum = _read_note(path, reader.note)
    if checksum is not None and _compute_checksum(arrays, text) != checksum:
        raise _refuse_changed(path)
    return Content(arrays, text)


@contextmanager
def open_file(path: Path) -> Iterator[DeferredContent]:
    """Yield the content of an npz or safetensors file, whose arrays can be read inside.

    Each array has been read once before: what cannot be read, and a sum that differs, are errors
    here.
    """
    with _open_reader(path) as reader:
        text, checksum = _read_note(path, reader.note)
        actual, arrays = crc32(repr(text).encode()), {}
        for name in sorted(reader.names):
            actual, arrays[name] = _look_at(reader, name, actual)
        if checksum is not None and actual != checksum:
            raise _refuse_changed(path)
        yield DeferredContent({name: arrays[name] for name in reader.names}, text)


def _look_at(reader: _Reader, name: str, checksum: int) -> tuple[int, Deferred]:
    """Return the sum with an array of a file added, and the array as one to be read again."""
    array = reader.read(name)
    deferred = Deferred(array.dtype, array.shape, partial(reader.read, name))
    return _add_array(checksum, name, array), deferred


class _Reader(Protocol):
    """An open file: the names of its arrays, a function that reads one, what it says of itself."""

    names: list[str]
    note: str | None

    def read(self, name: str) -> Any: ...


def _open_reader(path: Path) -> AbstractContextManager[_Reader]:
    is_npz = _check_suffix(path) == ".npz"
    return _NpzReader.open(path) if is_npz else _SafetensorsReader.open(path)


def _read_note(path: Path, note: str | None) -> tuple[str | None, int | None]:
    """Return text and sum of a file's note; of files without one None."""
    if note is None:
        return None, None
    try:
        noted = json.loads(note)
        return str(noted["text"]), int(noted["crc32"])
    except (ValueError, KeyError, TypeError):
        raise _refuse_damaged(path, "what it says of itself cannot be read") from None


def check_place(path: Path) -> None:
    """Raises ArgumentError for no path and no format, FileNotFoundError where no folder is."""
    _check_suffix(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, "there is no such folder", str(path.parent))


def _check_suffix(path: Path) -> str:
    """Return the suffix of a path to save or load; refuse other formats."""
    try:
        is_path = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise ArgumentError(f"{str(path)!r} has characters that no path can have")
    if path.suffix not in _SUFFIXES:
        raise ArgumentError(
            f"{path.name!r} ends in no known format",
            hint="weights.npz, or weights.safetensors, which other libraries read as well",
        )
    return path.suffix


def _check_name(name: str) -> None:
    """Refuse an array name that some file format cannot store."""
    try:
        is_name = len(name.encode()) <= _LONGEST and "\0" not in name and name not in _RESERVED
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise ArgumentError(
            f"save: an array in a file cannot have the name {quote(name)}",
            hint=f"{' and '.join(_RESERVED)} are reserved; names are text without NUL characters,"
            f" of at most {_LONGEST} bytes",
        )


def _plain(array: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """An array in C order, in the processor's order of bytes."""
    contiguous = np.asarray(array, order="C")
    return contiguous.astype(contiguous.dtype.newbyteorder("="), copy=False)


def _compute_checksum(arrays: Arrays, text: str | None) -> int:
    """Compute a checksum (CRC-32) of a saved file's text, array names, types and bytes."""
    checksum = crc32(repr(text).encode())
    for name in sorted(arrays):
        checksum = _add_array(checksum, name, arrays[name])
    return checksum


def _add_array(checksum: int, name: str, data: Any) -> int:
    """Return the checksum with an array's name, type and bytes added."""
    array = np.asarray(data, order="C")
    checksum = crc32(f"{name} {array.dtype.name} {array.shape}".encode(), checksum)
    return crc32(_bytes_of(array), checksum)


def _bytes_of(array: Any) -> memoryview:
    """The bytes of an array in C order, without a copy."""
    data: memoryview = array.reshape(-1).view(np.uint8).data
    return data


@contextmanager
def _replace_file(path: Path) -> Iterator[Path]:
    """Write a temporary file in this context, then replace ``path`` by it atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    # Remove what processes that were killed have left. A younger file may still be written.
    for left in path.parent.glob(f".{escape(path.name)}.*.tmp"):
        with suppress(OSError):
            if time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # of a folder that is read only, too
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)  # a full disk names no file, others the temporary one
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_damaged(path: Path, why: str) -> SavedFileError:
    return SavedFileError(f"{path} is damaged, or was written by something else: {why}")


def _refuse_changed(path: Path) -> SavedFileError:
    return _refuse_damaged(path, "its contents are not those that were written")


# -- npz ------------------------------------------------------------------------------------------


def _write_npz(path: Path, arrays: Arrays, note: str) -> None:
    noted = {**arrays, _NOTE: np.frombuffer(note.encode(), np.uint8)}
    with ZipFile(path, "x", ZIP_STORED) as archive:
        for name, array in noted.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
                np.lib.format.write_array(part, _bits(array), allow_pickle=False)


def _bits(array: Any) -> Any:
    """Return the words of bfloat16, which npy does not support, under a dtype name that says so."""
    return array.view(np.dtype([("bfloat16", "u2")])) if array.dtype == BF16 else array


def _values(array: Any) -> Any:
    return array.view(BF16.numpy) if array.dtype.names == ("bfloat16",) else array


class _NpzReader:
    """An open npz file."""

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[_NpzReader]:
        with path.open("rb") as file:
            with _refusing_damage(path):
                archive = ZipFile(file)
            with archive:
                yield cls(path, archive)

    def __init__(self, path: Path, archive: ZipFile) -> None:
        self._path, self._archive = path, archive
        self._entries = {entry.removesuffix(".npy"): entry for entry in archive.namelist()}
        self.names = [name for name in self._entries if name != _NOTE]
        noted = self.read(_NOTE) if _NOTE in self._entries else None
        self.note = None if noted is None else noted.tobytes().decode(errors="replace")

    def read(self, name: str) -> Any:
        with _refusing_damage(self._path):
            return _entry(self._archive, self._entries[name])


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    """Turn what reading a zip file raises inside into the error of a damaged file."""
    kinds = (BadZipFile, zlib_error, ValueError, EOFError, MemoryError, RuntimeError, OSError)
    try:
        yield
    except kinds as error:
        raise _refuse_damaged(path, str(error)) from None


def _entry(archive: ZipFile, name: str) -> Any:
    with archive.open(name) as part:
        array = np.lib.format.read_array(part, allow_pickle=False)
        if part.read(1):  # and so the sum over the entry's bytes is looked at
            raise ValueError(f"{name} is longer than its array")
    return _values(array)


# -- safetensors ----------------------------------------------------------------------------------


def _write_safetensors(path: Path, arrays: Arrays, note: str) -> None:
    """Write arrays and a note to a safetensors file."""
    save_file = safetensors("numpy").save_file
    try:
        save_file(dict(arrays), str(path), metadata={_NOTE: note, "format": "np"})
    except safetensors.SafetensorError as error:  # what the system said, in a class of its own
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise ArgumentError(f"save: {error}", hint="save as .npz") from None
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


class _SafetensorsReader:
    """An open safetensors file."""

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[_SafetensorsReader]:
        path.open("rb").close()  # the system's own error of a file that cannot be read
        # By default the whole file is mapped while it is open: that counts as the process's memory.
        major, minor, *_ = safetensors().__version__.split(".")
        options = {"backend": "pread"} if (int(major), int(minor)) >= (0, 8) else {}
        try:
            file = safetensors.safe_open(str(path), "np", **options)
        except safetensors.SafetensorError as error:
            raise _refuse_damaged(path, str(error)) from None
        with file as tensors:
            yield cls(path, tensors)

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self.names = [*file.keys()]
        self.note: str | None = (file.metadata() or {}).get(_NOTE)

    def read(self, name: str) -> Any:
        try:
            return _read_tensor(self._path, self._file, name)
        except safetensors.SafetensorError as error:
            raise _refuse_damaged(self._path, str(error)) from None


def _read_tensor(path: Path, file: Any, name: str) -> Any:
    """Return one array of an open safetensors file."""
    kind = file.get_slice(name).get_dtype()
    if kind == "BF16":
        _ = BF16.numpy  # the reader asks NumPy for the type by its name, which ml_dtypes registers
    try:
        return file.get_tensor(name)
    except (AttributeError, TypeError):
        message = f"{path} holds {name!r} of {kind}, which has no element type here"
        raise SavedFileError(message) from None
