"""Evaluation: a candidate against baselines and champion on later rows, over clusters, cohort by cohort."""
