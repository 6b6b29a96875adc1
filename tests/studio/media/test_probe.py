"""The box walk: what it says of whole files, and that it refuses all others."""

import functools
import io
import random
import struct
from fractions import Fraction

import av
import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.probe import MediaFacts, read_facts
from tests.studio.media.clips import Recipe, Watched, boxes, make_clip, patch, rewrite

SHAPES = {
    "plain": Recipe(),
    "sound longer": Recipe(sound=1.5),
    "sound shorter": Recipe(sound=0.4),
    "moov first": Recipe(sound=1.0, movflags="faststart"),
    "mov": Recipe(sound=1.0, format="mov"),
    "fragmented": Recipe(frames=50, sound=1.5, movflags="frag_keyframe+empty_moov"),
    "fragmented, base is moof": Recipe(
        frames=50, movflags="frag_keyframe+empty_moov+default_base_moof"
    ),
    "fragmented, first part in moov": Recipe(frames=50, movflags="frag_keyframe"),
    "fragmented, indexed": Recipe(frames=50, sound=1.0, movflags="dash+global_sidx"),
    "starts late": Recipe(start=240),
    "one picture": Recipe(frames=1),
    "odd length": Recipe(frames=121, gop=60),
    "29.97": Recipe(frames=30, rate=Fraction(30000, 1001)),
    "variable rate": Recipe(
        time_base=Fraction(1, 1000), ticks=[n * 41 + n % 3 * 7 for n in range(24)]
    ),
    "HEVC": Recipe(codec="libx265", x264={"preset": "ultrafast", "x265-params": "log-level=none"}),
}
FRAGMENTED = [name for name in SHAPES if name.startswith("fragmented")]
CONTAINERS = {"moov", "trak", "mdia", "minf", "stbl", "edts", "mvex", "moof", "traf", "dinf"}


@functools.cache
def clip(name: str) -> bytes:
    """Make a clip of one shape, once."""
    return make_clip(SHAPES[name])


def facts_of(data: bytes) -> MediaFacts:
    """Read the facts of bytes."""
    return read_facts(io.BytesIO(data))


def reason(data: bytes) -> str:
    """Say why bytes are refused; the test fails if they are not."""
    with pytest.raises(NotAVideo) as caught:
        facts_of(data)
    return caught.value.message


def all_boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[str, int, int]]:
    """List the boxes at the top and inside the usual containers."""
    found = []
    for kind, first, last in boxes(data, start, end):
        found.append((kind, first, last))
        if kind in CONTAINERS:
            found += all_boxes(data, first + 8, last)
    return found


def still_true(cut: bytes, whole: MediaFacts) -> bool:
    """Whether a cut file is refused, or only lost what is no part of the film."""
    try:
        return facts_of(cut).model_dump(exclude={"bytes"}) == whole.model_dump(exclude={"bytes"})
    except NotAVideo:
        return True


@pytest.mark.parametrize("name", SHAPES)
def test_facts_are_what_a_decoder_finds(name: str) -> None:
    """Seconds, size, rate, pictures, codec and sound are those of PyAV's packets."""
    with av.open(io.BytesIO(clip(name))) as film:
        video = film.streams.video[0]
        packets = [packet for packet in film.demux(video) if packet.pts is not None]
        seconds = float(sum(packet.duration for packet in packets) * video.time_base)
        expected = {
            "seconds": pytest.approx(seconds),
            "width": video.width,
            "height": video.height,
            "fps": pytest.approx(len(packets) / seconds),
            "frames": len(packets),
            "codec": video.codec_context.codec_tag,
            "audio": bool(film.streams.audio),
            "bytes": len(clip(name)),
        }
    assert facts_of(clip(name)).model_dump() == expected


def test_facts_survive_json() -> None:
    """Facts can be stored in a record and read back."""
    facts = facts_of(clip("sound longer"))
    assert MediaFacts.model_validate_json(facts.model_dump_json()) == facts


def test_the_reading_position_stays() -> None:
    """A caller may be in the middle of a file, and may ask twice."""
    file = io.BytesIO(clip("plain"))
    file.seek(77)
    assert read_facts(file) == read_facts(file)
    assert file.tell() == 77


