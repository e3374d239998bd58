"""A DICOM becomes the grey picture of its window, or one line that says why not and nothing about the patient."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.images import dicom
from kagglepipe.images.decode import decode
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.images.table import look_at

pydicom = pytest.importorskip("pydicom")
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60  # 0 … 3780, of 12 bits


def dicom_bytes(pixels: NDArray[Any], syntax: str | None = None, **tags: Any) -> bytes:
    """The bytes of a DICOM of a patient called Doe."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    bits = pixels.dtype.itemsize * 8
    usual = {
        "PatientName": "Doe^Jane", "PatientID": "4711", "Rows": pixels.shape[0], "Columns": pixels.shape[1],
        "SamplesPerPixel": pixels.shape[2] if pixels.ndim == 3 else 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits, "BitsStored": 12 if bits == 16 else 8, "HighBit": 11 if bits == 16 else 7,
        "PixelRepresentation": int(pixels.dtype.kind == "i"), "PixelData": pixels.tobytes(),
    }  # fmt: skip
    for name, value in {**usual, **tags}.items():
        setattr(made, name, value)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def shown(path: Path, data: bytes) -> NDArray[np.uint8]:
    """The first channel of what the file is decoded to."""
    path.write_bytes(data)
    rgb = decode(read_image_bytes(path))
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 1])
    return rgb[..., 0]


def ramp(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    return np.rint(np.clip((values.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "tags", "expected"),
    [
        (RAMP, {"WindowCenter": 1000.5, "WindowWidth": 1001}, ramp(RAMP, 500, 1500)),
        (RAMP, {"WindowCenter": [1000.5, 7], "WindowWidth": [1001, 2]}, ramp(RAMP, 500, 1500)),
        (RAMP, {}, ramp(RAMP, *np.percentile(RAMP, (0.5, 99.5)))),
        (RAMP, {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40.5, "WindowWidth": 401},
         ramp(RAMP.astype(int) * 2 - 1024, -160, 240)),
        (RAMP, {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1000.5, "WindowWidth": 1001},
         255 - ramp(RAMP, 500, 1500)),
        (RAMP.astype(np.int16) - 500, {"WindowCenter": 0.5, "WindowWidth": 401, "BitsStored": 16, "HighBit": 15},
         ramp(RAMP.astype(int) - 500, -200, 200)),
        (np.full((4, 6), 9, np.uint8), {}, np.zeros((4, 6), np.uint8)),  # even
    ],
    ids=["window", "windows", "percentiles", "rescaled", "inverted", "signed", "even"],
)  # fmt: skip
def test_grey_values_are_windowed(
    tmp_path: Path, pixels: NDArray[Any], tags: dict[str, Any], expected: NDArray[np.uint8]
) -> None:
    np.testing.assert_array_equal(shown(tmp_path / "a.dcm", dicom_bytes(pixels, **tags)), expected)


def test_colours_stay(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    data = dicom_bytes(rgb, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    (tmp_path / "a.dcm").write_bytes(data)
    np.testing.assert_array_equal(decode(read_image_bytes(tmp_path / "a.dcm")), rgb)


WHOLE = dicom_bytes(RAMP)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dicom_bytes(RAMP, NumberOfFrames=2, PixelData=RAMP.tobytes() * 2), "2 frames"),
        (dicom_bytes(RAMP, Rows=60000, Columns=60000), "60000×60000 pixels"),
        (dicom_bytes(RAMP, Rows=9), "damaged"),
        (dicom_bytes(RAMP, PhotometricInterpretation="PALETTE COLOR"), "in PALETTE COLOR"),
        (WHOLE[:-60], "damaged"), (WHOLE[:400], "damaged"), (WHOLE[:132], "damaged"),
        (WHOLE[:132] + b"Doe" * 50, "damaged"),
        (WHOLE.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"), "deflated"),
    ],
    ids=["frames", "huge", "short", "palette", "cut", "no pixels", "empty", "hostile", "deflated"],
)  # fmt: skip
def test_what_is_no_picture_is_named_in_one_line(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.dcm").write_bytes(data)
    found = str(look_at([tmp_path / "a.dcm"], max_side=20_000)[0])
    assert reason in found
    assert "\n" not in found
    assert "Doe" not in found


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(WHOLE)
    monkeypatch.setattr(dicom, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'kagglepipe\[dicom\]'"):
        read_image_bytes(tmp_path / "a.dcm")
