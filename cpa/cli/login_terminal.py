"""A login in front of a terminal: the page opens in a browser, or is shown; what is typed or pasted is read."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from cpa.accounts.login.callback import parse_pasted
from cpa.accounts.login.device import DeviceCode
from cpa.accounts.login.listener import CallbackListener
from cpa.errors import LoginError
from cpa.exchange.login_flow import LoginFlow
from cpa.plugins.login import Choice

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

PASTE_PROMPT_SECONDS = 15.0
"""After so long without the browser's return somebody may want to paste its address."""
BROWSER_SECONDS = 1.5
"""After so long without an error a browser counts as opened: some come back only when they are closed."""
_LONGEST_LINE = 64 * 1024


class TerminalOptions(Struct, frozen=True, kw_only=True):
    """How the terminal is used."""

    browser: bool = True
    """Whether a browser may be opened."""
    listen: bool = True
    """Whether the callback's port is listened on; else its address is pasted."""
    callback_port: int = 0
    """The port to listen on; 0 is the one of the redirect URI."""


class Terminal:
    """Shows a login on ``console`` and reads lines from standard input."""

    def __init__(self, console: Console, options: TerminalOptions, environ: Mapping[str, str] = os.environ) -> None:
        self._console = console
        self._options = options
        self._environ = environ
        self._lines = _Lines()
        self._status: Status | None = None
        self._pasting: asyncio.Task[None] | None = None
        self._redirect_port = self._listening_port = 0

    # -- what a login flow needs -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def receiving(self, flow: LoginFlow, redirect_uri: str) -> AsyncIterator[None]:
        """Listen for the browser, before it is opened, and take what is pasted. Raises LoginError."""
        parts = urlsplit(redirect_uri)
        listener = CallbackListener(parts.path, flow.deliver, flow.outcome)
        self._redirect_port = self._listening_port = parts.port or 80
        if self._options.callback_port:
            self._listening_port = self._options.callback_port
        if self._options.listen:
            await listener.start(self._listening_port)
        self._pasting = asyncio.create_task(self._take_pasted(flow))
        try:
            yield
        finally:
            self._stop_pasting()
            if self._options.listen:
                await listener.close()

    async def show_page(self, url: str) -> None:
        """Open the page, or say how to."""
        opened = self._options.browser and await self._open_browser(url)
        if opened:
            self._console.print("Your browser opens. Sign in there and agree. If it does not open, go to")
        else:
            self._console.print("Open this page in a browser, sign in and agree:")
        self._print_url(url)
        if self._options.listen and not opened:
            self._console.print(
                "Is the browser on another computer? Run this there first, then open the page there:", style="dim"
            )
            self._console.print(
                f"  {tunnel(self._redirect_port, self._listening_port, self._environ)}", soft_wrap=True, markup=False
            )

    async def show_code(self, code: DeviceCode) -> None:
        """Show the code; the page opens if that is wanted."""
        from rich.panel import Panel
        from rich.text import Text

        opened = self._options.browser and await self._open_browser(code.page)
        self._stop_status()
        self._console.print("Your browser opens. If it does not, go to" if opened else "Open this page in a browser:")
        self._print_url(code.page)
        self._console.print("and confirm this code:")
        self._console.print(Panel.fit(Text(code.user_code, style="bold"), padding=(0, 3)))
        self.progress(f"Waiting until you have confirmed the code ({code.expires_in / 60:.0f} minutes at most)")

    async def choose(self, question: str, choices: Sequence[Choice], default: str) -> str:
        """Ask by number; Enter takes the default. The value itself is taken, too."""
        from rich.markup import escape

        self._stop_status()
        self._stop_pasting()
        known = next((number for number, choice in enumerate(choices, 1) if choice.value == default), 1)
        self._console.print(f"\n[bold]{escape(question)}[/bold]")
        for number, choice in enumerate(choices, 1):
            mark = " [dim](Enter)[/dim]" if number == known else ""
            self._console.print(f"  {number}. {escape(choice.title)}{mark}")
        while True:
            self._console.print("Your choice: ", end="")
            line = await self._lines.get()
            if line is None or not line.strip():
                return choices[known - 1].value
            typed = line.strip()
            if typed.isdigit() and 1 <= int(typed) <= len(choices):
                return choices[int(typed) - 1].value
            for choice in choices:
                if typed.lower() == choice.value.lower():
                    return choice.value
            self._console.print(f"A number from 1 to {len(choices)}, please.", style="yellow")

    def progress(self, text: str) -> None:
        """Say what is being done, with a spinner where there is a terminal."""
        self._stop_status()
        self._stop_pasting()
        if self._console.is_terminal:
            from rich.text import Text

            self._status = self._console.status(Text(text))
            self._status.start()
        else:
            self._console.print(f"{text} ...", markup=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._stop_status()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _stop_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _stop_pasting(self) -> None:
        """What is typed from now on is no address."""
        if self._pasting is not None:
            self._pasting.cancel()
            self._pasting = None

    def _print_url(self, url: str) -> None:
        self._console.print(f"\n{url}\n", style="cyan", soft_wrap=True, markup=False)

    async def _take_pasted(self, flow: LoginFlow) -> None:
        """Take the address the browser ended at, when somebody pastes it; a slip is said and asked for again."""
        if self._options.listen and self._options.browser:
            await asyncio.sleep(PASTE_PROMPT_SECONDS)
        while True:
            self._console.print("Waiting for the browser. Or paste the address it ended at and press Enter:")
            line = await self._lines.get()
            if line is None:
                if not self._options.listen:
                    flow.fail(LoginError("cancelled", "nothing was pasted, and nothing listens for the browser"))
                return
            try:
                callback = parse_pasted(line)
            except LoginError as fault:
                said = str(fault)
                self._console.print(f"{said[:1].upper()}{said[1:]}.", style="yellow", markup=False)
                continue
            if callback is not None:
                flow.deliver(callback)
                return

    async def _open_browser(self, url: str) -> bool:
        """Whether a browser was started. Nothing is opened over SSH, nor a browser that would take the terminal."""
        if not has_display(self._environ):
            return False
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[bool] = loop.create_future()

        def open_page() -> None:
            started = False
            with suppress(webbrowser.Error, OSError):
                started = webbrowser.open(url)
            with suppress(RuntimeError):  # the login is over, and its loop
                loop.call_soon_threadsafe(_settle, opened, started)

        threading.Thread(target=open_page, daemon=True, name="browser").start()
        done, _ = await asyncio.wait([opened], timeout=BROWSER_SECONDS)
        return opened.result() if done else True


class _Lines:
    """Lines of standard input, read by a thread that nobody has to wait for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._started = False

    async def get(self) -> str | None:
        """The next line; None at the end of the input."""
        if not self._started:
            self._started = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), daemon=True, name="standard input").start()
        line = await self._queue.get()
        if line is None:
            self._queue.put_nowait(None)
        return line

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        pending = b""
        with suppress(OSError, ValueError, RuntimeError):  # no standard input; the loop is gone
            while piece := os.read(sys.stdin.fileno(), 4096):
                *lines, pending = (pending + piece).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(self._queue.put_nowait, line.decode("utf-8", "replace"))
                if len(pending) > _LONGEST_LINE:
                    break
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._queue.put_nowait, None)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def has_display(environ: Mapping[str, str]) -> bool:
    """Whether a browser that is opened here is seen by whoever sits at the terminal."""
    if environ.get("BROWSER"):
        return True
    if any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return False
    return sys.platform != "linux" or any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def tunnel(port: int, listening: int, environ: Mapping[str, str]) -> str:
    """The ``ssh`` command that brings a callback from another computer's browser to this one.

    There the browser comes back to ``port``, here ``listening`` is listened on.
    """
    words = environ.get("SSH_CONNECTION", "").split()
    host, ssh_port = (words[2], words[3]) if len(words) == 4 else (_own_address(), "22")
    other = f" -p {ssh_port}" if ssh_port != "22" else ""
    return f"ssh -N -L {port}:127.0.0.1:{listening} {_user()}@{host}{other}"


def _own_address() -> str:
    """The address of the interface that leads outside; nothing is sent for it."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737)
            return str(probe.getsockname()[0])
    except OSError:
        return "<server>"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "<user>"
