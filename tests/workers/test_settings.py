"""What an operator may set."""

from __future__ import annotations

import pytest

from workers.settings import WorkerSettings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "wrong",
    [
        *({"worker_start_timeout_s": 0}, {"worker_start_timeout_s": 50}, {"worker_connect_timeout_s": float("nan")}),
        *({"worker_heartbeat_s": 0.0}, {"worker_heartbeat_s": float("inf")}, {"worker_drain_grace_s": -1}),
        {"worker_agent_absence_s": 0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WorkerSettings.model_validate(wrong)
