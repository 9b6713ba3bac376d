"""MosMed COVID19_1110: CT volumes of Moscow out-patient centres by severity.

One volume a patient, in a folder named by its class. A volume becomes `slices`
pictures, spread over its lungs; all carry the volume's class, although a slice of a
mildly affected lung may show nothing.
"""

from pathlib import Path

from covjax.data.builders._base import NOT_SEEN, DataSet, Example
from covjax.data.builders._volumes import ranked_slices, volumes
from covjax.errors import InputError

SEVERITY = ("CT-0", "CT-1", "CT-2", "CT-3", "CT-4")  # lung share affected:
# none, up to 25 %, to 50 %, to 75 %, more


def read(folder: Path, slices: int = 8) -> list[Example]:
    """`slices` pictures of every volume, by class, study and place."""
    examples = []
    for label, name in enumerate(SEVERITY):
        found = volumes(folder / "studies" / name)
        if not found:
            raise InputError(f"{folder / 'studies' / name}: has no NIfTI files")
        for study, path in found.items():
            examples += [
                Example(
                    file=f"{name}/{path.name}#{rank}",
                    label=label,
                    open=opener,
                    patient=study,
                    source="Moscow Health Care Department",
                    stored=False,
                )
                for rank, opener in enumerate(ranked_slices(path, slices))
            ]
    return examples


DATA_SET = DataSet(
    name="mosmed",
    title="MosMedData COVID19_1110",
    modality="CT",
    size="1,110 volumes of 1,110 patients: 254 / 684 / 125 / 45 / 2",
    classes=SEVERITY,
    file_format="NIfTI",
    licence="CC BY-NC-ND 3.0",
    citation="Morozov et al. 2020, MosMedData, arXiv 2005.06465",
    home="https://mosmed.ai/datasets/covid19_1110",
    get="download COVID19_1110 at the home and unpack it, so that the folder holds "
    "studies/CT-0 to studies/CT-4",
    patient_rule="the study: one volume a patient",
    source_rule="one health department; the hospital is not told",
    checked=NOT_SEEN,
    needs=tuple(f"studies/{name}" for name in SEVERITY),
    read=read,
)
