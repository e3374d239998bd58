"""What happens when, in files, folders and streams: the same as the run's own submission, and as it is live."""

import contextlib
import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.options import PathsOptions
from kagglepipe.runs.configured import best_run
from kagglepipe.segments.postprocess import DetectionSettings, detect_segments
from kagglepipe.segments.streaming import StreamSegmenter
from kagglepipe.sequences import stream
from kagglepipe.sequences.stream import LiveFrame
from kagglepipe.tools import detect
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.detect import Detector, VideoResult, follow, format_time, load_detector, predict_item
from kagglepipe.training.backends import make_backend
from tests.pipelines import PIPELINES, pipeline_config, typed

SECRET = "hunter2 or 3".replace(" ", "%20")
pytestmark = pytest.mark.usefixtures("few_draws")
Trained = Callable[..., Config]
Command = Callable[..., Any]  # the fixture `command` of conftest, which gives an Outcome


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this file's runs lie."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture
def trained(place: Path, request: pytest.FixtureRequest, pipeline: Callable[[str], Path]) -> Trained:
    """trained("long", …) -> the configuration of stage=detect with a run of that pipeline."""

    def made(name: str, *overrides: str) -> Config:
        if not (place / "outputs" / name).exists():
            shutil.copytree(pipeline(name), place, dirs_exist_ok=True)
        source = request.getfixturevalue(PIPELINES[name][0])
        return pipeline_config(name, source, place, "stage=detect", "detect.video=false", *overrides)

    return made


@pytest.fixture
def found(tmp_path: Path) -> Callable[[Config, Path], pd.DataFrame]:
    """found(config, input) -> the CSV of segments that stage=detect writes."""

    def written(config: Config, source: Path) -> pd.DataFrame:
        file = tmp_path / "found.csv"
        run_command(replace(config, input=str(source), detect=replace(config.detect, file=str(file))))
        return pd.read_csv(file)

    return written


Found = Callable[[Config, Path], pd.DataFrame]


def detector_of(config: Config) -> Detector:
    """The detector of the best run."""
    return load_detector(best_run(config), make_backend(config.device, config.engine, config.backend_dir))


# --- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["long", pytest.param("both-ways", marks=pytest.mark.slow), "long-series"])
def test_the_tests_own_folder_gives_the_segments_that_are_submitted(
    name: str, trained: Trained, found: Found, place: Path
) -> None:
    config = trained(name)
    run = best_run(config).folder
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    segments = found(config, Path(str(config.competition.source)) / "test")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    submitted = pd.read_csv(place / f"submissions/{run.name}.csv")
    assert len(submitted) > 4
    assert list(segments.columns) == ["video", "start", "end", "label", "score"]
    segments = segments.assign(video="test/" + segments["video"])
    submitted = submitted[segments.columns]
    ordered = [table.sort_values(["video", "start", "label"], ignore_index=True) for table in (segments, submitted)]
    pd.testing.assert_frame_equal(*ordered, atol=2e-6, rtol=0)


