"""Exchange with a PACS by DICOMweb: fetch the series of a study, and store the results of a prediction."""
