"""The Kling Omni-Video API: requests and their rules, jobs, errors, prices and the client.

No Prefect, no S3.
"""
