"""Application logs: readable on a terminal, JSON otherwise, secrets masked."""

from cpa.logs.redaction import Secrets
from cpa.logs.setup import get_logger, set_level, setup_logging

__all__ = ["Secrets", "get_logger", "set_level", "setup_logging"]
