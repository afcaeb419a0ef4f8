"""Network faults as errors a client can act on: what failed (proxy, name, TLS, provider), never which internal URL."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp

from cpa.errors import ErrorInfo, UpstreamError

UNREACHED = frozenset({"proxy_error", "tls_error", "dns_error", "connect_timeout", "connect_error"})
"""The request did not even get there: the account's proxy or address is to be left alone, not for long."""
UNREACHED_COOLDOWN = 5.0


OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_SCARCE = "cpa has as many files and connections open as this machine lets it (see ulimit -n)"


class WireFault(Exception):
    """What went wrong on a connection of our own; ``status``, ``code`` and ``message`` as the client is told."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def closed_early(host: str) -> WireFault:
    """Not a byte of an answer came."""
    return WireFault(502, "disconnected", f"{host} closed the connection without an answer")


def cut_off(host: str) -> WireFault:
    """The answer ended before its end."""
    return WireFault(502, "connection_lost", f"the connection to {host} was lost before the answer was complete")


def not_http(host: str) -> WireFault:
    """The answer breaks the rules of HTTP or has a head beyond reason."""
    return WireFault(502, "bad_response", f"{host} sent something that is not HTTP")


def badly_packed(host: str) -> WireFault:
    """The body is not what its Content-Encoding says."""
    return WireFault(502, "bad_encoding", f"{host} sent a body that cannot be unpacked")


def connecting_failed(fault: OSError, host: str) -> WireFault:
    """Resolving, connecting or the TLS handshake failed."""
    match fault:
        case ssl.SSLCertVerificationError():
            reason = fault.verify_message or fault.reason or "verification failed"
            return WireFault(502, "tls_error", f"the certificate of {host} is not valid: {reason}")
        case ssl.SSLError():
            return WireFault(502, "tls_error", f"the TLS handshake with {host} failed")
        case socket.gaierror():
            return WireFault(502, "dns_error", f"the name {host} cannot be resolved")
    if fault.errno in OUT_OF_FILES:
        return WireFault(503, "out_of_files", f"{host} was not asked: {_SCARCE}")
    reason = os.strerror(fault.errno) if fault.errno else "connection failed"
    return WireFault(502, "connect_error", f"{host} cannot be reached: {reason}")


def network_fault(fault: BaseException, host: str) -> UpstreamError:
    """An UpstreamError for what a connection of our own, aiohttp or a timeout raised while talking to ``host``."""
    if isinstance(fault, WireFault):
        status, code, message = fault.status, fault.code, fault.message
    else:
        status, code, message = _describe(fault, host)
    error = ErrorInfo(status, message, type="server_error", code=code)
    if code in UNREACHED:
        return UpstreamError(error, scope="account", cooldown=UNREACHED_COOLDOWN, reason="network")
    return UpstreamError(error, scope="none", cooldown=0)


def is_socks_fault(fault: BaseException) -> bool:
    """Whether the SOCKS library raised it; its errors share no base class with aiohttp's."""
    return "socks" in type(fault).__module__


def _describe(fault: BaseException, host: str) -> tuple[int, str, str]:
    if is_socks_fault(fault):
        return 502, "proxy_error", f"the proxy for {host} failed: {type(fault).__name__}"
    match fault:
        case aiohttp.ClientHttpProxyError():
            return 502, "proxy_error", f"the proxy for {host} refused the connection (status {fault.status})"
        case aiohttp.ClientProxyConnectionError():
            return 502, "proxy_error", f"the proxy for {host} cannot be reached"
        case aiohttp.ClientConnectorCertificateError():
            return 502, "tls_error", f"the certificate of {host} is not valid: {_certificate_reason(fault)}"
        case aiohttp.ClientConnectorSSLError():
            return 502, "tls_error", f"the TLS handshake with {host} failed"
        case aiohttp.ClientConnectorDNSError():
            return 502, "dns_error", f"the name {host} cannot be resolved"
        case aiohttp.ConnectionTimeoutError():
            return 504, "connect_timeout", f"connecting to {host} took too long"
        case TimeoutError():
            return 504, "timeout", str(fault) or f"{host} did not answer in time"
        case aiohttp.ClientConnectorError() if fault.os_error.errno in OUT_OF_FILES:
            return 503, "out_of_files", f"{host} was not asked: {_SCARCE}"
        case aiohttp.ClientConnectorError():
            return 502, "connect_error", f"{host} cannot be reached: {fault.os_error.strerror or 'connection failed'}"
        case aiohttp.ServerDisconnectedError():
            return 502, "disconnected", f"{host} closed the connection without an answer"
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() | ConnectionError():
            return 502, "connection_lost", f"the connection to {host} was lost before the answer was complete"
        case aiohttp.ClientResponseError():
            return 502, "bad_response", f"{host} sent something that is not HTTP"
        case aiohttp.InvalidURL() | ValueError():
            return 502, "invalid_url", f"the configured address of {host} is not valid"
    return 502, "network_error", f"talking to {host} failed: {type(fault).__name__}"


def _certificate_reason(fault: aiohttp.ClientConnectorCertificateError) -> str:
    error = fault.certificate_error
    return getattr(error, "verify_message", "") or (
        error.reason if isinstance(error, ssl.SSLError) and error.reason else "verification failed"
    )
