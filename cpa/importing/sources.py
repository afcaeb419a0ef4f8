"""Everything that can be taken, by the name a user gives it or by looking at the usual places."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from cpa.accounts.files import LARGEST_AUTH_FILE
from cpa.importing.candidates import (
    Candidate,
    Identify,
    Refused,
    folder_of,
    from_auth_directory,
    from_auth_file,
    from_bundle,
    from_program,
    from_program_file,
    unknown,
)
from cpa.importing.installation import CONFIG_NAMES, TITLE, Installation, installation_at, usual_installations
from cpa.importing.reading import Unreadable, read_source
from cpa.plugins.provider import Provider

BUNDLE = "cpa-accounts"
"""``format`` of a file that ``cpa accounts export`` has written."""
LARGEST_BUNDLE = 256 * 1024 * 1024
INSTALLATION = "cliproxyapi"


class Found(Struct):
    """What was found."""

    logins: list[Candidate | Refused] = field(default_factory=list)
    installations: list[Installation] = field(default_factory=list)

    def extend(self, other: Found) -> None:
        """Add what was found elsewhere."""
        self.logins += other.logins
        self.installations += other.installations

    def __bool__(self) -> bool:
        return bool(self.logins or self.installations)


class Sources:
    """Looks for sources. ``ours`` is our own configuration file, which is never a source."""

    def __init__(
        self,
        providers: Iterable[Provider],
        home: Path,
        environ: Mapping[str, str],
        ours: Path,
        identify: Identify = unknown,
    ) -> None:
        self._programs = {source.name: provider for provider in providers if (source := provider.native) is not None}
        self._home = home
        self._environ = environ
        self._ours = ours
        self._identify = identify

    @property
    def programs(self) -> list[str]:
        """Vendors' programs that can be asked for by name."""
        return sorted(self._programs)

    @property
    def names(self) -> list[str]:
        """What can be asked for by name."""
        return [*self.programs, INSTALLATION]

    def installations(self) -> list[Path]:
        """Configurations of CLIProxyAPI at their usual places."""
        return list(usual_installations(self._home, self._ours))

    def everything(self) -> Found:
        """Programs that are logged in and installations at their usual places; programs without a login are silent."""
        found = Found()
        for name in self.programs:
            if self.is_there(name):
                found.logins.append(from_program(self._programs[name], self._home, self._environ, self._identify))
        for path in self.installations():
            found.extend(self._installation(path))
        return found

    def is_there(self, name: str) -> bool:
        """Whether a program keeps a login on this machine. No content is read."""
        source = self._programs[name].native
        return source is not None and (folder_of(source, self._home, self._environ) / source.file).is_file()

    def title(self, name: str) -> str:
        """A program, for people."""
        source = self._programs[name].native
        return source.title if source is not None else name

    def named(self, wanted: str) -> Found:
        """What a name or a path stands for. Raises Unreadable when there is nothing."""
        name = wanted.strip().lower()
        if name in self._programs:
            return Found([from_program(self._programs[name], self._home, self._environ, self._identify)])
        if name == INSTALLATION:
            if not self.installations():
                raise Unreadable("no installation at its usual places: name its config.yaml or its folder")
            found = Found()
            for path in self.installations():
                found.extend(self._installation(path))
            return found
        return self._at(Path(wanted).expanduser())

    def _at(self, path: Path) -> Found:
        if path.is_dir():
            return self._folder(path)
        if not path.exists():
            raise Unreadable(f"there is no such file or folder, and no source of that name ({', '.join(self.names)})")
        if path.suffix.lower() in (".yaml", ".yml", ".conf"):
            return self._installation(path)
        return Found(self._file(path))

    def _folder(self, path: Path) -> Found:
        if not any((path / name).is_file() for name in CONFIG_NAMES):
            for provider in self._programs.values():
                if provider.native is not None and (path / provider.native.file).is_file():
                    return Found(
                        [from_program_file(provider, path / provider.native.file, self._environ, self._identify)]
                    )
        return self._installation(path)

    def _file(self, path: Path) -> list[Candidate | Refused]:
        for provider in self._programs.values():
            if provider.native is not None and path.name == provider.native.file:
                return [from_program_file(provider, path, self._environ, self._identify)]
        bundle = _bundle(path)
        if bundle is not None:
            return list(from_bundle(path, bundle.get("files"), "an export of cpa"))
        return [from_auth_file(path, "an auth file")]

    def _installation(self, path: Path) -> Found:
        installation = installation_at(path)
        found = Found(installations=[installation])
        if installation.auth_dir is not None:
            found.logins = list(from_auth_directory(installation.auth_dir, TITLE))
        return found


def _bundle(path: Path) -> dict[str, Any] | None:
    """The file's object when it is an export of several logins."""
    try:
        content = read_source(path, LARGEST_BUNDLE)
    except FileNotFoundError:
        return None
    if len(content) <= LARGEST_AUTH_FILE and BUNDLE.encode() not in content[:200]:
        return None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.get("format") == BUNDLE else None
