"""A daemon in this process whose logins are served by scripted vendors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml
from oauth_upstream import IdentityProvider, OAuthUpstream, auth_file, oauth_settings
from running import KEY, Upstream, free_port

from cpa.config import ConfigStore
from cpa.daemon import Daemon

__all__ = ["KEY", "auth_file", "daemon_over", "vendors"]


@contextmanager
def vendors() -> Iterator[tuple[OAuthUpstream, str]]:
    provider = IdentityProvider()
    upstream = OAuthUpstream(provider)
    upstream.add_to(provider.app)
    server = Upstream(provider.app)
    yield upstream, server.url
    server.stop()


def daemon_over(directory: Path, url: str, files: dict[str, dict[str, Any]], **more: Any) -> Daemon:
    """A daemon over these auth files, whose vendors are at ``url``."""
    folder = directory / "auth"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(orjson.dumps(data))
    settings = oauth_settings(url)
    for plugin, vendor in (("claude", "claude"), ("codex", "codex"), ("gemini_cli", "gemini")):
        settings[plugin]["base-url"] = f"{url}/api/{vendor}"
    config = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(folder),
        "api-keys": [KEY],
        "request-retry": 0,
        "usage-database-path": str(directory / "usage.sqlite"),
        "plugins": {"configs": settings},
        **more,
    }
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return Daemon(ConfigStore(path, {}), {})
