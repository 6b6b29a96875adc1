"""Storyboard files: one plain message for each mistake, with the line it is in."""

import json
from pathlib import Path

import pytest

from prefect_kling.kling.rules import RULES
from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film import mistakes
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.reader import load_storyboard, read_storyboard
from prefect_kling.studio.film.storyboard import Storyboard

BROKEN = Path(__file__).parent / "broken"
PICTURES = Path(__file__).parents[4] / "examples" / "pictures"

# Each file in `broken` has one mistake; this is all that is said about it, after the name of the
# file.
MESSAGES = {
    "misspelled-field": (
        "line 3: defaults: there is no field 'aspect_ration'; did you mean 'aspect_ratio'?"
    ),
    "unknown-continuity": (
        "line 4: scene 1, continuity: 'last-frame' is not possible, only cut, last_frame, "
        "keyframes, reference_video, multi_shot or edit; did you mean 'last_frame'?"
    ),
    "mention-of-nothing": (
        "line 7: scene 1, shot 1, prompt: there is no reference called "
        "'botle'; did you mean 'bottle'?"
    ),
    "unknown-character": (
        "line 7: scene 1, character 1: there is no character called 'Ada'; this storyboard has juno"
    ),
    "missing-picture": (
        "line 4: references, bottle, image: there is no file "
        "'../../../../../examples/pictures/botle.jpg' beside this "
        "storyboard; did you mean 'bottle.jpg'?"
    ),
    "too-few-keyframes": (
        "line 6: scene 1: 3 shots share 4 keyframes, or 3 if the last shot "
        "may end freely, and not 2"
    ),
    "long-multi-shot": (
        "line 8: scene 2: its shots last 20 seconds together; a multi_shot scene has 3 to 15"
    ),
    "edit-of-a-long-shot": (
        "line 8: scene 1, shot 2: an edit takes at most 10 seconds of video; the shot before lasts "
        "15: shorten it"
    ),
    "sound-with-a-video": (
        "line 10: scene 1, shot 2, sound: Kling makes none for a shot that is made from a video; "
        "say `sound: off` or nothing"
    ),
    "tab": "line 6: this line is indented with a tab; use spaces",
}

GOOD = """\
title: Harbour, éclair
references:
  hero: {image: bottle.jpg}
  clip: {video: https://example.com/clip.mp4}
characters:
  mara:
    description: Mara, 40
defaults:
  duration: 4
  sound: on
scenes:
  - title: One
    continuity: last_frame
    mode: pro
    shots:
      - prompt: First
      - prompt: Second
        duration: 3
        sound: off
"""


def refusal(text: str) -> str:
    """What is said about a text."""
    with pytest.raises(StoryboardInvalid) as caught:
        read_storyboard(text, "film.yaml", PICTURES)
    return caught.value.message


def changed(old: str, new: str) -> str:
    """The good storyboard with one change."""
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize("name", sorted(path.stem for path in BROKEN.glob("*.yaml")))
def test_a_mistake_people_make_is_told_in_their_words(name: str) -> None:
    """File, line, place, what is wrong and what is possible: one line, and nothing else."""
    path = BROKEN / f"{name}.yaml"
    with pytest.raises(StoryboardInvalid) as caught:
        load_storyboard(path)
    assert caught.value.message == f"{path}, {MESSAGES[name]}"


