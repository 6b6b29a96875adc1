"""What columns of a table mean: each field of a request has one, the rest are the user's."""

import json

import pytest

from prefect_kling.kling.parameters import RequestParameters
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.batch.frozen import FrozenRow
from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.reading.columns import COLUMNS, near_column, own_columns
from prefect_kling.studio.film.reading.table import TableRow, read_rows, require_right

PICTURE = "https://a.example/1.png"
VIDEO = "https://a.example/1.mp4"


def row_of(**cells: object) -> TableRow:
    """The only row of a table with these columns, as JSON Lines."""
    (row,) = read_rows(json.dumps(cells))
    return row


def row_of_csv(**cells: str) -> TableRow:
    """The only row of a CSV table with these columns."""
    quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells.values()]
    (row,) = read_rows(f"{','.join(cells)}\n{','.join(quoted)}\n")
    return row


@pytest.mark.parametrize(
    ("cells", "fields"),
    [
        (
            {"mode": "pro", "duration": "7", "sound": "on"},
            {"mode": "pro", "duration": 7, "sound": "on"},
        ),
        (
            {"references": f"{PICTURE} {PICTURE}?2", "first_frame": f"{PICTURE}?1"},
            {
                "image_list": [
                    {"image_url": f"{PICTURE}?1", "type": "first_frame"},
                    {"image_url": PICTURE},
                    {"image_url": f"{PICTURE}?2"},
                ]
            },
        ),
        ({"elements": "12, 13"}, {"element_list": [{"element_id": 12}, {"element_id": 13}]}),
        (
            {"continue_video": VIDEO, "keep_original_sound": "yes"},
            {
                "video_list": [
                    {"video_url": VIDEO, "refer_type": "feature", "keep_original_sound": "yes"}
                ]
            },
        ),
        ({"edit_video": VIDEO}, {"video_list": [{"video_url": VIDEO, "refer_type": "base"}]}),
        ({"watermark": "TRUE"}, {"watermark_info": {"enabled": True}}),
        ({"callback_url": "https://a.example/cb"}, {"callback_url": "https://a.example/cb"}),
        ({"extra": '{"seed": 7}'}, {"extra": {"seed": 7}}),
        (
            {"image_list": json.dumps([{"image_url": PICTURE}]), "references": f"{PICTURE}?2"},
            {"image_list": [{"image_url": PICTURE}, {"image_url": f"{PICTURE}?2"}]},
        ),
        (
            {
                "multi_shot": "true",
                "shot_type": "customize",
                "duration": "5",
                "multi_prompt": '[{"prompt": "A", "duration": 2}, {"prompt": "B", "duration": 3}]',
            },
            {
                "multi_shot": True,
                "shot_type": "customize",
                "duration": 5,
                "multi_prompt": [{"prompt": "A", "duration": 2}, {"prompt": "B", "duration": 3}],
            },
        ),
    ],
    ids=lambda value: next(iter(value)),
)
def test_every_column_reaches_the_request(cells: dict[str, str], fields: dict[str, object]) -> None:
    """Written as cells of a spreadsheet; the request is the one that a program would make."""
    row = row_of_csv(prompt="A lamp", **cells)
    assert row.mistakes == ()
    assert row.order is not None
    expected = {"model": "kling-v3-omni", "prompt": "A lamp", **fields}
    assert row.order.request == VideoRequest.model_validate(expected)


def test_each_field_of_a_request_has_a_column() -> None:
    """A parameter that the page gets later is not forgotten here."""
    assert set(RequestParameters.model_fields) <= set(COLUMNS)


def test_lists_hold_the_same_as_cells() -> None:
    """Programs write lists and numbers where people write texts."""
    listed = row_of(prompt="A", references=[PICTURE, f"{PICTURE}?2"], elements=[1, 2], take=2)
    typed = row_of_csv(prompt="A", references=f"{PICTURE} {PICTURE}?2", elements="1 2", take="2")
    assert listed.order == typed.order
    assert listed.order is not None
    assert listed.order.take == 2


