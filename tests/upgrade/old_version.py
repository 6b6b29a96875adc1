"""Run with version 671d239: sends a clip, and sweeps, in an archive of a later version.

Its only argument is JSON: where the store and the API are, and the prompt. Prints what came of both
as JSON.
"""

import asyncio
import json
import sys

import boto3
from pydantic import SecretStr

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.archive import Archive  # type: ignore[import-not-found]
from prefect_kling.studio.bucket import Bucket  # type: ignore[import-not-found]
from prefect_kling.studio.orders import ClipOrder  # type: ignore[import-not-found]
from prefect_kling.studio.submission import Terms, submit_once  # type: ignore[import-not-found]
from prefect_kling.studio.sweep import SweepSettings, sweep  # type: ignore[import-not-found]


async def main(told: dict[str, str]) -> dict[str, str]:
    """Do both once, and never wait for a sender to count as dead."""
    s3 = boto3.client("s3", **json.loads(told["s3"]))
    archive = Archive(Bucket(s3, told["bucket"], told["prefix"]))
    order = ClipOrder(
        request=VideoRequest(model="kling-v3-omni", prompt=told["prompt"], duration=3)
    )
    sent = "nothing raised"
    settings = ClientSettings(base_url=told["api"])
    async with KlingClient(SecretStr(told["key"]), settings) as client:
        try:
            terms = Terms(window=-1.0, busy=0.1, look_again=0.05, on_unknown="resubmit")
            await submit_once(order, client, archive, terms)
        except Exception as error:
            sent = type(error).__name__
        found = await sweep(archive, client, SweepSettings(window_seconds=-1.0))
    return {"submit": sent, "sweep": ",".join(found.counts)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
