-- Transactions that have these references: references.
select t.id, t.reference, pg_catalog.encode(t.digest, 'hex') as digest
from postings.transaction t
where t.reference = any ($1::text[])
