"""Tell which of our own files take part between an image's (or a clip's) path and its row in oof.parquet.

That is: files of which a function is called in stage=train, on prepared data and without a cache of pixels, from the
first call of a decoder to the writing of the first fold's oof.parquet; and those whose functions stand, at that first
call, between stages/train.py and the decoder. What runs while a module is imported does not count. The runs are
`image-head` and `clips` of reference.py:

    python -m tests.guards.files_on_the_way image-head
"""

import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from tests.guards.reference import COMMON, RUNS, run_command

PACKAGE = str(Path(__file__).parents[2] / "kagglepipe") + "/"
ENTRY = "stages/train.py"
DECODERS = ("images/decode.py", "sequences/video_info.py", "sequences/video.py", "sequences/series.py")


class Recorder:
    """The own files of which functions are called since the first call of a decoder, until oof.parquet is written."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self.at_first_write: list[str] = []
        self.main = threading.main_thread().ident

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """A profile function, as sys.setprofile takes it."""
        name = frame.f_code.co_filename
        file = name.removeprefix(PACKAGE)
        if event != "call" or file in (name, *self.called) or is_import(frame):
            return
        if not self.called and file in DECODERS:
            self.called |= self.on_the_stack(frame)
        if self.called:
            self.called.add(file)

    def on_the_stack(self, frame: FrameType) -> set[str]:
        """The files between ENTRY and `frame`; of another thread, those between ENTRY and what waits for it."""
        frames = [] if threading.get_ident() == self.main else [frame]
        frames.append(sys._current_frames()[self.main] if frames else frame)
        found: list[str] = []
        for top in frames:
            now: FrameType | None = top
            while now is not None:
                if now.f_code.co_filename.startswith(PACKAGE):
                    found.append(now.f_code.co_filename.removeprefix(PACKAGE))
                now = now.f_back
        last = max((place for place, file in enumerate(found) if file == ENTRY), default=len(found) - 1)
        return set(found[: last + 1])

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: a rename to oof.parquet is its writing."""
        if event == "os.rename" and str(arguments[1]).endswith("oof.parquet") and not self.at_first_write:
            self.at_first_write = sorted(self.called)


def is_import(frame: FrameType | None) -> bool:
    """Whether a frame belongs to the import of one of our own modules, other than the command's own."""
    while frame is not None:
        code, frame = frame.f_code, frame.f_back
        if code.co_name == "<module>" and code.co_filename.startswith(PACKAGE) and "__main__" not in code.co_filename:
            return True
    return False


def files_on_the_way(name: str) -> list[str]:
    """The files, relative to the package, of a run of reference.py. Call it in a process of its own."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as root:
        options = (f"paths.root='{root}'", *COMMON, *RUNS[name])
        options += ("cache.max_gb=0",) if name.startswith("image") else ()
        run_command("stage=prepare", *options)
        sys.addaudithook(recorder.audit)
        threading.setprofile(recorder)
        sys.setprofile(recorder)
        try:
            run_command("stage=train", *options)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return recorder.at_first_write


if __name__ == "__main__":
    found = files_on_the_way(sys.argv[1])
    print(*found, f"{len(found)} files", sep="\n")
