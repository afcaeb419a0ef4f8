"""The accounts a command works on: those of the running daemon, or those on disk when none runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

from cpa.cli.control import ask_daemon, daemon_listens
from cpa.errors import CpaError

if TYPE_CHECKING:
    from cpa.cli.inspection import Inspection
    from cpa.cli.standalone import Standalone

_Result = TypeVar("_Result")


class NotPossible(CpaError):
    """It cannot be done to this account; the message says what to do instead."""


class Accounts(Protocol):
    """What commands do with accounts. ``entry`` is one of ``entries``; everything may raise CpaError and OSError."""

    running: bool
    """Whether a daemon serves them."""

    def entries(self) -> list[dict[str, Any]]:
        """Every account, see :func:`cpa.management.account_list.shown_accounts`."""

    def models(self, entry: dict[str, Any]) -> list[str]:
        """Names of the models an account offers."""

    def content(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The members of an account's auth file, tokens and all."""

    def set_disabled(self, entry: dict[str, Any], disabled: bool) -> None:
        """Switch an account off or on."""

    def rename(self, entry: dict[str, Any], label: str | None, file: str | None) -> None:
        """Give a login another label, its file another name."""

    def delete(self, entry: dict[str, Any]) -> None:
        """Delete an account's auth file."""

    def test(self, entry: dict[str, Any], model: str) -> dict[str, Any]:
        """Ask an account a tiny question, see :class:`cpa.exchange.trial.Trial`."""

    def explain(self, model: str) -> dict[str, Any]:
        """Why a model's requests go where they go."""

    def quota(self) -> list[dict[str, Any]]:
        """What is known of quota, by account."""

    def ask_quota(self, entries: list[dict[str, Any]]) -> None:
        """Ask the vendors of these logins now."""


def open_accounts(config_path: Path) -> Accounts:
    """The accounts of the daemon that serves the configuration, else those it would serve."""
    return RunningAccounts(config_path) if daemon_listens(config_path) else StoredAccounts(config_path)


