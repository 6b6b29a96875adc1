"""From storyboards to orders: what continuities ask for and refuse, and what keys depend on."""

import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest

from prefect_kling.studio.errors import StoryboardInvalid
from prefect_kling.studio.film.plan import FilmPlan, Handover, PlannedClip
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import ARCHIVE_URL

LINK = "https://example.com"
REFERENCES: dict[str, Any] = {
    **{f"key{number}": {"image": f"{LINK}/{number}.png"} for number in range(9)},
    "boat": {"element": 7},
    "street": {"video": f"{LINK}/street.mp4"},
    "alley": {"video": f"{LINK}/alley.mp4"},
}
CHARACTERS: dict[str, Any] = {
    "Lina": {"description": "Lina, red coat, as in <<<key8>>>"},
    "Jon": {"description": "Jon", "references": ["street"]},
}
CHAINED = ("last_frame", "reference_video", "edit")
EVERY = ("cut", "last_frame", "keyframes", "reference_video", "multi_shot", "edit")
Said = dict[str, Any]


def film(*scenes: Said, **said: Any) -> Said:
    """A storyboard as a document."""
    return {
        "title": "T",
        "references": REFERENCES,
        "characters": CHARACTERS,
        "scenes": [*scenes],
    } | said


def scene(*shots: str | Said, **said: Any) -> Said:
    """Return a scene; a shot that is only a prompt is written as one."""
    spoken = [
        {"prompt": shot} if isinstance(shot, str) else {"prompt": "P"} | shot for shot in shots
    ]
    if said.get("continuity") == "keyframes":
        said.setdefault("keyframes", [f"key{number}" for number in range(len(shots) + 1)])
    return {"shots": spoken} | said


def plan(document: Said) -> FilmPlan:
    """Plan a document."""
    return plan_film(Storyboard.model_validate(document))


def clips(*shots: str | Said, **said: Any) -> tuple[PlannedClip, ...]:
    """Plan one scene."""
    return plan(film(scene(*shots, **said))).clips


def body(clip: PlannedClip) -> Said:
    """What the API is asked for, without what is the same in all of these tests."""
    asked: Said = dict(clip.order.request.body("array"))
    assert (asked.pop("model"), asked.pop("mode"), asked.pop("sound")) == (
        "kling-v3-omni",
        "std",
        "off",
    )
    return asked


def picture(name: str, kind: str = "") -> Said:
    """A picture of a request."""
    return {"image_url": name if name.startswith("https:") else f"{LINK}/{name}.png"} | (
        {"type": kind} if kind else {}
    )


def video(url: str, kind: str, keep: str = "no") -> list[Said]:
    """The video of a request."""
    return [{"video_url": url, "refer_type": kind, "keep_original_sound": keep}]


def tail(clip: PlannedClip) -> str:
    """Where the last ten seconds of a clip will be."""
    return f"{ARCHIVE_URL}tails/{clip.clip_key}.mp4"


# What comes out.


def test_cuts_are_asked_for_by_themselves() -> None:
    """Nothing of one shot is in the request of the other."""
    first, second = clips("A boat", {"prompt": "A gull", "duration": 8})
    assert body(first) == {"prompt": "A boat", "duration": "5", "aspect_ratio": "16:9"}
    assert body(second) == {"prompt": "A gull", "duration": "8", "aspect_ratio": "16:9"}
    assert (first.needs, second.needs) == (None, None)


@pytest.mark.parametrize(
    ("handover", "kind", "ending"),
    [("sharpest", "sharpest_frame", ".sharpest.png"), ("last", "last_frame", ".png")],
)
def test_a_last_frame_is_the_next_ones_first(handover: str, kind: Any, ending: str) -> None:
    """The picture is named before it exists; shape and length are the shot's own business."""
    first, second, third = clips("A", "B", "C", continuity="last_frame", handover=handover)
    assert body(first) == {"prompt": "A", "duration": "5", "aspect_ratio": "16:9"}
    for before, clip, prompt in ((first, second, "B"), (second, third, "C")):
        address = f"{ARCHIVE_URL}frames/{before.clip_key}{ending}"
        assert body(clip) == {
            "prompt": prompt,
            "duration": "5",
            "image_list": [picture(address, "first_frame")],
        }
        assert clip.needs == Handover(kind=kind, clip_key=before.clip_key)
        assert clip.needs.address == address


def test_neighbours_share_a_keyframe() -> None:
    """Each shot has the picture it begins with and the one it ends with, and waits for nobody."""
    first, second = clips(
        "A", "B", continuity="keyframes", keyframes=["key0", f"{LINK}/1.png", "key2"]
    )
    assert body(first)["image_list"] == [picture("0", "first_frame"), picture("1", "end_frame")]
    assert body(second)["image_list"] == [picture("1", "first_frame"), picture("2", "end_frame")]
    assert (first.needs, second.needs) == (None, None)


def test_without_a_last_keyframe_the_last_shot_ends_freely() -> None:
    """As many keyframes as shots: the last shot only begins with one."""
    assert body(clips("A", "B", continuity="keyframes", keyframes=["key0", "key1"])[1])[
        "image_list"
    ] == [picture("1", "first_frame")]


