"""The client sends paid calls once, repeats reads, sorts every failure, and never tells the key.

Answers come from a function in place of the network: what is tested is how each possible answer is
understood. The sandbox tests run the same client over real HTTP.
"""

import json
import logging
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from prefect_kling.kling import errors
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.request import VideoRequest

KEY = "sk_verysecretkey1234567"
REQUEST = VideoRequest(model="kling-v3-omni", prompt="Dawn")
TAKEN = {"code": 200, "msg": "success", "data": {"taskId": "c1", "state": "pending"}}


class Api:
    """A function in place of the network; counts what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one call; the last answer is repeated."""
        self.calls.append(request)
        answer = self.answers[min(len(self.calls), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def client_of(api: Callable[[httpx.Request], httpx.Response], **settings: Any) -> KlingClient:
    """A client whose network is a function."""
    return KlingClient(SecretStr(KEY), ClientSettings(**settings), httpx.MockTransport(api))


def says(
    status: int, code: int | None = None, headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    """An answer with this status and, in its body, this code."""
    named = {} if code is None else {"code": code}
    return httpx.Response(status, json=named | body, headers=headers)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.ConnectError("refused"), errors.Unavailable),
        (httpx.ConnectTimeout("slow"), errors.Unavailable),
        (httpx.PoolTimeout("busy"), errors.Unavailable),
        (httpx.ReadTimeout("slow"), errors.OutcomeUnknown),
        (httpx.WriteError("cut"), errors.OutcomeUnknown),
        (httpx.ReadError("reset"), errors.OutcomeUnknown),
        (httpx.RemoteProtocolError("Server disconnected"), errors.OutcomeUnknown),
        (says(400, msg="bad prompt"), errors.RequestRefused),
        (says(422), errors.RequestRefused),
        (says(404), errors.KeyRefused),
        (says(308), errors.OutcomeUnknown),
        (says(403, 1304), errors.KeyRefused),
        (says(401), errors.KeyRefused),
        (says(403), errors.KeyRefused),
        (says(402), errors.BalanceTooLow),
        (says(429), errors.Unavailable),
        (says(408), errors.OutcomeUnknown),
        (says(500), errors.OutcomeUnknown),
        (says(502), errors.OutcomeUnknown),
        (says(504), errors.OutcomeUnknown),
        (says(500, 400), errors.OutcomeUnknown),
        (says(302), errors.OutcomeUnknown),
        (says(200, 400), errors.RequestRefused),
        (says(200, 401), errors.KeyRefused),
        (says(200, 402), errors.BalanceTooLow),
        (says(200, 429), errors.Unavailable),
        (says(429, 1303), errors.Unavailable),
        (says(402, 1102), errors.BalanceTooLow),
        (says(200, 1301), errors.RequestRefused),
        (says(200, 500), errors.OutcomeUnknown),
        (says(200, 5001), errors.OutcomeUnknown),
        (says(200, 7777), errors.OutcomeUnknown),
        (says(200, 200, data={}), errors.OutcomeUnknown),
        (says(200, 200, data={"state": "pending"}), errors.OutcomeUnknown),
        (httpx.Response(200, text="<html>login</html>"), errors.OutcomeUnknown),
        (httpx.Response(200, content=b""), errors.OutcomeUnknown),
    ],
    ids=lambda value: (
        f"{value!r}"[:60] if isinstance(value, httpx.Response | Exception) else value.__name__
    ),
)
async def test_a_paid_call_is_sent_once_and_its_outcome_sorted_by_certainty(
    answer: httpx.Response | Exception, kind: type[errors.KlingError]
) -> None:
    """Only what certainly had no effect may be called so; all else is unknown, never repeated."""
    api = Api(answer)
    async with client_of(api) as client:
        with pytest.raises(errors.KlingError) as caught:
            await client.create(REQUEST)
    assert type(caught.value) is kind
    assert len(api.calls) == 1


REFUSED = {400, 401, 402, 403, 404, 405, 413, 415, 422, *range(1000, 1005), *range(1100, 1104)}
REFUSED |= {1200, 1201, 1202, 1203, 1300, 1301, 1304}
BUSY = {429, 1302, 1303}
CERTAIN = (errors.RequestRefused, errors.KeyRefused, errors.BalanceTooLow)
ODD_STATUSES = {408, 409, 418, 425, 426, 431, 451, 499, 500, 501, 502, 503, 504, 507, 520, 524, 599}


def every_status() -> list[Any]:
    """200 and all of 4xx and 5xx; the lane has those on a list and those that mean something."""
    telling = {200} | REFUSED | BUSY | ODD_STATUSES
    return [
        pytest.param(status, marks=() if status in telling else pytest.mark.slow)
        for status in (200, *range(400, 600))
    ]


