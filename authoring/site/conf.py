"""Sphinx's settings for the website; authoring/website.py writes the pages that it reads, and calls it."""

import os
from importlib.util import find_spec
from pathlib import Path

project = "Generative models"
html_title = "Generative models: a course"
language = "en"
extensions = ["myst_nb"]
exclude_patterns = ["**/.ipynb_checkpoints"]
html_theme = "sphinx_book_theme"

# Notebooks are shown as they were executed and compared by the tests; nothing is run here.
nb_execution_mode = "off"
nb_ipywidgets_js = {}                              # a saved slider is a picture: no widgets, and nothing from a network
nb_mime_priority_overrides = [("html", "image/gif", 5)]
nb_number_source_lines = False
nb_merge_streams = True
nb_code_prompt_show = "Show what draws this"
nb_code_prompt_hide = "Hide it again"

myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_dmath_double_inline = True                    # $$ may stand in a paragraph, as in JupyterLab
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

# Formulas by MathJax as SVG: one file, no fonts, no network.
_mathjax = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0]) / "static" / "mathjax"
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "local"}}
html_static_path = [str(Path(__file__).parent / "static"), str(_mathjax / "tex-svg.js"), os.environ["COURSE_SHEETS"]]
html_css_files = ["course.css"]
html_js_files = [("play.js", {"defer": "defer"})]

html_context = {"default_mode": "auto"}
html_show_search_summary = False                   # it would fetch pages, which a folder without a server refuses
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
html_theme_options = {
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "use_repository_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "extra_footer": "<p>Code: MIT. Text and figures: CC BY 4.0. The data have licences of their own.</p>",
}
