"""Send a shaped request, by cpa's own HTTP client or by the provider's own transport."""

from __future__ import annotations

from functools import lru_cache

from cpa.accounts.account import Account
from cpa.config import Config
from cpa.config.provider_sections import TimeoutsSection
from cpa.errors import ErrorInfo, UpstreamError
from cpa.exchange.shape import Shaped
from cpa.exchange.verdict import settled
from cpa.plugins.provider import Provider, UpstreamAnswer
from cpa.upstream.client import LARGEST_BODY, UpstreamClient, UpstreamResponse, read_whole
from cpa.upstream.decoding import check_ends, decoders, unpack
from cpa.upstream.timeouts import Timeouts, timeouts_from

LARGEST_ERROR = 1024 * 1024
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""How packed bodies begin."""


class OwnTransportResponse:
    """The answer of a provider that does not use HTTP."""

    def __init__(self, answer: UpstreamAnswer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = aiter(answer.body)

    async def read(self) -> bytes:
        """See :class:`UpstreamResponse`."""
        async for piece in self._body:
            if piece:
                return piece
        return b""

    def close(self) -> None:
        """Nothing to give back: the iterator ends with the exchange."""


async def send(client: UpstreamClient, provider: Provider, shaped: Shaped, config: Config) -> UpstreamResponse:
    """Send and wait for the head of the answer. Raises UpstreamError for network faults."""
    request = shaped.request
    await provider.authorize(request, client)
    answer = await provider.send(request)
    if answer is not None:
        return OwnTransportResponse(answer)
    return await client.send(
        request.method,
        request.url,
        headers=request.headers,
        body=shaped.content,
        timeouts=account_timeouts(request.account, config),
        account_proxy=request.account.proxy_url,
    )


def account_timeouts(account: Account, config: Config) -> Timeouts:
    """The time limits for an account: its own, else the global ones."""
    general = _general_timeouts(config.timeouts)
    own = account.settings.get("timeouts")
    return general if own is None else timeouts_from(own, general)


@lru_cache(maxsize=4)
def _general_timeouts(settings: TimeoutsSection) -> Timeouts:
    return timeouts_from(settings, Timeouts())


async def read_error(provider: Provider, shaped: Shaped, response: UpstreamResponse) -> UpstreamError:
    """The error in an answer whose status says so, judged by the provider."""
    try:
        body = plain(await read_whole(response, LARGEST_ERROR))
    except UpstreamError:
        body = b""
    error = shaped.upstream.decode_error(response.status, body)
    request = shaped.request
    judged = provider.read_error(response.status, response.headers, body, error)
    return settled(judged, request.account, request.operation, request.config)


def plain(body: bytes) -> bytes:
    """A body that was packed without saying so in a header, unpacked; others as they are."""
    coding = next((name for mark, name in _PACKED.items() if body.startswith(mark)), None)
    if coding is None:
        return body
    unpacked, size, chain = [], 0, decoders(coding)
    try:
        for piece in unpack(chain, body):
            size += len(piece)
            if size > LARGEST_BODY:
                return body
            unpacked.append(piece)
        check_ends(chain)
    except ValueError:
        return body
    return b"".join(unpacked)


def bad_answer(message: str) -> UpstreamError:
    """The upstream's answer is not what its protocol promises; nobody's account is at fault."""
    return UpstreamError(
        ErrorInfo(502, message, type="server_error", code="bad_upstream_response"), scope="none", cooldown=0
    )