NO_CODE: dict[str, Any] = {}


@pytest.mark.parametrize("status", every_status())
async def test_an_answer_proves_only_what_status_and_code_say_together(status: int) -> None:
    """Refused or busy needs status and code on the same list; all else is unknown."""
    codes: list[Any] = [*sorted(REFUSED | BUSY), 0, 200, 409, 425, 499, 500, 5001, 7777]
    bodies: list[tuple[dict[str, Any], int | None]] = [(NO_CODE, None)]
    bodies += [({"code": code}, code) for code in codes]
    bodies += [({"code": str(code)}, code) for code in codes]
    for body, code in bodies:
        error = await create_error(status, body)
        known = {code} if status == 200 else {status} if code is None else {status, code}
        if known <= REFUSED:
            assert isinstance(error, CERTAIN), (status, body)
        elif known <= BUSY:
            assert type(error) is errors.Unavailable, (status, body)
        else:
            assert type(error) is errors.OutcomeUnknown, (status, body)


UNREADABLE = ["no", "", None, True, 4.0, [400], {"code": 400}, "4" * 30, "\uff14\uff10\uff10"]


@pytest.mark.parametrize("status", [200, 400, 401, 402, 404, 422, 429, 499])
async def test_a_code_that_cannot_be_read_proves_nothing(status: int) -> None:
    """A code that is no number, or may stand in a broken body, is no refusal."""
    for code in UNREADABLE:
        assert type(await create_error(status, {"code": code})) is errors.OutcomeUnknown
    for text in ('{"code": 400', "[" * 5000, '[{"code": 400}]', '\ufeff{"code":'):
        error = await create_error(status, text)
        assert type(error) is errors.OutcomeUnknown, text


ID_PLACES: list[dict[str, Any]] = [
    {"data": {"taskId": "c7"}},
    {"data": {"task_id": "c7"}},
    {"data": {"id": "c7"}},
    {"taskId": "c7"},
    {"id": "c7"},
    {"data": [{"taskId": "c7"}]},
    {"data": {"task": {"id": "c7"}}},
    {"error": {"details": {"job_id": "c7"}}},
]


@pytest.mark.parametrize("status", every_status())
async def test_an_answer_that_names_a_job_is_never_a_refusal(status: int) -> None:
    """Whatever status and code say: the job may be paid, and its id is kept."""
    for place in ID_PLACES:
        for code in (NO_CODE, {"code": 400}, {"code": 429}, {"code": 500}, {"code": "no"}):
            if status == 200 and code is NO_CODE:
                continue
            error = await create_error(status, code | place)
            assert type(error) is errors.OutcomeUnknown, (status, code, place)
            assert error.job_id == "c7", (status, code, place)


@pytest.mark.parametrize(
    "text",
    [
        '[{"taskId": "c7"}]',
        '{"code": 400, "data": {"taskId": "c7"',
        '{"code": 400, "data": "{\\"taskId\\": \\"c7\\"}"}',
        '{"code": 400, "taskId": ["c7"]}',
        'data: {"taskId": "c7"}',
        '{"code": 400, "data": {"taskID": "c7"}}',
    ],
)
async def test_an_id_in_an_odd_body_is_kept(text: str) -> None:
    """A list, a cut body, JSON in a string, an event stream: the job may be paid."""
    error = await create_error(400, text)
    assert type(error) is errors.OutcomeUnknown
    assert error.job_id == "c7"


async def test_a_code_beside_the_envelope_counts_too() -> None:
    """A gateway with its own code in `error` gave up, which is no proof that nothing was made."""
    for body in ({"error": {"code": 504}}, {"error": {"code": "upstream_timeout"}}):
        assert type(await create_error(403, body)) is errors.OutcomeUnknown
    assert type(await create_error(403, {"error": {"code": 403}})) is errors.KeyRefused


async def test_an_id_that_cannot_be_one_is_quoted_and_kept() -> None:
    """A good answer whose id no ledger could hold is unknown, with the id in a form for people."""
    for odd in ("c\ud800", "c\x00", "c" * 9000, ["c1"]):
        error = await create_error(200, json.dumps({"code": 200, "data": {"taskId": odd}}))
        assert type(error) is errors.OutcomeUnknown
        assert error.job_id is not None
        assert error.job_id.encode("ascii")
        assert len(error.job_id) <= 256


async def test_a_refusal_and_an_unknown_outcome_never_share_a_sentence() -> None:
    """Who reads that nothing was paid can believe it; an unknown outcome says no such thing."""
    refusals = [await create_error(status, {}) for status in (400, 401, 402, 403, 404)]
    unknown = [await create_error(status, {}) for status in (408, 409, 499, 500, 502)]
    for error in unknown:
        assert "may be paid" in str(error)
        assert "does not tell whether the request was taken" in str(error)
        assert "nothing was" not in str(error).lower()
        assert "refused" not in str(error)
    sentences = {part for error in refusals for part in str(error).split(". ")}
    assert not sentences & {part for error in unknown for part in str(error).split(". ")}


