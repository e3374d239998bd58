"""The course: a module for each lesson, with a function `run(lesson) -> metrics`.

Nothing slow is imported here, since help reads it; `table.py` has the functions.
"""

LESSONS: dict[str, str] = {}  # in the order of the course; docs/course/NAME.md has the page of each
METRICS = "metrics.json"  # of a lesson, in outputs/course/NAME/
