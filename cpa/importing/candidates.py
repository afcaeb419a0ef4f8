"""Logins found in other programs' files, each as an auth file of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from cpa.accounts.files import LARGEST_AUTH_FILE, check_name, is_auth_file_name, parse_auth_file
from cpa.accounts.renaming import renamed_file
from cpa.errors import AuthFileError, LoginError
from cpa.importing.reading import Unreadable, read_source
from cpa.plugins.native import NativeFiles, NativeSource
from cpa.plugins.provider import Provider

Identify: TypeAlias = Callable[[Provider, Mapping[str, Any]], Mapping[str, str]]
"""Finds out whose login an auth file's members are, where a program's files do not say; {} when it cannot."""
LARGEST_MORE = 64 * 1024 * 1024
"""Bytes of a file that only says something about a login, such as a program's whole state."""


class Candidate(Struct, kw_only=True):
    """One login that could be taken."""

    origin: Path
    program: str
    """Whose it is, for people."""
    name: str
    """The name its auth file should have."""
    spare_name: str = ""
    """The name when another login has a file called ``name``."""
    data: dict[str, Any]
    label: str
    notes: tuple[str, ...] = ()
    rotates: bool = True
    """Whether the other program and cpa cannot both keep it for long."""

    def __repr__(self) -> str:
        return f"Candidate({self.name!r} of {self.program!r})"


class Refused(Struct, frozen=True):
    """A file that holds nothing to take."""

    origin: Path
    program: str
    reason: str
    """What is wrong, and what to do instead where something can be done."""


def folder_of(source: NativeSource, home: Path, environ: Mapping[str, str]) -> Path:
    """The folder of a vendor's program."""
    named = environ.get(source.variable, "").strip() if source.variable else ""
    return Path(named).expanduser() if named else home / source.folder


def unknown(provider: Provider, data: Mapping[str, Any]) -> Mapping[str, str]:
    """Nobody is asked whose login it is."""
    return {}


def from_program(
    provider: Provider, home: Path, environ: Mapping[str, str], identify: Identify = unknown
) -> Candidate | Refused:
    """The login of a provider's own program, or why there is none."""
    source = provider.native
    assert source is not None, "only providers with a program are asked"
    folder = folder_of(source, home, environ)
    places = {name: folder / name for name in source.more}
    if folder == home / source.folder:
        places |= {name: home / name for name in source.home_files if not (folder / name).exists()}
    return _from_files(provider, source, folder / source.file, places, environ, identify)


def from_program_file(
    provider: Provider, path: Path, environ: Mapping[str, str], identify: Identify = unknown
) -> Candidate | Refused:
    """The login in a copy of a program's file, with what lies beside it."""
    source = provider.native
    assert source is not None, "only providers with a program are asked"
    return _from_files(provider, source, path, {name: path.parent / name for name in source.more}, environ, identify)


def _from_files(
    provider: Provider,
    source: NativeSource,
    main: Path,
    more: Mapping[str, Path],
    environ: Mapping[str, str],
    identify: Identify,
) -> Candidate | Refused:
    contents: dict[str, bytes] = {}
    for name, path in more.items():
        try:
            contents[name] = read_source(path, LARGEST_MORE)
        except (FileNotFoundError, Unreadable):
            continue
    try:
        contents[source.file] = read_source(main, LARGEST_AUTH_FILE)
    except FileNotFoundError:
        pass
    except Unreadable as fault:
        return Refused(main, source.title, f"{main.name} {fault}")
    try:
        new = provider.take_native(NativeFiles(contents, environ))
        if not new.data.get("email") and (identity := identify(provider, new.data)):
            new = provider.take_native(NativeFiles(contents, environ, identity))
    except LoginError as fault:
        return Refused(main, source.title, str(fault))
    return Candidate(
        origin=main,
        program=source.title,
        name=new.name,
        spare_name=new.spare_name,
        data=new.data,
        label=new.label,
        notes=new.notes,
        rotates=source.rotates,
    )


def from_auth_directory(folder: Path, program: str) -> Iterator[Candidate | Refused]:
    """Every login of an auth directory; its accounts keep the index they had there."""
    try:
        names = sorted(name for name in os.listdir(folder) if is_auth_file_name(name))
    except OSError as fault:
        yield Refused(folder, program, f"cannot be read: {fault.strerror}")
        return
    for name in names:
        yield from_auth_file(folder / name, program)


def from_auth_file(path: Path, program: str) -> Candidate | Refused:
    """The login of one auth file."""
    try:
        data = parse_auth_file(read_source(path, LARGEST_AUTH_FILE))
        return _of_auth_file(path, check_name(path.name), data, program)
    except FileNotFoundError:
        return Refused(path, program, "there is no such file")
    except (AuthFileError, Unreadable) as fault:
        return Refused(path, program, str(fault))


def _of_auth_file(path: Path, name: str, data: dict[str, Any], program: str) -> Candidate:
    label = data.get("label") or data.get("email")
    return Candidate(
        origin=path,
        program=program,
        name=name,
        data=renamed_file(data, str(path), name),
        label=label if isinstance(label, str) else str(data["type"]),
        rotates="refresh_token" in data,
    )


def from_bundle(path: Path, files: Any, program: str) -> Iterable[Candidate | Refused]:
    """The logins that ``cpa accounts export`` has written into one file."""
    if not isinstance(files, dict):
        return [Refused(path, program, "holds no logins")]
    return [_of_bundle(path, name, data, program) for name, data in files.items()]


def _of_bundle(path: Path, name: str, data: Any, program: str) -> Candidate | Refused:
    try:
        check_name(name)
    except AuthFileError as fault:
        return Refused(path, program, str(fault))
    if not isinstance(data, dict) or not isinstance(data.get("type"), str) or not data["type"].strip():
        return Refused(path, program, f"{name} is no login")
    found = _of_auth_file(path, name, data, program)
    return Candidate(**{**_members(found), "data": data})


def _members(candidate: Candidate) -> dict[str, Any]:
    return {name: getattr(candidate, name) for name in Candidate.__struct_fields__}
