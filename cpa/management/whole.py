"""The configuration as a whole: ``/config`` and ``/config.yaml``."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from cpa.config.load import load_text
from cpa.config.yaml_reader import parse
from cpa.config.yaml_tree import LARGEST_FILE
from cpa.errors import ConfigError
from cpa.management.answers import Refusal, answer, read_body
from cpa.management.checks import refuse_problems
from cpa.management.hashing import with_hashed_key
from cpa.management.route import Route
from cpa.management.services import Management
from cpa.management.shown import shown_config

YAML = "application/yaml"


class WholeConfig:
    """The running configuration as JSON, and the file itself."""

    def __init__(self, management: Management) -> None:
        self._management = management

    async def get(self, request: web.Request) -> web.Response:
        """The running configuration."""
        return answer(shown_config(self._management.config, self._management.pool))

    async def get_file(self, request: web.Request) -> web.Response:
        """The file, byte for byte."""
        try:
            content = await asyncio.to_thread(self._management.store.path.read_bytes)
        except FileNotFoundError:
            raise Refusal(404, "not_found", "config file not found") from None
        except OSError as fault:
            raise Refusal(500, "read_failed", fault.strerror or str(fault)) from None
        return web.Response(body=content, content_type=YAML, charset="utf-8")

    async def put_file(self, request: web.Request) -> web.Response:
        """Replace the file. It is checked whole first; a plain management key is replaced by its hash."""
        content = await read_body(request, LARGEST_FILE)
        content = await asyncio.to_thread(self._checked, content)
        await self._management.writer.replace(request, content)
        return answer({"ok": True, "changed": ["config"]})

    def _checked(self, content: bytes) -> bytes:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Refusal(400, "invalid_yaml", "the body is not UTF-8 text") from None
        try:
            data: Any = parse(text)[0]
        except ConfigError as fault:
            raise Refusal(400, "invalid_yaml", str(fault)) from None
        if not data:
            raise Refusal(400, "invalid_yaml", "the body holds no settings")
        try:
            loaded = load_text(text, environ={})
        except ConfigError as fault:
            raise Refusal(422, "invalid_config", str(fault)) from None
        refuse_problems(self._management.plugins, loaded.config, code="invalid_prompt_rules")
        try:
            return with_hashed_key(content)
        except ConfigError as fault:
            raise Refusal(400, "invalid_config", str(fault)) from None


def routes(management: Management) -> list[Route]:
    """The three routes."""
    whole = WholeConfig(management)
    document = {"type": "object", "description": "The configuration; cpa config schema prints its JSON Schema"}
    written = {
        "type": "object",
        "properties": {"ok": {"const": True}, "changed": {"type": "array", "items": {"type": "string"}}},
        "required": ["ok", "changed"],
    }
    return [
        Route(method="GET", path="/config", handler=whole.get, summary="The configuration", answer={"type": "object"}),
        Route(
            method="GET",
            path="/config.yaml",
            handler=whole.get_file,
            summary="The configuration file",
            answer=document,
            answer_type=YAML,
        ),
        Route(
            method="PUT",
            path="/config.yaml",
            handler=whole.put_file,
            summary="Replace the configuration file",
            body=document,
            body_type=YAML,
            answer=written,
            refusals=(400, 412, 413, 422),
        ),
    ]
