"""Files of a disk that lies: whatever they hold, the daemon starts, says which are spoilt and serves the others."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest
from renewing import Renewing

from cpa.accounts.persistence import FILE_NAME, CooldownKeeper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from auth_samples import SAMPLES

GOOD = {"type": "claude", "access_token": "at", "refresh_token": "rt", "email": "good@example.com"}
Spoil = Callable[[bytes, random.Random], bytes]


def flip(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def flips(content: bytes, chance: random.Random) -> bytes:
    for _ in range(20):
        content = flip(content, chance)
    return content


SPOILS: dict[str, Spoil] = {
    "flip": flip,
    "flips": flips,
    "cut": lambda content, chance: content[: chance.randrange(len(content))],
    "empty": lambda content, chance: b"",
    "zeros": lambda content, chance: bytes(len(content)),
    "twice": lambda content, chance: content + content,
    "noise": lambda content, chance: chance.randbytes(500),
    "deep": lambda content, chance: b"[" * 100_000,
    "others": lambda content, chance: orjson.dumps(
        {name: chance.choice([None, 7, [], {}, "", [1], {"a": 1}, -1e300, True]) for name in orjson.loads(content)}
        | {"type": orjson.loads(content)["type"]}
    ),
}


@pytest.fixture
async def renewing(tmp_path: Path) -> AsyncIterator[Renewing]:
    renewing = Renewing(tmp_path / "auth", "http://127.0.0.1:9")
    yield renewing
    await renewing.close()


@pytest.mark.parametrize("spoil", SPOILS)
async def test_spoilt_auth_files_are_named_and_the_rest_serves(spoil: str, renewing: Renewing) -> None:
    chance = random.Random(spoil)
    names = []
    for number in range(12):
        for name, sample in SAMPLES.items():
            names.append(f"{number}-{name}")
            (renewing.folder / names[-1]).write_bytes(SPOILS[spoil](orjson.dumps(sample), chance))
    renewing.write("good.json", GOOD)
    await renewing.files.load()
    assert renewing.pool.usable("good.json", "any")
    taken = {name for name in names if name in renewing.roster.files}
    assert taken | set(renewing.files.unusable) == {*names}
    assert all(reason for reason in renewing.files.unusable.values())
    if spoil in ("empty", "zeros", "noise", "deep", "twice"):
        assert not taken
    for account in list(renewing.pool):
        renewing.renewals.state(account)
    for name in names:  # and made good again
        (renewing.folder / name).write_bytes(orjson.dumps(SAMPLES[name.partition("-")[2]]))
    await renewing.files.check(names)
    assert not renewing.files.unusable
    assert set(renewing.roster.files) == {*names, "good.json"}


@pytest.mark.parametrize("spoil", [*SPOILS][:-1])
async def test_spoilt_cooldowns_are_as_good_as_none_or_what_they_were(spoil: str, renewing: Renewing) -> None:
    renewing.write("good.json", GOOD)
    await renewing.files.load()
    path = renewing.folder / FILE_NAME
    log = renewing.files._log
    renewing.pool.fail("good.json", "m", scope="model", reason="quota", seconds=600, message="429")
    await CooldownKeeper(path, renewing.pool, log).save()
    whole, chance = path.read_bytes(), random.Random(spoil)
    for _ in range(50):
        renewing.pool.reset("good.json")
        path.write_bytes(SPOILS[spoil](whole, chance))
        CooldownKeeper(path, renewing.pool, log).restore()
        cooldown = renewing.pool.blocked("good.json", "m")
        assert cooldown is None or cooldown.until - renewing.pool.clock() <= 31 * 86400