def test_a_reference_video_is_continued() -> None:
    """The video is named by its future place, once; the shot has its own length and shape."""
    first, second, third = clips("A", "B", "after <<<video_1>>>, C", continuity="reference_video")
    assert body(first) == {"prompt": "A", "duration": "5", "aspect_ratio": "16:9"}
    assert body(second) == {
        "prompt": "Based on <<<video_1>>>, the next shot: B",
        "duration": "5",
        "aspect_ratio": "16:9",
        "video_list": video(tail(first), "feature"),
    }
    assert second.needs == Handover(kind="tail", clip_key=first.clip_key)
    assert body(third)["prompt"] == "after <<<video_1>>>, C"
    assert body(third)["video_list"] == video(tail(second), "feature")


def test_an_edit_edits_the_one_before() -> None:
    """Length and shape are its input's, so neither is asked for."""
    first, second, third = clips(
        {"duration": 8}, "rain", "snow in <<<video_1>>>", continuity="edit"
    )
    assert body(second) == {
        "prompt": "Edit <<<video_1>>>: rain",
        "video_list": video(tail(first), "base"),
    }
    assert body(third) == {
        "prompt": "snow in <<<video_1>>>",
        "video_list": video(tail(second), "base"),
    }
    assert [clip.seconds for clip in (first, second, third)] == [8, 8, 8]
    assert second.needs == Handover(kind="tail", clip_key=first.clip_key)


def test_a_multi_shot_scene_is_one_request() -> None:
    """Each shot is a segment with its words and length; what they show, the whole clip sees."""
    shots = [
        {
            "prompt": "<<<boat>>> lands",
            "duration": 1,
            "characters": ["Lina"],
            "first_frame": "key0",
            "crossfade": 1,
        },
        {
            "prompt": "She waves",
            "duration": 2,
            "look": "grain",
            "references": ["key1"],
            "title": "Wave",
        },
        {"prompt": "Fog", "duration": 1},
    ]
    (clip,) = clips(*shots, continuity="multi_shot", watermark=True)
    assert body(clip) == {
        "prompt": "<<<element_1>>> lands\nLina, red coat, as in <<<image_2>>>",
        "duration": "4",
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": [
            {
                "index": 1,
                "prompt": "<<<element_1>>> lands\nLina, red coat, as in <<<image_2>>>",
                "duration": "1",
            },
            {"index": 2, "prompt": "She waves\ngrain", "duration": "2"},
            {"index": 3, "prompt": "Fog", "duration": "1"},
        ],
        "image_list": [picture("1"), picture("8"), picture("0", "first_frame")],
        "element_list": [{"element_id": 7}],
        "watermark_info": {"enabled": True},
    }
    assert [(shot.number, shot.title, shot.seconds) for shot in clip.shots] == [
        (1, "", 1),
        (2, "Wave", 2),
        (3, "", 1),
    ]
    assert (clip.seconds, clip.crossfade, clip.needs, clip.order.request.prompt) == (
        4,
        1,
        None,
        None,
    )


def test_what_a_character_brings_along_is_shown_to_the_whole_clip() -> None:
    """A character of one segment attaches its references to the one request."""
    (clip,) = clips("A", {"characters": ["Jon"]}, continuity="multi_shot")
    assert body(clip)["video_list"] == video(f"{LINK}/street.mp4", "feature")


def test_a_multi_shot_scene_of_one_shot_is_cut_by_the_model() -> None:
    """Its prompt may then have the length of any other prompt."""
    (clip,) = clips({"prompt": "x" * 2500, "duration": 15}, continuity="multi_shot")
    asked = {
        "duration": "15",
        "aspect_ratio": "16:9",
        "multi_shot": True,
        "shot_type": "intelligence",
    }
    assert body(clip) == {"prompt": "x" * 2500} | asked


def test_a_shot_may_begin_differently_from_its_scene() -> None:
    """The shot's own continuity counts for it alone; the next goes on as the scene says."""
    first, second, third, fourth = clips(
        "A", "B", {"continuity": "cut"}, "D", continuity="last_frame"
    )
    assert [clip.needs and clip.needs.clip_key for clip in (second, third, fourth)] == [
        first.clip_key,
        None,
        third.clip_key,
    ]
    kinds = [("last_frame", "sharpest_frame"), ("reference_video", "tail"), ("edit", "tail")]
    for link, kind in kinds:
        first, second, third = clips("A", {"continuity": link}, "C")
        assert second.needs == Handover(kind=kind, clip_key=first.clip_key)
        assert third.needs is None
    assert clips({"continuity": "edit"}, "B", continuity="edit") == clips(
        {}, "B", continuity="edit"
    )
    first, second, third = clips("A", {"continuity": "last_frame"}, "C", continuity="keyframes")
    assert second.needs is not None
    assert body(third)["image_list"] == [picture("2", "first_frame"), picture("3", "end_frame")]


