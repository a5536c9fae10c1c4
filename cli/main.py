"""`chorus`, from its first moment: cli/commands.py says what it can do."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command."""
    gc.disable()  # a fifth of what imports take, and they leave nothing to collect
    from cli.commands import main as run

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
