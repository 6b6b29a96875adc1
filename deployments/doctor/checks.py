"""The checks in the order in which they are run. A check stands after all that it needs."""

from prefect_kling.deployments.doctor import api, callbacks, clock, prefect_server, store, upkeep
from prefect_kling.deployments.doctor.examination import Check

FIX_SERVER = "see that PREFECT_API_URL, PREFECT_API_KEY and PREFECT_API_AUTH_STRING are right"
FIX_ACCESS = "see that this client may use the Prefect server"
FIX_API = "check the base URL in the KlingCredentials block, the network and proxies"
FIX_STORE = (
    "check endpoint, region and keys in the credentials block of the S3 Bucket block, "
    "and the network"
)
FIX_BUCKET = (
    "check the bucket's name, its region and the keys in the S3 Bucket block; "
    "create the bucket if need be"
)
FIX_CONDITIONS = "use a store that honours If-None-Match and If-Match: AWS S3, SeaweedFS from 4.30"

SERVER = Check("Prefect server", prefect_server.server, fix=FIX_SERVER)
CHECKS = (
    SERVER,
    Check("block types", prefect_server.block_types, ("Prefect server",), FIX_ACCESS),
    Check("credentials block", prefect_server.credentials, ("Prefect server",), FIX_ACCESS),
    Check("archive block", prefect_server.archive, ("Prefect server",), FIX_ACCESS),
    Check("API address", api.address, ("credentials block",), FIX_API),
    Check("API key", api.key, ("API address",)),
    Check("balance", api.balance, ("API key",)),
    Check("uploads", api.uploads, ("credentials block",), api.FIX_UPLOADS),
    Check("clock and API", clock.api_clock, ("API address",)),
    Check("store", store.address, ("archive block",), FIX_STORE),
    Check("clock and store", clock.store_clock, ("store",)),
    Check("bucket", store.bucket, ("store",), FIX_BUCKET),
    Check("permissions", store.permissions, ("bucket",), store.FIX_PERMISSIONS),
    Check("conditional writes", store.conditional_writes, ("permissions",), FIX_CONDITIONS),
    Check("links", store.links, ("permissions",), store.FIX_LINKS),
    Check("receiver", callbacks.receiver, ("credentials block",), callbacks.FIX_RECEIVER),
    Check("unsigned calls", callbacks.unsigned_calls, ("receiver",), callbacks.FIX_RECEIVER),
    Check("sweeps", upkeep.sweeps, ("Prefect server",)),
    Check("held clips", upkeep.held_clips, ("bucket",)),
)