def test_a_shot_may_bring_its_own_pictures() -> None:
    """A first and an end frame come after the references, whose numbers they do not move."""
    shot = {
        "prompt": "<<<key3>>>",
        "first_frame": "key0",
        "end_frame": f"{LINK}/sea.png",
        "references": ["key2"],
    }
    (clip,) = clips(shot)
    frames = [picture("0", "first_frame"), picture("sea", "end_frame")]
    assert body(clip)["image_list"] == [picture("2"), picture("3"), *frames]
    assert body(clip)["prompt"] == "<<<image_2>>>"
    chained = clips({"first_frame": "key0"}, {"end_frame": "key1"}, continuity="last_frame")
    assert body(chained[0])["image_list"] == [picture("0", "first_frame")]
    assert sorted(each["type"] for each in body(chained[1])["image_list"]) == [
        "end_frame",
        "first_frame",
    ]


@pytest.mark.parametrize("source", ["street", f"{LINK}/street.mp4"], ids=["name", "link"])
def test_a_shot_may_edit_a_video_of_ones_own(source: str) -> None:
    """A reference or a link is edited; it may be pointed at by its name, too."""
    first, second = clips(
        {"prompt": "rain", "edit_of": source}, {"prompt": "<<<street>>> in rain", "edit_of": source}
    )
    assert body(first) == {
        "prompt": "Edit <<<video_1>>>: rain",
        "video_list": video(f"{LINK}/street.mp4", "base"),
    }
    assert body(second)["prompt"] == "<<<video_1>>> in rain"
    assert body(second)["video_list"] == video(f"{LINK}/street.mp4", "base")


def test_a_video_that_is_referred_to_goes_in() -> None:
    """Listed or mentioned, it is the request's video; listed only, it is pointed at too."""
    listed, mentioned, brought = clips(
        {"references": ["street"]}, "like <<<street>>>", {"characters": ["Jon"]}
    )
    assert [body(clip)["video_list"] for clip in (listed, mentioned, brought)] == [
        video(f"{LINK}/street.mp4", "feature")
    ] * 3
    assert body(listed)["prompt"] == "Based on <<<video_1>>>, the next shot: P"
    assert body(mentioned)["prompt"] == "like <<<video_1>>>"


@pytest.mark.parametrize("continuity", ["reference_video", "edit"])
def test_inherited_sound_is_switched_off_where_a_video_goes_in(continuity: str) -> None:
    """Kling makes no sound there: the first shot keeps it, the others are silent and say so."""
    planned = plan(film(scene("A", "B", continuity=continuity), defaults={"sound": "on"}))
    assert [clip.order.request.sound for clip in planned.clips] == ["on", "off"]
    assert planned.notes == ["1.2: made without sound: Kling makes none where a video goes in"]


def test_sound_of_a_multi_shot_scene_gives_way_to_a_video() -> None:
    """There it is always the scene's sound, never a shot's."""
    (clip,) = clips("A", "B", continuity="multi_shot", sound="on", references=["street"])
    assert clip.order.request.sound == "off"
    assert len(clip.notes) == 1


def test_sound_stays_where_no_video_goes_in() -> None:
    """A chain of pictures, and shots with pictures of their own, may sound."""
    for continuity in ("cut", "last_frame", "keyframes", "multi_shot"):
        planned = clips("A", "B", continuity=continuity, sound="on")
        assert {(clip.order.request.sound, clip.notes) for clip in planned} == {("on", ())}


def test_a_long_clip_is_continued_from_its_last_ten_seconds() -> None:
    """The API takes no more than ten; it is told before anything is paid."""
    planned = plan(
        film(scene({"duration": 15}, {"duration": 10}, "C", continuity="reference_video"))
    )
    assert planned.notes == [
        "1.2: continues from the last 10 of the 15 seconds before it: the API takes no more"
    ]


def test_settings_are_taken_from_the_nearest_place() -> None:
    """Shot over scene over film, field by field; an empty word or list counts as a word."""
    defaults = {
        "mode": "pro",
        "look": "grain",
        "characters": ["Lina"],
        "watermark": True,
        "duration": 4,
    }
    shots = [{"mode": "std", "look": "", "characters": [], "watermark": False}, {"duration": 6}]
    first, second = plan(
        film(scene(*shots, aspect_ratio="1:1", duration=7), defaults=defaults)
    ).clips
    assert body(first) == {"prompt": "P", "duration": "7", "aspect_ratio": "1:1"}
    request = second.order.request
    assert (request.mode, request.duration, request.aspect_ratio) == ("pro", 6, "1:1")
    assert request.prompt == "P\nLina, red coat, as in <<<image_1>>>\ngrain"
    assert request.watermark_info is not None


def test_keeping_the_original_sound_is_asked_for_where_a_video_goes_in() -> None:
    """It costs more there, and changes nothing elsewhere."""
    first, second = clips("A", "B", continuity="reference_video", keep_original_sound="yes")
    assert body(second)["video_list"] == video(tail(first), "feature", keep="yes")
    assert (first.price.usd, second.price.usd) == (Decimal("0.3165"), Decimal("0.4265"))
    assert first == clips("A")[0]


