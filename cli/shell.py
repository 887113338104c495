"""`greenroom env`: this folder's stack as variables of a shell."""

from __future__ import annotations

import shlex

from schemas.jsons import JsonObject


def exports(described: JsonObject) -> str:
    """`eval` takes it, whatever stands in a value.

    `API` and `KEY` are what the pages call them. The variables of LiveKit's and of Protoface's clients are there so
    that an agent which is written for those runs with nothing else changed. The last are what processes and commands
    of ours read, so that an audit, say, finds the log and the ledger.
    """
    variables = {
        "API": described["api_url"],
        "KEY": described["api_key"],
        "LIVEKIT_URL": described["livekit_url"],
        "LIVEKIT_API_KEY": described["livekit_api_key"],
        "LIVEKIT_API_SECRET": described["livekit_api_secret"],
        "PROTOFACE_API_URL": described["api_url"],
        "PROTOFACE_API_KEY": described["api_key"],
        **described["environment"],
    }
    return "\n".join(f"export {name}={shlex.quote(str(value))}" for name, value in variables.items())
