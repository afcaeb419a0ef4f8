"""Put a text into another one, once."""

from __future__ import annotations

from collections.abc import Iterator


def inject(text: str, content: str, marker: str, position: str) -> str:
    """``text`` with ``content`` at its border, or beside the first ``marker``.

    Nothing changes when the content is there already: anywhere in the text (border), or beside any marker.
    """
    if not marker:
        if content in text:
            return text
        return text + content if position == "append" else content + text
    places = list(occurrences(text, marker))
    if not places or beside(text, content, marker, position):
        return text
    at = places[0] + len(marker) if position == "append" else places[0]
    return text[:at] + content + text[at:]


def beside(text: str, content: str, marker: str, position: str) -> bool:
    """Whether the content stands directly beside any occurrence of the marker."""
    for at in occurrences(text, marker):
        if position == "append":
            if text.startswith(content, at + len(marker)):
                return True
        elif text.endswith(content, 0, at):
            return True
    return False


def occurrences(text: str, marker: str) -> Iterator[int]:
    """Where the marker stands, overlapping places included."""
    at = text.find(marker)
    while at >= 0:
        yield at
        at = text.find(marker, at + 1)
