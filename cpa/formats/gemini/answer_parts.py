"""The parts of an answer as a Gemini client reads them; shared by whole answers and streams."""

from __future__ import annotations

import re
from typing import Any

import orjson

from cpa.conversation.arguments import UNREADABLE, arguments_object
from cpa.conversation.events import BlockEnd
from cpa.conversation.media import audio_media_type, source_from_url
from cpa.conversation.reply import Block
from cpa.conversation.signatures import family_of
from cpa.formats.gemini.fields import Object
from cpa.formats.gemini.history import FAMILY, own_signature

_LONG_NUMBER = re.compile(r"\d{16}")


def thought_signature(signature: str | None) -> str | None:
    """The proof of a thought as shown to the client, which sends it back; OpenAI's cipher texts are kept from it."""
    return signature if signature and family_of(signature) != "gpt" else None


def parse_arguments(text: str) -> Any:
    """The ``args`` object for JSON text; None when the text is not JSON (cut off, or never was).

    JSON that is no object gives an empty one. Numbers too long for 64 bits keep their digits.
    """
    value = arguments_object(text)
    if not value or not _LONG_NUMBER.search(text) or orjson.dumps(value) == text.encode():
        return value
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return value
    return orjson.Fragment(text)


def call_part(block: Block, arguments: Any) -> Object:
    """A whole function call; ``arguments`` as of :func:`call_arguments`, None to show the text they are."""
    function: Object = {"name": block.name, "args": {UNREADABLE: block.arguments} if arguments is None else arguments}
    if block.call_id:
        function["id"] = block.call_id
    part: Object = {"functionCall": function}
    signature = own_signature(block.signature)
    if signature is not None:
        part["thoughtSignature"] = signature
    return part


def call_arguments(block: Block) -> Any:
    """The ``args`` of a call block; None when they are cut off or cannot be read."""
    if block.tool_type == "custom":
        return {"input": block.arguments}
    return parse_arguments(block.arguments)


def media_part(media_type: str | None, data: str | None, url: str | None, default: str) -> Object | None:
    """An image or a sound the model made; None when there is nothing."""
    if not data and url:
        source = source_from_url(url)
        if source.data is None:
            return {"fileData": {"mimeType": media_type or default, "fileUri": url}}
        data, media_type = source.data, media_type or source.media_type
    return {"inlineData": {"mimeType": media_type or default, "data": data}} if data else None


def audio_type(options: dict[str, Any] | None) -> str:
    """Media type of a sound by the format its options name."""
    name = (options or {}).get("format")
    return audio_media_type(name if isinstance(name, str) else None)


def opaque_part(block: Block) -> Object | None:
    """A raw part that came from Gemini; nobody else's means anything to its client."""
    return block.json if block.format in FAMILY and isinstance(block.json, dict) else None


def finish_block(block: Block, end: BlockEnd) -> None:
    """Write the final values of ``end`` into a block whose deltas were put together."""
    block.arguments = end.arguments or block.arguments
    block.signature = end.signature or block.signature
    block.media_type, block.data, block.url = end.media_type, end.data or block.data, end.url
    block.options = end.options
    if end.json is not None:
        block.json = end.json
