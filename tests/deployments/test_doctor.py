"""The doctor on a healthy set-up and on ill ones: each fault is found, named and has a cure."""

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import MinIOCredentials
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.catalogue import load_deployments
from prefect_kling.deployments.cli.app import app
from prefect_kling.deployments.cli.doctor_text import line, sentence
from prefect_kling.deployments.doctor.checks import CHECKS, SERVER
from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.examination import examine
from prefect_kling.deployments.doctor.finding import Finding, Reason, Status
from prefect_kling.deployments.doctor.prefect_server import is_older
from prefect_kling.deployments.local.processes import free_ports
from prefect_kling.flows import generate_clip
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.errors import ClipHeld, StorageRefused
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage.bucket import Bucket
from tests.deployed import forget_deployments
from tests.deployments.conftest import Call
from tests.deployments.door import open_door

HIDDEN = "a-receiver-secret-nobody-may-see"
Findings = Mapping[str, Finding]


@pytest.fixture
def name(prefect_ui: str) -> str:
    """A name of this test's own for its blocks, on a real server."""
    return f"doctor-{secrets.token_hex(4)}"


async def run_checks(context: DoctorContext) -> Findings:
    """Run all checks, and form a sentence from whatever each one found."""
    found = {each.check: each async for each in examine(context, CHECKS)}
    assert all(line(each) for each in found.values())
    return found


async def visit(
    name: str,
    credentials: KlingCredentials,
    archive: KlingArchive,
    clock: Callable[[], float] = time.time,
) -> Findings:
    """Store these blocks and have them examined."""
    await credentials.asave(name, overwrite=True)
    await archive.asave(name, overwrite=True)
    found = await run_checks(DoctorContext(name, name, clock=clock))
    told = "\n".join(line(each) for each in found.values())
    keys = archive.bucket.credentials
    assert isinstance(keys, MinIOCredentials)
    for secret in (credentials.api_key, keys.minio_root_password, SecretStr(HIDDEN)):
        assert secret.get_secret_value() not in told
    assert "Signature=" not in told
    return found


def faults(found: Findings) -> list[str]:
    """The checks that came to a fault."""
    return [name for name, each in found.items() if each.status is Status.FAULT]


def skipped(found: Findings) -> list[str]:
    """The checks that were not made."""
    return [name for name, each in found.items() if each.status is Status.SKIPPED]


def nowhere() -> str:
    """An address at which nothing listens."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


async def test_a_healthy_setup_has_no_fault_and_is_left_clean(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Every check is made, none finds a fault, and no probe object stays behind."""
    found = await visit(name, credentials, archive_block)
    assert list(found) == [check.name for check in CHECKS]
    assert faults(found) == skipped(found) == []
    assert found["balance"].subject == "USD"
    assert found["store"].reason is Reason.NOT_ENCRYPTED
    assert list(archive_block.get_archive().bucket.names("")) == []


async def test_every_need_of_a_check_is_a_check_before_it() -> None:
    """A check cannot depend on one that does not exist or comes later."""
    for number, check in enumerate(CHECKS):
        assert set(check.needs) <= {earlier.name for earlier in CHECKS[:number]}


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("number", [0, 1, 2.5])
def test_every_reason_has_a_sentence(reason: Reason, number: float) -> None:
    """A check can report any reason; the command forms one line of text from it."""
    text = line(Finding(Status.FAULT, reason, "subject", number, "do this", "a check"))
    assert text.startswith("fault    a check: ")
    assert text.endswith(" → do this")
    assert "{" not in text


