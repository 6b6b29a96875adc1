"""Where everything is in the bucket: every key, relative to the archive's prefix.

```text
clips/{clip_key}.mp4                   a clip
clips/{clip_key}.json                  its record: order, job, price, hash, media facts
late/{clip_key}.{hash of the job}.mp4  a video of the same clip that came when another was there
films/{slug}/{film_key}/               one cut of a film: film.mp4, contact-sheet.jpg, manifest.json
frames/{clip_key}.png                  the last picture of a clip, for the clip that continues it
frames/{clip_key}.sharpest.png         the sharpest of its last pictures, for the same purpose
frames/{clip_key}.sharpest.json        after which picture a film cuts that clip
tails/{clip_key}.mp4                   the last seconds of a clip, for the clip that continues it
inputs/{hash}.{extension}              a picture or video of the user, named by its content
pending/{slug}.{hash}.json             a film that was sent and is not joined yet
batches/{name}.{hash}/table.jsonl      a table of clips as it was when a batch began
batches/{name}.{hash}/results.jsonl    the same rows with what became of them, and results.csv
batches/{name}.{hash}/parts/{name}     results as they came, of which the two are made
batches/{name}.{hash}/heartbeats/{row}  written again and again by the run of a chunk of rows
open-batches/{name}.{hash}             an empty marker: that batch was sent and is not complete
quarantine/{clip_key}.{job}.{hash}     what a paid job delivered and no check accepts, as it came
quarantine/{clip_key}.{job}.json       why it is there
ledger/jobs/{clip_key}.json            the record of the money of one clip
ledger/open/{clip_key}.{claim}         an empty marker: that record is not finished
ledger/held/{clip_key}.{claim}         an empty marker: that record waits for a decision
ledger/by-job/{hash of the job id}     which clip a job belongs to
ledger/job-index-complete              the jobs of all older records are in that index
ledger/slots/{number}                  which clip has one of the running jobs of a limited account
ledger/budget.json                     the accounts of the archive
ledger/readings/{time}.json            what the API said of the account, for `ledger audit`
doctor/probe-{random}                  a test of rights and links; removed at once
ledger/probe-{random}                  a test of conditional writes; removed at once
```

Existing archives rely on these keys: a key that changes loses what is stored under the old one.
"""

from datetime import UTC, datetime

CLIPS = "clips/"
INPUTS = "inputs/"
FRAMES = "frames/"
TAILS = "tails/"
INPUT_FOLDERS = (INPUTS, FRAMES, TAILS, CLIPS)
"""Where objects stand that the API may be given as inputs."""
FILMS = "films/"
BATCHES = "batches/"
DOCTOR = "doctor/"
SIGNED_FOLDERS = (*INPUT_FOLDERS, FILMS, BATCHES, DOCTOR)
"""Where objects stand to which signed links are made; those of films and batches are for people."""
PENDING_FILMS = "pending/"
OPEN_BATCHES = "open-batches/"
QUARANTINE = "quarantine/"
BUDGET = "ledger/budget.json"
JOB_SLOTS = "ledger/slots/"
READINGS = "ledger/readings/"
LEDGER_RECORDS = "ledger/jobs/"
OPEN_MARKERS = "ledger/open/"
JOB_INDEX_COMPLETE = "ledger/job-index-complete"
HELD_MARKERS = "ledger/held/"

CLAIM_LENGTH = 8
"""How many characters of a claim a marker carries."""


def clip_video(clip_key: str) -> str:
    """Return the path of a clip's video."""
    return f"{CLIPS}{clip_key}.mp4"


def clip_record(clip_key: str) -> str:
    """Return the path of a clip's record."""
    return f"{CLIPS}{clip_key}.json"


def late_video(clip_key: str, digest: str) -> str:
    """Return the path of a video that came when its clip was archived; `digest` names the job."""
    return f"late/{clip_key}.{digest[:16]}.mp4"


def film_cuts(slug: str) -> str:
    """Return the folder of all cuts of a film, without a slash at its end."""
    return f"{FILMS}{slug}"


def film_video(slug: str, film_key: str) -> str:
    """Return the path of a film."""
    return f"{film_cuts(slug)}/{film_key}/film.mp4"


def film_contact_sheet(slug: str, film_key: str) -> str:
    """Return the path of a film's contact sheet."""
    return f"{film_cuts(slug)}/{film_key}/contact-sheet.jpg"


