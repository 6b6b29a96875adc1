"""What version 671d239 stored is read and continued: nothing is paid twice, nothing paid is lost.

The fixture folder holds an archive, the jobs of the API behind it, blocks and an approval as that
version left them; its README.md says how it was made. Every test has a fresh copy of the archive on
a real S3 server, and the API that knows those jobs on loopback.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.input.actions import acreate_flow_run_input
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket
from pydantic import SecretStr

# All names of the product, in one place: modules move, what they do stays.
from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.flows import advance_films, collect_finished, generate_clip, produce_film
from prefect_kling.kling.errors import JobFailed
from prefect_kling.kling.request import VideoRequest
from prefect_kling.runs.approval import require_approval
from prefect_kling.runs.authorization import offer_of_film
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import ClipHeld, NotApproved, OverBudget
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.pending import pending_films
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.film.reading.reader import load_storyboard, read_storyboard
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import NOTHING, Entry, EntryState, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.lane import rest_is_slow

FOLDER = Path(__file__).parent / "archive-671d239"
EXAMPLES = Path(str(files("prefect_kling.examples")))
KEY = "sk_test_only"
PRICE = Decimal("0.1899")
# Copies are young, and a young intent may have a living sender: here none lives so long.
AT_ONCE = SubmitOptions(window=-1.0, look_again=0.01)
ADOPTABLE = ("held-lost-answer", "held-with-job", "held-vanished")
OPEN = ("submitted", "submitted-half-archived", "submitted-adopted", "submitted-resubmitted")


@cache
def document(name: str) -> Any:
    """A JSON file of the fixture."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class OldClip:
    """A clip and how the old version left it; `jobs` are those the API really has for it."""

    order: ClipOrder
    state: str
    job_id: str | None
    jobs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its clip key."""
        return self.order.clip_key


def clip(name: str) -> OldClip:
    """A clip by the name `expected.json` gives it; its request must still have the key it had."""
    said = document("expected.json")["clips"][name]
    order = ClipOrder(request=VideoRequest.model_validate(said["request"]))
    assert order.clip_key == said["clip_key"]
    return OldClip(order, said["state"], said["job_id"], tuple(said["api_has_jobs"]))


def board(name: str) -> Storyboard:
    """A storyboard of the fixture."""
    return read_storyboard((FOLDER / "storyboards" / f"{name}.yaml").read_text(encoding="utf-8"))


class OldApi:
    """The API on loopback, with the old jobs. What is posted gets a job that is done at once."""

    def __init__(self) -> None:
        self.jobs = {job["job_id"]: job for job in document("jobs.json")}
        self.posts: list[dict[str, Any]] = []
        self.reads: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/api/v1"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take_in(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make a new job; its video is that of another one."""
        self.posts.append(body)
        done = next(job for job in self.jobs.values() if job["state"] == "completed")
        job = done | {"job_id": f"new{len(self.posts)}", "body": body}
        self.jobs[job["job_id"]] = job
        return {"taskId": job["job_id"], "state": "pending", "model": job["model"]}

    def describe(self, job: dict[str, Any]) -> dict[str, Any]:
        """Tell of a job as a poll does."""
        data = {"taskId": job["job_id"], "state": job["state"], "model": job["model"]}
        if job["state"] == "completed":
            times = {"createTime": job["create_time"], "completeTime": job["complete_time"]}
            return data | times | {"resultUrls": [f"{self.base_url}/files/{job['job_id']}.mp4"]}
        words = {"failCode": job["fail_code"], "failMsg": job["fail_msg"]}
        return data | words | {"retryable": job["fail_code"] != "CONTENT_MODERATION"}

    def charge(self, job: dict[str, Any]) -> dict[str, Any]:
        """Tell what a job cost."""
        return {"task_id": job["job_id"], "settled": True, "credits": float(job["price_usd"])}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                self._say(api.take_in(json.loads(self.rfile.read(length))))

            def do_GET(self) -> None:
                where = urlsplit(self.path)
                api.reads.append(where.path)
                asked = parse_qs(where.query).get("task_id") or [where.path.rpartition("/")[2]]
                job = api.jobs.get(asked[0].removesuffix(".mp4"))
                if job is None:
                    self._say(None, 404)
                elif "/files/" in where.path:
                    self._send((FOLDER / job["file"]).read_bytes(), "video/mp4")
                else:
                    self._say(api.charge(job) if "/records/" in where.path else api.describe(job))

            def _say(self, data: dict[str, Any] | None, code: int = 200) -> None:
                body = {"code": code, "msg": "success" if data else "Not Found", "data": data}
                self._send(json.dumps(body).encode(), "application/json", code)

            def _send(self, body: bytes, content_type: str, code: int = 200) -> None:
                self.send_response(code)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            # The parameter is named as in the base class.
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


