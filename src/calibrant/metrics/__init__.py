"""Counting and scoring: tallies with one row per image, and pure functions of them.

What is counted
    of logits and labels:
    :class:`CalibrationBins` (top-label confidence in bins), :class:`ClasswiseBins` (every class's probability in bins),
    :class:`LikelihoodSums` (log-likelihood, Brier score, entropy), :class:`ClassCounts` (pixels by class),
    :class:`ConfidenceRanks` (confidence in fine bins, for what depends on its order), and :class:`Measurement` (all of
    these in one pass).
    of hypotheses and labels:
    :class:`HypothesisDistances` (IoU of every pair of maps), :class:`AreaSamples` (areas of a class),
    :class:`SampleFrequencies` (how often a class is drawn), :class:`SampleDivergence` (drawn frequencies against
    probabilities), :class:`FlipCounts` (known label flips).
    :class:`Tally` is the base of all, and of counts of your own. ``where=`` restricts a count to :func:`boundary`,
    :func:`interior` or :func:`mistaken` pixels; :func:`save_measurement` and :func:`load_measurement` keep a
    measurement on disk.

What is scored
    calibration:
    :func:`expected_calibration_error`, :func:`expected_error_if_calibrated` (what chance leaves of it),
    :func:`maximum_calibration_error`, :func:`adaptive_calibration_error`, :func:`classwise_calibration_error` (and
    :func:`calibration_error_of_classes`), :func:`confidence_gap`, :func:`mean_confidence`, :func:`reliability_curve` (a
    :class:`ReliabilityCurve`), :func:`smooth_calibration_error`, :func:`corp_decomposition` (a
    :class:`CorpDecomposition`) and :func:`recalibrated` (its curve), :func:`reliability_histogram` (image by image),
    :func:`gap_test` (a :class:`GapTest`: whether a gap is beyond chance).
    likelihood:
    :func:`negative_log_likelihood`, :func:`brier_score`, :func:`top_label_brier_score`, :func:`mean_entropy`,
    :func:`brier_decomposition` (a :class:`BrierDecomposition`).
    finding mistakes:
    :func:`auroc` (and :func:`auroc_error_bound`), :func:`aurc`, :func:`augrc`, :func:`risk_coverage_curve` (a
    :class:`RiskCoverage`), :func:`review_curve` (a :class:`ReviewCurve`), :func:`best_threshold` and
    :func:`review_cost` (what to look at again).
    overlap:
    :func:`intersection_over_union`, :func:`mean_iou`, :func:`dice`, :func:`pixel_accuracy`.
    hypotheses:
    :func:`generalised_energy_distance` (and :func:`ged_floor`), :func:`presence_excess`, :func:`shape_excess`,
    :func:`hungarian_matched_iou`, :func:`sample_diversity`, :func:`annotator_diversity`, :func:`sample_divergence` (and
    :func:`expected_sample_divergence`), :func:`flip_frequencies`, :func:`flip_offsets`.
    areas:
    :func:`area_crps`, :func:`area_interval`, :func:`area_pit`, :func:`area_ranks`, :func:`interval_coverage`,
    :func:`interval_width`; of probabilities, :func:`area_bounds`.
    :class:`Score` says of a function (a :data:`ScoreFunction`) what tables and pages show of it; :data:`SCORES` are
    those of a :class:`Measurement`, by name.

Intervals
    :func:`bootstrap` (of one score), :func:`paired_difference` (of two tallies), and what they are made of:
    :class:`Resamples` (which images are drawn), :func:`resampled_scores` (a :class:`Resampled` for each score),
    :class:`Interval`, :func:`image_mean`.
"""

