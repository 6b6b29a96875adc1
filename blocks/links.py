"""Web addresses that the Prefect UI shows with our blocks.

There is no public home of this package yet, and no address here may lead nowhere.
"""

from prefect.blocks.system import Secret
from prefect_aws import S3Bucket

# Prefect's newer UI draws a broken picture for a block without one, and its own blocks have these.
KEY_LOGO_URL = Secret._logo_url  # noqa: SLF001
BUCKET_LOGO_URL = S3Bucket._logo_url  # noqa: SLF001
DOCUMENTATION_URL = None
"""Where the documents are on the web. Those of this version are installed with it."""
