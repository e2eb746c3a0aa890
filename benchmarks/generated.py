"""Sections of Markdown pages that benchmarks write, between two comments."""


def replace_section(page: str, name: str, content: str) -> str:
    """Return the page with new content between `<!-- NAME: begin … -->` and `<!-- NAME: end -->`."""
    begin, end = f"<!-- {name}: begin", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        msg = f"the page must contain the comments {begin} … --> and {end} once each"
        raise ValueError(msg)
    before, rest = page.split(begin)
    marker, after = rest.split("-->", 1)
    return f"{before}{begin}{marker}-->\n\n{content}\n\n{end}{after.split(end)[1]}"
