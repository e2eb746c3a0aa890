"""`workflow_insert`: converts a document to rows."""

from tests.support.runs import node, start
from tests.support.sessions import Session, find, scalar


def test_everything_of_a_node_is_stored(db: Session) -> None:
    run = start(
        db,
        node(),
        node(0, join="any", args={"a": 1.50, "b": None}, args_from={"x": 0}, ctx_from=[0], wants_meta=True),
        node(
            0, 1, join="quorum", min_success=2, allow_failed_deps=True, timeout_ms=500, retry_policy={"max_retries": 1}
        ),
        node(1, kind="map", over=1, item_parameter="each", max_parallel=3, queue="q", priority=7, node_id="wide"),
        cases=[[0], [1, 2]],
        optional=[2],
        output=3,
        on_error="pause",
    )
    with db.cursor() as cursor:
        cursor.execute(
            "select index, needed, open_deps, args, args_from, ctx_from, wants_meta, allow_failed_deps, timeout_ms,"
            " retry_policy, over_index, item_parameter, max_parallel, queue, priority, node_id"
            " from horsies.workflow_nodes where workflow_id = %s order by index",
            (run,),
        )
        rows = cursor.fetchall()
    assert rows[1][:8] == (1, 1, 1, b'{"a": 1.5, "b": null}', b'{"x": 0}', [0], True, False)
    assert rows[2][:3] == (2, 2, 2)
    assert rows[2][7:10] == (True, 500, b'{"max_retries": 1}')
    assert rows[3][10:] == (1, "each", 3, "q", 7, "wide")
    assert rows[0][9] is None
    stored = find(db, "workflows", run)
    assert stored is not None
    assert (stored["cases"], stored["optional"], stored["output_index"]) == (b"[[0], [1, 2]]", [2], 3)
    assert (stored["total"], stored["on_error"], stored["root_id"]) == (4, "pause", run)
    edges = "select array_agg(array[source, target, place] order by source, target) from horsies.workflow_edges"
    assert scalar(db, edges) == [[0, 1, 0], [0, 2, 0], [1, 2, 1], [1, 3, 0]]
