"""Settings changed in the file: comments stay, nothing is lost, nothing half-written is seen."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cpa.config import ConfigStore, atomic, load_config
from cpa.config.file import ConfigBusy, ConfigFile
from cpa.errors import ConfigError

TEXT = """\
# my configuration
port: 8317
api-keys:
    - "one"      # laptop
    - two
remote-management:
  secret-key: 'change-me'  # hashed at first start
gemini-api-key:
  # first
  - api-key: g1
    later-key: {a: 1}
  # second
  - api-key: g2
  # third
  - api-key: g3
codex-api-key:
  - api-key: without-base-url
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(TEXT)
    file.chmod(0o640)
    return file


def test_a_setting_changes_one_line(path: Path) -> None:
    ConfigFile(path).set(("port",), 9000)
    assert path.read_text() == TEXT.replace("8317", "9000")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_nothing_is_written_when_nothing_changes(path: Path) -> None:
    before = path.stat()
    ConfigFile(path).set(("port",), 8317)
    ConfigFile(path).set(("debug",), False)
    ConfigFile(path).set(("streaming", "keepalive-seconds"), 0)
    ConfigFile(path).delete(("not-there", "at-all"))
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_absent_setting_is_added_in_its_place(path: Path) -> None:
    ConfigFile(path).set(("debug",), True)
    ConfigFile(path).set(("routing", "strategy"), "fill-first")
    config = load_config(path, environ={}).config
    assert config.debug is True
    assert config.routing.strategy == "fill-first"
    added = ["debug: true", "routing:", "  strategy: fill-first"]
    assert [line for line in path.read_text().splitlines() if line not in added] == TEXT.splitlines()


def test_the_middle_item_goes_with_its_comment_only(path: Path) -> None:
    ConfigFile(path).delete(("gemini-api-key", 1))
    assert path.read_text() == TEXT.replace("  # second\n  - api-key: g2\n", "")


def test_items_can_be_appended_and_changed(path: Path) -> None:
    file = ConfigFile(path)
    file.set(("api-keys", 2), "three")
    file.set(("gemini-api-key", 0, "prefix"), "team")
    assert path.read_text() == TEXT.replace("    - two\n", "    - two\n    - three\n").replace(
        "    later-key: {a: 1}\n", "    later-key: {a: 1}\n    prefix: team\n"
    )
    with pytest.raises(ConfigError, match=r"the next entry of the list is \[3\]"):
        file.set(("api-keys", 7), "far")


def test_a_replaced_list_keeps_unknown_members_and_comments(path: Path) -> None:
    ConfigFile(path).set(("gemini-api-key",), [{"api-key": "g3"}, {"api-key": "g1", "prefix": "p"}])
    text = path.read_text()
    assert "  # third\n  - api-key: g3\n  # first\n  - api-key: g1\n    later-key: {a: 1}\n    prefix: p\n" in text
    assert "g2" not in text


def test_entries_that_are_not_offered_stay(path: Path) -> None:
    ConfigFile(path).set(("debug",), True)
    assert "without-base-url" in path.read_text()


def test_nothing_that_cannot_be_loaded_is_written(path: Path) -> None:
    with pytest.raises(ConfigError, match="port"):
        ConfigFile(path).set(("port",), "many")
    with pytest.raises(ConfigError, match="single value"):
        ConfigFile(path).set(("port", "x"), 1)
    with pytest.raises(ConfigError, match="line 2, column 1"):
        ConfigFile(path).replace(b"port: [")
    assert path.read_text() == TEXT


def test_a_whole_file_is_replaced_byte_for_byte(path: Path) -> None:
    content = b"# mine\r\nport:   1  \r\n\r\n"
    ConfigFile(path).replace(content)
    assert path.read_bytes() == content


def test_only_the_password_changes_when_it_is_hashed(path: Path) -> None:
    ConfigFile(path).splice_scalar("secret-key", "change-me", "$2b$10$hash")
    assert path.read_text() == TEXT.replace("change-me", "$2b$10$hash")
    ConfigFile(path).splice_scalar("secret-key", "change-me", "other")
    assert "other" not in path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "remote-management: {secret-key: change-me}\n",
        'remote-management:\n  allow-remote: true\n  secret-key: "change-me"\n',
        "# secret-key: change-me\nother: {secret-key: change-me}\nremote-management:\n   secret-key:  change-me # x\n",
        "remote-management:\n  secret-key: 12345\n",
    ],
)
def test_the_password_is_found_wherever_it_is_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    secret = load_config(path, environ={}).config.remote_management.secret_key
    ConfigFile(path).splice_scalar("secret-key", secret, "$2b$10$hash")
    assert load_config(path, environ={}).config.remote_management.secret_key == "$2b$10$hash"
    assert len(path.read_text().splitlines()) == len(text.splitlines())
    assert "# secret-key: change-me" in path.read_text() or "#" not in text.split("\n")[0]


def test_a_password_from_the_environment_is_not_written(path: Path) -> None:
    ConfigFile(path).splice_scalar("secret-key", "from-environment", "$2b$10$hash")
    assert path.read_text() == TEXT


def test_old_keys_are_rewritten_once_and_never_lost(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "# top\ngenerative-language-api-key: [g1, g2]\nport: 1  # keep\n"
        "openai-compatibility:\n  - name: o # keep too\n    base-url: http://o\n    api-keys: [k]\n"
        "amp-upstream-url: http://amp\n"
    )
    before = load_config(path, environ={}).config
    ConfigFile(path).set(("debug",), True)
    loaded = load_config(path, environ={})
    assert replace(loaded.config, debug=False) == before
    assert [warning.path for warning in loaded.warnings] == ["api-keys"]
    text = path.read_text()
    assert "# keep\n" in text
    assert "# keep too\n" in text
    assert "generative-language" not in text
    ConfigFile(path).set(("debug",), True)
    assert path.read_text() == text