class RunningAccounts:
    """Asks the daemon."""

    running = True

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return ask_daemon(self._config_path, method, path, body)

    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._ask("GET", "/accounts")["accounts"]
        return entries

    def models(self, entry: dict[str, Any]) -> list[str]:
        told = self._ask("GET", f"/auth-files/models?name={quote(entry['id'], safe='')}")
        return [model["id"] for model in told["models"]]

    def content(self, entry: dict[str, Any]) -> dict[str, Any]:
        content: dict[str, Any] = self._ask("GET", f"/auth-files/download?name={quote(file_of(entry), safe='')}")
        return content

    def set_disabled(self, entry: dict[str, Any], disabled: bool) -> None:
        name = entry["id"] if entry["source"] == "config" else file_of(entry)
        self._ask("PATCH", "/auth-files/status", {"name": name, "disabled": disabled})

    def rename(self, entry: dict[str, Any], label: str | None, file: str | None) -> None:
        file_of(entry)
        wanted = {"label": label, "file": file}
        body = {
            "auth_index": entry["auth_index"],
            **{name: value for name, value in wanted.items() if value is not None},
        }
        self._ask("PATCH", "/accounts/name", body)

    def delete(self, entry: dict[str, Any]) -> None:
        self._ask("DELETE", f"/auth-files?name={quote(file_of(entry), safe='')}")

    def test(self, entry: dict[str, Any], model: str) -> dict[str, Any]:
        body = {"auth_index": entry["auth_index"], "model": model}
        trial: dict[str, Any] = ask_daemon(self._config_path, "POST", "/accounts/test", body, seconds=100.0)
        return trial

    def explain(self, model: str) -> dict[str, Any]:
        explanation: dict[str, Any] = self._ask("GET", f"/route/explain?model={quote(model, safe='')}")
        return explanation

    def quota(self) -> list[dict[str, Any]]:
        accounts: list[dict[str, Any]] = self._ask("GET", "/quota")["accounts"]
        return accounts

    def ask_quota(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            body = {"auth_index": entry["auth_index"]}
            ask_daemon(self._config_path, "POST", "/quota", body, seconds=100.0)


class StoredAccounts:
    """Reads the configuration and the auth directory; changes are in force when a daemon starts."""

    running = False

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._inspected: Inspection | None = None
        self._asked: dict[str, dict[str, Any]] = {}

    @property
    def inspection(self) -> Inspection:
        """What the configuration yields, with what the daemon knew of quota when it ended. Raises ConfigError."""
        if self._inspected is None:
            import orjson

            from cpa.cli.database import database_of
            from cpa.cli.inspection import inspect_config
            from cpa.exchange.quota_memory import FILE_NAME, QuotaMemory

            found = self._inspected = inspect_config(self._config_path)
            path = database_of(found.config, self._config_path).with_name(FILE_NAME)
            with suppress(OSError, orjson.JSONDecodeError):
                QuotaMemory(found.pool).restore(orjson.loads(path.read_bytes()))
        return self._inspected

    def entries(self) -> list[dict[str, Any]]:
        from cpa.management.account_list import shown_accounts

        found = self.inspection
        return shown_accounts(found.pool, found.roster, found.catalog)

    def models(self, entry: dict[str, Any]) -> list[str]:
        return sorted({model.id for model in self.inspection.catalog.models_of(entry["id"])})

    def content(self, entry: dict[str, Any]) -> dict[str, Any]:
        name = file_of(entry)
        file = self._directory().read(name)
        if file is None:
            raise NotPossible(f"there is no auth file {name} any more")
        return dict(file.data)

    def set_disabled(self, entry: dict[str, Any], disabled: bool) -> None:
        self._directory().update(file_of(entry), lambda data: {**data, "disabled": disabled})

    def rename(self, entry: dict[str, Any], label: str | None, file: str | None) -> None:
        from cpa.accounts.renaming import relabelled, renamed_file

        name, directory = file_of(entry), self._directory()
        if label is not None:
            directory.update(name, lambda data: relabelled(data, label))
        if file is not None and file != name:
            path = str(directory.path / name)
            directory.rename(name, file, lambda data: renamed_file(data, path, file))

    def delete(self, entry: dict[str, Any]) -> None:
        self._directory().delete(file_of(entry))

    def test(self, entry: dict[str, Any], model: str) -> dict[str, Any]:
        import msgspec

        async def ask(standalone: Standalone) -> dict[str, Any]:
            account = standalone.pool.get(entry["id"])
            if account is None:
                raise NotPossible(f"there is no account {entry['id']} any more")
            trial: dict[str, Any] = msgspec.to_builtins(await standalone.trials.run(account, standalone.config, model))
            return trial

        return self._with_standalone(ask)

    def explain(self, model: str) -> dict[str, Any]:
        from cpa.errors import ApiError
        from cpa.exchange.candidates import Router
        from cpa.exchange.explain import explain
        from cpa.exchange.model_routes import ModelRoutes
        from cpa.management.account_list import shown_explanation

        found = self.inspection
        router = Router(found.pool, found.catalog, None)
        try:
            explanation = explain(router, ModelRoutes(found.pool.clock), model, found.config)
        except ApiError as fault:
            raise NotPossible(fault.error.message) from None
        return shown_explanation(explanation, found.pool)

    def quota(self) -> list[dict[str, Any]]:
        from cpa.management.account_list import shown_quota

        pool = self.inspection.pool
        known = {account.id: shown_quota(account, pool, None) for account in pool if pool.quota(account.id)}
        return list({**known, **self._asked}.values())

    def ask_quota(self, entries: list[dict[str, Any]]) -> None:
        import asyncio

        from cpa.management.account_list import shown_quota

        async def ask(standalone: Standalone) -> None:
            await asyncio.gather(*(standalone.quota_queries.ask(entry["id"]) for entry in entries))
            for entry in entries:
                account = standalone.pool.get(entry["id"])
                if account is not None:
                    self._asked[account.id] = shown_quota(account, standalone.pool, standalone.quota_queries)

        self._with_standalone(ask)

    def _with_standalone(self, work: Callable[[Standalone], Awaitable[_Result]]) -> _Result:
        import asyncio

        from cpa.cli.standalone import standalone

        async def run() -> _Result:
            async with standalone(self._config_path) as ready:
                return await work(ready)

        return asyncio.run(run())

    def _directory(self) -> Any:
        from cpa.accounts.files import AuthDirectory

        return AuthDirectory(Path(self.inspection.config.auth_dir))


def file_of(entry: dict[str, Any]) -> str:
    """The name of an account's auth file; that of the whole login for one of its projects. Raises NotPossible."""
    if entry["source"] == "config":
        place = f"{entry['config_section']}[{entry['config_position']}]"
        raise NotPossible(f"{entry['label']} is a key of the configuration: change {place} in config.yaml")
    if entry["source"] != "file":
        raise NotPossible(f"{entry['label']} has no file: the plugin {entry['provider']} makes it")
    return Path(entry["path"]).name