def test_an_edit_is_priced_by_what_goes_in() -> None:
    """Eight seconds in, eight seconds paid; at worst it is ten, with the dearest row."""
    first, edit = clips({"duration": 8}, {"duration": 3}, continuity="edit")
    assert (edit.input_seconds, edit.price.seconds, edit.price.usd) == (8, 8, Decimal("0.5064"))
    assert edit.at_most_usd == Decimal("0.853")
    (unknown,) = clips({"edit_of": "street", "duration": 3})
    assert (unknown.input_seconds, unknown.seconds, unknown.price.usd) == (
        None,
        10,
        Decimal("0.633"),
    )
    feature = clips({"duration": 8}, {"duration": 3}, continuity="reference_video")[1]
    assert (feature.input_seconds, feature.price.usd) == (None, Decimal("0.1899"))
    assert first.price.usd == first.at_most_usd == Decimal("0.5064")


def test_a_film_costs_each_clip_once() -> None:
    """Shots that are alike are one clip, in one scene or in two."""
    planned = plan(film(scene("A", "A", "B"), scene("A")))
    assert len(planned.clips) == 4
    assert sorted(clip.name for clip in planned.by_key.values()) == ["1.1", "1.3"]
    assert planned.usd == 2 * Decimal("0.3165")


def test_clips_are_named_by_their_place() -> None:
    """Scene, shot and title; several shots are named from the first to the last."""
    shots = [{"title": "The door opens"}, {"prompt": "B", "title": "  "}, "C"]
    planned = plan(
        film(scene(*shots, title="Ä"), scene(*shots, continuity="multi_shot"), scene("P"))
    )
    names = ["1.1 The door opens", "1.2", "1.3", "2.1-2.3 The door opens", "3.1"]
    assert [clip.name for clip in planned.clips] == names
    assert [each.name for each in planned.scenes] == ["scene 1 Ä", "scene 2", "scene 3"]
    assert planned.only(2).clips == planned.scenes[1].clips


def test_what_is_not_shown_still_serves_the_next_shot() -> None:
    """It is made and paid like any other, and the next one begins where it ends."""
    first, second = clips({"shown": False}, "B", continuity="last_frame")
    assert (first.shown, second.shown) == (False, True)
    assert second.needs == Handover(kind="sharpest_frame", clip_key=first.clip_key)
    shown = clips({}, "B", continuity="last_frame")
    assert [clip.clip_key for clip in shown] == [first.clip_key, second.clip_key]


@pytest.mark.parametrize(
    ("shots", "said", "fades"),
    [
        (["A", "B"], {}, [1, 1]),
        (["A", {"crossfade": 0}, {"crossfade": 2}], {}, [1, 0, 2]),
        (["A", "B", {"continuity": "cut"}], {"continuity": "last_frame"}, [1, 0, 1]),
        (["A", "B"], {"continuity": "reference_video"}, [1, 0]),
        (["A", "B"], {"continuity": "edit"}, [1, 0]),
        (["A", {"crossfade": 3}], {"continuity": "last_frame"}, [1, 0]),
        (["A", "B", {"continuity": "cut"}, "D"], {"continuity": "keyframes"}, [1, 0, 1, 1]),
        (["A", {"continuity": "last_frame"}, "C"], {"continuity": "keyframes"}, [1, 0, 1]),
        (["A", "B"], {"continuity": "multi_shot"}, [1]),
        ([{"shown": False}, "B", "C"], {"continuity": "last_frame"}, [1, 1, 0]),
    ],
    ids=str,
)
def test_a_crossfade_leads_only_into_what_begins_anew(
    shots: list[str | Said], said: Said, fades: list[float]
) -> None:
    """A shot that continues the picture before it is joined to it, unless that is not shown."""
    assert [clip.crossfade for clip in clips(*shots, crossfade=1, **said)] == fades


def test_shapes_that_differ_are_told_before_they_are_paid() -> None:
    """Only shots count that are seen and whose shape is not decided by their beginning."""
    (note,) = plan(film(scene("A", {"aspect_ratio": "9:16"}))).notes
    assert "16:9 std, 9:16 std" in note
    assert plan(film(scene("A", {"aspect_ratio": "9:16", "shown": False}))).notes == []
    assert plan(film(scene("A", {"aspect_ratio": "9:16"}, continuity="last_frame"))).notes == []
    assert plan(film(scene("A", {"aspect_ratio": "9:16", "edit_of": "street"}))).notes == []


def test_a_chain_that_changes_its_mode_is_told_before_it_is_paid() -> None:
    """A shot from a picture still has the size of its mode, and one film has one size."""
    (note,) = plan(film(scene("A", {"mode": "pro"}, continuity="last_frame"))).notes
    assert note == "shots differ in size (mode pro, std): all of the film is encoded anew"
    assert plan(film(scene("A", "B", continuity="last_frame", mode="pro"))).notes == []


def test_planning_twice_gives_the_same_plan() -> None:
    """So does a storyboard that went through JSON, as it does on its way to a worker."""
    for continuity in EVERY:
        board = Storyboard.model_validate(
            film(scene({"title": "A"}, "B", continuity=continuity, look="grain"))
        )
        again = Storyboard.model_validate(board.model_dump(mode="json"))
        assert plan_film(board) == plan_film(board) == plan_film(again)


