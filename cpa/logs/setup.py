"""Where log lines go and what they look like; set up once, for the daemon.

Lines of the daemon take a short way of their own (:mod:`cpa.logs.logger`). structlog is imported where it is asked for:
to print to a terminal, and for programs and plugins that use it themselves. It draws rich and pygments in, which would
be four megabytes of a daemon that writes JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

import orjson

from cpa.logs.files import LogFiles
from cpa.logs.logger import Logger
from cpa.logs.panel_line import panel_line
from cpa.logs.redaction import Secrets

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "exception": 40, "critical": 50}
_LEVEL_NAMES = {"warn": "warning", "exception": "error"}
"""Method -> level, where the two have different names."""


class Lines:
    """Takes the events of all loggers: drops those below the level, masks secrets, writes to a stream or the files."""

    def __init__(self, secrets: Secrets, files: LogFiles | None, stamp: Callable[[], str], write: _Write) -> None:
        self.level = logging.INFO
        self._secrets = secrets
        self._files = files
        self._stamp = stamp
        self._write = write

    def __call__(self, method: str, event: dict[str, Any]) -> None:
        """Take one event (``event`` is its text, the other members its fields); it may be changed."""
        if _LEVELS.get(method, logging.INFO) < self.level:
            return
        event["level"] = _LEVEL_NAMES.get(method, method)
        event["ts"] = self._stamp()
        if "exc_info" in event:
            _tell_exception(event)
        event = self._secrets(None, method, event)
        if self._files is not None and self._files.active:
            self._files.write(panel_line(event, datetime.now()))
        else:
            self._write(method, event)


_Write = Callable[[str, dict[str, Any]], None]


class _Setup:
    """What was set up in this process; nothing until ``setup_logging``."""

    lines: Lines | None = None


def set_level(*, debug: bool) -> None:
    """Show debug lines, or not."""
    if _Setup.lines is not None:
        _Setup.lines.level = logging.DEBUG if debug else logging.INFO
    logging.getLogger().setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A logger bound to a name, with structlog's methods.

    In a program that has not called ``setup_logging`` it is a structlog logger. Unless that program has set structlog
    up, tracebacks are written without the values of variables: those hold keys.
    """
    if _Setup.lines is not None:
        return Logger(_Setup.lines, {"logger": name})
    import structlog

    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
                structlog.processors.format_exc_info,
                structlog.dev.ConsoleRenderer(colors=False, timestamp_key="ts", pad_event_to=0, sort_keys=False),
            ]
        )
    return structlog.get_logger().bind(logger=name)


def setup_logging(
    secrets: Secrets,
    *,
    debug: bool = False,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    files: LogFiles | None = None,
) -> None:
    """Readable lines on a terminal, JSON lines otherwise, with ``<priority>`` in front under journald.

    While ``files`` are active, lines go there and nowhere else.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        write, stamp = _readable(stream, colors="NO_COLOR" not in environ), _clock
    else:
        write, stamp = _json_lines(stream, journal=bool(environ.get("JOURNAL_STREAM"))), _stamp
    _Setup.lines = Lines(secrets, files, stamp, write)
    set_level(debug=debug)
    logging.getLogger().handlers[:] = [_Routed()]
    if "structlog" in sys.modules:
        _take_structlog(_Setup.lines)


def take_structlog() -> None:
    """Let lines of code that uses structlog itself go the way of all others, unless it has set structlog up."""
    if _Setup.lines is not None and "structlog" in sys.modules:
        import structlog

        if not structlog.is_configured():
            _take_structlog(_Setup.lines)


def _take_structlog(lines: Lines) -> None:
    import structlog

    def hand_over(logger: Any, method: str, event: Any) -> Any:
        lines(method, event)
        raise structlog.DropEvent

    structlog.configure(processors=[hand_over], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)


def reset_logging() -> None:
    """Forget what ``setup_logging`` set up, apart from the handler of the standard logging module."""
    _Setup.lines = None


def _readable(stream: TextIO, *, colors: bool) -> _Write:
    """Writes lines for people."""
    import structlog

    render = structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", pad_event_to=0, sort_keys=False)

    def write(method: str, event: dict[str, Any]) -> None:
        event.pop("logger", None)
        print(render(None, method, event), file=stream, flush=True)

    return write


def _json_lines(stream: TextIO, *, journal: bool) -> _Write:
    """Writes one JSON object per line, at once and whole."""
    binary = getattr(stream, "buffer", None)

    def write(method: str, event: dict[str, Any]) -> None:
        try:
            line = orjson.dumps(event, default=str, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # half a character, or a number of more than 64 bits
            line = json.dumps(event, default=str).encode() + b"\n"
        if journal:
            line = b"<%d>%b" % (_PRIORITIES.get(method, 6), line)
        if binary is not None:
            binary.write(line)
        else:
            stream.write(line.decode())
        stream.flush()

    return write


def _clock() -> str:
    """The local time of day."""
    return time.strftime("%H:%M:%S")


def _stamp() -> str:
    """The time, in UTC to the microsecond."""
    second, fraction = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(second)}.{fraction:06}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _tell_exception(event: dict[str, Any]) -> None:
    """Replace ``exc_info`` (an exception, what ``sys.exc_info`` returns, or true for the present one) by its text."""
    told = event.pop("exc_info")
    if isinstance(told, tuple):
        fault = told[1]
    else:
        fault = told if isinstance(told, BaseException) else sys.exc_info()[1] if told else None
    if fault is not None:
        event["exception"] = "".join(traceback.format_exception(fault)).rstrip("\n")


class _Routed(logging.Handler):
    """Lines of libraries that use the standard logging module."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = get_logger(record.name)
        write = logger.error if record.levelno >= logging.ERROR else logger.warning
        try:
            write(record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)