@pytest.mark.parametrize(
    ("path", "gap"), [("moov/mvhd", 0), ("moov/trak/tkhd", 4), ("moov/trak/mdia/mdhd", 0)]
)
def test_headers_with_long_dates_are_read(path: str, gap: int) -> None:
    """Version 1 of the dated header boxes gives the same facts as version 0."""

    def lengthen(header: bytes) -> bytes:
        created, changed, number = struct.unpack(">4xIII", header[:16])
        dates = b"\1" + header[1:4] + struct.pack(">QQI", created, changed, number)
        return dates + header[16 : 16 + gap] + bytes(4) + header[16 + gap :]

    longer = rewrite(clip("plain"), path, lengthen)
    assert facts_of(longer) == facts_of(clip("plain")).model_copy(
        update={"bytes": len(clip("plain")) + 12}
    )


def test_long_chunk_offsets_are_read() -> None:
    """A table of 64-bit offsets gives the same facts, and is checked like the short one."""
    table = "moov/trak/mdia/minf/stbl/stco"

    def widen(stco: bytes) -> bytes:
        numbers = struct.unpack(f">{len(stco) // 4}I", stco)
        return struct.pack(">II", *numbers[:2]) + struct.pack(f">{len(numbers) - 2}Q", *numbers[2:])

    longer = rewrite(clip("plain"), table, widen, renamed="co64")
    assert facts_of(longer) == facts_of(clip("plain")).model_copy(update={"bytes": len(longer)})
    assert "missing" in reason(
        patch(longer, table.replace("stco", "co64"), 8, struct.pack(">Q", 1 << 40))
    )


def test_a_box_may_have_a_long_size() -> None:
    """A 64-bit box size is followed, and a 64-bit box that is cut is refused."""
    data = clip("plain")
    (_, free, _), (_, media, end) = boxes(data)[1:3]
    longer = data[:free] + struct.pack(">I4sQ", 1, b"mdat", end - free) + data[media + 8 :]
    assert facts_of(longer) == facts_of(data)
    assert "ends inside the box mdat" in reason(longer[: end - 5])


def test_a_box_may_reach_to_the_end_of_the_file() -> None:
    """A last box of size 0 is the rest of the file; the tables show if media is missing."""
    data = clip("moov first")
    kind, start, _ = boxes(data)[-1]
    assert kind == "mdat"
    endless = data[:start] + bytes(4) + data[start + 4 :]
    assert facts_of(endless) == facts_of(data)
    assert "1 bytes of pictures or sound are missing" in reason(endless[:-1])
    assert all("missing" in reason(endless[:cut]) for cut in range(start + 8, len(data), 997))


