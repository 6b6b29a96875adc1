"""What every worker has in memory before it is born: the fork server imports this once.

Imports cost a second and the first S3 client a tenth of one; a thousand workers pay neither.
"""

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import ClientSettings, KlingClient
from tests.kill import worker

worker.s3_client(LocalS3("http://127.0.0.1:9", "none", "none"), attempts=1).close()
worker.KlingClient(worker.SecretStr("none"), ClientSettings(base_url="http://127.0.0.1:9"))

__all__ = ["KlingClient", "worker"]
