"""`prefect-kling sandbox`: the stand-in of the API, and an S3 server beside it."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_kling.sandbox import SandboxSettings
from prefect_kling.sandbox import serve as serve_sandbox


def sandbox(
    port: int = 8484,
    folder: Path | None = None,
    render_seconds: Annotated[tuple[float, float], Parameter(negative="")] = (20.0, 60.0),
    *,
    store: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run the local stand-in of the Kling API until it is interrupted.

    Args:
        port: Where it listens, on 127.0.0.1.
        folder: Where jobs and videos are kept across restarts; a temporary folder unless given.
        render_seconds: Shortest and longest render time.
        store: Run an S3 server with a bucket, too, and print what `prefect-kling setup` needs.
    """
    settings = SandboxSettings(port=port, folder=folder, render_seconds=render_seconds)
    if not store:
        serve_sandbox(settings)
        return

    # The S3 server belongs to the extra `demo`.
    from prefect_kling.deployments.local.practice import serve_with_store

    serve_with_store(settings, folder)
