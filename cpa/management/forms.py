"""Read a multipart form, within limits."""

from __future__ import annotations

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct

from cpa.accounts.files import LARGEST_AUTH_FILE
from cpa.management.answers import Refusal

MOST_FILES = 1000
"""Files taken from one form."""
MOST_FIELDS = 100
LARGEST_FIELD = 4096


class Form(Struct):
    """What a form holds."""

    files: list[tuple[str, str, bytes]]
    """Field, base name and content, in order of the fields."""
    fields: dict[str, str]


async def read_form(request: web.Request) -> Form:
    """The form in the request's body. Refuses what is none, and files that are too large or too many."""
    form = Form([], {})
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader):
                await _take(form, part)
    except (ValueError, RuntimeError, AssertionError, HttpProcessingError) as fault:
        raise Refusal(400, f"invalid multipart form: {type(fault).__name__}") from None
    form.files.sort(key=lambda entry: entry[0])
    return form


async def _take(form: Form, part: BodyPartReader) -> None:
    if part.filename:
        if len(form.files) >= MOST_FILES:
            raise Refusal(413, "too many files", f"at most {MOST_FILES} are accepted")
        base = part.filename.replace("\\", "/").rpartition("/")[2]
        form.files.append((part.name or "", base, await _content(part, LARGEST_AUTH_FILE)))
        return
    content = await _content(part, LARGEST_FIELD)
    if part.name and len(form.fields) < MOST_FIELDS:
        form.fields[part.name] = content.decode("utf-8", "replace")


async def _content(part: BodyPartReader, limit: int) -> bytes:
    content = bytearray()
    while chunk := await part.read_chunk(65536):
        content += chunk
        if len(content) > limit:
            raise Refusal(413, "file too large", f"at most {limit} bytes are accepted")
    return bytes(content)
