"""Requests as they happen: finished ones scroll by, those under way stand below them on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from cpa.cli.account_words import printable
from cpa.cli.control import follow_daemon
from cpa.cli.requests_list import clock, count, model_name, seconds, shortened, style

TICK = 1.0
SHORT_ID = 8
"""Characters of an id where there is little room: `cpa requests show` is content with them."""
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
            click.echo(_line(event, _width() if self._live else None))
            sys.stdout.flush()
        self.draw()

    def draw(self) -> None:
        """What is under way, now."""
        if not self._live:
            return
        self.clear()
        if not self._running:
            return
        now = time.time() * 1000
        under_way = [
            f"{event.get('model') or event['path']} {max(0, now - event['at_ms']) / 1000:.0f}s"
            for event in list(self._running.values())[:6]
        ]
        more = len(self._running) - len(under_way)
        text = f"… {', '.join(under_way)}{f' and {more} more' if more > 0 else ''}"
        width = _width()
        click.echo(click.style(printable(text)[: width - 1], dim=True), nl=False)
        sys.stdout.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the lower line away."""
        if self._drawn:
            click.echo("\r\033[K", nl=False)
            self._drawn = False


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _line(event: dict[str, Any], width: int | None = None) -> str:
    """A finished request; on a terminal within its ``width``: the id shorter, what is told last cut."""
    parts = _parts(event)
    if width is not None and len("  ".join(parts)) >= width:
        parts[1] = parts[1][:SHORT_ID]
    text = "  ".join(parts)
    if width is not None and len(text) >= width:
        text = f"{text[: width - 2]}…"
    status = parts[2]
    begin = len(parts[0]) + len(parts[1]) + 4
    return text[:begin] + click.style(status, fg=style(event["status"])) + text[begin + len(status) :]


def _parts(event: dict[str, Any]) -> list[str]:
    """What is told of a request: when, its id, its status, and more as far as it is known."""
    first = f"first {seconds(event['ttft_ms'])}" if "ttft_ms" in event else ""
    tokens = f"{count(event.get('input_tokens')) or 0} in {count(event.get('output_tokens')) or 0} out"
    parts = [
        clock(event["at_ms"]),
        printable(event["request_id"]),
        f"{event['status']:>3}",
        f"{seconds(event['duration_ms']):>8}",
        printable(model_name(event)),
        f"via {printable(event['account'])}" if event.get("account") else "",
        first,
        tokens if "input_tokens" in event else "",
        f"{event['attempts']} tries" if event["attempts"] > 1 else "",
        printable(shortened(event.get("error", ""))),
    ]
    return [part for part in parts if part]
