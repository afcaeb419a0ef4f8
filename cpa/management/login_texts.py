"""What ``get-auth-status`` calls the ways a login can fail: the words clients of the management API know."""

from __future__ import annotations

from cpa.errors import LoginError

_COMMON = {
    "callback_timeout": "Timeout waiting for OAuth callback",
    "invalid_state": "State code error",
    "code_exchange_failed": "Failed to exchange authorization code for tokens",
    "bad_answer": "Failed to exchange authorization code for tokens",
    "save_failed": "Failed to save authentication tokens",
    "access_denied": "Bad request",
    "invalid_request": "Bad request",
    "cancelled": "Login cancelled",
}
_OF_PROVIDERS: dict[str, dict[str, str]] = {
    "codex": {"access_denied": "Bad Request", "invalid_request": "Bad Request"},
    "gemini-cli": {
        "callback_timeout": "OAuth flow timed out",
        "invalid_state": "Authentication failed: state mismatch",
        "no_code": "Authentication failed: code not found",
        "code_exchange_failed": "Failed to exchange token",
        "bad_answer": "Failed to exchange token",
        "user_info": "Could not get user info",
        "network": "Failed to execute request",
        "projects": "Failed to resolve project ID",
        "project_required": "Google One auto-discovery failed",
        "save_failed": "Failed to save token to file",
        "access_denied": "Authentication failed",
        "invalid_request": "Authentication failed",
    },
}
_WITH_REASON = {
    "onboarding": "Failed to complete Gemini CLI onboarding",
    "project_activation": "Failed to verify Cloud AI API status",
}
ANY = "Authentication failed"


def login_text(provider: str, fault: LoginError) -> str:
    """The text for a failure of a provider's login."""
    if fault.code in _WITH_REASON:
        return f"{_WITH_REASON[fault.code]}: {fault}"
    return _OF_PROVIDERS.get(provider, {}).get(fault.code) or _COMMON.get(fault.code, ANY)