def test_an_edit_list_that_hides_pictures_shortens_the_film() -> None:
    """What a trimmed clip plays is told; the rounding of an edit list is no trim."""
    (scale,) = struct.unpack(">I", clip("plain")[clip("plain").index(b"mvhd") + 16 :][:4])
    trimmed = patch(clip("plain"), "moov/trak/edts/elst", 8, struct.pack(">I", scale // 2))
    rounded = patch(clip("plain"), "moov/trak/edts/elst", 8, struct.pack(">I", scale - 1))
    assert (facts_of(trimmed).seconds, facts_of(rounded).seconds) == (0.5, 1.0)


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in FRAGMENTED])
def test_a_cut_at_any_border_of_a_box_is_refused(name: str) -> None:
    """Cut at or one byte beside each border of a box, a file is refused or the same."""
    data, whole = clip(name), facts_of(clip(name))
    borders = {
        place + step for _, *both in all_boxes(data) for place in both for step in (-1, 0, 1)
    }
    wrong = [
        cut for cut in sorted(borders) if 0 <= cut < len(data) and not still_true(data[:cut], whole)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", SHAPES)
def test_a_cut_at_any_place_is_refused(name: str) -> None:
    """Cut anywhere, also inside the boxes of fragments, a file is refused or the same."""
    data, whole, dice = clip(name), facts_of(clip(name)), random.Random(name)
    borders = {place for _, *both in boxes(data) for place in both}
    cuts = {dice.randrange(len(data)) for _ in range(200)} - borders
    assert [cut for cut in sorted(cuts) if not still_true(data[:cut], whole)] == []


@pytest.mark.parametrize("name", FRAGMENTED)
def test_a_fragmented_file_cut_between_fragments_is_a_shorter_file(name: str) -> None:
    """The one cut that cannot be seen gives the facts of what is left, never more."""
    data = clip(name)
    for cut in [start for kind, start, _ in boxes(data) if kind in ("moof", "mfra")]:
        try:
            facts = facts_of(data[:cut])
        except NotAVideo:
            continue
        with av.open(io.BytesIO(data[:cut])) as film:
            assert facts.frames == sum(1 for _ in film.decode(video=0))


def test_a_cut_file_is_explained() -> None:
    """The message says in which box the file ends and how much is missing."""
    data = clip("plain")
    _, start, end = next(box for box in boxes(data) if box[0] == "mdat")
    assert (
        reason(data[: end - 1234])
        == "the file is cut: it ends inside the box mdat, 1,234 bytes short"
    )
    assert reason(data[:end]) == "the file has no movie header: it is cut, or it is no video"
    assert "no part of an MP4" in reason(data[: start + 3])


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (
            b"\n<!DOCTYPE html><html><body>Not found</body></html>",
            "this is an HTML page, not a video",
        ),
        (b"<HTML>", "this is an HTML page, not a video"),
        (
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
            "this is an XML document, not a video",
        ),
        (b'{"code": 404}', "this is a JSON document, not a video"),
        (b"\x1aE\xdf\xa3" + bytes(40), "this is a WebM file, not a video"),
        (b"\x89PNG\r\n\x1a\n", "this is a PNG picture, not a video"),
        (bytes(5000), "this is empty space, not a video"),
        (
            b"#EXTM3U\nfile:///etc/passwd",
            "this does not start like an MP4 video: there is no ftyp box",
        ),
        (b"abc", "this does not start like an MP4 video: there is no ftyp box"),
        (b"", "the file is empty"),
    ],
)
def test_other_files_are_called_by_their_kind(start: bytes, kind: str) -> None:
    """What is no video at all is named, so that a person knows where to look."""
    assert reason(start) == kind


def test_of_a_page_only_the_code_of_a_store_is_told() -> None:
    """A link may lead to a page of somebody else, and what it says is none of our business."""
    for head in (b"", b'<?xml version="1.0" encoding="UTF-8"?>\n'):
        with pytest.raises(NotAVideo) as caught:
            facts_of(
                head + b"<Error><Code>AccessDenied</Code><Key>secret</Key></Error>" + b" " * 5000
            )
        assert "AccessDenied" in str(caught.value)
        assert "secret" not in str(caught.value)
    for page in (b'{"SecretAccessKey": "secret"}', b"<html>secret</html>", b"<a>secret</a>"):
        with pytest.raises(NotAVideo) as caught:
            facts_of(page + b" " * 5000)
        assert "secret" not in str(caught.value)


def test_a_file_of_another_length_than_promised_is_refused() -> None:
    """The length the sender announced is part of the proof."""
    data = clip("plain")
    assert read_facts(io.BytesIO(data), len(data)) == facts_of(data)
    with pytest.raises(NotAVideo, match="promised"):
        read_facts(io.BytesIO(data), len(data) + 1)


def test_sound_alone_is_no_video() -> None:
    """A file without pictures is refused, and so is one without media."""
    data = clip("sound longer")
    no_pictures = rewrite(data, "moov/trak/mdia/hdlr", lambda old: old.replace(b"vide", b"text"))
    no_media = data.replace(b"mdat", b"skip", 1)
    assert reason(no_pictures) == "the file holds no pictures"
    assert reason(no_media) == "the file has no media data: it is cut, or it is no video"


@pytest.mark.parametrize("table", ["stts", "stsz", "stco", "stsc"])
@pytest.mark.parametrize("count", [0xFFFFFFFF, 0x7FFFFFFF, 1 << 20])
def test_a_false_number_of_entries_is_refused(table: str, count: int) -> None:
    """A table that claims more than it holds is refused before anything is made of it."""
    data = patch(
        clip("plain"),
        f"moov/trak/mdia/minf/stbl/{table}",
        8 if table == "stsz" else 4,
        struct.pack(">I", count),
    )
    assert "damaged" in reason(data)


