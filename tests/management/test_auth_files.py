"""Logins in the auth directory, through the API."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from cpa.accounts.recent import BUCKET_SECONDS, RecentRequests
from tests.management.conftest import Managed

ID_TOKEN = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (
        b"{}",
        orjson.dumps({"https://api.openai.com/auth": {"chatgpt_account_id": "acc", "chatgpt_plan_type": "plus"}}),
        b"sig",
    )
)
CODEX: dict[str, Any] = {
    "type": "codex",
    "email": "me@example.com",
    "access_token": "secret-access",
    "refresh_token": "secret-refresh",
    "id_token": ID_TOKEN,
    "expired": "2099-01-01T00:00:00Z",
    "mine": {"kept": 1},
}


def folder(daemon: Managed) -> Path:
    return Path(daemon.daemon.store.current.auth_dir)


def on_disk(daemon: Managed, name: str) -> Any:
    return orjson.loads((folder(daemon) / name).read_bytes())


async def upload(daemon: Managed, name: str = "c.json", data: Any = CODEX) -> None:
    answer = await daemon.call("POST", f"/auth-files?name={name}", data)
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def listed(daemon: Managed) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = (await daemon.call("GET", "/auth-files")).json["files"]
    return files


def form(*files: tuple[str, bytes]) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for number, (name, content) in enumerate(files):
        data.add_field(f"f{number}", content, filename=name)
    return data


def raw_form(field: str, filename: str | None, content: bytes) -> bytes:
    """One part of a form as bytes, its file name exactly as given."""
    name = f'; filename="{filename}"' if filename is not None else ""
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"{name}\r\n\r\n'
    return head.encode() + content + b"\r\n"


FORM = "multipart/form-data; boundary=edge"


async def test_a_login_is_listed_at_once_with_what_is_known_of_it(managed: Managed) -> None:
    await upload(managed, data={**CODEX, "priority": 5, "note": " spare ", "proxy_url": "http://u:pw@127.0.0.1:1"})
    (entry,) = await listed(managed)
    assert entry["name"] == entry["id"] == "c.json"
    assert (entry["type"], entry["provider"], entry["source"]) == ("codex", "codex", "file")
    assert (entry["email"], entry["priority"], entry["note"]) == ("me@example.com", 5, "spare")
    assert entry["proxy_url"] == "http://***@127.0.0.1:1"
    assert entry["id_token"] == {"chatgpt_account_id": "acc", "plan_type": "plus"}
    assert len(entry["auth_index"]) == 16
    assert entry["path"] == str(folder(managed) / "c.json")
    assert entry["size"] == (folder(managed) / "c.json").stat().st_size
    assert (entry["disabled"], entry["unavailable"], entry["runtime_only"]) == (False, False, False)
    assert (entry["success"], entry["failed"], len(entry["recent_requests"])) == (0, 0, 20)


async def test_no_token_is_ever_listed(managed: Managed) -> None:
    await upload(managed, data={**CODEX, "headers": {"X-Secret": "secret-header"}})
    text = (await managed.call("GET", "/auth-files")).text
    assert not [secret for secret in ("secret-access", "secret-refresh", ID_TOKEN, "secret-header") if secret in text]


async def test_files_are_written_for_the_owner_alone(managed: Managed) -> None:
    await upload(managed)
    assert (folder(managed) / "c.json").stat().st_mode & 0o777 == 0o600
    assert folder(managed).stat().st_mode & 0o777 == 0o700


async def test_several_files_are_stored_and_each_failure_is_told(managed: Managed) -> None:
    content = orjson.dumps(CODEX)
    one = await managed.call("POST", "/auth-files", data=form(("a.json", content)))
    assert (one.status, one.json) == (200, {"status": "ok"})
    parts = raw_form("f", "b.json", content) + raw_form("g", "../../d.json", content) + b"--edge--\r\n"
    two = await managed.call("POST", "/auth-files", data=parts, Content_Type=FORM)
    assert two.json == {"status": "ok", "uploaded": 2, "files": ["b.json", "d.json"]}
    mixed = await managed.call(
        "POST", "/auth-files", data=form(("e.json", content), ("x.txt", content), ("f.json", b"{"))
    )
    assert mixed.status == 207
    assert mixed.json["files"] == ["e.json"]
    assert mixed.json["failed"][0] == {"name": "x.txt", "error": "file must be .json"}
    assert mixed.json["failed"][1]["name"] == "f.json"
    assert sorted(path.name for path in folder(managed).glob("*.json")) == ["a.json", "b.json", "d.json", "e.json"]


@pytest.mark.parametrize(
    ("path", "data", "status", "error"),
    [
        ("/auth-files", raw_form("a", None, b"x"), 400, "no files uploaded"),
        ("/auth-files", form(("a.txt", b"{}")), 400, "file must be .json"),
        ("/auth-files?name=..%2Fx.json", b"{}", 400, "invalid name"),
        ("/auth-files?name=..%5Cx.json", b"{}", 400, "invalid name"),
        ("/auth-files?name=x%00.json", b"{}", 400, "invalid name"),
        ("/auth-files?name=.hidden.json", b"{}", 400, "invalid name"),
        ("/auth-files?name=x.txt", b"{}", 400, "name must end with .json"),
        ("/auth-files?name=CON.json", b'{"type":"codex"}', 400, "invalid auth file"),
        ("/auth-files?name=x.json", b"{}", 400, "invalid auth file"),
        ("/auth-files?name=x.json", b"[1]", 400, "invalid auth file"),
        ("/auth-files?name=x.json", b"{", 400, "invalid auth file"),
        ("/auth-files?name=x.json", b" " * 1_100_000, 413, "body too large"),
        ("/auth-files", b"{}", 400, "invalid name"),
    ],
)
async def test_what_is_no_login_is_not_stored(managed: Managed, path: str, data: Any, status: int, error: str) -> None:
    if isinstance(data, bytes) and data.startswith(b"--edge"):
        answer = await managed.call("POST", path, data=data + b"--edge--\r\n", Content_Type=FORM)
    else:
        answer = await managed.call("POST", path, data=data)
    assert answer.status == status, answer
    assert error in answer.json["error"]
    assert not list(folder(managed).glob("**/*.json"))


async def test_a_bad_upload_leaves_the_good_file(managed: Managed) -> None:
    await upload(managed)
    assert (await managed.call("POST", "/auth-files?name=c.json", data=b"{")).status == 400
    assert on_disk(managed, "c.json") == CODEX


async def test_a_link_out_of_the_directory_is_not_followed_when_a_file_is_deleted(
    managed: Managed, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.json"
    outside.write_bytes(orjson.dumps(CODEX))
    folder(managed).mkdir(exist_ok=True)
    (folder(managed) / "link.json").symlink_to(outside)
    assert (await managed.call("DELETE", "/auth-files?name=link.json")).status == 200
    assert outside.exists()
    assert not (folder(managed) / "link.json").is_symlink()


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("", 400, "invalid name"),
        ("a%2Fb.json", 400, "invalid name"),
        ("..%2Fconfig.yaml", 400, "invalid name"),
        ("c.txt", 400, "name must end with .json"),
        ("none.json", 404, "file not found"),
    ],
)
async def test_only_files_of_the_directory_are_given(managed: Managed, name: str, status: int, error: str) -> None:
    answer = await managed.call("GET", f"/auth-files/download?name={name}")
    assert (answer.status, answer.json) == (status, {"error": error})


async def test_a_file_is_given_as_it_is(managed: Managed) -> None:
    await upload(managed)
    answer = await managed.call("GET", "/auth-files/download?name=c.json")
    assert answer.body == (folder(managed) / "c.json").read_bytes()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="c.json"'


@pytest.mark.parametrize(
    ("query", "body", "outcome"),
    [
        ("?name=a.json", None, {"status": "ok"}),
        ("?name=a.json&name=b.json&name=a.json", None, {"status": "ok", "deleted": 2, "files": ["a.json", "b.json"]}),
        ("", {"name": "a.json"}, {"status": "ok"}),
        ("", {"names": ["a.json", "b.json"]}, {"status": "ok", "deleted": 2, "files": ["a.json", "b.json"]}),
        ("", ["a.json"], {"status": "ok"}),
        ("?all=true", None, {"status": "ok", "deleted": 3}),
        ("?all=*", None, {"status": "ok", "deleted": 3}),
        ("?name=none.json", None, 404),
        ("?name=..%2Fconfig.json", None, 400),
        ("", None, 400),
        ("", {"names": []}, 400),
    ],
)
async def test_files_are_deleted_by_name_or_all(managed: Managed, query: str, body: Any, outcome: Any) -> None:
    for name in ("a.json", "b.json", "c.json"):
        await upload(managed, name)
    answer = await managed.call("DELETE", f"/auth-files{query}", body)
    if isinstance(outcome, int):
        assert answer.status == outcome
        assert len(await listed(managed)) == 3
    else:
        assert (answer.status, answer.json) == (200, outcome)
        assert len(await listed(managed)) == 3 - outcome.get("deleted", 1)


async def test_a_partial_deletion_says_what_failed(managed: Managed) -> None:
    await upload(managed)
    answer = await managed.call("DELETE", "/auth-files", {"names": ["c.json", "none.json"]})
    assert answer.status == 207
    assert answer.json["failed"] == [{"name": "none.json", "error": "auth file not found"}]


async def test_a_disabled_login_serves_nothing_and_says_so_on_disk(managed: Managed) -> None:
    await upload(managed)
    answer = await managed.call("PATCH", "/auth-files/status", {"name": "c.json", "disabled": True})
    assert answer.json == {"status": "ok", "disabled": True}
    assert on_disk(managed, "c.json") == {**CODEX, "disabled": True}
    (entry,) = await listed(managed)
    assert (entry["disabled"], entry["status"]) == (True, "disabled")
    index = entry["auth_index"]
    assert (await managed.call("PATCH", "/auth-files/status", {"name": index, "disabled": False})).status == 200
    assert (await listed(managed))[0]["disabled"] is False


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"disabled": True}, 400, "name is required"),
        ({"name": "c.json"}, 400, "disabled is required"),
        ({"name": "c.json", "disabled": "yes"}, 400, "invalid request body"),
        ({"name": "none.json", "disabled": True}, 404, "auth file not found"),
    ],
)
async def test_a_wrong_change_of_status_is_refused(managed: Managed, body: Any, status: int, error: str) -> None:
    await upload(managed)
    answer = await managed.call("PATCH", "/auth-files/status", body)
    assert (answer.status, answer.json) == (status, {"error": error})


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({}, {"prefix": " team "}, {"prefix": "team"}),
        ({"prefix": "x"}, {"prefix": ""}, {}),
        ({}, {"proxy_url": "socks5://127.0.0.1:1"}, {"proxy_url": "socks5://127.0.0.1:1"}),
        (
            {"headers": {"A": "1", "B": "2"}},
            {"headers": {" A ": "", "C": " 3 ", "": "x"}},
            {"headers": {"B": "2", "C": "3"}},
        ),
        ({"headers": {"A": "1"}}, {"headers": {"A": ""}}, {}),
        ({"priority": 3}, {"priority": 0}, {}),
        ({}, {"priority": "7"}, {"priority": 7}),
        ({"note": "x"}, {"note": " "}, {}),
        ({"disable-cooling": True}, {"disable-cooling": False}, {"disable_cooling": False}),
        ({}, {"excluded-models": [" A ", "a"]}, {"excluded_models": ["a"]}),
        ({}, {"weight": 0}, {"weight": 0}),
        ({}, {"headers.X-Team": "a"}, {"headers": {"X-Team": "a"}}),
        ({}, {"anything": {"at": ["all"]}}, {"anything": {"at": ["all"]}}),
        ({}, {"expired": "2026-01-31T12:00:00Z"}, {"expired": "2026-01-31T12:00:00Z"}),
    ],
)
async def test_options_are_changed_in_the_file(managed: Managed, before: Any, change: Any, after: Any) -> None:
    base = {name: value for name, value in CODEX.items() if name not in ("expired", "refresh_token")}
    await upload(managed, data={**base, **before})
    answer = await managed.call("PATCH", "/auth-files/fields", {"name": "c.json", **change})
    assert (answer.status, answer.json) == (200, {"status": "ok"}), answer
    assert on_disk(managed, "c.json") == {**base, **after}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, "no fields to update"),
        ({"headers": {}}, "no fields to update"),
        ({"access_token": "stolen"}, "access_token cannot be changed here"),
        ({"token.access_token": "x"}, "token cannot be changed here"),
        ({"type": "claude"}, "type cannot be changed here"),
        ({"": 1}, "field name is required"),
        ({"a..b": 1}, "invalid field path: a..b"),
        ({"priority": 1.5}, "priority must be a whole number"),
        ({"websockets": "yes"}, "websockets must be true or false"),
        ({"expired": "soon"}, "expired must be a time such as 2026-01-31T12:00:00Z"),
        ({"proxy_url": "ftp://x"}, "invalid proxy-url"),
        ({"excluded_models": "all"}, "excluded_models must be a list"),
    ],
)
async def test_options_that_cannot_be_are_refused(managed: Managed, change: Any, error: str) -> None:
    await upload(managed)
    answer = await managed.call("PATCH", "/auth-files/fields", {"name": "c.json", **change})
    assert (answer.status, answer.json["error"]) == (400, error)
    assert on_disk(managed, "c.json") == CODEX


async def test_models_of_an_unknown_login_are_none(managed: Managed) -> None:
    assert (await managed.call("GET", "/auth-files/models?name=no")).json == {"models": []}
    assert (await managed.call("GET", "/auth-files/models")).json == {"error": "name is required"}


def test_recent_requests_roll_over() -> None:
    recent, start = RecentRequests(), 1_767_000_000 // BUCKET_SECONDS * BUCKET_SECONDS
    recent.note(True, start)
    recent.note(False, start + BUCKET_SECONDS - 1)
    recent.note(True, start + BUCKET_SECONDS)
    shown = recent.shown(start + BUCKET_SECONDS)
    assert len(shown) == 20
    assert [(bucket["success"], bucket["failed"]) for bucket in shown[-2:]] == [(1, 1), (1, 0)]
    assert all(bucket["success"] == bucket["failed"] == 0 for bucket in recent.shown(start + 21 * BUCKET_SECONDS))
