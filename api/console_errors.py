"""Errors that the console alone can cause."""

from __future__ import annotations

from api.errors import ApiError, Conflict, NotFound, Unauthenticated


class LoggedOut(Unauthenticated):
    code = "console.logged_out"
    message = "You are logged out of the console: log in again with your API key."


class CrossSite(ApiError):
    status, type, code = 403, "permission", "console.cross_site"
    message = (
        "The console's log-in is good for requests of the console itself. Send an API key instead; a proxy must pass on"
        " Host as it came."
    )


class ConsoleInsecure(ApiError):
    status, type, code = 403, "permission", "console.insecure"
    message = "Log in over https, or at a loopback address such as 127.0.0.1: your key could be read on its way."


class NotJoined(Conflict):
    code = "console.not_joined"
    message = "No worker is in the session's room. While the session is live, ask again in a second."


class ForeignRoom(Conflict):
    code = "console.foreign_room"
    message = "The session's room is on a LiveKit whose keys the console has not. Paste a token of yours."


class PortraitNotFound(NotFound):
    code = "console.portrait_not_found"
    message = "There is no picture of this avatar."
