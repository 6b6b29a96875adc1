"""Blocks: Prefect's own standards, and what they hand out."""

from typing import Any

import pytest
from prefect.blocks.core import Block, schema_extra
from prefect.blocks.system import Secret
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr, ValidationError

from prefect_kling import blocks
from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import BlockMissing, load_block
from prefect_kling.kling.client import API_URL
from prefect_kling.kling.errors import KeyRefused

SCHEMA_OF_BLOCK = Block.model_json_schema.__func__
"""Prefect's own function, before `schemas_are_computed_once` replaces it."""


@pytest.mark.parametrize("block", [KlingCredentials, KlingArchive])
class TestBlockStandards(BlockStandardTestSuite):
    """Prefect's own test suite for blocks."""

    @pytest.fixture
    def block(self, block: type[Block]) -> type[Block]:
        """The block under test."""
        return block

    def test_has_a_documentation_url(self, block: type[Block]) -> None:
        """There is no public home yet, and no address may lead nowhere."""
        assert block._documentation_url is None

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """Prefect's newer UI breaks where a block has none; these are of Prefect's own blocks."""
        assert block._logo_url in (Secret._logo_url, S3Bucket._logo_url)


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
        assert block.model_json_schema(by_alias=by_alias) == SCHEMA_OF_BLOCK(
            block, by_alias=by_alias
        )


@pytest.mark.parametrize("block", [KlingCredentials, KlingArchive])
def test_what_is_added_to_the_schema_of_a_block_is_what_prefect_adds(block: type[Block]) -> None:
    """Also after somebody has changed what was added before."""
    add = block.model_config["json_schema_extra"]
    assert callable(add)
    for _ in range(2):
        ours: dict[str, Any] = {"title": "A block", "description": "What pydantic says"}
        theirs = dict(ours)
        add(ours, block)
        schema_extra(theirs, block)
        assert ours == theirs
        ours["secret_fields"].append("changed")


@pytest.mark.parametrize("block", [KlingCredentials, KlingArchive])
def test_no_description_of_a_field_of_ours_is_broken_into_lines(block: type[Block]) -> None:
    """The form would show each line as a paragraph; definitions of Prefect's are not ours."""
    schema = block.model_json_schema()
    ours = [schema, schema.get("definitions", {}).get("PictureChecks", {})]
    fields = [field for model in ours for field in model.get("properties", {}).values()]
    assert [each for each in fields if "\n" in each.get("description", "")] == []


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


def test_practice_never_reaches_the_real_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block made without an address goes where the process practises; a real one is refused."""
    real = KlingCredentials(api_key=SecretStr("sk_1"))
    real.require_meant()
    monkeypatch.setenv("APIMODELS_BASE_URL", "http://127.0.0.1:8484/api/v1/")
    with pytest.raises(KeyRefused, match="which is practice, and this KlingCredentials block"):
        real.require_meant()
    practice = KlingCredentials(api_key=SecretStr("sk_1"))
    assert practice.base_url == "http://127.0.0.1:8484/api/v1"
    practice.require_meant()
    # What was stored with an address keeps it.
    stored = KlingCredentials.model_validate(real.model_dump())
    assert stored.base_url == real.base_url
