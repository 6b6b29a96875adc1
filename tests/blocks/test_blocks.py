"""Blocks: Prefect's own standards, and what they hand out."""

import io
from pathlib import Path
from typing import BinaryIO

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr, ValidationError

from prefect_kling import blocks
from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.kling.client import API_URL

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("block", [KlingCredentials, KlingArchive])
class TestBlockStandards(BlockStandardTestSuite):
    """Prefect's own test suite for blocks."""

    @pytest.fixture
    def block(self, block: type[Block]) -> type[Block]:
        """The block under test."""
        return block

    @pytest.fixture(autouse=True)
    def _logo_from_this_checkout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Read the logo from this repository instead of the network."""

        def opened(url: str) -> BinaryIO:
            return io.BytesIO((ROOT / url.partition("/main/")[2]).read_bytes())

        monkeypatch.setattr("prefect.testing.standard_test_suites.blocks.urlopen", opened)


def test_the_room_holds_only_our_blocks() -> None:
    """`prefect block register -m` takes every block it finds in the module."""
    found = [
        name
        for name, thing in vars(blocks).items()
        if isinstance(thing, type) and issubclass(thing, Block)
    ]
    assert sorted(found) == ["KlingArchive", "KlingCredentials"]


@pytest.mark.parametrize("block", [KlingCredentials, KlingArchive])
def test_a_schema_known_already_is_the_one_prefect_makes(block: type[Block]) -> None:
    """It is Prefect's own, also after a caller has changed the one it was given."""
    for by_alias in (True, False):
        block.model_json_schema(by_alias=by_alias).clear()
        assert block.model_json_schema(by_alias=by_alias) == Block.model_json_schema.__func__(
            block, by_alias=by_alias
        )


def test_the_key_is_never_shown() -> None:
    """Not in the block's text, nor in its client's."""
    credentials = KlingCredentials(api_key=SecretStr("sk_secret"))
    assert "sk_secret" not in f"{credentials!r}{credentials}{credentials.get_client()!r}"


def test_credentials_start_from_the_operators_page() -> None:
    """The defaults are the page's address and polling; a trailing slash does no harm."""
    credentials = KlingCredentials(api_key=SecretStr("k"))
    assert credentials.settings.base_url == API_URL
    assert (credentials.poll_policy.first, credentials.poll_policy.longest) == (5.0, 10.0)
    assert KlingCredentials(api_key=SecretStr("k"), base_url=f"{API_URL}/").base_url == API_URL


@pytest.mark.parametrize("address", ["apimodels.app", "ftp://apimodels.app", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """The base URL must be a web address."""
    with pytest.raises(ValidationError, match="http"):
        KlingCredentials(api_key=SecretStr("k"), base_url=address)


def test_an_archive_lives_in_the_folder_of_its_bucket() -> None:
    """The S3 Bucket block's own folder and the archive's prefix are joined."""
    keys = AwsCredentials(
        aws_access_key_id="a", aws_secret_access_key=SecretStr("b"), region_name="eu-central-1"
    )
    bucket = S3Bucket(bucket_name="films", bucket_folder="team/a/", credentials=keys)
    archive = KlingArchive(bucket=bucket, prefix="/kling/").get_archive()
    assert archive.bucket.uri("clips/x.mp4") == "s3://films/team/a/kling/clips/x.mp4"


@pytest.mark.usefixtures("prefect_ui")
async def test_blocks_are_stored_and_loaded(
    credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """A stored block comes back whole, the credentials inside the bucket included."""
    await credentials.asave("stored", overwrite=True)
    loaded = await load_block(KlingCredentials, "stored")
    assert loaded.api_key == credentials.api_key
    await archive_block.asave("stored", overwrite=True)
    again = await load_block(KlingArchive, "stored")
    again.get_archive().bucket.create("x", b"1")
    assert archive_block.get_archive().bucket.read("x") is not None


@pytest.mark.usefixtures("prefect_ui")
async def test_a_missing_block_says_how_to_create_it() -> None:
    """The error names kind and name, and the way in UI and Python."""
    with pytest.raises(BlockMissing, match=r"no KlingArchive block named 'nope'") as caught:
        await load_block(KlingArchive, "nope")
    assert "prefect block register -m prefect_kling.blocks" in str(caught.value)


def test_the_earlier_name_of_the_poll_policy_still_works_and_says_so() -> None:
    """Code written for `patience` goes on, and is told the new name."""
    credentials = KlingCredentials(api_key=SecretStr("sk_test"))
    with pytest.warns(DeprecationWarning, match="poll_policy"):
        assert credentials.patience == credentials.poll_policy
