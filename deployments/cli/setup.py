"""The blocks of a production set-up, from a handful of answers. Repeating it does no harm."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.prompt import Prompt

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.credentials import ADDRESS_VARIABLE
from prefect_kling.blocks.environment import BUCKET, KEY, PREFIX
from prefect_kling.deployments.cli.documents import BlockSetUp
from prefect_kling.kling.error_details import DetailedError
from prefect_kling.kling.links import is_link

B = TypeVar("B", bound=Block)
Given = dict[str, str]
"""Answers by the name of their environment variable; what was left empty is not there."""


class SetupRefused(DetailedError):
    """The answers are incomplete or wrong, or blocks exist with other values."""

    next_step = "Nothing was changed."


@dataclass(frozen=True)
class Question:
    """One answer: the variables that may hold it, of which the first names it, and its prompt."""

    variables: tuple[str, ...]
    text: str
    is_required: bool = False
    is_secret: bool = False
    asked_when: Callable[[Given], bool] = lambda _: True


RECEIVER = "KLING_RECEIVER_URL"
RECEIVER_SECRET = "KLING_RECEIVER_SECRET"  # noqa: S105  a name
ENDPOINT = "AWS_ENDPOINT_URL_S3"
REGION = "AWS_REGION"
PROFILE = "AWS_PROFILE"
ACCESS = "AWS_ACCESS_KEY_ID"
SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105  a name
SESSION = "AWS_SESSION_TOKEN"
QUESTIONS = (
    Question((KEY,), "API key", is_required=True, is_secret=True),
    Question((ADDRESS_VARIABLE,), "API base URL (empty: the operator's)"),
    Question((BUCKET,), "S3 bucket", is_required=True),
    Question((PREFIX,), "Folder in the bucket (empty: kling)"),
    Question((ENDPOINT, "AWS_ENDPOINT_URL"), "S3 endpoint (empty: AWS)"),
    Question((REGION, "AWS_DEFAULT_REGION"), "Region (empty: what AWS tools find)"),
    Question((ACCESS,), "Access key id (empty: what AWS tools find when a run begins)"),
    Question(
        (SECRET,), "Secret access key", is_secret=True, asked_when=lambda given: ACCESS in given
    ),
    Question(
        (SESSION,), "Session token", is_secret=True, asked_when=lambda given: SESSION in given
    ),
    Question((PROFILE,), "AWS profile (empty: none)", asked_when=lambda given: ACCESS not in given),
    Question((RECEIVER,), "URL of the callback receiver (empty: none, jobs are polled)"),
    Question(
        (RECEIVER_SECRET,),
        "Receiver secret",
        is_secret=True,
        asked_when=lambda given: RECEIVER_SECRET in given,
    ),
)


def from_environment(environment: Mapping[str, str]) -> Given:
    """Return what the environment answers; empty variables answer nothing."""
    found = {}
    for question in QUESTIONS:
        for variable in question.variables:
            answer = environment.get(variable, "").strip()
            if answer:
                found[question.variables[0]] = answer
                break
    return found


def ask(given: Given, console: Console) -> Given:
    """Ask for everything, offering what is given already; secrets are neither shown nor echoed."""
    answers = dict(given)
    for question in QUESTIONS:
        name = question.variables[0]
        if not question.asked_when(answers):
            continue
        said = ""
        while not said:
            said = _ask_once(question, answers.get(name, ""), console)
            if not question.is_required:
                break
        answers[name] = said
        if not said:
            del answers[name]
    return answers


def _ask_once(question: Question, known: str, console: Console) -> str:
    text = question.text
    if question.is_secret and known:
        text += " [dim](enter: the one in the environment)[/]"
    answer = Prompt.ask(
        text,
        console=console,
        password=question.is_secret,
        default=known,
        show_default=bool(known) and not question.is_secret,
    )
    return answer.strip()


def require_whole(given: Given, name: str) -> None:
    """Raise `SetupRefused` with everything that is missing or wrong; no secret is quoted."""
    missing = [question.variables[0] for question in QUESTIONS if question.is_required]
    wrong = [f"{each} is missing" for each in missing if each not in given]
    wrong += [
        f"{each} must begin with http:// or https://"
        for each in (ADDRESS_VARIABLE, ENDPOINT, RECEIVER)
        if each in given and not is_link(given[each])
    ]
    wrong += [
        f"{one} is given without {other}"
        for one, other in ((ACCESS, SECRET), (SECRET, ACCESS), (RECEIVER_SECRET, RECEIVER))
        if one in given and other not in given
    ]
    if len(given.get(RECEIVER_SECRET, "x" * 16)) < 16:
        wrong.append(f"{RECEIVER_SECRET} must have at least 16 characters")
    if _profile(given) and given[PROFILE] not in boto3.Session().available_profiles:
        wrong.append(f"{PROFILE} names a profile that is not on this machine")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        wrong.append("--name may hold lowercase letters, digits and single dashes")
    if wrong:
        raise SetupRefused("; ".join(wrong))


def _profile(given: Given) -> bool:
    """Whether the profile counts: keys that are given win over it, as they do in boto3."""
    return PROFILE in given and ACCESS not in given


@dataclass(frozen=True)
class Planned:
    """A block to be saved, the stored one, and the fields that would change (all of a new one)."""

    block: Block
    known: Block | None
    changes: tuple[str, ...]

    @property
    def place(self) -> str:
        """Type and, once it is stored, name."""
        return self.block.get_block_type_slug()


async def set_up(given: Given, name: str, *, overwrite: bool = False) -> list[BlockSetUp]:
    """Save credentials of the store, S3Bucket, KlingCredentials and KlingArchive under one name.

    Returns what became of each block. What is not given stays as a stored block has it: the prefix
    of a ledger and a cap, for example. Repeating it with the same answers changes nothing. Raises
    `SetupRefused`, before anything is written, if a stored block has other values and `overwrite`
    is not set.
    """
    bucket = await _stored(S3Bucket, name)
    keys = await _keys(given, bucket, name)
    store = await _planned(
        S3Bucket, name, {"bucket_name": given[BUCKET], "credentials": keys.block}
    )
    access = await _planned(KlingCredentials, name, await _access(given, name))
    prefix = {"prefix": given[PREFIX]} if PREFIX in given else {}
    archive = await _planned(KlingArchive, name, {"bucket": store.block, **prefix})
    plan = (keys, store, access, archive)
    differing = [
        f"{each.place}/{name} ({', '.join(each.changes)})"
        for each in plan
        if each.known and each.changes
    ]
    if differing and not overwrite:
        raise SetupRefused(
            f"these blocks exist already with other values: {'; '.join(differing)}; "
            f"--overwrite changes them"
        )
    for kind in (KlingCredentials, KlingArchive):
        await kind.aregister_type_and_schema()
    return [await _save(each, name) for each in plan]


async def _keys(given: Given, bucket: S3Bucket | None, name: str) -> Planned:
    """Plan the block with the store's credentials; if none are given, the bucket keeps its own."""
    if bucket is not None and not given.keys() & {ENDPOINT, REGION, ACCESS, PROFILE}:
        return Planned(bucket.credentials, bucket.credentials, ())
    parameters = AwsClientParameters(endpoint_url=given.get(ENDPOINT))
    fields: dict[str, Any] = {"region_name": given.get(REGION), "aws_client_parameters": parameters}
    if {ENDPOINT, ACCESS} <= given.keys() and SESSION not in given:
        fields |= {
            "minio_root_user": given[ACCESS],
            "minio_root_password": SecretStr(given[SECRET]),
        }
        return await _planned(MinIOCredentials, name, fields)

    fields |= {
        "aws_access_key_id": None,
        "aws_secret_access_key": None,
        "aws_session_token": None,
        "profile_name": None,
    }
    if ACCESS in given:
        fields["aws_access_key_id"] = given[ACCESS]
        fields["aws_secret_access_key"] = SecretStr(given[SECRET])
        fields["aws_session_token"] = given.get(SESSION)
    elif PROFILE in given:
        fields["profile_name"] = given[PROFILE]
    return await _planned(AwsCredentials, name, fields)


