"""protoface-sdk, driven by lines of JSON (see drive.py). Runs in the clients' environment and knows nothing of ours."""

import base64
import json
import sys
from operator import attrgetter
from typing import Any

from protoface_sdk import ProtofaceClient, ProtofaceError


def call(client: ProtofaceClient, name: str, arguments: dict[str, Any]) -> Any:
    if name == "wait_until_running":
        return client.sessions.get(arguments.pop("session_id")).wait_until_running(**arguments)
    if "image" in arguments:
        arguments["image"] = base64.b64decode(arguments["image"])
    return attrgetter(name)(client)(**arguments)


def shown(value: Any) -> Any:
    """As JSON; what the SDK parsed, not what the server sent."""
    if isinstance(value, list):
        return [shown(item) for item in value]
    return None if value is None else value.model_dump(mode="json")


def raised(error: Exception) -> dict[str, Any]:
    """The attributes that users switch on."""
    return {"kind": type(error).__name__, **{name: value for name, value in vars(error).items() if name != "message"}}


def main() -> None:
    with ProtofaceClient(**json.loads(sys.argv[1])) as client:
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                answer = {"returned": shown(call(client, asked["call"], asked["arguments"]))}
            except (ProtofaceError, TimeoutError) as error:
                answer = {"raised": raised(error)}
            print(json.dumps(answer), flush=True)


main()
