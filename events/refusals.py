"""Why the folds reject an event, in a sentence each. The same table stands in docs/reference/events.md."""

from __future__ import annotations

WHY: dict[str, str] = {
    "already_created": "The session, or avatar, has been created already.",
    "already_decided": "The avatar's build has a verdict already; the first one counts.",
    "already_deleted": "The avatar is deleted already.",
    "already_erased": "The session is erased already.",
    "already_ending": "The session is ending already; the first request or notice counts.",
    "already_playing": "This attempt has shown its first frame already.",
    "already_started": "This attempt has started already.",
    "attempt_lost": "The worker has lost this attempt; what it says of it afterwards does not count.",
    "declined": "The worker has declined this attempt; what it says of it afterwards does not count.",
    "duplicate": "An event with the same ce_id was accepted before; the same one twice counts once.",
    "ending": "The session is ending; no other worker is assigned any more.",
    "meter_went_back": "The meter is below the reading before; a meter is cumulative within an attempt.",
    "n_not_growing": "n is not above that of the reading before; it must grow, with or without gaps.",
    "no_first_frame": "The attempt has shown no first frame; nothing is metered before one.",
    "no_rule": "The fold has no rule for this type.",
    "not_of_this_avatar": "The event is none of an avatar, or names another one than its key.",
    "not_of_this_session": "The event is none of a session, or names another one than its key.",
    "not_started": "The attempt has not started; a worker says session.starting first.",
    "out_of_range": "It would take the session's credit beyond what can be stored.",
    "seq_mismatch": "The decision was made on an older state: expected_seq is not the session's seq.",
    "stale_attempt": "Worker or attempt is not the accepted one: it was replaced, and changes nothing.",
    "still_running": "The session is not over; what runs cannot be erased.",
    "terminal": "The session is over; only usage.adjusted and session.erased are accepted then.",
    "too_many_events": "The session has had as many events as its state may remember.",
    "unknown_avatar": "No avatar.created was read before.",
    "unknown_session": "No session.created was read before.",
    "wrong_attempt": "An attempt follows the one before: its number is not the next one.",
}
