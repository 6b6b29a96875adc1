"""What every worker has in memory before it is born: the fork server imports this once.

Imports cost a second, the first S3 client a tenth of one, and all certificates 30 ms; a thousand
workers pay none of them.
"""

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.connections import trust_store
from tests.kill import worker

worker.s3_client(LocalS3("http://127.0.0.1:9", "none", "none"), attempts=1).close()
worker.KlingClient(worker.SecretStr("none"), ClientSettings(base_url="http://127.0.0.1:9"))
trust_store()

__all__ = ["KlingClient", "worker"]