async def create_error(status: int, body: dict[str, Any] | str) -> errors.KlingError:
    """What a paid call raises that is answered so."""
    content = body if isinstance(body, str) else json.dumps(body)
    answer = httpx.Response(status, content=content.encode())
    async with client_of(Api(answer)) as client:
        with pytest.raises(errors.KlingError) as caught:
            await client.create(REQUEST)
    return caught.value


async def test_a_taken_request_returns_its_job() -> None:
    """The job id is all that is needed; the code may be a string of digits."""
    for body in (TAKEN, TAKEN | {"code": "200"}, {"data": {"task_id": "c1"}}, TAKEN | {"code": 0}):
        async with client_of(Api(httpx.Response(200, json=body))) as client:
            assert (await client.create(REQUEST)).job_id == "c1"


async def test_an_unknown_outcome_keeps_the_job_id_it_saw() -> None:
    """An answer that is an error and yet names a job is evidence."""
    async with client_of(Api(says(500, data={"taskId": "c7"}))) as client:
        with pytest.raises(errors.OutcomeUnknown) as caught:
            await client.create(REQUEST)
    assert caught.value.job_id == "c7"


@pytest.mark.parametrize(
    ("answer", "kind", "calls"),
    [
        (httpx.ReadTimeout("slow"), errors.Unavailable, 3),
        (httpx.ConnectError("refused"), errors.Unavailable, 3),
        (says(429, headers={"Retry-After": "0"}), errors.Unavailable, 3),
        (says(503, headers={"Retry-After": "0"}), errors.Unavailable, 3),
        (says(200, 500, headers={"Retry-After": "0"}), errors.Unavailable, 3),
        (says(401), errors.KeyRefused, 1),
        (says(403), errors.KeyRefused, 3),
        (says(404), errors.JobNotFound, 1),
        (says(200, 404), errors.JobNotFound, 1),
        (says(200, 1203), errors.JobNotFound, 1),
        (says(400), errors.UnreadableReply, 1),
        (httpx.Response(200, text="[" * 5000), errors.UnreadableReply, 3),
        (says(302), errors.UnreadableReply, 3),
        (httpx.Response(200, text="<html>"), errors.UnreadableReply, 3),
        (says(200, 200, data={}), errors.UnreadableReply, 3),
        (says(200, 200, data={"taskId": "another", "state": "pending"}), errors.UnreadableReply, 3),
    ],
    ids=lambda value: (
        f"{value!r}"[:60] if isinstance(value, httpx.Response | Exception) else str(value)
    ),
)
async def test_reads_are_repeated_while_the_api_is_unavailable(
    answer: httpx.Response | Exception, kind: type[errors.KlingError], calls: int
) -> None:
    """Network trouble, 429, 5xx, 403 and pages are worth another try; other answers are not."""
    api = Api(answer)
    async with client_of(api, read_attempts=3) as client:
        with pytest.raises(kind):
            await client.get("c1")
    assert len(api.calls) == calls


@pytest.mark.parametrize("envelope", [500, 429, 403, 404, 1303])
@pytest.mark.parametrize("state", ["failed", "completed"])
async def test_an_end_under_our_id_wins_over_the_envelope(envelope: int, state: str) -> None:
    """The job has ended, whatever the code around it says; another job's end proves nothing."""
    data = {"taskId": "c1", "state": state, "resultUrls": ["https://x.example/v.mp4"]}
    async with client_of(Api(says(200, envelope, data=data)), read_attempts=1) as client:
        assert (await client.get("c1")).state == state
        with pytest.raises(errors.KlingError):
            await client.get("c2")


async def test_a_running_state_does_not_win_over_the_envelope() -> None:
    """Only an end counts: a running job under an error is asked about again."""
    data = {"taskId": "c1", "state": "processing"}
    async with client_of(Api(says(200, 500, data=data)), read_attempts=1) as client:
        with pytest.raises(errors.Unavailable):
            await client.get("c1")


async def test_a_read_that_recovers_returns_the_job() -> None:
    """A passing failure is not seen by the caller."""
    api = Api(says(502, headers={"Retry-After": "0"}), httpx.Response(200, json=TAKEN))
    async with client_of(api) as client:
        assert (await client.get("c1")).job_id == "c1"
    assert api.calls[0].url.params["task_id"] == "c1"


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_understood_in_both_forms(form: str) -> None:
    """The server's wish arrives as seconds or as an HTTP date."""
    later = (
        "7"
        if form == "seconds"
        else format_datetime(datetime.now(UTC) + timedelta(seconds=7), usegmt=True)
    )
    async with client_of(Api(says(429, headers={"Retry-After": later}))) as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.create(REQUEST)
    assert caught.value.retry_after == pytest.approx(7, abs=2)


