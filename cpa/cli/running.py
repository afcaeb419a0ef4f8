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

from cpa.cli.options import find_config
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
    if daemon.addresses and (sys.stderr.isatty() or environ.get("CPA_HINT")):
        print(what_to_try(daemon), file=sys.stderr)
    await stopping.wait()
    await daemon.stop()
    return 0


def what_to_try(daemon: Daemon) -> str:
    """The commands to try next; they name the configuration where they would not find it by themselves."""
    config, path = daemon.store.current, daemon.store.path
    model = "demo" if daemon.catalog.get_model("demo") else "MODEL"
    address = daemon.addresses[0].replace("[::]", "127.0.0.1")
    scheme = "https" if config.tls.enable else "http"
    key = " \\\n    -H 'authorization: Bearer YOUR-KEY'" if config.api_keys else ""
    cpa = "cpa" if shutil.which("cpa") else sys.argv[0]
    file = "" if path.absolute() == find_config().absolute() else f" --config {shlex.quote(str(path))}"
    return f"""
Try it (in another terminal):
  curl {scheme}://{address}/v1/chat/completions{key} \\
    -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
  # point Claude Code at it (also: codex, gemini, openai, anthropic, google)
  {cpa} env claude{file}
  # what can be asked for
  {cpa} models{file}
  # check the set-up
  {cpa} doctor{file}
Stop with Ctrl-C. Edit the configuration while it runs:
  {path}
"""