# What is refused.


REFUSED: list[tuple[Said, str]] = [
    (
        scene({"duration": 15}, "B", continuity="edit"),
        "shot 2: an edit takes at most 10 seconds of video.*lasts 15",
    ),
    (
        scene("A", {"duration": 11}, continuity="reference_video"),
        r"shot 2: duration \(11\).*at most 10 seconds",
    ),
    (
        scene("A", "B", continuity="keyframes", keyframes=["key0"]),
        r"2 shots share 3 keyframes.*not 1",
    ),
    (
        scene("A", continuity="keyframes", keyframes=["key0"] * 3),
        r"1 shots share 2 keyframes.*not 3",
    ),
    (scene("A", continuity="keyframes", keyframes=[]), "1 shots share 2 keyframes.*not 0"),
    (
        scene("A", keyframes=["key0"]),
        "keyframes: they only have a meaning with continuity: keyframes, this is cut",
    ),
    (
        scene({"first_frame": "key3"}, continuity="keyframes"),
        "shot 1: first_frame: with keyframes the shot's beginn",
    ),
    (scene({"end_frame": "key3"}, continuity="keyframes"), "shot 1: end_frame: with keyframes"),
    (scene({"edit_of": "street"}, continuity="keyframes"), "shot 1: edit_of: with keyframes"),
    (
        scene("A", {"first_frame": "key0"}, continuity="last_frame"),
        "shot 2: first_frame: .*say continuity: cut",
    ),
    (scene("A", {"first_frame": "key0"}, continuity="edit"), "shot 2: first_frame: with edit"),
    (scene("A", {"end_frame": "key0"}, continuity="edit"), "shot 2: end_frame: with edit"),
    (
        scene("A", {"end_frame": "key0"}, continuity="reference_video"),
        "shot 2: end_frame: with reference_video",
    ),
    (
        scene("A", {"edit_of": "street"}, continuity="last_frame"),
        "shot 2: edit_of: with last_frame",
    ),
    (scene({"end_frame": "key0"}), "shot 1: end_frame: it needs a first_frame"),
    (
        scene({"edit_of": "street", "first_frame": "key0"}),
        "shot 1: edit_of: an edited video takes no first_frame",
    ),
    (scene({"continuity": "last_frame"}), "shot 1: continuity: last_frame needs a shot before it"),
    (
        scene({"continuity": "edit"}, "B", continuity="keyframes"),
        "shot 1: continuity: edit needs a shot before it",
    ),
    (
        scene("A", {"duration": 2}),
        r"shot 2: duration \(2\): a clip has at least 3 seconds.*multi_shot",
    ),
    (
        scene({"duration": 11, "model": "kling-video-o1"}),
        r"shot 1: duration \(11 with kling-video-o1\)",
    ),
    (
        scene("A", {"sound": "on"}, continuity="reference_video"),
        "shot 2: sound: Kling makes none for a shot",
    ),
    (
        scene("A", {"sound": "on"}, continuity="edit"),
        "shot 2: sound: Kling makes none for a shot",
    ),
    (
        scene({"sound": "on", "references": ["street"]}),
        "shot 1: sound: Kling makes none for a shot",
    ),
    (
        scene({"references": ["street", "alley"]}),
        "shot 1: 2 videos are referred to; a request takes one",
    ),
    (
        scene("A", "as <<<street>>>", continuity="edit"),
        "shot 2: a request takes one video, and this shot begins from",
    ),
    (scene({"edit_of": "street", "references": ["alley"]}), "shot 1: a request takes one video"),
    (
        scene({"references": [f"key{n}" for n in range(8)]}),
        r"shot 1: references \(8 images and elements, the limit",
    ),
    (
        scene("A", {"references": [f"key{n}" for n in range(7)]}, continuity="last_frame"),
        r"shot 2: .*\(8 images",
    ),
    (
        scene({"references": ["street", "boat", *(f"key{n}" for n in range(4))]}),
        r"shot 1: .*\(5 images.*here is 4",
    ),
    (scene("look at <<<video_1>>>"), "shot 1: prompt .*naming <<<video_1>>>"),
    (
        scene("A", "<<<image_1>>>", continuity="reference_video"),
        "shot 2: prompt .*naming <<<image_1>>>",
    ),
    (scene("<<<>>>"), "shot 1: prompt .*naming <<<>>>"),
    (scene("<<<kee1>>>"), r"shot 1: there is no reference called 'kee1'; did you mean 'key1'\?"),
    (
        scene({"first_frame": "kee1"}),
        r"shot 1: there is no reference called 'kee1'; did you mean 'key1'\?",
    ),
    (scene({"first_frame": ""}), "shot 1: there is no reference called ''"),
    (
        scene({"first_frame": "key0", "end_frame": "kee1"}),
        "shot 1: there is no reference called 'kee1'",
    ),
    (
        scene({"references": ["bot"]}),
        r"shot 1: there is no reference called 'bot'; did you mean 'boat'\?",
    ),
    (
        scene({"edit_of": "stret"}),
        r"shot 1: there is no reference called 'stret'; did you mean 'street'\?",
    ),
    (
        scene({"characters": ["Linda"]}),
        r"shot 1: there is no character called 'Linda'; did you mean 'Lina'\?",
    ),
    (
        scene("A", continuity="keyframes", keyframes=["key0", "kee1"]),
        "shot 1: there is no reference called 'kee1'",
    ),
    (scene("A", look="as in <<<kee1>>>"), "shot 1: there is no reference called 'kee1'"),
    (scene({"first_frame": "street"}), "shot 1: first_frame: 'street' is no picture"),
    (
        scene({"first_frame": "key0", "end_frame": "boat"}),
        "shot 1: end_frame: 'boat' is no picture",
    ),
    (scene({"edit_of": "key0"}), "shot 1: edit_of: 'key0' is no video"),
    (scene({"edit_of": "boat"}), "shot 1: edit_of: 'boat' is no video"),
    (scene({"first_frame": "https://"}), "shot 1: image_url: must be an http or https URL"),
    (scene({"prompt": " "}), "shot 1: prompt .*at least one of prompt"),
    (
        scene("A", "x" * 2499, look="yy"),
        "shot 2: with look and characters the prompt has 2502 characters; .* 2500",
    ),
    (
        scene("A", look="x" * 9000),
        "shot 1: with look and characters the prompt has 9002 characters",
    ),
    (
        scene("A", "x" * 2470, continuity="reference_video"),
        "shot 2: with look and characters the prompt has 25",
    ),
]
SEVERAL: list[tuple[list[str | Said], Said, str]] = [
    (["P"] * 7, {"duration": 1}, "a multi_shot scene has at most 6 shots, this one has 7"),
    (
        ["P"] * 4,
        {"duration": 4},
        "its shots last 16 seconds together; a multi_shot scene has 3 to 15",
    ),
    (
        ["P"] * 2,
        {"duration": 1},
        "its shots last 2 seconds together; a multi_shot scene has 3 to 15",
    ),
    (
        ["P", "Q"],
        {"look": "x" * 511},
        "shot 1: with look and characters the prompt has 513 characters; the limit here is 512",
    ),
    (
        ["P", "x" * 480],
        {"characters": ["Lina"]},
        "shot 2: with look and characters the prompt has 51[0-9] characters",
    ),
    (["P", "Q"], {"model": "kling-video-o1"}, "model: kling-video-o1 makes no multi_shot scenes"),
    (
        ["P", {"sound": "on"}],
        {},
        "shot 2: in a multi_shot scene sound can only be said for the whole scene",
    ),
    (
        ["P", {"mode": "pro", "shown": False}],
        {},
        "shot 2: in a multi_shot scene mode and shown can only be said",
    ),
    ([{"continuity": "cut"}, "Q"], {}, "shot 1: in a multi_shot scene continuity can only be said"),
    ([{"end_frame": "key0"}, "Q"], {}, "shot 1: in a multi_shot scene end_frame can only be said"),
    (
        ["P", {"first_frame": "key0"}],
        {},
        "shot 2: in a multi_shot scene first_frame can only be said",
    ),
    (["P", {"edit_of": "street"}], {}, "shot 2: in a multi_shot scene edit_of can only be said"),
    ([{"references": ["street"]}, "as <<<alley>>>"], {}, "2 videos are referred to"),
    (
        ["P"] * 3,
        {"duration": 4, "references": ["street"]},
        "duration .*a shot that is made from a video has at most 10 seconds",
    ),
    (["P", "<<<video_1>>>"], {}, ".*naming <<<video_1>>>"),
]
REFUSED += [
    (scene(*shots, continuity="multi_shot", **said), words) for shots, said, words in SEVERAL
]


