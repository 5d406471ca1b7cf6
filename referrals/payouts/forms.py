"""What managers type about payouts, checked in words that tell what to do."""

from __future__ import annotations

from datetime import date
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from onai_project.periods import today
from referrals.payouts.accounts import normal_account, valid_account
from referrals.payouts.bank import MAX_BYTES
from referrals.payouts.models import BankDetails, PayoutBatch


class BankDetailsForm(forms.ModelForm):  # type: ignore[type-arg]
    """Bank details, the account as banks write it."""

    class Meta:
        model = BankDetails
        fields = ("referrer", "recipient", "iin", "account")

    def clean_recipient(self) -> str:
        """Return the name with single spaces."""
        return " ".join(str(self.cleaned_data["recipient"]).split())

    def clean_account(self) -> str:
        """Return the account without spaces, in capitals."""
        account = normal_account(str(self.cleaned_data["account"]))
        valid_account(account)
        return account


class BatchForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new batch."""

    class Meta:
        model = PayoutBatch
        fields = ("cutoff", "minimum")

    def clean_cutoff(self) -> date:
        """Return the day. Raises ValidationError for one that has not come."""
        cutoff: date = self.cleaned_data["cutoff"]
        if cutoff > today():
            raise forms.ValidationError(_("The cut-off lies in the future: choose today or an earlier day."))
        return cutoff


class PaidForm(forms.Form):
    """The day of a transfer, and the bank's document."""

    paid_on = forms.DateField(label=_("Transferred on"))
    reference = forms.CharField(label=_("Bank's document"), max_length=100, required=False)


class ResultsForm(forms.Form):
    """A file with the bank's results."""

    file = forms.FileField(label=_("File"))

    def clean_file(self) -> Any:
        """Return the file. Raises ValidationError for one that is too large."""
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError(_("The file is larger than 2 MB."))
        return file