def test_old_keys_of_a_wrong_shape_stay(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("generative-language-api-key: precious\namp-upstream-url: x\n")
    ConfigFile(path).set(("debug",), True)
    assert "precious" in path.read_text()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "c.yaml"
    real.write_text("port: 1\n")
    link = tmp_path / "config.yaml"
    link.symlink_to(real)
    ConfigFile(link).set(("port",), 2)
    assert link.is_symlink()
    assert real.read_text() == "port: 2\n"


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV])
def test_a_mounted_file_is_written_in_place(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("cpa.config.atomic._exchanged", lambda name, target: False)
    monkeypatch.setattr(os, "replace", refuse)
    inode = path.stat().st_ino
    ConfigFile(path).set(("port",), 1)
    assert path.read_text() == TEXT.replace("8317", "1")
    assert path.stat().st_ino == inode
    backup = path.with_name("config.yaml.bak")
    assert backup.read_text() == TEXT
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.yaml", "config.yaml.bak"]


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        ConfigFile(path).set(("port",), 1)
    assert path.read_text() == TEXT
    assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("swaps", [True, False])
def test_a_save_by_hand_at_the_last_moment_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool) -> None:
    """Between reading and renaming somebody saves: the edit is made again on what was saved."""
    if not swaps:
        monkeypatch.setattr("cpa.config.atomic._exchanged", lambda name, target: False)
    saved = TEXT.replace("- two", "- three")
    sync, syncs = os.fsync, 0

    def save_meanwhile(handle: int) -> None:
        nonlocal syncs
        syncs += 1
        if syncs == 1:
            path.write_text(saved)
        sync(handle)

    monkeypatch.setattr(os, "fsync", save_meanwhile)
    ConfigFile(path).set(("port",), 1)
    assert path.read_text() == saved.replace("8317", "1")
    assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]


def test_who_has_the_file_open_for_writing_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor has opened the file before cpa swaps it, and writes just afterwards."""
    saved = TEXT.replace("- two", "- six")
    sync = os.fsync
    editors: list[threading.Timer] = []

    def open_meanwhile(handle: int) -> None:
        if not editors:
            stream = path.open("r+")
            editors.append(threading.Timer(0.03, lambda: (stream.write(saved), stream.close())))
            editors[0].start()
        sync(handle)

    monkeypatch.setattr(os, "fsync", open_meanwhile)
    ConfigFile(path).set(("port",), 1)
    editors[0].join()
    assert path.read_text() == saved.replace("8317", "1")


def test_who_keeps_the_file_open_hinders_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.config.lease.PATIENCE", (0.001,))
    with path.open("r+"):
        ConfigFile(path).set(("port",), 1)
    assert path.read_text() == TEXT.replace("8317", "1")


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_saves_around_the_very_swap_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    """Somebody saves just before cpa swaps, and again before cpa has put that back: the last one counts."""
    swap, swaps = atomic._exchanged, 0

    def saved_meanwhile(name: str, target: Path) -> bool:
        nonlocal swaps
        swaps += 1
        if swaps <= saves:
            new = target.with_name("by-hand")
            new.write_text(TEXT.replace("- two", f"- save-{swaps}"))
            os.rename(new, target)
        return swap(name, target)

    monkeypatch.setattr(atomic, "_exchanged", saved_meanwhile)
    ConfigFile(path).set(("port",), 1)
    assert path.read_text() == TEXT.replace("- two", f"- save-{saves}").replace("8317", "1")
    assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]


def test_a_file_that_is_saved_on_and_on_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, saves = os.fsync, 0

    def save_meanwhile(handle: int) -> None:
        nonlocal saves
        saves += 1
        path.write_text(f"{TEXT}# {saves}\n")
        sync(handle)

    monkeypatch.setattr(os, "fsync", save_meanwhile)
    with pytest.raises(ConfigBusy):
        ConfigFile(path).set(("port",), 1)
    assert "port: 8317" in path.read_text()


@pytest.mark.parametrize("how", ["moved away", "emptied"])
def test_an_editor_that_saves_in_two_steps_is_waited_for(path: Path, how: str) -> None:
    if how == "emptied":
        path.write_text("")
    else:
        path.unlink()
    timer = threading.Timer(0.04, lambda: path.write_text(TEXT))
    timer.start()
    ConfigFile(path).set(("port",), 1)
    timer.join()
    assert path.read_text() == TEXT.replace("8317", "1")


def test_writers_at_the_same_time_lose_nothing(path: Path) -> None:
    changes: list[tuple[tuple[str | int, ...], Any]] = [
        (("port",), 1),
        (("debug",), True),
        (("request-retry",), 4),
        (("routing", "strategy"), "fill-first"),
        (("routing", "session-affinity"), True),
        (("proxy-url",), "http://p:1"),
    ]
    threads = [threading.Thread(target=ConfigFile(path).set, args=change) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    config = load_config(path, environ={}).config
    assert (config.port, config.debug, config.request_retry, config.proxy_url) == (1, True, 4, "http://p:1")
    assert (config.routing.strategy, config.routing.session_affinity) == ("fill-first", True)


def test_our_own_write_is_in_force_at_once_and_not_read_again(path: Path) -> None:
    store = ConfigStore(path, {})
    swaps: list[int] = []
    store.subscribe(lambda _, new: swaps.append(new.port))
    digest = ConfigFile(path).set(("port",), 1)
    assert store.reload() is True
    assert store.loaded.digest == digest
    assert store.reload() is False
    assert swaps == [1]