def test_a_folder_leaves_a_table_and_for_each_video_two_pictures(
    trained: Trained, long_videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, there in ((6, "a.mp4"), (7, "deeper/a.mp4")):
        (tmp_path / "cams" / there).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(long_videos / f"test/v{number}.mp4", tmp_path / "cams" / there)
    config = trained("long", "detect.video=true")
    with caplog.at_level("INFO"):
        run_command(replace(config, input=str(tmp_path / "cams")))
    folder = config.runs_dir / "detect/cams"
    files = ["a.mp4.detected.mp4", "a.mp4.png", "segments.csv", "segments.json"]
    files += [f"deeper/{file}" for file in files[:2]]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == sorted(files)
    table = pd.read_csv(folder / "segments.csv")
    assert set(table["video"]) == {"a.mp4", "deeper/a.mp4"}
    assert set(table["label"]) == {"left", "right"}
    assert (table["start"] < table["end"]).all()
    assert (table["end"] <= 11).all()
    told = read_json(folder / "segments.json")
    run = best_run(config).folder
    assert told["run"] == run.name
    assert told["settings"] == read_json(run / "metrics.json")["detection"]["settings"]
    assert (told["settings_chosen_out_of_fold"], told["rate"], told["unit"]) == (True, 8.0, "s")
    assert (told["classes"], told["background"]) == (["none", "left", "right"], "none")
    assert pd.DataFrame(told["segments"]).equals(table)
    assert f"detect: {len(table)} segments in {folder / 'segments.csv'}; pictures in {folder}" in caplog.text
    assert "(chosen out of fold)" in caplog.text
    assert "detect: 176 frames in " in caplog.text


def test_the_annotated_video_shows_what_is_found_while_it_lasts(trained: Trained, long_videos: Path) -> None:
    config = trained("long", "detect.video=true")
    run_command(replace(config, input=str(long_videos / "test/v6.mp4")))
    folder = config.runs_dir / "detect/v6"
    assert set(pd.read_csv(folder / "segments.csv")["video"]) == {"v6.mp4"}
    with av.open(str(folder / "v6.mp4.detected.mp4")) as drawn, av.open(str(long_videos / "test/v6.mp4")) as video:
        assert (drawn.streams.video[0].frames, drawn.streams.video[0].average_rate) == (88, 8)
        pictures, frames = ([f.to_ndarray(format="rgb24") for f in one.decode(video=0)] for one in (drawn, video))
    assert pictures[0].shape == frames[0].shape
    strip = np.stack(pictures)[:, -5:].astype(int).mean(axis=(1, 2, 3))
    assert strip.std() < 10  # the whole video's segments under every frame, and a cursor


def test_a_run_on_whole_clips_uses_the_defaults_and_says_so(
    trained: Trained, clips: Path, found: Found, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level("INFO"):
        table = found(trained("clips"), clips / "test")
    assert "thresholds 0.5 and 0.5" in caplog.text
    assert "(the defaults: the run was trained on whole clips)" in caplog.text
    told = read_json(tmp_path / "found.json")
    assert DetectionSettings(**told["settings"]) == DetectionSettings()
    assert told["settings_chosen_out_of_fold"] is False
    assert told["background"] is None
    assert not list(tmp_path.rglob("*.detected.mp4"))
    assert set(table["video"]) == {"left6.mp4", "left7.mp4", "right6.mp4", "right7.mp4"}  # of two classes one is likely


def test_a_series_has_a_picture_too_and_times_since_1970_stay_exact(
    trained: Trained, long_series: Path, tmp_path: Path, found: Found
) -> None:
    config = trained("long-series", "detect.video=true")
    run_command(replace(config, input=str(long_series / "test")))
    names = sorted(path.name for path in (config.runs_dir / "detect/test").iterdir())
    assert names == ["s6.npz.png", "s7.npz.png", "segments.csv", "segments.json"]
    with np.load(long_series / "test/s6.npz") as data:
        np.savez(tmp_path / "late.npz", values=data["values"], time=data["time"] + 1.7e9)
    late, early = found(config, tmp_path / "late.npz"), found(config, long_series / "test/s6.npz")
    assert len(early) > 2
    np.testing.assert_allclose(late["start"], early["start"] + 1.7e9, atol=1e-3, rtol=0)


def test_what_it_has_drawn_itself_is_not_searched(
    trained: Trained, long_videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(long_videos / "test/v6.mp4", tmp_path / "a.mp4")
    config = trained("long", "detect.video=true")
    config = replace(config, run=str(best_run(config).folder), paths=PathsOptions(str(tmp_path)))
    for _ in range(2):
        run_command(replace(config, input=str(tmp_path)))
    folder = tmp_path / f"outputs/long/detect/{tmp_path.name}"
    assert sorted(path.name for path in folder.rglob("*.mp4")) == ["a.mp4.detected.mp4"]


# --- what cannot be searched ---------------------------------------------------------------------------------------


def test_without_input_it_says_what_to_type(trained: Trained) -> None:
    with pytest.raises(UserError, match=r"add input=VIDEO, input=FOLDER, input=rtsp://… or input=camera"):
        run_command(trained("long"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.mp4", r"nowhere\.mp4: nothing is there; give a video, a folder of videos or the URL of a stream"),
        ("notes", r"notes holds 1 files and no video \(\.mp4, "),
        (
            "broken",
            r"broken: no video in it can be read: a\.mp4: not a video .*; b\.mkv: the file is empty \(0 byt",
        ),
        ("broken/a.mp4", r"broken/a\.mp4: no video in it can be read: a\.mp4: not a video that can be read$"),
    ],
)
def test_an_input_without_a_video_is_one_line(name: str, words: str, trained: Trained, tmp_path: Path) -> None:
    for folder in ("notes", "broken"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notes/a.txt").touch()
    (tmp_path / "broken/a.mp4").write_bytes(b"no video")
    (tmp_path / "broken/b.mkv").touch()
    config = trained("long")
    with pytest.raises(UserError, match=words) as caught:
        run_command(replace(config, input=str(tmp_path / name)))
    assert "\n" not in str(caught.value)
    assert not (config.runs_dir / f"detect/{Path(name).stem}").exists()


def test_a_broken_video_among_good_ones_is_named_and_left_out(
    trained: Trained, long_videos: Path, tmp_path: Path, found: Found, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cams").mkdir()
    shutil.copy(long_videos / "test/v6.mp4", tmp_path / "cams/good.mp4")
    (tmp_path / "cams/bad.mp4").write_bytes(b"no video")
    data = (long_videos / "test/v7.mp4").read_bytes()
    (tmp_path / "cams/cut.mp4").write_bytes(data[: len(data) // 2])
    with caplog.at_level("INFO"):
        table = found(trained("long"), tmp_path / "cams")
    assert set(table["video"]) == {"cut.mp4", "good.mp4"}
    assert "detect: left out 1 files that cannot be read: bad.mp4: not a video that can be read" in caplog.text
    assert "detect: cut.mp4: truncated: " in caplog.text


@pytest.mark.parametrize("name", ["folder", "found.json"])
def test_a_file_that_cannot_hold_the_table_is_refused_before_any_work(
    name: str, trained: Trained, tmp_path: Path, long_videos: Path
) -> None:
    (tmp_path / "folder").mkdir()
    config = trained("long", f"detect.file='{tmp_path / name}'", f"input='{long_videos / 'test'}'")
    with pytest.raises(UserError, match=rf"detect\.file=.*{name} cannot hold the table; give a file name that ends in"):
        run_command(replace(config, run="there is none"))


# --- live: a server of this machine --------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files to whoever knows the password, and says nothing."""

    def do_GET(self) -> None:
        if "Authorization" not in self.headers:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="cams"')
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address(long_videos: Path) -> Iterator[str]:
    """The address of v6.mp4 at a server, password and all."""
    handler = functools.partial(Quiet, directory=str(long_videos / "test"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://joe:{SECRET}@127.0.0.1:{server.server_port}/v6.mp4?token={SECRET}"
        server.shutdown()
        thread.join(timeout=10)


def live_folder(root: Path) -> Path:
    """Where the one stream that was watched has left its files."""
    (folder,) = root.glob("outputs/*/detect/live-*")
    return folder


def bytes_below(root: Path) -> bytes:
    """All names and all bytes of the files below `root`."""
    return b"\0".join(part for path in root.rglob("*") if path.is_file() for part in (bytes(path), path.read_bytes()))


def test_live_is_what_the_file_gives(
    trained: Trained, found: Found, long_videos: Path, address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = trained("long", f"input='{address}'")
    detector = detector_of(config)
    live = StreamSegmenter("v6.mp4", detector.classes, detector.background, detector.settings, 1 / detector.rate)
    seen = VideoResult()
    follow(detector, address, detector.run.live(), live, seen, None)
    live.end()
    whole = predict_item(detector, long_videos / "test/v6.mp4")
    np.testing.assert_allclose(seen.times, whole.times, atol=1e-9)
    np.testing.assert_allclose(seen.probs, whole.probs, atol=1e-4)
    assert all(0 <= delay < 60 for delay in seen.delays)
    expected = found(config, long_videos / "test/v6.mp4")
    told = pd.DataFrame(live.done).sort_values("start", ignore_index=True)
    pd.testing.assert_frame_equal(told, expected, atol=1e-4, rtol=0)


def test_a_stream_from_the_command_line(
    trained: Trained, address: str, long_videos: Path, tmp_path: Path, command: Command
) -> None:
    run = best_run(trained("long")).folder
    options = [*typed("long", long_videos, tmp_path / "root"), f"run={run}"]
    done = command("detect", *options, f"input={address}")
    assert done.code == 0, done.err
    folder = live_folder(tmp_path / "root")
    assert sorted(path.name for path in folder.iterdir()) == ["segments.csv", "segments.json", "timeline.png"]
    table = pd.read_csv(folder / "segments.csv")
    hidden = address.replace(SECRET, "***")
    assert set(table["video"]) == {hidden}
    lines = done.out.splitlines()
    assert f"detect: watching {hidden} (Ctrl-C ends it)" in lines
    for one in table.to_dict("records"):
        assert (
            f"detect: {format_time(one['start'])}–{format_time(one['end'])} {one['label']} ({one['score']:.2f})"
            in lines
        )
    assert any("88 frames in" in line and "(median)" in line for line in lines)
    assert SECRET not in done.out + "".join(done.err)
    assert SECRET.encode() not in bytes_below(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["detect", "input=ADDRESS"], r"cannot be read \(.*\); check address, password and network"),
        (["detect", "input=rtsp://joe:SECRET@127.0.0.1:9/x"], r"rtsp://joe:\*\*\*@127\.0\.0\.1:9/x cannot be read"),
        (["detect", "--input=ADDRESS"], r"--input is not a flag"),
        (["detect", "--input", "ADDRESS"], r"--input is not a flag"),
        (["detect", "inptu=ADDRESS"], "inptu"),
        (["-m", "detect", "input=ADDRESS"], r"a stream is read by a single command: leave -m out"),
        (["predict", "input=ADDRESS"], r"nothing is there"),
        (["annotations", "input=ADDRESS"], r"is no folder"),
        (["detect", "input=ADDRESS", "run=none"], r"run=none is not a finished run"),
        (["detect", "input='ADDRESS"], r"nothing is there"),
    ],
)
def test_a_password_is_seen_nowhere_when_something_is_wrong(
    arguments: list[str], words: str, trained: Trained, address: str, long_videos: Path, tmp_path: Path,
    command: Command,
) -> None:  # fmt: skip
    wrong = address.replace("v6.mp4", "none.mp4")
    run = best_run(trained("long")).folder
    options = [*typed("long", long_videos, tmp_path / "root"), f"run={run}"]
    done = command(*options, *(text.replace("ADDRESS", wrong).replace("SECRET", SECRET) for text in arguments))
    assert done.code == 2
    (line,) = done.err
    assert re.search(words, line), line
    assert SECRET not in done.out + line
    assert SECRET.encode() not in bytes_below(tmp_path)


def test_a_password_is_not_kept_with_a_run(configure: Callable[..., Config], long_series: Path, tmp_path: Path) -> None:
    options = [*typed("long-series", long_series, tmp_path), "stage=train", "sequences.steps=1"]
    run_command(configure(*options, f"input='rtsp://joe:{SECRET}@host/x'"))
    assert len(list(tmp_path.rglob("config.yaml"))) == 1
    assert SECRET.encode() not in bytes_below(tmp_path)


# --- live: a stream that is made up --------------------------------------------------------------------------------

Step = float | BaseException  # the time of a frame, or what happens instead


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """streaming(0, 0.125, …) lets the next stream show frames at these times; gives a list of what is closed."""

    def start(*steps: Step) -> list[str]:
        closed: list[str] = []

        def frames(address: str, *, rate: float, resize: object) -> Iterator[LiveFrame]:
            rng = np.random.default_rng(0)
            try:
                for one in steps:
                    if isinstance(one, BaseException):
                        raise one
                    pixels = rng.integers(0, 60, (32, 32, 3)).astype(np.uint8)
                    pixels[12:20, int(20 * one) % 24 :][:, :8] = 230
                    yield LiveFrame(one, pixels, detect.clock.time())
            finally:
                closed.append(address)

        monkeypatch.setattr(stream, "read_live", frames)
        return closed

    return start


@pytest.fixture
def watching(trained: Trained, tmp_path: Path) -> Callable[..., Config]:
    """watching(…) -> the configuration that watches a camera with the run on long videos, and writes into tmp_path."""
    run = best_run(trained("long")).folder
    there = PathsOptions(str(tmp_path))
    return lambda *overrides: replace(trained("long", "input=camera", *overrides), run=str(run), paths=there)


Watching = Callable[..., Config]
Streaming = Callable[..., list[str]]


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), UserError("camera broke off after 24 frames")])
def test_a_stream_that_is_stopped_or_breaks_off_keeps_what_was_found(
    ending: BaseException, watching: Watching, streaming: Streaming, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C is no error, a break is."""
    closed, is_error = streaming(*np.arange(24) / 8, ending), isinstance(ending, UserError)
    with (
        caplog.at_level("INFO"),
        pytest.raises(UserError, match="camera broke off after 24 frames") if is_error else contextlib.nullcontext(),
    ):
        run_command(watching())
    assert closed == ["camera"]
    assert ("detect: stopped by Ctrl-C; the segments so far are written" in caplog.text) is not is_error
    assert "detect: 24 frames in" in caplog.text
    assert {path.name for path in live_folder(tmp_path).iterdir()} == {"segments.csv", "segments.json", "timeline.png"}
    assert (live_folder(tmp_path) / "timeline.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("steps", "error", "words"),
    [
        ([KeyboardInterrupt()], KeyboardInterrupt, "^$"),
        ([UserError("camera cannot be read")], UserError, "camera cannot be read"),
        ([], UserError, "camera: no frame came; check the address, or give a file"),
    ],
)
def test_a_stream_without_a_frame_leaves_nothing(
    steps: list[Step], error: type[BaseException], words: str, watching: Watching, streaming: Streaming, tmp_path: Path
) -> None:
    streaming(*steps)
    with pytest.raises(error, match=words):
        run_command(watching())
    assert not (tmp_path / "outputs").exists()


def test_a_stream_is_watched_for_so_many_seconds_and_a_named_file_holds_its_segments(
    watching: Watching, streaming: Streaming, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed = streaming(*np.arange(8000) / 8)
    with caplog.at_level("INFO"):
        run_command(watching("detect.seconds=2", f"detect.file='{tmp_path / 'mine.csv'}'"))
    assert "detect: 16 frames in" in caplog.text
    assert closed == ["camera"]
    assert list(pd.read_csv(tmp_path / "mine.csv").columns) == ["video", "start", "end", "label", "score"]
    assert json.loads((tmp_path / "mine.json").read_text())["run"]
    assert [path.name for path in live_folder(tmp_path).iterdir()] == ["timeline.png"]


def test_a_pause_in_the_stream_is_drawn_and_ends_what_went_on(
    watching: Watching, streaming: Streaming, tmp_path: Path
) -> None:
    streaming(*np.arange(16) / 8, *(100 + np.arange(16) / 8))
    run_command(watching())
    table = pd.read_csv(live_folder(tmp_path) / "segments.csv")
    assert ((table["end"] <= 2) | (table["start"] >= 100)).all()
    assert (live_folder(tmp_path) / "timeline.png").stat().st_size > 0


def test_smoothing_is_waited_for_and_said(
    watching: Watching, streaming: Streaming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    smooth, load = DetectionSettings(smoothing=0.625, high=0.4, low=0.3), load_detector
    monkeypatch.setattr(detect, "load_detector", lambda *arguments: replace(load(*arguments), settings=smooth))
    streaming(*np.arange(24) / 8)
    with caplog.at_level("INFO"):
        run_command(watching())
    assert "detect: smoothing delays results by 0.25 s" in caplog.text
    assert len(pd.read_csv(live_folder(tmp_path) / "segments.csv")) > 0


@pytest.mark.parametrize("name", ["both-ways", "long-series"])
def test_a_run_that_no_stream_can_use_says_so_before_it_is_opened(
    name: str, trained: Trained, streaming: Streaming
) -> None:
    words = {
        "both-ways": r"a live stream .*: train one with model=cnn_lstm model\.temporal\.bidirectional=false",
        "long-series": r"lstm-head-\w+ was trained on series, a stream holds video: choose a run of video",
    }
    streaming(AssertionError("it was opened"))
    with pytest.raises(UserError, match=words[name]) as caught:
        run_command(trained(name, "input=rtsp://host/x"))
    assert "\n" not in str(caught.value)


def test_the_terminal_shows_the_most_probable_class(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The background of a run is one of its classes, or None."""
    detector = detector_of(trained("long"))
    assert (detector.classes, detector.background, detector.rate) == (["none", "left", "right"], "none", 8.0)
    assert detector_of(trained("clips")).background is None
    capsys.readouterr()
    detect.show_status(1.0, detector, np.array([0.1, 0.7, 0.2]))
    assert capsys.readouterr().err == ""  # no terminal
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    detect.show_status(61.25, detector, np.array([0.1, 0.7, 0.2]))
    assert capsys.readouterr().err == f"\r\033[K1:01.2 left 0.70 {'█' * 14}\r"


@given(st.floats(0, 1e6))
def test_a_time_is_never_marked_later_than_it_is(seconds: float) -> None:
    minutes, rest = format_time(seconds).split(":")
    assert 60 * int(minutes) + float(rest) <= seconds + 1e-6
    assert 60 * int(minutes) + float(rest) > seconds - 0.1
    assert 0 <= float(rest) < 60


# --- live: the same as the whole -----------------------------------------------------------------------------------

LEVELS = st.sampled_from([0.0, 0.2, 0.3, 0.31, 0.49, 0.5, 0.7, 1.0])
THRESHOLDS = st.sampled_from([(0.5, 0.5), (0.3, 0.3), (0.7, 0.3), (0.5, 0.0), (1.0, 0.5)])
LENGTHS = st.sampled_from([0.0, 0.125, 0.25, 0.3, 0.5, 2.0])


def assert_live_is_whole(probs: Any, settings: DetectionSettings) -> None:
    """StreamSegmenter, frame by frame, finds the segments that `detect_segments` finds in all probabilities (T, 3)."""
    times, classes, found = np.arange(len(probs)) / 8, ["none", "left", "right"], []
    live = StreamSegmenter("v", classes, "none", settings, 0.125)
    for time, row in zip(times, probs, strict=True):
        found += live.see(float(time), row)
    found += live.end()
    assert (found, live.open) == (live.done, {})
    expected = detect_segments("v", times, 0.125, probs, classes, "none", settings)
    table = pd.DataFrame(found, columns=expected.columns).sort_values(["start", "end", "label"], ignore_index=True)
    pd.testing.assert_frame_equal(table, expected, check_dtype=len(found) > 0)


@given(st.lists(st.tuples(LEVELS, LEVELS, LEVELS), min_size=1, max_size=40), THRESHOLDS, LENGTHS, LENGTHS)
@example([(0, 0.3, 0), (0, 0, 0), (0, 1.0, 0)], (0.7, 0.3), 0.0, 0.125)  # what never was high is not joined to
@example([(0, 1.0, 0), (0, 0, 0), (0, 1.0, 0)], (0.5, 0.5), 0.0, 0.0)  # one low frame is a gap
def test_live_finds_the_segments_of_the_whole(
    rows: list[tuple[float, float, float]], thresholds: tuple[float, float], max_gap: float, min_length: float
) -> None:
    assert_live_is_whole(np.array(rows), DetectionSettings(0.0, *thresholds, min_length, max_gap))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([0.125, 0.375, 0.4, 0.9, 2.0]), LENGTHS)
def test_live_smooths_as_the_whole_is_smoothed(seed: int, count: int, smoothing: float, max_gap: float) -> None:
    probs = np.random.default_rng(seed).random((count, 3))
    assert_live_is_whole(probs, DetectionSettings(smoothing, 0.52, 0.47, 0.0, max_gap))


def test_live_tells_of_a_segment_as_soon_as_nothing_can_change_it() -> None:
    settings = DetectionSettings(high=0.5, low=0.5, max_gap=0.25)
    live = StreamSegmenter("v", ["a"], None, settings, 0.125)
    told = [live.see(k / 8, np.array([p])) for k, p in enumerate([0.1, 0.8, 0.6, 0.1, 0.1, 0.1, 0.1])]
    assert [len(one) for one in told] == [0, 0, 0, 0, 0, 1, 0]  # a third low frame makes more than 0.25 s
    assert told[5] == [{"video": "v", "start": 0.125, "end": 0.375, "label": "a", "score": pytest.approx(0.7)}]


def test_a_pause_ends_every_segment() -> None:
    live = StreamSegmenter("v", ["a"], None, DetectionSettings(max_gap=60.0), 0.125)
    assert live.see(0.0, np.array([0.9])) == []
    (first,) = live.see(10.0, np.array([0.7]))
    assert (first["start"], first["end"], first["score"]) == (0.0, 0.125, 0.9)
    (second,) = live.end()
    assert (second["start"], second["end"], second["score"]) == (10.0, 10.125, 0.7)


def test_the_result_of_a_stream_is_placed_on_a_grid() -> None:
    result = VideoResult([0.5, 0.75, 1.5], [np.array([0.2, 0.8])] * 3, [0.0] * 3)
    item = result.on_grid(4.0)
    assert item.times.tolist() == [0.5, 0.75, 1.0, 1.25, 1.5]
    assert item.probs[:, 1].tolist() == [0.8, 0.8, 0.0, 0.0, 0.8]
    assert item.end == 1.75
