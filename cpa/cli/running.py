"""The daemon in the foreground: until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from cpa.config import ConfigStore
from cpa.config.environment import with_dotenv
from cpa.daemon import Daemon
from cpa.logs import LogFiles, Secrets, setup_logging

LAST_WRITE_SECONDS = 0.5
"""What is recorded already may take so long to be written when somebody insists on an end."""


async def run_daemon(path: Path, environ: Mapping[str, str] = os.environ, *, local_password: str = "") -> int:
    """Run until a signal asks to stop; the exit status. Raises ConfigError and OSError when it cannot start."""
    environ = with_dotenv(environ)
    store = ConfigStore(path, environ)
    secrets = Secrets()
    files = LogFiles()
    setup_logging(secrets, debug=store.current.debug, environ=environ, files=files)
    daemon = Daemon(store, environ, secrets, local_password=local_password, log_files=files)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            daemon.usage.flush(LAST_WRITE_SECONDS)
            os._exit(0)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    daemon.on_silence = stopping.set
    await daemon.start()
    _hint(daemon, environ)
    await stopping.wait()
    await daemon.stop()
    return 0


def _hint(daemon: Daemon, environ: Mapping[str, str]) -> None:
    """What to try next, for somebody who started it by hand (on a terminal, or with ``CPA_HINT`` set)."""
    if not (sys.stderr.isatty() or environ.get("CPA_HINT")) or not daemon.addresses:
        return
    model = "demo" if daemon.catalog.get_model("demo") else "MODEL"
    address = daemon.addresses[0].replace("[::]", "127.0.0.1")
    key = " -H 'authorization: Bearer YOUR-KEY'" if daemon.store.current.api_keys else ""
    cpa = "cpa" if shutil.which("cpa") else sys.argv[0]
    file = "" if daemon.store.path == Path("config.yaml") else f" --config {shlex.quote(str(daemon.store.path))}"
    print(
        f"""
Try it (in another terminal):
  curl http://{address}/v1/chat/completions -H 'content-type: application/json'{key} \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
  {cpa} env claude{file}    point Claude Code at it (also: codex, gemini, openai, anthropic, google)
  {cpa} models{file}    what can be asked for
  {cpa} doctor{file}    check the set-up
Stop with Ctrl-C. Edit the configuration while it runs: {daemon.store.path}
""",
        file=sys.stderr,
    )
