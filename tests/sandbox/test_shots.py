"""Clips of several shots."""

from typing import Any

import pytest
from PIL import Image

from prefect_kling.sandbox.clip_request import read_shots
from prefect_kling.sandbox.decoded_inputs import DecodedInputs
from prefect_kling.sandbox.painter import draw_titles
from tests.sandbox.looking import PICTURE, codes, difference, steps

CUT, CALM = 12.0, 3.0
"""Mean differences of neighbouring pictures: above the first is a cut, below the second none."""
STORY = "A wolf howls at the moon. A hunter wakes by the fire! Snow begins to fall"


def parts(*shots: tuple[str, int]) -> dict[str, Any]:
    """Order a clip of these prompts and seconds."""
    each = [
        {"index": i, "prompt": text, "duration": str(long)}
        for i, (text, long) in enumerate(shots, 1)
    ]
    whole = {
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": each,
        "prompt": "ignored",
    }
    return whole | {"duration": str(sum(long for _, long in shots))}


def cut_by_model(prompt: str, **more: Any) -> dict[str, Any]:
    """Order a clip whose cuts are left to the model."""
    return {"multi_shot": True, "shot_type": "intelligence", "prompt": prompt} | more


@pytest.mark.parametrize(
    ("more", "borders"),
    [
        (parts(("a boat", 1), ("the same boat", 2)), [24]),
        (parts(*[("rain", 1)] * 6), [24, 48, 72, 96, 120]),
        (cut_by_model(STORY), [24, 48]),
        (cut_by_model("a red kite over the dunes"), [24, 48]),
        (cut_by_model("Dawn. Dusk.", duration="4"), [48]),
    ],
)
def test_cuts(gallery: Any, more: dict[str, Any], borders: list[int]) -> None:
    """Shots meet in hard cuts at the requested seconds, or where the model cuts."""
    clip = gallery.clip(**more)
    changes = steps(clip.frames, PICTURE)
    assert [index + 1 for index, change in enumerate(changes) if change > CUT] == borders
    assert [index + 1 for index, change in enumerate(changes) if change > CALM] == borders
    assert [code[1] for code in codes(clip) if code] == list(range(int(clip.seconds * 24)))


@pytest.mark.parametrize("length", [2, 6])
def test_shots_are_told_apart(gallery: Any, length: int) -> None:
    """Every shot looks unlike every other of its clip, even if all have the same prompt."""
    clip = gallery.clip(**parts(*[("rain", 2)] * length))
    seen = [clip.frames[48 * shot + 24] for shot in range(length)]
    assert min(difference(a, b) for i, a in enumerate(seen) for b in seen[:i]) > CUT


def test_scenes_are_told_apart(gallery: Any) -> None:
    """Clips of several shots have the colours of their shots' prompts; their own is ignored."""
    firsts = [
        gallery.clip(**parts((text, 2), ("rain", 1))).frames[30]
        for text in ("fox", "wolf", "owl", "bear")
    ]
    assert max(difference(firsts[0], other) for other in firsts[1:]) > CUT


def ink(prompt: str, shot: str) -> Image.Image:
    """Show, white on black, where a prompt and a shot's label have ink."""
    body = {"model": "kling-v3-omni"}
    picture = Image.new("RGB", (640, 360))
    titles = draw_titles(body, DecodedInputs(), picture.size, prompt, shot, "")
    picture.paste(titles, mask=titles)
    return picture.convert("L").crop((0, 200, 640, 330)).point(lambda shade: 255 * (shade > 220))


def reads(frame: Image.Image, prompt: str, shot: str) -> bool:
    """Return whether a prompt is written in a picture: whether its ink would be white there."""
    mask = ink(prompt, shot)
    shades = frame.convert("L").crop((0, 200, 640, 330)).tobytes()
    under = [shade for shade, written in zip(shades, mask.tobytes(), strict=True) if written]
    return sum(shade > 140 for shade in under) > 0.95 * len(under)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "texts"),
    [
        (parts(("a boat leaves", 1), ("a storm rises", 1), ("the boat is gone", 1)), None),
        (
            cut_by_model(STORY),
            ["A wolf howls at the moon.", "A hunter wakes by the fire!", "Snow begins to fall"],
        ),
    ],
)
def test_each_shot_shows_its_own_prompt(
    open_sandbox: Any, more: dict[str, Any], texts: list[str] | None
) -> None:
    """From its first picture to its last a shot shows its own prompt, and no other."""
    texts = texts or [part["prompt"] for part in more["multi_prompt"]]
    clip = open_sandbox(short_side=360, stamp_job_id=False).clip(**more)
    for place in (0, 12, 23):
        frames = [clip.frames[24 * shot + place] for shot in range(3)]
        read = [
            [reads(frame, text, f"shot {number}/3") for text in texts]
            for number, frame in enumerate(frames, 1)
        ]
        assert read == [[True, False, False], [False, True, False], [False, False, True]]


@pytest.mark.parametrize(
    ("prompt", "seconds", "shots"),
    [
        ("one long take", 5, [("one long take", 40)] * 3),
        ("Dawn. Noon. Dusk. Night.", 3, [("Dawn.", 24), ("Noon.", 24), ("Dusk. Night.", 24)]),
        ("日出。日落！", 4, [("日出。", 48), ("日落！", 48)]),  # noqa: RUF001  meant
        ("Dawn\n\n Dusk ", 5, [("Dawn", 60), ("Dusk", 60)]),
        ("A lens of 3.5 mm; a face.", 3, [("A lens of 3.5 mm;", 36), ("a face.", 36)]),
        ("...", 3, [("...", 24)] * 3),
    ],
)
def test_model_cuts_by_sentences(prompt: str, seconds: int, shots: list[tuple[str, int]]) -> None:
    """Left to the model, a prompt is cut into equal shots of one sentence, none below a second."""
    ordered = read_shots(
        {"model": "kling-v3-omni", "duration": str(seconds)} | cut_by_model(prompt)
    )
    assert [(shot.prompt, shot.frames) for shot in ordered] == shots


def test_model_cuts_six_times_at_most() -> None:
    """However many sentences there are, there are six shots, and no sentence is lost."""
    prompt = " ".join(f"Thing {number}." for number in range(13))
    ordered = read_shots({"model": "kling-v3-omni", "duration": "15"} | cut_by_model(prompt))
    assert [shot.frames for shot in ordered] == [60] * 6
    assert " ".join(shot.prompt for shot in ordered) == prompt
