"""Automations as code: made once, and pending films go on when a clip has landed."""

import asyncio

import pytest
from prefect.automations import Automation
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from prefect_kling.deployments.automations import TOLD, _block_id, put_in_place, telling

pytestmark = pytest.mark.usefixtures("prefect_ui")


async def test_automations_are_made_once() -> None:
    """A second time nothing is made, and the server keeps what each listens to."""
    block = CustomWebhookNotificationBlock(name="alerts", url="http://127.0.0.1:9/alert")
    await block.asave("alerts", overwrite=True)
    wanted = telling(await _block_id(f"{block.get_block_type_slug()}/alerts"))
    assert await put_in_place(wanted) == list(TOLD)
    assert await put_in_place(wanted) == []
    for name, (event, resource) in TOLD.items():
        trigger = (await Automation.aread(name=name)).trigger
        assert event in str(trigger)
        assert resource in str(trigger)


def test_a_missing_notification_block_is_told_in_words() -> None:
    """Which block, and how it is named."""
    with pytest.raises(ValueError, match="name it as type/name"):
        asyncio.run(_block_id("slack-webhook/nowhere"))
