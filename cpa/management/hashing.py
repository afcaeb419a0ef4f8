"""A management key in the file is replaced by its bcrypt hash."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cpa.config.file import ConfigFile
from cpa.config.load import load_text
from cpa.config.sections import BCRYPT_PREFIXES, LONGEST_MANAGEMENT_KEY
from cpa.errors import ConfigError


def hash_key(key: str) -> str:
    """The bcrypt hash of a key; takes tens of milliseconds. Raises ConfigError for one that is too long."""
    import bcrypt

    content = key.encode()
    if len(content) > LONGEST_MANAGEMENT_KEY:
        raise ConfigError(f"failed to hash remote management key: it is longer than {LONGEST_MANAGEMENT_KEY} bytes")
    return bcrypt.hashpw(content, bcrypt.gensalt(10)).decode()


def is_plain(key: str) -> bool:
    """Whether a key is there and not yet hashed."""
    return bool(key) and not key.startswith(BCRYPT_PREFIXES)


def with_hashed_key(content: bytes) -> bytes:
    """A valid configuration file's content with its management key hashed, everything else byte for byte."""
    key = load_text(content.decode("utf-8-sig"), environ={}).config.remote_management.secret_key
    if not is_plain(key):
        return content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.touch(mode=0o600)
        path.write_bytes(content)
        ConfigFile(path).splice_scalar("secret-key", key, hash_key(key))
        return path.read_bytes()


def hash_key_in_file(path: Path, key: str) -> bool:
    """Replace a plain key in the file; whether there was one. Raises ConfigError and OSError."""
    if not is_plain(key):
        return False
    ConfigFile(path).splice_scalar("secret-key", key, hash_key(key))
    return True
