"""Requests as they happen: finished ones scroll by, those under way stand below them on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import orjson
from rich.cells import cell_len, set_cell_size

from cpa.cli.account_words import one_line
from cpa.cli.control import follow_daemon
from cpa.cli.requests_line import request_line

TICK = 1.0
Wanted = tuple[str, str, str, int | None, bool]


def watch_requests(config_path: Path, *, as_json: bool, wanted: Wanted) -> None:
    """Print requests until Ctrl-C or the end of the daemon."""
    screen = _Screen(live=sys.stdout.isatty() and not as_json)
    try:
        for event in _events(config_path, screen):
            if event["what"] == "watching":
                if not as_json:
                    click.echo("watching requests, Ctrl-C ends it", err=True)
            elif as_json:
                if _fits(event, wanted):
                    click.echo(orjson.dumps(event))
                    sys.stdout.flush()
            elif event["what"] == "begun":
                screen.begin(event)
            elif event["what"] == "finished":
                screen.end(event, shown=_fits(event, wanted))
    except KeyboardInterrupt:
        return
    finally:
        screen.clear()
    click.echo("the daemon has stopped", err=True)


def _events(config_path: Path, screen: _Screen) -> Iterator[dict[str, Any]]:
    for line in follow_daemon(config_path, "/request-feed", TICK):
        if line:
            yield orjson.loads(line)
        else:
            screen.draw()


def _fits(event: dict[str, Any], wanted: Wanted) -> bool:
    model, account, client, status, failed = wanted
    return (
        (not model or model in (event.get("model"), event.get("upstream_model")))
        and (not account or account in (event.get("account"), event.get("provider")))
        and (not client or client == event.get("client"))
        and (status is None or status == event.get("status"))
        and (not failed or event.get("status", 0) >= 400)
    )


class _Screen:
    """Finished requests above, one line that says what is under way below."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._running: dict[str, dict[str, Any]] = {}
        self._drawn = False

    def begin(self, event: dict[str, Any]) -> None:
        """A request has begun."""
        self._running[event["request_id"]] = event
        self.draw()

    def end(self, event: dict[str, Any], *, shown: bool) -> None:
        """A request is over."""
        self._running.pop(event["request_id"], None)
        self.clear()
        if shown:
            click.echo(request_line(event, _width() if self._live else None))
            sys.stdout.flush()
        self.draw()

    def draw(self) -> None:
        """What is under way, now."""
        if not self._live:
            return
        self.clear()
        if not self._running:
            return
        text = under_way(list(self._running.values()), time.time() * 1000, _width() - 1)
        click.echo(click.style(text, dim=True), nl=False)
        sys.stdout.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the lower line away."""
        if self._drawn:
            click.echo("\r\033[K", nl=False)
            self._drawn = False


def under_way(running: Sequence[dict[str, Any]], now_ms: float, width: int) -> str:
    """The requests that go on, the oldest first, as far as they have room in ``width`` columns; the others counted."""
    told = [
        one_line(f"{event.get('model') or event['path']} {max(0, now_ms - event['at_ms']) / 1000:.0f}s")
        for event in running
    ]
    for shown in range(len(told), 0, -1):
        more = f" and {len(told) - shown} more" if shown < len(told) else ""
        text = f"… {', '.join(told[:shown])}{more}"
        if cell_len(text) <= width:
            return text
    return set_cell_size(f"… {len(told)} under way", width).rstrip()


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns
