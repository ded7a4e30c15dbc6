from tasks.training.batches import training_order

LENGTHS = [100 + 37 * number % 251 for number in range(200)]


def test_every_row_once_before_any_twice():
    order = training_order(LENGTHS, 8, 50, 42)
    assert len(order) == 400
    assert sorted(order) == sorted([*range(200), *range(200)])
    first_pass = training_order(LENGTHS, 8, 25, 42)
    assert sorted(first_pass) == list(range(200))


def test_batches_hold_similar_lengths():
    order = training_order(LENGTHS, 8, 25, 42)
    batches = [[LENGTHS[row] for row in order[at : at + 8]] for at in range(0, 200, 8)]
    padded = sum(8 * max(batch) for batch in batches)
    assert padded < 1.10 * sum(LENGTHS)
    shuffled = sum(8 * max(LENGTHS[at : at + 8]) for at in range(0, 200, 8))
    assert padded < 0.8 * shuffled


def test_order_is_the_seed_s_and_not_sorted():
    order = training_order(LENGTHS, 8, 25, 42)
    assert order == training_order(LENGTHS, 8, 25, 42)
    assert order != training_order(LENGTHS, 8, 25, 43)
    maxima = [max(LENGTHS[row] for row in order[at : at + 8]) for at in range(0, 200, 8)]
    assert maxima != sorted(maxima)


def test_fewer_rows_than_a_batch():
    assert sorted(training_order([5, 6, 7], 4, 3, 1)) == sorted([0, 1, 2] * 4)
