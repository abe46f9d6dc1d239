"""Shows a run: on a terminal a table that changes in place, elsewhere a line when a host is through with a phase.

Both write every event to the run's log, between what pyinfra writes there.  At the end: how long each phase took, and, where something
went wrong, host, operation, cause and what to do about it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from k8sfromscratch.lab.phases import Event, Timings

REFRESHES_PER_S = 8


@dataclass
class Row:
    """A host, as its line shows it."""

    phase: str = ""
    operation: str = ""
    place: int = 0
    of: int = 0
    state: str = "running"


class Progress:
    """Use it as a context around the run: `with Progress(log, console) as shown: shown.take(event)`."""

    def __init__(self, log: Path, console: Console, *, began_s: float | None = None) -> None:
        self.log = log
        self.console = console
        self.began_s = time.monotonic() if began_s is None else began_s
        self.timings = Timings(self.began_s)
        self.failures: list[Event] = []
        self._rows: dict[str, Row] = {}
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        self._stream: IO[str] | None = None

    def __enter__(self) -> "Progress":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.log.open("a")
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self.console, refresh_per_second=REFRESHES_PER_S, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        if self._stream is not None:
            self._stream.close()

    def take(self, event: Event) -> None:
        self._write(event)
        row = self._rows.setdefault(event.host, Row())
        span = self.timings.take(event)
        if span is not None and self._live is None:
            self.console.print(f"{event.at_s - self.began_s:7.1f} s  {span.host:<12} {span.phase:<16} {span.took_s:5.1f} s", highlight=False, markup=False)
        row.place, row.of = event.place or row.place, event.of or row.of
        if event.what == "begin":
            row.phase, row.operation = event.phase, ""
        elif event.what == "step":
            row.operation = event.operation
        elif event.what == "done":
            row.state, row.operation = "done", ""
        else:
            row.state, row.operation = event.what, event.operation
            self.failures.append(event)

    def summary(self) -> None:
        """Each phase's time; then what failed."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("PHASE", "FROM", "TOOK"):
            table.add_column(title, justify="left" if title == "PHASE" else "right")
        for phase, (from_s, to_s) in self.timings.phases().items():
            table.add_row(phase, f"{from_s:.1f} s", f"{to_s - from_s:.1f} s")
        self.console.print(table)
        for event in self.failures:
            what = " | ".join(filter(None, (event.phase, event.operation)))
            self.console.print(f"[bold red]{escape(event.host)}: {escape(what)} failed[/]", highlight=False)
            for line in event.cause.splitlines():
                self.console.print(f"    {line}", highlight=False, markup=False)
            self.console.print(f"  What to do: {event.remedy}", highlight=False, markup=False)

    def _write(self, event: Event) -> None:
        if self._stream is not None:
            said = " ".join(filter(None, (event.phase, event.operation, event.cause.replace("\n", " / "))))
            self._stream.write(f"# {event.at_s - self.began_s:.3f} {event.host} {event.what} {said}\n")
            self._stream.flush()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        marks = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "lost": "[red]✗[/]"}
        for name, row in self._rows.items():
            bar = ProgressBar(total=row.of or None, completed=row.place, width=24, pulse=not row.of and row.state == "running")
            table.add_row(marks.get(row.state, self._spinner), f"[bold]{escape(name)}[/]", bar, row.phase, f"[dim]{escape(row.operation)}[/]")
        table.add_row("", f"{time.monotonic() - self.began_s:.0f} s", "", "", "")
        return table
