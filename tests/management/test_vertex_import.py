"""Service accounts of Google, stored through the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.management.conftest import Answer, Managed


def pem(key: Any, form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8) -> str:
    text: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return text.decode()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CLEAN = pem(RSA)
KEY_FILE: dict[str, Any] = {
    "type": "service_account",
    "project_id": "my project:x",
    "client_email": "robot@example.iam.gserviceaccount.com",
    "private_key_id": "kid",
    "private_key": CLEAN,
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}


async def send(daemon: Managed, content: bytes | None, location: str = "", query: str = "") -> Answer:
    form = aiohttp.FormData()
    form.add_field("location", location)
    if content is not None:
        form.add_field("file", content, filename="key.json")
    return await daemon.call("POST", f"/vertex/import{query}", data=form)


async def test_a_key_file_becomes_a_login_that_serves(managed: Managed) -> None:
    told = await send(managed, orjson.dumps(KEY_FILE), "europe-west4")
    assert told.status == 200, told
    path = Path(told.json["auth-file"])
    assert told.json == {
        "status": "ok",
        "auth-file": str(Path(managed.daemon.store.current.auth_dir) / "vertex-my-project_x.json"),
        "project_id": "my project:x",
        "email": "robot@example.iam.gserviceaccount.com",
        "location": "europe-west4",
    }
    assert path.stat().st_mode & 0o777 == 0o600
    stored = orjson.loads(path.read_bytes())
    assert stored.pop("service_account") == KEY_FILE
    assert stored == {
        "type": "vertex",
        "project_id": "my project:x",
        "email": "robot@example.iam.gserviceaccount.com",
        "location": "europe-west4",
        "label": "my project:x (robot@example.iam.gserviceaccount.com)",
    }
    (entry,) = (await managed.call("GET", "/auth-files")).json["files"]
    assert (entry["provider"], entry["status"]) == ("vertex", "active")


@pytest.mark.parametrize(
    "spoiled",
    [
        CLEAN.replace("\n", "\r\n"),
        CLEAN.replace("\n", "\\n"),
        CLEAN.replace("\n", " "),
        f"  {CLEAN}  trailing",
        pem(RSA, serialization.PrivateFormat.TraditionalOpenSSL),
    ],
    ids=["carriage returns", "escaped", "one line", "surrounded", "PKCS 1"],
)
async def test_a_key_whose_lines_were_spoiled_is_mended(managed: Managed, spoiled: str) -> None:
    told = await send(managed, orjson.dumps({**KEY_FILE, "private_key": spoiled}), query="?location=global")
    assert told.json["location"] == "global"
    stored = orjson.loads(Path(told.json["auth-file"]).read_bytes())
    assert stored["service_account"]["private_key"] == CLEAN


@pytest.mark.parametrize(
    ("change", "location", "error"),
    [
        ({"private_key": "none"}, "", "invalid service account"),
        ({"private_key": CLEAN[:200] + "-----END PRIVATE KEY-----"}, "", "invalid service account"),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "", "invalid service account"),
        ({"private_key": 5}, "", "invalid service account"),
        ({"project_id": " "}, "", "project_id missing"),
        ({"client_email": None}, "", "invalid service account"),
        ({"token_uri": "https://evil.example/token"}, "", "invalid service account"),
        ({"token_uri": "http://oauth2.googleapis.com/token"}, "", "invalid service account"),
        ({"token_uri": "https://[::1"}, "", "invalid service account"),
        ({}, "evil.example/#", "invalid service account"),
        ({"project_id": "../up"}, "", None),
    ],
)
async def test_what_could_not_serve_is_refused(
    managed: Managed, change: dict[str, Any], location: str, error: str | None
) -> None:
    answer = await send(managed, orjson.dumps({**KEY_FILE, **change}), location)
    folder = Path(managed.daemon.store.current.auth_dir)
    if error is None:
        assert Path(answer.json["auth-file"]).parent == folder
        return
    assert (answer.status, answer.json["error"]) == (400, error)
    assert CLEAN[60:90] not in answer.text
    assert not list(folder.glob("**/*.json"))


async def test_a_form_with_a_json_file_is_needed(managed: Managed) -> None:
    for answer, error in (
        (await send(managed, None), "file required"),
        (await managed.call("POST", "/vertex/import", KEY_FILE), "file required"),
        (await send(managed, b"{"), "invalid json"),
        (await send(managed, b"[]"), "invalid service account"),
    ):
        assert (answer.status, answer.json["error"]) == (400, error)


async def test_a_key_file_that_comes_again_keeps_what_its_user_has_set(managed: Managed) -> None:
    path = Path((await send(managed, orjson.dumps(KEY_FILE))).json["auth-file"])
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "note": "mine", "label": "robot", "weight": 2}))
    assert (await send(managed, orjson.dumps(KEY_FILE), "europe-west4")).status == 200
    stored = orjson.loads(path.read_bytes())
    assert (stored["note"], stored["label"], stored["weight"]) == ("mine", "robot", 2)
    assert stored["location"] == "europe-west4"