@pytest.mark.parametrize(("one", "words"), REFUSED, ids=[words[:60] for _, words in REFUSED])
def test_what_cannot_be_made_is_refused_with_its_place(one: Said, words: str) -> None:
    """Every limit is told while nothing is paid, with the scene and the shot that break it."""
    with pytest.raises(StoryboardInvalid) as caught:
        plan(film(scene("A"), one))
    assert re.match(
        f"scene 2, {words}" if words.startswith("shot") else f"scene 2: {words}",
        caught.value.summary,
    )


def test_a_limit_itself_is_allowed() -> None:
    """Ten seconds are edited, six shots are one clip, seven things are shown."""
    clips({"duration": 10}, "B", continuity="edit")
    clips(*["P"] * 5, {"duration": 10}, continuity="multi_shot", duration=1)
    clips("x" * 500, "Q", continuity="multi_shot", look="y" * 11)
    clips({"references": [f"key{number}" for number in range(7)]})
    clips({"references": ["street", "boat", "key0", "key1", "key2"]})
    clips("x" * 2500)


@pytest.mark.parametrize("name", ["image_1", "video_1", "element_12"])
def test_a_reference_cannot_be_called_like_a_place(name: str) -> None:
    """`<<<image_1>>>` would mean two things; the reference is named, used or not."""
    document = film(scene("A"), references={name: {"image": f"{LINK}/a.png"}})
    with pytest.raises(
        StoryboardInvalid, match=rf"references, {name}: <<<{name}>>> already points at a place"
    ):
        plan(document)


