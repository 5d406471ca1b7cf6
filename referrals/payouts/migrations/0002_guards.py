from __future__ import annotations

from django.db import migrations

GUARDS = """
CREATE FUNCTION referral_payouts_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'referral_payouts: a payout is never deleted: make it void';
    END IF;
    IF (NEW.batch_id, NEW.referrer_id, NEW.amount, NEW.recipient, NEW.iin, NEW.account, NEW.created_at)
        IS DISTINCT FROM
       (OLD.batch_id, OLD.referrer_id, OLD.amount, OLD.recipient, OLD.iin, OLD.account, OLD.created_at) THEN
        RAISE EXCEPTION 'referral_payouts: the sum and the recipient of a payout are frozen';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('confirmed', 'paid'), ('confirmed', 'failed'), ('confirmed', 'void'), ('failed', 'paid'), ('failed', 'void')
    ) THEN
        RAISE EXCEPTION 'referral_payouts: % does not become %', OLD.state, NEW.state;
    END IF;
    IF NEW.state = OLD.state AND OLD.state IN ('paid', 'void') AND NEW IS DISTINCT FROM OLD THEN
        RAISE EXCEPTION 'referral_payouts: % is final', OLD.state;
    END IF;
    IF NEW.state = 'void' AND OLD.state <> 'void' THEN
        UPDATE referral_payout_items SET live = false WHERE payout_id = NEW.id;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON referral_payouts
FOR EACH ROW EXECUTE FUNCTION referral_payouts_guard();

CREATE FUNCTION referral_payout_items_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.live AND NOT NEW.live
        AND (NEW.id, NEW.payout_id, NEW.earning_id, NEW.amount) = (OLD.id, OLD.payout_id, OLD.earning_id, OLD.amount)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'referral_payout_items: the entries of a payout are frozen';
END
$$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON referral_payout_items
FOR EACH ROW EXECUTE FUNCTION referral_payout_items_guard();

CREATE FUNCTION referral_payout_batches_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'referral_payout_batches: a batch is never deleted: make it void';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('draft', 'confirmed'), ('draft', 'void'), ('confirmed', 'void')
    ) THEN
        RAISE EXCEPTION 'referral_payout_batches: % does not become %', OLD.state, NEW.state;
    END IF;
    IF OLD.state <> 'draft' AND (NEW.cutoff, NEW.minimum, NEW.confirmed_at, NEW.created_by_id)
        IS DISTINCT FROM (OLD.cutoff, OLD.minimum, OLD.confirmed_at, OLD.created_by_id) THEN
        RAISE EXCEPTION 'referral_payout_batches: a confirmed batch is frozen';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER guard BEFORE UPDATE OR DELETE ON referral_payout_batches
FOR EACH ROW EXECUTE FUNCTION referral_payout_batches_guard();

CREATE FUNCTION referral_payout_events_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'referral_payout_events is append-only';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON referral_payout_events
FOR EACH ROW EXECUTE FUNCTION referral_payout_events_guard();
"""
UNDO = """
DROP TRIGGER append_only ON referral_payout_events;
DROP TRIGGER guard ON referral_payout_batches;
DROP TRIGGER guard ON referral_payout_items;
DROP TRIGGER guard ON referral_payouts;
DROP FUNCTION referral_payout_events_guard();
DROP FUNCTION referral_payout_batches_guard();
DROP FUNCTION referral_payout_items_guard();
DROP FUNCTION referral_payouts_guard();
"""


class Migration(migrations.Migration):
    dependencies = [("payouts", "0001_initial")]
    operations = [migrations.RunSQL(GUARDS, UNDO)]
