"""Both blocks from the environment, for scripts without a Prefect server of their own.

The variables are those that `prefect-kling setup` reads, and `prefect-kling sandbox` prints.
"""

import os

from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr

from prefect_kling.blocks.archive import KlingArchive
from prefect_kling.blocks.credentials import KlingCredentials
from prefect_kling.blocks.load import BlockMissing

KEY = "APIMODELS_API_KEY"
BUCKET = "KLING_BUCKET"
PREFIX = "KLING_PREFIX"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def is_complete() -> bool:
    """Whether the environment names a key and a bucket."""
    return bool(os.environ.get(KEY) and os.environ.get(BUCKET))


def credentials_from_environment() -> KlingCredentials:
    """Return access to the API of `APIMODELS_API_KEY`, and `APIMODELS_BASE_URL` if it is set.

    Raises `BlockMissing`.
    """
    # The block takes the address from the environment by itself.
    return KlingCredentials(api_key=SecretStr(_required(KEY)))


def archive_from_environment() -> KlingArchive:
    """Return the archive in `KLING_BUCKET`, below `KLING_PREFIX` if it is set.

    The store is the one of the usual AWS variables and profiles. Raises `BlockMissing`.
    """
    regions = [os.environ[name] for name in REGIONS if os.environ.get(name)]
    access = AwsCredentials(region_name=next(iter(regions), None))
    bucket = S3Bucket(bucket_name=_required(BUCKET), credentials=access)
    prefix = os.environ.get(PREFIX)
    if prefix:
        return KlingArchive(bucket=bucket, prefix=prefix)
    return KlingArchive(bucket=bucket)


def _required(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise BlockMissing(
            f"there is no block named 'default' and {name} is not set: make the blocks with "
            "`prefect-kling setup`, or set the variables that it names"
        )
    return value
