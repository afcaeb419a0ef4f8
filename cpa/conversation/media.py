"""Data URLs, base64 and media types."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from urllib.parse import unquote_to_bytes

from cpa.conversation.parts import Source

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)

_IMAGE_FORMATS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
}

_AUDIO_FORMATS = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "webm": "audio/webm",
    "opus": "audio/opus",
    "pcm16": "audio/pcm",
    "g711_ulaw": "audio/basic",
    "g711_alaw": "audio/basic",
}


def source_from_url(url: str) -> Source:
    """A :class:`Source` for a ``data:`` URL (base64 or percent-encoded) or any other URL."""
    if url[:5].lower() != "data:":
        return Source(url=url)
    head, _, payload = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if "base64" in (parameter.strip().lower() for parameter in parameters):
        data = standard_base64(payload)
    else:
        data = base64.b64encode(unquote_to_bytes(payload)).decode()
    return Source(data=data, media_type=media_type.strip().lower() or sniff_media_type(data))


def data_url(source: Source, default_type: str = "application/octet-stream") -> str:
    """The ``data:`` URL of a source that has data, or its plain URL."""
    if source.data is not None:
        return f"data:{source.media_type or default_type};base64,{source.data}"
    return source.url or ""


def standard_base64(text: str) -> str:
    """``text`` with the URL-safe alphabet replaced, white space dropped and padding completed."""
    if "-" in text or "_" in text:
        text = text.replace("-", "+").replace("_", "/")
    if any(space in text for space in "\r\n \t"):
        text = "".join(text.split())
    return text + "=" * (-len(text) % 4) if len(text) % 4 else text


def sniff_media_type(data: str) -> str | None:
    """Media type of base64 ``data`` by its first bytes; None when they say nothing."""
    try:
        head = base64.b64decode(data[:64] + "=" * (-len(data[:64]) % 4))
    except (binascii.Error, ValueError):
        return None
    if head[:4] == b"RIFF":
        return "image/webp" if head[8:12] == b"WEBP" else "audio/wav"
    return next((media_type for magic, media_type in _MAGIC if head.startswith(magic)), None)


def media_type_of_filename(filename: str | None) -> str | None:
    """Media type by file name extension."""
    return mimetypes.guess_type(filename)[0] if filename else None


def image_media_type(output_format: str | None) -> str:
    """Media type for an image ``output_format`` such as ``png``; a value with a slash is taken as it is."""
    if output_format and "/" in output_format:
        return output_format
    return _IMAGE_FORMATS.get((output_format or "").lower(), "image/png")


def audio_media_type(audio_format: str | None) -> str:
    """Media type for a short audio format name such as ``wav``."""
    if audio_format and "/" in audio_format:
        return audio_format
    return _AUDIO_FORMATS.get((audio_format or "").lower(), "audio/wav")


def audio_format_of(media_type: str | None) -> str:
    """Short audio format name for a media type; ``wav`` when unknown."""
    for name, known in _AUDIO_FORMATS.items():
        if known == media_type:
            return name
    return (media_type or "audio/wav").rpartition("/")[2].removeprefix("x-")
