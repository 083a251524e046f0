"""Whether files on disk are the user's own: the folder, what is above it, each file in it.

Kernels on disk run as machine code, so a file is believed only if nobody else could have put it
there or changed it. The superuser can do so anyway; his folders and links are accepted on the way.
On systems without user ids nothing is checked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40  # symbolic links on one path, as in Linux
_CHECKED: Final = hasattr(os, "geteuid")


class NotPrivateError(Exception):
    """A folder or file that others could have written; carries the reason."""


def private_folder(path: Path) -> Path:
    """The folder at ``path`` without links on the way, made if need be with mode 0700.

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
    found = _checked_way(path)
    status = found.stat()
    if status.st_uid != os.geteuid():
        raise NotPrivateError(f"{found} belongs to another user")
    if status.st_mode & _OTHERS_WRITE:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise NotPrivateError(f"others may write in {found} (mode {mode}); chmod 700 would do")
    return found


def _checked_way(path: Path) -> Path:
    """``path`` with every link resolved, each folder and link on the way checked."""
    way = Path(path.anchor)
    status = way.stat()
    trusted = {0, os.geteuid(), status.st_uid}  # in a user namespace root may have no number
    rest = list(reversed(path.parts[1:]))
    links = 0
    while rest:
        if _replaceable(status):
            raise NotPrivateError(f"others may rename what is in {way}")
        part = rest.pop()
        here = way.parent if part == ".." else way / part
        found = _status(here)
        if found.st_uid not in trusted:
            raise NotPrivateError(f"{here} belongs to another user")
        if stat.S_ISDIR(found.st_mode):
            way, status = here, found
            continue
        if not stat.S_ISLNK(found.st_mode):
            raise NotADirectoryError(f"{here} is no folder")
        links += 1
        if links > _MOST_LINKS:
            raise NotPrivateError(f"{path} has too many links on the way")
        target = here.readlink()
        rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        if target.is_absolute():
            way = Path(target.anchor)
            status = way.stat()
    return way


def _status(path: Path) -> os.stat_result:
    """The status of what is at ``path``, a link itself included; a folder is made of nothing."""
    try:
        return path.lstat()
    except FileNotFoundError:
        path.mkdir(mode=0o700, exist_ok=True)
        return path.lstat()


def _replaceable(status: os.stat_result) -> bool:
    """Whether users besides the owner may rename what lies in a folder.

    A sticky folder lets them rename only what is theirs. A group of which the user is the only
    member is the user.
    """
    mode = status.st_mode
    if not mode & _OTHERS_WRITE or mode & stat.S_ISVTX:
        return False
    return bool(mode & stat.S_IWOTH) or not _own_group(status.st_gid)


def _own_group(group: int) -> bool:
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and found.gr_name == user.pw_name and not found.gr_mem


def read_private(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """What is in a regular file of our own, of at most ``most`` bytes, with its status.

    Raises:
        NotPrivateError: a link, something that is no regular file, one that belongs to another user
            or that others may write, or a longer one.
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
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if _CHECKED and status.st_uid != os.geteuid():
        return "belongs to another user"
    if _CHECKED and status.st_mode & _OTHERS_WRITE:
        return "may be written by others"
    if status.st_nlink > 1:
        return "has a second name elsewhere"
    if status.st_size > most:
        return f"has {status.st_size} bytes, and no kernel has more than {most}"
    return ""
