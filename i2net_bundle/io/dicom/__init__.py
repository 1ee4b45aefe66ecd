"""DICOM series as volumes, and masks as DICOM Segmentation."""