@pytest.fixture
def api() -> Iterator[OldApi]:
    """The API that knows the old jobs."""
    running = OldApi()
    yield running
    running.close()


@pytest.fixture
def credentials(api: OldApi) -> KlingCredentials:
    """Access to it."""
    return KlingCredentials(
        api_key=SecretStr(KEY),
        base_url=api.base_url,
        first_poll_seconds=0.05,
        longest_poll_seconds=0.2,
    )


@pytest.fixture
def old(s3: LocalS3, archive_block: KlingArchive) -> Archive:
    """A copy of the old archive. It has moved: its documents name the place where it is now."""
    archive, index, store = archive_block.get_archive(), document("index.json"), s3.client()
    was, now = index["uri"].encode(), archive.bucket.uri("").encode()
    for name, said in index["objects"].items():
        body = (FOLDER / "objects" / name).read_bytes()
        store.put_object(
            Bucket=BUCKET,
            Key=archive.bucket.prefix + name,
            Body=body.replace(was, now) if name.endswith(".json") else body,
            ContentType=said["content_type"],
            Metadata=said["metadata"],
        )
    store.close()
    return archive


def page_of(archive: Archive, of: OldClip) -> VersionedEntry:
    """The clip's record in the ledger."""
    page = archive.ledger.read(of.key)
    assert page is not None
    return page


def record(archive: Archive, of: OldClip) -> Entry:
    """What the record says."""
    return page_of(archive, of).entry


def reserved(archive: Archive) -> dict[str, Decimal]:
    """What is set aside, by clip key."""
    accounts = archive.budget.accounts()
    assert accounts is not None
    return {key: each.usd for key, each in accounts.reserved.items()}


def spent(archive: Archive) -> Decimal:
    """What is spent."""
    accounts = archive.budget.accounts()
    assert accounts is not None
    return accounts.spent_usd


def test_every_record_is_read(old: Archive) -> None:
    """The ledger tells of every clip what the old version told, in all six states."""
    said = document("expected.json")["clips"]
    noted = {each["clip_key"]: each for each in said.values() if each["state"] is not None}
    old_states = {"intent", "submitted", "held", "released", "failed", "archived"}
    assert {each["state"] for each in noted.values()} == old_states
    assert set(old.ledger.all_keys()) == set(noted)
    for key, each in noted.items():
        page = old.ledger.read(key)
        assert page is not None
        entry = page.entry
        found = (entry.state.value, entry.job_id, entry.attempt, entry.retryable)
        assert found == (each["state"], each["job_id"], each["attempt"], each["retryable"])
        assert entry.at_most_usd == Decimal(each["at_most_usd"])
        assert entry.order.clip_key == key
        assert (old.find(key) is not None) is each["is_clip_stored"]


