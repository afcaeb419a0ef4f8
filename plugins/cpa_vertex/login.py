"""Take a Google service account's key file as a login."""

from __future__ import annotations

import asyncio

import orjson

from cpa.accounts.service_account import DEFAULT_LOCATION, service_account_file
from cpa.errors import AuthFileError, LoginError
from cpa.plugins import Login, LoginOffer, NewLogin

OFFER = LoginOffer(title="Vertex AI (service account)", methods=("key-file",), aliases=("vertex-ai",))


async def log_in(login: Login) -> NewLogin:
    """Check the key file. Raises LoginError."""
    options = login.options
    try:
        key_file = orjson.loads(options.key_file.removeprefix(b"\xef\xbb\xbf"))
        name, data = await asyncio.to_thread(service_account_file, key_file, options.location, options.prefix)
    except orjson.JSONDecodeError:
        raise LoginError("invalid_key_file", "the key file is no JSON") from None
    except AuthFileError as fault:
        raise LoginError("invalid_key_file", f"the key file cannot be used: {fault}") from None
    notes = (f"location: {data['location']}",)
    if not options.location:
        notes = (f"location: {DEFAULT_LOCATION}; --location chooses another",)
    return NewLogin(name=name, data=data, label=str(data["label"]), notes=notes)
