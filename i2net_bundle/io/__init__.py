"""Files in and out: NIfTI, NRRD and MetaImage, DICOM, histology images, masks; names that identify patients."""
