"""Write one configuration file from all sides at once: the API, the command line and a hand with an editor.

    python -m bench.config_writers --seconds 60

Every writer remembers what it was told is written. At the end all of that must be in the file, every comment too, and
at no moment may the file have been anything but a valid configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import aiohttp
from msgspec import Struct, field

from cpa.config import ConfigStore
from cpa.config.atomic import ChangedMeanwhile, write_atomically
from cpa.config.load import load_text
from cpa.daemon import Daemon

PASSWORD = "writers"
MARK = "    # by hand above this line\n"
TEXT = f"""\
# the file everybody writes
host: 127.0.0.1
port: 0
auth-dir: {{folder}}/auth
request-retry: 1   # tries

# who may ask
api-keys:
  # the first of all
  - "key-zero"   # never touched
oauth-excluded-models:
  hand:
    - h-0   # the hand's own
{MARK}
  cli:
    # the command line's
    - c-0
# the end
"""
KEPT = 20
"""Keys that each API writer leaves in the list."""


class Tally(Struct):
    """What was acknowledged, and what was seen."""

    keys: dict[int, deque[str]] = field(default_factory=dict)
    api: int = 0
    command_line: int = 0
    hand: int = 0
    hand_again: int = 0
    busy: int = 0
    reads: int = 0
    problems: list[str] = field(default_factory=list)


class Writers:
    """All of them, on one file."""

    def __init__(self, path: Path, url: str, session: aiohttp.ClientSession, until: float) -> None:
        self._path = path
        self._url = f"{url}/v0/management"
        self._session = session
        self._until = until
        self.tally = Tally()

    @property
    def running(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self._until

    async def api(self, name: int) -> None:
        """Add a key, take an old one out, set a number."""
        kept: deque[str] = deque()
        self.tally.keys[name] = kept
        number = 0
        while self.running:
            number += 1
            key = f"key-{name}-{number}"
            if await self._call("PATCH", "/api-keys", {"old": None, "new": key}):
                kept.append(key)
            if len(kept) > KEPT and await self._call("DELETE", f"/api-keys?value={kept[0]}"):
                kept.popleft()
            await self._call("PUT", "/request-retry", {"value": number % 9})

    async def _call(self, method: str, path: str, body: object = None) -> bool:
        headers = {"Authorization": PASSWORD}
        async with self._session.request(method, self._url + path, json=body, headers=headers) as answer:
            if answer.status == 409:
                self.tally.busy += 1
            elif answer.status != 200:
                self.tally.problems.append(f"{method} {path}: {answer.status} {await answer.text()}")
            self.tally.api += answer.status == 200
            return answer.status == 200

    async def command_line(self) -> None:
        """``cpa config set``, one process after the other."""
        while self.running:
            number = self.tally.command_line + 1
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cpa", "config", "set", "--config", str(self._path)),
                *(f"oauth-excluded-models.cli[{number}]", f"c-{number}"),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, told = await process.communicate()
            if process.returncode == 0:
                self.tally.command_line = number
            else:
                self.tally.problems.append(f"command line: {told.decode()}")

    async def hand(self) -> None:
        """An editor: read, think, save; it takes no lock, and notices when the file is not what it opened."""
        while self.running:
            number = self.tally.hand + 1
            while not await asyncio.to_thread(self._save, number):
                self.tally.hand_again += 1
            self.tally.hand = number
            await asyncio.sleep(0.02)

    def _save(self, number: int) -> bool:
        opened = self._path.read_bytes()
        time.sleep(0.002)
        text = opened.decode().replace(MARK, f"    - h-{number}\n{MARK}")
        try:
            write_atomically(self._path, text.encode(), expected=opened)
        except ChangedMeanwhile:
            return False
        return True

    async def reader(self) -> None:
        """Whoever reads the file finds a whole one."""
        while self.running:
            text = (await asyncio.to_thread(self._path.read_bytes)).decode()
            self._judge(text)
            self.tally.reads += 1
            await asyncio.sleep(0.01)

    def _judge(self, text: str) -> None:
        try:
            load_text(text, environ={})
        except Exception as fault:
            self.tally.problems.append(f"not valid: {fault}")
        self.tally.problems += [f"comment gone: {comment}" for comment in _comments(TEXT) if comment not in text]

    def check(self) -> None:
        """Everything acknowledged is there."""
        text = self._path.read_text()
        self._judge(text)
        config = load_text(text, environ={}).config
        wanted = {"key-zero"} | {key for kept in self.tally.keys.values() for key in kept}
        lists = config.oauth_excluded_models
        for name, there, acknowledged in (
            ("API", set(map(str, config.api_keys)), wanted),
            ("command line", set(lists["cli"]), {f"c-{n}" for n in range(self.tally.command_line + 1)}),
            ("hand", set(lists["hand"]), {f"h-{n}" for n in range(self.tally.hand + 1)}),
        ):
            if there != acknowledged:
                self.tally.problems.append(f"{name}: {sorted(there ^ acknowledged)[:10]}")


def _comments(text: str) -> list[str]:
    return ["# " + line.split("# ", 1)[1] for line in text.splitlines() if "# " in line]


async def run(folder: Path, seconds: float) -> Tally:
    """Write for a while; what came of it."""
    path = folder / "config.yaml"
    path.write_text(TEXT.format(folder=folder))
    daemon = Daemon(ConfigStore(path, {}), {}, local_password=PASSWORD)
    async with daemon, aiohttp.ClientSession() as session:
        writers = Writers(path, f"http://{daemon.addresses[0]}", session, time.monotonic() + seconds)
        async with asyncio.TaskGroup() as group:
            for name in range(3):
                group.create_task(writers.api(name))
            for writer in (writers.command_line, writers.hand, writers.reader):
                group.create_task(writer())
        writers.check()
        daemon.store.reload()
        if daemon.store.current != load_text(path.read_text(), environ={}).config:
            writers.tally.problems.append("the daemon's configuration is not the file's")
    return writers.tally


def main() -> None:
    """Print the figures; exit status 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        tally = asyncio.run(run(Path(folder), seconds))
    print(
        f"writes acknowledged in {seconds:.0f} s: API {tally.api} ({tally.busy} told to try again), "
        f"command line {tally.command_line}, hand {tally.hand} (noticed others {tally.hand_again} times); "
        f"{tally.reads} reads; {len(tally.problems)} problems"
    )
    for problem in tally.problems[:20]:
        print(" ", problem)
    sys.exit(bool(tally.problems))


if __name__ == "__main__":
    main()
