"""Made-up histories, as they stand in the database."""

from __future__ import annotations

import zlib

from cpa.usage.history_batches import GZIP, Batch
from cpa.usage.history_heads import AFTER_PIECE, TEXTS, Head, encode_head, framed, join_texts


def made_batch(
    begun_ms: dict[str, int],
    *,
    bodies: dict[str, bytes] | None = None,
    models: dict[str, str] | None = None,
    forced: bool = False,
    status: int = 200,
    level: int = 1,
) -> Batch:
    """Histories of requests that got no answer, by their ids, with what was asked; packed with that level."""
    heads, packed = [], []
    for name, begun in begun_ms.items():
        body = (bodies or {}).get(name, b"asked by " + name.encode())
        model = (models or {}).get(name, "m")
        texts = dict.fromkeys(TEXTS, "") | {"method": "POST", "url": "/v1/messages?x=1", "model": model}
        head = Head(
            texts=join_texts(list(texts.values())),
            attempts=[],
            begun=begun / 1000,
            finished=begun / 1000,
            status=status,
            called=True,
            stream=False,
            omitted_attempts=0,
            body=0,
            edited=None,
            sent=None,
            error=b"wrong",
            tokens=None,
            places=[len(body)],
        )
        heads.append(encode_head(head))
        packed.append(zlib.compress(body + AFTER_PIECE, level, GZIP))
    content = zlib.compress(framed(heads, len(heads)), level, GZIP)
    return Batch(list(begun_ms.items()), forced, content, b"".join(packed))
