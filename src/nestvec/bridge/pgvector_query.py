"""The staged query of pgvector: a plan as a function of SQL, with what it needs."""

from __future__ import annotations

from nestvec.bridge.exported import Source
from nestvec.bridge.sql import commented, stage_name
from nestvec.bridge.staged import ADAPTED, reads_signs, widths_of
from nestvec.index.plan import Plan, Stage

MARK = "nestvec export"
"""A comment of ours begins so; only what bears one is replaced."""
MOST_WALKED = 1_000
"""hnsw.ef_search at most: rows that a walk over the index gives before it must go on."""
_SCANNED = 20_000
_OPERATORS = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_SCORES = {"cosine": "1 - ({})", "dot": "-({})", "l2": "-(({}) ^ 2)"}
_CLASSES = {"cosine": "cosine", "dot": "ip", "l2": "l2"}


def search_name(name: str) -> str:
    """The function that answers."""
    return f"{name}_search"


def signs_name(name: str) -> str:
    """The function that gives a query's bits."""
    return f"{name}_query_signs"


def functions_of(name: str) -> tuple[str, str]:
    """Both, the one that answers first, with the types of what they take."""
    return f"{search_name(name)}(vector, integer)", f"{signs_name(name)}(vector)"


def axes_table(name: str) -> str:
    """The table of what a query is multiplied with for its bits, where there is such."""
    return f"{name}_axes"


def cut_column(width: int) -> str:
    """The column of a cut."""
    return f"cut_{width}"


def index_of(first: Stage, metric: str) -> tuple[str, str]:
    """The column that the first stage scans, and the operators of its index."""
    if first.kind == "sign":
        return "signs", "bit_hamming_ops"
    if first.kind == "dims":
        return cut_column(first.amount), f"halfvec_{_CLASSES[metric]}_ops"
    return "vector", f"vector_{_CLASSES[metric]}_ops"


def told_query(source: Source, plan: Plan, name: str) -> str:
    """What the file of the query says of it, as comments."""
    lines = [
        f"nestvec's plan {plan} over the table {name}, for PostgreSQL with pgvector.",
        f"SELECT * FROM {search_name(name)}('[...]', 10);  -- the query's {source.dim} "
        "coordinates, and how many hits",
    ]
    first = index_of(plan.stages[0], source.metric)[0]
    lines.append(f"{name}_idx is HNSW over {first}; SET enable_indexscan = off scans all rows.")
    if source.opened.adapter is not None:
        lines.append(ADAPTED)
    return commented("\n".join(lines))


def function_sql(source: Source, plan: Plan, name: str) -> str:
    """CREATE FUNCTION for a query's bits, where the plan reads them, and for the plan."""
    return (_signs_sql(source, name) if reads_signs(plan) else "") + _search_sql(source, plan, name)


def _marked(function: str) -> str:
    return f"COMMENT ON FUNCTION {function} IS '{MARK}';\n"


def _signs_sql(source: Source, name: str) -> str:
    bits = source.signs.bits
    if source.signs.axes is None:
        body = "  SELECT binary_quantize($1)"
    else:
        body = (
            "  SELECT string_agg(CASE WHEN axis <#> $1 <= 0 THEN '1' ELSE '0' END, '' ORDER BY "
            f"bit)::bit({bits})\n  FROM {axes_table(name)}"
        )
    return (
        f"CREATE OR REPLACE FUNCTION {signs_name(name)}(query vector) RETURNS bit\n"
        f"LANGUAGE sql STABLE AS $$\n{body}\n$$;\n{_marked(functions_of(name)[1])}"
    )


def _search_sql(source: Source, plan: Plan, name: str) -> str:
    metric = source.metric
    parts = _asked(source, plan, name)
    before: Stage | None = None
    for stage in plan.stages[:-1]:
        parts.append(
            f"{stage_name(stage)} AS MATERIALIZED (\n  SELECT seq FROM {_from(name, before)}\n"
            f"  ORDER BY {_distance(stage, metric)}, seq LIMIT {stage.keep}\n)"
        )
        before = stage
    last = plan.stages[-1]
    distance = _distance(last, metric)
    shown = f"-({distance})" if last.kind == "sign" else _SCORES[metric].format(distance)
    text = f"WITH {', '.join(parts)}\n" if parts else ""
    text += (
        f"SELECT seq, id, title, text, {shown} AS score\n"
        f"FROM {_from(name, before)}\nORDER BY {distance}, seq LIMIT $2\n"
    )
    hits = f"hits integer DEFAULT {plan.k}"
    return (
        f"CREATE OR REPLACE FUNCTION {search_name(name)}(query vector, {hits})\n"
        "RETURNS TABLE (seq bigint, id text, title text, text text, score double precision)\n"
        f"LANGUAGE sql STABLE {_settings(plan)}AS $$\n{text}$$;\n"
        f"{_marked(functions_of(name)[0])}"
    )


def _settings(plan: Plan) -> str:
    keep = plan.stages[0].keep
    text = f"SET hnsw.ef_search = {min(max(keep, 40), MOST_WALKED)} "
    if keep > MOST_WALKED:
        text += "SET hnsw.iterative_scan = strict_order SET hnsw.max_scan_tuples = "
        text += f"{max(_SCANNED, 4 * keep)} "
    return text


def _asked(source: Source, plan: Plan, name: str) -> list[str]:
    """What of the query each stage compares with, worked out once."""
    values = [f"{signs_name(name)}($1) AS signs"] if reads_signs(plan) else []
    for width in widths_of(plan):
        prefix = f"subvector($1, 1, {width})"
        if source.metric != "cosine" and width < source.dim:
            stretch = f"(vector_norm($1) / coalesce(nullif(vector_norm({prefix}), 0), 1))::real"
            prefix = f"({prefix} * array_fill({stretch}, ARRAY[{width}])::vector)"
        values.append(f"{prefix}::halfvec({width}) AS {cut_column(width)}")
    if not values:
        return []
    return ["asked AS MATERIALIZED (\n  SELECT " + ",\n    ".join(values) + "\n)"]


def _distance(stage: Stage, metric: str) -> str:
    if stage.kind == "sign":
        return "signs <~> (SELECT signs FROM asked)"
    operator = _OPERATORS[metric]
    if stage.kind == "dims":
        column = cut_column(stage.amount)
        return f"{column} {operator} (SELECT {column} FROM asked)"
    return f"vector {operator} $1"


def _from(name: str, before: Stage | None) -> str:
    return name if before is None else f"{stage_name(before)} JOIN {name} USING (seq)"
