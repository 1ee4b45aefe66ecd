"""Write the contours of a DICOM Segmentation as an RT Structure Set (DICOM PS3.3 A.19).

highdicom has no class for it, so its modules are filled here. The contours lie in the planes of the slices, in the
patient's coordinates (LPS, mm); `closed_contours` says where they run. The object refers to the slices and copies the
same attributes of the patient and the study as the segmentation does, so it is as confidential as the series.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from i2net_bundle.io.dicom.contours import closed_contours
from i2net_bundle.io.dicom.patient import copy_patient_and_study
from i2net_bundle.io.privacy import quiet_dicom_libraries
from i2net_bundle.io.writing import written_whole
from i2net_bundle.labels import LabelClass

_SERIES_NUMBER = 9003
"""The report's series has the number before it."""
_MAX_POINTS = 2_000_000
"""Limit of a file's contours, about 50 MB."""
_DIGITS = 4
"""Decimal places of coordinates in mm. A value has at most 16 characters (VR DS)."""
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, but the class by which structure sets refer to a study."""


def write_dicom_rtstruct(segmentation: Path, path: Path, classes: Sequence[LabelClass]) -> None:
    """Write a region of interest (ROI) per segment with voxels; its number, name and codes are those of the segment.

    Args:
        segmentation: file of `write_dicom_seg`.
        path: output file; written under a temporary name and renamed.
        classes: background first, as in the segmentation.

    Raises:
        ValueError: the segmentation is empty, or its contours have too many points.
    """
    import highdicom
    from pydicom.uid import RTStructureSetStorage

    with quiet_dicom_libraries():
        source = highdicom.seg.segread(segmentation)
        contours = _contours(source)
        if not contours:
            raise ValueError("the mask is empty, and an RTSTRUCT needs at least one contour")
        structures = highdicom.base.SOPClass(
            study_instance_uid=source.StudyInstanceUID,
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            sop_class_uid=RTStructureSetStorage,
            instance_number=1,
            modality="RTSTRUCT",
            manufacturer=source.Manufacturer,
            manufacturer_model_name=source.ManufacturerModelName,
            software_versions=source.SoftwareVersions,
            device_serial_number=source.DeviceSerialNumber,
            series_description="I2Net contours (research, not for clinical use)",
        )  # in implicit VR: an explicit DS ends at 64 KiB, some 2,400 points
        structures.SpecificCharacterSet = source.SpecificCharacterSet
        structures.OperatorsName = ""
        structures.ApprovalStatus = "UNAPPROVED"
        _add_structure_set(structures, source)
        if "CodingSchemeIdentificationSequence" in source:  # of class names that are no concept of DICOM
            structures.CodingSchemeIdentificationSequence = source.CodingSchemeIdentificationSequence
        segments = [item for item in source.SegmentSequence if item.SegmentNumber in contours]
        structures.StructureSetROISequence = [_roi(item, source.FrameOfReferenceUID) for item in segments]
        structures.RTROIObservationsSequence = [_observation(item) for item in segments]
        structures.ROIContourSequence = [
            _roi_contour(number, classes[number].color, contours[number])
            for number in (int(item.SegmentNumber) for item in segments)
        ]
        copy_patient_and_study(segmentation, structures)
        with written_whole(path) as temporary:
            structures.save_as(temporary)


def _contours(source: Any) -> Mapping[int, list[Any]]:
    """Items of the ContourSequence of each segment that has voxels."""
    found, count = defaultdict[int, list[Any]](list), 0
    (shared,) = source.SharedFunctionalGroupsSequence
    for index, own in enumerate(source.PerFrameFunctionalGroupsSequence):
        groups = ChainMap(*({item.keyword: item.value for item in part} for part in (own, shared)))
        (segment,), (derivation,) = groups["SegmentIdentificationSequence"], groups["DerivationImageSequence"]
        number, (image,) = int(segment.ReferencedSegmentNumber), derivation.SourceImageSequence
        for points in _in_patient(source.get_stored_frame(index, as_index=True), groups):
            count += len(points)
            if count > _MAX_POINTS:
                raise ValueError(
                    f"the contours have more than {_MAX_POINTS:,} points, as those of noise do. Look at the mask"
                )
            found[number].append(_contour(points, len(found[number]) + 1, image))
    return found


def _in_patient(frame: np.ndarray, groups: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """Contours of a frame (rows, columns) as points (P, 3) in LPS mm."""
    (measures,), (plane,) = groups["PixelMeasuresSequence"], groups["PlanePositionSequence"]
    row_mm, column_mm = measures.PixelSpacing  # between rows, between columns
    (orientation,) = groups["PlaneOrientationSequence"]
    along_row, along_column = np.reshape(orientation.ImageOrientationPatient, (2, 3)).astype(float)
    first = np.array(plane.ImagePositionPatient, float)
    to_mm = np.stack([along_column * float(row_mm), along_row * float(column_mm)])  # of a step in rows, in columns
    for contour in closed_contours(frame):
        yield first + contour @ to_mm


def _contour(points: np.ndarray, number: int, image: Any) -> Any:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ContourImageSequence = [_reference(image)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    item.ContourNumber = number
    values = np.round(points, _DIGITS).ravel() + 0.0  # without -0
    text = "\\".join(f"{value:.10g}" for value in values)
    item.add(DataElement("ContourData", "DS", text, already_converted=True))  # an object per value would take gigabytes
    return item


def _roi_contour(number: int, color: str, contours: list[Any]) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    item.ContourSequence = contours
    return item


def _roi(segment: Any, frame_of_reference: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ROINumber = segment.SegmentNumber
    item.ReferencedFrameOfReferenceUID = frame_of_reference
    item.ROIName = segment.SegmentLabel
    item.ROIGenerationAlgorithm = segment.SegmentAlgorithmType
    item.ROIDerivationAlgorithmIdentificationSequence = segment.SegmentationAlgorithmIdentificationSequence
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    item.ROIGenerationDescription = f"{algorithm.AlgorithmName} {algorithm.AlgorithmVersion}"
    return item


def _observation(segment: Any) -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = segment.SegmentNumber
    (category,) = segment.SegmentedPropertyCategoryCodeSequence
    is_organ = category.CodeValue == codes.SCT.AnatomicalStructure.value
    item.RTROIInterpretedType = "ORGAN" if is_organ else ""  # GTV and the like are a physician's decision
    item.ROIInterpreter = ""
    item.SegmentedPropertyCategoryCodeSequence = segment.SegmentedPropertyCategoryCodeSequence
    item.RTROIIdentificationCodeSequence = segment.SegmentedPropertyTypeCodeSequence
    if "AnatomicRegionSequence" in segment:
        item.AnatomicRegionSequence = segment.AnatomicRegionSequence
    return item


def _add_structure_set(structures: Any, source: Any) -> None:
    """Label, date and frame of reference of the structure set, and all slices of the series."""
    from pydicom.dataset import Dataset

    now = datetime.now()
    structures.StructureSetLabel = "I2Net"
    structures.StructureSetDate, structures.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    (referred,) = source.ReferencedSeriesSequence
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = referred.SeriesInstanceUID
    series.ContourImageSequence = [_reference(item) for item in referred.ReferencedInstanceSequence]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, source.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = source.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    structures.ReferencedFrameOfReferenceSequence = [frame]
    structures.FrameOfReferenceUID, structures.PositionReferenceIndicator = source.FrameOfReferenceUID, ""


def _reference(image: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
        image.ReferencedSOPClassUID,
        image.ReferencedSOPInstanceUID,
    )
    return item
