"""Uploading a file to the API: what may be repeated is repeated, and every refusal says why."""

import io
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.errors import (
    KeyRefused,
    KlingError,
    RequestRefused,
    Unavailable,
    UnreadableReply,
)
from prefect_kling.sandbox import Sandbox

# Line breaks, a boundary's beginning and null bytes must arrive as they are.
CONTENT = b"\x89PNG\r\n\r\n--\r\n\x00\x00\n\n" * 500 + b"\r\n"


async def upload(client: KlingClient) -> str:
    """Upload the content."""
    return await client.upload(io.BytesIO(CONTENT), "a.png", "image/png")


async def test_what_is_uploaded_is_served_without_a_key(client: KlingClient) -> None:
    """The address gives back the very bytes to whoever has it."""
    address = await upload(client)
    async with httpx.AsyncClient() as anybody:
        answer = await anybody.get(address)
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"drop": True}])
async def test_passing_trouble_is_repeated_with_the_whole_file(
    client: KlingClient, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    """An upload costs nothing and may be made again."""
    sandbox.fault(on="upload", do=fault, times=2)
    address = await upload(client)
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(address)).content == CONTENT


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 404}, RequestRefused),
        ({"status": 405}, RequestRefused),
        ({"status": 413}, RequestRefused),
        ({"code": 1200}, RequestRefused),
        ({"status": 401}, KeyRefused),
        ({"html": True}, UnreadableReply),
        ({"no_url": True}, UnreadableReply),
        ({"status": 200, "body": {"code": 200, "data": {"publicUrl": "no link"}}}, UnreadableReply),
        ({"status": 200, "body": {"code": 200, "data": {"publicUrl": 7}}}, UnreadableReply),
        ({"status": 503}, Unavailable),
    ],
)
async def test_an_upload_that_is_not_taken_is_told_by_its_cause(
    sandbox: Sandbox, fault: dict[str, Any], expected: type[KlingError]
) -> None:
    """No answer but an address counts as one."""
    settings = ClientSettings(base_url=sandbox.base_url, read_attempts=1)
    sandbox.fault(on="upload", do=fault)
    async with KlingClient(SecretStr(sandbox.key), settings) as client:
        with pytest.raises(expected):
            await upload(client)