async def _access(given: Given, name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"api_key": SecretStr(given[KEY])}
    if ADDRESS_VARIABLE in given:
        fields["base_url"] = given[ADDRESS_VARIABLE].rstrip("/")
    if RECEIVER in given:
        fields["receiver_url"] = given[RECEIVER].rstrip("/")
        fields["receiver_secret"] = await _receiver_secret(given, name)
    return fields


async def _receiver_secret(given: Given, name: str) -> SecretStr:
    if RECEIVER_SECRET in given:
        return SecretStr(given[RECEIVER_SECRET])
    # Running jobs will call addresses that were made with the stored secret.
    known = await _stored(KlingCredentials, name)
    if known and known.receiver_secret:
        return known.receiver_secret
    return SecretStr(secrets.token_urlsafe(32))


async def _stored(kind: type[B], name: str) -> B | None:
    try:
        return await kind.aload(name)
    except (ValidationError, RuntimeError):
        slug = kind.get_block_type_slug()
        raise SetupRefused(
            f"{slug}/{name} cannot be read; correct or delete it in the Prefect UI"
        ) from None
    except ValueError:
        return None


async def _planned(kind: type[Block], name: str, fields: dict[str, Any]) -> Planned:
    known = await _stored(kind, name)
    if known is None:
        return Planned(kind(**fields), None, tuple(fields))
    changes = tuple(
        each for each, value in fields.items() if not _same(getattr(known, each), value)
    )
    kept = {each: getattr(known, each) for each in kind.model_fields}
    block = kind(**{**kept, **fields})
    # It will be that same document.
    block._block_document_id = known._block_document_id  # noqa: SLF001
    return Planned(block, known, changes)


def _same(known: object, wanted: object) -> bool:
    """Whether a field keeps its value; a block in it keeps it by being the same stored document."""
    if isinstance(known, Block) and isinstance(wanted, Block):
        # Prefect offers no other way to a document's id.
        known_id = known._block_document_id  # noqa: SLF001
        wanted_id = wanted._block_document_id  # noqa: SLF001
        return known_id is not None and known_id == wanted_id
    return known == wanted


async def _save(planned: Planned, name: str) -> BlockSetUp:
    called = f"{planned.place}/{name}"
    if not planned.changes:
        return BlockSetUp(block=called, outcome="unchanged")
    await planned.block.asave(name, overwrite=True)
    if planned.known is None:
        return BlockSetUp(block=called, outcome="created")
    return BlockSetUp(block=called, outcome="replaced", changes=planned.changes)


def line_of(saved: BlockSetUp) -> str:
    """Return what became of a block, in words."""
    if saved.outcome == "unchanged":
        return f"{saved.block} exists already, unchanged"
    if saved.outcome == "created":
        return f"{saved.block} created"
    return f"{saved.block} replaced ({', '.join(saved.changes)})"