def test_the_command_prints_a_line_for_each_check_and_fails_for_a_fault(
    name: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 0 when all is well, 1 when a block is missing, one line per check in both."""
    credentials.save(name)
    archive_block.save(name)
    words = ("doctor", "--credentials", name, "--archive")
    assert app([*words, name], exit_on_error=False, result_action="return_value") == 0
    assert len(capsys.readouterr().out.splitlines()) == len(CHECKS)
    assert app([*words, "no-such-block"], exit_on_error=False, result_action="return_value") == 1
    assert (
        "there is no KlingArchive block named 'no-such-block' → `prefect-kling setup`"
        in capsys.readouterr().out
    )


@pytest.mark.usefixtures("prefect_ui")
async def test_no_prefect_server_is_a_fault_and_the_rest_is_skipped() -> None:
    """Without a server nothing else can be looked at, and that is said."""
    with temporary_settings({PREFECT_API_URL: f"{nowhere()}/api"}):
        found = await run_checks(DoctorContext())
    assert faults(found) == ["Prefect server"]
    assert "prefect server start" in found["Prefect server"].fix
    assert len(skipped(found)) == len(CHECKS) - 1
    assert found["API key"].value == "API address"


def test_an_older_server_is_recognised_by_major_and_minor() -> None:
    """A patch behind is no matter, a minor is, and ten is more than nine."""
    assert is_older("3.7.9", "3.8.0")
    assert is_older("2.20.1", "3.8.0")
    assert not is_older("3.8.0", "3.8.9")
    assert not is_older("3.10.0", "3.9.1")
    assert not is_older("3.9.0.dev2+1.gabc", "3.8.8")


@pytest.mark.usefixtures("prefect_ui")
async def test_an_old_server_is_a_fault() -> None:
    """The server's real answer is compared with the version of this client."""
    context = DoctorContext(client_version="3.99.0")
    found = [each async for each in examine(context, [SERVER])]
    assert found[0].status is Status.FAULT
    assert found[0].reason is Reason.SERVER_TOO_OLD
    assert "upgrade the server to 3.99.0" in found[0].fix


def test_missing_block_types_and_blocks_are_faults(prefect_ui: str, call: Call) -> None:
    """Where this package was never installed, the commands for types and blocks are named."""
    kinds = (KlingCredentials, KlingArchive)
    # A server that runs from this very environment has registered our types by itself.
    with get_client(sync_client=True) as client:
        for kind in kinds:
            client.delete_block_type(client.read_block_type_by_slug(kind.get_block_type_slug()).id)
    done = call("doctor", PREFECT_API_URL=f"{prefect_ui}/api")
    for kind in kinds:
        kind.register_type_and_schema()
    assert done.returncode == 1
    assert done.stderr == ""
    assert "fault    block types: not registered: kling-credentials, kling-archive" in done.stdout
    assert "`prefect block register -m prefect_kling.blocks`" in done.stdout
    assert (
        "there is no KlingCredentials block named 'default' → `prefect-kling setup`" in done.stdout
    )
    assert "there is no KlingArchive block named 'default' → `prefect-kling setup`" in done.stdout


async def test_a_stored_block_that_breaks_a_rule_is_told_without_its_values(
    name: str, credentials: KlingCredentials
) -> None:
    """What was stored past the rules is found, and the secret in it is not quoted."""
    broken = credentials.model_copy(update={"receiver_secret": SecretStr(HIDDEN)})
    await broken.asave(name)
    found = await run_checks(DoctorContext(name, name))
    assert found["credentials block"].reason is Reason.BLOCK_INVALID
    assert HIDDEN not in "".join(line(each) for each in found.values())


async def test_a_wrong_key_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """The API refuses it, so there is no balance; the store is looked at all the same."""
    wrong = credentials.model_copy(update={"api_key": SecretStr("sk_wrong_0123456789")})
    found = await visit(name, wrong, archive_block)
    assert faults(found) == ["API key"]
    assert "Check the API key" in found["API key"].fix
    assert skipped(found) == ["balance"]


async def test_an_empty_account_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """A key that is accepted pays for nothing when there is no money."""
    with Sandbox(SandboxSettings(balance_usd=0)) as poor:
        empty = credentials.model_copy(
            update={"base_url": poor.base_url, "api_key": SecretStr(poor.key)}
        )
        found = await visit(name, empty, archive_block)
    assert faults(found) == ["balance"]
    assert "top up" in found["balance"].fix


async def test_a_dead_api_address_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Nobody answers at the base URL."""
    dead = credentials.model_copy(update={"base_url": f"{nowhere()}/api/v1"})
    found = await visit(name, dead, archive_block)
    assert faults(found) == ["API address"]
    assert "ConnectError" in sentence(found["API address"])
    assert "base URL" in found["API address"].fix
    assert skipped(found) == ["API key", "balance", "clock and API"]


async def test_a_missing_bucket_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """The store answers, and has no such bucket."""
    bucket = archive_block.bucket.model_copy(update={"bucket_name": "no-such-bucket"})
    found = await visit(name, credentials, archive_block.model_copy(update={"bucket": bucket}))
    assert faults(found) == ["bucket"]
    assert "the bucket no-such-bucket does not exist" in sentence(found["bucket"])
    assert "create the bucket" in found["bucket"].fix
    assert "conditional writes" in skipped(found)


async def test_a_wrong_secret_of_the_store_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """The store does not accept the signature, and the cure speaks of keys."""
    keys = archive_block.bucket.credentials.model_copy(
        update={"minio_root_password": SecretStr("not-the-secret")}
    )
    bucket = archive_block.bucket.model_copy(update={"credentials": keys})
    found = await visit(name, credentials, archive_block.model_copy(update={"bucket": bucket}))
    assert faults(found) == ["bucket"]
    assert "SignatureDoesNotMatch" in sentence(found["bucket"])
    assert "keys" in found["bucket"].fix


async def test_a_dead_store_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Nobody answers at the endpoint; that is found before boto3 tries again and again."""
    parameters = archive_block.bucket.credentials.aws_client_parameters.model_copy(
        update={"endpoint_url": nowhere()}
    )
    keys = archive_block.bucket.credentials.model_copy(update={"aws_client_parameters": parameters})
    bucket = archive_block.bucket.model_copy(update={"credentials": keys})
    found = await visit(name, credentials, archive_block.model_copy(update={"bucket": bucket}))
    assert faults(found) == ["store"]
    assert "endpoint" in found["store"].fix


async def test_a_store_that_ignores_conditional_writes_is_a_fault(
    name: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real store to which no condition gets through could let two runs pay."""
    s3 = archive_block.get_archive().bucket._s3
    put = s3.put_object

    def careless(*, IfNoneMatch: str = "", IfMatch: str = "", **rest: Any) -> Any:  # noqa: N803
        return put(**rest)

    monkeypatch.setattr(s3, "put_object", careless)
    found = await visit(name, credentials, archive_block)
    assert faults(found) == ["conditional writes"]
    assert "ignores conditional writes" in sentence(found["conditional writes"])
    assert "If-None-Match" in found["conditional writes"].fix
    assert list(archive_block.get_archive().bucket.names("")) == []


async def test_each_permission_that_is_missing_is_named(
    name: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever may write but neither read nor delete hears of both."""

    def refuse(self: Bucket, path: str) -> None:
        raise StorageRefused("no", status=403, detail="AccessDenied")

    monkeypatch.setattr(Bucket, "read", refuse)
    monkeypatch.setattr(Bucket, "delete", refuse)
    found = await visit(name, credentials, archive_block)
    assert faults(found) == ["permissions"]
    assert re.findall(r"(\w+): no", sentence(found["permissions"])) == ["get", "delete"]
    assert "s3:DeleteObject" in found["permissions"].fix


@pytest.mark.parametrize(("hours", "words"), [(1, " s ahead of the "), (-1, " s behind the ")])
async def test_a_clock_that_is_off_is_a_fault(
    hours: int,
    words: str,
    name: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
) -> None:
    """It is compared with both others, and how far it is off is said."""
    found = await visit(name, credentials, archive_block, clock=lambda: time.time() + hours * 3600)
    assert faults(found) == ["clock and API", "clock and store"]
    for check in faults(found):
        assert abs(float(found[check].value) - hours * 3600) < 60
        assert words in sentence(found[check])
        assert "NTP" in found[check].fix


async def test_a_receiver_that_cannot_be_reached_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Calls of the API would be lost; whether strangers are refused cannot be told."""
    absent = _with_receiver(credentials, f"{nowhere()}/kling")
    found = await visit(name, absent, archive_block)
    assert faults(found) == ["receiver"]
    assert "prefect-kling receiver" in found["receiver"].fix
    assert skipped(found) == ["unsigned calls"]


async def test_a_receiver_that_lets_everybody_in_is_a_fault(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """An unsigned call that is answered 200 did not meet our receiver."""
    with _open_door() as address:
        found = await visit(name, _with_receiver(credentials, f"{address}/kling"), archive_block)
    assert faults(found) == ["unsigned calls"]
    assert (found["unsigned calls"].reason, found["unsigned calls"].value) == (
        Reason.CALL_ACCEPTED,
        200,
    )
    assert "something else answers" in found["unsigned calls"].fix


async def test_the_real_receiver_is_healthy_and_a_wrong_path_is_noticed(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive
) -> None:
    """Our receiver marks its answers; below another path the mark is missing."""
    with open_door(credentials, archive) as door:
        right = await visit(name, door.block, archive_block)
        elsewhere = f"http://127.0.0.1:{door.port}/other"
        wrong = await visit(name, _with_receiver(credentials, elsewhere), archive_block)
    assert right["unsigned calls"].status is right["receiver"].status is Status.OK
    assert wrong["unsigned calls"].status is Status.HINT
    assert "path" in wrong["unsigned calls"].fix


API_NAME = "api.kling.test"


@pytest.fixture
def elsewhere(credentials: KlingCredentials, monkeypatch: pytest.MonkeyPatch) -> KlingCredentials:
    """Access to the sandbox by a name that looks public."""
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if host in (API_NAME, API_NAME.encode()):
            host = "127.0.0.1"
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    base_url = credentials.base_url.replace("127.0.0.1", API_NAME)
    return credentials.model_copy(update={"base_url": base_url})


async def test_links_and_calls_that_the_api_cannot_reach_are_hints(
    name: str, elsewhere: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Clips without inputs are made all the same, and jobs are polled; both say what to do."""
    webhook = {"webhook_url": SecretStr(f"http://10.0.0.9/{HIDDEN}")}
    found = await visit(name, elsewhere.model_copy(update=webhook), archive_block)
    assert (found["links"].status, found["links"].reason) == (Status.HINT, Reason.LINK_UNREACHABLE)
    assert "they name 127.0.0.1, which the API at http://api.kling.test" in line(found["links"])
    assert "upload_inputs" in found["links"].fix
    assert found["receiver"].reason is Reason.CALLS_UNREACHABLE
    assert faults(found) == skipped(found) == []

    unchecked = elsewhere.model_copy(update=webhook | {"check_links": False})
    found = await visit(name, unchecked, archive_block)
    assert (found["links"].reason, found["receiver"].status) == (Reason.LINK_OK, Status.OK)


async def test_uploads_are_tried_where_they_are_turned_on(
    name: str, elsewhere: KlingCredentials, archive_block: KlingArchive, sandbox: Sandbox
) -> None:
    """A small picture goes to the API and comes back; where that is refused it is a fault."""
    uploading = elsewhere.model_copy(update={"upload_inputs": True})
    found = await visit(name, uploading, archive_block)
    assert found["uploads"].reason is Reason.UPLOAD_OK
    assert found["links"].reason is Reason.LINKS_NOT_USED

    sandbox.fault(on="upload", do={"status": 404}, times=None)
    other = uploading.model_copy(update={"create_seconds": 58.0})
    found = await visit(name, other, archive_block)
    assert faults(found) == ["uploads"]
    assert "takes no uploads" in line(found["uploads"])


@pytest.mark.slow
async def test_sweeps_are_looked_for(
    name: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Without a deployment, or with its schedule off, there is a hint; else there is none."""
    await forget_deployments()
    none = await visit(name, credentials, archive_block)
    assert none["sweeps"].status is Status.HINT
    assert "prefect-kling serve" in none["sweeps"].fix
    deployment = next(each for each in await load_deployments() if each.name == "collect-finished")
    made = await deployment.aapply()
    try:
        off = await visit(name, credentials, archive_block)
        async with get_client() as client:
            schedule = (await client.read_deployment(made)).schedules[0]
            await client.update_deployment_schedule(made, schedule.id, active=True)
        on = await visit(name, credentials, archive_block)
        async with get_client() as client:
            await client.pause_deployment(made)
        paused = await visit(name, credentials, archive_block)
        await deployment.aapply()
        again = await visit(name, credentials, archive_block)
    finally:
        async with get_client() as client:
            await client.delete_deployment(made)
    assert off["sweeps"].reason is Reason.SWEEPS_NOT_SCHEDULED
    assert on["sweeps"].status is Status.OK
    assert paused["sweeps"].reason is Reason.SWEEPS_PAUSED
    # Deployed again, it is no longer paused.
    assert again["sweeps"].reason is not Reason.SWEEPS_PAUSED


async def test_held_clips_are_counted(
    name: str, sandbox: Sandbox, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """A clip somebody must decide about is a hint, with the command that shows it."""
    sandbox.fault(on="create", do={"status": 502}, after_commit=True)
    request = VideoRequest(model="kling-v3-omni", prompt=f"Held for the {name}", duration=3)
    with pytest.raises(ClipHeld):
        await generate_clip(request, credentials, archive_block)
    found = await visit(name, credentials, archive_block)
    assert faults(found) == []
    assert sentence(found["held clips"]) == "1 clip is held"
    assert "prefect-kling ledger list" in found["held clips"].fix


def test_secrets_in_foreign_words_are_hidden() -> None:
    """Queries and passwords of addresses are cut out of whatever a library says."""
    told = DoctorContext().redact(
        "no answer from https://me:pass@host/path?X-Amz-Signature=abc today"
    )
    assert told == "no answer from https://host/path today"


def _with_receiver(credentials: KlingCredentials, url: str) -> KlingCredentials:
    return credentials.model_copy(
        update={"receiver_url": url, "receiver_secret": SecretStr(HIDDEN)}
    )


class _Yes(BaseHTTPRequestHandler):
    """Says yes to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _open_door() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Yes) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
