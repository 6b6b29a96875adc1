"""The block of the S3 bucket in which clips, films and the ledger are kept."""

import functools
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

from botocore.config import Config
from prefect.blocks.core import Block
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket
from pydantic import Field, WithJsonSchema

from prefect_kling.blocks.links import BUCKET_LOGO_URL, DOCUMENTATION_URL
from prefect_kling.blocks.schema import CACHED_FACTS, CachedSchema
from prefect_kling.studio.media.picture_checks import PictureChecks
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# As many connections as there are storage threads. The standard mode repeats throttled and failed
# calls. By default boto3 may sign links by version 2, which newer AWS regions and KMS-encrypted
# buckets refuse.
S3_CONFIG = Config(
    signature_version="s3v4",
    max_pool_connections=48,
    connect_timeout=10,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 5},
    # Without a name of its own, botocore composes one anew for each call.
    user_agent="prefect-kling",
)


class KlingArchive(CachedSchema, Block):
    """The S3 bucket in which clips and films are kept, beside the ledger of what was paid.

    Any S3-compatible store that honours conditional writes will do; one that does not is refused
    before any money is spent. Existing AWS or MinIO credentials blocks are reused through the S3
    Bucket block.

    Example:
        Load a stored archive and look a clip up:
        ```python
        from prefect_kling.blocks import KlingArchive

        archive = KlingArchive.load("BLOCK_NAME").get_archive()
        clip = archive.find("0123456789abcdef0123456789abcdef")
        ```
    """

    model_config = CACHED_FACTS

    _block_type_name = "Kling Archive"
    _block_type_slug = "kling-archive"
    _description = (
        "The S3 bucket in which clips and films are kept for good, "
        "with the ledger of what was paid."
    )
    # Prefect declares an HttpUrl, and takes a string as well, as its own blocks do.
    _logo_url = BUCKET_LOGO_URL  # type: ignore[assignment]
    _documentation_url = DOCUMENTATION_URL

    bucket: S3Bucket = Field(
        title="Bucket", description="The S3 Bucket block with the bucket's name and credentials."
    )
    prefix: str = Field(
        default="kling",
        title="Folder",
        description="Folder inside the bucket under which everything is kept.",
    )

    cap_usd: Annotated[Decimal | None, WithJsonSchema({"type": "number", "minimum": 0})] = Field(
        default=None,
        ge=0,
        title="Cap (US$)",
        description="The most that may be spent in this archive in US dollars, counted from when a "
        "cap was first set.",
    )

    link_hours: int = Field(
        default=168,
        ge=0,
        le=168,
        title="Link lifetime (hours)",
        description="How long the links on a film's page let whoever has them watch it; 0 for no "
        "links at all.",
    )

    picture_checks: PictureChecks = Field(
        default=PictureChecks(),
        title="Picture checks",
        description="From when on a clip's pictures or sound are suspicious. This only warns.",
    )

    def film_uri(self, slug: str) -> str:
        """Return the address under which all cuts of a film stand."""
        return self.get_archive().bucket.uri(layout.film_cuts(slug))

    def watch_link(self, uri: str) -> str | None:
        """Return a link to a film of this archive that works for `link_hours`; None if that is 0.

        Whoever has the link can watch the film.
        """
        if self.link_hours == 0:
            return None
        bucket = self.get_archive().bucket
        return bucket.sign(bucket.path_of(uri), self.link_hours * 3600)

    def get_archive(self) -> Archive:
        """Return the archive. Opens no connection yet; S3 clients are shared within the process."""
        folders = [self.bucket.bucket_folder.strip("/"), self.prefix.strip("/")]
        prefix = "/".join(folder for folder in folders if folder)
        bucket = _bucket(self.bucket.credentials, self.bucket.bucket_name, prefix)
        return Archive(bucket, self.cap_usd, self.picture_checks)


@functools.lru_cache(maxsize=64)
def _bucket(credentials: AwsCredentials | MinIOCredentials, name: str, prefix: str) -> Bucket:
    """Return the process's Bucket: it checks once that its store honours conditional writes."""
    return Bucket(_s3_client(credentials), name, prefix)


@functools.lru_cache(maxsize=16)
def _s3_client(credentials: AwsCredentials | MinIOCredentials) -> "S3Client":
    """Return the process's client for these credentials: building one takes 0.1 s."""
    parameters = credentials.aws_client_parameters.get_params_override()
    config = S3_CONFIG
    if "config" in parameters:
        config = S3_CONFIG.merge(parameters["config"])
    parameters["config"] = config
    if credentials.region_name is not None:
        parameters["region_name"] = credentials.region_name
    client: S3Client = credentials.get_boto3_session().client("s3", **parameters)
    return client
