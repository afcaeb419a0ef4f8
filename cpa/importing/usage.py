"""Take the usage records of another installation into ours, each once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from cpa.errors import CpaError
from cpa.importing.reading import Unreadable
from cpa.usage.export import export_jsonl
from cpa.usage.filters import EventFilter
from cpa.usage.schema import open_database, transaction
from cpa.usage.transfer import Imported, import_json

PIECES = 40
"""Pieces of an export, of some hundred records each, that are handed over at a time."""

TakeIn = Callable[[bytes], Imported]
"""Takes in JSON lines."""


def take_usage(source: Path, take_in: TakeIn) -> Imported:
    """Hand every record of the database at ``source`` to ``take_in``.

    Request histories, and sums of records that were deleted there, are not among them. Raises Unreadable when it is no
    usage database, OSError when it cannot be copied, and what ``take_in`` raises.
    """
    with _copied(source) as (_, connection):
        return _hand_over(export_jsonl(connection, EventFilter()), take_in)


def adopt_database(source: Path, target: Path) -> None:
    """Make ``target``, which must not exist, what the database at ``source`` is, histories and all.

    Raises Unreadable and OSError; then there is no ``target``.
    """
    with _copied(source) as (copy, connection):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        try:
            with copy.open("rb") as whole, open(partial, "wb", opener=_private) as stream:
                shutil.copyfileobj(whole, stream, 1024 * 1024)
                stream.flush()
                os.fsync(stream.fileno())
            if target.exists():
                raise Unreadable(f"is not taken whole: there is a {target.name} now; run cpa import again")
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


@contextmanager
def _copied(source: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A copy of a database, brought up to date, and a connection to it.

    The file itself stays as it is, and its program may run meanwhile. Raises Unreadable and OSError.
    """
    with tempfile.TemporaryDirectory(prefix="cpa-import-") as folder:
        copy = Path(folder) / "usage.sqlite"
        shutil.copyfile(source, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{source}-wal", f"{copy}-wal")
        try:
            connection = open_database(copy)
        except (sqlite3.Error, CpaError) as fault:
            raise Unreadable(f"is no usage database that can be read: {fault}") from None
        try:
            yield copy, connection
        except sqlite3.Error as fault:
            raise Unreadable(f"cannot be read to its end: {fault}; stop its program and try again") from None
        finally:
            connection.close()


def _hand_over(lines: Iterator[bytes], take_in: TakeIn) -> Imported:
    done = Imported()
    while batch := b"".join(islice(lines, PIECES)):
        part = take_in(batch)
        done.added += part.added
        done.skipped += part.skipped
        done.failed += part.failed
    return done


def into_database(path: Path) -> TakeIn:
    """Takes records into a database that no daemon has open. The database is opened for each piece."""

    def take_in(content: bytes) -> Imported:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = open_database(path)

        def run(work: Callable[[sqlite3.Connection], int]) -> int:
            with transaction(connection):
                return work(connection)

        try:
            return import_json(run, content)
        finally:
            connection.close()

    return take_in
