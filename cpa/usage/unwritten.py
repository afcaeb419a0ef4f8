"""Events that could not be written before the daemon ended: kept in a file beside the database, taken in later."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from msgspec import ValidationError, convert, to_builtins

from cpa.usage.event import Event
from cpa.usage.insert import insert_possible

BATCH = 1000


def unwritten_file(database: Path) -> Path:
    """Where the events of a database wait."""
    return database.with_name(f"{database.name}.unwritten.jsonl")


def leave(database: Path, events: Sequence[Event], log: Any) -> None:
    """Append events, which have keys; what cannot be kept is said in the log."""
    path = unwritten_file(database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
        with path.open("ab") as stream:
            stream.writelines(orjson.dumps(to_builtins(event)) + b"\n" for event in events)
        log.error("usage that could not be recorded is kept in a file", path=str(path), events=len(events))
    except OSError as fault:
        log.error("usage is lost", events=len(events), reason=str(fault))


def take_in(database: Path, connection: sqlite3.Connection, log: Any) -> None:
    """Write what waits in the file, then delete it. A line cut off by a full disk is left out. Raises sqlite3.Error."""
    path = unwritten_file(database)
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as fault:
        log.error("usage that waits in a file cannot be read", path=str(path), reason=str(fault))
        return
    events = [event for event in map(_event, lines) if event is not None]
    now_ms = int(time.time() * 1000)
    batches = [events[at : at + BATCH] for at in range(0, len(events), BATCH)]
    rejected = sum(insert_possible(connection, batch, now_ms) for batch in batches)
    lost = len(lines) - len(events) + rejected
    log.info("usage that waited in a file is recorded", path=str(path), events=len(events) - rejected, unreadable=lost)
    path.unlink(missing_ok=True)


def _event(line: bytes) -> Event | None:
    try:
        return convert(orjson.loads(line), Event)
    except (orjson.JSONDecodeError, ValidationError):
        return None
