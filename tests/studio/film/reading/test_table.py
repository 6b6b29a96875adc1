"""Many requests from one text: tables with a header, lists, and lines of JSON."""

import json

import pytest

from prefect_kling.kling.request import ImageInput, VideoRequest
from prefect_kling.studio.errors import TableInvalid
from prefect_kling.studio.film.reading.table import read_requests

MUG = VideoRequest(model="kling-v3-omni", prompt="A mug, red", duration=3, sound="on")
JUG = VideoRequest(model="kling-video-o1", prompt="A jug")


@pytest.mark.parametrize(
    "text",
    [
        'prompt,duration,sound,model\n"A mug, red",3,on,\nA jug,,,kling-video-o1\n',
        "\ufeffprompt;model;duration;sound\r\nA mug, red;;3;on\r\n\r\nA jug;kling-video-o1;;\r\n",
        "prompt\tduration\tsound\tmodel\nA mug, red\t3\ton\nA jug\t\t\tkling-video-o1",
        (
            'prompt,        duration, sound, model\n"A mug, red",  3,        on,\n'
            "A jug,,,kling-video-o1\n"
        ),
        (
            'sep=;\nprompt;duration;sound;model;;\n"A mug, red";3;on;;;\n;;;;;\n'
            "A jug;;;kling-video-o1;;\n"
        ),
        (
            "- {prompt: 'A mug, red', duration: 3, sound: on}\n"
            "- {prompt: A jug, model: kling-video-o1}\n"
        ),
        json.dumps(
            [{"prompt": "A mug, red", "duration": "3", "sound": "on"}, JUG.model_dump(mode="json")]
        ),
        f"{MUG.model_dump_json()}\n\n{JUG.model_dump_json()}\n",
    ],
    ids=["commas", "semicolons", "tabs", "aligned", "Excel", "YAML", "JSON", "JSON Lines"],
)
def test_the_same_requests_however_they_are_written(text: str) -> None:
    """In order; what is not said is the request's own default, and the model Kling V3 Omni."""
    assert read_requests(text) == [MUG, JUG]


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("sound", "TRUE", "on"),
        ("sound", "Yes", "on"),
        ("sound", "OFF", "off"),
        ("aspect_ratio", "16:09:00", "16:9"),
        ("aspect_ratio", "09:16:00", "9:16"),
        ("aspect_ratio", "1:01", "1:1"),
    ],
)
def test_what_a_spreadsheet_made_of_a_cell_is_read(column: str, cell: str, value: str) -> None:
    """Truth values and times of day stand for what somebody typed."""
    (request,) = read_requests(f"prompt,{column}\nA lamp,{cell}\n")
    assert getattr(request, column) == value


def test_frames_are_columns_with_links() -> None:
    """A picture to begin with and one to end with, where the cells are filled."""
    text = (
        "prompt,first_frame,end_frame\nA,https://a.example/1.png,https://a.example/2.png\n"
        "B,https://a.example/1.png,\n"
    )
    first = ImageInput(image_url="https://a.example/1.png", type="first_frame")
    last = ImageInput(image_url="https://a.example/2.png", type="end_frame")
    assert [request.image_list for request in read_requests(text)] == [[first, last], [first]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mugs.csv: there is no request in it"),
        ("prompt,duration\n", "mugs.csv: there is no request in it"),
        (
            "promt,duration\nA,3\n",
            "mugs.csv, line 1: there is no column 'promt'; did you mean 'prompt'?",
        ),
        (
            "lamp,colour\nA,3\n",
            "mugs.csv, line 1: there is no column 'lamp'; there are prompt, model",
        ),
        (
            "prompt,duration\nA,3\nB,99\n",
            (
                "mugs.csv, line 3: duration (99 with kling-v3-omni): "
                "kling-v3-omni makes 3 to 15 seconds"
            ),
        ),
        ("prompt,duration\nA mug, red,3\n", "mugs.csv, line 2: more cells than the header"),
        ("prompt,duration\n\nA,3\nB, red,3\n", "mugs.csv, line 4: more cells than the header"),
        ("prompt,prompt\nA,B\n", "mugs.csv, line 1: the column 'prompt' is there twice"),
        (
            'prompt,duration\nA,3\n"A mug,3\nA jug,5\n',
            "mugs.csv, line 3: a quote is opened here and never closed",
        ),
        (
            'prompt,duration\n"A mug" in red,3\n',
            "mugs.csv, line 2: a text goes on after its closing quote",
        ),
        ('prompt,duration\n"A mug,3\n"A jug",5\n', "mugs.csv, line 2: a text goes on after"),
        (
            "prompt\n" + "x" * 2501,
            (
                "mugs.csv, line 2: prompt (2501 characters): a prompt of kling-v3-omni has at most "
                "2500 characters"
            ),
        ),
        (
            "prompt,first_frame\nA,mug.jpg\n",
            "mugs.csv, line 2: 'mug.jpg' is no link, and pictures are given as links",
        ),
        ('{"prompt": "A"}\n{"prompt": ', "mugs.csv, line 2: this is no JSON"),
        ("- A mug\n", "mugs.csv, line 1: request 1: this is no request"),
        ("[{prompt: A mug}", "mugs.csv, line 1: a bracket is opened and never closed"),
        (
            "- prompt: A mug\n---\n- prompt: A jug\n",
            "mugs.csv, line 2: a line `---` begins a second document here; only one can be read",
        ),
        ("- prompt: A mug\n\tduration: 3\n", "mugs.csv, line 2: this line is indented with a tab"),
        (
            "- {prompt: A}\n- {prompt: B, durations: 3}\n",
            "mugs.csv, line 2: request 2: there is no field 'durations'; did you mean 'duration'?",
        ),
        ("prompt,duration\nA,1\n" * 1 + "B,2\n" * 30, "\nand 11 more, in lines 22 to 32"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, words: str) -> None:
    """All of them at once, as far as somebody would read on."""
    with pytest.raises(TableInvalid) as caught:
        read_requests(text, "mugs.csv")
    assert words in caught.value.message
    assert "storyboard" not in str(caught.value)
