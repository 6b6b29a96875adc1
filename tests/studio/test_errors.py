"""The studio's errors: one tree, drawn, that survives a process border."""

import pickle

import pytest

from prefect_kling.studio import errors


def _leaves(kind: type[errors.StudioError]) -> list[type[errors.StudioError]]:
    return [leaf for child in kind.__subclasses__() for leaf in (child, *_leaves(child))]


PUBLIC = [kind for kind in _leaves(errors.StudioError) if not kind.__name__.startswith("_")]


def test_the_tree_in_the_text_is_the_tree_in_the_code() -> None:
    """The drawing at the top of errors.py names every leaf."""
    assert [kind.__name__ for kind in PUBLIC if kind.__name__ not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("kind", PUBLIC)
def test_every_error_tells_evidence_and_next_step_across_processes(
    kind: type[errors.StudioError],
) -> None:
    """Clip, job, status and words stay with the error, and its text ends with what to do."""
    if kind is errors.FilmIncomplete:
        error: errors.StudioError = errors.FilmIncomplete(
            "two failed", {"1.1": ValueError("no"), "1.2": OSError("no")}
        )
    else:
        error = kind("what happened", clip_key="k", job_id="c1", status=500, detail="sorry")
    assert str(error).endswith(kind.next_step)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
