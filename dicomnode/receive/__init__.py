"""The door in: DICOM associations, durable storage before Success."""
