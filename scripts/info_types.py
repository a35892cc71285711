"""Prints docs/info-types.md, the page of the table of `/info` types, from the table."""

from server.capabilities import TABLE, Row, report
from server.params import Param

HEAD = """# Every type of `/info`

Printed from `server/capabilities.py` by `python -m scripts.info_types > docs/info-types.md`.
`GET /capabilities` says the same of a running server, with its own times. A `*` marks parameters that
may be left out.

* *Served* says from where. `memory` is what the feed beside it keeps: `exact` is the upstream's own
  object, `joined` is put together from parts, each as the upstream has it, `partial` is for some requests
  alone. Where memory has no answer as fresh as is wanted, the upstream is asked, as for `ttl`.
* *Kept* is for how many seconds an answer of the upstream is good for all who ask the same, from when it
  was asked for. Writes that pass here end it sooner, by their kinds in the column after, for the accounts
  that they are about.
* *Weight* is the upstream's price; `+1/20` is one more for 20 rows. None: what its parts cost.

"""

COLUMNS = ("type", "parameters", "served", "kept, s", "ended by", "weight", "remarks")


def page() -> str:
    """The whole page."""
    rows = [_cells(row) for row in TABLE.values()]
    lines = ["| " + " | ".join(cells) + " |" for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows)]
    return HEAD + "\n".join(lines) + "\n\n" + _classes()


def _cells(row: Row) -> list[str]:
    told = next(t for t in report({row.type: row}, frozenset(), {})["types"])  # type: ignore[attr-defined]
    served = row.served.value
    if row.exactness is not None:
        served += f": {row.exactness.value}" + (f", `{row.feed}`" if row.feed else "")
    weight = "" if told["weight"] is None else str(told["weight"])
    weight += f" +1/{told['rows_per_weight']}" if told["rows_per_weight"] else ""
    return [
        f"`{row.type}`",
        " ".join(_param(param) for param in row.params),
        served,
        f"{row.ttl_s:g}" if row.ttl_s else "",
        " ".join(what.value for what in row.writes),
        weight,
        row.note.replace("|", "\\|"),
    ]


def _param(param: Param) -> str:
    inside = "{" + " ".join(_param(each) for each in param.inside) + "}" if param.inside else ""
    return f"{param.name}{inside}{'' if param.required else '*'}"


def _classes() -> str:
    classes = dict.fromkeys(row.kept for row in TABLE.values() if row.kept.ttl_s)
    lines = ["| kept, s | why |", "| --- | --- |"]
    lines += [f"| {kept.ttl_s:g} | {kept.why} |" for kept in sorted(classes, key=lambda kept: kept.ttl_s)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
