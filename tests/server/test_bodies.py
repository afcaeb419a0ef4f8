"""Request bodies: encodings, limits, and what is no JSON object."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import brotli
import orjson
import pytest

from cpa.errors import ApiError
from cpa.server import bodies
from tests.server.conftest import ROUTES, Serve, Served

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PATH, BODY = ROUTES["openai"]
CONTENT = orjson.dumps(BODY)


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


ENCODERS: dict[str, list[Callable[[bytes], bytes]]] = {
    "gzip": [gzip.compress],
    "x-gzip": [gzip.compress],
    "deflate": [zlib.compress, raw_deflate],
    "br": [brotli.compress],
    "zstd": [zstd.compress],
    "identity": [bytes],
    "GZIP": [gzip.compress],
    "gzip, br": [lambda content: bytes(brotli.compress(gzip.compress(content)))],
}


@pytest.fixture
async def served(serve: Serve) -> Served:
    daemon: Served = await serve("max-body-size: 20000\n")
    return daemon


@pytest.mark.parametrize("coding", ENCODERS)
async def test_every_encoding_is_read(served: Served, coding: str) -> None:
    for encode in ENCODERS[coding]:
        answer = await served.post(PATH, data=encode(CONTENT), Content_Encoding=coding)
        assert answer.status == 200, answer


async def test_a_body_that_only_claims_to_be_packed_is_read_as_it_is(served: Served) -> None:
    assert (await served.post(PATH, data=CONTENT, Content_Encoding="gzip")).status == 200


async def test_an_unknown_encoding_is_refused_by_name(served: Served) -> None:
    answer = await served.post(PATH, data=CONTENT, Content_Encoding="lzma")
    assert (answer.status, answer.json["error"]["code"]) == (415, "unsupported_encoding")
    assert "lzma" in answer.json["error"]["message"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_packed_body_that_is_broken_is_refused(served: Served, coding: str) -> None:
    for content in (b"\x00\x01garbage", ENCODERS[coding][0](CONTENT)[:-6]):
        answer = await served.post(PATH, data=content, Content_Encoding=coding)
        assert answer.status == 400, (coding, answer)


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate", "br", "zstd"])
async def test_a_body_is_too_large_as_it_comes_and_unpacked(served: Served, coding: str) -> None:
    large = orjson.dumps({**BODY, "user": "x" * 30_000})
    answer = await served.post(PATH, data=ENCODERS[coding][0](large), Content_Encoding=coding)
    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")


async def test_a_body_without_a_length_is_not_taken_in_for_ever(served: Served) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 10_000
            yield b" " * 10_000

    answer = await served.post(PATH, data=endless())
    assert answer.status == 413
    assert sent < 50_000_000


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"text"', b"null", b"\xff\xfe", b'{"a":1}}'])
async def test_what_is_no_json_object_is_refused_in_the_clients_format(
    served: Served, name: str, content: bytes
) -> None:
    answer = await served.post(ROUTES[name][0], data=content)
    assert answer.status == 400
    assert answer.json["error"]["message"]


async def test_deep_nesting_is_refused_not_fatal(serve: Serve) -> None:
    served: Served = await serve()
    answer = await served.post(PATH, data=b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    assert answer.status == 400


async def test_the_model_must_be_named(served: Served) -> None:
    for model in (None, "", "  ", 5):
        body: dict[str, Any] = {**BODY, "model": model}
        answer = await served.post(PATH, body)
        assert (answer.status, answer.json["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("head", ['form-data; name="\x1e\xff"', "form-data", "nonsense", ""])
async def test_a_form_with_a_broken_part_is_refused(served: Served, head: str) -> None:
    part = b"--edge\r\nContent-Disposition: " + head.encode("latin-1") + b"\r\n\r\nx\r\n--edge--\r\n"
    answer = await served.post("/v1/images/edits", data=part, Content_Type="multipart/form-data; boundary=edge")
    assert answer.status == 400, answer


def test_a_body_that_would_swell_beyond_reason_takes_no_memory() -> None:
    packed = brotli.compress(b"\0" * (64 * 1024 * 1024), quality=5)
    assert len(packed) < 16 * 1024
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as caught:
            bodies._unpacked(packed, "br", 1024 * 1024)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert caught.value.error.status == 413
