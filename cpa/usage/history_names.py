"""The names under which histories are downloaded."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache

_UNSAFE = re.compile(r'[/:<>"|?*\\\s\x00-\x1f]+')


def log_name(path: str, begun: float, request_id: str, *, forced: bool) -> str:
    """The file name under which a history is downloaded."""
    return f"{'error-' if forced else ''}{_safe(path)}-{_local_second(int(begun))}-{request_id}.log"


@lru_cache(maxsize=64)
def _local_second(second: int) -> str:
    return datetime.fromtimestamp(second).strftime("%Y-%m-%dT%H%M%S")


@lru_cache(maxsize=256)
def _safe(path: str) -> str:
    return re.sub(r"-+", "-", _UNSAFE.sub("-", path.lstrip("/"))).strip("-")[:120] or "root"
