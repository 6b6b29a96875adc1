"""Web addresses that the Prefect UI shows with our blocks."""

# The UI takes the picture of a block only from the web.
LOGO_URL = "https://raw.githubusercontent.com/prefect-kling/prefect-kling/main/docs/logo.png"
DOCUMENTATION_URL = "https://github.com/prefect-kling/prefect-kling#blocks"