FIRST, DURATION, TITLE = "- prompt: First", "duration: 4", "title: Harbour, éclair"
SHOTS = GOOD[GOOD.index("    shots:") :]
FIELDS = [
    # Fields that are misspelled, misplaced, missing or empty.
    (
        "- prompt: Second",
        "- promt: Second",
        "line 17: scene 1, shot 2: there is no field 'promt'; did you mean 'prompt'?",
    ),
    (
        DURATION,
        "Duration: 4",
        "line 9: defaults: there is no field 'Duration'; did you mean 'duration'?",
    ),
    (
        "    shots:",
        "    parts:",
        (
            "line 15: scene 1: there is no field 'parts', and 'shots' is missing; possible are "
            "model, mode, aspect_ratio, sound, duration, watermark, keep_original_sound, look, "
            "characters, references, crossfade, takes, title, continuity, handover, pick, "
            "keyframes, shots"
        ),
    ),
    (
        DURATION,
        "prompt: P",
        "line 9: defaults: there is no field 'prompt' here; it belongs to a shot",
    ),
    (
        DURATION,
        "title: T",
        (
            "line 9: defaults: there is no field 'title' here; it belongs to the top of the "
            "storyboard, a scene or a shot"
        ),
    ),
    (FIRST, "- title: First", "line 16: scene 1, shot 1: 'prompt' is missing"),
    (
        FIRST,
        "- prompt:",
        "line 16: scene 1, shot 1, prompt: nothing is written here; fill it in, or remove it",
    ),
    (
        FIRST,
        "- prompt: P\n        look:",
        "line 17: scene 1, shot 1, look: nothing is written here; fill it in, or remove it",
    ),
    (FIRST, "-", "line 16: scene 1, shot 1: nothing is written here; fill it in, or remove it"),
    (
        FIRST,
        "- prompt: ''",
        "line 16: scene 1, shot 1, prompt: this is empty; write something, or remove it",
    ),
    (FIRST, "- prompt: ' '", "line 16: scene 1, shot 1, prompt: this is empty; write something"),
    (
        FIRST,
        "- {prompt: Waves, handheld}",
        (
            "line 16: scene 1, shot 1: there is no field 'handheld'; inside { } a text that "
            "contains a comma must stand in quotes"
        ),
    ),
    (
        "  duration: 4\n  sound: on",
        "duration: 4",
        "line 9: there is no field 'duration' here; indent it if it belongs to 'defaults' above",
    ),
    (
        "  mara:\n    description",
        "  mara:\n  description",
        "line 7: characters, description: indent this line, so that it belongs to the name above",
    ),
    # Values of the wrong kind.
    (
        DURATION,
        "duration: 5s",
        "line 9: defaults, duration: a whole number belongs here, like 5, not '5s'",
    ),
    (
        DURATION,
        "duration: 3.5",
        "line 9: defaults, duration: a whole number belongs here, like 5, not 3.5",
    ),
    (
        DURATION,
        "duration: [4]",
        "line 9: defaults, duration: a whole number belongs here, like 5, not a list",
    ),
    (DURATION, "duration: 40", "line 9: defaults, duration: 40 is too much; the most is 15"),
    (DURATION, "crossfade: -1", "line 9: defaults, crossfade: -1 is too little; the least is 0"),
    (
        DURATION,
        "crossfade: on",
        "line 9: defaults, crossfade: a number belongs here, like 0.5, not 'on'",
    ),
    (
        DURATION,
        "watermark: perhaps",
        "line 9: defaults, watermark: true or false belongs here, not 'perhaps'",
    ),
    (
        DURATION,
        "mode: PRO",
        "line 9: defaults, mode: 'PRO' is not possible, only std or pro; did you mean 'pro'?",
    ),
    (DURATION, "mode: 1080", "line 9: defaults, mode: 1080 is not possible, only std or pro"),
    (
        DURATION,
        "aspect_ratio: 16x9",
        (
            "line 9: defaults, aspect_ratio: '16x9' is not possible, only 16:9, 9:16 or 1:1; did "
            "you mean '16:9'?"
        ),
    ),
    (
        FIRST,
        "- prompt: P\n        continuity: multi_shot",
        (
            "line 17: scene 1, shot 1, continuity: 'multi_shot' can only be said for a whole "
            "scene; a shot has cut, last_frame, reference_video or edit"
        ),
    ),
    (TITLE, "title: 5", "line 1: title: a text belongs here; put 5 in quotes"),
    (TITLE, "title: true", "line 1: title: a text belongs here; put true in quotes"),
    (TITLE, f"title: {'x' * 121}", "line 1: title: this has 121 characters; the most is 120"),
    (
        FIRST,
        "- prompt: [wide, slow]",
        (
            "line 16: scene 1, shot 1, prompt: a text belongs here, not a list; one that begins "
            "with [ must stand in quotes"
        ),
    ),
    (
        FIRST,
        "- prompt: {a: b}",
        (
            "line 16: scene 1, shot 1, prompt: a text belongs here, not fields; one that begins "
            "with { must stand in quotes"
        ),
    ),
    (
        FIRST,
        "- Boats at sea",
        "line 16: scene 1, shot 1: a shot has fields: write `prompt: Boats at sea`",
    ),
    (
        SHOTS,
        "    shots: none",
        (
            "line 15: scene 1, shots: this is a list: write a dash before each shot, as in `- "
            "prompt: Boats at anchor`"
        ),
    ),
    (
        SHOTS,
        "    shots:\n      prompt: First",
        (
            "line 15: scene 1, shots: this is a list: write a dash before each shot, as in `- "
            "prompt: Boats at anchor`"
        ),
    ),
    (SHOTS, "    shots: []", "line 15: scene 1, shots: at least one shot is needed"),
    # References and characters.
    (
        "  hero: {image: bottle.jpg}",
        "  hero: bottle.jpg",
        "line 3: references, hero: a reference has fields: write `image: bottle.jpg`",
    ),
    (
        "  hero: {image: bottle.jpg}",
        "  hero: hero.MOV",
        "line 3: references, hero: a reference has fields: write `video: hero.MOV`",
    ),
    (
        "  hero: {image: bottle.jpg}",
        "  hero: {img: bottle.jpg}",
        "line 3: references, hero: there is no field 'img'; did you mean 'image'?",
    ),
    (
        "  hero: {image: bottle.jpg}",
        "  hero: {}",
        "line 3: references, hero: give one of image, video, element; this has nothing",
    ),
    (
        "  hero: {image: bottle.jpg}",
        "  hero: {image: a, video: b}",
        "line 3: references, hero: give one of image, video, element; this has image and video",
    ),
    (
        "  hero: {image: bottle.jpg}",
        "  my hero: {element: 7}",
        (
            "line 3: references, my hero: a name has no spaces and no < or >; "
            "write 'my-hero' for 'my hero'"
        ),
    ),
    (
        "  hero: {image: bottle.jpg}\n  clip",
        "  - clip",
        (
            "line 2: references: write a name and below it its fields, as in `bottle: {image: "
            "bottle.png}`"
        ),
    ),
    (
        "    description: Mara, 40",
        "    desc: Mara, 40",
        (
            "line 7: characters, mara: there is no field 'desc', and 'description' is missing; "
            "possible are description, references"
        ),
    ),
    (
        "  mara:\n    description: Mara, 40",
        "  mara: A woman",
        "line 6: characters, mara: a character has fields: write `description: A woman`",
    ),
    (
        FIRST,
        "- prompt: P\n        characters: mara",
        "line 17: scene 1, shot 1, characters: this is a list: write `[mara]`",
    ),
    (
        FIRST,
        "- prompt: P\n        references:\n          - image: a.png",
        "line 18: scene 1, shot 1, reference 1: a name belongs here, not fields",
    ),
    # Tags.
    (
        "references:",
        "tags: {project: 2026}\nreferences:",
        "line 2: tags, project: a text belongs here; put 2026 in quotes",
    ),
    (
        "references:",
        "tags:\n  paid by: Acme\nreferences:",
        (
            "line 3: tags, paid by: the name of a tag has letters, digits, - and _; "
            "write 'paid-by' for 'paid by'"
        ),
    ),
    (
        "references:",
        f"tags: {{project: {'x' * 61}}}\nreferences:",
        "line 2: tags, project: this has 61 characters; the most is 60",
    ),
    (
        "references:",
        "tags: spring\nreferences:",
        "line 2: tags: write names and texts, as in `project: spring`",
    ),
    (
        "references:",
        f"tags: {{{', '.join(f't{n}: x' for n in range(9))}}}\nreferences:",
        "line 2: tags: these are 9 tags; the most is 8",
    ),
]


