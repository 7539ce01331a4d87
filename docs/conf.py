"""Sphinx: Markdown by MyST, the Python API out of its docstrings; built by `make docs`, every warning is an error."""

from importlib import metadata

project = "mess-deploy"
release = metadata.version("mess-deploy")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
html_show_copyright = False
html_show_sourcelink = False
exclude_patterns = ["_build"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
