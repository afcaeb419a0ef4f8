"""After a day of refreshes CLIProxyAPI could still read every file."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from renewing import IdentityProvider, Renewing, auth_file, serve

from cpa.accounts.account import Account
from cpa.plugins.oauth import time_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from auth_samples import OPTIONS, SAMPLES, VARIANTS

DAY, STEP = 86400, 900
LIFETIMES = {"claude": 8 * 3600, "codex": 10 * DAY, "gemini": 3600, "kimi": 3600}
RENEWED = {
    "claude-a@example.com.json": "claude",
    "codex-a@example.com-plus.json": "codex",
    "g@example.com-all.json": "gemini",
    "kimi-1767322800000.json": "kimi",
    "claude-uuids.json": "claude",
    "codex-01234567-b@example.com-team.json": "codex",
    "codex-b@example.com.json": "codex",
    "gemini-g@example.com-single.json": "gemini",
    "kimi-options.json": "kimi",
}
FILES = {**SAMPLES, **VARIANTS}
INDENTED = "gemini-g@example.com-single.json"
"""As CLIProxyAPI writes Gemini logins."""
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
MOMENT = "moment"
GO_FIELDS: dict[str, dict[str, Any]] = {
    "claude": {
        **dict.fromkeys(("id_token", "access_token", "refresh_token", "email", "type"), str),
        **dict.fromkeys(("last_refresh", "expired"), MOMENT),
    },
    "codex": {
        **dict.fromkeys(("id_token", "access_token", "refresh_token", "account_id", "email", "type"), str),
        **dict.fromkeys(("last_refresh", "expired"), MOMENT),
    },
    "gemini": {
        "token": {
            **dict.fromkeys(("access_token", "token_type", "refresh_token", "token_uri", "client_id"), str),
            **dict.fromkeys(("client_secret", "universe_domain"), str),
            "expiry": MOMENT,
            "scopes": list,
        },
        **dict.fromkeys(("project_id", "email", "type"), str),
        "auto": bool,
        "checked": bool,
    },
    "kimi": {
        **dict.fromkeys(("access_token", "refresh_token", "token_type", "scope", "device_id", "type"), str),
        "expired": MOMENT,
        "timestamp": int,
    },
}
"""The members of each type as the Go program's structures declare them."""


def check(data: dict[str, Any], fields: dict[str, Any]) -> None:
    for name, kind in fields.items():
        value = data[name]
        if isinstance(kind, dict):
            check(value, kind)
        elif kind == MOMENT:
            assert isinstance(value, str), name
            assert RFC3339.fullmatch(value), (name, value)
        else:
            assert type(value) is kind, name


async def test_a_day_of_refreshes_leaves_files_the_go_program_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = IdentityProvider(expires_in=LIFETIMES)
    runner, url = await serve(provider)
    start = time.time()
    clock = [start]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    renewing = Renewing(tmp_path / "auth", url)
    for name, sample in FILES.items():
        data = sample
        if vendor := RENEWED.get(name):
            fresh = auth_file(provider.login(vendor, name), expired=time_text(start + 1800))
            keep = {"access_token", "refresh_token", "expired"}
            data = {**sample, **{member: fresh[member] for member in keep & fresh.keys()}}
            if "expires_at" in sample:
                data.pop("expired")
                data["expires_at"] = str(int((start + 1800) * 1000))
            if vendor == "gemini":
                data["token"] = {**sample["token"], **{k: fresh["token"][k] for k in ("access_token", "refresh_token")}}
                data |= {k: fresh["token"][k] for k in ("access_token", "refresh_token") if k in sample}
        renewing.write(name, data)
    content = orjson.loads((renewing.folder / INDENTED).read_bytes())
    (renewing.folder / INDENTED).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    before = {name: (renewing.folder / name).read_bytes() for name in FILES}
    await renewing.files.load()
    for passed in range(0, DAY, STEP):
        clock[0] = start + passed
        task = asyncio.create_task(renewing.renewals.run())
        await renewing.settled()
        for account in used(renewing):
            ready = await renewing.renewals.ready(account)
            assert provider.find(ready.secret) is not None
        await renewing.settled()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await renewing.close()
    await runner.cleanup()
    for name, content in before.items():
        after = (renewing.folder / name).read_bytes()
        if vendor := RENEWED.get(name):
            assert provider.granted.count(name) >= 1, name
            data, old = orjson.loads(after), orjson.loads(content)
            check(data, GO_FIELDS[vendor])
            assert not set(old) - set(data)
            for option in (*OPTIONS, "type", "device_id", "project_id", "refresh_interval"):
                assert data.get(option) == old.get(option), (name, option)
        else:
            assert after == content
    assert (renewing.folder / INDENTED).read_bytes().startswith(b'{\n  "')
    assert 4 <= provider.granted.count("codex-b@example.com.json") <= 6
    counts = {vendor: provider.granted.count(name) for name, vendor in RENEWED.items() if name in SAMPLES}
    assert counts["claude"] <= 8
    assert counts["codex"] == 1
    assert 20 <= counts["gemini"] <= 30
    assert 20 <= counts["kimi"] <= 40


def used(renewing: Renewing) -> list[Account]:
    single = [name for name in RENEWED if name != "g@example.com-all.json"]
    return [renewing.account(name) for name in [*single, "g@example.com-all.json::first-project"]]