@pytest.mark.parametrize(("old", "new", "told"), FIELDS, ids=lambda value: str(value)[:30].strip())
def test_a_wrong_field_is_told_once_and_plainly(old: str, new: str, told: str) -> None:
    """One mistake gives one line, which says what is possible."""
    assert refusal(changed(old, new)) == f"film.yaml, {told}"


NAMES = [
    (
        "- prompt: <<<hreo>>> waves",
        (
            "line 16: scene 1, shot 1, prompt: there is no reference called "
            "'hreo'; did you mean 'hero'?"
        ),
    ),
    (
        "- prompt: <<<xyz>>> waves",
        (
            "line 16: scene 1, shot 1, prompt: there is no reference called 'xyz'; this storyboard "
            "has hero, clip"
        ),
    ),
    (
        "- prompt: <<<mara>>> waves",
        (
            "line 16: scene 1, shot 1, prompt: there is no reference called 'mara'; it is a "
            "character: say `characters: [mara]`"
        ),
    ),
    (
        "- prompt: <<hero>> waves",
        (
            "line 16: scene 1, shot 1, prompt: <<hero>> is sent as it stands; to show the model "
            "'hero', write <<<hero>>>"
        ),
    ),
    (
        "- prompt: '@hero waves'",
        (
            "line 16: scene 1, shot 1, prompt: @hero is sent as it stands; to show the model "
            "'hero', write <<<hero>>>"
        ),
    ),
    (
        "- prompt: <<<image_3>>> waves",
        (
            "line 16: scene 1, shot 1, prompt (naming <<<image_3>>>): what is named by its place "
            "must be there, counted from 1"
        ),
    ),
    (
        "- prompt: P\n        look: like <<<hreo>>>",
        "line 17: scene 1, shot 1, look: there is no reference called 'hreo'; did you mean 'hero'?",
    ),
    (
        "- prompt: P\n        references: [hero, hreo]",
        (
            "line 17: scene 1, shot 1, reference 2: there is no reference called 'hreo'; did you "
            "mean 'hero'?"
        ),
    ),
    (
        "- prompt: P\n        references: [bottle.jpg]",
        (
            "line 17: scene 1, shot 1, reference 1: there is no reference called 'bottle.jpg'; a "
            "file gets a name under `references:` first, as in `bottle: {image: bottle.jpg}`"
        ),
    ),
    (
        "- prompt: P\n        references: [https://a.b/c.mp4]",
        (
            "line 17: scene 1, shot 1, reference 1: a link to a video gets a name under "
            "`references:` first, as in `clip: {video: https://…}`"
        ),
    ),
    (
        "- prompt: P\n        first_frame: https://a.b/c d.png",
        "line 17: scene 1, shot 1, first_frame: a link has no spaces; write %20 for each",
    ),
    (
        "- prompt: P\n        characters: [hero]",
        (
            "line 17: scene 1, shot 1, character 1: there is no character called 'hero'; it is a "
            "reference: say `references: [hero]`"
        ),
    ),
    (
        "- prompt: P\n        characters: [maria]",
        (
            "line 17: scene 1, shot 1, character 1: there is no character called 'maria'; did you "
            "mean 'mara'?"
        ),
    ),
    (
        "- prompt: P\n        first_frame: clip",
        "line 17: scene 1, shot 1, first_frame: 'clip' is no picture, and a picture is needed here",
    ),
    (
        "- prompt: P\n        edit_of: hero",
        "line 17: scene 1, shot 1, edit_of: 'hero' is no video, and a video is needed here",
    ),
]