@pytest.mark.parametrize(
    "body",
    [
        {"msg": "no"},
        {"error": {"message": "no"}},
        {"error": "no"},
        {"message": "no"},
        {"data": {"failMsg": "no"}},
    ],
    ids=lambda body: next(iter(body)),
)
async def test_the_servers_words_are_kept_wherever_they_stand(body: dict[str, Any]) -> None:
    """An error carries HTTP status, code and the server's words, and ends with the next step."""
    async with client_of(Api(httpx.Response(400, json={"code": 1201} | body))) as client:
        with pytest.raises(errors.RequestRefused) as caught:
            await client.create(REQUEST)
    error = caught.value
    assert (error.status, error.code, error.detail) == (400, 1201, "no")
    assert str(error).endswith(errors.RequestRefused.next_step)


async def test_disputed_requests_can_be_refused_before_they_are_sent() -> None:
    """With `disputed_rules="refuse"` nothing leaves the machine."""
    api = Api(httpx.Response(200, json=TAKEN))
    disputed = VideoRequest(model="kling-video-o1", prompt="Dawn", sound="on")
    async with client_of(api, disputed_rules="refuse") as client:
        with pytest.raises(errors.RequestRefused, match="sound"):
            await client.create(disputed)
    assert api.calls == []
    async with client_of(api) as client:
        await client.create(disputed)


async def test_balance_and_record_are_read_as_money() -> None:
    """Amounts are decimals; a record that is not there or not settled costs nothing."""
    money = says(200, 200, data={"balance": "12.30", "total": 15, "frozen": 2.7, "currency": "USD"})
    async with client_of(Api(money)) as client:
        balance = await client.balance()
    assert (balance.balance, balance.frozen) == (Decimal("12.30"), Decimal("2.7"))
    async with client_of(
        Api(says(200, 200, data={"settled": True, "credits": "0.3165"}))
    ) as client:
        charge = await client.record("c1")
    assert charge is not None
    assert charge.credits == Decimal("0.3165")
    for odd in (says(404), httpx.Response(200, text="no")):
        async with client_of(Api(odd)) as client:
            assert await client.record("c1") is None
    async with client_of(Api(says(200, 200, data={"settled": False, "credits": "9"}))) as client:
        charge = await client.record("c1")
    assert charge is not None
    assert charge.credits is None


@pytest.mark.parametrize(
    "answer", [says(401, msg=f"bad key {KEY}"), httpx.Response(200, text=f"<p>{KEY}</p>")]
)
async def test_the_key_is_told_to_nobody(
    answer: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in repr, errors, tracebacks or logs, even when the server echoes it."""
    caplog.set_level(logging.DEBUG)
    api = Api(answer)
    client = client_of(api)
    async with client:
        with pytest.raises(errors.KlingError) as caught:
            await client.create(REQUEST)
    trace = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert KEY not in f"{client!r}{vars(client)}{caught.value}{caught.value!r}{trace}{caplog.text}"
    assert api.calls[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["", " ", "sk_clé", "sk_a b", "sk_a\nX-Evil: 1"])
def test_a_key_that_cannot_be_sent_is_refused_at_once(key: str) -> None:
    """A key with characters no header can hold is the user's to fix, not an unknown outcome."""
    with pytest.raises(errors.KeyRefused) as caught:
        KlingClient(SecretStr(key))
    assert not key.strip() or key not in str(caught.value)


async def test_a_pasted_line_end_is_not_part_of_the_key() -> None:
    """Keys come from files and clipboards."""
    api = Api(httpx.Response(200, json=TAKEN))
    async with KlingClient(
        SecretStr(f"{KEY}\n"), ClientSettings(), httpx.MockTransport(api)
    ) as client:
        await client.create(REQUEST)
    assert api.calls[0].headers["authorization"] == f"Bearer {KEY}"


def _leaves(kind: type[errors.KlingError]) -> list[type[errors.KlingError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _leaves(child))]


@pytest.mark.parametrize("kind", _leaves(errors.KlingError))
def test_every_error_survives_a_process_border(kind: type[errors.KlingError]) -> None:
    """Prefect carries exceptions between processes: message and evidence stay."""
    error = kind("what happened", job_id="c1", status=500, code=5000, detail="sorry")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.job_id) == (kind, str(error), "c1")


def test_the_tree_in_the_text_is_the_tree_in_the_code() -> None:
    """The drawing at the top of errors.py names every leaf."""
    drawing = errors.__doc__ or ""
    assert all(kind.__name__ in drawing for kind in _leaves(errors.KlingError))
