"""Models: one dated table, and a file that adds to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from prefect_kling.kling.client import ClientSettings, KlingClient
from prefect_kling.kling.models import (
    BUILT_IN_MODELS,
    FILE_SETTING,
    ModelsFileInvalid,
    ModelSpecification,
    find_model,
    known_models,
    read_models,
    register_model,
    unregister_model,
)
from prefect_kling.kling.parameters import RequestParameters
from prefect_kling.kling.polling import PollPolicy, poll_until_done
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import keep_paid_job
from prefect_kling.studio.money.submission import SubmitOptions, submit_once

V4 = """
models:
  - name: kling-v4
    as_of: 2026-11-26
    source: the price list of my account
    max_seconds: 20
    max_shots: 8
    rates:
      std: {plain: 0.07, sound: 0.11}
      pro: {plain: 0.09, sound: 0.14}
prices:
  kling-v3-omni:
    std: {plain: 0.05}
    pro: {plain: 0.06}
"""


@pytest.fixture
def v4(tmp_path: Path) -> Iterator[ModelSpecification]:
    """A model that this package does not know, from a file."""
    file = tmp_path / "models.yaml"
    file.write_text(V4)
    [specification, _] = read_models(file)
    register_model(specification)
    yield specification
    unregister_model(specification.name)


@pytest.mark.usefixtures("v4")
def test_a_model_added_by_configuration_is_checked_and_quoted() -> None:
    """Its own limits hold, and its highest rate is reserved."""
    request = VideoRequest(model="kling-v4", prompt="Dawn", duration=20)
    price = quote(request)
    assert (price.usd, price.at_most_usd) == (Decimal("1.40"), Decimal("2.20"))
    with pytest.raises(ValueError, match="kling-v4 makes 3 to 20 seconds"):
        VideoRequest(model="kling-v4", prompt="Dawn", duration=21)


def test_the_setting_names_the_file(tmp_path: Path) -> None:
    """A process that is started with the setting knows the model, one without does not."""
    file = tmp_path / "models.yaml"
    file.write_text(V4)
    program = (
        "from prefect_kling.kling.models import known_models;"
        "print(*(model.name for model in known_models()))"
    )
    known = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {FILE_SETTING: str(file)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert known.stdout.split() == ["kling-video-o1", "kling-v3-omni", "kling-v4"]


@pytest.mark.usefixtures("v4")
async def test_a_clip_is_made_with_it(archive: Archive) -> None:
    """Reserved at its highest rate, sent, awaited and archived, without a line of code."""
    order = ClipOrder(request=VideoRequest(model="kling-v4", prompt="Dawn", duration=3))
    settings = SandboxSettings(
        render_seconds=(0, 0.1),
        short_side=90,
        extra_models={"kling-v4": "kling-v3-omni"},
    )
    capped = Archive(archive.bucket, cap_usd=Decimal(1))
    with Sandbox(settings) as sandbox:
        address = ClientSettings(base_url=sandbox.base_url)
        async with KlingClient(SecretStr(sandbox.key), address) as client:
            entry = await submit_once(order, client, capped, SubmitOptions(look_again=0.05))
            assert entry.at_most_usd == Decimal("0.33")
            patience = PollPolicy(first=0.05, longest=0.1, deadline=60)
            job = await poll_until_done(client, str(entry.job_id), patience)
            kept = await keep_paid_job(entry, job, client, capped)
    assert kept.clip.listed_usd == Decimal("0.21")
    assert kept.clip.order.request.model == "kling-v4"


async def test_a_paid_clip_is_archived_even_where_its_model_is_unknown(
    archive: Archive, v4: ModelSpecification
) -> None:
    """A process without the setting may collect what another one paid for."""
    order = ClipOrder(request=VideoRequest(model="kling-v4", prompt="Dusk", duration=3))
    settings = SandboxSettings(
        render_seconds=(0, 0.1),
        short_side=90,
        extra_models={"kling-v4": "kling-v3-omni"},
    )
    with Sandbox(settings) as sandbox:
        address = ClientSettings(base_url=sandbox.base_url)
        async with KlingClient(SecretStr(sandbox.key), address) as client:
            entry = await submit_once(order, client, archive, SubmitOptions(look_again=0.05))
            patience = PollPolicy(first=0.05, longest=0.1, deadline=60)
            job = await poll_until_done(client, str(entry.job_id), patience)
            unregister_model(v4.name)
            kept = await keep_paid_job(entry, job, client, archive)
    assert archive.find(order.clip_key) is not None
    assert any("listed price" in note for note in kept.clip.notes)
    assert kept.clip.listed_usd == entry.at_most_usd == Decimal("0.33")


@pytest.mark.usefixtures("v4")
def test_forms_and_schemas_offer_it() -> None:
    """The JSON Schema is made from what is known."""
    fields = VideoRequest.model_json_schema()["properties"]
    assert fields["model"]["enum"] == ["kling-video-o1", "kling-v3-omni", "kling-v4"]
    assert (fields["duration"]["minimum"], fields["duration"]["maximum"]) == (3, 20)


def test_without_configuration_an_unknown_model_is_refused() -> None:
    """Adding a model is a decision: nothing is sent for a name that nobody specified."""
    with pytest.raises(ValueError, match="'kling-video-o1' or 'kling-v3-omni'"):
        VideoRequest(model="kling-v4", prompt="Dawn")


def test_an_account_can_have_prices_of_its_own(tmp_path: Path) -> None:
    """Prices of the file replace the rates of a known model, and nothing else of it."""
    file = tmp_path / "models.yaml"
    file.write_text(V4)
    [_, cheap] = read_models(file)
    request = VideoRequest(model="kling-v3-omni", prompt="Dawn")
    assert quote(request, cheap).usd == Decimal("0.25")
    assert cheap.max_shots == find_model("kling-v3-omni").max_shots


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", "cannot be used"),
        ("models: [{name: x}]", "source"),
        (V4.replace("max_seconds", "longest"), "longest"),
        (V4.replace("{plain: 0.09, sound: 0.14}", "{sound: 0.14}"), "no plain rate"),
        (V4.replace("kling-v3-omni", "kling-v5"), "'kling-v5', which is not a known model"),
    ],
)
def test_a_file_that_cannot_be_used_stops_everything(
    tmp_path: Path, text: str, message: str
) -> None:
    """Nothing is sent at prices that may be wrong."""
    file = tmp_path / "models.yaml"
    file.write_text(text)
    with pytest.raises(ModelsFileInvalid, match=message):
        read_models(file)


def test_a_specification_cannot_change_a_clip_key() -> None:
    """Rule: a specification decides what is accepted and what it costs, never what is sent.

    It has no field that is a parameter's default, and the keys of today's requests do not depend on
    it.
    """
    request = VideoRequest(model="kling-v3-omni", prompt="Dawn")
    order = ClipOrder(request=request)
    assert order.clip_key == "f7b40f2c9abfd6d5e356785e5d670cda"
    parameters = set(RequestParameters.model_fields) - {"sound"}
    assert not parameters & set(ModelSpecification.model_fields)

    other = {"min_seconds": 1, "max_seconds": 30, "modes": ("pro", "std"), "sound": False}
    register_model(find_model("kling-v3-omni").model_copy(update=other))
    again = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt="Dawn"))
    unregister_model("kling-v3-omni")
    assert again.clip_key == order.clip_key


def test_the_built_in_models_are_dated_and_known() -> None:
    """Each says when and where its limits and prices were read."""
    assert tuple(known_models()) == BUILT_IN_MODELS
    for model in BUILT_IN_MODELS:
        assert model.source
        assert model.rates_are_confirmed
