"""Waiting: bounded, patient with the API's troubles, and never the end of a job."""

from itertools import islice

import pytest

from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed, JobNotFound, KeyRefused, StillRunning
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox

EAGER = PollPolicy(first=0.02, longest=0.05, deadline=30)
NO_PATIENCE = PollPolicy(first=0.02, longest=0.05, deadline=0)


@pytest.fixture
async def job(client: KlingClient) -> VideoJob:
    """A job just made."""
    return await client.create(VideoRequest(model="kling-v3-omni", prompt="Waiting", duration=3))


def test_the_pause_grows_from_five_to_ten_seconds_with_jitter() -> None:
    """The page asks for a poll every 5 to 10 seconds; no two waits are in step."""
    steady = [round(pause, 2) for pause in islice(PollPolicy(jitter=0).delays(), 7)]
    assert steady == [0.0, 5.0, 6.0, 7.2, 8.64, 10.0, 10.0]
    shaken = list(islice(PollPolicy().delays(), 1, 51))
    assert all(4.0 <= pause <= 12.0 for pause in shaken)
    assert len(set(shaken)) == 50


async def test_a_completed_job_is_returned_and_every_answer_told(
    client: KlingClient, job: VideoJob
) -> None:
    """The last thing seen is the completed job."""
    seen: list[VideoJob] = []
    done = await poll_until_done(client, job.job_id, EAGER, seen.append)
    assert done.state is JobState.COMPLETED
    assert seen[-1] == done


async def test_a_failed_job_is_raised_with_its_reason(client: KlingClient) -> None:
    """Code, words and whether to try again come along."""
    job = await client.create(
        VideoRequest(model="kling-v3-omni", prompt="[fail:UPSTREAM_BUSY]", duration=3)
    )
    with pytest.raises(JobFailed) as caught:
        await poll_until_done(client, job.job_id, EAGER)
    assert (caught.value.fail_code, caught.value.retryable, caught.value.job_id) == (
        "UPSTREAM_BUSY",
        True,
        job.job_id,
    )


async def test_the_deadline_ends_the_waiting_not_the_job(
    client: KlingClient, job: VideoJob, sandbox: Sandbox
) -> None:
    """The error names the job, and waiting again finds it."""
    sandbox.fault(on="get", do={"state": "processing"}, times=1)
    with pytest.raises(StillRunning, match=job.job_id) as caught:
        await poll_until_done(client, job.job_id, NO_PATIENCE)
    assert caught.value.job_id == job.job_id
    assert (await poll_until_done(client, job.job_id, EAGER)).state is JobState.COMPLETED


async def test_an_unknown_state_means_running(
    client: KlingClient, job: VideoJob, sandbox: Sandbox
) -> None:
    """A state nobody knows is waited through."""
    sandbox.fault(on="get", do={"state": "reticulating"}, times=3)
    seen: list[VideoJob] = []
    await poll_until_done(client, job.job_id, EAGER, seen.append)
    assert [each.is_understood for each in seen[:3]] == [False] * 3


async def test_an_api_in_trouble_is_waited_through(
    client: KlingClient, job: VideoJob, sandbox: Sandbox
) -> None:
    """More failures in a row than one read repeats do not end the waiting."""
    tries = client.settings.read_attempts
    sandbox.fault(on="get", do={"status": 503, "retry_after": 0}, times=2 * tries)
    assert (await poll_until_done(client, job.job_id, EAGER)).state is JobState.COMPLETED


async def test_a_job_unknown_for_a_moment_is_asked_for_again(
    client: KlingClient, job: VideoJob, sandbox: Sandbox
) -> None:
    """Two times "not found" may be a lagging replica, three times in a row is an answer."""
    sandbox.fault(on="get", do={"status": 404}, times=2)
    assert (await poll_until_done(client, job.job_id, EAGER)).state is JobState.COMPLETED
    with pytest.raises(JobNotFound):
        await poll_until_done(client, "clnosuchjob", EAGER)


async def test_a_wrong_key_ends_the_waiting_at_once(
    client: KlingClient, job: VideoJob, sandbox: Sandbox
) -> None:
    """There is nothing to wait for."""
    sandbox.fault(on="get", do={"status": 401})
    with pytest.raises(KeyRefused):
        await poll_until_done(client, job.job_id, EAGER)
