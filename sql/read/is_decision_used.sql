-- Whether a decision was used: id.
select exists (select from redress.decision_used where id = $1)