def test_a_film_shows_something() -> None:
    """A film whose every shot only serves another cannot be seen."""
    with pytest.raises(StoryboardInvalid, match="scenes: no shot is shown"):
        plan(film(scene({"shown": False}), scene({"shown": False})))


def test_what_is_wrong_is_a_fact_with_its_place() -> None:
    """Whoever knows the lines of a file can add them; nobody has to take a sentence apart."""
    board = Storyboard.model_validate(
        film(scene("A"), scene("B", {"sound": "on", "edit_of": "street"}))
    )
    with pytest.raises(StoryboardInvalid) as caught:
        plan_film(board)
    (mistake,) = caught.value.mistakes
    assert (mistake.place, mistake.field) == (("scenes", 1, "shots", 1), "sound")
    assert mistake.broken.rule == "silent_with_video"


# What a key depends on.


def keys(document: Said) -> list[str]:
    """The keys of a film's clips in order."""
    return [clip.clip_key for clip in plan(document).clips]


def chain(continuity: str, **said: Any) -> Said:
    """Five shots of one kind behind a shot that has nothing to do with them."""
    return film(scene("Z"), scene(*"ABCDE", continuity=continuity, duration=3, **said))


def changed(document: Said, change: Callable[[Said], object]) -> list[int]:
    """Which clips have another key after a change, counted from 0."""
    before = keys(document)
    altered = Storyboard.model_validate(document).model_dump(mode="json", exclude_unset=True)
    change(altered)
    return [
        number
        for number, pair in enumerate(zip(before, keys(altered), strict=True))
        if pair[0] != pair[1]
    ]


def shot(document: Said, number: int) -> Said:
    """A shot of the second scene, counted from 1."""
    found: Said = document["scenes"][1]["shots"][number - 1]
    return found


@pytest.mark.parametrize(
    ("continuity", "expected"),
    [
        ("cut", [3]),
        ("keyframes", [3]),
        ("last_frame", [3, 4, 5]),
        ("reference_video", [3, 4, 5]),
        ("edit", [3, 4, 5]),
        ("multi_shot", [1]),
    ],
)
def test_a_changed_shot_is_made_anew_with_what_follows_from_it(
    continuity: str, expected: list[int]
) -> None:
    """Its prompt, its look, or a higher take: only clips that come out anew have a new key."""
    for field, value in (("prompt", "X"), ("look", "X"), ("take", 2), ("references", ["boat"])):
        assert (
            changed(
                chain(continuity), lambda board, f=field, v=value: shot(board, 3).update({f: v})
            )
            == expected
        )


def test_a_changed_keyframe_concerns_its_two_neighbours() -> None:
    """The shot that ends with it and the one that begins with it."""

    def swap(number: int) -> Callable[[Said], object]:
        return lambda board: board["references"][f"key{number}"].update(image=f"{LINK}/new.png")

    assert changed(chain("keyframes"), swap(2)) == [2, 3]
    assert changed(chain("keyframes"), swap(0)) == [1]
    assert changed(chain("keyframes"), swap(5)) == [5]
    assert changed(chain("keyframes"), swap(7)) == []


def rename(document: Said, old: str, new: str) -> None:
    """Call a reference by another name wherever it is named."""
    text = json.dumps(document, ensure_ascii=False)
    renamed = json.loads(
        text.replace(f'"{old}"', f'"{new}"').replace(f"<<<{old}>>>", f"<<<{new}>>>")
    )
    document.update(renamed, references=dict(reversed(renamed["references"].items())))
    assert new in document["references"]


@pytest.mark.parametrize("continuity", EVERY)
def test_names_and_titles_are_no_part_of_a_key(continuity: str) -> None:
    """Nothing is paid again for a new title, a moved scene, or another way of joining."""
    document = chain(continuity, characters=["Lina"], references=["key3"], look="as <<<key4>>>")
    assert changed(document, lambda board: rename(board, "key3", "third")) == []
    assert changed(document, lambda board: rename(board, "key4", "夜")) == []
    assert changed(document, lambda board: rename(board, "key8", "zz")) == []
    assert changed(document, lambda board: board["scenes"][1].update(title="Two")) == []
    assert changed(document, lambda board: shot(board, 1).update(title="One")) == []
    assert changed(document, lambda board: board.update(title="Film")) == []
    assert changed(document, lambda board: board["scenes"][1].update(crossfade=2)) == []
    if continuity != "multi_shot":
        assert changed(document, lambda board: shot(board, 2).update(shown=False)) == []
    before, moved = keys(document), keys(document | {"scenes": document["scenes"][::-1]})
    assert sorted(before) == sorted(moved)
    assert before != moved


