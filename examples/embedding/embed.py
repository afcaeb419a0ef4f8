"""Run cpa inside another asyncio program, ask it something, and stop it.

python examples/embedding/embed.py
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import aiohttp

from cpa.config import Config, ConfigStore
from cpa.daemon import Daemon

CONFIG = """
host: 127.0.0.1
port: 0            # any free port
auth-dir: {folder}/auth
api-keys: [my-client-key]
"""


def on_change(old: Config, new: Config) -> None:
    """Called after every change of the file, with both configurations."""
    print("debug is now", new.debug)


async def main() -> str:
    """Start, ask the built-in demo model, change the configuration, stop. Gives the answer's text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(CONFIG.format(folder=folder))
        store = ConfigStore(path)
        store.subscribe(on_change)
        async with Daemon(store) as daemon, aiohttp.ClientSession() as session:
            url = f"http://{daemon.addresses[0]}/v1/chat/completions"
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
            headers = {"Authorization": "Bearer my-client-key"}
            async with session.post(url, json=body, headers=headers) as answer:
                reply = await answer.json()
            path.write_text(path.read_text() + "debug: true\n")
            store.reload()
        text: str = reply["choices"][0]["message"]["content"]
        print(text)
        return text


if __name__ == "__main__":
    asyncio.run(main())
