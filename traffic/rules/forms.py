"""What people fill in to decide about a sale by hand, to make a rule from a group, or to try the rules."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from traffic.attribution import MAX_PATTERN
from traffic.models import AttributionRule, SaleOverride, Targetologist
from webhooks.utm import normalise

NOBODY, RELEASE = "-nobody", "-release"  # no slug begins so


def checked_pattern(pattern: str) -> str:
    """Return the pattern. Raises ValidationError when nothing, or too much, is left of it for comparing."""
    length = len(normalise(pattern))
    if not length:
        raise ValidationError(gettext("Enter a text to look for."))
    if length > MAX_PATTERN:
        text = gettext("The pattern is too long: %(length)s characters are compared, and at most %(most)s may be.")
        raise ValidationError(text % {"length": length, "most": MAX_PATTERN})
    return pattern


class OwnerForm(forms.Form):
    """Whose it is, and why: a person's word needs a reason."""

    owner = forms.ChoiceField(label=_("Whose is it"))
    reason = forms.CharField(label=_("Reason"), max_length=1000, widget=forms.Textarea(attrs={"rows": 3}))

    def __init__(self, *args: Any, nobody: bool = True, release: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: list[tuple[str, Any]] = [("", _("Choose …"))]
        choices += [(person.slug, str(person)) for person in Targetologist.objects.filter(active=True)]
        if nobody:
            choices.append((NOBODY, _("Nobody's")))
        if release:
            choices.append((RELEASE, _("As the rules say")))
        self.fields["owner"].choices = choices  # type: ignore[attr-defined]

    def decision(self) -> tuple[str, Targetologist | None]:
        """Return the action and the targetologist, of a valid form."""
        owner = self.cleaned_data["owner"]
        if owner == NOBODY:
            return SaleOverride.Action.NOBODY, None
        if owner == RELEASE:
            return SaleOverride.Action.RELEASE, None
        return SaleOverride.Action.ASSIGN, Targetologist.objects.get(slug=owner)


class NewRuleForm(forms.Form):
    """A rule to try on what there is, before it is saved."""

    targetologist = forms.ModelChoiceField(
        label=_("Targetologist"), queryset=Targetologist.objects.filter(active=True), empty_label=_("Choose …")
    )
    field = forms.ChoiceField(label=_("Field"), choices=AttributionRule.Field)
    match = forms.ChoiceField(label=_("Match"), choices=AttributionRule.Match)
    pattern = forms.CharField(label=_("Pattern"), max_length=200)
    place = forms.ChoiceField(label=_("Place"), choices=[("end", _("after all rules")), ("top", _("before all rules"))])

    def clean_pattern(self) -> str:
        """Return the pattern. Raises ValidationError where it can't be compared."""
        return checked_pattern(str(self.cleaned_data["pattern"]))


class TesterForm(forms.Form):
    """UTM as it was pasted, or the number of a deal."""

    text = forms.CharField(
        label=_("UTM or an address"),
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={"rows": 4, "placeholder": "https://…?utm_source=…&utm_campaign=…"}),
    )
    lead = forms.IntegerField(
        label=_("or a deal's number"), required=False, min_value=1, max_value=2**63 - 1, localize=False
    )
