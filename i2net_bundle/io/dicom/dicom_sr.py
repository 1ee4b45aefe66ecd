"""Write the measurements of a DICOM Segmentation as a structured report (DICOM PS3.16, TID 1500) with highdicom.

The report refers to the segments of the segmentation, and copies the same attributes of the patient and the study, so
it is as confidential as the series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import i2net_bundle
from i2net_bundle.io.dicom.patient import BLANK_KEYWORDS, copy_patient_and_study
from i2net_bundle.io.privacy import quiet_dicom_libraries
from i2net_bundle.io.writing import written_whole
from i2net_bundle.labels import LabelClass

if TYPE_CHECKING:  # the code dictionary takes long to import
    from i2net_bundle.io.dicom.concepts import SegmentConcept

_SERIES_NUMBER = 9002
"""One above that of the segmentation."""


def write_dicom_sr(
    segmentation: Path,
    path: Path,
    classes: Sequence[LabelClass],
    statistics: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the volume of every segment, and the mean and the standard deviation of its voxels in HU for CT.

    Args:
        segmentation: file of `write_dicom_seg`.
        path: output file; written under a temporary name and renamed.
        classes: background first, as in the segmentation.
        statistics: volume and values of each class by name, as `organ_statistics` returns them; classes without voxels
            are left out.

    Raises:
        ValueError: highdicom does not accept the attributes of the segmentation; the message quotes none.
    """
    import highdicom
    from pydicom import dcmread

    with quiet_dicom_libraries():
        source = dcmread(segmentation)
        for name in BLANK_KEYWORDS:  # so that no error of highdicom can quote them
            setattr(source, name, "")
        try:
            report = highdicom.sr.Comprehensive3DSR(
                evidence=[source, *_slices(source)],
                content=_report(source, classes, statistics)[0],
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="I2Net bundle",
                is_complete=True,
            )
        except Exception as cause:  # the message may quote an attribute
            raise ValueError(f"no report of the measurements ({type(cause).__name__} in highdicom)") from None
        copy_patient_and_study(segmentation, report)
        if "CodingSchemeIdentificationSequence" in source:  # of class names that are no concept of DICOM
            report.CodingSchemeIdentificationSequence = source.CodingSchemeIdentificationSequence
        with written_whole(path) as temporary:
            report.save_as(temporary)


def _report(source: Any, classes: Sequence[LabelClass], statistics: Mapping[str, Mapping[str, Any]]) -> Any:
    from highdicom import UID, sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=UID(), name="I2Net", manufacturer_name="I2Net bundle", model_name=i2net_bundle.__version__
    )
    is_ct = any("mean_hu" in measured for measured in statistics.values())
    identification = sr.AlgorithmIdentification(
        name="I2Net",
        version=i2net_bundle.__version__,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer="I2Net bundle",
    )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion if is_ct else codes.SCT.ImagingProcedure,
        imaging_measurements=list(_groups(source, classes, statistics, identification)),
        title=codes.DCM.ImagingMeasurementReport,
    )


def _groups(
    source: Any, classes: Sequence[LabelClass], statistics: Mapping[str, Mapping[str, Any]], identification: Any
) -> Iterator[Any]:
    """The measurements of each segment."""
    from highdicom import UID, sr

    from i2net_bundle.io.dicom.concepts import dicom_text, segment_concept

    for number, item in enumerate(classes[1:], 1):
        measured = statistics.get(item.name)
        if not measured:
            continue
        concept = segment_concept(item)
        yield sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(UID(), dicom_text(item.name)),
            referenced_segment=sr.ReferencedSegment.from_segmentation(source, number),
            finding_category=concept.category,
            finding_type=concept.kind,
            finding_sites=_sites(concept),
            algorithm_id=identification,
            measurements=list(_measurements(measured)),
        )


def _measurements(measured: Mapping[str, Any]) -> Iterator[Any]:
    """Volume in mL; mean and standard deviation of the attenuation in HU."""
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    if "volume_ml" in measured:
        yield sr.Measurement(codes.SCT.Volume, measured["volume_ml"], Code("mL", "UCUM", "milliliter"))
    for name, derivation in (("mean_hu", codes.SCT.Mean), ("sd_hu", codes.SCT.StandardDeviation)):
        if name in measured:
            unit = codes.UCUM.HounsfieldUnit
            yield sr.Measurement(codes.DCM.AttenuationCoefficient, measured[name], unit, derivation=derivation)


def _sites(concept: SegmentConcept) -> list[Any] | None:
    """The organ of a segment: itself, or the one that contains a lesion; None if it is not known."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    is_organ = concept.category == codes.SCT.AnatomicalStructure
    site = concept.region or (concept.kind if is_organ else None)
    return None if site is None else [sr.FindingSite(site, laterality=concept.laterality)]


def _slices(source: Any) -> Iterator[Any]:
    """The slices that the segmentation refers to, as evidence: their UIDs, and blank attributes of the patient."""
    from pydicom.dataset import Dataset

    for series in source.ReferencedSeriesSequence:
        for instance in series.ReferencedInstanceSequence:
            item = Dataset()
            item.StudyInstanceUID, item.SeriesInstanceUID = source.StudyInstanceUID, series.SeriesInstanceUID
            item.SOPClassUID, item.SOPInstanceUID = instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID
            yield item
