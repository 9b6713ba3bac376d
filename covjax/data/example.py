"""One picture of a data set before it is decoded: what a loader yields."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covjax.data.readers import Picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A picture that can be read, and what is known of it.

    Attributes:
      file: name relative to the data set, unique in it; errors name it.
      label: name of the class, or names of all that apply in a multi-label set.
      read: decodes the picture; called from several threads at once.
      patient: id, ``""`` is unknown.
      source: hospital or collection, ``""`` is unknown.
      split: ``"train"``, ``"validation"``, ``"test"``, or ``""`` without an
        official split.
      metadata: further columns such as ``sex``, ``age`` and ``view``.
    """

    file: str
    label: str | tuple[str, ...]
    read: Callable[[], "Picture"]
    patient: str = ""
    source: str = ""
    split: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
