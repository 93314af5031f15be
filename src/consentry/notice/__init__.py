"""The notice: how people are asked, in which words, and what was told to whom.

Pure but for reading the texts that ship with the program. ``languages`` and ``rendered`` are
for whoever shows something, ``edition`` for when to ask again, ``honesty`` for what may not be
said.
"""

from consentry.notice.edition import (
    Edition,
    History,
    Told,
    as_told,
    edition,
    history_of,
    told_by,
)
from consentry.notice.languages import languages, negotiate, ranges, texts_in
from consentry.notice.rendered import (
    Rendered,
    ShownCategory,
    category_description,
    category_name,
    render,
    texts_of,
    topic_name,
)
from consentry.notice.values import Layout, Notice, Theme

__all__ = [
    "Edition",
    "History",
    "Layout",
    "Notice",
    "Rendered",
    "ShownCategory",
    "Theme",
    "Told",
    "as_told",
    "category_description",
    "category_name",
    "edition",
    "history_of",
    "languages",
    "negotiate",
    "ranges",
    "render",
    "texts_in",
    "texts_of",
    "told_by",
    "topic_name",
]
