"""What the site adds to docs/: pages that lie elsewhere in the repository, with their links led to where they are in the site."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "featherface_core/weights/v1.md", "featherface_core/weights/v2.md")
DATA = ("featherface_core/evaluation/peers.yaml",)  # documents link to it


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files, under their path in the repository."""
    for name in PAGES + DATA:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """In the site docs/ is the root: ``../CHANGELOG.md`` of docs/ and ``docs/models.md`` of the root are one folder down."""
    if page.file.src_uri in PAGES:
        return re.sub(r"\]\((?:\.\./)*docs/", "](" + "../" * page.file.src_uri.count("/"), markdown)
    return markdown.replace("](../", "](")
