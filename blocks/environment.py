"""Both blocks from the environment, for scripts without a Prefect server of their own.

The variables are those that `prefect-kling setup` reads, and `prefect-kling sandbox` prints.
"""

import os
from collections.abc import Mapping

from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr

from prefect_kling.blocks.archive import KlingArchive
from prefect_kling.blocks.credentials import KlingCredentials
from prefect_kling.blocks.load import BlockMissing

KEY = "APIMODELS_API_KEY"
BASE = "APIMODELS_BASE_URL"
BUCKET = "KLING_BUCKET"
PREFIX = "KLING_PREFIX"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def is_complete(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names a key and a bucket."""
    return bool(environment.get(KEY) and environment.get(BUCKET))


def credentials_from_environment(
    environment: Mapping[str, str] = os.environ,
) -> KlingCredentials:
    """Return access to the API of `APIMODELS_API_KEY`, and `APIMODELS_BASE_URL` if it is set.

    Raises `BlockMissing`.
    """
    fields: dict[str, object] = {"api_key": SecretStr(_required(KEY, environment))}
    if environment.get(BASE):
        fields["base_url"] = environment[BASE].rstrip("/")
    return KlingCredentials.model_validate(fields)


def archive_from_environment(environment: Mapping[str, str] = os.environ) -> KlingArchive:
    """Return the archive in `KLING_BUCKET`, below `KLING_PREFIX` if it is set.

    The store is the one of the usual AWS variables and profiles. Raises `BlockMissing`.
    """
    regions = [environment[name] for name in REGIONS if environment.get(name)]
    access = AwsCredentials(region_name=next(iter(regions), None))
    bucket = S3Bucket(bucket_name=_required(BUCKET, environment), credentials=access)
    prefix = environment.get(PREFIX)
    if prefix:
        return KlingArchive(bucket=bucket, prefix=prefix)
    return KlingArchive(bucket=bucket)


def _required(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise BlockMissing(
            f"there is no block named 'default' and {name} is not set: make the blocks with "
            "`prefect-kling setup`, or set the variables that it names"
        )
    return value
