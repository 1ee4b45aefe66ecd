"""Masks of NRRD, MetaImage and DICOM have their image's position, also as DICOM-SEG."""

from __future__ import annotations

import locale
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, its usual name
from monai.transforms import Invertd

from i2net_bundle.checks.scans import load_volume
from i2net_bundle.io.dicom.dicom_seg import write_dicom_seg
from i2net_bundle.io.masks import mask_name, write_mask
from i2net_bundle.io.options import VolumeOptions
from i2net_bundle.labels import classes_of, label_table
from i2net_bundle.prediction import SaveMaskd
from i2net_bundle.transforms import volume_preprocessing
from tests.checks.ct_files import hu_volume, save
from tests.io.dicom.files import OTHER_UID, PATIENT, two_series, write_ct
from tests.io.volume_files import converted, rotated

ORGANS = label_table("synapse").classes


@pytest.mark.parametrize(
    ("suffix", "mask"), [(".nrrd", ".nrrd"), (".nhdr", ".nrrd"), (".mha", ".mha"), (".mhd", ".mha")]
)
def test_a_mask_has_its_image_s_format_and_geometry(suffix: str, mask: str, tmp_path: Path) -> None:
    path = converted(save(tmp_path / "ct.nii.gz", hu_volume(), rotated()), suffix)
    preprocessing = volume_preprocessing(("image",))
    item = preprocessing({"image": str(path), "case": "one"})
    item["pred"] = item["image"] > 0.35  # of the window from -125 to 275 HU: above 15 HU
    SaveMaskd("pred", tmp_path / "out")(Invertd("pred", preprocessing, orig_keys="image", nearest_interp=True)(item))
    assert [file.name for file in (tmp_path / "out").iterdir()] == [f"one_mask{mask}"]
    image, found = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "out" / f"one_mask{mask}"))
    assert found.GetPixelID() == sitk.sitkUInt8
    for kind in ("Size", "Spacing", "Origin", "Direction"):
        assert getattr(found, f"Get{kind}")() == pytest.approx(getattr(image, f"Get{kind}")(), abs=1e-9)
    assert np.array_equal(sitk.GetArrayFromImage(found), (sitk.GetArrayFromImage(image) > 15).astype(np.uint8))


