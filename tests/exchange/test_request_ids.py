"""Ids of requests that bring none."""

from __future__ import annotations

import re
import time

from cpa.exchange.request_ids import new_request_id


def test_ids_are_of_one_length_and_later_ones_greater() -> None:
    ids = []
    for _ in range(50):
        ids.append(new_request_id())
        time.sleep(0.00005)
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in ids)
    assert sorted(ids) == ids
    assert len(set(ids)) == len(ids)
