"""Read a list of prices from where it is published: when somebody asks for it, never by itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from cpa import __version__
from cpa.config import Config
from cpa.config.price_sections import LITELLM_URL, MODELS_DEV_URL
from cpa.errors import CpaError, UpstreamError
from cpa.upstream.address import split_url
from cpa.upstream.client import UpstreamClient, pieces
from cpa.upstream.proxies import choose_proxy
from cpa.upstream.public import ForbiddenAddress, public_session, refuse_literal
from cpa.upstream.timeouts import Timeouts
from cpa.usage.price_list_cache import CachedList, ListCache
from cpa.usage.price_lists import LITELLM, PriceList, WrongList, parse_list

SECONDS = 20.0
LARGEST_LIST = 20 * 1024 * 1024
_PUBLISHED = frozenset({LITELLM_URL, MODELS_DEV_URL})
_Answer = tuple[int, Mapping[str, str], AsyncIterator[bytes]]


class ListUnreadable(CpaError):
    """A list of prices could not be read; the text says from where and why."""


class PriceListReader:
    """Reads lists through the proxy that upstreams are reached through.

    The addresses that ship with cpa are reached on the public Internet only; one that the configuration names instead
    is the user's own choice.
    """

    def __init__(
        self,
        client: UpstreamClient,
        config: Callable[[], Config],
        cache: ListCache,
        environ: Mapping[str, str] = os.environ,
        *,
        seconds: float = SECONDS,
    ) -> None:
        """``seconds`` is what reading may take in all."""
        self._client = client
        self._config = config
        self._cache = cache
        self._environ = environ
        self._seconds = seconds

    async def read(self, source: str) -> PriceList:
        """The list of a source, as it is published now. Raises ListUnreadable."""
        sources = self._config().price_sources
        url = sources.litellm if source == LITELLM else sources.models_dev
        try:
            host = split_url(url)[0].host
        except ValueError as fault:
            raise ListUnreadable(f"price-sources.{source.replace('.', '-')}: {fault}") from None
        kept = await asyncio.to_thread(self._cache.read, source, url)
        try:
            async with asyncio.timeout(self._seconds):
                etag, content = await self._get(url, kept.etag if kept is not None else "")
        except TimeoutError:
            raise ListUnreadable(f"{host} did not send the list within {self._seconds:g} seconds") from None
        except UpstreamError as fault:
            raise ListUnreadable(f"{host}: {fault.error.message}") from None
        except ForbiddenAddress as fault:
            raise ListUnreadable(str(fault)) from None
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            reason = fault.__cause__ if isinstance(fault.__cause__, ForbiddenAddress) else type(fault).__name__
            raise ListUnreadable(f"{host} cannot be reached: {reason}") from None
        if content is None:
            if kept is None:
                raise ListUnreadable(f"{host} answered 304 although nothing was kept")
            return kept.list()
        try:
            found = await asyncio.to_thread(parse_list, source, content)
        except WrongList as fault:
            raise ListUnreadable(f"what {host} sent is no list of prices: {fault}") from None
        await asyncio.to_thread(self._cache.keep, CachedList(url, etag, source, found.prices))
        return found

    async def _get(self, url: str, etag: str) -> tuple[str, bytes | None]:
        """Entity tag and content; no content when it is what is kept already."""
        headers = {"Accept": "application/json", "User-Agent": f"cpa/{__version__}"}
        if etag:
            headers["If-None-Match"] = etag
        async with self._send(url, headers) as (status, told, chunks):
            if status == 304:
                return etag, None
            if status != 200:
                hint = ", redirects are not followed" if 300 <= status < 400 else ""
                raise ListUnreadable(f"{urlsplit(url).hostname} answered {status}{hint}")
            content = bytearray()
            async for chunk in chunks:
                content += chunk
                if len(content) > LARGEST_LIST:
                    raise ListUnreadable(f"{urlsplit(url).hostname} sent more than {LARGEST_LIST // 2**20} MiB")
            return _etag(told), bytes(content)

    @asynccontextmanager
    async def _send(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[_Answer]:
        parts = urlsplit(url)
        proxy = choose_proxy("", self._config().proxy_url, parts.hostname or "", self._environ, parts.scheme)
        if url in _PUBLISHED and not proxy:
            refuse_literal(url)
            async with (
                public_session() as session,
                session.get(URL(url), headers=headers, allow_redirects=False) as response,
            ):
                yield response.status, response.headers, response.content.iter_any()
            return
        limits = Timeouts(connect=self._seconds, first_byte=self._seconds, idle=self._seconds, total=self._seconds)
        answer = await self._client.send("GET", url, headers=headers, body=None, timeouts=limits)
        try:
            yield answer.status, answer.headers, pieces(answer)
        finally:
            answer.close()


def _etag(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "etag"), "")
