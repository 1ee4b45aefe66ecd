"""The training objective: L = L_seg + λ_gs (λ_gis L_gis + λ_ges L_ges) + λ_lo L_lo (section 2.3, with λ_gis = 1).

An auxiliary head adds its own segmentation loss, as in the recipe for Cityscapes. A network that also predicts what
separates glands, in the last channel of its logits, adds the loss of that channel.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from i2net_bundle.losses.gating import gate_expectation_smoothing, gate_instance_sharpening
from i2net_bundle.losses.orthogonalization import (
    LearnerParameters,
    learner_cosines,
    learner_gradients,
    learner_orthogonalization,
)
from i2net_bundle.networks.contract import split_separation

logger = logging.getLogger("i2net.training")


class I2NetLoss(nn.Module):
    """Weighted sum of segmentation loss, gate shaping and learner orthogonalization.

    A term of weight 0 is not computed. For a network without gates, the total is the segmentation loss, which is logged
    once.

    Args:
        segmentation: segmentation loss, a module that takes logits and target.
        learners: weight and bias of every gated layer, see `i2net_bundle.networks.learner_parameters`; empty for a
            network without learners.
        lambda_gs: λ_gs, weight of gate shaping.
        lambda_ges: λ_ges, weight of the smoothing inside gate shaping.
        lambda_lo: λ_lo, weight of learner orthogonalization.
        lambda_gis: λ_gis, weight of the sharpening inside gate shaping; 1 in the paper, 0 in its ablation.
        auxiliary_weight: weight of the segmentation loss of auxiliary logits, if the network returns any.
        separation: loss of the last channel of the logits, which separates glands; None if all are of classes.
        separation_weight: weight of that loss.

    Raises:
        ValueError: a weight is negative.
    """

    def __init__(
        self,
        segmentation: nn.Module,
        learners: LearnerParameters,
        lambda_gs: float = 0.25,
        lambda_ges: float = 0.5,
        lambda_lo: float = 0.25,
        lambda_gis: float = 1.0,
        auxiliary_weight: float = 0.0,
        separation: nn.Module | None = None,
        separation_weight: float = 1.0,
    ) -> None:
        super().__init__()
        weights = {"lambda_gs": lambda_gs, "lambda_ges": lambda_ges, "lambda_lo": lambda_lo, "lambda_gis": lambda_gis}
        weights |= {"auxiliary_weight": auxiliary_weight, "separation_weight": separation_weight}
        for name, value in weights.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}.")
        self.segmentation, self.separation, self.separation_weight = segmentation, separation, separation_weight
        self.learners = learners
        self.lambda_gs, self.lambda_gis, self.lambda_ges = lambda_gs, lambda_gis, lambda_ges
        self.lambda_lo, self.auxiliary_weight = lambda_lo, auxiliary_weight
        self._reported = False

    def forward(self, input: tuple[Tensor | None, ...], target: Tensor) -> dict[str, Tensor]:
        """Compute the total and its terms.

        Args:
            input: logits (B, C, H, W); gates (B, K, h, w), None for a network without gates; and auxiliary logits
                (B, C, H, W), if any.
            target: labels (B, 1, H, W); with ``separation``, behind them the target of the last channel (B, 2, H, W).

        Returns:
            scalars: ``loss``, the only one with a gradient; ``segmentation``; ``separation``, of the last channel;
            ``auxiliary``, of auxiliary logits; and, for a network with gates, ``gate_instance_sharpening``,
            ``gate_expectation_smoothing``, ``learner_orthogonalization`` and ``learner_cosine`` (mean |cos| over pairs
            and layers). Terms of weight 0 are left out.
        """
        logits, gates = input[:2]
        auxiliary = input[2] if len(input) > 2 else None
        assert logits is not None
        separates = self.separation is not None
        labels = target[:, :1] if separates else target
        of_classes, of_separation = split_separation(logits.float(), separates)
        total = segmentation = self.segmentation(of_classes, labels)
        terms = {"segmentation": segmentation.detach()}
        if self.separation is not None and of_separation is not None and self.separation_weight:
            separation = self.separation(of_separation, target[:, 1:])
            total = total + self.separation_weight * separation
            terms["separation"] = separation.detach()
        if auxiliary is not None and self.auxiliary_weight:
            of_classes, _ = split_separation(auxiliary.float(), separates)
            of_auxiliary = self.segmentation(of_classes, labels)
            total = total + self.auxiliary_weight * of_auxiliary
            terms["auxiliary"] = of_auxiliary.detach()
        if gates is None:
            self._report_no_gates()
            return {"loss": total, **terms}
        gates = gates.float()
        num_learners = gates.shape[1]
        if self.lambda_gs and self.lambda_gis:
            sharpening = gate_instance_sharpening(gates)
            total = total + self.lambda_gs * self.lambda_gis * sharpening
            terms["gate_instance_sharpening"] = sharpening.detach()
        if self.lambda_gs and self.lambda_ges:
            smoothing = gate_expectation_smoothing(gates)
            total = total + self.lambda_gs * self.lambda_ges * smoothing
            terms["gate_expectation_smoothing"] = smoothing.detach()
        if self.lambda_lo and self.learners and num_learners > 1 and torch.is_grad_enabled():
            cosines = learner_cosines(learner_gradients(segmentation, self.learners))
            orthogonalization = learner_orthogonalization(cosines, num_learners)
            total = total + self.lambda_lo * orthogonalization
            terms["learner_orthogonalization"] = orthogonalization.detach()
            terms["learner_cosine"] = cosines.detach().abs().mean()
        return {"loss": total, **terms}

    def _report_no_gates(self) -> None:
        if not self._reported and (self.lambda_gs or self.lambda_lo):
            logger.info("The network has no gates: lambda_gs, lambda_ges and lambda_lo have no effect.")
        self._reported = True
