"""One import from the first look to the last file written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cpa.accounts.file_fields import provider_of
from cpa.accounts.files import AuthDirectory
from cpa.cli.control import ask_daemon, daemon_listens
from cpa.cli.quiet import Quiet
from cpa.config import Config, load_config
from cpa.config.environment import with_dotenv
from cpa.config.load import load_text
from cpa.errors import AuthFileError, ConfigError, CpaError, UpstreamError
from cpa.importing.candidates import Candidate
from cpa.importing.installation import LARGEST_CONFIG, Installation
from cpa.importing.plan import Step, carry_out, plan
from cpa.importing.reading import Unreadable, read_source
from cpa.importing.settings import SettingsPlan, carry_out_settings, plan_settings
from cpa.importing.sources import Found, Sources
from cpa.importing.usage import adopt_database, into_database, take_usage
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import Provider
from cpa.usage.transfer import Imported

UPLOAD_SECONDS = 300.0


class Job:
    """``look`` plans, ``do`` carries out; :mod:`cpa.cli.import_story` tells what and how it went."""

    def __init__(
        self,
        config_path: Path,
        environ: Mapping[str, str],
        *,
        settings: bool = True,
        usage: bool = True,
        email: str = "",
        offline: bool = False,
    ) -> None:
        self.path = config_path
        self._wants_settings = settings
        self.wants_usage = usage
        """Whether usage records are to be taken."""
        self._email = email
        self._environ = environ = with_dotenv(environ)
        self._offline = offline
        self._known: dict[str, Mapping[str, str]] = {}
        self.config = _config_of(config_path, environ)
        self._plugins = Plugins(Quiet())
        self._plugins.load(self.config)
        self.directory = AuthDirectory(Path(self.config.auth_dir))
        self._sources = Sources(self._plugins.providers, Path.home(), environ, config_path, self._identify)
        self._broken = False
        self._names: Sequence[str] = ()
        self.found = Found()
        self.faults: list[tuple[str, str]] = []
        """Names that stand for nothing, and why."""
        self.steps: list[Step] = []
        """What becomes of the logins that are not ours already, in the order they were found."""
        self.settings: list[tuple[Installation, bytes, SettingsPlan]] = []
        self.databases: list[Path] = []
        """Usage databases to take records from."""
        self.outcomes: list[str] = []
        """What was done and what failed, a line each."""

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        steps = any(step.action != "keep" for step in self.steps)
        return steps or any(not plan.empty for _, _, plan in self.settings) or bool(self.databases)

    @property
    def failed(self) -> bool:
        """Whether a source could not be used at all, or something could not be written."""
        return bool(self.faults) or self._broken

    # -- looking -----------------------------------------------------------------------------------------------

    def look(self, names: Sequence[str]) -> None:
        """Find what these names stand for, everything for none, and plan."""
        self._names, self.found, self.faults, self.settings, self.databases = names, Found(), [], [], []
        if not names:
            self.found = self._sources.everything()
        for name in names:
            try:
                self.found.extend(self._sources.named(name))
            except Unreadable as fault:
                self.faults.append((name, str(fault)))
        for installation in self.found.installations:
            self._plan_installation(installation)
        candidates = [login for login in self.found.logins if isinstance(login, Candidate)]
        self.steps = plan([login for login in candidates if not self.is_ours(login)], self.directory, self._identity)

    def _plan_installation(self, installation: Installation) -> None:
        if installation.fault:
            self._broken = True
        if installation.config_path is None or installation.loaded is None:
            return
        if self._wants_settings and not same_file(installation.config_path, self.path):
            content = read_source(installation.config_path, LARGEST_CONFIG)
            copied = next((known for _, known, wanted in self.settings if wanted.copy), None)
            wanted = plan_settings(content, installation.config_path, self.path, ours=copied)
            self.settings.append((installation, content, wanted))
            if wanted.copy:
                self._adopt(content)
        if (
            self.wants_usage
            and installation.database is not None
            and not same_file(installation.database, self.database)
        ):
            self.databases.append(installation.database)

    def _adopt(self, content: bytes) -> None:
        """The configuration will be a copy of this one: it says where logins go."""
        self.config = load_text(content.decode("utf-8-sig"), environ={}).config
        self.directory = AuthDirectory(Path(self.config.auth_dir))

    @property
    def database(self) -> Path:
        """Our usage database."""
        return self.path.absolute().parent / Path(self.config.usage_database_path).expanduser()

    def _identify(self, provider: Provider, data: Mapping[str, Any]) -> Mapping[str, str]:
        """Whose login it is, where its program does not say: as told, else as its vendor says; asked once."""
        if self._email:
            return {"email": self._email}
        if self._offline:
            return {}
        token = str(data.get("refresh_token") or "")
        if token not in self._known:
            self._known[token] = asyncio.run(self._asked(provider, data))
        return self._known[token]

    async def _asked(self, provider: Provider, data: Mapping[str, Any]) -> Mapping[str, str]:
        from cpa.upstream.client import UpstreamClient

        client = UpstreamClient(lambda: self.config.proxy_url, self._environ)
        try:
            return await provider.identify(data, client)
        except UpstreamError:
            return {}
        finally:
            await client.close()

    def is_ours(self, candidate: Candidate) -> bool:
        """Whether a login lies in our own auth directory."""
        return same_file(candidate.origin.parent, self.directory.path)

    def _identity(self, data: Mapping[str, Any]) -> Mapping[str, str]:
        name = provider_of(data)
        found = next((provider for provider in self._plugins.providers if provider.name == name), None)
        return (found or Provider()).login_identity(data)

    # -- doing -------------------------------------------------------------------------------------------------

    def do(self) -> None:
        """Write what was planned. What fails is told in the report and stops nothing else.

        Everything is looked at once more: a source may have renewed its tokens, or somebody else have written here,
        while the question stood. What was not in the plan is left for another time.
        """
        planned = {_shown(step) for step in self.steps}
        self.look(self._names)
        for _, content, wanted in self.settings:
            if not wanted.empty:
                write = partial(carry_out_settings, wanted, content, self.path)
                self._try(f"settings into {short(self.path)}", write)
        done = 0
        for step in self.steps:
            if _shown(step) not in planned:
                self.outcomes.append(f"{step.candidate.label} has changed meanwhile: run cpa import again")
            elif step.action != "keep":
                done += self._try(step.name, partial(carry_out, step, self.directory), silent=True)
        if done:
            self.outcomes.append(f"{done} login{'s' if done != 1 else ''} taken into {short(self.directory.path)}")
            running = daemon_listens(self.path)
            self.outcomes.append("the running daemon serves them now" if running else "cpa serve starts the daemon")
        for database in self.databases:
            self._try(f"usage records of {short(database)}", partial(self._take_usage, database), silent=True)

    def _take_usage(self, path: Path) -> None:
        running = daemon_listens(self.path)
        if not running and not self.database.exists():
            adopt_database(path, self.database)
            self.outcomes.append(f"usage records and histories taken whole into {short(self.database)}")
            return
        done = take_usage(path, self._upload if running else into_database(self.database))
        there = f", {done.skipped:,} were there already" if done.skipped else ""
        bad = f", {done.failed:,} could not be read" if done.failed else ""
        self.outcomes.append(f"{done.added:,} usage records taken{there}{bad}; histories stay where they are")

    def _upload(self, content: bytes) -> Imported:
        told = ask_daemon(self.path, "POST", "/usage/import", content, seconds=UPLOAD_SECONDS)
        return Imported(int(told["added"]), int(told["skipped"]), int(told["failed"]))

    def _try(self, what: str, work: Callable[[], object], *, silent: bool = False) -> bool:
        try:
            work()
        except (AuthFileError, ConfigError, CpaError, OSError) as fault:
            self._broken = True
            reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            self.outcomes.append(f"FAILED {what}: {reason}")
            return False
        if not silent:
            self.outcomes.append(what)
        return True


def _config_of(path: Path, environ: Mapping[str, str]) -> Config:
    """Our configuration; the built-in defaults when there is no file yet. Raises ConfigError when it is broken."""
    return load_config(path, environ=environ).config if path.exists() else load_text("", environ=environ).config


def _shown(step: Step) -> tuple[str, str, str]:
    """What somebody has agreed to."""
    return step.action, step.name, step.candidate.label


def short(path: Path) -> str:
    """A path with ``~`` for the user's home."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file; both may be missing."""
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()
