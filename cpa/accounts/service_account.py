"""Make an auth file of a Google service account's key file.

https://cloud.google.com/iam/docs/keys-create-delete
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from cpa.accounts.files import JsonObject
from cpa.errors import AuthFileError

DEFAULT_LOCATION = "us-central1"
_LOCATION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)
_NOT_BASE64 = re.compile(r"[^0-9A-Za-z+/=]")
_NAME = str.maketrans({"/": "_", "\\": "_", ":": "_", " ": "-"})


class MissingProject(AuthFileError):
    """The key file names no project."""


def service_account_file(key_file: Any, location: str = "", prefix: str = "") -> tuple[str, JsonObject]:
    """Name and content of the auth file for a service account's key file (parsed JSON).

    ``prefix`` goes before its models' names, and into its name; it is one path segment.

    Raises AuthFileError, MissingProject among them; the message quotes no content.
    """
    if not isinstance(key_file, dict):
        raise AuthFileError("the key file is no JSON object")
    place = location.strip().lower() or DEFAULT_LOCATION
    if not _LOCATION.fullmatch(place):
        raise AuthFileError("the location must be one such as us-central1, or global")
    before = prefix.strip().strip("/")
    if "/" in before or "\\" in before:
        raise AuthFileError("the prefix must be a single word, without a slash in it")
    project = _member(key_file, "project_id")
    if not project:
        raise MissingProject("project_id missing")
    email = _member(key_file, "client_email")
    if not email:
        raise AuthFileError("client_email is missing")
    _refuse_foreign_token_uri(_member(key_file, "token_uri"))
    account = {**key_file, "private_key": readable_key(_member(key_file, "private_key"))}
    data: JsonObject = {
        "type": "vertex",
        "service_account": account,
        "project_id": project,
        "email": email,
        "location": place,
        "label": f"{project} ({email})",
    }
    if before:
        data["prefix"] = before
    name = f"{before}-{project}" if before else project
    return f"vertex-{name.translate(_NAME)}.json", data


def readable_key(text: str) -> str:
    """An RSA key as PKCS #8 in clean PEM, whatever became of its line ends on the way. Raises AuthFileError."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    found = _PEM.search(text.replace("\\n", "\n").replace("\\r", ""))
    if found is None:
        raise AuthFileError("private_key is no PEM private key")
    content = _NOT_BASE64.sub("", found[2])
    lines = "\n".join(content[start : start + 64] for start in range(0, len(content), 64))
    pem = f"-----BEGIN {found[1]}-----\n{lines}\n-----END {found[1]}-----\n"
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise AuthFileError("private_key cannot be read") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise AuthFileError("private_key is no RSA key")
    clean = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return clean.decode()


def _member(data: JsonObject, name: str) -> str:
    value = data.get(name)
    return value.strip() if isinstance(value, str) else ""


def _refuse_foreign_token_uri(uri: str) -> None:
    """What the key signs goes to Google and nowhere else."""
    if not uri:
        return
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host.endswith(".googleapis.com") or parts.scheme != "https":
        raise AuthFileError("token_uri is none of Google's")