@pytest.mark.parametrize(("new", "told"), NAMES, ids=lambda value: str(value)[:30].strip())
def test_a_wrong_name_is_told_where_it_is_written(new: str, told: str) -> None:
    """In prompts, looks and lists alike: what there is, or what else the name is."""
    assert refusal(changed(FIRST, new)) == f"film.yaml, {told}"


def test_names_in_descriptions_defaults_and_keyframes_are_checked_too() -> None:
    """Every mistake is told, in the order of the file, also in what no shot uses."""
    text = (
        changed("Mara, 40", "Mara, <<<hreo>>>")
        .replace(DURATION, "references: [hreo]")
        .replace("mode: pro", "keyframes: [hreo]")
    )
    what = "there is no reference called 'hreo'; did you mean 'hero'?"
    assert refusal(text).splitlines() == [
        f"film.yaml, line 7: characters, mara, description: {what}",
        f"film.yaml, line 9: defaults, reference 1: {what}",
        f"film.yaml, line 14: scene 1, keyframe 1: {what}",
    ]


FILES = [
    ("nothing.png", "there is no file 'nothing.png' beside this storyboard"),
    (
        "botle.jpg",
        "there is no file 'botle.jpg' beside this storyboard; did you mean 'bottle.jpg'?",
    ),
    (
        "no/a.png",
        (
            "there is no file 'no/a.png' beside this storyboard; there is no folder "
            f"{PICTURES / 'no'} either"
        ),
    ),
    ("www.a.b/c.png", "'www.a.b/c.png' is neither a file nor a link; a link begins with https://"),
    ("'https://a.b/c d.png'", "a link has no spaces; write %20 for each"),
    ("../advert.yaml", "../advert.yaml is no picture that can be read; the API takes JPG and PNG"),
    ("../../docs/logo.png", "../../docs/logo.png is 64x64; each side needs at least 300 pixels"),
    (f"{'x' * 300}.png", f"'{'x' * 59}…' is no name a file can have"),
]


