"""What somebody at a terminal types belongs to what was asked last."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from cpa.accounts.login.callback import Callback
from cpa.accounts.login.device import DeviceCode
from cpa.cli.login_terminal import Terminal, TerminalOptions
from cpa.plugins.login import Choice

CHOICES = [Choice("p1", "One [bold]"), Choice("p2", "Two")]


class Flow:
    """Takes what a terminal delivers."""

    def __init__(self) -> None:
        self.got: list[Callback] = []
        self.faults: list[Exception] = []

    def deliver(self, callback: Callback) -> bool:
        self.got.append(callback)
        return True

    def fail(self, fault: Exception) -> None:
        self.faults.append(fault)

    async def outcome(self) -> Any:
        return "success"


class Typist:
    """Standard input that is typed into, and what the terminal shows."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self.stdin = os.fdopen(reading, "rb")
        self.shown = io.StringIO()

    def type(self, text: str) -> None:
        os.write(self._writing, text.encode())

    def terminal(self, **options: Any) -> Terminal:
        console = Console(file=self.shown, width=100, emoji=False, highlight=False)
        return Terminal(console, TerminalOptions(**options), {"SSH_CONNECTION": "10.0.0.9 1 10.0.0.5 22"})

    async def wait_for(self, text: str) -> None:
        for _ in range(200):
            if text in self.shown.getvalue():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.shown.getvalue())

    def close(self) -> None:
        os.close(self._writing)


@pytest.fixture
def typist(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typist]:
    typist = Typist()
    monkeypatch.setattr("sys.stdin", typist.stdin)
    yield typist
    typist.close()


async def test_an_answer_to_a_question_is_not_taken_for_an_address(typist: Typist) -> None:
    terminal, flow = typist.terminal(browser=False), Flow()
    async with terminal.receiving(flow, "http://localhost:0/cb"):  # type: ignore[arg-type]
        await typist.wait_for("paste the address")
        typist.type("nonsense\n")
        await typist.wait_for("That is no callback URL")
        terminal.progress("Asking Google for your projects")
        asking = asyncio.create_task(terminal.choose("Which project?", CHOICES, "p1"))
        await typist.wait_for("One [bold]")
        typist.type("9\n")
        await typist.wait_for("A number from 1 to 2")
        typist.type("2\n")
        assert await asking == "p2"
        for typed, chosen in (("P1\n", "p1"), ("\n", "p2")):
            typist.type(typed)
            assert await terminal.choose("Again?", CHOICES, "p2") == chosen
    assert flow.got == []


async def test_a_pasted_address_ends_the_wait(typist: Typist) -> None:
    terminal, flow = typist.terminal(browser=False, listen=False), Flow()
    async with terminal.receiving(flow, "http://localhost:0/cb"):  # type: ignore[arg-type]
        typist.type("\n  http://localhost/cb?code=c&state=s \n")
        for _ in range(200):
            if flow.got:
                break
            await asyncio.sleep(0.01)
    assert flow.got == [Callback(code="c", state="s")]


async def test_without_an_input_nothing_is_waited_for_where_nothing_listens(
    typist: Typist, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    monkeypatch.setattr("sys.stdin", nothing)
    for listens in (False, True):
        terminal, flow = typist.terminal(browser=False, listen=listens), Flow()
        async with terminal.receiving(flow, "http://localhost:0/cb"):  # type: ignore[arg-type]
            await asyncio.sleep(0.1)
        assert len(flow.faults) == (0 if listens else 1)
        assert await terminal.choose("Which?", CHOICES, "p2") == "p2"
    nothing.close()


async def test_a_code_and_its_page_are_shown_and_no_browser_opens_over_ssh(typist: Typist) -> None:
    terminal = typist.terminal()
    page = "https://x.example/confirm?code=[red]AB"
    await terminal.show_code(DeviceCode(verification_uri=page, user_code="AB-CD", expires_in=600.0))
    terminal.close()
    shown = typist.shown.getvalue()
    assert "Open this page in a browser" in shown
    assert page in shown
    assert "│   AB-CD   │" in shown
    assert "10 minutes at most" in shown