from calibrant.metrics.agreement import GapTest, gap_test
from calibrant.metrics.areas import (
    AreaSamples,
    area_bounds,
    area_crps,
    area_interval,
    area_pit,
    area_ranks,
    interval_coverage,
    interval_width,
)
from calibrant.metrics.calibration import (
    BrierDecomposition,
    CalibrationBins,
    ReliabilityCurve,
    brier_decomposition,
    confidence_gap,
    expected_calibration_error,
    expected_error_if_calibrated,
    maximum_calibration_error,
    mean_confidence,
    reliability_curve,
    reliability_histogram,
)
from calibrant.metrics.classwise import ClasswiseBins, calibration_error_of_classes, classwise_calibration_error
from calibrant.metrics.frequencies import (
    FlipCounts,
    SampleDivergence,
    SampleFrequencies,
    expected_sample_divergence,
    flip_frequencies,
    flip_offsets,
    sample_divergence,
)
from calibrant.metrics.hypotheses import (
    annotator_diversity,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
    presence_excess,
    sample_diversity,
    shape_excess,
)
from calibrant.metrics.hypothesis_distances import HypothesisDistances
from calibrant.metrics.intervals import (
    Interval,
    Resampled,
    Resamples,
    bootstrap,
    paired_difference,
    resampled_scores,
)
from calibrant.metrics.likelihood import (
    LikelihoodSums,
    brier_score,
    mean_entropy,
    negative_log_likelihood,
    top_label_brier_score,
)
from calibrant.metrics.measurement import Measurement
from calibrant.metrics.overlap import ClassCounts, dice, intersection_over_union, mean_iou, pixel_accuracy
from calibrant.metrics.ranking import (
    ConfidenceRanks,
    RiskCoverage,
    adaptive_calibration_error,
    augrc,
    aurc,
    auroc,
    auroc_error_bound,
    risk_coverage_curve,
)
from calibrant.metrics.regions import boundary, interior, mistaken
from calibrant.metrics.review import ReviewCurve, best_threshold, review_cost, review_curve
from calibrant.metrics.score import Score, ScoreFunction, image_mean
from calibrant.metrics.scores import SCORES
from calibrant.metrics.smooth import (
    CorpDecomposition,
    corp_decomposition,
    recalibrated,
    smooth_calibration_error,
)
from calibrant.metrics.storage import load_measurement, save_measurement
from calibrant.metrics.tally import Tally

__all__ = [
    "SCORES",
    "AreaSamples",
    "BrierDecomposition",
    "CalibrationBins",
    "ClassCounts",
    "ClasswiseBins",
    "ConfidenceRanks",
    "CorpDecomposition",
    "FlipCounts",
    "GapTest",
    "HypothesisDistances",
    "Interval",
    "LikelihoodSums",
    "Measurement",
    "ReliabilityCurve",
    "Resampled",
    "Resamples",
    "ReviewCurve",
    "RiskCoverage",
    "SampleDivergence",
    "SampleFrequencies",
    "Score",
    "ScoreFunction",
    "Tally",
    "adaptive_calibration_error",
    "annotator_diversity",
    "area_bounds",
    "area_crps",
    "area_interval",
    "area_pit",
    "area_ranks",
    "augrc",
    "aurc",
    "auroc",
    "auroc_error_bound",
    "best_threshold",
    "bootstrap",
    "boundary",
    "brier_decomposition",
    "brier_score",
    "calibration_error_of_classes",
    "classwise_calibration_error",
    "confidence_gap",
    "corp_decomposition",
    "dice",
    "expected_calibration_error",
    "expected_error_if_calibrated",
    "expected_sample_divergence",
    "flip_frequencies",
    "flip_offsets",
    "gap_test",
    "ged_floor",
    "generalised_energy_distance",
    "hungarian_matched_iou",
    "image_mean",
    "interior",
    "intersection_over_union",
    "interval_coverage",
    "interval_width",
    "load_measurement",
    "maximum_calibration_error",
    "mean_confidence",
    "mean_entropy",
    "mean_iou",
    "mistaken",
    "negative_log_likelihood",
    "paired_difference",
    "pixel_accuracy",
    "presence_excess",
    "recalibrated",
    "reliability_curve",
    "reliability_histogram",
    "resampled_scores",
    "review_cost",
    "review_curve",
    "risk_coverage_curve",
    "sample_divergence",
    "sample_diversity",
    "save_measurement",
    "shape_excess",
    "smooth_calibration_error",
    "top_label_brier_score",
]
