"""Private folders: created for one user, and refused if another user could replace them.

A path is safe if only its owner and root can change where any part of it leads. So each folder on the path must belong
to one of them, and other users may have write access only if the sticky bit prevents them from renaming files of other
users. A safe path stays safe: no other user can replace a part of it between two uses.
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
    """Another user could replace a folder; the message names the folder and the fix."""


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents for the owner only, independent of the umask.

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
    """Open a file that only its owner can access, and create it if it is missing; symbolic links are not followed.

    Raises:
        OSError: it cannot be opened, or is a symbolic link (ELOOP).
    """
    return os.open(file, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_OF_OWNER)


def _check_way_to(folder: Path) -> None:
    """Check an existing folder and all its parents, and the same for the target of symbolic links."""
    for path in dict.fromkeys((folder, Path(os.path.realpath(folder)))):
        for each in (*reversed(path.parents), path):
            _check_part(each)


def _check_part(folder: Path) -> None:
    entry = folder.lstat()
    found = folder.stat()
    for owner in (entry.st_uid, found.st_uid):
        if owner not in {_ROOT, os.geteuid()}:
            msg = f"{folder} belongs to the user {owner}, who could replace its content: run as that user"
            raise UnsafeFolderError(msg)
    is_open = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid))
    if is_open and not found.st_mode & stat.S_ISVTX:
        msg = f"other users can write to {folder} and replace its content: run: chmod go-w {folder}"
        raise UnsafeFolderError(msg)


def _check_no_link(folder: Path) -> None:
    """Refuse a folder that is a symbolic link; its parent may be one if root has created it."""
    for each in (folder.parent, folder):
        if each.is_symlink() and (each == folder or each.lstat().st_uid != _ROOT or each.name == ".horsies"):
            msg = f"{each} is a symbolic link, which is not followed: name {os.path.realpath(folder)} itself"
            raise UnsafeFolderError(msg)


def _is_private(group: int) -> bool:
    """Whether a group has no members other than this user and root, as the per-user groups of many systems."""
    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    is_own = group == user.pw_gid and found.gr_name == user.pw_name
    return (is_own or group == _ROOT) and set(found.gr_mem) <= {user.pw_name, "root"}
