"""Setting up, as a person or a provisioning script does it, against a real server."""

import json
import os
import secrets
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from prefect.exceptions import ObjectNotFound
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli.setup import (
    SetupRefused,
    from_environment,
    line_of,
    require_whole,
    set_up,
)
from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import API_URL
from prefect_kling.sandbox import Sandbox
from tests.deployments.conftest import Call, Done, is_documented

COMMAND = str(Path(sys.executable).parent / "prefect-kling")
TYPED_UNSEEN = ("API key", "Secret access key")
SetupHere = Callable[..., Done]


@pytest.fixture
def name() -> str:
    """A name of this test's own for its blocks."""
    return f"setup-{secrets.token_hex(4)}"


@pytest.fixture
def given(sandbox: Sandbox, s3: LocalS3, name: str) -> dict[str, str]:
    """An environment that says everything."""
    return {
        "APIMODELS_API_KEY": sandbox.key,
        "APIMODELS_BASE_URL": sandbox.base_url,
        "KLING_BUCKET": BUCKET,
        "KLING_PREFIX": name,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3.endpoint,
    }


@pytest.fixture
def environment(prefect_ui: str, tmp_path: Path) -> dict[str, str]:
    """What every process needs to find the server."""
    return os.environ | {
        "PREFECT_API_URL": f"{prefect_ui}/api",
        "PREFECT_HOME": str(tmp_path),
        "NO_COLOR": "1",
    }


@pytest.fixture
def setup_here(call: Call, prefect_ui: str, name: str) -> SetupHere:
    """Run `prefect-kling setup` without a terminal, in this process."""

    def run(given: dict[str, str], *words: str) -> Done:
        return call(
            "setup", "--name", name, *words, **{"PREFECT_API_URL": f"{prefect_ui}/api"} | given
        )

    return run


def test_an_environment_becomes_blocks_and_a_healthy_doctor(
    setup_here: SetupHere, given: dict[str, str], name: str
) -> None:
    """The first run creates, the second changes nothing, and neither shows a secret."""
    first = setup_here(given)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count(" created\n") == 4
    assert "fault" not in first.stdout
    assert "conditional writes: honoured" in first.stdout
    archive = KlingArchive.load(name)
    assert (archive.prefix, archive.bucket.bucket_name) == (name, BUCKET)
    assert isinstance(archive.bucket.credentials, MinIOCredentials)
    second = setup_here(given)
    assert second.returncode == 0
    assert second.stdout.count(" exists already, unchanged\n") == 4
    told = first.stdout + first.stderr + second.stdout + second.stderr
    assert given["APIMODELS_API_KEY"] not in told
    assert given["AWS_SECRET_ACCESS_KEY"] not in told


