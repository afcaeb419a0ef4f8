"""What a provider may use to talk to the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cpa.accounts.account import Account


class HttpClient(Protocol):
    """What a provider may use to talk to the network: right proxy, logs and timeouts are taken care of."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        account: Account | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 60.0,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request and read the whole answer. Raises UpstreamError on network faults."""