@pytest.mark.parametrize("continuity", EVERY)
def test_what_all_shots_share_changes_all_shots_it_appears_in(continuity: str) -> None:
    """The look of a scene, the description of a character, a reference's picture."""
    document = chain(continuity, characters=["Lina"])
    scene_of_five = list(range(1, len(keys(document))))
    assert changed(document, lambda board: board["scenes"][1].update(look="grain")) == scene_of_five
    assert (
        changed(document, lambda board: board["characters"]["Lina"].update(description="L"))
        == scene_of_five
    )
    new = {"image": f"{LINK}/new.png"}
    assert changed(document, lambda board: board["references"].update(key8=new)) == scene_of_five
    assert changed(document, lambda board: board["characters"]["Jon"].update(description="J")) == []
    assert changed(document, lambda board: board.update(defaults={"look": "fog"})) == [
        0,
        *scene_of_five,
    ]


def test_a_character_in_one_shot_changes_that_shot_and_what_follows() -> None:
    """Shots that do not show it keep their keys, unless they continue one that does."""
    for continuity, expected in (("cut", [3]), ("last_frame", [3, 4, 5])):
        document = chain(continuity)
        shot(document, 3)["characters"] = ["Lina"]
        assert (
            changed(document, lambda board: board["characters"]["Lina"].update(description="L"))
            == expected
        )


@pytest.mark.parametrize("continuity", CHAINED)
def test_a_cut_ends_a_chain(continuity: str) -> None:
    """What is changed before a cut does not reach what comes after it."""
    document = chain(continuity)
    shot(document, 4)["continuity"] = "cut"
    assert changed(document, lambda board: shot(board, 2).update(prompt="X")) == [2, 3]


def test_the_way_of_handing_over_changes_what_follows() -> None:
    """The sharpest and the last picture differ, so all but the chain's head are other clips."""
    assert changed(
        chain("last_frame"), lambda board: board["scenes"][1].update(handover="last")
    ) == [2, 3, 4, 5]


def test_equal_shots_are_one_clip_unless_they_continue_something() -> None:
    """In a chain the same words are said about another picture each time."""
    assert len(set(keys(film(scene(*"AAAA"))))) == 1
    for continuity in CHAINED:
        assert len(set(keys(film(scene(*"AAAA", continuity=continuity))))) == 4
    assert len(set(keys(film(scene("A", {"prompt": "A", "take": 2}))))) == 2


# Who goes first.


def priorities(*shots: str | Said, **said: Any) -> list[float]:
    """The priority of each shot of a scene, in order."""
    (planned,) = plan(film(scene(*shots, **said))).scenes
    return [planned.priorities[clip.clip_key] for clip in planned.clips]


def lasting(*lengths: int) -> Iterable[Said]:
    """Shots of these lengths that are all different."""
    return (
        {"prompt": f"shot {number}", "duration": length} for number, length in enumerate(lengths)
    )


def test_urgent_is_who_has_the_longest_chain_behind_it() -> None:
    """Its own seconds and those of all that wait for it; without a chain only its own."""
    assert priorities(*lasting(5, 3, 4), continuity="last_frame") == [12, 7, 4]
    assert priorities(*lasting(5, 3, 4), continuity="reference_video") == [12, 7, 4]
    assert priorities(*lasting(5, 3, 4), continuity="edit") == [15, 10, 5]
    assert priorities(*lasting(5, 3, 4)) == [5, 3, 4]
    assert priorities(*lasting(5, 3, 4), continuity="keyframes") == [5, 3, 4]
    assert priorities(*lasting(5, 3, 4), continuity="multi_shot") == [12]


def test_a_cut_begins_a_new_chain() -> None:
    """Two chains in one scene count by themselves, and so does a shot that is not shown."""
    first, second, third, fourth, fifth = lasting(5, 3, 4, 6, 7)
    cut = third | {"continuity": "cut"}
    shots = [first | {"shown": False}, second, cut, fourth, fifth]
    assert priorities(*shots, continuity="last_frame") == [8, 3, 17, 13, 7]


def test_a_clip_that_two_chains_begin_with_counts_the_longer_one() -> None:
    """The same opening shot twice is one clip, and everything after either of them waits for it."""
    opening: Said = {"prompt": "A", "duration": 5, "continuity": "cut"}
    shots = [opening, "B", {"prompt": "C", "duration": 9}, opening, {"prompt": "D", "duration": 15}]
    assert priorities(*shots, continuity="last_frame") == [20, 14, 9, 20, 15]
    assert priorities(*shots[3:], *shots[:3], continuity="last_frame") == [20, 15, 20, 14, 9]
    assert priorities(*shots[:3], *shots[:2], continuity="last_frame") == [19, 14, 9, 19, 14]


def test_names_for_runs_and_logs_hold_nothing_that_cannot_be_shown() -> None:
    """No control codes, no NUL, which PostgreSQL refuses, no marks that turn text around."""
    title = "a\x00\x1b[2J\u202eb"
    board = Storyboard.model_validate(
        {"title": title, "scenes": [{"title": title, "shots": [{"title": title, "prompt": title}]}]}
    )
    plan = plan_film(board)
    shown = "a\ufffd\ufffd[2J\ufffdb"
    assert (board.name, plan.name) == (shown, shown)
    assert plan.scenes[0].name == f"scene 1 {shown}"
    assert plan.clips[0].name == f"1.1 {shown}"
    assert plan.clips[0].order.request.headline == shown
    assert plan.clips[0].order.request.prompt == title