@pytest.mark.slow
def test_a_program_reads_what_was_set_up_and_what_the_doctor_found(
    setup_here: SetupHere, given: dict[str, str], name: str
) -> None:
    """One document, also where the doctor finds a fault; a refusal leaves stdout empty."""
    first = setup_here(given, "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert is_documented(told, "SetUp")
    assert all(is_documented(each, "BlockSetUp") for each in told["blocks"])
    assert [each["outcome"] for each in told["blocks"]] == ["created"] * 4
    assert told["blocks"][-1] == {
        "block": f"kling-archive/{name}", "outcome": "created", "changes": [],
    }  # fmt: skip
    assert (is_documented(told["checks"][0], "Check"), told["faults"]) == (True, 0)
    assert given["APIMODELS_API_KEY"] not in first.stdout

    other = given | {"APIMODELS_API_KEY": "sk_another_0123456789"}
    refused = setup_here(other, "--json")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--overwrite" in refused.stderr
    replaced = setup_here(other, "--overwrite", "--json")
    assert replaced.returncode == 1
    told = json.loads(replaced.stdout)
    changed = [each["changes"] for each in told["blocks"] if each["outcome"] == "replaced"]
    assert changed == [["api_key"]]
    assert told["faults"] == sum(each["status"] == "fault" for each in told["checks"]) > 0


@pytest.mark.slow
def test_other_values_are_refused_until_overwriting_is_asked_for(
    setup_here: SetupHere, given: dict[str, str], name: str
) -> None:
    """Block and field are named, nothing changes; --overwrite replaces the value alone."""
    assert setup_here(given).returncode == 0
    archive = KlingArchive.load(name)
    archive.cap_usd = Decimal(7)
    archive.save(name, overwrite=True)
    other = given | {"APIMODELS_API_KEY": "sk_another_0123456789", "KLING_PREFIX": f"{name}-b"}
    refused = setup_here(other)
    assert refused.returncode == 1
    words = f"kling-credentials/{name} (api_key); kling-archive/{name} (prefix)"
    assert words in refused.stderr
    assert "--overwrite" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    assert KlingArchive.load(name).prefix == name
    replaced = setup_here(other, "--overwrite")
    assert f"kling-credentials/{name} replaced (api_key)" in replaced.stdout
    assert f"s3-bucket/{name} exists already, unchanged" in replaced.stdout
    assert replaced.returncode == 1, "the doctor finds that the new key is not accepted"
    assert "fault    API key" in replaced.stdout
    assert "sk_another_0123456789" not in refused.stderr + replaced.stdout + replaced.stderr
    assert KlingArchive.load(name).prefix == f"{name}-b"
    assert KlingArchive.load(name).cap_usd == 7
    assert KlingCredentials.load(name).api_key.get_secret_value() == "sk_another_0123456789"


def test_everything_that_is_missing_or_wrong_is_named_at_once(
    setup_here: SetupHere, name: str
) -> None:
    """No question is asked without a terminal, and one run tells all there is to correct."""
    done = setup_here(
        {
            "AWS_ACCESS_KEY_ID": "AKIA",
            "KLING_RECEIVER_SECRET": "short-and-alone",
            "APIMODELS_BASE_URL": "host",
        }
    )
    assert done.returncode == 1
    for words in (
        "APIMODELS_API_KEY is missing",
        "KLING_BUCKET is missing",
        "AWS_ACCESS_KEY_ID is given without AWS_SECRET_ACCESS_KEY",
        "KLING_RECEIVER_SECRET is given without KLING_RECEIVER_URL",
        "KLING_RECEIVER_SECRET must have at least 16 characters",
        "APIMODELS_BASE_URL must begin with http",
    ):
        assert words in done.stderr
    assert "short-and-alone" not in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_prefect_server_nothing_is_begun(
    setup_here: SetupHere, given: dict[str, str]
) -> None:
    """That the server is missing is said in words, with what to do."""
    done = setup_here(given | {"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert done.returncode == 1
    assert "prefect server start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_questions_are_asked_at_a_terminal_and_secrets_are_not_echoed(
    environment: dict[str, str], given: dict[str, str], name: str
) -> None:
    """A person types the same answers; what is typed for a secret never shows."""
    dialogue = [
        ("API key", given["APIMODELS_API_KEY"]),
        ("base URL", given["APIMODELS_BASE_URL"]),
        ("S3 bucket", ""),
        ("S3 bucket", BUCKET),
        ("Folder in the bucket", name),
        ("S3 endpoint", given["AWS_ENDPOINT_URL"]),
        ("Region", ""),
        ("Access key id", given["AWS_ACCESS_KEY_ID"]),
        ("Secret access key", given["AWS_SECRET_ACCESS_KEY"]),
        ("callback receiver", ""),
    ]
    code, shown = at_terminal(
        [COMMAND, "setup", "--name", name], environment | {"AWS_REGION": "us-east-1"}, dialogue
    )
    assert code == 0, shown
    assert "Region (empty: what AWS tools find) (us-east-1)" in shown
    assert shown.count("created") == 4
    assert given["APIMODELS_API_KEY"] not in shown
    assert given["AWS_SECRET_ACCESS_KEY"] not in shown


def at_terminal(
    command: Sequence[str], environment: dict[str, str], dialogue: Sequence[tuple[str, str]]
) -> tuple[int, str]:
    """Run a command at a terminal of its own, answer its questions, return all it showed."""
    ours, theirs = os.openpty()
    wide = {"COLUMNS": "200", "TERM": "dumb"}
    with subprocess.Popen(
        command,
        env=environment | wide,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown, seen = "", 0
        for question, answer in dialogue:
            while question not in shown[seen:] or not shown.endswith(": "):
                shown += os.read(ours, 4096).decode()
            seen = len(shown)
            # Switching the echo off throws away what was typed before.
            while (
                question in TYPED_UNSEEN
                and termios.tcgetattr(ours)[3] & termios.ECHO
                and process.poll() is None
            ):
                pass
            os.write(ours, f"{answer}\n".encode())
        shown += _rest(ours)
    os.close(ours)
    return process.returncode, shown


def _rest(terminal: int) -> str:
    pieces = []
    while True:
        try:
            pieces.append(os.read(terminal, 4096).decode())
        except OSError:  # how Linux tells the end of a terminal
            return "".join(pieces)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
async def test_a_receiver_gets_a_secret_that_stays(given: dict[str, str], name: str) -> None:
    """It is made when none is given, and neither a repeat nor a change of the URL replaces it."""
    receiver = from_environment(given | {"KLING_RECEIVER_URL": "https://example.com/kling/"})
    await set_up(receiver, name)
    secret = (await KlingCredentials.aload(name)).receiver_secret
    assert secret is not None
    assert len(secret.get_secret_value()) >= 32
    assert all(saved.outcome == "unchanged" for saved in await set_up(receiver, name))
    moved = receiver | {"KLING_RECEIVER_URL": "https://example.org"}
    saved = await set_up(moved, name, overwrite=True)
    assert f"kling-credentials/{name} replaced (receiver_url)" in map(line_of, saved)
    known = await KlingCredentials.aload(name)
    assert (known.receiver_url, known.receiver_secret) == ("https://example.org", secret)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
async def test_without_keys_boto3s_own_chain_is_used(name: str) -> None:
    """Nothing but key and bucket: AWS credentials without values, and the operator's address."""
    await set_up({"APIMODELS_API_KEY": "sk_x", "KLING_BUCKET": "b"}, name)
    keys = (await S3Bucket.aload(name)).credentials
    assert isinstance(keys, AwsCredentials)
    assert (
        keys.aws_access_key_id,
        keys.aws_secret_access_key,
        keys.profile_name,
        keys.region_name,
    ) == (None,) * 4
    assert (await KlingCredentials.aload(name)).base_url == API_URL


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
async def test_an_endpoint_with_temporary_keys_keeps_the_session_token(
    given: dict[str, str], name: str
) -> None:
    """MinIO credentials have no place for it; without it the keys are worth nothing."""
    await set_up(from_environment(given | {"AWS_SESSION_TOKEN": "token"}), name)
    keys = (await S3Bucket.aload(name)).credentials
    assert isinstance(keys, AwsCredentials)
    assert keys.aws_session_token == "token"
    assert keys.aws_client_parameters.endpoint_url == given["AWS_ENDPOINT_URL"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_ui")
async def test_what_is_not_given_stays(given: dict[str, str], name: str) -> None:
    """A new key alone moves neither the ledger's prefix nor the store's credentials."""
    await set_up(from_environment(given), name)
    saved = await set_up(
        {"APIMODELS_API_KEY": "sk_new", "KLING_BUCKET": BUCKET}, name, overwrite=True
    )
    assert [line_of(each) for each in saved if each.outcome == "replaced"] == [
        f"kling-credentials/{name} replaced (api_key)"
    ]
    archive = await KlingArchive.aload(name)
    assert archive.prefix == name
    assert isinstance(archive.bucket.credentials, MinIOCredentials)
    assert archive.bucket.credentials.minio_root_password == SecretStr(
        given["AWS_SECRET_ACCESS_KEY"]
    )


@pytest.mark.usefixtures("prefect_ui")
async def test_a_refusal_writes_nothing_at_all(given: dict[str, str], name: str) -> None:
    """One block in the way, and none of the others is created."""
    await KlingCredentials(api_key=SecretStr("sk_old")).asave(name)
    with pytest.raises(SetupRefused, match=rf"kling-credentials/{name} \(api_key, base_url\)"):
        await set_up(from_environment(given), name)
    with pytest.raises(ValueError, match="Unable to find block document") as missing:
        await S3Bucket.aload(name)
    assert isinstance(missing.value.__cause__, ObjectNotFound)


def test_keys_win_over_a_profile_and_an_unknown_profile_is_refused() -> None:
    """As in boto3: a profile counts when no keys are given."""
    least = {"APIMODELS_API_KEY": "sk_x", "KLING_BUCKET": "b", "AWS_PROFILE": "nobody"}
    require_whole(least | {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "default")
    with pytest.raises(SetupRefused, match="AWS_PROFILE names a profile"):
        require_whole(least, "default")
