"""Print the set-up commands of README.md, one per line: the blocks fenced as ```sh setup."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def setup_commands(text: str) -> list[str]:
    """Return the commands of all set-up blocks, continued lines joined."""
    blocks = re.findall(r"^```sh setup\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    print("\n".join(setup_commands(README.read_text("utf-8"))))
