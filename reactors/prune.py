"""What nobody needs any more: deleted by age, each kind by the module of its table.

The ledger, the sessions, their history and the log stay for ever. So does what their projections and the webhook
fan-out know of ended sessions: an adjustment or an erasure may come years later, is to be
told, and its hash follows from it; a create that is in
the log twice must not begin a second history. The fan-out shares a fold with the ledger: where it is behind, both go on
from what it knows.
"""

from __future__ import annotations

from projections import names, states
from reactors.settings import RetentionSettings
from store import admissions, deliveries, endpoints, feed, slots, workers
from store.database import Pool

_PRUNED = (names.ROSTER,)
"""Those that fold by themselves, and do nothing about an adjustment."""
_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S


async def prune(pool: Pool, keep: RetentionSettings) -> dict[str, int]:
    """Returns table → rows deleted. Several at once, and a crash anywhere, do no harm. Raises DatabaseUnreachable."""
    return {
        "idempotency_keys": await admissions.prune_keys(pool, keep.keep_idempotency_keys_hours * _HOUR_S),
        "deliveries": await deliveries.prune(pool, keep.keep_deliveries_days * _DAY_S),
        "webhook_secrets": await endpoints.prune(pool),
        "feed_events": await feed.prune(pool, keep.keep_events_days * _DAY_S),
        "fold_states": await states.prune(pool, _PRUNED, keep.keep_fold_states_days * _DAY_S),
        "abandoned": await admissions.prune_abandoned(pool, keep.keep_abandoned_days * _DAY_S),
        "slots": await slots.prune(pool),
        "workers": await workers.prune(pool, keep.keep_workers_days * _DAY_S),
    }
