"""Studies: a grid of trainings and evaluations as a file, a driver that can be stopped, and claims put to the test."""

from training.study.claims import judge
from training.study.driver import Study, states, work
from training.study.grid import Cell, Grid, load_grid
from training.study.inequality import parse_test
from training.study.report import report
from training.study.results import collect

__all__ = ["Cell", "Grid", "Study", "collect", "judge", "load_grid", "parse_test", "report", "states", "work"]
