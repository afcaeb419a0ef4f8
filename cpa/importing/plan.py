"""What becomes of each login that could be taken: decided before anything is written, the same every time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from cpa.accounts.file_fields import expires_at, last_refresh
from cpa.accounts.files import AuthDirectory, AuthFile, JsonObject, type_of
from cpa.accounts.login.stored import LOGIN_MEMBERS, merged_login, place, same_login
from cpa.accounts.refresh import refresh_token_of
from cpa.accounts.renaming import MEMBER, first_path
from cpa.errors import AuthFileError
from cpa.importing.candidates import Candidate

Action: TypeAlias = Literal["add", "renew", "keep"]
"""``add``: a new file; ``renew``: newer tokens for a file that is there; ``keep``: nothing is to be done."""
IdentityOf: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, str]]
"""Who the login of an auth file is, see :meth:`cpa.plugins.Provider.login_identity`."""
_OURS = frozenset({MEMBER, "disabled"})
"""Members that say nothing about the login."""


class Step(Struct, frozen=True):
    """One login and what becomes of it."""

    action: Action
    name: str
    """The auth file."""
    because: str
    candidate: Candidate


def plan(candidates: Iterable[Candidate], directory: AuthDirectory, identity_of: IdentityOf) -> list[Step]:
    """Decide in order; a login that appears twice is taken once. Reads the auth directory. Raises OSError."""
    known = {file.name: file for file in directory.scan()}
    taken = set(directory.names()) | set(known)
    steps: list[Step] = []
    for candidate in candidates:
        step = _decide(candidate, list(known.values()), taken, identity_of)
        steps.append(step)
        if step.action != "keep":
            before = known[step.name].data if step.name in known else {}
            data = renewed(before, candidate.data) if before else candidate.data
            known[step.name] = AuthFile(step.name, directory.path / step.name, data, "")
            taken.add(step.name)
    return steps


def _decide(candidate: Candidate, known: list[AuthFile], taken: set[str], identity_of: IdentityOf) -> Step:
    kind, token, who = type_of(candidate.data), refresh_token_of(candidate.data), identity_of(candidate.data)
    same_kind = [file for file in known if file.type == kind]
    for file in same_kind:
        if (token and refresh_token_of(file.data) == token) or _content(file.data) == _content(candidate.data):
            return Step("keep", file.name, "there already", candidate)
    ours = [file for file in same_kind if same_login(identity_of(file.data), who)]
    if ours:
        return _against(candidate, next((file for file in ours if file.name == candidate.name), ours[-1]))
    if not any(who.values()):
        for file in same_kind:
            if MEMBER in candidate.data and _first_path(file) == first_path(str(candidate.origin), candidate.data):
                return _against(candidate, file)
            if MEMBER not in candidate.data and candidate.name in (file.name, os.path.basename(_first_path(file))):
                return Step("keep", file.name, "taken before; its tokens were renewed since", candidate)
    name = place(candidate.name, candidate.spare_name, candidate.data, identity_of, known)
    return Step("add", _free(name, taken), "new", candidate)


def _against(candidate: Candidate, file: AuthFile) -> Step:
    """A login that is there: its tokens are replaced by newer ones only."""
    if not refresh_token_of(candidate.data):
        return Step("keep", file.name, "another key of it is there", candidate)
    if is_newer(candidate.data, file.data):
        return Step("renew", file.name, "its tokens are newer than those that are there", candidate)
    return Step("keep", file.name, "what is there is as new or newer", candidate)


def is_newer(one: JsonObject, other: JsonObject) -> bool:
    """Whether the tokens of one auth file came after those of the other, by their ends or by when they were renewed."""
    for mine, theirs in zip(_ages(one), _ages(other), strict=True):
        if mine is not None and theirs is not None:
            return mine > theirs
    return False


def _ages(data: JsonObject) -> tuple[float | None, float | None]:
    return expires_at(data), last_refresh(data)


def _content(data: JsonObject) -> str:
    return json.dumps({name: value for name, value in data.items() if name not in _OURS}, sort_keys=True)


def _first_path(file: AuthFile) -> str:
    return first_path(str(file.path), file.data)


def _free(name: str, taken: set[str]) -> str:
    """``name``, or with a number where a file that cannot be used has it."""
    stem, number, wanted = name.removesuffix(".json"), 2, name
    while wanted in taken:
        wanted, number = f"{stem}-{number}.json", number + 1
    return wanted


def renewed(old: JsonObject, new: JsonObject) -> JsonObject:
    """A file's members with newer tokens in them: what the user has set there stays, what it lacks is added."""
    return merged_login(old, {name: value for name, value in new.items() if name in LOGIN_MEMBERS or name not in old})


def carry_out(step: Step, directory: AuthDirectory) -> str:
    """Write what a step says; the name of the file. Raises AuthFileError and OSError; nothing is half written.

    Tokens that became newer since the plan are left alone. Runs an event loop for a moment: not to be called in one.
    """
    data = step.candidate.data
    if step.action == "renew":
        return asyncio.run(_renew(step.name, data, directory))
    if step.action == "add":
        moved = {**data, MEMBER: {**data[MEMBER], "file": step.name}} if isinstance(data.get(MEMBER), dict) else data
        return directory.create(step.name, {**moved, "disabled": bool(data.get("disabled", False))}).name
    raise AuthFileError("there is nothing to do")


async def _renew(name: str, data: JsonObject, directory: AuthDirectory) -> str:
    async with directory.lock(name):  # no daemon renews them meanwhile
        return directory.update(name, lambda old: renewed(old, data) if is_newer(data, old) else old).name
