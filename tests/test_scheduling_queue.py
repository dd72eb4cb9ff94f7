from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from scheduling_plans import fake_cell

from benchmark.scheduling.decisions.queue import PATIENCE, CellQueue


def graph_of(cells, seconds=lambda cell: 1.0, lane=lambda cell: cell.threads) -> CellQueue:
    return CellQueue(cells, seconds, lane)


def taken(graph: CellQueue, take=lambda cell: True):
    found = graph.next(lambda cell: True, lambda cell: take(cell) or None)
    return None if found is None else found[0]


PARENT = fake_cell(dataset="low")
CHILD = fake_cell(strategy="continued", parent=PARENT)
GRANDCHILD = fake_cell(strategy="again", parent=CHILD)


def test_parents_come_before_children():
    graph = graph_of([PARENT, CHILD, GRANDCHILD])
    assert taken(graph) == PARENT
    assert taken(graph) is None
    graph.finish(PARENT.cell_id)
    assert taken(graph) == CHILD
    assert taken(graph) is None


def test_a_parent_that_is_not_run_counts_as_finished():
    assert taken(graph_of([CHILD])) == CHILD


def test_the_longest_chain_comes_first():
    short = fake_cell(seed=7)
    graph = graph_of([short, PARENT, CHILD, GRANDCHILD], lambda cell: 2.0 if cell == short else 1.0)
    assert taken(graph) == PARENT
    assert taken(graph) == short


def test_without_its_result_a_cell_takes_its_descendants_along():
    graph = graph_of([PARENT, CHILD, GRANDCHILD])
    taken(graph)
    assert graph.drop(PARENT.cell_id) == [CHILD, GRANDCHILD]
    assert graph.unfinished == set()


def test_a_dropped_cell_that_was_ready_is_never_taken():
    one, other = fake_cell(seed=1), fake_cell(seed=2)
    graph = graph_of([one, other])
    graph.drop(one.cell_id)
    assert taken(graph) == other
    assert taken(graph) is None


def test_smaller_cells_overtake_a_wide_one_but_not_for_ever():
    wide = fake_cell(threads=4)
    small = [fake_cell(seed=seed) for seed in range(2 * PATIENCE)]
    graph = graph_of([wide, *small], lambda cell: 100.0 if cell == wide else 1.0)
    overtakers = []
    while (cell := taken(graph, lambda cell: cell.threads == 1)) is not None:
        overtakers.append(cell)
    assert len(overtakers) == PATIENCE
    assert taken(graph) == wide


def test_a_cell_that_waits_for_its_data_keeps_nobody_back():
    waiting = fake_cell(threads=2)
    small = [fake_cell(seed=seed) for seed in range(2 * PATIENCE)]
    graph = graph_of([waiting, *small], lambda cell: 100.0 if cell == waiting else 1.0)
    found = [graph.next(lambda cell: cell != waiting, lambda cell: True) for _ in small]
    assert all(found)


@given(st.data())
def test_every_cell_of_any_forest_is_taken_once_and_after_its_parent(data):
    cells = []
    for seed in range(data.draw(st.integers(1, 12))):
        parent = data.draw(st.sampled_from([None, *cells]))
        cells.append(fake_cell(seed=seed, parent=parent, threads=data.draw(st.integers(1, 3))))
    graph = graph_of(cells, lambda cell: float(cell.seed % 3))
    order, running = [], []
    while graph.unfinished:
        cell = taken(graph)
        if cell is None or data.draw(st.booleans()):
            done = cell if cell is not None and cell not in running else running.pop()
            graph.finish(done.cell_id)
            order += [done] if done not in order else []
        else:
            running.append(cell)
    assert sorted(cell.cell_id for cell in order) == sorted(cell.cell_id for cell in cells)
    ids = [cell.cell_id for cell in order]
    assert all(ids.index(cell.parent_cell_id) < ids.index(cell.cell_id) for cell in cells if cell.parent_cell_id)