@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize(
    "name",
    rest_is_slow(["archived", "archived-stray-marker", "submitted-recorded"], "archived"),
)
async def test_an_archived_clip_is_found(
    name: str, old: Archive, api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Nothing is sent, and the API is not even asked."""
    wanted = clip(name)
    found = await generate_clip(wanted.order.request, credentials, archive_block)
    assert (found.clip_key, found.job_id, found.usd) == (wanted.key, wanted.job_id, PRICE)
    assert found.uri == old.clip_uri(wanted.key)
    assert (api.posts, api.reads) == ([], [])


@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize("name", rest_is_slow(OPEN, "submitted"))
async def test_a_submitted_job_is_adopted(
    name: str, old: Archive, api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """The paid job is waited for and archived, and its money moves from set aside to spent."""
    wanted, before = clip(name), spent(old)
    assert wanted.key in reserved(old)
    made = await generate_clip(wanted.order.request, credentials, archive_block)
    assert (made.job_id, api.posts) == (wanted.job_id, [])
    assert record(old, wanted).state is EntryState.ARCHIVED
    assert wanted.key not in reserved(old)
    assert spent(old) == before + PRICE


@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize("name", rest_is_slow(ADOPTABLE, "held-lost-answer"))
async def test_a_held_clip_waits_for_a_person(
    name: str, old: Archive, api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """It is never sent again by itself; adopted, its job is archived and nothing is paid again."""
    wanted = clip(name)
    (job_id,) = wanted.jobs
    for _ in range(2):
        with pytest.raises(ClipHeld) as caught:
            await generate_clip(wanted.order.request, credentials, archive_block)
        assert caught.value.job_id == wanted.job_id
    assert (api.posts, record(old, wanted).state) == ([], EntryState.HELD)
    old.ledger.adopt(page_of(old, wanted), job_id, "a test")
    made = await generate_clip(wanted.order.request, credentials, archive_block)
    assert (made.job_id, api.posts) == (job_id, [])
    assert record(old, wanted).state is EntryState.ARCHIVED


@pytest.mark.usefixtures("prefect_ui")
async def test_a_held_clip_that_was_not_made_is_sent_once_released(
    old: Archive, api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Only after a person said so, and once."""
    wanted = clip("held-unmade")
    with pytest.raises(ClipHeld):
        await generate_clip(wanted.order.request, credentials, archive_block)
    assert api.posts == []
    page = page_of(old, wanted)
    old.ledger.release(page, "a test")
    old.budget.settle(page.entry, NOTHING)
    await generate_clip(wanted.order.request, credentials, archive_block)
    assert len(api.posts) == 1


@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize("name", rest_is_slow(["intent-unsent", "intent-posted"], "intent-posted"))
async def test_an_abandoned_intent_is_held_and_never_sent(
    name: str, old: Archive, api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Young, it is waited for; older than any sender, it is held; then it is like any held clip."""
    wanted = clip(name)
    async with credentials.get_client() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await submit_once(wanted.order, client, old, SubmitOptions(look_again=0.1))
        assert record(old, wanted).state is EntryState.INTENT
        with pytest.raises(ClipHeld):
            await submit_once(wanted.order, client, old, AT_ONCE)
    assert (api.posts, record(old, wanted).state) == ([], EntryState.HELD)
    for job_id in wanted.jobs:
        old.ledger.adopt(page_of(old, wanted), job_id, "a test")
        await generate_clip(wanted.order.request, credentials, archive_block)
        assert (api.posts, record(old, wanted).state) == ([], EntryState.ARCHIVED)


@pytest.mark.usefixtures("prefect_ui", "old")
async def test_what_failed_for_good_stays_so(
    api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """The job is named, and nothing is sent."""
    wanted = clip("failed-final")
    with pytest.raises(JobFailed) as caught:
        await generate_clip(wanted.order.request, credentials, archive_block)
    assert (caught.value.job_id, api.posts) == (wanted.job_id, [])


@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize(
    ("name", "attempt"),
    rest_is_slow(
        [
            ("failed-retryable", 2),
            ("failed-exhausted", 4),
            ("released-refused", 1),
            ("released-by-person", 1),
        ],
        ("failed-exhausted", 4),
    ),
)
async def test_what_was_not_paid_may_be_sent(
    name: str,
    attempt: int,
    old: Archive,
    api: OldApi,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
) -> None:
    """Once, and only a job that failed counts as an attempt."""
    wanted = clip(name)
    await generate_clip(wanted.order.request, credentials, archive_block)
    entry = record(old, wanted)
    assert [post["prompt"] for post in api.posts] == [wanted.order.request.prompt]
    assert (entry.state, entry.attempt) == (EntryState.ARCHIVED, attempt)
    await generate_clip(wanted.order.request, credentials, archive_block)
    assert len(api.posts) == 1


async def test_one_sweep_finishes_what_is_open(
    old: Archive, api: OldApi, credentials: KlingCredentials
) -> None:
    """Paid clips are archived, abandoned intents held, stray markers removed; nothing is sent.

    A held clip whose answer named its job is archived as well: the API knows the job.
    """
    async with credentials.get_client() as client:
        await reconcile(old, client, ReconcileSettings(window_seconds=-1.0))
    assert api.posts == []
    clips = document("expected.json")["clips"]
    clips["held-with-job"]["state"] = "submitted"
    due = {"submitted": "archived", "intent": "held"}
    noted = [each for each in clips.values() if each["state"]]
    for each in noted:
        page = old.ledger.read(each["clip_key"])
        assert page is not None
        assert page.entry.state.value == due.get(each["state"], each["state"])
        assert (old.find(each["clip_key"]) is not None) is (page.entry.state is EntryState.ARCHIVED)
    held = {each["clip_key"] for each in noted if due.get(each["state"], each["state"]) == "held"}
    assert {marker.clip_key for marker in old.ledger.open_markers()} == held
    assert set(reserved(old)) == held


def test_the_budget_is_read(old: Archive, archive_block: KlingArchive) -> None:
    """What was spent and set aside still counts against today's caps."""
    said, accounts = document("expected.json")["budget"], old.budget.accounts()
    assert accounts is not None
    assert accounts.spent_usd == Decimal(said["spent_usd"])
    by_film = {film: Decimal(usd) for film, usd in said["spent_on_films_usd"].items()}
    assert accounts.spent_on_films_usd == by_film
    assert reserved(old) == {key: Decimal(usd) for key, usd in said["reserved_usd"].items()}
    committed = Decimal(said["committed_usd"])
    assert accounts.committed() == committed
    capped = archive_block.model_copy(update={"cap_usd": committed + PRICE}).get_archive()
    capped.budget.check(PRICE)
    with pytest.raises(OverBudget):
        capped.budget.check(PRICE + Decimal("0.0001"))


@pytest.mark.usefixtures("prefect_ui")
async def test_an_unchanged_film_is_found(
    old: Archive, api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """No clip is made and nothing is joined: not one of its objects is written anew."""
    said = document("expected.json")["film"]
    folder = f"films/{said['slug']}/"
    before = {name: old.bucket.read(name) for name in old.bucket.names(folder)}
    film = await produce_film(
        board("finished"), credentials, archive_block, Spending(budget_usd=Decimal("0.5"))
    )
    assert (film.film_key, film.manifest_uri) == (
        said["film_key"],
        old.bucket.uri(said["manifest"]),
    )
    assert (api.posts, api.reads) == ([], [])
    after = {name: old.bucket.read(name) for name in old.bucket.names(folder)}
    assert {name: each and each.body for name, each in after.items()} == {
        name: each and each.body for name, each in before.items()
    }
    assert len(after) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
async def test_pending_films_are_completed(
    old: Archive, api: OldApi, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """One was sent whole and costs nothing more; of the other the waiting shot is sent, once."""
    assert {pending.storyboard.title: pending.budget_usd for pending in pending_films(old)} == {
        board(name).title: Decimal(5) for name in ("pending-sent", "pending-half-sent")
    }
    await collect_finished(credentials, archive_block)
    assert api.posts == []
    done, waiting = await advance_films(credentials, archive_block)
    assert done.film is not None
    assert (done.title, done.film.usd) == (board("pending-sent").title, 2 * PRICE)
    assert (waiting.archived, waiting.sent) == (["1.1 Train"], ["1.2 Off"])
    assert [post["prompt"] for post in api.posts] == [
        clip("pending-half-sent 1.2 Off").order.request.prompt
    ]
    await collect_finished(credentials, archive_block)
    (done,) = await advance_films(credentials, archive_block)
    assert isinstance(done.film, Film)
    assert list(pending_films(old)) == []
    assert len(api.posts) == 1


@pytest.fixture
def prefect_of_its_own(tmp_path: Path) -> Iterator[str]:
    """A server that knew only the old version; other tests shall not meet its old schemas."""
    with prefect_server(tmp_path / "prefect") as address:
        yield address


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_of_its_own")
async def test_stored_blocks_are_loaded() -> None:
    """Stored with old types and schemas, today's classes load, save, and load them again."""
    for theirs in (AwsCredentials, MinIOCredentials, S3Bucket):
        await theirs.aregister_type_and_schema()
    async with get_client() as prefect:
        await store_old_blocks(prefect)
    plain, full = [await KlingCredentials.aload(name) for name in ("old-plain", "old-full")]
    assert plain.api_key.get_secret_value() == full.api_key.get_secret_value() == KEY
    assert plain.base_url == "http://127.0.0.1:8000/api/v1"
    assert (plain.parallel_jobs, plain.callback, full.parallel_jobs) == (None, None, 5)
    assert full.callbacks is not None
    assert full.settings.create_seconds == 90
    inline, referring = [
        await KlingArchive.aload(name) for name in ("old-inline", "old-by-reference")
    ]
    assert inline.get_archive().bucket.uri("") == "s3://films/team/kling/"
    assert (inline.cap_usd, inline.link_hours) == (Decimal("12.50"), 24)
    assert referring.get_archive().bucket.uri("") == "s3://films/kling/"
    assert referring.cap_usd is None
    for block in (plain, full, inline, referring):
        assert unknown_to(block) == set()
    secrets = [each.bucket.credentials.minio_root_password for each in (inline, referring)]
    assert [secret.get_secret_value() for secret in secrets] == ["test-password"] * 2
    for name, block in (("old-full", full), ("old-inline", inline)):
        await block.asave(name, overwrite=True)
        assert (await type(block).aload(name)).model_dump() == block.model_dump()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (KlingCredentials, ("old-plain", "old-full")),
        (KlingArchive, ("old-inline", "old-by-reference")),
    ],
)
def test_documents_of_blocks_are_accepted(
    kind: type[KlingCredentials] | type[KlingArchive], names: tuple[str, ...]
) -> None:
    """Without a Prefect server: what was stored is valid for today's class."""
    stored = {each["name"]: each["data"] for each in document("blocks.json")["block_documents"]}
    for name in names:
        assert unknown_to(kind.model_validate(stored[name])) == set()


def unknown_to(block: KlingCredentials | KlingArchive) -> set[str]:
    """What was stored and has no field today: Prefect keeps it, and nobody would read it."""
    return set(block.model_extra or {}) - {"block_type_slug"}


async def store_old_blocks(prefect: PrefectClient) -> None:
    """Put types, schemas and documents on a server as the old version left them there."""
    said, types, schemas, documents = document("blocks.json"), {}, {}, {}
    http = prefect._client
    for slug, kind in said["block_types"].items():
        try:
            types[slug] = str((await prefect.read_block_type_by_slug(slug)).id)
        except ObjectNotFound:
            answer = await http.post("/block_types/", json=kind | {"is_protected": False})
            types[slug] = answer.raise_for_status().json()["id"]
    for checksum, schema in said["block_schemas"].items():
        slug = schema["block_type_slug"]
        body = {name: value for name, value in schema.items() if name != "block_type_slug"}
        answer = await http.post("/block_schemas/", json=body | {"block_type_id": types[slug]})
        made = answer.raise_for_status().json()
        assert made["checksum"] == checksum, slug
        schemas[checksum] = made["id"]
    for each in said["block_documents"]:
        inner = {
            field: {"$ref": {"block_document_id": documents[name]}}
            for field, name in each["references"].items()
        }
        body = {
            "name": each["name"],
            "data": each["data"] | inner,
            "block_schema_id": schemas[each["block_schema_checksum"]],
            "block_type_id": types[each["block_type_slug"]],
        }
        answer = await http.post("/block_documents/", json=body)
        documents[each["name"]] = answer.raise_for_status().json()["id"]


@pytest.mark.usefixtures("prefect_ui")
@pytest.mark.parametrize(
    ("when", "decision", "allowed"),
    [("answered", "approve", True), ("answered", "refuse", False), ("suspended", None, False)],
)
async def test_an_old_answer_counts(
    when: str, decision: str | None, allowed: bool, archive: Archive
) -> None:
    """A run the old version suspended takes its answer; unanswered, somebody must be asked."""
    said = document("approval.json")
    keys = said["suspended"]["state_details"]["run_input_keyset"]
    inputs = json.loads(json.dumps(said[when]["inputs"]))
    if decision is not None:
        inputs[keys["response"]]["decision"] = decision
    quote = await quote_film(plan_film(read_storyboard(said["storyboard"])), archive)

    @flow
    async def resumed() -> None:
        for key, value in inputs.items():
            await acreate_flow_run_input(key=key, value=value)
        await require_approval(offer_of_film(quote), Spending.model_validate(said["spending"]))

    if allowed:
        await resumed()
        return
    with pytest.raises(NotApproved, match="refuse" if decision else None):
        await resumed()


def test_the_keys_of_requests_are_what_they_were() -> None:
    """A key that changed would have every archived clip paid once more."""
    for said in document("clip-keys.json")["requests"]:
        order = ClipOrder(request=VideoRequest.model_validate(said["request"]), take=said["take"])
        assert order.clip_key == said["clip_key"]


@pytest.mark.parametrize("name", document("clip-keys.json")["examples"])
def test_the_keys_of_the_examples_are_what_they_were(name: str) -> None:
    """The planner makes the same requests of a storyboard as it did."""
    plan = plan_film(load_storyboard(EXAMPLES / f"{name}.yaml"))
    keys = {each.name: each.clip_key for each in plan.clips}
    assert keys == document("clip-keys.json")["examples"][name]
