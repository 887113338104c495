"""`/v1/pipecat/sessions`: published clients have it; it is not built yet, and says so."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.auth import CallerPrincipal
from api.errors import TransportUnsupported, with_key

router = APIRouter(prefix="/v1/pipecat", tags=["Sessions"])


@router.post(
    "/sessions",
    operation_id="create_pipecat_session",
    summary="Create a Pipecat session (reserved)",
    response_class=Response,
    responses=with_key(TransportUnsupported),
)
async def create(caller: CallerPrincipal) -> Response:
    """Not built yet: every call answers 400 `transport.unsupported`. Use `POST /v1/sessions` with a LiveKit room."""
    raise TransportUnsupported("Pipecat sessions are reserved and not yet available.", param="transport.type")
