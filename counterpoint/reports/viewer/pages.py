"""The pages of the viewer, each made of parts: a part is a section that is fetched again by itself when it changes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from counterpoint.analysis.milestones import LAST
from counterpoint.errors import CounterpointError, counted
from counterpoint.experiments.cells import Study
from counterpoint.experiments.folder import CELLS, read_cells
from counterpoint.experiments.states import Found, state_of
from counterpoint.experiments.table import total
from counterpoint.reports.episodes.shown import visible
from counterpoint.reports.figures.cell import figures_of_cell
from counterpoint.reports.figures.study import figures_of
from counterpoint.reports.gather import gather, seen_of
from counterpoint.reports.markup import render
from counterpoint.reports.seen import CellSeen, Seen
from counterpoint.reports.viewer import parts, texts
from counterpoint.reports.viewer.drawn import sparkline
from counterpoint.reports.viewer.links import TRAIN, Links
from counterpoint.reports.viewer.look import look_at
from counterpoint.reports.viewer.rows import COLUMNS, FILTERS, Asked, Row, asked_of, choices
from counterpoint.reports.viewer.scan import Place, check_file, refuse_what_is_not_read
from counterpoint.reports.viewer.site import RUNS, Site

Query = Mapping[str, str]
Make = Callable[[], str]
_NOTHING = "Nothing is recorded yet."
MOST_ROWS = 500
"""Runs in a table; of more, those that come first are shown, and how many there are."""


class MissingError(CounterpointError):
    """There is no such page."""


class Pages:
    """The pages of a folder, with links of one kind."""

    def __init__(self, site: Site, links: Links) -> None:
        self.site = site
        self.links = links

    # The table of runs

    def runs(self, query: Query) -> str:
        """All runs and studies."""
        places = self.site.places
        rows = self.site.rows()
        studies = [(place, self._tally(place, rows)) for place in places.studies.values()]
        return self.page(
            "view/runs.html",
            subject="/",
            sections=self.sections(self._parts_of_runs(query, rows), self.site.versions("/")),
            name=self.site.root.name,
            studies=studies,
            asked=asked_of(query),
            choices=choices(rows),
            places=places,
            count=counted(len(rows), "run"),
        )

    def part_of_runs(self, part: str, query: Query) -> str:
        """A part of the table of all runs."""
        return self.one_section(self._parts_of_runs(query, self.site.rows()), self.site.versions("/"), part)

    def _parts_of_runs(self, query: Query, rows: list[Row]) -> dict[str, Make]:
        asked = asked_of(query)
        return {RUNS: lambda: self._table(asked, rows, query)}

    def _table(self, asked: Asked, rows: list[Row], query: Query) -> str:
        wanted = asked.of(rows)
        kept = {name: query[name] for name in ("q", *FILTERS) if query.get(name)}
        return render(
            "view/_table.html",
            rows=wanted[:MOST_ROWS],
            more=len(wanted) - MOST_ROWS,
            of=len(rows),
            asked=asked,
            columns=COLUMNS if self.links.is_live else (),
            sorted_by=lambda column: self.links.home({**kept, "sort": _other_way(column, asked)}),
            **self._given(),
        )

    @staticmethod
    def _tally(place: Place, rows: list[Row]) -> str:
        states: dict[str, int] = {}
        for row in rows:
            if row.place.study == place.id:
                states[row.state] = states.get(row.state, 0) + 1
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no runs yet"

    # A run

    def run(self, id: str) -> str:
        """A run, with everything that is known about it."""
        place = self.place(id)
        versions = self.site.versions(f"/run/{id}")
        return self.page(
            "view/run.html",
            subject=f"/run/{id}",
            sections=self.sections(self._parts_of_run(place, versions), versions),
            place=place,
            study=self.site.places.studies.get(place.study),
        )

    def part_of_run(self, id: str, part: str) -> str:
        """A part of the page of a run."""
        versions = self.site.versions(f"/run/{id}")
        return self.one_section(self._parts_of_run(self.place(id), versions), versions, part)

    def _parts_of_run(self, place: Place, versions: Mapping[str, str]) -> dict[str, Make]:
        makers: dict[str, Make] = {
            "head": lambda: self._head(place),
            "warnings": lambda: self._warnings(place),
            "curves": lambda: self._curves(place),
            "roles": lambda: self._roles(place),
            "episodes": lambda: self._recorded(place),
            "profile": lambda: self._profile(place),
            "log": lambda: self._log(place),
            "recipe": lambda: self._recipe(place),
        }
        kind = self.links.kind

        def kept(part: str, make: Make) -> Make:
            return lambda: self.site.kept.get((kind, place.id, part), versions.get(part), lambda: _safe(make))

        return {part: kept(part, make) for part, make in makers.items()}

    def _head(self, place: Place) -> str:
        row = self.site.row(place, look_at(place.path))
        return self.render("view/_head.html", row=row)

    def _warnings(self, place: Place) -> str:
        run = self.site.runs.read(place.path)
        with run.lock:
            seen = self.seen(place)
            raised = parts.warnings(run.metric_rows())
        return self.render("view/_warnings.html", raised=raised, told=parts.told(seen.findings))

    def _curves(self, place: Place) -> str:
        seen = self.seen(place)
        cell = CellSeen(name=place.name, labels={}, runs=[seen])
        return render("view/_figures.html", figures=figures_of_cell(cell, seen.roles), wide=False, empty=_NOTHING)

    def _roles(self, place: Place) -> str:
        run = self.site.runs.read(place.path)
        with run.lock:
            heads, rows = parts.roles(run)
        return self.render("view/_roles.html", heads=heads, rows=rows)

    def _recorded(self, place: Place) -> str:
        recorded = parts.recorded(self.site.runs.read(place.path))
        return self.render("view/_recorded.html", place=place, recorded=recorded, some=parts.some)

    def _profile(self, place: Place) -> str:
        run = self.site.runs.read(place.path)
        with run.lock:
            rows = parts.profile(run.profile_rows())
        return self.render("view/_profile.html", rows=rows)

    def _log(self, place: Place) -> str:
        return self.render("view/_log.html", lines=parts.log_tail(self.site.root, place.path))

    def _recipe(self, place: Place) -> str:
        return self.render("view/_recipe.html", **parts.recipe(self.site.runs.read(place.path)))

    def seen(self, place: Place) -> Seen:
        """The numbers of a run, as they are now. Raises RunError if it cannot be read."""
        version = self.site.versions(f"/run/{place.id}").get("curves")
        return self.site.kept.get(("seen", place.id), version, lambda: seen_of(self.site.runs.read(place.path)))

    # A study

    def study(self, id: str) -> str:
        """A study: its cells with their states, and what they have found so far.

        Of a live page, what they have found is as it was made last, with the version that it then had.
        """
        place = self._study_place(id)
        versions = self.site.versions(f"/study/{id}")
        makers = self._parts_of_study(place, versions)
        if self.links.is_live:  # the map of many runs takes seconds: the page fetches it as it fetches every change
            kept = self.site.kept.last((self.links.kind, place.id, "map"))
            makers["map"] = lambda: kept[1] if kept else render("view/_later.html")
            versions = {**versions, "map": str(kept[0]) if kept else ""}
        return self.page(
            "view/study.html",
            subject=f"/study/{id}",
            sections=self.sections(makers, versions),
            place=place,
            study=self._study(place),
        )

    def part_of_study(self, id: str, part: str) -> str:
        """A part of the page of a study."""
        versions = self.site.versions(f"/study/{id}")
        return self.one_section(self._parts_of_study(self._study_place(id), versions), versions, part)

    def _parts_of_study(self, place: Place, versions: Mapping[str, str]) -> dict[str, Make]:
        key = (self.links.kind, place.id, "map")
        return {
            RUNS: lambda: _safe(lambda: self._cells(place)),
            "map": lambda: self.site.kept.get(key, versions.get("map"), lambda: _safe(lambda: self._map(place))),
        }

    def _cells(self, place: Place) -> str:
        study = self._study(place)
        known = {run.path: run for run in self.site.places.of_study(place.id)}
        found = {cell.name: self._found(place.path / cell.name) for cell in study.cells}
        rows = [
            (cell, found[cell.name], run and self.site.row(run, look_at(run.path)))
            for cell in study.cells
            for run in [known.get(place.path / cell.name)]
        ]
        return self.render("view/_cells.html", rows=rows, total=total(found), axes=list(study.axes))

    def _study(self, place: Place) -> Study:
        check_file(self.site.root, place.path / CELLS)
        return read_cells(place.path)

    def _found(self, folder: Path) -> Found:
        """The state of a cell; it has failed if its folder holds what is not read, or cannot be."""
        try:
            if folder.is_dir():
                refuse_what_is_not_read(self.site.root, folder)
            return state_of(folder)
        except Exception as error:  # whatever a damaged file leads to: the other cells are there
            return Found(state="failed", problem=texts.problem(error))

    def _map(self, place: Place) -> str:
        for run in self.site.places.of_study(place.id):
            refuse_what_is_not_read(self.site.root, run.path)
        gathered = gather([place.path])
        found = figures_of(gathered)
        figures = [figure for name in ("map", "differences", "falls") for figure in found.get(name, [])]
        empty = "; ".join(gathered.reasons) or f"No run is finished, or has fewer than {LAST} evaluations."
        return render("view/_figures.html", figures=figures, wide=True, empty=empty)

    # What all pages share

    def place(self, id: str) -> Place:
        """The run with this id. Raises MissingError."""
        found = self.site.places.runs.get(id)
        if found is None:
            raise MissingError("There is no such run, or not any more.")
        return found

    def _study_place(self, id: str) -> Place:
        found = self.site.places.studies.get(id)
        if found is None:
            raise MissingError("There is no such study, or not any more.")
        return found

    def page(self, template: str, **given: Any) -> str:
        """A whole page."""
        return render(template, **given, **self._given())

    def render(self, template: str, **given: Any) -> str:
        """The content of a part."""
        return render(template, **given, **self._given())

    def _given(self) -> dict[str, Any]:
        return {
            "links": self.links,
            "assets": self.links.assets,
            "visible": visible,
            "moment": texts.moment,
            "duration": texts.duration,
            "percent": parts.percent,
            "sparkline": sparkline,
            "train": TRAIN,
        }

    def sections(self, makers: Mapping[str, Make], versions: Mapping[str, str]) -> dict[str, Markup]:
        """Every part of a page with its version."""
        return {name: Markup(self._section(name, make, versions)) for name, make in makers.items()}

    def one_section(self, makers: Mapping[str, Make], versions: Mapping[str, str], part: str) -> str:
        """One part by itself. Raises MissingError."""
        if part not in makers:
            raise MissingError(f"There is no such part; there are: {', '.join(makers)}.")
        return self._section(part, makers[part], versions)

    @staticmethod
    def _section(name: str, make: Make, versions: Mapping[str, str]) -> str:
        return render("view/_section.html", name=name, version=versions.get(name, ""), content=Markup(make()))


def _safe(make: Make) -> str:
    """The part; a file that cannot be read says so in its place, and the other parts are there."""
    try:
        return make()
    except Exception as error:  # whatever a damaged file leads to
        return render("view/_unreadable.html", problem=visible(texts.problem(error)))


def _other_way(column: str, asked: Asked) -> str:
    """The sorting by a column: the other way round if the table is sorted by it, largest first if it has numbers."""
    is_number = column not in ("name", "state", "left")
    descending = not asked.is_descending if column == asked.sort else is_number
    return f"-{column}" if descending else column