def film_manifest(slug: str, film_key: str) -> str:
    """Return the path of a film's manifest; it is written last."""
    return f"{film_cuts(slug)}/{film_key}/manifest.json"


def picks(slug: str) -> str:
    """Return the folder of the takes that were picked for a film, with a slash at its end."""
    return f"{film_cuts(slug)}/picks/"


def pick(slug: str, first_take_key: str) -> str:
    """Return the path of the pick of a shot, which is named by the clip key of its take 1."""
    return f"{picks(slug)}{first_take_key}.json"


def takes_sheet(slug: str, first_take_key: str, takes: int) -> str:
    """Return the path of the picture that shows the takes of a shot side by side."""
    return f"{film_cuts(slug)}/takes/{first_take_key}-{takes}.jpg"


def last_frame(clip_key: str) -> str:
    """Return the path of a clip's last picture."""
    return f"frames/{clip_key}.png"


def sharpest_frame(clip_key: str) -> str:
    """Return the path of the sharpest of a clip's last pictures."""
    return f"frames/{clip_key}.sharpest.png"


def cut_point(clip_key: str) -> str:
    """Return the path of the record that says after which picture a film cuts a clip."""
    return f"frames/{clip_key}.sharpest.json"


def tail(clip_key: str) -> str:
    """Return the path of a clip's last seconds."""
    return f"tails/{clip_key}.mp4"


def input_file(content_hash: str, extension: str) -> str:
    """Return the path of a user's picture or video; `extension` has no dot."""
    return f"{INPUTS}{content_hash}.{extension}"


def pending_film(slug: str, content_hash: str) -> str:
    """Return the path of a film that was sent and is not joined yet."""
    return f"{PENDING_FILMS}{slug}.{content_hash}.json"


def frozen_table(table_id: str) -> str:
    """Return the path of the copy of a table."""
    return f"{BATCHES}{table_id}/table.jsonl"


def results(table_id: str, extension: str) -> str:
    """Return the path of a table's results; `extension` is jsonl or csv."""
    return f"{BATCHES}{table_id}/results.{extension}"


def result_parts(table_id: str) -> str:
    """Return the folder of the parts of a table's results, with a slash at its end."""
    return f"{BATCHES}{table_id}/parts/"


def chunk_heartbeat(table_id: str, first: int) -> str:
    """Return the path of the object that a run of rows from `first` on writes while it is alive."""
    return f"{BATCHES}{table_id}/heartbeats/{first:09}"


def open_batch(table_id: str) -> str:
    """Return the path of the marker of a batch that was sent and is not complete."""
    return f"{OPEN_BATCHES}{table_id}"


def quarantine_file(clip_key: str, job: str, sha256: str) -> str:
    """Return the path of a file that could not be verified; `job` is safe in a key."""
    return f"{QUARANTINE}{clip_key}.{job}.{sha256[:8]}"


def quarantine_record(clip_key: str, job: str) -> str:
    """Return the path of the record that says why a file is in the quarantine."""
    return f"{QUARANTINE}{clip_key}.{job}.json"


def ledger_record(clip_key: str) -> str:
    """Return the path of the record of a clip's money."""
    return f"{LEDGER_RECORDS}{clip_key}.json"


def open_marker(clip_key: str, claim: str) -> str:
    """Return the path of the marker of a record that is not finished."""
    return f"{OPEN_MARKERS}{clip_key}.{claim[:CLAIM_LENGTH]}"


def held_marker(clip_key: str, claim: str) -> str:
    """Return the path of the marker of a record that waits for a decision."""
    return f"{HELD_MARKERS}{clip_key}.{claim[:CLAIM_LENGTH]}"


def parse_marker(path: str) -> tuple[str, str]:
    """Return the clip key of a marker's path, and the beginning of the claim it was set for."""
    name = path.rpartition("/")[2]
    clip_key, _, claim = name.partition(".")
    return clip_key, claim


def job_owner(digest: str) -> str:
    """Return the path of the object that says which clip a job belongs to.

    `digest` names the job.
    """
    return f"ledger/by-job/{digest}"


def reading(at: datetime) -> str:
    """Return the path of a reading of the account; names sort by time."""
    return f"{READINGS}{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}.json"


def job_slot(number: int) -> str:
    """Return the path of one of the places of running jobs."""
    return f"{JOB_SLOTS}{number:04}"


def write_probe(token: str) -> str:
    """Return the path of the object that proves conditional writes; `token` makes it unique."""
    return f"ledger/probe-{token}"