@pytest.mark.parametrize(("source", "told"), FILES, ids=lambda value: str(value)[:30])
def test_a_file_that_cannot_be_used_is_told_with_its_reference(source: str, told: str) -> None:
    """Missing, too small, no picture: with the line of the reference, before anything is paid."""
    text = changed("image: bottle.jpg", f"image: {source}")
    assert refusal(text) == f"film.yaml, line 3: references, hero, image: {told}"


SYNTAX = [
    (
        TITLE,
        "title: Harbour: dawn",
        (
            "line 1: a text that contains a colon must stand in quotes, as in "
            "`prompt: 'Wide shot: a boat'`"
        ),
    ),
    (
        FIRST,
        "- prompt: P:",
        (
            "line 16: a text that contains a colon must stand in quotes, as in `prompt: 'Wide "
            "shot: a boat'`"
        ),
    ),
    (
        FIRST,
        "- prompt: P\n         mode: pro",
        (
            "line 17: this line is indented differently from the lines it belongs to (if it goes "
            "on with the text above, that text contains a colon and must stand in quotes)"
        ),
    ),
    (
        FIRST,
        "- prompt: P\n       mode: pro",
        (
            "line 17: this line is indented differently from the lines it belongs to, or it lacks "
            "a dash in front"
        ),
    ),
    (
        FIRST,
        "- prompt: P\n        mode pro",
        "line 17: a colon and a space are missing after a field's name, as in `duration: 5`",
    ),
    (
        FIRST,
        "- prompt: P\n        mode:pro",
        "line 17: a colon and a space are missing after a field's name, as in `duration: 5`",
    ),
    (FIRST, "- prompt: @hero waves", "line 16: a text that begins with @ must stand in quotes"),
    (
        FIRST,
        "- prompt: '@hero' waves",
        (
            "line 16: a text goes on after its closing quote; inside 'quotes' "
            "write '' for an apostrophe"
        ),
    ),
    (FIRST, "- prompt: *slow* pan", "line 16: a text that begins with * must stand in quotes"),
    (FIRST, "- prompt: !slow pan", "line 16: a text that begins with ! must stand in quotes"),
    (
        FIRST,
        "- prompt: [Camera] pan",
        "line 16: a text that begins with [ or { must stand in quotes",
    ),
    (
        FIRST,
        "- prompt: {{hero}} waves",
        "line 16: a text that begins with { or [ must stand in quotes",
    ),
    (
        FIRST,
        "- prompt: 'It's late'",
        (
            "line 16: a text goes on after its closing quote; inside 'quotes' "
            "write '' for an apostrophe"
        ),
    ),
    (
        FIRST,
        '- prompt: "a \\pan"',
        "line 16: inside \"double quotes\" a \\ has a meaning of its own; use 'single quotes'",
    ),
    (FIRST, "- prompt: - Waves", "line 16: a dash that begins a list stands in a line of its own"),
    (FIRST, "%- prompt: P", "line 16: a text that begins with % must stand in quotes"),
    (
        FIRST,
        "- prompt: > P",
        "line 16: a text that begins with > or | must stand in quotes, or begins in the next line",
    ),
    (
        FIRST,
        "- prompt: P\n        references: [, a]",
        "line 17: something is missing here, or a sign such as , : ] } is too many",
    ),
    (
        TITLE,
        "- title: T",
        (
            "line 2: this line is indented differently from the lines it belongs to, or it lacks a "
            "dash in front"
        ),
    ),
    (
        TITLE,
        "{title: T}",
        "line 2: this line does not belong to what stands above it; look at how far it is indented",
    ),
    (FIRST, "- prompt: 'Late", "line 16: a quote is opened here and never closed"),
    (
        DURATION,
        "duration: 4\n  duration: 5",
        "line 10: 'duration' is given twice; the first time in line 9",
    ),
    (
        TITLE,
        "title: T\n---",
        "line 2: a line `---` begins a second document here; only one can be read",
    ),
    (TITLE, "title: T\a", "line 1: the character U+0007 cannot stand in a text; remove it"),
    (
        "  hero: {image: bottle.jpg}",
        "  hero: {image: bottle.jpg",
        "line 4: a comma or the closing } is missing",
    ),
]


