"""The site of the documentation: ``make docs``. Nothing is fetched; a warning is an error."""

from __future__ import annotations

import dicomnode

project = "dicomnode"
author = "The dicomnode founders"
copyright = "2026, the dicomnode founders. Apache-2.0"  # noqa: A001
version = release = dicomnode.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"dicomnode {release}"
html_static_path: list[str] = []
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# Links to files of the repository (config.toml, deploy/) are paths, not pages of this site.
suppress_warnings = ["myst.xref_missing"]

napoleon_numpy_docstring = True
napoleon_google_docstring = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