def test_a_mask_takes_over_no_text_of_an_nrrd_header(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(hu_volume().T)
    image.SetMetaData("PatientName", "Doe^Jane")
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert b"Doe" in (tmp_path / "a.nrrd").read_bytes()
    write_mask(np.ones(hu_volume().shape), tmp_path / "a.nrrd", tmp_path / "m.nrrd")
    assert b"Doe" not in (tmp_path / "m.nrrd").read_bytes()
    with pytest.raises(ValueError, match=r"a\.nrrd is .*: the mask is not on its grid"):
        write_mask(np.ones((2, 2, 2)), tmp_path / "a.nrrd", tmp_path / "n.nrrd")


def test_a_mask_of_a_dicom_series_is_nifti_at_its_place(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "scan")
    assert mask_name(series) == "scan_mask.nii.gz"
    preprocessing = volume_preprocessing(("image",), options=VolumeOptions(any_intensities=True))
    item = preprocessing({"image": str(series)})
    item["pred"] = (item["image"] * 400 - 125).round()  # the number of each slice
    SaveMaskd("pred", tmp_path / "out")(Invertd("pred", preprocessing, orig_keys="image", nearest_interp=True)(item))
    mask = nib.load(tmp_path / "out" / "scan_mask.nii.gz")
    stored, _ = load_volume(series, VolumeOptions(any_intensities=True))
    np.testing.assert_allclose(mask.affine, stored.affine, atol=1e-5)
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (1, 1)
    assert np.array_equal(np.asarray(mask.dataobj), np.asarray(stored.dataobj))


# DICOM-SEG

pydicom = pytest.importorskip("pydicom", reason="needs highdicom and pydicom: pip install 'i2net-bundle[dicom]'")
highdicom = pytest.importorskip("highdicom")


def decoded(path: Path, folder: Path) -> tuple[np.ndarray, dict[int, str]]:
    """The segments of a DICOM-SEG on the grid (columns, rows, slices) of its series, by the standard's own words.

    Bits are unpacked here and frames placed by their patient positions: nothing of the writer takes part.
    """
    content = pydicom.dcmread(path)
    heights = sorted(float(pydicom.dcmread(file).ImagePositionPatient[2]) for file in folder.glob("*.dcm"))
    bits = np.unpackbits(np.frombuffer(content.PixelData, np.uint8), bitorder="little")
    frames = bits[: content.NumberOfFrames * content.Rows * content.Columns]
    frames = frames.reshape(content.NumberOfFrames, content.Rows, content.Columns)
    mask = np.zeros((content.Columns, content.Rows, len(heights)), np.uint8)
    for frame, groups in zip(frames, content.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        height = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        mask[..., int(np.argmin(np.abs(np.array(heights) - height)))][frame.T > 0] = number
    return mask, {int(item.SegmentNumber): item.SegmentLabel for item in content.SegmentSequence}


@pytest.mark.parametrize("heights_mm", [(0, 5, 10, 15), (15, 0, 10, 5)], ids=["in order", "out of order"])
def test_a_dicom_seg_contains_every_voxel_at_its_slice(heights_mm: tuple[float, ...], tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan", heights_mm)
    mask = np.random.default_rng(0).integers(0, 9, (6, 5, 4)).astype(np.uint8)
    mask[..., 2] = 0
    write_dicom_seg(mask, folder, tmp_path / "m.dcm", ORGANS)
    found, names = decoded(tmp_path / "m.dcm", folder)
    assert np.array_equal(found, mask)
    assert names == dict(enumerate(label_table("synapse").names[1:], 1))


def test_a_dicom_seg_belongs_to_the_patient_and_study_of_its_series(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan")
    write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", ORGANS)
    content = pydicom.dcmread(tmp_path / "m.dcm")
    assert str(content.PatientName) == PATIENT["0010|0010"]
    assert (content.StudyInstanceUID, content.Modality) == ("1.2.3", "SEG")
    (series,) = content.ReferencedSeriesSequence
    sources = {pydicom.dcmread(file).SOPInstanceUID for file in folder.iterdir()}
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == sources
    kidneys = {
        item.SegmentLabel: item.SegmentedPropertyTypeCodeSequence[0]
        for item in content.SegmentSequence
        if "kidney" in item.SegmentLabel
    }
    sides = {name: code.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning for name, code in kidneys.items()}
    assert sides == {"left kidney": "Left", "right kidney": "Right"}


def test_an_empty_mask_is_a_dicom_seg_without_a_voxel(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan")
    write_dicom_seg(np.zeros((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", ORGANS)
    assert not decoded(tmp_path / "m.dcm", folder)[0].any()


def test_the_series_that_was_chosen_is_the_one_referred_to(tmp_path: Path) -> None:
    two_series(tmp_path / "study")
    write_dicom_seg(np.ones((6, 5, 2), np.uint8), tmp_path / "study", tmp_path / "m.dcm", ORGANS, OTHER_UID)
    (series,) = pydicom.dcmread(tmp_path / "m.dcm").ReferencedSeriesSequence
    assert series.SeriesInstanceUID == OTHER_UID
    with pytest.raises(ValueError, match=r"study is a volume of \(6, 5, 2\), its mask \(6, 5, 4\)"):
        write_dicom_seg(np.ones((6, 5, 4)), tmp_path / "study", tmp_path / "n.dcm", ORGANS, OTHER_UID)
    assert not (tmp_path / "n.dcm").exists()


def test_classes_of_any_name_have_legal_codes_and_their_own_colours(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan")
    names = ["background", "spleen", "Lebertumor (Ø > 1 cm)", "肝臓", "bowel\\loop", "x" * 80, "liver tumour"]
    classes = classes_of(names)
    mask = np.random.default_rng(0).integers(0, len(names), (6, 5, 4)).astype(np.uint8)
    write_dicom_seg(mask, folder, tmp_path / "m.dcm", classes)
    found, labels = decoded(tmp_path / "m.dcm", folder)
    assert np.array_equal(found, mask)
    assert list(labels.values()) == [*names[1:4], "bowel/loop", "x" * 64, "liver tumour"]
    content = pydicom.dcmread(tmp_path / "m.dcm")
    codes = [item.SegmentedPropertyTypeCodeSequence[0] for item in content.SegmentSequence]
    assert [code.CodingSchemeDesignator for code in codes] == ["SCT", *4 * ["99I2NET"], "SCT"]
    assert len({code.CodeValue for code in codes}) == len(codes)
    assert all(len(code.CodeValue) <= 16 and len(code.CodeMeaning) <= 64 for code in codes)
    (scheme,) = content.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99I2NET"
    tumour = content.SegmentSequence[-1]
    assert tumour.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Morphologically Abnormal Structure"
    assert (codes[-1].CodeMeaning, tumour.AnatomicRegionSequence[0].CodeMeaning) == ("Neoplasm", "Liver")
    colors = {tuple(item.RecommendedDisplayCIELabValue) for item in content.SegmentSequence}
    assert len(colors) == len(codes)


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192", None], ids=["Latin 1", "UTF-8", "ASCII"])
def test_the_patient_s_name_survives_whatever_letters_the_classes_have(
    tmp_path: Path, character_set: str | None
) -> None:
    folder = write_ct(tmp_path / "scan")
    name = "Doe^Jane" if character_set is None else "Müller^Änne"
    for file in folder.iterdir():
        content = pydicom.dcmread(file)
        if character_set is None:
            content.pop("SpecificCharacterSet", None)
        else:
            content.SpecificCharacterSet = character_set
        content.PatientName = name
        content.save_as(file)
    write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", classes_of(["background", "肝臓"]))
    content = pydicom.dcmread(tmp_path / "m.dcm")
    assert (str(content.PatientName), content.SegmentSequence[0].SegmentLabel) == (name, "肝臓")


def test_known_classes_need_no_private_scheme(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan")
    write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", ORGANS)
    assert "CodingSchemeIdentificationSequence" not in pydicom.dcmread(tmp_path / "m.dcm")


def test_highdicom_reads_private_codes_back(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan")
    write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", classes_of(["background", "My class"]))
    (segment,) = highdicom.seg.segread(tmp_path / "m.dcm").SegmentSequence
    assert segment.segmented_property_type.value == "MY_CLASS"
    assert segment.segmented_property_type.meaning == "My class"


def test_slices_that_were_stripped_are_named(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan")
    for file in folder.iterdir():
        content = pydicom.dcmread(file)
        del content.FrameOfReferenceUID
        content.save_as(file)
    with pytest.raises(ValueError, match=r"scan: the slices lack .*\(no FrameOfReferenceUID\)\. Use the NIfTI mask"):
        write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", ORGANS)


def test_slices_whose_identifiers_were_emptied_give_a_study_of_its_own_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_ct(tmp_path / "scan")
    instances = set()
    for file in folder.iterdir():
        content = pydicom.dcmread(file)
        instances.add(content.file_meta.MediaStorageSOPInstanceUID)
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(content, name, "")
        pydicom.dcmwrite(file, content, enforce_file_format=False)
    mask = np.random.default_rng(0).integers(0, 9, (6, 5, 4)).astype(np.uint8)
    write_dicom_seg(mask, folder, tmp_path / "m.dcm", ORGANS)
    assert "have no StudyInstanceUID" in caplog.text
    assert np.array_equal(decoded(tmp_path / "m.dcm", folder)[0], mask)
    (series,) = pydicom.dcmread(tmp_path / "m.dcm").ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == instances


def test_no_name_and_no_uid_gets_into_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_ct(tmp_path / "scan")
    with caplog.at_level("INFO"):
        write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", ORGANS)
    secrets = [*PATIENT.values(), *(pydicom.dcmread(file).SOPInstanceUID for file in folder.iterdir())]
    assert not [secret for secret in secrets if secret in caplog.text]


def test_writing_leaves_the_locale_alone(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "scan")
    for name in ("C.UTF-8", "en_US.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, name)
        except locale.Error:
            continue
        load_volume(folder, VolumeOptions(any_intensities=True))
        write_dicom_seg(np.ones((6, 5, 4), np.uint8), folder, tmp_path / "m.dcm", ORGANS)
        write_mask(np.ones((6, 5, 4)), folder, tmp_path / "m.nii.gz", affine=np.eye(4))
        assert locale.setlocale(locale.LC_CTYPE) == name
        return
    pytest.skip("this system has no locale but C")
