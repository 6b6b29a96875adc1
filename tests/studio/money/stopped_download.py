"""A process that keeps a paid job's video and ends like an asyncio program at SIGTERM.

Arguments: address and key of the API, endpoint, keys, bucket and prefix of the store, the clip key.
"""

import asyncio
import signal
import sys

from pydantic import SecretStr

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.settlement import keep_paid_job
from prefect_kling.studio.storage.bucket import Bucket


async def main() -> None:
    """Keep the video until it is there, or a signal cancels."""
    api, key, endpoint, access, secret, bucket, prefix, clip_key = sys.argv[1:]
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    archive = Archive(Bucket(LocalS3(endpoint, access, secret).client(), bucket, prefix))
    version = archive.ledger.read(clip_key)
    assert version is not None
    async with KlingClient(SecretStr(key), ClientSettings(base_url=api)) as client:
        job = await client.get(str(version.entry.job_id))
        await keep_paid_job(version.entry, job, client, archive)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        sys.exit(3)
