"""Metrics against hand values, scikit-learn and SciPy, and properties that must hold for any answers."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sk

from ranfer import metrics
from ranfer.intervals import bootstrap, bootstrap_runs, mcnemar, mean, paired_difference, wilson

LABELS = hnp.arrays(np.int64, st.shared(st.integers(1, 60), key="n"), elements=st.integers(0, 7))


def answers(n=400, classes=8, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.4), size=n)
    truth = np.where(generator.random(n) < 0.6, probabilities.argmax(1), generator.integers(classes, size=n))
    return truth, probabilities


def test_a_confusion_matrix_has_true_rows_and_predicted_columns():
    assert metrics.confusion(np.array([0, 0, 1]), np.array([0, 2, 1]), 3).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_figures_of_a_class_by_hand():
    figures = metrics.per_class(np.array([[3, 1], [2, 4]]))
    assert figures.precision == pytest.approx([3 / 5, 4 / 5])
    assert figures.recall == pytest.approx([3 / 4, 4 / 6])
    assert figures.f1 == pytest.approx([6 / 9, 8 / 11])
    assert figures.support.tolist() == [4, 6]


def test_a_class_absent_from_the_truth_is_left_out_of_both_macro_figures():
    matrix = metrics.confusion(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), 4)  # 2 only answered, 3 nowhere
    figures = metrics.per_class(matrix)
    assert math.isnan(figures.recall[2])
    assert figures.f1[2] == 0
    assert math.isnan(figures.f1[3])
    assert float(metrics.macro_recall(matrix)) == 0.75
    assert float(metrics.macro_f1(matrix)) == pytest.approx((2 / 3 + 1) / 2)


@given(LABELS, LABELS)
def test_figures_are_those_of_scikit_learn(truth, predicted):
    matrix = metrics.confusion(truth, predicted)
    figures, present = metrics.per_class(matrix), np.unique(truth)
    assert (matrix == sk.confusion_matrix(truth, predicted, labels=range(8))).all()
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        truth, predicted, labels=range(8), zero_division=np.nan
    )
    np.testing.assert_allclose(figures.precision, precision)
    np.testing.assert_allclose(figures.recall, recall)
    np.testing.assert_allclose(figures.f1, f1)
    np.testing.assert_array_equal(figures.support, support)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn speaks of classes that are predicted only
        assert float(metrics.macro_recall(matrix)) == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert float(metrics.macro_f1(matrix)) == pytest.approx(
        sk.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    )


@given(LABELS, LABELS, st.randoms(use_true_random=False))
def test_the_order_of_faces_does_not_matter(truth, predicted, random):
    order = random.sample(range(len(truth)), len(truth))
    assert (metrics.confusion(truth, predicted) == metrics.confusion(truth[order], predicted[order])).all()


def test_figures_of_many_matrices_are_those_of_each():
    matrices = np.random.default_rng(0).integers(0, 9, size=(5, 8, 8))
    assert metrics.macro_f1(matrices) == pytest.approx([float(metrics.macro_f1(matrix)) for matrix in matrices])
    assert metrics.macro_recall(matrices) == pytest.approx([float(metrics.macro_recall(matrix)) for matrix in matrices])


def test_log_loss_is_that_of_scikit_learn():
    truth, probabilities = answers()
    expected = sk.log_loss(truth, probabilities, labels=range(8))
    assert metrics.log_losses(probabilities, truth).mean() == pytest.approx(expected, rel=1e-6)


def test_a_certain_error_costs_the_clip_and_no_more():
    assert metrics.log_losses(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx([-math.log(1e-7)])


def test_calibration_error_by_hand():
    confidence, correct = np.array([0.55, 0.6, 0.95]), np.array([True, False, True])
    # Ten bins: (.5, .6] holds two faces, .575 sure and half right; (.9, 1] holds one.
    assert metrics.calibration_error(confidence, correct, bins=10) == pytest.approx((2 * 0.075 + 0.05) / 3)
    table = metrics.reliability(confidence, correct, bins=10)
    assert table.faces.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    assert table.accuracy[5] == 0.5
    assert math.isnan(table.accuracy[0])


def test_calibration_error_is_that_of_a_plain_loop():
    truth, probabilities = answers()
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert metrics.calibration_error(confidence, correct) == pytest.approx(expected)
    sums = metrics.calibration_table(confidence, correct).sum(axis=0)
    assert abs(sums[:-1]).sum() / sums[-1] == pytest.approx(expected)


@given(hnp.arrays(float, st.integers(1, 50), elements=st.floats(0, 1)), st.integers(1, 20))
def test_every_confidence_falls_into_one_bin(confidence, bins):
    assert metrics.reliability(confidence, confidence > 0.5, bins).faces.sum() == len(confidence)
    assert 0 <= metrics.calibration_error(confidence, confidence > 0.5, bins) <= 1


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (1, 1), (3, 17), (2718, 3199), (60, 605)])
def test_the_wilson_interval_is_that_of_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_holds_the_proportion(pair):
    low, high = wilson(*pair)
    assert 0 <= low <= pair[0] / pair[1] <= high <= 1


def test_without_faces_there_is_no_interval():
    assert all(map(math.isnan, wilson(0, 0)))
    assert all(map(math.isnan, paired_difference(0, 0, 0)))
    assert all(map(math.isnan, bootstrap(np.empty((0, 2)), lambda s: s[:, 0])))
    assert math.isnan(metrics.calibration_error(np.empty(0), np.empty(0, dtype=bool)))
    assert math.isnan(float(metrics.macro_f1(np.zeros((8, 8), dtype=int))))


def test_the_bootstrap_of_a_mean_agrees_with_scipy():
    losses = metrics.log_losses(*reversed(answers()))
    table = np.column_stack([losses, np.ones(len(losses))])
    ours = bootstrap(table, lambda s: s[:, 0] / s[:, 1], replicates=4000)
    theirs = stats.bootstrap((losses,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.03)


def test_the_bootstrap_of_macro_figures_resamples_faces():
    truth, probabilities = answers(n=150)
    predicted = probabilities.argmax(1)
    table = metrics.confusion_table(truth, predicted)
    ours = bootstrap(table, lambda s: metrics.macro_f1(s.reshape(-1, 8, 8)), replicates=1500)
    generator, plain = np.random.default_rng(5), []
    for _ in range(1500):
        rows = generator.integers(150, size=150)
        plain.append(float(metrics.macro_f1(metrics.confusion(truth[rows], predicted[rows]))))
    assert ours == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.012)


def test_a_seed_gives_its_interval_again_and_memory_chunks_do_not_show():
    table = np.random.default_rng(0).random((30, 1))
    assert bootstrap(table, lambda s: s[:, 0], seed=3) == bootstrap(table, lambda s: s[:, 0], seed=3)
    assert bootstrap(table, lambda s: s[:, 0], seed=3) != bootstrap(table, lambda s: s[:, 0], seed=4)
    large = np.ones((1_500_000, 1))  # two replicates a chunk
    assert bootstrap(large, lambda s: s[:, 0], replicates=3) == (1_500_000, 1_500_000)


@settings(max_examples=60)
@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_the_exact_binomial_test_and_symmetric(b, c):
    expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_mcnemar_by_hand_and_on_ties_and_on_thousands():
    assert mcnemar(1, 5) == 2 * (1 + 6) / 64
    assert mcnemar(7, 7) == mcnemar(0, 0) == 1.0
    assert 0 <= mcnemar(2000, 6000) < 1e-300


def test_the_interval_of_a_paired_difference_by_hand():
    # b = 12, c = 5, n = 100: p = 13/102 and 6/102.
    first, second = 13 / 102, 6 / 102
    reach = 1.959963985 * math.sqrt((first + second - (first - second) ** 2) / 102)
    assert paired_difference(12, 5, 100) == pytest.approx((first - second - reach, first - second + reach))


def test_the_interval_of_a_paired_difference_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    counts = generator.multinomial(300, [0.10, 0.06, 0.84], size=2000)
    hits = [low <= 0.04 <= high for low, high in (paired_difference(int(b), int(c), 300) for b, c, _ in counts)]
    assert 0.935 <= np.mean(hits) <= 0.97


def test_the_bootstrap_over_runs_and_faces_has_the_spread_of_both():
    generator = np.random.default_rng(0)
    faces, runs = generator.normal(0, 1, 400), generator.normal(0, 0.1, 30)
    low, high = bootstrap_runs(runs[:, None] + faces, replicates=4000)
    expected = 2 * 1.96 * math.sqrt(faces.var() / 400 + runs.var() / 30)
    assert high - low == pytest.approx(expected, rel=0.05)
    assert low < faces.mean() + runs.mean() < high


def test_the_bootstrap_over_a_single_run_is_the_one_over_faces():
    values = np.random.default_rng(0).normal(size=(1, 50))
    assert bootstrap_runs(values, seed=3) == mean(values[0], seed=3).interval


def test_a_mean_has_the_interval_of_the_normal_approximation_and_no_value_without_faces():
    values = np.random.default_rng(0).normal(5, 1, 400)
    value, (low, high) = mean(values, replicates=4000)
    assert value == values.mean()
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.05)
    assert all(map(math.isnan, (mean(np.empty(0)).value, *mean(np.empty(0)).interval)))


def test_the_bootstrap_over_runs_of_no_face_tells_nothing():
    assert all(map(math.isnan, bootstrap_runs(np.empty((3, 0)))))
