"""What an import is going to do, told before it does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpa.cli.import_job import Job, same_file, short
from cpa.importing.candidates import Candidate, Refused
from cpa.importing.installation import TITLE, Installation
from cpa.importing.plan import Step
from cpa.importing.settings import SettingsPlan


def sections(job: Job) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What is planned, by source: a heading, and lines of a kind and a text."""
    for name, reason in job.faults:
        yield name, [("refused", reason)]
    headings: dict[str, list[tuple[str, str]]] = {}
    for installation in job.found.installations:
        heading, lines = _installation_section(job, installation)
        headings[heading] = lines
    steps = iter(job.steps)
    for login in job.found.logins:
        if isinstance(login, Refused):
            name = f"{login.origin.name}: " if login.program == TITLE else ""
            headings.setdefault(_section_of(job, login), []).append(("refused", f"{name}{login.reason}"))
        elif not job.is_ours(login):
            headings.setdefault(_section_of(job, login), []).append(_line(next(steps)))
    yield from headings.items()


def _section_of(job: Job, login: Candidate | Refused) -> str:
    """The section of a login: its installation's, else its own file's."""
    for installation in job.found.installations:
        if login.program == TITLE and installation.auth_dir in (login.origin, login.origin.parent):
            return _heading(TITLE, installation.config_path or login.origin.parent)
    return _heading(login.program, login.origin)


def _installation_section(job: Job, installation: Installation) -> tuple[str, list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    if installation.fault:
        lines.append(("refused", f"the configuration cannot be used: {installation.fault}"))
    if installation.auth_dir is not None and same_file(installation.auth_dir, job.directory.path):
        lines.append(("note", f"logins in {short(installation.auth_dir)}: cpa uses that directory as it is"))
    for known, _, wanted in job.settings:
        if known is installation:
            lines += list(_settings_lines(job, wanted))
    if installation.database in job.databases and installation.database is not None:
        size = installation.database.stat().st_size / 1e6
        lines.append(("add", f"usage records ({size:.1f} MB) go into {short(job.database)}, each once"))
    elif installation.database is not None and job.wants_usage:
        lines.append(("note", "usage records: cpa uses that database as it is"))
    where = installation.config_path or installation.auth_dir
    return _heading(TITLE, where) if where is not None else TITLE, lines


def _settings_lines(job: Job, wanted: SettingsPlan) -> Iterator[tuple[str, str]]:
    if wanted.copy:
        yield "add", f"the whole configuration becomes {short(job.path)}"
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


def warnings(job: Job) -> Iterator[str]:
    """What one should know before saying yes."""
    if any("api-keys" in wanted.entries for _, _, wanted in job.settings) and not job.config.api_keys:
        yield "Until now clients on this machine needed no key. With api-keys every client needs one of them."
    rotating = sorted({s.candidate.program for s in job.steps if s.action != "keep" and s.candidate.rotates})
    if rotating:
        programs = ", ".join(rotating)
        yield (
            f"{programs} and cpa would share logins whose tokens are replaced when one of them renews them: the"
            " other may be logged out then. Stop using it there, or give cpa logins of its own (cpa login)."
        )


def plain(job: Job) -> dict[str, Any]:
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
            for step in job.steps
        ],
        "refused": [
            {"source": str(login.origin), "program": login.program, "reason": login.reason}
            for login in job.found.logins
            if isinstance(login, Refused)
        ]
        + [{"source": name, "program": "", "reason": reason} for name, reason in job.faults],
        "settings": [
            {
                "source": str(installation.config_path),
                "copy": wanted.copy,
                "entries": {name: len(entries) for name, entries in wanted.entries.items()},
                "values": list(wanted.values),
                "kept": list(wanted.kept),
                "not_taken": list(wanted.not_taken),
            }
            for installation, _, wanted in job.settings
        ],
        "usage": [str(path) for path in job.databases],
        "outcomes": job.outcomes,
    }


def _line(step: Step) -> tuple[str, str]:
    candidate = step.candidate
    if step.action == "keep":
        return "keep", f"{candidate.label}: {step.because} ({step.name})"
    notes = f" ({', '.join(candidate.notes)})" if candidate.notes else ""
    if step.action == "renew":
        return "renew", f"{candidate.label}{notes} > {step.name}: {step.because}"
    return "add", f"{candidate.label}{notes} > {step.name}"


def _heading(program: str, place: Path) -> str:
    return f"{program}, {short(place)}"
