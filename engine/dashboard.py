"""A W&B workspace and a report for a grid: matrix, curves a target, failures, throughput. `python -m engine dashboard`.

Both are made by code (the extra `dashboards`), so that every project has the same. What they show comes from the runs
of `engine.tracking`, `engine.wandb_rows` and `python -m analysis.cltm RESULTS --wandb`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from grids.errors import UserError
from grids.grid import Grid

Sections = Mapping[str, Sequence[Any]]


def save(grid: Grid, entity: str) -> tuple[str, str]:
    """Makes workspace and report on the server and returns their addresses.

    Args:
        grid: says project and granularity.
        entity: W&B user or team; "" for the default one.

    Raises:
        UserError: the extra is not installed.
    """
    sections = panels(grid)
    import wandb

    entity = entity or wandb.Api().default_entity or ""
    made, report = workspace(grid, entity, sections), story(grid, entity, sections)
    made.save()
    report.save()
    return made.url, report.url


def panels(grid: Grid) -> Sections:
    """The panels by section.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
    except ImportError:
        raise UserError("dashboards need an extra: pip install 'cltm-engine[dashboards]'") from None

    def curves(name: str) -> Any:
        """One line a target; in rows of a target, one a mixture."""
        if grid.granularity == "run":
            by = wr.Config("target")
            return wr.LinePlot(title=name, x="Step", y=[name], groupby=by, groupby_rangefunc="stddev")
        return wr.LinePlot(title=name, x="Step", metric_regex=f"^{name}/")

    failed = "failed" if grid.granularity == "run" else "failures"
    total: Any = "sum" if grid.granularity == "run" else "max"
    return {
        "matrix": [wr.MediaBrowser(media_keys=["heatmap"]), wr.WeavePanelSummaryTable(table_name="cells")],
        "learning curves": [curves("loss"), curves("gradient_norm"), curves("learning_rate")],
        "failures": [wr.ScalarChart(title="failed", metric=wr.SummaryMetric(failed), groupby_aggfunc=total)],
        "throughput": [
            curves("samples_per_second"),
            wr.BarPlot(title="seconds", metrics=["seconds/train", "seconds/evaluate"], groupby=wr.Config("role")),
        ],
    }


def workspace(grid: Grid, entity: str, sections: Sections) -> Any:
    """The workspace, not yet saved."""
    import wandb_workspaces.workspaces as ws

    shown = [ws.Section(name=name, panels=list(found), is_open=True) for name, found in sections.items()]
    return ws.Workspace(entity=entity, project=grid.project, name=grid.name, sections=shown)


def story(grid: Grid, entity: str, sections: Sections) -> Any:
    """The report, not yet saved: a heading and the panels of each section, over the runs of the grid's group."""
    import wandb_workspaces.reports.v2 as wr

    blocks = list[Any]()
    for name, found in sections.items():
        filters = "JobType = 'analysis'" if name == "matrix" else f"Group = '{grid.group}' and JobType != 'analysis'"
        runs = wr.Runset(entity=entity, project=grid.project, name=name, filters=filters)
        blocks += [wr.H2(text=name.capitalize()), wr.PanelGrid(runsets=[runs], panels=list(found))]
    return wr.Report(entity=entity, project=grid.project, title=f"{grid.name}: {grid.group}", blocks=blocks)
