"""Application logs: readable on a terminal, JSON otherwise, secrets masked."""

from cpa.logs.files import LogFiles, log_folder
from cpa.logs.redaction import Secrets
from cpa.logs.setup import get_logger, reset_logging, set_level, setup_logging, take_structlog

__all__ = [
    "LogFiles",
    "Secrets",
    "get_logger",
    "log_folder",
    "reset_logging",
    "set_level",
    "setup_logging",
    "take_structlog",
]
