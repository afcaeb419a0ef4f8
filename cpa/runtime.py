"""Where the owner of a running daemon reaches it: a socket that only the owner can open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path


def control_socket(config_path: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The control socket of the daemon that serves a configuration file.

    In ``RUNTIME_DIRECTORY`` (set by systemd), else in ``XDG_RUNTIME_DIR``, else in a folder of this user's below the
    temporary directory.
    """
    name = sha256(os.fsencode(os.path.realpath(config_path))).hexdigest()[:16] + ".sock"
    return _folder(environ) / name


def _folder(environ: Mapping[str, str]) -> Path:
    if given := environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    if given := environ.get("XDG_RUNTIME_DIR", ""):
        return Path(given) / "cpa"
    return Path(tempfile.gettempdir()) / f"cpa-{os.getuid()}"