@pytest.mark.parametrize(("old", "new", "told"), SYNTAX, ids=lambda value: str(value)[:30].strip())
def test_what_yaml_stumbles_over_is_told_plainly(old: str, new: str, told: str) -> None:
    """The words of the YAML reader are turned into what a writer can do."""
    assert refusal(changed(old, new)) == f"film.yaml, {told}"


TEXTS = [
    ("", "line 1: this file is empty; one begins with `title:` and has `scenes:`"),
    ("# nothing yet\n", "line 1: this file is empty; one begins with `title:` and has `scenes:`"),
    ("just words", "line 1: this is no storyboard; one begins with `title:` and has `scenes:`"),
    ("- title: T", "line 1: this is no storyboard; one begins with `title:` and has `scenes:`"),
    ("title: [T", "line 1: a bracket is opened and never closed"),
]


@pytest.mark.parametrize(("text", "told"), TEXTS)
def test_what_is_no_storyboard_is_refused(text: str, told: str) -> None:
    """Empty files and other documents say how a storyboard begins."""
    assert refusal(text) == f"film.yaml, {told}"


@pytest.mark.parametrize(
    "text", ["{", "\x00", "[" * 5000, "a: &a [*a]", "title: &t [*t]", "{" * 9000, "? [a]\n: b"]
)
def test_garbage_is_refused_like_anything_else(text: str) -> None:
    """Documents that contain themselves, nest without end or hold nothing are refused."""
    for name in ("film.yaml", "film.json"):
        with pytest.raises(StoryboardInvalid, match=rf"^{name}"):
            read_storyboard(text, name)


def test_all_mistakes_are_told_in_the_order_of_the_file() -> None:
    """A line each, so that a storyboard is corrected in one go."""
    text = (
        changed(DURATION, "duration: 40")
        .replace("sound: off", "sound: quiet")
        .replace("- prompt: First", "- title: A")
    )
    assert refusal(text).splitlines() == [
        "film.yaml, line 9: defaults, duration: 40 is too much; the most is 15",
        "film.yaml, line 16: scene 1, shot 1: 'prompt' is missing",
        "film.yaml, line 19: scene 1, shot 2, sound: 'quiet' is not possible, only on or off",
    ]


def test_a_mistake_that_several_shots_share_is_told_once() -> None:
    """A part that is marked with & and used again is in one line of the file."""
    text = (
        "title: T\nscenes:\n  - shots:\n      - &a {prompt: P, duration: 40}\n"
        "      - *a\n      - {<<: *a, title: B}\n"
    )
    assert (
        refusal(text)
        == "film.yaml, line 4: scene 1, shot 1, duration: 40 is too much; the most is 15"
    )


def test_anchors_and_merge_keys_work() -> None:
    """A shot may be used again with changes; its own word counts, in merged parts too."""
    shots = (
        "&a {prompt: P, duration: 4, sound: on}",
        "&b {<<: *a, duration: 5, sound: off}",
        "{<<: *b, title: B, duration: 6}",
    )
    scenes = "".join(
        f"  - title: S{number}\n    shots:\n      - {shot}\n" for number, shot in enumerate(shots)
    )
    found = [scene.shots[0] for scene in read_storyboard(f"title: T\nscenes:\n{scenes}").scenes]
    assert [(shot.duration, shot.sound, shot.prompt) for shot in found] == [
        (4, "on", "P"),
        (5, "off", "P"),
        (6, "off", "P"),
    ]


