"""The command line in this process: the function that the command calls, without a new Python."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_kling.deployments.cli.app import main
from prefect_kling.deployments.cli.documents import DOCUMENTS


@dataclass(frozen=True)
class Done:
    """What a finished command leaves behind."""

    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run `prefect-kling` with these words, environment and Prefect server (none: "")."""

    def call(*words: str, PREFECT_API_URL: str = "", **environment: str) -> Done:  # noqa: N803
        capsys.readouterr()
        with monkeypatch.context() as surroundings, temporary_settings(**_server(PREFECT_API_URL)):
            for name, value in {"COLUMNS": "200", "NO_COLOR": "1", **environment}.items():
                surroundings.setenv(name, value)
            if PREFECT_API_URL:
                # For the commands that this one runs.
                surroundings.setenv("PREFECT_API_URL", PREFECT_API_URL)
            with pytest.raises(SystemExit) as exited:
                main(words)
        told = capsys.readouterr()
        return Done(int(exited.value.code or 0), told.out, told.err)

    return call


def is_documented(facts: dict[str, Any], kind: str) -> bool:
    """Whether a document has exactly the fields of its kind."""
    (model,) = [each for each in DOCUMENTS if each.__name__ == kind]
    return set(facts) == set(model.model_fields)


def _server(address: str) -> dict[str, object]:
    if address:
        return {"updates": {PREFECT_API_URL: address}}
    return {"restore_defaults": {PREFECT_API_URL}}
