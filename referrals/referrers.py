"""Referrers: made by hand or from a table, with codes of their own, and claimed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext as _

from onai_project.csv_rows import CsvError, csv_rows
from referrals.judgement import email_key, phone_key
from referrals.ledger import reconsider_referrer
from referrals.models import Referrer, ReferrerGroup
from webhooks.utm import MAX_CODE_LENGTH, REFERRAL_PREFIX, referral_code

# Without what looks or sounds alike: 0 and o, 1, i and l, 2 and z, 5 and s, 8 and b, u and v.
ALPHABET = "34679acdefghjkmnpqrtwxy"
GENERATED_LENGTH = 7
# A file of more referrers than this is a slip.
MOST_ROWS = 5000
# The columns of a file, by the words that may stand at their head.
COLUMNS = {
    "code": ("code", "код"),
    "name": ("name", "имя", "фио"),
    "phone": ("phone", "телефон"),
    "email": ("email", "e-mail", "почта"),
    "group": ("group", "группа"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file: what it says, and what is wrong with it or will become of it."""

    line: int
    code: str  # "": one is made
    name: str
    phone: str
    email: str
    group: str
    errors: Sequence[str] = ()
    claims: bool = False  # the code is there already, and nobody's


@dataclass(frozen=True, slots=True)
class Import:
    """A file that was read: its lines, and what is wrong with it as a whole."""

    rows: Sequence[Row] = field(default_factory=list)
    problem: str = ""

    @property
    def wrong(self) -> list[Row]:
        """The lines that can't be taken."""
        return [row for row in self.rows if row.errors]

    @property
    def is_good(self) -> bool:
        """Return whether all of it can be taken."""
        return bool(self.rows) and not self.problem and not self.wrong


def code_generate() -> str:
    """Return a code that nobody has: ref_ and seven characters that can't be mistaken for each other."""
    while True:
        code = REFERRAL_PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))
        if not Referrer.objects.filter(code=code).exists():
            return code


def code_clean(code: str) -> str:
    """Return a typed code as deals are matched by it. Raises ValidationError in words that tell what to do."""
    clean = referral_code(code)
    if clean is None or clean == REFERRAL_PREFIX or " " in clean:
        raise ValidationError(_("A code begins with ref_, for example ref_aigerim."))
    return clean


def referrer_save(referrer: Referrer) -> None:
    """Save a referrer; what their conversions are held for follows (claimed, active, whose phone it is)."""
    with transaction.atomic():
        if not referrer.code:
            referrer.code = code_generate()
        referrer.save()
        reconsider_referrer(referrer)


def referrers_read(text: str) -> Import:
    """Read a CSV table (commas, semicolons or tabs; a head line) and judge every line of it."""
    try:
        lines = [(line, cells) for line, cells in csv_rows(text) if any(cell.strip() for cell in cells)]
    except CsvError as error:
        return Import(problem=_("Line %(n)s: %(text)s") % {"n": error.line, "text": error})
    if not lines:
        return Import(problem=_("The file is empty."))
    head = [_column(title) for title in lines[0][1]]
    if "name" not in head and "code" not in head:
        return Import(problem=_("The first line names the columns: code, name, phone, email, group. None is there."))
    if len(lines) - 1 > MOST_ROWS:
        return Import(problem=_("More than %(n)s lines: is it the right file?") % {"n": MOST_ROWS})
    cells = [
        (number, {name: value.strip() for name, value in zip(head, values, strict=False) if name})
        for number, values in lines[1:]
    ]
    return Import(_judge(cells)) if cells else Import(problem=_("There is no line below the head."))


def referrers_import(text: str) -> Import:
    """Take in a table: all of it, or, where a line is wrong, nothing. A code that was nobody's is claimed."""
    read = referrers_read(text)
    if not read.is_good:
        return read
    with transaction.atomic():
        groups = {group.name: group for group in ReferrerGroup.objects.all()}
        # In the order of their codes, as all who lock referrers.
        known = {one.code: one for one in Referrer.objects.filter(code__in=[row.code for row in read.rows])}
        for row in sorted(read.rows, key=lambda row: row.code):
            referrer = known.get(row.code) or Referrer(code=row.code)
            referrer.name, referrer.phone, referrer.email = row.name, row.phone, row.email
            referrer.group, referrer.claimed = groups.get(row.group), True
            referrer_save(referrer)
    return read


def _judge(cells: Sequence[tuple[int, dict[str, str]]]) -> list[Row]:
    """Return the lines with what is wrong with each."""
    groups = set(ReferrerGroup.objects.values_list("name", flat=True))
    people = list(Referrer.objects.values_list("code", "claimed", "phone", "email"))
    claimed = {code: is_claimed for code, is_claimed, _phone, _email in people}
    phones = {key: code for code, _claimed, phone, _email in people if (key := phone_key(phone))}
    emails = {key: code for code, _claimed, _phone, email in people if (key := email_key(email))}
    seen: dict[str, int] = {}
    rows = []
    for line, cell in cells:
        code, phone, email = cell.get("code", ""), cell.get("phone", ""), cell.get("email", "")
        errors = []
        if code:
            try:
                code = code_clean(code)
            except ValidationError as error:
                errors += error.messages
        if claimed.get(code):
            errors.append(_("This code is somebody's already."))
        if not cell.get("name"):
            errors.append(_("There is no name."))
        if phone and not phone_key(phone):
            errors.append(_("This is not a phone number."))
        if email and not _is_email(email):
            errors.append(_("This is not an e-mail address."))
        if (group := cell.get("group", "")) and group not in groups:
            errors.append(_("There is no group of this name."))
        for key, others in ((phone_key(phone), phones), (email_key(email), emails)):
            if key and others.get(key, code) != code:
                errors.append(_("%(code)s has the same phone or e-mail.") % {"code": others[key]})
        for key in filter(None, (code, phone_key(phone), email_key(email))):
            if first := seen.get(key):
                errors.append(_("The same as in line %(n)s.") % {"n": first})
            seen.setdefault(key, line)
        too_long = (len(cell.get("name", "")) > 200, len(phone) > 32, len(email) > 254, len(code) > MAX_CODE_LENGTH)
        if any(too_long):
            errors.append(_("Too long."))
        row = Row(line, code, cell.get("name", ""), phone, email, group, tuple(dict.fromkeys(errors)), code in claimed)
        rows.append(row)
    return rows


def _column(title: str) -> str:
    title = title.strip().casefold()
    return next((name for name, words in COLUMNS.items() if title in words), "")


def _is_email(email: str) -> bool:
    try:
        validate_email(email)
    except ValidationError:
        return False
    return True
