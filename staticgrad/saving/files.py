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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import ENOENT
from glob import escape
from pathlib import Path
from time import time
from typing import Any, Final
from zipfile import ZIP_STORED, BadZipFile, ZipFile
from zlib import crc32, error as zlib_error

import numpy as np

from staticgrad.errors import ArgumentError, SavedFileError
from staticgrad.extend import dataclass, quote
from staticgrad.extend.dtypes import BF16
from staticgrad.extend.optional import safetensors

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]
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


def write_file(path: Path, content: Content) -> None:
    """Write arrays and text to an npz or safetensors file, atomically."""
    check_place(path)
    for name in content.arrays:
        _check_name(name)
    write = _write_npz if _check_suffix(path) == ".npz" else _write_safetensors
    arrays = {name: _plain(array) for name, array in content.arrays.items()}
    note = json.dumps({"text": content.text, "crc32": _compute_checksum(arrays, content.text)})
    with _replace_file(path) as temporary:
        write(temporary, arrays, note)


def read_file(path: Path) -> Content:
    """Read arrays and text of an npz or safetensors file, and check their sum."""
    read = _read_npz if _check_suffix(path) == ".npz" else _read_safetensors
    arrays, note = read(path)
    if note is None:
        return Content(arrays, None)
    try:
        noted = json.loads(note)
        text, checksum = str(noted["text"]), int(noted["crc32"])
    except (ValueError, KeyError, TypeError):
        raise _refuse_damaged(path, "what it says of itself cannot be read") from None
    if _compute_checksum(arrays, text) != checksum:
        raise _refuse_damaged(path, "its contents are not those that were written")
    return Content(arrays, text)


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
        array = np.asarray(arrays[name], order="C")
        checksum = crc32(f"{name} {array.dtype.name} {array.shape}".encode(), checksum)
        checksum = crc32(array.reshape(-1).view(np.uint8).data, checksum)
    return checksum


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


def _read_npz(path: Path) -> tuple[Arrays, str | None]:
    """Read arrays and text of an npz file."""
    with path.open("rb") as file:
        try:
            with ZipFile(file) as archive:
                arrays = {
                    entry.removesuffix(".npy"): _entry(archive, entry)
                    for entry in archive.namelist()
                }
        except (
            BadZipFile,
            zlib_error,
            ValueError,
            EOFError,
            MemoryError,
            RuntimeError,
            OSError,
        ) as e:
            raise _refuse_damaged(path, str(e)) from None
    note = arrays.pop(_NOTE, None)
    return arrays, None if note is None else note.tobytes().decode(errors="replace")


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


def _read_safetensors(path: Path) -> tuple[Arrays, str | None]:
    """Read arrays and note of a safetensors file."""
    path.open("rb").close()  # the system's own error of a file that cannot be read
    # By default the whole file is mapped while it is open, which counts as memory of the process.
    major, minor, *_ = safetensors().__version__.split(".")
    options = {"backend": "pread"} if (int(major), int(minor)) >= (0, 8) else {}
    try:
        with safetensors.safe_open(str(path), "np", **options) as file:
            arrays = {name: _read_tensor(path, file, name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise _refuse_damaged(path, str(error)) from None
    return arrays, metadata.get(_NOTE)


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
