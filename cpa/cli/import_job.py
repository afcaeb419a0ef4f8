"""One import from the first look to the last file written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cpa.accounts.file_fields import provider_of
from cpa.accounts.files import AuthDirectory
from cpa.cli.control import ask_daemon, daemon_listens
from cpa.cli.quiet import Quiet
from cpa.config import Config, load_config
from cpa.config.load import load_text
from cpa.errors import AuthFileError, ConfigError, CpaError
from cpa.importing.candidates import Candidate, Refused
from cpa.importing.installation import LARGEST_CONFIG, TITLE, Installation
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
    """``look`` plans, ``do`` carries out; in between and afterwards it says what and how it went."""

    def __init__(
        self, config_path: Path, environ: Mapping[str, str], *, settings: bool, usage: bool, email: str
    ) -> None:
        self._path = config_path
        self._wants_settings = settings
        self._wants_usage = usage
        self._email = email
        self._config = _config_of(config_path, environ)
        self._plugins = Plugins(Quiet())
        self._plugins.load(self._config)
        self._directory = AuthDirectory(Path(self._config.auth_dir))
        self._sources = Sources(self._plugins.providers, Path.home(), environ, config_path)
        self._faults: list[tuple[str, str]] = []
        self._steps: list[Step] = []
        self._settings: list[tuple[Installation, bytes, SettingsPlan]] = []
        self._databases: list[Path] = []
        self._outcomes: list[str] = []
        self._broken = False
        self.found = Found()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        steps = any(step.action != "keep" for step in self._steps)
        return steps or any(not plan.empty for _, _, plan in self._settings) or bool(self._databases)

    @property
    def failed(self) -> bool:
        """Whether a source could not be used at all, or something could not be written."""
        return bool(self._faults) or self._broken

    # -- looking -----------------------------------------------------------------------------------------------

    def look(self, names: Sequence[str]) -> None:
        """Find what these names stand for, everything for none, and plan."""
        if not names:
            self.found = self._sources.everything()
        for name in names:
            try:
                self.found.extend(self._sources.named(name))
            except Unreadable as fault:
                self._faults.append((name, str(fault)))
        for installation in self.found.installations:
            self._plan_installation(installation)
        candidates = [self._named(login) for login in self.found.logins if isinstance(login, Candidate)]
        self._steps = plan([login for login in candidates if not self._is_ours(login)], self._directory, self._identity)

    def _plan_installation(self, installation: Installation) -> None:
        if installation.fault:
            self._broken = True
        if installation.config_path is None or installation.loaded is None:
            return
        if self._wants_settings and not _same(installation.config_path, self._path):
            content = read_source(installation.config_path, LARGEST_CONFIG)
            wanted = plan_settings(content, installation.config_path, self._path)
            self._settings.append((installation, content, wanted))
            if wanted.copy:
                self._adopt(content)
        if self._wants_usage and installation.database is not None and not _same(installation.database, self._database):
            self._databases.append(installation.database)

    def _adopt(self, content: bytes) -> None:
        """The configuration will be a copy of this one: it says where logins go."""
        self._config = load_text(content.decode("utf-8-sig"), environ={}).config
        self._directory = AuthDirectory(Path(self._config.auth_dir))

    @property
    def _database(self) -> Path:
        return self._path.absolute().parent / Path(self._config.usage_database_path).expanduser()

    def _named(self, candidate: Candidate) -> Candidate:
        """With the address that was given for a login that does not say whose it is."""
        if not self._email or candidate.data.get("email") or candidate.data.get("type") != "claude":
            return candidate
        from msgspec.structs import replace

        name = f"claude-{self._email}.json"
        return replace(candidate, name=name, label=self._email, data={**candidate.data, "email": self._email})

    def _is_ours(self, candidate: Candidate) -> bool:
        return _same(candidate.origin.parent, self._directory.path)

    def _identity(self, data: Mapping[str, Any]) -> Mapping[str, str]:
        name = provider_of(data)
        found = next((provider for provider in self._plugins.providers if provider.name == name), None)
        return (found or Provider()).login_identity(data)

    # -- telling -----------------------------------------------------------------------------------------------

    def sections(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """What is planned, by source: a heading, and lines of a kind and a text."""
        for name, reason in self._faults:
            yield name, [("refused", reason)]
        headings: dict[str, list[tuple[str, str]]] = {}
        for installation in self.found.installations:
            heading, lines = self._installation_section(installation)
            headings[heading] = lines
        steps = iter(self._steps)
        for login in self.found.logins:
            if isinstance(login, Refused):
                name = f"{login.origin.name}: " if login.program == TITLE else ""
                headings.setdefault(self._heading(login), []).append(("refused", f"{name}{login.reason}"))
            elif not self._is_ours(login):
                headings.setdefault(self._heading(login), []).append(_line(next(steps)))
        yield from headings.items()

    def _heading(self, login: Candidate | Refused) -> str:
        """The section of a login: its installation's, else its own file's."""
        for installation in self.found.installations:
            if login.program == TITLE and installation.auth_dir in (login.origin, login.origin.parent):
                return _heading(TITLE, installation.config_path or login.origin.parent)
        return _heading(login.program, login.origin)

    def _installation_section(self, installation: Installation) -> tuple[str, list[tuple[str, str]]]:
        lines: list[tuple[str, str]] = []
        if installation.fault:
            lines.append(("refused", f"the configuration cannot be used: {installation.fault}"))
        if installation.auth_dir is not None and _same(installation.auth_dir, self._directory.path):
            lines.append(("note", f"logins in {_short(installation.auth_dir)}: cpa uses that directory as it is"))
        for known, _, wanted in self._settings:
            if known is installation:
                lines += list(self._settings_lines(wanted))
        if installation.database in self._databases and installation.database is not None:
            size = installation.database.stat().st_size / 1e6
            lines.append(("add", f"usage records ({size:.1f} MB) go into {_short(self._database)}, each once"))
        elif installation.database is not None and self._wants_usage:
            lines.append(("note", "usage records: cpa uses that database as it is"))
        where = installation.config_path or installation.auth_dir
        return _heading(TITLE, where) if where is not None else TITLE, lines

    def _settings_lines(self, wanted: SettingsPlan) -> Iterator[tuple[str, str]]:
        if wanted.copy:
            yield "add", f"the whole configuration becomes {_short(self._path)}"
        for name, entries in wanted.entries.items():
            yield "add", f"{name}: {len(entries)} more"
        if wanted.values:
            yield "add", f"settings: {', '.join(wanted.values)}"
        if wanted.kept:
            yield "keep", f"yours stay: {', '.join(wanted.kept)}"
        if wanted.not_taken:
            yield "note", f"not taken: {', '.join(wanted.not_taken)}"
        if wanted.empty and not wanted.kept:
            yield "keep", "keys and settings: there already"

    def warnings(self) -> Iterator[str]:
        """What one should know before saying yes."""
        if any("api-keys" in wanted.entries for _, _, wanted in self._settings) and not self._config.api_keys:
            yield "Until now clients on this machine needed no key. With api-keys every client needs one of them."
        rotating = sorted({s.candidate.program for s in self._steps if s.action != "keep" and s.candidate.rotates})
        if rotating:
            programs = ", ".join(rotating)
            yield (
                f"{programs} and cpa would share logins whose tokens are replaced when one of them renews them: the"
                " other may be logged out then. Stop using it there, or give cpa logins of its own (cpa login)."
            )

    def report(self) -> Iterator[str]:
        """What was done."""
        yield ""
        yield from self._outcomes

    def plain(self) -> dict[str, Any]:
        """All of it for programs; no secret is in it."""
        return {
            "logins": [
                {
                    "action": step.action,
                    "file": step.name,
                    "label": step.candidate.label,
                    "type": step.candidate.data.get("type"),
                    "program": step.candidate.program,
                    "source": str(step.candidate.origin),
                    "because": step.because,
                }
                for step in self._steps
            ],
            "refused": [
                {"source": str(login.origin), "program": login.program, "reason": login.reason}
                for login in self.found.logins
                if isinstance(login, Refused)
            ]
            + [{"source": name, "program": "", "reason": reason} for name, reason in self._faults],
            "settings": [
                {
                    "source": str(installation.config_path),
                    "copy": wanted.copy,
                    "entries": {name: len(entries) for name, entries in wanted.entries.items()},
                    "values": list(wanted.values),
                    "kept": list(wanted.kept),
                    "not_taken": list(wanted.not_taken),
                }
                for installation, _, wanted in self._settings
            ],
            "usage": [str(path) for path in self._databases],
            "outcomes": self._outcomes,
        }

    # -- doing -------------------------------------------------------------------------------------------------

    def do(self) -> None:
        """Write what is planned. What fails is told in the report and stops nothing else."""
        for _, content, wanted in self._settings:
            if not wanted.empty:
                self._try(f"settings into {_short(self._path)}", lambda c=content, w=wanted: self._write_settings(w, c))
        done = 0
        for step in self._steps:
            if step.action != "keep":
                done += self._try(step.name, lambda step=step: carry_out(step, self._directory), silent=True)
        if done:
            self._outcomes.append(f"{done} login{'s' if done != 1 else ''} taken into {_short(self._directory.path)}")
            running = daemon_listens(self._path)
            self._outcomes.append("the running daemon serves them now" if running else "cpa serve starts the daemon")
        for database in self._databases:
            self._try(f"usage records of {_short(database)}", lambda path=database: self._take_usage(path), silent=True)

    def _write_settings(self, wanted: SettingsPlan, content: bytes) -> None:
        carry_out_settings(wanted, content, self._path)

    def _take_usage(self, path: Path) -> None:
        running = daemon_listens(self._path)
        if not running and not self._database.exists():
            adopt_database(path, self._database)
            self._outcomes.append(f"usage records and histories taken whole into {_short(self._database)}")
            return
        done = take_usage(path, self._upload if running else into_database(self._database))
        there = f", {done.skipped:,} were there already" if done.skipped else ""
        bad = f", {done.failed:,} could not be read" if done.failed else ""
        self._outcomes.append(f"{done.added:,} usage records taken{there}{bad}; histories stay where they are")

    def _upload(self, content: bytes) -> Imported:
        told = ask_daemon(self._path, "POST", "/usage/import", content, seconds=UPLOAD_SECONDS)
        return Imported(int(told["added"]), int(told["skipped"]), int(told["failed"]))

    def _try(self, what: str, work: Any, *, silent: bool = False) -> bool:
        try:
            work()
        except (AuthFileError, ConfigError, CpaError, OSError) as fault:
            self._broken = True
            reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
            self._outcomes.append(f"FAILED {what}: {reason}")
            return False
        if not silent:
            self._outcomes.append(what)
        return True


def _config_of(path: Path, environ: Mapping[str, str]) -> Config:
    """Our configuration; the built-in defaults when there is no file yet. Raises ConfigError when it is broken."""
    return load_config(path, environ=environ).config if path.exists() else load_text("", environ=environ).config


def _line(step: Step) -> tuple[str, str]:
    candidate = step.candidate
    if step.action == "keep":
        return "keep", f"{candidate.label}: {step.because} ({step.name})"
    notes = f" ({', '.join(candidate.notes)})" if candidate.notes else ""
    if step.action == "renew":
        return "renew", f"{candidate.label}{notes} > {step.name}: {step.because}"
    return "add", f"{candidate.label}{notes} > {step.name}"


def _heading(program: str, place: Path) -> str:
    return f"{program}, {_short(place)}"


def _short(path: Path) -> str:
    """A path with ``~`` for the user's home."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()
