"""How `make docs` makes the site: what Sphinx is told about the folder that `tools/site.py` lays out."""

project = "Greenroom"
project_copyright = "the Greenroom authors, Apache-2.0"
root_doc = "docs/README"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}

# The pages are written for whoever reads them in a repository as well, so nothing of MyST's own syntax stands in them:
# headings have the anchors that the usual viewers give them, and navigation is made of the links of index pages.
myst_heading_anchors = 4

# Everything that could be wrong is an error: `sphinx-build --fail-on-warning`.
nitpicky = True

html_theme = "furo"
html_title = "Greenroom"
html_logo = html_favicon = "../web/src/mark.svg"
html_static_path = ["site"]
html_css_files = ["greenroom.css"]
html_copy_source = False
html_show_sphinx = False
# Excerpts beside what a search finds are fetched, which a browser does not do for files.
html_show_search_summary = False
# Nothing is loaded from elsewhere, so a copy of the folder works without a network, search included.
html_theme_options = {"top_of_page_buttons": [], "navigation_with_keys": True}
pygments_style = "tango"
pygments_dark_style = "native"