@pytest.mark.parametrize("read", [row_of, row_of_csv])
def test_columns_of_the_users_own_are_carried(read: object) -> None:
    """Whatever they are called, as long as no column was meant."""
    own = {"id": "007", "sku": "M-1", "note": "mode of transport", "x_duration": "soon", "Ort": "ü"}
    row = read(prompt="A lamp", **own)  # type: ignore[operator]  # both take columns
    assert own_columns(row.given) == own
    assert row.mistakes == ()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Prompt", "prompt"),
        ("promt", "prompt"),
        ("Aspect Ratio", "aspect_ratio"),
        ("aspect-ratio", "aspect_ratio"),
        ("durations", "duration"),
        ("seconds", "duration"),
        ("start_frame", "first_frame"),
        ("image", "first_frame"),
        ("Take", "take"),
        ("reference", "references"),
    ],
)
def test_a_near_miss_is_asked_about(name: str, meant: str) -> None:
    """Carried silently, it would set nothing, and the clip would be paid all the same."""
    with pytest.raises(TableInvalid, match=f"did you mean '{meant}'.*'x_{name}'"):
        list(read_rows(f"prompt,{name}\nA lamp,1\n"))
    row = row_of(prompt="A lamp", **{name: 1})
    assert [mistake.rule for mistake in row.mistakes] == ["near_column"]
    assert row.order is None


@pytest.mark.parametrize("name", ["id", "title", "node", "code", "product", "campaign", "x_promt"])
def test_what_is_near_to_nothing_is_the_users(name: str) -> None:
    """A table of a shop has many columns, and none of them is refused."""
    assert near_column(name) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompt,take\nA,0\n", "line 2: take: '0' is too little; the least is 1"),
        ("prompt,take\nA,two\n", "line 2: take: a whole number belongs here"),
        ("prompt,extra\nA,{\n", "line 2: extra: this is no JSON"),
        ("prompt,elements\nA,one\n", "line 2"),
        ("prompt,,id\nA,,1\n", "line 1: a column has no name"),
        ('{"prompt": "A", "references": 7}', "line 1"),
        ("prompt," + ",".join(f"c{n}" for n in range(600)) + "\nA\n", "601 columns"),
    ],
)
def test_a_wrong_value_of_a_column_is_told_with_its_line(text: str, words: str) -> None:
    """As that of any field."""
    with pytest.raises(TableInvalid) as caught:
        require_right(read_rows(text))
    assert words in caught.value.message


def test_columns_that_begin_with_tag_say_who_pays() -> None:
    """They change no order, and stand in the results like columns of the user's own."""
    row = row_of_csv(prompt="A lamp", **{"tag.project": "spring", "tag.client": ""})
    assert row.order == row_of_csv(prompt="A lamp").order
    assert own_columns(row.given) == {"tag.project": "spring"}
    assert FrozenRow(number=1, given=row.given).tags == {"project": "spring"}


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"tag.project": "x" * 61}, "tag.project: this has 61 characters; the most is 60"),
        ({"tag.paid by": "Acme"}, "tag.paid by: the name of a tag .* write 'paid-by'"),
        ({"tag.year": 2026}, "tag.year: a text belongs here; put 2026 in quotes"),
        ({f"tag.t{n}": "x" for n in range(9)}, "tags: these are 9 tags; the most is 8"),
    ],
    ids=str,
)
def test_a_tag_that_cannot_be_one_is_refused_with_its_line(
    cells: dict[str, object], told: str
) -> None:
    """Before anything is paid; a table that an earlier version has frozen is made all the same."""
    with pytest.raises(TableInvalid, match=f"line 1: {told}"):
        require_right([row_of(prompt="A lamp", **cells)])
    stored = FrozenRow(number=1, given={"prompt": "A lamp", **cells})
    assert set(stored.tags) <= {f"t{n}" for n in range(8)}
