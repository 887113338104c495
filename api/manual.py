"""`/docs` for people and `/llms.txt` for language models: the OpenAPI document as pages without foreign addresses."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.requests import Request

from api import manual_page, manual_text

router = APIRouter(include_in_schema=False)

_NOTHING_ELSE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    return HTMLResponse(manual_page.page(request.app.openapi()), headers=_NOTHING_ELSE)


@router.get("/llms.txt")
async def llms(request: Request) -> PlainTextResponse:
    return PlainTextResponse(manual_text.text(request.app.openapi()))
