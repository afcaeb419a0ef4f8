"""The configuration in force: one immutable snapshot, swapped as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from cpa.config.load import LoadedConfig, load_config
from cpa.config.settings import Config
from cpa.errors import ConfigError

Subscriber = Callable[[Config, Config], None]
"""``subscriber(old, new)``"""


class ConfigStore:
    """Holds the snapshot and reads the file again on demand. A wrong file changes nothing."""

    def __init__(self, path: Path, environ: Mapping[str, str] = os.environ) -> None:
        """Read the file. Raises ConfigError."""
        self.path = path
        self._environ = environ
        self._loaded = load_config(path, environ=environ)
        self._subscribers: list[Subscriber] = []

    @property
    def current(self) -> Config:
        """The snapshot in force."""
        return self._loaded.config

    @property
    def loaded(self) -> LoadedConfig:
        """The snapshot with its warnings and origin."""
        return self._loaded

    def subscribe(self, subscriber: Subscriber) -> None:
        """Be called after every swap, in order of subscription."""
        self._subscribers.append(subscriber)

    def reload(self) -> bool:
        """Read the file if its content changed; whether a new snapshot is in force.

        An empty file is somebody about to write: it is skipped. Raises ConfigError when the file is wrong; the old
        snapshot stays.
        """
        try:
            content = self.path.read_bytes()
        except OSError as fault:
            raise ConfigError(f"cannot read {self.path}: {fault.strerror or fault}") from None
        if not content.strip() or sha256(content).hexdigest() == self._loaded.digest:
            return False
        loaded = load_config(self.path, environ=self._environ)
        if loaded.digest == self._loaded.digest:
            return False
        old, self._loaded = self._loaded.config, loaded
        for subscriber in self._subscribers:
            subscriber(old, loaded.config)
        return True

    def note_own_write(self, digest: str) -> None:
        """We wrote the file ourselves and its settings are in force already: do not read it again."""
        self._loaded.digest = digest
