"""A local server that behaves like the API, paints real MP4s and can be told to misbehave.

It follows the operator's page, with three intended differences: inputs and callbacks may be on
private and loopback addresses, a prompt with, for example, `[fail:UPSTREAM_BUSY]` fails with that
code, and the routes under `/sandbox` show jobs and set faults.

`violations` checks a body against the page's parameter table. `read_frame_code` reads from a
painted picture which job and frame it shows.
"""

from prefect_kling.sandbox.contract import violations
from prefect_kling.sandbox.frame_code import read_frame_code
from prefect_kling.sandbox.host import Sandbox, serve
from prefect_kling.sandbox.server import create_app
from prefect_kling.sandbox.settings import SandboxSettings

__all__ = ["Sandbox", "SandboxSettings", "create_app", "read_frame_code", "serve", "violations"]
