"""Image files as they come: what each format gives, what is refused and why, and damaged bytes."""

import io
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from cxr_tutorial.datasets import read_folder
from cxr_tutorial.files import dicom
from cxr_tutorial.files.problems import CohortError, CohortWarning, ImageError
from cxr_tutorial.files.readers import load_image, read_image
from cxr_tutorial.phantom.cohort import write_cohort

# 32 x 40, every level from 0 to 255, smooth enough for JPEG, and different under each turn
LEVELS = np.add.outer(np.arange(32) * 5.0, np.arange(40) ** 1.25)
LEVELS = np.uint8(np.rint((LEVELS - LEVELS.min()) / np.ptp(LEVELS) * 255))
GREY = Image.fromarray(LEVELS)
FEW = GREY.quantize(16)
WIDE = LEVELS.astype(np.uint16)
TWELVE = np.uint16(np.rint(WIDE * (4095 / 255)))


def png_bytes(values: np.ndarray, interlaced: bool) -> bytes:
    "A grey PNG of 8 or 16 bits; Pillow writes none that is interlaced."

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    passes = [*passes, (1, 0, 2, 1)] if interlaced else [(0, 0, 1, 1)]
    lines = b""
    for row, column, rows, columns in passes:
        for line in values[row::rows, column::columns]:
            lines += b"\0" + line.astype(line.dtype.newbyteorder(">")).tobytes()
    height, width = values.shape
    facts = (width, height, 8 * values.itemsize, 0, 0, 0, int(interlaced))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *facts))
    return (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )


def tiff_bytes(values: np.ndarray, photometric: int, sample_format: int = 1) -> bytes:
    "A grey TIFF of 16 bits; `photometric` 0 means that 0 is white."
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, photometric)]
    tags += [(273, 8 + 2 + 12 * 10 + 4), (277, 1), (278, height), (279, values.nbytes)]
    tags += [(339, sample_format)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head + values.astype("<u2").tobytes()


def saved(image: Image.Image, **options):
    "A function that writes an image with Pillow."
    return lambda path: image.save(path, **options)


def written(content: bytes):
    "A function that writes bytes."
    return lambda path: Path(path).write_bytes(content)


def header(syntax=ExplicitVRLittleEndian, **tags) -> FileDataset:
    "A DICOM X-ray without pixels; `tags` replace or, if None, remove what it has."
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", DigitalXRayImageStorageForPresentation)
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = "1.2.3.4", syntax
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    data.PatientName, data.PatientID = "Secret^Name", "0017"
    data.BitsStored, data.PixelRepresentation = 12, 0
    data.PhotometricInterpretation, data.SamplesPerPixel = "MONOCHROME2", 1
    data.WindowCenter, data.WindowWidth = 2048, 4096
    for name, value in tags.items():
        if value is None:
            del data[name]
        else:
            setattr(data, name, value)
    return data


def as_dicom(stored=TWELVE, syntax=ExplicitVRLittleEndian, frames=None, **tags):
    "A function that writes stored values as a DICOM file; `frames` are compressed ones."

    def write(path):
        data = header(syntax, **tags)
        data.Rows, data.Columns = stored.shape[:2]
        data.BitsAllocated = tags.get("BitsAllocated", 8 * stored.itemsize)
        data.HighBit = data.BitsStored - 1
        big = syntax == ExplicitVRBigEndian
        data.PixelData = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes()
        if frames:
            data.PixelData = encapsulate(frames)
            data["PixelData"].VR = "OB"
        if syntax == RLELossless:
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.compress(RLELossless)
        if big:
            data.set_original_encoding(False, False)
        data.save_as(path, enforce_file_format=True)

    return write


def compressed(image: Image.Image, **options) -> list[bytes]:
    "One frame, as Pillow compresses it."
    out = io.BytesIO()
    image.save(out, **options)
    return [out.getvalue() + b"\0" * (out.tell() % 2)]


def table(entries, first: int, bits: int) -> Dataset:
    "An item of a LUT sequence."
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return item


SIGNED = TWELVE.astype(np.int16) - 2048
HOLED = TWELVE.copy()
HOLED[:4] = 1000
PADDED = LEVELS.copy()
PADDED[:4] = 0
LOW, HIGH = (
    np.sort(TWELVE.ravel())[np.ceil(share * TWELVE.size).astype(int) - 1] for share in (0.01, 0.99)
)
BY_PERCENTILES = np.clip((TWELVE - float(LOW)) / (float(HIGH) - float(LOW)), 0, 1) * 255
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}

