"""Generated patients: anatomy, activity, images as DICOM, with the truth beside them."""
