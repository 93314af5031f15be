"""What a notice may not say where silence is a no: checks that a configuration allows.

Refusing has to be as plain as accepting: a control of its own that says no (EDPB, Cookie Banner
Taskforce, 2023-01-17, 8 and 14; CNIL deliberations 2020-091 and 2020-092, formal notices of
2024-12-12 on vague wordings), a refusal is kept at least as long as a yes, and asking again has
to wait. How the two buttons look is no setting, so nothing here can make them differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from consentry.core.policy import Purpose, Regime
from consentry.jurisdictions import rows
from consentry.notice.languages import FALLBACK, Texts, shipped, texts_in, widest_first
from consentry.notice.values import ASK_AGAIN_DAYS, Notice

REJECT, ACCEPT = "action.reject", "action.accept"
# Each of these does something else, so none may read like another.
_LABELS = (ACCEPT, REJECT, "action.choose", "action.save", "action.close")
# A button on which the other is several times as long does not look the same.
LONGEST_LABEL = 40  # characters
_PLACEHOLDER = re.compile(r"\{(\w+)\}")

# Parts of words that say no, by language.
_NO: dict[str, tuple[str, ...]] = {
    "ar": ("رفض", "أرفض", "ارفض", "لا"),
    "de": ("ablehn", "lehne", "verweiger", "nein", "nicht"),
    "el": ("απόρριψ", "απορρί", "απορρι", "άρνησ", "αρνούμαι", "όχι", "δεν"),
    "en": ("reject", "refus", "declin", "deny", "disagree", "opt out", "no", "not", "don't"),
    "es": ("rechaz", "deneg", "negar", "no"),
    "fr": ("refus", "rejet", "non", "sans accepter"),
    "it": ("rifiut", "negare", "no", "non"),
    "nl": ("weiger", "afwijz", "wijs", "nee", "niet"),
    "pl": ("odrzu", "odmaw", "odmów", "nie"),
    "pt": ("rejeit", "recus", "negar", "não"),
    "sv": ("avvis", "avböj", "neka", "nej", "inte"),
}
# Parts of words that say yes.
_YES: dict[str, tuple[str, ...]] = {
    "ar": ("قبول", "أقبل", "اقبل", "قبل", "موافق", "أوافق", "اسمح", "السماح", "نعم"),
    "de": ("annehm", "akzept", "zustimm", "stimme", "einverstanden", "erlaub", "zulass", "ja"),
    "el": ("αποδοχ", "αποδέχ", "συμφων", "επιτρ", "ναι"),
    "en": ("accept", "agree", "allow", "consent", "enable", "yes", "ok"),
    "es": ("acept", "acuerdo", "permit", "autoriz", "consient", "sí"),
    "fr": ("accept", "autoris", "d'accord", "d’accord", "consen", "oui", "ok"),
    "it": ("accett", "acconsent", "consent", "d'accordo", "autorizz", "permett", "sì", "ok"),
    "nl": ("accept", "akkoord", "toesta", "toestem", "goedkeur", "ja"),
    "pl": ("akcept", "zgadz", "zgoda", "wyraż", "zezw", "pozw", "tak"),
    "pt": ("aceit", "concord", "permit", "autoriz", "consint", "sim"),
    "sv": ("godkän", "accept", "tillåt", "samtyck", "ja"),
}
# Parts of words that make a no ashamed of itself (EDPB Guidelines 03/2022, emotional steering).
_SHAMING: dict[str, tuple[str, ...]] = {
    "ar": ("معطل", "أسوأ", "ممل", "أخسر", "سيئ"),
    "de": ("kaputt", "schlecht", "langweil", "verzicht", "riskier", "unsicher", "egal", "dumm"),
    "el": ("χαλασμ", "χειρότερ", "βαρετ", "χάσω", "ρισκάρ"),
    "en": ("broken", "worse", "boring", "unsafe", "stupid", "bad", "hate", "lose", "miss", "risk",
           "don't care", "don’t care", "do not care"),
    "es": ("roto", "peor", "aburrid", "perder", "riesgo", "mala", "no me importa"),
    "fr": ("cassé", "mauvais", "ennuyeu", "perdre", "risque", "dégradé", "m'en fiche"),
    "it": ("rotto", "peggior", "noios", "perdere", "rischi", "non mi importa"),
    "nl": ("kapot", "slecht", "saai", "verlies", "verliez", "risico", "niet schelen"),
    "pl": ("zepsut", "gorsz", "nudn", "strac", "ryzyk", "nie obchodzi"),
    "pt": ("quebrad", "estragad", "pior", "chato", "perder", "risco", "não me importo"),
    "sv": ("trasig", "sämre", "tråkig", "förlora", "risk", "bryr mig inte"),
}  # fmt: skip
NEVER_ESSENTIAL = frozenset({Purpose.ADVERTISING, Purpose.SALE_OR_SHARE})
"""What no site needs in order to work (CJEU C-252/21, 4 July 2023)."""

_SHORT = 4  # such a word must stand by itself: "no" is no part of "now" or "know"

# Words that make a no less than a no: it leaves something on, or puts the answer off.
_VAGUE: dict[str, tuple[str, ...]] = {
    "de": ("nicht notwendige", "nicht essenzielle", "nicht erforderliche", "später", "einige"),
    "en": ("non-essential", "nonessential", "unnecessary", "optional", "later", "some", "not now"),
    "es": ("no esenciales", "no necesarias", "opcionales", "más tarde", "ahora no", "algunas"),
    "fr": ("non essentiels", "non nécessaires", "facultatifs", "plus tard", "certains"),
    "it": ("non essenziali", "non necessari", "facoltativi", "più tardi", "non ora", "alcuni"),
    "nl": ("niet-essentiële", "niet-noodzakelijke", "optionele", "later", "niet nu", "sommige"),
    "pl": ("nieistotne", "niekonieczne", "opcjonalne", "później", "nie teraz", "niektóre"),
    "pt": ("não essenciais", "não necessários", "opcionais", "mais tarde", "agora não", "alguns"),
    "sv": ("icke-nödvändiga", "valfria", "senare", "inte nu", "vissa"),
    "el": ("μη απαραίτητα", "προαιρετικά", "αργότερα", "όχι τώρα", "ορισμένα"),
    "ar": ("غير الضرورية", "الاختيارية", "لاحقا", "لاحقًا", "ليس الآن", "بعض"),
}


class Flaw(NamedTuple):
    """What is wrong, and with which key of ``[notice]``."""

    key: tuple[str, ...]
    message: str


def flaws(notice: Notice, known: Iterable[str]) -> Iterator[Flaw]:
    """What is dishonest, or says nothing, in a workspace's own words and periods.

    ``known`` are keys beside those that are shipped: names of categories and topics.
    """
    keys = {*shipped().get(FALLBACK, {}), *known} if notice.texts else set()
    for language, own in notice.texts.items():
        for key, message in _flaws_of(language, own, notice.texts, keys):
            yield Flaw(("texts", language, key), message)
    yield from _periods(notice)


def _flaws_of(
    language: str, own: Texts, texts: Mapping[str, Texts], keys: set[str]
) -> Iterator[tuple[str, str]]:
    every = texts_in(language, texts)
    for key, text in own.items():
        if keys and key not in keys:
            yield key, "there is no such text: the keys are those of sdk/js/lang/en.json"
        else:
            yield from ((key, message) for message in _lost(key, text))
    spoken = any(t in shipped() or REJECT in texts.get(t, {}) for t in widest_first(language))
    if not spoken:
        yield REJECT, "missing: a language of your own needs its word for refusing"
    for key in _LABELS:
        if key in own:
            yield from ((key, message) for message in _label(key, every))
    if REJECT in own:
        yield from ((REJECT, message) for message in _refusal(own[REJECT], language))
    if ACCEPT in own and own[ACCEPT].strip().casefold() != every.get(REJECT, "").strip().casefold():
        yield from ((ACCEPT, message) for message in _acceptance(own[ACCEPT], language))


def _lost(key: str, text: str) -> Iterator[str]:
    """Placeholders that the text as shipped has: without its categories it asks for nothing."""
    if not text.strip():
        yield "must not be empty"
    ours = shipped().get(FALLBACK, {}).get(key)
    if ours is None:
        return
    wanted, found = set(_PLACEHOLDER.findall(ours)), set(_PLACEHOLDER.findall(text))
    for name in sorted(wanted - found):
        yield f"must hold {{{name}}}, which is replaced by what people have to know"
    for name in sorted(found - wanted):
        yield f"{{{name}}} means nothing in this text: remove it"


def _label(key: str, every: Texts) -> Iterator[str]:
    text = every[key].strip()
    if len(text) > LONGEST_LABEL:
        yield f"a button has at most {LONGEST_LABEL} characters: shorten it"
    for other in _LABELS:
        if other != key and every.get(other, "").strip().casefold() == text.casefold():
            yield f"reads like {other}: each button needs its own word"


def _refusal(text: str, language: str) -> Iterator[str]:
    """A no must say no. In a language that is not known here, a person has to look."""
    said = text.casefold()
    spoken = language.partition("-")[0].lower()
    words = _NO.get(spoken)
    if words is not None and not any(_says(said, word) for word in words):
        yield f'does not say no: write it as plainly as "{_example(spoken)}"'
    if any(vague in said for vague in _VAGUE.get(spoken, ())):
        yield f'leaves open what is refused: write "{_example(spoken)}"'
    if any(_says(said, word) for word in _SHAMING.get(spoken, ())):
        yield f'makes people ashamed of saying no: write "{_example(spoken)}"'


def _acceptance(text: str, language: str) -> Iterator[str]:
    """A yes must say yes, and must not say no: else who means to refuse presses it."""
    said = text.casefold()
    spoken = language.partition("-")[0].lower()
    example = texts_in(spoken, {}).get(ACCEPT, "Accept all")
    if spoken not in _YES:
        return
    if any(_says(said, word) for word in _NO[spoken]):
        yield f'says no: write it as plainly as "{example}"'
    elif not any(_says(said, word) for word in _YES[spoken]):
        yield f'does not say yes: write it as plainly as "{example}"'


def unread(notice: Notice) -> Iterator[Flaw]:
    """Words of buttons in languages of which nobody here knows how a no sounds."""
    for language, own in notice.texts.items():
        if language.partition("-")[0].lower() not in _NO:
            for key in (ACCEPT, REJECT):
                if key in own:
                    message = (
                        "is in a language whose words are not known here: let somebody read it"
                    )
                    yield Flaw(("texts", language, key), message)


def _says(said: str, word: str) -> bool:
    if len(word) > _SHORT:
        return word in said
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", said) is not None


def _example(language: str) -> str:
    return texts_in(language, {}).get(REJECT, "Reject all")


def _periods(notice: Notice) -> Iterator[Flaw]:
    # The usual wait is long enough, and a start need not read the rules to know it.
    stated = notice.ask_again_days != ASK_AGAIN_DAYS
    longest = max(waits() if stated else (), key=lambda wait: wait[0], default=(0, ""))
    if notice.ask_again_days < longest[0]:
        yield Flaw(
            ("ask_again_days",),
            f"{longest[1]} asks to wait {longest[0]} days after a refusal: make it at least that, "
            "or leave it out",
        )
    if notice.refusal_days is not None and (
        notice.grant_days is None or notice.refusal_days < notice.grant_days
    ):
        yield Flaw(
            ("refusal_days",),
            "a refusal would be forgotten before a yes is: leave it out, or make it at least "
            "grant_days",
        )
    if notice.cookie_days < notice.ask_again_days:
        yield Flaw(
            ("cookie_days",),
            "the browser would forget a refusal before it may be asked about again: make it at "
            "least ask_again_days",
        )


def waits() -> Iterator[tuple[int, str]]:
    """How long those who ask for a yes must wait after a no, in days, and where that is."""
    for row in rows():
        if row.ask_again_after_days is not None and Regime.OPT_IN in row.regimes.values():
            yield row.ask_again_after_days, row.name
