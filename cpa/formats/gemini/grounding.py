"""Google Search grounding as citations and as a web search the vendor ran.

Offsets in ``groundingSupports`` and ``citationSources`` count UTF-8 bytes of the visible text; canonical ones count
code points inside one text block.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any

from cpa.conversation.events import Citation
from cpa.formats.gemini.fields import Object


def citations_of(metadata: Object, text: str, offset: int) -> list[Citation]:
    """Citations inside ``text``, which begins ``offset`` bytes into the visible text. In order of their place."""
    ruler = _Ruler(text, offset)
    grounding = metadata.get("groundingMetadata", {})
    chunks = [_web(chunk) for chunk in _objects(grounding.get("groundingChunks"))]
    found: list[Citation] = []
    for support in _objects(grounding.get("groundingSupports")):
        segment = support.get("segment")
        if not isinstance(segment, dict):
            continue
        span = ruler.span(segment.get("startIndex", 0), segment.get("endIndex"))
        if span is None:
            continue
        indices = support.get("groundingChunkIndices")
        found.extend(
            _citation(chunks[index], span, text)
            for index in (indices if isinstance(indices, list) else ())
            if isinstance(index, int) and 0 <= index < len(chunks) and chunks[index].get("uri")
        )
    sources = metadata.get("citationMetadata", {})
    for source in _objects(sources.get("citationSources") or sources.get("citations")):
        span = ruler.span(source.get("startIndex", 0), source.get("endIndex"))
        if span is not None and isinstance(source.get("uri"), str):
            found.append(_citation(source, span, text))
    return sorted(found, key=lambda citation: (citation.start or 0, citation.end or 0))


def search_of(metadata: Object) -> tuple[list[str], list[Any]] | None:
    """Queries and results (``{url, title}``, one per address) of the search; None when nothing was searched."""
    grounding = metadata.get("groundingMetadata", {})
    raw = grounding.get("webSearchQueries")
    queries = [query for query in raw if isinstance(query, str)] if isinstance(raw, list) else []
    results: dict[str, Object] = {}
    for chunk in _objects(grounding.get("groundingChunks")):
        web = _web(chunk)
        uri = web.get("uri")
        if isinstance(uri, str) and uri:
            title = web.get("title")
            results.setdefault(uri, {"url": uri, "title": title if isinstance(title, str) and title else uri})
    return (queries, list(results.values())) if queries or results else None


class _Ruler:
    """Byte offsets to code point offsets of one text."""

    def __init__(self, text: str, offset: int) -> None:
        self._offset = offset
        self._length = len(text)
        self._ascii = text.isascii()
        self._ends = [] if self._ascii else list(accumulate(len(char.encode()) for char in text))

    def span(self, start: Any, end: Any) -> tuple[int, int] | None:
        """Where in the text the bytes ``start`` to ``end`` lie; None when not wholly inside."""
        if type(start) is not int or type(end) is not int:
            return None
        low, high = start - self._offset, end - self._offset
        size = self._length if self._ascii else (self._ends[-1] if self._ends else 0)
        if not 0 <= low < high <= size:
            return None
        return self._point(low), self._point(high)

    def _point(self, position: int) -> int:
        return position if self._ascii else bisect_right(self._ends, position)


def _citation(source: Object, span: tuple[int, int], text: str) -> Citation:
    title = source.get("title")
    return Citation(
        url=source.get("uri"),
        title=title if isinstance(title, str) else None,
        start=span[0],
        end=span[1],
        cited_text=text[span[0] : span[1]],
    )


def _web(chunk: Object) -> Object:
    for key in ("web", "retrievedContext", "maps"):
        found = chunk.get(key)
        if isinstance(found, dict):
            return found if isinstance(found.get("uri"), str) else {}
    return {}


def _objects(value: Any) -> list[Object]:
    """The list's objects, with empty ones in place of anything else: indices must keep their meaning."""
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []
