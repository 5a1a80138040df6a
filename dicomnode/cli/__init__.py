"""The command line: each verb parses, calls one function, and prints."""

from __future__ import annotations

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dicomnode")
def cli() -> None:
    """A DICOM node for radionuclide therapy."""
