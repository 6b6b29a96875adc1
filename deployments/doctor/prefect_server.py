"""The Prefect server and the blocks that it keeps."""

import re

from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import ValidationError

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, fault, ok

START_SERVER = (
    "start one: `prefect server start`, and name it: `prefect config set PREFECT_API_URL=…`"
)
CORRECT_BLOCK = "correct it in the Prefect UI under Blocks"


async def server(context: DoctorContext) -> Finding:
    """A server is configured, answers, and is not older than this client."""
    address = PREFECT_API_URL.value()
    if not address:
        return fault(Reason.SERVER_NOT_CONFIGURED, fix=START_SERVER)

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with get_client() as client:
            error = await client.api_healthcheck()
            if error is not None:
                message = f"{type(error).__name__}: {error}"
                return fault(Reason.SERVER_UNREACHABLE, address, message, fix=START_SERVER)
            if client.server_type is ServerType.CLOUD:
                return ok(Reason.CLOUD_OK)
            version = await client.api_version()

    if is_older(version, context.client_version):
        fix = f"upgrade the server to {context.client_version}, or install prefect=={version} here"
        return fault(Reason.SERVER_TOO_OLD, context.client_version, version, fix=fix)
    return ok(Reason.SERVER_OK, address, version)


def is_older(server: str, client: str) -> bool:
    """Whether a server's version is older than a client's, by major and minor number."""
    return _major_and_minor(server) < _major_and_minor(client)


def _major_and_minor(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


async def block_types(context: DoctorContext) -> Finding:
    """The server knows the block types of this package."""
    missing = []
    async with get_client() as client:
        for kind in (KlingCredentials, KlingArchive):
            slug = kind.get_block_type_slug()
            try:
                await client.read_block_type_by_slug(slug)
            except ObjectNotFound:
                missing.append(slug)

    if missing:
        return fault(
            Reason.BLOCK_TYPES_MISSING,
            value=", ".join(missing),
            fix="`prefect block register -m prefect_kling.blocks`",
        )
    return ok(Reason.BLOCK_TYPES_REGISTERED)


async def credentials(context: DoctorContext) -> Finding:
    """The credentials block exists and can be loaded."""
    try:
        context.credentials = await load_block(KlingCredentials, context.credentials_name)
    except (BlockMissing, RuntimeError) as error:
        return _not_loaded(error, KlingCredentials.__name__, context.credentials_name)
    return ok(Reason.CREDENTIALS_LOADED, context.credentials_name)


async def archive(context: DoctorContext) -> Finding:
    """The archive block exists and can be loaded."""
    try:
        context.archive = await load_block(KlingArchive, context.archive_name)
    except (BlockMissing, RuntimeError) as error:
        return _not_loaded(error, KlingArchive.__name__, context.archive_name)
    return ok(Reason.ARCHIVE_LOADED, context.archive_name, context.bucket.uri(""))


def _not_loaded(error: Exception, kind: str, name: str) -> Finding:
    # `load_block` hides the cause of an error in its context. The text of a ValidationError
    # quotes the values of a block, secrets included; its list of errors does not.
    invalid = error.__cause__ or error.__context__
    if isinstance(invalid, ValidationError):
        broken_rules = []
        for each in invalid.errors():
            field = ".".join(str(part) for part in each["loc"])
            broken_rules.append(f"{field}: {each['msg']}")
        return fault(
            Reason.BLOCK_INVALID,
            f"{kind} {name!r}",
            "; ".join(broken_rules),
            fix=CORRECT_BLOCK,
        )
    if isinstance(error, RuntimeError):
        return fault(Reason.BLOCK_UNREADABLE, kind, name, fix=CORRECT_BLOCK)
    return fault(
        Reason.BLOCK_MISSING,
        kind,
        name,
        fix="`prefect-kling setup`, or the Prefect UI under Blocks",
    )
