"""One lasting act per file. A task is a signature, a log line and a call into the studio."""

from prefect_kling.tasks.archive import archive_video
from prefect_kling.tasks.assemble import assemble_film
from prefect_kling.tasks.compare import compare_takes
from prefect_kling.tasks.handover import hand_over_clip
from prefect_kling.tasks.requests import (
    RequestsInput,
    WrongRows,
    prepare_batch,
    prepare_requests,
)
from prefect_kling.tasks.storyboard import (
    StoryboardInput,
    StoryInput,
    prepare_story,
    prepare_storyboard,
)
from prefect_kling.tasks.submit import submit_video
from prefect_kling.tasks.wait import wait_for_video

__all__ = [
    "RequestsInput",
    "StoryInput",
    "StoryboardInput",
    "WrongRows",
    "archive_video",
    "assemble_film",
    "compare_takes",
    "hand_over_clip",
    "prepare_batch",
    "prepare_requests",
    "prepare_story",
    "prepare_storyboard",
    "submit_video",
    "wait_for_video",
]