def test_yaml_is_read_as_editors_read_it() -> None:
    """Ratios, `on`, `no`, days, and leading zeros are texts; numbers and truths stay so."""
    text = (
        "title: 2024-01-01\ndefaults: {aspect_ratio: 9:16, sound: on, keep_original_sound: no, "
        "crossfade: .5}\n"
        "references: {1: {element: 007}, on: {element: 8}}\n"
        "scenes:\n  - title: No\n    shots: [{prompt: Off, shown: no}, {prompt: y, shown: true, "
        "duration: 04}]\n"
    )
    board = read_storyboard(text)
    assert board.title == "2024-01-01"
    assert board.defaults.settings() == {
        "aspect_ratio": "9:16",
        "sound": "on",
        "keep_original_sound": "no",
        "crossfade": 0.5,
    }
    assert {name: each.element for name, each in board.references.items()} == {"1": 7, "on": 8}
    (scene,) = board.scenes
    assert (scene.title, [(s.prompt, s.shown, s.duration) for s in scene.shots]) == (
        "No",
        [("Off", False, None), ("y", True, 4)],
    )


def test_json_is_read_too(tmp_path: Path) -> None:
    """As JSON, indented with tabs and with nulls for what is not said, it is the same film."""
    text = GOOD.replace("bottle.jpg", str(PICTURES / "bottle.jpg")).replace("First", "First 🎬")
    board = read_storyboard(text)
    path = tmp_path / "film.json"
    path.write_text(json.dumps({"$schema": "s.json"} | board.model_dump(mode="json"), indent="\t"))
    assert load_storyboard(path) == board
    path.write_text(path.read_text().replace('"prompt": "Second"', '"promt": "Second"'))
    line = path.read_text().splitlines().index('\t\t\t\t\t"promt": "Second",') + 1
    with pytest.raises(
        StoryboardInvalid, match=rf"film\.json, line {line}: scene 1, shot 2: .* mean 'prompt'"
    ):
        load_storyboard(path)


def test_json_with_a_mistake_names_its_line() -> None:
    """What is no JSON says where; a `.yaml` file may begin with a brace all the same."""
    with pytest.raises(StoryboardInvalid, match=r"film\.json, line 2: this is no JSON: "):
        read_storyboard('{"title": "T",\n"scenes" []}', "film.json")
    assert (
        read_storyboard("{title: T, scenes: [{shots: [{prompt: P}]}],}", "film.yaml").title == "T"
    )


def test_a_document_may_name_its_schema() -> None:
    """`$schema` is for editors and not part of the film."""
    assert (
        read_storyboard("$schema: x.json\ntitle: T\nscenes: [{shots: [{prompt: P}]}]").title == "T"
    )


def test_files_are_looked_for_beside_the_storyboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the command runs; links, subjects and whole paths stay what they are."""
    film = tmp_path / "film"
    (film / "pictures").mkdir(parents=True)
    (film / "pictures" / "a.jpg").write_bytes((PICTURES / "bottle.jpg").read_bytes())
    whole = PICTURES / "bottle.jpg"
    text = (
        "title: T\nreferences:\n  a: {image: pictures/a.jpg}\n"
        f"  b: {{image: {whole}}}\n  c: {{video: https://a.b/c.mp4}}\n  d: {{element: 7}}\n"
        "scenes: [{shots: [{prompt: <<<a>>> and <<<b>>>}]}]\n"
    )
    (film / "film.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    references = load_storyboard(Path("film/film.yaml")).references
    assert references["a"].image == str(film / "pictures" / "a.jpg")
    assert (references["b"].image, references["c"].video, references["d"].element) == (
        str(whole),
        "https://a.b/c.mp4",
        7,
    )
    monkeypatch.chdir(film)
    assert read_storyboard(text).references == references, (
        "a text without a folder is read where one is"
    )


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/` is the home folder, as in a terminal; a name behind `~` is a file like any other."""
    monkeypatch.setenv("HOME", str(PICTURES))
    board = read_storyboard(changed("image: bottle.jpg", "image: ~/bottle.jpg"), folder=tmp_path)
    assert board.references["hero"].image == str(PICTURES / "bottle.jpg")
    told = refusal(changed("image: bottle.jpg", "image: ~nobody/a.jpg"))
    assert "there is no file '~nobody/a.jpg'" in told


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a folder, and one that is no UTF-8 are told with their path."""
    with pytest.raises(StoryboardInvalid, match=r"nothing\.yaml cannot be read: No such file"):
        load_storyboard(tmp_path / "nothing.yaml")
    with pytest.raises(StoryboardInvalid, match="cannot be read: Is a directory"):
        load_storyboard(tmp_path)
    path = tmp_path / "film.yaml"
    path.write_bytes("title: T\nscenes: é".encode("latin-1"))
    with pytest.raises(
        StoryboardInvalid,
        match=r"film\.yaml, line 2: this is no UTF-8 text; save the file as UTF-8",
    ):
        load_storyboard(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Some editors write one in front of the text."""
    path = tmp_path / "film.yaml"
    path.write_bytes(
        b"\xef\xbb\xbf" + GOOD.replace("bottle.jpg", str(PICTURES / "bottle.jpg")).encode()
    )
    assert load_storyboard(path).title == "Harbour, éclair"


