"""Read DICOM series as volumes; write masks as DICOM Segmentation."""
