"""The configuration in force: one immutable snapshot, swapped as a whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from cpa.config.load import LoadedConfig, load_bytes, load_config, read_bytes
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
        self.applied = 0
        """Changes of the file that were put in force."""
        self.refused = 0
        """Changes of the file that were found wrong."""
        self.applied_at = time.time()
        """When the snapshot in force was read, Unix seconds."""

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

        Call it after writing the file, so that the change is in force at once and the watcher finds nothing new.
        Raises ConfigError when the file is wrong; the old snapshot stays.
        """
        loaded = self.read_if_changed()
        return loaded is not None and self.swap(loaded)

    def read_if_changed(self) -> LoadedConfig | None:
        """The file's configuration when its content is not the one in force; blocks, changes nothing.

        An empty file is somebody about to write: it is skipped. Raises ConfigError.
        """
        content = read_bytes(self.path)
        if not content.strip() or sha256(content).hexdigest() == self._loaded.digest:
            return None
        try:
            return load_bytes(content, self.path, environ=self._environ)
        except ConfigError:
            self.refused += 1
            raise

    def swap(self, loaded: LoadedConfig) -> bool:
        """Put a configuration in force and tell the subscribers; False when it is in force already.

        Every subscriber is called; what the first failing one raised is raised at the end.
        """
        if loaded.digest == self._loaded.digest:
            return False
        old, self._loaded = self._loaded.config, loaded
        self.applied, self.applied_at = self.applied + 1, time.time()
        failure: Exception | None = None
        for subscriber in self._subscribers:
            try:
                subscriber(old, loaded.config)
            except Exception as fault:
                failure = failure or fault
        if failure is not None:
            raise failure
        return True
