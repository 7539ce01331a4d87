"""The bars of the terminal: what is done, how much of it, and the time left."""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

from pipeline.progress import seconds_left, words_of


def make_bars(console: Console) -> Progress:
    """Bars that go away when their stage ends. Tasks carry the fields `remark` (text) and `expected` (seconds)."""
    columns = (
        TextColumn("{task.description:<34}", markup=False),
        _Bar(bar_width=24),
        _Count(),
        _Left(),
        TextColumn("{task.fields[remark]}", style="dim", markup=False),
    )
    return Progress(*columns, console=console, transient=True)


class _Bar(BarColumn):
    """Steps done; of a single step, the share of the time that it took before, or a pulse."""

    def render(self, task: Task) -> ProgressBar:
        """The bar of one task."""
        if task.total is None or task.total > 1:
            return super().render(task)
        expected: float | None = task.fields["expected"]
        shown = min((task.elapsed or 0.0) / expected, 0.99) if expected else 0.0
        return ProgressBar(
            total=1.0,
            completed=max(shown, task.completed),
            width=self.bar_width,
            pulse=expected is None and not task.finished,
            animation_time=task.get_time(),
        )


class _Count(ProgressColumn):
    """Steps done of all; nothing for a single step."""

    def render(self, task: Task) -> Text:
        """The count of one task."""
        total = int(task.total or 0)
        return Text(f"{int(task.completed):>{len(str(total))}}/{total}" if total > 1 else "", style="progress.download")


class _Left(ProgressColumn):
    """The time left, or where nobody can know it yet, the time since the start."""

    def render(self, task: Task) -> Text:
        """The words for one task."""
        elapsed = task.elapsed or 0.0
        left = seconds_left(int(task.total or 0), int(task.completed), elapsed, task.fields["expected"])
        return Text(words_of(left) or f"{elapsed:.0f} s so far", style="progress.remaining")
