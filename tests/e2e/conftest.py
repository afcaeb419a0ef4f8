"""One fake model and one daemon for all end-to-end tests that do not need their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_model import FakeModel
from running import RunningDaemon, Upstream, base_config, free_port


@pytest.fixture(scope="session")
def fake_model() -> Iterator[tuple[FakeModel, Upstream]]:
    model = FakeModel()
    upstream = Upstream(model.app)
    yield model, upstream
    upstream.stop()


@pytest.fixture(scope="session")
def daemon(fake_model: tuple[FakeModel, Upstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    directory = tmp_path_factory.mktemp("daemon")
    running = RunningDaemon(base_config(fake_model[1].url, directory, free_port()), directory)
    yield running
    assert running.stop() == 0, running.output()
