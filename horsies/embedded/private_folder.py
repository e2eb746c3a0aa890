"""Folders that belong to one user: made private, and refused where another user could replace them.

A path is safe if nobody but its owner and root can make any part of it lead elsewhere. So each folder on the way has to
belong to one of them, and others may write to it only if its sticky bit keeps them from renaming what is not theirs.
Once that holds, the path can be used again and again: no other user can swap it between two uses.
"""

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

_OWNER_ONLY = 0o700
_FILE_OF_OWNER = 0o600
_ROOT = 0


class UnsafeFolderError(PermissionError):
    """Another user could replace a folder; the message says which one, and what to do."""


def make_private(folder: Path) -> None:
    """Make a folder and the missing ones above it, each for its owner only, whatever the umask is.

    Args:
        folder: absolute. If it exists, its mode becomes 0700, and so does that of a parent named ``.horsies``.

    Raises:
        UnsafeFolderError: the folder or its parent is a symbolic link, the folder belongs to another user, or another
            user can replace a part of the path.
        OSError: a part of the path cannot be made or read.
    """
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    existing = missing[-1].parent if missing else folder.parent
    _check_no_link(folder)
    parent = folder.parent
    if parent.name == ".horsies" and parent.exists() and parent.lstat().st_uid == os.geteuid():
        parent.chmod(_OWNER_ONLY)
    _check_way_to(existing)
    for each in reversed(missing):
        with suppress(FileExistsError):  # another process was faster; the checks below apply to its folder as well
            each.mkdir(mode=_OWNER_ONLY)
    _check_no_link(folder)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        msg = f"{folder} belongs to the user {found.st_uid}, and only that user can use it: run as that user"
        raise UnsafeFolderError(msg)
    _check_way_to(parent)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    folder.chmod(_OWNER_ONLY)


def open_private(file: Path, flags: int) -> int:
    """Open a file for its owner only, made if it is missing; a symbolic link is not followed.

    Raises:
        OSError: it cannot be opened, or is a symbolic link (ELOOP).
    """
    return os.open(file, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_OF_OWNER)


def _check_way_to(folder: Path) -> None:
    """Check a folder that exists and each one above it, and the same of the place where symbolic links lead."""
    for path in dict.fromkeys((folder, Path(os.path.realpath(folder)))):
        for each in (*reversed(path.parents), path):
            _check_part(each)


def _check_part(folder: Path) -> None:
    entry = folder.lstat()
    found = folder.stat()
    for owner in (entry.st_uid, found.st_uid):
        if owner not in {_ROOT, os.geteuid()}:
            msg = f"{folder} belongs to the user {owner}, who could replace what is in it: run as that user"
            raise UnsafeFolderError(msg)
    is_open = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid))
    if is_open and not found.st_mode & stat.S_ISVTX:
        msg = f"other users can write to {folder} and replace what is in it: run: chmod go-w {folder}"
        raise UnsafeFolderError(msg)


def _check_no_link(folder: Path) -> None:
    """The folder itself must be no link; its parent may be one that root made."""
    for each in (folder.parent, folder):
        if each.is_symlink() and (each == folder or each.lstat().st_uid != _ROOT or each.name == ".horsies"):
            msg = f"{each} is a symbolic link, which is not followed: name {os.path.realpath(folder)} itself"
            raise UnsafeFolderError(msg)


def _is_private(group: int) -> bool:
    """Whether a group has no member but this user or root: the group that many systems make for each user."""
    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    is_own = group == user.pw_gid and found.gr_name == user.pw_name
    return (is_own or group == _ROOT) and set(found.gr_mem) <= {user.pw_name, "root"}
