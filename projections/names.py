"""The names of all that keeps a checkpoint in the log: projections and reactors. `greenroom project NAME` runs one."""

from __future__ import annotations

from typing import Final, Literal, get_args

Name = Literal["sessions", "usage", "history", "avatars", "webhooks", "avatar_webhooks", "roster"]
"""What `greenroom project` runs."""

SESSIONS: Final = "sessions"
USAGE: Final = "usage"
HISTORY: Final = "history"
AVATARS: Final = "avatars"
WEBHOOKS: Final = "webhooks"
AVATAR_WEBHOOKS: Final = "avatar_webhooks"
ROSTER: Final = "roster"
LIVE: Final = "live"
"""`greenroom live`."""

USAGE_PUBLISH: Final = "usage-publish"
"""How far the ledger's entries are published: beside `usage`, by whom owns its partitions."""

ALL: tuple[Name, ...] = get_args(Name)
