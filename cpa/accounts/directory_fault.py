"""Why logins cannot be kept where the configuration says, in words that say what mends it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LOST = "renewed tokens cannot be kept"
ELSEWHERE = "or set auth-dir to another folder"


def directory_fault(path: Path) -> str | None:
    """What is wrong with the auth directory ``path``, and what to do; None when nothing is.

    One that is not there is well when it can be made. Blocks; nothing is changed.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _not_to_be_made(path)
    except OSError as fault:
        return f"{path} cannot be reached ({fault.strerror}): open the folders above it to this user, {ELSEWHERE}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is a file, where a folder is needed: move it away, {ELSEWHERE}"
    if not os.access(path, os.R_OK | os.X_OK):
        return f"{path} cannot be read by this user, its logins are not used: {_opened(path, status)}, {ELSEWHERE}"
    if not os.access(path, os.W_OK):
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return f"{path} is on a read-only file system, {LOST}: mount it to be written, {ELSEWHERE}"
        return f"{path} cannot be written by this user, {LOST}: {_opened(path, status)}, {ELSEWHERE}"
    return None


def _opened(path: Path, status: os.stat_result) -> str:
    """The command that makes a folder its user's."""
    if status.st_uid == os.geteuid():
        return f"chmod 700 {path}"
    return f"have its owner give it to you (chown {os.geteuid()} {path}; chmod 700 {path})"


def _not_to_be_made(path: Path) -> str | None:
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}, where no folder is: make it, {ELSEWHERE}"
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        return f"{path} cannot be made, {above} is a file: move it away, {ELSEWHERE}"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{path} cannot be made, {above} cannot be written by this user: make it yourself (mkdir), {ELSEWHERE}"
    return None
