"""The logger of the daemon: structlog's methods, and nothing between a call and the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Logger:
    """Hands events to what takes them: the name of the method called and one dictionary.

    An event is a text and fields: ``log.info("account added", provider="claude")``. With ``%`` in the text, positional
    arguments are put in.
    """

    __slots__ = ("_context", "_take")

    def __init__(self, take: Callable[[str, dict[str, Any]], None], context: dict[str, Any]) -> None:
        self._take = take
        self._context = context

    def bind(self, **fields: Any) -> Logger:
        """A logger whose every event has these fields too."""
        return Logger(self._take, {**self._context, **fields})

    def debug(self, event: str, *arguments: Any, **fields: Any) -> None:
        """What only helps to find a fault."""
        self._log("debug", event, arguments, fields)

    def info(self, event: str, *arguments: Any, **fields: Any) -> None:
        """What happens in the ordinary course."""
        self._log("info", event, arguments, fields)

    def warning(self, event: str, *arguments: Any, **fields: Any) -> None:
        """What somebody may want to change."""
        self._log("warning", event, arguments, fields)

    def error(self, event: str, *arguments: Any, **fields: Any) -> None:
        """What went wrong."""
        self._log("error", event, arguments, fields)

    def critical(self, event: str, *arguments: Any, **fields: Any) -> None:
        """What keeps the program from working."""
        self._log("critical", event, arguments, fields)

    def exception(self, event: str, *arguments: Any, **fields: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._log("exception", event, arguments, {"exc_info": True, **fields})

    def _log(self, method: str, event: str, arguments: tuple[Any, ...], fields: dict[str, Any]) -> None:
        self._take(method, {**self._context, **fields, "event": event % arguments if arguments else event})