FORMATS = {  # file name: how it is written, levels, most that a level may be off, what is said
    "grey.jpg": (saved(GREY, quality=95), LEVELS, 4, "8 bit as stored"),
    "rgb.JPEG": (saved(GREY.convert("RGB"), format="JPEG", quality=95), LEVELS, 4, "colours"),
    "inks.jpeg": (saved(GREY.convert("CMYK"), quality=95), LEVELS, 4, "inks"),
    "progressive.jpeg": (saved(GREY, quality=95, progressive=True), LEVELS, 4, "as stored"),
    "grey.png": (saved(GREY), LEVELS, 0, "8 bit as stored"),
    "16 bit.png": (saved(Image.fromarray(WIDE * 257)), LEVELS, 0, "16 of 16 to 8 bit"),
    "12 of 16 bit.png": (saved(Image.fromarray(TWELVE)), LEVELS, 0, "12 of 16 to 8 bit"),
    "palette.png": (saved(GREY.convert("P")), LEVELS, 0, "palette"),
    "few colours.png": (saved(FEW, bits=4), np.asarray(FEW.convert("L")), 0, "palette"),
    "alpha.png": (saved(GREY.convert("LA")), LEVELS, 0, "transparency ignored"),
    "rgba.png": (saved(GREY.convert("RGBA")), LEVELS, 0, "transparency ignored"),
    "bits.png": (saved(GREY.convert("1", dither=0)), np.uint8(LEVELS > 127) * 255, 0, "1 bit"),
    "interlaced.png": (written(png_bytes(LEVELS, True)), LEVELS, 0, "8 bit as stored"),
    "interlaced16.png": (written(png_bytes(WIDE * 257, True)), LEVELS, 0, "16 of 16"),
    "grey.bmp": (saved(GREY), LEVELS, 0, "8 bit as stored"),
    "grey.webp": (saved(GREY, lossless=True), LEVELS, 0, "colours"),
    "grey.tif": (saved(GREY, compression="tiff_lzw"), LEVELS, 0, "8 bit as stored"),
    "rgb.tiff": (saved(GREY.convert("RGB"), compression="tiff_deflate"), LEVELS, 0, "colours"),
    "16 bit.tif": (saved(Image.fromarray(WIDE * 257)), LEVELS, 0, "16 of 16 to 8 bit"),
    "black is 0.tif": (written(tiff_bytes(TWELVE, 1)), LEVELS, 0, "12 of 16 to 8 bit"),
    "white is 0.tif": (written(tiff_bytes(65535 - WIDE * 257, 0)), LEVELS, 0, "16 of 16"),
    "window.dcm": (as_dicom(), LEVELS, 0, "window 2048/4096"),
    "inverted.dcm": (
        as_dicom(4095 - TWELVE, PhotometricInterpretation="MONOCHROME1"),
        LEVELS,
        0,
        "inverted; window 2048/4096",
    ),
    "8 bit.dcm": (as_dicom(LEVELS, BitsStored=8, **NO_WINDOW), LEVELS, 0, "8 bit as stored"),
    "10 bit.dcm": (
        as_dicom(WIDE * 4 + 2, BitsStored=10, WindowCenter=512, WindowWidth=1024),
        LEVELS,
        1,
        "window 512/1024",
    ),
    "16 bit.dcm": (
        as_dicom(WIDE * 257, BitsStored=16, WindowCenter=32768, WindowWidth=65536),
        LEVELS,
        0,
        "window 32768/65536",
    ),
    "signed.dcm": (
        as_dicom(SIGNED, PixelRepresentation=1, WindowCenter=0, WindowWidth=4096),
        LEVELS,
        0,
        "window 0/4096",
    ),
    "signed, 12 bits count.dcm": (
        as_dicom(SIGNED & 4095, PixelRepresentation=1, WindowCenter=0, WindowWidth=4096),
        LEVELS,
        0,
        "window 0/4096",
    ),
    "12 bits count.dcm": (as_dicom(TWELVE | 0x5000), LEVELS, 0, "window 2048/4096"),
    "rescaled.dcm": (
        as_dicom(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3096, WindowWidth=8191),
        LEVELS,
        1,
        "rescaled; window 3096/8191",
    ),
    "negative slope.dcm": (
        as_dicom(4095 - TWELVE, RescaleSlope=-1, RescaleIntercept=4095),
        LEVELS,
        0,
        "rescaled; window",
    ),
    "negative slope, inverted.dcm": (
        as_dicom(
            RescaleSlope=-1,
            RescaleIntercept=4095,
            PhotometricInterpretation="MONOCHROME1",
        ),
        LEVELS,
        0,
        "inverted; rescaled; window",
    ),
    "several windows.dcm": (
        as_dicom(WindowCenter=[2048, 50], WindowWidth=[4096, 10]),
        LEVELS,
        0,
        "window 2048/4096",
    ),
    "narrow window, inverted.dcm": (
        as_dicom(
            WIDE + 700,
            PhotometricInterpretation="MONOCHROME1",
            WindowCenter=828,
            WindowWidth=256,
        ),
        255 - LEVELS,
        0,
        "inverted; window 828/256",
    ),
    "exact window.dcm": (
        as_dicom(WindowCenter=2047.5, WindowWidth=4095, VOILUTFunction="LINEAR_EXACT"),
        LEVELS,
        0,
        "window 2047.5/4095",
    ),
    "VOI LUT.dcm": (
        as_dicom(WIDE, VOILUTSequence=[table(np.arange(256) * 16 + 15, 0, 12)]),
        LEVELS,
        1,
        "VOI LUT",
    ),
    "modality LUT.dcm": (
        as_dicom(
            LEVELS,
            BitsStored=8,
            ModalityLUTSequence=[table(np.rint(np.arange(256) * (4095 / 255)), 0, 12)],
        ),
        LEVELS,
        0,
        "modality LUT; window",
    ),
    "no window.dcm": (as_dicom(**NO_WINDOW), BY_PERCENTILES, 1, "percentiles 1-99"),
    "padding.dcm": (as_dicom(HOLED, PixelPaddingValue=1000), PADDED, 0, "window"),
    "padding, inverted.dcm": (
        as_dicom(
            4095 - HOLED,
            PixelPaddingValue=3095,
            PhotometricInterpretation="MONOCHROME1",
        ),
        PADDED,
        0,
        "inverted",
    ),
    "implicit.dcm": (as_dicom(syntax=ImplicitVRLittleEndian), LEVELS, 0, "window"),
    "big-endian.dcm": (as_dicom(syntax=ExplicitVRBigEndian), LEVELS, 0, "window"),
    "RLE.dcm": (as_dicom(syntax=RLELossless), LEVELS, 0, "window"),
    "JPEG.dcm": (
        as_dicom(
            LEVELS,
            JPEGBaseline8Bit,
            compressed(GREY, format="JPEG", quality=95),
            BitsStored=8,
            **NO_WINDOW,
        ),
        LEVELS,
        4,
        "8 bit as stored",
    ),
    "JPEG 2000.dcm": (
        as_dicom(
            LEVELS,
            JPEG2000Lossless,
            compressed(GREY, format="JPEG2000", no_jp2=True),
            BitsStored=8,
            **NO_WINDOW,
        ),
        LEVELS,
        0,
        "8 bit as stored",
    ),
    "IM000001": (as_dicom(), LEVELS, 0, "window"),  # as on a CD from a hospital
    "1.2.840.113619.2.55": (as_dicom(), LEVELS, 0, "window"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_the_known_levels(name, tmp_path):
    write, levels, most, said = FORMATS[name]
    write(tmp_path / name)
    pixels, facts = read_image(tmp_path / name)
    assert pixels.dtype == np.uint8 and pixels.shape == levels.shape
    assert np.abs(pixels - np.rint(levels).astype(int)).max() <= most
    assert said in facts["intensity"] and facts["bits"] in (1, 4, 8, 10, 12, 16)


def test_every_reader_is_tried():
    from cxr_tutorial.files.readers import READERS

    tried = {Path(name).suffix.lower() for name in FORMATS}
    assert all(set(reader.suffixes) & tried for reader in READERS)


def test_padding_has_no_say_in_the_percentiles(tmp_path):
    "Without padding in the count, a border of any width changes nothing."
    frame = np.full((132, 140), 4095, np.uint16)
    frame[50:82, 50:90] = np.minimum(TWELVE, 4000)
    as_dicom(frame, PixelPaddingValue=4095, **NO_WINDOW)(tmp_path / "padded.dcm")
    as_dicom(np.minimum(TWELVE, 4000), **NO_WINDOW)(tmp_path / "plain.dcm")
    padded, plain = (load_image(tmp_path / f"{name}.dcm") for name in ("padded", "plain"))
    assert np.array_equal(padded[50:82, 50:90], plain)
    assert padded[:50].max() == 0 and plain.max() == 255


TURNS = {
    1: LEVELS,
    2: LEVELS[:, ::-1],
    3: LEVELS[::-1, ::-1],
    4: LEVELS[::-1],
    5: LEVELS.T,
    6: LEVELS.T[:, ::-1],
    7: LEVELS.T[::-1, ::-1],
    8: LEVELS.T[::-1],
}


@pytest.mark.parametrize("suffix", ["jpeg", "png", "tif", "webp"])
def test_an_exif_turn_is_applied(suffix, tmp_path):
    for turn, levels in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = turn
        options = {"lossless": True} if suffix == "webp" else {}
        GREY.save(tmp_path / f"a.{suffix}", exif=exif, **options)
        pixels = load_image(tmp_path / f"a.{suffix}")
        assert pixels.shape == levels.shape
        assert np.abs(pixels - levels.astype(float)).mean() < 3, turn


def test_what_a_header_says_and_whose_name_it_never_tells(tmp_path):
    tags = {"StudyDate": "20240229", "PatientAge": "006M", "PatientSex": "F"}
    tags |= {"ViewPosition": "PA", "ImageLaterality": "U", "Manufacturer": "Maker"}
    tags |= {"BurnedInAnnotation": "NO", "ReferringPhysicianName": "Other^Name"}
    as_dicom(**tags)(tmp_path / "a.dcm")
    facts = read_image(tmp_path / "a.dcm")[1]
    known = {"patient_id": "0017", "acquired": "2024-02-29", "age": 0.5, "sex": "F"}
    known |= {"view": "PA", "laterality": "U", "site": "Maker", "burnt_in": False}
    assert known.items() <= facts.items() and facts["intent"] == "presentation"
    assert "Name" not in str(facts) and "Secret" not in str(facts)
    data = dicom._opened(tmp_path / "a.dcm")
    assert "PatientName" not in data and "ReferringPhysicianName" not in data


def test_for_processing_is_told_apart(tmp_path):
    as_dicom(SOPClassUID=DigitalXRayImageStorageForProcessing, **NO_WINDOW)(tmp_path / "a.dcm")
    as_dicom(PresentationIntentType="FOR PROCESSING")(tmp_path / "b.dcm")
    as_dicom(SOPClassUID="1.2.840.10008.5.1.4.1.1.1")(tmp_path / "c.dcm")
    intents = [read_image(tmp_path / f"{name}.dcm")[1]["intent"] for name in "abc"]
    assert intents == ["processing", "processing", None]


def test_headers_that_break_the_standard_are_read_without_a_warning(tmp_path, recwarn):
    as_dicom(StudyDate="20240229", PatientAge="006M")(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    content = content.replace(b"0017", b"Ma\xdf1")  # latin-1, which it does not say
    content = content.replace(b"20240229", b"02/29/24").replace(b"006M", b"half")
    (tmp_path / "a.dcm").write_bytes(content)
    recwarn.clear()
    facts = read_image(tmp_path / "a.dcm")[1]
    assert (facts["patient_id"], facts["acquired"], facts["age"]) == ("Ma\xdf1", None, None)
    assert not recwarn.list


REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
ARRAY3 = np.zeros((32, 40, 3), np.uint8)


def report(path):
    header(SOPClassUID=REPORT).save_as(path, enforce_file_format=True)


def cut(write, share: float = 0.5):
    "A function that writes the beginning of a file."

    def write_less(path):
        write(path)
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: int(len(content) * share)])

    return write_less


def announcing(rows: int, columns: int):
    "A DICOM file that holds less than it says."
    return lambda path: _announce(path, rows, columns)


def _announce(path, rows, columns):
    as_dicom()(path)
    data = pydicom.dcmread(path)
    data.Rows, data.Columns = rows, columns
    data.save_as(path)


def large_png(path):
    "A PNG that announces 20,000 x 20,000 pixels."
    content = bytearray(png_bytes(LEVELS, False))
    content[16:24] = struct.pack(">II", 20000, 20000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    Path(path).write_bytes(content)


def of_pydicom(name: str) -> Path:
    "A file that pydicom brings along."
    return Path(get_testdata_file(name, download=False))


REFUSED = {  # what goes in: name, how it is written, kind of the problem
    "a colour DICOM": (
        "a.dcm",
        as_dicom(
            ARRAY3,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            BitsStored=8,
        ),
        "colour",
    ),
    "a DICOM with several frames": (
        "a.dcm",
        as_dicom(np.stack([TWELVE, TWELVE]).reshape(-1, 40), NumberOfFrames=2),
        "several-images",
    ),
    "a DICOM report, without an image": ("a.dcm", report, "no-pixels"),
    "nothing but the four letters of DICOM": (
        "a.dcm",
        written(b"\0" * 128 + b"DICM"),
        "damaged-file",
    ),
    "a DICOM cut in half": ("a.dcm", cut(as_dicom()), "damaged-file"),
    "a DICOM cut in its header": ("a.dcm", cut(as_dicom(), 0.1), "damaged-file"),
    "a DICOM with 32 bits per pixel": (
        "a.dcm",
        as_dicom(TWELVE.astype(np.uint32), BitsStored=32),
        "wrong-pixels",
    ),
    "a DICOM with a slope of 0": (
        "a.dcm",
        as_dicom(RescaleSlope=0, RescaleIntercept=0),
        "damaged-file",
    ),
    "a DICOM with a window of letters": (
        "a.dcm",
        lambda path: (
            as_dicom()(path),
            Path(path).write_bytes(Path(path).read_bytes().replace(b"2048", b"wide")),
        ),
        "damaged-file",
    ),
    "a film in DICOM": (
        "a.dcm",
        as_dicom(LEVELS, MPEG2MPML, [b"film"], BitsStored=8),
        "no-decoder",
    ),
    "a DICOM that is packed as a whole": (
        "a.dcm",
        as_dicom(syntax=DeflatedExplicitVRLittleEndian),
        "no-decoder",
    ),
    "a DICOM that announces 60,000 x 60,000 pixels": (
        "a.dcm",
        announcing(60000, 60000),
        "too-large",
    ),
    "a PNG that announces 20,000 x 20,000 pixels": ("a.png", large_png, "too-large"),
    "a JPEG named .dcm": ("a.dcm", saved(GREY, format="JPEG"), "wrong-type"),
    "a DICOM named .jpeg": ("a.jpeg", as_dicom(), "wrong-type"),
    "a PNG named .jpeg": ("a.jpeg", saved(GREY, format="PNG"), "wrong-type"),
    "text named .dcm": ("a.dcm", written(b"404 not found"), "not-an-image"),
    "a TIFF of floating-point numbers": (
        "a.tif",
        saved(Image.fromarray(LEVELS.astype(np.float32))),
        "wrong-pixels",
    ),
    "a TIFF of signed numbers": ("a.tif", written(tiff_bytes(WIDE, 1, 2)), "wrong-pixels"),
    "a TIFF with two pages": (
        "a.tif",
        saved(GREY, save_all=True, append_images=[GREY]),
        "several-images",
    ),
    "a moving PNG": (
        "a.png",
        saved(GREY, save_all=True, append_images=[GREY.transpose(0)]),
        "several-images",
    ),
    "a moving WebP": (
        "a.webp",
        saved(GREY, save_all=True, append_images=[GREY.transpose(0)]),
        "several-images",
    ),
    "a JPEG cut in half": ("a.jpeg", cut(saved(GREY)), "damaged-file"),
    "a PNG cut in half": ("a.png", cut(saved(GREY)), "damaged-file"),
    "a TIFF cut in half": ("a.tif", cut(saved(GREY)), "damaged-file"),
    "a folder named .png": ("a.png", lambda path: Path(path).mkdir(), "unreadable-file"),
    "a pipe named .png": ("a.png", os.mkfifo, "unreadable-file"),
}


@pytest.mark.fault("{fault}", entrance="read_image")
@pytest.mark.parametrize("fault", REFUSED)
def test_refused_with_the_reason(fault, tmp_path, saw):
    name, write, kind = REFUSED[fault]
    write(tmp_path / name)
    with pytest.raises(ImageError) as stopped:
        read_image(tmp_path / name)
    row = stopped.value.problem
    assert row["kind"] == kind and row["path"] == str(tmp_path / name) and row["remedy"]
    assert "Secret" not in str(stopped.value)
    saw(stopped.value)


COMPRESSED = {  # what goes in: a file, and the plugins of pydicom that are there
    "a DICOM in JPEG-LS, and no package that decodes it": ("MR_small_jpeg_ls_lossless.dcm", {}),
    "a DICOM in JPEG of 12 bits, which Pillow does not decode": (
        "JPGExtended.dcm",
        {"pillow": None},
    ),
}


@pytest.mark.fault("{fault}", entrance="read_image")
@pytest.mark.parametrize("fault", COMPRESSED)
def test_a_missing_decoder_is_named(fault, tmp_path, saw, monkeypatch):
    name, plugins = COMPRESSED[fault]
    (tmp_path / "a.dcm").write_bytes(of_pydicom(name).read_bytes())
    decoder = get_decoder(pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID)
    monkeypatch.setattr(decoder, "_available", plugins)
    with pytest.raises(ImageError) as stopped:
        read_image(tmp_path / "a.dcm")
    assert stopped.value.problem["kind"] == "no-decoder"
    assert "pylibjpeg" in stopped.value.problem["remedy"]
    saw(stopped.value)


def test_with_the_package_it_is_decoded():
    pytest.importorskip("libjpeg", reason="needs the extra dicom")
    levels = load_image(of_pydicom("MR_small_jpeg_ls_lossless.dcm"))
    assert np.array_equal(levels, load_image(of_pydicom("MR_small.dcm")))


ACCEPTED = {
    "a camera's MPO file named .jpg": (
        "a.jpg",
        saved(GREY, format="MPO", save_all=True, append_images=[GREY.transpose(0)]),
        (32, 40),
    ),
    "an image of 1 x 1": ("a.png", saved(GREY.crop((0, 0, 1, 1))), (1, 1)),
    "a DICOM of 1 x 1": ("a.dcm", as_dicom(TWELVE[:1, :1]), (1, 1)),
    "a DICOM without window, all of one value": (
        "a.dcm",
        as_dicom(np.full((32, 40), 7, np.uint16), **NO_WINDOW),
        (32, 40),
    ),
    "a DICOM without window, all padding": (
        "a.dcm",
        as_dicom(np.full((32, 40), 7, np.uint16), PixelPaddingValue=7, **NO_WINDOW),
        (32, 40),
    ),
    "a DICOM with a window of width 0": ("a.dcm", as_dicom(WindowWidth=0), (32, 40)),
}


@pytest.mark.fault("{fault}", entrance="read_image")
@pytest.mark.parametrize("fault", ACCEPTED)
def test_odd_but_read(fault, tmp_path, saw):
    name, write, shape = ACCEPTED[fault]
    write(tmp_path / name)
    pixels, facts = read_image(tmp_path / name)
    assert pixels.shape == shape
    saw(
        "read",
        f"{shape[0]} x {shape[1]}, {facts['intensity']}, from {pixels.min()} to {pixels.max()}",
    )


@pytest.mark.fault("DICOM files, one of them a report", entrance="read_folder")
def test_a_folder_names_what_is_no_xray(tmp_path, saw):
    for number, label in enumerate(["NORMAL", "PNEUMONIA"] * 2):
        (tmp_path / label).mkdir(exist_ok=True)
        as_dicom(TWELVE // (number + 1), PatientID=f"p{number}")(
            tmp_path / label / f"person{number}_virus_1.dcm"
            if label == "PNEUMONIA"
            else tmp_path / label / f"IM-000{number}-0001.dcm"
        )
    report(tmp_path / "NORMAL" / "IM-0009-0001.dcm")
    with pytest.raises(CohortError) as stopped:
        read_folder(tmp_path)
    assert stopped.value.problems.kind.tolist() == ["no-pixels"]
    saw(stopped.value)


MIXED = {  # how the odd one is written, and the others; kind of the notice
    "an image For Processing among images For Presentation": (
        ".dcm",
        lambda stored, odd: as_dicom(
            stored,
            PatientID=f"p{stored.max()}",
            PresentationIntentType="FOR " + ("PROCESSING" if odd else "PRESENTATION"),
        ),
        "mixed-intents",
    ),
    "a 16-bit PNG that holds 12 bits among full ones": (
        ".png",
        lambda stored, odd: saved(Image.fromarray(stored if odd else stored * 16)),
        "mixed-ranges",
    ),
}


@pytest.mark.fault("{fault}", entrance="read_folder")
@pytest.mark.parametrize("fault", MIXED)
def test_images_of_two_kinds_are_said(fault, tmp_path, saw):
    suffix, write, kind = MIXED[fault]
    for number in range(4):
        folder = tmp_path / ("PNEUMONIA" if number % 2 else "NORMAL")
        folder.mkdir(exist_ok=True)
        name = f"person{number}_virus_1" if number % 2 else f"IM-000{number}-0001"
        write(np.minimum(TWELVE, 4090 + number), number == 2)(folder / f"{name}{suffix}")
    with pytest.warns(CohortWarning) as said:
        assert len(read_folder(tmp_path)) == 4
    assert said[0].message.problems.kind.tolist() == [kind]
    saw("read, with a warning", str(said[0].message))


def png_twin(folder: Path, twin: Path) -> None:
    "The same images as PNG, by the plainest reading of the phantom's own DICOM files."
    for file in folder.rglob("*.dcm"):
        data = pydicom.dcmread(file)
        grey = data.pixel_array / 4095 * 255
        if data.PhotometricInterpretation == "MONOCHROME1":
            grey = 255 - grey
        out = twin / file.relative_to(folder).with_suffix(".png")
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(np.rint(grey))).save(out)


def jpeg_twins(folder: Path, dicom_folder: Path, jpeg_folder: Path) -> None:
    "The images of a folder of PNG files as JPEG files, and as DICOM files that hold the same JPEG."
    for file in folder.rglob("*.png"):
        place, stream = file.relative_to(folder), io.BytesIO()
        Image.open(file).save(stream, "JPEG", quality=90)
        for root, suffix in ((dicom_folder, ".dcm"), (jpeg_folder, ".jpeg")):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            if suffix == ".jpeg":
                (root / place).with_suffix(suffix).write_bytes(stream.getvalue())
        data = pydicom.dcmread(folder.parent / "dicom" / place.with_suffix(".dcm"))
        data.PixelData = encapsulate([stream.getvalue()])
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.PhotometricInterpretation, data.LossyImageCompression = "MONOCHROME2", "01"
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.WindowCenter, data.WindowWidth = 7, 128, 256
        data.save_as((dicom_folder / place).with_suffix(".dcm"), enforce_file_format=True)


def twins(folder: Path, **settings):
    "The cohort tables of DICOM phantoms and of their PNG twin."
    write_cohort(folder / "dicom", file_format="dicom", workers=1, **settings)
    png_twin(folder / "dicom", folder / "png")
    return read_folder(folder / "dicom"), read_folder(folder / "png")


def test_a_jpeg_in_a_dicom_file_gives_what_the_jpeg_file_gives(tmp_path):
    "Decoders round differently; both are read by the same."
    twins(tmp_path, patients=4, size=(64, 80))
    jpeg_twins(tmp_path / "png", tmp_path / "dicom-jpeg", tmp_path / "jpeg")
    packed, plain = read_folder(tmp_path / "dicom-jpeg"), read_folder(tmp_path / "jpeg")
    assert packed.image_hash.tolist() == plain.image_hash.tolist() and len(plain) > 4


def test_dicom_phantoms_give_the_levels_of_their_twin(tmp_path):
    of_dicom, of_png = twins(tmp_path, patients=8, size=(32, 40))
    assert set(of_dicom["mode"]) == {"MONOCHROME1", "MONOCHROME2"}
    assert of_dicom.image_hash.tolist() == of_png.image_hash.tolist()
    assert of_dicom.patient_id.tolist() == of_png.patient_id.tolist()
    jpeg_twins(tmp_path / "png", tmp_path / "dicom-jpeg", tmp_path / "jpeg")
    inside, outside = read_folder(tmp_path / "dicom-jpeg"), read_folder(tmp_path / "jpeg")
    assert inside.patient_id.tolist() == outside.patient_id.tolist()
    for one, other in zip(inside.path, outside.path, strict=True):
        apart = load_image(one).astype(int) - load_image(other)
        assert np.abs(apart).max() <= 1  # decoders of JPEG may round differently


@pytest.mark.slow
def test_two_hundred_dicom_phantoms_go_all_the_way_as_their_twins_do(tmp_path):
    "Of DICOM files without compression the twin is PNG, of those that hold JPEG it is that JPEG."
    from cxr_tutorial.audit.report import audit
    from cxr_tutorial.study.study import evaluate_model, run_study

    of_dicom, of_png = twins(tmp_path, patients=110, size=(64, 80))
    assert len(of_dicom) >= 200 and of_dicom.image_hash.tolist() == of_png.image_hash.tolist()
    jpeg_twins(tmp_path / "png", tmp_path / "dicom-jpeg", tmp_path / "jpeg")
    aurocs, kinds = {}, {}
    for name in ("dicom", "png", "dicom-jpeg", "jpeg"):
        kinds[name] = set(audit(tmp_path / name)["kind"])
        options = {"size": 64, "epochs": 5, "draws": 50}
        trained = run_study(tmp_path / name, tmp_path / f"study-{name}", **options)
        again = evaluate_model(tmp_path / f"study-{name}", tmp_path / name, draws=50)
        aurocs[name] = (trained["auroc"], again["auroc"])
    print(aurocs, kinds)
    assert aurocs["dicom"] == pytest.approx(aurocs["png"], abs=0.005)
    assert aurocs["dicom-jpeg"] == pytest.approx(aurocs["jpeg"], abs=0.005)


SAMPLES = {}


def sample(name: str) -> bytes:
    "A small good file in one of the formats."
    if name not in SAMPLES:
        place = Path(os.environ["CXR_CACHE"], f"sample-{abs(hash(name))}{Path(name).suffix}")
        FORMATS[name][0](place)
        SAMPLES[name] = place.read_bytes()
        place.unlink()
    return SAMPLES[name]


@st.composite
def damaged(draw) -> tuple[str, bytes]:
    "The name of a format, and a file with some bytes changed, cut out, doubled or cut off."
    name = draw(st.sampled_from(sorted(FORMATS)))
    content = bytearray(sample(name))
    chance = random.Random(draw(st.integers(0, 2**32)))  # spread evenly, not near the beginning
    for _ in range(draw(st.integers(1, 4))):
        place = chance.randrange(len(content) + 1)
        if draw(st.booleans()):
            place = min(place, chance.randrange(700))  # headers
        way = draw(st.sampled_from(["flip", "write", "cut out", "double", "cut off"]))
        size = draw(st.integers(1, 64))
        if way == "flip" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif way == "write":
            content[place : place + size] = draw(st.binary(min_size=size, max_size=size))
        elif way == "cut out":
            del content[place : place + size]
        elif way == "double":
            content[place:place] = content[place : place + size]
        elif way == "cut off" and place > 200:
            del content[place:]
    return name, bytes(content)


def read_damaged(folder: Path, name: str, content: bytes) -> str:
    "Read a damaged file: an image or a typed problem comes out, in under two seconds."
    file = folder / name
    file.write_bytes(content)
    start = time.process_time()
    try:
        pixels, facts = read_image(file)
        assert pixels.dtype == np.uint8 and pixels.ndim == 2 and facts["intensity"]
        outcome = "read"
    except ImageError as error:
        assert "Secret" not in str(error)
        outcome = error.problem["kind"]
    assert time.process_time() - start < 2, f"{name} took too long"
    return outcome


@given(damaged())
@settings(max_examples=150, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_never_crash(tmp_path_factory, case):
    folder = Path(os.environ["CXR_CACHE"], "damaged")
    folder.mkdir(exist_ok=True)
    read_damaged(folder, *case)


LONG = """
import re, sys, warnings
from collections import Counter
from pathlib import Path
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from hypothesis import HealthCheck, given, settings
import test_formats as t
folder, seen = Path(sys.argv[2]), Counter()
@given(t.damaged())
@settings(max_examples=int(sys.argv[3]), deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))
def many(case):
    seen[t.read_damaged(folder, *case)] += 1
try:
    many()
except BaseException as error:  # without the long listing of the bytes
    sys.exit(f"{error!r:.300} after {error.__context__!r:.300}")
# getrusage would count the memory of the process that started this one
status = Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1] if status.exists() else 0
print(dict(seen), int(peak) // 1024)
"""


@pytest.mark.slow
@pytest.mark.fault("thousands of files with changed bytes, in every format", entrance="read_image")
def test_thousands_of_damaged_files_in_bounded_time_and_memory(tmp_path, saw):
    environment = {**os.environ, "CXR_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", LONG, str(Path(__file__).parent), str(tmp_path), "6000"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    print(result.stdout)
    assert int(result.stdout.split()[-1]) < 1000, "megabytes"
    saw("read, or refused with a typed problem; under 2 s and 1 GB")
