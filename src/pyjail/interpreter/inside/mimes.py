"""What is what, by MIME type."""

from __future__ import annotations

PLAIN = "text/plain"
DATA = "application/vnd.pyjail.data+json"
METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_pdf_", "application/pdf"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
    ("_repr_javascript_", "application/javascript"),
)
BINARY = ("image/png", "image/jpeg", "application/pdf", "image/gif", "image/webp")
MOST_FORMS = 64  # of a result
COUNTED = 1024  # bytes that a result counts as besides its data
