from nestvec.report.labels import Box, place

FRAME = Box(0, 0, 400, 300)


def test_a_free_line_is_named_after_its_end():
    label = place("PQ", [(50, 200), (100, 100)], [], [], FRAME, 12)
    assert label is not None
    assert label.anchor == "start"
    assert label.x > 100


def test_a_name_keeps_clear_of_others_and_of_the_frame():
    taken = [Box(100, 80, 200, 120)]
    label = place("PQ", [(50, 200), (100, 100)], [], taken, FRAME, 12)
    assert label is not None
    assert all(label.box.overlap(box) == 0 for box in taken)
    at_edge = place("a long name", [(380, 100), (395, 100)], [], [], FRAME, 12)
    assert at_edge is not None
    assert at_edge.box.right <= 400


def test_a_name_without_a_clear_spot_is_left_out():
    assert place("PQ", [(50, 200), (100, 100)], [], [FRAME], FRAME, 12) is None


def test_a_name_may_be_let_to_cover_more():
    crowd = [[(0.0, float(y)), (400.0, float(y))] for y in range(0, 300, 4)]
    line = [(50.0, 200.0), (100.0, 100.0)]
    assert place("PQ", line, crowd, [], FRAME, 12) is None
    assert place("PQ", line, crowd, [], FRAME, 12, most_covered=99.0) is not None
