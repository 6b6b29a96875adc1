"""Jobs are read leniently, states strictly."""

import json
from typing import Any

import pytest

from prefect_kling.kling.job import JobState, VideoJob

DONE = {"taskId": "c1", "state": "completed", "resultUrls": ["https://r2.example/v.mp4"]}


def read(**data: Any) -> VideoJob:
    """A job read from these fields over a pending one."""
    job = VideoJob.read({"taskId": "c1", "state": "pending"} | data)
    assert job is not None
    return job


@pytest.mark.parametrize("name", ["taskId", "task_id", "id"])
def test_the_id_is_found_under_any_known_name(name: str) -> None:
    """The job id has three spellings."""
    job = VideoJob.read({name: "c1", "state": "pending"})
    assert job is not None
    assert job.job_id == "c1"


def test_without_an_id_there_is_no_job() -> None:
    """An answer without a job id is not a job, unless the caller knows which one it asked for."""
    assert VideoJob.read({"state": "pending"}) is None
    job = VideoJob.read({"state": "pending"}, job_id="c9")
    assert job is not None
    assert job.job_id == "c9"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("pending", JobState.PENDING),
        ("submitted", JobState.PENDING),
        ("Processing", JobState.PROCESSING),
        ("failed", JobState.FAILED),
        ("cancelled", JobState.FAILED),
        ("reticulating", JobState.PROCESSING),
        ("", JobState.PROCESSING),
    ],
)
def test_states_have_many_spellings_and_unknown_ones_mean_running(
    said: str, state: JobState
) -> None:
    """A state nobody knows counts as processing and is marked as not understood."""
    job = read(state=said)
    assert job.state is state
    assert job.is_understood is (said not in ("reticulating", ""))


@pytest.mark.parametrize("said", ["completed", "succeed", "success", "SUCCEEDED"])
def test_completed_without_a_url_is_not_yet_completed(said: str) -> None:
    """A job is completed when there is something to fetch."""
    assert read(state=said).state is JobState.PROCESSING
    assert read(state=said, resultUrls=["https://x.example/v.mp4"]).state is JobState.COMPLETED


@pytest.mark.parametrize(
    "place",
    [
        {"resultUrls": ["https://x.example/v.mp4"]},
        {"result_urls": "https://x.example/v.mp4"},
        {"videoUrl": "https://x.example/v.mp4"},
        {"resultJson": json.dumps({"resultUrls": ["https://x.example/v.mp4"]})},
        {"resultJson": json.dumps(["https://x.example/v.mp4"])},
        {"task_result": {"videos": [{"id": "1", "url": "https://x.example/v.mp4"}]}},
    ],
    ids=lambda place: next(iter(place)),
)
def test_the_url_is_found_wherever_a_known_variant_puts_it(place: dict[str, Any]) -> None:
    """Result links come as lists, strings, JSON in a string, or nested videos."""
    assert read(state="completed", **place).urls == ("https://x.example/v.mp4",)


def test_a_broken_result_json_is_no_result() -> None:
    """Unreadable JSON in a field does not break the reading."""
    assert read(state="completed", resultJson="{broken").state is JobState.PROCESSING


@pytest.mark.parametrize(
    ("data", "retryable"),
    [
        ({"failCode": "UPSTREAM_BUSY"}, True),
        ({"failCode": "CONTENT_MODERATION"}, False),
        ({"failCode": "INVALID_INPUT"}, False),
        ({"failCode": "SOMETHING_NEW"}, True),
        ({"failCode": "CONTENT_MODERATION", "retryable": True}, True),
        ({"failCode": "UPSTREAM_BUSY", "retryable": False}, False),
        ({"failMsg": "Content policy violation"}, False),
        ({"failMsg": "worker lost"}, True),
        ({}, True),
    ],
)
def test_the_servers_word_wins_then_the_code_then_the_text(
    data: dict[str, Any], retryable: bool
) -> None:
    """Whether a new attempt makes sense: `retryable`, else `failCode`, else the words."""
    assert read(state="failed", **data).retryable is retryable


def test_times_are_epoch_milliseconds() -> None:
    """The page's own example took 50 seconds."""
    job = read(**DONE, createTime=1705123450000, completeTime=1705123500000)
    assert job.seconds == 50
    assert read(**DONE, createTime="yesterday").created_at is None


def test_only_completed_and_failed_are_ends() -> None:
    """Terminal states are defined once."""
    assert [state for state in JobState if state.is_terminal] == [
        JobState.COMPLETED,
        JobState.FAILED,
    ]


def test_a_job_survives_json() -> None:
    """A job can be stored and read back, the raw reply included."""
    job = read(**DONE, odd={"nested": [1]})
    assert VideoJob.model_validate_json(job.model_dump_json()) == job
