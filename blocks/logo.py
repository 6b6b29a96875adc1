"""The picture of our blocks in the Prefect UI, which only takes an address on the web."""

LOGO_URL = "https://raw.githubusercontent.com/prefect-kling/prefect-kling/main/docs/logo.png"