def test_samples_of_one_false_size_are_refused() -> None:
    """Four billion samples of a byte each have no place, whatever the table's first word says."""
    table = "moov/trak/mdia/minf/stbl/stsz"
    assert "damaged" in reason(patch(clip("plain"), table, 4, struct.pack(">II", 1, 0xFFFFFFFF)))
    assert "missing" in reason(patch(clip("plain"), table, 4, struct.pack(">I", 1 << 30)))


def test_a_false_run_of_a_fragment_is_refused() -> None:
    """A fragment that claims samples or media that are not there is refused."""
    data = clip("fragmented, base is moof")
    assert "damaged" in reason(patch(data, "moof/traf/trun", 4, struct.pack(">I", 0xFFFFFFFF)))
    assert "missing" in reason(patch(data, "moof/traf/trun", 8, struct.pack(">i", 1 << 30)))


@pytest.mark.parametrize("size", [2, 7, 15])
def test_a_box_smaller_than_its_own_header_is_refused(size: int) -> None:
    """Such a box would make a careless reader walk on the spot for ever."""
    head = (
        struct.pack(">I4s", size, b"free") if size < 8 else struct.pack(">I4sQ", 1, b"free", size)
    )
    assert facts_of(clip("plain") + head + bytes(40)).frames == 24
    assert "no part of an MP4" in reason(head.join([clip("plain")[:40], bytes(40)]))


def test_hostile_headers_cost_little() -> None:
    """No huge header, countless boxes or deep nesting makes the walk go on without end."""
    start = struct.pack(">I4s8x", 16, b"ftyp")
    huge = Watched(start + struct.pack(">I4s", (17 << 20) + 8, b"moov") + bytes(17 << 20))
    with pytest.raises(NotAVideo, match="the headers take more than"):
        read_facts(huge)
    assert huge.taken < 1000
    with pytest.raises(NotAVideo, match="boxes at the top"):
        facts_of(start + struct.pack(">I4s", 8, b"free") * 70_000)
    nested = b""
    for _ in range(3000):
        nested = struct.pack(">I4s", len(nested) + 8, b"trak") + nested
    assert reason(
        start
        + struct.pack(">I4s", len(nested) + 8, b"moov")
        + nested
        + struct.pack(">I4s", 8, b"mdat")
    )


def test_the_media_is_never_read() -> None:
    """Of a film only headers are read, however large its media."""
    data = make_clip(Recipe(frames=48, width=320, height=180, x264={"crf": "2"}))
    moov = next(end - start for kind, start, end in boxes(data) if kind == "moov")
    file = Watched(data)
    read_facts(file)
    assert file.taken < moov + 1000 < len(data) / 10


@pytest.mark.parametrize("seed", range(4))
def test_garbage_is_refused(seed: int) -> None:
    """Random bytes, alone or behind a proper start, are refused with a reason."""
    dice = random.Random(seed)
    for _ in range(100):
        noise = dice.randbytes(dice.randrange(1, 3000))
        assert reason(noise)
        assert reason(clip("plain")[:40] + noise)


@pytest.mark.parametrize("name", ["sound longer", "fragmented", "mov"])
def test_a_damaged_header_never_surprises(name: str) -> None:
    """With any bytes of its headers changed, a file is refused or described."""
    data, dice = clip(name), random.Random(name)
    headers = [
        place for kind, start, end in boxes(data) if kind != "mdat" for place in range(start, end)
    ]
    outcomes = set()
    for _ in range(600):
        broken = bytearray(data)
        for place in dice.sample(headers, dice.choice([1, 1, 2, 8])):
            broken[place] = dice.choice([0, 1, 0x7F, 0xFF, dice.randrange(256)])
        try:
            facts_of(bytes(broken))
            outcomes.add("described")
        except NotAVideo:
            outcomes.add("refused")
    assert outcomes == {"described", "refused"}
