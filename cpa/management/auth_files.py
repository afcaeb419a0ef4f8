"""``/auth-files``: the logins in the auth directory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

from cpa.accounts.account import Account
from cpa.accounts.files import LARGEST_AUTH_FILE, AuthFile, JsonObject, is_auth_file_name, parse_auth_file
from cpa.accounts.refresh import LoginState
from cpa.errors import AuthFileError, AuthFileMissing
from cpa.management.account_lookup import account_at, place_in_config
from cpa.management.answers import Refusal, answer, member, ok, parse_json, read_body, read_json, read_object
from cpa.management.auth_file_fields import field_edits
from cpa.management.auth_file_view import shown_account
from cpa.management.forms import read_form
from cpa.management.key_status import set_key_status
from cpa.management.lists import text
from cpa.management.route import Query, Route
from cpa.management.services import Management

_ALL = frozenset({"1", "true", "*"})
_TAG = "Accounts"


class AuthFilesResource:
    """The files, and the accounts they yield."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._files = management.auth_files
        self._roster = management.roster

    # -- reading -----------------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.Response:
        """Every login, by name."""
        files, pool = dict(self._roster.files), self._management.pool
        owned = [(self._roster.accounts_of(name), file) for name, file in files.items()]
        memory = [account for account in pool if account.source == "runtime" and not account.disabled]

        def show() -> list[dict[str, Any]]:
            shown = [
                {
                    **shown_account(accounts[0], pool, file=file.path, login=self._login_of(accounts[0])),
                    "accounts": len(accounts),
                }
                for accounts, file in owned
                if accounts
            ]
            shown += [shown_account(account, pool, file=None) for account in memory]
            return sorted(shown, key=lambda entry: str(entry["name"]).lower())

        return answer({"files": await asyncio.to_thread(show)})

    def _login_of(self, account: Account) -> LoginState | None:
        renewals = self._management.renewals
        return renewals.state(account) if renewals is not None else None

    async def models(self, request: web.Request) -> web.Response:
        """What a login offers."""
        name = request.query.get("name", "").strip()
        if not name:
            raise Refusal(400, "name is required")
        account_ids = {account.id for account in self._accounts(name)}
        models = {
            model.id: model for account_id in account_ids for model in self._management.catalog.models_of(account_id)
        }
        shown = [
            {
                "id": model.id,
                **{
                    key: value
                    for key, value in (
                        ("display_name", model.display_name),
                        ("type", model.type),
                        ("owned_by", model.owned_by),
                    )
                    if value
                },
            }
            for model in sorted(models.values(), key=lambda model: model.id)
        ]
        return answer({"models": shown})

    async def download(self, request: web.Request) -> web.Response:
        """The file itself, tokens and all."""
        name = _file_name(request.query.get("name", ""))
        await self._refuse_link(name)
        path = self._files.directory.path / name
        try:
            known = await asyncio.to_thread(self._files.directory.read, name)
            content = await asyncio.to_thread(path.read_bytes) if known is not None else None
        except AuthFileError:
            content = None
        except OSError as fault:
            raise Refusal(500, f"failed to read file: {fault.strerror or fault}") from None
        if content is None:
            raise Refusal(404, "file not found")
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(body=content, content_type="application/json", headers=headers)

    # -- writing -----------------------------------------------------------------------------------------------

    async def upload(self, request: web.Request) -> web.Response:
        """One file as the body (``?name=``), or one or several as a form."""
        if not request.content_type.startswith("multipart/"):
            name = _file_name(request.query.get("name", ""))
            await self._save(name, await read_body(request, LARGEST_AUTH_FILE))
            return ok()
        parts = [(name, content) for _, name, content in (await read_form(request)).files]
        if not parts:
            raise Refusal(400, "no files uploaded")
        return await _each("uploaded", [(name, partial(self._take, name, content)) for name, content in parts])

    async def _take(self, name: str, content: bytes) -> None:
        if not name.lower().endswith(".json"):
            raise Refusal(400, "file must be .json")
        await self._save(name, content)

    async def _save(self, name: str, content: bytes) -> None:
        await self._refuse_link(name)
        try:
            data = parse_auth_file(content)
            await self._files.put(name, data)
        except AuthFileError as fault:
            raise Refusal(400, f"invalid auth file: {fault}") from None
        except OSError as fault:
            raise Refusal(500, f"failed to write file: {fault.strerror or fault}") from None

    async def _refuse_link(self, name: str) -> None:
        """Refuse a file of the directory that is a link to somewhere else."""
        folder = self._files.directory.path

        def leads_out() -> bool:
            path = folder / name
            return path.is_symlink() and path.resolve().parent != folder.resolve()

        try:
            outside = await asyncio.to_thread(leads_out)
        except (OSError, ValueError, RuntimeError):
            outside = True
        if outside:
            raise Refusal(400, "invalid name", "the file is a link that leads out of the auth directory")

    async def delete(self, request: web.Request) -> web.Response:
        """One, several or all."""
        if request.query.get("all", "").lower() in _ALL:
            names = await asyncio.to_thread(self._files.directory.names)
            for name in names:
                await self._remove(name)
            return ok(deleted=len(names))
        names = await self._named(request)
        return await _each("deleted", [(name, partial(self._drop, name)) for name in names])

    async def _drop(self, name: str) -> None:
        await self._remove(_file_name(name))

    async def _remove(self, name: str) -> None:
        try:
            found = await self._files.delete(name)
        except AuthFileError:
            raise Refusal(400, "invalid name") from None
        except OSError as fault:
            raise Refusal(500, f"failed to delete file: {fault.strerror or fault}") from None
        if not found:
            raise Refusal(404, "auth file not found")

    async def _named(self, request: web.Request) -> list[str]:
        names = list(request.query.getall("name", []))
        content = await read_body(request)
        if not names and content.strip():
            body = parse_json(content, "invalid request body")
            if isinstance(body, dict):
                body = body.get("names") or body.get("name")
            names = [body] if isinstance(body, str) else body if isinstance(body, list) else []
        names = [name for name in dict.fromkeys(map(text, names)) if name]
        if not names:
            raise Refusal(400, "invalid name")
        return names

    async def status(self, request: web.Request) -> web.Response:
        """Enable or disable a login."""
        body = await read_object(request, "invalid request body")
        name = text(member(body, "name", str, "invalid request body"))
        disabled = member(body, "disabled", bool, "invalid request body")
        if not name:
            raise Refusal(400, "name is required")
        if disabled is None:
            raise Refusal(400, "disabled is required")
        configured = self._configured(name)
        if configured is not None:
            return await set_key_status(self._management, request, configured, disabled)
        await self._edit(name, lambda data: {**data, "disabled": disabled})
        return ok(disabled=disabled)

    async def fields(self, request: web.Request) -> web.Response:
        """Change options of a login."""
        body = await read_json(request, "invalid request body")
        if not isinstance(body, dict):
            raise Refusal(400, "invalid request body")
        name = text(body.pop("name", None))
        if not name:
            raise Refusal(400, "name is required")
        await self._edit(name, field_edits(body))
        return ok()

    async def _edit(self, name: str, edit: Callable[[JsonObject], JsonObject]) -> None:
        try:
            await self._files.update(self._file_of(name).name, edit)
        except AuthFileMissing:
            raise Refusal(404, "auth file not found") from None
        except (AuthFileError, OSError) as fault:
            raise Refusal(500, f"failed to update auth: {fault}") from None

    # -- finding -----------------------------------------------------------------------------------------------

    def _file_of(self, name: str) -> AuthFile:
        """The auth file of that name, or of the account with that id or index. Refuses with 404."""
        file = self._roster.files.get(name)
        if file is not None:
            return file
        for account in self._management.pool:
            if name in (account.id, account.index):
                file = next((f for f in self._roster.files.values() if str(f.path) == account.source), None)
                if file is not None:
                    return file
        raise Refusal(404, "auth file not found")

    def _configured(self, name: str) -> Account | None:
        """The account of a key in the configuration with that id or index."""
        if name in self._roster.files:
            return None
        account = self._management.pool.get(name) or account_at(self._management.pool, name)
        return account if account is not None and place_in_config(account) else None

    def _accounts(self, name: str) -> list[Account]:
        if name in self._roster.files:
            return self._roster.accounts_of(name)
        account = self._management.pool.get(name)
        return [account] if account is not None else []


