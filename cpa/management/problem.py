"""Refusals as problem details (RFC 9457), for clients that ask for them.

Panels and scripts made for CLIProxyAPI read ``error`` and ``message``, and get just those. A client that accepts
``application/problem+json`` gets both and the standard's members: ``code`` never changes, ``detail`` is for people.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from cpa.management.answers import Refusal, answer

PROBLEM = "application/problem+json"
_SENTENCES = {
    "invalid_body": "The body is not the JSON that this route takes; openapi.json describes it.",
    "invalid_request_body": "The body is not the JSON that this route takes; openapi.json describes it.",
    "body_too_large": "The body is larger than this route takes.",
    "missing_fields": "Name the member to change: index and value, or old and new.",
    "item_not_found": "The list has no such item.",
    "missing_management_key": "Send the management key as Bearer token or in X-Management-Key.",
    "invalid_management_key": "This is not the management key.",
    "banned": "Too many wrong keys came from this address; wait, or change the key in config.yaml.",
    "remote_management_disabled": "Only this machine may manage; allow-remote under remote-management lets others in.",
    "remote_management_key_not_set": "Set secret-key under remote-management in config.yaml.",
    "invalid_name": "This is no name for a file in the auth directory.",
    "name_must_end_with_json": "The name of an auth file ends with .json.",
    "auth_file_not_found": "There is no such file in the auth directory.",
    "auth_not_found": "No account has this index; GET /accounts lists them.",
    "no_files_uploaded": "The form holds no file.",
    "logging_to_file_disabled": "Log lines go to standard output; logging-to-file: true keeps them in files.",
    "missing_value": "The body needs a member named value.",
    "unknown_channel": "There is no catalogue of that name.",
}
"""What there is to say where the error itself is only a few words."""


def refused(refusal: Refusal, request: web.Request) -> web.Response:
    """The answer to a request that is refused."""
    headers: dict[str, str] = {}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
    if PROBLEM not in request.headers.get(hdrs.ACCEPT, ""):
        return answer(refusal.body, refusal.status, headers)
    response = answer(problem(refusal), refusal.status, headers)
    response.headers[hdrs.CONTENT_TYPE] = PROBLEM
    return response


def problem(refusal: Refusal) -> dict[str, Any]:
    """A refusal with the members of RFC 9457."""
    code = refusal.code or code_of(refusal.body["error"])
    said = str(refusal.body.get("message") or _SENTENCES.get(code) or refusal.body["error"])
    return {
        **refusal.body,
        "type": f"urn:cpa:error:{code}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": said[:1].upper() + said[1:],
        "code": code,
    }


def code_of(error: str) -> str:
    """``failed to save config: Read-only file system`` as ``failed_to_save_config``."""
    return re.sub(r"[^a-z0-9]+", "_", error.partition(":")[0].lower()).strip("_")
