"""`/v1/sessions/{id}/proof`: a session's bill, for anybody to verify."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api import reading
from api.auth import CallerPrincipal
from api.context import Ctx
from api.errors import ProofNotFound, SessionNotFound, with_key
from projections.summaries import chain_of
from schemas.proofs import ProofResource, prove
from store import days

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["Sessions"])


@router.get(
    "/proof",
    response_model=ProofResource,
    operation_id="get_session_proof",
    summary="Proof of a session's bill",
    responses=with_key(SessionNotFound, ProofNotFound),
)
async def get_proof(session_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Its ledger entries, and the signed days that have them. Keep the answer as it is, byte for byte: sixty lines of
    Python (`examples/verify_proof.py`) verify it with nothing of ours. What was adjusted since is not in it."""
    await reading.find(ctx, caller.account_id, session_id)
    async with ctx.pool.connection() as connection:
        seals = await days.seals(connection, session_id)
        entries = await chain_of(connection, session_id) if seals else []
    if not seals or len(entries) < seals[-1].entries:
        raise ProofNotFound
    return Response(prove(session_id, entries, seals).encoded(), media_type="application/json")
