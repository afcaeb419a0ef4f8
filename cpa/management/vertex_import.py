"""``POST /vertex/import``: store a Google service account's key file as a login."""

from __future__ import annotations

import asyncio

from aiohttp import web

from cpa.accounts.files import AuthFile, JsonObject
from cpa.accounts.login.stored import merged_login
from cpa.accounts.service_account import MissingProject, service_account_file
from cpa.errors import AuthFileError, AuthFileExists
from cpa.exchange.auth_files import AuthFiles
from cpa.management.answers import Refusal, ok, parse_json
from cpa.management.forms import read_form
from cpa.management.route import Query, Route
from cpa.management.services import Management


async def _stored(files: AuthFiles, name: str, data: JsonObject) -> AuthFile:
    """Write a login; a file of that name keeps what its user has set."""
    try:
        return await files.create(name, data)
    except AuthFileExists:
        return await files.update(name, lambda old: merged_login(old, data))


def routes(management: Management) -> list[Route]:
    """The one route."""

    async def take(request: web.Request) -> web.Response:
        if not request.content_type.startswith("multipart/"):
            raise Refusal(400, "file required")
        form = await read_form(request)
        content = next((content for field, _, content in form.files if field == "file"), None)
        if content is None:
            raise Refusal(400, "file required")
        location = form.fields.get("location", "") or request.query.get("location", "")
        try:
            key_file = parse_json(content)
        except Refusal:
            raise Refusal(400, "invalid json", "the file is not JSON") from None
        try:
            name, data = await asyncio.to_thread(service_account_file, key_file, location)
            file = await _stored(management.auth_files, name, data)
        except MissingProject as fault:
            raise Refusal(400, str(fault)) from None
        except AuthFileError as fault:
            raise Refusal(400, "invalid service account", str(fault)) from None
        except OSError as fault:
            raise Refusal(500, "save_failed", fault.strerror or str(fault)) from None
        shown = {member: data[member] for member in ("project_id", "email", "location")}
        return ok(**{"auth-file": str(file.path)}, **shown)

    text = {"type": "string"}
    stored = {
        "type": "object",
        "properties": {
            "status": {"const": "ok"},
            "auth-file": text,
            "project_id": text,
            "email": text,
            "location": text,
        },
        "required": ["status", "auth-file", "project_id", "email", "location"],
    }
    return [
        Route(
            method="POST",
            path="/vertex/import",
            handler=take,
            summary="Store a Google service account",
            tag="Accounts",
            query=(Query("location", "Where to serve, us-central1 unless told; also taken from the form"),),
            body={
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}, "location": text},
                "required": ["file"],
            },
            body_type="multipart/form-data",
            answer=stored,
            refusals=(400, 413),
        )
    ]
