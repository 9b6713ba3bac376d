"""Drafts of the CLAIM and TRIPOD+AI checklists, filled from artefacts alone.

An item names the fact that answers it; without the fact (or without any fact that a
program could know) it stays blank, and blank is shown as blank. The words are short
names of the items, not their text.

References:
  CLAIM 2024 update: Tejani et al., Radiology: Artificial Intelligence 6 (2024)
  e240300. TRIPOD+AI: Collins et al., BMJ 385 (2024) e078378.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Fact(NamedTuple):
    """Something a run's files say."""

    text: str
    artefact: str  # name of the file that says it


class Item(NamedTuple):
    """One item of a checklist; ``fact`` is None where only people can answer."""

    number: str
    name: str
    fact: str | None = None


CLAIM = (
    Item("1", "Title: says that AI is used, and of which kind"),
    Item("2", "Abstract: structured summary"),
    Item("3", "Background, with intended use and clinical role"),
    Item("4", "Aims and hypotheses"),
    Item("5", "Prospective or retrospective"),
    Item("6", "Goal of the study"),
    Item("7", "Sources of the data", "source"),
    Item("8", "Inclusion and exclusion"),
    Item("9", "Preprocessing", "preprocess"),
    Item("10", "Selection of parts of the data", "subset"),
    Item("11", "De-identification"),
    Item("12", "Missing data", "missing"),
    Item("13", "How pictures were acquired"),
    Item("14", "Reference standard: definition"),
    Item("15", "Reference standard: why this one"),
    Item("16", "Reference standard: who annotated"),
    Item("17", "Annotation of the test set"),
    Item("18", "Variability between and within readers"),
    Item("19", "How pictures were assigned to splits", "partition"),
    Item("20", "Level at which splits are disjoint", "disjoint"),
    Item("21", "Intended size of the test set"),
    Item("22", "The model", "model"),
    Item("23", "Software", "software"),
    Item("24", "Initial parameters", "initial"),
    Item("25", "Training", "training"),
    Item("26", "How the final model was selected", "selection"),
    Item("27", "Ensembles", "ensemble"),
    Item("28", "Measures of performance", "measures"),
    Item("29", "Uncertainty and significance", "uncertainty"),
    Item("30", "Robustness and sensitivity analysis", "controls"),
    Item("31", "Explanation of decisions", "heatmaps"),
    Item("32", "Evaluation on internal data", "internal"),
    Item("33", "Evaluation on external data", "external"),
    Item("34", "Registration of a clinical trial"),
    Item("35", "Numbers included and excluded", "counts"),
    Item("36", "Who is in each split"),
    Item("37", "Performance with its uncertainty", "result"),
    Item("38", "Diagnostic accuracy with its precision", "accuracy"),
    Item("39", "Failure analysis", "failures"),
    Item("40", "Limitations", "limitations"),
    Item("41", "Implications for practice"),
    Item("42", "Where the full protocol is"),
    Item("43", "Availability of software, model and data", "weights"),
    Item("44", "Funding"),
)

TRIPOD_AI = (
    Item("1", "Title"),
    Item("2", "Abstract"),
    Item("3a", "Health-care context and rationale"),
    Item("3b", "Target population, purpose, intended users"),
    Item("3c", "Known health inequalities"),
    Item("4", "Objectives"),
    Item("5a", "Sources of the data", "source"),
    Item("5b", "Dates"),
    Item("6a", "Setting", "centres"),
    Item("6b", "Eligibility"),
    Item("6c", "Treatments"),
    Item("7", "Preparation of the data", "preprocess"),
    Item("8a", "Outcome and how it was assessed"),
    Item("8b", "Who assessed the outcome"),
    Item("8c", "Blinding of the outcome's assessment"),
    Item("9a", "Choice of predictors"),
    Item("9b", "Predictors: definition and measurement", "preprocess"),
    Item("9c", "Who assessed the predictors"),
    Item("10", "Sample size and why"),
    Item("11", "Missing data", "missing"),
    Item("12a", "How the data were used and split", "partition"),
    Item("12b", "How predictors entered the model", "preprocess"),
    Item("12c", "Type of model, building and tuning", "training"),
    Item("12d", "Heterogeneity between clusters", "sources"),
    Item("12e", "Measures and plots of performance", "measures"),
    Item("12f", "Updating, such as recalibration", "temperature"),
    Item("12g", "How predictions were computed", "output"),
    Item("13", "Class imbalance", "imbalance"),
    Item("14", "Fairness", "subgroups"),
    Item("15", "Output of the model and thresholds", "output"),
    Item("16", "Differences between training and evaluation data", "gaps"),
    Item("17", "Ethical approval"),
    Item("18a", "Funding"),
    Item("18b", "Conflicts of interest"),
    Item("18c", "Protocol"),
    Item("18d", "Registration"),
    Item("18e", "Sharing of data", "licence"),
    Item("18f", "Sharing of code"),
    Item("19", "Patient and public involvement"),
    Item("20a", "Flow of participants", "counts"),
    Item("20b", "Characteristics of participants"),
    Item("20c", "Training against evaluation participants", "prevalence"),
    Item("21", "Numbers and outcomes in each analysis", "prevalence"),
    Item("22", "Full specification of the model", "weights"),
    Item("23a", "Performance with intervals", "result"),
    Item("23b", "Heterogeneity of performance", "sources"),
    Item("24", "Results of updating", "recalibrated"),
    Item("25", "Interpretation"),
    Item("26", "Limitations", "limitations"),
    Item("27a", "Poor or missing input in use"),
    Item("27b", "Interaction and expertise needed in use"),
    Item("27c", "Next steps of research"),
)


def fill(items: tuple[Item, ...], facts: Mapping[str, Fact]) -> list[dict[str, Any]]:
    """The checklist with what the facts answer.

    Returns:
      Rows ``number``, ``name``, ``text``, ``artefact``; the last two are empty where
      the item is blank.
    """
    blank = Fact("", "")
    rows = []
    for item in items:
        fact = facts.get(item.fact or "", blank)
        rows.append({"number": item.number, "name": item.name, **fact._asdict()})
    return rows