PLANNED = [
    (
        "duration: 3",
        "duration: 12\n        model: kling-video-o1",
        (
            "line 18: scene 1, shot 2, duration (12 with kling-video-o1): kling-video-o1 makes 3 "
            "to 10 seconds"
        ),
    ),
    (
        "duration: 3",
        "duration: 2",
        (
            "line 18: scene 1, shot 2, duration (2): a clip has at least 3 seconds; shorter shots "
            "need a multi_shot scene"
        ),
    ),
    (
        "mode: pro",
        "duration: 2",
        (
            "line 14: scene 1, shot 1: duration (2): a clip has at least 3 seconds; shorter shots "
            "need a multi_shot scene"
        ),
    ),
    (
        DURATION,
        "duration: 2",
        (
            "line 9: scene 1, shot 1: duration (2): a clip has at least 3 seconds; shorter shots "
            "need a multi_shot scene"
        ),
    ),
    (
        FIRST,
        "- prompt: P\n        end_frame: hero",
        "line 17: scene 1, shot 1, end_frame: it needs a first_frame, too",
    ),
    (
        FIRST,
        "- prompt: P\n        edit_of: clip\n        first_frame: hero",
        "line 17: scene 1, shot 1, edit_of: an edited video takes no first_frame and no end_frame",
    ),
    (
        FIRST,
        f"- prompt: P\n        references: [{', '.join(f'https://a.b/{n}.png' for n in range(8))}]",
        (
            "line 17: scene 1, shot 1, references (8 images and elements, the limit here is 7): at "
            "most 7 pictures and subjects, 4 where a video goes in"
        ),
    ),
    (
        "continuity: last_frame",
        "continuity: multi_shot",
        (
            "line 17: scene 1, shot 2: in a multi_shot scene sound can only be "
            "said for the whole scene"
        ),
    ),
    (
        SHOTS,
        "    shots: [{prompt: P, shown: false}]\n",
        "line 11: scenes: no shot is shown, so there is no film",
    ),
]


@pytest.mark.parametrize(("old", "new", "told"), PLANNED, ids=lambda value: str(value)[:30].strip())
def test_what_only_planning_finds_has_a_line_too(old: str, new: str, told: str) -> None:
    """A rule of the whole request is told at the field, else the shot, in its words."""
    assert refusal(changed(old, new)) == f"film.yaml, {told}"


def test_rules_that_are_said_in_other_words_exist() -> None:
    """A rule that is renamed or gone must not leave its words behind."""
    assert set(mistakes._API_RULES) - {rule.name for rule in RULES} == set()


def test_a_good_storyboard_is_planned_as_it_was_read() -> None:
    """Reading changes nothing but the places of files."""
    board = read_storyboard(GOOD, "film.yaml", PICTURES)
    assert isinstance(board, Storyboard)
    first, second = plan_film(board).clips
    assert (first.order.request.sound, second.order.request.sound) == ("on", "off")
    assert first.order.request.mode == second.order.request.mode == "pro"
