"""``cpa doctor`` names the logins that cannot serve."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from cpa.cli.doctor import doctor


def test_broken_and_unknown_files_are_named_without_their_content(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    folder.mkdir()
    (folder / "broken.json").write_text('{"type":"claude","refresh_token":"sk-ant-ort01-planted')
    (folder / "other.json").write_text('{"type":"qwen","access_token":"planted"}')
    config = tmp_path / "config.yaml"
    config.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {folder}\n")
    result = CliRunner().invoke(doctor, ["--config", str(config), "--offline", "--json"])
    texts = [finding["text"] for finding in json.loads(result.output)]
    assert any(text.startswith("auth file broken.json is no JSON") for text in texts)
    assert "auth file other.json serves nothing: no plugin serves files of type 'qwen'" in texts
    assert "planted" not in result.output
