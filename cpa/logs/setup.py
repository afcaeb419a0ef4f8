"""Set structlog up, once, for the daemon."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO, TextIO, cast

import orjson
import structlog

from cpa.logs.files import LogFiles
from cpa.logs.panel_line import panel_line
from cpa.logs.redaction import Secrets

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "exception": 40, "critical": 50}


class Level:
    """The level below which nothing is written; may change while the daemon runs."""

    def __init__(self) -> None:
        self.value = logging.INFO

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        """A structlog processor that drops what is below the level."""
        if _LEVELS.get(method, 20) < self.value:
            raise structlog.DropEvent
        return event


_level = Level()


def set_level(*, debug: bool) -> None:
    """Show debug lines, or not."""
    _level.value = logging.DEBUG if debug else logging.INFO
    logging.getLogger().setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A logger bound to a name.

    In a program that has not set structlog up, tracebacks are written without the values of variables: those hold
    keys.
    """
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
    readable = stream.isatty()
    journal = not readable and bool(environ.get("JOURNAL_STREAM"))
    set_level(debug=debug)
    processors: list[Any] = [
        _level,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="ts") if readable else _stamp,
    ]
    to_files = [_ToFiles(files)] if files is not None else []
    if readable:
        colors = "NO_COLOR" not in environ
        processors += [
            structlog.processors.format_exc_info,
            secrets,
            *to_files,
            _without_name,
            structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", pad_event_to=0, sort_keys=False),
        ]
    else:
        processors += [structlog.processors.format_exc_info, secrets, *to_files, _Json(journal)]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.PrintLoggerFactory(stream) if readable else _Lines(stream),
        wrapper_class=_Logger,
        cache_logger_on_first_use=False,
    )
    handler = _Routed()
    root = logging.getLogger()
    root.handlers[:] = [handler]


def _without_name(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    event.pop("logger", None)
    return event


class _ToFiles:
    """Sends lines to the log files while these are on."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        if self._files.active:
            self._files.write(panel_line(event, datetime.now()))
            raise structlog.DropEvent
        return event


def _stamp(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """The time, in UTC to the microsecond."""
    second, fraction = divmod(time.time_ns() // 1000, 1_000_000)
    event["ts"] = f"{_second(second)}.{fraction:06}Z"
    return event


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class _Json:
    """Renders one JSON line."""

    def __init__(self, journal: bool) -> None:
        self._journal = journal

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> bytes:
        try:
            line = orjson.dumps(event, default=str)
        except TypeError:  # half a character, or a number of more than 64 bits
            line = json.dumps(event, default=str).encode()
        return b"<%d>%b" % (_PRIORITIES.get(method, 6), line) if self._journal else line


class _Logger(structlog.BoundLogger):
    """A bound logger whose most frequent method goes the short way: one dictionary, every processor, one write."""

    def info(self, event: str | None = None, *arguments: Any, **fields: Any) -> Any:
        """See :meth:`structlog.BoundLogger.info`."""
        if arguments:
            return self._proxy_to_logger("info", event, *arguments, **fields)
        line: Any = {**self._context, **fields, "event": event}
        try:
            for processor in self._processors:
                line = processor(self._logger, "info", line)
        except structlog.DropEvent:
            return None
        return self._logger.info(line)


class _Lines:
    """Makes loggers that write a line to a stream at once and whole."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *arguments: Any) -> Any:
        binary = getattr(self._stream, "buffer", None)
        return structlog.BytesLogger(binary if binary is not None else cast(BinaryIO, _Encoded(self._stream)))


class _Encoded:
    """The binary side of a stream that has only a text side."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.flush = stream.flush

    def write(self, data: bytes) -> int:
        """Write whole lines."""
        return self._stream.write(data.decode())


class _Routed(logging.Handler):
    """Lines of libraries that use the standard logging module."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger().bind(logger=record.name)
        write = logger.error if record.levelno >= logging.ERROR else logger.warning
        try:
            write(record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)
