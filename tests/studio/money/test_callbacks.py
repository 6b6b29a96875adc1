"""Callback addresses: one per intent, unguessable, and nothing about them is written down."""

import logging

import pytest
from pydantic import SecretStr

from prefect_kling.blocks import KlingCredentials
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.callbacks import CallbackAddresses
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import SubmitOptions, submit_once

SECRET = "a-secret-that-nobody-may-read"
# Nobody listens there: these tests are about addresses, not about calls.
ADDRESSES = CallbackAddresses("http://127.0.0.1:9/kling/", SecretStr(SECRET))
TERMS = SubmitOptions(look_again=0.05, callback=ADDRESSES.address)


@pytest.fixture
def order(request: pytest.FixtureRequest, archive: Archive) -> ClipOrder:
    """An order of this test's own."""
    prompt = f"{request.node.name} {archive.bucket.prefix}"
    return ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))


def entry(order: ClipOrder, claim: str = "0123456789abcdef") -> Entry:
    """An intent with a claim."""
    return Entry(
        clip_key=order.clip_key, state="intent", order=order, at_most_usd=1, claim=claim, by=""
    )


def parts(address: str) -> tuple[str, str, str]:
    """Clip key, claim and token of an address."""
    clip_key, claim, token = address.split("/")[-3:]
    return clip_key, claim, token


def sent(sandbox: Sandbox, order: ClipOrder) -> list[str]:
    """The addresses the API was given for an order."""
    bodies = [job["body"] for job in sandbox.jobs()]
    return [body["callback_url"] for body in bodies if body.get("prompt") == order.request.prompt]


def test_an_intent_has_one_address(order: ClipOrder) -> None:
    """The same intent gets the same address every time, below the base URL, and it is ours."""
    address = ADDRESSES.address(entry(order))
    assert address == ADDRESSES.address(entry(order))
    assert address.startswith(f"http://127.0.0.1:9/kling/{order.clip_key}/01234567/")
    assert ADDRESSES.is_ours(*parts(address))


def test_claims_clips_and_secrets_have_addresses_of_their_own(order: ClipOrder) -> None:
    """Another attempt, another clip and another secret each make another token."""
    takes = [order, order.model_copy(update={"take": 2})]
    addresses = [
        ADDRESSES.address(entry(one, claim)) for one in takes for claim in ("a" * 16, "b" * 16)
    ]
    stranger = CallbackAddresses(ADDRESSES.base_url, SecretStr("another secret of some length"))
    addresses.append(stranger.address(entry(order, "a" * 16)))
    assert len({parts(address)[2] for address in addresses}) == 5
    assert not ADDRESSES.is_ours(*parts(addresses[-1]))


def test_wrong_tokens_are_refused(order: ClipOrder) -> None:
    """Short, long, changed, empty, non-ASCII and misplaced tokens are not ours."""
    key, claim, token = parts(ADDRESSES.address(entry(order)))
    wrong = [
        "",
        token[:-1],
        token + "0",
        token.upper(),
        token[::-1],
        "0" * 40,
        "é" * 40,
        "\x00",
        "\U0001f3ac" * 10,
    ]
    assert not any(ADDRESSES.is_ours(key, claim, each) for each in wrong)
    assert not ADDRESSES.is_ours(key, claim[::-1], token)
    assert not ADDRESSES.is_ours(claim, key, token)
    assert not ADDRESSES.is_ours(f"{key}.{claim}", "", token)


async def test_the_api_is_told_the_address_of_the_intent(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """What is sent is the address of the record that stands in the ledger."""
    record = await submit_once(order, client, archive, TERMS)
    assert sent(sandbox, order) == [ADDRESSES.address(record)]


async def test_each_attempt_is_sent_an_address_of_its_own(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Sent again after a lost answer, as chosen, the API calls another address."""
    sandbox.fault(on="create", do={"drop": True}, after_commit=True)
    record = await submit_once(
        order,
        client,
        archive,
        SubmitOptions(on_unknown="resubmit", look_again=0.05, callback=ADDRESSES.address),
    )
    first, second = sent(sandbox, order)
    assert first != second == ADDRESSES.address(record)


async def test_an_address_of_the_requests_own_is_kept(
    order: ClipOrder, client: KlingClient, archive: Archive, sandbox: Sandbox
) -> None:
    """Who names a callback address in a request gets the calls there."""
    own = "https://example.com/mine"
    order = order.model_copy(
        update={"request": order.request.model_copy(update={"callback_url": own})}
    )
    await submit_once(order, client, archive, TERMS)
    assert sent(sandbox, order) == [own]


async def test_neither_secret_nor_token_is_written_down(
    order: ClipOrder,
    client: KlingClient,
    archive: Archive,
    sandbox: Sandbox,
    credentials: KlingCredentials,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in an address, a repr, an error, a log line, nor in any object of the store."""
    for name in ("kling", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    sandbox.fault(on="create", do={"status": 503})
    with pytest.raises(ClipHeld) as caught:
        await submit_once(order, client, archive, TERMS)
    record = await submit_once(order.model_copy(update={"take": 2}), client, archive, TERMS)
    block = credentials.model_copy(
        update={"receiver_url": ADDRESSES.base_url, "receiver_secret": ADDRESSES.secret}
    )
    said = [
        repr(ADDRESSES),
        str(ADDRESSES),
        repr(TERMS),
        repr(block),
        repr(caught.value),
        str(caught.value),
    ]
    names = list(archive.bucket.names(""))
    stored = [archive.bucket.read(name) for name in names]
    said += [
        caplog.text,
        ADDRESSES.address(record),
        *names,
        *(one.body.decode() for one in stored if one),
    ]
    assert len(names) >= 4
    assert "POST" in caplog.text
    assert [text for text in said if SECRET in text] == []
    held = archive.ledger.read(order.clip_key)
    assert held is not None
    tokens = [parts(ADDRESSES.address(each))[2] for each in (record, held.entry)]
    assert [text for text in said if any(token in text for token in tokens)] == [
        ADDRESSES.address(record)
    ]


def test_a_receiver_needs_both_url_and_secret(credentials: KlingCredentials) -> None:
    """Half a receiver is refused when the block is made, and one without has no addresses."""
    assert credentials.callbacks is None
    with pytest.raises(ValueError, match="both its URL and its secret"):
        KlingCredentials(api_key=credentials.api_key, receiver_url="https://example.com")
    with pytest.raises(ValueError, match="both its URL and its secret"):
        KlingCredentials(api_key=credentials.api_key, receiver_secret=SecretStr(SECRET))
