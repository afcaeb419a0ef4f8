"""What is noted on every request."""

from __future__ import annotations

from aiohttp import web

from cpa.config import Config

CONFIG: web.RequestKey[Config] = web.RequestKey("config", Config)
"""The configuration snapshot it began with."""
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
