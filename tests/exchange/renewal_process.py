"""A process that renews and uses every login of a directory, over and over: ``folder url rounds``.

It prints ``ready`` once it knows the logins, waits for a line, and prints the access token of every login at its end.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson
import structlog

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(Path(__file__).parent)]
from renewing import Renewing  # noqa: E402 - the path comes first

from cpa.errors import UpstreamError  # noqa: E402 - the path comes first


async def main(folder: Path, url: str, rounds: int) -> None:
    """Renew all logins ``rounds`` times, each as often as this process finds it with the token it knows."""
    renewing = Renewing(folder, url)
    await renewing.files.load()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for _ in range(rounds):
        await asyncio.gather(*(_renew_and_use(renewing, url, name) for name in list(renewing.roster.files)))
    secrets = {name: renewing.account(name).secret for name in renewing.roster.files}
    await renewing.close()
    print(orjson.dumps(secrets).decode(), flush=True)


async def _renew_and_use(renewing: Renewing, url: str, name: str) -> None:
    account = await renewing.renewals.renew(renewing.account(name))
    if account is not None:
        headers = {"Authorization": f"Bearer {account.secret}"}
        try:
            await renewing.client.request("POST", f"{url}/use", headers=headers)
        except UpstreamError:
            return


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
