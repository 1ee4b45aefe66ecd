"""Write a mask of a DICOM series as a DICOM Segmentation (DICOM PS3.3 A.51) with highdicom.

The object references the slices and copies the patient and study attributes of the series, as the standard requires,
so it is as confidential as the series. No other output of a prediction contains patient data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import i2net_bundle
from i2net_bundle.io.dicom.patient import BLANK_KEYWORDS, copy_patient_and_study
from i2net_bundle.io.dicom.series import find_series
from i2net_bundle.io.privacy import quiet_dicom_libraries, shown_path
from i2net_bundle.io.writing import written_whole
from i2net_bundle.labels import LabelClass

if TYPE_CHECKING:  # the code dictionary takes long to import
    from i2net_bundle.io.dicom.concepts import SegmentConcept

logger = logging.getLogger("i2net.prediction")

_INSTALL = "DICOM-SEG needs highdicom: pip install 'i2net-bundle[dicom]'."
_REQUIRED = ("FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID", "Rows", "Columns")
_SLICE_TAGS = [
    *_REQUIRED,
    *("StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "PositionReferenceIndicator"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
]
_UTF_8 = "ISO_IR 192"
_SERIES_NUMBER = 9001
"""Chosen not to collide with the scanner's series numbers."""


def write_dicom_seg(
    mask: np.ndarray, folder: str | Path, path: Path, classes: Sequence[LabelClass], chosen: int | str | None = None
) -> None:
    """Write a mask as a binary DICOM Segmentation with one segment per class.

    Args:
        mask: class ids (columns, rows, slices), in the voxel order of `read_series`.
        folder: folder of the series; subfolders are searched.
        path: output file; written under a temporary name and renamed.
        classes: background first; `segment_concept` finds the code of a class without a SNOMED code.
        chosen: number or UID of the series if the folder contains several.

    Raises:
        ImportError: highdicom is not installed.
        ValueError: mask and series differ in shape, or the slices lack attributes that the standard requires.
    """
    try:
        import highdicom  # noqa: F401  used below; fail before any work is done
    except ImportError as cause:
        raise ImportError(_INSTALL) from cause
    series, _ = find_series(folder, chosen)
    shown = shown_path(folder)
    expected = (*series.size, series.num_slices)
    if mask.shape != expected:
        raise ValueError(f"{shown} is a volume of {expected}, its mask {mask.shape}: the mask is not on its grid.")
    paths = [item.path for item in series.slices]
    with quiet_dicom_libraries():
        sources = _sources(paths, series.slice_spacing_mm, shown)
        segmentation = _segmentation(mask, sources, classes, shown)
        malformed = copy_patient_and_study(paths[0], segmentation)
        with written_whole(path) as temporary:
            segmentation.save_as(temporary)
    if malformed:
        logger.warning(
            f"{shown}: malformed attributes ({', '.join(malformed)}). The DICOM-SEG repeats those that can be written; "
            "correct them in the archive."
        )


def _sources(paths: Sequence[Path], spacing_mm: float | None, folder: str) -> list[Any]:
    """Read what a segmentation needs to know of its slices, and fill in what de-identification emptied.

    Attributes of the patient and the study are blank, so that no error of highdicom can quote them.
    """
    from pydicom import dcmread
    from pydicom.uid import generate_uid

    sources = [dcmread(path, stop_before_pixels=True, specific_tags=_SLICE_TAGS, force=True) for path in paths]
    if not sources[0].get("StudyInstanceUID") or not sources[0].get("SeriesInstanceUID"):
        logger.warning(
            f"{folder}: the slices have no StudyInstanceUID or SeriesInstanceUID. The DICOM-SEG gets a new study, so "
            "viewers do not link it to the slices."
        )
    study, series = generate_uid(), generate_uid()
    for source in sources:
        known = {
            "SOPClassUID": source.file_meta.get("MediaStorageSOPClassUID"),
            "SOPInstanceUID": source.file_meta.get("MediaStorageSOPInstanceUID"),
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "SliceThickness": spacing_mm,
        }
        for name, value in known.items():
            if not source.get(name):
                setattr(source, name, value)
        for name in BLANK_KEYWORDS:
            setattr(source, name, "")
    return sources


def _segmentation(mask: np.ndarray, sources: Sequence[Any], classes: Sequence[LabelClass], folder: str) -> Any:
    import highdicom

    from i2net_bundle.io.dicom.concepts import PRIVATE_SCHEME, private_scheme, segment_concept

    concepts = [segment_concept(item) for item in classes[1:]]
    named = zip(classes[1:], concepts, strict=True)
    descriptions = [_segment(number, item, concept) for number, (item, concept) in enumerate(named, 1)]
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=np.ascontiguousarray(mask.T),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions,
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="I2Net bundle",
            manufacturer_model_name="I2Net",
            software_versions=i2net_bundle.__version__,
            device_serial_number="none",
            series_description="I2Net segmentation (research, not for clinical use)",
            omit_empty_frames=bool(mask.any()),  # an empty mask still needs a frame
        )
    except Exception as cause:  # a required attribute is missing or malformed; the message may quote it
        missing = next((name for name in _REQUIRED if not all(source.get(name) for source in sources)), None)
        reason = f"no {missing}" if missing else f"{type(cause).__name__} in highdicom"
        raise ValueError(
            f"{folder}: the slices lack attributes that a DICOM-SEG requires ({reason}). Use the NIfTI mask, or the "
            "series before its attributes were removed."
        ) from None
    segmentation.SpecificCharacterSet = _UTF_8  # class names may contain characters outside the set of the slices
    if any(concept.kind.scheme_designator == PRIVATE_SCHEME for concept in concepts):
        segmentation.CodingSchemeIdentificationSequence = [private_scheme()]
    return segmentation


def _segment(number: int, item: LabelClass, concept: SegmentConcept) -> Any:
    import highdicom
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    from i2net_bundle.io.dicom.concepts import dicom_text

    segment = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=dicom_text(item.name),
        segmented_property_category=concept.category,
        segmented_property_type=concept.kind,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="I2Net", family=codes.DCM.ArtificialIntelligence, version=i2net_bundle.__version__
        ),
        anatomic_regions=None if concept.region is None else [concept.region],
    )
    if concept.laterality is not None:
        side = Dataset()
        side.CodeValue, side.CodeMeaning = concept.laterality.value, concept.laterality.meaning
        side.CodingSchemeDesignator = concept.laterality.scheme_designator
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    segment.RecommendedDisplayCIELabValue = _cielab(item.color)
    return segment


def _cielab(color: str) -> list[int]:
    """Convert ``#RRGGBB`` to CIELab in 16 bits (PS3.3 C.10.7.1.1): L* from 0 to 100, a* and b* from -128 to 127."""
    from skimage.color import rgb2lab

    lightness, a, b = rgb2lab(np.array([[[int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]]]))[0, 0]
    return [round(lightness / 100 * 65535), round((a + 128) / 255 * 65535), round((b + 128) / 255 * 65535)]
