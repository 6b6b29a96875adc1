"""A local server that behaves like the API, paints real MP4s and can be told to misbehave.

It follows the operator's page to the letter, with a few differences on purpose: inputs and callbacks may lie on
private and loopback addresses, a prompt with a word such as `[fail:UPSTREAM_BUSY]` fails with that code, and the
routes under `/sandbox` show and steer what is going on.

`violations` is the page's parameter table as a check; `read_frame_code` tells which job and frame a painted picture is.
"""

from prefect_kling.sandbox.contract import violations
from prefect_kling.sandbox.frame_code import read_frame_code
from prefect_kling.sandbox.host import Sandbox, serve
from prefect_kling.sandbox.server import create_app
from prefect_kling.sandbox.settings import SandboxSettings

__all__ = ["Sandbox", "SandboxSettings", "create_app", "read_frame_code", "serve", "violations"]
