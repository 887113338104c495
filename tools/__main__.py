"""`python -m tools`: write what is generated of the pages."""

from __future__ import annotations

from tools.made import made

for path, content in made():
    path.write_text(content)
