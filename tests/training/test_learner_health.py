"""The trainer records the gates and the similarity of the learners."""

from __future__ import annotations

import copy
import math

import pytest

from tests.training.runs import Make
from tests.training.steps import terms_of_run


@pytest.mark.usefixtures("bfloat16_is_used")
class TestHealth:
    """Recorded values of the learners."""

    @pytest.mark.parametrize("num_learners", [1, 2, 4])
    def test_mean_gates_sum_to_1_and_their_entropy_is_bounded(
        self, num_learners: int, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        trainer = make_trainer(make_network(num_learners=num_learners), make_batches(2))
        for terms in terms_of_run(trainer):
            gates = [terms[f"mean_gate_{k}"] for k in range(num_learners)]
            assert sum(gates) == pytest.approx(1, abs=1e-5)
            assert min(gates) > 0
            assert f"mean_gate_{num_learners}" not in terms
            assert -1e-6 <= terms["gate_entropy"] <= math.log(num_learners) + 1e-6

    def test_mean_gates_are_those_of_the_forward_pass(
        self, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        network, batches = make_network(num_learners=3), make_batches(1)
        gates = copy.deepcopy(network).train().forward_with_gates(batches[0]["image"])[1]
        (terms,) = terms_of_run(make_trainer(network, batches))
        assert [terms[f"mean_gate_{k}"] for k in range(3)] == pytest.approx(gates.mean((0, 2, 3)).tolist(), rel=1e-4)

    @pytest.mark.parametrize("num_learners", [2, 3])
    @pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
    def test_learner_cosine_is_the_same_with_and_without_the_penalty(
        self, num_learners: int, amp: bool, make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        found = []
        for lambda_lo in (0.25, 0.0):
            network = make_network(num_learners=num_learners)
            trainer = make_trainer(network, make_batches(1), weights={"lambda_lo": lambda_lo}, amp=amp)
            (terms,) = terms_of_run(trainer)
            assert ("learner_orthogonalization" in terms) == (lambda_lo > 0)
            found.append(terms["learner_cosine"])
        assert found[0] == pytest.approx(found[1], rel=1e-2 if amp else 1e-4)
        assert 0 < found[0] < 1

    def test_a_single_learner_has_no_cosine(self, make_network: Make, make_batches: Make, make_trainer: Make) -> None:
        (terms,) = terms_of_run(make_trainer(make_network(num_learners=1), make_batches(1)))
        assert not {"learner_cosine", "learner_orthogonalization"} & terms.keys()

    @pytest.mark.parametrize(
        ("weights", "absent"),
        [
            ({"lambda_gs": 0.0}, {"gate_instance_sharpening", "gate_expectation_smoothing"}),
            ({"lambda_lo": 0.0}, {"learner_orthogonalization"}),
        ],
        ids=["no gate shaping", "no orthogonalization"],
    )
    def test_a_weight_of_0_removes_its_terms(
        self, weights: dict[str, float], absent: set[str], make_network: Make, make_batches: Make, make_trainer: Make
    ) -> None:
        (terms,) = terms_of_run(make_trainer(make_network(), make_batches(1), weights=weights))
        assert not absent & terms.keys()
