"""Why nothing labels the items, where a table was to: its rows are named by none of them."""

from kagglepipe.competitions.infer_sources import Names, Sources
from kagglepipe.errors import UserError
from kagglepipe.text import first_three


def unnamed_items(sources: Sources, names: Names) -> UserError | None:
    """The error for a table that has what the sample submission asks for, and no column that names the items.

    None where no table has it.
    """
    for table in sources.tables:
        if table.is_sample or table.split == "test" or not sources.targets or names.column(table):
            continue
        if own := [column for target in sources.targets if (column := table.find(target))]:
            first = table.columns[0]
            return UserError(
                f"{table.path} has the column {own[0]} that the sample submission asks for, and none that names the "
                f"items ({first_three(sources.media)}): its {first} is {first_three(table.rows[first])}; one row an "
                "item is needed, whose name is in the column of '+competition.columns={item: NAME}'"
            )
    return None
