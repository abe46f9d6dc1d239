"""Logs go to standard error, one line a record, as the journal likes them: a priority prefix (sd-daemon's <N>) and key=value pairs behind the text."""

import logging
import os
import sys

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Line(logging.Formatter):
    def __init__(self, journal: bool) -> None:
        super().__init__("%(levelname).1s %(name)s: %(message)s" if journal else "%(asctime)s %(levelname).1s %(name)s: %(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        record.name = record.name.removeprefix("k8sfromscratch.")
        text = super().format(record)
        if not self._journal:
            return text
        return "\n".join(f"<{_PRIORITY.get(record.levelno, 6)}>{line}" for line in text.splitlines())


def setup(level: str = "INFO") -> None:
    """For a process of its own; a program that embeds components sets up logging as it likes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(journal="JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(os.environ.get("KFS_LOG_LEVEL", level).upper())
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
