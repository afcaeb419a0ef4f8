"""How fast the usage database is exported and taken over.

    python -m bench.usage_export DATABASE
    python -m bench.usage_export --upgrade DATABASE

The first reads every format of a database that ``bench.usage_scale --file`` made, and prints rows a second and the most
memory; the second brings a copy of a database of an earlier version up to date, and prints how long that takes.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

from bench.usage_scale import count
from cpa.usage.export import export_csv, export_json, export_jsonl
from cpa.usage.filters import EventFilter
from cpa.usage.schema import open_database, open_for_reading


def export(path: Path) -> None:
    """Read everything in each format."""
    rows = count(path)
    for make in (export_jsonl, export_csv, export_json):
        connection = open_for_reading(path)
        begun, cpu = time.monotonic(), time.process_time()
        size = sum(map(len, make(connection, EventFilter())))
        cpu, seconds = time.process_time() - cpu, time.monotonic() - begun
        connection.close()
        print(
            f"{make.__name__:14} {rows:,} rows, {size / 1e6:,.0f} MB in {seconds:.1f} s ({cpu:.1f} s CPU): "
            f"{rows / seconds:,.0f} rows/s; most memory {_memory():.0f} MB",
            flush=True,
        )


def upgrade(path: Path) -> None:
    """Bring a copy up to date."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        copy = Path(folder) / "usage.sqlite"
        shutil.copyfile(path, copy)
        before, begun, cpu = copy.stat().st_size, time.monotonic(), time.process_time()
        open_database(copy).close()
        cpu, seconds = time.process_time() - cpu, time.monotonic() - begun
        print(
            f"{count(copy):,} rows in {seconds:.1f} s ({cpu:.1f} s CPU); {before / 2**20:,.0f} MiB before, "
            f"{copy.stat().st_size / 2**20:,.0f} MiB after; most memory {_memory():.0f} MB"
        )


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--upgrade", action="store_true")
    given = parser.parse_args()
    if given.upgrade:
        upgrade(given.database)
    else:
        export(given.database)


if __name__ == "__main__":
    main()