def _file_name(name: str) -> str:
    """A plain file name that ends with .json. Refuses with 400."""
    if not name or "/" in name or "\\" in name or "\x00" in name or name.startswith("."):
        raise Refusal(400, "invalid name")
    if not is_auth_file_name(name):
        raise Refusal(400, "name must end with .json")
    return name


async def _each(verb: str, work: list[tuple[str, Callable[[], Awaitable[None]]]]) -> web.Response:
    """Do what is to be done for each name. A refusal of one keeps the others from nothing; the only one's is raised."""
    done: list[str] = []
    failed: list[dict[str, Any]] = []
    for name, act in work:
        try:
            await act()
            done.append(name)
        except Refusal as refusal:
            if len(work) == 1:
                raise
            failed.append({"name": name, "error": refusal.body["error"]})
    if len(work) == 1:
        return ok()
    if not failed:
        return ok(**{verb: len(done)}, files=done)
    return answer({"status": "partial", verb: len(done), "files": done, "failed": failed}, 207)


def routes(management: Management) -> list[Route]:
    """The seven routes."""
    files = AuthFilesResource(management)
    name = Query("name", "File name", required=True)
    entries = {
        "type": "object",
        "properties": {"files": {"type": "array", "items": {"type": "object"}}},
        "required": ["files"],
    }
    models = {
        "type": "object",
        "properties": {"models": {"type": "array", "items": {"type": "object"}}},
        "required": ["models"],
    }
    status = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "disabled": {"type": "boolean"}},
        "required": ["name", "disabled"],
    }
    outcome = {"type": "object", "properties": {"status": {"enum": ["ok", "partial"]}}, "required": ["status"]}
    whole = {"type": "object"}
    fields = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    path = "/auth-files"
    return [
        Route(method="GET", path=path, handler=files.get, summary="Every login", tag=_TAG, answer=entries),
        Route(
            method="POST",
            path=path,
            handler=files.upload,
            summary="Store logins",
            tag=_TAG,
            query=(Query("name", "File name, when the body is the file itself"),),
            body=whole,
            answer=outcome,
            statuses=(200, 207),
            refusals=(400, 413),
        ),
        Route(
            method="DELETE",
            path=path,
            handler=files.delete,
            summary="Delete logins",
            tag=_TAG,
            query=(Query("name", "File name; may be repeated"), Query("all", "``true`` deletes every login")),
            answer=outcome,
            statuses=(200, 207),
        ),
        Route(
            method="GET",
            path=f"{path}/models",
            handler=files.models,
            summary="What a login offers",
            tag=_TAG,
            query=(name,),
            answer=models,
        ),
        Route(
            method="GET",
            path=f"{path}/download",
            handler=files.download,
            summary="The file of a login",
            tag=_TAG,
            query=(name,),
            answer=whole,
        ),
        Route(
            method="PATCH",
            path=f"{path}/status",
            handler=files.status,
            summary="Enable or disable a login",
            tag=_TAG,
            body=status,
        ),
        Route(
            method="PATCH",
            path=f"{path}/fields",
            handler=files.fields,
            summary="Change options of a login",
            tag=_TAG,
            body=fields,
        ),
    ]
